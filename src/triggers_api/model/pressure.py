"""How long a full queue stays full: from how fast it gets shorter."""

import math
from typing import Final

LONGEST_RETRY_S: Final = 60
"""Nobody is told to stay away for longer: what is known of the rate is old by then."""

_MEMORY_S: Final = 5.0


class DrainRate:
    """Events that leave a queue in a second, smoothed over some five seconds.

    Measured only while something waits: an empty queue says nothing about how fast it could be emptied.
    """

    __slots__ = ("_at_s", "_depth", "_known", "per_second")

    def __init__(self) -> None:
        self._at_s = 0.0
        self._depth = 0
        self._known = False
        self.per_second = 0.0

    def observe(self, now_s: float, depth: int, *, came: int, left: int) -> None:
        """Take in a look at the queue.

        Args:
            now_s: seconds on a clock that never goes back.
            depth: events that wait.
            came: events that were put into it since the look before, as far as is known here.
            left: events that left it, as far as is known here; others may have taken more.
        """
        elapsed_s, before = now_s - self._at_s, self._depth
        was_known, self._at_s, self._depth = self._at_s > 0, now_s, depth
        if not was_known or elapsed_s <= 0 or not before:
            return
        measured = max(left, came + before - depth, 0) / elapsed_s
        if not self._known:
            self._known, self.per_second = True, measured
            return
        weight = 1 - math.exp(-elapsed_s / _MEMORY_S)
        self.per_second += (measured - self.per_second) * weight


def retry_after_s(excess: float, per_second: float) -> int:
    """Whole seconds until so many events less wait, from 1 to :data:`LONGEST_RETRY_S`.

    Args:
        excess: how many have to leave first.
        per_second: how many leave in a second; 0 when that is not known, or when none do.
    """
    if per_second <= 0:
        return LONGEST_RETRY_S
    return max(1, math.ceil(min(excess / per_second, LONGEST_RETRY_S)))


def overdue(depth: int, oldest_age_s: float, most_s: float) -> float:
    """About how many of those that wait have waited for longer than they may.

    As if they had come evenly over the time that the oldest one has waited.
    """
    if oldest_age_s <= most_s:
        return 0.0
    return max(1.0, depth * (oldest_age_s - most_s) / oldest_age_s)
