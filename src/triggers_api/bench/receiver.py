"""The receiver of webhooks: reads just enough, notes when each event came, answers 204.

Under :data:`BROKEN` it answers 500, and notes nothing.

It lives in the loader's process and loop: one core for everything that is not being measured, and one
clock for what was sent and what arrived.
"""

import contextlib
import selectors
import socket
from collections.abc import Callable
from typing import Final

import msgspec

from triggers_api.bench.http1 import header_of, headers_of, scan_request

BROKEN: Final = "/broken"

_ANSWER: Final = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
_FAILURE: Final = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
_TO_BROKEN: Final = f"POST {BROKEN}".encode()
_WEBHOOK_ID: Final = b"webhook-id"
_READ: Final = 256 << 10


class Webhook(msgspec.Struct, frozen=True):
    """One of the requests that were kept, to have its signature checked. Header names lower-case."""

    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers on a listening socket, in somebody else's loop."""

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        *,
        clock: Callable[[], float],
        samples: int,
    ) -> None:
        """Register with the loop.

        Args:
            listener: already listening.
            selector: of the loop; what it holds as ``data`` is called when there is something to read.
            clock: seconds.
            samples: how many requests to keep whole, the first ones.
        """
        listener.setblocking(False)
        self._listener = listener
        self._selector = selector
        self._clock = clock
        self._samples = samples
        self.kept: list[Webhook] = []
        self.arrivals: dict[str, float] = {}
        """``webhook-id`` → when it came first."""
        self.repeats = 0
        """Requests whose event had come before."""
        self.last_at = clock()
        """When something came last; before that, when this began."""
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def _accept(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._selector.register(
                    connection, selectors.EVENT_READ, _Sender(self, connection).ready
                )

    def take(self, connection: socket.socket, buffer: bytes) -> bytes:
        """Answer the complete requests at the beginning of a buffer; returns the rest of it."""
        now = self._clock()
        while (request := scan_request(buffer)) is not None:
            head, body = buffer[: request.body], buffer[request.body : request.end]
            buffer = buffer[request.end :]
            if head.startswith(_TO_BROKEN):
                connection.sendall(_FAILURE)
                continue
            event_id = header_of(head, _WEBHOOK_ID).decode("latin-1")
            if event_id in self.arrivals:
                self.repeats += 1
            else:
                self.arrivals[event_id] = now
            if len(self.kept) < self._samples:
                self.kept.append(Webhook(headers_of(head), body))
            self.last_at = now
            connection.sendall(_ANSWER)
        return buffer

    def forget(self, connection: socket.socket) -> None:
        """The other side has hung up."""
        self._selector.unregister(connection)
        connection.close()


class _Sender:
    """A connection over which webhooks come."""

    __slots__ = ("_connection", "_receiver", "_rest")

    def __init__(self, receiver: Receiver, connection: socket.socket) -> None:
        self._receiver = receiver
        self._connection = connection
        self._rest = b""

    def ready(self, _events: int) -> None:
        try:
            data = self._connection.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._rest = self._receiver.take(self._connection, self._rest + data)
        else:
            self._receiver.forget(self._connection)
