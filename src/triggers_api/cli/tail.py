"""``triggers tail``."""

import http.client
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlsplit

import click

from triggers_api.cli.api import UNREACHABLE, service_options

_SILENCE_S: Final = 45.0
"""Three comments that did not come: the connection is dead, whatever it says itself."""
_AGAIN_AFTER_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_REFUSED: Final = 1
_PAYLOAD_CHARACTERS: Final = 120


@click.command(name="tail")
@click.option("--type", "pattern", help="Only events of this type; * is any run of characters.")
@click.option("--after", metavar="EVENT", help="Begin behind this event instead of now.")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as one line of JSON.")
@service_options
def command(
    pattern: str | None,
    after: str | None,
    count: int | None,
    as_json: bool,  # noqa: FBT001 - click's
    url: str,
    api_key: str,
) -> None:
    """Print events as they come in, until interrupted.

    When the service goes away it is asked again, and goes on behind the last event that was printed.
    """
    tail = _Tail(url, api_key, pattern=pattern, after=after)
    try:
        for number, data in enumerate(tail, 1):
            click.echo(_compact(data) if as_json else line_of(json.loads(data)))
            sys.stdout.flush()
            if number == count:
                return
    except KeyboardInterrupt:
        return


class _Tail:
    """Events from a stream, over as many connections as it takes."""

    def __init__(self, url: str, key: str, *, pattern: str | None, after: str | None) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._query = "" if pattern is None else f"?type={quote(pattern, safe='')}"
        self._after = after
        self._failures = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                for event_id, data in self._connection():
                    self._failures = 0
                    self._after = event_id
                    yield data
                why = "the service ended the stream"
            except (OSError, http.client.HTTPException) as error:
                why = str(error) or type(error).__name__
            self._wait(why)

    def _wait(self, why: str) -> None:
        # Whoever never reached it has the wrong address; whoever did waits for it to come back.
        if self._after is None and self._failures == len(_AGAIN_AFTER_S):
            click.echo(f"triggers: no answer from {self._url}: {why}", err=True)
            sys.exit(UNREACHABLE)
        if self._failures == 0:
            click.echo(f"triggers: {why}; asking again", err=True)
        time.sleep(_AGAIN_AFTER_S[min(self._failures, len(_AGAIN_AFTER_S) - 1)])
        self._failures += 1

    def _connection(self) -> Iterator[tuple[str, bytes]]:
        parts = urlsplit(self._url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(parts.hostname or "", parts.port, timeout=_SILENCE_S)
        headers = {"Authorization": f"Bearer {self._key}", "Accept": "text/event-stream"}
        if self._after is not None:
            headers["Last-Event-ID"] = self._after
        try:
            connection.request("GET", f"{parts.path}/api/events/stream{self._query}", None, headers)
            answer = connection.getresponse()
            if answer.status == 503:
                raise http.client.HTTPException("the service is not ready")
            if answer.status == 429 and self._after is not None:
                # It had a place: the one it lost may still be counted.
                raise http.client.HTTPException("the organization has too many readers")
            if answer.status != 200:
                click.echo(answer.read().decode(errors="replace"), err=True)
                sys.exit(_REFUSED)
            yield from _messages(answer)
        finally:
            connection.close()


def _messages(answer: http.client.HTTPResponse) -> Iterator[tuple[str, bytes]]:
    """Id and data of each message (WHATWG HTML, 9.2.6), as the service writes them."""
    event_id, data = "", []
    while line := answer.readline():
        name, _, value = line.rstrip(b"\n").partition(b": ")
        if name == b"id":
            event_id = value.decode()
        elif name == b"data":
            data.append(value)
        elif not name and data:
            yield event_id, b"\n".join(data)
            data = []


def _compact(data: bytes) -> str:
    # A payload may have line ends between its parts; between parts is the only place for them.
    return b" ".join(data.split(b"\n")).decode()


def line_of(event: dict[str, Any]) -> str:
    """An event as one line for people."""
    payload = json.dumps(event["payload"], ensure_ascii=False)
    if len(payload) > _PAYLOAD_CHARACTERS:
        payload = payload[:_PAYLOAD_CHARACTERS] + "…"
    return f"{event['received_at']}  {event['type']}  {event['id']}  {payload}"
