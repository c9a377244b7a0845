"""``triggers drain`` and ``triggers undrain``."""

import sys
import time
from typing import Any, Final

import click

from triggers_api.cli.operator import (
    REFUSED,
    Duration,
    Operator,
    echo,
    operator_options,
    turn_options,
)

_PATH: Final = "/api/admin/drain"
_EVERY_S: Final = 0.5
_SAY_EVERY_S: Final = 5.0


@click.command(name="drain")
@click.option("--wait", is_flag=True, help="Return when nothing is left to be done now.")
@click.option(
    "--timeout", type=Duration(), metavar="TIME",
    help="With --wait: give up after this time, with exit code 1; it goes on draining.",
)  # fmt: skip
@turn_options
@operator_options
def drain(
    wait: bool,  # noqa: FBT001 - click's
    timeout: int | None,
    reason: str | None,
    seconds: int | None,
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """Refuse what comes in, with 503, and finish what was accepted, until `triggers undrain`.

    What is to be tried again later may remain, and what waits for a subscription that is not sent to.
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout goes with --wait")
    operator = Operator(url, admin_key)
    body: dict[str, Any] = {"reason": reason, "expires_in_s": seconds}
    state = operator.post(_PATH, {name: each for name, each in body.items() if each is not None})
    began = said = time.monotonic()
    while wait and not state["drained"]:
        now = time.monotonic()
        if timeout is not None and now - began >= timeout:
            said_now = f"{_done(state)}{_left(state)}"
            click.echo(f"triggers: not drained after {timeout} s: {said_now}", err=True)
            sys.exit(REFUSED)
        if now - said >= _SAY_EVERY_S:
            said = now
            click.echo(f"draining: {_done(state)}{_left(state)}", err=True)
        time.sleep(_EVERY_S)
        state = operator.get(_PATH)
        if not state["draining"]:
            click.echo(
                "triggers: the drain is over: somebody ended it, or its time was up", err=True
            )
            sys.exit(REFUSED)
    said_now = "drained" if state["drained"] else "draining"
    echo(state, f"{said_now}: {_left(state)}", as_json=as_json)


@click.command(name="undrain")
@click.option("--reason", help="Why; on record.")
@operator_options
def undrain(
    reason: str | None,
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """Take events in again after a drain."""
    body = {} if reason is None else {"reason": reason}
    state = Operator(url, admin_key).post("/api/admin/undrain", body)
    echo(state, f"events are taken in again; {_left(state)}", as_json=as_json)


def _done(state: dict[str, Any]) -> str:
    total, done, eta_s = (state.get(each) for each in ("total", "done", "eta_s"))
    if not total:
        return ""
    words = f"{done} of {total} done"
    return f"{words}; " if eta_s is None else f"{words}, {eta_s:.0f} s to go at this rate; "


def _left(state: dict[str, Any]) -> str:
    return (
        f"{state['depth']} events to be routed, {state['deliveries_leased']} deliveries being sent, "
        f"{state['deliveries_waiting']} due now or later, {state['scheduled']} events scheduled"
    )
