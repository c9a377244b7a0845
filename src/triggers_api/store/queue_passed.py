"""What a process has gone past at the front of the queue while some organizations' events are left.

What waits for an organization whose processing is paused gathers at the front of the queue and stays
there, a million events if need be. A claim that has read some of it remembers where it ended, and the
next one begins behind that place. What it came by that belongs to others and could not be claimed then,
because it was in somebody's hands or put off, it remembers one by one. No I/O, and nothing that is lost
when the process ends.

What holds: what is due before :attr:`QueuePassed.after` belongs to an organization that is left, is
among :attr:`QueuePassed.behind`, or came later (:meth:`QueuePassed.came`).
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from triggers_api.store.passed import Place
from triggers_api.store.turns import K

Row = TypeVar("Row")

MOST_BEHIND: Final = 1000
"""More events of others than this are not left behind: the place stays where it is."""


class Seen(NamedTuple, Generic[K, Row]):
    """An event at the front of the queue.

    Attributes:
        place: where it is.
        left: its organization's events are left.
        ready: it can be claimed now.
        row: what the engine has to know of it.
    """

    place: Place[K]
    left: bool
    ready: bool
    row: Row


class QueuePassed(Generic[K, Row]):
    """A process's memory from claim to claim."""

    def __init__(self, lowest: K, *, margin_ms: int = 0) -> None:
        """Nothing has been passed.

        Args:
            lowest: no event has this key.
            margin_ms: what became due in less than this before a claim is not gone past.
        """
        self._margin_ms = margin_ms
        self._lowest = lowest
        self._start: Place[K] = Place(0, lowest)
        self._left: frozenset[str] = frozenset()
        self.after = self._start
        """Behind which place the next claim reads on."""
        self.behind: dict[Place[K], Row] = {}
        """Events of others before that place."""
        self.swept = self._start
        """How far a second look at what lies before that place has come."""

    def begin(self, left: Collection[str]) -> None:
        """The events of these organizations are left. If those of one are not any more, begin anew."""
        now_left = frozenset(left)
        if not self._left <= now_left:
            self.after = self.swept = self._start
            self.behind.clear()
        self._left = now_left

    def go_past(self, rows: Sequence[Seen[K, Row]], room: int, now: int) -> list[Seen[K, Row]]:
        """Go past what was read behind the place; what can be taken of it, ``room`` at the most."""
        taken: list[Seen[K, Row]] = []
        moving = True
        for seen in rows:
            if len(taken) == room:
                break
            moving = moving and seen.place.due_at < now - self._margin_ms
            if not seen.left and seen.place not in self.behind:
                if seen.ready:
                    taken.append(seen)
                moving = moving and len(self.behind) < MOST_BEHIND
                if moving:
                    # What is taken, too: who took it may die.
                    self.behind[seen.place] = seen.row
            if moving:
                self.after = seen.place
        return taken

    def look_back(self, found: Iterable[Seen[K, Row]], room: int) -> list[Seen[K, Row]]:
        """What can be taken of what was left behind, which is all that was ``found`` of it."""
        others = [seen for seen in found if not seen.left]
        others.sort(key=lambda seen: seen.place)
        self.behind = {seen.place: seen.row for seen in others}
        return [seen for seen in others if seen.ready][:room]

    def sweep(self, rows: Sequence[Seen[K, Row]], asked: int) -> list[Seen[K, Row]]:
        """What others committed late, of what was read again before the place."""
        late = [seen for seen in rows if not seen.left and seen.place not in self.behind]
        for seen in late:
            self.behind[seen.place] = seen.row
        self.swept = rows[-1].place if len(rows) == asked else self._start
        return [seen for seen in late if seen.ready]

    def came(self, due_at: int) -> None:
        """An event has come that is due then, which may be past."""
        if due_at <= self.after.due_at:
            self.after = min(self.after, Place(due_at, self._lowest))
