"""``triggers queues``, ``process`` and ``requeue-stuck``."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import click

from triggers_api.cli.operator import Operator, echo, operator_options


@click.command(name="queues")
@click.option(
    "--top", "limit", type=click.IntRange(1, 1000), default=10, show_default=True,
    help="Organizations and subscriptions to show.",
)  # fmt: skip
@operator_options
def queues(
    limit: int,
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """Show what waits to be routed and to be sent, and who has the most of it."""
    answer = Operator(url, admin_key).get("/api/admin/queues", limit=limit)
    echo(answer, *queue_lines(answer), as_json=as_json)


@click.command(name="process")
@click.option("--once", is_flag=True, help="Route one batch, instead of all that waits.")
@operator_options
def process(
    once: bool,  # noqa: FBT001 - click's
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """Route what waits now, batch by batch, also while processing is paused."""
    operator = Operator(url, admin_key)
    counts: Counter[str] = Counter()
    while True:
        turned: dict[str, int] = operator.post("/api/admin/process")
        unfinished = turned.pop("unfinished")
        counts.update(turned)
        if once or not (turned["claimed"] or unfinished):
            break
    echo(
        counts,
        f"{counts['claimed']} events claimed, {counts['ok']} routed to {counts['deliveries']} "
        f"deliveries, {counts['error']} failed ({counts['set_aside']} set aside), "
        f"{counts['timeout']} not known, {counts['stale']} too late",
        as_json=as_json,
    )


@click.command(name="requeue-stuck")
@operator_options
def requeue_stuck(
    url: str,
    admin_key: str,
    as_json: bool,  # noqa: FBT001 - click's
) -> None:
    """Take back at once what workers hold whose leases ran out, as the sweep does now and then."""
    reaped = Operator(url, admin_key).post("/api/admin/requeue-stuck")
    echo(
        reaped,
        f"{reaped['events']} events and {reaped['deliveries']} deliveries taken back, "
        f"{reaped['cancelled']} cancelled, {reaped['mended']} lines mended",
        as_json=as_json,
    )


def queue_lines(answer: dict[str, Any]) -> Iterator[str]:
    """What waits, in words."""
    events, deliveries = answer["events"], answer["deliveries"]
    yield (
        f"events      {events['depth']} to be routed ({events['level']}), the oldest for "
        f"{events['oldest_age_s']:.1f} s, {events['leased']} in hand, {events['stuck']} stuck, "
        f"{events['scheduled']} scheduled{_in_redis(events)}"
    )
    yield (
        f"deliveries  {deliveries['waiting']} due now or later, {deliveries['leased']} being sent, "
        f"{deliveries['breakers_open']} endpoints left alone"
    )
    for each in answer["organizations"]:
        notes = [f"{each['stuck']} stuck"] if each["stuck"] else []
        notes += ["paused"] if each["paused"] else []
        yield (
            f"  {each['organization_id']}  {each['depth']} events, the oldest for "
            f"{each['oldest_age_s']:.1f} s{''.join(f', {note}' for note in notes)}  {each['name']}"
        )
    for each in answer["subscriptions"]:
        held = "" if each["delivery"] == "running" else f", {each['delivery']} by an operator"
        yield (
            f"  {each['subscription_id']}  {each['waiting']} deliveries, {each['due']} due, the "
            f"oldest for {each['oldest_age_s']:.1f} s, {each['leased']} being sent  "
            f"{each['status']}{held}"
        )
    if answer["events_counted"] < events["depth"] - events["buffered"]:
        yield f"  (of organizations: the {answer['events_counted']} events due the longest)"


def _in_redis(events: dict[str, Any]) -> str:
    said = ""
    if events["buffered"]:
        said += (
            f", {events['buffered']} still in Redis ({events['buffer_pending']} of them in hand)"
        )
    if events["buffer_poisoned"]:
        said += f", {events['buffer_poisoned']} set aside there (triggers poison)"
    return said
