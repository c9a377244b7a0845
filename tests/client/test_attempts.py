"""When a call is tried again: decided without sockets or clocks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from triggers_api.client import (
    ApiError,
    DeadlineExceeded,
    NoAnswer,
    NotFound,
    RateLimited,
    Retry,
    Unavailable,
    UnexpectedAnswer,
    ValidationFailed,
)
from triggers_api.client.attempts import Attempts, Lost, retry_after_s
from triggers_api.client.calls import Answer, Call, nothing

NOT_SENT = Lost("refused", sent=False)
LOST = Lost("hung up", sent=True)


def answer(
    status: int, code: str = "", *, retryable: bool = False, after: str | None = None
) -> Answer:
    headers = {"content-type": "application/problem+json", "x-request-id": "r1"}
    if after is not None:
        headers["retry-after"] = after
    body = {"type": "/docs", "status": status, "code": code, "retryable": retryable, "news": 1}
    return Answer(status, headers, json.dumps(body).encode())


class Story:
    """The attempts of one call, with a clock that the test moves."""

    def __init__(self, *, repeatable: bool = True, retry: Retry = Retry(), **options: Any) -> None:  # noqa: ANN401, B008
        self.now = 100.0
        self.attempts = Attempts(
            Call("POST", "/", nothing, repeatable=repeatable, **options),
            retry,
            timeout_s=30.0,
            attempt_timeout_s=10.0,
            clock=lambda: self.now,
            draw=lambda: 1.0,
        )
        self.attempts.timeout_s()

    def after(self, came: Lost | Answer) -> float | None:
        if isinstance(came, Lost):
            return self.attempts.after_loss(came)
        return self.attempts.after_answer(came)

    def goes_on(self, came: Lost | Answer) -> float:
        delay_s = self.after(came)
        assert delay_s is not None
        self.now += delay_s
        self.attempts.timeout_s()
        return delay_s


def test_pauses_double_up_to_their_bound() -> None:
    story = Story(retry=Retry(first_delay_s=0.1, longest_delay_s=0.5))
    pauses = [story.goes_on(NOT_SENT) for _ in range(5)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])
    assert Retry().delay_s(1, 0.0) == pytest.approx(Retry().delay_s(1, 1.0) / 2)
    assert Retry().delay_s(10_000, 1.0) == 5.0


def test_attempts_are_counted_and_end() -> None:
    story = Story(retry=Retry(max_attempts=3))
    story.goes_on(LOST)
    story.goes_on(NOT_SENT)
    with pytest.raises(NoAnswer) as ended:
        story.after(NOT_SENT)
    assert not isinstance(ended.value, DeadlineExceeded)
    assert (ended.value.attempts, ended.value.may_have_arrived) == (3, True)


def test_an_attempt_may_take_its_time_or_what_is_left_of_all() -> None:
    story = Story()
    assert story.attempts.timeout_s() == 10.0
    story.now += 25
    assert story.attempts.timeout_s() == pytest.approx(5.0)
    story.now += 5
    with pytest.raises(DeadlineExceeded):
        story.attempts.timeout_s()


def test_what_the_service_may_hold_back_is_added() -> None:
    story = Story(hold_s=20.0)
    assert story.attempts.timeout_s() == 30.0
    story.now += 45
    assert story.attempts.timeout_s() == pytest.approx(5.0)


def test_the_deadline_is_not_slept_past() -> None:
    story = Story()
    story.now += 29.99
    with pytest.raises(DeadlineExceeded) as ended:
        story.after(NOT_SENT)
    assert isinstance(ended.value, TimeoutError)
    assert not ended.value.may_have_arrived


def test_a_lost_answer_ends_what_cannot_be_repeated() -> None:
    story = Story(repeatable=False)
    story.goes_on(NOT_SENT)
    with pytest.raises(NoAnswer) as ended:
        story.after(LOST)
    assert ended.value.may_have_arrived


def test_a_certificate_that_is_wrong_stays_wrong() -> None:
    with pytest.raises(NoAnswer):
        Story().after(Lost("certificate", sent=False, final=True))


def test_an_old_connection_that_had_ended_costs_no_pause_once() -> None:
    story = Story()
    old = Lost("hung up", sent=True, at_once=True)
    assert story.goes_on(old) == 0.0
    assert story.goes_on(old) > 0.0


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize(
    "refusal",
    [
        answer(429, "rate-limited", retryable=True, after="2"),
        answer(503, "overloaded", retryable=True, after="2"),
        answer(503, "draining", retryable=True, after="2"),
        Answer(429, {"retry-after": "2"}, b"slow down"),
    ],
)
def test_retry_after_is_kept_where_nothing_was_done(refusal: Answer, *, repeatable: bool) -> None:
    pause_s = Story(repeatable=repeatable).goes_on(refusal)
    assert 2.0 <= pause_s <= 2.2


@pytest.mark.parametrize(
    "refusal",
    [
        answer(503, "outcome-unknown", retryable=True),
        answer(408, "timeout"),
        answer(500, "internal-error"),
        Answer(502, {"content-type": "text/html"}, b"<h1>bad gateway</h1>"),
        Answer(503, {}, b""),
        Answer(504, {}, b""),
    ],
)
def test_what_may_have_been_done_is_asked_again_only_where_that_is_safe(refusal: Answer) -> None:
    assert Story(repeatable=True).goes_on(refusal) > 0
    with pytest.raises(ApiError) as refused:
        Story(repeatable=False).after(refusal)
    assert refused.value.status == refusal.status


def test_a_retry_after_beyond_the_deadline_is_told_at_once() -> None:
    with pytest.raises(RateLimited) as refused:
        Story().after(answer(429, "rate-limited", retryable=True, after="60"))
    assert refused.value.retry_after_s == 60.0
    assert refused.value.attempts == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (422, ValidationFailed), (418, ApiError)]
)
def test_other_refusals_are_final(status: int, kind: type[ApiError]) -> None:
    with pytest.raises(kind) as refused:
        Story().after(answer(status, "no"))
    assert type(refused.value) is kind
    assert (refused.value.status, refused.value.code) == (status, "no")
    assert refused.value.request_id == "r1"


def test_a_refusal_that_the_service_will_take_back_is_repeated_whatever_its_status() -> None:
    assert Story().goes_on(answer(425, "too-early", retryable=True)) > 0


def test_what_is_deleted_while_the_answer_is_lost_is_deleted() -> None:
    story = Story(gone_is_done=True)
    story.goes_on(LOST)
    assert story.after(answer(404, "not-found")) is None
    for untouched in (Story(gone_is_done=True), Story(gone_is_done=True)):
        untouched.goes_on(NOT_SENT)
        with pytest.raises(NotFound):
            untouched.after(answer(404, "not-found"))


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_is_not_followed_with_the_key(status: int) -> None:
    with pytest.raises(UnexpectedAnswer):
        Story().after(Answer(status, {"location": "http://evil/"}, b""))


def test_a_problem_that_is_none_is_still_a_refusal() -> None:
    broken = Answer(503, {"content-type": "application/problem+json"}, b"{")
    with pytest.raises(Unavailable):
        Story(repeatable=False).after(broken)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:40 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("9" * 50, None),
        ("", None),
        ("²", None),
    ],
)
def test_retry_after_is_read_in_both_its_forms(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=90.0) == seconds
