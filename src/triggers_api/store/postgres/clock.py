"""The database's time in this process: leases and due times hang on one clock, not on one a machine."""

import time
from collections.abc import Callable
from typing import Final

import structlog

from triggers_api.model.timestamp import Timestamp
from triggers_api.store.postgres.connection import Standing

log = structlog.get_logger(__name__)

_TOO_SLOW_S: Final = 0.25
_WORTH_SAYING_MS: Final = 1000

_PASSING: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Nobody sets it and, where there is one that does, it goes on while the machine is suspended."""


def passed_s() -> float:
    """Seconds on a clock that only goes on."""
    return time.clock_gettime(_PASSING)


class DatabaseClock:
    """What the database's clock said last, and the time that has passed since.

    The time that passes is counted by a clock that nobody sets: when this machine's wall clock is put
    right by a minute, the database's has not moved.
    """

    def __init__(
        self,
        wall: Callable[[], Timestamp],
        *,
        follows: bool,
        monotonic: Callable[[], float] = passed_s,
    ) -> None:
        """Begin with the wall clock's time.

        Args:
            wall: milliseconds since the epoch on this machine.
            follows: whether the database's answers count; if not it says what ``wall`` says.
            monotonic: seconds on a clock that only goes on.
        """
        self._wall = wall
        self.follows = follows
        """Whether the database's answers count."""
        self._monotonic = monotonic
        self._compared = False
        self._said_ms: float = wall()
        self._said_at = monotonic()

    @property
    def skew_ms(self) -> int:
        """How far the clocks of two processes may be apart: each is off by a round trip at the most.

        An answer is off by half of one, and another half is what :meth:`compare` lets pass.
        """
        return 2 * (round(_TOO_SLOW_S * 1000) + 1) if self.follows else 0

    @property
    def ahead_ms(self) -> int:
        """How far the database's clock is ahead of this machine's."""
        return self() - self._wall()

    def __call__(self) -> Timestamp:
        """Now, by the database's clock."""
        if not self.follows:
            return self._wall()
        return Timestamp(self._said_ms + (self._monotonic() - self._said_at) * 1000)

    def compare(self, found: Standing) -> None:
        """Take in what the database said a moment ago.

        Its answer was made some time between question and arrival, so what is known is a span as long
        as the round trip; the clock is put right only when it lies outside. A slow answer says little,
        but more than none: it counts as long as there was no other.
        """
        if not self.follows or (found.asked_in_s > _TOO_SLOW_S and self._compared):
            return
        first, self._compared = not self._compared, True
        half_ms = found.asked_in_s * 500
        off_ms = found.now + half_ms - self()
        if not first and abs(off_ms) <= half_ms + 1:
            return
        if abs(off_ms) >= _WORTH_SAYING_MS:
            if first:
                log.warning(
                    "this machine's clock is off the database's", seconds=round(-off_ms / 1000, 3)
                )
            else:
                log.warning("the database's clock was set", seconds=round(off_ms / 1000, 3))
        self._said_ms = found.now + half_ms
        self._said_at = self._monotonic()
