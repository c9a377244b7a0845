"""What is due first: read from the front, or from where what is in the way ended last. No I/O."""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Final, Generic

from triggers_api.store.passed import Passed, Place
from triggers_api.store.questions import FIRST, LATER, Ahead, Among, Due, Lane, Within
from triggers_api.store.taking import Taking
from triggers_api.store.turns import K

READ_AHEAD: Final = 256
"""Rows of a line that one claim reads at the most before it goes lane by lane."""
WORTH_PASSING: Final = 16
"""Rows in the way at which the next claim had better not read them again."""


class Front(Generic[K]):
    """Reading both lines from the front, or from where what is in the way ended the last time."""

    def __init__(self, taking: Taking[K], passed: Passed[K], now: int) -> None:
        self._taking = taking
        self._passed = passed
        self._now = now
        self._after = passed.after
        self._read: tuple[list[Due[K]], list[Due[K]]] = ([], [])
        self._looked_into: list[tuple[Lane[K], int]] = []
        self._found_before: list[Due[K]] = []
        self.spare: tuple[list[Due[K]], list[Due[K]]] = ([], [])
        """Of either line, what may be taken if nobody else needs the room."""
        self.hides = (True, True)
        """Whether there may be more in either line."""

    def go(self) -> Generator[Any, Any, None]:
        """Take what may be taken of what is due first."""
        passed, whole = self._passed, self._taking.whole
        reads_on = passed.may_pass(self._now)
        rows: list[Due[K]] = []
        if passed.begins_anew(self._now):
            self._after = passed.start
        else:
            rows = yield from self._look_back()
            if len(rows) >= whole.free:
                # Nobody else would ever be served: they need turns.
                rows, reads_on = [], False
                self._after = passed.start
        most = whole.free
        while most > 0:
            first_hides, later_hides = self.hides
            asked = (most if first_hides else 0, most if later_hides else 0)
            found = yield Ahead(self._after, asked)
            self._note(found, asked)
            self._take([*rows, *found])
            if not (reads_on and whole.free and any(self.hides)):
                return
            rows, most = [], min(2 * whole.free, READ_AHEAD - max(map(len, self._read)))

    def _look_back(self) -> Generator[Any, Any, list[Due[K]]]:
        """What waits before the places that were passed, in the lanes that have room now."""
        taking = self._taking
        asked = [
            (organization, subscription)
            for subscription, organization in self._passed.lanes.items()
            if taking.may_have_room(organization, subscription)
        ]
        lanes = (yield Among(asked)) if asked else ()
        # One more than there is room for, to see whether that is all.
        self._looked_into = [(lane, free + 1) for lane in lanes if (free := taking.room_of(lane))]
        rows = (yield Within(self._looked_into)) if self._looked_into else ()
        self._found_before = sorted(
            [due for due in rows if due.since <= self._after[due.line]], key=lambda due: due.since
        )
        return self._found_before

    def _note(self, rows: Sequence[Due[K]], asked: tuple[int, int]) -> None:
        first, later = _by_line(rows)
        self._read[FIRST].extend(first)
        self._read[LATER].extend(later)
        self.hides = (
            self.hides[FIRST] and len(first) == asked[FIRST],
            self.hides[LATER] and len(later) == asked[LATER],
        )
        self._after = (
            first[-1].since if first else self._after[FIRST],
            later[-1].since if later else self._after[LATER],
        )

    def _take(self, rows: Sequence[Due[K]]) -> None:
        taking = self._taking
        first, later = _by_line(rows)
        self.spare[LATER].extend([due for due in later if not taking.take(due, from_kept=True)])
        if taking.whole.kept and not self.hides[LATER]:
            taking.whole.kept = 0
            # What was left for the other line's sake comes before what lies behind it.
            first = [*self.spare[FIRST], *first]
            self.spare[FIRST].clear()
        self.spare[FIRST].extend([due for due in first if not taking.take(due)])

    def pass_over(self) -> None:
        """Remember what is in the way, once it is decided what is taken."""
        passed = self._passed
        for lane, most in self._looked_into:
            if not self._has_left(lane.subscription, most):
                passed.leave(lane.subscription)
        if passed.may_pass(self._now):
            full = self._without_room()
            served = {due.subscription for due in self._taking.taken.values()} if full else ()
            passed.note_full([each for each in full if each not in served], self._now)
            lanes: dict[K, K] = {}
            first, later = (self._in_the_way(read, full, lanes) for read in self._read)
            passed.go_past((first, later), lanes, self._now)

    def _without_room(self) -> dict[K, Due[K]]:
        """By subscription, one of what was left for lack of its room or its organization's."""
        taking = self._taking
        left = {
            due.subscription: due
            for read in self._read
            for due in read
            if due.delivery not in taking.taken
        }
        return {each: due for each, due in left.items() if not taking.room_of(due)}

    def _has_left(self, subscription: K, most: int) -> bool:
        """Whether something of a lane may still wait before the places that were passed."""
        found = _by_line([due for due in self._found_before if due.subscription == subscription])
        return max(map(len, found)) == most or any(
            due.delivery not in self._taking.taken for line in found for due in line
        )

    def _in_the_way(
        self, read: Sequence[Due[K]], full: Mapping[K, Due[K]], lanes: dict[K, K]
    ) -> Place[K] | None:
        """How far the next claim need not read a line again, and whose that is, into ``lanes``."""
        taken, passed = self._taking.taken, self._passed
        left = Counter([due.subscription for due in read if due.delivery not in taken])
        # To ask for a lane once it has room has to be cheaper than to read so many of it again.
        may_be_passed = {
            each
            for each, due in full.items()
            if due.most == 0
            or left[each] >= WORTH_PASSING
            or each in passed.lanes
            or passed.is_long_full(each, self._now)
        }
        # Of what falls due at this very moment there may be more, with lower keys.
        until = self._now - passed.margin_ms
        last: Due[K] | None = None
        found: dict[K, K] = {}
        count = 0
        for due in read:
            if due.due_at >= until:
                break
            if due.delivery not in taken:
                if due.subscription not in may_be_passed:
                    break
                found[due.subscription] = due.organization
                count += 1
            last = due
        if last is None or count < WORTH_PASSING:
            return None
        lanes |= found
        return last.since


def _by_line(rows: Iterable[Due[K]]) -> tuple[list[Due[K]], list[Due[K]]]:
    lines: tuple[list[Due[K]], list[Due[K]]] = ([], [])
    for due in rows:
        lines[due.line].append(due)
    return lines
