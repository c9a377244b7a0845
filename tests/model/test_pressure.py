"""How long a full queue stays full."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.pressure import LONGEST_RETRY_S, DrainRate, overdue, retry_after_s


def seen(*looks: tuple[float, int, int, int]) -> DrainRate:
    rate = DrainRate()
    for now_s, depth, came, left in looks:
        rate.observe(now_s, depth, came=came, left=left)
    return rate


def test_it_is_not_known_before_the_queue_was_seen_to_get_shorter() -> None:
    assert DrainRate().per_second == 0
    assert seen((10, 1000, 0, 0)).per_second == 0
    assert seen((10, 0, 0, 0), (11, 0, 500, 500)).per_second == 0


def test_what_came_and_is_not_there_any_more_has_left() -> None:
    assert seen((10, 1000, 0, 0), (11, 900, 0, 0)).per_second == 100
    assert seen((10, 1000, 0, 0), (12, 1000, 300, 0)).per_second == 150
    assert seen((10, 1000, 0, 0), (11, 1500, 300, 0)).per_second == 0


def test_what_this_process_took_out_counts_although_others_put_more_in() -> None:
    assert seen((10, 1000, 0, 0), (11, 1500, 0, 200)).per_second == 200


def test_it_follows_in_some_seconds_and_does_not_jump() -> None:
    rate, depth = seen((10, 10_000, 0, 0), (10.5, 9950, 0, 0)), 9950
    assert rate.per_second == 100
    rate.observe(11, depth - 100, came=0, left=0)
    assert 100 < rate.per_second < 120
    for step in range(2, 42):
        rate.observe(10.5 + step / 2, depth - 100 * step, came=0, left=0)
    assert rate.per_second == pytest.approx(200, rel=0.05)
    for step in range(42, 100):
        rate.observe(10.5 + step / 2, depth - 4100, came=0, left=0)
    assert rate.per_second < 2


def test_an_empty_queue_changes_nothing() -> None:
    rate = seen((10, 100, 0, 0), (11, 0, 0, 0))
    for second in range(12, 40):
        rate.observe(second, 0, came=3, left=3)
    assert rate.per_second == 100


@pytest.mark.parametrize(
    ("excess", "per_second", "expected"),
    [
        (1, 1000, 1),
        (1000, 1000, 1),
        (1001, 1000, 2),
        (30_000, 1000, 30),
        (10**9, 1000, LONGEST_RETRY_S),
        (1, 0, LONGEST_RETRY_S),
        (0, 5, 1),
    ],
)
def test_whoever_is_refused_is_told_when_there_will_be_room(
    excess: float, per_second: float, expected: int
) -> None:
    assert retry_after_s(excess, per_second) == expected


@given(st.floats(0, 1e12), st.floats(0, 1e9))
def test_the_time_is_in_whole_seconds_within_its_bounds(excess: float, per_second: float) -> None:
    told = retry_after_s(excess, per_second)
    assert isinstance(told, int)
    assert 1 <= told <= LONGEST_RETRY_S


def test_of_those_that_came_evenly_as_many_are_late_as_their_time_says() -> None:
    assert overdue(1000, 100, 60) == 400
    assert overdue(1000, 60, 60) == 0
    assert overdue(1, 61, 60) == 1
