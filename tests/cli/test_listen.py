"""``triggers listen``: events forwarded to a server on this machine, and nothing left behind."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any, Final, NamedTuple, Self

import pytest
from standardwebhooks import Webhook as StandardWebhook
from svix.webhooks import Webhook as SvixWebhook
from tests.cli.conftest import LONGEST_S, TRIGGERS, Ended, Serving, environment, triggers
from tests.servers.ports import free_port

from triggers_api.cli.api import UNREACHABLE

KEY: Final = "a-key-of-the-organization"


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Local:
    """The server that somebody is working on."""

    def __init__(self) -> None:
        local = self
        self.statuses: list[int] = []
        self.requests: Queue[Request] = Queue()
        self.go_on = Event()
        self.go_on.set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                local.requests.put(Request(self.path, headers, body))
                local.go_on.wait(LONGEST_S)
                self.send_response(local.statuses.pop(0) if local.statuses else 204)
                self.send_header("location", "http://127.0.0.1:1/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port

    def next(self) -> Request:
        return self.requests.get(timeout=LONGEST_S)

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Listening:
    """``triggers listen`` in a process of its own, ready."""

    def __init__(self, folder: Path, url: str, *arguments: str) -> None:
        self._err = (folder / "listen-stderr.txt").open("ab+")
        self._process = subprocess.Popen(
            (*TRIGGERS, "listen", *arguments),
            cwd=folder,
            env=environment(TRIGGERS_URL=url, TRIGGERS_API_KEY=KEY),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._err,
            text=True,
        )
        self.greeting = ""

    def greet(self) -> None:
        """Wait until it is ready."""
        while "ready" not in self.greeting:
            line = self.line()
            assert line, self.err
            self.greeting += line
        assert self.line() == "\n"

    @property
    def secret(self) -> str:
        found = re.search(r"whsec_\S+", self.greeting)
        assert found
        return found[0]

    @property
    def err(self) -> str:
        self._err.seek(0)
        return self._err.read().decode()

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        return self._process.wait(LONGEST_S)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._err.close()


Listen = Callable[..., Listening]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """On a port that it can have again."""
    port = str(free_port())
    environ = {"TRIGGERS_API_KEY": KEY, "TRIGGERS_RETRY_SCHEDULE": "0.1,0.1"}
    serving = Serving(tmp_path, "--port", port, **environ)
    yield serving
    serving.close()


@pytest.fixture
def local() -> Iterator[Local]:
    with Local() as local:
        yield local


@pytest.fixture
def listen(serving: Serving, tmp_path: Path) -> Iterator[Listen]:
    with ExitStack() as stack:

        def listen(*arguments: str) -> Listening:
            listening = Listening(tmp_path, serving.url, *arguments)
            stack.callback(listening.close)
            listening.greet()
            return listening

        yield listen


def send(serving: Serving, event_type: str, payload: object = 1) -> str:
    status, answer = serving.call(
        "POST", "/api/events", KEY, {"type": event_type, "payload": payload}
    )
    assert status == 202
    event_id: str = answer["id"]
    return event_id


def subscriptions(serving: Serving) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = serving.call("GET", "/api/subscriptions", KEY)[1]["data"]
    return found


def delivery(serving: Serving, event_id: str) -> dict[str, Any]:
    (found,) = serving.call("GET", f"/api/deliveries?event_id={event_id}", KEY)[1]["data"]
    detail: dict[str, Any] = serving.call("GET", f"/api/deliveries/{found['id']}", KEY)[1]
    return detail


def test_events_are_forwarded_signed_and_reported(
    serving: Serving, local: Local, listen: Listen
) -> None:
    listening = listen(str(local.port), "--events", "order.*", "--events", "invoice.paid")
    event_id = send(serving, "order.created", {"name": "Zoë", "big": 10**22})
    send(serving, "customer.created")
    request = local.next()
    assert request.path == "/"
    assert request.headers["host"] == f"localhost:{local.port}"
    assert request.headers["x-triggers-event-type"] == "order.created"
    assert request.headers["webhook-id"] == event_id
    StandardWebhook(listening.secret).verify(request.body, request.headers)
    SvixWebhook(listening.secret).verify(request.body, request.headers)
    assert json.loads(request.body)["data"] == {"name": "Zoë", "big": 10**22}
    assert re.fullmatch(
        rf"\d\d:\d\d:\d\d  order\.created  {event_id}  204  \d+ ms\n", listening.line()
    )
    found = delivery(serving, event_id)
    assert (found["status"], found["attempts"][0]["status_code"]) == ("succeeded", 204)
    assert local.requests.empty()


def test_a_failure_is_shown_and_the_event_comes_again(
    serving: Serving, local: Local, listen: Listen
) -> None:
    local.statuses += [500, 302]
    listening = listen(f"http://127.0.0.1:{local.port}/hook?x=1", "--secret", "whsec_" + "QUJD" * 8)
    assert "whsec_" not in listening.greeting
    event_id = send(serving, "order.created")
    requests = [local.next() for _ in range(3)]
    assert {request.path for request in requests} == {"/hook?x=1"}
    assert {request.headers["webhook-id"] for request in requests} == {event_id}
    assert [request.headers["x-triggers-attempt"] for request in requests] == ["1", "2", "3"]
    lines = [listening.line() for _ in range(3)]
    shown = [re.search(r"evt_\w+  (\d+)  \d+ ms(.*)", line) for line in lines]
    failed = "  failed, comes again by the schedule"
    assert [each and each.groups() for each in shown] == [
        ("500", failed), ("302", failed), ("204", ""),
    ]  # fmt: skip
    codes = [each["status_code"] for each in delivery(serving, event_id)["attempts"]]
    assert codes == [500, 302, 204]


def test_a_server_that_is_not_there_is_an_attempt_that_failed(
    serving: Serving, listen: Listen
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        listening = listen(f"http://127.0.0.1:{taken.getsockname()[1]}")
        event_id = send(serving, "order.created")
        for _ in range(3):
            assert "  connection-refused  " in listening.line()
    errors = [each["error"] for each in delivery(serving, event_id)["attempts"]]
    assert errors == ["connection-refused"] * 3


def test_a_server_that_is_slow_is_not_waited_for_longer_than_said(
    serving: Serving, local: Local, listen: Listen
) -> None:
    local.go_on.clear()
    listening = listen(str(local.port), "--timeout", "0.2")
    event_id = send(serving, "order.created")
    assert "  timeout  " in listening.line()
    assert delivery(serving, event_id)["attempts"][0]["error"] == "timeout"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_its_subscription_goes_with_it(
    serving: Serving, local: Local, listen: Listen, number: signal.Signals
) -> None:
    listening = listen(str(local.port))
    (session,) = subscriptions(serving)
    assert (session["url"], session["status"]) == ("listen:", "active")
    listening.send(number)
    assert (listening.wait(), listening.err) == (0, "")
    assert subscriptions(serving) == []


def test_a_server_that_hangs_does_not_keep_it_from_ending(
    serving: Serving, local: Local, listen: Listen
) -> None:
    local.go_on.clear()
    listening = listen(str(local.port), "--timeout", "25")
    event_id = send(serving, "order.created")
    local.next()
    listening.send(signal.SIGINT)
    assert listening.wait() == 0
    assert delivery(serving, event_id)["status"] == "cancelled"


def test_when_it_is_killed_its_subscription_expires(
    serving: Serving, local: Local, listen: Listen
) -> None:
    listening = listen(str(local.port))
    listening.send(signal.SIGKILL)
    assert listening.wait() == -signal.SIGKILL
    (session,) = subscriptions(serving)
    assert session["expires_at"] is not None


def test_two_at_once_do_not_disturb_each_other(
    serving: Serving, local: Local, listen: Listen
) -> None:
    with Local() as other:
        first, second = listen(str(local.port)), listen(str(other.port))
        event_id = send(serving, "order.created")
        assert {local.next().headers["webhook-id"], other.next().headers["webhook-id"]} == {
            event_id
        }
        assert event_id in first.line()
        assert event_id in second.line()
        first.send(signal.SIGINT)
        assert first.wait() == 0
        event_id = send(serving, "order.created")
        assert other.next().headers["webhook-id"] == event_id
        assert local.requests.empty()


def test_it_goes_on_when_the_service_is_back(
    tmp_path: Path, serving: Serving, local: Local, listen: Listen
) -> None:
    listening = listen(str(local.port))
    port = serving.url.rpartition(":")[2]
    assert serving.end() == 0
    again = Serving(tmp_path, "--port", port, TRIGGERS_API_KEY=KEY)
    try:
        event_id = send(again, "order.created")
        assert local.next().headers["webhook-id"] == event_id
        assert f"{event_id}  204" in listening.line()
        listening.send(signal.SIGINT)
        assert listening.wait() == 0
    finally:
        again.close()


def test_an_endpoint_that_says_it_is_gone_ends_it(
    serving: Serving, local: Local, listen: Listen
) -> None:
    local.statuses.append(410)
    listening = listen(str(local.port))
    send(serving, "order.created")
    assert listening.wait() == 1
    assert "receiver answered 410 Gone" in listening.err
    assert subscriptions(serving) == []


def run(folder: Path, *arguments: str, url: str = "http://127.0.0.1:9") -> Ended:
    return triggers("listen", *arguments, folder=folder, TRIGGERS_URL=url, TRIGGERS_API_KEY=KEY)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("ftp://localhost", "is neither a port nor http://host"),
        ("http://user@localhost/", "is neither a port"),
        ("http://localhost:99999", "Port out of range"),
        ("http://localhost/a b", "printable ASCII"),
        ("http://192.0.2.1/hook", "is not this machine; with --allow-remote"),
        ("http://0.0.0.0/hook", "is not this machine"),
    ],
)
def test_a_target_that_is_none_of_this_machine_is_refused(
    tmp_path: Path, target: str, words: str
) -> None:
    ended = run(tmp_path, target)
    assert ended.code == 2
    assert words in " ".join(ended.err.split())


def test_without_a_service_it_ends_and_says_so(tmp_path: Path) -> None:
    ended = run(tmp_path, "3000")
    assert ended.code == UNREACHABLE
    assert "no answer from http://127.0.0.1:9" in ended.err


def test_what_the_service_refuses_is_shown(tmp_path: Path, serving: Serving) -> None:
    ended = run(tmp_path, "3000", "--filter", "payload.", url=serving.url)
    assert ended.code == 1
    assert "/filter" in ended.err
