"""Which due deliveries a claim takes: by line, by room, and by turn. No I/O; every engine asks this.

There are two lines, first attempts and what comes after them (retries, replays). Of a claim, of a
lane's room and of an organization's room a quarter is kept for the second line while it has any, and
the rest for the first one while it has any; each fills up what the other leaves.
"""

from collections import Counter
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from typing import Any, Final, Generic

import msgspec

from triggers_api.store.passed import Passed, Place
from triggers_api.store.turns import K, Turns, Verdict

FIRST: Final = 0
"""Priority of an event's first attempt."""
LATER: Final = 1
"""Priority of everything after it."""

LANES_AT_ONCE: Final = 64
LANES_PER_CLAIM: Final = 512
"""Lanes that one claim finds at the most; then it is :attr:`Chosen.unfinished`."""

CLAIMED_BYTES: Final = 16 << 20
"""A claim ends with the payload that reaches this."""

_LATER_SHARE: Final = 0.25

_READ_AHEAD: Final = 512
"""Rows of a line that one claim reads at the most before it goes lane by lane."""
_WORTH_PASSING: Final = 16
"""Rows in the way at which the next claim had better not read them again."""


class Lane(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """What waits for a subscription.

    Attributes:
        most: how many it may have at once; 0 for one that is not delivered to now.
        probe: its breaker is open and a probe may be made.
    """

    organization: K
    subscription: K
    most: int
    probe: bool


class Due(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """A delivery that is due and in nobody's hands; ``place`` is where the engine finds it again."""

    delivery: K
    organization: K
    subscription: K
    most: int
    probe: bool
    priority: int
    due_at: int
    recovered: bool
    place: Any = None


class Ahead(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """The question for what is due first behind a place in each line, up to so many of each.

    The first line comes before the second, each in the order of falling due.
    """

    after: tuple[Place[K], Place[K]]
    most: tuple[int, int]


class Among(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """The question for lanes, by organization and subscription, as they are now."""

    lanes: Sequence[tuple[K, K]]


class Behind(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """The question for the lanes behind a lane, in order, up to :data:`LANES_AT_ONCE`.

    Of a full organization at most one need be found. One that is not delivered to is followed by the
    next that is, whether anything waits there or not: so those in between cost nothing.
    """

    organization: K
    subscription: K
    full: Collection[K]


class Within(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """The question for what is due in some lanes: of each so many of either line, in order."""

    lanes: Sequence[tuple[Lane[K], int]]


class Chosen(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """The answer: what to lease, in an order in which a part from the front is fair as well."""

    due: list[Due[K]]
    unfinished: bool


class Allowed(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """``store.base.Rooms`` by the engine's keys."""

    subscriptions: Mapping[K, int]
    default_subscription: int
    organizations: Mapping[K, int]
    default_organization: int


class _Room:
    """How many more, and how many of them are kept for the second line."""

    __slots__ = ("free", "kept", "taken")

    def __init__(self, free: int, phase: float) -> None:
        self.free = max(free, 0)
        self.kept = int(self.free * _LATER_SHARE + phase)
        self.taken = 0

    def take(self, priority: int) -> None:
        self.free -= 1
        self.taken += 1
        if priority != FIRST:
            self.kept -= 1


class _Choice(Generic[K]):
    """What has been taken so far, and the room that is left."""

    def __init__(self, limit: int, allowed: Allowed[K], phase: float) -> None:
        self._allowed = allowed
        self._phase = phase
        self.whole = _Room(limit, phase)
        self._lanes: dict[K, _Room] = {}
        self._organizations: dict[K, _Room] = {}
        self.full = {each for each, free in allowed.organizations.items() if free <= 0}
        self.taken: dict[K, Due[K]] = {}

    def may_have_room(self, organization: K, subscription: K) -> bool:
        """Whether it depends on the subscription alone."""
        allowed = self._allowed
        free = allowed.subscriptions.get(subscription, allowed.default_subscription)
        return free > 0 and self.organization(organization).free > 0

    def room_of(self, of: Lane[K] | Due[K]) -> int:
        """How many more of what waits for a subscription may be taken by its and its owner's room."""
        return min(self.lane(of).free, self.organization(of.organization).free)

    def lane(self, of: Lane[K] | Due[K]) -> _Room:
        found = self._lanes.get(of.subscription)
        if found is None:
            free = 0
            if of.most > 0:
                allowed = self._allowed
                default = min(of.most, allowed.default_subscription)
                free = allowed.subscriptions.get(of.subscription, default)
                if of.probe:
                    free = min(free, 1)
            found = self._lanes[of.subscription] = _Room(free, self._phase)
        return found

    def organization(self, key: K) -> _Room:
        found = self._organizations.get(key)
        if found is None:
            allowed = self._allowed
            free = allowed.organizations.get(key, allowed.default_organization)
            found = self._organizations[key] = _Room(free, self._phase)
            if not found.free:
                self.full.add(key)
        return found

    def take(self, due: Due[K], *, from_kept: bool = False) -> bool:
        """Take one if there is room for it; of the second line, from what is kept for that line."""
        whole, lane = self.whole, self.lane(due)
        organization = self.organization(due.organization)
        if not (whole.free and lane.free and organization.free) or due.delivery in self.taken:
            return False
        if from_kept:
            if min(whole.kept, lane.kept, organization.kept) <= 0:
                return False
        elif due.priority == FIRST and whole.free <= whole.kept:
            return False
        whole.take(due.priority)
        lane.take(due.priority)
        organization.take(due.priority)
        if not organization.free:
            self.full.add(due.organization)
        self.taken[due.delivery] = due
        return True


Asking = Generator[Any, Any, Chosen[K]]


def choose(
    *, limit: int, allowed: Allowed[K], turns: Turns[K], passed: Passed[K], now: int
) -> Asking[K]:
    """Choose up to ``limit`` due deliveries.

    Args:
        limit: how many to take.
        allowed: the rooms.
        turns: where this process stands; is changed.
        passed: what it has gone past at the front; is changed.
        now: when they are claimed.

    Yields:
        :class:`Ahead` and :class:`Within`, to be sent what is due; :class:`Among` and, when the front
        of a line belongs to those without room, :class:`Behind`, to be sent lanes.
    """
    turns.next_phase()
    choice = _Choice(limit, allowed, turns.phase)
    whole = choice.whole
    front = _Front(choice, passed, now)
    yield from front.go()
    unfinished = False
    if whole.free and any(front.hides):
        walk = _Walk(choice, turns, *front.spare, hides_first=front.hides[FIRST])
        unfinished = yield from walk.go()
    whole.kept = 0
    for spare in front.spare:
        for due in spare:
            if not whole.free:
                break
            choice.take(due)
    front.pass_over()
    if unfinished and not whole.free:
        turns.rest()
        unfinished = False
    return Chosen(_mixed(choice.taken.values()), unfinished)


class _Front(Generic[K]):
    """Reading both lines from the front, or from where what is in the way ended the last time."""

    def __init__(self, choice: _Choice[K], passed: Passed[K], now: int) -> None:
        self._choice = choice
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
        passed, whole = self._passed, self._choice.whole
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
            rows, most = [], min(2 * whole.free, _READ_AHEAD - max(map(len, self._read)))

    def _look_back(self) -> Generator[Any, Any, list[Due[K]]]:
        """What waits before the places that were passed, in the lanes that have room now."""
        choice = self._choice
        asked = [
            (organization, subscription)
            for subscription, organization in self._passed.lanes.items()
            if choice.may_have_room(organization, subscription)
        ]
        lanes = (yield Among(asked)) if asked else ()
        # One more than there is room for, to see whether that is all.
        self._looked_into = [(lane, free + 1) for lane in lanes if (free := choice.room_of(lane))]
        rows = (yield Within(self._looked_into)) if self._looked_into else ()
        self._found_before = sorted(
            [due for due in rows if _place(due) <= self._after[_line(due)]], key=_place
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
            _place(first[-1]) if first else self._after[FIRST],
            _place(later[-1]) if later else self._after[LATER],
        )

    def _take(self, rows: Sequence[Due[K]]) -> None:
        choice = self._choice
        first, later = _by_line(rows)
        self.spare[LATER].extend([due for due in later if not choice.take(due, from_kept=True)])
        if choice.whole.kept and not self.hides[LATER]:
            choice.whole.kept = 0
            # What was left for the other line's sake comes before what lies behind it.
            first = [*self.spare[FIRST], *first]
            self.spare[FIRST].clear()
        self.spare[FIRST].extend([due for due in first if not choice.take(due)])

    def pass_over(self) -> None:
        """Remember what is in the way, once it is decided what is taken."""
        passed = self._passed
        for lane, most in self._looked_into:
            if not self._has_left(lane.subscription, most):
                passed.leave(lane.subscription)
        if passed.may_pass(self._now):
            passed.note_full(self._full(), self._now)
            lanes: dict[K, K] = {}
            first, later = (self._in_the_way(read, lanes) for read in self._read)
            passed.go_past((first, later), lanes, self._now)

    def _full(self) -> set[K]:
        """Those of whom something is in the way and nothing was taken."""
        choice, taken = self._choice, self._choice.taken
        left = [due for read in self._read for due in read if due.delivery not in taken]
        if not left:
            return set()
        served = {due.subscription for due in taken.values()}
        return {
            due.subscription
            for due in left
            if due.subscription not in served and not choice.room_of(due)
        }

    def _has_left(self, subscription: K, most: int) -> bool:
        """Whether something of a lane may still wait before the places that were passed."""
        found = _by_line([due for due in self._found_before if due.subscription == subscription])
        return max(map(len, found)) == most or any(
            due.delivery not in self._choice.taken for line in found for due in line
        )

    def _in_the_way(self, read: Sequence[Due[K]], lanes: dict[K, K]) -> Place[K] | None:
        """How far the next claim need not read a line again, and whose that is, into ``lanes``."""
        taken = self._choice.taken
        left = Counter(due.subscription for due in read if due.delivery not in taken)
        if sum(left.values()) < _WORTH_PASSING:
            return None
        place: Place[K] | None = None
        passed: dict[K, K] = {}
        count = 0
        for due in read:
            # Of what falls due at this very moment there may be more, with lower keys.
            if due.due_at >= self._now - self._passed.margin_ms:
                break
            if due.delivery not in taken:
                if not self._is_in_the_way(due, left[due.subscription]):
                    break
                passed[due.subscription] = due.organization
                count += 1
            place = _place(due)
        if count < _WORTH_PASSING:
            return None
        lanes |= passed
        return place

    def _is_in_the_way(self, of: Due[K], left: int) -> bool:
        """Whether to ask for a lane once it has room is cheaper than to read so many of it again."""
        return not self._choice.room_of(of) and (
            of.most == 0
            or left >= _WORTH_PASSING
            or of.subscription in self._passed.lanes
            or self._passed.is_long_full(of.subscription, self._now)
        )


def _line(due: Due[K]) -> int:
    return FIRST if due.priority == FIRST else LATER


def _by_line(rows: Iterable[Due[K]]) -> tuple[list[Due[K]], list[Due[K]]]:
    lines: tuple[list[Due[K]], list[Due[K]]] = ([], [])
    for due in rows:
        lines[_line(due)].append(due)
    return lines


def _place(due: Due[K]) -> Place[K]:
    return Place(due.due_at, due.delivery)


class _Walk(Generic[K]):
    """Going from lane to lane: reading past what waits for those without room would take for ever."""

    def __init__(
        self,
        choice: _Choice[K],
        turns: Turns[K],
        spare_first: list[Due[K]],
        spare_later: list[Due[K]],
        *,
        hides_first: bool,
    ) -> None:
        self._choice = choice
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
            lanes = yield Behind(*turns.after, tuple(self._choice.full))
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
        whole = self._choice.whole
        return self._hides_first and whole.free > whole.kept

    def _has_enough(self) -> bool:
        choice = self._choice
        if not self._wants_first:
            # Nothing more is looked for that goes before them.
            for due in self._spare_later:
                choice.take(due)
            self._spare_later.clear()
        return not choice.whole.free

    def _arrive(self, lanes: Sequence[Lane[K]]) -> tuple[Verdict | None, list[tuple[Lane[K], int]]]:
        """Go on to these lanes; returns how that ended, and which of them to look into, how far."""
        choice, turns = self._choice, self._turns
        most = choice.whole.free
        wanted: list[tuple[Lane[K], int]] = []
        expected = 0
        for lane in lanes:
            organization = choice.organization(lane.organization)
            verdict = turns.arrive(
                (lane.organization, lane.subscription), full=not organization.free
            )
            if verdict is Verdict.PASS_OVER:
                continue
            if verdict is not Verdict.LOOK:
                return verdict, wanted
            room = choice.lane(lane)
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
        choice = self._choice
        # A lane's second line before its first one, so that what is kept for it is not taken already.
        start = 0
        while start < len(rows):
            lane = rows[start].subscription
            end = start
            while end < len(rows) and rows[end].subscription == lane:
                end += 1
            self._serve_lane(rows[start:end])
            start = end
            if not choice.whole.free:
                return

    def _serve_lane(self, rows: Sequence[Due[K]]) -> None:
        choice = self._choice
        before = choice.whole.taken
        for due in rows:
            if due.priority != FIRST and not choice.take(due, from_kept=self._wants_first):
                self._spare(self._spare_later, due)
        for due in rows:
            if due.priority == FIRST and not choice.take(due):
                self._spare(self._spare_first, due)
        if choice.whole.taken > before:
            organization = rows[0].organization
            self._served = (organization, rows[0].subscription)
            if organization in choice.full:
                self._turns.leave(*self._served)

    def _spare(self, spare: list[Due[K]], due: Due[K]) -> None:
        choice = self._choice
        if (
            due.delivery not in choice.taken
            and choice.lane(due).free
            and due.organization not in choice.full
        ):
            spare.append(due)


def _mixed(taken: Iterable[Due[K]]) -> list[Due[K]]:
    """Both lines in the order of falling due, and three of the first one for each of the second."""
    lines: tuple[list[Due[K]], list[Due[K]]] = ([], [])
    for due in taken:
        lines[due.priority != FIRST].append(due)
    for line in lines:
        line.sort(key=lambda due: (due.due_at, due.delivery))
    first, later = lines
    if not later:
        return first
    mixed: list[Due[K]] = []
    for at, due in enumerate(later):
        mixed += first[3 * at : 3 * at + 3]
        mixed.append(due)
    return mixed + first[3 * len(later) :]
