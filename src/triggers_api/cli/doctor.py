"""``triggers doctor``."""

import sys
from pathlib import Path

import click

from triggers_api.cli.options import load_settings, setting_flags


@click.command(name="doctor")
@setting_flags()
@click.option("--deep", is_flag=True, help="Read through the whole database file.")
def command(config: Path | None, deep: bool, **flags: str | None) -> None:  # noqa: FBT001 - click's
    """Check the machine, the settings and the database. Exits with 1 if something must be mended."""
    # Imported here so that --help does not wait for it.
    from triggers_api.cli.findings import examine  # noqa: PLC0415

    settings = load_settings(config, flags)
    colors = {"ok": "green", "warn": "yellow", "fail": "red"}
    failed = False
    for finding in examine(settings, deep=deep):
        mark = click.style(f"{finding.level:>4}", fg=colors[finding.level])
        click.echo(f"{mark}  {finding.about:<14} {finding.text}")
        failed |= finding.level == "fail"
    sys.exit(1 if failed else 0)
