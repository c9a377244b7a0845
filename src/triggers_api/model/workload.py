"""How things stand at a moment: what waits, what is dead, of whom. Pure."""

from typing import Final

import msgspec

MOST: Final = 10_000
"""Up to how many rows of a kind are counted; totals that are kept as such have no bound."""


class Count(msgspec.Struct, frozen=True):
    """How many, if ``complete``; otherwise there are more, and counting was ended."""

    count: int
    complete: bool

    @classmethod
    def up_to(cls, most: int, count: int) -> "Count":
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
