"""Ports that a server can begin on later."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers import ports
from tests.servers.ports import free_port, free_ports

ROOT = Path(__file__).parents[2]
SAME_ORDER = "import random; random.seed(1); from tests.servers.ports import free_ports; "


def test_none_is_given_twice() -> None:
    assert len(set(free_ports(500))) == 500


def test_one_that_is_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        used, free = taken.getsockname()[1], free_port()
        monkeypatch.setattr(ports, "_turns", lambda: iter((used, free)))
        monkeypatch.setattr(ports, "_claim", lambda _: None)
        assert free_port() == free


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="NOT TESTED HERE: only Linux has names that end with their process; two runs of the tests at "
    "once may be given the same port on this machine",
)
def test_one_that_another_process_was_given_is_passed_over() -> None:
    program = [sys.executable, "-c", f"{SAME_ORDER}print(*free_ports(20), flush=True); input()"]
    given: list[set[str]] = []
    processes = []
    for _ in range(2):
        process = subprocess.Popen(
            program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        given.append(set(process.stdout.readline().split()))
        processes.append(process)
    for process in processes:
        process.communicate("\n")
        assert process.returncode == 0
    first, second = given
    assert len(first) == len(second) == 20
    assert not first & second
