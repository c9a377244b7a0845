"""Old attempts go, piece by piece; those of open deliveries stay, and so does everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from tests.contract.retention import NEVER, cutoffs

from triggers_api.model.delivery import DeliveryDetail
from triggers_api.model.timestamp import Timestamp

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

DAY_S = 86_400


def swept(world: World, before: Timestamp, *, limit: int = 100) -> list[int]:
    """How many attempts each piece of a whole sweep deleted."""
    deleted: list[int] = []
    position = None
    while True:
        pruned = world.run(world.store.prune_attempts(cutoffs(before), after=position, limit=limit))
        deleted.append(pruned.attempts)
        position = pruned.position
        if position is None:
            return deleted


def numbers(world: World, organization: str, delivery_id: str) -> list[int]:
    """The numbers of the attempts that are on file."""
    return [attempt.number for attempt in detail(world, organization, delivery_id).attempts]


def detail(world: World, organization: str, delivery_id: str) -> DeliveryDetail:
    found = world.run(world.store.delivery(organization, delivery_id))
    assert found is not None
    return found


def finished(
    world: World, organization: str, subscription: str, count: int = 1, *, status: str = "succeeded"
) -> Sequence[str]:
    """Deliveries with two attempts each, ended in this way."""
    made = world.due(organization, subscription, count)
    for _ in range(2):
        claimed = world.claim_deliveries().deliveries
        assert len(claimed) == count
        last = claimed[0].attempt_count == 1
        world.settle(
            *(
                world.outcome(each, status)
                if last
                else world.outcome(each, "retrying", status_code=500, retry_in_s=0)
                for each in claimed
            )
        )
    return made


@pytest.mark.parametrize("status", ["succeeded", "dead", "cancelled", "skipped"])
def test_attempts_from_before_a_moment_go_and_the_delivery_keeps_its_count(
    world: World, organization: str, subscription: str, clock: FrozenClock, status: str
) -> None:
    (old,) = finished(world, organization, subscription, status=status)
    moment = clock.advance(seconds=1)
    (new,) = finished(world, organization, subscription, status=status)
    assert swept(world, moment) == [2]
    assert numbers(world, organization, old) == []
    assert numbers(world, organization, new) == [1, 2]
    kept = detail(world, organization, old)
    assert (kept.status, kept.attempt_count) == (status, 2)
    assert kept.finished_at is not None
    world.assert_balanced()
    assert swept(world, moment) == [0]


def test_nothing_goes_before_its_time(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (made,) = finished(world, organization, subscription)
    assert swept(world, clock()) == [0]
    assert numbers(world, organization, made) == [1, 2]


def test_attempts_of_a_delivery_that_is_open_stay_however_old(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    retrying, leased = world.due(organization, subscription, 2)
    for each in world.claim_deliveries().deliveries:
        world.settle(world.outcome(each, "retrying", status_code=500, retry_in_s=0))
    (claimed,) = world.claim_deliveries(1).deliveries
    assert claimed.id in {retrying, leased}
    moment = clock.advance(seconds=40)
    assert swept(world, moment) == [0]
    for name in (retrying, leased):
        assert numbers(world, organization, name) == [1]
    world.settle(world.outcome(claimed))
    assert swept(world, moment) == [1]
    assert numbers(world, organization, claimed.id) == [2]


def test_one_that_was_opened_again_by_hand_is_open(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (dead,) = finished(world, organization, subscription, status="dead")
    moment = clock.advance(seconds=DAY_S)
    assert world.run(world.store.retry_delivery(organization, dead))
    assert swept(world, moment) == [0]
    assert numbers(world, organization, dead) == [1, 2]


def test_an_attempt_after_old_ones_were_deleted_counts_on(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (dead,) = finished(world, organization, subscription, status="dead")
    swept(world, clock.advance(seconds=DAY_S))
    assert world.run(world.store.retry_delivery(organization, dead))
    world.settle(world.outcome(world.claimed()))
    assert numbers(world, organization, dead) == [3]
    assert detail(world, organization, dead).attempt_count == 3


def test_of_a_delivery_that_was_tried_for_long_the_older_attempts_go(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (made,) = world.due(organization, subscription)
    world.settle(world.outcome(world.claimed(), "retrying", status_code=500, retry_in_s=DAY_S))
    moment = clock.advance(seconds=DAY_S)
    world.settle(world.outcome(world.claimed()))
    assert swept(world, moment) == [1]
    assert numbers(world, organization, made) == [2]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_a_sweep_goes_through_every_organization_in_pieces_of_its_size(
    world: World, clock: FrozenClock, limit: int
) -> None:
    made: list[tuple[str, str]] = []
    kept: list[tuple[str, str]] = []
    for _ in range(3):
        organization = world.organization()
        subscription = world.subscription(organization)
        made += [(organization, each) for each in finished(world, organization, subscription, 3)]
        (waiting,) = world.due(organization, subscription)
        world.settle(
            world.outcome(world.claimed(), "retrying", status_code=500, retry_in_s=9 * DAY_S)
        )
        kept.append((organization, waiting))
    world.run(world.store.delete_organization(made[0][0]))
    deleted = swept(world, clock.advance(seconds=DAY_S), limit=limit)
    # Whatever waited for the organization that is gone was cancelled with it.
    assert sum(deleted) == 18 + 1
    assert max(deleted) <= limit
    for organization, waiting in kept[1:]:
        assert numbers(world, organization, waiting) == [1]


@pytest.mark.parametrize("limit", [1, 100])
def test_an_organization_has_its_own_age_of_attempts_longer_or_shorter(
    world: World, clock: FrozenClock, limit: int
) -> None:
    made = {}
    for name in ("usual", "shorter", "longer", "for ever"):
        organization = world.organization(name)
        (made[organization],) = finished(world, organization, world.subscription(organization))
    began = clock()
    usual, shorter, longer, forever = made
    given = {shorter: began.after(seconds=60), longer: began.after(seconds=-60), forever: NEVER}

    def sweep(every: Timestamp) -> set[str]:
        position, moments = None, cutoffs(every, given)
        while True:
            found = world.run(world.store.prune_attempts(moments, after=position, limit=limit))
            position = found.position
            if position is None:
                return {each for each in made if numbers(world, each, made[each]) == [1, 2]}

    clock.advance(seconds=DAY_S)
    assert sweep(began) == {usual, longer, forever}
    assert sweep(began.after(seconds=60)) == {longer, forever}
    given[longer] = began.after(seconds=60)
    assert sweep(began) == {forever}


def test_sweeps_at_once_delete_each_attempt_once(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    finished(world, organization, subscription, 8)
    moment = clock.advance(seconds=DAY_S)

    async def at_once() -> list[int]:
        found = await asyncio.gather(
            *(world.store.prune_attempts(cutoffs(moment), after=None, limit=100) for _ in range(8))
        )
        return [each.attempts for each in found]

    first = sum(world.run(at_once()))
    # What one held, another one went past.
    assert first + sum(swept(world, moment)) == 16
