"""Requests over blocking sockets: the standard library's HTTP, a pool, and one deadline for all of it.

A timeout of a socket is one of each single read: an endpoint that sends a byte now and then is never
late. Here every read and write gets what is left of the whole.
"""

import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import (
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    IncompleteRead,
    RemoteDisconnected,
)
from select import POLLIN, poll
from typing import Final, cast
from urllib.parse import SplitResult

from triggers_api.client.attempts import Lost
from triggers_api.client.calls import Answer

IDLE_LIMIT: Final = 16
"""How many connections are kept for later."""
IDLE_S: Final = 60.0

_PIECE: Final = 1 << 16


class Interrupt:
    """Ends what another thread waits for: a request under way, or the pause before the next one."""

    def __init__(self) -> None:
        self._set = threading.Event()
        self._lock = threading.Lock()
        self._socket: _Timed | None = None

    @property
    def is_set(self) -> bool:
        """Whether it has come."""
        return self._set.is_set()

    def set(self) -> None:
        """End it, for good."""
        self._set.set()
        with self._lock:
            if self._socket is not None:
                self._socket.hang_up()

    def wait(self, seconds: float) -> bool:
        """Pause for so long; true if it came meanwhile."""
        return self._set.wait(seconds)

    def watch(self, sock: "_Timed | None") -> None:
        """What to end from now on."""
        with self._lock:
            self._socket = sock
        if sock is not None and self.is_set:
            sock.hang_up()


class _Reader(io.RawIOBase):
    def __init__(self, timed: "_Timed") -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._timed.receive_into(buffer)


class _Timed:
    """What :mod:`http.client` needs of a socket, with one deadline for everything."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.anything_came = False
        self._socket: socket.socket | None = None

    def dial(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
            try:
                # One that swallows everything leaves the others their share.
                sock.settimeout(self.left() / (len(addresses) - index))
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if context is not None:
                    sock.settimeout(self.left())
                    sock = context.wrap_socket(sock, server_hostname=host)
            except BaseException as error:
                sock.close()
                is_last = index == len(addresses) - 1
                if is_last or isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
                    raise
                continue
            self._socket = sock
            return
        raise OSError(f"{host} has no address")

    def left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        return left

    def sendall(self, data: bytes) -> None:
        assert self._socket is not None
        view = memoryview(data)
        while view:
            self._socket.settimeout(self.left())
            view = view[self._socket.send(view[:_PIECE]) :]

    def receive_into(self, buffer: memoryview) -> int:
        assert self._socket is not None
        self._socket.settimeout(self.left())
        count = self._socket.recv_into(buffer)
        self.anything_came = self.anything_came or count > 0
        return count

    def makefile(self, mode: str, *_: object, **__: object) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_Reader(self), _PIECE)

    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer, not even the end."""
        assert self._socket is not None
        watched = poll()
        watched.register(self._socket, POLLIN)
        return not watched.poll(0)

    def hang_up(self) -> None:
        """End it from another thread: whoever reads is woken."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


class _Connection(HTTPConnection):
    """A connection that was dialled already."""

    def __init__(self, host: str, port: int, timed: _Timed, default_port: int) -> None:
        super().__init__(host, port)
        self.default_port = default_port
        self.timed = timed
        self.sock = cast("socket.socket", timed)
        self.auto_open = 0
        self.idle_since = 0.0


class Sockets:
    """Carries requests to one service; any thread may use it."""

    def __init__(self, base: SplitResult, context: ssl.SSLContext | None) -> None:
        """Nothing is connected yet.

        Args:
            base: the service's URL.
            context: for https; ``None``: one that trusts what the system trusts.
        """
        assert base.hostname is not None
        self._host = base.hostname
        self._default_port = 443 if base.scheme == "https" else 80
        self._port = base.port or self._default_port
        self._tls = base.scheme == "https"
        self._context = context
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._owner = os.getpid()

    def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        timeout_s: float,
        interrupt: Interrupt | None = None,
    ) -> Answer:
        """Make a request and take the whole answer.

        Raises:
            Lost: there is none.
        """
        deadline = time.monotonic() + timeout_s
        connection = self._idle_one(deadline)
        reused = connection is not None
        if connection is None:
            connection = self._dial(deadline)
        kept = False
        if interrupt is not None:
            interrupt.watch(connection.timed)
        try:
            all_sent = True
            try:
                connection.request(method, target, body, dict(headers))
            except (BrokenPipeError, ConnectionResetError):
                all_sent = False  # it may have said why before it stopped reading
            response = connection.getresponse()
            answer = Answer(response.status, _lower(response), response.read())
            kept = all_sent and not response.will_close
        except (OSError, HTTPException) as error:
            raise _lost(error, at_once=reused and not connection.timed.anything_came) from error
        finally:
            if interrupt is not None:
                interrupt.watch(None)
            self._put_back(connection) if kept else connection.close()
        return answer

    def stream(
        self,
        target: str,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        silence_s: float,
        interrupt: Interrupt,
    ) -> "Stream":
        """Make a request whose answer does not end, on a connection of its own.

        Raises:
            Lost: there is none.
        """
        connection = self._dial(time.monotonic() + timeout_s)
        interrupt.watch(connection.timed)
        try:
            connection.request("GET", target, None, dict(headers))
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            connection.close()
            raise _lost(error, at_once=False) from error
        return Stream(connection, response, silence_s)

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _dial(self, deadline: float) -> _Connection:
        if self._tls and self._context is None:
            self._context = ssl.create_default_context()
        timed = _Timed(deadline)
        try:
            timed.dial(self._host, self._port, self._context if self._tls else None)
        except OSError as error:
            refused = isinstance(error, ssl.SSLCertVerificationError)
            raise Lost(_said(error), sent=False, final=refused) from error
        return _Connection(self._host, self._port, timed, self._default_port)

    def _idle_one(self, deadline: float) -> _Connection | None:
        with self._lock:
            if self._owner != os.getpid():
                # The parent's: two processes would read each other's answers.
                self._idle, self._owner = [], os.getpid()
            while self._idle:
                connection = self._idle.pop()
                fresh = time.monotonic() - connection.idle_since < IDLE_S
                if fresh and connection.timed.is_quiet():
                    connection.timed.deadline = deadline
                    connection.timed.anything_came = False
                    return connection
                connection.close()
        return None

    def _put_back(self, connection: _Connection) -> None:
        connection.idle_since = time.monotonic()
        with self._lock:
            if self._owner == os.getpid() and len(self._idle) < IDLE_LIMIT:
                self._idle.append(connection)
                return
        connection.close()


class Stream:
    """An answer that does not end."""

    def __init__(self, connection: _Connection, response: HTTPResponse, silence_s: float) -> None:
        self._connection = connection
        self._response = response
        self._silence_s = silence_s
        self.status = response.status

    def answer(self) -> Answer:
        """The whole of it, where it is a refusal."""
        try:
            return Answer(self.status, _lower(self._response), self._response.read())
        except (OSError, HTTPException) as error:
            raise _lost(error, at_once=False) from error

    def __iter__(self) -> Iterator[bytes]:
        """Pieces as they come, until the service ends it.

        Raises:
            Lost: it broke off, or nothing came for too long.
        """
        while True:
            self._connection.timed.deadline = time.monotonic() + self._silence_s
            try:
                piece = self._response.read1(_PIECE)
            except (OSError, HTTPException) as error:
                raise _lost(error, at_once=False) from error
            if not piece:
                return
            yield piece

    def close(self) -> None:
        """Hang up."""
        self._response.close()
        self._connection.close()


def _lower(response: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _lost(error: OSError | HTTPException, *, at_once: bool) -> Lost:
    other = isinstance(error, HTTPException) and not isinstance(
        error, IncompleteRead | RemoteDisconnected
    )
    if other:
        return Lost(f"what answers does not speak HTTP: {_said(error)}", sent=True, final=True)
    return Lost(_said(error), sent=True, at_once=at_once)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
