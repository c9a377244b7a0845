"""The room that is left on the disk: said before it is too late, and kept for what was accepted."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import Log, Run

from triggers_api.operate.disk import DiskWatch, free_bytes
from triggers_api.telemetry.metrics import Metrics


def test_levels_follow_what_is_left_and_each_change_is_said_once(
    run: Run, tmp_path: Path, log: Log
) -> None:
    left = [1000]
    metrics = Metrics()
    watch = DiskWatch(tmp_path, reserve=100, metrics=metrics, free=lambda _: left[0])
    levels = []
    for free in (200, 199, 150, 100, 99, 50, 100, 124, 125, 200):
        left[0] = free
        run(watch.run_once())
        assert metrics.registry.get_sample_value("triggers_disk_free_bytes") == free
        levels.append(watch.level)
    assert levels == [
        "normal", "warning", "warning", "warning",
        "critical", "critical", "critical", "critical",
        "warning", "normal",
    ]  # fmt: skip
    assert [(each["log_level"], each["event"]) for each in log] == [
        ("warning", "the disk is filling up"),
        ("error", "the disk is nearly full, events are refused"),
        ("info", "the disk has room again"),
    ]


def test_a_disk_that_is_full_at_the_start_is_known_at_once(tmp_path: Path) -> None:
    watch = DiskWatch(tmp_path, reserve=100, metrics=Metrics(), free=lambda _: 10)
    assert watch.full


def test_who_takes_events_in_learns_of_it_between_two_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.operate.disk._FRESH_S", -1.0)
    left = [1000]
    watch = DiskWatch(tmp_path, reserve=100, metrics=Metrics(), free=lambda _: left[0])
    assert not watch.full
    left[0] = 99
    assert watch.full


def test_a_disk_that_cannot_be_asked_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.operate.disk._FRESH_S", -1.0)
    answers = [1000]
    watch = DiskWatch(tmp_path, reserve=100, metrics=Metrics(), free=lambda _: _next(answers))
    assert not watch.full


def _next(answers: list[int]) -> int:
    if not answers:
        raise OSError
    return answers.pop()


def test_what_is_left_is_the_file_systems_word(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0
