"""Going from lane to lane when the front of a line belongs to those without room. No I/O."""

from collections.abc import Generator, Sequence
from typing import Any, Final, Generic

from triggers_api.store.questions import FIRST, LANES_AT_ONCE, Behind, Due, Lane, Within
from triggers_api.store.taking import Taking
from triggers_api.store.turns import K, Turns, Verdict

LANES_PER_CLAIM: Final = 512
"""Lanes that one claim finds at the most; then it is ``Chosen.unfinished``."""


class Walk(Generic[K]):
    """Going from lane to lane: reading past what waits for those without room would take for ever."""

    def __init__(
        self,
        taking: Taking[K],
        turns: Turns[K],
        spare_first: list[Due[K]],
        spare_later: list[Due[K]],
        *,
        hides_first: bool,
    ) -> None:
        self._taking = taking
        self._turns = turns
        self._spare_first = spare_first
        self._spare_later = spare_later
        self._hides_first = hides_first
        self._served: tuple[K, K] | None = None

    def go(self) -> Generator[Any, Any, bool]:
        """Walk until enough is found; returns whether that ended before everybody was looked at."""
        turns = self._turns
        turns.begin()
        found = 0
        while not self._has_enough():
            if found >= LANES_PER_CLAIM:
                return True
            lanes = yield Behind(*turns.after, tuple(self._taking.full))
            found += max(len(lanes), 1)
            verdict, wanted = self._arrive(lanes)
            if wanted:
                rows = yield Within(wanted)
                self._serve(rows)
            if verdict is Verdict.ENDED:
                turns.rest()
                return False
        turns.rest(self._served)
        return False

    @property
    def _wants_first(self) -> bool:
        whole = self._taking.whole
        return self._hides_first and whole.free > whole.kept

    def _has_enough(self) -> bool:
        taking = self._taking
        if not self._wants_first:
            # Nothing more is looked for that goes before them.
            for due in self._spare_later:
                taking.take(due)
            self._spare_later.clear()
        return not taking.whole.free

    def _arrive(self, lanes: Sequence[Lane[K]]) -> tuple[Verdict | None, list[tuple[Lane[K], int]]]:
        """Go on to these lanes; returns how that ended, and which of them to look into, how far."""
        taking, turns = self._taking, self._turns
        most = taking.whole.free
        wanted: list[tuple[Lane[K], int]] = []
        expected = 0
        for lane in lanes:
            organization = taking.organization(lane.organization)
            verdict = turns.arrive(
                (lane.organization, lane.subscription), full=not organization.free
            )
            if verdict is Verdict.PASS_OVER:
                continue
            if verdict is not Verdict.LOOK:
                return verdict, wanted
            room = taking.lane(lane)
            free = min(room.free, organization.free, most)
            if free:
                wanted.append((lane, free + room.taken))
                expected += free
                if expected >= 2 * most:
                    return verdict, wanted
        if len(lanes) < LANES_AT_ONCE:
            return turns.arrive(None, full=False), wanted
        return None, wanted

    def _serve(self, rows: Sequence[Due[K]]) -> None:
        taking = self._taking
        # A lane's second line before its first one, so that what is kept for it is not taken already.
        start = 0
        while start < len(rows):
            lane = rows[start].subscription
            end = start
            while end < len(rows) and rows[end].subscription == lane:
                end += 1
            self._serve_lane(rows[start:end])
            start = end
            if not taking.whole.free:
                return

    def _serve_lane(self, rows: Sequence[Due[K]]) -> None:
        taking = self._taking
        before = taking.whole.taken
        for due in rows:
            if due.priority != FIRST and not taking.take(due, from_kept=self._wants_first):
                self._spare(self._spare_later, due)
        for due in rows:
            if due.priority == FIRST and not taking.take(due):
                self._spare(self._spare_first, due)
        if taking.whole.taken > before:
            organization = rows[0].organization
            self._served = (organization, rows[0].subscription)
            if organization in taking.full:
                self._turns.leave(*self._served)

    def _spare(self, spare: list[Due[K]], due: Due[K]) -> None:
        taking = self._taking
        if (
            due.delivery not in taking.taken
            and taking.lane(due).free
            and due.organization not in taking.full
        ):
            spare.append(due)
