"""``triggers status``."""

import sys
from collections.abc import Iterator
from typing import Any, Final

import click

from triggers_api.cli.api import Api, key_text, url_option
from triggers_api.cli.operator import Operator, echo, turned_line
from triggers_api.cli.queues import queue_lines

WARNING: Final = 1
CRITICAL: Final = 2


@click.command(name="status")
@click.option(
    "--check", is_flag=True,
    help="Exit with 0 when all is well, 1 for a warning, 2 for what is critical, 3 without an answer.",
)  # fmt: skip
@url_option
@click.option(
    "--admin-key", envvar="TRIGGERS_ADMIN_KEY", callback=lambda *given: given[2] and key_text(*given),
    help="An operator's key, for more than the level. [env: TRIGGERS_ADMIN_KEY]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what the API answers.")
def command(
    check: bool,  # noqa: FBT001 - click's
    url: str,
    admin_key: str | None,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """Say how the service is: ready, how much waits, what is switched, and by whom.

    The level is normal up to 100 waiting events, a warning up to queue_warn_depth or with any that is
    stuck, and critical above; a service that is not ready is critical, one that drains a warning.
    """
    status, ready = Api(url, admin_key or "").call("GET", "/readyz")
    if not isinstance(ready, dict) or "queue" not in ready:
        click.echo(f"triggers: what answers at {url} is not this service", err=True)
        sys.exit(3)
    more = _more(url, admin_key)
    code = _code(status, ready)
    level = ("ok", "warning", "critical")[code]
    echo({"level": level, **ready, **more}, *_lines(level, status, ready, more), as_json=as_json)
    sys.exit(code if check else 0)


def _more(url: str, admin_key: str | None) -> dict[str, Any]:
    """What an operator's key shows."""
    if admin_key is None:
        return {}
    operator = Operator(url, admin_key)
    return {
        "queues": operator.get("/api/admin/queues", limit=5),
        "switches": operator.get("/api/admin/switches")["data"],
    }


def _code(status: int, ready: dict[str, Any]) -> int:
    faults = _faults(ready)
    level = ready["queue"]["level"]
    if level == "critical" or set(faults) - {"accepting"} or (status != 200 and not faults):
        return CRITICAL
    return WARNING if level == "warning" or faults else 0


def _faults(ready: dict[str, Any]) -> dict[str, str]:
    return {name: state for name, state in ready["checks"].items() if state != "ok"}


def _lines(level: str, status: int, ready: dict[str, Any], more: dict[str, Any]) -> Iterator[str]:
    queue = ready["queue"]
    yield (
        f"{level}: {queue['depth']} events wait ({queue['level']}), the oldest for "
        f"{queue['oldest_age_s']:.1f} s, {queue['stuck']} stuck"
    )
    faults = ", ".join(f"{name} is {state}" for name, state in _faults(ready).items())
    yield f"ready       {'yes' if status == 200 else f'no: {faults}'}"
    if not more:
        return
    yield from queue_lines(more["queues"])
    for each in more["switches"]:
        yield f"switched    {turned_line(each)}"
    if not more["switches"]:
        yield "switched    nothing: every switch is at its default"
