"""Tallies that add up, and the percentiles of their histograms."""

from __future__ import annotations

from math import ceil
from typing import Any, Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.rollup import (
    Rollup,
    Tally,
    bucket,
    floor,
    health_lines,
    percentile_ms,
    percentiles,
    series,
)
from triggers_api.model.timestamp import Timestamp

DURATIONS: Final = st.integers(0, 1 << 40)
NOON: Final = Timestamp.parse("2026-11-22T12:00:00.000Z")


def rollup(seconds: int, *, subscription_id: str | None = None, **counts: Any) -> Rollup:  # noqa: ANN401 - of a tally
    return Rollup(
        organization_id="org",
        subscription_id=subscription_id,
        step_s=60,
        at=NOON.after(seconds=seconds),
        writer=1,
        tally=Tally(**counts),
    )


@given(DURATIONS, DURATIONS)
def test_a_longer_duration_is_never_in_an_earlier_bucket(one: int, other: int) -> None:
    shorter, longer = sorted((one, other))
    assert bucket(shorter) <= bucket(longer)
    assert bucket(longer) <= 271, "so many buckets there are, however long it took"


@given(
    st.lists(st.integers(10, 10**9), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99])
)
def test_a_percentile_is_within_an_eighth_of_the_exact_one(us: list[int], share: float) -> None:
    histogram: dict[int, int] = {}
    for each in us:
        histogram[bucket(each)] = histogram.get(bucket(each), 0) + 1
    exact = sorted(us)[ceil(len(us) * share) - 1] / 1000
    told = percentile_ms(histogram, share)
    assert told is not None
    assert abs(told - exact) <= exact / 7


def test_without_durations_there_is_no_percentile() -> None:
    assert percentile_ms({}, 0.5) is None
    assert percentiles({}).p99 is None


@given(st.lists(st.dictionaries(st.integers(0, 200), st.integers(1, 9)), max_size=5))
def test_what_processes_counted_adds_up_in_any_order(histograms: list[dict[int, int]]) -> None:
    forth, back = Tally(), Tally()
    tallies = [Tally(accepted=sum(each.values()), ingest=dict(each)) for each in histograms]
    for tally in tallies:
        forth.add(tally)
    for tally in reversed(tallies):
        back.add(tally)
    assert forth == back
    assert forth.accepted == sum(forth.ingest.values())


def test_a_tally_of_an_older_version_is_read_as_far_as_it_goes() -> None:
    older = msgspec.msgpack.encode([5, 1])
    assert msgspec.msgpack.decode(older, type=Tally) == Tally(accepted=5, duplicates=1)


def test_a_tally_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    newer = msgspec.msgpack.encode([*msgspec.structs.astuple(Tally(accepted=5)), 7, {}])
    assert msgspec.msgpack.decode(newer, type=Tally) == Tally(accepted=5)


def test_a_series_has_a_point_for_every_stretch_also_where_nothing_was_counted() -> None:
    total, points = series(
        [
            rollup(0, accepted=1),
            rollup(60, accepted=2),
            rollup(60, accepted=4),
            rollup(180, accepted=8),
        ],
        since=NOON,
        until=NOON.after(seconds=241),
        step_s=60,
    )
    assert [point.accepted for point in points] == [1, 6, 0, 8, 0]
    assert [point.at for point in points] == [NOON.after(seconds=60 * each) for each in range(5)]
    assert total.accepted == 15


def test_a_longer_step_adds_up_the_minutes_in_it() -> None:
    _, points = series(
        [rollup(seconds, attempts_succeeded=1, attempts_failed=1) for seconds in range(0, 600, 60)],
        since=NOON,
        until=NOON.after(seconds=600),
        step_s=300,
    )
    assert [(each.attempts.total, each.success_rate) for each in points] == [(10, 0.5), (10, 0.5)]


def test_a_moment_is_in_the_stretch_that_began_last() -> None:
    assert floor(NOON.after(seconds=59.999), 60) == NOON
    assert floor(NOON.after(seconds=60), 60) == NOON.after(seconds=60)


def test_a_health_line_has_a_point_for_each_half_hour() -> None:
    lines = health_lines(
        ["one", "other", "silent"],
        [
            rollup(0, subscription_id="one", attempts_succeeded=3),
            rollup(1800, subscription_id="one", attempts_failed=2, dead=1),
            rollup(1800, subscription_id="other", attempts_succeeded=1),
        ],
        since=NOON.after(seconds=10),
        until=NOON.after(seconds=1810),
    )
    assert [(each.succeeded, each.failed, each.dead) for each in lines["one"]] == [
        (3, 0, 0),
        (0, 2, 1),
    ]
    assert [each.succeeded for each in lines["other"]] == [0, 1]
    assert [each.failed for each in lines["silent"]] == [0, 0]
