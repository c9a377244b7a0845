"""``triggers serve``: what a newcomer sees at the start, and how it ends."""

from __future__ import annotations

import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

import pytest
from tests.cli.conftest import Serve, Serving, keys_of, needs, pasted, triggers

from triggers_api import __version__

NEW_KEY: Final = re.compile(r"trg_[A-Za-z0-9_-]{43}")
KEYS: Final = {
    "TRIGGERS_API_KEY": "a-key-of-the-organization",
    "TRIGGERS_ADMIN_KEY": "a-key-of-the-operator",
}


class NotFurther(urllib.request.HTTPRedirectHandler):
    """Takes a redirection for the answer."""

    def redirect_request(self, *_: object) -> None:
        return None


# ── the start ─────────────────────────────────────────────────────────────────────────────────────


def test_the_first_start_says_where_it_is_and_which_keys_it_made(serve: Serve) -> None:
    serving = serve()
    first, second, *_ = [line for line in serving.greeting.splitlines() if line]
    assert first == f"  Triggers API {__version__}   {serving.url}   docs: {serving.url}/docs"
    assert re.fullmatch(r"  database    sqlite:///./triggers.db \(sqlite 3\.[\d.]+\)", second)
    keys = keys_of(serving)
    assert set(keys) == {"API key", "admin key"}
    assert all(NEW_KEY.fullmatch(key) for key in keys.values())
    assert len(set(keys.values())) == 2
    assert serving.call("GET", "/api/organization", keys["API key"])[0] == 200
    assert serving.call("GET", "/api/admin/organizations", keys["API key"])[0] == 403
    assert serving.call("GET", "/api/admin/organizations", keys["admin key"])[0] == 200


def test_the_printed_link_opens_the_page_once(serve: Serve) -> None:
    serving = serve()
    found = re.search(r"^  page +(\S+)#(\S+) \(opens once", serving.greeting, re.MULTILINE)
    assert found
    assert found[1] == f"{serving.url}/ui/open"

    def exchange() -> tuple[int, str | None]:
        request = urllib.request.Request(
            found[1], f"token={found[2]}".encode(), {"Origin": serving.url}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NotFurther())
        try:
            with opener.open(request) as answer:
                return answer.status, answer.headers["set-cookie"]
        except urllib.error.HTTPError as refused:
            return refused.code, refused.headers["set-cookie"]

    status, cookie = exchange()
    assert status == 303
    assert cookie is not None
    assert "HttpOnly; SameSite=Strict" in cookie
    assert exchange() == (401, None)


def test_the_printed_curl_sends_an_event_when_it_is_pasted(serve: Serve) -> None:
    serving = serve()
    flag, url, *rest = pasted(serving.greeting)
    assert flag == "-i"
    *headers, data_flag, data = rest
    assert (headers[::2], data_flag) == (["-H", "-H"], "-d")
    request = urllib.request.Request(
        url, data.encode(), dict(header.split(": ", 1) for header in headers[1::2])
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        assert answer.status == 202
        location = answer.headers["location"]
    _, event = serving.call("GET", location, keys_of(serving)["API key"])
    assert event["type"] == "order.created"
    assert event["payload"] == {"id": 42, "total": 99.5}


def test_a_later_start_does_not_tell_keys_and_they_still_open(serve: Serve) -> None:
    first = serve()
    keys = keys_of(first)
    assert first.end() == 0
    second = serve()
    assert keys_of(second) == {}
    assert not NEW_KEY.search(second.greeting)
    assert second.call("GET", "/api/organization", keys["API key"])[0] == 200
    assert second.call("GET", "/api/admin/organizations", keys["admin key"])[0] == 200


def test_the_curl_of_a_later_start_takes_the_key_from_the_environment(serve: Serve) -> None:
    assert serve().end() == 0
    serving = serve(**KEYS)
    curl = pasted(serving.greeting, TRIGGERS_API_KEY=KEYS["TRIGGERS_API_KEY"])
    assert f"Authorization: Bearer {KEYS['TRIGGERS_API_KEY']}" in curl


def test_keys_are_on_the_screen_and_nowhere_else(serve: Serve, tmp_path: Path) -> None:
    serving = serve()
    keys = [key.encode() for key in keys_of(serving).values()]
    assert len(keys) == 2
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {"triggers.db", "triggers.db-wal", "triggers.db.lock", "stderr.txt"} <= set(files)
    assert not [name for name, content in files.items() for key in keys if key in content]


def test_given_keys_hold_at_every_start_also_when_they_change(serve: Serve) -> None:
    assert serve(**KEYS).end() == 0
    changed = {"TRIGGERS_API_KEY": "another-key-of-the-organization"}
    serving = serve(**KEYS | changed)
    for key in (KEYS["TRIGGERS_API_KEY"], changed["TRIGGERS_API_KEY"]):
        assert serving.call("GET", "/api/organization", key)[0] == 200
    assert serving.call("GET", "/api/admin/organizations", KEYS["TRIGGERS_ADMIN_KEY"])[0] == 200


def test_one_key_for_organization_and_operator_is_refused(tmp_path: Path) -> None:
    same = dict.fromkeys(KEYS, "one-and-the-same-key")
    ended = triggers("serve", folder=tmp_path, **same)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "triggers: TRIGGERS_API_KEY and TRIGGERS_ADMIN_KEY must differ\n"


def test_it_is_the_default_command_and_flags_beat_the_environment_which_beats_the_file(
    serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "settings.toml").write_text(
        'database_url = "sqlite:///file.db"\nbatch_size = 1\nmax_concurrent_events = 1\n'
    )
    serving = serve(
        "--batch-size", "3",
        TRIGGERS_CONFIG="settings.toml", TRIGGERS_BATCH_SIZE="2",
        TRIGGERS_MAX_CONCURRENT_EVENTS="2", **KEYS,
    )  # fmt: skip
    assert (tmp_path / "file.db").exists()
    _, health = serving.call("GET", "/api/health/detailed", KEYS["TRIGGERS_ADMIN_KEY"])
    assert health["config"]["max_concurrent_events"] == 2
    assert health["config"]["batch_size"] == 3
    ended = triggers("--port", "x", folder=tmp_path)
    assert (ended.code, ended.err[:17]) == (2, "triggers: --port ")


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("localhost", "localhost"), ("::1", "[::1]")]
)
def test_the_printed_address_can_be_opened(host: str, shown: str, tmp_path: Path) -> None:
    needs(host)
    serving = Serving(tmp_path, "--host", host)
    try:
        assert serving.url.startswith(f"http://{shown}:")
        assert serving.call("GET", "/livez")[0] == 200
    finally:
        serving.close()


# ── what it must not start on ─────────────────────────────────────────────────────────────────────


def test_a_second_server_on_the_same_file_is_refused_in_one_line(
    serve: Serve, tmp_path: Path
) -> None:
    serving = serve()
    ended = triggers("serve", "--port", "0", folder=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        f"triggers: {tmp_path}/triggers.db is in use by another server (process {serving.pid}); "
        "stop that one first, or give this one a file of its own with --database-url\n"
    )
    assert serving.call("GET", "/readyz")[0] == 200
    assert serving.end() == 0


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = triggers("serve", "--port", str(port), folder=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        f"triggers: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "is another server running? (--port takes another one)\n"
    )
    assert list(tmp_path.iterdir()) == []


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_nothing_is_lost(
    number: signal.Signals, serve: Serve, tmp_path: Path
) -> None:
    first = serve(**KEYS)
    key = KEYS["TRIGGERS_API_KEY"]
    sent = []
    for payload in range(20):
        status, answer = first.call("POST", "/api/events", key, {"type": "a", "payload": payload})
        assert status == 202
        sent.append(answer["id"])
    assert first.end(number) == 0
    assert "Traceback" not in first.log
    assert (tmp_path / "triggers.db.lock").read_text() == "closed\n"
    second = serve(**KEYS)
    _, listed = second.call("GET", "/api/events?limit=100", key)
    assert [event["id"] for event in reversed(listed["data"])] == sent
    assert [event["payload"] for event in reversed(listed["data"])] == list(range(20))
