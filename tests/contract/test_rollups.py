"""Tallies on file: their writer replaces them, readers add them up, the old ones go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from triggers_api.model.rollup import (
    COARSE_S,
    EVERYBODY,
    MINUTE_S,
    SUBSCRIPTION_S,
    Rollup,
    Tally,
)
from triggers_api.model.timestamp import Timestamp

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

ONE: Final = 1
OTHER: Final = (1 << 62) - 1


def tally(
    organization_id: str,
    at: Timestamp,
    *,
    writer: int = ONE,
    step_s: int = MINUTE_S,
    subscription_id: str | None = None,
    accepted: int = 1,
) -> Rollup:
    return Rollup(
        organization_id=organization_id,
        subscription_id=subscription_id,
        step_s=step_s,
        at=at,
        writer=writer,
        tally=Tally(accepted=accepted, ingest={3: accepted}),
    )


def on_file(
    world: World,
    organization_id: str,
    since: Timestamp,
    until: Timestamp | None = None,
    *,
    step_s: int = MINUTE_S,
) -> list[Rollup]:
    return world.run(
        world.store.rollups(
            organization_id, step_s, since=since, until=until or since.after(seconds=86_400)
        )
    )


def test_a_tally_comes_back_as_it_was_written(world: World, clock: FrozenClock) -> None:
    organization, at = world.organization(), clock()
    written = tally(organization, at, accepted=7)
    world.run(world.store.save_rollups([written]))
    assert on_file(world, organization, at) == [written]
    world.run(world.engine.reopen())
    assert on_file(world, organization, at) == [written]


def test_writing_none_is_fine(world: World) -> None:
    world.run(world.store.save_rollups([]))


def test_what_a_writer_writes_again_is_in_the_place_of_what_it_wrote(
    world: World, clock: FrozenClock
) -> None:
    organization, at = world.organization(), clock()
    for accepted in (1, 5):
        world.run(world.store.save_rollups([tally(organization, at, accepted=accepted)]))
    world.run(world.store.save_rollups([tally(organization, at, writer=OTHER, accepted=2)]))
    found = {each.writer: each.tally.accepted for each in on_file(world, organization, at)}
    assert found == {ONE: 5, OTHER: 2}


def test_more_tallies_than_one_statement_takes_are_written(
    world: World, clock: FrozenClock
) -> None:
    organization, at = world.organization(), clock()
    many = [tally(organization, at.after(seconds=60 * each), accepted=each) for each in range(137)]
    world.run(world.store.save_rollups(many))
    assert on_file(world, organization, at) == many


def test_a_window_has_its_beginning_and_not_its_end(world: World, clock: FrozenClock) -> None:
    organization, at = world.organization(), clock()
    minutes = [at.after(seconds=60 * each) for each in range(4)]
    world.run(world.store.save_rollups([tally(organization, each) for each in minutes]))
    found = on_file(world, organization, minutes[1], minutes[3])
    assert [each.at for each in found] == minutes[1:3]


def test_nobody_sees_what_was_counted_for_another(world: World, clock: FrozenClock) -> None:
    ours, theirs, at = world.organization(), world.organization("Other"), clock()
    world.run(
        world.store.save_rollups(
            [tally(theirs, at), tally(EVERYBODY, at, accepted=9), tally(ours, at, step_s=COARSE_S)]
        )
    )
    assert on_file(world, ours, at) == []
    assert on_file(world, "org_00000000000000000000000000000000", at) == []
    assert on_file(world, "nonsense", at) == []
    assert [each.tally.accepted for each in on_file(world, EVERYBODY, at)] == [9]


def test_tallies_of_subscriptions_are_apart_from_those_of_their_organization(
    world: World, clock: FrozenClock
) -> None:
    ours, theirs, at = world.organization(), world.organization("Other"), clock()
    one, two, third = (world.subscription(each) for each in (ours, ours, theirs))
    of = {
        each: tally(owner, at, subscription_id=each, step_s=SUBSCRIPTION_S)
        for each, owner in ((one, ours), (two, ours), (third, theirs))
    }
    earlier = tally(ours, at.after(seconds=-7200), subscription_id=one, step_s=SUBSCRIPTION_S)
    world.run(world.store.save_rollups([*of.values(), earlier, tally(ours, at)]))
    assert [each.subscription_id for each in on_file(world, ours, at)] == [None]
    asked = world.store.subscription_rollups(ours, [one, third, "nonsense"], since=at)
    assert world.run(asked) == [of[one]]
    assert world.run(world.store.subscription_rollups(ours, [], since=at)) == []
    both = world.run(world.store.subscription_rollups(ours, [two, one], since=earlier.at))
    assert {(each.subscription_id, each.at) for each in both} == {
        (one, earlier.at), (one, at), (two, at),
    }  # fmt: skip


def test_old_tallies_go_some_at_a_time_and_only_those_of_the_length_that_was_named(
    world: World, clock: FrozenClock
) -> None:
    organization, at = world.organization(), clock()
    minutes = [at.after(seconds=60 * each) for each in range(5)]
    world.run(
        world.store.save_rollups(
            [
                *(tally(organization, each) for each in minutes),
                tally(organization, at, step_s=COARSE_S),
            ]
        )
    )
    deleted = [
        world.run(world.store.prune_rollups(MINUTE_S, minutes[3], limit=2)) for _ in range(3)
    ]
    assert deleted == [2, 1, 0]
    assert [each.at for each in on_file(world, organization, at)] == minutes[3:]
    assert len(on_file(world, organization, at, step_s=COARSE_S)) == 1
