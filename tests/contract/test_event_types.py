"""Event types among the settings, and the events that are kept aside because of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from triggers_api.errors import InvalidState
from triggers_api.model.event_type import EventType, EventTypeRecord, SchemaMode
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import FailedEvent, InboxSeek, Page, Reached

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World


def event_type(world: World, name: str, **fields: object) -> EventType:
    now = world.clock()
    return msgspec.structs.replace(EventType(name=name, created_at=now, updated_at=now), **fields)


def saved(world: World, organization: str, name: str, **fields: object) -> EventType:
    made = event_type(world, name, **fields)
    world.run(world.store.save_event_type(organization, made))
    return made


def named(world: World, organization: str, after: str | None = None, limit: int = 100) -> list[str]:
    return [each.name for each in world.run(world.store.event_types(organization, after, limit))]


# ── event types ───────────────────────────────────────────────────────────────────────────────


def test_an_event_type_comes_back_as_it_was_saved(world: World, organization: str) -> None:
    made = saved(
        world,
        organization,
        "order/created:v1",
        description="é",
        schema=msgspec.Raw(b'{ "type" : "object" }'),
        mode=SchemaMode.QUARANTINE,
        example=msgspec.Raw(b'{"a": 1.0}'),
        redact=("/a/*", ""),
    )
    found = world.run(world.store.event_type(organization, "order/created:v1"))
    assert found == made
    assert bytes(made.schema) == bytes(found.schema)


def test_saving_it_again_replaces_it(world: World, organization: str) -> None:
    saved(world, organization, "a", description="first")
    again = saved(world, organization, "a", description="second")
    assert world.run(world.store.event_types(organization, None, 10)) == [again]


def test_event_types_are_listed_by_name_page_by_page(world: World, organization: str) -> None:
    for name in ("b", "B", "a.b", "a", "-"):
        saved(world, organization, name)
    assert named(world, organization) == ["-", "B", "a", "a.b", "b"]
    assert named(world, organization, "B", 2) == ["a", "a.b"]
    assert named(world, organization, "b") == []


def test_one_that_is_deleted_is_gone_and_may_come_again(world: World, organization: str) -> None:
    saved(world, organization, "a")
    assert world.run(world.store.delete_event_type(organization, "a"))
    assert not world.run(world.store.delete_event_type(organization, "a"))
    assert world.run(world.store.event_type(organization, "a")) is None
    saved(world, organization, "a")
    assert named(world, organization) == ["a"]


def test_nobody_finds_another_organizations(world: World, organization: str) -> None:
    other = world.organization("Other")
    saved(world, organization, "a")
    assert world.run(world.store.event_type(other, "a")) is None
    assert named(world, other) == []
    assert not world.run(world.store.delete_event_type(other, "a"))
    assert named(world, organization) == ["a"]


def test_changes_tell_of_event_types_once(world: World, organization: str) -> None:
    before = world.run(world.store.changes(0)).version
    made = saved(world, organization, "a")
    changes = world.run(world.store.changes(before))
    assert changes.event_types == (EventTypeRecord(organization, "a", made),)
    assert world.run(world.store.changes(changes.version)).event_types == ()
    world.run(world.store.delete_event_type(organization, "a"))
    assert world.run(world.store.changes(changes.version)).event_types == (
        EventTypeRecord(organization, "a", None),
    )


def test_they_go_with_their_organization(world: World, organization: str) -> None:
    saved(world, organization, "a")
    before = world.run(world.store.changes(0)).version
    world.run(world.store.delete_organization(organization))
    assert world.run(world.store.changes(before)).event_types == (
        EventTypeRecord(organization, "a", None),
    )
    assert named(world, organization) == []


# ── events that are kept aside ────────────────────────────────────────────────────────────────

REASON = "schema: /payload is not right"


def aside(world: World, organization: str, **fields: Any) -> str:  # noqa: ANN401 - of NewEvent
    """The id of a new event that is kept aside."""
    event = world.event(organization, aside=REASON, **fields)
    assert world.append(event) == [None]
    return event.id


def poisoned(world: World, organization: str) -> str:
    """The id of a new event that could not be routed."""
    (event_id,) = world.queued(organization)
    claim = world.claim_queue()
    failed = [FailedEvent(event, "cannot be routed", None) for event in claim.events]
    assert world.run(world.store.release(claim.token, failed)) == []
    return event_id


def kept(world: World, organization: str | None, page: Page | None = None) -> list[str]:
    return [each.id for each in world.run(world.store.quarantine(organization, page or Page()))]


def released(world: World, organization: str, event_id: str, payload: bytes | None = None) -> bool:
    return world.run(world.store.release_quarantined(organization, event_id, payload))


def test_an_event_that_is_kept_aside_is_stored_counted_and_not_routed(
    world: World, organization: str
) -> None:
    event_id = aside(world, organization, dedup_id="d")
    assert world.event_status_of(organization, event_id) == "quarantined"
    assert world.claim_queue().events == ()
    (account,) = world.run(world.store.accounts())
    assert (account.accepted, account.quarantined) == (1, 1)
    world.assert_balanced()
    (found,) = world.run(world.store.quarantine(organization, Page()))
    assert (found.id, found.organization_id, found.type) == (
        event_id,
        organization,
        "order.created",
    )
    assert (found.status.value, found.reason, found.attempts) == ("quarantined", REASON, 0)
    assert found.received_at == found.aside_since == world.clock()
    assert world.run(world.store.event_aside(event_id)) == found


def test_its_reason_is_in_its_timeline(world: World, organization: str) -> None:
    event_id = aside(world, organization)
    event = world.run(world.store.event(organization, event_id))
    assert event is not None
    assert [(each.what, each.detail) for each in event.timeline] == [
        ("received", None),
        ("quarantined", REASON),
    ]


def test_one_among_others_keeps_none_of_them_back(
    world: World, organization: str, subscription: str
) -> None:
    events = [
        world.event(organization),
        world.event(organization, aside=REASON),
        world.event(organization, to=[subscription]),
    ]
    assert world.append(*events) == [None] * 3
    statuses = [world.event_status_of(organization, event.id) for event in events]
    assert statuses == ["queued", "quarantined", "processed"]
    assert [each.id for each in world.claim_queue().events] == [events[0].id]
    world.assert_balanced()


def test_its_dedup_id_is_taken(world: World, organization: str) -> None:
    event_id = aside(world, organization, dedup_id="d")
    (first,) = world.append(world.event(organization, dedup_id="d"))
    assert first is not None
    assert (first.id, first.status.value) == (event_id, "quarantined")
    (first,) = world.append(world.event(organization, dedup_id="d", aside=REASON))
    assert first is not None
    assert kept(world, organization) == [event_id]
    world.assert_balanced()


def test_a_released_event_is_routed_as_if_it_had_come_in_then(
    world: World, organization: str, clock: FrozenClock
) -> None:
    event_id = aside(world, organization)
    clock.advance(seconds=60)
    assert released(world, organization, event_id)
    assert world.event_status_of(organization, event_id) == "queued"
    (event,) = world.claim_queue().events
    assert event.id == event_id
    assert event.released_at == event.due_at == clock()
    assert event.received_at < clock()
    assert kept(world, organization) == []
    assert world.run(world.store.stats()).oldest_age_s == 0
    world.assert_balanced()


def test_an_event_that_was_never_aside_was_not_released(world: World, organization: str) -> None:
    world.queued(organization)
    world.append(world.event(organization, deliver_at=world.clock().after(seconds=5)))
    world.clock.advance(seconds=10)
    claim = world.claim_queue()
    assert [event.released_at for event in claim.events] == [None, None]


def test_a_released_event_is_delivered_once(
    world: World, organization: str, subscription: str
) -> None:
    event_id = aside(world, organization)
    released(world, organization, event_id)
    with pytest.raises(InvalidState):
        released(world, organization, event_id)
    assert world.route(world.claim_queue(), subscription) == []
    with pytest.raises(InvalidState):
        released(world, organization, event_id)
    assert world.claimed().event_id == event_id
    assert world.event_status_of(organization, event_id) == "processed"
    assert world.claim_queue().events == ()
    world.assert_balanced()


def test_of_releases_at_once_one_takes_place(world: World, organization: str) -> None:
    event_id = aside(world, organization)

    async def at_once() -> list[object]:
        return await asyncio.gather(
            *(world.store.release_quarantined(organization, event_id, None) for _ in range(5)),
            return_exceptions=True,
        )

    answers = world.run(at_once())
    assert answers.count(True) == 1
    assert sum(isinstance(answer, InvalidState) for answer in answers) == 4
    assert len(world.claim_queue().events) == 1


def test_a_payload_given_with_the_release_takes_the_others_place(
    world: World, organization: str
) -> None:
    event_id = aside(world, organization, payload=b'{"wrong":1}')
    released(world, organization, event_id, b'{ "right": 1 }')
    event = world.run(world.store.event(organization, event_id))
    assert event is not None
    assert bytes(event.payload) == b'{ "right": 1 }'
    (claimed,) = world.claim_queue(contents_of=[organization]).events
    assert claimed.payload == b'{ "right": 1 }'


def test_one_that_is_to_be_delivered_later_is_scheduled_again(
    world: World, organization: str, clock: FrozenClock
) -> None:
    later = clock().after(seconds=100)
    event_id = aside(world, organization, deliver_at=later)
    clock.advance(seconds=10)
    released(world, organization, event_id)
    assert world.event_status_of(organization, event_id) == "scheduled"
    assert world.claim_queue().events == ()
    world.assert_balanced()
    clock.advance(seconds=100)
    (event,) = world.claim_queue().events
    assert event.due_at == later


def test_one_that_could_not_be_routed_is_kept_and_released_the_same(
    world: World, organization: str
) -> None:
    event_id = poisoned(world, organization)
    (found,) = world.run(world.store.quarantine(organization, Page()))
    assert (found.id, found.status.value, found.attempts) == (event_id, "failed", 1)
    assert released(world, organization, event_id)
    (event,) = world.claim_queue().events
    assert (event.id, event.attempts) == (event_id, 1)
    world.assert_balanced()


def test_one_that_was_released_can_be_deleted_and_cancelled(
    world: World, organization: str, clock: FrozenClock
) -> None:
    deleted, cancelled = aside(world, organization), aside(world, organization)
    clock.advance(seconds=5)
    for event_id in (deleted, cancelled):
        released(world, organization, event_id)
    assert world.run(world.store.delete_event(organization, deleted))
    assert world.run(world.store.cancel_event(organization, cancelled))
    assert world.claim_queue().events == ()
    assert world.run(world.store.stats()).depth == 0
    world.assert_balanced()


def test_one_that_is_kept_aside_can_be_deleted(world: World, organization: str) -> None:
    event_id = aside(world, organization, dedup_id="d")
    assert world.run(world.store.delete_event(organization, event_id))
    assert kept(world, organization) == []
    assert not released(world, organization, event_id)
    assert world.append(world.event(organization, dedup_id="d")) == [None]
    world.assert_balanced()


def test_a_deletion_and_a_release_at_once_leave_nothing_to_route(
    world: World, organization: str
) -> None:
    events = [aside(world, organization) for _ in range(10)]

    async def both(event_id: str) -> None:
        await asyncio.gather(
            world.store.release_quarantined(organization, event_id, None),
            world.store.delete_event(organization, event_id),
        )

    async def all_of_them() -> None:
        await asyncio.gather(*map(both, events))

    world.run(all_of_them())
    assert world.claim_queue().events == ()
    world.assert_balanced()


def test_it_cannot_be_cancelled(world: World, organization: str) -> None:
    event_id = aside(world, organization)
    with pytest.raises(InvalidState):
        world.run(world.store.cancel_event(organization, event_id))
    assert kept(world, organization) == [event_id]


def test_what_is_kept_aside_is_listed_newest_first_of_one_and_of_all(
    world: World, organization: str
) -> None:
    other = world.organization("Other")
    first = aside(world, organization)
    theirs = aside(world, other)
    poison = poisoned(world, organization)
    assert kept(world, organization) == [poison, first]
    assert kept(world, other) == [theirs]
    assert kept(world, None) == [poison, theirs, first]
    assert kept(world, None, Page(1, poison)) == [theirs]
    assert kept(world, organization, Page(5, poison)) == [first]


def test_nobody_releases_what_is_not_there_or_anothers(world: World, organization: str) -> None:
    other = world.organization("Other")
    event_id = aside(world, organization)
    assert not released(world, other, event_id)
    assert not released(world, organization, "evt_" + "0" * 32)
    assert world.run(world.store.event_aside("evt_nothing")) is None
    assert kept(world, organization) == [event_id]


def test_it_stays_aside_over_a_restart_and_its_release_survives_a_crash(
    world: World, organization: str, clock: FrozenClock
) -> None:
    stays, goes = aside(world, organization), aside(world, organization)
    clock.advance(seconds=1)
    released(world, organization, goes, b"2")
    world.run(world.engine.crash())
    assert kept(world, organization) == [stays]
    (event,) = world.claim_queue(contents_of=[organization]).events
    assert (event.id, event.payload) == (goes, b"2")
    assert event.released_at == Timestamp(clock())


# ── in inboxes and searches ───────────────────────────────────────────────────────────────────


def pulled(world: World, organization: str, name: str = "default") -> list[str]:
    """What an inbox hands out, every look until there is no more."""
    found: list[str] = []
    while True:
        looked = world.run(
            world.store.pull_inbox(
                organization,
                name,
                limit=100,
                lease_s=1000,
                types=None,
                most_bytes=1 << 30,
                reached=Reached(),
            )
        )
        assert looked is not None
        found += [each.event.id for each in looked.events]
        if not (looked.events or looked.unfinished or looked.late):
            return found


def test_an_inbox_that_went_past_an_event_hands_it_out_once_it_is_released(
    world: World, organization: str
) -> None:
    first, kept_aside = world.queued(organization)[0], aside(world, organization)
    last = world.queued(organization)[0]
    assert pulled(world, organization) == [first, last]
    released(world, organization, kept_aside)
    assert pulled(world, organization) == [kept_aside]
    assert pulled(world, organization) == []


def test_an_inbox_that_comes_to_it_later_finds_a_released_event_in_its_place(
    world: World, organization: str
) -> None:
    kept_aside = aside(world, organization)
    last = world.queued(organization)[0]
    released(world, organization, kept_aside)
    assert pulled(world, organization) == [kept_aside, last]


@pytest.mark.parametrize("by", ["a seek", "its making"])
def test_an_inbox_that_begins_behind_it_gets_what_is_released(
    world: World, organization: str, by: str
) -> None:
    store = world.store
    first = world.queued(organization)[0]
    kept_aside = aside(world, organization)
    world.run(store.save_inbox(organization, "one", None, from_end=by == "its making"))
    if by == "a seek":
        world.run(store.seek_inbox(organization, "one", InboxSeek(end=True)))
    assert pulled(world, organization, "one") == []
    released(world, organization, kept_aside)
    assert pulled(world, organization, "one") == [kept_aside]
    assert first not in pulled(world, organization, "one")


def test_what_is_deleted_in_quarantine_leaves_nothing_in_an_inbox(
    world: World, organization: str
) -> None:
    kept_aside = aside(world, organization)
    assert pulled(world, organization) == []
    world.run(world.store.delete_event(organization, kept_aside))
    assert pulled(world, organization) == []
    (counts,) = [world.run(world.store.count_inbox(organization, "default", 100))]
    assert counts is not None
    assert (counts.unacked, counts.leased) == (0, 0)
