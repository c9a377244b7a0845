"""Lines: what is ordered goes out one after the other, whatever becomes of the one in front."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.rooms import rooms

from triggers_api.errors import InvalidState
from triggers_api.model.subscription import SubscriptionStatus
from triggers_api.store.base import DeliveryFilter, FailedEvent, Page, RoutedEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.contract.conftest import FrozenClock, World

    from triggers_api.model.delivery import Delivery
    from triggers_api.model.event import QueuedEvent
    from triggers_api.store.base import QueueClaim

    Makes = Callable[..., list[str]]


def in_line(world: World, organization: str, subscription: str, *keys: str | None) -> list[str]:
    """The ids of deliveries of new events, in lines by these keys."""
    world.queued(organization, len(keys))
    claim = world.claim_queue()
    return routed(world, claim.token, claim.events, subscription, *keys)


def routed(
    world: World, token: int, events: Sequence[QueuedEvent], subscription: str, *keys: str | None
) -> list[str]:
    made = [world.new_delivery(subscription, key) for key in keys]
    answers = [RoutedEvent(event, (each,)) for event, each in zip(events, made, strict=True)]
    assert list(world.run(world.store.fan_out(token, answers))) == []
    return [each.id for each in made]


def at_once(world: World, organization: str, subscription: str, *keys: str | None) -> list[str]:
    """As in_line, for events that are stored with routing's answer."""
    made = [world.new_delivery(subscription, key) for key in keys]
    world.append(
        *[msgspec.structs.replace(world.event(organization), deliveries=(each,)) for each in made]
    )
    return [each.id for each in made]


def seen(world: World, organization: str, delivery: str) -> Delivery:
    found = world.run(world.store.delivery(organization, delivery))
    assert found is not None
    return found


def claimable(world: World) -> list[str]:
    """What a claim hands out; it is given back at once."""
    claimed = world.claim_deliveries().deliveries
    world.settle(*[world.outcome(each, "pending", attempted=False) for each in claimed])
    return [each.id for each in claimed]


def finish(world: World, delivery: str, status: str = "succeeded") -> None:
    claimed = {each.id: each for each in world.claim_deliveries().deliveries}
    outcomes = [
        world.outcome(each, status)
        if name == delivery
        else world.outcome(each, "pending", attempted=False)
        for name, each in claimed.items()
    ]
    assert delivery in claimed
    assert list(world.settle(*outcomes)) == []


WAYS = pytest.mark.parametrize("made", [in_line, at_once])


@WAYS
def test_of_a_line_only_the_first_is_handed_out(
    world: World, organization: str, subscription: str, made: Makes
) -> None:
    first, second, third = made(world, organization, subscription, "a", "a", "a")
    assert claimable(world) == [first]
    finish(world, first)
    assert claimable(world) == [second]
    finish(world, second)
    assert claimable(world) == [third]
    finish(world, third)
    assert claimable(world) == []


@WAYS
def test_a_line_does_not_hold_up_others_nor_what_is_in_none(
    world: World, organization: str, subscription: str, made: Makes
) -> None:
    a, _, b, free, also_free = made(world, organization, subscription, "a", "a", "b", None, None)
    assert sorted(claimable(world)) == sorted([a, b, free, also_free])


@WAYS
def test_sequences_are_consecutive_in_each_line_from_one_on(
    world: World, organization: str, subscription: str, made: Makes
) -> None:
    other = world.subscription(organization)
    due = made(world, organization, subscription, "a", "b", "a", None)
    due += made(world, organization, other, "a")
    due += made(world, organization, subscription, "a", "b", "")
    sequences = [seen(world, organization, each).sequence for each in due]
    assert sequences == [1, 1, 2, None, 1, 3, 2, 1]


def test_a_claimed_delivery_has_its_sequence_at_every_attempt(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    first, _ = in_line(world, organization, subscription, "a", "a")
    finish(world, first)
    for status in ("retrying", "dead"):
        claimed = world.claimed()
        assert claimed.sequence == 2
        world.settle(world.outcome(claimed, status, retry_in_s=5))
        clock.advance(seconds=5)
    assert world.run(world.store.retry_delivery(organization, claimed.id))
    assert world.claimed().sequence == 2


def test_what_waits_for_its_turn_is_shown_as_pending_without_a_moment(
    world: World, organization: str, subscription: str
) -> None:
    first, second = in_line(world, organization, subscription, "a", "a")
    assert seen(world, organization, first).next_attempt_at is not None
    waiting = seen(world, organization, second)
    assert (waiting.status, waiting.next_attempt_at) == ("pending", None)
    wanted = DeliveryFilter(subscription_id=subscription)
    listed = world.run(world.store.deliveries(organization, wanted, Page()))
    assert [(each.sequence, each.next_attempt_at is None) for each in listed] == [
        (2, True),
        (1, False),
    ]


def test_what_waits_for_its_turn_counts_as_waiting_and_is_not_waited_for(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    in_line(world, organization, subscription, "a", "a", "a")
    assert world.run(world.store.stats()).deliveries_waiting == 3
    clock.advance(seconds=1)
    assert world.run(world.store.next_delivery_at()) is None


def test_a_retrying_first_one_holds_its_line_and_no_other(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    first, second, other = in_line(world, organization, subscription, "a", "a", "b")
    for claimed in world.claim_deliveries().deliveries:
        if claimed.id == first:
            world.settle(world.outcome(claimed, "retrying", status_code=500, retry_in_s=60))
        else:
            world.settle(world.outcome(claimed))
    assert world.status_of(organization, other) == "succeeded"
    clock.advance(seconds=59)
    assert claimable(world) == []
    clock.advance(seconds=1)
    assert claimable(world) == [first]
    finish(world, first)
    assert claimable(world) == [second]


@pytest.mark.parametrize("status", ["succeeded", "dead", "skipped"])
def test_a_first_one_that_ends_gives_way_to_the_next(
    world: World, organization: str, subscription: str, status: str
) -> None:
    first, second, third = in_line(world, organization, subscription, "a", "a", "a")
    finish(world, first, status)
    assert claimable(world) == [second]
    assert seen(world, organization, third).next_attempt_at is None


def test_a_first_one_that_is_cancelled_gives_way_even_in_a_worker_s_hands(
    world: World, organization: str, subscription: str
) -> None:
    first, second, _ = in_line(world, organization, subscription, "a", "a", "a")
    claimed = world.claimed()
    assert world.run(world.store.cancel_delivery(organization, first))
    assert claimable(world) == [second]
    assert list(world.settle(world.outcome(claimed))) == [first]
    assert claimable(world) == [second]


def test_a_first_one_whose_event_is_deleted_gives_way(
    world: World, organization: str, subscription: str
) -> None:
    first, second = in_line(world, organization, subscription, "a", "a")
    assert world.run(
        world.store.delete_event(organization, seen(world, organization, first).event_id)
    )
    assert claimable(world) == [second]


def test_one_that_ends_before_its_turn_lets_nobody_forward(
    world: World, organization: str, subscription: str
) -> None:
    first, second, third = in_line(world, organization, subscription, "a", "a", "a")
    assert world.run(world.store.cancel_delivery(organization, second))
    assert claimable(world) == [first]
    finish(world, first)
    assert claimable(world) == [third]


@WAYS
def test_one_that_comes_to_an_empty_line_goes_out_at_once(
    world: World, organization: str, subscription: str, made: Makes
) -> None:
    (first,) = made(world, organization, subscription, "a")
    finish(world, first)
    (second,) = made(world, organization, subscription, "a")
    assert claimable(world) == [second]
    (third,) = made(world, organization, subscription, "a")
    assert claimable(world) == [second]
    assert seen(world, organization, third).sequence == 3


def test_several_of_a_settlement_s_lines_go_on_together(
    world: World, organization: str, subscription: str
) -> None:
    due = in_line(world, organization, subscription, "a", "b", None, "a", "b", None)
    claimed = world.claim_deliveries().deliveries
    assert sorted(each.id for each in claimed) == sorted([due[0], due[1], due[2], due[5]])
    world.settle(*[world.outcome(each) for each in claimed])
    assert sorted(claimable(world)) == sorted([due[3], due[4]])


def test_a_lease_that_runs_out_leaves_the_line_as_it_was(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    first, _ = in_line(world, organization, subscription, "a", "a")
    claimed = world.claimed(lease_s=10)
    clock.advance(seconds=10)
    assert claimable(world) == [first]
    assert list(world.settle(world.outcome(claimed))) == [first]
    assert claimable(world) == [first]


def test_bringing_one_forward_that_is_not_the_first_is_refused_with_what_it_waits_for(
    world: World, organization: str, subscription: str
) -> None:
    first, second = in_line(world, organization, subscription, "a", "a")
    with pytest.raises(InvalidState, match=first):
        world.run(world.store.retry_delivery(organization, second))
    assert claimable(world) == [first]
    world.settle(world.outcome(world.claimed(), "retrying", retry_in_s=600))
    assert claimable(world) == []
    assert world.run(world.store.retry_delivery(organization, first))
    assert claimable(world) == [first]


def test_what_was_finished_and_is_retried_by_hand_is_in_no_line(
    world: World, organization: str, subscription: str
) -> None:
    first, second, third = in_line(world, organization, subscription, "a", "a", "a")
    finish(world, first, "dead")
    assert world.run(world.store.retry_delivery(organization, first))
    assert sorted(claimable(world)) == sorted([first, second])
    finish(world, first)
    assert claimable(world) == [second]
    finish(world, second)
    assert claimable(world) == [third]


def test_what_waited_for_an_ended_subscription_is_cancelled_in_its_lines_too(
    world: World, organization: str, subscription: str
) -> None:
    due = in_line(world, organization, subscription, "a", "a", "b", None)
    assert world.run(world.store.delete_subscription(organization, subscription))
    assert {world.status_of(organization, each) for each in due} == {"cancelled"}
    assert world.run(world.store.stats()).deliveries_waiting == 0


def test_an_endpoint_that_is_gone_takes_its_lines_with_it(
    world: World, organization: str, subscription: str
) -> None:
    due = in_line(world, organization, subscription, "a", "a", "b")
    claimed = world.claim_deliveries().deliveries
    world.settle(
        world.outcome(claimed[0], "dead", status_code=410, disable_subscription="410 Gone")
    )
    assert {world.status_of(organization, each) for each in due} == {"dead", "cancelled"}


def test_a_paused_subscription_s_lines_go_on_where_they_stood(
    world: World, organization: str, subscription: str
) -> None:
    first, second = in_line(world, organization, subscription, "a", "a")
    world.subscription(organization, subscription_id=subscription, status=SubscriptionStatus.PAUSED)
    assert claimable(world) == []
    world.subscription(organization, subscription_id=subscription)
    assert claimable(world) == [first]
    finish(world, first)
    assert claimable(world) == [second]


def test_what_is_not_stored_takes_no_sequence(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.queued(organization)
    late = world.claim_queue(lease_s=1)
    clock.advance(seconds=1)
    claim = world.claim_queue()
    stale = RoutedEvent(late.events[0], (world.new_delivery(subscription, "a"),))
    assert world.run(world.store.fan_out(late.token, [stale])) == [late.events[0].id]
    (first,) = routed(world, claim.token, claim.events, subscription, "a")
    again = msgspec.structs.replace(
        world.event(organization, dedup_id="d"), deliveries=(world.new_delivery(subscription, "a"),)
    )
    refused = msgspec.structs.replace(
        world.event(organization, dedup_id="d"), deliveries=(world.new_delivery(subscription, "a"),)
    )
    assert world.append(again) == [None]
    assert world.append(refused) != [None]
    (last,) = at_once(world, organization, subscription, "a")
    assert [seen(world, organization, each).sequence for each in (first, last)] == [1, 3]
    world.assert_balanced()


def test_a_line_that_stands_still_is_found_by_the_sweep(
    world: World, organization: str, subscription: str
) -> None:
    first, second, other = in_line(world, organization, subscription, "a", "a", "b")
    assert world.run(world.store.reap()).mended == 0
    world.run(world.engine.park(first))
    assert claimable(world) == [other]
    assert world.run(world.store.reap()).mended == 1
    assert sorted(claimable(world)) == sorted([first, other])
    assert seen(world, organization, second).next_attempt_at is None
    assert world.run(world.store.reap()).mended == 0


def test_simultaneous_givers_and_finishers_leave_no_line_standing_still(
    world: World, organization: str, subscription: str
) -> None:
    keys = ["a", "b", ""]
    done: dict[str, list[int | None]] = {key: [] for key in keys}

    async def give(key: str) -> None:
        event = world.event(organization, key=key or None)
        each = world.new_delivery(subscription, key)
        await world.store.append([msgspec.structs.replace(event, deliveries=(each,))])

    async def give_all() -> None:
        for _ in range(10):
            await asyncio.gather(*map(give, keys * 2))

    async def finish_all() -> None:
        while sum(map(len, done.values())) < 60:
            claim = await world.store.claim_deliveries(3, 45, rooms=rooms(9))
            for each in claim.deliveries:
                done[each.key or ""].append(each.sequence)
            await asyncio.gather(
                *[world.store.settle([world.outcome(each)]) for each in claim.deliveries]
            )

    async def both() -> None:
        await asyncio.gather(give_all(), finish_all())

    world.run(both())
    assert done == {key: list(range(1, 21)) for key in keys}


# ── routing in the order of acceptance ────────────────────────────────────────────────────────


def claimed_in_order(world: World, organization: str, limit: int = 1000) -> QueueClaim:
    return world.claim_queue(limit, in_order_of=[organization])


def ids_of(claim: QueueClaim) -> list[str]:
    return [event.id for event in claim.events]


def test_events_are_claimed_in_the_order_of_acceptance_with_their_keys(
    world: World, organization: str
) -> None:
    accepted = [world.queued(organization, key=key)[0] for key in "abc"]
    claim = claimed_in_order(world, organization)
    assert ids_of(claim) == accepted
    assert [event.key for event in claim.events] == ["a", "b", "c"]


def test_while_some_are_in_somebody_s_hands_nobody_gets_more_of_them(
    world: World, organization: str, subscription: str
) -> None:
    accepted = world.queued(organization, 5)
    first = claimed_in_order(world, organization, 2)
    elsewhere = world.queued(world.organization("Other"), 2)
    assert ids_of(first) == accepted[:2]
    assert ids_of(claimed_in_order(world, organization)) == elsewhere
    world.route(msgspec.structs.replace(first, events=first.events[:1]), subscription)
    assert ids_of(claimed_in_order(world, organization)) == []
    world.route(msgspec.structs.replace(first, events=first.events[1:]), subscription)
    assert ids_of(claimed_in_order(world, organization)) == accepted[2:]


def test_what_a_lease_that_ran_out_held_comes_first(
    world: World, organization: str, clock: FrozenClock
) -> None:
    accepted = world.queued(organization, 4)
    world.claim_queue(2, lease_s=10, in_order_of=[organization])
    clock.advance(seconds=10)
    again = claimed_in_order(world, organization)
    assert ids_of(again) == accepted
    assert again.recovered == 2


def test_what_is_to_be_tried_again_later_does_not_hold_up_the_others(
    world: World, organization: str, clock: FrozenClock
) -> None:
    accepted = world.queued(organization, 3)
    claim = claimed_in_order(world, organization, 1)
    world.run(world.store.release(claim.token, [FailedEvent(claim.events[0], "ValueError", 5.0)]))
    second = claimed_in_order(world, organization, 1)
    assert ids_of(second) == accepted[1:2]
    world.route(second)
    clock.advance(seconds=5)
    assert ids_of(claimed_in_order(world, organization)) == [accepted[0], accepted[2]]


def test_a_scheduled_event_takes_its_place_when_its_time_comes(
    world: World, organization: str, clock: FrozenClock
) -> None:
    (later,) = world.queued(organization, deliver_at=clock().after(seconds=60))
    (now,) = world.queued(organization)
    first = claimed_in_order(world, organization)
    assert ids_of(first) == [now]
    world.route(first)
    clock.advance(seconds=60)
    assert ids_of(claimed_in_order(world, organization)) == [later]


def test_events_in_order_and_others_share_a_claim(world: World, organization: str) -> None:
    other = world.organization("Other")
    accepted = world.queued(organization, 4)
    elsewhere = world.queued(other, 4)
    claim = ids_of(claimed_in_order(world, organization, 4))
    assert len(claim) == 4
    rest = ids_of(claimed_in_order(world, organization, 8))
    assert len(set(claim + rest)) == len(claim + rest)
    assert set(claim + rest) <= set(accepted + elsewhere)


def test_one_that_was_claimed_often_goes_alone_in_order_too(
    world: World, organization: str, clock: FrozenClock
) -> None:
    accepted = world.queued(organization, 3)
    for _ in range(2):
        world.claim_queue(1, lease_s=1, in_order_of=[organization])
        clock.advance(seconds=1)
    assert ids_of(claimed_in_order(world, organization)) == accepted[:1]


def test_simultaneous_claims_in_order_give_each_event_to_one(
    world: World, organization: str
) -> None:
    accepted = world.queued(organization, 30)

    async def claims() -> list[QueueClaim]:
        return await asyncio.gather(
            *[world.store.claim_queue(10, 45, in_order_of=[organization]) for _ in range(8)]
        )

    given = [ids_of(claim) for claim in world.run(claims())]
    assert [each for each in given if each] == [accepted[:10]]
