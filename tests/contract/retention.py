"""Ages of what is kept, as the tests give them."""

from __future__ import annotations

from collections.abc import Mapping

from triggers_api.model.retention import Cutoffs, Moments
from triggers_api.model.timestamp import Timestamp

NEVER = Timestamp(0)


def moments(
    every: Timestamp = NEVER,
    *,
    events: Timestamp | None = None,
    deliveries: Timestamp | None = None,
    attempts: Timestamp | None = None,
    dead_letters: Timestamp | None = None,
) -> Moments:
    """One moment for everything that is not named."""
    return Moments(
        events=every if events is None else events,
        deliveries=every if deliveries is None else deliveries,
        attempts=every if attempts is None else attempts,
        dead_letters=every if dead_letters is None else dead_letters,
    )


def cutoffs(every: Timestamp, own: Mapping[str, Timestamp] | None = None) -> Cutoffs:
    """The same moment for all there is, and other ones for some organizations."""
    return Cutoffs(
        default=moments(every),
        own={name: moments(moment) for name, moment in (own or {}).items()},
    )
