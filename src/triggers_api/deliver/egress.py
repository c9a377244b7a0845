"""Where deliveries may go: the guard against server-side request forgery (OWASP API7:2023).

A URL is judged three times: when it is given, by what it spells (:meth:`Egress.check_url`) and by
the addresses of its name (:meth:`Egress.check_target`); when it is called, by the addresses of its
name at that time (:meth:`Egress.addresses`); and when a connection is made, by the address that is
really dialled (:meth:`Egress.socket_factory`). Nothing gets past the last one, whatever a name's
owner answers in between.
"""

import asyncio
import re
import socket
import threading
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import accumulate
from typing import Any, Final

from triggers_api.errors import TriggersError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Every address of a host name; raises ``socket.gaierror`` when it has none."""
AddrInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
"""Family, type, protocol, name and address of a socket, as ``getaddrinfo`` gives them."""

URL_LENGTH: Final = 2048
LOOKUP_LIMIT_S: Final = 5.0
LOOKUPS_AT_ONCE: Final = 128

INVALID_URL: Final = "invalid-url"
BLOCKED_ADDRESS: Final = "blocked-address"

# The table is our own: what ipaddress calls global changes between releases of Python and includes
# addresses that carry a private one inside (NAT64, 6to4). Sources: the IANA special-purpose address
# registries for IPv4 and IPv6.
DENIED_IPV4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host on this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by carriers; Alibaba's metadata at 100.100.100.200
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's host, a public address that answers inside only
            "169.254.0.0/16",  # link-local; the metadata of most clouds at 169.254.169.254
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata at 192.0.0.192
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays, deprecated
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
PUBLIC_IPV6: Final = IPv6Network("2000::/3")
"""All that is assigned for global unicast. Outside are loopback, IPv4 inside IPv6, NAT64, multicast,
link-local, unique local (Amazon's metadata at ``fd00:ec2::254``), and what nobody has."""
DENIED_IPV6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments; Teredo carries an IPv4 address
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4 carries an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
# ISATAP (RFC 5214): an IPv4 address at the end of any prefix, behind one of these 32 bits.
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})

_LOCALHOST: Final = "localhost"
_LOOPBACK: Final = ("127.0.0.1", "::1")
_INSIDE: Final = (".local", ".internal")
_METADATA: Final = frozenset({"metadata.google.internal"})

# Ports of protocols that could take a request for something else: the Fetch Standard's list ("port
# blocking") below 1024, and Redis and memcached, which read text line by line.
_OTHER_PORTS: Final = frozenset(
    {
        1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
        102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389,
        427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636,
        989, 990, 993, 995, 6379, 11211,
    }
)  # fmt: skip

# What RFC 3986 allows, and [ ] in a query, which many write as they are.
_CHARACTERS: Final = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+", re.ASCII)
_PARTS: Final = re.compile(r"(?i:https?)://([^/?#]*)[^#]*", re.ASCII)
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?", re.ASCII)
_LABEL_LENGTH: Final = 63
_NAME_LENGTH: Final = 253
# A host that ends so is an IPv4 address to many parsers, in decimal, octal or hexadecimal.
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)


class EgressRefused(TriggersError, OSError):
    """A URL or an address that deliveries may not go to.

    ``code`` is ``invalid-url`` or ``blocked-address``; the message follows "the url ...". It is an
    ``OSError`` because that is what a socket factory may raise: with several addresses to try,
    anything else would end the attempt at the first.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Ranges:
    """The numbers of the addresses in any of some networks, which are of one IP version."""

    def __init__(self, networks: Iterable[Network]) -> None:
        ordered = sorted(
            (int(network.network_address), int(network.broadcast_address)) for network in networks
        )
        self._firsts = [first for first, _ in ordered]
        # The largest end so far, so that a network inside another one does not hide its rest.
        self._lasts = list(accumulate((last for _, last in ordered), max))

    def __contains__(self, number: int) -> bool:
        position = bisect_right(self._firsts, number) - 1
        return position >= 0 and number <= self._lasts[position]


_IPV4_DENIED: Final = _Ranges(DENIED_IPV4)
_IPV6_DENIED: Final = _Ranges(DENIED_IPV6)

_LOOKUPS: Final = threading.BoundedSemaphore(LOOKUPS_AT_ONCE)


async def system_lookup(host: str) -> tuple[str, ...]:
    """Every address of a host name, IPv4 and IPv6, from the system's resolver.

    Each lookup has a thread of its own. asyncio's shared ones are a handful: a few names whose
    servers do not answer would keep them all busy, and would hold up the end of the process.

    Raises:
        socket.gaierror: it has no address, or too many lookups are under way.
    """
    if not _LOOKUPS.acquire(blocking=False):
        raise socket.gaierror(socket.EAI_AGAIN, "too many lookups are under way")
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[str, ...]] = loop.create_future()
    try:
        threading.Thread(
            target=_look_up, args=(host, loop, answer), name="dns", daemon=True
        ).start()
    except RuntimeError:
        _LOOKUPS.release()
        raise socket.gaierror(socket.EAI_AGAIN, "no thread to look it up") from None
    return await answer


def _look_up(
    host: str, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[tuple[str, ...]]"
) -> None:
    found: tuple[str, ...] = ()
    error: OSError | None = None
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found = tuple(dict.fromkeys(str(address[0]) for *_, address in infos))
    except OSError as failed:
        error = failed
    except UnicodeError:
        error = socket.gaierror(socket.EAI_NONAME, "not a host name")
    finally:
        _LOOKUPS.release()
    with suppress(RuntimeError):  # the loop is closed, nobody waits any more
        loop.call_soon_threadsafe(_answer, answer, found, error)


def _answer(
    answer: "asyncio.Future[tuple[str, ...]]", found: tuple[str, ...], error: OSError | None
) -> None:
    if answer.done():
        return  # given up
    if error is None:
        answer.set_result(found)
    else:
        answer.set_exception(error)


class Egress:
    """The gate. One for a process; everything it remembers is bounded."""

    def __init__(
        self,
        allowed: Sequence[Network] = (),
        *,
        own: Iterable[Address] = (),
        lookup: Lookup = system_lookup,
        lookup_limit_s: float = LOOKUP_LIMIT_S,
    ) -> None:
        """Set up.

        Args:
            allowed: networks that deliveries may go to whatever else is said here.
            own: addresses this service listens on, which deliveries may not go to.
            lookup: finds a host name's addresses; by default the system does.
            lookup_limit_s: seconds that may take.
        """
        self._allowed = {
            version: _Ranges(network for network in allowed if network.version == version)
            for version in (4, 6)
        }
        # Names for machines inside are worth a look only where one can be reached.
        self._inside = any(not network.is_loopback for network in allowed)
        self._own = frozenset(own)
        self._lookup = lookup
        self._lookup_limit_s = lookup_limit_s
        self._judged = lru_cache(maxsize=4096)(self._judge)
        self._loopback = tuple(filter(self.permits, _LOOPBACK))

    def permits(self, address: str | Address) -> bool:
        """Whether a connection may go to an address; ``False`` for a text that is not one."""
        return self._judged(address)

    def check_url(self, url: str) -> None:
        """Return if a URL may be called, as far as can be told without looking its name up.

        Raises:
            EgressRefused: with the code ``invalid-url`` or ``blocked-address``.
        """
        host, address, port = _split(url)
        if address is not None:
            if self._is_allowed(address):
                return
            blocked = not self.permits(address)
        elif _is_localhost(host):
            if self._loopback:
                return
            blocked = True
        else:
            blocked = host in _METADATA or (host.endswith(_INSIDE) and not self._inside)
        if blocked:
            raise _blocked()
        if port in _OTHER_PORTS:
            raise _invalid("must not use the port of another protocol")

    async def check_target(self, url: str) -> None:
        """:meth:`check_url`, and look the host name up.

        A name without an address is not refused: it may have one by the time it is called.

        Raises:
            EgressRefused: with the code ``invalid-url`` or ``blocked-address``.
        """
        self.check_url(url)
        host, address, _ = _split(url)
        if address is None:
            with suppress(socket.gaierror):
                await self.addresses(host)

    async def addresses(self, host: str) -> Sequence[str]:
        """Where a host name leads now.

        Raises:
            EgressRefused: one of its addresses is not permitted, whatever the others are.
            socket.gaierror: it has no address, or none was found in time.
        """
        if _is_localhost(host):
            # Always the loopback (RFC 6761, 6.3), and only that part of it which is permitted.
            if not self._loopback:
                raise _blocked()
            return self._loopback
        try:
            async with asyncio.timeout(self._lookup_limit_s):
                found = await self._lookup(host)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from None
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        if not all(map(self.permits, found)):
            raise _blocked()
        return found

    def socket_factory(self, addr_info: AddrInfo) -> socket.socket:
        """A socket for a connection to this address, for ``aiohappyeyeballs.start_connection``.

        Raises:
            EgressRefused: the address is not permitted.
        """
        family, kind, protocol, _, address = addr_info
        if not self.permits(address[0]):
            raise _blocked()
        return socket.socket(family, kind, protocol)

    def _judge(self, address: str | Address) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address):
            if parsed.scope_id is not None:
                return False
            parsed = parsed.ipv4_mapped or parsed
        return self._is_allowed(parsed) or not (parsed in self._own or _is_denied(parsed))

    def _is_allowed(self, address: Address) -> bool:
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        return int(address) in self._allowed[address.version]


def _is_denied(address: Address) -> bool:
    number = int(address)
    if address.version == 4:
        return number in _IPV4_DENIED
    return (
        address not in PUBLIC_IPV6
        or number in _IPV6_DENIED
        or (number >> 32) & 0xFFFF_FFFF in _ISATAP
    )


def _split(url: str) -> tuple[str, Address | None, int | None]:
    """Host in lower case, the address if it spells one, and the port if one is given.

    Raises:
        EgressRefused: with the code ``invalid-url``.
    """
    if len(url) > URL_LENGTH:
        raise _invalid(f"must be at most {URL_LENGTH} characters long")
    if _CHARACTERS.fullmatch(url) is None:
        raise _invalid("must consist of the characters of a URL, with all others percent-encoded")
    if "#" in url:
        raise _invalid("must not have a fragment")
    parts = _PARTS.fullmatch(url)
    if parts is None:
        raise _invalid("must begin with http:// or https://")
    authority = parts[1]
    if "@" in authority:
        raise _invalid("must not hold a user name or a password")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise _invalid("must name a host, and a port only as a number from 1 to 65535")
    host, port = match[1].lower(), None if match[2] is None else int(match[2])
    if port is not None and not 1 <= port <= 65535:
        raise _invalid("must name a host, and a port only as a number from 1 to 65535")
    return host, _literal(host), port


def _literal(host: str) -> Address | None:
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1])
        labels = host.split(".")
        if _NUMBER.fullmatch(labels[-1]):
            return IPv4Address(host)
    except ValueError:
        raise _invalid("must spell an IP address in its usual form") from None
    if len(host) > _NAME_LENGTH or not all(1 <= len(label) <= _LABEL_LENGTH for label in labels):
        raise _invalid("must name a host in its usual form, without a dot at the end")
    return None


def _is_localhost(host: str) -> bool:
    return host == _LOCALHOST or host.endswith(f".{_LOCALHOST}")


def _invalid(message: str) -> EgressRefused:
    return EgressRefused(INVALID_URL, message)


def _blocked() -> EgressRefused:
    # One text for all of them: which of its names and addresses exist is the operator's business.
    return EgressRefused(BLOCKED_ADDRESS, "leads to an address that deliveries may not go to")
