"""Numbers about numbers. No I/O, no clock."""

import math
from collections.abc import Mapping, Sequence

import msgspec


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long something took, in milliseconds; ``count`` times."""

    count: int
    min: float
    avg: float
    p50: float
    p95: float
    p99: float
    max: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: a value that occurred, never one between two.

    Args:
        ordered: ascending, not empty.
        percent: above 0, up to 100.
    """
    # Rounded first: 0.99 * 100 is a little more than 99 in binary.
    rank = math.ceil(round(percent / 100 * len(ordered), 9))
    return ordered[max(rank, 1) - 1]


def latency_of(seconds: Sequence[float]) -> Latency | None:
    """The summary of measured seconds; ``None`` of none."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def at(percent: float) -> float:
        return _ms(percentile(ordered, percent))

    return Latency(
        count=len(ordered),
        min=_ms(ordered[0]),
        avg=_ms(math.fsum(ordered) / len(ordered)),
        p50=at(50),
        p95=at(95),
        p99=at(99),
        max=_ms(ordered[-1]),
    )


def median_latency(latencies: Sequence[Latency]) -> Latency | None:
    """The median of each number over several runs; of ``count``, the sum. ``None`` of none."""
    if not latencies:
        return None
    names = ("min", "avg", "p50", "p95", "p99", "max")
    return Latency(
        count=sum(each.count for each in latencies),
        **{name: median([getattr(each, name) for each in latencies]) for name in names},
    )


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle; of at least one value."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def scheduled(start: float, index: int, rate: float) -> float:
    """When an open loop sends its event number ``index`` (from 0).

    Reckoned from the start and not from the event before: what is late once does not put off the
    rest.

    Args:
        start: seconds on any clock.
        index: of the event.
        rate: events a second.
    """
    return start + index / rate


def bucket_quantile(quantile: float, buckets: Mapping[float, float]) -> float | None:
    """A quantile of a histogram, as Prometheus' ``histogram_quantile`` reckons it.

    Args:
        quantile: from 0 to 1.
        buckets: upper bound → observations up to it, the bound ``inf`` included.

    Returns:
        A value within the bucket that holds the quantile, as if its observations were spread
        evenly; the last finite bound when it is beyond that; ``None`` without observations.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0
    if not total:
        return None
    rank = quantile * total
    lower, below = 0.0, 0.0
    for bound in bounds:
        within = buckets[bound]
        if within >= rank:
            if math.isinf(bound):
                return lower
            share = (rank - below) / (within - below) if within > below else 1.0
            return lower + (bound - lower) * share
        lower, below = bound, within
    return lower


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
