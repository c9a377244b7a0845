"""Random histories against a small model: whatever happens in whatever order, the promise holds.

The model is two dictionaries. Every rule does something to the store, works out from the model what
must have come of it, and compares; after every step all that can be read is compared as well. The
machine deals with outcomes as the dispatcher does, through ``decide``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from triggers_api.errors import InvalidState
from triggers_api.model.delivery import (
    FINISHED,
    OPEN,
    RETRYABLE,
    WAITING,
    Attempt,
    DeliveryStatus,
    reopened,
)
from triggers_api.model.outcome import Answered, decide
from triggers_api.model.subscription import SubscriptionStatus
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import (
    ClaimedDelivery,
    DeliveryFilter,
    EventFilter,
    FailedEvent,
    Page,
    QueueClaim,
    RoutedEvent,
    Settlement,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.contract.conftest import Engine, FrozenClock, World

SCHEDULE = (5.0, 10.0)
EVERYTHING = Page(limit=10_000)


@dataclass
class EventRow:
    """An event as the model has it; ``state`` is its status, or ``deleted``."""

    due: int
    dedup: str | None
    state: str = "queued"
    until: int = 0
    token: int | None = None
    holder: int = 0
    claims: int = 0


@dataclass
class DeliveryRow:
    """A delivery as the model has it."""

    event: str
    subscription: str
    due: int
    status: DeliveryStatus = DeliveryStatus.PENDING
    until: int = 0
    token: int | None = None
    holder: int = 0
    attempts: int = 0
    base: int = 0
    line: int = 0


class Histories(RuleBasedStateMachine):
    """What can happen to a store."""

    def __init__(self, make_world: Callable[[asyncio.Runner], World]) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = make_world(self.runner)
        self.runner.run(self.world.engine.open())
        self.organization = self.world.organization()
        self.active = dict.fromkeys(
            [self.world.subscription(self.organization) for _ in range(2)], True
        )
        self.events: dict[str, EventRow] = {}
        self.deliveries: dict[str, DeliveryRow] = {}
        self.accepted = 0
        self.process = 1
        self.queue_claims: list[QueueClaim] = []
        self.claimed: list[ClaimedDelivery] = []

    @initialize()
    def begin_with_something_to_do(self) -> None:
        self.append(["a", None, None], None, routed=True)
        self.append(["b", None], None, routed=False)

    @property
    def now(self) -> Timestamp:
        return self.world.clock()

    def teardown(self) -> None:
        self.attempts_are_numbered()
        self.runner.run(self.world.engine.close())
        self.runner.close()

    # ── what happens ──────────────────────────────────────────────────────────────────────────

    @rule(
        dedups=st.lists(st.none() | st.sampled_from("ab"), min_size=1, max_size=3),
        routed=st.booleans(),
        delay_s=st.sampled_from([None, None, -5, 0, 7]),
    )
    def append(self, dedups: list[str | None], delay_s: int | None, *, routed: bool) -> None:
        later = None if delay_s is None or routed else self.now.after(seconds=delay_s)
        new = [
            self.world.event(
                self.organization,
                dedup_id=dedup,
                deliver_at=later,
                to=list(self.active) if routed else None,
            )
            for dedup in dedups
        ]
        for event, first in zip(new, self.world.append(*new), strict=True):
            holder = next(
                (
                    event_id
                    for event_id, row in self.events.items()
                    if event.dedup_id is not None
                    and (row.dedup, row.state != "deleted") == (event.dedup_id, True)
                ),
                None,
            )
            assert (None if first is None else first.id) == holder
            if holder is not None:
                continue
            self.accepted += 1
            due = max(self.now, later or 0)
            self.events[event.id] = EventRow(due, event.dedup_id)
            if event.deliveries is not None:
                self.events[event.id].state = "processed"
                for delivery in event.deliveries:
                    self.store_delivery(delivery.id, event.id, delivery.subscription_id)

    def store_delivery(self, delivery: str, event: str, subscription: str) -> None:
        assert not any(
            (row.event, row.subscription) == (event, subscription)
            for row in self.deliveries.values()
        )
        self.deliveries[delivery] = DeliveryRow(event, subscription, self.now)

    @rule(
        what=st.sampled_from(
            ["deliver", "claim_deliveries", "settle", "claim_queue", "finish_routing", "route"]
        ),
        after_s=st.sampled_from([0, 0, 0, 0, 0, 0, 5, 9.999, 10]),
        data=st.data(),
    )
    def a_worker_does(self, what: str, after_s: float, data: st.DataObject) -> None:
        self.world.clock.advance(seconds=after_s)
        getattr(self, what)(data)

    def route(self, data: st.DataObject) -> None:
        self.claim_queue(data)
        self.fan_out(self.queue_claims[-1])

    def deliver(self, data: st.DataObject) -> None:
        self.claim_deliveries(data)
        self.settle(data)

    def claim_queue(self, data: st.DataObject) -> None:
        limit = data.draw(st.integers(1, 5), "limit")
        claim = self.world.claim_queue(limit, lease_s=10)
        rows = sorted(
            (row.due, event_id)
            for event_id, row in self.events.items()
            if row.state == "queued" and row.due <= self.now and row.until <= self.now
        )[:limit]
        suspicious = [at for at, (_, each) in enumerate(rows) if self.events[each].claims >= 2]
        if suspicious:
            rows = rows[: max(suspicious[0], 1)]
        assert [event.id for event in claim.events] == [event_id for _, event_id in rows]
        taken_over = [event_id for _, event_id in rows if self.events[event_id].token is not None]
        assert claim.recovered == len(taken_over)
        for event in claim.events:
            row = self.events[event.id]
            row.token, row.until, row.holder = claim.token, self.now + 10_000, self.process
            row.claims += 1
            assert event.attempts == row.claims
        self.queue_claims.append(claim)

    def holds_event(self, claim: QueueClaim, event_id: str) -> bool:
        row = self.events[event_id]
        return row.state == "queued" and row.token == claim.token and row.until > self.now

    def finish_routing(self, data: st.DataObject) -> None:
        if not self.queue_claims:
            return
        claim = data.draw(st.sampled_from(self.queue_claims[-3:][::-1]), "claim")
        outcome = data.draw(st.sampled_from(["routed", "routed", "set aside", "released"]))
        if outcome == "routed":
            self.fan_out(claim)
        else:
            self.release(claim, 5.0 if outcome == "released" else None)

    def fan_out(self, claim: QueueClaim) -> None:
        routed = [
            RoutedEvent(event, tuple(self.world.new_delivery(each) for each in self.active))
            for event in claim.events
        ]
        held = {event.id: self.holds_event(claim, event.id) for event in claim.events}
        stale = self.world.run(self.world.store.fan_out(claim.token, routed))
        assert sorted(stale) == sorted(event_id for event_id, valid in held.items() if not valid)
        for answer in routed:
            if held[answer.event.id]:
                self.events[answer.event.id].state = "processed"
                for delivery in answer.deliveries:
                    self.store_delivery(delivery.id, answer.event.id, delivery.subscription_id)

    def release(self, claim: QueueClaim, retry_in_s: float | None) -> None:
        held = {event.id: self.holds_event(claim, event.id) for event in claim.events}
        stale = self.world.run(
            self.world.store.release(
                claim.token, [FailedEvent(event, "no luck", retry_in_s) for event in claim.events]
            )
        )
        assert sorted(stale) == sorted(event_id for event_id, valid in held.items() if not valid)
        for event_id, valid in held.items():
            row = self.events[event_id]
            if valid and retry_in_s is None:
                row.state = "failed"
            elif valid and retry_in_s is not None:
                row.token, row.until = None, self.now.after(seconds=retry_in_s)

    def claim_deliveries(self, data: st.DataObject) -> None:
        limit = data.draw(st.integers(1, 6), "limit")
        rooms = data.draw(st.tuples(*[st.sampled_from([None, None, 5, 1, 0])] * 2), "rooms")
        room = {
            subscription: free
            for subscription, free in zip(self.active, rooms, strict=True)
            if free is not None
        }
        claim = self.world.claim_deliveries(limit, lease_s=10, room=room, default_room=2)
        fair = 0
        for subscription, active in self.active.items():
            due = sorted(
                (row.due, delivery_id, row.line)
                for delivery_id, row in self.deliveries.items()
                if row.subscription == subscription and row.status in OPEN
                and row.due <= self.now and row.until <= self.now
            )  # fmt: skip
            free = min(room.get(subscription, 2) if active else 0, len(due))
            fair += free
            lines = [
                [
                    delivery.id
                    for delivery in claim.deliveries
                    if delivery.target.subscription.id == subscription and delivery.priority == line
                ]
                for line in (0, 1)
            ]
            assert sum(map(len, lines)) <= free
            for line, got in enumerate(lines):
                waiting = [delivery_id for _, delivery_id, its in due if its == line]
                assert got == waiting[: len(got)]
        assert len(claim.deliveries) == min(limit, fair)
        assert claim.recovered == sum(
            self.deliveries[each.id].status is DeliveryStatus.DELIVERING
            for each in claim.deliveries
        )
        for each in claim.deliveries:
            row = self.deliveries[each.id]
            assert (each.event_id, each.attempt_count) == (row.event, row.attempts)
            assert each.priority == row.line
            assert each.failures == row.attempts - row.base <= len(SCHEDULE)
            row.status, row.token = DeliveryStatus.DELIVERING, each.token
            row.until, row.holder = self.now + 10_000, self.process
        self.claimed += claim.deliveries

    def settle(self, data: st.DataObject) -> None:
        if not self.claimed:
            return
        recent = st.sampled_from(self.claimed[-5:][::-1])
        chosen = data.draw(st.lists(recent, min_size=1, max_size=4), "claimed")
        code = data.draw(st.sampled_from([500, 200, 503]), "code")
        given_back = data.draw(st.booleans(), "given back")
        stale: list[str] = []
        settlements = []
        for claimed in chosen:
            settlement = self.outcome(claimed, code, given_back=given_back and code == 503)
            settlements.append(settlement)
            row = self.deliveries[claimed.id]
            if (row.status, row.token) != (DeliveryStatus.DELIVERING, claimed.token) or (
                row.until <= self.now
            ):
                stale.append(claimed.id)
                continue
            row.status, row.token = settlement.status, None
            row.due, row.until = settlement.next_attempt_at or self.now, 0
            row.attempts += settlement.attempt is not None
            if row.status is DeliveryStatus.RETRYING:
                row.line = 1
        assert list(self.world.settle(*settlements)) == stale

    def outcome(self, claimed: ClaimedDelivery, code: int, *, given_back: bool) -> Settlement:
        if given_back:
            return Settlement(
                claimed.target.organization_id,
                claimed.id,
                claimed.token,
                reopened(claimed.attempt_count),
            )
        attempt = Attempt(
            id=self.world.store.ids.new("att"),
            number=claimed.attempt_count + 1,
            started_at=self.now,
            duration_ms=1,
            status_code=code,
        )
        decision = decide(
            Answered(code), failures=claimed.failures + 1, schedule=SCHEDULE, now=self.now, draw=0
        )
        return Settlement(
            claimed.target.organization_id,
            claimed.id,
            claimed.token,
            decision.status,
            decision.reason,
            decision.next_attempt_at,
            attempt,
        )

    @rule(
        what=st.sampled_from(
            [
                "sweep",
                "reopen",
                "crash",
                "pause",
                "resume",
                "resume",
                "retry",
                "retry",
                "cancel",
                "delete",
            ]
        ),
        after_s=st.sampled_from([0, 0, 0.001, 5, 10]),
        which=st.integers(0, 20),
    )
    def something_happens(self, what: str, after_s: float, which: int) -> None:
        self.world.clock.advance(seconds=after_s)
        if what == "sweep":
            self.sweep()
        elif what in {"reopen", "crash"}:
            self.end_of_the_process(what)
        elif what == "delete":
            self.delete_event(list(self.events)[which % len(self.events)])
        elif what in {"retry", "cancel"}:
            self.change(list(self.deliveries)[which % len(self.deliveries)], what)
        else:
            self.turn(list(self.active)[which % 2], active=what == "resume")

    def end_of_the_process(self, way: str) -> None:
        if self.world.engine.is_shared:
            # A start among others does not know all ids of the present millisecond: it begins in
            # the next one.
            self.world.clock.advance(seconds=0.001)
        self.world.run(getattr(self.world.engine, way)())
        if not self.world.engine.is_shared:
            self.free(lambda _: True)
        elif way == "reopen":
            self.free(lambda row: row.holder == self.process or row.until <= self.now)
        self.process += 1

    def sweep(self) -> None:
        reaped = self.world.run(self.world.store.reap())
        freed = self.free(lambda row: row.until <= self.now)
        assert (reaped.events, reaped.deliveries, reaped.cancelled) == (*freed, 0)

    def free(self, ends: Callable[[EventRow | DeliveryRow], bool]) -> tuple[int, int]:
        """End leases, those of these rows; how many there were."""
        events = [
            row
            for row in self.events.values()
            if row.state == "queued" and row.token is not None and ends(row)
        ]
        deliveries = [
            row
            for row in self.deliveries.values()
            if row.status is DeliveryStatus.DELIVERING and ends(row)
        ]
        for event in events:
            event.token, event.until = None, 0
        for row in deliveries:
            row.status, row.token, row.until = reopened(row.attempts), None, 0
        return len(events), len(deliveries)

    def delete_event(self, event_id: str) -> None:
        event = self.events[event_id]
        deleted = self.world.run(self.world.store.delete_event(self.organization, event_id))
        assert deleted is (event.state != "deleted")
        event.state = "deleted"
        for row in self.deliveries.values():
            if row.event == event_id and row.status in OPEN:
                row.status = DeliveryStatus.CANCELLED

    def turn(self, subscription: str, *, active: bool) -> None:
        self.active[subscription] = active
        status = SubscriptionStatus.ACTIVE if active else SubscriptionStatus.PAUSED
        self.world.subscription(self.organization, subscription_id=subscription, status=status)

    def change(self, delivery_id: str, by_hand: str) -> None:
        row = self.deliveries[delivery_id]
        store = self.world.store
        change = store.retry_delivery if by_hand == "retry" else store.cancel_delivery
        allowed = row.status in OPEN
        if by_hand == "retry":
            allowed = (
                row.status in WAITING | RETRYABLE and self.events[row.event].state != "deleted"
            )
        try:
            assert self.world.run(change(self.organization, delivery_id)) is True
        except InvalidState:
            assert not allowed
            return
        assert allowed
        if by_hand == "cancel":
            row.status = DeliveryStatus.CANCELLED
        elif row.status in FINISHED:
            row.status, row.base, row.line = reopened(row.attempts), row.attempts, 1
        row.due, row.until = self.now, 0

    # ── what must hold ────────────────────────────────────────────────────────────────────────

    @invariant()
    def nothing_is_lost_and_nothing_is_there_twice(self) -> None:
        store, run = self.world.store, self.world.run
        events = run(store.events(self.organization, EventFilter(), EVERYTHING))
        shown = {event.id: event.status.value for event in events}
        assert len(shown) == len(events)
        assert shown == {
            event_id: "scheduled" if row.state == "queued" and row.due > self.now else row.state
            for event_id, row in self.events.items()
            if row.state != "deleted"
        }
        deliveries = run(store.deliveries(self.organization, DeliveryFilter(), EVERYTHING))
        assert len(deliveries) == len(self.deliveries)
        assert {each.id: (each.status, each.attempt_count) for each in deliveries} == {
            delivery_id: (row.status, row.attempts) for delivery_id, row in self.deliveries.items()
        }

    @invariant()
    def the_books_balance(self) -> None:
        (account,) = self.world.run(self.world.store.accounts())
        assert account.balances()
        assert account.accepted == self.accepted
        assert account.deliveries["total"] == len(self.deliveries)

    def attempts_are_numbered(self) -> None:
        for delivery_id, row in self.deliveries.items():
            found = self.world.run(self.world.store.delivery(self.organization, delivery_id))
            assert found is not None
            assert [each.number for each in found.attempts] == list(range(1, row.attempts + 1))
            succeeded = any(each.status_code == 200 for each in found.attempts)
            assert succeeded is (found.status is DeliveryStatus.SUCCEEDED)


@pytest.mark.timeout(400)  # a history that fails is made as short as it can be
def test_whatever_happens_in_whatever_order_the_promise_holds(
    make_engine: Callable[[Path, FrozenClock], Engine],
    make_world: Callable[[Engine, FrozenClock, asyncio.Runner], World],
    make_clock: Callable[[], FrozenClock],
    tmp_path: Path,
) -> None:
    serial = itertools.count()
    # Half as many where each takes about twice as long.
    examples = 25 if make_engine(tmp_path, make_clock()).is_shared else 60

    def fresh(runner: asyncio.Runner) -> World:
        folder = tmp_path / f"{next(serial)}"
        folder.mkdir()
        clock = make_clock()
        return make_world(make_engine(folder, clock), clock, runner)

    class HistoriesHere(Histories):
        def __init__(self) -> None:
            super().__init__(fresh)

    run_state_machine_as_test(
        HistoriesHere,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            derandomize="CI" in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
