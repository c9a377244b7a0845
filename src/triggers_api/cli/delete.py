"""``triggers delete``."""

import json
import sys
from urllib.parse import quote

import click

from triggers_api.cli.api import Api, service_options


@click.command(name="delete")
@click.argument("event_id", metavar="EVENT")
@service_options
def command(event_id: str, url: str, api_key: str) -> None:
    """Erase an EVENT: its payload is gone, what waits for it is cancelled, its dedup_id is free."""
    status, answer = Api(url, api_key).call("DELETE", f"/api/events/{quote(event_id, safe='')}")
    if status != 204:
        click.echo(json.dumps(answer), err=True)
        sys.exit(1)
    click.echo(f"{event_id}  deleted")
