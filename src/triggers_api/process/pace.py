"""How hard a backlog is routed by a process that takes in events at the same time.

A turn of the processor and a request share one event loop, one writer and often one core. Whoever
comes during a turn waits for most of it, so that a backlog that is routed as fast as it can be makes
every answer late. While a process takes in few events it can have both: turns that are short, with
rests in between, and still several times as many events routed as come in. Where more come in than
that, nothing is spared: what comes in has to go out.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Final

SHORT_TURN: Final = 20
"""Events of a turn that is not to be noticed: about a millisecond's work."""

_REST: Final = 2.0
"""A rest, as a multiple of the turn before it."""
_LONGEST_REST_S: Final = 0.05
_TIMES_WHAT_COMES: Final = 4.0
_WINDOW_S: Final = 0.05


class Pace:
    """Told about each turn that left something to do; says how large the next one is, and when."""

    def __init__(
        self, taken_in: Callable[[], int], *, clock: Callable[[], float] = perf_counter
    ) -> None:
        """Begin at full speed.

        Args:
            taken_in: how many events this process has taken in so far.
            clock: seconds.
        """
        self._taken_in = taken_in
        self._clock = clock
        self._spares = False
        self._rate = 0.0
        self._looked_at = clock()
        self._seen = taken_in()

    def limit(self, most: int) -> int:
        """How many events the next turn claims, of so many that it may."""
        return min(most, SHORT_TURN) if self._spares else most

    def rest_s(self, routed: int, seconds: float) -> float:
        """How long to rest before the next turn.

        Args:
            routed: events of the last one.
            seconds: it took.
        """
        now, taken_in = self._clock(), self._taken_in()
        if now - self._looked_at >= _WINDOW_S:
            self._rate = (taken_in - self._seen) / (now - self._looked_at)
            self._looked_at, self._seen = now, taken_in
        with_rests = routed / (seconds * (1 + _REST)) if seconds else 0.0
        self._spares = 0.0 < self._rate * _TIMES_WHAT_COMES < with_rests
        return min(seconds * _REST, _LONGEST_REST_S) if self._spares else 0.0
