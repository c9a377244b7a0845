"""``triggers migrate``."""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from triggers_api.cli.options import load_settings, setting_flags
from triggers_api.errors import SettingsError, StartError
from triggers_api.settings import Settings

if TYPE_CHECKING:
    from triggers_api.store.migrations import Migration

T = TypeVar("T")

# What opens databases is imported where it is used, so that --help does not wait for it.


@click.command(name="migrate")
@setting_flags("database_url", "database_direct_url")
@click.option("--check", is_flag=True, help="Only say what is missing; exit with 1 if anything is.")
@click.option(
    "--renumber",
    is_flag=True,
    help="After pg_restore into another server: number the log by that server's transactions.",
)
def command(
    config: Path | None,
    check: bool,  # noqa: FBT001 - click's
    renumber: bool,  # noqa: FBT001 - click's
    **flags: str | None,
) -> None:
    """Bring a database's schema up to date. `triggers serve` does it by itself at its start."""
    from triggers_api.telemetry.logs import configure  # noqa: PLC0415

    database = _database(load_settings(config, flags))
    configure(level="warning", format_=None)  # this command says itself what it applied
    if check:
        missing = database.pending()
        for step in missing:
            click.echo(f"pending: {step.number:04} {step.name}")
        click.echo(f"{database}: {len(missing)} migration(s) to be applied")
        sys.exit(1 if missing else 0)
    for step in database.migrate():
        click.echo(f"applied: {step.number:04} {step.name}")
    if renumber:
        click.echo(f"renumbered: {database.renumber():,} events")
    click.echo(f"{database}: up to date")


class _Database(Protocol):
    """What can be migrated; as text, where it is."""

    def pending(self) -> "list[Migration]":
        """What is to be applied."""

    def migrate(self) -> "list[Migration]":
        """Apply it."""

    def renumber(self) -> int:
        """Number the log anew; returns how many events have another number."""


def _database(settings: Settings) -> _Database:
    from triggers_api.store.connect import is_postgres, sqlite_path  # noqa: PLC0415

    if is_postgres(settings.database_url):
        # Past a pooler, if there is one: migrations want a session of their own.
        return _Server(settings.database_direct_url or settings.database_url)
    return _File(sqlite_path(settings.database_url).resolve())


class _Server:
    """A database of PostgreSQL."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __str__(self) -> str:
        from triggers_api.store.connect import shown_url  # noqa: PLC0415

        return shown_url(self._url)

    def pending(self) -> "list[Migration]":
        from triggers_api.store.postgres import schema  # noqa: PLC0415

        return self._run(schema.pending)

    def migrate(self) -> "list[Migration]":
        from triggers_api.store.postgres import schema  # noqa: PLC0415

        return self._run(schema.migrate)

    def renumber(self) -> int:
        from triggers_api.store.copying.renumber import renumber  # noqa: PLC0415

        return self._run(renumber)

    def _run(self, step: Callable[[str], Coroutine[Any, Any, T]]) -> T:
        try:
            return asyncio.run(step(self._url))
        except StartError as error:
            raise StartError(f"{self}: {error}") from None


class _File:
    """A database of SQLite."""

    def renumber(self) -> int:
        raise SettingsError(
            "--renumber is for PostgreSQL: a file has no transactions of a server's"
        )

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def pending(self) -> "list[Migration]":
        import apsw  # noqa: PLC0415

        from triggers_api.store import migrations  # noqa: PLC0415
        from triggers_api.store.sqlite import schema  # noqa: PLC0415

        path = self._path
        if path.parent.is_dir() and not path.exists():
            return migrations.load(schema.PACKAGE)
        try:
            connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            try:
                return schema.pending(connection)
            finally:
                connection.close()
        except apsw.Error as error:
            raise StartError(f"cannot read {path}: {error}") from None

    def migrate(self) -> "list[Migration]":
        import apsw  # noqa: PLC0415

        from triggers_api.store.sqlite import schema  # noqa: PLC0415
        from triggers_api.store.sqlite.connection import open_writer  # noqa: PLC0415
        from triggers_api.store.sqlite.lock import (  # noqa: PLC0415
            OwnerLock,
            refuse_network_file_system,
        )

        path = self._path
        refuse_network_file_system(path)
        lock = OwnerLock(path)
        try:
            connection = open_writer(path)
            try:
                return schema.migrate(connection, now=time.time_ns() // 1_000_000)
            finally:
                connection.close()
        except apsw.Error as error:
            raise StartError(f"cannot use {path}: {error}") from None
        finally:
            lock.release(in_order=lock.was_closed)
