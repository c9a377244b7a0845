"""``triggers trigger``."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Final

import click

from triggers_api.cli.api import Api, service_options

_SENT: Final = {200, 201, 202}
_WAITING: Final = {"queued", "scheduled"}
_FINISHED: Final = {"succeeded", "dead", "skipped", "cancelled"}
_POLL_S: Final = 0.1


@click.command(name="trigger")
@click.argument("event_type", metavar="TYPE")
@click.option("--data", default="{}", help="The payload: JSON, @file, or - for standard input.")
@click.option("--dedup-id", help="Sending it again with the same one stores nothing new.")
@click.option("--source", help="Where the event comes from.")
@click.option("--key", "event_key", help="What the event is about.")
@click.option(
    "--count", type=click.IntRange(min=1), default=1, show_default=True, help="How many to send."
)
@click.option("--wait", is_flag=True, help="Wait for every delivery; fail if one does not succeed.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True,
    help="Seconds that --wait waits.",
)  # fmt: skip
@service_options
def command(
    event_type: str,
    data: str,
    dedup_id: str | None,
    source: str | None,
    event_key: str | None,
    count: int,
    wait: bool,  # noqa: FBT001
    timeout: float,
    url: str,
    api_key: str,
) -> None:
    """Send an event of TYPE."""
    api = Api(url, api_key)
    body = _body(event_type, _payload(data), dedup_id, source, event_key)
    failed = False
    for _ in range(count):
        status, answer = api.call("POST", "/api/events", body)
        click.echo(json.dumps(answer))
        if status not in _SENT:
            failed = True
        elif wait:
            failed |= not _wait(api, answer["id"], timeout)
    sys.exit(1 if failed else 0)


def _payload(data: str) -> bytes:
    """The payload's bytes as they were written.

    Raises:
        click.BadParameter: they are not one JSON document, or cannot be read.
    """
    if data == "-":
        payload = sys.stdin.buffer.read()
    elif data.startswith("@"):
        try:
            payload = Path(data[1:]).read_bytes()
        except OSError as error:
            raise click.BadParameter(f"{data[1:]}: {error.strerror}", param_hint="--data") from None
    else:
        payload = os.fsencode(data)
    try:
        # Numbers stay text: whether they are too large is for the service to say, not for us.
        json.loads(payload.decode(), parse_int=str, parse_float=str)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--data") from None
    except RecursionError:
        raise click.BadParameter("nested too deep", param_hint="--data") from None
    return payload


def _body(
    event_type: str, payload: bytes, dedup_id: str | None, source: str | None, key: str | None
) -> bytes:
    given = {"type": event_type, "dedup_id": dedup_id, "source": source, "key": key}
    fields = json.dumps({name: value for name, value in given.items() if value is not None})
    # The payload goes as it was written, not through a decoder that would change it.
    return b'%b, "payload": %b}' % (fields.removesuffix("}").encode(), payload)


def _wait(api: Api, event_id: str, timeout: float) -> bool:
    """Whether every delivery succeeded in time; says on the way what became of each."""
    deadline = time.monotonic() + timeout
    told: set[str] = set()
    while True:
        status, event = api.call("GET", f"/api/events/{event_id}")
        if status != 200:
            click.echo(json.dumps(event), err=True)
            return False
        deliveries = event["deliveries"]
        for delivery in deliveries:
            if delivery["status"] in _FINISHED and delivery["id"] not in told:
                told.add(delivery["id"])
                reason = f": {delivery['reason']}" if delivery["reason"] else ""
                click.echo(
                    f"{delivery['status']} {delivery['id']} after "
                    f"{delivery['attempt_count']} attempt(s){reason}",
                    err=True,
                )
        if event["status"] not in _WAITING and len(told) == len(deliveries):
            if event["status"] != "processed":
                click.echo(f"triggers: {event_id} is {event['status']}", err=True)
                return False
            return all(delivery["status"] == "succeeded" for delivery in deliveries)
        if time.monotonic() > deadline:
            click.echo(f"triggers: {event_id} is not done after {timeout:g} s", err=True)
            return False
        time.sleep(_POLL_S)
