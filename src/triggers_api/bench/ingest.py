"""The ``ingest`` profile: durable single-event POSTs beside the ceiling of the same server software."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

import msgspec

from triggers_api.bench.books import Account, Accounting, read_books, verdicts_on
from triggers_api.bench.errors import RunFailed
from triggers_api.bench.run import USUAL_CONCURRENCY, Mode, Run, memory_mb, turn
from triggers_api.bench.server import Api, Target
from triggers_api.bench.slices import Slice, noise
from triggers_api.bench.statistics import Latency, median, median_latency
from triggers_api.bench.targets import (
    INGEST_P95,
    INGEST_P99,
    INGEST_RATIO,
    POSTGRES_P99,
    POSTGRES_RATE,
    Verdict,
    judge,
)

ECHO: Final = "echo"
INGEST: Final = "ingest"
PAUSED: Final = "ingest, processing paused"
EXACT: Final = "ingest, each answer counted"

_ROUNDS: Final = 5
_WARM_UP_S: Final = 0.5
_EXACT_S: Final = 1.0
_EMPTY_WITHIN_S: Final = 120.0
_BLIND_REST_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.1


class Ingest(msgspec.Struct, frozen=True, kw_only=True):
    """Durable single-event POSTs in a closed loop.

    Attributes:
        echo_rate, ingest_rate, paused_rate: medians of the slices' rates.
        ratio: of ``ingest_rate`` to ``echo_rate``.
        ratios: the same for each round.
        paused_ratio: of ``paused_rate`` to ``echo_rate``.
        cpu_ratio: of the medians of requests for each second of CPU. It is the ratio on a machine
            where nothing else runs and nothing is waited for.
        raw_rates: rows that bare inserts of the same rows by ``unnest`` reached in each round, on
            PostgreSQL.
        raw_ratio: of ``ingest_rate`` to their median.
        latency: the median of each of the ingest slices' numbers.
        left_to_route: events that waited to be routed at the end of each ingest slice.
        resident_mb: the server's memory at the end.
    """

    connections: int
    echo_rate: float | None
    ingest_rate: float
    paused_rate: float | None
    ratio: float | None
    ratios: list[float]
    paused_ratio: float | None
    cpu_ratio: float | None
    raw_rates: list[float]
    raw_ratio: float | None
    latency: Latency | None
    left_to_route: list[int]
    slices: list[Slice]
    accounting: Accounting
    resident_mb: float | None
    verdicts: list[Verdict]


def measure_ingest(run: Run) -> Ingest:
    """Short slices in rounds, the ceiling's among them: what disturbs one disturbs its neighbour.

    Raises:
        RunFailed: a server or a loader failed.
    """
    with ExitStack() as stack:
        target, api = stack.enter_context(run.server("ingest"))
        echo = None
        if target.is_own:
            echo = stack.enter_context(run.echo())
        else:
            run.progress.say(
                "ingest: beside a given server no echo is measured, so there is no ceiling"
            )
        account = Account(api)
        measuring = _Measuring(run, target, api, account)
        measuring.warm_up(echo)
        for _ in range(_ROUNDS):
            if echo is not None:
                measuring.slice(ECHO, echo)
            measuring.slice(INGEST, target)
            if target.is_own and run.options.mode is Mode.ASYNC:
                measuring.paused_slice()
            measuring.raw_slice()
        if run.wrk is not None:
            measuring.exact_slice()
        accounting, memory = account.close(), memory_mb(target)
    return _conclude(
        run,
        measuring.slices,
        left_to_route=measuring.left_to_route,
        raw_rates=measuring.raw_rates,
        accounting=accounting,
        resident_mb=memory,
        is_own=target.is_own,
    )


class _Measuring:
    """The slices so far, and how to make another one."""

    def __init__(self, run: Run, target: Target, api: Api, account: Account) -> None:
        self._run = run
        self._target = target
        self._api = api
        self._account = account
        self.slices: list[Slice] = []
        self.left_to_route: list[int] = []
        self.raw_rates: list[float] = []

    def warm_up(self, echo: Target | None) -> None:
        """The interpreter specialises its code, the database grows its first pages."""
        run = self._run
        if echo is not None:
            run.load("warming up", echo, run.plan(echo, seconds=_WARM_UP_S))
        load, _ = run.load("warming up", self._target, run.plan(self._target, seconds=_WARM_UP_S))
        self._account.add(load)
        self._come_to_rest()

    def slice(self, what: str, target: Target) -> None:
        """One slice by the loader of this run, and a rest."""
        run, options = self._run, self._run.options
        seconds = options.load_s / _ROUNDS
        if run.wrk is not None:
            measured = run.load_by_wrk(what, target, run.wrk, seconds=max(1, round(seconds)))
            if target is self._target:
                self._account.add_uncounted(measured, hung_up_on=options.concurrency)
        else:
            events = None if options.events is None else -(-options.events // _ROUNDS)
            load, measured = run.load(
                what, target, run.plan(target, events=events, seconds=seconds)
            )
            if target is self._target:
                self._account.add(load)
        self.slices.append(measured)
        if what == INGEST:
            books = read_books(self._api)
            if books is not None:
                self.left_to_route.append(books.queued)
            self._come_to_rest()

    def paused_slice(self) -> None:
        """One slice while nothing is routed."""
        turn(self._api, processing="paused")
        try:
            self.slice(PAUSED, self._target)
        finally:
            turn(self._api, processing=None)
        self._come_to_rest()

    def raw_slice(self) -> None:
        """As many rows as the database takes when nothing else is asked of it."""
        with self._run.progress.bar("raw inserts"):
            rate = self._run.raw_insert_rate(seconds=self._run.options.load_s / _ROUNDS)
        if rate is not None:
            self.raw_rates.append(round(rate, 1))

    def exact_slice(self) -> None:
        """One slice by the raw loader, which knows every status, every id and every latency."""
        run = self._run
        load, measured = run.load(EXACT, self._target, run.plan(self._target, seconds=_EXACT_S))
        self._account.add(load)
        self.slices.append(measured)
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        """Wait until everything is routed, so that the next slice has the core for itself."""
        deadline = time.monotonic() + _EMPTY_WITHIN_S
        with self._run.progress.bar("until the queue is empty"):
            while True:
                books = read_books(self._api)
                if books is None:
                    time.sleep(_BLIND_REST_S)
                    return
                if not books.queued:
                    return
                if time.monotonic() > deadline:
                    raise RunFailed(f"the queue is not empty after {_EMPTY_WITHIN_S:g} s")
                time.sleep(_LOOK_EVERY_S)


def _conclude(
    run: Run,
    slices: Sequence[Slice],
    *,
    left_to_route: list[int],
    raw_rates: list[float],
    accounting: Accounting,
    resident_mb: float | None,
    is_own: bool,
) -> Ingest:
    options = run.options
    echoes, ingests = _of(slices, ECHO), _of(slices, INGEST)
    echo_rate, ingest_rate = _rate(echoes), _rate(ingests)
    paused_rate = _rate(_of(slices, PAUSED))
    assert ingest_rate is not None
    latency = median_latency([each.latency for each in ingests if each.latency is not None])
    ratio = _ratio(ingest_rate, echo_rate)
    void = next((each.void for each in slices if each.void), "")
    doubt, not_64 = noise(slices), options.unusual
    if options.concurrency != USUAL_CONCURRENCY:
        not_64 = f"the target is for {USUAL_CONCURRENCY} connections"
    return Ingest(
        connections=options.concurrency,
        echo_rate=echo_rate,
        ingest_rate=ingest_rate,
        paused_rate=paused_rate,
        ratio=ratio,
        ratios=[
            round(ingest.rate / echo.rate, 3)
            for echo, ingest in zip(echoes, ingests, strict=False)
            if echo.rate
        ],
        paused_ratio=_ratio(paused_rate, echo_rate),
        cpu_ratio=_ratio(_cpu_rate(ingests), _cpu_rate(echoes)),
        raw_rates=raw_rates,
        raw_ratio=_ratio(ingest_rate, median(raw_rates)) if raw_rates else None,
        latency=latency,
        left_to_route=left_to_route,
        slices=list(slices),
        accounting=accounting,
        resident_mb=resident_mb,
        verdicts=[
            *(
                _verdicts_on_postgres(
                    ingest_rate, latency, void=void, unjudged=options.unusual or not_64, doubt=doubt
                )
                if options.database_url is not None
                else _verdicts(
                    ratio,
                    latency,
                    void=void,
                    unjudged=options.unusual or ("" if echoes else "there is no ceiling"),
                    not_64=not_64,
                    doubt=doubt,
                )
            ),
            *verdicts_on(accounting, failed=sum(each.failed for each in slices), is_own=is_own),
        ],
    )


def _verdicts(
    ratio: float | None,
    latency: Latency | None,
    *,
    void: str,
    unjudged: str,
    not_64: str,
    doubt: str,
) -> list[Verdict]:
    p95, p99 = (None, None) if latency is None else (latency.p95, latency.p99)
    return [
        judge(INGEST_RATIO, ratio, void=void, unjudged=unjudged, doubt=doubt),
        judge(INGEST_P95, p95, void=void, unjudged=not_64, doubt=doubt),
        judge(INGEST_P99, p99, void=void, unjudged=not_64, doubt=doubt),
    ]


def _verdicts_on_postgres(
    rate: float, latency: Latency | None, *, void: str, unjudged: str, doubt: str
) -> list[Verdict]:
    p99 = None if latency is None else latency.p99
    return [
        judge(POSTGRES_RATE, rate, void=void, unjudged=unjudged, doubt=doubt),
        judge(POSTGRES_P99, p99, void=void, unjudged=unjudged, doubt=doubt),
    ]


def _of(slices: Sequence[Slice], what: str) -> list[Slice]:
    return [each for each in slices if each.what == what]


def _rate(slices: Sequence[Slice]) -> float | None:
    return median([each.rate for each in slices]) if slices else None


def _cpu_rate(slices: Sequence[Slice]) -> float | None:
    rates = [rate for each in slices if (rate := each.rate_of_cpu) is not None]
    return median(rates) if rates else None


def _ratio(part: float | None, whole: float | None) -> float | None:
    return round(part / whole, 3) if part is not None and whole else None
