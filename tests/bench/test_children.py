"""Child processes do not outlive what they were started for."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from triggers_api.bench.children import child

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


class Fault(Exception):
    pass


def test_a_child_that_runs_at_the_end_is_killed() -> None:
    with child(SLEEP) as process:
        assert process.poll() is None
    assert process.returncode == -signal.SIGKILL


def test_a_child_is_killed_whatever_goes_wrong() -> None:
    with pytest.raises(Fault), child(SLEEP) as process:
        raise Fault
    assert process.returncode == -signal.SIGKILL


def test_a_child_that_ended_by_itself_keeps_its_exit_code() -> None:
    with child([sys.executable, "-c", "raise SystemExit(3)"]) as process:
        process.wait(60)
    assert process.returncode == 3


def test_an_interrupt_while_a_child_is_being_started_still_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[int] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, command: Sequence[str], **options: Any) -> None:  # noqa: ANN401
            super().__init__(command, **options)
            started.append(self.pid)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt), child(SLEEP):
        raise AssertionError("the interrupt was lost")
    assert not Path(f"/proc/{started[0]}").exists()


def test_signals_are_handled_as_before_once_a_child_is_started() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with child(SLEEP):
        after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert before == after
