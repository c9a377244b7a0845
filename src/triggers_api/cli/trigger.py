"""``triggers trigger``."""

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import click

UNREACHABLE: Final = 3
_FINISHED: Final = {"succeeded", "dead", "skipped", "cancelled"}


class Api:
    """The HTTP API, as a command line needs it."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        # No proxy from the environment: the service is usually on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Status and decoded body; ends the process when nothing answers."""
        request = urllib.request.Request(  # noqa: S310 - the user's own URL
            self._url + path, data=body, headers=self._headers, method=method
        )
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            click.echo(f"triggers: no answer from {self._url}: {reason}", err=True)
            sys.exit(UNREACHABLE)


@click.command(name="trigger")
@click.argument("event_type", metavar="TYPE")
@click.option("--data", default="{}", help="The payload: JSON, @file, or - for standard input.")
@click.option("--dedup-id", help="Sending it again with the same one stores nothing new.")
@click.option("--source", help="Where the event comes from.")
@click.option("--key", "event_key", help="What the event is about.")
@click.option("--count", default=1, show_default=True, help="How many to send.")
@click.option("--wait", is_flag=True, help="Wait for every delivery; fail if one does not succeed.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds that --wait waits.")
@click.option(
    "--url", envvar="TRIGGERS_URL", default="http://127.0.0.1:8000", show_default=True,
    help="The service. [env: TRIGGERS_URL]",
)  # fmt: skip
@click.option("--api-key", envvar="TRIGGERS_API_KEY", required=True, help="[env: TRIGGERS_API_KEY]")
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
        if status not in {200, 201, 202}:
            failed = True
        elif wait:
            failed |= not _wait(api, answer["id"], timeout)
    sys.exit(1 if failed else 0)


def _payload(data: str) -> str:
    if data == "-":
        return sys.stdin.read()
    if data.startswith("@"):
        try:
            return Path(data[1:]).read_text()
        except OSError as error:
            raise click.BadParameter(f"{data[1:]}: {error.strerror}") from None
    return data


def _body(
    event_type: str, payload: str, dedup_id: str | None, source: str | None, key: str | None
) -> bytes:
    given = {"type": event_type, "dedup_id": dedup_id, "source": source, "key": key}
    fields = [f"{json.dumps(k)}:{json.dumps(v)}" for k, v in given.items() if v is not None]
    # The payload goes as it was written, not through a decoder that would change it.
    return ("{" + ",".join([*fields, f'"payload":{payload}']) + "}").encode()


def _wait(api: Api, event_id: str, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    told: set[str] = set()
    while True:
        _, event = api.call("GET", f"/api/events/{event_id}")
        deliveries = event.get("deliveries", [])
        for delivery in deliveries:
            if delivery["status"] in _FINISHED and delivery["id"] not in told:
                told.add(delivery["id"])
                reason = f": {delivery['reason']}" if delivery["reason"] else ""
                click.echo(
                    f"{delivery['status']} {delivery['id']} after "
                    f"{delivery['attempt_count']} attempt(s){reason}",
                    err=True,
                )
        if event.get("status") == "processed" and len(told) == len(deliveries):
            return all(delivery["status"] == "succeeded" for delivery in deliveries)
        if time.monotonic() > deadline:
            click.echo(f"triggers: {event_id} is not done after {timeout:g} s", err=True)
            return False
        time.sleep(0.1)
