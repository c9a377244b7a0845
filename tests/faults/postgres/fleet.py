"""Several processes of the product on one PostgreSQL, with clients and receivers around them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import asyncpg
from tests.faults import invariants
from tests.faults.endpoint import FLAKY_PATIENCE
from tests.faults.invariants import Dump
from tests.faults.postgres import records
from tests.faults.rig import Run
from tests.faults.server import PATIENCE_S, Server, until
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy

from triggers_api.testing import Answer

FREED_WITHIN_S: Final = 10.0
"""Seconds after which the work of a process that fell silent is in somebody else's hands."""

_LOOK_EVERY_S: Final = 0.2
_START_AGAIN_S: Final = 0.2


class Front:
    """Servers behind one address, in turn."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = itertools.cycle(servers)

    async def call(self, method: str, path: str, body: bytes, /) -> Answer:
        """Make one request, of the next one."""
        return await next(self._servers).call(method, path, body)

    def poll(self) -> None:
        """Somebody is always started again."""


class Fleet(Run):
    """Use it with ``async with``; then :meth:`start` it, and add endpoints."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        postgres: Postgres,
        *,
        apis: int = 0,
        workers: int = 0,
        wholes: int = 0,
        database: str | None = None,
        **settings: Any,  # noqa: ANN401 - the product's own
    ) -> None:
        """Nothing runs yet.

        Args:
            folder: for the logs.
            seed: of everything random.
            postgres: the server.
            apis: processes that take events in.
            workers: processes that route and deliver.
            wholes: processes that do everything.
            database: its name; by default a new one that has the schema.
            settings: of all processes.
        """
        super().__init__(folder, seed)
        self.postgres = postgres
        self.database = postgres.migrated_database() if database is None else database
        self._settings: dict[str, Any] = {
            "database_url": postgres.url(self.database),
            "retry_schedule": FLAKY_PATIENCE,
        } | settings
        self.wholes = [self._server(f"whole-{n}") for n in range(wholes)]
        self.apis = [self._server(f"api-{n}", role="api") for n in range(apis)]
        self.workers = [self._server(f"worker-{n}", command="worker") for n in range(workers)]
        self.takers = [*self.wholes, *self.apis]
        """Those that take events in."""
        self._front = Front(self.takers)
        self.server = self.takers[0]

    def _server(self, name: str, **options: Any) -> Server:  # noqa: ANN401 - the server's own
        return Server(self.folder, name=name, **(self._settings | options))

    @property
    def all(self) -> list[Server]:
        """Every process."""
        return [*self.wholes, *self.apis, *self.workers]

    @property
    def front(self) -> Front:
        """Where clients post to: to each process that takes events in, in turn."""
        return self._front

    async def __aenter__(self) -> Self:
        for server in self.all:
            await self._stack.enter_async_context(server)
        return self

    async def start(self, through: Mapping[Server, Proxy] | None = None) -> None:
        """Start all of them, the first one first: it makes what all of them need.

        Args:
            through: what stands between some of them and the database.
        """

        async def start(server: Server) -> None:
            proxy = (through or {}).get(server)
            url = self._settings["database_url"]
            await server.start(database_url=url if proxy is None else proxy.url(str(url)))

        await start(self.server)
        await asyncio.gather(*(start(each) for each in self.all if each is not self.server))

    async def stop(self) -> None:
        """Stop all of them in order."""
        codes = await asyncio.gather(*(server.stop() for server in self.all))
        assert set(codes) == {0}, f"exit codes {codes}"

    @asynccontextmanager
    async def supervised(self, *servers: Server) -> AsyncIterator[None]:
        """Whoever of these ends is started again, as a supervisor does; at the end all of them run."""
        ending = asyncio.Event()

        async def keep(server: Server) -> None:
            while True:
                if server.poll() is not None:
                    server.launch()
                try:
                    async with asyncio.timeout(_START_AGAIN_S):
                        await ending.wait()
                        break
                except TimeoutError:
                    pass
            if server.poll() is not None:
                server.launch()
            await server.started()

        keepers = [asyncio.create_task(keep(server)) for server in servers]
        try:
            yield
        finally:
            ending.set()
            await asyncio.gather(*keepers)

    # ── what is seen of them ──────────────────────────────────────────────────────────────────

    async def metric(self, name: str, *, servers: Sequence[Server] = (), **labels: str) -> float:
        """The sum of a metric over all processes, or some of them."""
        return sum([await server.metric(name, **labels) for server in servers or self.all])

    def logged(self, event: str) -> Iterator[dict[str, Any]]:
        """The lines in which any process reports this, also one that was killed since."""
        for server in self.all:
            yield from server.logged(event)

    async def ready(self, *, within_s: float = PATIENCE_S) -> float:
        """Wait until every process says that it is ready; returns the seconds it took."""
        return await until(
            self._all_ready, "every process is ready", within_s=within_s, look_every_s=0.05
        )

    async def _all_ready(self) -> bool:
        try:
            answers = [await server.ready() for server in self.all]
        except aiohttp.ClientError:
            return False
        return all(answer.status == 200 for answer in answers)

    async def dump(self) -> Dump:
        """The database as it is now."""
        return await records.read(self.postgres.url(self.database))

    async def check_after_healing(
        self, *, within_s: float = 60.0, set_aside: Sequence[str] = ()
    ) -> Dump:
        """Wait until nothing is left to be done, stop all in order, and check everything.

        Args:
            within_s: until when nothing may be left.
            set_aside: types of events that routing was made to fail for.
        """
        await self.healed(within_s=within_s, look_every_s=_LOOK_EVERY_S)
        invariants.balanced(await self.server.admin("GET", "/verify"))
        await self.ready()
        await self.stop()
        found = await self.dump()
        self.invariants.check(found, set_aside=set_aside)
        for server in self.all:
            invariants.quiet(server.log, self.secrets())
        return found


@asynccontextmanager
async def held(url: str, statement: str) -> AsyncIterator[None]:
    """An operator's transaction stays open behind its first statement, with the locks that it took."""
    operator: Any = await asyncpg.connect(url)
    try:
        async with operator.transaction():
            await operator.execute(statement)
            yield
    finally:
        await operator.close()
