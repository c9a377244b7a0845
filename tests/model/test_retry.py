"""Delays, and reading what a receiver asks for in ``Retry-After``."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.retry import (
    JITTER,
    RETRY_AFTER_LIMIT_S,
    asked_delay_s,
    delay_s,
    parse_retry_after,
)
from triggers_api.model.timestamp import Timestamp

NOW = Timestamp.parse("2026-11-22T12:00:00Z")
draws = st.floats(0, 1, exclude_max=True)


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kolkata"])
def server_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=10), st.data())
def test_a_delay_is_stretched_by_at_most_the_jitter_and_never_cut(
    schedule: list[float], data: st.DataObject
) -> None:
    failures = data.draw(st.integers(1, len(schedule)))
    delay = delay_s(tuple(schedule), failures, draw=data.draw(draws))
    assert delay is not None
    assert schedule[failures - 1] <= delay <= schedule[failures - 1] * (1 + JITTER)


@given(st.lists(st.floats(0, 1e6), max_size=10).map(tuple), st.integers(1, 50), draws)
def test_there_is_no_delay_once_the_schedule_is_used_up(
    schedule: tuple[float, ...], failures: int, draw: float
) -> None:
    assert (delay_s(schedule, failures, draw=draw) is None) is (failures > len(schedule))


@given(st.floats(-1e9, 1e12), draws)
def test_an_asked_delay_is_never_early_at_most_a_second_late_and_bounded_by_a_day(
    asked: float, draw: float
) -> None:
    obeyed = min(max(asked, 0.0), RETRY_AFTER_LIMIT_S)
    assert RETRY_AFTER_LIMIT_S == 24 * 3600
    assert obeyed <= asked_delay_s(asked, draw=draw) <= obeyed + 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0), ("1", 1), ("120", 120), (" 120 ", 120), ("\t7", 7), ("007", 7), ("86400", 86400)],
)
def test_whole_seconds_are_read(header: str, seconds: int) -> None:
    assert parse_retry_after(header, now=NOW) == seconds


@pytest.mark.parametrize(
    "header",
    [
        "Sun, 22 Nov 2026 12:02:00 GMT",  # the form to be sent
        "Sunday, 22-Nov-26 12:02:00 GMT",  # RFC 850, still to be read
        "Sun Nov 22 12:02:00 2026",  # asctime(), still to be read
    ],
)
def test_every_form_of_an_http_date_means_the_same_wherever_the_server_stands(
    server_zone: str, header: str
) -> None:
    assert parse_retry_after(header, now=NOW) == 120, f"on a server in {server_zone}"


@pytest.mark.parametrize(
    "header", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 22 Nov 2026 11:59:59 GMT"]
)
def test_a_date_that_has_passed_means_now(header: str) -> None:
    assert parse_retry_after(header, now=NOW) == 0


@pytest.mark.parametrize(
    "header",
    [
        "9" * 5000,
        "1" + "0" * 10,
        "99999999999",
        "315360000",
        "Wed, 19 Nov 2036 12:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ],
)
def test_what_is_asked_for_beyond_a_day_ends_up_at_a_day(header: str) -> None:
    asked = parse_retry_after(header, now=NOW)
    assert asked is not None
    assert asked_delay_s(asked, draw=0.0) == 24 * 3600


@pytest.mark.parametrize(
    "header",
    [
        "", " ", "-1", "-120", "+5", "1.5", "1e3", "0x10", "5, 10", "5s", "soon", "null",
        "٣", "²", "2026-11-22T12:02:00Z", "12:30", "Sun, 32 Nov 2026 12:00:00 GMT",
        "Sun, 22 Nov 99999 12:00:00 GMT", "Sun, 22 Nov 2026 25:00:00 GMT", "GMT", "\x00",
        "Sun, 22 Nov 2026 12:00:00 +9999",
    ],
)  # fmt: skip
def test_nonsense_is_nothing(header: str) -> None:
    assert parse_retry_after(header, now=NOW) is None


_PIECES = st.sampled_from(
    [
        "Sun", "Sunday", ",", " ", "22", "Nov", "2026", "99999", "12:00:10", "12:", ":", "GMT",
        "EST", "-0000", "+9999", "+", "-", ".", "0", "26", "-Nov-", "(", ")", "\\", '"', "AM",
    ]
)  # fmt: skip


@given(st.text(max_size=40) | st.lists(_PIECES, max_size=10).map("".join))
def test_no_header_makes_it_raise_or_ask_for_a_time_before_now(header: str) -> None:
    asked = parse_retry_after(header, now=NOW)
    assert asked is None or asked >= 0
