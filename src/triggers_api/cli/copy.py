"""``triggers copy``."""

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from triggers_api.errors import SettingsError, StartError

if TYPE_CHECKING:
    from triggers_api.store.base import OrganizationAccount
    from triggers_api.store.copying.copy import Copied

_SHOWN: Final = 20

# What opens databases is imported where it is used, so that --help does not wait for it.


@click.command(name="copy")
@click.option(
    "--from",
    "source",
    metavar="URL",
    required=True,
    help="The file that was served so far: sqlite:///path/to/file.db.",
)
@click.option(
    "--to",
    "target",
    metavar="URL",
    required=True,
    envvar="TRIGGERS_DATABASE_URL",
    help="A database that nobody uses yet: postgresql://user@host/database. "
    "[env: TRIGGERS_DATABASE_URL]",
)
def command(source: str, target: str) -> None:
    """Move an installation from a file to PostgreSQL. Run again, it goes on where it stopped."""
    from triggers_api.bench.progress import progress  # noqa: PLC0415
    from triggers_api.model.timestamp import Timestamp  # noqa: PLC0415
    from triggers_api.store.connect import is_postgres, shown_url, sqlite_path  # noqa: PLC0415
    from triggers_api.telemetry.logs import configure  # noqa: PLC0415

    path = sqlite_path(source)
    if not is_postgres(target):
        raise SettingsError(f"--to {shown_url(target)}: use postgresql://user@host/database")
    from triggers_api.store.copying.copy import copy  # noqa: PLC0415 - needs the extra

    configure(level="warning", format_=None)  # this command says itself what it does
    began, now = time.monotonic(), Timestamp(time.time_ns() // 1_000_000)
    try:
        with progress() as shown, shown.bar(f"copying {path.name}") as advance:
            copied = asyncio.run(copy(path, target, now=now, advance=advance))
    except StartError as error:
        raise StartError(f"{source} to {shown_url(target)}: {error}") from None
    if copied.finished_at is not None:
        click.echo(f"{source} was copied to {shown_url(target)} at {copied.finished_at}")
        return
    for line in _lines(copied, time.monotonic() - began):
        click.echo(line)
    if not copied.equal:
        raise StartError(
            f"{source} to {shown_url(target)}: the two sides are not equal, see above. Nothing of "
            "it is in use there; copy to a new one"
        )
    click.echo(
        f"\nNow start the service with TRIGGERS_DATABASE_URL={shown_url(target)}, and never again "
        "with the file:\nwhat was still to be delivered would be delivered by both."
    )


def _lines(copied: "Copied", seconds: float) -> Iterator[str]:
    if copied.went_on:
        yield "went on where an earlier run had stopped"
    if copied.started_over:
        yield "started over: the file was written to since an earlier run"
    yield f"{'':<16} {'file':>14} {'database':>14}"
    for name, (here, there) in copied.rows.items():
        mark = "" if here == there else "   NOT EQUAL"
        yield f"{name:<16} {here:>14,} {there:>14,}{mark}"
    yield from _books(*copied.accounts)
    rate = copied.written / max(seconds, 0.001)
    yield f"{copied.written:,} rows in {seconds:.1f} s, {rate:,.0f} a second"


def _books(ours: "list[OrganizationAccount]", theirs: "list[OrganizationAccount]") -> Iterator[str]:
    there = {account.organization_id: account for account in theirs}
    lines = []
    for account in ours:
        other = there.pop(account.organization_id, None)
        if other == account:
            events, deliveries = account.accepted, account.deliveries["total"]
            lines.append(
                f"{account.organization_id}: {events:,} events, {deliveries:,} deliveries: equal"
            )
        else:
            yield f"{account.organization_id}: NOT EQUAL: {account}, there {other}"
    yield from (f"{name}: NOT EQUAL: not in the file" for name in there)
    yield from lines[:_SHOWN]
    if len(lines) > _SHOWN:
        yield f"and {len(lines) - _SHOWN:,} more organizations: equal"
