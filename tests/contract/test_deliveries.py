"""Claim and settle: a delivery from falling due to its outcome on file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.rooms import rooms

from triggers_api.model.delivery import Attempt, DeliveryStatus
from triggers_api.model.subscription import SubscriptionStatus
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import DeliveryClaim, DeliveryFilter, Page, Settlement

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World


def ids_of(claim: DeliveryClaim) -> list[str]:
    return [delivery.id for delivery in claim.deliveries]


# ── claim_deliveries ──────────────────────────────────────────────────────────────────────────


def test_a_claim_brings_everything_needed_to_send(
    world: World, organization: str, clock: FrozenClock
) -> None:
    record = world.record(
        organization,
        headers={"x-a": "b"},
        timeout_s=5.0,
        retry_schedule=(1.0, 2.5),
        secrets=("whsec_b25l", "whsec_dHdv"),
        metadata={"k": "v"},
    )
    world.run(world.store.save_subscription(record))
    event = world.event(
        organization,
        "invoice.paid",
        b'{"n" :1}',
        to=[record.subscription.id],
        source="/shops/1",
        key="customer-7",
        dedup_id="/shops/1 A-1",
        metadata=b'{"traceid":"\\u00fc"}',
    )
    world.append(event)
    received = clock()
    clock.advance(seconds=3)
    claimed = world.claimed()
    assert event.deliveries is not None
    assert claimed.id == event.deliveries[0].id
    assert claimed.event_id == event.id
    assert claimed.event_type == "invoice.paid"
    assert claimed.payload == b'{"n" :1}'
    assert (claimed.source, claimed.key) == ("/shops/1", "customer-7")
    assert (claimed.dedup_id, claimed.metadata) == (event.dedup_id, event.metadata)
    assert claimed.sent_at == received
    assert (claimed.attempt_count, claimed.failures) == (0, 0)
    assert claimed.target == record
    assert world.status_of(organization, claimed.id) == "delivering"


def test_the_time_sent_is_when_the_event_occurred_if_its_producer_said_so(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    occurred = Timestamp(clock() - 3_600_000)
    world.due(organization, subscription, occurred_at=occurred)
    clock.advance(seconds=3)
    assert world.claimed().sent_at == occurred


def test_deliveries_are_claimed_in_the_order_of_falling_due(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    due = []
    for _ in range(4):
        due += world.due(organization, subscription)
        clock.advance(seconds=1)
    assert [ids_of(world.claim_deliveries(1)) for _ in range(4)] == [[each] for each in due]


def test_what_was_put_off_comes_after_what_has_fallen_due_before_it(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (early,) = world.due(organization, subscription)
    world.settle(world.outcome(world.claimed(), "retrying", status_code=500, retry_in_s=60))
    clock.advance(seconds=30)
    (later,) = world.due(organization, subscription)
    clock.advance(seconds=60)
    assert [ids_of(world.claim_deliveries(1)) for _ in range(2)] == [[later], [early]]


def test_a_claim_lists_the_longest_due_first(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (early,) = world.due(organization, subscription)
    world.settle(world.outcome(world.claimed(), "retrying", status_code=500, retry_in_s=60))
    clock.advance(seconds=30)
    (later,) = world.due(organization, subscription)
    clock.advance(seconds=60)
    assert ids_of(world.claim_deliveries()) == [later, early]


def test_no_more_than_the_limit_is_claimed(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription, 5)
    assert [len(world.claim_deliveries(n).deliveries) for n in (2, 0, 10, 10)] == [2, 0, 3, 0]


def test_a_leased_delivery_is_not_handed_out_again_before_its_lease_has_run_out(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    due = world.due(organization, subscription, 3)
    first = world.claim_deliveries(lease_s=45)
    assert first.recovered == 0
    clock.advance(seconds=44.999)
    assert world.claim_deliveries().deliveries == ()
    clock.advance(seconds=0.001)
    again = world.claim_deliveries()
    assert sorted(ids_of(again)) == sorted(due)
    assert again.recovered == 3
    assert {d.token for d in first.deliveries}.isdisjoint(d.token for d in again.deliveries)


def test_simultaneous_claims_share_nothing(
    world: World, organization: str, subscription: str
) -> None:
    due = world.due(organization, subscription, 100)

    async def claims() -> list[DeliveryClaim]:
        return await asyncio.gather(
            *[world.store.claim_deliveries(9, 45, rooms=rooms(9)) for _ in range(16)]
        )

    claimed = [delivery for claim in world.run(claims()) for delivery in ids_of(claim)]
    assert sorted(claimed) == sorted(due)


def test_a_subscription_gets_no_more_than_its_room(world: World, organization: str) -> None:
    small, big, full = (world.subscription(organization) for _ in range(3))
    for each in (small, big, full):
        world.due(organization, each, 10)
    claim = world.claim_deliveries(room={small: 2, full: 0}, default_room=5)
    got = [delivery.target.subscription.id for delivery in claim.deliveries]
    assert (got.count(small), got.count(big), got.count(full)) == (2, 5, 0)


def test_a_subscription_s_own_limit_is_its_room_where_nothing_else_is_said(
    world: World, organization: str
) -> None:
    modest = world.subscription(organization, max_concurrency=3)
    greedy = world.subscription(organization, max_concurrency=100)
    world.due(organization, modest, 10)
    world.due(organization, greedy, 10)
    claim = world.claim_deliveries(default_room=5)
    got = [delivery.target.subscription.id for delivery in claim.deliveries]
    assert (got.count(modest), got.count(greedy)) == (3, 5)
    claim = world.claim_deliveries(room={modest: 1, greedy: 2}, default_room=5)
    got = [delivery.target.subscription.id for delivery in claim.deliveries]
    assert (got.count(modest), got.count(greedy)) == (1, 2)


@pytest.mark.parametrize("limit", [1, 7, 50])
def test_one_without_room_does_not_hide_others_however_much_is_due_for_it(
    world: World, organization: str, clock: FrozenClock, limit: int
) -> None:
    full, other = world.subscription(organization), world.subscription(organization)
    world.due(organization, full, 600)
    clock.advance(seconds=1)
    (behind,) = world.due(organization, other)
    claim = world.claim_deliveries(limit, room={full: 0}, default_room=50)
    assert ids_of(claim) == [behind]


@pytest.mark.parametrize("limit", [10, 50])
def test_one_with_a_little_room_neither_overfills_it_nor_hides_others(
    world: World, organization: str, clock: FrozenClock, limit: int
) -> None:
    slow = world.subscription(organization)
    others = [world.subscription(organization) for _ in range(5)]
    world.due(organization, slow, 600)
    clock.advance(seconds=1)
    for other in others:
        world.due(organization, other)
    claim = world.claim_deliveries(limit, room={slow: 2}, default_room=50)
    got = [delivery.target.subscription.id for delivery in claim.deliveries]
    assert got.count(slow) == 2
    assert set(got) == {slow, *others}
    assert len(got) == len(set(ids_of(claim))) == 7


@pytest.mark.parametrize("backlog", [1, 600])
def test_room_is_the_same_however_much_stands_before_it(
    world: World, organization: str, clock: FrozenClock, backlog: int
) -> None:
    full, other = world.subscription(organization), world.subscription(organization)
    world.due(organization, full, backlog)
    clock.advance(seconds=1)
    world.due(organization, other, 10)
    claim = world.claim_deliveries(20, room={full: 0, other: 5}, default_room=2)
    assert len(claim.deliveries) == 5


def test_what_is_leased_is_not_found_again_behind_a_backlog_either(
    world: World, organization: str, clock: FrozenClock
) -> None:
    full, other = world.subscription(organization), world.subscription(organization)
    world.due(organization, full, 600)
    clock.advance(seconds=1)
    due = world.due(organization, other, 5)
    got = [
        ids_of(world.claim_deliveries(20, room={full: 0, other: room}, default_room=50))
        for room in (2, 50, 50)
    ]
    assert got == [due[:2], due[2:], []]


def test_many_full_subscriptions_do_not_keep_one_free_one_waiting_for_ever(
    world: World, organization: str, clock: FrozenClock
) -> None:
    full = [world.subscription(organization) for _ in range(500)]
    world.append(*[world.event(organization, to=[each]) for each in full])
    free = world.subscription(organization)
    clock.advance(seconds=1)
    (behind,) = world.due(organization, free)
    turns = [
        world.claim_deliveries(20, room=dict.fromkeys(full, 0), default_room=5) for _ in range(5)
    ]
    assert [delivery for turn in turns for delivery in ids_of(turn)] == [behind]


@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named in room"])
@pytest.mark.parametrize("backlog", [1, 600])
@pytest.mark.parametrize("status", [SubscriptionStatus.PAUSED, SubscriptionStatus.DISABLED])
def test_what_is_not_active_is_not_delivered_to_and_hides_nobody(
    world: World,
    organization: str,
    clock: FrozenClock,
    status: SubscriptionStatus,
    backlog: int,
    *,
    named: bool,
) -> None:
    # Two that are not active: one whose backlog is at the front of the line, one behind it.
    front, back = world.subscription(organization), world.subscription(organization)
    world.due(organization, front, backlog)
    clock.advance(seconds=1)
    world.due(organization, back)
    for each in (front, back):
        world.subscription(organization, subscription_id=each, status=status)
    clock.advance(seconds=1)
    (other,) = world.due(organization, world.subscription(organization))
    claim = world.claim_deliveries(20, room={front: 5, back: 5} if named else {}, default_room=5)
    assert ids_of(claim) == [other]


@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named in room"])
@pytest.mark.parametrize("backlog", [1, 600])
def test_what_has_expired_is_not_delivered_to(
    world: World, organization: str, clock: FrozenClock, backlog: int, *, named: bool
) -> None:
    expires_at = Timestamp(clock() + 10_000)
    front = world.subscription(organization, expires_at=expires_at)
    back = world.subscription(organization, expires_at=expires_at)
    world.due(organization, front, backlog)
    clock.advance(seconds=9.999)
    world.due(organization, back)
    assert len(world.claim_deliveries(1, lease_s=0.001).deliveries) == 1
    clock.advance(seconds=0.001)
    (other,) = world.due(organization, world.subscription(organization))
    claim = world.claim_deliveries(20, room={front: 5, back: 5} if named else {}, default_room=5)
    assert ids_of(claim) == [other]


def test_what_was_deleted_is_not_delivered_to(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription, 3)
    assert world.run(world.store.delete_subscription(organization, subscription))
    assert world.claim_deliveries(room={subscription: 5}).deliveries == ()


def test_a_delivery_that_was_routed_just_before_its_subscription_was_deleted_is_not_sent(
    world: World, organization: str, subscription: str
) -> None:
    (event_id,) = world.queued(organization)
    claim = world.claim_queue()
    world.run(world.store.delete_subscription(organization, subscription))
    assert list(world.route(claim, subscription)) == []
    assert world.claim_deliveries().deliveries == ()
    assert world.run(world.store.reap()).cancelled == 1
    found = world.run(world.store.event(organization, event_id))
    assert found is not None
    assert [delivery.status for delivery in found.deliveries] == ["cancelled"]
    world.assert_balanced()


def test_what_waited_through_a_pause_is_sent_after_it(
    world: World, organization: str, subscription: str
) -> None:
    due = world.due(organization, subscription, 3)
    world.subscription(organization, subscription_id=subscription, status=SubscriptionStatus.PAUSED)
    assert world.claim_deliveries().deliveries == ()
    assert {world.status_of(organization, each) for each in due} == {"pending"}
    world.subscription(organization, subscription_id=subscription)
    assert sorted(ids_of(world.claim_deliveries())) == sorted(due)


def test_an_attempt_goes_to_the_subscription_as_it_is_now(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.due(organization, subscription)
    world.settle(world.outcome(world.claimed(), "retrying", status_code=500, retry_in_s=5))
    changed = world.record(
        organization, subscription_id=subscription, timeout_s=3.0, secrets=("whsec_bmV3",)
    )
    world.run(world.store.save_subscription(changed))
    clock.advance(seconds=5)
    assert world.claimed().target == changed


# ── settle ────────────────────────────────────────────────────────────────────────────────────


def test_a_success_is_final_and_its_attempt_on_file(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (due,) = world.due(organization, subscription)
    claimed = world.claimed()
    clock.advance(seconds=1)
    settlement = world.outcome(claimed)
    assert list(world.settle(settlement)) == []
    found = world.run(world.store.delivery(organization, due))
    assert found is not None
    assert found.status is DeliveryStatus.SUCCEEDED
    assert found.attempts == (settlement.attempt,)
    assert (found.attempt_count, found.reason, found.next_attempt_at) == (1, None, None)
    assert found.finished_at == clock()
    clock.advance(seconds=86_400)
    assert world.claim_deliveries().deliveries == ()
    world.assert_balanced()


def test_a_retry_waits_for_its_time(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (due,) = world.due(organization, subscription)
    world.settle(
        world.outcome(
            world.claimed(), "retrying", status_code=500, reason="receiver answered 500",
            retry_in_s=30,
        )
    )  # fmt: skip
    found = world.run(world.store.delivery(organization, due))
    assert found is not None
    assert found.status is DeliveryStatus.RETRYING
    assert found.reason == "receiver answered 500"
    assert found.next_attempt_at == clock() + 30_000
    assert found.finished_at is None
    clock.advance(seconds=29.999)
    assert world.claim_deliveries().deliveries == ()
    clock.advance(seconds=0.001)
    claim = world.claim_deliveries()
    assert ids_of(claim) == [due]
    assert claim.recovered == 0
    assert (claim.deliveries[0].attempt_count, claim.deliveries[0].failures) == (1, 1)


@pytest.mark.parametrize("status", ["dead", "skipped", "cancelled"])
def test_every_final_outcome_ends_the_delivery(
    world: World, organization: str, subscription: str, clock: FrozenClock, status: str
) -> None:
    (due,) = world.due(organization, subscription)
    claimed = world.claimed()
    settlement = world.outcome(
        claimed, status, attempted=status == "dead", error="timeout", status_code=None, reason="why"
    )
    assert list(world.settle(settlement)) == []
    found = world.run(world.store.delivery(organization, due))
    assert found is not None
    assert (found.status, found.reason) == (status, "why")
    assert found.finished_at == clock()
    assert found.next_attempt_at is None
    assert found.attempt_count == len(found.attempts) == (status == "dead")
    clock.advance(seconds=86_400)
    assert world.claim_deliveries().deliveries == ()
    world.assert_balanced()


def test_attempts_are_numbered_without_gaps_whoever_made_them(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (due,) = world.due(organization, subscription)
    made = []
    for code in (500, 503, 404):
        settlement = world.outcome(world.claimed(), "retrying", status_code=code, retry_in_s=5)
        assert list(world.settle(settlement)) == []
        made.append(settlement.attempt)
        clock.advance(seconds=5)
        # In between a worker takes it and is never heard of again.
        world.claim_deliveries(lease_s=1)
        clock.advance(seconds=1)
    last = world.outcome(world.claimed(), "dead", status_code=None, error="timeout")
    world.settle(last)
    found = world.run(world.store.delivery(organization, due))
    assert found is not None
    assert found.attempts == (*made, last.attempt)
    assert [attempt.number for attempt in found.attempts] == [1, 2, 3, 4]
    assert found.attempt_count == 4


def test_a_delivery_given_back_without_an_attempt_is_as_it_was(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (due,) = world.due(organization, subscription)
    back = world.outcome(world.claimed(), "pending", attempted=False)
    assert list(world.settle(back)) == []
    found = world.run(world.store.delivery(organization, due))
    assert found is not None
    assert (found.status, found.attempt_count, found.attempts) == ("pending", 0, ())
    claim = world.claim_deliveries()
    assert ids_of(claim) == [due]
    assert claim.recovered == 0
    later = world.outcome(claim.deliveries[0], "pending", attempted=False, retry_in_s=10)
    world.settle(later)
    clock.advance(seconds=9.999)
    assert world.claim_deliveries().deliveries == ()
    clock.advance(seconds=0.001)
    assert ids_of(world.claim_deliveries()) == [due]


def test_many_outcomes_are_settled_at_once(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription, 130)
    claimed = world.claim_deliveries().deliveries
    assert list(world.settle(*[world.outcome(each) for each in claimed])) == []
    page = world.run(world.store.deliveries(organization, DeliveryFilter(), Page(limit=1000)))
    assert {delivery.status for delivery in page} == {DeliveryStatus.SUCCEEDED}
    assert len(page) == 130
    world.assert_balanced()


def test_settling_nothing_is_fine(world: World) -> None:
    assert list(world.settle()) == []


def unchanged(world: World, organization: str, delivery: str, settlement: Settlement) -> None:
    """Settling is reported as stale and changes nothing at all."""
    before = world.run(world.store.delivery(organization, delivery))
    assert list(world.settle(settlement)) == [delivery]
    assert world.run(world.store.delivery(organization, delivery)) == before


def test_a_settlement_under_another_token_changes_nothing(
    world: World, organization: str, subscription: str
) -> None:
    (due,) = world.due(organization, subscription)
    claimed = world.claimed()
    forged = msgspec.structs.replace(claimed, token=claimed.token + 1)
    unchanged(world, organization, due, world.outcome(forged))
    assert list(world.settle(world.outcome(claimed))) == []


def test_a_settlement_after_the_lease_has_run_out_changes_nothing(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (due,) = world.due(organization, subscription)
    claimed = world.claimed(lease_s=45)
    clock.advance(seconds=45)
    unchanged(world, organization, due, world.outcome(claimed))


def test_a_settlement_at_the_last_moment_of_the_lease_counts(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (due,) = world.due(organization, subscription)
    claimed = world.claimed(lease_s=45)
    clock.advance(seconds=44.999)
    assert list(world.settle(world.outcome(claimed))) == []
    assert world.status_of(organization, due) == "succeeded"


@pytest.mark.parametrize("status", ["succeeded", "retrying", "dead", "pending"])
def test_a_late_settle_changes_nothing(
    world: World, organization: str, subscription: str, clock: FrozenClock, status: str
) -> None:
    (due,) = world.due(organization, subscription)
    late = world.claimed(lease_s=1)
    clock.advance(seconds=1)
    second = world.claimed(lease_s=45)
    settlement = world.outcome(late, status, retry_in_s=0, attempted=status != "pending")
    unchanged(world, organization, due, settlement)
    assert list(world.settle(world.outcome(second, "retrying", retry_in_s=60))) == []
    unchanged(world, organization, due, settlement)
    clock.advance(seconds=60)
    third = world.claimed()
    unchanged(world, organization, due, settlement)
    assert list(world.settle(world.outcome(third))) == []
    unchanged(world, organization, due, settlement)
    assert world.status_of(organization, due) == "succeeded"
    world.assert_balanced()


@pytest.mark.parametrize("first", ["succeeded", "retrying", "dead", "pending"])
@pytest.mark.parametrize("second", ["succeeded", "retrying", "dead"])
def test_a_delivery_settled_twice_keeps_the_first_outcome(
    world: World, organization: str, subscription: str, first: str, second: str
) -> None:
    (due,) = world.due(organization, subscription)
    claimed = world.claimed()
    assert list(world.settle(world.outcome(claimed, first, retry_in_s=5))) == []
    unchanged(world, organization, due, world.outcome(claimed, second, retry_in_s=9))


def test_of_two_settlements_in_one_call_the_first_counts(
    world: World, organization: str, subscription: str
) -> None:
    (due,) = world.due(organization, subscription)
    claimed = world.claimed()
    stale = world.settle(world.outcome(claimed), world.outcome(claimed, "dead"))
    assert list(stale) == [due]
    assert world.status_of(organization, due) == "succeeded"


@pytest.mark.parametrize("order", ["late one first", "late one last"])
def test_a_late_outcome_beside_the_present_holder_s_in_one_call_is_the_stale_one(
    world: World, organization: str, subscription: str, clock: FrozenClock, order: str
) -> None:
    (due,) = world.due(organization, subscription)
    late = world.claimed(lease_s=1)
    clock.advance(seconds=1)
    present = world.claimed(lease_s=45)
    outcomes = [world.outcome(late, "dead", reason="late"), world.outcome(present)]
    if order == "late one last":
        outcomes.reverse()
    assert list(world.settle(*outcomes)) == [due]
    assert world.status_of(organization, due) == "succeeded"


def test_a_late_outcome_beside_others_costs_them_nothing(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (twice,) = world.due(organization, subscription)
    late = world.claimed(lease_s=1)
    clock.advance(seconds=1)
    world.settle(world.outcome(world.claimed(), "retrying", status_code=500, retry_in_s=0))
    (other,) = world.due(organization, subscription)
    present = world.claim_deliveries().deliveries
    outcomes = [world.outcome(late), *map(world.outcome, present)]
    assert list(world.settle(*outcomes)) == [twice]
    assert world.status_of(organization, twice) == "succeeded"
    assert world.status_of(organization, other) == "succeeded"


def test_only_the_stale_ones_of_a_batch_are_left_out(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription, 5)
    claimed = world.claim_deliveries().deliveries
    stale = claimed[2]
    outcomes = [world.outcome(each) for each in claimed]
    outcomes[2] = world.outcome(msgspec.structs.replace(stale, token=1))
    assert list(world.settle(*outcomes)) == [stale.id]
    assert [world.status_of(organization, each.id) for each in claimed] == [
        "succeeded", "succeeded", "delivering", "succeeded", "succeeded",
    ]  # fmt: skip


def test_a_settlement_of_what_nobody_ever_stored_is_stale(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription)
    claimed = world.claimed()
    unknown = world.new_delivery(subscription).id
    forged = msgspec.structs.replace(world.outcome(claimed), delivery_id=unknown)
    assert list(world.settle(forged)) == [unknown]


def test_an_answer_too_odd_for_a_text_column_is_kept_as_it_is(
    world: World, organization: str, subscription: str
) -> None:
    (due,) = world.due(organization, subscription)
    settlement = world.outcome(world.claimed())
    assert settlement.attempt is not None
    odd = msgspec.structs.replace(
        settlement.attempt, response_body="<script>'; -- \x00 \x1b[31m \ufffd \U0001f600"
    )
    world.settle(msgspec.structs.replace(settlement, attempt=odd))
    found = world.run(world.store.delivery(organization, due))
    assert found is not None
    assert found.attempts == (odd,)


# ── the receiver is gone for good ─────────────────────────────────────────────────────────────


def test_disabling_the_subscription_cancels_what_waits_for_it(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    other = world.subscription(organization)
    (gone,) = world.due(organization, subscription)
    claimed = world.claimed()
    waiting = world.due(organization, subscription, 5)
    (theirs,) = world.due(organization, other)
    clock.advance(seconds=1)
    settlement = world.outcome(
        claimed,
        "cancelled",
        status_code=410,
        reason="receiver answered 410 Gone",
        disable_subscription="receiver answered 410 Gone",
    )
    assert list(world.settle(settlement)) == []
    record = world.run(world.store.subscription(organization, subscription))
    assert record is not None
    assert record.subscription.status is SubscriptionStatus.DISABLED
    assert record.subscription.disabled_reason == "receiver answered 410 Gone"
    assert not record.subscription.enabled
    assert record.subscription.updated_at == clock()
    statuses = {world.status_of(organization, each) for each in [gone, *waiting]}
    assert statuses == {"cancelled"}
    found = world.run(world.store.delivery(organization, gone))
    assert found is not None
    assert found.attempts == (settlement.attempt,)
    assert ids_of(world.claim_deliveries()) == [theirs]
    world.assert_balanced()


def test_a_subscription_disabled_for_one_receiver_s_sake_is_told_to_every_process(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription)
    version = world.run(world.store.changes(0)).version
    world.settle(world.outcome(world.claimed(), "cancelled", disable_subscription="gone"))
    changes = world.run(world.store.changes(version))
    assert [record.subscription.status for record in changes.subscriptions] == ["disabled"]


def test_a_stale_settlement_disables_nothing(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.due(organization, subscription, 2)
    claimed = world.claimed(limit=1, lease_s=1)
    clock.advance(seconds=1)
    world.settle(world.outcome(claimed, "cancelled", disable_subscription="gone"))
    record = world.run(world.store.subscription(organization, subscription))
    assert record is not None
    assert record.subscription.status is SubscriptionStatus.ACTIVE
    assert len(world.claim_deliveries().deliveries) == 2


def test_thousands_that_wait_are_all_cancelled(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription, 1)
    claimed = world.claimed()
    for _ in range(11):
        world.due(organization, subscription, 500)
    world.settle(world.outcome(claimed, "cancelled", disable_subscription="gone"))
    (account,) = world.run(world.store.accounts())
    assert account.deliveries["cancelled"] == account.deliveries["total"] == 5501


def test_attempts_are_those_of_their_own_delivery(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription, 3)
    made: dict[str, Attempt | None] = {}
    for claimed in world.claim_deliveries().deliveries:
        settlement = world.outcome(claimed)
        made[claimed.id] = settlement.attempt
        world.settle(settlement)
    for delivery_id, attempt in made.items():
        found = world.run(world.store.delivery(organization, delivery_id))
        assert found is not None
        assert found.attempts == (attempt,)


# ── in_flight ─────────────────────────────────────────────────────────────────────────────────


def test_what_is_in_a_workers_hands_is_counted_by_subscription_up_to_a_limit(
    world: World, organization: str, subscription: str
) -> None:
    def count(of: str, *, most: int = 10, organization_id: str = organization) -> int:
        return world.run(world.store.in_flight(organization_id, of, most))

    other = world.subscription(organization)
    world.due(organization, subscription, 5)
    world.due(organization, other, 1)
    assert count(subscription) == 0
    claim = world.claim_deliveries(room={subscription: 3})
    assert count(subscription) == 3
    assert count(subscription, most=2) == 2
    assert count(other) == 1
    assert count(subscription, organization_id=world.organization("another")) == 0
    assert count("sub_unknown") == 0
    world.settle(*(world.outcome(each) for each in claim.deliveries))
    assert count(subscription) == 0
