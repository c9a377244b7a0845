"""One HTTP/1.1 connection to a receiver: a POST goes out, the beginning of its answer comes back.

What an answer may be is bounded here, in bytes; how long it may take is the caller's deadline.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Final, cast

import httptools
import msgspec

from triggers_api.model.attempt import RESPONSE_HEADERS_LIMIT

BODY_LIMIT: Final = 16 * 1024
"""How many bytes of an answer's body are read and kept."""

_HEAD_LIMIT: Final = 64 * 1024
_HEADER_LIMIT: Final = 256
_SWITCHING_PROTOCOLS: Final = 101

# How far an answer has come; looked at many times for each, and a member of an enumeration is slow.
_HEAD: Final = 0
_BODY: Final = 1
_END: Final = 2


class RequestFailed(Exception):
    """No complete answer.

    Attributes:
        code: what happened, one of ``model.outcome.ERRORS``.
        permanent: waiting will not change it.
    """

    def __init__(self, code: str, *, permanent: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.permanent = permanent


class Course:
    """When each phase of an attempt began, by ``perf_counter``; it ended when the next one began.

    ``None`` for what was not gone through; a kept connection spares the first three.
    """

    __slots__ = ("connect", "dns", "rest", "sent", "tls")

    def __init__(self) -> None:
        self.dns: float | None = None
        self.connect: float | None = None
        self.tls: float | None = None
        self.sent: float | None = None
        self.rest: float | None = None

    def timings(
        self, ended: float
    ) -> tuple[float | None, float | None, float | None, float | None]:
        """Milliseconds of dns, connect, tls, and from sending to the first byte."""
        rest = ended if self.rest is None else self.rest
        sent = rest if self.sent is None else self.sent
        first_byte = None if self.sent is None else _ms(rest - sent)
        if self.connect is None and self.dns is None:
            return None, None, None, first_byte
        tls = sent if self.tls is None else self.tls
        connect = tls if self.connect is None else self.connect
        return (
            None if self.dns is None else _ms(connect - self.dns),
            None if self.connect is None else _ms(tls - connect),
            None if self.tls is None else _ms(sent - tls),
            first_byte,
        )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a receiver answered.

    Attributes:
        status_code: 101 to 999.
        retry_after: the header as it came, if it did.
        control: the header ``webhook-delivery`` as it came, if it did.
        headers: as they came, as many as fit into ``RESPONSE_HEADERS_LIMIT`` bytes.
        body: at most :data:`BODY_LIMIT` bytes of it, not decompressed.
    """

    status_code: int
    retry_after: bytes | None
    control: bytes | None
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Connection(asyncio.Protocol):
    """One exchange at a time. Whoever is not idle afterwards is cut, never closed in a friendly way:

    asyncio keeps a connection that is closed open until the other side has taken everything that was
    written to it, which a receiver that does not read can put off for ever.
    """

    def __init__(
        self,
        *,
        idle: "Callable[[Connection], None]",
        lost: "Callable[[Connection], None]",
    ) -> None:
        """Set up, to be connected by ``loop.create_connection``.

        Args:
            idle: called after an exchange that left the connection fit for another one.
            lost: called once, when it is closed.
        """
        self._loop = asyncio.get_running_loop()
        self._idle = idle
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        self._asking: asyncio.Future[Answer] | None = None
        self._course: Course | None = None
        self._until = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self.idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        self._part = _HEAD
        self._head_size = self._headers = 0
        self._sized = self._fit = False
        self._forget_head()
        self._body = b""

    def _forget_head(self) -> None:
        self._retry_after: bytes | None = None
        self._control: bytes | None = None
        self._kept: list[tuple[bytes, bytes]] = []
        self._kept_size = 0

    async def exchange(self, request: bytes, course: Course, *, until: float) -> Answer:
        """Send a request and wait for its answer; to be cancelled is to be cut.

        Args:
            request: the bytes.
            course: is told when the phases from here on begin.
            until: when to give up, by the loop's clock.

        Raises:
            RequestFailed: ``bad-response``, ``connection-lost`` or ``timeout``.
        """
        if self._transport.is_closing():
            raise RequestFailed("connection-lost")
        self._asking = self._loop.create_future()
        self._until = until
        if self._alarm is None or self._alarm.when() > until:
            self._set_alarm()
        course.sent = perf_counter()
        self._course = course
        self._transport.write(request)
        try:
            return await self._asking
        except BaseException:
            self.cut()
            raise

    def cut(self) -> None:
        """Close it now, whatever has not been sent or read."""
        self._asking = None
        self._transport.abort()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(self._until, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._asking is None:
            return
        # One alarm for many exchanges: it may be one of an earlier exchange that rings.
        if self._loop.time() < self._until:
            self._set_alarm()
        else:
            self._fail("timeout")

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent over it."""
        return self._transport.is_closing()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        # uvloop's are transports by their methods, not by their class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take a piece of the answer."""
        if self._asking is None:
            # Nobody asked: what this is an answer to would be anyone's guess.
            self.cut()
            return
        if self._course is not None:
            self._course.rest = perf_counter()
            self._course = None
        if self._part == _HEAD:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fit = False
        except httptools.HttpParserError:
            self._fail("bad-response")
            return
        if self._headers > _HEADER_LIMIT:
            self._fail("bad-response")
        elif self._part == _END:
            self._answer()
        elif self._part == _BODY:
            if len(self._body) >= BODY_LIMIT:
                self._fit = False
                self._answer()
        elif self._head_size > _HEAD_LIMIT:
            self._fail("bad-response")

    def eof_received(self) -> bool:
        """The other side sends no more, which is the end of a body without a length."""
        if self._asking is not None and self._part == _BODY and not self._sized:
            self._fit = False
            self._answer()
        else:
            self._fail("connection-lost")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed, by whomever."""
        del exc
        if self._alarm is not None:
            self._alarm.cancel()
        self._fail("connection-lost")
        self._lost(self)

    def _answer(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None and not asking.done():
            asking.set_result(
                Answer(
                    self._parser.get_status_code(),
                    self._retry_after,
                    self._control,
                    tuple(self._kept),
                    self._body[:BODY_LIMIT],
                )
            )
        # An answer may come before all of the request has gone out; the rest would be taken for the
        # beginning of the next one.
        if self._fit and not self._has_unsent():
            self._begin()
            self.idle_since = self._loop.time()
            self._idle(self)
        else:
            self._transport.abort()

    def _has_unsent(self) -> bool:
        # What asyncio's TLS has handed to the transport below, it counts no more itself.
        tls = getattr(self._transport, "_ssl_protocol", None)
        below = getattr(tls, "_transport", None)
        return bool(
            self._transport.get_write_buffer_size()
            or (below is not None and below.get_write_buffer_size())
        )

    def _fail(self, code: str) -> None:
        asking, self._asking = self._asking, None
        if asking is not None and not asking.done():
            asking.set_exception(RequestFailed(code))
        self._transport.abort()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """An answer begins, the interim ones included."""
        if self._part == _END:
            self._fit = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or trailer."""
        self._headers += 1
        if self._part != _HEAD:
            return  # a trailer, which says nothing that counts
        self._kept_size += len(name) + len(value)
        if self._kept_size <= RESPONSE_HEADERS_LIMIT:
            self._kept.append((name, value))
        match name.lower():
            case b"content-length" | b"transfer-encoding":
                self._sized = True
            case b"retry-after":
                self._retry_after = value
            case b"webhook-delivery":
                self._control = value

    def on_headers_complete(self) -> None:
        """The head is there."""
        if self._part == _HEAD:
            self._part = _BODY

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._part == _BODY and len(self._body) < BODY_LIMIT:
            self._body += body

    def on_message_complete(self) -> None:
        """The end of an answer."""
        if self._part == _END:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != _SWITCHING_PROTOCOLS:
            # Interim: forget it, but not how much it was.
            self._part = _HEAD
            self._sized = False
            self._forget_head()
            return
        self._part = _END
        self._fit = status != _SWITCHING_PROTOCOLS and self._parser.should_keep_alive()
