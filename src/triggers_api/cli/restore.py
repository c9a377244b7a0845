"""``triggers restore``."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from triggers_api.cli.finding import Finding, show
from triggers_api.cli.options import load_settings, setting_flags
from triggers_api.errors import SettingsError

if TYPE_CHECKING:
    from triggers_api.store.sqlite.backup import Restored

# What opens databases is imported where it is used, so that --help does not wait for it.


@click.command(name="restore")
@click.argument("copy", type=click.Path(path_type=Path))
@setting_flags("database_url", "secret_key", "old_secret_keys")
@click.option("--replace", is_flag=True, help="Although there is a database; it is kept aside.")
@click.option(
    "--without-key",
    is_flag=True,
    help="Although the key of subscriptions' secrets is lost; see triggers encrypt.",
)
def command(
    copy: Path,
    config: Path | None,
    replace: bool,  # noqa: FBT001 - click's
    without_key: bool,  # noqa: FBT001 - click's
    **flags: str | None,
) -> None:
    """Put a copy that `triggers backup` made in place of the embedded database.

    The service must have been stopped. The copy is compared with its SHA-256 and looked through first;
    what is in place is kept beside it under another name.
    """
    from triggers_api.model.timestamp import Timestamp  # noqa: PLC0415
    from triggers_api.store.connect import is_postgres, sqlite_path  # noqa: PLC0415
    from triggers_api.store.sqlite.backup import restore  # noqa: PLC0415

    settings = load_settings(config, flags)
    if is_postgres(settings.database_url):
        raise SettingsError(
            "this restores a file; with PostgreSQL use its own tools (docs/operate/backup.md)"
        )
    done = restore(
        copy,
        sqlite_path(settings.database_url),
        now=Timestamp(time.time_ns() // 1_000_000),
        secret_keys=(*filter(None, (settings.secret_key,)), *settings.old_secret_keys),
        replace=replace,
        without_key=without_key,
    )
    show(_findings(done))


def _findings(done: "Restored") -> Iterator[Finding]:
    from triggers_api.cli.copies import about  # noqa: PLC0415

    yield Finding("ok", "database", f"{done.path}, intact")
    if done.summed:
        yield Finding("ok", "checksum", "as it was when the copy was made")
    else:
        yield Finding("warn", "checksum", "none beside the copy to compare it with")
    yield from about(done.content)
    if done.key is not None:
        yield Finding("ok", "key", f"{done.key}")
    for path in done.aside:
        yield Finding("ok", "kept aside", str(path))
