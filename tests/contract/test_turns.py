"""A round over the lanes sees everybody once, wherever it begins and whoever was left out before."""

from __future__ import annotations

from bisect import bisect_right

from hypothesis import given
from hypothesis import strategies as st

from triggers_api.store.turns import Turns, Verdict

LAST = 99

Lane = tuple[int, int]
lanes_of = st.sets(st.tuples(st.integers(1, 5), st.integers(1, 6)), min_size=1)
rounds = st.lists(
    st.tuples(lanes_of, st.sets(st.integers(1, 5)), st.none() | st.integers(1, 8)), min_size=1
)


def looked_at(turns: Turns[int], lanes: set[Lane], full: set[int], most: int | None) -> list[Lane]:
    """The lanes of a round, in order; one that ends early was served as far as that."""
    ordered = sorted(lanes)
    looked: list[Lane] = []
    turns.begin()
    for _ in range(200):
        at = bisect_right(ordered, turns.after)
        lane = ordered[at] if at < len(ordered) else None
        verdict = turns.arrive(lane, full=lane is not None and lane[0] in full)
        if verdict is Verdict.ENDED:
            turns.rest()
            return looked
        if verdict is Verdict.LOOK:
            assert lane is not None
            looked.append(lane)
            if len(looked) == most:
                turns.rest(lane)
                return looked
    raise AssertionError("it goes round and round")


@given(rounds)
def test_a_round_sees_each_lane_with_room_once(
    history: list[tuple[set[Lane], set[int], int | None]],
) -> None:
    turns = Turns(0, LAST)
    for lanes, full, most in history:
        looked = looked_at(turns, lanes, full, most)
        wanted = {lane for lane in lanes if lane[0] not in full}
        assert len(looked) == len(set(looked))
        assert set(looked) <= wanted
        assert len(looked) == (len(wanted) if most is None else min(most, len(wanted)))


@given(lanes_of, st.integers(1, 3))
def test_rounds_that_end_early_go_on_until_everybody_had_a_turn(
    lanes: set[Lane], most: int
) -> None:
    turns = Turns(0, LAST)
    seen: list[Lane] = []
    organizations = {organization for organization, _ in lanes}
    longest = max(sum(lane[0] == each for lane in lanes) for each in organizations)
    for _ in range(len(organizations) * longest + 1):
        seen += looked_at(turns, lanes, set(), most)
    assert set(seen) == lanes


@given(st.integers(1, 50), st.integers(1, 7))
def test_shares_are_exact_over_many_claims_whichever_of_them_one_has(
    limit: int, every: int
) -> None:
    turns = Turns(0, LAST)
    shares = []
    for _ in range(200 * every):
        turns.next_phase()
        shares.append(int(limit * 0.25 + turns.phase))
    part = shares[::every]
    assert abs(sum(part) / len(part) - limit * 0.25) < 0.05
