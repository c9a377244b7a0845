"""What Prometheus' own tool says of our metrics, our rules and our dashboard."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml  # type: ignore[import-untyped]
from tests.conftest import Enter, Run
from tests.docs.pages import ROOT
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


# ── deploy/ ───────────────────────────────────────────────────────────────────────────────────────

PROMETHEUS: Final = ROOT / "deploy" / "prometheus"


def ask(*command: str, within: Path = PROMETHEUS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, check=False, cwd=within, text=True, timeout=60
    )


def test_promtool_takes_the_configuration_and_the_rules(program: Program) -> None:
    promtool = program("promtool")
    for command in (("config", "prometheus.yml"), ("rules", "alerts.yml")):
        done = ask(promtool, "check", *command)
        assert done.returncode == 0, done.stderr


def test_every_alert_comes_when_it_should_and_not_when_all_is_well(program: Program) -> None:
    done = ask(program("promtool"), "test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    (group,) = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    text = (PROMETHEUS / "alerts_test.yml").read_text()
    tested = set(re.findall(r"""'\{alertname="(\w+)"\}'""", text))
    assert tested == {rule["alert"] for rule in group["rules"]}


def test_an_alert_with_another_threshold_is_found_out(program: Program, tmp_path: Path) -> None:
    for name in ("alerts.yml", "alerts_test.yml"):
        text = (PROMETHEUS / name).read_text()
        (tmp_path / name).write_text(text.replace("queue_depth) > 1000", "queue_depth) > 9000"))
    done = ask(program("promtool"), "test", "rules", "alerts_test.yml", within=tmp_path)
    assert done.returncode != 0


def test_every_expression_of_the_dashboard_can_be_read(program: Program, tmp_path: Path) -> None:
    board = json.loads((ROOT / "deploy" / "grafana" / "triggers.json").read_text())
    expressions = [
        target["expr"].replace("$__rate_interval", "1m").replace("$job", "triggers")
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = ask(program("promtool"), "check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(expressions) > 40


def test_promtool_takes_the_configuration_of_the_compose_file(
    program: Program, tmp_path: Path
) -> None:
    deploy = Path(__file__).parents[2] / "deploy"
    for name in ("compose/prometheus.yml", "prometheus/alerts.yml"):
        (tmp_path / Path(name).name).write_bytes((deploy / name).read_bytes())
    done = subprocess.run(
        [program("promtool"), "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
