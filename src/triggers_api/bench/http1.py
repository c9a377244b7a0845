"""As much of HTTP/1.1 as a load generator needs, on bytes.

A message has a ``Content-Length`` or no body: neither the servers nor the webhooks measured here send
anything else, and whatever does is refused loudly instead of being counted wrongly.
"""

import json
import random
from collections.abc import Sequence
from typing import Final, NamedTuple

from triggers_api.bench.errors import RunFailed

_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length:"
_CHUNKED: Final = b"\r\ntransfer-encoding:"
_NO_BODY: Final = frozenset({204, 304})

DEDUP_ID_LENGTH: Final = 32
SHORTEST_PAYLOAD: Final = len('{"data":""}')


class Response(NamedTuple):
    """A whole response at the beginning of a buffer: its status, and where its body is."""

    status: int
    body: int
    end: int


class Request(NamedTuple):
    """A whole request at the beginning of a buffer: where its body is."""

    body: int
    end: int


class Parts(NamedTuple):
    """A prepared request, cut where its dedup_id goes; without one, ``after`` is empty."""

    before: bytes
    after: bytes


def scan_response(buffer: bytes) -> Response | None:
    """The response that a buffer begins with; ``None`` while it is not complete.

    Raises:
        RunFailed: it is not a response, or its body has no stated length.
    """
    head = buffer.find(_END_OF_HEAD)
    if head < 0:
        return None
    if not buffer.startswith(b"HTTP/1.") or not buffer[9:12].isdigit():
        raise RunFailed(f"not an HTTP/1.1 response: {buffer[:40]!r}")
    status = int(buffer[9:12])
    body = head + len(_END_OF_HEAD)
    length = 0 if status in _NO_BODY else _length(buffer[: head + 2].lower())
    if length is None:
        raise RunFailed(f"a response with status {status} does not say how long it is")
    end = body + length
    return Response(status, body, end) if len(buffer) >= end else None


def scan_request(buffer: bytes) -> Request | None:
    """The request that a buffer begins with; ``None`` while it is not complete.

    Raises:
        RunFailed: its body is chunked.
    """
    head = buffer.find(_END_OF_HEAD)
    if head < 0:
        return None
    body = head + len(_END_OF_HEAD)
    end = body + (_length(buffer[: head + 2].lower()) or 0)
    return Request(body, end) if len(buffer) >= end else None


def header_of(head: bytes, name: bytes) -> bytes:
    """A header's value, empty when it is not there; ``name`` in lower case."""
    at = head.lower().find(b"\r\n%b:" % name)
    if at < 0:
        return b""
    return head[at + len(name) + 3 : head.find(b"\r\n", at + 2)].strip()


def headers_of(head: bytes) -> dict[str, str]:
    """The headers of a message by lower-case name; ``head`` up to and with its empty line."""
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    parts = (line.partition(":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in parts}


def _length(lowered: bytes) -> int | None:
    at = lowered.find(_LENGTH)
    if at < 0:
        if _CHUNKED in lowered:
            raise RunFailed("a message with a chunked body came; that is not measured here")
        return None
    return int(lowered[at + len(_LENGTH) : lowered.index(b"\r\n", at + 2)])


def payloads(size: int, *, count: int, seed: int) -> list[bytes]:
    """Different JSON payloads of ``size`` bytes each, at least :data:`SHORTEST_PAYLOAD`."""
    draw = random.Random(seed)  # noqa: S311 - repeatable on purpose
    letters = size - SHORTEST_PAYLOAD
    return [
        b'{"data":"%b"}' % draw.randbytes((letters + 1) // 2).hex()[:letters].encode()
        for _ in range(count)
    ]


def event_requests(
    *,
    host: str,
    path: str,
    key: str,
    event_type: str,
    payloads: Sequence[bytes],
    dedup: bool,
    event_key: str | None = None,
) -> list[Parts]:
    """``POST`` requests for events, byte for byte as they are sent.

    Args:
        host: and port, for the ``Host`` header.
        path: of the request.
        key: an API key.
        event_type: of every event.
        payloads: JSON; one request each.
        dedup: leave room for a dedup_id of :data:`DEDUP_ID_LENGTH` characters.
        event_key: the ``key`` of every event.
    """
    requests = []
    for payload in payloads:
        start = b'{"type":%b' % json.dumps(event_type).encode()
        if event_key is not None:
            start += b',"key":%b' % json.dumps(event_key).encode()
        end = b',"payload":%b}' % payload
        if dedup:
            start += b',"dedup_id":"'
            end = b'"' + end
        size = len(start) + len(end) + (DEDUP_ID_LENGTH if dedup else 0)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        ).encode()
        requests.append(Parts(head + start, end) if dedup else Parts(head + start + end, b""))
    return requests
