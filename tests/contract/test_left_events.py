"""Claims that leave the events of some organizations where they are, however many these are."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest

from triggers_api.store.base import FailedEvent, QueueClaim

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

MANY: Final = 4500
"""More than a claim of either engine reads."""


def claimed(claim: QueueClaim) -> list[str]:
    return [event.id for event in claim.events]


def claim_all(world: World, *not_of: str, limit: int = 100) -> list[str]:
    """What is claimed until a look has seen all that there is."""
    found: list[str] = []
    while True:
        claim = world.claim_queue(limit, not_of=not_of)
        found += claimed(claim)
        if not claim.unfinished and len(claim.events) < limit:
            return found


def test_others_are_claimed_in_due_order_and_the_left_ones_when_they_are_not_left_any_more(
    world: World,
) -> None:
    left, other = world.organization("Left"), world.organization("Other")
    mixed = [world.queued(each)[0] for each in (left, other) * 10]
    assert claim_all(world, left, limit=3) == mixed[1::2]
    assert claim_all(world, left) == []
    assert claim_all(world) == mixed[0::2]


def test_any_number_of_left_events_keeps_nobody_from_being_found(
    world: World, clock: FrozenClock
) -> None:
    left, other = world.organization("Left"), world.organization("Other")
    waiting = []
    for _ in range(MANY // 500):
        waiting += world.queued(left, 500)
    clock.advance(seconds=1)
    (first,) = world.queued(other)
    looks = []
    for _ in range(MANY):
        looks.append(world.claim_queue(10, not_of=[left]))
        if looks[-1].events:
            break
    assert claimed(looks[-1]) == [first]
    assert all(look.unfinished for look in looks[:-1])
    assert 1 < len(looks) <= 10
    world.route(looks[-1])
    assert not world.claim_queue(10, not_of=[left]).unfinished, "it is not read again"
    clock.advance(seconds=1)
    (second,) = world.queued(other)
    assert claimed(world.claim_queue(10, not_of=[left])) == [second]
    again = []
    while claim := world.claim_queue(1000).events:
        again += [event.id for event in claim]
    assert again == waiting, "in their order"


def test_what_others_had_in_hand_is_found_again_before_the_left_ones(
    world: World, clock: FrozenClock
) -> None:
    left, other = world.organization("Left"), world.organization("Other")
    dead, failed, alive = world.queued(other, 3)
    world.queued(left, 20)
    claim = world.claim_queue(3, lease_s=10, not_of=[left])
    assert claimed(claim) == [dead, failed, alive]
    clock.advance(seconds=1)
    assert claim_all(world, left) == []
    by_id = {event.id: event for event in claim.events}
    world.run(world.store.release(claim.token, [FailedEvent(by_id[failed], "try again", 2.0)]))
    assert claim_all(world, left) == []
    clock.advance(seconds=2)
    assert claim_all(world, left) == [failed]
    clock.advance(seconds=10)
    assert claim_all(world, left) == [dead, alive]


def test_what_falls_due_or_comes_back_later_is_found(world: World, clock: FrozenClock) -> None:
    left, other = world.organization("Left"), world.organization("Other")
    later = world.event(other, deliver_at=clock().after(seconds=30))
    aside = world.event(other, aside="does not fit")
    world.append(later, aside)
    world.queued(left, 20)
    clock.advance(seconds=20)
    world.queued(left, 20)
    assert claim_all(world, left) == []
    world.run(world.store.release_quarantined(other, aside.id, None))
    assert claim_all(world, left) == [aside.id]
    clock.advance(seconds=20)
    world.queued(left, 20)
    assert claim_all(world, left) == [later.id]


def test_one_more_and_one_less_may_be_left(world: World, clock: FrozenClock) -> None:
    first, second, third = (world.organization(f"No {n}") for n in range(3))
    theirs = {each: world.queued(each, 5) for each in (first, second, third)}
    clock.advance(seconds=1)
    assert claim_all(world, first, second) == theirs[third]
    assert claim_all(world, first, second, third) == []
    assert claim_all(world, second, third) == theirs[first]
    assert claim_all(world, third) == theirs[second]


def test_events_in_order_are_left_and_claimed_in_order(world: World) -> None:
    left, other = world.organization("Left"), world.organization("Other")
    waiting, theirs = world.queued(left, 5), world.queued(other, 5)
    claim = world.claim_queue(2, in_order_of=[left, other], not_of=[left])
    assert claimed(claim) == theirs[:2]
    assert claimed(world.claim_queue(9, in_order_of=[left, other], not_of=[left])) == []
    world.route(claim)
    claim = world.claim_queue(9, in_order_of=[left, other], not_of=[left])
    assert claimed(claim) == theirs[2:]
    world.route(claim)
    assert claimed(world.claim_queue(9, in_order_of=[left, other])) == waiting


def test_one_that_kills_its_worker_goes_alone(world: World, clock: FrozenClock) -> None:
    left, other = world.organization("Left"), world.organization("Other")
    world.queued(left, 3)
    deadly, *harmless = world.queued(other, 3)
    for _ in range(2):
        assert claimed(world.claim_queue(9, lease_s=1, not_of=[left])) == [deadly, *harmless]
        clock.advance(seconds=2)
    assert claimed(world.claim_queue(9, lease_s=1, not_of=[left])) == [deadly]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_a_look_at_all_finds_what_could_be_claimed(
    world: World, clock: FrozenClock, seed: int
) -> None:
    """Against a model: what is in nobody's hands, due, and of nobody who is left."""
    rng = random.Random(seed)
    whose = [world.organization(f"No {n}") for n in range(4)]
    free_at: dict[str, int] = {}
    owner: dict[str, str] = {}
    left: list[str] = []
    for _ in range(60):
        match rng.randrange(6):
            case 0 | 1:
                organization = rng.choice(whose)
                for event in world.queued(organization, rng.randint(1, 9)):
                    owner[event], free_at[event] = organization, 0
            case 2:
                clock.advance(seconds=rng.choice((0.001, 0.3, 5.0)))
            case 3:
                left = rng.sample(whose, rng.randint(0, 3))
            case _:
                claim = world.claim_queue(rng.randint(1, 8), lease_s=4, not_of=left)
                for each in claim.events:
                    assert free_at[each.id] <= clock()
                    assert owner[each.id] not in left
                    free_at[each.id] = clock().after(seconds=4)
                done = [each for each in claim.events if rng.random() < 0.4]
                world.route(QueueClaim(claim.token, tuple(done)))
                for each in done:
                    del free_at[each.id]
                failed = [each for each in claim.events if each not in done and rng.random() < 0.5]
                again = [FailedEvent(each, "try again", 1.0) for each in failed]
                world.run(world.store.release(claim.token, again))
                for each in failed:
                    free_at[each.id] = clock().after(seconds=1)
    expected = {
        event for event, at in free_at.items() if at <= clock() and owner[event] not in left
    }
    found: set[str] = set()
    for _ in range(200):
        now = claimed(world.claim_queue(50, lease_s=900, not_of=left))
        assert found.isdisjoint(now)
        found |= set(now)
        if found == expected:
            break
    assert found == expected
