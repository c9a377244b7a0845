"""``triggers worker`` and the roles of ``triggers serve``: several processes on one database."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner
from tests.cli.conftest import LONGEST_S, Endpoint, Serve, keys_of, pasted, triggers, with_password
from tests.cli.test_demo import first_deliveries

from triggers_api import __version__
from triggers_api.cli import worker
from triggers_api.settings import Settings

KEYS: Final = {
    "TRIGGERS_API_KEY": "a-key-of-the-organization",
    "TRIGGERS_ADMIN_KEY": "a-key-of-the-operator",
}
KEY: Final = KEYS["TRIGGERS_API_KEY"]


# ── what it says ──────────────────────────────────────────────────────────────────────────────────


def test_a_worker_says_what_it_is_and_where_to_ask_how_it_is(server_url: str, serve: Serve) -> None:
    working = serve(command="worker", TRIGGERS_DATABASE_URL=server_url)
    lines = [line for line in working.greeting.splitlines() if line]
    assert (
        lines[0] == f"  Triggers API {__version__}   {working.url}   health: {working.url}/readyz"
    )
    assert re.fullmatch(
        rf"  database    {re.escape(server_url)} \(postgresql \d+[\d.]*\)", lines[1]
    )
    assert lines[2] == (
        "  survives    process crash, database crash, operating system crash, power cut"
    )
    assert lines[3:] == [
        "  role        worker: routes and delivers; events are sent to `triggers serve --role api`",
        f"  metrics     {working.url}/metrics",
    ]
    assert working.call("GET", "/readyz")[0] == 200
    assert working.call("POST", "/api/events", KEY, {"type": "a", "payload": 1})[0] == 404
    assert working.end() == 0


def test_an_api_process_says_that_it_needs_workers_and_how_to_send(
    server_url: str, serve: Serve
) -> None:
    serving = serve("--role", "api", TRIGGERS_DATABASE_URL=server_url)
    assert (
        "  role        api: events wait until a `triggers worker` routes and delivers them"
        in serving.greeting.splitlines()
    )
    assert set(keys_of(serving)) == {"API key", "admin key"}
    assert f"{serving.url}/api/events" in pasted(serving.greeting)
    assert serving.end() == 0


def test_a_password_is_nowhere_on_the_screen_or_in_the_log(
    server_url: str, serve: Serve, tmp_path: Path
) -> None:
    url = with_password(server_url, "CANARY%2F1")
    shown = with_password(server_url, "***")
    started = [
        serve("--log-level", "debug", TRIGGERS_DATABASE_URL=url, **KEYS),
        serve("--role", "api", TRIGGERS_DATABASE_URL=url, **KEYS),
        serve(command="worker", TRIGGERS_DATABASE_URL=url, **KEYS),
    ]
    for each in started:
        assert f"  database    {shown} (postgresql " in each.greeting
        assert each.end() == 0
        assert "CANARY" not in each.greeting + each.log
    nowhere = with_password("postgresql://me@127.0.0.1:1/events", "CANARY")
    for command in ("serve", "worker", "migrate", "doctor"):
        ended = triggers(command, folder=tmp_path, TRIGGERS_DATABASE_URL=nowhere)
        assert ended.code == 1
        assert "postgresql://me:***@127.0.0.1:1/events: " in ended.out + ended.err
        assert "CANARY" not in ended.out + ended.err


@pytest.mark.parametrize("command", ["serve", "worker", "migrate", "doctor"])
def test_an_address_that_cannot_be_read_is_not_quoted(command: str, tmp_path: Path) -> None:
    ended = triggers(command, folder=tmp_path, TRIGGERS_DATABASE_URL="postgresql://me:CAN/ARY@x/y")
    assert ended.code == 1
    assert "postgresql://***: this is no URL of PostgreSQL" in ended.out + ended.err
    assert not re.search("CAN|ARY", ended.out + ended.err)
    assert "Traceback" not in ended.err


# ── what it does ──────────────────────────────────────────────────────────────────────────────────


def test_workers_deliver_what_api_processes_take_in(server_url: str, serve: Serve) -> None:
    environ = {"TRIGGERS_DATABASE_URL": server_url, "TRIGGERS_ALLOW_CIDRS": "127.0.0.0/8", **KEYS}
    with Endpoint() as endpoint:
        apis = [serve("--role", "api", **environ) for _ in range(2)]
        subscription = {"url": endpoint.url, "event_types": ["*"]}
        assert apis[0].call("POST", "/api/subscriptions", KEY, subscription)[0] == 201
        workers = [serve(command="worker", **environ) for _ in range(2)]
        sent = []
        for number in range(20):
            event = {"type": "a", "payload": number}
            status, answer = apis[number % 2].call("POST", "/api/events", KEY, event)
            assert status == 202
            sent.append(answer["id"])
        give_up = time.monotonic() + LONGEST_S
        while len(endpoint.ids) < len(sent) and time.monotonic() < give_up:
            apis[0].call("GET", "/livez")
        assert sorted(endpoint.ids) == sorted(sent)
        _, health = workers[0].call("GET", "/api/health/detailed", KEY)
        roles = sorted(each["roles"] for each in health["workers"])
        assert roles == ["api", "api", "processor,dispatcher", "processor,dispatcher"]
        for each in (*apis, *workers):
            assert each.end() == 0


def test_the_demo_and_sending_from_the_command_line_work_on_postgresql_as_well(
    server_url: str, serve: Serve, tmp_path: Path
) -> None:
    demo = serve("--demo", "--demo-rate", "50", TRIGGERS_DATABASE_URL=server_url)
    first_deliveries(demo, 3)
    environ = {"TRIGGERS_URL": demo.url, "TRIGGERS_API_KEY": keys_of(demo)["API key"]}
    ended = triggers("trigger", "a", "--wait", folder=tmp_path, **environ)
    assert ended.code == 0
    assert ended.err.startswith("succeeded dlv_")
    assert demo.end() == 0
    assert demo.log == ""


# ── what it must not start with ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "role"),
    [(["worker"], "worker"), (["serve", "--role", "api"], "api"), (["--role", "worker"], "worker")],
)
def test_the_embedded_database_is_refused_in_one_line(
    arguments: list[str], role: str, tmp_path: Path
) -> None:
    ended = triggers(*arguments, folder=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"triggers: role {role} needs a PostgreSQL database (TRIGGERS_DATABASE_URL): with SQLite "
        "one process owns the file and does everything\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_demo_of_half_a_service_is_misuse(tmp_path: Path) -> None:
    url = "postgresql://127.0.0.1:1/events"
    ended = triggers("serve", "--demo", "--role", "api", "--database-url", url, folder=tmp_path)
    assert ended.code == 2
    assert "--demo needs the whole service in this process: --role all" in ended.err


# ── settings ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the command would have served with."""
    found: list[Settings] = []
    monkeypatch.setattr(worker, "run", found.append)
    monkeypatch.setenv("TRIGGERS_DATABASE_URL", "postgresql://db/events")
    return found


@pytest.mark.parametrize(
    ("flags", "environ", "file", "port"),
    [
        ([], {}, "", 8001),
        ([], {}, "port = 1", 1),
        ([], {"PORT": "2"}, "port = 1", 2),
        ([], {"PORT": "2", "TRIGGERS_PORT": "3"}, "port = 1", 3),
        (["--port", "4"], {"PORT": "2", "TRIGGERS_PORT": "3"}, "port = 1", 4),
        (["--port", "8000"], {}, "", 8000),
    ],
)
def test_its_port_is_its_own_unless_one_is_given(
    started: list[Settings],
    tmp_path: Path,
    flags: list[str],
    environ: dict[str, str],
    file: str,
    port: int,
) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(file)
    CliRunner().invoke(
        worker.command, ["--config", str(config), *flags], env=environ, catch_exceptions=False
    )
    (settings,) = started
    assert settings.port == port


@pytest.mark.parametrize("given", ["all", "api", "worker"])
def test_it_is_a_worker_whatever_the_environment_says(started: list[Settings], given: str) -> None:
    CliRunner().invoke(worker.command, env={"TRIGGERS_ROLE": given}, catch_exceptions=False)
    (settings,) = started
    assert settings.role == "worker"


def test_its_help_names_its_own_port_and_no_role() -> None:
    shown = " ".join(CliRunner().invoke(worker.command, ["--help"]).output.split())
    assert "[env: TRIGGERS_PORT; default: 8001]" in shown
    assert "--role" not in shown.partition("Options:")[2]
