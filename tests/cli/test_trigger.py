"""``triggers trigger``: one event sent, and what became of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from tests.cli.conftest import Ended, Endpoint, Serving, triggers

from triggers_api.cli.api import UNREACHABLE

KEY: Final = "a-key-of-the-organization"
ADMIN_KEY: Final = "a-key-of-the-operator"

Trigger = Callable[..., Ended]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = Serving(
        tmp_path_factory.mktemp("serving"),
        TRIGGERS_API_KEY=KEY,
        TRIGGERS_ADMIN_KEY=ADMIN_KEY,
        TRIGGERS_ALLOW_CIDRS="127.0.0.0/8",
        TRIGGERS_RETRY_SCHEDULE=",",
    )
    yield serving
    serving.close()


@pytest.fixture
def trigger(serving: Serving, tmp_path: Path) -> Trigger:
    def trigger(*arguments: str | bytes, given: str = "", **environ: str) -> Ended:
        known = {"TRIGGERS_URL": serving.url, "TRIGGERS_API_KEY": KEY} | environ
        return triggers("trigger", *arguments, folder=tmp_path, given=given, **known)

    return trigger


@pytest.fixture
def endpoint(serving: Serving) -> Iterator[Endpoint]:
    """A subscribed receiver of ``watched.*``."""
    with Endpoint() as endpoint:
        subscription = {"url": endpoint.url, "event_types": ["watched.*"]}
        status, made = serving.call("POST", "/api/subscriptions", KEY, subscription)
        assert status == 201
        yield endpoint
        serving.call("DELETE", f"/api/subscriptions/{made['id']}", KEY)


def event(serving: Serving, ended: Ended) -> dict[str, Any]:
    """The stored event that a command sent."""
    assert ended.code == 0, ended
    status, found = serving.call("GET", f"/api/events/{json.loads(ended.out)['id']}", KEY)
    assert status == 200
    known: dict[str, Any] = found
    return known


# ── what is sent ──────────────────────────────────────────────────────────────────────────────────


def test_an_event_is_sent_and_the_answer_printed(serving: Serving, trigger: Trigger) -> None:
    ended = trigger("order.created", "--data", '{"id": 42}')
    assert ended.err == ""
    answer = json.loads(ended.out)
    assert (answer["type"], answer["status"]) == ("order.created", "queued")
    assert event(serving, ended)["payload"] == {"id": 42}


def test_without_data_the_payload_is_an_empty_object(serving: Serving, trigger: Trigger) -> None:
    assert event(serving, trigger("order.created"))["payload"] == {}


def test_every_field_arrives(serving: Serving, trigger: Trigger) -> None:
    ended = trigger("a", "--dedup-id", 'once "é"', "--source", "shop", "--key", "customer/1")
    found = event(serving, ended)
    assert (found["dedup_id"], found["source"], found["key"]) == ('once "é"', "shop", "customer/1")
    again = trigger("a", "--dedup-id", 'once "é"')
    assert again.code == 0
    assert json.loads(again.out)["duplicate"] is True
    assert json.loads(again.out)["id"] == found["id"]


ODD: Final = '{"big": 12345678901234567890123, "a": 1, "a": 2, "é": "\\u0000", "f": 1e400}'


@pytest.mark.parametrize("way", ["argument", "file", "standard input"])
def test_the_payload_goes_as_it_was_written(
    way: str, serving: Serving, trigger: Trigger, tmp_path: Path
) -> None:
    (tmp_path / "payload.json").write_text(ODD)
    data = {"argument": ODD, "file": "@payload.json", "standard input": "-"}[way]
    ended = trigger("odd", "--data", data, given=ODD if data == "-" else "", LC_ALL="C.UTF-8")
    event_id = json.loads(ended.out)["id"]
    assert b'"payload":%b,' % ODD.encode() in raw_event(serving, event_id)


def raw_event(serving: Serving, event_id: str) -> bytes:
    """An event as the service shows it, not decoded."""
    host, _, port = serving.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            f"GET /api/events/{event_id} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            f"Authorization: Bearer {KEY}\r\n\r\n".encode()
        )
        with connection.makefile("rb") as answer:
            return answer.read()


def test_several_are_sent_one_after_the_other(serving: Serving, trigger: Trigger) -> None:
    ended = trigger("several", "--count", "3")
    answers = [json.loads(line) for line in ended.out.splitlines()]
    ids = [answer["id"] for answer in answers]
    assert ids == sorted(set(ids))
    _, listed = serving.call("GET", "/api/events?type=several", KEY)
    assert {each["id"] for each in listed["data"]} == set(ids)


# ── what cannot be sent ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "data",
    ['{"a":', "", "'{}'", '1, "dedup_id": "x"', '{}} {"a": 1', "{} {}", "[" * 100_000,
     b'"\xff"', "\ufeff{}"],
    ids=["cut", "empty", "quoted twice", "more fields", "braces", "two documents", "deep",
         "not UTF-8", "byte order mark"],
)  # fmt: skip
def test_what_is_not_one_json_document_is_refused_before_it_is_sent(
    data: str | bytes, trigger: Trigger
) -> None:
    ended = trigger("never.sent", "--data", data, LC_ALL="C.UTF-8")
    assert ended.code == 2
    assert ended.out == ""
    assert "Invalid value for --data: " in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data", "@missing.json"], ["--data", "@."], ["--count", "0"], ["--timeout", "-1"],
        ["--url", "127.0.0.1:8000"], ["--url", "file:///etc"], ["--url", "http://"],
        ["--api-key", "né"], ["--api-key", "a\nb"], ["--api-key", ""],
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_option_that_cannot_be_used_is_named(arguments: list[str], trigger: Trigger) -> None:
    ended = trigger("never.sent", *arguments, LC_ALL="C.UTF-8")
    assert (ended.code, ended.out) == (2, "")
    assert arguments[0] in ended.err
    assert "Traceback" not in ended.err


def test_without_a_key_nothing_is_sent(trigger: Trigger) -> None:
    ended = trigger("never.sent", TRIGGERS_API_KEY="")
    assert ended.code == 2
    assert "--api-key" in ended.err


def test_nothing_of_all_that_was_stored(serving: Serving) -> None:
    _, listed = serving.call("GET", "/api/events?type=never.sent", KEY)
    assert listed["data"] == []


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "environ", "status", "code"),
    [
        (["a", "--data", "NaN"], {}, 400, "invalid-json"),
        (["not a type"], {}, 422, "validation-failed"),
        (["a"], {"TRIGGERS_API_KEY": "a-key-nobody-knows"}, 401, "unauthorized"),
        (["a"], {"TRIGGERS_API_KEY": ADMIN_KEY}, 403, "forbidden"),
    ],
)
def test_a_refusal_is_printed_and_fails(
    arguments: list[str], environ: dict[str, str], status: int, code: str, trigger: Trigger
) -> None:
    ended = trigger(*arguments, "--wait", **environ)
    assert (ended.code, ended.err) == (1, "")
    answer = json.loads(ended.out)
    assert (answer["status"], answer["code"]) == (status, code)


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────


def test_waiting_ends_well_when_it_is_delivered(trigger: Trigger, endpoint: Endpoint) -> None:
    ended = trigger("watched.thing", "--wait")
    assert ended.code == 0
    sent = json.loads(ended.out)["id"]
    assert endpoint.ids == [sent]
    assert ended.err.startswith("succeeded dlv_")
    assert ended.err.endswith(" after 1 attempt(s)\n")


def test_waiting_for_what_nobody_wants_ends_well_at_once(trigger: Trigger) -> None:
    ended = trigger("nobody.wants", "--wait")
    assert (ended.code, ended.err) == (0, "")


def test_waiting_fails_when_a_delivery_does(trigger: Trigger, endpoint: Endpoint) -> None:
    endpoint.status = 500
    ended = trigger("watched.thing", "--wait")
    assert ended.code == 1
    assert ended.err.startswith("dead dlv_")
    assert len(endpoint.ids) == 1


def test_waiting_fails_when_time_is_up(
    serving: Serving, trigger: Trigger, endpoint: Endpoint
) -> None:
    serving.call("PATCH", "/api/admin/controls", ADMIN_KEY, {"delivery": "paused"})
    try:
        ended = trigger("watched.thing", "--wait", "--timeout", "0.3")
        came = list(endpoint.ids)
    finally:
        serving.call("PATCH", "/api/admin/controls", ADMIN_KEY, {"delivery": "running"})
    assert ended.code == 1
    assert ended.err == f"triggers: {json.loads(ended.out)['id']} is not done after 0.3 s\n"
    assert came == []


def test_waiting_fails_with_a_key_that_may_not_look(serving: Serving, trigger: Trigger) -> None:
    _, organization = serving.call("GET", "/api/organization", KEY)
    path = f"/api/admin/organizations/{organization['id']}/keys"
    status, made = serving.call("POST", path, ADMIN_KEY, {"name": "x", "scopes": ["ingest"]})
    assert status == 201
    ended = trigger("a", "--wait", TRIGGERS_API_KEY=made["key"])
    assert ended.code == 1
    assert json.loads(ended.out)["status"] == "queued"
    assert json.loads(ended.err)["code"] == "forbidden"


# ── nobody there ──────────────────────────────────────────────────────────────────────────────────


def test_a_server_that_is_away_is_said_so(trigger: Trigger) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ended = trigger("a", "--url", url)
    assert (ended.code, ended.out) == (UNREACHABLE, "")
    assert ended.err == f"triggers: no answer from {url}: [Errno 111] Connection refused\n"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"", "no answer from"),
        (b"220 mail.example.org ESMTP\r\n", "is not this service"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", "is not this service"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", "is not this service"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\n<html>", "is not this service"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", "is not this service"),
    ],
)
def test_something_else_that_answers_is_said_so(reply: bytes, said: str, trigger: Trigger) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.wfile.write(reply)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        ended = trigger("a", "--url", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()
    assert (ended.code, ended.out) == (UNREACHABLE, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1
