"""A server with clients and receivers around it, and the check of all three records."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from tests.faults import invariants
from tests.faults.endpoint import FLAKY_PATIENCE, Behaviour, Endpoint, healthy
from tests.faults.history import History, Outcome, Request, Target, load
from tests.faults.invariants import Dump, Invariants, Subscriber
from tests.faults.server import PATIENCE_S, Server, until
from tests.faults.states import SEEN_WITHIN_S, SLACK_S

from triggers_api.testing import ADMIN_KEY, API_KEY


class Run:
    """Clients and receivers around a service, with what each of them knows."""

    server: Server
    """Whom the operator asks."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Nothing runs yet."""
        self.folder = folder
        self.seed = seed
        self.rng = random.Random(seed)
        self.history = History(self.rng)
        self.subscribers: list[Subscriber] = []
        self.invariants = Invariants(self.history, self.subscribers)
        self._stack = AsyncExitStack()

    @property
    def front(self) -> Target:
        """Where clients post to."""
        return self.server

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.server)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def endpoint(
        self, name: str, behave: Behaviour, event_types: Sequence[str] = ("*",), **fields: object
    ) -> Endpoint:
        """An endpoint with a subscription; the server must be running."""
        endpoint = await self._stack.enter_async_context(Endpoint(name, behave))
        made = await self.server.subscribe(endpoint.url, event_types, **fields)
        endpoint.secret = made["secret"]
        self.subscribers.append(Subscriber(made["id"], event_types, endpoint))
        return endpoint

    def requests(self, count: int, types: Sequence[str] = ("order.created",)) -> list[Request]:
        """Events that nobody has posted yet."""
        return [self.history.new(self.rng.choice(types)) for _ in range(count)]

    async def post(self, count: int = 1, *, clients: int = 16) -> list[Request]:
        """Post new events."""
        requests = self.requests(count)
        await load(self.front, self.history, requests, clients=clients)
        return requests

    async def repeat_unknown(self, *, share: float = 1.0) -> None:
        """Post again, with the same dedup_id, what may or may not be stored."""
        again = [
            request
            for request in self.history.of(Outcome.UNKNOWN)
            if request.dedup_id is not None and self.rng.random() < share
        ]
        await load(self.front, self.history, again)

    async def healed(self, *, within_s: float = 60.0, look_every_s: float = 0.1) -> None:
        """Wait until nothing is left to be done."""
        await until(self.server.idle, "nothing waits", within_s=within_s, look_every_s=look_every_s)

    def secrets(self) -> list[str]:
        """What no log may have."""
        return [API_KEY, ADMIN_KEY, *(each.endpoint.secret for each in self.subscribers)]


class Rig(Run):
    """One server on a file. Use it with ``async with``; then start it, and add endpoints."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Nothing runs yet."""
        super().__init__(folder, seed)
        self.serve()

    def serve(self, *, bug: str | None = None, **settings: Any) -> Server:  # noqa: ANN401 - its own
        """Have another server than the ordinary one, before it is entered."""
        self.server = Server(
            self.folder, bug=bug, **({"retry_schedule": FLAKY_PATIENCE} | settings)
        )
        return self.server

    async def begin(self, events: int) -> None:
        """Start, and deliver so many to an endpoint that takes them."""
        await self.server.start()
        await self.endpoint("healthy", healthy)
        await self.post(events)
        await self.healed()

    async def _ready(self) -> bool:
        return (await self.server.ready()).status == 200

    def dump(self) -> Dump:
        """The database as its files are now."""
        return invariants.dump(self.server.database, self.folder)

    async def check_after_healing(
        self, *, within_s: float = 60.0, set_aside: Sequence[str] = (), tracebacks: bool = False
    ) -> Dump:
        """Wait until nothing is left to be done, stop the server in order, and check everything.

        Args:
            within_s: until when nothing may be left.
            set_aside: types of events that routing was made to fail for.
            tracebacks: whether the log may have some.
        """
        await self.healed(within_s=within_s)
        invariants.balanced(await self.server.admin("GET", "/verify"))
        await until(self._ready, "the server is ready", within_s=SEEN_WITHIN_S + SLACK_S)
        assert await self.server.stop() == 0
        found = self.dump()
        self.invariants.check(found, set_aside=set_aside)
        invariants.quiet(self.server.log, self.secrets(), tracebacks=tracebacks)
        return found


__all__ = ["PATIENCE_S", "Rig", "Run"]
