"""What every command has in common: help, version, settings, and how it says what is wrong."""

from __future__ import annotations

import re
import resource
import subprocess
from pathlib import Path
from typing import Final

import pytest
from tests.cli.conftest import TRIGGERS, environment, triggers

from triggers_api import __version__
from triggers_api.cli.main import group

COMMANDS: Final = [
    "serve", "worker", "trigger", "search", "tail", "inbox", "explain", "listen", "cancel",
    "delete", "replay", "pause", "resume", "mode", "refuse", "skip", "tune", "drain", "undrain",
    "status", "top", "queues", "process", "requeue-stuck", "poison", "quarantine",
    "verify", "keys", "audit", "migrate", "encrypt", "backup", "restore", "copy", "doctor", "bench",
]  # fmt: skip

HELP_SECONDS: Final = 0.4
"""Of processor time; it takes about 0.1 where this was written."""

HEAVY: Final = {"aiohttp", "litestar", "prometheus_client", "rich", "uvicorn"}


def test_these_are_the_commands() -> None:
    assert group.list_commands(None) == COMMANDS  # type: ignore[arg-type]


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    assert triggers("--version", folder=tmp_path) == (0, f"triggers, version {__version__}\n", "")


def test_help_lists_every_command_with_what_it_does(tmp_path: Path) -> None:
    ended = triggers("--help", folder=tmp_path)
    assert ended.code == 0
    listed = ended.out.partition("\nCommands:\n")[2]
    shown = dict(re.findall(r"^  ([a-z-]+)  +(\S.+)$", listed, re.MULTILINE))
    assert list(shown) == COMMANDS
    assert triggers("-h", folder=tmp_path) == ended


def cpu_seconds() -> float:
    """What all processes that this one started and waited for have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_quick_and_waits_for_no_web_server(command: str, tmp_path: Path) -> None:
    took: list[float] = []
    # Others on the machine may make one or the other dear, and not all of them.
    while len(took) < 10 and (not took or took[-1] >= HELP_SECONDS):
        before = cpu_seconds()
        ended = triggers(*command.split(), "--help", folder=tmp_path)
        took.append(cpu_seconds() - before)
        assert ended.code == 0
        assert "Usage: triggers" in ended.out
    assert took[-1] < HELP_SECONDS, took
    told = triggers(*command.split(), "--help", folder=tmp_path, PYTHONPROFILEIMPORTTIME="1").err
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.splitlines()}
    assert {"click", "triggers_api"} <= imported
    assert not imported & HEAVY


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["--frobnicate"], ["serve", "--frobnicate"], ["trigger"]]
)
def test_what_there_is_not_is_misuse(arguments: list[str], tmp_path: Path) -> None:
    ended = triggers(*arguments, folder=tmp_path)
    assert ended.code == 2
    assert ended.out == ""
    assert "Usage: triggers" in ended.err
    assert "Traceback" not in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        (["--port", "http"], {}, "--port 'http': must be a whole number from 0 to 65535"),
        ([], {"TRIGGERS_PORT": "70000"}, "TRIGGERS_PORT '70000': must be a whole number"),
        ([], {"PORT": "x"}, "PORT 'x': must be a whole number"),
        ([], {"TRIGGERS_RETRY_SCHEDULE": "5,soon"}, "TRIGGERS_RETRY_SCHEDULE '5,soon': must be a"),
        ([], {"TRIGGERS_ALLOW_CIDRS": "10.0.0.1/8"}, "TRIGGERS_ALLOW_CIDRS '10.0.0.1/8': 10.0.0.1"),
        ([], {"TRIGGERS_INGEST_MODE": "fast"}, "'fast': must be one of async, sync, refuse"),
        (["--lease-s", "30"], {}, "TRIGGERS_LEASE_S (30) must exceed TRIGGERS_DELIVERY_TIMEOUT_S (30)"),
        (["--database-url", "mysql://me:pass@x/y"], {}, "mysql://me:***@x/y: use sqlite:///path"),
        (["--database-url", "host=x password=pass"], {}, "TRIGGERS_DATABASE_URL ***: use sqlite"),
        (["--role", "api"], {}, "role api needs a PostgreSQL database (TRIGGERS_DATABASE_URL)"),
        ([], {"TRIGGERS_ROLE": "worker"}, "role worker needs a PostgreSQL database"),
        (["--config", "missing.toml"], {}, "missing.toml: [Errno 2] No such file or directory"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named_with_its_setting_in_one_line(
    arguments: list[str], environ: dict[str, str], said: str, tmp_path: Path
) -> None:
    ended = triggers("serve", *arguments, folder=tmp_path, **environ)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("triggers: ")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert "pass" not in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["TRIGGERS_API_KEY", "TRIGGERS_ADMIN_KEY", "TRIGGERS_SECRET_KEY"])
def test_a_secret_that_does_not_fit_is_not_shown(name: str, tmp_path: Path) -> None:
    ended = triggers("serve", folder=tmp_path, **{name: "CANARY"})
    assert ended.code == 2
    assert name in ended.err
    assert "CANARY" not in ended.err


def test_names_that_look_misspelt_are_pointed_out_and_not_refused(tmp_path: Path) -> None:
    ended = triggers(
        "migrate",
        folder=tmp_path,
        TRIGGERS_RATE_LIMITS="1",
        TRIGGERS_NONSENSE="1",
        # These come from elsewhere: Kubernetes, the tests, other commands.
        TRIGGERS_SERVICE_HOST="10.0.0.1",
        TRIGGERS_PORT_8000_TCP="tcp://10.0.0.1:8000",
        TRIGGERS_PORT="tcp://10.0.0.1:8000",
        TRIGGERS_TEST_SEED="1",
        TRIGGERS_URL="http://127.0.0.1:1",
        TRIGGERS_BATCH_SIZE="10",
    )
    assert ended.code == 0
    assert ended.err.splitlines() == [
        "triggers: TRIGGERS_NONSENSE is not a setting; is it misspelt?",
        "triggers: TRIGGERS_RATE_LIMITS is not a setting; did you mean TRIGGERS_RATE_LIMIT?",
    ]


def test_a_reader_that_goes_away_is_not_answered_with_a_traceback(tmp_path: Path) -> None:
    """As in `triggers serve --help | head -1`."""
    with subprocess.Popen(
        (*TRIGGERS, "serve", "--help"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
