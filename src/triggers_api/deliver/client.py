"""POSTs over kept connections: looks names up, connects through the egress guard, keeps what is idle."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache, partial
from time import monotonic, perf_counter
from typing import Final, Self
from urllib.parse import urlsplit

import msgspec
from aiohappyeyeballs import AddrInfoType, start_connection

from triggers_api.deliver.connection import Answer, Connection, Course, RequestFailed
from triggers_api.deliver.egress import Egress, EgressRefused

_TICK_S: Final = 0.001
_KEEPALIVE_S: Final = 30.0
_IDLE_LIMIT: Final = 500
_NAMES_KEPT_S: Final = 10.0
_NAMES_LIMIT: Final = 10_000
_NEXT_ADDRESS_AFTER_S: Final = 0.25  # RFC 8305, 5: the recommended connection attempt delay


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """A URL, taken apart.

    Attributes:
        host: a name in lower case, or an address without brackets.
        authority: for the ``host`` header, as the URL spells it.
        target: path and query as the URL spells them.
        place: where a connection leads.
    """

    secure: bool
    host: str
    port: int
    authority: str
    target: str
    place: "_Place"


_Place = tuple[bool, str, int]


class Client:
    """The connections of one process.

    As many at once as it is asked for: the dispatcher sets the limits.
    """

    def __init__(self, egress: Egress, *, ssl_context: ssl.SSLContext | None = None) -> None:
        """Set up.

        Args:
            egress: the gate that every connection passes.
            ssl_context: whom to trust, instead of the authorities that the system trusts.
        """
        self._egress = egress
        self._ssl = ssl_context
        self._open: set[Connection] = set()
        self._idle: dict[_Place, list[Connection]] = {}
        self._idle_count = 0
        self._sweeping: asyncio.TimerHandle | None = None
        self._names: dict[str, tuple[float, Sequence[str]]] = {}
        self._lookups: dict[str, asyncio.Task[Sequence[str]]] = {}
        self.endpoint = lru_cache(maxsize=4096)(self._endpoint)
        """Take a URL apart, once; raises :class:`RequestFailed` for one that may not be called."""

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        if self._ssl is None:
            # Reads the authorities' certificates from disk.
            self._ssl = await asyncio.to_thread(ssl.create_default_context)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        for lookup in self._lookups.values():
            lookup.cancel()
        for connection in tuple(self._open):
            connection.cut()
        # Whoever is cut is told so in the loop's next turn.
        await asyncio.sleep(0)

    async def post(
        self, endpoint: Endpoint, request: bytes, *, timeout_s: float, course: Course
    ) -> Answer:
        """Send a whole request, head and body, and read the beginning of its answer.

        Args:
            endpoint: where to.
            request: the bytes, ``content-length`` in them.
            timeout_s: seconds for everything together: name, connection, request and answer.
            course: is told when each phase begins.

        Raises:
            RequestFailed: there was no complete answer.
        """
        # uvloop counts whole milliseconds: a deadline from what it reads would come up to one early,
        # and the moment that a timer is asked for is rounded to one.
        until = monotonic() + timeout_s
        connection = self._take(endpoint.place)
        if connection is None:
            try:
                async with asyncio.timeout_at(until + _TICK_S):
                    connection = await self._connect(endpoint, course)
            except TimeoutError:
                raise RequestFailed("timeout") from None
        return await connection.exchange(request, course, until=until)

    def _endpoint(self, url: str) -> Endpoint:
        try:
            self._egress.check_url(url)
        except EgressRefused as refused:
            raise RequestFailed(refused.code, permanent=True) from None
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        # Not put together again from its parts: a receiver may have signed the spelling.
        authority, slash, path = url.partition("://")[2].partition("/")
        authority, question, query = authority.partition("?")
        assert parts.hostname is not None
        port = parts.port or (443 if secure else 80)
        return Endpoint(
            secure=secure,
            host=parts.hostname,
            port=port,
            authority=authority,
            target=f"/?{query}{slash}{path}" if question else f"/{path}",
            place=(secure, parts.hostname, port),
        )

    # ── idle connections ──────────────────────────────────────────────────────────────────────

    def _take(self, place: _Place) -> Connection | None:
        idle = self._idle.get(place)
        while idle:
            # The one used last is the likeliest to be open still.
            connection = idle.pop()
            self._idle_count -= 1
            if not connection.closed and self._loop.time() - connection.idle_since < _KEEPALIVE_S:
                return connection
            connection.cut()
        return None

    def _keep(self, place: _Place, connection: Connection) -> None:
        if self._idle_count >= _IDLE_LIMIT:
            connection.cut()
            return
        self._idle.setdefault(place, []).append(connection)
        self._idle_count += 1
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_KEEPALIVE_S, self._sweep)

    def _forget(self, place: _Place, connection: Connection) -> None:
        self._open.discard(connection)
        idle = self._idle.get(place)
        if idle and connection in idle:
            idle.remove(connection)
            self._idle_count -= 1

    def _sweep(self) -> None:
        oldest = self._loop.time() - _KEEPALIVE_S
        for place, idle in list(self._idle.items()):
            kept = [connection for connection in idle if connection.idle_since > oldest]
            for connection in idle:
                if connection.idle_since <= oldest:
                    connection.cut()
            if kept:
                self._idle[place] = kept
            else:
                del self._idle[place]
        self._idle_count = sum(map(len, self._idle.values()))
        self._sweeping = (
            self._loop.call_later(_KEEPALIVE_S, self._sweep) if self._idle_count else None
        )

    # ── new ones ──────────────────────────────────────────────────────────────────────────────

    async def _connect(self, endpoint: Endpoint, course: Course) -> Connection:
        try:
            addresses = self._known_addresses(endpoint.host)
            if addresses is None:
                course.dns = perf_counter()
                addresses = await self._addresses(endpoint.host)
            course.connect = perf_counter()
            reached = await start_connection(
                [_addr_info(address, endpoint.port) for address in addresses],
                happy_eyeballs_delay=_NEXT_ADDRESS_AFTER_S,
                interleave=1,
                socket_factory=self._egress.socket_factory,
            )
        except EgressRefused as refused:
            raise RequestFailed(refused.code, permanent=True) from None
        except socket.gaierror:
            raise RequestFailed("dns") from None
        except ConnectionRefusedError:
            raise RequestFailed("connection-refused") from None
        except (OSError, RuntimeError):  # uvloop raises the latter for what it cannot connect
            raise RequestFailed("connection-failed") from None
        if endpoint.secure:
            course.tls = perf_counter()
        try:
            _, connection = await self._loop.create_connection(
                partial(
                    Connection,
                    idle=partial(self._keep, endpoint.place),
                    lost=partial(self._forget, endpoint.place),
                ),
                sock=reached,
                ssl=self._ssl if endpoint.secure else None,
                server_hostname=endpoint.host if endpoint.secure else None,
            )
        except BaseException as error:
            # Whoever is interrupted before the loop has taken the socket over still has it.
            with suppress(OSError):
                reached.close()
            if isinstance(error, OSError):  # of which ssl.SSLError is one
                code = "tls" if endpoint.secure else "connection-failed"
                raise RequestFailed(code) from None
            raise
        self._open.add(connection)
        return connection

    def _known_addresses(self, host: str) -> Sequence[str] | None:
        """Where a host leads, if it is an address or was looked up lately."""
        if ":" in host or host.replace(".", "").isdigit():
            return (host,)
        until, addresses = self._names.get(host, (0.0, ()))
        return addresses if self._loop.time() < until else None

    async def _addresses(self, host: str) -> Sequence[str]:
        """Where a host leads; what asks for the same name meanwhile shares the answer."""
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = self._lookups[host] = asyncio.create_task(self._look_up(host))
            lookup.add_done_callback(_heard)
        # One deadline that runs out is nobody else's.
        return await asyncio.shield(lookup)

    async def _look_up(self, host: str) -> Sequence[str]:
        try:
            addresses = await self._egress.addresses(host)
        finally:
            del self._lookups[host]
        if len(self._names) >= _NAMES_LIMIT:
            self._names.clear()
        self._names[host] = self._loop.time() + _NAMES_KEPT_S, addresses
        return addresses


def _addr_info(address: str, port: int) -> AddrInfoType:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


def _heard(lookup: "asyncio.Task[Sequence[str]]") -> None:
    """Take note of how a lookup ended for which nobody may be waiting any more."""
    if not lookup.cancelled():
        lookup.exception()
