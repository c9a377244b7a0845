"""The HTTP API, for commands that ask a running service."""

import http.client
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click

F = TypeVar("F", bound=Callable[..., Any])

UNREACHABLE: Final = 3


class NoService(Exception):
    """Nothing answers, or something else."""


class Api:
    """The HTTP API, as a command line needs it."""

    def __init__(self, url: str, key: str, *, timeout_s: float = 30) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        # No proxy from the environment: the service is usually on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Status and decoded body; ends the process when no such service answers."""
        try:
            return self.ask(method, path, body)
        except NoService as error:
            click.echo(f"triggers: {error}", err=True)
            sys.exit(UNREACHABLE)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Status and decoded body, ``None`` for none.

        Raises:
            NoService: no such service answers.
        """
        status, answer = self._sent(method, path, body)
        try:
            return status, _decoded(answer)
        except ValueError:
            raise self._somebody_else() from None

    def text(self, path: str) -> str:
        """What is shown at a path, which is no JSON.

        Raises:
            NoService: no such service answers.
        """
        status, answer = self._sent("GET", path, None)
        if status != 200:
            raise self._somebody_else()
        return answer.decode(errors="replace")

    def _sent(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        request = urllib.request.Request(  # noqa: S310 - the user's own URL
            self._url + path, data=body, headers=self._headers, method=method
        )
        try:
            try:
                with self._opener.open(request, timeout=self._timeout_s) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise NoService(f"no answer from {self._url}: {reason}") from None
        except (http.client.HTTPException, ValueError):
            raise self._somebody_else() from None

    def _somebody_else(self) -> NoService:
        return NoService(f"what answers at {self._url} is not this service")


def _decoded(body: bytes) -> Any:  # noqa: ANN401 - JSON
    if not body:
        return None
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("the API answers with objects")  # noqa: TRY004 - as for what is no JSON
    return document


def address(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """A URL that begins as a service's does."""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise click.BadParameter(f"{value!r} does not begin with http://host or https://host")
    return value


def key_text(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """A key as a header can carry it."""
    if not (value.isascii() and value.isprintable() and value):
        raise click.BadParameter("not a key: printable ASCII characters are expected")
    return value


def url_option(command: F) -> F:
    """Adds ``--url``: which service."""
    return click.option(
        "--url", envvar="TRIGGERS_URL", default="http://127.0.0.1:8000", show_default=True,
        callback=address, help="The service. [env: TRIGGERS_URL]",
    )(command)  # fmt: skip


def service_options(command: F) -> F:
    """Adds ``--url`` and ``--api-key``: which service, and as whom."""
    key = click.option(
        "--api-key", envvar="TRIGGERS_API_KEY", required=True, callback=key_text,
        help="[env: TRIGGERS_API_KEY]",
    )  # fmt: skip
    return url_option(key(command))
