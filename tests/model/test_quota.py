"""Common meters: they decide as the limiter in memory does, and what is owed is paid back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.ingest.limits import RateLimiter
from triggers_api.model import quota
from triggers_api.model.quota import PARTS, Meter, QuotaAsk, Rate

HUNDRED = Rate(100, 100)

rates = st.builds(Rate, st.integers(1, 60_000), st.integers(1, 2000))
steps = st.lists(st.tuples(st.integers(0, 60_000_000), st.integers(1, 300)), max_size=60)
"""Microseconds since the one before, and its cost."""


def ask(rate: Rate = HUNDRED, *, debt: int = 0, need: int = 0, want: int = 0) -> QuotaAsk:
    return QuotaAsk("org", rate, debt, need, max(need, want))


@given(rates, steps)
def test_a_meter_decides_as_the_limiter_in_memory_does(
    rate: Rate, asked: list[tuple[int, int]]
) -> None:
    meter, limiter, now = Meter(), RateLimiter(), 0
    for pause, cost in asked:
        now += pause
        meter, grant = quota.spend(meter, ask(rate, need=cost), now)
        expected = limiter.check("org", cost, rate, now=now / 1_000_000)
        assert (grant.granted == cost) is expected.allowed
        assert quota.free_units(grant.level, rate) == expected.remaining
        assert quota.reset_s(grant.level, rate) == pytest.approx(expected.reset_s, abs=1e-6)


def test_as_much_is_granted_as_is_free_from_what_is_needed_to_what_is_wanted() -> None:
    meter, grant = quota.spend(Meter(), ask(need=1, want=60), 0)
    assert grant.granted == 60
    meter, grant = quota.spend(meter, ask(need=1, want=60), 0)
    assert grant.granted == 40
    meter, grant = quota.spend(meter, ask(need=1, want=60), 0)
    assert grant.granted == 0
    assert quota.spend(meter, ask(need=2, want=60), 600_000)[1].granted == 0
    assert quota.spend(meter, ask(need=2, want=60), 1_200_000)[1].granted == 2


def test_what_was_let_through_on_credit_counts_even_if_it_was_not_free() -> None:
    meter, _ = quota.spend(Meter(), ask(need=100), 0)
    meter, grant = quota.spend(meter, ask(debt=5, need=1), 0)
    assert grant.granted == 0
    assert grant.level == 105 * PARTS
    assert quota.free_units(grant.level, HUNDRED) == 0
    assert quota.wait_s(grant.level, 1, HUNDRED) == pytest.approx(3.6)
    assert quota.spend(meter, ask(need=1), 3_599_999)[1].granted == 0
    assert quota.spend(meter, ask(need=1), 3_600_000)[1].granted == 1


def test_what_is_given_back_may_be_used_again_but_never_makes_more_than_the_burst() -> None:
    meter, _ = quota.spend(Meter(), ask(need=100), 0)
    meter, grant = quota.spend(meter, ask(debt=-10, need=1, want=20), 0)
    assert grant.granted == 10
    meter, grant = quota.spend(Meter(), ask(debt=-10), 0)
    assert grant.level == 0
    assert quota.spend(meter, ask(need=1, want=1000), 0)[1].granted == 100


def test_a_clock_that_goes_back_lets_nothing_leak_out_twice() -> None:
    meter, _ = quota.spend(Meter(), ask(need=100), 60_000_000)
    meter, grant = quota.spend(meter, ask(need=1), 0)
    assert grant.granted == 0
    assert meter.at_us == 60_000_000
    assert quota.spend(meter, ask(need=1, want=1000), 120_000_000)[1].granted == 100


def test_a_new_limit_keeps_what_was_used() -> None:
    meter, _ = quota.spend(Meter(), ask(need=80), 0)
    assert quota.spend(meter, ask(Rate(1000, 200), need=1, want=500), 0)[1].granted == 120
    assert quota.spend(meter, ask(Rate(100, 50), need=1), 0)[1].granted == 0


@pytest.mark.parametrize(
    ("burst", "processes", "each"), [(1000, 1, 50), (1000, 3, 16), (10, 1, 0), (10, 0, 0)]
)
def test_the_credit_of_all_processes_together_is_a_twentieth_of_the_burst(
    burst: int, processes: int, each: int
) -> None:
    assert quota.credit(Rate(1000, burst), processes) == each


def test_the_share_of_a_limit_is_never_nothing_and_never_too_small_for_the_request() -> None:
    assert quota.share(Rate(1000, 300), 3, 1) == Rate(333, 100)
    assert quota.share(Rate(1000, 300), 3, 250) == Rate(333, 250)
    assert quota.share(Rate(1, 1), 3, 1) == Rate(1, 1)
