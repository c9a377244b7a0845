"""``triggers migrate``."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from triggers_api.cli.options import load_settings, setting_flags
from triggers_api.errors import StartError

if TYPE_CHECKING:
    from triggers_api.store.migrations import Migration

# What opens databases is imported where it is used, so that --help does not wait for it.


@click.command(name="migrate")
@setting_flags("database_url")
@click.option("--check", is_flag=True, help="Only say what is missing; exit with 1 if anything is.")
def command(config: Path | None, check: bool, **flags: str | None) -> None:  # noqa: FBT001 - click's
    """Bring a database's schema up to date. `triggers serve` does it by itself at its start."""
    from triggers_api.store.connect import sqlite_path  # noqa: PLC0415

    path = sqlite_path(load_settings(config, flags).database_url).resolve()
    if check:
        missing = _pending(path)
        for step in missing:
            click.echo(f"pending: {step.number:04} {step.name}")
        click.echo(f"{path}: {len(missing)} migration(s) to be applied")
        sys.exit(1 if missing else 0)
    for step in _migrate(path):
        click.echo(f"applied: {step.number:04} {step.name}")
    click.echo(f"{path}: up to date")


def _pending(path: Path) -> "list[Migration]":
    import apsw  # noqa: PLC0415

    from triggers_api.store import migrations  # noqa: PLC0415
    from triggers_api.store.sqlite import schema  # noqa: PLC0415

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


def _migrate(path: Path) -> "list[Migration]":
    import apsw  # noqa: PLC0415

    from triggers_api.store.sqlite import schema  # noqa: PLC0415
    from triggers_api.store.sqlite.connection import open_writer  # noqa: PLC0415
    from triggers_api.store.sqlite.lock import (  # noqa: PLC0415
        OwnerLock,
        refuse_network_file_system,
    )
    from triggers_api.telemetry.logs import configure  # noqa: PLC0415

    configure(level="warning", format_=None)  # this command says itself what it applied
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
