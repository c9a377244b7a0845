"""``triggers inbox``."""

import json
import sys
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import click

from triggers_api.cli.api import Api, service_options

_ACTIONS: Final = ("list", "peek", "pull", "ack", "seek")
_PAYLOAD_CHARACTERS: Final = 120
_LONGEST_WAIT_S: Final = 20.0
"""Less than the time that a command gives the service for its answer."""
_REFUSED: Final = 1


@click.command(name="inbox")
@click.argument("action", metavar="[ACTION]", type=click.Choice(_ACTIONS), default="list")
@click.argument("what", metavar="[WHAT ...]", nargs=-1)
@click.option("--inbox", "name", default="default", show_default=True, help="Which inbox.")
@click.option(
    "--type", "types", multiple=True,
    help="Only events of this type; * is any run of characters. For pull, several times.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Events."
)
@click.option("--lease", type=float, default=30.0, show_default=True, help="Seconds, for pull.")
@click.option(
    "--wait", type=click.FloatRange(0, _LONGEST_WAIT_S), default=0.0, show_default=True,
    help="Seconds for the first one.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print each line as JSON.")
@service_options
def command(
    action: str,
    what: tuple[str, ...],
    name: str,
    types: tuple[str, ...],
    limit: int,
    lease: float,
    wait: float,
    as_json: bool,  # noqa: FBT001 - click's
    url: str,
    api_key: str,
) -> None:
    """List inboxes, or peek into one, pull from it, ack WHAT is done, seek WHAT is to be next.

    For ack: ids of events, or receipts. For seek: start, end, a time, or the id of an event.
    """
    api = Api(url, api_key)
    path = f"/api/inboxes/{quote(name, safe='')}"
    match action, what:
        case "list", ():
            for inbox in _answered(*api.call("GET", "/api/inboxes?limit=1000"))["data"]:
                _print(inbox, _inbox_line(inbox), as_json=as_json)
        case "peek", () if len(types) < 2:
            asked: dict[str, object] = {"limit": limit, "wait_s": wait}
            if types:
                asked["type"] = types[0]
            page = _answered(*api.call("GET", f"{path}/events?{urlencode(asked)}"))
            for event in page["data"]:
                _print(event, _event_line(event), as_json=as_json)
        case "pull", ():
            pulled = {"limit": limit, "lease_s": lease, "wait_s": wait, "types": types or None}
            for event in _posted(api, f"{path}/pull", pulled)["data"]:
                line = f"{_event_line(event)}  {event['receipt']}"
                _print(event, line, as_json=as_json)
        case "ack", (_, *_):
            _acknowledge(api, path, what, as_json=as_json)
        case "seek", (to,):
            inbox = _posted(api, f"{path}/seek", {"to": to})
            _print(inbox, _inbox_line(inbox), as_json=as_json)
        case _:
            raise click.UsageError("ack takes ids or receipts, seek one place, the others nothing")


def _acknowledge(api: Api, path: str, what: Sequence[str], *, as_json: bool) -> None:
    """Acknowledge, and end with 1 unless all of them are."""
    kind = "ids" if all(each.startswith("evt_") for each in what) else "receipts"
    results = _posted(api, f"{path}/ack", {kind: what})["results"]
    for result in results:
        _print(result, f"{result['id'] or '-'}  {result['status']}", as_json=as_json)
    if any(result["status"] != "acked" for result in results):
        sys.exit(_REFUSED)


def _posted(api: Api, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
    return _answered(*api.call("POST", path, json.dumps(body).encode()))


def _answered(status: int, answer: Any) -> Any:  # noqa: ANN401 - JSON
    if status != 200:
        click.echo(json.dumps(answer), err=True)
        sys.exit(_REFUSED)
    return answer


def _print(document: object, line: str, *, as_json: bool) -> None:
    click.echo(json.dumps(document) if as_json else line)


def _inbox_line(inbox: dict[str, Any]) -> str:
    least = "" if inbox["complete"] else "at least "
    types = "" if inbox["types"] is None else f"  {' '.join(inbox['types'])}"
    oldest = inbox["oldest_age_s"]
    age = "" if oldest is None else f", the oldest {oldest:.0f} s ago"
    return (
        f"{inbox['name']}  {least}{inbox['unacked']} unacked, {inbox['leased']} leased{age}{types}"
    )


def _event_line(event: dict[str, Any]) -> str:
    payload = json.dumps(event["payload"], ensure_ascii=False)
    if len(payload) > _PAYLOAD_CHARACTERS:
        payload = payload[:_PAYLOAD_CHARACTERS] + "…"
    return f"{event['received_at']}  {event['type']}  {event['id']}  {payload}"
