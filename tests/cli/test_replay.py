"""``triggers replay``: a job from the command line, waited for, counted only, or cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from tests.cli.conftest import LONGEST_S, Ended, Endpoint, Serve, Serving, triggers
from tests.servers.ports import free_ports

from triggers_api.cli.api import UNREACHABLE

KEY: Final = "a-key-of-the-organization"

Replay = Callable[..., Ended]

_NUMBERS: Final = count()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = Serving(
        tmp_path_factory.mktemp("serving"),
        TRIGGERS_API_KEY=KEY,
        TRIGGERS_ADMIN_KEY="a-key-of-the-operator",
        TRIGGERS_ALLOW_CIDRS="127.0.0.0/8",
        TRIGGERS_INGEST_MODE="sync",
    )
    yield serving
    serving.close()


@pytest.fixture
def environ(serving: Serving) -> dict[str, str]:
    return {"TRIGGERS_URL": serving.url, "TRIGGERS_API_KEY": KEY}


@pytest.fixture
def replay(environ: dict[str, str], tmp_path: Path) -> Replay:
    def replay(*arguments: str, **other: str) -> Ended:
        return triggers("replay", *arguments, folder=tmp_path, **environ | other)

    return replay


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        yield endpoint


def made(serving: Serving, path: str, body: dict[str, Any]) -> str:
    status, answer = serving.call("POST", path, KEY, body)
    assert status in {200, 201}, answer
    identifier: str = answer["id"]
    return identifier


@pytest.fixture
def missing_three(serving: Serving, endpoint: Endpoint) -> str:
    """A subscription that was made after three events that it alone matches."""
    return late(serving, endpoint)


def late(serving: Serving, endpoint: Endpoint) -> str:
    event_type = f"order.{next(_NUMBERS)}"
    for number in range(3):
        made(serving, "/api/events", {"type": event_type, "payload": number})
    return made(serving, "/api/subscriptions", {"url": endpoint.url, "event_types": [event_type]})


def said_until(process: subprocess.Popen[str], words: str) -> None:
    """Read what it says of its progress up to a line with these words."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"it ended without {words!r}")


def jobs(serving: Serving) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = serving.call("GET", "/api/jobs", KEY)[1]["data"]
    return listed


def test_a_dry_run_counts_and_with_a_rate_says_how_long_it_takes(
    serving: Serving, replay: Replay, missing_three: str
) -> None:
    chosen = ("--subscription", missing_three, "--status", "missed")
    ended = replay(*chosen, "--dry-run", "--rate", "2")
    assert ended.code == 0
    (job, *_) = jobs(serving)
    assert ended.out == f"{job['id']}  done  3 would be replayed, 1.5 s at this rate\n"
    assert replay(*chosen, "--dry-run").out.endswith("  done  3 would be replayed\n")


def test_what_was_missed_is_delivered_once_and_then_there_is_nothing_left(
    serving: Serving, replay: Replay, missing_three: str
) -> None:
    chosen = ("--subscription", missing_three, "--status", "missed", "--wait")
    ended = replay(*chosen)
    assert (ended.code, ended.out.split(maxsplit=1)[1]) == (0, "done  3 of 3, 3 new deliveries\n")
    found = serving.call("GET", f"/api/deliveries?subscription_id={missing_three}", KEY)[1]["data"]
    assert [each["origin"] for each in found] == ["replay"] * 3
    assert "0 of 0" in replay(*chosen).out


def test_the_job_is_printed_as_the_api_shows_it(
    serving: Serving, replay: Replay, missing_three: str
) -> None:
    ended = replay("--subscription", missing_three, "--wait", "--json")
    assert ended.code == 0
    assert json.loads(ended.out) == jobs(serving)[0]


@pytest.mark.parametrize(("asked", "status"), [(True, "cancelled"), (False, "running")])
def test_an_interrupt_ends_the_job_only_if_that_was_asked_for(
    serving: Serving,
    environ: dict[str, str],
    missing_three: str,
    asked: bool,  # noqa: FBT001 - pytest's
    status: str,
) -> None:
    options = ["--cancel-on-interrupt"] if asked else []
    process = subprocess.Popen(
        [sys.executable, "-m", "triggers_api", "replay", "--subscription", missing_three,
         "--rate", "0.01", "--wait", *options],
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    said_until(process, "  1 of 3")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 130
    assert f"  {status}  1 of 3, 1 new deliveries" in out
    (job, *_) = jobs(serving)
    assert job["status"] == status
    if not asked:
        assert serving.call("DELETE", f"/api/jobs/{job['id']}", KEY)[0] == 200


def test_who_waits_goes_on_waiting_while_the_service_is_started_again(
    serve: Serve, endpoint: Endpoint
) -> None:
    (port,) = free_ports(1)
    environ = {
        "TRIGGERS_API_KEY": KEY, "TRIGGERS_ADMIN_KEY": "a-key-of-the-operator",
        "TRIGGERS_ALLOW_CIDRS": "127.0.0.0/8", "TRIGGERS_INGEST_MODE": "sync",
    }  # fmt: skip
    serving = serve("--port", str(port), **environ)
    chosen = ["--subscription", late(serving, endpoint), "--rate", "0.4", "--wait"]
    process = subprocess.Popen(
        [sys.executable, "-m", "triggers_api", "replay", *chosen],
        env=os.environ | {"TRIGGERS_URL": serving.url, "TRIGGERS_API_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said_until(process, " of 3")
    serving.end(signal.SIGKILL)
    said_until(process, "no answer from")
    serve("--port", str(port), **environ)
    out, _ = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0
    assert out.endswith("  done  3 of 3, 3 new deliveries\n")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--dry-run",),
        ("--all", "--type", "order.*"),
        ("--all", "--cancel-on-interrupt"),
        ("--status", "pending"),
        ("--all", "--rate", "fast"),
    ],
)
def test_what_makes_no_sense_is_misuse_and_makes_no_job(
    serving: Serving, replay: Replay, arguments: tuple[str, ...]
) -> None:
    before = jobs(serving)
    ended = replay(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Error: " in ended.err
    assert jobs(serving) == before


def test_a_refusal_is_printed_as_it_came(replay: Replay) -> None:
    ended = replay("--all", "--rate", "-1")
    assert (ended.code, ended.out) == (1, "")
    assert json.loads(ended.err)["errors"][0]["pointer"] == "/rate"
    ended = replay("--status", "missed", "--subscription", "sub_1")
    assert json.loads(ended.err)["code"] == "not-found"


def test_where_nobody_answers_that_is_said(replay: Replay) -> None:
    ended = replay("--all", TRIGGERS_URL="http://127.0.0.1:9")
    assert (ended.code, ended.out) == (UNREACHABLE, "")
    assert "no answer from http://127.0.0.1:9" in ended.err
