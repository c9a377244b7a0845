"""How much at once, and how often: what deliveries to one endpoint, tenant or host leave to others."""

from collections.abc import Mapping
from typing import Final

FIRST_WINDOW: Final = 2
"""Requests at once to an endpoint of which nothing is known."""

SLOW_S: Final = 1.0
"""A request that takes longer is slow, and with it its endpoint."""

SOON_S: Final = 1.0
"""Deliveries that have to wait longer than this for a rate wait in the store."""

LONGEST_THROTTLE_S: Final = 60.0
"""The longest that one ``Retry-After`` holds up an endpoint's other deliveries."""

_TOLERANCE_S: Final = 0.01


def room(slots: int, others: int, own: int) -> int:
    """How many more somebody may have: half of what the others leave, rounded up.

    One that hangs holds half of the slots, two hold three quarters, and there is a slot for the next.

    Args:
        slots: how many there may be at once.
        others: those of everybody else.
        own: those of this one.
    """
    return max(0, (slots - others + 1) // 2 - own)


def fair_room(slots: int, others: int, own: int, *, aside: int) -> int:
    """How many more slots somebody may take when nobody is known to want them.

    Beyond the half of :func:`room` only as many as could be put aside as soon as they turn out to be
    slow, so that never more than the half is held for long.

    Args:
        slots: how many there may be at once.
        others: those of everybody else.
        own: those of this one.
        aside: how many of its own could be put aside.
    """
    return max(0, min((slots - others + 1) // 2 + aside, slots - others) - own)


class Window:
    """How many requests at once an endpoint has shown that it can take.

    Grows by one for each success while it is what limits, which doubles it in each round; after the
    first trouble by one a round. Trouble halves it, once for all requests that were under way together
    (TCP's slow start and congestion avoidance, RFC 5681, 3.1).
    """

    __slots__ = ("_halved_at", "_size", "_troubled")

    def __init__(self) -> None:
        self._size = float(FIRST_WINDOW)
        self._troubled = False
        self._halved_at = float("-inf")

    @property
    def size(self) -> int:
        """Requests at once; never below 1."""
        return int(self._size)

    def succeeded(self, in_flight: int) -> None:
        """Take note of a success, with so many under way, itself included."""
        if in_flight >= self.size:
            self._size += 1 / self.size if self._troubled else 1

    def failed(self, *, started_at: float, now: float) -> None:
        """Take note of a request that met with trouble."""
        if started_at < self._halved_at:
            return
        self._size = max(1.0, self.size / 2)
        self._troubled = True
        self._halved_at = now


class Gate:
    """A rate, evenly spread, by GCRA, the generic cell rate algorithm (ITU-T I.371).

    Lets through one every ``1 / per_second`` seconds, at most 10 ms early so that a late one costs
    nothing: in any ``t`` seconds at most ``(t + 0.01) * per_second + 1``.
    """

    __slots__ = ("_next_at", "_promised_at", "per_second", "waiting")

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self.waiting = 0
        """How many stand before it, by those who keep count here."""
        self._next_at = float("-inf")
        self._promised_at = float("-inf")

    def opens_at(self) -> float:
        """From when on it lets the next one through."""
        return self._next_at - _TOLERANCE_S

    def reached_at(self, now: float) -> float:
        """When one that comes now would be let through, behind those that wait."""
        return max(now, self.opens_at()) + self.waiting / self.per_second

    def room(self, now: float) -> int:
        """How many more may come and be let through within :data:`SOON_S`, at least one if any."""
        left_s = now + SOON_S - self.reached_at(now)
        return 0 if left_s < 0 else max(1, int(left_s * self.per_second))

    def put_off(self, now: float) -> float:
        """When one that cannot wait here is to come again: a moment of its own for each."""
        at = max(self._promised_at + 1 / self.per_second, self.reached_at(now))
        self._promised_at = at
        return at

    def pass_through(self, now: float) -> None:
        """Let one through."""
        self._next_at = max(now, self._next_at) + 1 / self.per_second


def rate_of_host(host: str, rates: Mapping[str, float]) -> str | None:
    """The entry that limits a host: itself or the longest domain that it is in, if there is one."""
    labels = host.lower().rstrip(".").split(".")
    for start in range(len(labels)):
        name = ".".join(labels[start:])
        if name in rates:
            return name
    return None
