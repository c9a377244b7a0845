"""Calls carried out in an event loop, and the lists that are made of them."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

import msgspec

from triggers_api.client import requests
from triggers_api.client.aiosockets import AioSockets, AioStream
from triggers_api.client.attempts import Attempts, Lost
from triggers_api.client.calls import Call
from triggers_api.client.following import Following
from triggers_api.client.models import Page
from triggers_api.client.settings import ClientSettings

T = TypeVar("T")


class AioCarrier:
    """Carries calls out: attempts, pauses, and what comes of them."""

    def __init__(self, settings: ClientSettings, sockets: "_Sockets | None" = None) -> None:
        self.settings = settings
        self._sockets = sockets or _Sockets(settings)

    async def __call__(self, call: Call[T]) -> T:
        """The answer to a call.

        Raises:
            ClientError: there is none, or it is a refusal.
        """
        settings = self.settings
        request_id = secrets.token_hex(16)
        headers = settings.with_body({"X-Request-Id": request_id}, call.body)
        attempts = Attempts(
            call,
            settings.retry,
            timeout_s=settings.timeout_s,
            attempt_timeout_s=settings.attempt_timeout_s,
            request_id=request_id,
            clock=asyncio.get_running_loop().time,
        )
        while True:
            try:
                answer = await self._sockets.made().exchange(
                    call.method, call.path, headers, call.body, timeout_s=attempts.timeout_s()
                )
            except Lost as lost:
                pause_s = attempts.after_loss(lost)
            else:
                again_s = attempts.after_answer(answer)
                if again_s is None:
                    return call.decode(answer)
                pause_s = again_s
            await asyncio.sleep(pause_s)

    async def follow(self, following: Following) -> AioStream:
        """An answer that does not end.

        Raises:
            Lost: there is none.
        """
        return await self._sockets.made().stream(
            following.path,
            {**self.settings.headers, **following.headers},
            timeout_s=self.settings.attempt_timeout_s,
            silence_s=following.silence_s,
        )

    def with_timeout(self, timeout_s: float) -> "AioCarrier":
        """The same over the same connections, with another time for each call."""
        settings = msgspec.structs.replace(self.settings, timeout_s=timeout_s)
        return AioCarrier(settings, self._sockets)

    async def close(self) -> None:
        """Close the connections."""
        await self._sockets.close()


class _Sockets:
    """The connections, made where there is a loop: a client may be made where there is none yet."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._sockets: AioSockets | None = None

    def made(self) -> AioSockets:
        if self._sockets is None:
            self._sockets = AioSockets(self._settings.shown, self._settings.context)
        return self._sockets

    async def close(self) -> None:
        sockets, self._sockets = self._sockets, None
        if sockets is not None:
            await sockets.close()


class AsyncListing(Generic[T]):
    """A list that is fetched page by page, as far as it is asked for."""

    def __init__(self, run: AioCarrier, fetch: requests.Fetch[T], cursor: str | None) -> None:
        self._run = run
        self._fetch = fetch
        self._cursor = cursor

    async def page(self, cursor: str | None = None) -> Page[T]:
        """One page: the first one, or that of a cursor."""
        return await self._run(self._fetch(cursor or self._cursor))

    async def pages(self) -> AsyncIterator[Page[T]]:
        """Page after page."""
        page = await self.page()
        yield page
        while page.next_cursor is not None:
            page = await self.page(page.next_cursor)
            yield page

    async def first(self) -> T | None:
        """The first one, if there is any."""
        async for each in self:
            return each
        return None

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for each in page.data:
                yield each
