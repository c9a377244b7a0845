"""What a dedup key of the ingest buffer holds, as processes of different versions write it."""

from __future__ import annotations

import pytest

from triggers_api.ingest.buffer_redis.entry import Mark, digest
from triggers_api.model.event import EventStatus

ID = "evt_019b796dd600700094318d70ca3bb18f"


@pytest.mark.parametrize("deliver_at", [None, 1_800_000_000_000])
@pytest.mark.parametrize("event_type", [None, "order.created", "a" * 255])
@pytest.mark.parametrize("aside", [False, True])
def test_a_mark_is_read_as_it_was_written(
    *, aside: bool, event_type: str | None, deliver_at: int | None
) -> None:
    mark = Mark(True, ID, digest(b"1"), aside, deliver_at, event_type)
    assert Mark.read(bytes(mark)) == mark


def test_a_mark_of_a_process_that_wrote_no_type_is_read() -> None:
    mark = Mark.read(b"W" + ID.encode() + digest(b"1") + b"q1800000000000")
    first = mark.first(b"1", now=0)
    assert (first.status, first.type) == (EventStatus.SCHEDULED, None)
