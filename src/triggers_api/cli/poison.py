"""``triggers poison``."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import click

from triggers_api.cli.operator import Operator, echo, operator_options

_PATH: Final = "/api/admin/buffer/poison"
_AT_ONCE: Final = 1000


@click.command(name="poison")
@click.argument("action", type=click.Choice(("list", "release", "delete")), default="list")
@click.argument("entries", metavar="[ENTRY ...]", nargs=-1)
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="For list: entries.",
)
@click.option("--all", "every", is_flag=True, help="For release: every entry that has an event.")
@operator_options
def command(
    action: str,
    entries: tuple[str, ...],
    limit: int,
    every: bool,  # noqa: FBT001 - click's
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """List what could not be stored out of Redis, have ENTRYs tried again, or delete them.

    ENTRY is what the list calls it, or the id of its event.
    """
    operator = Operator(url, admin_key)
    match action:
        case "list" if not (entries or every):
            page = operator.get(_PATH, limit=limit)
            for entry in page["data"]:
                echo(entry, _line(entry), as_json=as_json)
            if page["next_cursor"] is not None:
                click.echo("triggers: there are more", err=True)
        case "release" if bool(entries) != every:
            for name in _every(operator) if every else entries:
                released = operator.post(f"{_path(name)}/release")
                echo(released, f"{released['event_id']}  is tried again", as_json=as_json)
        case "delete" if entries and not every:
            for name in entries:
                operator.call("DELETE", _path(name))
                echo({"id": name}, f"{name}  deleted", as_json=as_json)
        case _:
            raise click.UsageError(
                "list takes no entries, release takes some or --all, and delete takes some"
            )


def _every(operator: Operator) -> Iterator[str]:
    """What there is now, the oldest first: what is set aside again meanwhile is not tried once more."""
    names: list[str] = []
    cursor = None
    while True:
        page = operator.get(_PATH, limit=_AT_ONCE, cursor=cursor)
        names += [entry["id"] for entry in page["data"] if entry["event_id"] is not None]
        cursor = page["next_cursor"]
        if cursor is None:
            return reversed(names)


def _path(name: str) -> str:
    return f"{_PATH}/{quote(name, safe='')}"


def _line(entry: dict[str, Any]) -> str:
    return (
        f"{entry['aside_since']}  {entry['id']}  {entry['event_id'] or '-'}  "
        f"{entry['organization_id'] or '-'}  {entry['type'] or '-'}  {entry['reason']}"
    )
