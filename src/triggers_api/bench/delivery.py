"""The ``delivery`` profile: a backlog delivered by one process, beside a loop that only posts."""

import time
from typing import Final

import msgspec

from triggers_api.bench.books import own_books
from triggers_api.bench.errors import RunFailed
from triggers_api.bench.pipeline import await_routed, await_settled, listening, url_of
from triggers_api.bench.run import Run, turn
from triggers_api.bench.sink import await_received, sink
from triggers_api.bench.statistics import median
from triggers_api.bench.targets import DELIVERY_RATIO, NOT_SETTLED, Verdict, judge

EVENTS: Final = 30_000
"""In each backlog: some seconds' worth, as how long it takes to begin and end is no part of a rate."""

_ROUNDS: Final = 3
_WARM_UP_EVENTS: Final = 1_000
_AT_ONCE: Final = 50
"""Requests under way: what ``TRIGGERS_DELIVERY_CONCURRENCY`` is by default."""
_ENVELOPE: Final = 110
"""Bytes around a payload in the format ``standard``: both post bodies of the same size."""
_RECEIVED_WITHIN_S: Final = 30.0


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Rounds of a backlog and of the bare loop, in turn, on one core, to one receiver on another.

    Attributes:
        events: of each round, by each of the two.
        rates: claimed, signed, delivered and settled a second, from the switch being turned until all
            is settled.
        bare_rates: posts a second of the bare loop.
        ratio: of the medians.
        ratios: round by round.
        unsettled: deliveries that did not succeed.
    """

    events: int
    rates: list[float]
    bare_rates: list[float]
    ratio: float
    ratios: list[float]
    unsettled: int
    verdicts: list[Verdict]


def measure_delivery(run: Run) -> Delivery:
    """A server whose deliveries are held back until there are many, and a loop beside it.

    Raises:
        RunFailed: a server, the loader or the loop failed.
    """
    if run.options.url is not None:
        raise RunFailed("the profile delivery measures a server of its own: leave out --url")
    events = run.options.events or EVENTS
    rates, bare_rates, unsettled = [], [], 0
    with (
        run.server("delivery") as (target, api),
        listening(target) as listener,
        sink(listener) as received,
    ):
        url = url_of(listener)
        subscription = api.call(
            "POST", "/api/subscriptions", {"url": url, "event_types": [run.event_type]}
        )
        for count in (_WARM_UP_EVENTS, *[events] * _ROUNDS):
            bare_rates.append(count / _bare_s(run, url, count))
            turn(api, delivery="paused")
            load, _ = run.load("storing a backlog", target, run.plan(target, events=count))
            await_routed(api)
            before, came = own_books(api).succeeded, received()
            began = time.monotonic()
            with run.progress.bar("delivering it"):
                turn(api, delivery="running")
                # What asks the server is not part of what it is to do: only for the last few.
                await_received(received, came + load.accepted, within_s=_RECEIVED_WITHIN_S)
                settled_at = await_settled(api, subscription["id"])
            unsettled += load.accepted - (own_books(api).succeeded - before)
            rates.append(count / (settled_at - began))
    rates, bare_rates = rates[1:], bare_rates[1:]
    ratio = round(median(rates) / median(bare_rates), 3)
    return Delivery(
        events=events,
        rates=[round(each, 1) for each in rates],
        bare_rates=[round(each, 1) for each in bare_rates],
        ratio=ratio,
        ratios=[round(ours / bare, 3) for ours, bare in zip(rates, bare_rates, strict=True)],
        unsettled=unsettled,
        verdicts=[judge(DELIVERY_RATIO, ratio), judge(NOT_SETTLED, unsettled)],
    )


def _bare_s(run: Run, url: str, requests: int) -> float:
    """How long the bare loop takes for so many posts."""
    size = run.options.payload_bytes + _ENVELOPE
    return run.ceiling_s("the bare loop", "triggers_api.bench.bare", url, requests, _AT_ONCE, size)
