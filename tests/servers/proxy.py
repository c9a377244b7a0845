"""A TCP proxy that can be told to fail, as toxiproxy can: what networks do between two programs."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from enum import Enum, auto
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from tests.servers.ports import free_port

Side = Literal["client", "server"]

PATIENCE_S: Final = 30.0
"""Real seconds that anything awaited gets before it counts as hanging."""

_CHUNK: Final = 1 << 16
_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset and drops what was not sent."""

_GONE: Final = (OSError, RuntimeError)
"""What is raised for a connection that was ended meanwhile: by the system, or by uvloop."""


class _Mode(Enum):
    PASSING = auto()
    SWALLOWING = auto()
    RESETTING = auto()


class Cut:
    """One connection that is to be cut, once certain bytes have gone by."""

    def __init__(self, patterns: tuple[bytes, ...], side: Side) -> None:
        self.patterns = patterns
        self.side = side
        self.made = asyncio.Event()
        """Set when the client has lost its connection."""
        self.worked_off = asyncio.Event()
        """Set when the server has also worked off what it got before, and hung up."""

    async def wait(self) -> None:
        """Wait until the connection is cut and the server is done with it."""
        async with asyncio.timeout(PATIENCE_S):
            await self.worked_off.wait()


class Proxy:
    """Listens on a port of 127.0.0.1 and passes connections on. Use it with ``async with``."""

    def __init__(self, host: str, port: int) -> None:
        """Nothing listens yet.

        Args:
            host: where connections are passed on to.
            port: there.
        """
        self._target = host, port
        self._mode = _Mode.PASSING
        self._latency_s = 0.0
        self._cut: Cut | None = None
        self._links: set[_Link] = set()
        self._robs = asyncio.Event()
        self._taking: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self.port = free_port()
        self.accepted = 0
        """How many connections were taken so far."""
        self.robbed = 0
        """On how many of them a byte was swallowed, or nothing was passed on from the beginning."""

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    def url(self, direct: str) -> str:
        """The same database through the proxy."""
        parts = urlsplit(direct)
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}").geturl()

    # ── what it may be told ───────────────────────────────────────────────────────────────────

    def pass_on(self) -> None:
        """Pass everything on, as at first. A connection that lost bytes meanwhile is reset."""
        self._mode = _Mode.PASSING
        self._latency_s = 0.0
        self._cut = None
        for link in tuple(self._links):
            if link.has_lost_bytes:
                link.reset()

    def delay(self, seconds: float) -> None:
        """Hold back every piece that comes from the server for so long."""
        self._latency_s = seconds

    def swallow(self) -> None:
        """Be a black hole: take connections and bytes, pass nothing on, and answer nothing."""
        self._mode = _Mode.SWALLOWING

    async def has_swallowed(self, connections: int) -> None:
        """Wait until so many have lost something."""
        async with asyncio.timeout(PATIENCE_S):
            while self.robbed < connections:
                self._robs.clear()
                await self._robs.wait()

    def reset(self) -> None:
        """Reset every connection, those that come as well."""
        self._mode = _Mode.RESETTING
        for link in tuple(self._links):
            link.reset()

    def cut_after(self, *patterns: bytes, side: Side = "client") -> Cut:
        """Cut one connection, that on which all of these bytes were seen first, one after the other.

        From the client: they are passed on, and the answer to them is not. From the server: the
        piece with the last of them is not passed on. The client sees a reset; the server sees the
        end of the stream behind what it got, so it works that off. Other connections go on.
        """
        self._cut = Cut(patterns, side)
        return self._cut

    async def down(self) -> None:
        """Refuse connections, and end those that there are."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for link in self._links:
            link.end()
        if self._taking:
            await asyncio.wait(self._taking)

    async def up(self) -> None:
        """Take connections again, on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.setblocking(False)
        # Not by asyncio's own server: of a connection that comes while it closes it loses the transport.
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # whoever it was has left
            return
        self.accepted += 1
        taking = asyncio.get_running_loop().create_task(self._take(connection))
        self._taking.add(taking)
        taking.add_done_callback(self._taking.discard)

    # ── what links ask ────────────────────────────────────────────────────────────────────────

    @property
    def swallows(self) -> bool:
        return self._mode is _Mode.SWALLOWING

    @property
    def latency_s(self) -> float:
        return self._latency_s

    @property
    def target(self) -> tuple[str, int]:
        return self._target

    @property
    def cut(self) -> Cut | None:
        return self._cut

    def cut_is_made(self) -> None:
        self._cut = None

    def has_robbed(self) -> None:
        self.robbed += 1
        self._robs.set()

    async def _take(self, connection: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
        except OSError:
            connection.close()
            return
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            if self._listener is None:
                # It was let in before, and is looked at only now.
                link.end()
            elif self._mode is _Mode.RESETTING:
                link.reset()
            else:
                await link.run()
        finally:
            link.end()
            self._links.discard(link)


class _Link:
    """One connection and the one behind it."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._client = writer
        self._server: asyncio.StreamWriter | None = None
        self._watch: _Watch | None = None
        self._cut: Cut | None = None
        self._is_over = False
        self.has_lost_bytes = False

    async def run(self) -> None:
        """Pass on until both sides have ended."""
        if self._proxy.swallows:
            # The server hears nothing of a connection that begins in a black hole.
            self._lose()
            with suppress(*_GONE):
                while await self._reader.read(_CHUNK):
                    pass
            return
        try:
            reader, self._server = await asyncio.open_connection(*self._proxy.target)
        except OSError:
            self.reset()
            return
        if self._is_over:  # while it was being connected
            return
        await asyncio.gather(
            self._pass_on(self._reader, self._server, "client"),
            self._pass_on(reader, self._client, "server"),
        )
        for writer in (self._client, self._server):
            writer.close()
            with suppress(*_GONE):
                await writer.wait_closed()

    def reset(self) -> None:
        """End both connections, the client's with a reset."""
        _reset(self._client)
        self.end()

    def end(self) -> None:
        """End both connections."""
        self._is_over = True
        self._client.transport.abort()
        if self._server is not None:
            self._server.transport.abort()

    def _lose(self) -> None:
        if not self.has_lost_bytes:
            self.has_lost_bytes = True
            self._proxy.has_robbed()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, side: Side
    ) -> None:
        with suppress(*_GONE):
            while piece := await reader.read(_CHUNK):
                if side == "server" and self._proxy.latency_s:
                    await asyncio.sleep(self._proxy.latency_s)
                if self._proxy.swallows:
                    self._lose()
                elif self._cut is None and not self._cuts(piece, side):
                    writer.write(piece)
                    await writer.drain()
        if self._cut is not None and side == "server":
            self._cut.worked_off.set()
        if not (self._proxy.swallows or self.has_lost_bytes):
            with suppress(*_GONE):
                writer.write_eof()

    def _cuts(self, piece: bytes, side: Side) -> bool:
        """Whether this piece was the last one; then it has gone where it still may go."""
        cut = self._proxy.cut
        if cut is None or cut.side != side:
            return False
        if self._watch is None or self._watch.cut is not cut:
            self._watch = _Watch(cut)
        if not self._watch.has_seen_all(piece):
            return False
        assert self._server is not None
        self._cut = cut
        self._proxy.cut_is_made()
        if side == "client":
            self._server.write(piece)
        self._server.write_eof()
        _reset(self._client)
        cut.made.set()
        return True


class _Watch:
    """How much of what a cut waits for was seen on one connection."""

    def __init__(self, cut: Cut) -> None:
        self.cut = cut
        self._left = list(cut.patterns)
        self._seen = b""

    def has_seen_all(self, piece: bytes) -> bool:
        self._seen += piece
        while self._left:
            before, found, after = self._seen.partition(self._left[0])
            if not found:
                # The beginning of it may be at the end of what has come.
                self._seen = before[max(len(before) - len(self._left[0]) + 1, 0) :]
                return False
            self._seen = after
            del self._left[0]
        return True


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(*_GONE):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()
