"""``triggers explain``."""

import json
import sys
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import click

from triggers_api.cli.api import Api, service_options

_HEAD: Final = ("SUBSCRIPTION", "GETS IT", "REASON", "WHY")


@click.command(name="explain")
@click.argument("event_id", metavar="EVENT")
@click.option("--json", "as_json", is_flag=True, help="Print the answer of the API.")
@service_options
def command(event_id: str, as_json: bool, url: str, api_key: str) -> None:  # noqa: FBT001
    """Say for each subscription why it gets an EVENT, or why not."""
    status, answer = Api(url, api_key).call(
        "GET", f"/api/events/{quote(event_id, safe='')}/explain"
    )
    if status != 200:
        click.echo(json.dumps(answer), err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(answer))
        return
    for line in _table(answer["subscriptions"]):
        click.echo(line)


def _table(subscriptions: list[dict[str, Any]]) -> Iterator[str]:
    if not subscriptions:
        yield "there are no subscriptions"
        return
    rows = [(each, _cells(each)) for each in subscriptions]
    widths = [
        max(map(len, column)) for column in zip(_HEAD, *(row for _, row in rows), strict=True)
    ]
    yield _line(_HEAD, widths)
    for each, cells in rows:
        yield _line(cells, widths)
        for part in each["filter"] or ():
            why = f"  ({part['detail']})" if part["detail"] else ""
            yield f"    {part['result']:7} {' '.join(part['expression'].split())}{why}"


def _cells(each: dict[str, Any]) -> tuple[str, ...]:
    why = each["detail"]
    if each["last_error"]:
        why += f"; last error: {each['last_error']}"
    if each["next_attempt_at"]:
        why += f"; next attempt at {each['next_attempt_at']}"
    if each["delivery_id"]:
        why += f"  {each['delivery_id']}"
    return each["subscription_id"], "yes" if each["matched"] else "no", each["reason"], why


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
