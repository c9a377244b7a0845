"""The rate limit: exact, in whatever order and size requests come."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.ingest.limits import RateDecision, RateLimiter
from triggers_api.model.quota import Rate

HUNDRED = Rate(100, 100)
START = 50_000.0

rates = st.builds(Rate, st.integers(1, 60_000), st.integers(1, 2000))
steps = st.lists(
    st.tuples(st.integers(0, 60_000) | st.integers(0, 50), st.integers(1, 300)), max_size=60
)
"""Milliseconds since the one before, and its cost."""


def allowed_of(limiter: RateLimiter, count: int, *, now: float, rate: Rate = HUNDRED) -> int:
    return sum(limiter.check("org", 1, rate, now=now).allowed for _ in range(count))


class Bucket:
    """The limit as one would explain it: tokens that come back steadily, in exact fractions."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.tokens = Fraction(rate.burst)

    def refill(self, millis: int) -> None:
        self.tokens += Fraction(millis * self.rate.per_minute, 60_000)
        self.tokens = min(self.tokens, Fraction(self.rate.burst))


def test_of_150_at_once_a_hundred_a_minute_lets_exactly_100_through() -> None:
    assert allowed_of(RateLimiter(), 150, now=START) == 100


def test_what_was_used_comes_back_one_by_one() -> None:
    limiter = RateLimiter()
    assert allowed_of(limiter, 100, now=START) == 100
    assert allowed_of(limiter, 5, now=START + 0.599) == 0
    assert allowed_of(limiter, 5, now=START + 0.6) == 1
    assert allowed_of(limiter, 5, now=START + 1.8) == 2
    assert allowed_of(limiter, 150, now=START + 61.8) == 100


def test_idling_saves_no_more_than_the_burst() -> None:
    limiter = RateLimiter()
    assert allowed_of(limiter, 1, now=START) == 1
    assert allowed_of(limiter, 500, now=START + 86_400) == 100


def test_a_minute_of_steady_asking_gives_burst_and_rate_together() -> None:
    rate = Rate(600, 20)
    limiter = RateLimiter()
    allowed = sum(allowed_of(limiter, 1, now=START + tick / 100, rate=rate) for tick in range(6000))
    assert allowed == 20 + 599  # the last of the 600 comes back at the very end of the minute


@pytest.mark.parametrize("cost", [2, 101, 5000])
def test_a_request_that_does_not_fit_takes_nothing(cost: int) -> None:
    limiter = RateLimiter()
    assert allowed_of(limiter, 99, now=START) == 99
    decision = limiter.check("org", cost, HUNDRED, now=START)
    assert not decision.allowed
    assert decision.remaining == 1
    assert limiter.check("org", 1, HUNDRED, now=START).allowed


def test_a_whole_batch_goes_through_or_none_of_it() -> None:
    limiter = RateLimiter()
    assert limiter.check("org", 60, HUNDRED, now=START).allowed
    assert not limiter.check("org", 60, HUNDRED, now=START).allowed
    assert limiter.check("org", 40, HUNDRED, now=START) == RateDecision(
        allowed=True, remaining=0, reset_s=60.0, retry_after_s=0.0
    )


def test_more_than_the_burst_at_once_is_never_let_through() -> None:
    limiter = RateLimiter()
    decision = limiter.check("org", 101, HUNDRED, now=START)
    assert not decision.allowed
    assert not limiter.check("org", 101, HUNDRED, now=START + 1e6).allowed


def test_each_key_has_a_limit_of_its_own() -> None:
    limiter = RateLimiter()
    assert allowed_of(limiter, 150, now=START) == 100
    assert limiter.check("other", 100, HUNDRED, now=START).allowed


def test_a_new_rate_holds_from_the_next_request_on() -> None:
    limiter = RateLimiter()
    assert allowed_of(limiter, 100, now=START) == 100
    assert limiter.check("org", 1, Rate(100, 200), now=START).remaining == 99
    assert not limiter.check("org", 1, Rate(100, 50), now=START).allowed


@given(rates, steps)
def test_it_decides_as_a_bucket_of_tokens_in_exact_fractions_does(
    rate: Rate, asked: list[tuple[int, int]]
) -> None:
    limiter, bucket, millis = RateLimiter(), Bucket(rate), 0
    for pause, cost in asked:
        millis += pause
        bucket.refill(pause)
        decision = limiter.check("org", cost, rate, now=START + millis / 1000)
        if bucket.tokens >= cost:
            assert decision.allowed
            bucket.tokens -= cost
        elif bucket.tokens < cost - Fraction(1, 10_000):
            assert not decision.allowed
        elif decision.allowed:
            bucket.tokens = Fraction(0)
        assert abs(decision.remaining - bucket.tokens) < 1 + Fraction(1, 10_000)
        assert decision.remaining <= bucket.tokens + Fraction(1, 10_000)


@given(rates, steps)
def test_no_window_holds_more_than_the_burst_and_what_came_back_in_it(
    rate: Rate, asked: list[tuple[int, int]]
) -> None:
    limiter, millis = RateLimiter(), 0
    passed: list[tuple[int, int]] = []
    for pause, cost in asked:
        millis += pause
        if limiter.check("org", cost, rate, now=START + millis / 1000).allowed:
            passed.append((millis, cost))
    for first, (begin, _) in enumerate(passed):
        total = 0
        for end, cost in passed[first:]:
            total += cost
            assert total <= rate.burst + (end - begin) * rate.per_minute / 60_000 + 1e-4


@given(rates, steps, st.integers(1, 300))
def test_waiting_as_told_lets_the_same_request_through(
    rate: Rate, asked: list[tuple[int, int]], cost: int
) -> None:
    limiter, now = RateLimiter(), START
    for pause, earlier in asked:
        now += pause / 1000
        limiter.check("org", earlier, rate, now=now)
    decision = limiter.check("org", cost, rate, now=now)
    if decision.allowed:
        assert decision.retry_after_s == 0
    elif cost <= rate.burst:
        assert decision.retry_after_s > 0
        assert limiter.check("org", cost, rate, now=now + decision.retry_after_s).allowed


@given(rates, steps, st.integers(1, 300))
def test_coming_back_clearly_earlier_does_not(
    rate: Rate, asked: list[tuple[int, int]], cost: int
) -> None:
    limiter, now = RateLimiter(), START
    for pause, earlier in asked:
        now += pause / 1000
        limiter.check("org", earlier, rate, now=now)
    decision = limiter.check("org", cost, rate, now=now)
    early = decision.retry_after_s - rate.interval * 0.01
    if not decision.allowed and early > 0:
        assert not limiter.check("org", cost, rate, now=now + early).allowed


@given(rates, steps)
def test_after_the_reset_the_whole_burst_is_there(rate: Rate, asked: list[tuple[int, int]]) -> None:
    limiter, now = RateLimiter(), START
    decision = limiter.check("org", 1, rate, now=now)
    for pause, cost in asked:
        now += pause / 1000
        decision = limiter.check("org", cost, rate, now=now)
    assert 0 <= decision.reset_s <= rate.burst * rate.interval * (1 + 1e-9)
    assert limiter.check("org", rate.burst, rate, now=now + decision.reset_s).allowed


@given(rates, steps, st.integers(1, 300))
def test_what_remains_is_what_would_be_let_through_now(
    rate: Rate, asked: list[tuple[int, int]], cost: int
) -> None:
    limiter, now = RateLimiter(), START
    for pause, earlier in asked:
        now += pause / 1000
        limiter.check("org", earlier, rate, now=now)
    remaining = limiter.check("org", cost, rate, now=now).remaining
    assert not limiter.check("org", remaining + 1, rate, now=now).allowed
    assert not remaining or limiter.check("org", remaining, rate, now=now).allowed


@pytest.mark.parametrize("per_minute", [1, 7, 100, 60_000, 10**6, 10**9])
@pytest.mark.parametrize("burst", [1, 3, 100, 10_000])
@pytest.mark.parametrize("uptime_days", [0, 1, 100, 1000])
def test_the_burst_is_exact_for_every_rate_however_long_the_server_runs(
    per_minute: int, burst: int, uptime_days: int
) -> None:
    rate = Rate(per_minute, burst)
    now = uptime_days * 86_400 + 0.123456789
    assert allowed_of(RateLimiter(), burst + 5, now=now, rate=rate) == burst


@pytest.mark.parametrize("uptime_days", [0, 1, 100, 1000])
def test_the_default_limit_is_exact_over_a_minute_however_long_the_server_runs(
    uptime_days: int,
) -> None:
    rate = Rate(60_000, 100)
    limiter, start = RateLimiter(), uptime_days * 86_400 + 0.5
    allowed = sum(
        limiter.check("org", 1, rate, now=start + tick / 2000).allowed for tick in range(20_000)
    )
    assert abs(allowed - (100 + 9999.5)) <= 1


def test_keys_that_have_been_idle_are_forgotten_and_busy_ones_are_not() -> None:
    limiter = RateLimiter()
    for n in range(100_000):
        limiter.check(f"idle {n}", 1, HUNDRED, now=START)
    limiter.check("busy", 100, HUNDRED, now=START + 1000)
    for n in range(10):
        limiter.check(f"new {n}", 1, HUNDRED, now=START + 1000)
    assert len(limiter._empty_at) <= 11
    assert not limiter.check("busy", 1, HUNDRED, now=START + 1000).allowed


def test_a_refusal_is_a_whole_number_of_seconds_away_at_most_a_minute_for_one_more() -> None:
    limiter = RateLimiter()
    allowed_of(limiter, 100, now=START)
    decision = limiter.check("org", 1, HUNDRED, now=START)
    assert math.ceil(decision.retry_after_s) == 1
    assert decision.reset_s == pytest.approx(60.0)
