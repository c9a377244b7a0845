"""``triggers worker``."""

from pathlib import Path
from typing import Final

import click

from triggers_api.cli.options import load_settings, setting_flags
from triggers_api.cli.serve import run

_DEFAULTS: Final = {"port": "8001"}
"""Where this command differs from the table: it may run beside a server on the same machine."""


@click.command(name="worker")
@setting_flags(without=("role",), defaults=_DEFAULTS)
def command(config: Path | None, **flags: str | None) -> None:
    """Route and deliver beside other processes: processor and dispatcher without the API.

    As `triggers serve --role worker`, but on port 8001, where only health and metrics answer.
    """
    run(load_settings(config, {**flags, "role": "worker"}, defaults=_DEFAULTS))
