"""The operators' commands: switches, drain, queues, what is kept aside, status, top."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from tests.cli.conftest import (
    KEY,
    LONGEST_S,
    TRIGGERS,
    Ended,
    Serve,
    Serving,
    environment,
    triggers,
)
from tests.migrations.conftest import until

from triggers_api.cli.api import UNREACHABLE
from triggers_api.cli.operator import REFUSED
from triggers_api.cli.status import CRITICAL, WARNING

ADMIN_KEY: Final = "a-key-of-the-operator"
SETTINGS: Final = {
    "TRIGGERS_ALLOW_CIDRS": "127.0.0.0/8",
    "TRIGGERS_QUEUE_WARN_DEPTH": "150",
    "TRIGGERS_MIN_POLL_MS": "1",
}

Operate = Callable[..., Ended]


def ask(serving: Serving, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
    status, answer = serving.call(method, f"/api/admin{path}", ADMIN_KEY, body)
    assert status < 300, answer
    return answer


def event(serving: Serving, **fields: object) -> str:
    body = {"type": "order.created", "payload": 1} | fields
    status, answer = serving.call("POST", "/api/events", KEY, body)
    assert status < 300, answer
    found: str = answer["id"]
    return found


@pytest.fixture
def operate(serving: Serving, tmp_path: Path) -> Iterator[Operate]:
    """Runs a command as an operator; afterwards every switch is as it was."""

    def operate(*arguments: str, **environ: str) -> Ended:
        known = {"TRIGGERS_URL": serving.url, "TRIGGERS_ADMIN_KEY": ADMIN_KEY} | environ
        return triggers(*arguments, folder=tmp_path, **known)

    yield operate
    for each in ask(serving, "GET", "/switches")["data"]:
        if each["switch"] == "drain":
            ask(serving, "POST", "/undrain")
            continue
        whose = "subscription_id" if each["subscription_id"] else "organization_id"
        query = f"?{whose}={each[whose]}" if each["organization_id"] else ""
        ask(serving, "PATCH", f"/controls{query}", {each["switch"]: None})
    # Nor is anything left that the next test would count.
    until(lambda: not ask(serving, "GET", "/queues")["events_counted"], "all is routed")


@pytest.fixture(scope="module")
def subscription(serving: Serving) -> dict[str, Any]:
    body = {"url": "https://example.com/hook", "event_types": ["nothing.ever"]}
    status, made = serving.call("POST", "/api/subscriptions", KEY, body)
    assert status == 201, made
    found: dict[str, Any] = made
    return found


def own(serving: Serving) -> str:
    found: str = ask(serving, "GET", "/organizations")["data"][0]["id"]
    return found


# ── switches ──────────────────────────────────────────────────────────────────────────────────────


def test_a_pause_says_what_is_in_force_by_whom_how_long_and_why(
    operate: Operate, serving: Serving
) -> None:
    ended = operate("pause", "--reason", "a wrong pattern", "--for", "15m")
    assert ended.code == 0, ended
    assert re.search(
        r"processing +paused  since \S+ by key_\w+, until \S+, 'a wrong pattern'\n", ended.out
    )
    turned = ask(serving, "GET", "/controls")["turned"]["processing"]
    assert turned["reason"] == "a wrong pattern"
    assert turned["expires_at"] is not None
    assert operate("resume", "processing").code == 0
    assert ask(serving, "GET", "/controls")["turned"] == {}


def test_resume_without_a_word_routes_and_sends_again(operate: Operate, serving: Serving) -> None:
    operate("pause", "delivery")
    operate("pause")
    shown = json.loads(operate("resume", "--json").out)
    assert (shown["processing"], shown["delivery"]) == ("running", "running")
    assert ask(serving, "GET", "/switches")["data"] == []


def test_modes_of_ingest_and_delivery(operate: Operate, serving: Serving) -> None:
    for arguments, switch, value in (
        (["mode", "sync", "--for", "1h30m"], "ingest", "sync"),
        (["refuse", "--reason", "moving"], "ingest", "refuse"),
        (["mode", "async"], "ingest", "async"),
        (["mode", "sync"], "ingest", "sync"),
        (["mode", "default"], "ingest", "async"),
        (["skip"], "delivery", "skip"),
        (["resume", "delivery"], "delivery", "running"),
    ):
        assert operate(*arguments).code == 0
        assert ask(serving, "GET", "/controls")[switch] == value


def test_an_organizations_mode_is_the_services_again(operate: Operate, serving: Serving) -> None:
    organization = own(serving)
    query = f"/controls?organization_id={organization}"
    assert operate("mode", "async", "--organization", organization).code == 0
    assert operate("mode", "sync").code == 0
    assert ask(serving, "GET", query)["ingest"] == "async"
    assert operate("mode", "default", "--organization", organization).code == 0
    assert ask(serving, "GET", query)["ingest"] == "sync"
    assert ask(serving, "GET", query)["turned"] == {}


def test_one_organization_and_one_subscription_are_switched_alone(
    operate: Operate, serving: Serving, subscription: dict[str, Any]
) -> None:
    organization = own(serving)
    for arguments, query, switch, value in (
        (["pause", "--organization", organization], "organization_id", "processing", "paused"),
        (["resume", "--organization", organization], "organization_id", "processing", "running"),
        (["refuse", "--organization", organization], "organization_id", "ingest", "refuse"),
        (["pause", "--subscription", subscription["id"]], "subscription_id", "delivery", "paused"),
        (["skip", "--subscription", subscription["id"]], "subscription_id", "delivery", "skip"),
        (
            ["resume", "--subscription", subscription["id"]],
            "subscription_id",
            "delivery",
            "running",
        ),
    ):
        ended = operate(*arguments)
        assert ended.code == 0, ended
        assert f"switches of {arguments[-1]}:" in ended.out
        whose = ask(serving, "GET", f"/controls?{query}={arguments[-1]}")
        assert whose[switch] == value
        shown = ask(serving, "GET", "/controls")
        assert (shown["processing"], shown["delivery"], shown["ingest"]) == (
            "running", "running", "async",
        )  # fmt: skip


def test_tuning_is_shown_and_put_back(operate: Operate, serving: Serving) -> None:
    ended = operate("tune", "--batch-size", "50", "--concurrency", "4", "--reason", "load")
    assert ended.code == 0, ended
    shown = ask(serving, "GET", "/controls")
    assert (shown["batch_size"], shown["concurrency"], shown["min_poll_ms"]) == (50, 4, None)
    assert operate("tune", "--batch-size", "default").code == 0
    ended = operate("tune")
    assert re.search(r"batch_size +by the settings\n", ended.out)
    assert re.search(r"concurrency +4  since", ended.out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["pause", "ingest"],
        ["pause", "processing", "--subscription", "sub_x"],
        ["pause", "--for", "soon"],
        ["mode", "refuse"],
        ["tune", "--batch-size", "0"],
        ["tune", "--reason", "r"],
        ["drain", "--timeout", "5"],
        ["quarantine", "release"],
        ["quarantine", "list", "evt_x"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(tmp_path: Path, arguments: list[str]) -> None:
    ended = triggers(*arguments, folder=tmp_path, TRIGGERS_ADMIN_KEY=ADMIN_KEY)
    assert ended.code == 2, ended


def test_what_the_service_refuses_is_said_in_a_line(operate: Operate) -> None:
    ended = operate("pause", "--organization", "org_nobody")
    assert ended.code == REFUSED
    assert ended.err == "triggers: 404 not-found: there is no such organization\n"
    ended = operate("pause", TRIGGERS_ADMIN_KEY=KEY)
    assert (ended.code, ended.err.startswith("triggers: 403 forbidden")) == (REFUSED, True)
    ended = operate("tune", "--batch-size", "5", "--reason", "a\nb")
    assert (ended.code, "/reason must not hold" in ended.err) == (REFUSED, True)
    ended = operate("pause", TRIGGERS_URL="http://127.0.0.1:9")
    assert ended.code == UNREACHABLE


# ── drain ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_drain_waits_until_nothing_is_left(operate: Operate, serving: Serving) -> None:
    event(serving)
    ended = operate("drain", "--wait", "--timeout", "60", "--reason", "upgrade")
    assert ended.code == 0, ended
    assert ended.out.startswith("drained: 0 events to be routed")
    status, answer = serving.call("POST", "/api/events", KEY, {"type": "a", "payload": 1})
    assert (status, answer["code"]) == (503, "draining")
    ended = operate("undrain")
    assert (ended.code, ended.out.startswith("events are taken in again")) == (0, True)
    event(serving)


def test_a_drain_that_cannot_end_gives_up_when_its_time_is_over(
    operate: Operate, serving: Serving
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes a request and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        body = {"url": url, "event_types": ["never.answered"]}
        status, made = serving.call("POST", "/api/subscriptions", KEY, body)
        assert status == 201, made
        event(serving, type="never.answered")
        ended = operate("drain", "--wait", "--timeout", "1")
        assert ended.code == REFUSED, ended
        assert re.search(r"not drained after 1 s: \d of [12] done.*; \d events to be", ended.err), (
            ended
        )
        serving.call("DELETE", f"/api/subscriptions/{made['id']}", KEY)


def test_what_is_paused_is_not_drained(operate: Operate) -> None:
    operate("pause")
    ended = operate("drain")
    assert (ended.code, "409 invalid-state: processing of the service" in ended.err) == (1, True)


# ── queues ────────────────────────────────────────────────────────────────────────────────────────


def test_what_waits_is_shown_and_routed_by_hand(operate: Operate, serving: Serving) -> None:
    operate("pause")
    operate("tune", "--batch-size", "2")
    for _ in range(3):
        event(serving)
    ended = operate("queues")
    assert ended.code == 0, ended
    assert re.search(rf"{own(serving)}  3 events, the oldest for [\d.]+ s  default\n", ended.out)
    assert json.loads(operate("queues", "--top", "1", "--json").out)["events_counted"] == 3
    counts = json.loads(operate("process", "--once", "--json").out)
    assert (counts["claimed"], counts["ok"]) == (2, 2)
    ended = operate("process")
    assert ended.out.startswith("1 events claimed, 1 routed to 0 deliveries"), ended
    ended = operate("requeue-stuck")
    assert ended.out.startswith("0 events and 0 deliveries taken back"), ended


def test_what_is_kept_aside_is_listed_released_and_deleted(
    operate: Operate, serving: Serving
) -> None:
    schema = {"type": "object", "required": ["id"]}
    body = {"schema": schema, "mode": "quarantine"}
    serving.call("PUT", "/api/event-types/bill.created", KEY, body)
    mended, deleted = (event(serving, type="bill.created") for _ in range(2))
    listed = operate("quarantine")
    assert listed.code == 0, listed
    assert mended in listed.out
    assert [
        json.loads(line)["id"] for line in operate("quarantine", "--json").out.splitlines()
    ] == [
        deleted,
        mended,
    ]
    assert operate("quarantine", "release", mended, "--payload", "no JSON").code == 2
    assert operate("quarantine", "release", mended, "--payload", '{"id": 1}').code == 0
    assert operate("quarantine", "delete", deleted).out == f"{deleted}  deleted\n"
    assert operate("quarantine", "list").out == ""
    ended = operate("quarantine", "release", deleted)
    assert (ended.code, "404" in ended.err) == (REFUSED, True)


# ── status and top ────────────────────────────────────────────────────────────────────────────────


def level(serving: Serving, wanted: str) -> None:
    """Wait for a level, which is as old as the last look of the service."""
    deadline = time.monotonic() + LONGEST_S
    while serving.call("GET", "/readyz")[1]["queue"]["level"] != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_status_says_by_its_exit_code_how_much_waits(operate: Operate, serving: Serving) -> None:
    level(serving, "normal")
    ended = operate("status", "--check")
    assert ended.code == 0, ended
    assert ended.out.startswith("ok: ")
    assert "every switch is at its default" in ended.out
    operate("pause", "--reason", "test")
    for count, wanted, code in ((101, "warning", WARNING), (50, "critical", CRITICAL)):
        events = [{"type": "order.created", "payload": 1}] * count
        serving.call("POST", "/api/events/batch", KEY, {"events": events})
        level(serving, wanted)
        ended = operate("status", "--check")
        assert ended.code == code, ended
        assert ended.out.startswith(f"{wanted}: ")
        assert re.search(r"switched +processing is paused: since .*'test'", ended.out)
    assert operate("status").code == 0, "without --check it only tells"
    shown = json.loads(operate("status", "--json", TRIGGERS_ADMIN_KEY="").out)
    assert (shown["level"], "queues" in shown) == ("critical", False)
    operate("process")
    operate("resume")
    level(serving, "normal")


def test_a_service_that_drains_is_a_warning_and_none_at_all_is_not_known(operate: Operate) -> None:
    operate("drain")
    ended = operate("status", "--check")
    assert ended.code == WARNING, ended
    assert "no: accepting is draining" in ended.out
    assert "the service is draining: since" in ended.out
    assert operate("status", "--check", TRIGGERS_URL="http://127.0.0.1:9").code == UNREACHABLE


def test_top_prints_once_where_nobody_watches(operate: Operate) -> None:
    operate("pause", "delivery", "--reason", "test")
    ended = operate("top")
    assert ended.code == 0, ended
    assert ended.out.startswith("Triggers API ")
    assert "api,processor,dispatcher" in ended.out
    assert "switched    delivery is paused" in ended.out
    assert "events      0 to be routed" in ended.out
    assert re.search(r"this minute \d+ events accepted.*, \d+ routed, deliveries: ", ended.out)
    assert set(json.loads(operate("top", "--json").out)) == {
        "health", "queues", "switches", "minutes",
    }  # fmt: skip


def test_top_watches_on_a_terminal_until_it_is_interrupted(
    serving: Serving, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    known = {"TRIGGERS_URL": serving.url, "TRIGGERS_ADMIN_KEY": ADMIN_KEY, "TERM": "xterm"}
    with (
        subprocess.Popen(
            (*TRIGGERS, "top", "--interval", "0.5"),
            cwd=tmp_path,
            env=environment(**known),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as process,
        ExitStack() as at_last,
    ):
        at_last.callback(process.kill)
        os.close(theirs)
        seen = b""
        deadline = time.monotonic() + LONGEST_S
        while b"events/s" not in seen and time.monotonic() < deadline:
            if select.select([ours], [], [], 1.0)[0]:
                seen += os.read(ours, 65_536)
        assert b"events/s" in seen, "what changed from one look to the next"
        process.send_signal(signal.SIGINT)
        while process.poll() is None and time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    os.read(ours, 65_536)
                except OSError:
                    break
        assert process.wait(LONGEST_S) == 0
    os.close(ours)


def test_what_is_switched_is_said_at_the_start(serve: Serve) -> None:
    keys = {"TRIGGERS_API_KEY": KEY, "TRIGGERS_ADMIN_KEY": ADMIN_KEY}
    first = serve(**keys)
    assert "switched" not in first.greeting
    ask(first, "PATCH", "/controls", {"processing": "paused", "reason": "a wrong pattern"})
    assert first.end() == 0
    again = serve(**keys)
    assert re.search(
        r"  switched    processing is paused: since \S+ by key_\w+, 'a wrong pattern'\n",
        again.greeting,
    )
