"""What a session fetches: claimed for it alone, settled as everything is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from triggers_api.model.subscription import SESSION_URL
from triggers_api.store.base import DeliveryClaim

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World


@pytest.fixture
def session(world: World, organization: str) -> str:
    """The id of a subscription that a session fetches for."""
    return world.subscription(organization, url=SESSION_URL)


def fetched(
    world: World, organization: str, subscription: str, limit: int = 100, lease_s: float = 30
) -> DeliveryClaim:
    claimed = world.store.claim_for_session(organization, subscription, limit, lease_s)
    return world.run(claimed)


def ids_of(claim: DeliveryClaim) -> list[str]:
    return [delivery.id for delivery in claim.deliveries]


def test_what_a_session_fetches_is_claimed_by_nobody_else(
    world: World, organization: str, subscription: str, session: str
) -> None:
    due = world.due(organization, session, 3)
    ordinary = world.due(organization, subscription)
    assert ids_of(world.claim_deliveries()) == ordinary
    assert ids_of(fetched(world, organization, session)) == due
    assert ids_of(world.claim_deliveries()) == ids_of(fetched(world, organization, session)) == []


def test_a_session_fetches_for_its_own_subscription_only(
    world: World, organization: str, subscription: str, session: str
) -> None:
    other = world.subscription(organization, url=SESSION_URL)
    world.due(organization, other)
    world.due(organization, subscription)
    assert ids_of(fetched(world, organization, session)) == []
    assert ids_of(fetched(world, organization, subscription)) == []


def test_another_organization_fetches_nothing(
    world: World, organization: str, session: str
) -> None:
    due = world.due(organization, session)
    assert ids_of(fetched(world, world.organization(), session)) == []
    assert ids_of(fetched(world, organization, "sub_nonsense")) == []
    assert ids_of(fetched(world, organization, session)) == due


def test_it_fetches_no_more_than_it_asks_for_and_the_oldest_first(
    world: World, organization: str, session: str, clock: FrozenClock
) -> None:
    due = []
    for _ in range(4):
        due += world.due(organization, session)
        clock.advance(seconds=1)
    assert ids_of(fetched(world, organization, session, 3)) == due[:3]
    assert ids_of(fetched(world, organization, session, 3)) == due[3:]


def test_what_it_fetched_is_settled_and_tried_again_as_everything_is(
    world: World, organization: str, session: str, clock: FrozenClock
) -> None:
    world.due(organization, session)
    (first,) = fetched(world, organization, session).deliveries
    world.settle(world.outcome(first, "retrying", status_code=500, retry_in_s=5))
    assert ids_of(fetched(world, organization, session)) == []
    clock.advance(seconds=5)
    (second,) = fetched(world, organization, session).deliveries
    assert (second.id, second.attempt_count, second.failures) == (first.id, 1, 1)
    world.settle(world.outcome(second))
    assert world.status_of(organization, first.id) == "succeeded"


def test_what_it_does_not_report_in_time_is_fetched_again(
    world: World, organization: str, session: str, clock: FrozenClock
) -> None:
    world.due(organization, session)
    (first,) = fetched(world, organization, session, lease_s=30).deliveries
    clock.advance(seconds=30)
    again = fetched(world, organization, session)
    assert (ids_of(again), again.recovered) == ([first.id], 1)
    assert world.settle(world.outcome(first)) == [first.id]


def test_two_that_fetch_at_once_share(world: World, organization: str, session: str) -> None:
    due = world.due(organization, session, 8)

    async def both() -> list[DeliveryClaim]:
        claims = [world.store.claim_for_session(organization, session, 4, 30) for _ in range(2)]
        return await asyncio.gather(*claims)

    found = [each for claim in world.run(both()) for each in ids_of(claim)]
    assert len(set(found)) == len(found)
    found += ids_of(fetched(world, organization, session))
    assert sorted(found) == sorted(due)


def test_of_one_that_has_ended_nothing_is_fetched_and_what_waited_is_cancelled(
    world: World, organization: str, clock: FrozenClock
) -> None:
    expiring = world.subscription(
        organization, url=SESSION_URL, expires_at=clock().after(seconds=60)
    )
    deleted = world.subscription(organization, url=SESSION_URL)
    (late,) = world.due(organization, expiring)
    (gone,) = world.due(organization, deleted)
    world.run(world.store.delete_subscription(organization, deleted))
    clock.advance(seconds=60)
    for each in (expiring, deleted):
        assert ids_of(fetched(world, organization, each)) == []
    world.run(world.store.end_expired(()))
    assert [world.status_of(organization, each) for each in (late, gone)] == ["cancelled"] * 2


def test_who_watches_takes_no_notice_from_who_waits(world: World) -> None:
    async def both() -> None:
        watching = asyncio.create_task(world.store.watch_deliveries(5))
        waiting = asyncio.create_task(world.store.wait_deliveries(5))
        await asyncio.sleep(0)
        world.store.wake_deliveries()
        await asyncio.gather(watching, waiting)
        world.store.wake_deliveries()
        await world.store.watch_deliveries(0.01)
        await world.store.wait_deliveries(5)

    world.run(both())
