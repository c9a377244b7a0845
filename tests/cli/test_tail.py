"""``triggers tail``: events as they come in, over restarts of the service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.cli.conftest import LONGEST_S, Serving, triggers
from tests.servers.ports import free_ports

from triggers_api.cli.api import UNREACHABLE

KEY: Final = "a-key-of-the-organization"


Serve = Callable[[], Serving]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts the service, each time at the same address."""
    (port,) = free_ports(1)
    started = []

    def serve() -> Serving:
        keys = {"TRIGGERS_API_KEY": KEY, "TRIGGERS_ADMIN_KEY": "a-key-of-the-operator"}
        started.append(Serving(tmp_path, "--port", str(port), **keys))
        return started[-1]

    yield serve
    for each in started:
        each.close()


@pytest.fixture
def serving(serve: Serve) -> Serving:
    return serve()


def posted(serving: Serving, event_type: str, payload: object) -> str:
    status, made = serving.call(
        "POST", "/api/events", KEY, {"type": event_type, "payload": payload}
    )
    assert status == 202, made
    identifier: str = made["id"]
    return identifier


def following(serving: Serving, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "triggers_api", "tail", *arguments],
        env=os.environ | {"TRIGGERS_URL": serving.url, "TRIGGERS_API_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, err = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_events_are_printed_a_line_each(serving: Serving) -> None:
    first = posted(serving, "order.created", {"id": 1})
    second = posted(serving, "order.paid", {"text": "x" * 500})
    posted(serving, "user.created", 3)
    process = following(serving, "--after", first, "--count", "1", "--type", "order.*")
    out, err = process.communicate(timeout=LONGEST_S)
    assert (process.returncode, err) == (0, "")
    (line,) = out.splitlines()
    assert f"  order.paid  {second}  " in line
    assert line.endswith("…")


def test_as_json_each_line_is_the_event(serving: Serving) -> None:
    first = posted(serving, "order.created", {"id": 1})
    second = posted(serving, "order.created", {"lines": ["a\nb"]})
    (event,) = told(following(serving, "--json", "--after", first, "--count", "1"))
    assert event["id"] == second
    assert event["payload"] == {"lines": ["a\nb"]}


def test_it_goes_on_where_it_was_when_the_service_comes_back(
    serving: Serving, serve: Serve
) -> None:
    first = posted(serving, "a", 1)
    second = posted(serving, "b", 2)
    process = following(serving, "--json", "--after", first, "--count", "2")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["id"] == second
    assert serving.end() == 0
    third = posted(serve(), "c", 3)
    (event,) = told(process)
    assert event["id"] == third


def test_what_is_refused_is_said_and_not_tried_again(serving: Serving, tmp_path: Path) -> None:
    known = {"TRIGGERS_URL": serving.url, "TRIGGERS_API_KEY": "nobodys-key-at-all"}
    ended = triggers("tail", folder=tmp_path, **known)
    assert ended.code == 1
    assert "unauthorized" in ended.err


def test_where_nothing_answers_it_gives_up(tmp_path: Path) -> None:
    known = {"TRIGGERS_URL": "http://127.0.0.1:9", "TRIGGERS_API_KEY": KEY}
    ended = triggers("tail", folder=tmp_path, **known)
    assert ended.code == UNREACHABLE
    assert "no answer from http://127.0.0.1:9" in ended.err
