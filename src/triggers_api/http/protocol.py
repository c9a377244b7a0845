"""The server's HTTP/1.1 protocol: uvicorn's on httptools, with what it lacks.

- Bounds: a request's head may have 32 KiB and 10 seconds, a body 30 seconds; of a body that nobody
  reads, because the answer was sent early, the server discards at most 64 MiB before it hangs up.
- Order: what cannot be parsed ends the connection behind the answers to what came before it.
- An offer to speak another protocol is declined (RFC 9110, 7.8) without losing the body it came with.
- A lane of its own for the one hot route: a plain ``POST /api/events`` whose body comes with its
  length is handed over as headers and bytes, and answered with one write. No scope, no task, no
  messages: through ASGI these cost as much as everything the request is for
  (docs/decisions/0001-framework.md). Whatever is not plain takes the ordinary way through ASGI and
  gets the same answer from the same code.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from triggers_api.http.body import BODY_TIMEOUT_S

HEAD_LIMIT: Final = 32 << 10
HEAD_TIMEOUT_S: Final = 10.0
DISCARD_LIMIT: Final = 64 << 20
LANE_BODY_LIMIT: Final = 48 << 10
"""Larger bodies need flow control and go the ordinary way."""

Headers = list[tuple[bytes, bytes]]


Answer = tuple[int, Headers, bytes]
"""Status, headers (``content-length`` included) and body."""


class Pending(Protocol):
    """A request whose answer waits for something."""

    awaited: "asyncio.Future[Any]"

    def finish(self) -> Answer:
        """The answer, once ``awaited`` is done. Never raises."""


class Lane(Protocol):
    """Who takes the requests of the hot route."""

    path: bytes

    def begin(self, headers: Headers, body: bytes) -> Answer | Pending:
        """Take a request: answer it at once, or say what its answer waits for. Never raises."""

    def late(self, headers: Headers) -> Answer:
        """The answer to a request whose body did not come in time. Never raises."""


class _NoEvent:
    """Stands in for the event by which an ASGI application waits for its body."""

    def set(self) -> None:
        """Nobody waits."""


class _LaneCycle:
    """What the base class expects of a request under way, and nothing more."""

    __slots__ = ("body", "disconnected", "keep_alive", "more_body", "response_complete")

    message_event = _NoEvent()

    def __init__(self) -> None:
        self.body = b""
        self.more_body = True
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False


class _Lingering:
    """A transport that is closed when the rest of the request has been read, and not before.

    A socket that is closed with bytes in it resets the connection, and the client loses the answer.
    """

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self.close = close

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the transport's
        return getattr(self._transport, name)


class ServerProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, lane: Lane | None = None, **options: Any) -> None:  # noqa: ANN401
        """Uvicorn's arguments, and who takes the hot route."""
        super().__init__(*arguments, **options)
        self._lane = lane
        self._in_message = False
        self._in_head = False
        self._head_size = 0
        self._piece_size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._refusal = 400
        self._discarded = 0
        self._close_at_end = False

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._piece_size = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._refusal)
        else:
            if self._in_message:
                self._await_rest()
            elif self.timeout_keep_alive_task is None and self._is_idle():
                # Line breaks between requests: they are allowed, and nothing to wait for.
                self._timer = self._timer or self.loop.call_later(HEAD_TIMEOUT_S, self._late)

    def _is_idle(self) -> bool:
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    def _decline(self, rest: bytes) -> None:
        # The parser takes a request that offers an upgrade for one without a body.
        head = [b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url)]
        head += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.data_received(b"\r\n".join((*head, b"", rest)))

    # ── bounds ────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._in_message = self._in_head = True
        # Where in the piece the head begins is not known, so its first piece is not counted.
        self._head_size = -self._piece_size
        self._discarded = 0
        super().on_message_begin()

    def _await_rest(self) -> None:
        """The message is not complete with this piece."""
        if self._in_head:
            self._head_size += self._piece_size
            if self._head_size > HEAD_LIMIT:
                self._refuse(431)
                return
        if self._timer is None:
            patience_s = HEAD_TIMEOUT_S if self._in_head else BODY_TIMEOUT_S
            self._timer = self.loop.call_later(patience_s, self._late)

    def _late(self) -> None:
        self._timer = None
        cycle: Any = self.cycle
        if self.transport.is_closing():
            return
        if self._in_head or not self._in_message:
            self._refuse(408)
        elif cycle.response_complete:
            self.transport.close()
        elif type(cycle) is _LaneCycle:
            assert self._lane is not None
            self._reply(cycle, *self._lane.late(self.headers))
            self.transport.close()
        # Where the body is read through ASGI, it is timed there.

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int) -> None:
        """End the connection because of what is not, or not yet, a request."""
        cycle: Any = self.cycle
        if not (cycle is None or cycle.response_complete or cycle.more_body):
            cycle.keep_alive = False
            self.flow.pause_reading()
            return
        self.transport.write(
            STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()

    # ── the lane ──────────────────────────────────────────────────────────────────────────────

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._end_timer()
        if self._head_size >= 0 or self._piece_size > HEAD_LIMIT:
            self._check_head()
        self._check_host()
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("this is no proxy")
        elif self._is_for_lane():
            self.cycle = _LaneCycle()  # type: ignore[assignment]
        else:
            super().on_headers_complete()
            cycle: Any = self.cycle
            if not cycle.keep_alive:
                cycle.transport = _Lingering(self.transport, self._close_behind)

    def _close_behind(self) -> None:
        """Close behind the body that is still coming."""
        if self._in_message:
            self._close_at_end = True
            self._timer = self._timer or self.loop.call_later(BODY_TIMEOUT_S, self._late)
        else:
            self.transport.close()

    def _check_host(self) -> None:
        # RFC 9112, 3.2. What is served does not depend on it, but what is before the service may.
        hosts = [name for name, _ in self.headers].count(b"host")
        if hosts != 1 and (hosts or self.parser.get_http_version() == "1.1"):
            raise ValueError("no host, or several")

    def _check_head(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEAD_LIMIT:
            self._refusal = 431
            raise ValueError("the head is too large")

    def _is_for_lane(self) -> bool:
        lane = self._lane
        cycle: Any = self.cycle
        if (
            lane is None
            or self.url != lane.path
            or self.parser.get_method() != b"POST"
            or self.expect_100_continue
            or not (cycle is None or cycle.response_complete)
            or not self.parser.should_keep_alive()
            or self.parser.get_http_version() != "1.1"
            # Through ASGI an answer waits until the client has taken those before it.
            or self.flow.write_paused
        ):
            return False
        for name, value in self.headers:
            if name == b"content-length":
                return value.isdigit() and int(value) <= LANE_BODY_LIMIT
        return False

    def on_body(self, body: bytes) -> None:
        if self.cycle.response_complete:
            self._discarded += len(body)
            if self._discarded > DISCARD_LIMIT:
                self.transport.close()
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._in_message = False
        self._end_timer()
        super().on_message_complete()
        if self._close_at_end:
            self.transport.close()
            return
        cycle: Any = self.cycle
        if type(cycle) is _LaneCycle and not cycle.response_complete:
            assert self._lane is not None
            reply = self._lane.begin(self.headers, cycle.body)
            if isinstance(reply, tuple):
                self._reply(cycle, *reply)
            else:
                pending = reply
                pending.awaited.add_done_callback(lambda _: self._reply(cycle, *pending.finish()))

    def _reply(self, cycle: _LaneCycle, status: int, headers: Headers, body: bytes) -> None:
        cycle.response_complete = True
        if cycle.disconnected:
            return
        parts = [STATUS_LINE[status]]
        parts += [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        parts += [b"%b: %b\r\n" % header for header in headers]
        parts += (b"\r\n", body) if cycle.keep_alive else (b"connection: close\r\n\r\n", body)
        self.transport.write(b"".join(parts))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()
