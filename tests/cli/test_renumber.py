"""``triggers migrate --renumber``: a database that was dumped and restored into another server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.cli.conftest import LONGEST_S, Serve, Serving, triggers
from tests.cli.test_doctor import findings
from tests.migrations.conftest import until
from tests.servers.postgres import GIVEN, Postgres, PostgresServer

API_KEY: Final = "a-key-of-the-organization"
KEYS: Final = {"TRIGGERS_API_KEY": API_KEY, "TRIGGERS_ADMIN_KEY": "a-key-of-the-operator"}
AHEAD: Final = 20_000
"""Transactions by which the first server is ahead of the second one, at least."""


@pytest.fixture
def other() -> Iterator[PostgresServer]:
    """A server that has just begun to count."""
    with PostgresServer(in_memory=True) as server:
        yield server


def sent(serving: Serving, number: int) -> str:
    status, answer = serving.call(
        "POST", "/api/events", API_KEY, {"type": "order.created", "payload": {"number": number}}
    )
    assert status == 202
    event_id: str = answer["id"]
    return event_id


def pulled(serving: Serving, limit: int = 100, lease_s: float = 1) -> list[dict[str, Any]]:
    status, answer = serving.call(
        "POST", "/api/inbox/pull", API_KEY, {"limit": limit, "lease_s": lease_s}
    )
    assert status == 200
    events: list[dict[str, Any]] = answer["data"]
    return events


def next_ones(serving: Serving, count: int, lease_s: float = 1) -> list[dict[str, Any]]:
    """So many: none is seen while a transaction that began before its own, anybody's, is under way."""
    found: list[dict[str, Any]] = []

    def all_came() -> bool:
        found.extend(pulled(serving, count - len(found), lease_s))
        return len(found) == count

    until(all_came, f"the next {count}")
    return found


def dumped(postgres: Postgres, database: str, other: PostgresServer, name: str) -> None:
    """What an operator does: pg_dump of the one, psql into the other."""
    programs = other.programs
    dump = subprocess.run(
        [programs / "pg_dump", "--no-owner", postgres.url(database)],
        capture_output=True, timeout=LONGEST_S, check=True,
    )  # fmt: skip
    subprocess.run(
        [programs / "psql", "--quiet", "--set=ON_ERROR_STOP=1", other.url(name)],
        input=dump.stdout, capture_output=True, timeout=LONGEST_S, check=True,
    )  # fmt: skip


def test_the_log_goes_on_in_its_order_on_another_server(
    postgres: Postgres, other: PostgresServer, serve: Serve, tmp_path: Path
) -> None:
    if GIVEN in os.environ:
        pytest.skip(f"{GIVEN} is set: its transactions are not ours to spend")
    database = postgres.create_database()
    url = {"TRIGGERS_DATABASE_URL": postgres.url(database)}
    postgres.execute(
        f"DO $$ BEGIN FOR i IN 1..{AHEAD} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    )
    before = serve(**KEYS, **url)
    events = [sent(before, number) for number in range(10)]
    until(lambda: before.call("GET", "/readyz")[1]["queue"]["depth"] == 0, "all are routed")
    # The third one was stored by a transaction that ended last: it is at the end of the log.
    third = events.pop(2)
    postgres.execute(
        f"UPDATE events SET xid = pg_current_xact_id() WHERE id = '{third[4:]}'", database=database
    )
    events.append(third)
    done = next_ones(before, 2, lease_s=600)
    taken = next_ones(before, 2)
    assert [each["id"] for each in (*done, *taken)] == events[:4]
    receipts = [each["receipt"] for each in done]
    status, acked = before.call("POST", "/api/inbox/ack", API_KEY, {"receipts": receipts})
    assert status == 200
    assert [each["status"] for each in acked["results"]] == ["acked", "acked"]
    assert before.end() == 0

    name = other.create_database()
    dumped(postgres, database, other, name)
    moved = {"TRIGGERS_DATABASE_URL": other.url(name)}
    refused = triggers("serve", "--port", "0", folder=tmp_path, **KEYS, **moved)
    assert refused.code == 1
    assert "run triggers migrate --renumber" in refused.err
    doctor = triggers("doctor", "--port", "0", folder=tmp_path, **moved)
    assert (doctor.code, findings(doctor)["log order"][0]) == (1, "fail")

    ended = triggers("migrate", "--renumber", folder=tmp_path, **moved)
    assert (ended.code, ended.err) == (0, "")
    assert f"renumbered: {len(events)} events" in ended.out
    again = triggers("migrate", "--renumber", folder=tmp_path, **moved)
    assert "renumbered: 0 events" in again.out
    doctor = triggers("doctor", "--port", "0", folder=tmp_path, **moved)
    assert findings(doctor)["log order"][0] == "ok"

    after = serve(**KEYS, **moved)
    new = sent(after, 10)
    found: list[str] = []

    def all_came() -> bool:
        found.extend(each["id"] for each in pulled(after))
        return {*events[2:], new} <= set(found)

    until(all_came, "all that was not acknowledged, and the new one")
    assert not set(events[:2]) & set(found)
    first_time = list(dict.fromkeys(each for each in found if each not in events[2:4]))
    assert first_time == [*events[4:], new]
    searched = triggers(
        "search", "--type", "order.created", folder=tmp_path,
        TRIGGERS_URL=after.url, TRIGGERS_API_KEY=API_KEY,
    )  # fmt: skip
    assert all(each in searched.out for each in [*events, new])
    assert after.end() == 0


def test_it_does_nothing_while_processes_work_on_the_database(
    postgres: Postgres, serve: Serve, tmp_path: Path
) -> None:
    url = {"TRIGGERS_DATABASE_URL": postgres.url(postgres.create_database())}
    serving = serve(**KEYS, **url)
    ended = triggers("migrate", "--renumber", folder=tmp_path, **url)
    assert ended.code == 1
    assert "stop them first" in ended.err
    assert serving.end() == 0


def test_a_file_has_no_such_numbers(tmp_path: Path) -> None:
    ended = triggers("migrate", "--renumber", folder=tmp_path)
    assert ended.code == 2
    assert "--renumber is for PostgreSQL" in ended.err
