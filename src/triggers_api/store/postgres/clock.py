"""The database's time in this process: leases and due times hang on one clock, not on one a machine."""

from collections.abc import Callable
from typing import Final

import structlog

from triggers_api.model.timestamp import Timestamp
from triggers_api.store.postgres.connection import Standing

log = structlog.get_logger(__name__)

_TOO_SLOW_S: Final = 0.25
_WORTH_SAYING_MS: Final = 1000


class DatabaseClock:
    """The wall clock, put right by how far it is from the database's."""

    def __init__(self, wall: Callable[[], Timestamp], *, follows: bool) -> None:
        """Begin with the wall clock's time.

        Args:
            wall: milliseconds since the epoch on this machine.
            follows: whether the database's answers put it right; if not it says what ``wall`` says.
        """
        self._wall = wall
        self._follows = follows
        self._compared = False
        self.ahead_ms = 0
        """How far the database's clock is ahead of this machine's."""

    @property
    def skew_ms(self) -> int:
        """How far the clocks of two processes may be apart: each is off by a round trip at the most.

        An answer is off by half of one, and another half is what :meth:`compare` lets pass.
        """
        return 2 * (round(_TOO_SLOW_S * 1000) + 1) if self._follows else 0

    def __call__(self) -> Timestamp:
        """Now, by the database's clock."""
        return Timestamp(self._wall() + self.ahead_ms)

    def compare(self, found: Standing) -> None:
        """Take in what the database said a moment ago.

        Its answer was made some time between question and arrival, so what is known is a span as long
        as the round trip; the clock is put right only when it lies outside. A slow answer says little,
        but more than none: it counts as long as there was no other.
        """
        if not self._follows or (found.asked_in_s > _TOO_SLOW_S and self._compared):
            return
        self._compared = True
        half_ms = found.asked_in_s * 500
        ahead_ms = round(found.now + half_ms - self._wall())
        if abs(ahead_ms - self.ahead_ms) <= half_ms + 1:
            return
        if abs(ahead_ms - self.ahead_ms) >= _WORTH_SAYING_MS:
            log.warning("this machine's clock is off the database's", seconds=-ahead_ms / 1000)
        self.ahead_ms = ahead_ms
