"""Append: what was answered is stored, once, and one item costs no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers_api.model import ids
from triggers_api.model.event import EventStatus, FirstEvent, NewEvent
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import EventFilter, Page

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World


def stored_ids(world: World, organization: str) -> list[str]:
    events = world.run(world.store.events(organization, EventFilter(), Page(limit=1000)))
    return [event.id for event in events]


def test_what_was_appended_is_there_with_every_field(
    world: World, organization: str, clock: FrozenClock
) -> None:
    event = world.event(
        organization,
        "order.created",
        b'{"n" : 1e400,"n":2}',
        dedup_id="order 7",
        source="shop",
        key="customer-1",
        metadata=b'{"region":"eu"}',
        occurred_at=Timestamp(clock() - 60_000),
    )
    assert world.append(event) == [None]
    found = world.run(world.store.event(organization, event.id))
    assert found is not None
    assert found.type == "order.created"
    assert bytes(found.payload) == b'{"n" : 1e400,"n":2}'
    assert found.dedup_id == "order 7"
    assert found.source == "shop"
    assert found.key == "customer-1"
    assert found.metadata == {"region": "eu"}
    assert found.status is EventStatus.QUEUED
    assert found.received_at == clock()
    assert found.occurred_at == clock() - 60_000
    assert found.deliver_at is None
    assert found.duplicate_of is None
    assert found.deliveries == ()


def test_optional_fields_are_none_when_they_were_not_given(world: World, organization: str) -> None:
    event = world.event(organization)
    world.append(event)
    found = world.run(world.store.event(organization, event.id))
    assert found is not None
    assert (found.dedup_id, found.source, found.key, found.metadata) == (None, None, None, None)


@pytest.mark.parametrize(
    "payload",
    [
        b"null", b"0", b'""', b"{}", b'"x\\u0000y"', b"1" * 5000, b'{"a":1,"a":2}',
        "\U0001f600 שלום".encode().join([b'"', b'"']), b'"' + b"x" * (1 << 20) + b'"',
    ],
    ids=lambda payload: payload[:12].decode(errors="replace").strip(),
)  # fmt: skip
def test_a_payload_comes_back_byte_for_byte(
    world: World, organization: str, payload: bytes
) -> None:
    event = world.event(organization, payload=payload)
    world.append(event)
    found = world.run(world.store.event(organization, event.id))
    assert found is not None
    assert bytes(found.payload) == payload
    (listed,) = world.run(world.store.events(organization, EventFilter(), Page()))
    assert bytes(listed.payload) == payload


def test_texts_of_every_kind_come_back_as_they_were(world: World, organization: str) -> None:
    odd = "é e\u0301 \U0001f600 \u202e '; DROP TABLE events; -- % _ \\ \" `"
    metadata = msgspec.json.encode({odd: odd, "\n": "\t"})
    event = world.event(organization, dedup_id=odd, source=odd, key=odd, metadata=metadata)
    world.append(event)
    found = world.run(world.store.event(organization, event.id))
    assert found is not None
    assert (found.dedup_id, found.source, found.key) == (odd, odd, odd)
    assert found.metadata == {odd: odd, "\n": "\t"}


def test_the_answer_follows_the_input_item_by_item(world: World, organization: str) -> None:
    first = world.event(organization, dedup_id="b")
    world.append(first)
    answers = world.append(
        world.event(organization, dedup_id="a"),
        world.event(organization, dedup_id="b"),
        world.event(organization),
        world.event(organization, dedup_id="a"),
    )
    assert [answer is None for answer in answers] == [True, False, True, False]
    assert answers[1] is not None
    assert answers[1].id == first.id


def test_appending_nothing_is_fine(world: World) -> None:
    assert list(world.append()) == []


# ── duplicates ────────────────────────────────────────────────────────────────────────────────


def test_a_dedup_id_that_is_taken_is_answered_with_the_first_event(
    world: World, organization: str, clock: FrozenClock
) -> None:
    first = world.event(organization, dedup_id="x", payload=b"1")
    world.append(first)
    received = clock()
    clock.advance(seconds=60)
    (answer,) = world.append(world.event(organization, dedup_id="x", payload=b"1"))
    assert answer == FirstEvent(
        id=first.id,
        status=EventStatus.QUEUED,
        received_at=received,
        payload_matches=True,
        type=first.type,
    )
    assert stored_ids(world, organization) == [first.id]


@pytest.mark.parametrize(
    ("again", "matches"),
    [(b'{"n":1}', True), (b'{"n": 1}', False), (b'{"n":2}', False), (b"null", False)],
)
def test_a_duplicate_is_told_whether_its_bytes_are_the_first_one_s(
    world: World, organization: str, again: bytes, *, matches: bool
) -> None:
    world.append(world.event(organization, dedup_id="x", payload=b'{"n":1}'))
    (answer,) = world.append(world.event(organization, dedup_id="x", payload=again))
    assert answer is not None
    assert answer.payload_matches is matches


def test_the_first_event_keeps_what_it_had_whatever_its_twins_say(
    world: World, organization: str
) -> None:
    first = world.event(organization, "first", b"1", dedup_id="x", source="one")
    world.append(first)
    world.append(world.event(organization, "second", b"2", dedup_id="x", source="two"))
    found = world.run(world.store.event(organization, first.id))
    assert found is not None
    assert (found.type, bytes(found.payload), found.source) == ("first", b"1", "one")


def test_a_duplicate_is_not_queued_either(world: World, organization: str) -> None:
    world.append(world.event(organization, dedup_id="x"))
    world.append(world.event(organization, dedup_id="x"))
    assert len(world.claim_queue().events) == 1


def test_a_duplicate_with_deliveries_brings_none(
    world: World, organization: str, subscription: str
) -> None:
    world.append(world.event(organization, dedup_id="x", to=[subscription]))
    (answer,) = world.append(world.event(organization, dedup_id="x", to=[subscription]))
    assert answer is not None
    assert answer.status is EventStatus.PROCESSED
    assert len(world.claim_deliveries().deliveries) == 1
    world.assert_balanced()


def test_of_twins_in_one_call_exactly_one_is_stored(world: World, organization: str) -> None:
    events = [world.event(organization, dedup_id="x", payload=b"%d" % n) for n in range(5)]
    answers = world.append(*events)
    assert [answer is None for answer in answers] == [True, False, False, False, False]
    assert {answer.id for answer in answers if answer is not None} == {events[0].id}
    assert not any(answer.payload_matches for answer in answers if answer is not None)
    assert stored_ids(world, organization) == [events[0].id]


def test_of_64_simultaneous_twins_exactly_one_is_stored_and_all_hear_its_id(
    world: World, organization: str
) -> None:
    events = [world.event(organization, dedup_id="x") for _ in range(64)]
    answers = [answer for (answer,) in world.append_at_once(*[[event] for event in events])]
    (winner,) = [event for event, answer in zip(events, answers, strict=True) if answer is None]
    told = [answer for answer in answers if answer is not None]
    assert len(told) == 63
    assert {answer.id for answer in told} == {winner.id}
    assert all(answer.payload_matches for answer in told)
    assert stored_ids(world, organization) == [winner.id]
    assert len(world.claim_queue().events) == 1
    world.assert_balanced()


def test_each_organization_has_dedup_ids_of_its_own(world: World, organization: str) -> None:
    other = world.organization("Other")
    assert world.append(
        world.event(organization, dedup_id="x"), world.event(other, dedup_id="x")
    ) == [None, None]


def test_events_without_a_dedup_id_are_never_twins(world: World, organization: str) -> None:
    assert world.append(*[world.event(organization) for _ in range(10)]) == [None] * 10


def test_dedup_ids_are_compared_character_by_character(world: World, organization: str) -> None:
    alike = ["x", "X", "x ", " x", "é", "e\u0301", "1", "01", "1.0"]
    events = [world.event(organization, dedup_id=each) for each in alike]
    assert world.append(*events) == [None] * len(alike)


def test_a_dedup_id_is_free_again_once_its_event_is_deleted(
    world: World, organization: str
) -> None:
    first = world.event(organization, dedup_id="x")
    world.append(first)
    assert world.run(world.store.delete_event(organization, first.id))
    second = world.event(organization, dedup_id="x")
    assert world.append(second) == [None]
    (answer,) = world.append(world.event(organization, dedup_id="x"))
    assert answer is not None
    assert answer.id == second.id


def test_a_dedup_id_stays_taken_whatever_becomes_of_its_event(
    world: World, organization: str
) -> None:
    world.append(world.event(organization, dedup_id="x"))
    world.route(world.claim_queue())
    (answer,) = world.append(world.event(organization, dedup_id="x"))
    assert answer is not None
    assert answer.status is EventStatus.PROCESSED


# ── with its routing, or for later ────────────────────────────────────────────────────────────


def test_an_event_with_its_deliveries_is_processed_at_once(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    event = world.event(organization, to=[subscription])
    world.append(event)
    assert world.event_status_of(organization, event.id) == "processed"
    assert world.claim_queue().events == ()
    found = world.run(world.store.event(organization, event.id))
    assert found is not None
    (delivery,) = found.deliveries
    assert event.deliveries is not None
    assert delivery.id == event.deliveries[0].id
    assert delivery.status == "pending"
    assert delivery.next_attempt_at == clock()


def test_an_event_that_nobody_wants_is_processed_too(world: World, organization: str) -> None:
    event = world.event(organization, to=[])
    world.append(event)
    assert world.event_status_of(organization, event.id) == "processed"
    assert world.claim_queue().events == ()


def test_an_event_for_later_is_scheduled_and_claimable_when_its_time_has_come(
    world: World, organization: str, clock: FrozenClock
) -> None:
    at = Timestamp(clock() + 60_000)
    event = world.event(organization, deliver_at=at)
    world.append(event)
    assert world.event_status_of(organization, event.id) == "scheduled"
    clock.advance(seconds=59.999)
    assert world.claim_queue().events == ()
    assert world.event_status_of(organization, event.id) == "scheduled"
    clock.advance(seconds=0.001)
    assert world.event_status_of(organization, event.id) == "queued"
    (claimed,) = world.claim_queue().events
    assert claimed.id == event.id
    assert claimed.due_at == at
    assert claimed.received_at == at - 60_000


def test_an_event_whose_time_has_passed_already_is_queued_at_once(
    world: World, organization: str, clock: FrozenClock
) -> None:
    event = world.event(organization, deliver_at=Timestamp(clock() - 60_000))
    world.append(event)
    assert world.event_status_of(organization, event.id) == "queued"
    (claimed,) = world.claim_queue().events
    assert claimed.id == event.id


def test_a_duplicate_of_a_scheduled_event_hears_how_it_stands_now(
    world: World, organization: str, clock: FrozenClock
) -> None:
    world.append(world.event(organization, dedup_id="x", deliver_at=Timestamp(clock() + 1000)))
    (before,) = world.append(world.event(organization, dedup_id="x"))
    clock.advance(seconds=1)
    (after,) = world.append(world.event(organization, dedup_id="x"))
    assert before is not None
    assert after is not None
    assert (before.status, after.status) == (EventStatus.SCHEDULED, EventStatus.QUEUED)


# ── one item costs no other ───────────────────────────────────────────────────────────────────


def test_one_that_cannot_be_stored_does_not_cost_those_of_other_calls(
    world: World, organization: str
) -> None:
    stored = world.event(organization)
    world.append(stored)
    good = [world.event(organization, dedup_id=f"{n}") for n in range(20)]
    calls = [[event] for event in good]
    calls[10:10] = [[world.event(organization, dedup_id="bad", payload=b"[]")]]
    calls[10] = [msgspec.structs.replace(calls[10][0], id=stored.id)]
    answers = world.append_at_once(*calls)
    assert isinstance(answers.pop(10), Exception)
    assert answers == [[None]] * 20
    assert set(stored_ids(world, organization)) == {stored.id, *(event.id for event in good)}
    found = world.run(world.store.event(organization, stored.id))
    assert found is not None
    assert bytes(found.payload) == b'{"n":1}', "the first owner of the id keeps its payload"
    assert world.append(world.event(organization, dedup_id="bad")) == [None]
    assert len(world.claim_queue().events) == 22
    world.assert_balanced()


def test_a_call_is_stored_whole_or_not_at_all_when_one_of_its_items_cannot_be(
    world: World, organization: str
) -> None:
    stored = world.event(organization)
    world.append(stored)
    call = [
        world.event(organization, dedup_id="x"),
        msgspec.structs.replace(world.event(organization), id=stored.id),
    ]
    (answer,) = world.append_at_once(call)
    assert isinstance(answer, Exception)
    assert stored_ids(world, organization) == [stored.id]
    assert world.append(world.event(organization, dedup_id="x")) == [None]
    world.assert_balanced()


def test_many_calls_and_large_calls_at_once_are_all_stored(world: World, organization: str) -> None:
    calls = [[world.event(organization) for _ in range(size)] for size in (1, 100, 1, 49, 50, 51)]
    answers = world.append_at_once(*calls)
    assert answers == [[None] * len(call) for call in calls]
    assert set(stored_ids(world, organization)) == {event.id for call in calls for event in call}


def test_an_event_is_seen_by_lists_as_soon_as_its_append_has_returned(
    world: World, organization: str
) -> None:
    async def write_and_read() -> None:
        for _ in range(30):
            event = world.event(organization)
            await world.store.append([event])
            (newest,) = await world.store.events(organization, EventFilter(), Page(limit=1))
            assert newest.id == event.id

    world.run(write_and_read())


def test_ids_are_the_store_s_own_and_rise(world: World, clock: FrozenClock) -> None:
    made = [world.store.ids.new(ids.EVENT) for _ in range(100)]
    assert made == sorted(set(made))
    assert {ids.received_ms(each) for each in made} == {clock()}


@settings(max_examples=30)
@given(data=st.data())
def test_simultaneous_calls_with_any_mixture_of_dedup_ids_store_each_id_once(
    shared_world: World, data: st.DataObject
) -> None:
    world = shared_world
    organization = world.organization()
    names = st.none() | st.sampled_from("abc")
    shape = data.draw(st.lists(st.lists(names, max_size=4), min_size=1, max_size=8))
    calls: list[list[NewEvent]] = [
        [
            world.event(organization, dedup_id=name, payload=b'"%d"' % n)
            for n, name in enumerate(row)
        ]
        for row in shape
    ]
    answers: list[Any] = world.append_at_once(*calls)
    holders: dict[str, str] = {}
    for call, answer in zip(calls, answers, strict=True):
        for event, first in zip(call, answer, strict=True):
            if first is None and event.dedup_id is not None:
                assert event.dedup_id not in holders
                holders[event.dedup_id] = event.id
    stored = set(stored_ids(world, organization))
    for call, answer in zip(calls, answers, strict=True):
        for event, first in zip(call, answer, strict=True):
            assert (event.id in stored) is (first is None)
            if first is not None:
                assert event.dedup_id is not None
                assert first.id == holders[event.dedup_id]
    world.assert_balanced()
