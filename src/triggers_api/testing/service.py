"""The real service, a receiver, and a clock in the hand of a test."""

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import msgspec
from aiohttp import web

from triggers_api.app import App, wall_clock
from triggers_api.client.webhook import TOLERANCE_S, Webhook, verify
from triggers_api.failpoints import Failpoints
from triggers_api.http.server import listen
from triggers_api.model.timestamp import Timestamp
from triggers_api.settings import Settings

API_KEY: Final = "trg_test_0123456789abcdef"
ADMIN_KEY: Final = "trg_test_operator_0123456789"
LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


class FrozenClock:
    """Time that passes when you say so. Give it to :class:`Service`."""

    def __init__(self, now: str = "2026-01-01T12:00:00Z") -> None:
        self._now = Timestamp.parse(now)

    def __call__(self) -> Timestamp:
        """The present moment."""
        return self._now

    def advance(self, *, seconds: float) -> None:
        """Let time pass (or, below zero, set the clock back)."""
        self._now = self._now.after(seconds=seconds)


class Received(msgspec.Struct, frozen=True):
    """A request that a :class:`Receiver` got. ``headers`` are by lower-case name."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever was sent
        """The decoded body."""
        return json.loads(self.body)

    def verify(self, secret: str, *, now: float | None = None) -> Webhook:
        """What was received, if it was signed with this secret at about ``now``, in seconds.

        Without ``now`` the time is not looked at.

        Raises:
            InvalidWebhook: it was not.
        """
        tolerance_s = None if now is None else TOLERANCE_S
        return verify(self.headers, self.body, secret, tolerance_s=tolerance_s, now=now)


Reply = int | web.Response | Callable[[Received], Awaitable[web.StreamResponse]]


class Receiver:
    """An endpoint for webhooks on this machine. Answers 204 unless told otherwise."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        """Everything that came, in order."""
        self._replies: list[Reply] = []
        self._always: Reply = 204
        self._arrived = asyncio.Condition()

    def replies(self, *replies: Reply) -> None:
        """Answer the next requests like this, one after the other."""
        self._replies += replies

    def always(self, reply: Reply) -> None:
        """Answer like this when no reply is left over."""
        self._always = reply

    @property
    def ids(self) -> list[str]:
        """The ``webhook-id`` of each request."""
        return [request.headers["webhook-id"] for request in self.requests]

    async def wait_for(self, count: int, *, timeout_s: float = 30.0) -> list[Received]:
        """Wait until so many requests have come."""
        async with asyncio.timeout(timeout_s), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=32 << 20)
        application.router.add_route("*", "/{rest:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port: int = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        received = Received(
            request.method,
            request.path,
            {name.lower(): value for name, value in request.headers.items()},
            await request.read(),
        )
        async with self._arrived:
            self.requests.append(received)
            self._arrived.notify_all()
        reply = self._replies.pop(0) if self._replies else self._always
        if isinstance(reply, int):
            return web.Response(status=reply)
        if isinstance(reply, web.Response):
            return web.Response(status=reply.status, headers=reply.headers.copy(), body=reply.body)
        return await reply(received)


class Answer(msgspec.Struct, frozen=True):
    """What the API answered. ``headers`` are by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever was answered
        """The decoded body."""
        return json.loads(self.body)


class Service:
    """The whole service in this process, on a port of its own, with a database in a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], Timestamp] = wall_clock,
        background: bool | None = None,
        failpoints: str = "",
        **settings: Any,  # noqa: ANN401 - of the settings' own types
    ) -> None:
        """Nothing happens before it is entered.

        Args:
            folder: where the database goes; enter another one on the same folder to restart.
            clock: time, for instance a :class:`FrozenClock`.
            background: run the background parts; without them :meth:`drain` does their work. By
                default they run unless the clock is frozen.
            failpoints: as in ``TRIGGERS_TEST_FAILPOINTS``.
            settings: fields of :class:`~triggers_api.settings.Settings`.
        """
        given: dict[str, Any] = {
            "database_url": f"sqlite:///{folder / 'triggers.db'}",
            "api_key": API_KEY,
            "admin_key": ADMIN_KEY,
            "allow_cidrs": LOOPBACK,
            "port": 0,
        }
        self.settings = Settings(**(given | settings))
        self.app = App(self.settings, clock=clock, failpoints=Failpoints(failpoints))
        self._background = not isinstance(clock, FrozenClock) if background is None else background
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            listener = listen(self.settings.host, self.settings.port)
            stack.callback(listener.close)
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            await stack.enter_async_context(self.app)
            if self._background:
                self.app.start()
            server = self.app.server()
            serving = asyncio.create_task(server.serve(sockets=[listener]))

            async def end() -> None:
                server.should_exit = True
                await serving

            stack.push_async_callback(end)
            self._session = await stack.enter_async_context(
                aiohttp.ClientSession(trust_env=False, auto_decompress=False)
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - bytes go as they are, everything else as JSON
        *,
        key: str | None = API_KEY,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one request to the API."""
        sent: dict[str, str] = {}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        async with self._session.request(
            method, self.url + path, data=data, headers=sent | dict(headers or {})
        ) as answer:
            names = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, names, await answer.read())

    async def send(
        self,
        event_type: str,
        payload: Any = None,  # noqa: ANN401 - JSON
        **fields: Any,  # noqa: ANN401 - JSON
    ) -> Answer:
        """Send one event."""
        return await self.call(
            "POST", "/api/events", {"type": event_type, "payload": payload, **fields}
        )

    async def subscribe(
        self,
        url: str,
        event_types: Sequence[str] = ("*",),
        **fields: Any,  # noqa: ANN401 - JSON
    ) -> dict[str, Any]:
        """Make a subscription; the answer has its ``secret``."""
        answer = await self.call(
            "POST",
            "/api/subscriptions",
            {"url": url, "event_types": list(event_types), **fields},
        )
        if answer.status != 201:
            raise AssertionError(f"{answer.status}: {answer.body.decode()}")
        created: dict[str, Any] = answer.json
        return created

    async def drain(self) -> None:
        """Route and deliver everything that is due now, on the real path, in the foreground.

        What is to be tried again later stays: let the clock advance and drain again.
        """
        if self._background:
            raise RuntimeError("the background parts are running; they do this by themselves")
        await self.app.switches.run_once()
        buffer = self.app.buffer
        while True:
            if buffer is not None:
                await buffer.consumer.run_once()
            await self.app.expiry.run_once()
            await self.app.processor.run_once()
            await self.app.dispatcher.run_once()
            settled = await self.app.dispatcher.rest()
            await self.app.prober.run_once()
            await self.app.farewells.run_once()
            await self.app.outbox.run_once()
            await self.app.jobs.run_once()
            claimed = self.app.processor.claimed or self.app.dispatcher.claimed
            claimed = claimed or (0 if buffer is None else buffer.consumer.landed)
            if not (settled or claimed or self.app.outbox.told or self.app.jobs.worked):
                return
