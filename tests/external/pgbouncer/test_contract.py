"""The store's contract, with pgbouncer between every store and the server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import tests.contract.test_append
import tests.contract.test_deliveries
import tests.contract.test_log
import tests.contract.test_many_processes
import tests.contract.test_queue
import tests.contract.test_records
import tests.contract.test_recovery
import tests.contract.test_sealing
import tests.contract.test_settings
from tests.contract.conftest import (
    FrozenClock,
    MakeEngine,
    PostgresEngine,
    World,
    clock,
    make_clock,
    make_world,
    organization,
    subscription,
    world,
)
from tests.contract.test_many_processes import other
from tests.external.pgbouncer.conftest import borrowed, leave
from tests.postgres.conftest import until
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import Postgres

from triggers_api.failpoints import Failpoints
from triggers_api.store.base import Store
from triggers_api.store.connect import StoreOptions, open_store
from triggers_api.store.postgres.connection import FAILED, connect
from triggers_api.telemetry.metrics import Metrics

__all__ = [
    "clock", "make_clock", "make_world", "organization", "other", "subscription", "world",
]  # fmt: skip


class PooledEngine(PostgresEngine):
    """The engine for many processes, which all share a few sessions."""

    def __init__(self, server: Postgres, clock: FrozenClock, pooler: PgBouncer) -> None:
        super().__init__(server, clock)
        self._pooler = pooler

    async def open_another(self) -> Store:
        if self._database is None:
            self._database = self._server.migrated_database()
        direct = self._server.url(self._database)
        store = await open_store(
            StoreOptions(
                database_url=self._pooler.url(direct),
                direct_url=direct,
                secret_keys=self.secret_keys,
            ),
            clock=self._clock,
            keeps_own_time=True,
            metrics=Metrics(),
            failpoints=Failpoints(""),
            fatal=fail,
        )
        self._opened.append(store)
        return store

    async def crash(self) -> Store:
        assert self._database is not None
        self._server.shut_out(self._database)
        await self.store.close()
        self._server.let_in(self._database)
        # The pooler refuses for a moment longer, because the server did.
        await until(self._is_let_in, "the pooler lets in again")
        return await self.open()

    async def _is_let_in(self) -> bool:
        assert self._database is not None
        db = await connect(self._pooler.url(self._server.url(self._database)), pooled=True)
        try:
            await db.execute("SELECT 1")
        except FAILED:
            return False
        finally:
            db.terminate()
        return True

    async def close(self) -> None:
        for store in self._opened:
            await store.close()
        if self._database is not None:
            leave(self._server, self._database)


def fail(error: BaseException) -> None:
    raise error


@pytest.fixture
def make_engine(postgres: Postgres, pooler: PgBouncer) -> MakeEngine:
    return lambda _, clock: PooledEngine(postgres, clock, pooler)


@pytest.fixture(scope="module")
def shared_world(postgres: Postgres, pooler: PgBouncer) -> Iterator[World]:
    with asyncio.Runner() as runner:
        clock = FrozenClock()
        engine = PooledEngine(postgres, clock, pooler)
        runner.run(engine.open())
        yield World(engine, clock, runner)
        runner.run(engine.close())


globals().update(
    borrowed(
        tests.contract.test_append,
        tests.contract.test_deliveries,
        tests.contract.test_log,
        tests.contract.test_many_processes,
        tests.contract.test_queue,
        tests.contract.test_records,
        tests.contract.test_recovery,
        tests.contract.test_sealing,
        tests.contract.test_settings,
    )
)
