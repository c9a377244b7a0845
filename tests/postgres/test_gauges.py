"""How many connections a process has, as it shows it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from triggers_api.testing import FrozenClock, Service

if TYPE_CHECKING:
    from tests.conftest import Enter, Run
    from tests.postgres.conftest import Database

    from triggers_api.store.postgres.pool import Pool


@pytest.fixture
def service(database: Database, enter: Enter, tmp_path: Path) -> Service:
    return enter(
        Service(
            tmp_path,
            clock=FrozenClock(),
            database_url=database.url,
            db_pool_size=3,
            db_max_overflow=1,
            db_pool_wait_s=0.05,
        )
    )


def shown(service: Service) -> tuple[float | None, float | None]:
    """In use, and idle."""
    registry = service.app.metrics.registry
    in_use, idle = (
        registry.get_sample_value("triggers_database_connections", {"state": state})
        for state in ("in_use", "idle")
    )
    return in_use, idle


def pool_of(service: Service) -> Pool:
    pool: Pool = service.app.store._sessions.pool  # type: ignore[attr-defined]
    return pool


def test_what_is_at_work_and_what_rests_is_shown_with_each_look(run: Run, service: Service) -> None:
    async def scenario() -> None:
        monitor = service.app.monitor
        await monitor.run_once()
        assert shown(service) == (0, pool_of(service).idle)
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(pool_of(service).connection())
            await monitor.run_once()
            assert shown(service) == (3, 1)
        await monitor.run_once()
        assert shown(service) == (0, 3)

    run(scenario())


def test_that_none_is_left_is_shown_although_the_look_itself_has_none(
    run: Run, service: Service
) -> None:
    async def scenario() -> None:
        monitor = service.app.monitor
        async with AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(pool_of(service).connection())
            await monitor.run_once()
            assert monitor.store_problem is not None
            assert shown(service) == (4, 0)
        await monitor.run_once()
        assert shown(service) == (0, 3)

    run(scenario())


def test_with_the_embedded_engine_there_are_none(run: Run, enter: Enter, tmp_path: Path) -> None:
    service = enter(Service(tmp_path, clock=FrozenClock()))
    run(service.app.monitor.run_once())
    assert shown(service) == (0, 0)
