"""Time as whole milliseconds, read and shown as RFC 3339."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.errors import MalformedValue
from triggers_api.model.timestamp import Timestamp

moments = st.integers(0, Timestamp.parse("2199-12-31T23:59:59.999Z")).map(Timestamp)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-22T20:24:41.123Z", "2026-11-22T20:24:41.123Z"),
        ("2026-11-22T20:24:41Z", "2026-11-22T20:24:41.000Z"),
        ("2026-11-22T20:24:41.1Z", "2026-11-22T20:24:41.100Z"),
        ("2026-11-22T20:24:41.12Z", "2026-11-22T20:24:41.120Z"),
        ("2026-11-22T20:24:41.1239Z", "2026-11-22T20:24:41.123Z"),
        ("2026-11-22T20:24:41.999999999Z", "2026-11-22T20:24:41.999Z"),
        ("2026-11-22t20:24:41z", "2026-11-22T20:24:41.000Z"),
        ("2026-11-22T20:24:41+00:00", "2026-11-22T20:24:41.000Z"),
        ("2026-11-22T20:24:41-00:00", "2026-11-22T20:24:41.000Z"),
        ("2026-11-22T20:24:41.500+05:30", "2026-11-22T14:54:41.500Z"),
        ("2026-11-22T20:24:41-03:45", "2026-11-23T00:09:41.000Z"),
        ("2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00.000Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
        ("1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00.000Z"),
        ("2199-12-31T23:59:59.999Z", "2199-12-31T23:59:59.999Z"),
    ],
)
def test_a_date_with_a_zone_is_read(text: str, shown: str) -> None:
    assert str(Timestamp.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-11-22", "20:24:41Z", "2026-11-22T20:24Z",
        "2026-11-22T20:24:41",  # no zone
        "2026-11-22 20:24:41Z",
        "2026-11-22T20:24:41 Z",
        " 2026-11-22T20:24:41Z",
        "2026-11-22T20:24:41Z\n",
        "1795378000000", "1795378000",  # epochs
        "2026-11-22T24:00:00Z", "2026-11-22T23:60:00Z",
        "2016-12-31T23:59:60Z",  # a leap second
        "2026-02-29T00:00:00Z", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z",
        "2026-00-10T00:00:00Z", "2026-01-00T00:00:00Z",
        "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2200-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999Z",
        "1970-01-01T00:00:00+00:01",  # before 1970 in UTC
        "2199-12-31T23:59:59-00:01",  # 2200 in UTC
        "+2026-11-22T20:24:41Z", "-2026-11-22T20:24:41Z", "20261-11-22T20:24:41Z",
        "2026-11-22T20:24:41.Z", "2026-11-22T20:24:41,5Z",
        "2026-11-22T20:24:41.0123456789Z",
        "2026-11-22T20:24:41+24:00", "2026-11-22T20:24:41+01:60", "2026-11-22T20:24:41+0100",
        "2026-11-22T20:24:41+1", "2026-11-22T20:24:41UTC", "2026-11-22T20:24:41ZZ",
        "2026-11-22T20:24:41\N{MINUS SIGN}01:00",
        "\N{FULLWIDTH DIGIT TWO}026-11-22T20:24:41Z",
        "2026-11-22T20:24:4\N{ARABIC-INDIC DIGIT ONE}Z",
        "2026-W47-7T20:24:41Z", "2026-326T20:24:41Z", "20261122T202441Z",
        "1" * 5000,
    ],
)  # fmt: skip
def test_what_is_not_such_a_date_is_refused_with_a_message(text: str) -> None:
    with pytest.raises(MalformedValue, match=r"\w"):
        Timestamp.parse(text)


@given(moments)
def test_what_is_shown_is_read_back_the_same(moment: Timestamp) -> None:
    assert Timestamp.parse(str(moment)) == moment
    assert len(str(moment)) == len("2026-11-22T20:24:41.123Z")


@given(moments, moments)
def test_moments_sort_as_texts_as_they_do_in_time(one: Timestamp, other: Timestamp) -> None:
    assert (str(one) < str(other)) is (one < other)


@given(moments, st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_a_moment_is_the_same_in_every_zone(moment: Timestamp, minutes: int) -> None:
    there = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(moment))
    text = there.astimezone(timezone(timedelta(minutes=minutes))).isoformat(timespec="milliseconds")
    if text.startswith(("1969", "2200")):
        return  # a moment at the edge is written with a year that is not ours
    assert Timestamp.parse(text) == moment


@given(st.text(max_size=40))
def test_any_text_is_a_moment_or_malformed(text: str) -> None:
    try:
        moment = Timestamp.parse(text)
    except MalformedValue:
        return
    assert 0 <= moment <= Timestamp.parse("2199-12-31T23:59:59.999Z")


@given(moments, st.integers(0, 10**9))
def test_after_adds_whole_milliseconds(moment: Timestamp, millis: int) -> None:
    assert moment.after(seconds=millis / 1000) == moment + millis
    assert type(moment.after(seconds=1.0)) is Timestamp
