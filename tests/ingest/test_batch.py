"""A body with many events, taken apart."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.errors import InvalidEncoding, InvalidJson, Problem, TooLarge, ValidationFailed
from triggers_api.ingest.batch import (
    BATCH_LIMIT,
    ITEMS_LIMIT,
    Lines,
    items_of,
    quick_draft,
    read_item,
    requests_of,
)
from triggers_api.ingest.draft import BODY_LIMIT, Draft, read_draft

ODD: Final = b'{"big":10000000000000000000001,"a":1,"a":2,"nul":"\\u0000", "s" : "\\/\xc3\xa9"}'


@pytest.mark.parametrize("body", [b"[%b,1]", b' {"events":[%b,1]} ', b"\n[ %b , 1 ]"])
def test_items_are_the_bytes_that_were_sent(body: bytes) -> None:
    assert items_of(body % ODD) == [ODD, b"1"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", InvalidJson),
        (b"[1", InvalidJson),
        (b"[1] 2", InvalidJson),
        (b'{"events":[1}', InvalidJson),
        (b"\xef\xbb\xbf[]", InvalidEncoding),
        (b"1", ValidationFailed),
        (b'{"events":{}}', ValidationFailed),
        (b"{}", ValidationFailed),
        (b'{"events":[],"other":1}', ValidationFailed),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(body: bytes, problem: type[Problem]) -> None:
    with pytest.raises(problem):
        items_of(body)


GOOD: Final = (
    b'{"type":"a","payload":%b}' % ODD,
    b' {"event_type" : "a", "data":null , "external_id":"x"}',
    b'{"type":"a","payload":"\xc3\xa9","metadata":{"k":"v"},"key":"k","occurred_at":null}',
    b'{"type":"a","payload":%b1%b,"deliver_at":"2030-01-01T00:00:00Z"}' % (b"[" * 64, b"]" * 64),
)
BAD: Final = (
    b"1",
    b"null",
    b"{}",
    b'{"type":"a"}',
    b'{"type":"a","payload":1,"more":1}',
    b'{"type":"a b","payload":1}',
    b'{"type":"a","payload":"\xc3"}',
    b'{"type":"a","payload":1,"occurred_at":"yesterday"}',
    b'{"type":"a","payload":%b1%b}' % (b"[" * 65, b"]" * 65),
    b'{"type":"a","payload":%b1%b}' % (b"[" * 5000, b"]" * 5000),
)


@pytest.mark.parametrize("around", [b"[%b]", b' {"events":[%b]}', b"\n[ %b ]"])
@given(items=st.lists(st.sampled_from(GOOD), min_size=1))
def test_events_decoded_at_once_are_those_that_are_read_alone(
    around: bytes, items: list[bytes]
) -> None:
    body = around % b",".join(items)
    assert [quick_draft(each) for each in requests_of(body)] == [
        read_item(item, read_draft) for item in items_of(body)
    ]


@pytest.mark.parametrize("bad", BAD)
def test_an_item_that_is_no_event_has_each_read_alone(bad: bytes) -> None:
    requests = requests_of(b"[%b,%b]" % (GOOD[0], bad))
    assert not requests or None in [quick_draft(each) for each in requests]


def test_of_too_many_events_decoded_at_once_there_is_one_more_than_the_limit() -> None:
    assert len(requests_of(b"[%b]" % b",".join([b"{}"] * 5000))) == ITEMS_LIMIT + 1


@given(
    items=st.lists(st.text(st.characters(exclude_categories=["Cs"])).map(json.dumps)),
    ending=st.sampled_from([b"\n", b"\r\n", b"\n \n\n"]),
    last=st.sampled_from([b"", b"\n"]),
    size=st.integers(1, 20),
)
def test_lines_are_the_same_however_they_are_cut(
    items: list[str], ending: bytes, last: bytes, size: int
) -> None:
    body = ending.join(item.encode() for item in items) + last
    lines = Lines()
    found: list[bytes] = []
    for start in range(0, len(body), size):
        found += lines.feed(body[start : start + size])
    found += lines.end()
    assert [json.loads(line) for line in found] == [json.loads(item) for item in items]


def test_an_item_that_is_too_large_alone_is_refused_alone() -> None:
    item = b'{"type":"t","payload":""}'.ljust(BODY_LIMIT)
    assert isinstance(read_item(item, read_draft), Draft)
    assert isinstance(read_item(item + b" ", read_draft), TooLarge)


@pytest.mark.parametrize("frame", [b"[%b0]", b'{"events":[%b0]}'])
def test_of_far_too_many_items_no_more_is_kept_than_shows_that(frame: bytes) -> None:
    body = frame % (b"0," * (BATCH_LIMIT // 2 - 10))
    tracemalloc.start()
    try:
        assert len(items_of(body)) == ITEMS_LIMIT + 1
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < BATCH_LIMIT


def test_a_line_that_does_not_end_costs_no_more_in_many_parts_than_in_few() -> None:
    """Put together with each part, it would be copied fifty thousand times."""
    lines, part = Lines(), b"x" * 100
    began = time.process_time()
    for _ in range(BATCH_LIMIT // len(part)):
        assert list(lines.feed(part)) == []
    assert [len(line) for line in lines.end()] == [BATCH_LIMIT // len(part) * len(part)]
    assert time.process_time() - began < 2
