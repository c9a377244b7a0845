"""Stories of the whole service, with pgbouncer before its database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tests.scenario.test_delivery
import tests.scenario.test_restart
import tests.scenario.test_retries
import tests.scenario.test_subscriptions
import tests.scenario.test_switches
from tests.conftest import Enter, Run
from tests.external.pgbouncer.conftest import borrowed, leave
from tests.scenario.conftest import ask, asking
from tests.scenario.test_retries import draw
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import Postgres

from triggers_api.testing import Receiver, Service

__all__ = ["ask", "asking", "draw"]


@pytest.fixture(params=["polling", "notices"])
def database_url(
    request: pytest.FixtureRequest,
    postgres: Postgres,
    pooler: PgBouncer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """The pooler's address for every service; with or without the server's own one beside it."""
    name = postgres.migrated_database()
    direct = postgres.url(name)
    if request.param == "notices":
        make = Service.__init__

        def make_with_notices(self: Service, folder: Path, **options: Any) -> None:  # noqa: ANN401
            make(self, folder, **({"database_direct_url": direct} | options))

        monkeypatch.setattr(Service, "__init__", make_with_notices)
    yield pooler.url(direct)
    leave(postgres, name)


def test_events_go_all_the_way(run: Run, enter: Enter, database_url: str, tmp_path: Path) -> None:
    receiver = enter(Receiver())
    service = enter(Service(tmp_path, database_url=database_url))

    async def story() -> None:
        await service.subscribe(receiver.url, ["order.*"])
        for number in range(100):
            answer = await service.send("order.created", {"n": number}, dedup_id=f"{number}")
            assert answer.status == 202
        await receiver.wait_for(100)
        assert len(set(receiver.ids)) == 100
        again = await service.send("order.created", {"n": 1}, dedup_id="1")
        assert again.status == 200
        listed = await service.call("GET", "/api/events?limit=1000")
        assert len(listed.json["data"]) == 100
        ready = await service.call("GET", "/readyz", key=None)
        assert ready.status == 200

    run(story())


globals().update(
    borrowed(
        tests.scenario.test_delivery,
        tests.scenario.test_restart,
        tests.scenario.test_retries,
        tests.scenario.test_subscriptions,
        tests.scenario.test_switches,
    )
)
