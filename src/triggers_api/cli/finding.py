"""What a look at one thing comes to."""

import sys
from collections.abc import Iterable
from typing import NamedTuple

import click

_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


class Finding(NamedTuple):
    """One line of the report: ``ok``, ``warn`` or ``fail``, about what, in words."""

    level: str
    about: str
    text: str


def show(findings: Iterable[Finding]) -> None:
    """Print findings as they come; exits with 1 after them if one of them is a failure."""
    failed = False
    for finding in findings:
        mark = click.style(f"{finding.level:>4}", fg=_COLORS[finding.level])
        click.echo(f"{mark}  {finding.about:<14} {finding.text}")
        failed |= finding.level == "fail"
    if failed:
        sys.exit(1)
