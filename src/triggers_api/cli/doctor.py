"""``triggers doctor``."""

from pathlib import Path

import click

from triggers_api.cli.finding import show
from triggers_api.cli.options import load_settings, setting_flags


@click.command(name="doctor")
@setting_flags()
@click.option("--deep", is_flag=True, help="Read through the whole database file.")
def command(config: Path | None, deep: bool, **flags: str | None) -> None:  # noqa: FBT001 - click's
    """Check the machine, the settings and the database. Exits with 1 if something must be mended."""
    # Imported here so that --help does not wait for it.
    from triggers_api.cli.findings import examine  # noqa: PLC0415

    show(examine(load_settings(config, flags), deep=deep))
