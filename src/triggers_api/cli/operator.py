"""What the commands of operators have in common: who asks, for how long, and how switches are told."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import click

from triggers_api.cli.api import Api, key_text, url_option

F = TypeVar("F", bound=Callable[..., Any])

REFUSED: Final = 1
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_PARTS: Final = re.compile(r"(?:\d+[smhd])+|\d+")


class Duration(click.ParamType[int]):
    """Whole seconds, as ``90``, ``15m``, ``2h`` or ``1d12h``."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        if not isinstance(value, str) or not _PARTS.fullmatch(value):
            self.fail(f"{value!r} is no duration, as 90, 15m, 2h or 1d12h", param, ctx)
        parts = re.findall(r"(\d+)([smhd]?)", value)
        return sum(int(number) * _UNITS[unit] for number, unit in parts)


def operator_options(command: F) -> F:
    """Adds ``--url``, ``--admin-key`` and ``--json``: which service, as which operator."""
    key = click.option(
        "--admin-key", envvar="TRIGGERS_ADMIN_KEY", required=True, callback=key_text,
        help="An operator's key. [env: TRIGGERS_ADMIN_KEY]",
    )  # fmt: skip
    as_json = click.option("--json", "as_json", is_flag=True, help="Print the answer of the API.")
    return as_json(url_option(key(command)))


def whose_options(command: F) -> F:
    """Adds ``--organization`` and ``--subscription``: whose switches."""
    organization = click.option("--organization", metavar="ID", help="Only of this one.")
    subscription = click.option("--subscription", metavar="ID", help="Only of this one.")
    return organization(subscription(command))


def turn_options(command: F) -> F:
    """Adds ``--reason`` and ``--for``: why, and how long."""
    reason = click.option("--reason", help="Why; shown wherever the switch is.")
    seconds = click.option(
        "--for", "seconds", type=Duration(), metavar="TIME",
        help="Go back after this time: 90, 15m, 2h, 1d.",
    )  # fmt: skip
    return reason(seconds(command))


class Operator:
    """The routes of operators, as a command line needs them: what is refused ends the process."""

    def __init__(self, url: str, key: str) -> None:
        self._api = Api(url, key)

    def get(self, path: str, **query: object) -> Any:  # noqa: ANN401 - JSON
        """The answer to a ``GET``."""
        return self.call("GET", path, query=query)

    def post(self, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """The answer to a ``POST``."""
        return self.call("POST", path, {} if body is None else body)

    def turn(
        self,
        switches: Mapping[str, object],
        *,
        organization: str | None = None,
        subscription: str | None = None,
        reason: str | None = None,
        seconds: int | None = None,
    ) -> Any:  # noqa: ANN401 - JSON
        """Turn switches; the answer is what is in force then."""
        body = dict(switches)
        if reason is not None:
            body["reason"] = reason
        if seconds is not None:
            body["expires_in_s"] = seconds
        query = {"organization_id": organization, "subscription_id": subscription}
        return self.call("PATCH", "/api/admin/controls", body, query=query)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, object] | None = None,
    ) -> Any:  # noqa: ANN401 - JSON
        """The answer to a request, ``None`` when it has no body."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        where = f"{path}?{urlencode(given)}" if given else path
        sent = None if body is None else json.dumps(body).encode()
        status, answer = self._api.call(method, where, sent)
        if status >= 300:
            click.echo(f"triggers: {_problem(status, answer)}", err=True)
            sys.exit(REFUSED)
        return answer


def _problem(status: int, answer: Any) -> str:  # noqa: ANN401 - JSON
    if not isinstance(answer, dict):
        return f"the service answered {status}"
    said = answer.get("detail") or answer.get("title") or answer.get("code")
    faults = [f"{each['pointer']} {each['message']}" for each in answer.get("errors") or ()]
    return "; ".join([f"{status} {answer.get('code')}: {said}", *faults])


def echo(answer: object, *lines: str, as_json: bool) -> None:
    """Print what the API answered, or in words."""
    click.echo(json.dumps(answer) if as_json else "\n".join(lines))


def echo_controls(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print the switches of a scope as they are now."""
    echo(answer, *controls_lines(answer), as_json=as_json)


def controls_lines(answer: dict[str, Any]) -> Iterator[str]:
    """The switches in force for a scope, one on each line."""
    whose = answer["subscription_id"] or answer["organization_id"] or "the service"
    yield f"switches of {whose}:"
    forced = answer["forced_by"] or {}
    for name in ("ingest", "processing", "delivery", "concurrency", "batch_size", "min_poll_ms"):
        value = "by the settings" if answer[name] is None else answer[name]
        turn = answer["turned"].get(name)
        note = ""
        if name in forced:
            note = f"  forced by {forced[name]}"
        elif turn is not None:
            note = f"  {turn_note(turn)}"
        yield f"  {name:<12} {value}{note}"
    if answer["draining"]:
        turn = answer["turned"].get("drain")
        yield f"  {'drain':<12} draining{'' if turn is None else '  ' + turn_note(turn)}"


def turned_lines(turned: list[dict[str, Any]]) -> list[str]:
    """Each switch that is not at its default, with whose it is, who turned it, when and why."""
    return [turned_line(each) for each in turned]


def turned_line(each: Mapping[str, Any]) -> str:
    """One switch that is not at its default."""
    whose = each["subscription_id"] or each["organization_id"]
    of = "" if whose is None else f" of {whose}"
    value = "by default" if each["value"] is None else each["value"]
    if each["forced_by"] is not None:
        return f"{each['switch']}{of} is {value}: forced by {each['forced_by']}"
    what = "the service" if each["switch"] == "drain" else f"{each['switch']}{of}"
    return f"{what} is {value}: {turn_note(each)}"


def turn_note(turn: Mapping[str, Any]) -> str:
    """By whom, since when, how long and why."""
    note = f"since {turn['updated_at']} by {turn['updated_by']}"
    if turn["expires_at"] is not None:
        note += f", until {turn['expires_at']}"
    return note if turn["reason"] is None else f"{note}, {turn['reason']!r}"
