"""Databases of each engine, and versions of the product that have other migrations than this one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Final, Protocol, Self

import apsw
import asyncpg
import pytest
from tests.migrations.catalog import of_postgres, of_sqlite
from tests.servers.postgres import Postgres

from triggers_api.store import migrations
from triggers_api.store.migrations import Migration
from triggers_api.store.postgres import schema as postgres_schema
from triggers_api.store.sqlite import schema as sqlite_schema
from triggers_api.store.sqlite.connection import open_writer

PATIENCE_S: Final = 60.0
LOOK_EVERY_S: Final = 0.01

ENGINES: Final = ("postgres", "sqlite")

_OURS: Final = {"postgres": postgres_schema.PACKAGE, "sqlite": sqlite_schema.PACKAGE}
"""Before any test is another version."""

Files = Mapping[str, str]
"""The text of migrations, and of what goes with them, by the names of their files."""


class Database(Protocol):
    """A database of its own, empty at first."""

    engine: str

    def migrate(self) -> list[Migration]:
        """Bring it up to date, as a process does at its start; what was applied."""

    def pending(self) -> list[Migration]:
        """What it still needs."""

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement beside everything; its rows."""

    def described(self) -> str:
        """The statements that make it again."""


class PostgresDatabase:
    """A database on the server that all tests share."""

    engine = "postgres"

    def __init__(self, server: Postgres, name: str) -> None:
        self.server = server
        self.name = name
        self.url = server.url(name)

    def migrate(self) -> list[Migration]:
        return asyncio.run(postgres_schema.migrate(self.url))

    def pending(self) -> list[Migration]:
        return asyncio.run(postgres_schema.pending(self.url))

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        return self.server.execute(statement, database=self.name)

    def described(self) -> str:
        return of_postgres(self.server, self.name)


class SqliteDatabase:
    """A file."""

    engine = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path

    def migrate(self) -> list[Migration]:
        with closing(open_writer(self.path)) as db:
            return sqlite_schema.migrate(db, now=0)

    def pending(self) -> list[Migration]:
        with closing(open_writer(self.path)) as db:
            return sqlite_schema.pending(db)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(apsw.Connection(str(self.path))) as db:
            return list(db.execute(statement))

    def described(self) -> str:
        with closing(apsw.Connection(str(self.path))) as db:
            return of_sqlite(db)


@pytest.fixture
def server_database(postgres: Postgres) -> Iterator[PostgresDatabase]:
    name = postgres.create_database()
    yield PostgresDatabase(postgres, name)
    postgres.drop_database(name)


@pytest.fixture
def file_database(tmp_path: Path) -> SqliteDatabase:
    return SqliteDatabase(tmp_path / "triggers.db")


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest) -> Database:
    """One of each engine."""
    of_engine: dict[str, str] = {"postgres": "server_database", "sqlite": "file_database"}
    found: Database = request.getfixturevalue(of_engine[request.param])
    return found


class Version:
    """A version of the product: this one's migrations up to a number, and some that only it has."""

    def __init__(
        self, folder: Path, name: str, files: Files, *, up_to: int, patch: pytest.MonkeyPatch
    ) -> None:
        self.folder = folder
        self._patch = patch
        self._packages: dict[str, str] = {}
        for engine, ours in _OURS.items():
            package = f"{name}_{engine}"
            place = folder / package / "migrations"
            place.mkdir(parents=True)
            for file in (resources.files(ours) / "migrations").iterdir():
                if int(file.name[:4]) <= up_to:
                    (place / file.name).write_text(file.read_text())
            for title, text in files.items():
                (place / title).write_text(text)
            self._packages[engine] = package

    def use(self) -> Self:
        """Be this version from here on."""
        self._patch.setattr(postgres_schema, "PACKAGE", self._packages["postgres"])
        self._patch.setattr(sqlite_schema, "PACKAGE", self._packages["sqlite"])
        return self

    def start(self, database: Database) -> subprocess.Popen[str]:
        """A process of this version that migrates a database and ends; it prints what it applied."""
        program = _ON_SERVER if isinstance(database, PostgresDatabase) else _ON_FILE
        where = database.url if isinstance(database, PostgresDatabase) else _path_of(database)
        return subprocess.Popen(
            [sys.executable, "-c", program, self._packages[database.engine], where],
            env=os.environ
            | {"PYTHONPATH": f"{self.folder}{os.pathsep}{os.pathsep.join(sys.path)}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def _path_of(database: Database) -> str:
    assert isinstance(database, SqliteDatabase)
    return str(database.path)


_ON_SERVER: Final = """
import asyncio, sys
from triggers_api.store.postgres import schema
schema.PACKAGE = sys.argv[1]
for step in asyncio.run(schema.migrate(sys.argv[2])):
    print("applied", step)
"""

# A step that says `SELECT stand_still()` is one to be killed in.
_ON_FILE: Final = """
import pathlib, signal, sys
from triggers_api.store.sqlite import schema
from triggers_api.store.sqlite.connection import open_writer
def stand_still():
    print("standing still", flush=True)
    signal.pause()
schema.PACKAGE = sys.argv[1]
db = open_writer(pathlib.Path(sys.argv[2]))
db.create_scalar_function("stand_still", stand_still, 0)
for step in schema.migrate(db, now=0):
    print("applied", step)
"""

MakeVersion = Callable[..., Version]


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeVersion:
    """Makes versions: give the files that only it has, and up to which number it has this one's."""
    folder = tmp_path / "versions"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def make(files: Files | None = None, *, up_to: int = 9999) -> Version:
        name = f"version_{len(list(folder.iterdir()))}"
        return Version(folder, name, files or {}, up_to=up_to, patch=monkeypatch)

    return make


@pytest.fixture
def start() -> Iterator[Callable[[Version, Database], subprocess.Popen[str]]]:
    """Starts processes, and ends what is left of them."""
    with ExitStack() as stack:

        def start(version: Version, database: Database) -> subprocess.Popen[str]:
            process = version.start(database)
            stack.callback(_end, process)
            return process

        yield start


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)


def until(holds: Callable[[], object], what: str) -> None:
    """Wait for a moment that somebody else brings about."""
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up, f"not within {PATIENCE_S} s: {what}"
        time.sleep(LOOK_EVERY_S)


@contextmanager
def unfinished(database: PostgresDatabase, statement: str) -> Iterator[None]:
    """A transaction of somebody else's that is open all the while."""
    with asyncio.Runner() as runner:
        db = runner.run(asyncpg.connect(database.url))
        try:
            runner.run(db.execute(f"BEGIN; {statement}"))
            yield
        finally:
            runner.run(db.close())


def last_of(engine: str) -> int:
    """The number of this version's last migration."""
    module = postgres_schema if engine == "postgres" else sqlite_schema
    return max(step.number for step in migrations.load(module.PACKAGE))
