"""The server's books, all organizations together."""

from typing import Any

import pytest

from triggers_api.bench.books import Accounting, Books, sum_of, verdicts_on
from triggers_api.bench.targets import NOT_STORED, UNEXPLAINED, Outcome


def account(**counts: int) -> dict[str, Any]:
    return {
        "accepted": 0,
        "queued": 0,
        "deliveries": {
            "total": counts.pop("deliveries", 0),
            "succeeded": counts.pop("succeeded", 0),
        },
        **counts,
    }


def accounting(**changes: int | bool | None) -> Accounting:
    given: dict[str, Any] = {
        "accepted": 10,
        "stored": 10,
        "balanced": True,
        "unanswered": 0,
        "missing": 0,
        "unexplained": 0,
        "sampled": 5,
        "found": 5,
        "duplicates": 0,
        "wrong_duplicates": 0,
    }
    return Accounting(**(given | changes))


def outcome_of(verdicts: list[Any], goal: object) -> Outcome:
    (found,) = [verdict.outcome for verdict in verdicts if verdict.target == str(goal)]
    return Outcome(found)


def test_organizations_are_added_up() -> None:
    verification = {
        "ok": True,
        "organizations": [
            account(accepted=3, queued=1, deliveries=4, succeeded=2),
            account(accepted=5, deliveries=1, succeeded=1),
        ],
    }
    assert sum_of(verification) == Books(ok=True, accepted=8, queued=1, succeeded=3, deliveries=5)


def test_everything_holds_when_everything_is_there() -> None:
    verdicts = verdicts_on(accounting(), failed=0, is_own=True)
    assert {verdict.outcome for verdict in verdicts} == {Outcome.HOLDS}


@pytest.mark.parametrize(
    "changes",
    [
        {"missing": 1},
        {"balanced": False},
        {"unexplained": 1},
        {"found": 4},
        {"wrong_duplicates": 1},
    ],
)
def test_every_fault_misses_a_target(changes: dict[str, Any]) -> None:
    verdicts = verdicts_on(accounting(**changes), failed=0, is_own=True)
    assert [verdict.outcome for verdict in verdicts].count(Outcome.MISSED) == 1


def test_a_refused_request_misses_a_target() -> None:
    verdicts = verdicts_on(accounting(), failed=1, is_own=True)
    assert [verdict.outcome for verdict in verdicts].count(Outcome.MISSED) == 1


def test_events_of_others_are_no_fault_of_a_given_server() -> None:
    verdicts = verdicts_on(accounting(unexplained=7), failed=0, is_own=False)
    assert outcome_of(verdicts, UNEXPLAINED) == Outcome.NOT_JUDGED
    assert outcome_of(verdicts, NOT_STORED) == Outcome.HOLDS


def test_without_books_nothing_is_said_about_them() -> None:
    blind = accounting(stored=None, balanced=None, missing=None, unexplained=None)
    verdicts = verdicts_on(blind, failed=0, is_own=False)
    assert outcome_of(verdicts, NOT_STORED) == Outcome.NOT_JUDGED
    assert Outcome.MISSED not in {verdict.outcome for verdict in verdicts}
