"""``triggers cancel``."""

import json
import sys
from urllib.parse import quote

import click

from triggers_api.cli.api import Api, service_options


@click.command(name="cancel")
@click.argument("event_id", metavar="EVENT")
@click.option("--json", "as_json", is_flag=True, help="Print the answer of the API.")
@service_options
def command(event_id: str, as_json: bool, url: str, api_key: str) -> None:  # noqa: FBT001
    """Call off an EVENT that is scheduled or queued."""
    path = f"/api/events/{quote(event_id, safe='')}/cancel"
    status, answer = Api(url, api_key).call("POST", path)
    if status != 200:
        click.echo(json.dumps(answer), err=True)
        sys.exit(1)
    click.echo(json.dumps(answer) if as_json else f"{answer['id']}  {answer['status']}")
