"""The dispatcher: settles what finished, claims what is due, starts it. Three lines, again and again."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from triggers_api.deliver.health import report_health
from triggers_api.deliver.lanes import Lanes
from triggers_api.deliver.webhook import Sent
from triggers_api.model import ids
from triggers_api.model.attempt import AttemptDetails
from triggers_api.model.controls import DeliveryMode
from triggers_api.model.delivery import Attempt, DeliveryStatus, reopened
from triggers_api.model.notice import dead_letter
from triggers_api.model.outcome import Answered, Decision, NoAnswer, NotSent, Outcome, decide
from triggers_api.model.subscription import SubscriptionStatus
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import ClaimedDelivery, Rooms, Settlement, Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

SWITCHED_OFF: Final = NotSent("delivery is switched off")
_BUSY_POLL_S: Final = 0.1
_AFTER_A_BUG_S: Final = 60.0
"""How long a delivery waits whose sending raised something that nobody foresaw."""


class Sends(Protocol):
    """Who makes the request."""

    async def send(
        self,
        delivery: ClaimedDelivery,
        *,
        attempt_number: int,
        timeout_s: float,
        now: Timestamp,
        at: Timestamp,
    ) -> Sent:
        """Make one attempt."""


class DispatcherSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The dispatcher's settings; a subscription may have its own timeout and schedule."""

    concurrency: int
    timeout_s: float
    retry_schedule: tuple[float, ...]
    lease_s: float
    max_poll_ms: int
    grace_s: float


class Dispatcher:
    """One turn is settle, claim, start. See ``operate/loop.py`` for how turns follow each other."""

    name = "dispatcher"

    def __init__(
        self,
        store: Store,
        directory: Directory,
        sender: Sends,
        *,
        settings: DispatcherSettings,
        wall: Callable[[], Timestamp],
        metrics: Metrics,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Set up; ``draw`` gives random numbers in [0, 1) for the jitter.

        ``wall`` is the wall clock, with which receivers compare the time in a signature.
        """
        self._store = store
        self._directory = directory
        self._sender = sender
        self._settings = settings
        self._wall = wall
        self._metrics = metrics
        self._draw = draw
        self._lanes = Lanes(settings.concurrency)
        self._running: dict[asyncio.Task[None], ClaimedDelivery] = {}
        self._finished: list[Settlement] = []
        self._start_by: dict[str, Timestamp] = {}
        self.claimed = 0
        """Deliveries that the last turn claimed."""

    async def run_once(self) -> float:
        """One turn; returns the seconds until the next look."""
        settling = asyncio.ensure_future(self._settle())
        try:
            self.claimed = 0
            self.claimed = await self._claim_and_start()
        finally:
            settled = await settling
        if self._finished:
            return 0.0
        return _BUSY_POLL_S if self.claimed or settled else await self._until_next()

    async def wait(self, timeout_s: float) -> None:
        """Until something finished or may be due, or the time is up."""
        await self._store.wait_deliveries(timeout_s)

    async def rest(self) -> bool:
        """Wait for what is in hand and settle it; returns whether there was anything."""
        while self._running:
            await asyncio.wait(self._running)
        return bool(await self._settle())

    async def finish(self) -> None:
        """The end: wait for what is being sent, give back what takes too long or waits, settle."""
        self._give_back_waiting("the service was shut down")
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.grace_s)
        late = dict(self._running)
        for task, delivery in late.items():
            task.cancel()
            self._give_back(delivery, "the service was shut down")
        if late:
            await asyncio.wait(late)
        await self._settle()

    async def _settle(self) -> int:
        finished, self._finished = self._finished, []
        if not finished:
            return 0
        try:
            settled = await self._store.settle(finished)
        except Exception:
            # The outcomes are not lost: they are settled with the next turn, or their leases run
            # out and the deliveries are sent again.
            self._finished += finished
            raise
        if settled.stale:
            self._metrics.stale_leases.labels("settle").inc(len(settled.stale))
            log.warning("settled too late, nothing changed", delivery_ids=settled.stale)
        for lane in settled.closed_to:
            for delivery in self._lanes.take_lane(lane):
                del self._start_by[delivery.id]
                self._give_back(delivery, "the endpoint keeps failing and is left alone")
        for change in settled.changes:
            report_health(change, metrics=self._metrics)
        return len(finished)

    async def _claim_and_start(self) -> int:
        """Claim what there is room for and fill the free slots; returns how many were claimed."""
        mode = self._directory.controls.delivery
        if mode is DeliveryMode.PAUSED:
            self._give_back_waiting("delivery is paused")
            return 0
        lanes, lease_s = self._lanes, self._settings.lease_s
        if not lanes.wanted:
            return 0
        start_by = self._store.now().after(seconds=lease_s - self._settings.timeout_s)
        claim = await self._store.claim_deliveries(
            lanes.wanted,
            lease_s,
            rooms=Rooms(
                subscriptions=lanes.rooms(),
                default_subscription=lanes.default_room,
                organizations={},
                default_organization=lanes.wanted,
            ),
        )
        # What another process has changed about their subscriptions counts for them.
        await self._directory.catch_up(claim.settings_version)
        if claim.recovered:
            self._metrics.recovered.labels("delivery").inc(claim.recovered)
            log.warning("deliveries taken over from a lease that ran out", count=claim.recovered)
        if mode is DeliveryMode.SKIP:
            self._skip([*self._lanes.take_all(), *claim.deliveries])
        else:
            for delivery in claim.deliveries:
                self._start_by[delivery.id] = start_by
                lanes.add(delivery)
            self._start()
        return len(claim.deliveries)

    def _start(self) -> None:
        """Start as many as the slots allow."""
        while (delivery := self._lanes.take()) is not None:
            current = self._current(delivery)
            if current is None:
                self._lanes.sent(delivery)
                continue
            task = asyncio.create_task(self._deliver(current))
            self._running[task] = current
            task.add_done_callback(self._ended)

    def _current(self, delivery: ClaimedDelivery) -> ClaimedDelivery | None:
        """The delivery as it is to be sent now; ``None`` when it was given back instead."""
        if self._store.now() > self._start_by.pop(delivery.id):
            # The lease would run out while it is sent, and somebody else would send it too.
            self._give_back(delivery, "claimed and not started in time")
            return None
        target = delivery.target
        now = self._directory.subscription(target.organization_id, target.subscription.id)
        if now is None or now.subscription.status is not SubscriptionStatus.ACTIVE:
            # Paused, disabled or deleted since it was claimed.
            self._give_back(delivery, None)
            return None
        if now.subscription.updated_at < target.subscription.updated_at:
            return delivery
        # By the secrets and everything else that is in force, not by those when it was claimed.
        return msgspec.structs.replace(delivery, target=now)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._lanes.sent(self._running.pop(task))
        self._start()
        self._store.wake_deliveries()

    def _give_back_waiting(self, reason: str) -> None:
        for delivery in self._lanes.take_all():
            del self._start_by[delivery.id]
            self._give_back(delivery, reason)

    def _give_back(
        self, delivery: ClaimedDelivery, reason: str | None, not_before: Timestamp | None = None
    ) -> None:
        self._finished.append(
            Settlement(
                delivery.target.organization_id,
                delivery.id,
                delivery.token,
                reopened(delivery.attempt_count),
                reason,
                not_before,
            )
        )

    def _skip(self, deliveries: Sequence[ClaimedDelivery]) -> None:
        for delivery in deliveries:
            self._start_by.pop(delivery.id, None)
            self._finished.append(self._settlement(delivery, SWITCHED_OFF, attempt=None))
        if deliveries:
            log.info("delivery off, skipped", count=len(deliveries))

    async def _deliver(self, delivery: ClaimedDelivery) -> None:
        subscription = delivery.target.subscription
        started_at = self._store.now()
        number = delivery.attempt_count + 1
        try:
            sent = await self._sender.send(
                delivery,
                attempt_number=number,
                timeout_s=min(
                    subscription.timeout_s or self._settings.timeout_s, self._settings.timeout_s
                ),
                now=self._wall(),
                at=started_at,
            )
        except Exception:
            log.exception("sending failed in an unforeseen way", delivery_id=delivery.id)
            later = started_at.after(seconds=_AFTER_A_BUG_S)
            self._give_back(delivery, "an error of the service", later)
            return
        attempt = Attempt(
            id=self._store.ids.new(ids.ATTEMPT),
            number=number,
            started_at=started_at,
            duration_ms=sent.duration_ms,
            status_code=sent.outcome.status_code if isinstance(sent.outcome, Answered) else None,
            error=sent.outcome.error if isinstance(sent.outcome, NoAnswer) else None,
            response_body=sent.response_body,
        )
        self._finished.append(
            self._settlement(delivery, sent.outcome, attempt=attempt, details=sent.details)
        )

    def _settlement(
        self,
        delivery: ClaimedDelivery,
        outcome: Outcome,
        *,
        attempt: Attempt | None,
        details: AttemptDetails | None = None,
    ) -> Settlement:
        subscription = delivery.target.subscription
        schedule = subscription.retry_schedule
        decision = decide(
            outcome,
            failures=delivery.failures + 1,
            schedule=self._settings.retry_schedule if schedule is None else schedule,
            now=self._store.now(),
            draw=self._draw(),
        )
        self._report(delivery, decision, attempt)
        # What the service tells of itself does not make it tell more.
        notify = not delivery.operational and self._directory.notifies(
            delivery.target.organization_id
        )
        return Settlement(
            delivery.target.organization_id,
            delivery.id,
            delivery.token,
            decision.status,
            decision.reason,
            decision.next_attempt_at,
            attempt,
            decision.disable_subscription,
            details,
            notify,
            dead_letter(
                at=self._store.now(),
                subscription_id=subscription.id,
                delivery_id=delivery.id,
                event_id=delivery.event_id,
                event_type=delivery.event_type,
                reason=decision.reason,
                attempts=delivery.attempt_count if attempt is None else attempt.number,
                last=attempt,
            )
            if notify and decision.status is DeliveryStatus.DEAD
            else None,
            sent_to=subscription.url,
        )

    def _report(
        self, delivery: ClaimedDelivery, decision: Decision, attempt: Attempt | None
    ) -> None:
        self._metrics.deliveries.labels(decision.status).inc()
        if attempt is None:
            return
        self._metrics.attempt_seconds.labels(decision.status).observe(attempt.duration_ms / 1000)
        # What a receiver answers is an outcome, not an error of ours.
        line = log.debug if decision.status is DeliveryStatus.SUCCEEDED else log.info
        line(
            "delivery attempted",
            delivery_id=delivery.id,
            event_id=delivery.event_id,
            organization_id=delivery.target.organization_id,
            subscription_id=delivery.target.subscription.id,
            attempt=attempt.number,
            outcome=decision.status,
            status_code=attempt.status_code,
            error=attempt.error,
            duration_ms=attempt.duration_ms,
            next_attempt_at=None
            if decision.next_attempt_at is None
            else str(decision.next_attempt_at),
        )

    async def _until_next(self) -> float:
        longest_s = self._settings.max_poll_ms / 1000
        due_at = await self._store.next_delivery_at()
        if due_at is None:
            return longest_s
        return min(longest_s, max(0.001, (due_at - self._store.now()) / 1000))
