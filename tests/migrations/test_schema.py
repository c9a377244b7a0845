"""The schema is what the migrations come to, and what is written down beside these tests."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

import apsw
import pytest
from tests.migrations.catalog import POSTGRES, SQLITE, columns_of_sqlite, of_postgres
from tests.migrations.conftest import (
    Database,
    MakeVersion,
    PostgresDatabase,
    SqliteDatabase,
    last_of,
)
from tests.servers.postgres import Postgres

WRITTEN: Final = {"postgres": POSTGRES, "sqlite": SQLITE}
HOW: Final = "look at the difference, then: python -m tests.migrations.catalog"


def test_the_schema_is_the_one_that_is_written_down(database: Database) -> None:
    database.migrate()
    assert database.described() == WRITTEN[database.engine].read_text(), HOW


def test_step_by_step_it_comes_to_the_same(database: Database, version: MakeVersion) -> None:
    for number in range(1, last_of(database.engine) + 1):
        version(up_to=number).use()
        assert [step.number for step in database.migrate()] == [number]
    assert database.described() == WRITTEN[database.engine].read_text()


def test_what_is_written_down_makes_the_same_database(
    postgres: Postgres, server_database: PostgresDatabase
) -> None:
    server_database.migrate()
    name = postgres.create_database()
    for statement in POSTGRES.read_text().split(";\n"):
        if statement:
            postgres.execute(statement, database=name)
    assert of_postgres(postgres, name) == server_database.described()
    postgres.drop_database(name)


def test_what_is_written_down_makes_the_same_file(
    file_database: SqliteDatabase, tmp_path: Path
) -> None:
    file_database.migrate()
    with (
        closing(apsw.Connection(str(file_database.path))) as migrated,
        closing(apsw.Connection(str(tmp_path / "other.db"))) as made,
    ):
        made.execute(SQLITE.read_text())
        assert list(columns_of_sqlite(made)) == list(columns_of_sqlite(migrated))


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE events ALTER COLUMN type DROP NOT NULL",
        "ALTER TABLE events ALTER COLUMN source TYPE varchar(10)",
        "ALTER TABLE events ALTER COLUMN source SET DEFAULT 'here'",
        "ALTER TABLE events ALTER COLUMN payload SET STORAGE EXTERNAL",
        "ALTER TABLE events ALTER COLUMN type TYPE text COLLATE pg_catalog.default",
        "ALTER TABLE events ADD CHECK (length(type) > 0)",
        "ALTER TABLE event_queue SET (fillfactor = 60)",
        "ALTER TABLE events SET (toast.autovacuum_enabled = off)",
        "ALTER SEQUENCE worker_numbers NO CYCLE",
        "DROP INDEX deliveries_once",
        "UPDATE settings_version SET version = 1",
    ],
)
def test_no_difference_is_overlooked(server_database: PostgresDatabase, change: str) -> None:
    server_database.migrate()
    server_database.execute(change)
    assert server_database.described() != POSTGRES.read_text()


@pytest.mark.parametrize(
    "other",
    [
        "CREATE VIEW v AS SELECT 1",
        "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE mood AS ENUM ('sad')",
    ],
)
def test_what_the_description_would_leave_out_is_refused(
    server_database: PostgresDatabase, other: str
) -> None:
    server_database.migrate()
    server_database.execute(other)
    with pytest.raises(AssertionError, match="describe these too"):
        server_database.described()
