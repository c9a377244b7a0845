"""When to try again: the subscription's schedule, jitter, and what the receiver asks for."""

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from triggers_api.model.timestamp import Timestamp

JITTER: Final = 0.2
"""A delay is stretched by up to this share, so that failures of one moment do not return as one."""

RETRY_AFTER_SPREAD_S: Final = 1.0
"""An answer to ``Retry-After`` comes up to this much later than asked, never earlier."""

RETRY_AFTER_LIMIT_S: Final = 24 * 3600.0
"""The longest a receiver can put a delivery off."""


def delay_s(schedule: tuple[float, ...], failures: int, *, draw: float) -> float | None:
    """Seconds to wait after so many failures in a row, or ``None`` when the schedule is used up.

    ``n`` delays make ``n + 1`` attempts. ``draw`` is a random number in [0, 1).
    """
    if failures > len(schedule):
        return None
    return schedule[failures - 1] * (1 + JITTER * draw)


def asked_delay_s(retry_after: float, *, draw: float) -> float:
    """Seconds to wait when the receiver asked for ``retry_after``: never earlier, at most 1 s later."""
    return min(max(retry_after, 0.0), RETRY_AFTER_LIMIT_S) + RETRY_AFTER_SPREAD_S * draw


def parse_retry_after(value: str, *, now: Timestamp) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3), or ``None`` for nonsense.

    Takes both forms, a whole number of seconds and an HTTP date.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        # A number too long to be meant is as good as the limit; int() would refuse 4301 digits.
        return float(value) if len(value) <= 10 else RETRY_AFTER_LIMIT_S
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:  # the oldest of the three forms has no zone and means UTC
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - now / 1000)
    except (ValueError, OverflowError, TypeError):
        return None
