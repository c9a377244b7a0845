"""What a migration may say of itself, and what then happens to the database, on each engine."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

import pytest
from tests.conftest import Log
from tests.migrations.conftest import (
    PATIENCE_S,
    Database,
    MakeVersion,
    PostgresDatabase,
    SqliteDatabase,
    Version,
    unfinished,
    until,
)

from triggers_api.errors import SchemaMismatch, StartError
from triggers_api.store import migrations
from triggers_api.store.migrations import Applied, Migration

Start = Callable[[Version, Database], subprocess.Popen[str]]

NOTED = "SELECT number FROM schema_migrations ORDER BY number"


def test_a_migration_expands_unless_its_first_lines_say_otherwise() -> None:
    def kind(text: str) -> tuple[bool, bool]:
        step = Migration(2, "step", text)
        return step.contracts, step.alone

    assert kind("-- what it is for\nSELECT 1") == (False, False)
    assert kind("-- contract\n-- what it is for\nSELECT 1") == (True, False)
    assert kind("-- outside a transaction\nSELECT 1") == (False, True)
    assert kind("-- contract\n-- outside a transaction\nSELECT 1") == (True, True)
    assert kind("SELECT 1\n-- contract\n-- outside a transaction") == (False, False)


def test_what_runs_together_ends_where_something_has_to_run_alone() -> None:
    together, alone = "SELECT 1", "-- outside a transaction\nSELECT 1"
    steps = [Migration(n, "s", alone if n in {3, 4} else together) for n in range(1, 7)]
    numbers = []
    while steps:
        part = migrations.next_of(steps)
        numbers.append([step.number for step in part])
        steps = steps[len(part) :]
    assert numbers == [[1, 2], [3], [4], [5, 6]]


def test_what_a_database_has_beyond_this_version_is_not_pending_and_not_known() -> None:
    known = [Migration(1, "one", "SELECT 1")]
    had = [
        Applied(1, "one", known[0].checksum),
        Applied(2, "two", "x", contracts=False),
        Applied(3, "three", "x", contracts=False, finished=False),
    ]
    assert migrations.pending(known, had) == []
    assert migrations.ahead(known, had) == had[1:]
    with pytest.raises(SchemaMismatch, match=r"0004 \(four\), which this version does not know"):
        migrations.pending(known, [*had, Applied(4, "four", "x")])


def test_one_that_began_and_did_not_end_is_pending_whatever_its_text_was() -> None:
    known = [Migration(1, "one", "-- outside a transaction\nSELECT 1")]
    assert migrations.pending(known, [Applied(1, "one", "other", finished=False)]) == known


def test_one_that_was_altered_after_it_ran_is_refused(
    database: Database, version: MakeVersion
) -> None:
    version({"9001_a.sql": "CREATE TABLE a (x integer)"}).use()
    database.migrate()
    version({"9001_a.sql": "CREATE TABLE a (x integer); "}).use()
    for look in (database.migrate, database.pending):
        with pytest.raises(SchemaMismatch, match=r"9001 \(a\) was altered"):
            look()


def test_one_that_contracts_keeps_older_code_away(database: Database, version: MakeVersion) -> None:
    older = version()
    version({"9001_a.sql": "-- contract\nDROP INDEX deliveries_once"}).use()
    database.migrate()
    older.use()
    for look in (database.migrate, database.pending):
        with pytest.raises(SchemaMismatch, match=r"9001 \(a\), which this version does not know"):
            look()


def test_what_fails_leaves_nothing_of_itself_and_of_what_ran_with_it(
    database: Database, version: MakeVersion
) -> None:
    database.migrate()
    before, noted = database.described(), database.execute(NOTED)
    files = {"9001_a.sql": "CREATE TABLE a (x integer)", "9002_b.sql": "CREATE TABLE a (x integer)"}
    version(files).use()
    with pytest.raises(Exception, match=r"\ba\b.* already exists"):
        database.migrate()
    assert database.described() == before
    assert database.execute(NOTED) == noted


CONFLICTS = {
    "9001_other.sql": "CREATE TABLE other (x integer)",
    "9002_once.sql": "CREATE UNIQUE INDEX once ON names (name)",
    "9002_once.conflicts.sql": """\
-- names that occur more
-- than once
SELECT name, count(*) AS count FROM names GROUP BY name HAVING count(*) > 1 ORDER BY name;
""",
}


def names(database: Database, *names: str) -> None:
    database.migrate()
    database.execute("CREATE TABLE names (name text NOT NULL)")
    for name in names:
        database.execute(f"INSERT INTO names VALUES ('{name}')")


def test_rows_in_the_way_are_reported_first_and_nothing_is_applied(
    database: Database, version: MakeVersion
) -> None:
    names(database, *(f"n{each % 7}" for each in range(14)), "alone", *2 * ["x" * 200])
    before = database.described()
    version(CONFLICTS).use()
    with pytest.raises(StartError) as caught:
        database.migrate()
    assert str(caught.value) == (
        "migration 9002 (once) stopped, nothing was applied: 8 row(s) stand in its way, "
        "names that occur more than once. Mend these, and start again: name n0, count 2; "
        "name n1, count 2; name n2, count 2; name n3, count 2; name n4, count 2; and 3 more"
    )
    assert database.described() == before

    database.execute("DELETE FROM names WHERE name LIKE 'n%'")
    with pytest.raises(StartError, match=f"1 row.* again: name {'x' * 80}…, count 2$"):
        database.migrate()

    database.execute("DELETE FROM names WHERE name LIKE 'x%'")
    assert [step.number for step in database.migrate()] == [9001, 9002]
    assert "INDEX once" in database.described()


def test_rows_in_the_way_of_one_that_runs_alone_leave_what_came_before_it(
    database: Database, version: MakeVersion
) -> None:
    names(database, "a\nb", "a\nb")
    alone = "-- outside a transaction\nCREATE UNIQUE INDEX IF NOT EXISTS once ON names (name)"
    version(CONFLICTS | {"9002_once.sql": alone}).use()
    with pytest.raises(
        StartError, match=r"9002 \(once\) stopped, after 9001 \(other\): 1 row"
    ) as it:
        database.migrate()
    assert "\n" not in str(it.value)
    assert [number for (number,) in database.execute(NOTED)][-1] == 9001
    database.execute("DELETE FROM names")
    assert [step.number for step in database.migrate()] == [9002]


# ── cut off in the middle ─────────────────────────────────────────────────────────────────────────

AFTERWARDS = {"9003_c.sql": "CREATE TABLE c (x integer)"}


def test_a_file_whose_migration_is_killed_is_as_it_was_and_the_next_run_completes_it(
    file_database: SqliteDatabase, version: MakeVersion, start: Start
) -> None:
    file_database.migrate()
    before = file_database.described()
    killed = version(
        {
            "9001_a.sql": "CREATE TABLE a (x integer); DROP TABLE attempts",
            "9002_b.sql": "CREATE TABLE b (x integer); SELECT stand_still()",
        }
    )
    process = start(killed, file_database)
    assert process.stdout is not None
    assert process.stdout.readline() == "standing still\n"
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE_S)
    assert file_database.described() == before

    files = {name: f"CREATE TABLE {name[5]} (x integer)" for name in ("9001_a.sql", "9002_b.sql")}
    version(files | AFTERWARDS).use()
    assert [step.number for step in file_database.migrate()] == [9001, 9002, 9003]


# Stands still until the test lets go of it, and keeps no lock timeout from passing.
GATE = """
DO $$ BEGIN
    WHILE NOT pg_try_advisory_xact_lock(42) LOOP PERFORM pg_sleep(0.01); END LOOP;
END $$
"""


def test_a_database_whose_migration_is_killed_is_as_it_was_and_the_next_run_completes_it(
    server_database: PostgresDatabase, version: MakeVersion, start: Start
) -> None:
    database = server_database
    database.migrate()
    before = database.described()
    newer = version(
        {
            "9001_a.sql": "CREATE TABLE a (x integer); ALTER TABLE attempts ADD COLUMN x integer",
            "9002_b.sql": f"CREATE TABLE b (x integer); {GATE}",
        }
    ).use()
    with unfinished(database, "SELECT pg_advisory_xact_lock(42)"):
        process = start(newer, database)
        until(
            lambda: any("pg_sleep" in each for each in database.server.connections(database.name)),
            "it is in the middle",
        )
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
    until(lambda: not database.server.connections(database.name), "its session is over")
    assert database.described() == before

    assert [step.number for step in database.migrate()] == [9001, 9002]


WAITS_FOR_WRITERS = """
SELECT FROM pg_stat_progress_create_index
WHERE datname = current_database() AND phase LIKE 'waiting for writers%'
"""


def test_an_unfinished_index_is_made_anew_by_the_next_run(
    server_database: PostgresDatabase, version: MakeVersion, start: Start, log: Log
) -> None:
    database = server_database
    names(database, "a", "b")
    # Another one that is not valid, and none of this migration's business.
    database.execute("CREATE INDEX unrelated ON names (name)")
    database.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'unrelated'::regclass"
    )
    newer = version(
        {
            "9001_once.sql": "-- outside a transaction\n"
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS once ON names (name)",
            **AFTERWARDS,
        }
    ).use()
    with unfinished(database, "INSERT INTO names VALUES ('c')"):
        process = start(newer, database)
        until(
            lambda: database.execute(WAITS_FOR_WRITERS),
            "it is in the middle",
        )
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        # The server would go on for a client that is gone; this one is shut down as well.
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index"
            " WHERE datname = current_database()"
        )
        until(lambda: len(database.server.connections(database.name)) == 1, "its session is over")
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = '{}'::regclass"
    assert database.execute(valid.format("once")) == [(False,)]
    assert [step.number for step in database.pending()] == [9001, 9003]
    assert database.execute("SELECT applied_at FROM schema_migrations WHERE number = 9001") == [
        (None,)
    ]

    assert [step.number for step in database.migrate()] == [9001, 9003]
    assert database.execute(valid.format("once")) == [(True,)]
    assert database.execute(valid.format("unrelated")) == [(False,)]
    assert [line["index"] for line in log if "cut off" in line["event"]] == ["once"]
    assert database.pending() == []


def test_an_index_that_the_server_goes_on_to_build_for_a_killed_process_is_waited_for(
    server_database: PostgresDatabase, version: MakeVersion, start: Start
) -> None:
    database = server_database
    names(database, "a", "b")
    newer = version(
        {
            "9001_once.sql": "-- outside a transaction\n"
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS once ON names (name)",
        }
    )
    with unfinished(database, "INSERT INTO names VALUES ('c')"):
        killed = start(newer, database)
        until(
            lambda: database.execute(WAITS_FOR_WRITERS),
            "it is in the middle",
        )
        killed.send_signal(signal.SIGKILL)
        killed.wait(PATIENCE_S)
        following = start(newer, database)
        assert following.stdout is not None
        assert "waiting for another process that migrates" in following.stdout.readline()
    out, _ = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 0
    assert out.endswith("applied 9001 (once)\n")
    assert "cut off" not in out
