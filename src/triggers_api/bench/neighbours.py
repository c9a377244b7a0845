"""The ``neighbours`` profile: what endpoints that hang and endpoints that fail cost all others."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import msgspec

from triggers_api.bench.errors import RunFailed
from triggers_api.bench.loader import Arrivals, doubles
from triggers_api.bench.pipeline import await_routed, listening, url_of
from triggers_api.bench.receiver import BROKEN
from triggers_api.bench.run import Run
from triggers_api.bench.server import Api, Target
from triggers_api.bench.slices import Slice, noise
from triggers_api.bench.statistics import Latency, latency_of, median
from triggers_api.bench.targets import (
    NEIGHBOURS_INGEST_P99,
    NEIGHBOURS_P99,
    NEIGHBOURS_RATE,
    NOT_RECEIVED,
    Verdict,
    judge,
)

ENDPOINTS: Final = 100
HANGING: Final = 10
FAILING: Final = 5
TIMEOUT_S: Final = 5.0
"""How long a delivery waits for an endpoint that hangs."""
RATE: Final = 1000.0
"""Events a second while latency is measured: ten for each endpoint."""
EVENTS: Final = 10_000
"""That are sent at once while throughput is measured."""

_ROUNDS: Final = 3
_WARM_UP_EVENTS: Final = 500


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """One server with all its endpoints, measured once. Of the endpoints that are well in any case.

    Attributes:
        troubled: whether the others hang and fail, or are well, too.
        rate: their deliveries a second when all comes at once, from the first request to the last
            arrival.
        received: from the time an event was to be sent to its arrival, at a steady rate.
        ingest: from the same time to the answer.
        missing: accepted for them and not arrived.
        repeats: requests about an event that had arrived before.
        slices: of the steady rate, and of all at once.
    """

    troubled: bool
    rate: float
    received: Latency | None
    ingest: Latency | None
    missing: int
    repeats: int
    slices: list[Slice]


class Neighbours(msgspec.Struct, frozen=True, kw_only=True):
    """Rounds without trouble and with it, in turn, each on a new server.

    Attributes:
        rate_ratio: of the median rates, with trouble to without.
        received_ratio: of the median p99 from sending to arrival.
        ingest_ratio: of the median p99 from sending to the answer.
    """

    runs: list[Beside]
    rate_ratio: float
    received_ratio: float | None
    ingest_ratio: float | None
    verdicts: list[Verdict]


def measure_neighbours(run: Run) -> Neighbours:
    """Servers without and with endpoints in trouble, in turn.

    Raises:
        RunFailed: a server or the loader failed.
    """
    if run.options.url is not None:
        raise RunFailed("the profile neighbours measures servers of its own: leave out --url")
    runs = [
        _beside(run, f"neighbours-{number}{'-troubled' if troubled else ''}", troubled=troubled)
        for number in range(_ROUNDS)
        # Whoever goes first has the warmer machine: it is not always the same.
        for troubled in ((False, True) if number % 2 == 0 else (True, False))
    ]
    slices = [each for measured in runs for each in measured.slices]
    void, doubt = next((each.void for each in slices if each.void), ""), noise(slices)
    rate = _ratio([(each.troubled, each.rate) for each in runs])
    received = _ratio([(each.troubled, _p99(each.received)) for each in runs])
    ingest = _ratio([(each.troubled, _p99(each.ingest)) for each in runs])
    assert rate is not None
    return Neighbours(
        runs=runs,
        rate_ratio=rate,
        received_ratio=received,
        ingest_ratio=ingest,
        verdicts=[
            judge(NEIGHBOURS_RATE, rate, void=void, doubt=doubt),
            judge(NEIGHBOURS_P99, received, void=void, doubt=doubt),
            judge(NEIGHBOURS_INGEST_P99, ingest, void=void, doubt=doubt),
            judge(NOT_RECEIVED, sum(each.missing for each in runs)),
        ],
    )


def _p99(latency: Latency | None) -> float | None:
    return None if latency is None else latency.p99


def _ratio(measured: Sequence[tuple[bool, float | None]]) -> float | None:
    """Of the medians, with trouble to without."""
    sides: dict[bool, list[float]] = {False: [], True: []}
    for troubled, value in measured:
        if value is None:
            return None
        sides[troubled].append(value)
    return round(median(sides[True]) / median(sides[False]), 3)


def _beside(run: Run, name: str, *, troubled: bool) -> Beside:
    settings = {"TRIGGERS_DELIVERY_TIMEOUT_S": f"{TIMEOUT_S:g}"}
    with (
        run.server(name, settings=settings) as (target, api),
        listening(target) as well,
        _silent(target) as hanging,
    ):
        types = _subscribe(run, api, url_of(well), url_of(hanging), troubled=troubled)
        requests = [
            part for each in types for part in run.requests(target, event_type=each, count=1)
        ]
        healthy, all_of_them = ENDPOINTS - HANGING - FAILING, frozenset(range(ENDPOINTS))
        others = all_of_them - frozenset(range(healthy))
        # Not by the ones in trouble: what the first contact with them costs is to be measured.
        warm_up = run.plan(target, events=_WARM_UP_EVENTS, webhooks=0, requests=requests[:healthy])
        run.load("warming up", target, warm_up, listener=well)
        what = "beside trouble" if troubled else "without trouble"
        plan = run.plan(
            target,
            seconds=run.options.load_s,
            rate=RATE,
            webhooks=0,
            requests=requests,
            not_awaited=others,
        )
        steady, at_rate = run.load(f"{RATE:g}/s {what}", target, plan, listener=well)
        await_routed(api)
        plan = run.plan(
            target,
            events=run.options.events or EVENTS,
            webhooks=0,
            requests=requests,
            not_awaited=others,
        )
        burst, at_once = run.load(f"at once {what}", target, plan, listener=well)
    assert steady.arrivals is not None
    assert burst.arrivals is not None
    arrived: list[Arrivals] = [steady.arrivals, burst.arrivals]
    return Beside(
        troubled=troubled,
        rate=round(burst.arrivals.unique / (burst.arrivals.last_at - burst.started_at), 1),
        received=latency_of(doubles(steady.arrivals.latencies)),
        ingest=latency_of(doubles(steady.latencies)),
        missing=sum(
            load.awaited - arrivals.unique
            for load, arrivals in zip((steady, burst), arrived, strict=True)
        ),
        repeats=sum(each.repeats for each in arrived),
        slices=[at_rate, at_once],
    )


def _subscribe(run: Run, api: Api, well: str, hanging: str, *, troubled: bool) -> list[str]:
    """A subscription for each endpoint; returns the type of event that each wants, in their order."""
    healthy = ENDPOINTS - HANGING - FAILING
    types = []
    for number in range(ENDPOINTS):
        url = f"{well}{number}"
        if troubled and number >= healthy:
            url = (
                f"{hanging}{number}"
                if number < healthy + HANGING
                else f"{well}{BROKEN[1:]}{number}"
            )
        types.append(f"{run.event_type}.{number}")
        api.call("POST", "/api/subscriptions", {"url": url, "event_types": [types[-1]]})
    return types


@contextmanager
def _silent(target: Target) -> Iterator[socket.socket]:
    """A socket to which connections can be made, and from which no answer comes."""
    with ExitStack() as stack:
        listener = stack.enter_context(listening(target))
        # The system completes connections that nobody takes, as many as may wait.
        listener.listen(4096)
        yield listener
