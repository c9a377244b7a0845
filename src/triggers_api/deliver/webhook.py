"""One claimed delivery, one POST, one :data:`~triggers_api.model.outcome.Outcome`."""

import asyncio
import io
import math
import secrets
import socket
from functools import lru_cache
from ssl import SSLContext
from time import perf_counter
from typing import Final, Self

import msgspec
import structlog
from aiohttp import (
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    DummyCookieJar,
    InvalidURL,
    NonHttpUrlClientError,
    StreamReader,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from yarl import URL

from triggers_api import __version__
from triggers_api.deliver.egress import INVALID_URL, Egress, EgressRefused
from triggers_api.deliver.signature import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from triggers_api.model.outcome import Answered, NoAnswer
from triggers_api.model.retry import parse_retry_after
from triggers_api.model.subscription import PayloadFormat
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import ClaimedDelivery

log = structlog.get_logger(__name__)

USER_AGENT: Final = f"triggers-api/{__version__}"
BODY_LIMIT: Final = 16 * 1024
"""How many bytes of an answer are read and kept."""

_KEEPALIVE_S: Final = 30.0
_DNS_CACHE_S: Final = 10
# aiohttp warns of writing more than this in one go, and takes a file to write it piece by piece.
_WRITE_WHOLE: Final = 2**20

_OURS: Final = frozenset(
    {
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type",
        "expect", "host", "keep-alive", "te", "traceparent", "trailer", "transfer-encoding",
        "upgrade", "user-agent",
    }
)  # fmt: skip
_OUR_PREFIXES: Final = ("webhook-", "x-triggers-", "proxy-")


class Sent(msgspec.Struct, frozen=True, gc=False):
    """What one attempt came to.

    Attributes:
        outcome: what the dispatcher decides upon.
        duration_ms: from the first step to the last, in milliseconds.
        response_body: the beginning of the answer's body, what is not UTF-8 replaced; ``None`` when
            it was empty or did not come.
    """

    outcome: Answered | NoAnswer
    duration_ms: int
    response_body: str | None = None


def compose(
    delivery: ClaimedDelivery, *, attempt_number: int, now: Timestamp, traceparent: str
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an attempt (docs: "What is sent"; Standard Webhooks, "Webhook headers").

    Args:
        delivery: what to send, and to whom.
        attempt_number: counts from 1.
        now: the moment of this attempt.
        traceparent: see :func:`new_traceparent`.
    """
    subscription = delivery.target.subscription
    body = delivery.payload
    if subscription.payload_format is PayloadFormat.STANDARD:
        # By hand, so that the payload stays as it was received; neither an event's type nor a
        # timestamp has a character that JSON would escape.
        body = b'{"type":"%b","timestamp":"%b","data":%b}' % (
            delivery.event_type.encode(),
            str(delivery.sent_at).encode(),
            body,
        )
    timestamp = now // 1000
    headers = {
        "content-type": "application/json",
        ID_HEADER: delivery.event_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: sign(
            delivery.target.secrets, message_id=delivery.event_id, timestamp=timestamp, body=body
        ),
        "user-agent": USER_AGENT,
        "accept-encoding": "identity",
        "traceparent": traceparent,
        "x-triggers-event-type": delivery.event_type,
        "x-triggers-delivery-id": delivery.id,
        "x-triggers-attempt": str(attempt_number),
    }
    for name, value in (subscription.headers or {}).items():
        lower = name.lower()
        if lower not in _OURS and not lower.startswith(_OUR_PREFIXES):
            headers[name] = value
    return body, headers


def new_traceparent() -> str:
    """A trace that begins with this request (W3C Trace Context, 3.2), sampled."""
    digits = secrets.token_hex(24)
    return f"00-{digits[:32]}-{digits[32:]}-01"


class Sender:
    """Makes the requests of one process over one pool of connections.

    As many at once as it is asked for: the dispatcher sets the limits.
    """

    def __init__(self, egress: Egress, *, ssl: SSLContext | None = None) -> None:
        """Set up.

        Args:
            egress: the gate that every connection passes.
            ssl: whom to trust, instead of the authorities that the system trusts.
        """
        self._egress = egress
        self._ssl = ssl
        self._url = lru_cache(maxsize=4096)(self._checked_url)

    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            connector=TCPConnector(
                ssl=True if self._ssl is None else self._ssl,
                resolver=_Resolver(self._egress),
                socket_factory=self._egress.socket_factory,
                ttl_dns_cache=_DNS_CACHE_S,
                keepalive_timeout=_KEEPALIVE_S,
                limit=0,
                limit_per_host=0,
            ),
            response_class=_Response,
            cookie_jar=DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            read_bufsize=BODY_LIMIT,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(
        self, delivery: ClaimedDelivery, *, attempt_number: int, timeout_s: float, now: Timestamp
    ) -> Sent:
        """Make one attempt; whatever the network does is an outcome and never an exception.

        Args:
            delivery: what to send, and to whom.
            attempt_number: counts from 1.
            timeout_s: seconds for everything together: name, connection, request and answer.
            now: the moment of this attempt.

        Raises:
            MalformedValue: one of the subscription's secrets is not one; nothing was sent.
        """
        started = perf_counter()
        url = delivery.target.subscription.url
        body, headers = compose(
            delivery, attempt_number=attempt_number, now=now, traceparent=new_traceparent()
        )
        outcome: Answered | NoAnswer
        answer = b""
        try:
            response = await self._session.post(
                self._url(url),
                data=body if len(body) <= _WRITE_WHOLE else io.BytesIO(body),
                headers=headers,
                timeout=_deadline(timeout_s),
                allow_redirects=False,
            )
            assert isinstance(response, _Response)
            try:
                answer = await _beginning(response.content)
            finally:
                response.finish()
            outcome = _answered(response, now.after(seconds=perf_counter() - started))
        except Exception as error:
            known = no_answer(error, secure=url[:6].lower() == "https:")
            if known is None:
                log.exception("a request failed in an unforeseen way", delivery_id=delivery.id)
            outcome = known or NoAnswer("connection-lost")
        return Sent(
            outcome,
            round((perf_counter() - started) * 1000),
            answer.decode(errors="replace").replace("\x00", "\ufffd") or None,
        )

    def _checked_url(self, url: str) -> URL:
        self._egress.check_url(url)
        # What the gate lets through is encoded already; encoding it anew would change spellings
        # that a receiver may compare, such as the signature in a query.
        return URL(url, encoded=True)


def no_answer(error: Exception, *, secure: bool) -> NoAnswer | None:  # noqa: PLR0911 - a table
    """What an exception of aiohttp means, or ``None`` when it means a bug.

    Args:
        error: raised while connecting, sending or reading.
        secure: whether the URL is https.
    """
    match error:
        case EgressRefused(code=code) | ClientConnectorError(os_error=EgressRefused(code=code)):
            return NoAnswer(code, permanent=True)
        case InvalidURL() | NonHttpUrlClientError():
            return NoAnswer(INVALID_URL, permanent=True)
        case ClientConnectorDNSError():
            return NoAnswer("dns")
        case ClientSSLError():
            return NoAnswer("tls")
        case ClientConnectorError(os_error=ConnectionRefusedError()):
            return NoAnswer("connection-refused")
        case ClientConnectorError(os_error=ConnectionError()) if secure:
            # A connection that is refused was never there; one that is reset was in its handshake.
            return NoAnswer("tls")
        case ClientConnectorError():
            return NoAnswer("connection-failed")
        case TimeoutError():
            return NoAnswer("timeout")
        case ClientResponseError():
            return NoAnswer("bad-response")
        case ClientError() | OSError():
            return NoAnswer("connection-lost")
    return None


class _Resolver(AbstractResolver):
    """Where the gate says that a name leads."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - the connector asks for any
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._egress.addresses(host)
        ]

    async def close(self) -> None:
        pass


class _Response(ClientResponse):
    """An answer that never leaves a connection behind with something unsent on it.

    asyncio closes a connection once everything written to it has been taken, which a receiver that
    does not read can put off for ever (with TLS for half a minute). Such a connection is cut.
    """

    _transport: asyncio.Transport | None = None

    async def start(self, connection: Connection) -> ClientResponse:
        self._transport = connection.transport
        try:
            await super().start(connection)
        except BaseException:
            self._cut()
            raise
        # Called right after aiohttp's own, which gives the connection back, before it can be taken
        # for another request.
        self.content.on_eof(self._cut_if_unsent)
        return self

    def finish(self) -> None:
        """Cut the connection unless the end of the body has given it back."""
        if self.connection is not None:
            self._cut()

    def _cut_if_unsent(self) -> None:
        if self._transport is not None and self._transport.get_write_buffer_size():
            self._transport.abort()

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self.close()


async def _beginning(content: StreamReader) -> bytes:
    read = b""
    while len(read) < BODY_LIMIT and not content.at_eof():
        read += await content.read(BODY_LIMIT - len(read))
    return read


def _answered(response: ClientResponse, now: Timestamp) -> Answered:
    asked = response.headers.get("retry-after")
    return Answered(response.status, None if asked is None else parse_retry_after(asked, now=now))


@lru_cache(maxsize=256)
def _deadline(timeout_s: float) -> ClientTimeout:
    # By default aiohttp rounds what is long up to a whole second, and a lease may end before that.
    return ClientTimeout(total=timeout_s, ceil_threshold=math.inf)
