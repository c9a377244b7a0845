"""What waits of one organization, on every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

PLENTY = 1000


def depths(world: World, *organizations: str, most: int = PLENTY) -> list[int]:
    found = world.run(world.store.organization_depths(dict.fromkeys(organizations, most)))
    return [found[each].count if each in found else 0 for each in organizations]


def oldest(world: World, organization: str) -> float:
    return world.run(world.store.organization_depths({organization: PLENTY}))[
        organization
    ].oldest_age_s


def test_each_organization_has_what_it_put_into_the_queue(world: World, organization: str) -> None:
    other_organization = world.organization("Other")
    world.queued(organization, 5)
    world.queued(other_organization, 2)
    assert depths(world, organization, other_organization) == [5, 2]
    assert depths(world, other_organization) == [2]
    assert world.run(world.store.organization_depths({})) == {}


def test_what_is_scheduled_takes_room_as_well(
    world: World, organization: str, clock: FrozenClock
) -> None:
    world.queued(organization, 3)
    world.queued(organization, 2, deliver_at=clock().after(seconds=60))
    assert depths(world, organization) == [5]


def test_what_is_routed_takes_none(world: World, organization: str) -> None:
    world.queued(organization, 4)
    claim = world.claim_queue(3)
    assert depths(world, organization) == [4]
    world.route(claim)
    assert depths(world, organization) == [1]


def test_it_says_at_least_that_a_limit_is_reached(world: World, organization: str) -> None:
    world.queued(organization, 12)
    assert depths(world, organization, most=10)[0] >= 10


def test_the_oldest_is_the_one_that_has_been_due_the_longest(
    world: World, organization: str, clock: FrozenClock
) -> None:
    other = world.organization("Other")
    world.queued(other)
    clock.advance(seconds=5)
    world.queued(organization, deliver_at=clock().after(seconds=60))
    assert oldest(world, organization) == 0, "it is not due"
    clock.advance(seconds=10)
    world.queued(organization, 2)
    clock.advance(seconds=3)
    assert oldest(world, organization) == 3
    assert oldest(world, other) == 18
    clock.advance(seconds=50)
    assert oldest(world, organization) == 53
    claim = world.claim_queue()
    world.route(claim)
    assert organization not in world.run(world.store.organization_depths({organization: PLENTY}))
