"""Deliveries and dead letters go by ages of their own, and their events stay as they were."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
from tests.contract.retention import cutoffs, moments

from triggers_api.errors import InvalidState
from triggers_api.model import ids
from triggers_api.model.event import EventStatus
from triggers_api.model.job import Job, JobKind, Selection, Then
from triggers_api.model.retention import Cutoffs
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import JobStep, Page, Pruned

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

DAY_S: Final = 86_400


def made(world: World, organization: str, subscription: str, status: str = "succeeded") -> str:
    """A delivery that came to this after one attempt."""
    world.due(organization, subscription, dedup_id=None)
    claimed = world.claimed()
    world.settle(world.outcome(claimed, status))
    return claimed.id


def swept(
    world: World, given: Cutoffs, *, dead: bool = False, limit: int = 100
) -> tuple[int, int, list[int]]:
    """A whole sweep: how many deliveries and attempts went, and how many deliveries in each piece."""
    prune = world.store.prune_dead_letters if dead else world.store.prune_deliveries
    deliveries: list[int] = []
    attempts, position = 0, None
    while True:
        pruned = world.run(prune(given, after=position, limit=limit))
        deliveries.append(pruned.deliveries)
        attempts, position = attempts + pruned.attempts, pruned.position
        world.assert_balanced()
        if position is None:
            return sum(deliveries), attempts, deliveries


def is_there(world: World, organization: str, delivery_id: str) -> bool:
    return world.run(world.store.delivery(organization, delivery_id)) is not None


def event_of(world: World, organization: str, delivery_id: str) -> str:
    found = world.run(world.store.delivery(organization, delivery_id))
    assert found is not None
    return found.event_id


@pytest.mark.parametrize("status", ["succeeded", "skipped", "cancelled"])
def test_a_delivery_goes_at_its_age_with_its_attempts_and_its_event_stays_processed(
    world: World, organization: str, subscription: str, clock: FrozenClock, status: str
) -> None:
    delivery_id = made(world, organization, subscription, status)
    event_id = event_of(world, organization, delivery_id)
    moment = clock.advance(seconds=1)
    assert swept(world, cutoffs(clock().after(seconds=-1))) == (0, 0, [0])
    assert swept(world, cutoffs(moment), dead=True) == (0, 0, [0])
    assert swept(world, cutoffs(moment)) == (1, 1, [1])
    assert not is_there(world, organization, delivery_id)
    event = world.run(world.store.event(organization, event_id))
    assert event is not None
    assert (event.status, event.deliveries) == (EventStatus.PROCESSED, ())
    for table in ("deliveries", "attempts"):
        assert world.engine.execute(f"SELECT count(*) FROM {table}") == [(0,)]
    # It is not routed again, and goes when its own time has come.
    assert world.claim_queue().events == ()
    pruned = world.run(
        world.store.prune_events(cutoffs(clock.advance(seconds=1)), after=None, limit=9)
    )
    assert (pruned.events, pruned.deliveries) == (1, 0)
    world.assert_balanced()


@pytest.mark.parametrize("dead", [False, True])
def test_what_is_open_stays_however_old_and_so_does_what_is_of_another_kind(
    world: World, organization: str, subscription: str, clock: FrozenClock, *, dead: bool
) -> None:
    world.due(organization, subscription, 2)
    retrying, leased = world.claim_deliveries().deliveries
    world.settle(world.outcome(retrying, "retrying", status_code=500, retry_in_s=90 * DAY_S))
    other = made(world, organization, subscription, "succeeded" if dead else "dead")
    moment = clock.advance(seconds=20)
    assert swept(world, cutoffs(moment), dead=dead) == (0, 0, [0])
    for name in (retrying.id, leased.id, other):
        assert is_there(world, organization, name)


def test_a_dead_letter_and_its_event_are_kept_for_its_own_age_however_short_that_of_events_is(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    delivery_id = made(world, organization, subscription, "dead")
    event_id = event_of(world, organization, delivery_id)
    died = clock()
    now = clock.advance(seconds=8 * DAY_S)
    held = Cutoffs(default=moments(now, dead_letters=died))
    prune = world.store.prune_events
    assert world.run(prune(held, after=None, limit=9)) == Pruned()
    assert swept(world, held, dead=True) == (0, 0, [0])
    detail = world.run(world.store.event(organization, event_id))
    assert detail is not None
    assert [each.id for each in detail.deliveries] == [delivery_id]
    assert world.run(world.store.retry_delivery(organization, delivery_id))
    world.settle(world.outcome(world.claimed(), "dead"))
    later = clock.advance(seconds=1)
    gone = world.run(
        prune(Cutoffs(default=moments(later, dead_letters=later)), after=None, limit=9)
    )
    assert (gone.events, gone.deliveries) == (1, 1)
    world.assert_balanced()


def test_a_dead_letter_whose_age_is_shorter_goes_before_its_event_and_is_in_no_list(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    old = made(world, organization, subscription, "dead")
    moment = clock.advance(seconds=1)
    new = made(world, organization, subscription, "dead")
    assert swept(world, Cutoffs(default=moments(dead_letters=moment)), dead=True) == (1, 1, [1])
    assert [is_there(world, organization, each) for each in (old, new)] == [False, True]
    assert not world.run(world.store.retry_delivery(organization, old))
    if world.engine.is_shared:
        assert world.engine.execute("SELECT count(*) FROM dead_letters") == [(1,)]


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_each_organization_has_its_own_moments_and_a_sweep_goes_through_all(
    world: World, clock: FrozenClock, limit: int, *, dead: bool
) -> None:
    status = "dead" if dead else "succeeded"
    owners = [world.organization() for _ in range(4)]
    deliveries = {
        owner: [made(world, owner, target, status) for _ in range(3)]
        for owner in owners
        for target in [world.subscription(owner)]
    }
    moment = clock.advance(seconds=1)
    longer, never = owners[1], owners[2]
    given = cutoffs(moment, {longer: moment.after(seconds=-60), never: Timestamp(0)})
    deleted, _, pieces = swept(world, given, dead=dead, limit=limit)
    assert (deleted, max(pieces) <= limit) == (6, True)
    kept = {owner for owner in owners if is_there(world, owner, deliveries[owner][0])}
    assert kept == {longer, never}


@pytest.mark.parametrize("dead", [False, True])
def test_what_is_opened_again_beside_a_sweep_is_there_whole_or_gone(
    world: World, organization: str, subscription: str, clock: FrozenClock, *, dead: bool
) -> None:
    names = [made(world, organization, subscription, "dead") for _ in range(8)]
    if not dead:
        for each in names:
            world.run(world.store.retry_delivery(organization, each))
        world.settle(*map(world.outcome, world.claim_deliveries().deliveries))
    moment = clock.advance(seconds=1)
    prune = world.store.prune_dead_letters if dead else world.store.prune_deliveries

    async def opened(name: str) -> bool:
        try:
            return await world.store.retry_delivery(organization, name)
        except InvalidState:
            return False

    async def main() -> tuple[int, list[bool]]:
        pruned, *answers = await asyncio.gather(
            prune(cutoffs(moment), after=None, limit=100), *(opened(name) for name in names)
        )
        assert isinstance(pruned, Pruned)
        return pruned.deliveries, [bool(each) for each in answers]

    deleted, answers = world.run(main())
    there = [is_there(world, organization, name) for name in names]
    assert sum(there) == len(names) - deleted
    for name, was_opened in zip(there, answers, strict=True):
        assert name or not was_opened
    world.assert_balanced()


def test_finished_jobs_go_at_their_age_and_unfinished_ones_stay(
    world: World, organization: str, clock: FrozenClock
) -> None:
    store = world.store

    def job() -> Job:
        new = Job(
            id=store.ids.new(ids.JOB),
            kind=JobKind.REPLAY,
            selection=Selection(until=clock()),
            created_at=clock(),
        )
        world.run(store.create_job(organization, new, most_open=100))
        return new

    def finish() -> None:
        claimed = world.run(store.claim_job(60))
        assert claimed is not None
        step = JobStep(claimed=claimed, then=Then.FAILED, position=None, due_at=clock(), error="x")
        assert world.run(store.advance_job(step)) is not None

    late, early = job(), job()
    finish()
    moment = clock.advance(seconds=DAY_S)
    finish()
    waiting = job()
    finished = {
        each.id: each.finished_at
        for each in world.run(store.jobs(organization, Page()))
        if each.finished_at is not None
    }
    (gone,) = [name for name, at in finished.items() if at < moment]
    assert {late.id, early.id} == set(finished)

    def pruned(limit: int) -> list[int]:
        deleted, position = [], None
        while True:
            answer = world.run(store.prune_jobs(moment, after=position, limit=limit))
            deleted.append(answer.jobs)
            position = answer.position
            if position is None:
                return deleted

    assert sum(pruned(1)) == 1
    assert sum(pruned(100)) == 0
    left = {each.id for each in world.run(store.jobs(organization, Page()))}
    assert left == {late.id, early.id, waiting.id} - {gone}
