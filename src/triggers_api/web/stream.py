"""An answer that goes on: what happens, as it happens."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, suppress

from triggers_api.http.body import Receive
from triggers_api.http.wire import Send

_SEND_WITHIN_S = 60.0


class Stream:
    """Server-sent events until the browser is gone, the session over, or the service about to end."""

    def __init__(
        self,
        messages: AsyncIterator[bytes],
        *,
        goes_on: Callable[[], bool],
        counted: AbstractContextManager[None],
    ) -> None:
        """Set up.

        Args:
            messages: whole messages; at least one a second, if only an empty one, so that an end is
                seen.
            goes_on: whether more may be sent.
            counted: is held as long as it is open.
        """
        self._messages = messages
        self._goes_on = goes_on
        self._counted = counted

    async def __call__(
        self, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]
    ) -> None:
        """Send them."""
        with self._counted:
            await self._tell(receive, send, headers)

    async def _tell(self, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        own = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
        own.append((b"cache-control", b"no-store"))
        await send({"type": "http.response.start", "status": 200, "headers": own + headers})
        gone = asyncio.ensure_future(_gone(receive))
        try:
            async for message in self._messages:
                if gone.done() or not self._goes_on():
                    break
                if message:
                    async with asyncio.timeout(_SEND_WITHIN_S):
                        await send(
                            {"type": "http.response.body", "body": message, "more_body": True}
                        )
            if not gone.done():
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            return
        finally:
            gone.cancel()


async def _gone(receive: Receive) -> None:
    with suppress(OSError):
        while (await receive())["type"] != "http.disconnect":
            pass
