"""How things stand at a moment: what waits, what is dead, of whom. Pure."""

from collections.abc import Iterable
from typing import Any, Final, Self

import msgspec

MOST: Final = 10_000
"""Up to how many rows of a kind are counted; totals that are kept as such have no bound."""


class Count(msgspec.Struct, frozen=True):
    """How many, if ``complete``; otherwise there are more, and counting was ended."""

    count: int
    complete: bool

    @classmethod
    def up_to(cls, most: int, count: int) -> Self:
        """Of a count that was to go up to ``most`` and one more."""
        return cls(min(count, most), count <= most)


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """An organization, or all together.

    Attributes:
        events: accepted, and not pruned since.
        pruned: deleted for their age.
        deliveries: on file, in whatever state.
        queued: events due and not routed yet.
        oldest_queued_age_s: for how long the first of them has been due; ``None`` without any.
        failed: events set aside because they could not be routed.
        quarantined: events kept aside because they do not fit their schema.
        waiting: deliveries not finished, those being sent included.
        delivering: deliveries being sent.
        dead: dead letters.
    """

    events: int
    pruned: int
    deliveries: int
    queued: Count
    oldest_queued_age_s: float | None
    failed: Count
    quarantined: Count
    waiting: Count
    delivering: Count
    dead: Count

    @classmethod
    def seen(cls, row: Iterable[Any], most: int, now: int) -> Self:
        """What a look came to that ended after ``most`` rows of a kind and one more.

        Args:
            row: the totals; of the queue how many were looked at, how many are due, and since when; of
                what is kept aside how many were looked at, if not by status; and the other counts.
            most: rows of a kind.
            now: by the store's clock.
        """
        events, pruned, deliveries, in_queue, queued, oldest, aside, *counts = row
        failed, quarantined, waiting, delivering, dead = counts
        return cls(
            events=events,
            pruned=pruned,
            deliveries=deliveries,
            queued=Count(min(queued, most), in_queue <= most),
            oldest_queued_age_s=None if oldest is None else max(0, now - oldest) / 1000,
            failed=Count(min(failed, most), max(failed, aside) <= most),
            quarantined=Count(min(quarantined, most), max(quarantined, aside) <= most),
            waiting=Count.up_to(most, waiting),
            # Of what is not finished, as far as that was looked at.
            delivering=Count(min(delivering, most), max(delivering, waiting) <= most),
            dead=Count.up_to(most, dead),
        )


class SubscriptionWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription: its deliveries that are not finished, and its dead letters."""

    waiting: Count
    dead: Count


class DeadGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters of one subscription with one error class, see ``model.outcome.error_class``.

    Attributes:
        count: how many, if ``complete``; otherwise there are more.
        newest: the delivery that was made last.
    """

    subscription_id: str
    error_class: str
    count: int
    complete: bool
    newest: str
