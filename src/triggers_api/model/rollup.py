"""Counts and latencies of a stretch of time, which add up: over processes, organizations, longer times.

A tally is what one process counted of an organization in a minute, say. Tallies are merged by addition,
and so are their histograms, whose buckets are the same everywhere. Pure.
"""

from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any, Final, Self

import msgspec

from triggers_api.model.statistics import AttemptCounts
from triggers_api.model.timestamp import Timestamp

MINUTE_S: Final = 60
COARSE_S: Final = 600
SUBSCRIPTION_S: Final = 1800
"""How long the stretches are for which tallies are kept: of organizations two, of subscriptions one."""

KEPT_S: Final = {MINUTE_S: 3 * 3600, COARSE_S: 3 * 86_400, SUBSCRIPTION_S: 26 * 3600}
"""For how long they are kept, in seconds, by the length of the stretch."""

EVERYBODY: Final = ""
"""The organization of a tally over all of them, and over requests of which it is not known whose."""

MOST_POINTS: Final = 1500
"""How many points one series may have."""

_SUBBUCKETS: Final = 8
_LONGEST_US: Final = (1 << 36) - 1
"""Some nineteen hours: what takes longer is counted there."""


class Tally(msgspec.Struct, array_like=True, kw_only=True):
    """What was counted. Only ever add fields at the end: rows of other versions are read, too.

    Attributes:
        accepted: events stored.
        duplicates: events that were there already.
        rejected: requests, or items of batches, refused for what they were.
        limited: requests refused for the rate limit.
        unavailable: requests refused because nothing was taken at the moment, or that failed.
        routed: events of which it was stored who gets them.
        attempts_succeeded: requests to receivers that a 2xx answered.
        attempts_failed: all others.
        succeeded: deliveries that an attempt ended well.
        dead: deliveries whose attempts were used up.
        skipped: deliveries passed over because delivery was switched off.
        ingest: how long requests took in which events were stored, as a histogram (:func:`bucket`).
        attempts: how long requests to receivers took, as a histogram.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    limited: int = 0
    unavailable: int = 0
    routed: int = 0
    attempts_succeeded: int = 0
    attempts_failed: int = 0
    succeeded: int = 0
    dead: int = 0
    skipped: int = 0
    ingest: dict[int, int] = {}
    attempts: dict[int, int] = {}

    def add(self, other: Self) -> None:
        """Count what another one has counted as well."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.ingest, other.ingest), (self.attempts, other.attempts)):
            for number, count in theirs.items():
                mine[number] = mine.get(number, 0) + count


_COUNTS: Final = tuple(
    name for name in Tally.__struct_fields__ if name not in {"ingest", "attempts"}
)


class Rollup(msgspec.Struct, frozen=True, kw_only=True):
    """A tally as one process keeps it on file, whole: what it writes later of the stretch replaces it.

    Attributes:
        organization_id: whose, or :data:`EVERYBODY`.
        subscription_id: of deliveries to this one; ``None``: of the organization.
        step_s: how long the stretch is.
        at: when it began, a multiple of its length.
        writer: the process, by a number that no other one has.
    """

    organization_id: str
    subscription_id: str | None = None
    step_s: int
    at: Timestamp
    writer: int
    tally: Tally


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Of durations, in milliseconds, within an eighth of what they were; ``None`` without any."""

    p50: float | None
    p95: float | None
    p99: float | None


class DeliveryOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries that came to their end, by how."""

    succeeded: int
    dead: int
    skipped: int


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted in a stretch of time; see :class:`Tally`."""

    accepted: int
    duplicates: int
    rejected: int
    limited: int
    unavailable: int
    routed: int
    deliveries: DeliveryOutcomes
    attempts: AttemptCounts
    success_rate: float | None
    ingest_ms: Percentiles
    attempt_ms: Percentiles


class Point(Counted, frozen=True, kw_only=True):
    """A stretch of a series; ``at`` is its beginning."""

    at: Timestamp


class HealthPoint(msgspec.Struct, frozen=True, kw_only=True):
    """How attempts to deliver to a subscription fared in a stretch that began at ``at``."""

    at: Timestamp
    succeeded: int
    failed: int
    dead: int


def bucket(microseconds: int) -> int:
    """The number of the bucket that a duration falls into: eight to each doubling.

    As in HdrHistogram: the position of the highest bit, and the three bits after it.
    """
    if microseconds < _SUBBUCKETS:
        return max(microseconds, 0)
    bits = min(microseconds, _LONGEST_US)
    length = bits.bit_length()
    return (length - 3) * _SUBBUCKETS + ((bits >> (length - 4)) & (_SUBBUCKETS - 1))


def _bounds_us(number: int) -> tuple[int, int]:
    """The shortest duration of a bucket, and that of the next one."""
    if number < _SUBBUCKETS:
        return number, number + 1
    doublings, place = divmod(number, _SUBBUCKETS)
    width = 1 << (doublings - 1)
    return (_SUBBUCKETS + place) * width, (_SUBBUCKETS + place + 1) * width


def percentile_ms(histogram: Mapping[int, int], share: float) -> float | None:
    """The duration that this share of all are not above (nearest rank), to three digits.

    Within its bucket it is taken to lie where its rank does.
    """
    left = ceil(sum(histogram.values()) * share)
    for number in sorted(histogram):
        count = histogram[number]
        if left <= count:
            low, high = _bounds_us(number)
            return float(f"{(low + (high - low) * (left - 0.5) / count) / 1000:.3g}")
        left -= count
    return None


def percentiles(histogram: Mapping[int, int]) -> Percentiles:
    """The usual ones."""
    return Percentiles(
        p50=percentile_ms(histogram, 0.5),
        p95=percentile_ms(histogram, 0.95),
        p99=percentile_ms(histogram, 0.99),
    )


def counted(tally: Tally) -> Counted:
    """A tally as it is shown."""
    return Counted(**_shown(tally))


def _shown(tally: Tally) -> dict[str, Any]:
    tried = tally.attempts_succeeded + tally.attempts_failed
    return {
        "accepted": tally.accepted,
        "duplicates": tally.duplicates,
        "rejected": tally.rejected,
        "limited": tally.limited,
        "unavailable": tally.unavailable,
        "routed": tally.routed,
        "deliveries": DeliveryOutcomes(
            succeeded=tally.succeeded, dead=tally.dead, skipped=tally.skipped
        ),
        "attempts": AttemptCounts(
            total=tried, succeeded=tally.attempts_succeeded, failed=tally.attempts_failed
        ),
        "success_rate": round(tally.attempts_succeeded / tried, 4) if tried else None,
        "ingest_ms": percentiles(tally.ingest),
        "attempt_ms": percentiles(tally.attempts),
    }


def floor(moment: Timestamp, step_s: int) -> Timestamp:
    """The beginning of the stretch that a moment is in."""
    return Timestamp(moment - moment % (step_s * 1000))


def series(
    rollups: Iterable[Rollup], *, since: Timestamp, until: Timestamp, step_s: int
) -> tuple[Tally, list[Point]]:
    """All of it, and a point for each stretch from ``since`` on that begins before ``until``.

    Args:
        rollups: of stretches that are no longer than ``step_s``, which is a multiple of theirs.
        since: a multiple of the step.
        until: exclusive.
        step_s: seconds from point to point.
    """
    step_ms = step_s * 1000
    points = {Timestamp(at): Tally() for at in range(since, until, step_ms)}
    total = Tally()
    for rollup in rollups:
        tally = points.get(floor(rollup.at, step_s))
        if tally is not None:
            tally.add(rollup.tally)
            total.add(rollup.tally)
    return total, [Point(at=at, **_shown(tally)) for at, tally in points.items()]


def health_lines(
    subscription_ids: Iterable[str],
    rollups: Iterable[Rollup],
    *,
    since: Timestamp,
    until: Timestamp,
) -> dict[str, list[HealthPoint]]:
    """How subscriptions fared, by their ids: a point for each stretch of ``SUBSCRIPTION_S``."""
    step_ms = SUBSCRIPTION_S * 1000
    found: dict[str | None, dict[int, Tally]] = {each: {} for each in subscription_ids}
    for rollup in rollups:
        found[rollup.subscription_id].setdefault(int(rollup.at), Tally()).add(rollup.tally)
    nothing = Tally()
    return {
        subscription: [
            HealthPoint(
                at=Timestamp(at),
                succeeded=(tally := tallies.get(at, nothing)).attempts_succeeded,
                failed=tally.attempts_failed,
                dead=tally.dead,
            )
            for at in range(floor(since, SUBSCRIPTION_S), until, step_ms)
        ]
        for subscription, tallies in found.items()
        if subscription is not None
    }
