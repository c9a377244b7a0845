"""What a process has gone past at the front of the lines, so that it need not read it at every claim.

Where an endpoint hangs or its breaker is open, what waits for it gathers at the front of the due
deliveries and stays there. A claim that has read it remembers where it ended and whose it was; the
next claim begins behind that place and looks into those lanes one by one as soon as they have room.
No I/O, and nothing that is lost when the process ends.

What holds: what is due before :attr:`Passed.after` belongs to one of :attr:`Passed.lanes`, is in
somebody's hands, or was due before it came (:meth:`Passed.came`). What breaks that, and where there are
other processes something may, is made good by a claim from the beginning, which there is now and then.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Generic, NamedTuple

from triggers_api.store.turns import K

LANES_PASSED: Final = 256
"""More lanes than this are not gone past: to ask for each would take as long as to walk."""

_WHOLE_EVERY_MS: Final = 5000
_CROWDED_MS: Final = 5000
_LONG_FULL_MS: Final = 100


class Place(NamedTuple, Generic[K]):
    """A place in a line: behind the delivery that was due then."""

    due_at: int
    delivery: K


class Passed(Generic[K]):
    """A process's memory from claim to claim of what is in the way at the front of the two lines."""

    def __init__(
        self,
        lowest: K,
        *,
        most: int = LANES_PASSED,
        margin_ms: int = 0,
        whole_every_ms: int = _WHOLE_EVERY_MS,
    ) -> None:
        """Nothing has been passed.

        Args:
            lowest: no delivery has this key.
            most: so many lanes are gone past.
            margin_ms: what became due in less than this before a claim is not gone past.
            whole_every_ms: so often a claim begins from the front whatever has been passed.
        """
        self.margin_ms = margin_ms
        self._whole_every_ms = whole_every_ms
        self._start: tuple[Place[K], Place[K]] = (Place(0, lowest), Place(0, lowest))
        self._lowest = lowest
        self._most = most
        self._full_since: dict[K, int] = {}
        self._whole_at: int | None = None
        self._crowded_until: int | None = None
        self.after = self._start
        """Behind which place the next claim reads each line."""
        self.lanes: dict[K, K] = {}
        """The organization of each subscription that has something before these places."""

    def begins_anew(self, now: int) -> bool:
        """Whether a claim has to read from the beginning, whatever has been passed."""
        if not self.lanes:
            return True
        last = self._whole_at
        if last is None or not last <= now < last + self._whole_every_ms:
            self._whole_at = now
            return True
        return False

    def look_at_all(self) -> None:
        """The next claim has to read from the beginning."""
        self._whole_at = None

    def may_pass(self, now: int) -> bool:
        """Whether it is worth to read on at the front, to go past what is there."""
        return self._most > 0 and (self._crowded_until is None or now >= self._crowded_until)

    def note_full(self, subscriptions: Iterable[K], now: int) -> None:
        """These have something at the front and no room for any of it; all others have."""
        before = self._full_since
        self._full_since = {each: before.get(each, now) for each in subscriptions}

    def is_long_full(self, subscription: K, now: int) -> bool:
        """Whether this one had no room for a while."""
        return now - self._full_since.get(subscription, now) >= _LONG_FULL_MS

    @property
    def start(self) -> tuple[Place[K], Place[K]]:
        """Before all that is due."""
        return self._start

    def go_past(
        self, places: tuple[Place[K] | None, Place[K] | None], lanes: Mapping[K, K], now: int
    ) -> None:
        """What is due before a place in either line belongs to these lanes and those known before."""
        if not lanes:
            return
        if not self.lanes:
            self._whole_at = now
        self.lanes |= lanes
        if len(self.lanes) > self._most:
            self.forget()
            self._crowded_until = now + _CROWDED_MS
            return
        first, later = (
            before if place is None else max(before, place)
            for before, place in zip(self.after, places, strict=True)
        )
        self.after = (first, later)

    def leave(self, subscription: K) -> None:
        """This one has nothing more before either place."""
        self.lanes.pop(subscription, None)
        if not self.lanes:
            self.after = self._start

    def came(self, moments: Sequence[int]) -> None:
        """Deliveries have become due at these moments, which may be past."""
        if not self.lanes or not moments:
            return
        soonest = min(moments)
        first, later = self.after
        if soonest <= max(first.due_at, later.due_at):
            place = Place(soonest, self._lowest)
            self.after = (min(first, place), min(later, place))

    def forget(self) -> None:
        """Begin anew."""
        self.lanes.clear()
        self.after = self._start
