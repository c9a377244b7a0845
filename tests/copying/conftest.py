"""A grown file, databases to copy it to, and processes that are cut off while they do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import apsw
import asyncpg
import pytest
from tests.contract.conftest import FrozenClock, SqliteEngine, World
from tests.copying.grown import grow
from tests.servers.postgres import Postgres

PATIENCE_S: Final = 60.0

_BESIDE: Final = """
INSERT INTO order_keys SELECT id, 'k' || id, 7 FROM subscriptions;
INSERT OR REPLACE INTO endpoint_health SELECT id, 11, 5, 0, 9, NULL, 'timeout', 8, 12 FROM subscriptions;
INSERT INTO farewells SELECT id, organization_id, 7, 2 FROM subscriptions;
INSERT INTO jobs SELECT id + 1, id, 0, x'7b7d', id + 2, 3, 0, 0 FROM organizations;
INSERT INTO rollups SELECT id, 0, 60, 1795608000000, 5, x'9101' FROM organizations;
INSERT INTO rollups SELECT 0, 0, 60, 1795608000000, 5, x'9102';
INSERT INTO rollups SELECT organization_id, id, 1800, 1795608000000, 5, x'9103' FROM subscriptions;
INSERT INTO erasures VALUES (77, 1795608000000, NULL, 5, 2);
INSERT INTO logouts VALUES ('a session', 1795608000000);
INSERT INTO notices (organization_id, noticed_at, body) SELECT id, 5, x'7b7d' FROM organizations;
UPDATE deliveries SET order_key = 'k', sequence = 3, priority = 1 WHERE due_at IS NOT NULL;
UPDATE attempts SET details = CAST('["1",1,"00-1-2-01","h",2,{},[null,1,null,2,3.5],null]' AS BLOB);
UPDATE events SET operational = 1 WHERE id = (SELECT min(id) FROM events);
"""
"""Rows of the tables and columns that only delivering fills."""


class Grown:
    """A file with something in every state, closed; and when it was."""

    def __init__(self, folder: Path) -> None:
        self.clock = FrozenClock()
        self.folder = folder
        with asyncio.Runner() as runner:
            engine = SqliteEngine(folder, self.clock)
            runner.run(engine.open())
            self.organizations = grow(World(engine, self.clock, runner))
            runner.run(engine.store.signing_key())
            runner.run(engine.close())
        self.path = engine._path
        with closing(apsw.Connection(str(self.path))) as db:
            db.execute(_BESIDE)


@pytest.fixture
def grown(tmp_path: Path) -> Grown:
    folder = tmp_path / "embedded"
    folder.mkdir()
    return Grown(folder)


class Database:
    """A database of a test."""

    def __init__(self, server: Postgres, name: str) -> None:
        self.server = server
        self.name = name
        self.url = server.url(name)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        return self.server.execute(statement, database=self.name)

    @contextmanager
    def held_up(self, table: str, mode: str = "ACCESS EXCLUSIVE") -> Iterator[Callable[[], int]]:
        """Keep others from a table; what is given says how many are waiting."""
        with asyncio.Runner() as runner:
            db = runner.run(asyncpg.connect(self.url))
            runner.run(db.execute(f"BEGIN; LOCK TABLE {table} IN {mode} MODE"))

            def waiting() -> int:
                return len(
                    self.execute(
                        "SELECT FROM pg_stat_activity"
                        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                    )
                )

            yield waiting
            db.terminate()

    def contents(self) -> dict[str, list[tuple[object, ...]]]:
        """Every row, without what no two copies have in common."""
        tables = self.execute(
            "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"
            " AND tablename NOT IN ('schema_migrations', 'workers') ORDER BY tablename"
        )
        found = {}
        for (table,) in tables:
            row = "to_jsonb(t) - 'xid' - 'position_xid'"
            where = "WHERE name <> 'copy'" if table == "meta" else ""
            found[str(table)] = self.execute(
                f"SELECT ({row})::text FROM {table} AS t {where} ORDER BY 1"
            )
        return found


@pytest.fixture
def make_database(postgres: Postgres) -> Iterator[Callable[[], Database]]:
    made: list[str] = []

    def make() -> Database:
        made.append(postgres.create_database())
        return Database(postgres, made[-1])

    yield make
    for name in made:
        postgres.drop_database(name)


@pytest.fixture
def database(make_database: Callable[[], Database]) -> Database:
    """Empty."""
    return make_database()


_PROGRAM: Final = """
import sys
from triggers_api.cli.main import main
from triggers_api.store.copying import source
source._BATCH_ROWS = 3
sys.argv[1:1] = ["copy", "--from"]
sys.argv.insert(4, "--to")
main()
"""


class Copying:
    """``triggers copy`` in a process of its own, a few rows at a time."""

    def __init__(self, path: Path, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, f"sqlite:///{path}", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ,
            text=True,
        )

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate(timeout=PATIENCE_S)

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, output, errors."""
        out, err = self._process.communicate(timeout=PATIENCE_S)
        return self._process.returncode, out, err

    def is_over(self) -> bool:
        return self._process.poll() is not None


@pytest.fixture
def copying() -> Iterator[Callable[[Path, str], Copying]]:
    """Starts copies, and ends what is left of them."""
    started: list[Copying] = []

    def start(path: Path, url: str) -> Copying:
        started.append(Copying(path, url))
        return started[-1]

    yield start
    for each in started:
        if not each.is_over():
            each.kill()
