"""Landing: what was accepted before the store is stored once, whatever its dedup_id met meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from tests.contract.conftest import SHARED_ENGINES, MakeEngine, SharedEngine, maker_of

from triggers_api.model.event import EventStatus, FirstEvent, NewEvent
from triggers_api.store.base import EventFilter, Landed, LandingStore, Page

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

TRACE = bytes(range(25))
EVERYTHING = Page(limit=1000)


@pytest.fixture(params=SHARED_ENGINES)
def make_engine(request: pytest.FixtureRequest) -> MakeEngine:
    return maker_of(request.param, request)


def land(world: World, *events: NewEvent) -> Sequence[Landed]:
    return world.run(cast("LandingStore", world.store).land(events))


def first_events(world: World, *events: NewEvent) -> Mapping[str, FirstEvent]:
    return world.run(cast("LandingStore", world.store).first_events(events))


def shown(world: World, event: NewEvent) -> Any:  # noqa: ANN401 - an event
    found = world.run(world.store.event(event.organization_id, event.id))
    assert found is not None
    return found


def stored(world: World, organization: str) -> list[str]:
    found = world.run(world.store.events(organization, EventFilter(), EVERYTHING))
    return sorted(event.id for event in found)


def test_what_has_landed_is_as_if_it_had_been_appended(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    fields: dict[str, Any] = {
        "payload": b'{"n" : 1e400}',
        "source": "shop",
        "key": "customer-1",
        "metadata": b'{"region":"eu"}',
        "occurred_at": clock().after(seconds=-60),
    }
    landed = world.event(organization, dedup_id="landed", trace=TRACE, **fields)
    appended = world.event(organization, dedup_id="appended", trace=TRACE, **fields)
    assert land(world, landed) == [Landed(landed.id)]
    world.append(appended)
    one, other = shown(world, landed), shown(world, appended)
    alike = {"id": "", "dedup_id": "", "timeline": ()}
    assert msgspec.structs.replace(one, **alike) == msgspec.structs.replace(other, **alike)
    traces = world.run(world.store.traces([landed.id, appended.id]))
    assert traces == {landed.id: TRACE, appended.id: TRACE}
    claim = world.claim_queue()
    assert [event.id for event in claim.events] == [landed.id, appended.id]
    world.route(claim, subscription)
    sent = world.claim_deliveries().deliveries
    assert {each.event_id for each in sent} == {landed.id, appended.id}
    world.assert_balanced()


def test_landing_again_changes_nothing_whatever_has_become_of_it(
    world: World, organization: str, subscription: str
) -> None:
    # What confirms that they have landed is lost time and again.
    events = [world.event(organization, dedup_id=str(number)) for number in range(4)]
    routed, cancelled, deleted, waiting = events
    land(world, routed)
    world.route(world.claim_queue(), subscription)
    land(world, *events)
    assert world.run(world.store.cancel_event(organization, cancelled.id))
    assert world.run(world.store.delete_event(organization, deleted.id))
    there = [Landed(event.id, was_there=True) for event in events]
    for _ in range(2):
        assert land(world, *events) == there
    assert world.event_status_of(organization, routed.id) == EventStatus.PROCESSED
    assert world.event_status_of(organization, cancelled.id) == EventStatus.CANCELLED
    assert deleted.id not in stored(world, organization)
    assert [event.id for event in world.claim_queue().events] == [waiting.id]
    assert len(world.claim_deliveries().deliveries) == 1
    world.assert_balanced()


def test_a_part_that_was_there_keeps_the_others_from_nothing(
    world: World, organization: str
) -> None:
    one, other, third = (world.event(organization) for _ in range(3))
    land(world, other)
    assert land(world, one, other, third) == [
        Landed(one.id), Landed(other.id, was_there=True), Landed(third.id),
    ]  # fmt: skip
    assert stored(world, organization) == sorted([one.id, other.id, third.id])
    world.assert_balanced()


def test_a_duplicate_of_what_is_stored_is_kept_cancelled_and_says_of_which(
    world: World, organization: str
) -> None:
    (first,) = world.queued(organization, dedup_id="d")
    second = world.event(organization, payload=b"2", dedup_id="d", trace=TRACE)
    assert land(world, second) == [Landed(second.id, duplicate_of=first)]
    assert land(world, second) == [Landed(second.id, was_there=True)]
    found = shown(world, second)
    assert (found.status, found.duplicate_of, found.dedup_id, bytes(found.payload)) == (
        EventStatus.CANCELLED, first, "d", b"2",
    )  # fmt: skip
    assert [event.id for event in world.claim_queue().events] == [first]
    world.assert_balanced()


def test_of_twins_that_land_together_the_first_is_the_first(
    world: World, organization: str
) -> None:
    twins = [world.event(organization, dedup_id="d") for _ in range(3)]
    alone = world.event(organization, dedup_id="e")
    assert land(world, *twins, alone) == [
        Landed(twins[0].id),
        Landed(twins[1].id, duplicate_of=twins[0].id),
        Landed(twins[2].id, duplicate_of=twins[0].id),
        Landed(alone.id),
    ]
    assert {event.id for event in world.claim_queue().events} == {twins[0].id, alone.id}
    world.assert_balanced()


def test_a_dedup_id_is_an_organizations_own(world: World, organization: str) -> None:
    other = world.organization("Other")
    world.queued(organization, dedup_id="d")
    theirs = world.event(other, dedup_id="d")
    assert first_events(world, theirs) == {}
    assert land(world, theirs) == [Landed(theirs.id)]
    both = world.event(organization, dedup_id="e"), world.event(other, dedup_id="e")
    assert land(world, *both) == [Landed(each.id) for each in both]
    assert stored(world, other) == sorted([theirs.id, both[1].id])
    world.assert_balanced()


def test_the_dedup_id_of_an_erased_event_is_free(world: World, organization: str) -> None:
    (first,) = world.queued(organization, dedup_id="d")
    world.run(world.store.delete_event(organization, first))
    second = world.event(organization, dedup_id="d")
    assert first_events(world, second) == {}
    assert land(world, second) == [Landed(second.id)]


def test_what_is_to_be_kept_aside_or_to_wait_lands_there(
    world: World, organization: str, clock: FrozenClock
) -> None:
    aside = world.event(organization, aside="does not fit", dedup_id="a", trace=TRACE)
    later = world.event(organization, deliver_at=clock().after(seconds=60), dedup_id="b")
    now = world.event(organization)
    assert land(world, aside, later, now) == [Landed(each.id) for each in (aside, later, now)]
    statuses = [world.event_status_of(organization, each.id) for each in (aside, later, now)]
    assert statuses == ["quarantined", "scheduled", "queued"]
    assert [event.id for event in world.claim_queue().events] == [now.id]
    assert world.run(world.store.traces([aside.id])) == {aside.id: TRACE}
    # A duplicate of either reaches nobody, and is told how the first one stands.
    again = [world.event(organization, dedup_id=each) for each in ("a", "b")]
    told = first_events(world, *again)
    assert [told[each.id].status for each in again] == ["quarantined", "scheduled"]
    assert [each.duplicate_of for each in land(world, *again)] == [aside.id, later.id]
    # And one that would be kept aside itself is a duplicate all the same.
    worse = world.event(organization, aside="does not fit either", dedup_id="a")
    assert land(world, worse) == [Landed(worse.id, duplicate_of=aside.id)]
    assert world.event_status_of(organization, worse.id) == "cancelled"
    world.assert_balanced()


def test_who_asks_for_the_first_one_is_told_its_id_status_time_and_whether_it_is_the_same(
    world: World, organization: str, clock: FrozenClock
) -> None:
    first = world.event(organization, payload=b"1", dedup_id="d")
    land(world, first)
    received = clock()
    clock.advance(seconds=5)
    same = world.event(organization, payload=b"1", dedup_id="d")
    another = world.event(organization, payload=b"1.0", dedup_id="d")
    unknown = world.event(organization, dedup_id="e")
    found = first_events(world, same, another, unknown)
    assert found == {
        same.id: FirstEvent(
            first.id, EventStatus.QUEUED, received, payload_matches=True, type=first.type
        ),
        another.id: FirstEvent(
            first.id, EventStatus.QUEUED, received, payload_matches=False, type=first.type
        ),
    }
    # Its own holder is found as well: an answer that was lost is asked for again.
    assert first_events(world, first)[first.id].id == first.id


def test_two_who_land_the_same_at_once_store_each_once(world: World, organization: str) -> None:
    events = [world.event(organization, dedup_id=str(number)) for number in range(100)]
    other = world.run(cast("SharedEngine", world.engine).open_another())

    async def both() -> list[Sequence[Landed]]:
        stores = [cast("LandingStore", store) for store in (world.store, other)]
        return list(await asyncio.gather(*(store.land(events) for store in stores)))

    one, two = world.run(both())
    assert [each.id for each in one] == [each.id for each in two] == [each.id for each in events]
    assert not any(each.duplicate_of for each in (*one, *two))
    assert stored(world, organization) == sorted(event.id for event in events)
    assert len(world.claim_queue(limit=1000).events) == 100
    world.assert_balanced()


def test_all_land_or_none(world: World, organization: str) -> None:
    bad = world.event(organization, "no\0type")
    good = world.event(organization)
    with pytest.raises(Exception, match="0x00"):
        land(world, good, bad)
    assert stored(world, organization) == []
    assert land(world, good) == [Landed(good.id)]
