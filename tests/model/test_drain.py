"""How far a drain has come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.controls import DRAIN, Switches, drained, turn
from triggers_api.model.drain import Progress, Work, progress
from triggers_api.model.timestamp import Timestamp

START = Timestamp(1_800_000_000_000)
ANY = st.integers(0, 1000)


def work(left: int, *, at_s: float = 0, scheduled: int = 0, deliveries: int = 0) -> Work:
    at = START.after(seconds=at_s)
    return Work(at=at, left=left, scheduled=scheduled, deliveries=deliveries)


@pytest.mark.parametrize(
    ("begun", "now", "expected"),
    [
        (work(100), work(100, at_s=5), Progress(total=100, done=0, eta_s=None)),
        (work(100), work(75, at_s=5), Progress(total=100, done=25, eta_s=15.0)),
        (work(100), work(0, at_s=5), Progress(total=100, done=100, eta_s=0.0)),
        (work(0), work(0), Progress(total=0, done=0, eta_s=None)),
        (work(10), work(29, at_s=1, deliveries=20), Progress(total=30, done=1, eta_s=29.0)),
        (work(10, scheduled=5), work(12, at_s=1), Progress(total=15, done=3, eta_s=4.0)),
        (work(10, deliveries=50), work(8, at_s=1), Progress(total=10, done=2, eta_s=4.0)),
        (work(10), work(12, at_s=1), Progress(total=12, done=0, eta_s=None)),
        (work(10), work(8, at_s=-1), Progress(total=10, done=2, eta_s=None)),
        (work(10), work(8, at_s=0.9), Progress(total=10, done=2, eta_s=None)),
    ],
    ids=[
        "nothing yet", "a quarter", "all", "nothing to do", "what routing made", "what became due",
        "what retention took away", "what came from elsewhere", "a clock behind",
        "too soon to tell",
    ],
)  # fmt: skip
def test_what_is_done_of_what_was_there_and_of_what_came_of_it(
    begun: Work, now: Work, expected: Progress
) -> None:
    assert progress(begun, now) == expected


@given(ANY, ANY, ANY, ANY, ANY, ANY, ANY)
def test_whatever_is_counted_nothing_is_below_zero_or_beyond_the_total(
    left: int, then: int, scheduled: int, due: int, made: int, before: int, at_s: int
) -> None:
    found = progress(
        work(left, scheduled=scheduled, deliveries=before),
        work(then, at_s=at_s, scheduled=due, deliveries=made),
    )
    assert 0 <= found.done <= found.total
    assert found.total - found.done == then
    assert found.eta_s is None or found.eta_s >= 0


def test_a_drain_asked_for_again_has_begun_when_it_began() -> None:
    first = drained(Switches(), at=START, by="key_1", work=work(7))
    again = drained(first, at=START.after(seconds=9), by="key_1", work=work(3), reason="upgrade")
    assert (again.drain_begun, again.turns[DRAIN].reason) == (work(7), "upgrade")
    over = turn(again, {DRAIN: None}, at=START.after(seconds=10), by="key_1")
    anew = drained(over, at=START.after(seconds=20), by="key_1", work=work(2))
    assert anew.drain_begun == work(2)


def test_one_that_is_over_by_its_time_has_ended_before_the_next_begins() -> None:
    first = drained(
        Switches(), at=START, by="key_1", work=work(7), expires_at=START.after(seconds=5)
    )
    assert drained(first, at=START.after(seconds=6), by="key_1", work=work(2)).drain_begun == work(
        2
    )
