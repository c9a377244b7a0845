"""Reading a histogram of ours."""

import math

import pytest

from triggers_api.bench.exposition import histogram, since
from triggers_api.bench.statistics import bucket_quantile
from triggers_api.telemetry.metrics import Metrics

ROUTED = "triggers_accepted_to_routed_seconds"


def test_a_histogram_is_read_back_from_what_the_service_shows() -> None:
    metrics = Metrics()
    for seconds in (0.004, 0.004, 0.02, 60):
        metrics.accepted_to_routed.observe(seconds)
    buckets = histogram(metrics.exposition().decode(), ROUTED)
    assert buckets[0.003] == 0
    assert buckets[0.005] == 2
    assert buckets[0.025] == 3
    assert buckets[10] == 3
    assert buckets[math.inf] == 4


def test_only_what_came_between_two_readings_counts() -> None:
    metrics = Metrics()
    metrics.accepted_to_routed.observe(5)
    before = histogram(metrics.exposition().decode(), ROUTED)
    for _ in range(100):
        metrics.accepted_to_routed.observe(0.004)
    between = since(before, histogram(metrics.exposition().decode(), ROUTED))
    assert between[math.inf] == 100
    p95 = bucket_quantile(0.95, between)
    assert p95 == pytest.approx(0.0049)


def test_another_metric_is_not_mistaken_for_it() -> None:
    assert histogram('other_bucket{le="1.0"} 3\nx_seconds_bucket_bucket{le="1"} 1\n', "x") == {}
