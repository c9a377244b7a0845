"""Which trace an event belongs to is stored with it, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from triggers_api.model.event import NewEvent

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

ONE: Final = bytes(range(25))
OTHER: Final = bytes(range(1, 26))


def traced(event: NewEvent, trace: bytes) -> NewEvent:
    return msgspec.structs.replace(event, trace=trace)


def test_it_is_there_for_the_events_that_have_one(world: World, organization: str) -> None:
    one = traced(world.event(organization), ONE)
    other = traced(world.event(organization), OTHER)
    without = world.event(organization)
    assert world.append(one, without, other) == [None] * 3
    found = world.run(world.store.traces([one.id, without.id, other.id]))
    assert found == {one.id: ONE, other.id: OTHER}
    assert world.run(world.store.traces([other.id])) == {other.id: OTHER}
    assert world.run(world.store.traces([])) == {}


def test_an_event_that_is_there_already_keeps_its_own(world: World, organization: str) -> None:
    first = traced(world.event(organization, dedup_id="once"), ONE)
    again = traced(world.event(organization, dedup_id="once"), OTHER)
    world.append(first)
    (met,) = world.append(again)
    assert met is not None
    assert met.id == first.id
    assert world.run(world.store.traces([first.id, again.id])) == {first.id: ONE}


def test_what_is_routed_at_once_or_kept_aside_has_one_too(world: World, organization: str) -> None:
    routed = msgspec.structs.replace(traced(world.event(organization), ONE), deliveries=())
    aside = msgspec.structs.replace(traced(world.event(organization), OTHER), aside="no")
    assert world.append(routed, aside) == [None, None]
    found = world.run(world.store.traces([routed.id, aside.id]))
    assert found == {routed.id: ONE, aside.id: OTHER}


def test_old_ones_are_forgotten_so_many_at_once(
    world: World, organization: str, clock: FrozenClock
) -> None:
    old = [traced(world.event(organization), ONE) for _ in range(3)]
    world.append(*old)
    clock.advance(seconds=10)
    before = clock()
    new = traced(world.event(organization), ONE)
    world.append(new)
    every = [*(event.id for event in old), new.id]
    assert world.run(world.store.prune_traces(before, 2)) == 2
    assert world.run(world.store.prune_traces(before, 2)) == 1
    assert world.run(world.store.prune_traces(before, 2)) == 0
    assert world.run(world.store.traces(every)) == {new.id: ONE}
