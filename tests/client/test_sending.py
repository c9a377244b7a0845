"""How many events are cut into batches."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.client import ItemResult, NewEvent, UnexpectedAnswer
from triggers_api.client.calls import Answer, encoded
from triggers_api.client.sending import (
    BYTES_LIMIT,
    ITEMS_LIMIT,
    Batch,
    Cutter,
    new_dedup_id,
    outgoing,
    send_batch,
    send_one,
)


def cut(events: list[NewEvent]) -> list[Batch]:
    cutter = Cutter()
    full = [batch for event in events if (batch := cutter.add(event)) is not None]
    rest = cutter.rest()
    return full + ([rest] if rest is not None else [])


@given(st.lists(st.integers(0, 3 << 20), max_size=12))
def test_no_batch_is_too_large_and_none_is_smaller_than_it_must_be(sizes: list[int]) -> None:
    batches = cut([NewEvent("a", msgspec.Raw(b'"%b"' % (b"x" * size))) for size in sizes])
    assert [each.place for batch in batches for each in batch] == [*range(len(sizes))]
    bodies = [send_batch(batch).body or b"" for batch in batches]
    assert all(len(body) <= BYTES_LIMIT for body in bodies)
    for body, following in zip(bodies, batches[1:], strict=False):
        assert len(body) + 1 + len(following[0].body) > BYTES_LIMIT


def test_a_batch_that_just_fits_is_one() -> None:
    room = BYTES_LIMIT - len(b'{"events":[]}')
    bare = len(outgoing(NewEvent("a", "")).body)
    fitting = NewEvent("a", "x" * (room - bare))
    (batch,) = cut([fitting])
    assert len(send_batch(batch).body or b"") == BYTES_LIMIT
    assert len(cut([fitting, NewEvent("a")])) == 2


def test_a_batch_has_at_most_as_many_events_as_the_service_takes() -> None:
    sizes = [len(batch) for batch in cut([NewEvent("a")] * (2 * ITEMS_LIMIT + 1))]
    assert sizes == [ITEMS_LIMIT, ITEMS_LIMIT, 1]


def test_what_is_sent_is_json_with_the_payload_as_it_is() -> None:
    event = NewEvent("a", msgspec.Raw(b'{ "n" : 1e2 }'), "d-1", metadata={"a": "é"})
    body = outgoing(event).body
    assert json.loads(body) == {
        "type": "a", "payload": {"n": 100.0}, "dedup_id": "d-1", "metadata": {"a": "é"},
    }  # fmt: skip
    assert b'{ "n" : 1e2 }' in body


def test_made_dedup_ids_differ_and_follow_each_other() -> None:
    made = [new_dedup_id() for _ in range(100)]
    assert len({*made}) == 100
    assert [each[:17] for each in made] == sorted(each[:17] for each in made)


@pytest.mark.parametrize(("dedup_id", "is_duplicate"), [(None, False), ("d-1", True)])
def test_a_duplicate_of_an_own_dedup_id_is_the_event_itself(
    dedup_id: str | None, *, is_duplicate: bool
) -> None:
    body = b'{"id":"evt_1","duplicate":true,"payload_matches":true,"news":1}'
    event = outgoing(NewEvent("a", 1, dedup_id))
    assert send_one(event).decode(Answer(200, {}, body)).duplicate is is_duplicate
    results = b'{"results":[{"index":0,"status":"duplicate","id":"evt_1"}]}'
    (result,) = send_batch([event]).decode(Answer(202, {}, results))
    assert result.status == ("duplicate" if is_duplicate else "accepted")


@pytest.mark.parametrize(
    "body", [b'{"results":[]}', b'{"results":[{"index":1,"status":"accepted"}]}', b"[]", b""]
)
def test_results_that_are_not_those_of_the_events_are_not_taken_for_them(body: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        send_batch([outgoing(NewEvent("a"))]).decode(Answer(202, {}, body))


def test_an_older_service_says_less() -> None:
    event = outgoing(NewEvent("a"))
    assert send_one(event).decode(Answer(202, {}, b'{"id":"evt_1"}')).id == "evt_1"


def test_what_was_not_dealt_with_is_known_with_its_dedup_ids() -> None:
    cutter = Cutter()
    for number in range(3):
        cutter.add(NewEvent("a", number))
    cutter.add(NewEvent("a", float("nan")))
    cutter.done([ItemResult(index=1, status="accepted")])
    assert [event.payload for event in cutter.unsent()] == [0, 2]
    assert all(event.dedup_id for event in cutter.unsent())
    assert [each.index for each in cutter.report().results] == [1, 3]


@pytest.mark.parametrize("value", [{"a": msgspec.Raw(b"1")}, object(), {(1, 2): 3}])
def test_what_is_no_json_is_an_error_of_type(value: object) -> None:
    with pytest.raises(TypeError):
        encoded(value)
