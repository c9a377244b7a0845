"""The ``backlog`` profile: a million events that wait to be routed, and then are."""

import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

from triggers_api.bench.books import own_books
from triggers_api.bench.errors import RunFailed
from triggers_api.bench.run import Run, memory_mb, turn
from triggers_api.bench.server import Api, Target
from triggers_api.bench.slices import Slice, noise
from triggers_api.bench.statistics import median
from triggers_api.bench.targets import (
    BACKLOG_CONSTANT,
    BACKLOG_DRAINING_P99,
    BACKLOG_MEMORY,
    BACKLOG_WAITING_P99,
    NOT_ROUTED,
    REFUSED,
    Verdict,
    judge,
)

EVENTS: Final = 1_000_000

_BATCH: Final = 1000
_ROUNDS: Final = 5
_SETTLED_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.2
_SILENCE_S: Final = 60.0
_COUNT: Final = re.compile(r"^triggers_accepted_to_routed_seconds_count (\S+)$", re.MULTILINE)
_FIRST: Final = 0.12
"""The share of the events that drains by itself before the rounds of load: more than a tenth, because
they add to what a tenth is of."""
_KEPT: Final = 0.2
"""The share of the events that is left to drain by itself after the rounds of load."""
_NOBODY: Final = "http://127.0.0.1:9/"
_ROOM: Final = {
    "TRIGGERS_MAX_QUEUE_DEPTH": "100000000",
    "TRIGGERS_QUEUE_WARN_DEPTH": "100000000",
}


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """Events that waited, and how they went.

    Attributes:
        events: that waited when processing was resumed.
        stored_s: how long it took to store them.
        drain_rates: events routed a second in each tenth of them, as far as nothing else was asked of
            the server; ``None`` for a tenth with load beside it.
        constant: the smaller of the first tenth's rate and the last one's, as a share of the larger.
        waiting_ratio: of the median p99 of ingest with the backlog waiting, to that of a server with
            none, which routes what comes in.
        draining_ratio: the same while it is drained; the server with none is asked while that stands
            still.
        memory_mb: the most that the server had.
    """

    events: int
    stored_s: float
    drain_rates: list[float | None]
    constant: float
    waiting_ratio: float | None
    draining_ratio: float | None
    memory_mb: float
    slices: list[Slice]
    verdicts: list[Verdict]


class Look(NamedTuple):
    """How far a server was at a moment; ``quiet`` when nothing was asked of it since the last look."""

    at: float
    routed: float
    quiet: bool


class Drain:
    """What a server that routes its backlog is seen to do."""

    def __init__(self, target: Target, api: Api) -> None:
        """Begin to look."""
        self._target, self._api = target, api
        self._before = _routed(api)
        self.looks: list[Look] = []
        self.memory_mb = 0.0

    def look(self, *, quiet: bool) -> float:
        """Look once; returns how many events were routed."""
        routed = _routed(self._api) - self._before
        self.looks.append(Look(time.perf_counter(), routed, quiet))
        self.memory_mb = max(self.memory_mb, memory_mb(self._target) or 0.0)
        return routed

    def until(self, run: Run, what: str, count: float) -> None:
        """Look again and again until so many are routed.

        Raises:
            RunFailed: nothing is routed for a minute.
        """
        with run.progress.bar(what) as advance:
            last = first = self.look(quiet=False)
            moved_at = time.monotonic()
            while last < count:
                time.sleep(_LOOK_EVERY_S)
                routed = self.look(quiet=True)
                if routed > last:
                    last, moved_at = routed, time.monotonic()
                elif time.monotonic() - moved_at > _SILENCE_S:
                    raise RunFailed(f"after {last:,.0f} events nothing is routed any more")
                advance((last - first) / max(1.0, count - first))


def tenths(looks: Sequence[Look], total: float) -> list[float | None]:
    """The rate in each tenth of ``total`` events, interpolated between looks.

    ``None`` where something else went on, or nobody looked often enough.
    """
    return [_rate(looks, total * tenth / 10, total * (tenth + 1) / 10) for tenth in range(10)]


def _rate(looks: Sequence[Look], low: float, high: float) -> float | None:
    seconds = covered = 0.0
    for before, after in pairwise(looks):
        overlap = min(high, after.routed) - max(low, before.routed)
        if overlap <= 0:
            continue
        if not after.quiet:
            return None
        share = overlap / (after.routed - before.routed)
        seconds += share * (after.at - before.at)
        covered += overlap
    # A look comes a little after the first events are routed, and the last ones are a remainder.
    return None if covered < 0.8 * (high - low) else round(covered / seconds, 1)


def measure_backlog(run: Run) -> Backlog:
    """Store a backlog, measure ingest beside it, drain it, and measure ingest beside that.

    Raises:
        RunFailed: a server or a loader failed.
    """
    if run.options.url is not None:
        raise RunFailed("the profile backlog measures servers of its own: leave out --url")
    events = run.options.events or EVENTS
    slices: list[Slice] = []
    p99: dict[str, list[float]] = {what: [] for what in ("none", "waiting", "still", "draining")}

    def ingest(what: str, target: Target, label: str) -> int:
        plan = run.plan(target, seconds=run.options.load_s, rate=run.options.rate)
        load, measured = run.load(label, target, plan)
        slices.append(measured)
        if measured.latency is not None:
            p99[what].append(measured.latency.p99)
        return load.accepted

    with ExitStack() as stack:
        none, none_api = stack.enter_context(run.server("none", settings=_ROOM))
        full, full_api = stack.enter_context(run.server("backlog", settings=_ROOM))
        turn(full_api, processing="paused")
        for api in (none_api, full_api):
            turn(api, delivery="paused")
            _subscribe(run, api)
        stored_s = _fill(run, full_api, events)
        ingest("none", none, "warming up")
        ingest("waiting", full, "warming up")
        for ratio in p99.values():
            ratio.clear()
        slices.clear()
        total = events + round(run.options.load_s * run.options.rate)
        for _ in range(_ROUNDS):
            ingest("none", none, "ingest, nothing waits")
            total += ingest("waiting", full, "ingest, a backlog waits")

        drain = Drain(full, full_api)
        turn(full_api, processing="running")
        drain.until(run, "the first tenth", total * _FIRST)
        for _ in range(_ROUNDS):
            turn(full_api, processing="paused")
            run.pause("what is left to be written", _SETTLED_S / 4)
            ingest("still", none, "ingest, nothing waits")
            turn(full_api, processing="running")
            began = drain.look(quiet=False)
            total += ingest("draining", full, "ingest, a backlog is drained")
            routed = drain.look(quiet=False)
            if total - routed - (routed - began) < total * _KEPT:
                break  # the last tenth is to be drained by itself
        drain.until(run, "all that is left", total)
        books = own_books(full_api)
    rates = tenths(drain.looks, total)
    first, last = rates[0], rates[-1]
    if first is None or last is None:
        raise RunFailed(f"of {events:,} events too few were drained without load: give more")
    constant = round(min(first, last) / max(first, last), 3)
    waiting, draining = _ratio(p99["waiting"], p99["none"]), _ratio(p99["draining"], p99["still"])
    void, doubt = next((each.void for each in slices if each.void), ""), noise(slices)
    usual = "" if events == EVENTS else f"the target is for {EVENTS:,} events"
    return Backlog(
        events=events,
        stored_s=round(stored_s, 1),
        drain_rates=rates,
        constant=constant,
        waiting_ratio=waiting,
        draining_ratio=draining,
        memory_mb=round(drain.memory_mb, 1),
        slices=slices,
        verdicts=[
            judge(BACKLOG_CONSTANT, constant, unjudged=usual, doubt=doubt),
            judge(BACKLOG_WAITING_P99, waiting, void=void, unjudged=usual, doubt=doubt),
            judge(BACKLOG_DRAINING_P99, draining, void=void, unjudged=usual, doubt=doubt),
            judge(BACKLOG_MEMORY, round(drain.memory_mb, 1), unjudged=usual),
            judge(REFUSED, sum(each.failed for each in slices)),
            judge(NOT_ROUTED, books.queued + (0 if books.ok else 1) + abs(books.accepted - total)),
        ],
    )


def _subscribe(run: Run, api: Api) -> None:
    # Not sent to: its deliveries are made, and wait.
    api.call("POST", "/api/subscriptions", {"url": _NOBODY, "event_types": [run.event_type]})


def _fill(run: Run, api: Api, events: int) -> float:
    payload = "x" * (run.options.payload_bytes - 2)
    began = time.monotonic()
    with run.progress.bar(f"storing {events:,} events") as advance:
        for start in range(0, events, _BATCH):
            count = min(_BATCH, events - start)
            batch = [{"type": run.event_type, "payload": payload}] * count
            answer = api.call("POST", "/api/events/batch", {"events": batch})
            if answer["accepted"] != count:
                raise RunFailed(f"of a batch of {count} only {answer['accepted']} were accepted")
            advance((start + count) / events)
    stored_s = time.monotonic() - began
    run.pause("what is left to be written", _SETTLED_S)
    return stored_s


def _routed(api: Api) -> float:
    _, content = api.ask("GET", "/metrics")
    found = _COUNT.search(content.decode())
    return 0.0 if found is None else float(found[1])


def _ratio(with_: Sequence[float], without: Sequence[float]) -> float | None:
    if not with_ or not without:
        return None
    return round(median(with_) / median(without), 3)
