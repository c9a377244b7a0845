"""Where a request comes from, as far as the proxies that are trusted know."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from triggers_api.settings import Network

_FORWARDED_FOR: Final = b"x-forwarded-for"


def client_address(
    peer: str | None, headers: Iterable[tuple[bytes, bytes]], trusted: Sequence[Network]
) -> str | None:
    """The address of whoever made a request.

    It is the peer's, unless that is a trusted proxy: then the last one in ``X-Forwarded-For`` that is
    not a trusted proxy itself. What stands before it was written by whoever it is, and is not believed.

    Args:
        peer: the other end of the connection; ``None`` for a socket that has no address.
        headers: of the request, names in small letters.
        trusted: the networks of the proxies.

    Returns:
        The address; the last one that is known where a proxy has handed on something else.
    """
    if peer is None:
        return None
    known = _address(peer)
    if known is None or not _is_in(known, trusted):
        return peer if known is None else str(known)
    told = b",".join(value for name, value in headers if name == _FORWARDED_FOR)
    for part in reversed(told.decode("latin-1").split(",")):
        before = _address(part.strip())
        if before is None:
            break
        known = before
        if not _is_in(known, trusted):
            break
    return str(known)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, also with a port or in brackets; an IPv4 one in IPv6's spelling is that."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _is_in(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
