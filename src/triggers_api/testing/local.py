"""The service for tests that have no event loop: it runs in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

from triggers_api.client import AsyncClient, Client
from triggers_api.testing.service import (
    ADMIN_KEY,
    API_KEY,
    Answer,
    FrozenClock,
    Received,
    Receiver,
    Reply,
    Service,
)

T = TypeVar("T")

PATIENCE_S = 60.0
"""Real seconds that anything asked of the service gets."""


class LocalReceiver:
    """A :class:`Receiver` whose waiting blocks."""

    def __init__(self, receiver: Receiver, loop: "_Loop") -> None:
        self._receiver = receiver
        self._loop = loop
        self.url = receiver.url
        self.port = receiver.port

    @property
    def requests(self) -> list[Received]:
        """Everything that came, in order."""
        return self._receiver.requests

    @property
    def ids(self) -> list[str]:
        """The ``webhook-id`` of each request."""
        return self._receiver.ids

    def replies(self, *replies: Reply) -> None:
        """Answer the next requests like this, one after the other; 204 when none is left over."""
        self._receiver.replies(*replies)

    def always(self, reply: Reply) -> None:
        """Answer like this when no reply is left over."""
        self._receiver.always(reply)

    def wait_for(self, count: int, *, timeout_s: float = 30.0) -> list[Received]:
        """Wait until so many requests have come."""
        waiting = self._receiver.wait_for(count, timeout_s=timeout_s)
        return self._loop.run(waiting, within_s=timeout_s + PATIENCE_S)


class LocalService:
    """A :class:`Service` in a thread of its own, with clients that block. Use it with ``with``.

    Attributes:
        clock: its time, which stands still until it is told to pass; ``None`` with real time.
        client: a client of it, with all of an organization's scopes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: FrozenClock | None = None,
        real_time: bool = False,
        **settings: Any,  # noqa: ANN401 - of the settings' own types
    ) -> None:
        """Nothing happens before it is entered.

        Args:
            folder: where the database goes; enter another one on the same folder to restart.
            clock: its time; a new one if not given.
            real_time: time is real, and what the background parts do they do by themselves.
            settings: fields of :class:`~triggers_api.settings.Settings`.
        """
        self.clock = None if real_time else clock or FrozenClock()
        given = settings if self.clock is None else {"clock": self.clock, **settings}
        self._service = Service(folder, **given)
        self._loop = _Loop()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._loop)
            stack.enter_context(self._loop.inside(self._service))
            self.url = self._service.url
            self.api_key, self.admin_key = API_KEY, ADMIN_KEY
            self.client = stack.enter_context(Client(self.url, API_KEY))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def async_client(self) -> AsyncClient:
        """A client for the test's own event loop."""
        return AsyncClient(self.url, self.api_key)

    def receiver(self) -> LocalReceiver:
        """A new endpoint for webhooks on this machine; answers 204 unless told otherwise."""
        receiver = Receiver()
        self._stack.enter_context(self._loop.inside(receiver))
        return LocalReceiver(receiver, self._loop)

    def drain(self) -> None:
        """Route and deliver everything that is due now, in the foreground.

        What is to be tried again later stays: let the clock advance and drain again.
        """
        self._loop.run(self._service.drain())

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:  # noqa: ANN401
        """Make one request to the API, as :meth:`Service.call` does."""
        return self._loop.run(self._service.call(method, path, body, **options))


class _Loop:
    """An event loop in a thread."""

    def __enter__(self) -> Self:
        ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(ready)), name="triggers-service", daemon=True
        )
        self._thread.start()
        self._loop = ready.result(PATIENCE_S)
        return self

    async def _main(self, ready: "Future[asyncio.AbstractEventLoop]") -> None:
        self._end = asyncio.Event()
        ready.set_result(asyncio.get_running_loop())
        await self._end.wait()

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE_S)

    def run(self, main: Coroutine[Any, Any, T], *, within_s: float = PATIENCE_S) -> T:
        """A coroutine's result."""
        return asyncio.run_coroutine_threadsafe(main, self._loop).result(within_s)

    def inside(self, entered: AbstractAsyncContextManager[object]) -> "_Inside":
        """The same, entered and left within the loop."""
        return _Inside(self, entered)


class _Inside:
    def __init__(self, loop: _Loop, entered: AbstractAsyncContextManager[object]) -> None:
        self._loop = loop
        self._entered = entered

    def __enter__(self) -> None:
        self._loop.run(_enter(self._entered))

    def __exit__(self, *_: object) -> None:
        self._loop.run(_leave(self._entered))


async def _enter(entered: AbstractAsyncContextManager[object]) -> None:
    await entered.__aenter__()


async def _leave(entered: AbstractAsyncContextManager[object]) -> None:
    await entered.__aexit__(None, None, None)
