"""What waits, is dead and on file: of an organization, of all together, of subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triggers_api.model.workload import Count, SubscriptionWorkload, Workload
from triggers_api.store.base import FailedEvent

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World


def workload(world: World, organization: str | None, most: int = 100) -> Workload:
    return world.run(world.store.workload(organization, most))


def exactly(count: int) -> Count:
    return Count(count, complete=True)


def test_an_organization_without_anything_has_nothing_waiting(
    world: World, organization: str
) -> None:
    nothing = exactly(0)
    expected = Workload(
        events=0,
        pruned=0,
        deliveries=0,
        queued=nothing,
        oldest_queued_age_s=None,
        failed=nothing,
        quarantined=nothing,
        waiting=nothing,
        delivering=nothing,
        dead=nothing,
    )
    assert workload(world, organization) == expected
    assert workload(world, None) == expected


def test_everything_is_counted_where_it_stands(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    other = world.organization("Other")
    elsewhere = world.subscription(other)
    for whose, to, times in ((organization, subscription, 1), (other, elsewhere, 2)):
        world.due(whose, to, 3 * times)
        world.queued(whose, times)
    dying, sending, *_ = world.claim_deliveries().deliveries
    claim = world.claim_queue(1)
    world.run(world.store.release(claim.token, [FailedEvent(claim.events[0], "no", None)]))
    aside = world.event(other, aside="does not fit")
    later = world.event(organization, deliver_at=clock().after(seconds=60))
    world.append(aside, later)
    world.settle(world.outcome(dying, "dead", status_code=500, reason="receiver answered 500"))
    clock.advance(seconds=7)
    ours, theirs, all_ = (workload(world, each) for each in (organization, other, None))
    assert sending.id != dying.id
    for name in ("events", "pruned", "deliveries"):
        assert getattr(all_, name) == getattr(ours, name) + getattr(theirs, name)
    for name in ("queued", "failed", "quarantined", "waiting", "delivering", "dead"):
        counts = [getattr(each, name) for each in (ours, theirs, all_)]
        assert counts[2] == exactly(counts[0].count + counts[1].count), name
        assert all(each.complete for each in counts)
    assert (all_.events, all_.deliveries) == (14, 9)
    assert (all_.queued, all_.failed, all_.quarantined) == (exactly(2), exactly(1), exactly(1))
    assert (all_.waiting, all_.delivering, all_.dead) == (exactly(8), exactly(8), exactly(1))
    assert (theirs.quarantined, ours.quarantined) == (exactly(1), exactly(0))
    assert all_.oldest_queued_age_s == 7.0


def test_more_than_the_bound_is_said_to_be_more(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription, 3)
    world.queued(organization, 3)
    for whose in (organization, None):
        found = workload(world, whose, most=2)
        assert (found.waiting, found.queued) == (Count(2, complete=False),) * 2
        assert found.deliveries == 3, "kept as a total, and not counted"


def test_subscriptions_have_what_waits_for_them_and_what_is_dead(
    world: World, organization: str
) -> None:
    other = world.organization("Other")
    one, two, theirs = (world.subscription(each) for each in (organization, organization, other))
    for subscription, whose, count in (
        (one, organization, 3),
        (two, organization, 1),
        (theirs, other, 1),
    ):
        world.due(whose, subscription, count)
    for claimed in world.claim_deliveries().deliveries:
        if claimed.target.subscription.id == two:
            world.settle(world.outcome(claimed, "dead", status_code=500, reason="timeout: late"))
    asked = [two, one, theirs, "nonsense"]
    found = world.run(world.store.subscription_workload(organization, asked, 2))
    none = SubscriptionWorkload(waiting=exactly(0), dead=exactly(0))
    assert found == {
        one: SubscriptionWorkload(waiting=Count(2, complete=False), dead=exactly(0)),
        two: SubscriptionWorkload(waiting=exactly(0), dead=exactly(1)),
        theirs: none,
        "nonsense": none,
    }
    assert world.run(world.store.subscription_workload(organization, [], 2)) == {}
