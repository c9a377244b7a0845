"""Flags made from the settings' table."""

from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click

from triggers_api.settings import (
    PREFIX,
    Settings,
    load,
    shown_default,
    table,
    unknown_variables,
    variable,
)

F = TypeVar("F", bound=Callable[..., Any])


def setting_flags(
    *names: str,
    without: Collection[str] = (),
    defaults: Mapping[str, str] | None = None,
) -> Callable[[F], F]:
    """A decorator that adds a flag for each of these settings, or for all when none is named.

    Args:
        names: of the fields.
        without: fields that the command decides itself.
        defaults: by field name, where the command's are not the table's.
    """
    own = defaults or {}

    def decorate(function: F) -> F:
        for row in reversed(table()):
            if row.name not in without and (not names or row.name in names):
                default = own.get(row.name, shown_default(row))
                shown = f" [env: {variable(row)}" + (f"; default: {default}]" if default else "]")
                function = click.option(
                    f"--{row.name.replace('_', '-')}",
                    row.name,
                    metavar="VALUE",
                    help=row.metadata["help"].replace("`", "") + shown,
                )(function)
        return click.option(
            "--config",
            envvar="TRIGGERS_CONFIG",
            type=click.Path(dir_okay=False, path_type=Path),
            help="A TOML file with settings. [env: TRIGGERS_CONFIG]",
        )(function)

    return decorate


def load_settings(
    config: Path | None,
    flags: Mapping[str, str | None],
    *,
    defaults: Mapping[str, str] | None = None,
) -> Settings:
    """The merged settings; names in the environment that look misspelt are pointed out."""
    for name in unknown_variables():
        click.echo(f"triggers: {name} is not a setting; {_hint(name)}", err=True)
    return load(flags=flags, file=config, defaults=defaults)


def _hint(name: str) -> str:
    known = [row.name.upper() for row in table()]
    near = get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=0.7)
    return f"did you mean {PREFIX}{near[0]}?" if near else "is it misspelt?"
