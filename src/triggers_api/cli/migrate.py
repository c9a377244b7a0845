"""``triggers migrate``."""

import sys
import time
from pathlib import Path

import apsw
import click

from triggers_api.cli.options import load_settings, setting_flags
from triggers_api.store import migrations
from triggers_api.store.connect import sqlite_path
from triggers_api.store.sqlite import schema
from triggers_api.store.sqlite.connection import open_writer
from triggers_api.store.sqlite.lock import OwnerLock, refuse_network_file_system


@click.command(name="migrate")
@setting_flags("database_url")
@click.option("--check", is_flag=True, help="Only say what is missing; exit with 1 if anything is.")
def command(config: Path | None, check: bool, **flags: str | None) -> None:  # noqa: FBT001 - click's
    """Bring a database's schema up to date. `triggers serve` does it by itself at its start."""
    path = sqlite_path(load_settings(config, flags).database_url).resolve()
    if check:
        missing = _pending(path)
        for step in missing:
            click.echo(f"pending: {step.number:04} {step.name}")
        click.echo(f"{path}: {len(missing)} migration(s) to be applied")
        sys.exit(1 if missing else 0)
    refuse_network_file_system(path)
    lock = OwnerLock(path)
    try:
        connection = open_writer(path)
        steps = schema.migrate(connection, now=time.time_ns() // 1_000_000)
        connection.close()
    finally:
        lock.release(in_order=lock.was_closed)
    for step in steps:
        click.echo(f"applied: {step.number:04} {step.name}")
    click.echo(f"{path}: up to date")


def _pending(path: Path) -> list[migrations.Migration]:
    if not path.exists():
        return migrations.load(schema.PACKAGE)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return schema.pending(connection)
    finally:
        connection.close()
