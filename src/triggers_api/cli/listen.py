"""``triggers listen``: an outbound session that forwards events to a server on this machine."""

import http.client
import ipaddress
import json
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import urlsplit

import click

from triggers_api.cli.api import Api, NoService, service_options

_AT_ONCE: Final = 8
_BODY_KEPT: Final = 16_384
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0
_REPORT_TRIES: Final = 5
_OK: Final = range(200, 300)
_GONE: Final = 404
_UNAVAILABLE: Final = 500
_DOUBLINGS: Final = 5
_GRACE_S: Final = 2.0
"""What is being forwarded gets to end, when the session does."""


class Target(NamedTuple):
    """Where events are forwarded to."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """As it is shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def _target(_context: click.Context, _option: click.Parameter, value: str) -> Target:
    text = f"http://localhost:{value}" if value.isdecimal() else value
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise click.BadParameter(f"{value!r} is neither a port nor http://host… or https://host…")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not (path.isascii() and path.isprintable()) or " " in path:
        raise click.BadParameter(f"{value!r}: a path has printable ASCII characters only")
    default = 443 if parts.scheme == "https" else 80
    return Target(parts.scheme, parts.hostname, default if port is None else port, path)


@click.command(name="listen")
@click.argument("target", metavar="URL|PORT", callback=_target)
@click.option(
    "--events", "patterns", metavar="PATTERN", multiple=True, default=("*",), show_default=True,
    help="Which types; * is any run of characters. Can be given several times.",
)  # fmt: skip
@click.option("--filter", "filter_", metavar="CEL", help="Which of these, by what is in them.")
@click.option("--operational", is_flag=True, help="The service's own events, and no others.")
@click.option("--secret", metavar="WHSEC", help="Sign with this one instead of a new one.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.1, 25), default=10.0, show_default=True,
    help="Seconds that the server has for each event.",
)  # fmt: skip
@click.option(
    "--allow-remote", is_flag=True, help="Forward to another machine, too, not to this one only."
)
@service_options
def command(
    target: Target,
    patterns: tuple[str, ...],
    filter_: str | None,
    operational: bool,  # noqa: FBT001 - an option
    secret: str | None,
    timeout_s: float,
    allow_remote: bool,  # noqa: FBT001 - an option
    url: str,
    api_key: str,
) -> None:
    """Forward events to URL, or to PORT on this machine, as they would be delivered.

    Nothing has to reach this machine from outside: the session fetches. An answer outside 200 to 299
    is a failed attempt, and the event comes again by the usual schedule.
    """
    if not allow_remote:
        _check_loopback(target)
    asked = {
        "event_types": list(patterns),
        "filter": filter_,
        "operational": operational,
        "secret": secret,
    }
    session = _Session(
        Api(url, api_key), asked, Forwarder(target, timeout_s, local=not allow_remote)
    )
    with _interruptible():
        session.begin()
        try:
            click.echo(f"  forwarding  {', '.join(patterns)} -> {target.url}")
            if secret is None:
                click.echo(f"  secret      {session.secret}")
            click.echo("  ready; Ctrl-C ends it\n")
            session.run()
        except KeyboardInterrupt:
            pass
        finally:
            session.end()


def _check_loopback(target: Target) -> None:
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise click.BadParameter(f"{target.host}: {error}") from None
    addresses = {str(entry[4][0]).partition("%")[0] for entry in found}
    if not all(ipaddress.ip_address(each).is_loopback for each in addresses):
        raise click.BadParameter(
            f"{target.host} is not this machine; with --allow-remote events go there all the same"
        )


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the session as Ctrl-C does."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Forwarder:
    """Makes the requests to the server on this machine."""

    def __init__(self, target: Target, timeout_s: float, *, local: bool) -> None:
        self._target = target
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context()
        if local:
            # A certificate for localhost is of the developer's own making; nothing leaves the machine.
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE

    def post(self, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        """One request, no redirect followed; what it came to, as it is reported."""
        began = time.monotonic()
        try:
            status, text = self._post(headers, body)
            outcome: dict[str, Any] = {"status_code": status, "response_body": text or None}
        except (OSError, http.client.HTTPException) as error:
            outcome = {"error": _error(error)}
        return outcome | {"duration_ms": round((time.monotonic() - began) * 1000)}

    def _post(self, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        target = self._target
        connection = (
            http.client.HTTPSConnection(
                target.host, target.port, timeout=self._timeout_s, context=self._tls
            )
            if target.scheme == "https"
            else http.client.HTTPConnection(target.host, target.port, timeout=self._timeout_s)
        )
        try:
            connection.putrequest("POST", target.path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read(_BODY_KEPT).decode(errors="replace")
        finally:
            connection.close()


def _error(error: Exception) -> str:
    """The word of the API for it."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "connection-refused"
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, socket.gaierror):
        return "dns"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionError):
        return "connection-lost"
    return "bad-response" if isinstance(error, http.client.HTTPException) else "connection-failed"


class _Session:
    """The session with the service, begun anew when the service no longer knows it."""

    def __init__(self, api: Api, asked: dict[str, Any], forwarder: Forwarder) -> None:
        self._api = api
        self._asked = asked
        self._forwarder = forwarder
        self._id = ""
        self._forwarding: list[Thread] = []
        self.secret = ""

    def begin(self) -> None:
        """Ends the process when the service does not answer, or refuses."""
        status, answer = self._api.call("POST", "/api/listen", json.dumps(self._asked).encode())
        if status != 201:
            _refused(answer)
        # The next one, if there has to be one, signs as this one did.
        self.secret = self._asked["secret"] = answer["secret"]
        self._id = answer["id"]

    def run(self) -> None:
        """Fetch and forward, until interrupted or refused."""
        failures = 0
        while True:
            try:
                status, answer = self._api.ask(
                    "POST",
                    f"/api/listen/{self._id}/fetch",
                    json.dumps({"limit": _AT_ONCE}).encode(),
                )
                if status == _GONE:
                    self._begin_again()
                    continue
                why = answer["title"] if status >= _UNAVAILABLE else None
            except NoService as error:
                why = str(error)
            if why is not None:
                _say(f"{why}; trying again")
                time.sleep(min(_FIRST_PAUSE_S * 2**failures, _LONGEST_PAUSE_S))
                failures = min(failures + 1, _DOUBLINGS)
                continue
            if status != 200:
                _refused(answer)
            failures = 0
            self._forward_all(answer["data"])

    def _forward_all(self, fetched: list[dict[str, Any]]) -> None:
        # Daemons: a server that hangs does not keep the command from ending.
        self._forwarding = [
            Thread(target=self._forward, args=(each,), daemon=True) for each in fetched
        ]
        for thread in self._forwarding:
            thread.start()
        for thread in self._forwarding:
            thread.join()

    def _begin_again(self) -> None:
        status, answer = self._api.ask("POST", "/api/listen", json.dumps(self._asked).encode())
        if status != 201:
            _refused(answer)
        self._id = answer["id"]
        _say("the session had expired; a new one began, with the same secret")

    def _forward(self, fetched: dict[str, Any]) -> None:
        outcome = self._forwarder.post(fetched["headers"], fetched["body"].encode())
        shown = outcome.get("status_code", outcome.get("error"))
        note = "" if shown in _OK else "  failed, comes again by the schedule"
        if self._report({"receipt": fetched["receipt"], **outcome}) != "settled":
            note = "  reported too late, comes again"
        click.echo(
            f"{time.strftime('%H:%M:%S')}  {fetched['event_type']}  {fetched['event_id']}  "
            f"{shown}  {outcome['duration_ms']} ms{note}"
        )

    def _report(self, report: dict[str, Any]) -> str | None:
        body = json.dumps({"results": [report]}).encode()
        for attempt in range(_REPORT_TRIES):
            try:
                status, answer = self._api.ask("POST", f"/api/listen/{self._id}/settle", body)
            except NoService:
                status = 503
            if status == 200:
                settled: str = answer["results"][0]["status"]
                return settled
            if status < _UNAVAILABLE:
                return None
            time.sleep(_FIRST_PAUSE_S * (attempt + 1))
        return None

    def end(self) -> None:
        """Take the subscription away; what waits for it is cancelled."""
        until = time.monotonic() + _GRACE_S
        for thread in self._forwarding:
            thread.join(max(0.0, until - time.monotonic()))
        try:
            self._api.ask("DELETE", f"/api/subscriptions/{self._id}")
        except NoService as error:
            _say(f"{error}; the session ends by itself")


def _say(words: str) -> None:
    click.echo(f"triggers: {words}", err=True)


def _refused(answer: Any) -> NoReturn:  # noqa: ANN401 - JSON
    click.echo(json.dumps(answer), err=True)
    sys.exit(1)
