"""The dispatcher: settles what finished, claims what is due, starts it. Three lines, again and again."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import ceil
from typing import Final, Protocol

import msgspec
import structlog
from prometheus_client import Counter, Histogram

from triggers_api.deliver.health import report_health
from triggers_api.deliver.lanes import Flight, Lanes, any_room
from triggers_api.deliver.webhook import Sent
from triggers_api.errors import Unavailable
from triggers_api.model import ids
from triggers_api.model.attempt import AttemptDetails
from triggers_api.model.controls import DeliveryMode, DeliveryModes
from triggers_api.model.delivery import Attempt, DeliveryStatus, Origin, reopened
from triggers_api.model.health import HealthEvent
from triggers_api.model.notice import dead_letter
from triggers_api.model.outcome import (
    Answered,
    Decision,
    NoAnswer,
    NotSent,
    Outcome,
    asks_to_wait_s,
    decide,
)
from triggers_api.model.subscription import SubscriptionStatus
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import ClaimedDelivery, Rooms, Settlement, Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

SWITCHED_OFF: Final = NotSent("delivery is switched off")
_PAUSED: Final = "delivery is paused"
_BUSY_POLL_S: Final = 0.1
_SHORTEST_ALARM_S: Final = 0.001
_SETTLED_WITHIN_S: Final = 0.01
"""How long an outcome may wait for others to be settled with, while there is enough to send."""
_AFTER_A_BUG_S: Final = 60.0
"""How long a delivery waits whose sending raised something that nobody foresaw."""
_PUT_OFF: Final = {
    "rate": "waits for its turn under a rate limit",
    "throttle": "waits because the receiver asked to be left alone",
    "slots": None,
}
"""What is told of a delivery that was claimed and given back, by what it would have waited for."""


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
    host_rates: Mapping[str, float] = {}


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
        traced: bool = False,
    ) -> None:
        """Set up; ``draw`` gives random numbers in [0, 1) for the jitter.

        ``traced`` has the sender told which trace each delivery belongs to.

        ``wall`` is the wall clock, with which receivers compare the time in a signature.
        """
        self._store = store
        self._directory = directory
        self._sender = sender
        self._settings = settings
        self._wall = wall
        self._metrics = metrics
        self._draw = draw
        self._traced = traced
        self._lanes = Lanes(settings.concurrency, host_rates=settings.host_rates)
        self._running: dict[asyncio.Task[None], Flight] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._over = False
        self._finished: list[Settlement] = []
        self._skipped = 0
        self._woken = False
        self._waker: asyncio.TimerHandle | None = None
        self._counts = lru_cache(maxsize=None)(self._counts_of)
        self._says: dict[bool, bool] = {}
        self._look_at_log()
        self._start_by: dict[str, Timestamp] = {}
        self.claimed = 0
        """Deliveries that the last turn claimed."""

    async def run_once(self) -> float:
        """One turn; returns the seconds until the next look."""
        self._woken = False
        if self._waker is not None:
            self._waker.cancel()
            self._waker = None
        self._look_at_log()
        settling = asyncio.ensure_future(self._settle())
        unfinished = False
        try:
            self.claimed = 0
            unfinished = await self._claim_and_start()
        finally:
            settled = await settling
        self._show()
        if unfinished:
            return 0.0
        if self._finished:
            self._wake_in_time()
            return _BUSY_POLL_S
        return _BUSY_POLL_S if self.claimed or settled else await self._until_next()

    async def wait(self, timeout_s: float) -> None:
        """Until something finished or may be due, or the time is up."""
        await self._store.wait_deliveries(timeout_s)

    async def rest(self) -> bool:
        """Wait for what is in hand and settle it; returns whether there was anything."""
        while self._running:
            await asyncio.wait(self._running)
        return bool(await self._settle())

    async def finish(self, hurried: asyncio.Event) -> None:
        """The end: wait for what is being sent, give back what takes too long or waits, settle.

        Once it is ``hurried`` it waits no longer; what is known by then is settled all the same.
        """
        self._over = True
        for alarm in (self._alarm, self._waker):
            if alarm is not None:
                alarm.cancel()
        self._give_back_waiting("the service was shut down")
        if self._running:
            sent = asyncio.ensure_future(asyncio.wait(self._running))
            in_a_hurry = asyncio.ensure_future(hurried.wait())
            await asyncio.wait(
                (sent, in_a_hurry),
                timeout=self._settings.grace_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            sent.cancel()
            in_a_hurry.cancel()
        late = dict(self._running)
        for task, flight in late.items():
            task.cancel()
            self._give_back(flight.delivery, "the service was shut down")
        if late:
            await asyncio.wait(late)
            self._running.clear()  # a task that is cancelled before it began never knows
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
                self._start_by.pop(delivery.id, None)
                self._give_back(delivery, "the endpoint keeps failing")
        for change in settled.changes:
            report_health(change, metrics=self._metrics)
        if any(change.event is HealthEvent.DISABLED for change in settled.changes):
            await self._directory.refresh()
        return len(finished)

    async def _claim_and_start(self) -> bool:
        """Claim what there is room for, fill the free slots; returns whether to look again at once."""
        modes = self._directory.delivery
        if modes.everywhere is DeliveryMode.PAUSED:
            self._give_back_waiting(_PAUSED)
            return False
        lanes, lease_s = self._lanes, self._settings.lease_s
        lanes.shared = self._directory.organization_count > 1
        now = self._store.now()
        lanes.look(now / 1000)
        self._start(now)
        if not lanes.wanted:
            return False
        start_by = now.after(seconds=lease_s - self._settings.timeout_s)
        # What is only skipped is in no endpoint's way.
        skips = modes.everywhere is DeliveryMode.SKIP
        rooms = any_room(lanes.wanted) if skips else lanes.rooms(now / 1000)
        rooms = _turned(rooms, modes, lanes.wanted)
        claim = await self._store.claim_deliveries(lanes.wanted, lease_s, rooms=rooms)
        self.claimed = len(claim.deliveries)
        deliveries = await self._with_traces(claim.deliveries)
        # What another process has changed about their subscriptions counts for them.
        await self._directory.catch_up(claim.settings_version)
        if claim.recovered:
            self._metrics.recovered.labels("delivery").inc(claim.recovered)
            log.warning("deliveries taken over from a lease that ran out", count=claim.recovered)
        now = self._store.now()
        self._start_by |= dict.fromkeys([each.id for each in deliveries], start_by)
        limited = self._directory.delivery.limited
        for delivery in [*lanes.take_all(), *deliveries] if skips else deliveries:
            if not limited or self._goes_out(delivery, now):
                lanes.add(delivery, now / 1000)
        self._start(now)
        self._tell_of_skipped()
        return claim.unfinished

    async def _with_traces(
        self, deliveries: Sequence[ClaimedDelivery]
    ) -> Sequence[ClaimedDelivery]:
        if not (self._traced and deliveries):
            return deliveries
        try:
            traces = await self._store.traces({each.event_id for each in deliveries})
        except Unavailable:  # a trace is not worth a delivery's waiting
            return deliveries
        return [
            msgspec.structs.replace(each, trace=traces[each.event_id])
            if each.event_id in traces
            else each
            for each in deliveries
        ]

    def _goes_out(self, delivery: ClaimedDelivery, now: Timestamp) -> bool:
        """Whether the switches let a delivery be sent; if not, it is given back or skipped."""
        target = delivery.target
        mode = self._directory.delivery.of(target.organization_id, target.subscription.id)
        if mode is DeliveryMode.RUNNING:
            return True
        self._start_by.pop(delivery.id, None)
        if mode is DeliveryMode.PAUSED:
            self._give_back(delivery, _PAUSED)
        else:
            self._skip(delivery, now)
        return False

    def _start(self, now: Timestamp) -> None:
        """Start as many as may go, give back what should not wait here, and set the alarm."""
        lanes, now_s = self._lanes, now / 1000
        while (taken := self._take(now)) is not None:
            task = asyncio.create_task(self._send(*taken, now))
            self._running[task] = taken[0]
        for returned in lanes.returned():
            delivery = returned.delivery
            self._start_by.pop(delivery.id, None)
            self._metrics.deliveries_put_off.labels(returned.why).inc()
            at = None if returned.at is None else Timestamp(ceil(returned.at * 1000))
            self._give_back(delivery, _PUT_OFF[returned.why], at)
        self._set_alarm(now_s)

    def _set_alarm(self, now_s: float) -> None:
        at_s = self._lanes.wakes_at()
        if at_s is None or (self._alarm is not None and self._alarm_at <= at_s):
            return  # an alarm too many costs less than to set each one anew
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at_s
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(max(_SHORTEST_ALARM_S, at_s - now_s), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._over:
            return
        now = self._store.now()
        self._lanes.look(now / 1000)
        self._start(now)
        self._wake()

    def _show(self) -> None:
        fast, slow = self._lanes.in_flight
        self._metrics.sending_fast.set(fast)
        self._metrics.sending_slow.set(slow)
        self._metrics.endpoints_slow.set(self._lanes.slow_lanes)

    def _take(self, now: Timestamp) -> tuple[Flight, ClaimedDelivery] | None:
        """The next one that may be sent now, and the delivery as it is to be sent."""
        while (flight := self._lanes.take(now / 1000)) is not None:
            current = self._current(flight.delivery, now)
            if current is not None:
                return flight, current
            self._lanes.ended(flight, None, now / 1000)
        return None

    def _current(self, delivery: ClaimedDelivery, now: Timestamp) -> ClaimedDelivery | None:
        """The delivery as it is to be sent now; ``None`` when it was given back instead."""
        if now > self._start_by.pop(delivery.id):
            # The lease would run out while it is sent, and somebody else would send it too.
            self._give_back(delivery, "claimed and not started in time")
            return None
        target = delivery.target
        record = self._directory.subscription(target.organization_id, target.subscription.id)
        if record is None or record.subscription.status is not SubscriptionStatus.ACTIVE:
            # Paused, disabled or deleted since it was claimed.
            self._give_back(delivery, None)
            return None
        if self._directory.delivery.limited and not self._goes_out(delivery, now):
            return None
        if record.subscription.updated_at < target.subscription.updated_at:
            return delivery
        # By the secrets and everything else that is in force, not by those when it was claimed.
        return msgspec.structs.replace(delivery, target=record)

    async def _send(self, flight: Flight, delivery: ClaimedDelivery, now: Timestamp) -> None:
        """A task's work: a delivery, and after it what may be sent then, one after the other."""
        task = asyncio.current_task()
        assert task is not None
        try:
            while True:
                outcome = None
                try:
                    outcome, now = await self._deliver(delivery, now)
                finally:
                    self._lanes.ended(flight, outcome, now / 1000)
                    taken = None if self._over else self._take(now)
                    if taken is None or delivery.sequence is not None:
                        # A slot is free, or others in its line wait for this outcome.
                        self._wake()
                    else:
                        self._wake_in_time()
                if taken is None:
                    break
                flight, delivery = taken
                self._running[task] = flight
                self._start(now)
        finally:
            del self._running[task]
        if not self._over:
            self._start(now)

    def _wake(self) -> None:
        """There is something for the next turn: once is enough until it begins."""
        if not self._woken:
            self._woken = True
            self._store.wake_deliveries()

    def _wake_in_time(self) -> None:
        """Have the next turn begin when it is worth it, so that it settles and claims many at once.

        A turn costs as much as ten deliveries that it settles and claims.
        """
        few = len(self._finished) < self._settings.concurrency
        if few and self._lanes.is_stocked:
            if self._waker is None and not self._woken:
                loop = asyncio.get_running_loop()
                self._waker = loop.call_later(_SETTLED_WITHIN_S, self._wake)
        else:
            self._wake()

    def _give_back_waiting(self, reason: str) -> None:
        for delivery in self._lanes.take_all():
            self._start_by.pop(delivery.id, None)
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

    def _skip(self, delivery: ClaimedDelivery, now: Timestamp) -> None:
        self._finished.append(self._settlement(delivery, SWITCHED_OFF, now, attempt=None))
        self._skipped += 1

    def _tell_of_skipped(self) -> None:
        skipped, self._skipped = self._skipped, 0
        if skipped:
            log.info("delivery off, skipped", count=skipped)

    async def _deliver(
        self, delivery: ClaimedDelivery, started_at: Timestamp
    ) -> tuple[Answered | NoAnswer | None, Timestamp]:
        """Make one attempt; its outcome, ``None`` when there was none, and when it was known."""
        subscription = delivery.target.subscription
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
            return None, self._store.now()
        now = self._store.now()
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
            self._settlement(delivery, sent.outcome, now, attempt=attempt, details=sent.details)
        )
        if asks_to_wait_s(sent.outcome) is not None:
            self._metrics.endpoints_throttled.inc()
        return sent.outcome, now

    def _settlement(
        self,
        delivery: ClaimedDelivery,
        outcome: Outcome,
        now: Timestamp,
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
            now=now,
            draw=self._draw(),
            origin=delivery.origin,
        )
        self._report(delivery, decision, attempt)
        # What the service tells of itself does not make it tell more.
        tells = delivery.origin is Origin.TEST or not delivery.operational
        notify = tells and self._directory.notifies(delivery.target.organization_id)
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
                at=now,
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
            in_line=delivery.sequence is not None,
        )

    def _look_at_log(self) -> None:
        """Which attempts, by whether they succeeded, are told to the log: asking costs its time."""
        self._says[True] = log.is_enabled_for(logging.DEBUG)
        self._says[False] = log.is_enabled_for(logging.INFO)

    def _report(
        self, delivery: ClaimedDelivery, decision: Decision, attempt: Attempt | None
    ) -> None:
        deliveries, attempt_seconds = self._counts(decision.status)
        deliveries.inc()
        self._metrics.rollups.settled(
            delivery.target.organization_id,
            delivery.target.subscription.id,
            decision.status,
            None if attempt is None else attempt.duration_ms,
        )
        if attempt is None:
            return
        attempt_seconds.observe(attempt.duration_ms / 1000)
        # What a receiver answers is an outcome, not an error of ours.
        succeeded = decision.status is DeliveryStatus.SUCCEEDED
        if not self._says[succeeded]:
            return
        say = log.debug if succeeded else log.info
        say(
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

    def _counts_of(self, status: DeliveryStatus) -> tuple[Counter, Histogram]:
        metrics = self._metrics
        return metrics.deliveries.labels(status), metrics.attempt_seconds.labels(status)

    async def _until_next(self) -> float:
        longest_s = self._settings.max_poll_ms / 1000
        due_at = await self._store.next_delivery_at()
        if due_at is None:
            return longest_s
        return min(longest_s, max(0.001, (due_at - self._store.now()) / 1000))


def _turned(rooms: Rooms, modes: DeliveryModes, most: int) -> Rooms:
    """The rooms as the switches leave them: none for who is paused, any for who is skipped."""
    if not modes.organizations and not modes.subscriptions:
        return rooms
    room = {DeliveryMode.PAUSED: 0, DeliveryMode.SKIP: most}
    organizations = {each: room[mode] for each, mode in modes.organizations.items()}
    subscriptions = {each: room[mode] for each, mode in modes.subscriptions.items()}
    return msgspec.structs.replace(
        rooms,
        organizations={**rooms.organizations, **organizations},
        subscriptions={**rooms.subscriptions, **subscriptions},
    )
