"""The clock of a store: the wall clock's time, except that it never goes back.

Leases, due times, ids and the order of what happened all hang on one clock. The machine's is set back
now and then (by a time server, by hand, by a virtual machine that wakes up), and what was due a moment
ago would then wait for an hour. See docs/decisions/0008-a-clock-that-never-goes-back.md.
"""

import threading
from collections.abc import Callable
from typing import Final

import structlog

from triggers_api.model.timestamp import Timestamp

log = structlog.get_logger(__name__)

_TENTHS: Final = 9
_WORTH_SAYING_MS: Final = 1000


class StoreClock:
    """Says what the wall clock says, or, while that is behind what was already said, goes on from there.

    Going on, it counts nine tenths of the time that passes on the wall clock, until this has caught up:
    an hour in ten. Callable in any thread.
    """

    def __init__(self, wall: Callable[[], Timestamp], *, not_before: Timestamp) -> None:
        """Begin.

        Args:
            wall: milliseconds since the epoch.
            not_before: a moment that has been: the last one of which the database knows.
        """
        self._wall = wall
        self._lock = threading.Lock()
        self._seen = wall()
        self._said = max(self._seen, not_before)
        self._tenths_left = 0
        self._report(self._said - self._seen)

    def __call__(self) -> Timestamp:
        """Now."""
        wall = self._wall()
        if wall >= self._said:
            # Without the lock, for speed: two threads that are here in the same millisecond may
            # leave the earlier one's reading behind, and it is no later than the next reading.
            self._said = self._seen = wall
            return wall
        with self._lock:
            return self._go_on()

    def _go_on(self) -> Timestamp:
        wall = self._wall()
        passed, self._seen = wall - self._seen, wall
        if passed > 0:
            whole, self._tenths_left = divmod(passed * _TENTHS + self._tenths_left, 10)
            self._said = Timestamp(self._said + whole)
        else:
            self._report(-passed)
        return self._said

    def _report(self, behind_ms: int) -> None:
        if behind_ms >= _WORTH_SAYING_MS:
            log.warning("the clock was set back", seconds=round(behind_ms / 1000, 3))
