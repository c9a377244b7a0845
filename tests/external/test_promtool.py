"""What Prometheus' own linter says of our metrics."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.conftest import Enter, Run
from tests.external.conftest import Program

from triggers_api.testing import Receiver, Service


@pytest.fixture
def metrics(run: Run, enter: Enter, tmp_path: Path) -> bytes:
    """The metrics of a service that has been through something."""
    receiver, service = enter(Receiver()), enter(Service(tmp_path, rate_limit=1, rate_burst=3))
    receiver.replies(500)
    run(service.subscribe(receiver.url, retry_schedule=[0.01]))
    for _ in range(2):
        run(service.send("order.created", 1, dedup_id="once"))
    run(service.call("POST", "/api/events", b"{"))
    assert run(service.send("order.created", 1)).status == 429
    run(receiver.wait_for(2))
    return run(service.call("GET", "/metrics", key=None)).body


def lint(promtool: str, exposition: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [promtool, "check", "metrics"],
        input=exposition,
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_promtool_finds_nothing_to_complain_about(program: Program, metrics: bytes) -> None:
    done = lint(program("promtool"), metrics)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    "line", [b"# TYPE a counter\na 1\n", b"# HELP a_ms A.\n# TYPE a_ms gauge\na_ms 1\n", b"a b\n"]
)
def test_promtool_complains_where_there_is_something(program: Program, line: bytes) -> None:
    assert lint(program("promtool"), line).returncode != 0
