"""``triggers search``."""

import json
import sys
from typing import Final
from urllib.parse import urlencode

import click

from triggers_api.cli.api import Api, service_options
from triggers_api.cli.tail import line_of
from triggers_api.model.event import EventStatus

_PAGE: Final = 1000


def _condition(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    conditions = {}
    for each in values:
        path, equals, value = each.partition("=")
        if not (path and equals):
            raise click.BadParameter(f"{each!r} is not PATH=VALUE")
        conditions[f"payload.{path}"] = value
    return conditions


@click.command(name="search")
@click.argument("words", nargs=-1)
@click.option("--type", help="Only events of this type; * is any run of characters.")
@click.option("--source", help="Exactly this source.")
@click.option("--key", "event_key", help="Exactly this key.")
@click.option("--dedup-id", help="Exactly this dedup_id.")
@click.option(
    "--status", type=click.Choice([each.value for each in EventStatus]), help="Where they stand."
)
@click.option(
    "--payload", "conditions", multiple=True, metavar="PATH=VALUE", callback=_condition,
    help="A value in the payload, as items.0.sku=A-7; can be given several times.",
)  # fmt: skip
@click.option("--since", metavar="TIME", help="Received not before, in RFC 3339.")
@click.option("--until", metavar="TIME", help="Received before.")
@click.option("--oldest", is_flag=True, help="The oldest first instead of the newest.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many."
)
@click.option("--json", "as_json", is_flag=True, help="Print each event as one line of JSON.")
@service_options
def command(
    words: tuple[str, ...],
    conditions: dict[str, str],
    event_key: str | None,
    limit: int,
    oldest: bool,  # noqa: FBT001 - click's
    as_json: bool,  # noqa: FBT001
    url: str,
    api_key: str,
    **given: str | None,
) -> None:
    """Find events whose payloads have all WORDS, and whatever else is asked for."""
    query: dict[str, str | int] = {
        name: value for name, value in given.items() if value is not None
    }
    query |= conditions
    if words:
        query["q"] = " ".join(words)
    if event_key is not None:
        query["key"] = event_key
    if oldest:
        query["order"] = "asc"
    api, left = Api(url, api_key), limit
    while True:
        query["limit"] = min(left, _PAGE)
        status, page = api.call("GET", f"/api/events?{urlencode(query)}")
        if status != 200:
            click.echo(json.dumps(page), err=True)
            sys.exit(1)
        for event in page["data"]:
            click.echo(json.dumps(event, ensure_ascii=False) if as_json else line_of(event))
        left -= len(page["data"])
        if page["next_cursor"] is None or left == 0:
            return
        query["cursor"] = page["next_cursor"]
