"""A backlog is routed at full speed, unless few events come in at the same time."""

from __future__ import annotations

import pytest

from triggers_api.process.pace import SHORT_TURN, Pace

MOST = 100
TURN_S = 0.004


class World:
    """A process that takes in events at a rate, and routes a backlog in turns that take their time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rate = 0.0
        self.taken_in = 0.0
        self.pace = Pace(lambda: int(self.taken_in), clock=lambda: self.now)

    def turn(self) -> tuple[int, float]:
        """One turn and the rest behind it."""
        limit = self.pace.limit(MOST)
        seconds = TURN_S * limit / MOST
        self._pass(seconds)
        rest_s = self.pace.rest_s(limit, seconds)
        self._pass(rest_s)
        return limit, rest_s

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        self.taken_in += seconds * self.rate

    def routed_in(self, seconds: float) -> int:
        ends, routed = self.now + seconds, 0
        while self.now < ends:
            routed += self.turn()[0]
        return routed


@pytest.fixture
def world() -> World:
    return World()


def test_a_backlog_nobody_adds_to_is_routed_at_full_speed(world: World) -> None:
    assert {world.turn() for _ in range(100)} == {(MOST, 0.0)}


def test_beside_a_few_requests_turns_are_short_and_rest(world: World) -> None:
    world.rate = 500
    world.routed_in(0.2)
    limit, rest_s = world.turn()
    assert limit == SHORT_TURN
    assert rest_s > TURN_S * SHORT_TURN / MOST


@pytest.mark.parametrize("rate", [10, 500, 1500, 3000, 20_000])
def test_several_times_as_many_are_routed_as_come_in_or_as_many_as_can_be(
    world: World, rate: int
) -> None:
    world.rate = rate
    world.routed_in(0.2)
    at_most = MOST / TURN_S
    assert world.routed_in(1.0) >= min(3.9 * rate, 0.6 * at_most)


def test_where_many_come_in_nothing_is_spared(world: World) -> None:
    world.rate = 8000
    world.routed_in(0.2)
    assert {world.turn() for _ in range(100)} == {(MOST, 0.0)}


def test_full_speed_is_back_soon_after_the_last_request(world: World) -> None:
    world.rate = 500
    world.routed_in(0.2)
    world.rate = 0
    world.routed_in(0.2)
    assert world.turn() == (MOST, 0.0)


def test_a_slow_store_is_not_waited_for_twice(world: World) -> None:
    world.rate = 1
    world.turn()
    world._pass(0.1)
    assert world.pace.rest_s(MOST, 5.0) <= 0.05
