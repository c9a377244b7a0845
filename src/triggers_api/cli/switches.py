"""``triggers pause``, ``resume``, ``mode``, ``refuse``, ``skip`` and ``tune``."""

from typing import Final

import click

from triggers_api.cli.operator import (
    Operator,
    echo_controls,
    operator_options,
    turn_options,
    whose_options,
)

_WAITS: Final = click.Choice(("processing", "delivery"))
_MOST: Final = 10_000


class _NumberOrDefault(click.ParamType[int]):
    """A whole number, or ``default`` for what the settings say, which is ``0`` here."""

    name = "number"

    def __init__(self, most: int) -> None:
        self._range = click.IntRange(1, most)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        return 0 if value == "default" else self._range(value, param, ctx)


def _only_delivery(what: str | None, subscription: str | None) -> None:
    if subscription is not None and what == "processing":
        raise click.UsageError("a subscription has deliveries only")


@click.command(name="pause")
@click.argument("what", type=_WAITS, required=False)
@whose_options
@turn_options
@operator_options
def pause(
    what: str | None,
    organization: str | None,
    subscription: str | None,
    reason: str | None,
    seconds: int | None,
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """Have events wait to be routed (processing, the default), or deliveries to be sent (delivery).

    Nothing is lost: events go on being accepted. For a subscription it is its deliveries.
    """
    _only_delivery(what, subscription)
    switch = what or ("processing" if subscription is None else "delivery")
    answer = Operator(url, admin_key).turn(
        {switch: "paused"},
        organization=organization,
        subscription=subscription,
        reason=reason,
        seconds=seconds,
    )
    echo_controls(answer, as_json=as_json)


@click.command(name="resume")
@click.argument("what", type=_WAITS, required=False)
@whose_options
@turn_options
@operator_options
def resume(
    what: str | None,
    organization: str | None,
    subscription: str | None,
    reason: str | None,
    seconds: int | None,
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """Route events (processing) and send deliveries (delivery) again, or both."""
    _only_delivery(what, subscription)
    both = ("processing", "delivery") if subscription is None else ("delivery",)
    answer = Operator(url, admin_key).turn(
        dict.fromkeys((what,) if what else both),
        organization=organization,
        subscription=subscription,
        reason=reason,
        seconds=seconds,
    )
    echo_controls(answer, as_json=as_json)


@click.command(name="mode")
@click.argument("how", type=click.Choice(("async", "sync", "default")))
@click.option("--organization", metavar="ID", help="Only of this one.")
@turn_options
@operator_options
def mode(
    how: str,
    organization: str | None,
    reason: str | None,
    seconds: int | None,
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """Route events after their answer (async, 202) or before it (sync, 201); ends refuse, too.

    `default` leaves it to what holds otherwise: an organization's to the service's, the service's to
    async.
    """
    answer = Operator(url, admin_key).turn(
        {"ingest": None if how == "default" else how},
        organization=organization,
        reason=reason,
        seconds=seconds,
    )
    echo_controls(answer, as_json=as_json)


@click.command(name="refuse")
@click.option("--organization", metavar="ID", help="Only of this one.")
@turn_options
@operator_options
def refuse(
    organization: str | None,
    reason: str | None,
    seconds: int | None,
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """Answer every event with 503 until `triggers mode`; what was accepted goes on."""
    answer = Operator(url, admin_key).turn(
        {"ingest": "refuse"}, organization=organization, reason=reason, seconds=seconds
    )
    echo_controls(answer, as_json=as_json)


@click.command(name="skip")
@whose_options
@turn_options
@operator_options
def skip(
    organization: str | None,
    subscription: str | None,
    reason: str | None,
    seconds: int | None,
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """End deliveries unsent, as skipped, until `triggers resume delivery`."""
    answer = Operator(url, admin_key).turn(
        {"delivery": "skip"},
        organization=organization,
        subscription=subscription,
        reason=reason,
        seconds=seconds,
    )
    echo_controls(answer, as_json=as_json)


@click.command(name="tune")
@click.option(
    "--concurrency", type=_NumberOrDefault(_MOST), metavar="N|default",
    help="Transactions in which a batch is routed at once.",
)  # fmt: skip
@click.option(
    "--batch-size", type=_NumberOrDefault(_MOST), metavar="N|default",
    help="Events claimed at once.",
)  # fmt: skip
@click.option(
    "--min-poll-ms", type=_NumberOrDefault(60_000), metavar="N|default",
    help="The shortest pause between looks at the queue.",
)  # fmt: skip
@turn_options
@operator_options
def tune(
    concurrency: int | None,
    batch_size: int | None,
    min_poll_ms: int | None,
    reason: str | None,
    seconds: int | None,
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """Change how events are routed while the service runs; `default` puts the setting back.

    Without an option it shows what is in force.
    """
    given = {"concurrency": concurrency, "batch_size": batch_size, "min_poll_ms": min_poll_ms}
    switches = {name: value or None for name, value in given.items() if value is not None}
    operator = Operator(url, admin_key)
    if switches:
        answer = operator.turn(switches, reason=reason, seconds=seconds)
    elif reason is not None or seconds is not None:
        raise click.UsageError("nothing is tuned: name an option with a number, or default")
    else:
        answer = operator.get("/api/admin/controls")
    echo_controls(answer, as_json=as_json)
