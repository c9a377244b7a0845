"""What a person does to single rows: retry, cancel, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from triggers_api.errors import InvalidState
from triggers_api.model.subscription import SubscriptionStatus
from triggers_api.model.timestamp import Timestamp

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


@pytest.mark.parametrize("state", ["queued", "leased", "scheduled", "processed", "failed"])
def test_an_event_can_be_deleted_wherever_it_stands(
    world: World, organization: str, subscription: str, clock: FrozenClock, state: str
) -> None:
    from triggers_api.store.base import FailedEvent  # noqa: PLC0415

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
