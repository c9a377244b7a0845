"""What follows from telling a tool that its hook has ended."""

import pytest

from triggers_api.model.farewell import DELAYS_S, after
from triggers_api.model.outcome import Answered, NoAnswer
from triggers_api.model.timestamp import Timestamp

NOW = Timestamp(1_800_000_000_000)


@pytest.mark.parametrize("code", [200, 202, 204, 299, 410])
def test_who_takes_it_or_is_gone_has_understood(code: int) -> None:
    verdict = after(Answered(code), 1, now=NOW)
    assert (verdict.retry_at, verdict.understood) == (None, True)


@pytest.mark.parametrize(
    "outcome",
    [
        *(Answered(code) for code in (301, 307, 400, 401, 403, 404, 405, 422)),
        NoAnswer("blocked-address", permanent=True),
    ],
)
def test_who_refuses_it_is_not_asked_again(outcome: Answered | NoAnswer) -> None:
    verdict = after(outcome, 1, now=NOW)
    assert (verdict.retry_at, verdict.understood) == (None, False)


@pytest.mark.parametrize(
    "outcome", [*(Answered(code) for code in (408, 425, 429, 500, 503)), NoAnswer("timeout")]
)
def test_who_cannot_take_it_now_is_told_later_a_few_times(outcome: Answered | NoAnswer) -> None:
    for attempts, delay_s in enumerate(DELAYS_S, 1):
        verdict = after(outcome, attempts, now=NOW)
        assert (verdict.retry_at, verdict.understood) == (NOW.after(seconds=delay_s), False)
    verdict = after(outcome, len(DELAYS_S) + 1, now=NOW)
    assert (verdict.retry_at, verdict.understood) == (None, False)
