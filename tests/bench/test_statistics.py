"""Numbers about numbers."""

import math
import random

import pytest

from triggers_api.bench.statistics import (
    Latency,
    bucket_quantile,
    latency_of,
    median,
    median_latency,
    percentile,
    scheduled,
)

INF = math.inf


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1), (50, 50), (95, 95), (99, 99), (99.5, 100), (100, 100)]
)
def test_a_percentile_of_a_hundred_values_is_the_value_of_that_rank(
    percent: float, expected: int
) -> None:
    assert percentile(list(range(1, 101)), percent) == expected


@pytest.mark.parametrize("percent", [0.001, 50, 99, 100])
def test_every_percentile_of_one_value_is_that_value(percent: float) -> None:
    assert percentile([7.5], percent) == 7.5


@pytest.mark.parametrize("size", [1, 2, 3, 10, 99, 100, 101, 1000])
@pytest.mark.parametrize("percent", [1, 50, 95, 99, 99.9, 100])
def test_at_least_that_share_of_the_values_is_not_above_a_percentile(
    size: int, percent: float
) -> None:
    draw = random.Random(size)
    values = sorted(draw.random() for _ in range(size))
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= round(percent * size, 6)
    below = sum(value < found for value in values)
    assert below * 100 < percent * size


def test_a_latency_is_in_milliseconds_and_does_not_mind_the_order() -> None:
    assert latency_of([0.003, 0.001, 0.002]) == Latency(
        count=3, min=1.0, avg=2.0, p50=2.0, p95=3.0, p99=3.0, max=3.0
    )


def test_there_is_no_latency_of_nothing() -> None:
    assert latency_of([]) is None
    assert median_latency([]) is None


def test_of_several_latencies_each_number_has_its_own_median() -> None:
    runs = [
        Latency(count=10, min=1, avg=5, p50=4, p95=9, p99=20, max=21),
        Latency(count=20, min=2, avg=4, p50=3, p95=8, p99=90, max=99),
        Latency(count=30, min=3, avg=6, p50=5, p95=7, p99=10, max=11),
    ]
    assert median_latency(runs) == Latency(count=60, min=2, avg=5, p50=4, p95=8, p99=20, max=21)


def test_a_median_is_the_middle_or_between_the_two_in_the_middle() -> None:
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 3, 2]) == 2.5
    assert median([9]) == 9


def test_an_open_loop_keeps_its_times_however_many_events_it_sends() -> None:
    assert [scheduled(100.0, index, 500) for index in range(4)] == [
        100.0,
        100.002,
        100.004,
        100.006,
    ]
    # No rounding adds up over a day.
    assert scheduled(0.0, 500 * 86_400, 500) == 86_400.0


def test_a_quantile_of_buckets_lies_within_the_bucket_that_holds_it() -> None:
    buckets = {0.01: 0.0, 0.1: 100.0, 1.0: 200.0, INF: 200.0}
    assert bucket_quantile(0.5, buckets) == pytest.approx(0.1)
    assert bucket_quantile(0.25, buckets) == pytest.approx(0.055)
    assert bucket_quantile(0.95, buckets) == pytest.approx(0.91)


def test_the_first_bucket_begins_at_zero() -> None:
    assert bucket_quantile(0.5, {0.01: 10.0, INF: 10.0}) == pytest.approx(0.005)


def test_beyond_the_last_bound_nothing_is_known_but_that_bound() -> None:
    assert bucket_quantile(0.99, {0.1: 1.0, 10.0: 1.0, INF: 100.0}) == 10.0


def test_there_is_no_quantile_of_a_histogram_without_observations() -> None:
    assert bucket_quantile(0.95, {}) is None
    assert bucket_quantile(0.95, {0.1: 0.0, INF: 0.0}) is None
