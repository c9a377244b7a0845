"""Requests in an event loop, over aiohttp; the counterpart of :mod:`triggers_api.client.sockets`."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from typing import Final

import aiohttp

from triggers_api.client.attempts import Lost
from triggers_api.client.calls import Answer

_AT_ONCE: Final = 100
_OURS: Final = ("Accept-Encoding", "Accept", "User-Agent", "Content-Type")


class AioSockets:
    """Carries requests to one service, within one event loop."""

    def __init__(self, base: str, context: ssl.SSLContext | None) -> None:
        """Nothing is connected yet.

        Args:
            base: the service's URL, without a slash at its end.
            context: for https; ``None``: one that trusts what the system trusts.
        """
        self._base = base
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=_AT_ONCE, ssl=True if context is None else context
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_OURS,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(),
        )
        # What is sent twice, and what its second answer means, is decided in one place: not there.
        self._session._retry_connection = False  # noqa: SLF001 - as aiohttp's own test client does

    async def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        timeout_s: float,
    ) -> Answer:
        """Make a request and take the whole answer.

        Raises:
            Lost: there is none.
        """
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(
                    method,
                    self._base + target,
                    data=body and BytesIO(body),  # bytes alone are written without pauses
                    headers=headers,
                    allow_redirects=False,
                ) as response,
            ):
                return Answer(response.status, _lower(response), await response.read())
        except (aiohttp.ClientError, OSError) as error:
            raise _lost(error) from error

    async def stream(
        self, target: str, headers: Mapping[str, str], *, timeout_s: float, silence_s: float
    ) -> "AioStream":
        """Make a request whose answer does not end.

        Raises:
            Lost: there is none.
        """
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._session.get(
                    self._base + target, headers=headers, allow_redirects=False
                )
        except (aiohttp.ClientError, OSError) as error:
            raise _lost(error) from error
        return AioStream(response, silence_s)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


class AioStream:
    """An answer that does not end."""

    def __init__(self, response: aiohttp.ClientResponse, silence_s: float) -> None:
        self._response = response
        self._silence_s = silence_s
        self.status = response.status

    async def answer(self) -> Answer:
        """The whole of it, where it is a refusal."""
        try:
            async with asyncio.timeout(self._silence_s):
                return Answer(self.status, _lower(self._response), await self._response.read())
        except (aiohttp.ClientError, OSError) as error:
            raise _lost(error) from error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Pieces as they come, until the service ends it.

        Raises:
            Lost: it broke off, or nothing came for too long.
        """
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    piece = await self._response.content.readany()
            except (aiohttp.ClientError, OSError) as error:
                raise _lost(error) from error
            if not piece:
                return
            yield piece

    def close(self) -> None:
        """Hang up."""
        self._response.close()


def _lower(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _lost(error: aiohttp.ClientError | OSError) -> Lost:
    why = str(error) or type(error).__name__
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return Lost(why, sent=False, final=True)
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return Lost(why, sent=False)
        case aiohttp.InvalidURL():
            return Lost(why, sent=False, final=True)
        case aiohttp.ClientResponseError():
            return Lost(f"what answers does not speak HTTP: {why}", sent=True, final=True)
        case TimeoutError():
            return Lost("the answer took too long", sent=True)
    return Lost(why, sent=True)
