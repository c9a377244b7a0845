"""``triggers quarantine``."""

import json
import sys
from typing import Any, Final
from urllib.parse import quote

import click

from triggers_api.cli.operator import Operator, echo, operator_options

_PATH: Final = "/api/admin/quarantine"


@click.command(name="quarantine")
@click.argument("action", type=click.Choice(("list", "release", "delete")), default="list")
@click.argument("event_ids", metavar="[EVENT ...]", nargs=-1)
@click.option("--organization", metavar="ID", help="For list: only of this one.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="For list: events."
)
@click.option(
    "--payload", help="For release: route the one EVENT with this payload instead, which is JSON."
)
@operator_options
def command(
    action: str,
    event_ids: tuple[str, ...],
    organization: str | None,
    limit: int,
    payload: str | None,
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """List events that are kept aside, release EVENTs as if they had come in now, or delete them.

    Kept aside is what does not fit its schema, and what could not be routed.
    """
    operator = Operator(url, admin_key)
    match action:
        case "list" if not event_ids and payload is None:
            page = operator.get(_PATH, organization_id=organization, limit=limit)
            for event in page["data"]:
                echo(event, _line(event), as_json=as_json)
            if page["next_cursor"] is not None:
                click.echo("triggers: there are more", err=True)
        case "release" if event_ids and (payload is None or len(event_ids) == 1):
            body = {} if payload is None else {"payload": _json(payload)}
            for event_id in event_ids:
                released = operator.post(f"{_path(event_id)}/release", body)
                echo(released, f"{released['id']}  released", as_json=as_json)
        case "delete" if event_ids and payload is None:
            for event_id in event_ids:
                operator.call("DELETE", _path(event_id))
                echo({"id": event_id}, f"{event_id}  deleted", as_json=as_json)
        case _:
            raise click.UsageError(
                "list takes no events, release and delete take some; --payload goes with one release"
            )


def _path(event_id: str) -> str:
    return f"{_PATH}/{quote(event_id, safe='')}"


def _json(payload: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(payload)
    except ValueError as error:
        click.echo(f"triggers: --payload is not JSON: {error}", err=True)
        sys.exit(2)


def _line(event: dict[str, Any]) -> str:
    return (
        f"{event['aside_since']}  {event['id']}  {event['organization_id']}  {event['type']}  "
        f"{event['status']}  {event['reason']}"
    )
