"""``triggers verify``."""

import asyncio
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from triggers_api.cli.api import key_text, url_option
from triggers_api.cli.opened import opened
from triggers_api.cli.operator import Operator
from triggers_api.cli.options import load_settings

if TYPE_CHECKING:
    from triggers_api.settings import Settings

# What opens databases is imported where it is used, so that --help does not wait for it.

WRONG = 1


def _key(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    return None if value is None else key_text(context, option, value)


@click.command(name="verify")
@click.option("--repair", is_flag=True, help="Mend what can be mended, then look again.")
@click.option("--deep", is_flag=True, help="Have the database check its files and indexes, too.")
@click.option(
    "--database-url", metavar="URL",
    help="Look into this database itself. One that is a file must not be served meanwhile.",
)  # fmt: skip
@click.option(
    "--admin-key", envvar="TRIGGERS_ADMIN_KEY", callback=_key,
    help="An operator's key. [env: TRIGGERS_ADMIN_KEY]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the answer of the API.")
@url_option
def command(
    repair: bool,  # noqa: FBT001 - click's
    deep: bool,  # noqa: FBT001
    database_url: str | None,
    admin_key: str | None,
    as_json: bool,  # noqa: FBT001
    url: str,
) -> None:
    """Check that the books balance, that nothing is lost, and that no record is without its other half.

    For cron: the exit code is 1 when something is wrong.
    """
    if database_url is not None:
        from triggers_api.telemetry.logs import configure  # noqa: PLC0415

        settings = load_settings(None, {"database_url": database_url})
        configure(level="warning", format_=None)  # this command says itself what it does
        repaired, found = asyncio.run(_directly(settings, repair=repair, deep=deep))
    else:
        if admin_key is None:
            raise click.UsageError("Missing option '--admin-key' [env: TRIGGERS_ADMIN_KEY].")
        operator = Operator(url, admin_key)
        repaired = operator.post("/api/admin/verify/repair") if repair else None
        found = operator.get("/api/admin/verify", deep="true" if deep else None)
    if as_json:
        click.echo(json.dumps(found if repaired is None else {**found, "repaired": repaired}))
    else:
        click.echo("\n".join([*_repairs(repaired), *verdict_lines(found)]))
    if not found["ok"]:
        sys.exit(WRONG)


async def _directly(
    settings: "Settings", *, repair: bool, deep: bool
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    from msgspec import to_builtins  # noqa: PLC0415

    from triggers_api.operate import verification  # noqa: PLC0415

    async with opened(settings, "verify --repair") as store:
        repaired = to_builtins(await verification.repair(store)) if repair else None
        return repaired, to_builtins(await verification.verify(store, deep=deep))


def _repairs(repaired: dict[str, Any] | None) -> Iterator[str]:
    if repaired is None:
        return
    for check, count in repaired["repaired"].items():
        yield f"{check}: {count} repaired"
    if repaired["freed"]:
        yield f"{repaired['freed']} leases that had run out freed"


def verdict_lines(found: dict[str, Any]) -> Iterator[str]:
    """What ``GET /api/admin/verify`` found, in words, the verdict at the end."""
    for books in found["organizations"]:
        if not _balances(books):
            yield f"{books['organization_id']}: the books do not balance"
    for each in found["checks"]:
        if each["found"]:
            many = "at least " if each["more"] else ""
            harmless = ", harmless" if each["harmless"] else ""
            yield f"{each['check']}: {many}{each['found']} {each['meaning']}{harmless}"
            yield f"    {' '.join(each['examples'])}"
    if found["stuck"]:
        yield f"{found['stuck']} stuck: the next sweep frees them"
    integrity = found["integrity"]
    if integrity is not None:
        yield from integrity["faults"]
        if integrity["reason"] is not None:
            yield f"files and indexes were not checked: {integrity['reason']}"
        elif not integrity["faults"]:
            yield f"sound: {integrity['checked']}"
    accepted = sum(books["accepted"] for books in found["organizations"])
    yield f"{'ok' if found['ok'] else 'NOT OK'}: {accepted} events"


def _balances(books: dict[str, Any]) -> bool:
    states = ("queued", "scheduled", "processed", "failed", "quarantined", "cancelled", "deleted")
    deliveries = sum(count for name, count in books["deliveries"].items() if name != "total")
    return (books["accepted"], books["deliveries"]["total"]) == (
        sum(books[each] for each in states),
        deliveries,
    )
