"""Server-sent events, however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.client.sse import Message, Messages

STREAM = (
    b": hello\n\n"
    b'id: evt_1\ndata: {"a":\ndata: 1}\n\n'
    b"id:evt_2\r\ndata:x\r\n\r\n"
    b"event: other\rdata: y\r\r\n"
    b"id: evt_3\n\n"
    b"data\n\n"
    b"data:  two spaces\nretry: 5\n\n"
    b"data: without an end"
)
MESSAGES = [
    Message("evt_1", b'{"a":\n1}'),
    Message("evt_2", b"x"),
    Message("evt_2", b"y"),
    Message("evt_3", b""),
    Message("evt_3", b" two spaces"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_is_the_same_wherever_it_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    messages = Messages()
    found = [
        message for begin, end in pairwise(places) for message in messages.feed(STREAM[begin:end])
    ]
    assert found == MESSAGES


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_also_byte_by_byte(size: int) -> None:
    messages = Messages()
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [message for piece in pieces for message in messages.feed(piece)] == MESSAGES
