"""What a person does to single rows: retry, cancel, delete."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from triggers_api.errors import InvalidState
from triggers_api.model.event import EventStatus
from triggers_api.model.subscription import SubscriptionStatus
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import EventFilter, FailedEvent, Page, RoutedEvent

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World


def brought_to(world: World, organization: str, subscription: str, status: str) -> str:
    """A delivery in a state, with one attempt on file unless it is pending or skipped."""
    (due,) = world.due(organization, subscription)
    if status == "pending":
        return due
    claimed = world.claimed()
    if status != "delivering":
        settlement = world.outcome(
            claimed, status, retry_in_s=600, attempted=status != "skipped", reason="because"
        )
        assert list(world.settle(settlement)) == []
    assert world.status_of(organization, due) == status
    return due


# ── retry ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "after"),
    [
        ("dead", "retrying"),
        ("skipped", "pending"),
        ("cancelled", "retrying"),
        ("retrying", "retrying"),
        ("pending", "pending"),
    ],
)
def test_a_retry_makes_a_delivery_due_now(
    world: World,
    organization: str,
    subscription: str,
    clock: FrozenClock,
    status: str,
    after: str,
) -> None:
    due = brought_to(world, organization, subscription, status)
    clock.advance(seconds=5)
    assert world.run(world.store.retry_delivery(organization, due)) is True
    found = world.run(world.store.delivery(organization, due))
    assert found is not None
    assert found.status == after
    assert found.next_attempt_at is not None
    assert found.next_attempt_at <= clock()
    assert found.finished_at is None
    assert world.claimed().id == due
    world.assert_balanced()


def test_a_delivery_opened_again_starts_its_schedule_anew_and_keeps_its_attempts(
    world: World, organization: str, subscription: str
) -> None:
    (due,) = world.due(organization, subscription)
    for status in ("retrying", "dead"):
        world.settle(world.outcome(world.claimed(), status, status_code=500, retry_in_s=0))
    world.run(world.store.retry_delivery(organization, due))
    claimed = world.claimed()
    assert (claimed.attempt_count, claimed.failures) == (2, 0)
    world.settle(world.outcome(claimed, "retrying", status_code=500, retry_in_s=0))
    claimed = world.claimed()
    assert (claimed.attempt_count, claimed.failures) == (3, 1)
    world.settle(world.outcome(claimed))
    found = world.run(world.store.delivery(organization, due))
    assert found is not None
    assert found.status == "succeeded"
    assert [attempt.number for attempt in found.attempts] == [1, 2, 3, 4]
    assert found.reason is None


def test_a_delivery_brought_forward_keeps_counting(
    world: World, organization: str, subscription: str
) -> None:
    due = brought_to(world, organization, subscription, "retrying")
    world.run(world.store.retry_delivery(organization, due))
    claimed = world.claimed()
    assert (claimed.attempt_count, claimed.failures) == (1, 1)


@pytest.mark.parametrize("status", ["succeeded", "delivering"])
def test_what_succeeded_or_is_being_delivered_cannot_be_retried(
    world: World, organization: str, subscription: str, status: str
) -> None:
    due = brought_to(world, organization, subscription, status)
    before = world.run(world.store.delivery(organization, due))
    with pytest.raises(InvalidState):
        world.run(world.store.retry_delivery(organization, due))
    assert world.run(world.store.delivery(organization, due)) == before


@pytest.mark.parametrize("status", ["dead", "skipped", "cancelled", "pending", "retrying"])
def test_a_delivery_whose_event_was_deleted_cannot_be_retried(
    world: World, organization: str, subscription: str, status: str
) -> None:
    due = brought_to(world, organization, subscription, status)
    found = world.run(world.store.delivery(organization, due))
    assert found is not None
    world.run(world.store.delete_event(organization, found.event_id))
    with pytest.raises(InvalidState):
        world.run(world.store.retry_delivery(organization, due))
    assert world.claim_deliveries().deliveries == ()


@pytest.mark.parametrize("status", ["dead", "skipped", "cancelled", "pending", "retrying"])
def test_a_delivery_whose_subscription_was_deleted_cannot_be_retried(
    world: World, organization: str, subscription: str, status: str
) -> None:
    due = brought_to(world, organization, subscription, status)
    world.run(world.store.delete_subscription(organization, subscription))
    with pytest.raises(InvalidState):
        world.run(world.store.retry_delivery(organization, due))
    assert world.claim_deliveries().deliveries == ()


def test_a_delivery_retried_while_its_subscription_is_paused_waits_for_the_end_of_the_pause(
    world: World, organization: str, subscription: str
) -> None:
    due = brought_to(world, organization, subscription, "dead")
    world.subscription(organization, subscription_id=subscription, status=SubscriptionStatus.PAUSED)
    assert world.run(world.store.retry_delivery(organization, due))
    assert world.claim_deliveries().deliveries == ()
    world.run(world.store.reap())
    world.subscription(organization, subscription_id=subscription)
    assert world.claimed().id == due


def test_a_retry_that_was_accepted_is_not_silently_cancelled_later(
    world: World, organization: str, subscription: str
) -> None:
    (due,) = world.due(organization, subscription)
    world.settle(world.outcome(world.claimed(), "cancelled", disable_subscription="410 Gone"))
    try:
        world.run(world.store.retry_delivery(organization, due))
    except InvalidState:
        return
    world.run(world.store.reap())
    world.subscription(organization, subscription_id=subscription)
    assert world.claimed().id == due


# ── cancel ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", ["pending", "retrying", "delivering"])
def test_what_is_not_finished_can_be_cancelled(
    world: World, organization: str, subscription: str, clock: FrozenClock, status: str
) -> None:
    due = brought_to(world, organization, subscription, status)
    clock.advance(seconds=1)
    assert world.run(world.store.cancel_delivery(organization, due)) is True
    found = world.run(world.store.delivery(organization, due))
    assert found is not None
    assert found.status == "cancelled"
    assert found.reason
    assert found.finished_at == clock()
    assert found.next_attempt_at is None
    clock.advance(seconds=86_400)
    assert world.claim_deliveries().deliveries == ()
    world.assert_balanced()


@pytest.mark.parametrize("status", ["succeeded", "dead", "skipped", "cancelled"])
def test_what_is_finished_cannot_be_cancelled(
    world: World, organization: str, subscription: str, status: str
) -> None:
    due = brought_to(world, organization, subscription, status)
    before = world.run(world.store.delivery(organization, due))
    with pytest.raises(InvalidState):
        world.run(world.store.cancel_delivery(organization, due))
    assert world.run(world.store.delivery(organization, due)) == before


@pytest.mark.parametrize("outcome", ["succeeded", "retrying", "dead", "pending"])
def test_an_attempt_in_flight_changes_nothing_once_its_delivery_was_cancelled(
    world: World, organization: str, subscription: str, outcome: str
) -> None:
    (due,) = world.due(organization, subscription)
    claimed = world.claimed()
    world.run(world.store.cancel_delivery(organization, due))
    before = world.run(world.store.delivery(organization, due))
    settlement = world.outcome(claimed, outcome, retry_in_s=0, attempted=outcome != "pending")
    assert list(world.settle(settlement)) == [due]
    assert world.run(world.store.delivery(organization, due)) == before


def test_an_old_attempt_does_not_settle_a_delivery_cancelled_and_opened_again(
    world: World, organization: str, subscription: str
) -> None:
    (due,) = world.due(organization, subscription)
    old = world.claimed()
    world.run(world.store.cancel_delivery(organization, due))
    world.run(world.store.retry_delivery(organization, due))
    assert list(world.settle(world.outcome(old))) == [due]
    new = world.claimed()
    assert list(world.settle(world.outcome(old, "dead"))) == [due]
    assert list(world.settle(world.outcome(new))) == []
    assert world.status_of(organization, due) == "succeeded"


def test_a_clock_set_back_revives_no_lease_that_has_ended(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    cancelled, settled = world.due(organization, subscription, 2)
    claimed = world.claim_deliveries(lease_s=45).deliveries
    clock.advance(seconds=30)
    world.run(world.store.cancel_delivery(organization, cancelled))
    world.settle(world.outcome(claimed[1], "retrying", status_code=500, retry_in_s=5))
    clock.advance(seconds=-3600)
    assert sorted(world.settle(*map(world.outcome, claimed))) == sorted([cancelled, settled])
    assert world.status_of(organization, cancelled) == "cancelled"
    assert world.status_of(organization, settled) == "retrying"


def test_a_sweep_does_not_revive_what_was_cancelled_in_flight(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    due = brought_to(world, organization, subscription, "delivering")
    world.run(world.store.cancel_delivery(organization, due))
    clock.advance(seconds=3600)
    assert world.run(world.store.reap()).deliveries == 0
    assert world.status_of(organization, due) == "cancelled"


# ── cancel an event ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", ["queued", "leased", "released", "scheduled"])
def test_an_event_that_was_not_routed_can_be_cancelled_and_goes_nowhere(
    world: World, organization: str, subscription: str, clock: FrozenClock, state: str
) -> None:
    deliver_at = Timestamp(clock() + 1000) if state == "scheduled" else None
    (event_id,) = world.queued(organization, deliver_at=deliver_at, dedup_id="held")
    claim = world.claim_queue()
    if state == "released":
        world.run(world.store.release(claim.token, [FailedEvent(claim.events[0], "no", 1.0)]))
    clock.advance(seconds=1)
    for _ in range(2):
        assert world.run(world.store.cancel_event(organization, event_id)) is True
        clock.advance(seconds=1)
    if state == "leased":
        assert list(world.route(claim, subscription)) == [event_id]
    clock.advance(seconds=3600)
    assert world.claim_queue().events == ()
    assert world.claim_deliveries().deliveries == ()
    found = world.run(world.store.event(organization, event_id))
    assert found is not None
    assert (found.status, found.deliveries, bytes(found.payload)) == ("cancelled", (), b'{"n":1}')
    assert [(each.what, clock() - each.at) for each in found.timeline] == [
        ("received", 3_603_000),
        ("cancelled", 3_602_000),
    ]
    (again,) = world.append(world.event(organization, dedup_id="held"))
    assert again is not None
    assert (again.id, again.status) == (event_id, "cancelled")
    assert listed(world, organization, EventStatus.CANCELLED) == [event_id]
    assert listed(world, organization, EventStatus.QUEUED) == []
    (account,) = world.run(world.store.accounts())
    assert (account.accepted, account.cancelled) == (1, 1)
    assert world.run(world.store.stats()).depth == 0
    world.assert_balanced()


def listed(world: World, organization: str, status: EventStatus) -> list[str]:
    found = world.run(world.store.events(organization, EventFilter(status=status), Page()))
    return [event.id for event in found]


@pytest.mark.parametrize("wanted_by", ["somebody", "nobody"])
def test_an_event_that_was_routed_cannot_be_cancelled(
    world: World, organization: str, subscription: str, wanted_by: str
) -> None:
    (queued,) = world.queued(organization)
    world.route(world.claim_queue(), *[subscription] * (wanted_by == "somebody"))
    at_once = world.event(organization, to=[subscription] * (wanted_by == "somebody"))
    world.append(at_once)
    for event_id in (queued, at_once.id):
        with pytest.raises(InvalidState, match="routed already"):
            world.run(world.store.cancel_event(organization, event_id))
        assert world.event_status_of(organization, event_id) == "processed"
    assert len(world.claim_deliveries().deliveries) == 2 * (wanted_by == "somebody")
    world.assert_balanced()


def test_an_event_that_was_set_aside_cannot_be_cancelled(world: World, organization: str) -> None:
    (event_id,) = world.queued(organization)
    claim = world.claim_queue()
    world.run(world.store.release(claim.token, [FailedEvent(claim.events[0], "poison", None)]))
    with pytest.raises(InvalidState, match="the event is failed"):
        world.run(world.store.cancel_event(organization, event_id))
    assert world.event_status_of(organization, event_id) == "failed"
    world.assert_balanced()


def test_what_is_not_there_cannot_be_cancelled(world: World, organization: str) -> None:
    (deleted, theirs) = world.queued(organization, 2)
    world.run(world.store.delete_event(organization, deleted))
    other = world.organization("Other")
    for owner, event_id in ((organization, deleted), (other, theirs), (organization, "evt_x")):
        assert world.run(world.store.cancel_event(owner, event_id)) is False
    assert world.event_status_of(organization, theirs) == "queued"
    world.assert_balanced()


def test_a_cancelled_event_can_be_deleted_and_is_not_cancelled_again(
    world: World, organization: str
) -> None:
    (event_id,) = world.queued(organization, dedup_id="held")
    world.run(world.store.cancel_event(organization, event_id))
    assert world.run(world.store.delete_event(organization, event_id)) is True
    assert world.run(world.store.cancel_event(organization, event_id)) is False
    assert world.append(world.event(organization, dedup_id="held")) == [None]
    world.assert_balanced()


def test_a_cancelled_event_is_cancelled_after_a_crash(
    world: World, organization: str, clock: FrozenClock
) -> None:
    cancelled, kept = world.queued(organization, 2, deliver_at=Timestamp(clock() + 1000))
    world.run(world.store.cancel_event(organization, cancelled))
    world.run(world.engine.crash())
    assert world.event_status_of(organization, cancelled) == "cancelled"
    assert world.event_status_of(organization, kept) == "scheduled"
    clock.advance(seconds=1)
    assert [event.id for event in world.claim_queue().events] == [kept]


def test_of_a_cancellation_and_a_fan_out_at_once_exactly_one_takes_place(
    world: World, organization: str, subscription: str
) -> None:
    event_ids = world.queued(organization, 40)
    claim = world.claim_queue()
    events = {event.id: event for event in claim.events}
    store = world.store

    async def cancelled(event_id: str) -> bool:
        try:
            return await store.cancel_event(organization, event_id)
        except InvalidState:
            return False

    async def routed(event_id: str) -> bool:
        answer = RoutedEvent(events[event_id], (world.new_delivery(subscription),))
        return event_id not in await store.fan_out(claim.token, [answer])

    async def both(place: int, event_id: str) -> tuple[bool, bool]:
        if place % 2:
            first, second = await asyncio.gather(cancelled(event_id), routed(event_id))
        else:
            second, first = await asyncio.gather(routed(event_id), cancelled(event_id))
        return first, second

    async def main() -> list[tuple[bool, bool]]:
        return await asyncio.gather(*[both(*each) for each in enumerate(event_ids)])

    outcomes = world.run(main())
    sent = {each.event_id for each in world.claim_deliveries().deliveries}
    for event_id, (was_cancelled, was_routed) in zip(event_ids, outcomes, strict=True):
        assert was_cancelled is not was_routed
        assert (event_id in sent) is was_routed
        standing = world.event_status_of(organization, event_id)
        assert standing == ("cancelled" if was_cancelled else "processed")
    world.assert_balanced()


# ── delete an event ───────────────────────────────────────────────────────────────────────────


def test_a_deleted_event_is_gone_and_what_waited_is_cancelled(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    others = [world.subscription(organization) for _ in range(2)]
    event = world.event(organization, to=[subscription, *others], dedup_id="x", payload=b'"PII"')
    world.append(event)
    done = world.claimed(limit=1)
    world.settle(world.outcome(done))
    in_flight = world.claimed(limit=1)
    clock.advance(seconds=1)
    assert world.run(world.store.delete_event(organization, event.id)) is True
    assert world.run(world.store.event(organization, event.id)) is None
    assert event.deliveries is not None
    statuses = sorted(world.status_of(organization, each.id) for each in event.deliveries)
    assert statuses == ["cancelled", "cancelled", "succeeded"]
    assert list(world.settle(world.outcome(in_flight))) == [in_flight.id]
    assert world.claim_deliveries().deliveries == ()
    (account,) = world.run(world.store.accounts())
    assert (account.accepted, account.deleted, account.processed) == (1, 1, 0)
    world.assert_balanced()


def test_an_event_is_deleted_once(world: World, organization: str) -> None:
    (event_id,) = world.queued(organization)
    assert world.run(world.store.delete_event(organization, event_id)) is True
    assert world.run(world.store.delete_event(organization, event_id)) is False
    world.assert_balanced()


def test_of_those_who_delete_an_event_at_once_one_has_done_it(
    world: World, organization: str
) -> None:
    event_ids = world.queued(organization, count=20)
    for event_id in event_ids[::2]:  # of which no row of the queue is left for which to wait
        assert world.run(world.store.cancel_event(organization, event_id))

    async def deleted(event_id: str) -> list[bool]:
        return await asyncio.gather(
            *[world.store.delete_event(organization, event_id) for _ in range(4)]
        )

    async def all_deleted() -> list[list[bool]]:
        return await asyncio.gather(*map(deleted, event_ids))

    for answers in world.run(all_deleted()):
        assert sorted(answers) == [False, False, False, True]
    world.assert_balanced()


@pytest.mark.parametrize("state", ["queued", "leased", "scheduled", "processed", "failed"])
def test_an_event_can_be_deleted_wherever_it_stands(
    world: World, organization: str, subscription: str, clock: FrozenClock, state: str
) -> None:
    deliver_at = Timestamp(clock() + 1000) if state == "scheduled" else None
    (event_id,) = world.queued(organization, deliver_at=deliver_at)
    if state in {"leased", "processed", "failed"}:
        claim = world.claim_queue()
        if state == "processed":
            world.route(claim, subscription)
        if state == "failed":
            failed = [FailedEvent(claim.events[0], "no", None)]
            world.run(world.store.release(claim.token, failed))
    assert world.run(world.store.delete_event(organization, event_id)) is True
    assert world.run(world.store.event(organization, event_id)) is None
    clock.advance(seconds=3600)
    assert world.claim_queue().events == ()
    assert world.claim_deliveries().deliveries == ()
    world.assert_balanced()


# A server keeps the old version of a row until it is vacuumed.
@pytest.mark.parametrize("make_engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("size", [10, 3_000, 300_000], ids=["in a row", "in a page", "over pages"])
def test_nothing_of_a_deleted_event_is_left_in_the_file(
    world: World, organization: str, size: int
) -> None:
    marks = [b"mark-of-the-" + name for name in (b"payload", b"dedup", b"source", b"key", b"meta")]
    payload, dedup_id, source, key, metadata = marks
    event = world.event(
        organization,
        payload=b'"' + payload * size + b'"',
        dedup_id=dedup_id.decode(),
        source=source.decode(),
        key=key.decode(),
        metadata=b'{"a":"%b"}' % metadata,
    )
    world.append(event, world.event(organization))
    world.run(world.engine.reopen())
    before = b"".join(each.read_bytes() for each in world.engine.files())
    assert all(mark in before for mark in marks)
    world.run(world.store.delete_event(organization, event.id))
    world.run(world.engine.reopen())
    after = b"".join(each.read_bytes() for each in world.engine.files())
    assert [mark for mark in marks if mark in after] == []


def test_deleting_one_event_leaves_others_alone(
    world: World, organization: str, subscription: str
) -> None:
    gone, kept = (world.event(organization, to=[subscription]) for _ in range(2))
    queued = world.event(organization)
    world.append(gone, kept, queued)
    world.run(world.store.delete_event(organization, gone.id))
    assert world.event_status_of(organization, kept.id) == "processed"
    assert [event.id for event in world.claim_queue().events] == [queued.id]
    assert [delivery.event_id for delivery in world.claim_deliveries().deliveries] == [kept.id]


# ── delete a subscription ─────────────────────────────────────────────────────────────────────


def test_deleting_a_subscription_cancels_what_waits_for_it(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    done = brought_to(world, organization, subscription, "succeeded")
    later = brought_to(world, organization, subscription, "retrying")
    (waiting,) = world.due(organization, subscription)
    other = world.subscription(organization)
    (theirs,) = world.due(organization, other)
    clock.advance(seconds=1)
    assert world.run(world.store.delete_subscription(organization, subscription)) is True
    assert world.status_of(organization, done) == "succeeded"
    for each in (later, waiting):
        found = world.run(world.store.delivery(organization, each))
        assert found is not None
        assert (found.status, found.finished_at) == ("cancelled", clock())
        assert found.reason
    assert world.claimed().id == theirs
    assert world.run(world.store.delete_subscription(organization, subscription)) is False
    world.assert_balanced()
