"""The ``order`` profile: deliveries in the order of their keys beside deliveries in no order."""

from typing import Final

import msgspec

from triggers_api.bench.errors import RunFailed
from triggers_api.bench.pipeline import await_settled, listening, url_of
from triggers_api.bench.run import Run
from triggers_api.bench.slices import Slice, noise
from triggers_api.bench.statistics import median
from triggers_api.bench.targets import NOT_RECEIVED, ORDER_RATIO, Verdict, judge

KEYS: Final = 1_000
EVENTS: Final = 10_000

_ROUNDS: Final = 3
_WARM_UP_EVENTS: Final = 500


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Rounds in no order and in order, in turn, each on a new server.

    Attributes:
        keys: different ones, in turn.
        rates: deliveries in no order a second, from the first request until all is settled.
        ordered_rates: the same of those in order.
        ratio: of the medians.
    """

    keys: int
    rates: list[float]
    ordered_rates: list[float]
    ratio: float
    slices: list[Slice]
    verdicts: list[Verdict]


def measure_order(run: Run) -> Order:
    """Servers with and without an order, in turn.

    Raises:
        RunFailed: a server or the loader failed.
    """
    if run.options.url is not None:
        raise RunFailed("the profile order measures servers of its own: leave out --url")
    rates: dict[str, list[float]] = {"none": [], "key": []}
    slices, missing = [], 0
    for number in range(_ROUNDS):
        # Whoever goes first has the warmer machine: it is not always the same.
        for ordering in ("none", "key") if number % 2 == 0 else ("key", "none"):
            rate, measured, left = _once(run, f"order-{number}-{ordering}", ordering)
            rates[ordering].append(rate)
            slices.append(measured)
            missing += left
    ratio = round(median(rates["key"]) / median(rates["none"]), 3)
    void = next((each.void for each in slices if each.void), "")
    return Order(
        keys=KEYS,
        rates=rates["none"],
        ordered_rates=rates["key"],
        ratio=ratio,
        slices=slices,
        verdicts=[
            judge(ORDER_RATIO, ratio, void=void, doubt=noise(slices)),
            judge(NOT_RECEIVED, missing),
        ],
    )


def _once(run: Run, name: str, ordering: str) -> tuple[float, Slice, int]:
    """Rate, what the loader saw, and how many events did not arrive."""
    with run.server(name) as (target, api), listening(target) as listener:
        asked = {"url": url_of(listener), "event_types": [run.event_type], "ordering": ordering}
        subscription = api.call("POST", "/api/subscriptions", asked)
        requests = [
            part
            for number in range(KEYS)
            for part in run.requests(target, event_key=f"key-{number}", count=1)
        ]
        warm_up = run.plan(target, events=_WARM_UP_EVENTS, webhooks=0, requests=requests)
        run.load("warming up", target, warm_up, listener=listener)
        await_settled(api, subscription["id"])
        events = run.options.events or EVENTS
        plan = run.plan(target, events=events, webhooks=0, requests=requests)
        what = "by key" if ordering == "key" else "in no order"
        load, measured = run.load(what, target, plan, listener=listener)
        settled_at = await_settled(api, subscription["id"])
    assert load.arrivals is not None
    rate = round(load.arrivals.unique / (settled_at - load.started_at), 1)
    return rate, measured, load.accepted - load.arrivals.unique
