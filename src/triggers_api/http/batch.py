"""``POST /api/events/batch``: many events, each with its own result, in one commit."""

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Final, Literal

import msgspec
import structlog

from triggers_api.errors import FieldError, Problem, TooLarge, ValidationFailed
from triggers_api.http.admission import Admission, IngestRequest, refuse, trace
from triggers_api.http.body import ClientGone, Receive, body_parts, check_media_type, read_body
from triggers_api.http.parameters import check_query
from triggers_api.http.protocol import Answer
from triggers_api.http.wire import JSON, Send, answer, durability_headers, to_json
from triggers_api.ingest.accept import Ingest
from triggers_api.ingest.batch import (
    BATCH_LIMIT,
    ITEMS_LIMIT,
    Lines,
    items_of,
    quick_draft,
    read_item,
    requests_of,
)
from triggers_api.ingest.cloudevents import BATCH, read_structured
from triggers_api.ingest.draft import DEDUP_HEADER, Draft, EventRequest, read_draft
from triggers_api.model.event import FirstEvent, NewEvent
from triggers_api.telemetry.metrics import Metrics
from triggers_api.telemetry.tracing import Tracing

log = structlog.get_logger(__name__)

BATCH_PATH: Final = "/api/events/batch"

_LINES: Final = (b"application/x-ndjson", b"application/jsonl", b"application/x-jsonlines")
_TAKEN: Final = (JSON, *_LINES, BATCH)
_READ_AT_ONCE: Final = 50
"""Items between which other requests have a turn."""
_AT_A_STRETCH_S: Final = 0.02


class ItemError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an item was rejected: what the problem of a single event would have said."""

    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()


class ItemResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one item. ``id`` is the event's; of a duplicate, the first one's.

    ``quarantined``: it was accepted and is kept aside, for the reasons in ``warnings``.
    """

    index: int
    status: Literal["accepted", "duplicate", "rejected"]
    id: str | None = None
    dedup_id: str | None = None
    error: ItemError | None = None
    quarantined: bool = False
    warnings: tuple[FieldError, ...] = ()


class BatchResult(msgspec.Struct, frozen=True):
    """What became of each item, in the order of the items."""

    accepted: int
    duplicates: int
    rejected: int
    results: list[ItemResult]


class PostBatch:
    """The route, a plain ASGI application."""

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
            admission: says who may send how many.
            metrics: is told about every request.
            tracing: writes down those that belong to a trace.
        """
        self._tracing = tracing
        self._ingest = ingest
        self._admission = admission
        self._metrics = metrics

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI's
        """Take a request."""
        request = IngestRequest(scope["headers"])
        try:
            reply = await self._take(request, scope["query_string"], receive)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - every fault has an answer
            reply = refuse(request, error, metrics=self._metrics, route=BATCH_PATH)
        await answer(send, *reply)

    async def _take(self, request: IngestRequest, query: bytes, receive: Receive) -> Answer:
        headers = request.headers
        organization_id = self._admission.organization(request.raw, headers)
        request.organization_id = organization_id
        kind = check_media_type(
            headers.get(b"content-type"), headers.get(b"content-encoding"), taken=_TAKEN
        )
        check_query(query, ())
        if b"idempotency-key" in headers:
            raise ValidationFailed.of(
                DEDUP_HEADER, "unknown-field", "names one event; give each item a dedup_id"
            )
        length = headers.get(b"content-length")
        requests: list[EventRequest] = []
        if kind in _LINES:
            items = await _lines(receive, length)
        else:
            body = await read_body(receive, limit=BATCH_LIMIT, content_length=length)
            if kind == JSON:
                requests = requests_of(body)
            items = [] if requests else items_of(body)
        count = len(requests) or len(items)
        _check_count(count)
        if not count:
            raise ValidationFailed.of("/events", "invalid-length", "must have at least one event")
        await self._admission.charged(organization_id, count, request.limit_headers)
        read: Sequence[Draft | Problem] | None = None
        if requests:
            read = await _read_quickly(requests)
            items = [] if read else items_of(body)
        if not read:
            read = await _read(items, read_structured if kind == BATCH else read_draft)
        if self._ingest.judges(organization_id):
            read = await self._judged(organization_id, read)
        drafts = [each for each in read if isinstance(each, Draft)]
        if self._tracing is not None and (kept := trace(request, self._tracing, BATCH_PATH)):
            drafts = [msgspec.structs.replace(each, trace=kept) for each in drafts]
        since = perf_counter()
        events: list[NewEvent] = []
        firsts: Sequence[FirstEvent | None] = ()
        if drafts:
            events, storing = await self._ingest.accept_all(organization_id, drafts)
            # Whoever hangs up must not take back what is being stored.
            await asyncio.wait((storing,))
            firsts = storing.result()
        for first in firsts:
            if first is not None:
                self._ingest.note_duplicate(organization_id, first)
        return self._answer(request, _results(read, events, firsts), events, since)

    async def _judged(
        self, organization_id: str, read: Sequence[Draft | Problem]
    ) -> list[Draft | Problem]:
        """What the types of the events say of each; others' requests go on in between."""
        found: list[Draft | Problem] = []
        since = perf_counter()
        for each in read:
            if perf_counter() - since > _AT_A_STRETCH_S:
                await asyncio.sleep(0)
                since = perf_counter()
            try:
                found.append(
                    self._ingest.judge(organization_id, each) if isinstance(each, Draft) else each
                )
            except Problem as refused:
                found.append(refused)
        return found

    def _answer(
        self, request: IngestRequest, result: BatchResult, events: Sequence[NewEvent], since: float
    ) -> Answer:
        now = perf_counter()
        elapsed = now - request.started
        self._metrics.accepted.inc(result.accepted)
        routed = 0
        if result.accepted or result.duplicates:
            routed = sum(event.deliveries is not None for event in events)
            is_routed = routed > 0
            status = 201 if is_routed else 202
            self._metrics.ingest_accepted.observe(elapsed)
        else:
            status = 422
            self._metrics.ingest_rejected.observe(elapsed)
        for outcome, count in (
            ("accepted", result.accepted),
            ("duplicate", result.duplicates),
            ("rejected", result.rejected),
        ):
            self._metrics.batch_items.labels(outcome).inc(count)
        self._count(request, result, elapsed, routed)
        if request.traced is not None:
            request.traced.stored(now - since)
            request.traced.end(
                status,
                {
                    "triggers.organization.id": request.organization_id or "",
                    "triggers.accepted": result.accepted,
                    "triggers.duplicates": result.duplicates,
                    "triggers.rejected": result.rejected,
                },
            )
        log.debug(
            "batch received",
            organization_id=request.organization_id,
            request_id=request.identifier.decode(),
            accepted=result.accepted,
            duplicates=result.duplicates,
            rejected=result.rejected,
            status_code=status,
            store_ms=round((now - since) * 1e3, 2),
            duration_ms=round(elapsed * 1e3, 2),
        )
        body = to_json(result)
        timing = b"store;dur=%.2f, total;dur=%.2f" % ((now - since) * 1e3, elapsed * 1e3)
        headers = [
            (b"content-type", JSON),
            (b"content-length", b"%d" % len(body)),
            (b"server-timing", timing),
            (b"x-request-id", request.identifier),
            (b"cache-control", b"no-store"),
            *durability_headers(self._ingest.remark),
            *request.limit_headers,
        ]
        return status, headers, body

    def _count(
        self, request: IngestRequest, result: BatchResult, elapsed: float, routed: int
    ) -> None:
        rollups = self._metrics.rollups
        organization_id = request.organization_id
        assert organization_id is not None  # it was charged
        if result.accepted:
            rollups.accepted(organization_id, elapsed, events=result.accepted, routed=routed)
        rollups.duplicate(organization_id, events=result.duplicates)
        rollups.rejected(organization_id, events=result.rejected)


async def _lines(receive: Receive, length: bytes | None) -> list[bytes]:
    """The lines of a body, each as its bytes.

    Raises:
        TooLarge: too many, or too long together.
    """
    lines = Lines()
    items: list[bytes] = []
    async for part in body_parts(receive, limit=BATCH_LIMIT, content_length=length):
        items += lines.feed(part)
        _check_count(len(items))
    items += lines.end()
    return items


def _check_count(count: int) -> None:
    if count > ITEMS_LIMIT:
        raise TooLarge(f"a batch may have at most {ITEMS_LIMIT} events")


async def _read(items: Sequence[bytes], read: Callable[[bytes], Draft]) -> list[Draft | Problem]:
    found: list[Draft | Problem] = []
    for start in range(0, len(items), _READ_AT_ONCE):
        if start:
            await asyncio.sleep(0)
        found += [read_item(item, read) for item in items[start : start + _READ_AT_ONCE]]
    return found


async def _read_quickly(requests: Sequence[EventRequest]) -> list[Draft] | None:
    """What :func:`_read` would find; ``None`` where it has to be asked, because something is wrong."""
    found: list[Draft] = []
    for start in range(0, len(requests), _READ_AT_ONCE):
        if start:
            await asyncio.sleep(0)
        for request in requests[start : start + _READ_AT_ONCE]:
            draft = quick_draft(request)
            if draft is None:
                return None
            found.append(draft)
    return found


def _results(
    read: Sequence[Draft | Problem],
    events: Sequence[NewEvent],
    firsts: Sequence[FirstEvent | None],
) -> BatchResult:
    stored = iter(zip(events, firsts, strict=True))
    results = []
    counts = {"accepted": 0, "duplicate": 0, "rejected": 0}
    for index, each in enumerate(read):
        if isinstance(each, Problem):
            error = ItemError(each.code, each.detail, each.errors)
            result = ItemResult(index, "rejected", error=error)
        else:
            event, first = next(stored)
            if first is None:
                result = ItemResult(
                    index,
                    "accepted",
                    event.id,
                    each.dedup_id,
                    quarantined=event.aside is not None,
                    warnings=event.warnings,
                )
            else:
                result = ItemResult(index, "duplicate", first.id, each.dedup_id)
        counts[result.status] += 1
        results.append(result)
    return BatchResult(counts["accepted"], counts["duplicate"], counts["rejected"], results)
