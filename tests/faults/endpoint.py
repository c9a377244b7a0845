"""A receiver that keeps a record of what it was sent and what it answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Self

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

Behaviour = Callable[["Exchange"], Awaitable[int | None]]
"""Decides the status of an answer; ``None`` breaks the connection instead."""


@dataclass
class Exchange:
    """A request, and what became of it: ``answered`` is ``None`` while or when nothing was."""

    event_id: str
    delivery_id: str
    attempt: int
    body: bytes
    headers: dict[str, str]
    fault: str | None
    answered: int | None = None

    @property
    def payload(self) -> bytes:
        """The event's payload as it was sent in the standard envelope."""
        return self.body.partition(b'"data":')[2][:-1]


@dataclass
class Endpoint:
    """An HTTP server on this machine; give it the ``secret`` of its subscription."""

    name: str
    behave: Behaviour
    secret: str = ""
    location: str = ""
    """Where its answers point to."""
    says: str | None = None
    """The body of its answers."""
    exchanges: list[Exchange] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=32 << 20)
        application.router.add_route("*", "/{rest:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/{self.name}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        exchange = Exchange(
            event_id=headers.get("webhook-id", ""),
            delivery_id=headers.get("x-triggers-delivery-id", ""),
            attempt=int(headers.get("x-triggers-attempt", "0")),
            body=await request.read(),
            headers=headers,
            fault=None,
        )
        exchange.fault = self.verify(exchange)
        self.exchanges.append(exchange)
        self.arrived.set()
        status = await self.behave(exchange)
        if status is None:
            if request.transport is not None:
                request.transport.abort()
            raise asyncio.CancelledError
        # Written down before it is sent: the sender cannot know of an answer that is not here.
        exchange.answered = status
        return web.Response(
            status=status,
            text=self.says,
            headers={"location": self.location} if self.location else None,
        )

    def verify(self, exchange: Exchange) -> str | None:
        """What is wrong with a request by the reference implementation of Standard Webhooks."""
        try:
            Webhook(self.secret).verify(exchange.body, exchange.headers)
        except WebhookVerificationError as error:
            return f"signature: {error}"
        except ValueError as error:
            return f"body: {error}"
        return None

    async def wait_for(self, count: int) -> None:
        """Until so many requests have come."""
        while len(self.exchanges) < count:
            self.arrived.clear()
            await self.arrived.wait()

    def event_ids(self) -> set[str]:
        """The events that arrived."""
        return {exchange.event_id for exchange in self.exchanges}


async def healthy(_: Exchange) -> int:
    """Always well."""
    return 204


def flaky(rng: random.Random) -> Behaviour:
    """Mostly well; now and then slow, failing, or gone in the middle."""

    async def behave(_: Exchange) -> int | None:
        luck = rng.random()
        if luck < 0.05:
            return None
        if luck < 0.25:
            return rng.choice((500, 503, 404, 429))
        if luck < 0.35:
            await asyncio.sleep(rng.random() * 0.05)
        return 204

    return behave


FLAKY_PATIENCE: Final = ",".join(["0.02"] * 40)
"""A retry schedule that outlasts a flaky endpoint."""
