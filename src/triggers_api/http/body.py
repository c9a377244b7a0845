"""Reading a request's body: its media type, its size, in time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection
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


ONLY_JSON: Final = (JSON,)


def check_media_type(
    content_type: bytes | None,
    content_encoding: bytes | None,
    *,
    taken: Collection[bytes] = ONLY_JSON,
) -> bytes:
    """Take JSON, or what else there is a choice of, in UTF-8 and not compressed.

    Args:
        content_type: the header, if it was sent.
        content_encoding: the header, if it was sent.
        taken: media types in lower case, the one to be recommended first.

    Returns:
        Which of them it is.

    Raises:
        UnsupportedMediaType: anything else.
    """
    if content_encoding is not None and content_encoding.strip().lower() not in {b"", b"identity"}:
        raise UnsupportedMediaType("no Content-Encoding is taken here")
    if content_type == JSON and JSON in taken:
        return JSON
    kind, *parameters = (part.strip().lower() for part in (content_type or b"").split(b";"))
    if kind not in taken:
        raise UnsupportedMediaType(f"send Content-Type: {' or '.join(map(bytes.decode, taken))}")
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset" and value.strip(b'" ') not in {b"utf-8", b"utf8"}:
            raise UnsupportedMediaType("the charset must be utf-8")
    return kind


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
    return b"".join(
        [part async for part in body_parts(receive, limit=limit, content_length=content_length)]
    )


async def body_parts(
    receive: Receive, *, limit: int, content_length: bytes | None
) -> AsyncIterator[bytes]:
    """The body bit by bit; see :func:`read_body`."""
    if declared_length(content_length) > limit:
        raise TooLarge(f"the body may have at most {limit} bytes")
    deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT_S
    size, more = 0, True
    while more:
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise too_slow() from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge(f"the body may have at most {limit} bytes")
        yield part
        more = message.get("more_body", False)


def too_slow() -> RequestTimeout:
    """The refusal of a body that did not arrive in time; what comes of it later is not read."""
    return RequestTimeout(headers=(("Connection", "close"),))
