"""When a call is tried again, and after how long. Pure: time and randomness are given."""

import random
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, Final

import msgspec

from triggers_api.client.calls import Answer, Call, problem_of
from triggers_api.client.errors import (
    ApiError,
    DeadlineExceeded,
    NoAnswer,
    Problem,
    UnexpectedAnswer,
    api_error,
)

OUTCOME_UNKNOWN: Final = "outcome-unknown"

_NOTHING_DONE: Final = frozenset({429})
"""Statuses that say by themselves that nothing was done."""
_MAY_BE_DONE: Final = frozenset({408, 500, 502, 503, 504})
_SPREAD: Final = 0.1
_LONGEST_SPREAD_S: Final = 1.0


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How a call is tried again.

    Attributes:
        max_attempts: the first one included; 1: never again.
        first_delay_s: before the second attempt; twice as much before each one after it.
        longest_delay_s: the most of that. A ``Retry-After`` of the service may be more.
    """

    max_attempts: int = 10
    first_delay_s: float = 0.1
    longest_delay_s: float = 5.0

    def delay_s(self, attempts: int, draw: float) -> float:
        """Seconds after so many attempts: half of it fixed, half by ``draw`` (0 to 1)."""
        most = min(self.longest_delay_s, self.first_delay_s * 2.0 ** min(attempts - 1, 32))
        return most * (0.5 + 0.5 * draw)


DEFAULT_RETRY: Final = Retry()


class Lost(Exception):
    """There is no answer: raised by what carries requests.

    Attributes:
        sent: the service may have got the request.
        final: trying again cannot help.
        at_once: the connection was an old one, which says nothing about the service.
    """

    def __init__(self, why: str, *, sent: bool, final: bool = False, at_once: bool = False) -> None:
        super().__init__(why)
        self.sent = sent
        self.final = final
        self.at_once = at_once


class Attempts:
    """The attempts of one call: how long each may take, and what follows from what came of it."""

    def __init__(
        self,
        call: Call[Any],
        retry: Retry,
        *,
        timeout_s: float,
        attempt_timeout_s: float,
        request_id: str | None = None,
        clock: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        """No attempt is made yet.

        Args:
            call: what is asked.
            retry: how often.
            timeout_s: for everything, waiting included.
            attempt_timeout_s: for one attempt.
            request_id: by which the service's log knows each of them.
            clock: seconds that only go forward.
            draw: numbers from 0 to 1.
        """
        self._call = call
        self._retry = retry
        self._request_id = request_id
        self._attempt_timeout_s = attempt_timeout_s + call.hold_s
        self._clock = clock
        self._draw = draw
        self._deadline = clock() + timeout_s + call.hold_s
        self._may_have_arrived = False
        self.made = 0

    def timeout_s(self) -> float:
        """How long the next attempt may take.

        Raises:
            DeadlineExceeded: the time is over.
        """
        left = self._left()
        if left <= 0:
            raise self._over("the time for it is over")
        self.made += 1
        return min(left, self._attempt_timeout_s)

    def after_loss(self, lost: Lost) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            NoAnswer: there is to be none.
        """
        self._may_have_arrived = self._may_have_arrived or lost.sent
        why = str(lost)
        if lost.final or (lost.sent and not self._call.repeatable):
            raise self._none(why)
        if self._left() <= 0:
            raise self._over(why)
        if self.made >= self._retry.max_attempts:
            raise self._none(why)
        delay_s = 0.0 if lost.at_once and self.made == 1 else self._pause()
        if delay_s >= self._left():
            raise self._over(why)
        return delay_s

    def after_answer(self, answer: Answer) -> float | None:
        """``None`` for an answer that is good; else seconds to wait before the next attempt.

        Raises:
            ApiError: it is a refusal, and there is to be no other attempt.
            UnexpectedAnswer: it is none of the service's.
        """
        if answer.status < 300:
            return None
        if self._call.also_good is not None and self._call.also_good(answer):
            return None
        if answer.status == 404 and self._may_have_arrived and self._call.gone_is_done:
            return None
        problem = problem_of(answer)
        if problem is None:
            if answer.status < 400:
                raise UnexpectedAnswer(f"what answers is not this service: {answer.status}")
            problem = Problem(status=answer.status, detail="not answered by the service itself")
            retryable, nothing_done = answer.status in _MAY_BE_DONE | _NOTHING_DONE, False
        else:
            retryable = problem.retryable or answer.status in _MAY_BE_DONE
            nothing_done = problem.retryable and problem.code != OUTCOME_UNKNOWN
        nothing_done = nothing_done or answer.status in _NOTHING_DONE
        after_s = retry_after_s(answer.headers.get("retry-after"))
        error = api_error(
            problem,
            retry_after_s=after_s,
            request_id=answer.headers.get("x-request-id"),
            attempts=self.made,
        )
        self._may_have_arrived = self._may_have_arrived or not nothing_done
        if not retryable or not (nothing_done or self._call.repeatable):
            raise error
        return self._again(error, after_s)

    def _again(self, error: ApiError, after_s: float | None) -> float:
        if self.made >= self._retry.max_attempts:
            raise error
        delay_s = self._pause()
        if after_s is not None:
            spread = min(_LONGEST_SPREAD_S, after_s * _SPREAD)
            delay_s = max(delay_s, after_s + spread * self._draw())
        if delay_s >= self._left():
            raise error
        return delay_s

    def _pause(self) -> float:
        return self._retry.delay_s(self.made, self._draw())

    def _left(self) -> float:
        return self._deadline - self._clock()

    def _none(self, why: str) -> NoAnswer:
        return NoAnswer(
            why,
            may_have_arrived=self._may_have_arrived,
            attempts=self.made,
            request_id=self._request_id,
        )

    def _over(self, why: str) -> DeadlineExceeded:
        return DeadlineExceeded(
            why,
            may_have_arrived=self._may_have_arrived,
            attempts=self.made,
            request_id=self._request_id,
        )


def retry_after_s(value: str | None, now: float | None = None) -> float | None:
    """Seconds that a ``Retry-After`` asks for: a number, or a date; ``None`` for neither."""
    if value is None:
        return None
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, moment - (time() if now is None else now))
