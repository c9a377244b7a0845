"""What waits by whose it is, and whether there is anything to be done now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triggers_api.model.subscription import SubscriptionStatus
from triggers_api.store.base import Depths, FailedEvent, OrganizationDepth, SubscriptionDepth

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World


def depths(world: World, *, counted: int = 1000, shown: int = 10) -> Depths:
    return world.run(world.store.depths(counted=counted, shown=shown))


def idle(world: World, *but_for: str) -> bool:
    return world.run(world.store.is_idle(but_for=but_for))


def test_nothing_waits_in_a_fresh_store(world: World) -> None:
    assert depths(world) == Depths()
    assert idle(world)


def test_events_are_counted_by_whose_they_are(world: World, clock: FrozenClock) -> None:
    few, many = world.organization("Few"), world.organization("Many")
    world.queued(few, 1)
    first = clock()
    clock.advance(seconds=5)
    world.queued(many, 4)
    second = clock()
    world.claim_queue(2, lease_s=10)
    clock.advance(seconds=11)
    world.claim_queue(1, lease_s=45)
    found = depths(world)
    assert found.events == 5
    assert found.organizations == (
        OrganizationDepth(organization_id=many, depth=4, leased=0, stuck=1, oldest_at=second),
        OrganizationDepth(organization_id=few, depth=1, leased=1, stuck=0, oldest_at=first),
    )
    assert [each.organization_id for each in depths(world, shown=1).organizations] == [many]
    bounded = depths(world, counted=2)
    assert (bounded.events, {each.depth for each in bounded.organizations}) == (2, {1})


def test_an_event_whose_time_is_to_come_is_not_counted(
    world: World, organization: str, clock: FrozenClock
) -> None:
    world.append(world.event(organization, deliver_at=clock().after(seconds=60)))
    assert depths(world).events == 0
    assert idle(world)
    clock.advance(seconds=60)
    assert depths(world).events == 1
    assert not idle(world)


def test_deliveries_are_counted_by_subscription(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    other = world.subscription(organization)
    world.due(organization, subscription, 3)
    since = clock()
    world.due(organization, other)
    world.claim_deliveries(1)
    found = depths(world)
    assert found.deliveries == 4
    most = found.subscriptions[0]
    leased = most.leased
    assert most == SubscriptionDepth(
        organization_id=organization, subscription_id=subscription, waiting=3, due=3, leased=leased,
        first_at=since,
    )  # fmt: skip
    assert sum(each.leased for each in found.subscriptions) == 1
    assert len(depths(world, shown=1).subscriptions) == 1


def test_there_is_work_while_an_event_waits_or_is_in_hand(
    world: World, organization: str, clock: FrozenClock
) -> None:
    world.queued(organization, 1)
    assert not idle(world)
    claim = world.claim_queue()
    assert not idle(world)
    failed = FailedEvent(claim.events[0], "try again", 60.0)
    world.run(world.store.release(claim.token, [failed]))
    assert not idle(world), "it is to be routed again"
    clock.advance(seconds=61)
    world.route(world.claim_queue())
    assert idle(world)


def test_there_is_work_while_a_delivery_is_due_or_in_hand_but_not_for_one_that_comes_later(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.due(organization, subscription)
    assert not idle(world)
    (claimed,) = world.claim_deliveries().deliveries
    assert not idle(world)
    world.settle(world.outcome(claimed, "retrying", status_code=500, retry_in_s=60))
    assert idle(world)
    clock.advance(seconds=60)
    assert not idle(world)


def test_what_waits_for_a_subscription_that_is_not_sent_to_is_no_work(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription)
    assert not idle(world)
    assert idle(world, subscription)
    world.subscription(organization, subscription_id=subscription, status=SubscriptionStatus.PAUSED)
    assert idle(world)
