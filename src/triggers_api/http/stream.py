"""``GET /api/events/stream``: the log as server-sent events (WHATWG HTML, 9.2).

A stream is a place in the log and nothing else: what a slow reader has not taken is not read, and one
that comes back with ``Last-Event-ID`` goes on behind that event, on whichever process.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from triggers_api.errors import Unavailable
from triggers_api.http.body import Receive
from triggers_api.http.readers import Readers
from triggers_api.http.wire import HEAD_ONLY, Send, to_json
from triggers_api.model.event import Event
from triggers_api.model.text import glob_matches
from triggers_api.store.base import Store

COMMENT_EVERY_S: Final = 15.0
SEND_WITHIN_S: Final = 60.0
"""How long a reader may take for what it was sent."""

_AT_ONCE: Final = 20
_BYTES_AT_ONCE: Final = 256 << 10
"""How much is held for a reader who may be slow, unless a single event is more."""
_LOOK_EVERY_S: Final = 1.0
_LOOK_AGAIN_S: Final = 0.05
"""A notice comes when an event is committed; until it can be told others may have to commit."""
_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"x-accel-buffering", b"no"),  # a proxy would wait for more
]
_COMMENT: Final = b": \n\n"
_END_OF_LINE: Final = re.compile(rb"\r\n|\r|\n")


class EventStream:
    """The answer to one request, an ASGI application."""

    def __init__(
        self,
        store: Store,
        organization_id: str,
        *,
        after: str | None,
        pattern: str | None,
        may_read: Callable[[], bool],
        ending: Callable[[], bool],
        readers: Readers,
    ) -> None:
        """Nothing is sent yet.

        Args:
            store: whose log it is.
            organization_id: whose events.
            after: the position to begin behind; ``None``: at the first event.
            pattern: of the types to be sent; ``None``: of all.
            may_read: whether the key that asked is still good; the stream ends with it.
            ending: whether the service is about to end, and its streams with it.
            readers: all there are, and how many there may be.
        """
        self._store = store
        self._organization_id = organization_id
        self._after = after
        self._pattern = pattern
        self._may_read = may_read
        self._ending = ending
        self._readers = readers
        self._at_once = 1

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI's
        """Send events until the reader is gone.

        Raises:
            RateLimited: the organization has as many readers as it may have; nothing is sent.
        """
        self._readers.check(self._organization_id)
        if HEAD_ONLY in scope:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": b""})
            return
        with self._readers.reading(self._organization_id):
            await self._tell(receive, send)

    async def _tell(self, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            async for part in self._parts(gone):
                async with asyncio.timeout(SEND_WITHIN_S):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            if not gone.done():
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            return  # it takes nothing; without an end it knows that this was not all
        finally:
            gone.cancel()

    async def _parts(self, gone: "asyncio.Future[None]") -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        heard = await self._store.wait_log(-1, 0.0)
        yield _COMMENT  # the head is out, also of a stream on which nothing happens
        said_at = loop.time()
        look_again = False
        while not gone.done() and not self._ending():
            part = await self._next()
            if not self._may_read():
                return
            if part:
                yield part
            elif part is None:
                before = heard
                wait_s = _LOOK_AGAIN_S if look_again else _LOOK_EVERY_S
                heard = await self._store.wait_log(heard, wait_s)
                look_again = heard != before
            if part:
                said_at = loop.time()
            elif loop.time() - said_at >= COMMENT_EVERY_S:
                yield _COMMENT
                said_at = loop.time()

    async def _next(self) -> bytes | None:
        """What comes next, empty where nothing of it is wanted; ``None`` when there is no more yet."""
        try:
            page = await self._store.log(self._organization_id, self._after, self._at_once)
            if not page.events:
                return None
            events, position = page.events, page.position
            held = _fitting(events)
            self._at_once = min(_AT_ONCE, 2 * held)
            if held < len(events):
                known = await self._store.log_position(self._organization_id, events[held - 1].id)
                if known is not None:
                    events, position = events[:held], known
        except Unavailable:
            return None  # the reader keeps its place; health says what is wrong
        self._after = position
        return b"".join(
            _written(event)
            for event in events
            if self._pattern is None or glob_matches(self._pattern, event.type)
        )


def _fitting(events: Sequence[Event]) -> int:
    """How many are held at once for a reader: one, or as many as are not too large together."""
    size = 0
    for count, event in enumerate(events):
        size += len(memoryview(event.payload))
        if size > _BYTES_AT_ONCE:
            return max(1, count)
    return len(events)


def _written(event: Event) -> bytes:
    """A message. A payload may have line ends of its own, of which each has to begin a new line here."""
    lines = b"".join(b"data: %b\n" % line for line in _END_OF_LINE.split(to_json(event)))
    return b"id: %b\n%b\n" % (event.id.encode(), lines)


async def _gone(receive: Receive) -> None:
    """Returns when the reader has hung up."""
    with suppress(OSError):
        while (await receive())["type"] != "http.disconnect":
            pass
