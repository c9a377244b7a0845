"""``triggers inbox``: list, look, pull, acknowledge and seek from a shell."""

from __future__ import annotations

import json
from functools import partial

import pytest
from tests.cli.conftest import KEY, Command, Serving

from triggers_api.cli.api import UNREACHABLE


@pytest.fixture
def inbox(command: Command) -> Command:
    return partial(command, "inbox")


def test_a_shell_can_look_pull_acknowledge_and_seek(serving: Serving, inbox: Command) -> None:
    ids = []
    for event_type in ("order.created", "order.paid", "user.created"):
        body = {"type": event_type, "payload": {"text": "x" * 200}}
        status, made = serving.call("POST", "/api/events", KEY, body)
        assert status == 202, made
        ids.append(made["id"])
    looked = inbox("peek", "--type", "order.*")
    assert [line.split("  ")[2] for line in looked.out.splitlines()] == ids[:2]
    assert looked.out.splitlines()[0].endswith("…")
    pulled = inbox("pull", "--limit", "2", "--lease", "60", "--json")
    events = [json.loads(line) for line in pulled.out.splitlines()]
    assert [event["id"] for event in events] == ids[:2]
    (line,) = inbox("list").out.splitlines()
    assert line.startswith("default  3 unacked, 2 leased, the oldest ")
    receipts = [event["receipt"] for event in events]
    acked = inbox("ack", *receipts)
    assert (acked.code, acked.out) == (0, "".join(f"{each}  acked\n" for each in ids[:2]))
    again = inbox("ack", receipts[0])
    assert (again.code, again.out) == (1, f"{ids[0]}  lease_lost\n")
    assert inbox("ack", ids[2]).code == 0
    assert inbox().out == "default  0 unacked, 0 leased\n"
    sought = inbox("seek", ids[1], "--json")
    assert json.loads(sought.out)["unacked"] == 2


def test_what_is_refused_or_makes_no_sense_is_said(inbox: Command) -> None:
    assert (refused := inbox("pull", "--inbox", "none")).code == 1
    assert "not-found" in refused.err
    for arguments in (("ack",), ("seek",), ("list", "x"), ("peek", "--type", "a", "--type", "b")):
        assert inbox(*arguments).code == 2
    assert inbox("list", TRIGGERS_URL="http://127.0.0.1:9").code == UNREACHABLE
