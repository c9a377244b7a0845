"""``triggers top``."""

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from triggers_api.cli.operator import Operator, echo, operator_options, turned_line
from triggers_api.cli.queues import queue_lines

if TYPE_CHECKING:
    from rich.console import RenderableType


class _Look(msgspec.Struct, frozen=True):
    """What the service said at a moment of this machine's clock."""

    at: float
    health: dict[str, Any]
    queues: dict[str, Any]
    switches: list[dict[str, Any]]
    minutes: dict[str, Any]


@click.command(name="top")
@click.option("--once", is_flag=True, help="Print it once, and end.")
@click.option(
    "--interval", type=click.FloatRange(0.5, 60), default=1.0, show_default=True,
    help="Seconds between looks.",
)  # fmt: skip
@click.option(
    "--top", "limit", type=click.IntRange(1, 100), default=10, show_default=True,
    help="Organizations and subscriptions to show.",
)  # fmt: skip
@operator_options
def command(
    once: bool,  # noqa: FBT001 - click's
    interval: float,
    limit: int,
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """Watch the service: what waits and whose it is, what a minute brings, what is switched.

    On a terminal until Ctrl-C; elsewhere, with --once and with --json it is printed once.
    """
    operator = Operator(url, admin_key)
    look = _look(operator, limit)
    if once or as_json or not sys.stdout.isatty():
        everything = {name: getattr(look, name) for name in look.__struct_fields__ if name != "at"}
        echo(everything, *_lines(look, None), as_json=as_json)
        return
    # Imported here so that no other command waits for it.
    from rich.live import Live  # noqa: PLC0415

    try:
        with Live(_table(look, None), auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(interval)
                before, look = look, _look(operator, limit)
                live.update(_table(look, before), refresh=True)
    except KeyboardInterrupt:
        return


def _look(operator: Operator, limit: int) -> _Look:
    return _Look(
        time.monotonic(),
        operator.get("/api/health/detailed"),
        operator.get("/api/admin/queues", limit=limit),
        operator.get("/api/admin/switches")["data"],
        operator.get("/api/admin/stats"),
    )


def _lines(look: _Look, before: _Look | None) -> Iterator[str]:
    health = look.health
    workers = ", ".join(f"{each['id']} ({each['roles']})" for each in health["workers"])
    yield f"Triggers API {health['version']}  {health['status']}  {health['database']} database"
    yield f"processes   {workers or 'none was heard of'}"
    for each in look.switches:
        yield f"switched    {turned_line(each)}"
    yield from _minute(look)
    if before is not None:
        grew = look.queues["events"]["depth"] - before.queues["events"]["depth"]
        yield f"queue       {grew / (look.at - before.at):+.0f} events/s"
    yield from queue_lines(look.queues)


def _minute(look: _Look) -> Iterator[str]:
    """The last whole minute by the clock, and what there is of the present one."""
    *whole, present = look.minutes["series"]
    if whole:
        yield f"last minute {_counted(whole[-1])}"
    yield f"this minute {_counted(present)}"


def _counted(minute: dict[str, Any]) -> str:
    deliveries = minute["deliveries"]
    ended = ", ".join(f"{count} {state}" for state, count in deliveries.items() if count)
    p95 = minute["ingest_ms"]["p95"]
    return (
        f"{minute['accepted']} events accepted"
        f"{'' if p95 is None else f' (p95 {p95:.1f} ms)'}, {minute['routed']} routed, "
        f"deliveries: {ended or 'none'}"
    )


def _table(look: _Look, before: _Look | None) -> "RenderableType":
    from rich.text import Text  # noqa: PLC0415 - as above

    text = Text()
    for line in _lines(look, before):
        switched = line.startswith("switched")
        text.append(line + "\n", style="bold yellow" if switched else "")
    text.append(f"\n{time.strftime('%H:%M:%S')}  Ctrl-C to end", style="dim")
    return text
