"""When an endpoint is left alone, and when it is given up."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.delivery import Attempt, DeliveryStatus
from triggers_api.model.health import (
    DEFAULT_POLICY,
    BreakerState,
    EndpointHealth,
    Evidence,
    HealthEvent,
    HealthPolicy,
    evidence,
    judge,
    open_for_s,
    probed,
    shown_health,
)
from triggers_api.model.timestamp import Timestamp

START = Timestamp(1_800_000_000_000)
DAY_S = 86_400.0
POLICY = DEFAULT_POLICY


class Endpoint:
    """Attempts one after the other, and what became of their endpoint's health."""

    def __init__(self, policy: HealthPolicy = POLICY) -> None:
        self.policy = policy
        self.now = START
        self.health: EndpointHealth | None = None
        self.turned: list[str] = []

    def sees(self, *errors: str | None, started_at: Timestamp | None = None) -> None:
        seen = [Evidence(started_at or self.now, error) for error in errors]
        self.health, turned = judge(self.health, seen, policy=self.policy, now=self.now, draw=0.0)
        self.turned += [event.value for event, _ in turned]

    def fails(self, times: int = 1, *, started_at: Timestamp | None = None) -> None:
        self.sees(*["timeout"] * times, started_at=started_at)

    def passes(self, seconds: float) -> None:
        self.now = self.now.after(seconds=seconds)

    @property
    def known(self) -> EndpointHealth:
        assert self.health is not None
        return self.health

    @property
    def state(self) -> str:
        return self.known.state(self.now).value


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


def test_nothing_is_kept_of_an_endpoint_that_works(endpoint: Endpoint) -> None:
    endpoint.sees(None, None)
    assert endpoint.health is None
    assert endpoint.turned == []


def test_the_tenth_failure_in_a_row_opens_the_breaker(endpoint: Endpoint) -> None:
    endpoint.fails(9)
    assert endpoint.state == "closed"
    endpoint.fails()
    assert endpoint.state == "open"
    assert endpoint.known.open_until == endpoint.now.after(seconds=10)
    assert endpoint.turned == ["opened"]


def test_a_success_among_failures_starts_the_count_again(endpoint: Endpoint) -> None:
    endpoint.sees(*["timeout"] * 9, None, *["timeout"] * 9)
    assert endpoint.state == "closed"
    assert endpoint.known.failures == 9


def test_the_order_within_a_batch_decides(endpoint: Endpoint) -> None:
    endpoint.sees(*["timeout"] * 10, None)
    assert endpoint.health is None
    assert endpoint.turned == ["opened", "recovered"]


def test_what_was_under_way_when_the_breaker_opened_does_not_open_it_for_longer(
    endpoint: Endpoint,
) -> None:
    endpoint.fails(10)
    until = endpoint.known.open_until
    endpoint.passes(5)
    endpoint.fails(40, started_at=START)
    assert endpoint.known.open_until == until
    assert endpoint.known.opened == 1
    assert endpoint.known.failures == 50


def test_it_is_half_open_when_its_time_is_up(endpoint: Endpoint) -> None:
    endpoint.fails(10)
    endpoint.passes(10)
    assert endpoint.state == "half-open"


def test_each_failed_probe_opens_it_for_twice_as_long_up_to_five_minutes(
    endpoint: Endpoint,
) -> None:
    endpoint.fails(10)
    waits = []
    for _ in range(8):
        waits.append((endpoint.known.open_until - endpoint.now) / 1000)
        endpoint.passes(waits[-1])
        endpoint.fails()
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    assert endpoint.turned == ["opened"]


def test_a_probe_that_succeeds_closes_it(endpoint: Endpoint) -> None:
    endpoint.fails(10)
    endpoint.passes(10)
    endpoint.sees(None)
    assert endpoint.health is None
    assert endpoint.turned == ["opened", "recovered"]


def test_with_zero_failures_in_the_settings_it_never_opens() -> None:
    endpoint = Endpoint(HealthPolicy(breaker_failures=0))
    endpoint.fails(1000)
    assert endpoint.state == "closed"


def test_one_that_is_open_when_the_breaker_is_switched_off_closes_with_the_next_failure(
    endpoint: Endpoint,
) -> None:
    endpoint.fails(10)
    endpoint.policy = HealthPolicy(breaker_failures=0)
    endpoint.fails()
    assert endpoint.state == "closed"


def test_after_half_of_the_time_there_is_a_warning_and_after_all_of_it_an_end(
    endpoint: Endpoint,
) -> None:
    endpoint.fails(10)
    endpoint.passes(2.5 * DAY_S - 1)
    endpoint.fails()
    assert endpoint.turned == ["opened"]
    endpoint.passes(1)
    endpoint.fails()
    assert endpoint.turned == ["opened", "failing"]
    endpoint.passes(2.5 * DAY_S - 1)
    endpoint.fails()
    assert endpoint.turned == ["opened", "failing"]
    endpoint.passes(1)
    endpoint.fails()
    assert endpoint.turned == ["opened", "failing", "disabled"]
    assert endpoint.known.disabled_at == endpoint.now
    assert endpoint.known.open_until == endpoint.now.after(seconds=DAY_S)
    assert endpoint.known.disabled_reason == f"failing since {START}: timeout"


def test_nobody_is_disabled_without_a_warning_half_of_the_time_before(endpoint: Endpoint) -> None:
    endpoint.fails(10)
    endpoint.passes(30 * DAY_S)
    endpoint.fails(3)
    assert endpoint.turned == ["opened", "failing"]
    endpoint.passes(2.5 * DAY_S)
    endpoint.fails()
    assert endpoint.turned == ["opened", "failing", "disabled"]


def test_a_few_failures_far_apart_disable_nobody(endpoint: Endpoint) -> None:
    for _ in range(9):
        endpoint.fails()
        endpoint.passes(3 * DAY_S)
    assert endpoint.turned == []


def test_with_zero_days_in_the_settings_nobody_is_disabled() -> None:
    endpoint = Endpoint(HealthPolicy(disable_after_s=0))
    for _ in range(100):
        endpoint.fails(10)
        endpoint.passes(DAY_S)
    assert endpoint.turned == ["opened"]


def test_what_was_under_way_when_it_was_disabled_changes_nothing(endpoint: Endpoint) -> None:
    endpoint.fails(10)
    for _ in range(2):
        endpoint.passes(2.5 * DAY_S)
        endpoint.sees("timeout", "dns", None) if endpoint.known.warned_at else endpoint.fails()
    assert endpoint.turned == ["opened", "failing", "disabled"]
    assert endpoint.known.error == "timeout"


def test_one_that_is_delivered_to_although_it_was_disabled_begins_anew(endpoint: Endpoint) -> None:
    endpoint.health = EndpointHealth(
        failures=20, failing_since=START, error="timeout", disabled_at=START
    )
    endpoint.fails()
    assert (endpoint.known.failures, endpoint.known.disabled_at) == (1, None)


def test_a_probe_of_a_disabled_one_that_fails_is_made_again_a_day_later() -> None:
    health = EndpointHealth(failures=20, failing_since=START, error="dns", disabled_at=START)
    after = probed(health, "timeout", policy=POLICY, now=START)
    assert after == msgspec.structs.replace(
        health, failures=21, error="timeout", open_until=START.after(seconds=DAY_S)
    )
    assert probed(health, None, policy=POLICY, now=START) is None


@pytest.mark.parametrize(
    ("status", "code", "error", "said"),
    [
        ("succeeded", 204, None, None),
        ("retrying", 500, None, "receiver answered 500"),
        ("retrying", 429, None, "receiver answered 429"),
        ("dead", 404, None, "receiver answered 404"),
        ("retrying", None, "timeout", "timeout"),
        ("dead", None, "blocked-address", "blocked-address"),
    ],
)
def test_whatever_is_not_a_success_is_a_failure(
    status: str, code: int | None, error: str | None, said: str | None
) -> None:
    attempt = Attempt(
        id="att_1", number=1, started_at=START, duration_ms=1, status_code=code, error=error
    )
    assert evidence(attempt, DeliveryStatus(status), "https://example.com") == Evidence(
        START, said, "https://example.com"
    )


def test_what_was_cancelled_or_not_sent_says_nothing() -> None:
    attempt = Attempt(id="att_1", number=1, started_at=START, duration_ms=1, status_code=410)
    assert evidence(attempt, DeliveryStatus.CANCELLED) is None
    assert evidence(None, DeliveryStatus.SKIPPED) is None
    assert evidence(None, DeliveryStatus.PENDING) is None


def test_what_is_shown_tells_when_the_next_probe_may_be(endpoint: Endpoint) -> None:
    endpoint.fails(10)
    seen = shown_health(endpoint.known, endpoint.now)
    assert (seen.state, seen.open_until) == (BreakerState.OPEN, endpoint.known.open_until)
    assert (seen.consecutive_failures, seen.last_error) == (10, "timeout")
    assert seen.next_probe_at is None


@given(opened=st.integers(1, 10_000), draw=st.floats(0, 1, exclude_max=True))
def test_it_is_open_for_a_bounded_time(opened: int, draw: float) -> None:
    seconds = open_for_s(opened, policy=POLICY, draw=draw)
    assert 7.5 <= seconds <= 300
    assert seconds <= open_for_s(opened + 1, policy=POLICY, draw=draw)


@given(
    errors=st.lists(st.sampled_from([None, "timeout", "dns"]), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    waits=st.lists(st.floats(0, 10 * DAY_S), min_size=5, max_size=5),
    limit=st.integers(0, 12),
)
def test_what_is_known_follows_from_the_attempts_since_the_last_success(
    errors: list[str | None], cuts: list[int], waits: list[float], limit: int
) -> None:
    endpoint = Endpoint(HealthPolicy(breaker_failures=limit))
    bounds = [0, *sorted(min(cut, len(errors)) for cut in cuts), len(errors)]
    for start, end, wait in zip(bounds, bounds[1:], waits, strict=False):
        endpoint.sees(*errors[start:end])
        endpoint.passes(wait)
    settled = errors[: bounds[min(len(bounds) - 1, len(waits))]]
    run = len(settled) - 1 - max((i for i, e in enumerate(settled) if e is None), default=-1)
    if HealthEvent.DISABLED.value in endpoint.turned:
        assert endpoint.health is not None
        assert HealthEvent.FAILING.value in endpoint.turned
        return
    assert (endpoint.health is None) == (run == 0)
    if endpoint.health is not None:
        assert endpoint.health.failures == run
        assert (endpoint.health.opened > 0) == (limit > 0 and run >= limit)
