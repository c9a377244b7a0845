"""A schema that is changed while processes of the version before work on it, and others start."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from tests.conftest import Log
from tests.contract.conftest import FrozenClock, PostgresEngine, World
from tests.migrations.conftest import (
    PATIENCE_S,
    MakeVersion,
    PostgresDatabase,
    last_of,
    unfinished,
    until,
)
from tests.migrations.test_steps import Start
from tests.servers.postgres import Postgres

from triggers_api.errors import SchemaMismatch, StartError
from triggers_api.store.base import EventFilter, Page
from triggers_api.store.postgres import schema
from triggers_api.store.postgres.connection import Connection, connect

NEWER: Final = {
    "9001_regions.sql": """\
ALTER TABLE events ADD COLUMN region text COLLATE "C";
ALTER TABLE event_queue ADD COLUMN region text;
ALTER TABLE deliveries ADD COLUMN weight smallint NOT NULL DEFAULT 0;
ALTER TABLE delivery_queue ADD COLUMN weight smallint NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN address inet;
ALTER TABLE subscriptions ADD COLUMN region text;
CREATE TABLE regions (name text PRIMARY KEY)""",
    "9002_by_region.sql": """\
-- outside a transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS events_region ON events (organization_id, region, id)""",
    "9003_by_weight.sql": "CREATE INDEX delivery_queue_weight ON delivery_queue (weight)",
}
NUMBERS: Final = [9001, 9002, 9003]


@pytest.fixture
def older(postgres: Postgres, server_database: PostgresDatabase) -> Iterator[Callable[[], World]]:
    """Starts a process of this version on the database."""
    clock = FrozenClock()
    with asyncio.Runner() as runner:
        engine = PostgresEngine(postgres, clock)
        engine._database = server_database.name

        def start() -> World:
            runner.run(engine.open())
            return World(engine, clock, runner)

        yield start
        runner.run(engine.close())


def carry(world: World, organization: str, subscription: str) -> None:
    """An event on its whole way, and everything read that there is of it."""
    (event,) = world.queued(organization)
    assert world.route(world.claim_queue(), subscription) == []
    claimed = world.claimed()
    assert world.settle(world.outcome(claimed, "retrying", retry_in_s=0)) == []
    claimed = world.claimed()
    assert world.settle(world.outcome(claimed)) == []
    assert world.status_of(organization, claimed.id) == "succeeded"
    assert world.event_status_of(organization, event) == "processed"
    listed = world.run(world.store.events(organization, EventFilter(), Page()))
    assert listed[0].id == event
    world.assert_balanced()


def test_a_process_that_runs_works_on_while_the_schema_is_changed_under_it(
    server_database: PostgresDatabase, version: MakeVersion, older: Callable[[], World]
) -> None:
    world = older()
    organization = world.organization()
    subscription = world.subscription(organization)
    carry(world, organization, subscription)
    version(NEWER).use()
    assert [step.number for step in server_database.migrate()] == NUMBERS
    carry(world, organization, subscription)
    carry(world, organization, world.subscription(organization))


def test_a_process_that_is_started_after_the_change_warns_and_works(
    server_database: PostgresDatabase, version: MakeVersion, older: Callable[[], World], log: Log
) -> None:
    this = version()
    version(NEWER).use()
    server_database.migrate()
    changed = server_database.described()
    this.use()
    world = older()
    # It makes the key that is shared, where there is none, and nothing else.
    kept = re.sub(r"INSERT INTO meta .*'signing_key'.*\n", "", server_database.described())
    assert kept == changed
    said = [line for line in log if line["event"] == "the schema is newer than this version"]
    assert [(line["log_level"], line["number"]) for line in said] == [
        ("warning", number) for number in NUMBERS
    ]
    organization = world.organization()
    carry(world, organization, world.subscription(organization))
    assert server_database.pending() == []


def test_a_process_that_is_started_after_a_change_not_for_it_is_refused(
    server_database: PostgresDatabase, version: MakeVersion, older: Callable[[], World]
) -> None:
    this = version()
    version(NEWER | {"9004_gone.sql": "-- contract\nALTER TABLE events DROP COLUMN source"}).use()
    server_database.migrate()
    this.use()
    with pytest.raises(SchemaMismatch, match=r"9004 \(gone\), which this version does not know"):
        older()


def test_of_several_processes_at_once_one_migrates_and_the_others_wait(
    server_database: PostgresDatabase, version: MakeVersion, start: Start
) -> None:
    newer = version(NEWER | {"9000_long.sql": "SELECT pg_sleep(1)"})
    processes = [start(newer, server_database) for _ in range(4)]
    printed = [process.communicate(timeout=PATIENCE_S)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, printed
    lines = [line for each in printed for line in each.splitlines() if line.startswith("applied")]
    assert len(lines) == len(set(lines)) == last_of("postgres") + 1 + len(NUMBERS)


def test_a_step_may_take_longer_than_a_statement_may_otherwise(
    server_database: PostgresDatabase, version: MakeVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = server_database
    database.migrate()
    database.execute(f"ALTER DATABASE {database.name} SET statement_timeout = '1500ms'")
    # Of the clients; what an argument is by default was decided when the function was made.
    defaults = connect.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "command_s", 1.5)
    version(
        {
            "9001_long.sql": "SELECT pg_sleep(2)",
            "9002_long.sql": "-- outside a transaction\nSELECT pg_sleep(2)",
            "9002_long.conflicts.sql": "SELECT pg_sleep(2) WHERE false",
        }
    ).use()
    assert [step.number for step in database.migrate()] == [9001, 9002]


def test_a_table_in_use_is_waited_for_in_short_stretches_between_which_others_have_it(
    server_database: PostgresDatabase,
    version: MakeVersion,
    older: Callable[[], World],
    start: Start,
) -> None:
    world = older()
    organization = world.organization()
    subscription = world.subscription(organization)
    newer = version({"9001_a.sql": "ALTER TABLE events ADD COLUMN region text"})
    with unfinished(server_database, "LOCK TABLE events IN ACCESS SHARE MODE"):
        process = start(newer, server_database)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "a table is in use, migrating it later" in line
        assert "lock timeout" in line
        # It is not in the queue for the table now; this insert would stand behind it.
        carry(world, organization, subscription)
        assert process.poll() is None
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert out.endswith("applied 9001 (a)\n")
    carry(world, organization, subscription)


def test_behind_a_pooler_what_needs_a_session_is_refused_with_what_to_do(
    server_database: PostgresDatabase, version: MakeVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pooler(_: Connection) -> bool:
        return True

    version(NEWER).use()
    monkeypatch.setattr(schema, "goes_through_pooler", pooler)
    with pytest.raises(StartError, match=r"9002 \(by_region\).*TRIGGERS_DATABASE_DIRECT_URL"):
        server_database.migrate()
    assert [step.number for step in server_database.pending()] == [9002, 9003]
    locks = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND database ="
    assert not server_database.execute(
        f"{locks} (SELECT oid FROM pg_database WHERE datname = current_database())"
    )


def test_behind_a_pooler_another_process_that_has_a_session_is_waited_for(
    server_database: PostgresDatabase,
    version: MakeVersion,
    monkeypatch: pytest.MonkeyPatch,
    log: Log,
) -> None:
    async def pooler(_: Connection) -> bool:
        return True

    server_database.migrate()
    version({"9001_a.sql": "-- outside a transaction\nSELECT 1"}).use()
    (step,) = server_database.pending()
    monkeypatch.setattr(schema, "goes_through_pooler", pooler)
    monkeypatch.setattr(schema, "_SAID_AFTER_S", 0)
    with ThreadPoolExecutor(1) as thread:
        with unfinished(server_database, f"SELECT pg_advisory_lock({schema._LOCK})"):
            migrating = thread.submit(server_database.migrate)
            until(lambda: any("waiting for" in line["event"] for line in log), "it waits")
            server_database.execute(
                "INSERT INTO schema_migrations (number, name, checksum, applied_at)"
                f" VALUES ({step.number}, '{step.name}', '{step.checksum}', 1)"
            )
        assert migrating.result(PATIENCE_S) == []
