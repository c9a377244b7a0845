"""``POST /api/events``, as bare as it gets.

The same code serves two ways in: :meth:`PostEvent.begin` for the server's own lane
(``http/protocol.py``), and :meth:`PostEvent.__call__`, a plain ASGI application, for every request that
is not plain and for every other server. The order of checks is: key, scope, rate, media type, size,
content, room, store.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from functools import lru_cache
from time import perf_counter
from typing import Any, Final

import msgspec
import structlog

from triggers_api.errors import (
    ValidationFailed,
)
from triggers_api.http.admission import Admission, IngestRequest, refuse, trace
from triggers_api.http.body import ClientGone, Receive, check_media_type, read_body, too_slow
from triggers_api.http.parameters import check_query
from triggers_api.http.protocol import Answer, Headers
from triggers_api.http.wire import JSON, Send, answer, durability_headers
from triggers_api.ingest.accept import Ingest, status_on_receipt
from triggers_api.ingest.cloudevents import MARK, STRUCTURED, read_binary, read_structured
from triggers_api.ingest.draft import BODY_LIMIT, DEDUP_HEADER, Draft, read_draft
from triggers_api.ingest.limits import RateDecision
from triggers_api.model.event import EventStatus, FirstEvent, NewEvent
from triggers_api.model.ids import received_ms
from triggers_api.model.timestamp import Timestamp
from triggers_api.telemetry.metrics import Metrics
from triggers_api.telemetry.tracing import Tracing

log = structlog.get_logger(__name__)

PATH: Final = "/api/events"
_TAKEN: Final = (JSON, STRUCTURED)
DUPLICATE_MESSAGE: Final = "Event already exists (idempotent)"

_encode = msgspec.json.encode


class PostEvent:
    """The route."""

    path = PATH.encode()

    def __init__(
        self,
        ingest: Ingest,
        admission: Admission,
        *,
        metrics: Metrics,
        tracing: Tracing | None = None,
    ) -> None:
        """Set up.

        Args:
            ingest: stores events.
            admission: says who may send one.
            metrics: is told about every request.
            tracing: writes down those that belong to a trace.
        """
        self._tracing = tracing
        self._ingest = ingest
        self._admission = admission
        self._metrics = metrics
        self._tells = log.is_enabled_for(logging.DEBUG)

    def begin(self, headers: Headers, body: bytes) -> "Answer | _Storing | _Charging":
        """Take a request whose body is there."""
        request = IngestRequest(headers)
        try:
            organization_id = self._organization(request)
            deciding = self._admission.charge(organization_id, 1, request.limit_headers)
            if deciding is not None:
                return _Charging(self._go_on(request, organization_id, deciding, body))
            _check_media(request.headers)
            return self._store(request, organization_id, body)
        except Exception as error:  # noqa: BLE001 - every fault has an answer
            return self._refuse(request, error)

    def late(self, headers: Headers) -> Answer:
        """The answer to a request whose body did not come in time."""
        request = IngestRequest(headers)
        error: Exception = too_slow()
        try:
            organization_id = self._organization(request)
            # Whoever is this late is not waited for, not even to be told about the limit.
            self._admission.charge(organization_id, 1, request.limit_headers)
            _check_media(request.headers)
        except Exception as refused:  # noqa: BLE001 - every fault has an answer
            error = refused
        return self._refuse(request, error)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI's
        """Take a request through ASGI."""
        request = IngestRequest(scope["headers"])
        try:
            organization_id = self._organization(request)
            await self._admission.charged(organization_id, 1, request.limit_headers)
            _check_media(request.headers)
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

    def _organization(self, request: IngestRequest) -> str:
        found = self._admission.organization(request.raw, request.headers)
        request.organization_id = found
        return found

    async def _go_on(
        self,
        request: IngestRequest,
        organization_id: str,
        deciding: "asyncio.Future[RateDecision]",
        body: bytes,
    ) -> Answer:
        """The answer to a request about which the limit had to be asked first."""
        try:
            self._admission.settle(organization_id, 1, await deciding, request.limit_headers)
            _check_media(request.headers)
            storing = self._store(request, organization_id, body)
            await asyncio.wait((storing.awaited,))
        except Exception as error:  # noqa: BLE001 - every fault has an answer
            return self._refuse(request, error)
        return storing.finish()

    def _store(self, request: IngestRequest, organization_id: str, body: bytes) -> "_Storing":
        draft = self._ingest.judge(organization_id, _read(request, body))
        if self._tracing is not None and (kept := trace(request, self._tracing, PATH)):
            draft = msgspec.structs.replace(draft, trace=kept)
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
            self._metrics.accepted.inc()
            self._metrics.ingest_accepted.observe(elapsed)
            self._metrics.rollups.accepted(
                event.organization_id, elapsed, routed=event.deliveries is not None
            )
        else:
            status, body = 200, _duplicate(first, draft)
            self._ingest.note_duplicate(event.organization_id, first)
            self._metrics.ingest_duplicate.observe(elapsed)
            self._metrics.rollups.duplicate(event.organization_id)
        if request.traced is not None:
            request.traced.stored(now - storing.since)
            request.traced.end(
                status,
                {
                    "triggers.organization.id": event.organization_id,
                    "triggers.event.id": event.id if first is None else first.id,
                    "triggers.duplicate": first is not None,
                    "triggers.payload_bytes": len(event.payload),
                },
            )
        if self._tells:
            log.debug(
                "event received",
                organization_id=event.organization_id,
                event_id=event.id if first is None else first.id,
                request_id=request.identifier.decode(),
                trace_id=None if event.trace is None else event.trace[:16].hex(),
                outcome="accepted" if first is None else "duplicate",
                status_code=status,
                payload_bytes=len(event.payload),
                store_ms=round((now - storing.since) * 1e3, 2),
                duration_ms=round(elapsed * 1e3, 2),
            )
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
                *durability_headers(self._ingest.remark),
                *request.limit_headers,
            ],
            body,
        )

    def _refuse(self, request: IngestRequest, error: Exception) -> Answer:
        return refuse(request, error, metrics=self._metrics, route=PATH)


class _Charging:
    """A request that waits for the word of those who keep the limit, and then for its event."""

    __slots__ = ("awaited",)

    def __init__(self, going_on: Coroutine[Any, Any, Answer]) -> None:
        self.awaited = asyncio.ensure_future(going_on)

    def finish(self) -> Answer:
        """The answer, once all of it is done."""
        return self.awaited.result()


class _Storing:
    """An event that is being stored for a request."""

    __slots__ = ("_route", "awaited", "draft", "event", "request", "since")

    def __init__(
        self,
        route: PostEvent,
        request: IngestRequest,
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


def _check_media(headers: dict[bytes, bytes]) -> None:
    content_type, encoding = headers.get(b"content-type"), headers.get(b"content-encoding")
    if content_type == JSON and encoding is None and MARK not in headers:
        return
    # A CloudEvent in binary mode says itself what its data is.
    if MARK not in headers or is_structured(content_type):
        check_media_type(content_type, encoding, taken=_TAKEN)
    else:
        check_media_type(JSON, encoding)


def _read(request: IngestRequest, body: bytes) -> Draft:
    headers, dedup_id = request.headers, _dedup_header(request)
    content_type = headers.get(b"content-type")
    if content_type == JSON and MARK not in headers:
        return read_draft(body, dedup_id)
    if is_structured(content_type):
        return read_structured(body, dedup_id)
    if MARK in headers:
        return read_binary(request.raw, body, dedup_id)
    return read_draft(body, dedup_id)


def _dedup_header(request: IngestRequest) -> str | None:
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


def is_structured(content_type: bytes | None) -> bool:
    """Whether a body is a CloudEvent in its JSON format."""
    return (content_type or b"").partition(b";")[0].strip().lower() == STRUCTURED


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
    if event.warnings:
        body = b'%b,"warnings":%b}' % (body[:-1], _encode(event.warnings))
    return 201 if status is EventStatus.PROCESSED else 202, body


def _duplicate(first: FirstEvent, draft: Draft) -> bytes:
    return (
        b'{"id":"%b","type":"%b","dedup_id":%b,"status":"%b","duplicate":true,"received_at":"%b",'
        b'"payload_matches":%b,"message":"%b"}'
    ) % (
        first.id.encode(),
        (first.type or draft.type).encode(),
        _encode(draft.dedup_id),
        first.status.encode(),
        _moment(first.received_at),
        b"true" if first.payload_matches else b"false",
        DUPLICATE_MESSAGE.encode(),
    )


@lru_cache(maxsize=256)
def _moment(millis: int) -> bytes:
    return str(Timestamp(millis)).encode()
