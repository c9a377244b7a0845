"""Deliveries that a session fetches, instead of having them sent: for receivers nobody can call.

A session is a subscription that expires soon unless it goes on fetching. What it fetches is leased to
it, composed and signed exactly as it would be sent; what it reports is settled as an attempt.
"""

import hashlib
import hmac
import random
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from triggers_api.deliver.health import report_health
from triggers_api.deliver.webhook import compose, new_traceparent
from triggers_api.model import ids
from triggers_api.model.controls import DeliveryMode
from triggers_api.model.delivery import Attempt, DeliveryStatus, Origin
from triggers_api.model.notice import dead_letter
from triggers_api.model.outcome import (
    Answered,
    Decision,
    NoAnswer,
    NotSent,
    Outcome,
    decide,
)
from triggers_api.model.subscription import SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import ClaimedDelivery, Settled, Settlement, Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

SESSION_LEASE_S: Final = 90.0
"""A session that does not fetch for so long has ended."""
RENEWED_UNDER_S: Final = 60.0
"""How little of it may be left before fetching makes it whole again."""
DELIVERY_LEASE_S: Final = 30.0
"""How long a session has to report what became of a delivery."""

_SIGNATURE_BYTES: Final = 16


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery in a session's hands: the request to make, and by when to report it.

    ``body`` is the text of the bytes to post, in UTF-8; ``receipt`` goes with the report.
    """

    receipt: str
    delivery_id: str
    event_id: str
    event_type: str
    attempt: int
    headers: dict[str, str]
    body: str
    lease_until: Timestamp


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one request came to: an answer's status, or one of ``model.outcome.ERRORS``."""

    receipt: str
    outcome: Answered | NoAnswer
    duration_ms: int
    response_body: str | None = None


class _Receipt(msgspec.Struct, frozen=True, array_like=True):
    """What a report cannot be trusted to say by itself."""

    delivery_id: str
    token: int
    event_id: str
    event_type: str
    attempt_count: int
    failures: int
    origin: Origin
    tells: bool
    in_line: bool
    started_at: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Receipt).decode


class Sessions:
    """What sessions fetch, and what they report."""

    def __init__(
        self,
        store: Store,
        directory: Directory,
        *,
        secret: bytes,
        retry_schedule: tuple[float, ...],
        wall: Callable[[], Timestamp],
        metrics: Metrics,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Set up.

        Args:
            store: where deliveries are claimed and settled.
            directory: the switches, and who is to be told.
            secret: signs receipts; shared by all processes on the store.
            retry_schedule: of subscriptions without one of their own.
            wall: the wall clock, which signatures carry.
            metrics: of this process.
            draw: random numbers in [0, 1) for the jitter.
        """
        self._store = store
        self._directory = directory
        self._secret = secret
        self._retry_schedule = retry_schedule
        self._wall = wall
        self._metrics = metrics
        self._draw = draw

    async def fetch(self, record: SubscriptionRecord, limit: int) -> list[Fetched]:
        """Up to ``limit`` due deliveries of a session, leased to it; none while delivery is paused."""
        mode = self._directory.delivery.of(record.organization_id, record.subscription.id)
        if mode is DeliveryMode.PAUSED:
            return []
        claim = await self._store.claim_for_session(
            record.organization_id, record.subscription.id, limit, DELIVERY_LEASE_S
        )
        if claim.recovered:
            self._metrics.recovered.labels("delivery").inc(claim.recovered)
        at = self._store.now()
        if mode is DeliveryMode.SKIP:
            await self._store.settle([self._skipped(record, each, at) for each in claim.deliveries])
            return []
        return [
            self._fetched(msgspec.structs.replace(each, target=record), at)
            for each in claim.deliveries
        ]

    async def settle(self, record: SubscriptionRecord, reports: Sequence[Report]) -> list[bool]:
        """Write down what became of deliveries; says of each report whether it was in time.

        What is not a receipt of this session is as one whose lease has run out.
        """
        receipts = [self._read(record, report.receipt) for report in reports]
        settlements = [
            self._settlement(record, receipt, report)
            for receipt, report in zip(receipts, reports, strict=True)
            if receipt is not None
        ]
        settled = await self._store.settle(settlements) if settlements else Settled()
        stale = settled.stale
        for change in settled.changes:
            report_health(change, metrics=self._metrics)
        if stale:
            self._metrics.stale_leases.labels("settle").inc(len(stale))
        return [receipt is not None and receipt.delivery_id not in stale for receipt in receipts]

    def _fetched(self, delivery: ClaimedDelivery, at: Timestamp) -> Fetched:
        number = delivery.attempt_count + 1
        body, headers = compose(
            delivery,
            attempt_number=number,
            now=self._wall(),
            at=at,
            traceparent=new_traceparent(),
        )
        receipt = _Receipt(
            delivery.id,
            delivery.token,
            delivery.event_id,
            delivery.event_type,
            delivery.attempt_count,
            delivery.failures,
            delivery.origin,
            delivery.origin is Origin.TEST or not delivery.operational,
            delivery.sequence is not None,
            int(at),
        )
        return Fetched(
            receipt=self._write(delivery.target, receipt),
            delivery_id=delivery.id,
            event_id=delivery.event_id,
            event_type=delivery.event_type,
            attempt=number,
            headers=headers,
            body=body.decode(),
            lease_until=at.after(seconds=DELIVERY_LEASE_S),
        )

    def _skipped(
        self, record: SubscriptionRecord, delivery: ClaimedDelivery, at: Timestamp
    ) -> Settlement:
        decision = self._decide(
            record,
            NotSent("delivery is switched off"),
            failures=delivery.failures + 1,
            origin=delivery.origin,
            now=at,
        )
        self._metrics.deliveries.labels(decision.status).inc()
        self._metrics.rollups.settled(
            record.organization_id, record.subscription.id, decision.status, None
        )
        return Settlement(
            record.organization_id,
            delivery.id,
            delivery.token,
            decision.status,
            decision.reason,
            in_line=delivery.sequence is not None,
        )

    def _decide(
        self,
        record: SubscriptionRecord,
        outcome: Outcome,
        *,
        failures: int,
        origin: Origin,
        now: Timestamp,
    ) -> Decision:
        schedule = record.subscription.retry_schedule
        return decide(
            outcome,
            failures=failures,
            schedule=self._retry_schedule if schedule is None else schedule,
            now=now,
            draw=self._draw(),
            origin=origin,
        )

    def _settlement(
        self, record: SubscriptionRecord, receipt: _Receipt, report: Report
    ) -> Settlement:
        outcome, now = report.outcome, self._store.now()
        attempt = Attempt(
            id=self._store.ids.new(ids.ATTEMPT),
            number=receipt.attempt_count + 1,
            started_at=Timestamp(receipt.started_at),
            duration_ms=report.duration_ms,
            status_code=outcome.status_code if isinstance(outcome, Answered) else None,
            error=outcome.error if isinstance(outcome, NoAnswer) else None,
            response_body=report.response_body,
        )
        decision = self._decide(
            record, outcome, failures=receipt.failures + 1, origin=receipt.origin, now=now
        )
        self._metrics.deliveries.labels(decision.status).inc()
        self._metrics.attempt_seconds.labels(decision.status).observe(attempt.duration_ms / 1000)
        self._metrics.rollups.settled(
            record.organization_id, record.subscription.id, decision.status, attempt.duration_ms
        )
        notify = receipt.tells and self._directory.notifies(record.organization_id)
        told = notify and decision.status is DeliveryStatus.DEAD
        return Settlement(
            organization_id=record.organization_id,
            delivery_id=receipt.delivery_id,
            token=receipt.token,
            status=decision.status,
            reason=decision.reason,
            next_attempt_at=decision.next_attempt_at,
            attempt=attempt,
            disable_subscription=decision.disable_subscription,
            notify=notify,
            notice=dead_letter(
                subscription_id=record.subscription.id,
                delivery_id=receipt.delivery_id,
                event_id=receipt.event_id,
                event_type=receipt.event_type,
                reason=decision.reason,
                attempts=attempt.number,
                last=attempt,
                at=now,
            )
            if told
            else None,
            sent_to=record.subscription.url,
            in_line=receipt.in_line,
        )

    def _write(self, record: SubscriptionRecord, receipt: _Receipt) -> str:
        content = _encode(receipt)
        return urlsafe_b64encode(self._sign(record, content) + content).rstrip(b"=").decode()

    def _read(self, record: SubscriptionRecord, text: str) -> _Receipt | None:
        try:
            signed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        except (Base64Error, ValueError):
            return None
        signature, content = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(record, content)):
            return None
        return _decode(content)

    def _sign(self, record: SubscriptionRecord, content: bytes) -> bytes:
        bound = f"receipt {record.organization_id} {record.subscription.id} ".encode() + content
        return hmac.digest(self._secret, bound, hashlib.sha256)[:_SIGNATURE_BYTES]
