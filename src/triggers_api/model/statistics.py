"""How a subscription has fared lately: counts, rates and percentiles over what was looked at. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Final

import msgspec

from triggers_api.model.delivery import DeliveryStatus
from triggers_api.model.timestamp import Timestamp

DELIVERIES_LIMIT: Final = 5_000
"""How many deliveries are looked at, the newest."""

ATTEMPTS_LIMIT: Final = 20_000
"""How many of their attempts are."""


class AttemptCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts; those that a 2xx answered succeeded."""

    total: int
    succeeded: int
    failed: int


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles of the attempts' ``duration_ms``, by nearest rank; ``None`` without attempts."""

    p50: int | None
    p95: int | None
    p99: int | None


class SubscriptionStats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the deliveries made for a subscription within a window.

    Attributes:
        since: deliveries made from here on; ``until`` is exclusive.
        complete: all of them were looked at; otherwise the newest, ``deliveries["total"]`` of them.
        deliveries: how many in each state, and in ``total``.
        success_rate: the share of attempts that succeeded, 0 to 1; ``None`` without attempts.
        oldest_waiting_age_s: of all that waits, also from before the window: how long the longest due
            one has been due; 0 where nothing is due yet, ``None`` where nothing waits for its time.
        next_attempt_at: when the next one of all that waits is due.
        last_success_at: when the last attempt that succeeded began, of those looked at.
    """

    since: Timestamp
    until: Timestamp
    complete: bool
    deliveries: dict[str, int]
    attempts: AttemptCounts
    success_rate: float | None
    latency_ms: Latency
    oldest_waiting_age_s: float | None
    next_attempt_at: Timestamp | None
    last_success_at: Timestamp | None
    last_failure_at: Timestamp | None


class Taken(msgspec.Struct, frozen=True, gc=False):
    """Attempts that took the same time and came to the same: how many, and when the last one began."""

    duration_ms: int
    succeeded: bool
    count: int
    last_at: int


def summary(
    deliveries: Mapping[DeliveryStatus, int],
    attempts: Iterable[Taken],
    *,
    since: Timestamp,
    until: Timestamp,
    next_due: Timestamp | None,
    now: Timestamp,
) -> SubscriptionStats:
    """The statistics of what was looked at.

    Args:
        deliveries: how many in each state, of the newest :data:`DELIVERIES_LIMIT` of the window.
        attempts: of these, up to :data:`ATTEMPTS_LIMIT`.
        since: the window's beginning.
        until: its end.
        next_due: when the first of all waiting deliveries is or was due.
        now: by the store's clock.
    """
    durations: Counter[int] = Counter()
    counts = {True: 0, False: 0}
    last: dict[bool, int] = {}
    for taken in attempts:
        durations[taken.duration_ms] += taken.count
        counts[taken.succeeded] += taken.count
        last[taken.succeeded] = max(last.get(taken.succeeded, 0), taken.last_at)
    total, tried_total = sum(deliveries.values()), durations.total()
    return SubscriptionStats(
        since=since,
        until=until,
        complete=total < DELIVERIES_LIMIT and tried_total < ATTEMPTS_LIMIT,
        deliveries={"total": total}
        | {str(status): deliveries.get(status, 0) for status in DeliveryStatus},
        attempts=AttemptCounts(total=tried_total, succeeded=counts[True], failed=counts[False]),
        success_rate=round(counts[True] / tried_total, 4) if tried_total else None,
        latency_ms=Latency(
            p50=percentile(durations, 0.5),
            p95=percentile(durations, 0.95),
            p99=percentile(durations, 0.99),
        ),
        oldest_waiting_age_s=None if next_due is None else max(0, now - next_due) / 1000,
        next_attempt_at=next_due,
        last_success_at=Timestamp(last[True]) if True in last else None,
        last_failure_at=Timestamp(last[False]) if False in last else None,
    )


def percentile(counted: Mapping[int, int], share: float) -> int | None:
    """The smallest value that at least this share of all values is not above (nearest rank).

    Args:
        counted: how often each value is there.
        share: more than 0, up to 1.
    """
    left = ceil(sum(counted.values()) * share)
    for value in sorted(counted):
        left -= counted[value]
        if left <= 0:
            return value
    return None
