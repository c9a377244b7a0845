"""What a claim goes past at the front is served all the same: against a model of the due deliveries."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers_api.store.choice import choose
from triggers_api.store.passed import Passed, Place
from triggers_api.store.questions import (
    LANES_AT_ONCE,
    Ahead,
    Allowed,
    Among,
    Behind,
    Chosen,
    Due,
    Lane,
    Within,
)
from triggers_api.store.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LAST = 1 << 62
LANES = [(1, 11), (1, 12), (2, 21), (2, 22)]


class Row(msgspec.Struct):
    number: int
    lane: tuple[int, int]
    priority: int
    due_at: int
    leased: bool = False
    ran_out: bool = False


class Model:
    """The due deliveries in a list, and the answers that an engine would give."""

    def __init__(self, *, lanes_passed: int) -> None:
        self.now = 1000
        self.rows: list[Row] = []
        self.made = 0
        self.held: set[tuple[int, int]] = set()
        self.turns: Turns[int] = Turns(0, LAST)
        self.passed: Passed[int] = Passed(0, most=lanes_passed)

    def add(self, lane: tuple[int, int], count: int, priority: int, before: int) -> None:
        due_at = self.now - before
        for _ in range(count):
            self.made += 1
            self.rows.append(Row(self.made, lane, priority, due_at))
        if before:
            self.passed.came([due_at])

    def waiting(self, lane: tuple[int, int] | None = None) -> list[Row]:
        """What may be claimed, in the order of falling due."""
        found = [row for row in self.rows if not row.leased and row.due_at <= self.now]
        found = [row for row in found if lane is None or row.lane == lane]
        return sorted(found, key=lambda row: (row.due_at, row.number))

    def claim(
        self, limit: int, rooms: Mapping[tuple[int, int], int], organizations: Mapping[int, int]
    ) -> Chosen[int]:
        if any(row.ran_out for row in self.rows):
            self.passed.look_at_all()
        allowed = Allowed(
            {subscription: room for (_, subscription), room in rooms.items()},
            2,
            organizations,
            LAST,
        )
        asking = choose(
            limit=limit, allowed=allowed, turns=self.turns, passed=self.passed, now=self.now
        )
        answer: list[Any] | None = None
        while True:
            try:
                answer = list(self._answer(asking.send(answer)))
            except StopIteration as ended:
                chosen: Chosen[int] = ended.value
                return chosen

    def _answer(self, asked: object) -> Iterator[Due[int] | Lane[int]]:
        if isinstance(asked, Ahead):
            for line in (0, 1):
                rows = [
                    row
                    for row in self.waiting()
                    if row.priority == line and Place(row.due_at, row.number) > asked.after[line]
                ]
                yield from [self._due(row) for row in rows[: asked.most[line]]]
        elif isinstance(asked, Within):
            for lane, most in asked.lanes:
                rows = self.waiting((lane.organization, lane.subscription))
                for line in (0, 1):
                    yield from [self._due(row) for row in rows if row.priority == line][:most]
        elif isinstance(asked, Among):
            yield from [self._lane(*lane) for lane in asked.lanes]
        else:
            assert isinstance(asked, Behind)
            lanes = sorted({row.lane for row in self.rows if not row.leased})
            behind = [each for each in lanes if each > (asked.organization, asked.subscription)]
            yield from [self._lane(*each) for each in behind[:LANES_AT_ONCE]]

    def _lane(self, organization: int, subscription: int) -> Lane[int]:
        most = 0 if (organization, subscription) in self.held else LAST
        return Lane(organization, subscription, most, probe=False)

    def _due(self, row: Row) -> Due[int]:
        lane = self._lane(*row.lane)
        return Due(
            row.number,
            lane.organization,
            lane.subscription,
            lane.most,
            lane.probe,
            row.priority,
            row.due_at,
            recovered=False,
        )

    def come_back(self, given_back: int, run_out: int) -> None:
        """So many of what is leased are given back, and of so many the lease runs out."""
        leased = [row for row in self.rows if row.leased]
        for row in leased[:given_back]:
            row.leased, row.due_at = False, self.now
        for row in leased[given_back : given_back + run_out]:
            row.leased, row.ran_out = False, True

    def lease(self, chosen: Chosen[int]) -> None:
        taken = {due.delivery for due in chosen.due}
        for row in self.rows:
            if row.number in taken:
                row.leased, row.ran_out = True, False


def behind_a_place(now: int = 1050) -> tuple[Model, Row]:
    """Twenty deliveries of a lane that is held have been passed; another one is in hand."""
    model = Model(lanes_passed=4)
    held, other = LANES[:2]
    model.held.add(held)
    model.add(other, 1, 0, 0)
    model.lease(model.claim(5, {}, {}))
    model.add(held, 20, 0, 0)
    model.now = now
    assert not model.claim(5, {}, {}).due
    return model, model.rows[0]


def test_the_next_claim_begins_behind_what_was_passed() -> None:
    model, _ = behind_a_place()
    assert model.passed.after[0] == Place(1000, 21)
    assert model.passed.lanes == {11: 1}


def test_what_becomes_due_before_that_place_is_found() -> None:
    model, _ = behind_a_place()
    model.add(LANES[1], 1, 0, 70)
    assert [due.delivery for due in model.claim(5, {}, {}).due] == [22]


def test_what_comes_back_in_the_same_millisecond_is_found() -> None:
    model, row = behind_a_place(now=1000)
    model.come_back(1, 0)
    assert row.due_at == model.now
    assert [due.delivery for due in model.claim(5, {}, {}).due] == [row.number]


def test_after_some_seconds_a_claim_begins_from_the_front_whatever_it_knows() -> None:
    model, row = behind_a_place()
    row.leased = False  # by a fault: nobody was told
    model.rows.extend([Row(100 + n, LANES[0], 0, 1000) for n in range(30)])
    assert not model.claim(5, {}, {}).due
    model.now += 5000
    assert [due.delivery for due in model.claim(5, {}, {}).due] == [row.number]


lanes = st.sampled_from(LANES)
few = st.integers(0, 3)
rounds = st.tuples(
    # What comes: for whom, how many, in which line, and for how long it has been due.
    st.lists(
        st.tuples(
            lanes, st.integers(1, 8), st.sampled_from([0, 0, 1]), st.sampled_from([0, 0, 30])
        ),
        max_size=3,
    ),
    st.sampled_from([0, 1, 20, 150, 150, 6000]),
    st.sets(lanes, max_size=2),
    # How many are given back, and how many leases run out.
    few,
    few,
    st.integers(1, 12),
    st.fixed_dictionaries({}, optional=dict.fromkeys(LANES, few)),
    st.dictionaries(st.integers(1, 2), st.integers(0, 6)),
)


def check(
    model: Model,
    chosen: Chosen[int],
    limit: int,
    rooms: Mapping[tuple[int, int], int],
    organizations: Mapping[int, int],
) -> None:
    taken = {due.delivery for due in chosen.due}
    assert len(taken) == len(chosen.due) <= limit
    by_lane = Counter((due.organization, due.subscription) for due in chosen.due)
    by_organization = Counter(due.organization for due in chosen.due)
    assert all(count <= rooms.get(lane, 2) for lane, count in by_lane.items())
    assert all(count <= organizations.get(each, LAST) for each, count in by_organization.items())
    assert not model.held & set(by_lane)
    for lane in LANES:
        for line in (0, 1):
            waiting = [row.number for row in model.waiting(lane) if row.priority == line]
            got = [number for number in waiting if number in taken]
            assert got == waiting[: len(got)], "not the first of its lane"
        has_room = (
            lane not in model.held
            and by_lane[lane] < rooms.get(lane, 2)
            and by_organization[lane[0]] < organizations.get(lane[0], LAST)
        )
        if has_room and len(taken) < limit:
            assert all(row.number in taken for row in model.waiting(lane)), "passed over"


@settings(max_examples=150)
@given(st.lists(rounds, min_size=3, max_size=15), st.sampled_from([0, 2, 4]))
def test_whatever_was_passed_a_claim_leaves_nothing_that_it_has_room_for(
    history: Sequence[tuple[Any, ...]], lanes_passed: int
) -> None:
    model = Model(lanes_passed=lanes_passed)
    with (
        mock.patch("triggers_api.store.front.WORTH_PASSING", 2),
        mock.patch("triggers_api.store.front.READ_AHEAD", 12),
    ):
        for adds, time, turned, given_back, run_out, *claim in history:
            for add in adds:
                model.add(*add)
            model.now += time
            model.held ^= turned
            model.come_back(given_back, run_out)
            chosen = model.claim(*claim)
            check(model, chosen, *claim)
            model.lease(chosen)
        # And in the end, when all have room, everything is served.
        model.held.clear()
        for _ in range(len(model.rows) + 2):
            rooms = dict.fromkeys(LANES, 3)
            chosen = model.claim(5, rooms, {})
            check(model, chosen, 5, rooms, {})
            model.lease(chosen)
            model.now += 1
    assert not model.waiting()
