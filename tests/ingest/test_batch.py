"""A body with many events, taken apart."""

from __future__ import annotations

import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.errors import InvalidEncoding, InvalidJson, Problem, TooLarge, ValidationFailed
from triggers_api.ingest.batch import Lines, items_of, read_item
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
