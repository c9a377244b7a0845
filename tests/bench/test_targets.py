"""Verdicts and exit codes."""

import pytest

from triggers_api.bench.targets import (
    INGEST_P95,
    INGEST_P99,
    INGEST_RATIO,
    PIPELINE_RATE,
    Goal,
    Outcome,
    Verdict,
    exit_code,
    judge,
    saturation,
)


@pytest.mark.parametrize(
    ("goal", "measured", "holds"),
    [
        (INGEST_RATIO, 0.4, True),
        (INGEST_RATIO, 0.399, False),
        (INGEST_P95, 9.999, True),
        (INGEST_P95, 10, False),
        (INGEST_P99, 10, True),
        (INGEST_P99, 10.001, False),
        (PIPELINE_RATE, 4000, True),
        (PIPELINE_RATE, 3999.9, False),
    ],
)
def test_a_limit_counts_as_met_when_the_target_says_so(
    goal: Goal, measured: float, *, holds: bool
) -> None:
    assert judge(goal, measured).outcome == (Outcome.HOLDS if holds else Outcome.MISSED)


def test_a_verdict_quotes_the_target() -> None:
    verdict = judge(PIPELINE_RATE, 5000.0)
    assert verdict.target.endswith("≥ 4,000 events/s")
    assert judge(INGEST_P99, 1).target == "ingest p99 at 64 connections ≤ 10 ms"


def test_a_number_from_a_void_run_is_not_a_result_good_or_bad() -> None:
    for measured in (0.1, 0.9):
        verdict = judge(INGEST_RATIO, measured, void="the loader was slow")
        assert (verdict.outcome, verdict.reason) == (Outcome.VOID, "the loader was slow")


def test_what_was_not_measured_or_does_not_apply_is_not_judged() -> None:
    assert judge(INGEST_RATIO, None).outcome == Outcome.NOT_JUDGED
    verdict = judge(INGEST_RATIO, 0.1, void="slow", unjudged="there is no ceiling")
    assert (verdict.outcome, verdict.reason) == (Outcome.NOT_JUDGED, "there is no ceiling")


def test_a_doubt_is_told_only_when_a_target_is_missed() -> None:
    assert judge(INGEST_RATIO, 0.5, doubt="others").reason == ""
    missed = judge(INGEST_RATIO, 0.3, doubt="others")
    assert (missed.outcome, missed.reason) == (Outcome.MISSED, "others")


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], 0),
        ([Outcome.HOLDS, Outcome.HOLDS], 0),
        ([Outcome.HOLDS, Outcome.NOT_JUDGED], 0),
        ([Outcome.HOLDS, Outcome.MISSED], 4),
        ([Outcome.MISSED, Outcome.VOID], 1),
    ],
)
def test_the_exit_code_tells_the_worst(outcomes: list[Outcome], expected: int) -> None:
    assert exit_code([Verdict("", 0.0, "", outcome) for outcome in outcomes]) == expected


@pytest.mark.parametrize(
    ("loader", "server", "is_void"),
    [
        (0.4, 0.99, False),
        (0.94, 0.5, False),
        (0.95, 0.94, True),
        (0.99, 0.95, False),
        (0.99, None, True),
        (0.4, None, False),
    ],
)
def test_a_run_is_void_when_the_loader_was_at_its_limit_before_the_server(
    loader: float, server: float | None, *, is_void: bool
) -> None:
    assert bool(saturation(loader, server)) == is_void
