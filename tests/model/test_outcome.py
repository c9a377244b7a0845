"""What follows from an outcome: the one function that knows what 410, 429 or a timeout means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.delivery import TRANSITIONS, DeliveryStatus, Origin
from triggers_api.model.outcome import (
    ERRORS,
    Answered,
    Control,
    Decision,
    NoAnswer,
    NotSent,
    control_of,
    decide,
)
from triggers_api.model.timestamp import Timestamp

NOW = Timestamp.parse("2026-11-22T12:00:00Z")
DAY_S = 24 * 3600
THROTTLING = (429, 502, 503, 504)

draws = st.floats(0, 1, exclude_max=True)
schedules = st.lists(st.floats(0, 7 * DAY_S), max_size=12).map(tuple)
status_codes = st.integers(100, 599)
asked_ms = st.integers(0, 3650 * DAY_S * 1000)


def decided(
    outcome: Answered | NoAnswer | NotSent,
    *,
    failures: int = 1,
    schedule: tuple[float, ...] = (5.0, 30.0),
    draw: float = 0.0,
) -> Decision:
    return decide(outcome, failures=failures, schedule=schedule, now=NOW, draw=draw)


@given(code=st.integers(200, 299), failures=st.integers(1, 50), schedule=schedules, draw=draws)
def test_every_2xx_is_a_success_whatever_came_before(
    code: int, failures: int, schedule: tuple[float, ...], draw: float
) -> None:
    decision = decided(Answered(code), failures=failures, schedule=schedule, draw=draw)
    assert decision == Decision(DeliveryStatus.SUCCEEDED)


@given(code=status_codes.filter(lambda code: not 200 <= code < 300 and code != 410))
def test_everything_else_that_is_answered_is_tried_again(code: int) -> None:
    decision = decided(Answered(code))
    assert decision.status is DeliveryStatus.RETRYING
    assert decision.next_attempt_at == NOW.after(seconds=5)
    assert decision.reason is not None
    assert str(code) in decision.reason
    assert not decision.disable_subscription


@given(failures=st.integers(1, 50), schedule=schedules)
def test_410_cancels_the_delivery_and_disables_the_subscription(
    failures: int, schedule: tuple[float, ...]
) -> None:
    decision = decided(Answered(410, 60.0), failures=failures, schedule=schedule)
    assert decision.status is DeliveryStatus.CANCELLED
    assert decision.disable_subscription
    assert decision.next_attempt_at is None
    assert "410" in (decision.reason or "")


@given(code=status_codes.filter(lambda code: code != 410))
def test_nothing_but_410_disables_a_subscription(code: int) -> None:
    assert not decided(Answered(code)).disable_subscription


@given(code=status_codes, asked=st.none() | asked_ms.map(float), failures=st.integers(1, 50))
def test_a_receiver_can_have_itself_disabled_with_any_status(
    code: int, asked: float | None, failures: int
) -> None:
    decision = decided(Answered(code, asked, Control.DISABLE), failures=failures)
    assert decision.disable_subscription == (
        f"receiver answered {code} with webhook-delivery: disable"
    )
    assert decision.next_attempt_at is None
    # What it has taken is delivered all the same.
    assert decision.status == ("succeeded" if 200 <= code < 300 else "cancelled")


@given(code=status_codes, asked=st.none() | asked_ms.map(float), failures=st.integers(1, 50))
def test_a_receiver_can_end_one_delivery_with_any_status(
    code: int, asked: float | None, failures: int
) -> None:
    decision = decided(Answered(code, asked, Control.ABORT_MESSAGE), failures=failures)
    assert decision.next_attempt_at is None
    assert decision.status == ("succeeded" if 200 <= code < 300 else "cancelled")
    assert bool(decision.disable_subscription) == (code == 410)


@pytest.mark.parametrize(
    "outcome",
    [Answered(500), Answered(429, 5.0), NoAnswer("dns"), NoAnswer("invalid-url", permanent=True)],
)
def test_a_test_that_fails_is_neither_tried_again_nor_dead(outcome: Answered | NoAnswer) -> None:
    decision = decide(outcome, failures=1, schedule=(5.0,), now=NOW, draw=0.0, origin=Origin.TEST)
    assert (decision.status, decision.next_attempt_at) == ("cancelled", None)
    assert decision.reason is not None
    assert decision.reason.startswith("the test failed: ")


@pytest.mark.parametrize("outcome", [Answered(204), Answered(410), NotSent("delivery is off")])
def test_what_ends_a_delivery_ends_a_test_in_the_same_way(outcome: Answered | NotSent) -> None:
    tested = decide(outcome, failures=1, schedule=(5.0,), now=NOW, draw=0.0, origin=Origin.TEST)
    assert tested == decided(outcome)


@given(st.text(max_size=30))
def test_of_the_control_header_two_words_are_known_in_any_case(value: str) -> None:
    known = {"disable": Control.DISABLE, "abort-message": Control.ABORT_MESSAGE}
    assert control_of(value) is known.get(value.strip().lower())
    for word, control in known.items():
        assert control_of(f" {word.upper()}\t") is control


@pytest.mark.parametrize("error", sorted(ERRORS))
def test_every_network_error_is_tried_again_and_named_in_the_reason(error: str) -> None:
    decision = decided(NoAnswer(error))
    assert decision.status is DeliveryStatus.RETRYING
    assert error in (decision.reason or "")


@pytest.mark.parametrize("error", sorted(ERRORS))
def test_an_error_that_waiting_will_not_change_ends_the_delivery_at_once(error: str) -> None:
    decision = decided(NoAnswer(error, permanent=True))
    assert decision.status is DeliveryStatus.DEAD
    assert error in (decision.reason or "")
    assert decision.next_attempt_at is None


def test_what_was_not_sent_because_delivery_is_off_is_skipped_with_the_reason() -> None:
    decision = decided(NotSent("delivery is switched off"))
    assert decision == Decision(DeliveryStatus.SKIPPED, "delivery is switched off")


@given(schedule=schedules, code=st.sampled_from((*THROTTLING, 301, 400, 404, 500)))
def test_n_delays_make_n_plus_one_attempts(schedule: tuple[float, ...], code: int) -> None:
    attempts = 1
    while decided(Answered(code), failures=attempts, schedule=schedule).status != "dead":
        attempts += 1
    assert attempts == len(schedule) + 1


@given(schedule=schedules, asked=asked_ms, code=st.sampled_from(THROTTLING))
def test_retry_after_does_not_buy_more_attempts(
    schedule: tuple[float, ...], asked: int, code: int
) -> None:
    last = decided(Answered(code, asked / 1000), failures=len(schedule) + 1, schedule=schedule)
    assert last.status is DeliveryStatus.DEAD
    assert last.next_attempt_at is None


@given(
    schedule=schedules.filter(bool),
    data=st.data(),
    draw=draws,
    outcome=st.one_of(
        status_codes.filter(lambda code: not 200 <= code < 300 and code != 410).map(Answered),
        st.sampled_from(sorted(ERRORS)).map(NoAnswer),
    ),
)
def test_a_retry_comes_after_the_scheduled_delay_stretched_by_up_to_a_fifth(
    schedule: tuple[float, ...], data: st.DataObject, draw: float, outcome: Answered | NoAnswer
) -> None:
    failures = data.draw(st.integers(1, len(schedule)))
    delay = schedule[failures - 1]
    decision = decided(outcome, failures=failures, schedule=schedule, draw=draw)
    assert decision.next_attempt_at is not None
    waited = (decision.next_attempt_at - NOW) / 1000
    assert delay - 0.001 <= waited <= delay * 1.2 + 0.001


@given(asked=asked_ms, draw=draws, code=st.sampled_from(THROTTLING), delay=st.floats(0, DAY_S))
def test_a_throttling_receiver_is_obeyed_never_early_and_at_most_a_second_late(
    asked: int, draw: float, code: int, delay: float
) -> None:
    decision = decided(Answered(code, asked / 1000), schedule=(delay,), draw=draw)
    assert decision.next_attempt_at is not None
    waited_ms = decision.next_attempt_at - NOW
    obeyed_ms = min(asked, DAY_S * 1000)
    assert obeyed_ms <= waited_ms <= obeyed_ms + 1000


@given(asked=asked_ms, code=st.sampled_from((301, 400, 401, 404, 408, 500, 501, 505)), draw=draws)
def test_retry_after_counts_only_from_those_who_throttle(
    asked: int, code: int, draw: float
) -> None:
    assert decided(Answered(code, asked / 1000), draw=draw) == decided(Answered(code), draw=draw)


@given(
    outcome=st.one_of(
        st.builds(Answered, status_codes, st.none() | st.floats(0, 1e12)),
        st.builds(NoAnswer, st.sampled_from(sorted(ERRORS)), st.booleans()),
        st.builds(NotSent, st.text(max_size=20)),
    ),
    failures=st.integers(1, 20),
    schedule=schedules,
    draw=draws,
)
def test_every_decision_is_a_step_that_a_delivery_in_flight_may_take(
    outcome: Answered | NoAnswer | NotSent,
    failures: int,
    schedule: tuple[float, ...],
    draw: float,
) -> None:
    decision = decided(outcome, failures=failures, schedule=schedule, draw=draw)
    assert decision.status in TRANSITIONS[DeliveryStatus.DELIVERING]
    assert (decision.next_attempt_at is not None) is (decision.status is DeliveryStatus.RETRYING)
    assert (decision.reason is None) is (decision.status is DeliveryStatus.SUCCEEDED)
    if decision.next_attempt_at is not None:
        longest = max([*schedule, 0]) * 1.2
        assert NOW <= decision.next_attempt_at <= NOW.after(seconds=max(longest, DAY_S) + 1.001)
