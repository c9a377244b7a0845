"""The server's HTTP/1.1 protocol: uvicorn's on httptools, with what it lacks.

- Bounds: a request's head may have 32 KiB and 10 seconds; of a body that nobody reads, because the
  answer was sent early, the server discards at most 64 MiB before it hangs up.
- A lane of its own for the one hot route: a plain ``POST /api/events`` whose body comes with its
  length is handed over as headers and bytes, and answered with one write. No scope, no task, no
  messages: through ASGI these cost as much as everything the request is for
  (docs/decisions/0001-framework.md). Whatever is not plain takes the ordinary way through ASGI and
  gets the same answer from the same code.
"""

import asyncio
from typing import Any, Final, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

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


class ServerProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, lane: Lane | None = None, **options: Any) -> None:  # noqa: ANN401
        """Uvicorn's arguments, and who takes the hot route."""
        super().__init__(*arguments, **options)
        self._lane = lane
        self._in_head = False
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._discarded = 0

    # ── bounds ────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            # The head is not complete with this piece.
            self._head_size += len(data)
            if self._head_size > HEAD_LIMIT:
                self._hang_up(431)
            elif self._head_timer is None:
                self._await_head()

    def on_message_begin(self) -> None:
        self._in_head = True
        self._discarded = 0
        super().on_message_begin()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_late)

    def _end_head(self) -> None:
        self._in_head = False
        self._head_size = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        if not self.transport.is_closing():
            self._hang_up(408)

    def _hang_up(self, status: int) -> None:
        self.transport.write(
            STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()

    # ── the lane ──────────────────────────────────────────────────────────────────────────────

    def on_headers_complete(self) -> None:
        self._end_head()
        if self._is_for_lane():
            self.cycle = _LaneCycle()  # type: ignore[assignment]
        else:
            super().on_headers_complete()

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
            or self.parser.should_upgrade()
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
        super().on_message_complete()
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
