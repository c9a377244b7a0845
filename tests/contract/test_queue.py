"""Claim, fan out, release: an event from its acceptance to its routing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from triggers_api.model.delivery import NewDelivery
from triggers_api.model.event import QueuedEvent
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import DeliveryFilter, FailedEvent, Page, QueueClaim, RoutedEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.contract.conftest import FrozenClock, World


def ids_of(claim: QueueClaim) -> list[str]:
    return [event.id for event in claim.events]


def release(
    world: World, claim: QueueClaim, *, retry_in_s: float | None, reason: str = "no luck"
) -> Sequence[str]:
    return world.run(
        world.store.release(
            claim.token, [FailedEvent(event, reason, retry_in_s) for event in claim.events]
        )
    )


# ── claim_queue ───────────────────────────────────────────────────────────────────────────────


def test_events_are_claimed_oldest_first(
    world: World, organization: str, clock: FrozenClock
) -> None:
    appended = []
    for _ in range(5):
        appended += world.queued(organization, 3)
        clock.advance(seconds=1)
    assert ids_of(world.claim_queue(4)) == appended[:4]
    assert ids_of(world.claim_queue(4)) == appended[4:8]
    assert ids_of(world.claim_queue(100)) == appended[8:]


def test_a_claim_says_what_routing_needs(
    world: World, organization: str, clock: FrozenClock
) -> None:
    (event_id,) = world.queued(organization, type="invoice.paid")
    received = clock()
    clock.advance(seconds=5)
    (event,) = world.claim_queue().events
    assert event == QueuedEvent(
        id=event_id,
        organization_id=organization,
        type="invoice.paid",
        received_at=received,
        due_at=received,
        attempts=1,
    )


def test_contents_come_with_the_events_of_those_organizations_that_are_asked_for(
    world: World, organization: str
) -> None:
    asking = world.organization("asks")
    full = world.event(
        asking, payload=b'{"a": 1e2}', source="shop", key="k", metadata=b'{"env":"prod"}'
    )
    bare = world.event(asking, payload=b"null")
    other = world.event(organization, source="shop", key="k", metadata=b'{"env":"prod"}')
    assert world.append(full, bare, other) == [None] * 3
    claim = world.claim_queue(contents_of=[asking, world.organization("has no events")])
    assert [
        (event.id, event.payload, event.source, event.key, event.metadata) for event in claim.events
    ] == [
        (full.id, b'{"a": 1e2}', "shop", "k", b'{"env":"prod"}'),
        (bare.id, b"null", None, None, None),
        (other.id, None, None, "k", None),
    ]
    assert list(world.route(claim)) == []


def test_no_more_than_the_limit_is_claimed(world: World, organization: str) -> None:
    world.queued(organization, 5)
    assert len(world.claim_queue(2).events) == 2
    assert len(world.claim_queue(0).events) == 0
    assert len(world.claim_queue(10).events) == 3
    assert len(world.claim_queue(10).events) == 0


def test_what_is_due_is_claimed_in_the_order_of_falling_due(
    world: World, organization: str, clock: FrozenClock
) -> None:
    (late,) = world.queued(organization, deliver_at=Timestamp(clock() + 20_000))
    (soon,) = world.queued(organization, deliver_at=Timestamp(clock() + 10_000))
    clock.advance(seconds=15)
    (new,) = world.queued(organization)
    clock.advance(seconds=15)
    assert ids_of(world.claim_queue()) == [soon, new, late]


def test_events_of_all_organizations_are_claimed(world: World, organization: str) -> None:
    other = world.organization("Other")
    world.queued(organization)
    world.queued(other)
    claimed = {event.organization_id for event in world.claim_queue().events}
    assert claimed == {organization, other}


def test_a_leased_event_is_not_handed_out_again_before_its_lease_has_run_out(
    world: World, organization: str, clock: FrozenClock
) -> None:
    world.queued(organization, 3)
    claimed = ids_of(world.claim_queue(lease_s=45))
    clock.advance(seconds=44.999)
    assert world.claim_queue().events == ()
    clock.advance(seconds=0.001)
    again = world.claim_queue()
    assert ids_of(again) == claimed
    assert again.recovered == 3


def test_each_claim_counts(world: World, organization: str, clock: FrozenClock) -> None:
    world.queued(organization)
    counts = []
    for _ in range(4):
        counts += [event.attempts for event in world.claim_queue(lease_s=1).events]
        clock.advance(seconds=1)
    assert counts == [1, 2, 3, 4]


def test_a_fresh_event_is_not_a_recovered_one(world: World, organization: str) -> None:
    world.queued(organization, 2)
    assert world.claim_queue().recovered == 0


def test_every_claim_has_a_token_of_its_own(world: World, organization: str) -> None:
    world.queued(organization, 20)
    tokens = [world.claim_queue(1).token for _ in range(20)]
    assert len(set(tokens)) == 20


def test_simultaneous_claims_share_nothing(world: World, organization: str) -> None:
    appended = world.queued(organization, 100)

    async def claims() -> list[QueueClaim]:
        return await asyncio.gather(*[world.store.claim_queue(9, 45) for _ in range(16)])

    claimed = [event_id for claim in world.run(claims()) for event_id in ids_of(claim)]
    assert sorted(claimed) == sorted(appended)
    assert len(claimed) == len(set(claimed))


def test_an_event_claimed_twice_without_success_comes_alone(
    world: World, organization: str, clock: FrozenClock
) -> None:
    before = world.queued(organization, 2)
    (poison,) = world.queued(organization)
    for _ in range(2):
        assert world.claim_queue(3, lease_s=1).events
        clock.advance(seconds=1)
    after = world.queued(organization, 2)
    # The two before it have failed as often: nobody can tell yet which one it is.
    alone = [ids_of(world.claim_queue(10)) for _ in range(3)]
    assert alone == [[before[0]], [before[1]], [poison]]
    assert ids_of(world.claim_queue(10)) == after


def test_what_stands_before_a_suspicious_event_is_claimed_without_it(
    world: World, organization: str, clock: FrozenClock
) -> None:
    first, second, poison = world.queued(organization, 3)
    release(world, world.claim_queue(2), retry_in_s=60)
    for _ in range(2):
        assert ids_of(world.claim_queue(lease_s=1)) == [poison]
        clock.advance(seconds=1)
    clock.advance(seconds=60)
    assert ids_of(world.claim_queue(10)) == [first, second]
    assert ids_of(world.claim_queue(10)) == [poison]


# ── fan_out ───────────────────────────────────────────────────────────────────────────────────


def test_routing_stores_the_deliveries_and_ends_the_queueing(
    world: World, organization: str, clock: FrozenClock
) -> None:
    subscriptions = [world.subscription(organization) for _ in range(3)]
    (event_id,) = world.queued(organization)
    clock.advance(seconds=2)
    claim = world.claim_queue()
    assert list(world.route(claim, *subscriptions)) == []
    found = world.run(world.store.event(organization, event_id))
    assert found is not None
    assert found.status == "processed"
    assert {delivery.subscription_id for delivery in found.deliveries} == set(subscriptions)
    for delivery in found.deliveries:
        assert delivery.event_id == event_id
        assert delivery.event_type == "order.created"
        assert (delivery.status, delivery.origin) == ("pending", "event")
        assert (delivery.attempt_count, delivery.reason) == (0, None)
        assert delivery.next_attempt_at == delivery.created_at == clock()
        assert delivery.finished_at is None
    clock.advance(seconds=3600)
    assert world.claim_queue().events == ()
    world.assert_balanced()


def test_an_event_that_nobody_wants_is_processed_without_deliveries(
    world: World, organization: str
) -> None:
    (event_id,) = world.queued(organization)
    assert list(world.route(world.claim_queue())) == []
    assert world.event_status_of(organization, event_id) == "processed"
    assert world.claim_deliveries().deliveries == ()


def test_a_whole_batch_is_routed_at_once(
    world: World, organization: str, subscription: str
) -> None:
    events = world.queued(organization, 120)
    assert list(world.route(world.claim_queue(), subscription)) == []
    claimed = world.claim_deliveries().deliveries
    assert sorted(delivery.event_id for delivery in claimed) == sorted(events)


def test_routing_under_another_token_changes_nothing(
    world: World, organization: str, subscription: str
) -> None:
    (event_id,) = world.queued(organization)
    claim = world.claim_queue()
    forged = QueueClaim(claim.token + 1, claim.events)
    assert list(world.route(forged, subscription)) == [event_id]
    assert world.event_status_of(organization, event_id) == "queued"
    assert world.claim_deliveries().deliveries == ()
    assert list(world.route(claim, subscription)) == []


def test_routing_after_the_lease_has_run_out_changes_nothing(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (event_id,) = world.queued(organization)
    claim = world.claim_queue(lease_s=45)
    clock.advance(seconds=45)
    assert list(world.route(claim, subscription)) == [event_id]
    assert world.event_status_of(organization, event_id) == "queued"
    assert world.claim_deliveries().deliveries == ()


def test_routing_at_the_last_moment_of_the_lease_counts(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.queued(organization)
    claim = world.claim_queue(lease_s=45)
    clock.advance(seconds=44.999)
    assert list(world.route(claim, subscription)) == []


def test_a_worker_that_wakes_late_changes_nothing_before_or_after_the_next_one(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (event_id,) = world.queued(organization)
    late = world.claim_queue(lease_s=1)
    clock.advance(seconds=1)
    second = world.claim_queue(lease_s=45)
    assert list(world.route(late, subscription)) == [event_id]
    assert list(world.route(second, subscription)) == []
    assert list(world.route(late, subscription)) == [event_id]
    assert list(world.route(second, subscription)) == [event_id]
    page = world.run(world.store.deliveries(organization, DeliveryFilter(), Page()))
    assert len(page) == 1
    world.assert_balanced()


def test_only_the_stale_ones_of_a_batch_are_left_out(
    world: World, organization: str, subscription: str
) -> None:
    kept, gone, also_kept = world.queued(organization, 3)
    claim = world.claim_queue()
    world.run(world.store.delete_event(organization, gone))
    assert list(world.route(claim, subscription)) == [gone]
    assert world.event_status_of(organization, kept) == "processed"
    assert world.event_status_of(organization, also_kept) == "processed"
    assert world.run(world.store.event(organization, gone)) is None
    assert len(world.claim_deliveries().deliveries) == 2
    world.assert_balanced()


def test_a_fan_out_is_stored_whole_or_not_at_all(
    world: World, organization: str, subscription: str
) -> None:
    (taken,) = world.due(organization, subscription)
    first, second = world.queued(organization, 2)
    claim = world.claim_queue()
    other = world.subscription(organization)
    routed = [
        RoutedEvent(claim.events[0], (world.new_delivery(subscription),)),
        # A delivery id that is taken: the database refuses the row.
        RoutedEvent(claim.events[1], (NewDelivery(taken, other),)),
    ]
    with pytest.raises(Exception):  # noqa: B017, PT011 - each engine has its own
        world.run(world.store.fan_out(claim.token, routed))
    for event_id in (first, second):
        found = world.run(world.store.event(organization, event_id))
        assert found is not None
        assert found.status == "queued"
        assert found.deliveries == ()
    assert list(world.route(claim, subscription)) == []
    world.assert_balanced()


def test_there_is_one_delivery_for_each_event_and_subscription(
    world: World, organization: str, subscription: str
) -> None:
    (event_id,) = world.queued(organization)
    claim = world.claim_queue()
    twice = (world.new_delivery(subscription), world.new_delivery(subscription))
    world.run(world.store.fan_out(claim.token, [RoutedEvent(claim.events[0], twice)]))
    found = world.run(world.store.event(organization, event_id))
    assert found is not None
    assert len(found.deliveries) == 1
    assert len(world.claim_deliveries().deliveries) == 1
    world.assert_balanced()


def test_parts_of_a_claim_can_be_routed_one_after_the_other(
    world: World, organization: str, subscription: str
) -> None:
    world.queued(organization, 10)
    claim = world.claim_queue()
    for event in claim.events:
        assert list(world.route(QueueClaim(claim.token, (event,)), subscription)) == []
    assert len(world.claim_deliveries().deliveries) == 10


# ── release ───────────────────────────────────────────────────────────────────────────────────


def test_a_released_event_is_not_claimed_before_its_time(
    world: World, organization: str, clock: FrozenClock
) -> None:
    (event_id,) = world.queued(organization)
    assert list(release(world, world.claim_queue(), retry_in_s=30)) == []
    assert world.event_status_of(organization, event_id) == "queued"
    clock.advance(seconds=29.999)
    assert world.claim_queue().events == ()
    clock.advance(seconds=0.001)
    claim = world.claim_queue()
    assert ids_of(claim) == [event_id]
    assert claim.recovered == 0, "it was given back, not taken over"
    assert claim.events[0].attempts == 2


def test_an_event_released_for_now_is_there_at_once(world: World, organization: str) -> None:
    (event_id,) = world.queued(organization)
    release(world, world.claim_queue(), retry_in_s=0)
    assert ids_of(world.claim_queue()) == [event_id]


def test_releasing_ends_the_lease(world: World, organization: str, subscription: str) -> None:
    (event_id,) = world.queued(organization)
    claim = world.claim_queue()
    release(world, claim, retry_in_s=30)
    assert list(world.route(claim, subscription)) == [event_id]
    assert list(release(world, claim, retry_in_s=None)) == [event_id]
    assert world.event_status_of(organization, event_id) == "queued"


def test_an_event_set_aside_is_failed_with_its_reason_on_file(
    world: World, organization: str, clock: FrozenClock
) -> None:
    (event_id,) = world.queued(organization, dedup_id="x")
    claim = world.claim_queue()
    clock.advance(seconds=1)
    assert list(release(world, claim, retry_in_s=None, reason="filter: recursion")) == []
    found = world.run(world.store.event(organization, event_id))
    assert found is not None
    assert found.status == "failed"
    (moment,) = [moment for moment in found.timeline if moment.what == "failed"]
    assert moment.detail == "filter: recursion"
    assert moment.at == clock()
    clock.advance(seconds=3600)
    assert world.claim_queue().events == ()
    world.assert_balanced()


def test_releasing_under_another_token_or_too_late_changes_nothing(
    world: World, organization: str, clock: FrozenClock
) -> None:
    (event_id,) = world.queued(organization)
    claim = world.claim_queue(lease_s=45)
    forged = QueueClaim(claim.token + 1, claim.events)
    assert list(release(world, forged, retry_in_s=None)) == [event_id]
    assert list(release(world, forged, retry_in_s=0)) == [event_id]
    assert world.claim_queue().events == ()
    clock.advance(seconds=45)
    assert list(release(world, claim, retry_in_s=None)) == [event_id]
    assert list(release(world, claim, retry_in_s=3600)) == [event_id]
    assert ids_of(world.claim_queue()) == [event_id]


def test_one_of_a_batch_set_aside_does_not_hold_the_others(
    world: World, organization: str, subscription: str
) -> None:
    good, poison = world.queued(organization, 2)
    claim = world.claim_queue()
    by_id = {event.id: event for event in claim.events}
    world.run(world.store.release(claim.token, [FailedEvent(by_id[poison], "bad", None)]))
    assert list(world.route(QueueClaim(claim.token, (by_id[good],)), subscription)) == []
    assert world.event_status_of(organization, good) == "processed"
    assert world.event_status_of(organization, poison) == "failed"
    world.assert_balanced()


# ── deleted meanwhile ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("offset_ms", [None, -60_000, -1, 0, 1, 60_000])
def test_a_deleted_event_is_not_routed_whenever_it_was_due(
    world: World, organization: str, subscription: str, clock: FrozenClock, offset_ms: int | None
) -> None:
    deliver_at = None if offset_ms is None else Timestamp(clock() + offset_ms)
    event = world.event(organization, deliver_at=deliver_at)
    world.append(event)
    assert world.run(world.store.delete_event(organization, event.id))
    clock.advance(seconds=120)
    claim = world.claim_queue()
    assert claim.events == ()
    world.route(claim, subscription)
    assert world.run(world.store.event(organization, event.id)) is None
    assert world.claim_deliveries().deliveries == ()
    world.assert_balanced()


def test_an_event_deleted_while_it_is_being_routed_stays_deleted(
    world: World, organization: str, subscription: str
) -> None:
    (event_id,) = world.queued(organization)
    claim = world.claim_queue()
    assert world.run(world.store.delete_event(organization, event_id))
    assert list(release(world, claim, retry_in_s=0)) == [event_id]
    assert list(world.route(claim, subscription)) == [event_id]
    assert world.run(world.store.event(organization, event_id)) is None
    assert world.claim_deliveries().deliveries == ()
    world.assert_balanced()


def test_a_claim_of_one_organization_s_event_cannot_be_used_for_another_s(
    world: World, organization: str, subscription: str
) -> None:
    other = world.organization("Other")
    mine, theirs = world.queued(organization)[0], world.queued(other)[0]
    claim = world.claim_queue(1)
    (held,) = claim.events
    assert held.id == mine
    forged = msgspec.structs.replace(held, id=theirs)
    stale = world.run(
        world.store.fan_out(claim.token, [RoutedEvent(forged, (world.new_delivery(subscription),))])
    )
    assert list(stale) == [theirs]
    assert world.event_status_of(other, theirs) == "queued"
