"""``triggers backup``."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from triggers_api.cli.finding import Finding, show
from triggers_api.cli.options import load_settings, setting_flags
from triggers_api.errors import SettingsError

if TYPE_CHECKING:
    from triggers_api.store.sqlite.backup import BackedUp

# What opens databases is imported where it is used, so that --help does not wait for it.


@click.command(name="backup")
@click.argument("destination", type=click.Path(path_type=Path))
@setting_flags("database_url", "secret_key", "old_secret_keys")
@click.option(
    "--with-key",
    is_flag=True,
    help="Put the key of subscriptions' secrets beside the copy: who has both reads them.",
)
@click.option(
    "--max-rate",
    type=click.FloatRange(min=0.01),
    metavar="MIB",
    help="Read at most so many MiB a second, to spare a slow disk.",
)
def command(
    destination: Path,
    config: Path | None,
    with_key: bool,  # noqa: FBT001 - click's
    max_rate: float | None,
    **flags: str | None,
) -> None:
    """Copy the embedded database while it is served, to a file, or to a new one in a folder.

    The copy is of one moment, flushed, and looked through before it gets its name; its SHA-256 is put
    beside it. `triggers restore` puts it back.
    """
    from triggers_api.bench.progress import progress  # noqa: PLC0415
    from triggers_api.model.timestamp import Timestamp  # noqa: PLC0415
    from triggers_api.store.connect import is_postgres, sqlite_path  # noqa: PLC0415
    from triggers_api.store.sqlite.backup import back_up  # noqa: PLC0415

    settings = load_settings(config, flags)
    if is_postgres(settings.database_url):
        raise SettingsError(
            "this copies a file; with PostgreSQL use its own tools: pg_dump, or a base backup and "
            "its log (docs/operate/backup.md)"
        )
    database = sqlite_path(settings.database_url)
    now = Timestamp(time.time_ns() // 1_000_000)
    if destination.is_dir():
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now / 1000))
        destination /= f"{database.stem}-{stamp}{database.suffix}"
    with progress() as shown, shown.bar(f"copying {database.name}") as advance:
        made = back_up(
            database,
            destination,
            now=now,
            secret_keys=(*filter(None, (settings.secret_key,)), *settings.old_secret_keys),
            with_key=with_key,
            bytes_a_second=None if max_rate is None else max_rate * (1 << 20),
            advance=advance,
        )
    show(_findings(made, database))


def _findings(made: "BackedUp", database: Path) -> Iterator[Finding]:
    from triggers_api.cli.copies import about  # noqa: PLC0415

    yield Finding("ok", "copy", f"{made.path}, {made.size:,} bytes in {made.seconds:.1f} s, intact")
    yield Finding("ok", "checksum", f"SHA-256 {made.sha256}")
    if made.path.stat().st_dev == database.resolve().stat().st_dev:
        yield Finding("warn", "disk", "the copy is on the disk of the database: take it elsewhere")
    yield from about(made.content)
    if made.key is not None:
        yield Finding("warn", "key", f"{made.key}: who has both files reads subscriptions' secrets")
    elif made.content.sealed is not None and made.content.sealed.present + made.content.sealed.old:
        yield Finding(
            "ok", "key", "not in the copy, which is of no use without it; keep it apart from copies"
        )
