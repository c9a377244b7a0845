"""``triggers audit``."""

import json
from collections.abc import Iterator
from typing import Any, Final

import click

from triggers_api.cli.api import key_text, url_option
from triggers_api.cli.operator import Operator, echo

_PAGE: Final = 1000


@click.command(name="audit")
@click.option("--action", help="Only this action; * is any run of characters.")
@click.option("--actor", metavar="KEY", help="Only by this key, or by service or command.")
@click.option("--resource-type", metavar="KIND", help="Only to a kind of resource: subscription.")
@click.option("--resource", metavar="ID", help="Only to this one.")
@click.option("--organization", metavar="ID", help="Only of this one.")
@click.option("--since", metavar="TIME", help="Not before, in RFC 3339.")
@click.option("--until", metavar="TIME", help="Before.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many."
)
@click.option("--json", "as_json", is_flag=True, help="Print each entry as one line of JSON.")
@url_option
@click.option(
    "--key", envvar=["TRIGGERS_ADMIN_KEY", "TRIGGERS_API_KEY"], required=True, callback=key_text,
    help="An operator's key sees all, an organization's its own. "
    "[env: TRIGGERS_ADMIN_KEY, TRIGGERS_API_KEY]",
)  # fmt: skip
def command(
    organization: str | None,
    limit: int,
    as_json: bool,  # noqa: FBT001 - click's
    url: str,
    key: str,
    **given: str | None,
) -> None:
    """Say who changed what, the newest first."""
    operator, left = Operator(url, key), limit
    query: dict[str, object] = {**given, "organization_id": organization}
    while True:
        page = operator.get("/api/audit", **query, limit=min(left, _PAGE))
        for entry in page["data"]:
            echo(entry, *_lines(entry), as_json=as_json)
        left -= len(page["data"])
        if page["next_cursor"] is None or left == 0:
            return
        query["cursor"] = page["next_cursor"]


def _lines(entry: dict[str, Any]) -> Iterator[str]:
    actor, resource = entry["actor"], entry["resource"]
    by = actor.get("key_id") or actor.get("command") or actor["type"]
    where = f" from {actor['address']}" if actor.get("address") else ""
    yield f"{entry['at']}  {entry['action']}  {resource['id']}  by {by}{where}"
    if entry["detail"]:
        yield f"    {entry['detail']}"
    for change in entry["changes"]:
        if change.get("hidden"):
            yield f"    {change['field']} changed"
        else:
            before, after = (json.dumps(change.get(name)) for name in ("before", "after"))
            yield f"    {change['field']}: {before} -> {after}"
