"""``triggers verify``: of a service, of a database that nobody serves, and for cron."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from tests.cli.conftest import KEY, Ended, Serving, triggers

ADMIN = "a-key-of-the-operator-0"
EVENT = {"type": "a", "payload": 1, "deliver_at": "2199-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verify")


@pytest.fixture(scope="module")
def serving(folder: Path) -> Iterator[Serving]:
    serving = Serving(folder, TRIGGERS_API_KEY=KEY, TRIGGERS_ADMIN_KEY=ADMIN)
    assert serving.call("POST", "/api/events", KEY, EVENT)[0] == 202
    yield serving
    serving.close()


def ask(serving: Serving, folder: Path, *arguments: str) -> Ended:
    return triggers(
        "verify", *arguments, "--url", serving.url, folder=folder, TRIGGERS_ADMIN_KEY=ADMIN
    )


def test_of_a_service_that_is_well_it_says_so(serving: Serving, folder: Path) -> None:
    assert ask(serving, folder) == Ended(0, "ok: 1 events\n", "")
    deep = ask(serving, folder, "--deep").out.splitlines()
    assert deep[0].startswith("sound: ")
    found = json.loads(ask(serving, folder, "--json", "--repair").out)
    assert found["ok"]
    assert found["repaired"] == {"repaired": {}, "freed": 0}


def test_a_database_that_is_served_is_left_alone(serving: Serving, folder: Path) -> None:
    del serving
    refused = triggers("verify", "--database-url", "sqlite:///./triggers.db", folder=folder)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("triggers: ")


def test_what_is_lost_is_found_and_put_back_in_a_database_that_nobody_serves(
    tmp_path: Path,
) -> None:
    serving = Serving(tmp_path, TRIGGERS_API_KEY=KEY)
    try:
        assert serving.call("POST", "/api/events", KEY, EVENT)[0] == 202
    finally:
        serving.end()
        serving.close()
    with closing(apsw.Connection(str(tmp_path / "triggers.db"))) as db:
        db.execute("DELETE FROM event_queue")
    where = ("--database-url", "sqlite:///./triggers.db")
    found = triggers("verify", *where, folder=tmp_path)
    assert found.code == 1
    first, example, last = found.out.splitlines()
    assert first.startswith("events_not_queued: 1 ")
    assert example.strip().startswith("evt_")
    assert last == "NOT OK: 1 events"
    mended = triggers("verify", "--repair", *where, folder=tmp_path)
    assert mended == Ended(0, "events_not_queued: 1 repaired\nok: 1 events\n", "")


def test_without_a_key_it_says_which_is_missing(serving: Serving, folder: Path) -> None:
    ended = triggers("verify", "--url", serving.url, folder=folder)
    assert ended.code == 2
    assert "TRIGGERS_ADMIN_KEY" in ended.err
