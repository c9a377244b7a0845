"""How much at once and how often: shares, windows and rates, at their bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.pace import (
    FIRST_WINDOW,
    SOON_S,
    Gate,
    Window,
    fair_room,
    rate_of_host,
    room,
)

counts = st.integers(0, 200)


@given(slots=st.integers(1, 200), holders=st.integers(1, 12))
def test_whoever_comes_finds_a_slot_as_long_as_one_is_free(slots: int, holders: int) -> None:
    held: list[int] = []
    for _ in range(holders):
        held.append(room(slots, sum(held), 0))
        assert sum(held) <= slots
        assert held[-1] >= 1 or sum(held) == slots


@given(slots=st.integers(1, 200), others=counts, own=counts, aside=counts)
def test_what_is_fair_alone_is_at_least_half_and_never_more_than_there_is(
    slots: int, others: int, own: int, aside: int
) -> None:
    free = fair_room(slots, others, own, aside=aside)
    assert free >= min(room(slots, others, own), max(0, slots - others - own))
    assert free == 0 or others + own + free <= slots


@given(slots=st.integers(1, 200))
def test_who_is_alone_may_use_everything_while_all_of_it_could_be_put_aside(slots: int) -> None:
    assert fair_room(slots, 0, 0, aside=slots) == slots


def test_a_window_doubles_in_each_round_while_it_is_what_limits() -> None:
    window, sizes = Window(), []
    for _ in range(5):
        sizes.append(window.size)
        for _ in range(window.size):
            window.succeeded(in_flight=10_000)
    assert sizes == [2, 4, 8, 16, 32]


def test_a_window_that_is_not_what_limits_stays() -> None:
    window = Window()
    for _ in range(100):
        window.succeeded(in_flight=FIRST_WINDOW - 1)
    assert window.size == FIRST_WINDOW


def test_trouble_halves_a_window_once_for_what_was_under_way_together() -> None:
    window = Window()
    for _ in range(14):
        window.succeeded(in_flight=10_000)
    assert window.size == 16
    for _ in range(16):
        window.failed(started_at=0.0, now=5.0)
    assert window.size == 8
    window.failed(started_at=5.0, now=6.0)
    assert window.size == 4


def test_after_trouble_a_window_grows_by_one_a_round() -> None:
    window = Window()
    for _ in range(6):
        window.succeeded(in_flight=10_000)
    window.failed(started_at=0.0, now=1.0)
    sizes = []
    for _ in range(4):
        sizes.append(window.size)
        for _ in range(window.size + 1):
            window.succeeded(in_flight=10_000)
    assert sizes == [4, 5, 6, 7]


@given(st.lists(st.booleans(), max_size=200))
def test_a_window_is_never_below_one_and_always_finds_its_way_back(fates: list[bool]) -> None:
    window = Window()
    for moment, good in enumerate(fates):
        if good:
            window.succeeded(in_flight=window.size)
        else:
            window.failed(started_at=moment, now=moment)
        assert window.size >= 1
    before = window.size
    for _ in range(before + 2):
        window.succeeded(in_flight=window.size)
    assert window.size > before


@given(
    rate=st.floats(0.01, 10_000),
    steps=st.lists(st.floats(0, 0.2), min_size=1, max_size=100),
)
def test_no_stretch_of_time_has_more_than_the_rate(rate: float, steps: list[float]) -> None:
    gate, now, passed = Gate(rate), 1000.0, list[float]()
    for step in steps:
        now += step
        while gate.opens_at() <= now and len(passed) < 2000:
            gate.pass_through(now)
            passed.append(now)
    for first in range(0, len(passed), max(1, len(passed) // 20)):
        for last in range(first, len(passed), max(1, len(passed) // 20)):
            stretch = passed[last] - passed[first]
            assert last - first + 1 <= (stretch + 0.01) * rate + 1.01


def test_a_gate_that_is_asked_late_now_and_then_keeps_its_rate_all_the_same() -> None:
    gate, now, passed = Gate(25.0), 0.0, 0
    while now < 100:
        if gate.opens_at() <= now:
            gate.pass_through(now)
            passed += 1
        now += 0.007
    assert 2480 <= passed <= 2501


@given(rate=st.floats(0.01, 10_000), waiting=st.integers(0, 50_000))
def test_who_has_room_before_a_gate_is_through_it_soon(rate: float, waiting: int) -> None:
    gate = Gate(rate)
    gate.pass_through(50.0)
    gate.waiting = waiting
    free = gate.room(50.0)
    if free:
        gate.waiting += free - 1
        assert gate.reached_at(50.0) <= 50.0 + SOON_S + 1e-6


def test_what_is_put_off_comes_back_one_by_one() -> None:
    gate = Gate(0.5)
    gate.pass_through(0.0)
    moments = [gate.put_off(0.0) for _ in range(4)]
    assert [later - sooner for sooner, later in pairwise(moments)] == [2.0] * 3
    assert moments[0] >= gate.opens_at()


@pytest.mark.parametrize(
    ("host", "entry"),
    [
        ("hooks.zapier.com", "hooks.zapier.com"),
        ("HOOKS.Zapier.com.", "hooks.zapier.com"),
        ("eu.hooks.zapier.com", "hooks.zapier.com"),
        ("zapier.com", None),
        ("nothooks.zapier.com", None),
        ("a.example.com", "a.example.com"),
        ("b.example.com", "example.com"),
        ("example.com", "example.com"),
        ("example.com.evil.test", None),
        ("", None),
    ],
)
def test_a_host_has_the_rate_of_the_longest_domain_that_it_is_in(
    host: str, entry: str | None
) -> None:
    rates = {"hooks.zapier.com": 25.0, "example.com": 5.0, "a.example.com": 1.0}
    assert rate_of_host(host, rates) == entry
