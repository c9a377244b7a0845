"""Reading a request's body: its media type, its size, in time."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, Protocol

from triggers_api.errors import BadRequest, RequestTimeout, TooLarge, UnsupportedMediaType
from triggers_api.http.wire import JSON

BODY_TIMEOUT_S: Final = 30.0
"""Seconds that a body may take to arrive."""


class Receive(Protocol):
    """ASGI's ``receive``."""

    def __call__(self) -> Awaitable[Any]:
        """Wait for one message."""


class ClientGone(Exception):
    """The client hung up before its request was complete; there is nobody to answer."""


def check_media_type(content_type: bytes | None, content_encoding: bytes | None) -> None:
    """Take ``application/json`` in UTF-8, not compressed.

    Raises:
        UnsupportedMediaType: anything else.
    """
    if content_encoding is not None and content_encoding.strip().lower() not in {b"", b"identity"}:
        raise UnsupportedMediaType("no Content-Encoding is taken here")
    if content_type == JSON:
        return
    if content_type is None:
        raise UnsupportedMediaType("send Content-Type: application/json")
    kind, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    if kind != JSON:
        raise UnsupportedMediaType("send Content-Type: application/json")
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset" and value.strip(b'" ') not in {b"utf-8", b"utf8"}:
            raise UnsupportedMediaType("the charset must be utf-8")


def declared_length(content_length: bytes | None) -> int:
    """The ``Content-Length``, 0 when there is none."""
    if content_length is None:
        return 0
    if not content_length.isdigit() or len(content_length) > 20:
        raise BadRequest("Content-Length is not a number")
    return int(content_length)


async def read_body(receive: Receive, *, limit: int, content_length: bytes | None) -> bytes:
    """The whole body.

    Args:
        receive: of the request.
        limit: bytes it may have.
        content_length: the header, to refuse before reading.

    Raises:
        TooLarge: it has more. The server reads and discards the rest.
        RequestTimeout: it did not arrive in time.
        ClientGone: the client hung up.
    """
    if declared_length(content_length) > limit:
        raise TooLarge(f"the body may have at most {limit} bytes")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _read(receive, limit)
    except TimeoutError:
        raise too_slow() from None


def too_slow() -> RequestTimeout:
    """The refusal of a body that did not arrive in time; what comes of it later is not read."""
    return RequestTimeout(headers=(("Connection", "close"),))


async def _read(receive: Receive, limit: int) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge(f"the body may have at most {limit} bytes")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
