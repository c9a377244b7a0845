"""``triggers cancel`` and ``triggers delete``."""

from __future__ import annotations

import json

import pytest
from tests.cli.conftest import KEY, Command, Ended, Serving


@pytest.fixture
def scheduled(serving: Serving) -> str:
    body = {"type": "trial.ending", "payload": 1, "deliver_at": "2199-01-01T00:00:00Z"}
    status, made = serving.call("POST", "/api/events", KEY, body)
    assert (status, made["status"]) == (202, "scheduled")
    event_id: str = made["id"]
    return event_id


def test_an_event_is_called_off_and_then_deleted(
    serving: Serving, command: Command, scheduled: str
) -> None:
    for _ in range(2):
        assert command("cancel", scheduled) == Ended(0, f"{scheduled}  cancelled\n", "")
    shown = json.loads(command("cancel", scheduled, "--json").out)
    assert (shown["id"], shown["status"]) == (scheduled, "cancelled")
    assert command("delete", scheduled) == Ended(0, f"{scheduled}  deleted\n", "")
    assert serving.call("GET", f"/api/events/{scheduled}", KEY)[0] == 404


@pytest.mark.parametrize("what", ["cancel", "delete"])
def test_what_is_not_there_is_told_on_standard_error(command: Command, what: str) -> None:
    ended = command(what, "evt_../nothing")
    assert (ended.code, ended.out) == (1, "")
    assert json.loads(ended.err)["code"] == "not-found"
