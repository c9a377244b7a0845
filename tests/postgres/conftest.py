"""The engine for many processes on a real server: what the contract does not ask of every engine."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.conftest import Run
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy

from triggers_api.failpoints import Failpoints
from triggers_api.model import ids
from triggers_api.model.event import NewEvent
from triggers_api.model.organization import ORGANIZATION_SCOPES, ApiKey, KeyRecord, Organization
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.connect import StoreOptions
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.store import PostgresStore
from triggers_api.telemetry.metrics import Metrics
from triggers_api.testing import FrozenClock

PATIENCE_S: Final = 45.0
"""Real seconds that anything waited for gets before it counts as never coming."""


class Database:
    """A database of its own for a test; the stores and connections to it end with the test."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self.name = server.migrated_database()
        self.url = server.url(self.name)
        self.clock = FrozenClock("2026-11-22T12:00:00Z")
        self._stores: list[PostgresStore] = []
        self._connections: list[Connection] = []

    async def store(
        self,
        *,
        clock: Callable[[], Timestamp] | None = None,
        metrics: Metrics | None = None,
        keeps_own_time: bool = True,
        **options: Any,  # noqa: ANN401 - of StoreOptions
    ) -> PostgresStore:
        """One process's store."""
        store = await PostgresStore.open(
            StoreOptions(**({"database_url": self.url} | options)),
            clock=clock or self.clock,
            keeps_own_time=keeps_own_time,
            metrics=metrics or Metrics(),
            failpoints=Failpoints(""),
        )
        self._stores.append(store)
        return store

    async def connection(self) -> Connection:
        """A connection that is nobody's."""
        connection = await asyncpg.connect(self.url)
        self._connections.append(connection)
        return connection

    def proxy(self) -> Proxy:
        """A way to the server that can be told to fail."""
        server = urlsplit(self.url)
        return Proxy(server.hostname or "127.0.0.1", server.port or 5432)

    async def organization(self, store: PostgresStore) -> str:
        """The id of a new tenant."""
        organization_id = store.ids.new(ids.ORGANIZATION)
        key = ApiKey(
            id=store.ids.new(ids.KEY),
            name="key",
            hint="trg_",
            scopes=ORGANIZATION_SCOPES,
            created_at=store.now(),
        )
        await store.create_organization(
            Organization(
                id=organization_id, name="Acme", created_at=store.now(), updated_at=store.now()
            ),
            KeyRecord(organization_id=organization_id, digest=key.id.encode(), key=key),
        )
        return organization_id

    async def waiting_for_locks(self, count: int) -> None:
        """Wait until so many statements wait for what others hold."""
        await until(lambda: self.waiting() == count, f"{count} wait for a lock")

    def waiting(self) -> int:
        """How many statements wait for what others hold."""
        found: int = self.asked(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'",
            self.name,
        )
        return found

    def asked(self, question: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever it is
        """The server's answer to a question with one answer."""
        ((answer,),) = self.server.execute(question, *arguments)
        return answer

    async def end(self) -> None:
        for store in self._stores:
            await store.close()
        for connection in self._connections:
            connection.terminate()


def event(
    store: PostgresStore,
    organization_id: str,
    payload: bytes = b"1",
    **fields: Any,  # noqa: ANN401 - of NewEvent
) -> NewEvent:
    """An event that is not stored yet."""
    return NewEvent(store.ids.new(ids.EVENT), organization_id, "order.created", payload, **fields)


async def until(holds: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Wait for a moment that will come by itself."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        held = holds()
        if await held if inspect.isawaitable(held) else held:
            return
        assert time.monotonic() < give_up, f"not within {PATIENCE_S} s: {what}"
        await asyncio.sleep(0.005)


@pytest.fixture
def database(postgres: Postgres, run: Run) -> Iterator[Database]:
    database = Database(postgres)
    yield database
    run(database.end())
    postgres.drop_database(database.name)
