"""``triggers doctor``."""

from pathlib import Path

import click

from triggers_api.cli.api import address
from triggers_api.cli.finding import show
from triggers_api.cli.options import load_settings, setting_flags


@click.command(name="doctor")
@setting_flags()
@click.option(
    "--deep", is_flag=True,
    help="Read through the whole database file, and count all that a running service has accepted.",
)  # fmt: skip
@click.option(
    "--url", metavar="URL", envvar="TRIGGERS_URL", callback=lambda *given: given[2] and address(*given),
    help="A running service to ask; by default the one at --host and --port, if there is one. "
    "[env: TRIGGERS_URL]",
)  # fmt: skip
def command(
    config: Path | None,
    deep: bool,  # noqa: FBT001 - click's
    url: str | None,
    **flags: str | None,
) -> None:
    """Check the machine, the settings, the database and, where one runs, the service.

    Exits with 1 if something must be mended.
    """
    # Imported here so that --help does not wait for it.
    from triggers_api.cli.findings import examine  # noqa: PLC0415

    show(examine(load_settings(config, flags), url=url, deep=deep))
