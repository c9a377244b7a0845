"""``POST /api/events``, as bare as it gets.

The same code serves two ways in: :meth:`PostEvent.begin` for the server's own lane
(``http/protocol.py``), and :meth:`PostEvent.__call__`, a plain ASGI application, for every request that
is not plain and for every other server. The order of checks is: key, scope, rate, media type, size,
content, room, store.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from time import perf_counter
from typing import Any, Final

import msgspec
import structlog

from triggers_api.errors import (
    InternalError,
    Problem,
    RateLimited,
    Unavailable,
    ValidationFailed,
)
from triggers_api.http.auth import Authenticator, organization_of
from triggers_api.http.body import ClientGone, Receive, check_media_type, read_body, too_slow
from triggers_api.http.parameters import check_query
from triggers_api.http.protocol import Answer, Headers
from triggers_api.http.wire import Send, answer, problem_answer, request_id
from triggers_api.ingest.accept import Ingest, status_on_receipt
from triggers_api.ingest.draft import BODY_LIMIT, DEDUP_HEADER, Draft, read_draft
from triggers_api.ingest.limits import Rate, RateDecision, RateLimiter
from triggers_api.model.event import EventStatus, FirstEvent, NewEvent
from triggers_api.model.ids import received_ms
from triggers_api.model.organization import Organization, Scope
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

PATH: Final = "/api/events"
DUPLICATE_MESSAGE: Final = "Event already exists (idempotent)"

_encode = msgspec.json.encode


class _Request:
    """A request that has not been answered."""

    __slots__ = ("headers", "identifier", "limit_headers", "raw", "started")

    def __init__(self, raw: Headers) -> None:
        self.started = perf_counter()
        self.raw = raw
        self.headers = dict(raw)
        self.identifier = request_id(self.headers.get(b"x-request-id"))
        self.limit_headers: Headers = []


class PostEvent:
    """The route."""

    path = PATH.encode()

    def __init__(
        self,
        ingest: Ingest,
        directory: Directory,
        limiter: RateLimiter,
        *,
        authenticator: Authenticator,
        metrics: Metrics,
        rate: Rate,
        monotonic: Callable[[], float] = perf_counter,
    ) -> None:
        """Set up.

        Args:
            ingest: stores events.
            directory: knows the organizations.
            limiter: counts.
            authenticator: says who asks.
            metrics: is told about every request.
            rate: holds for an organization that has none of its own.
            monotonic: seconds on a clock that never goes back, for the limiter.
        """
        self._ingest = ingest
        self._directory = directory
        self._limiter = limiter
        self._authenticate = authenticator
        self._metrics = metrics
        self._rate = rate
        self._monotonic = monotonic

    def begin(self, headers: Headers, body: bytes) -> "Answer | _Storing":
        """Take a request whose body is there."""
        request = _Request(headers)
        try:
            return self._store(request, self._admit(request), body)
        except Exception as error:  # noqa: BLE001 - every fault has an answer
            return self._refuse(request, error)

    def late(self, headers: Headers) -> Answer:
        """The answer to a request whose body did not come in time."""
        request = _Request(headers)
        error: Exception = too_slow()
        try:
            self._admit(request)
        except Exception as refused:  # noqa: BLE001 - every fault has an answer
            error = refused
        return self._refuse(request, error)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI's
        """Take a request through ASGI."""
        request = _Request(scope["headers"])
        try:
            organization_id = self._admit(request)
            check_query(scope["query_string"], ())
            body = await read_body(
                receive, limit=BODY_LIMIT, content_length=request.headers.get(b"content-length")
            )
            storing = self._store(request, organization_id, body)
            await asyncio.wait((storing.awaited,))
            reply = storing.finish()
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - every fault has an answer
            reply = self._refuse(request, error)
        await answer(send, *reply)

    def _admit(self, request: _Request) -> str:
        """The organization that may send an event now."""
        headers = request.headers
        principal = self._authenticate(request.raw, headers)
        organization_id = organization_of(principal, Scope.INGEST)
        rate = self._rate_of(self._directory.organization(organization_id))
        if rate.per_minute:
            decision = self._limiter.check(organization_id, 1, rate, now=self._monotonic())
            request.limit_headers = rate_headers(decision, rate)
            if not decision.allowed:
                raise RateLimited(
                    f"more than {rate.per_minute} events a minute (burst {rate.burst})",
                    retry_after_s=decision.retry_after_s,
                )
        check_media_type(headers.get(b"content-type"), headers.get(b"content-encoding"))
        return organization_id

    def _store(self, request: _Request, organization_id: str, body: bytes) -> "_Storing":
        draft = read_draft(body, _dedup_header(request))
        event, awaited = self._ingest.accept(organization_id, draft)
        return _Storing(self, request, draft, event, awaited)

    def finish(self, storing: "_Storing") -> Answer:
        """The answer to a request whose event was stored, or could not be."""
        request, event, draft = storing.request, storing.event, storing.draft
        try:
            (first,) = storing.awaited.result()
        except Exception as error:  # noqa: BLE001 - every fault has an answer
            return self._refuse(request, error)
        now = perf_counter()
        elapsed = now - request.started
        if first is None:
            status, body = _accepted(event, draft)
            self._metrics.ingest_accepted.observe(elapsed)
        else:
            status, body = 200, _duplicate(first, draft)
            self._ingest.note_duplicate(event.organization_id, first)
            self._metrics.ingest_duplicate.observe(elapsed)
        return (
            status,
            [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (
                    b"location",
                    b"/api/events/%b" % (event.id if first is None else first.id).encode(),
                ),
                (
                    b"server-timing",
                    b"store;dur=%.2f, total;dur=%.2f"
                    % ((now - storing.since) * 1e3, elapsed * 1e3),
                ),
                (b"x-request-id", request.identifier),
                (b"cache-control", b"no-store"),
                *request.limit_headers,
            ],
            body,
        )

    def _refuse(self, request: _Request, error: Exception) -> Answer:
        elapsed = perf_counter() - request.started
        if isinstance(error, RateLimited):
            self._metrics.ingest_limited.observe(elapsed)
        elif isinstance(error, Unavailable):
            self._metrics.ingest_unavailable.observe(elapsed)
        elif isinstance(error, Problem):
            self._metrics.ingest_rejected.observe(elapsed)
        else:
            log.error(
                "request failed",
                route=PATH,
                request_id=request.identifier.decode(),
                exc_info=error,
            )
            error = InternalError()
        status, headers, body = problem_answer(error, request.identifier)
        return status, headers + request.limit_headers, body

    def _rate_of(self, organization: Organization | None) -> Rate:
        if organization is None or organization.rate_limit is organization.rate_burst is None:
            return self._rate
        limit, burst = organization.rate_limit, organization.rate_burst
        return Rate(
            self._rate.per_minute if limit is None else limit,
            self._rate.burst if burst is None else burst,
        )


class _Storing:
    """An event that is being stored for a request."""

    __slots__ = ("_route", "awaited", "draft", "event", "request", "since")

    def __init__(
        self,
        route: PostEvent,
        request: _Request,
        draft: Draft,
        event: NewEvent,
        awaited: "asyncio.Future[Sequence[FirstEvent | None]]",
    ) -> None:
        self._route = route
        self.request = request
        self.draft = draft
        self.event = event
        self.awaited = awaited
        self.since = perf_counter()

    def finish(self) -> Answer:
        """The answer, once the event is stored."""
        return self._route.finish(self)


def rate_headers(decision: RateDecision, rate: Rate) -> Headers:
    """``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers)."""
    return [
        (b"ratelimit-policy", _policy(rate.per_minute, rate.burst)),
        (b"ratelimit", b'"ingest";r=%d;t=%d' % (decision.remaining, math.ceil(decision.reset_s))),
    ]


@lru_cache(maxsize=1024)
def _policy(per_minute: int, burst: int) -> bytes:
    return b'"ingest";q=%d;w=60;burst=%d' % (per_minute, burst)


def _dedup_header(request: _Request) -> str | None:
    value = request.headers.get(b"idempotency-key")
    if value is None:
        return None
    if len({given for name, given in request.raw if name == b"idempotency-key"}) > 1:
        raise ValidationFailed.of(DEDUP_HEADER, "conflict", "was sent twice with different values")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise ValidationFailed.of(DEDUP_HEADER, "invalid-encoding", "is not UTF-8") from None
    # The IETF draft writes the key as a quoted string, most clients as it is.
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1] if quoted else text


# The bodies are written by hand: every part but the dedup_id is of characters that need no escaping.


def _accepted(event: NewEvent, draft: Draft) -> tuple[int, bytes]:
    status = status_on_receipt(event)
    body = (
        b'{"id":"%b","type":"%b","dedup_id":%b,"status":"%b","duplicate":false,"received_at":"%b"}'
        % (
            event.id.encode(),
            event.type.encode(),
            b"null" if draft.dedup_id is None else _encode(draft.dedup_id),
            status.encode(),
            _moment(received_ms(event.id)),
        )
    )
    return 201 if status is EventStatus.PROCESSED else 202, body


def _duplicate(first: FirstEvent, draft: Draft) -> bytes:
    return (
        b'{"id":"%b","type":"%b","dedup_id":%b,"status":"%b","duplicate":true,"received_at":"%b",'
        b'"payload_matches":%b,"message":"%b"}'
    ) % (
        first.id.encode(),
        draft.type.encode(),
        _encode(draft.dedup_id),
        first.status.encode(),
        _moment(first.received_at),
        b"true" if first.payload_matches else b"false",
        DUPLICATE_MESSAGE.encode(),
    )


@lru_cache(maxsize=256)
def _moment(millis: int) -> bytes:
    return str(Timestamp(millis)).encode()
