"""The profiles: what is measured, in which order, and what is concluded from it."""

import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from triggers_api.bench.errors import RunFailed
from triggers_api.bench.exposition import histogram, since
from triggers_api.bench.http1 import Parts, event_requests, payloads
from triggers_api.bench.loader import Arrivals, Load, Plan, doubles, run_load
from triggers_api.bench.machine import Cores, Watch, resident_mb
from triggers_api.bench.progress import Progress
from triggers_api.bench.receiver import Webhook
from triggers_api.bench.results import (
    Accounting,
    AtRate,
    Books,
    Delivered,
    Idle,
    Ingest,
    Pipeline,
    Slice,
)
from triggers_api.bench.server import Api, Target, echo_server, own_server
from triggers_api.bench.statistics import (
    Latency,
    bucket_quantile,
    latency_of,
    median,
    median_latency,
)
from triggers_api.bench.targets import (
    BAD_SIGNATURES,
    IDLE_CPU,
    IDLE_MEMORY,
    INGEST_P95,
    INGEST_P99,
    INGEST_RATIO,
    NOT_FOUND,
    NOT_RECEIVED,
    NOT_SETTLED,
    NOT_STORED,
    PIPELINE_RATE,
    RECEIVED_P50,
    RECEIVED_P99,
    REFUSED,
    ROUTED_P95,
    UNEXPLAINED,
    WRONG_DUPLICATES,
    Verdict,
    judge,
    saturation,
)
from triggers_api.bench.wrk import Wrk, run_wrk
from triggers_api.deliver.signature import verify
from triggers_api.errors import MalformedValue

ROUNDS: Final = 5
USUAL_CONCURRENCY: Final = 64
USUAL_RATE: Final = 500.0
USUAL_SECONDS: Final = 5.0
USUAL_PIPELINE_EVENTS: Final = 20_000

_PAYLOADS: Final = 64
_WEBHOOKS_KEPT: Final = 100
_WARM_UP_S: Final = 0.5
_WARM_UP_EVENTS: Final = 500
_EXACT_S: Final = 1.0
_REST_S: Final = 120.0
_QUIET_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.1
_ROUTED: Final = "triggers_accepted_to_routed_seconds"

ECHO: Final = "echo"
INGEST: Final = "ingest"
PAUSED: Final = "ingest, processing paused"
EXACT: Final = "ingest, every answer counted"


class Mode(StrEnum):
    """When events are routed: after their answer, or before it."""

    ASYNC = "async"
    SYNC = "sync"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for. ``events`` and ``seconds`` are ``None`` where it does not."""

    events: int | None = None
    seconds: float | None = None
    concurrency: int = USUAL_CONCURRENCY
    rate: float = USUAL_RATE
    url: str | None = None
    key: str = ""
    admin_key: str | None = None
    duplicates_percent: float = 0.0
    mode: Mode = Mode.ASYNC
    dedup: bool = False
    payload_bytes: int = 512

    @property
    def load_s(self) -> float:
        """Seconds of load."""
        return USUAL_SECONDS if self.seconds is None else self.seconds

    @property
    def unusual(self) -> str:
        """Why the targets for ingest do not apply; empty when they do."""
        if self.mode is Mode.SYNC:
            return "the target is for async ingest"
        if self.duplicates_percent:
            return "the target is for events without duplicates"
        return ""


class Bench:
    """Runs profiles one after the other, each on a server of its own unless one is given."""

    def __init__(
        self,
        options: Options,
        *,
        cores: Cores,
        folder: Path,
        wrk: Wrk | None,
        progress: Progress,
    ) -> None:
        """Nothing happens before a profile is run.

        Args:
            options: what is asked for.
            cores: which core is whose.
            folder: for databases and logs; gets a folder in it for each profile.
            wrk: the preferred loader; ``None`` when it is not installed.
            progress: is shown what goes on.
        """
        self._options = options
        self._cores = cores
        self._folder = folder
        self._progress = progress
        # What wrk cannot do: an exact number of events, ids that differ, exact counts.
        needs_raw = options.events is not None or options.dedup or options.duplicates_percent
        self._wrk = None if needs_raw else wrk
        self._seed = secrets.randbits(32)

    # ── idle ──────────────────────────────────────────────────────────────────────────────────

    def idle(self) -> Idle:
        """A server at rest."""
        seconds = max(1.0, self._options.load_s)
        with self._target("idle") as target:
            with self._progress.bar("idle: waiting for it to come to rest") as advance:
                _sleep(_QUIET_S, advance)
            watch = Watch(target.pid, target.core)
            with self._progress.bar("idle: watching") as advance:
                _sleep(seconds, advance)
            use = watch.use()
            memory = None if target.pid is None else resident_mb(target.pid)
        cpu = None if use is None else round(use.own * 100, 2)
        return Idle(
            seconds=seconds,
            cpu_percent=cpu,
            resident_mb=memory,
            verdicts=[judge(IDLE_CPU, cpu), judge(IDLE_MEMORY, memory)],
        )

    # ── ingest ────────────────────────────────────────────────────────────────────────────────

    def ingest(self) -> Ingest:
        """Rounds of short slices, the ceiling's among them: what disturbs one disturbs the next."""
        options = self._options
        with ExitStack() as stack:
            target = stack.enter_context(self._target("ingest"))
            echo = None
            if target.is_own:
                echo = stack.enter_context(echo_server(self._folder, self._cores))
            else:
                self._progress.say(
                    "ingest: no echo is measured beside a given server, so there is no ceiling"
                )
            api = Api(target)
            stack.callback(api.close)
            stack.enter_context(self._in_mode(api, target))
            account = _Account(api, target)
            routed = _Routed(api)
            self._warm_up(target, echo, account)
            slices: list[Slice] = []
            for number in range(1, ROUNDS + 1):
                if echo is not None:
                    slices.append(self._slice(ECHO, echo, number, None))
                slices.append(self._slice(INGEST, target, number, account))
                self._come_to_rest(api, target)
                if target.is_own and options.mode is Mode.ASYNC:
                    slices.append(self._paused_slice(api, target, number, account))
            if self._wrk is not None:
                slices.append(self._exact_slice(target, account))
                self._come_to_rest(api, target)
            return _conclude_ingest(
                options,
                slices,
                accounting=account.close(),
                routed_p95_ms=routed.p95_ms(),
                resident=None if target.pid is None else resident_mb(target.pid),
            )

    def _warm_up(self, target: Target, echo: Target | None, account: "_Account") -> None:
        # The interpreter specialises its code, SQLite fills its caches.
        with self._progress.bar("ingest: warming up") as advance:
            if echo is not None:
                run_load(self._plan(echo, seconds=_WARM_UP_S, events_api=False), progress=advance)
            account.add(run_load(self._plan(target, seconds=_WARM_UP_S), progress=advance))

    def _slice(self, what: str, target: Target, number: int, account: "_Account | None") -> Slice:
        """One stretch of load, by the loader that this run uses."""
        options = self._options
        with self._progress.bar(f"{what}, round {number} of {ROUNDS}") as advance:
            watch = Watch(target.pid, target.core)
            if self._wrk is None:
                plan = self._plan(
                    target,
                    events=None if options.events is None else max(1, options.events // ROUNDS),
                    seconds=options.load_s / ROUNDS,
                    events_api=account is not None,
                )
                load = run_load(plan, progress=advance)
                measured = _slice_of_load(what, load, watch)
                if account is not None:
                    account.add(load)
                return measured
            result = run_wrk(
                self._wrk,
                [request.before for request in self._requests(target)],
                url=f"{target.url}/api/events",
                connections=options.concurrency,
                seconds=max(1, round(options.load_s / ROUNDS)),
                folder=self._folder,
                progress=advance,
            )
            use = watch.use()
        good = result.requests - result.refused
        if account is not None:
            account.add_uncertain(good, unanswered=options.concurrency + result.lost)
        loader_cpu = round(result.cpu_s / result.seconds, 3)
        return Slice(
            what=what,
            loader="wrk",
            seconds=round(result.seconds, 3),
            answers=result.requests,
            rate=round(good / result.seconds, 1),
            statuses={"<400": good, "≥400": result.refused},
            lost=result.lost,
            latency=result.latency,
            loader_cpu=loader_cpu,
            server=use,
            void=saturation(loader_cpu, None if use is None else use.own),
        )

    def _paused_slice(
        self, api: Api, target: Target, number: int, account: "_Account"
    ) -> Slice:
        _turn(api, {"processing": "paused"})
        try:
            return self._slice(PAUSED, target, number, account)
        finally:
            _turn(api, {"processing": None})
            self._come_to_rest(api, target)

    def _exact_slice(self, target: Target, account: "_Account") -> Slice:
        with self._progress.bar(EXACT) as advance:
            watch = Watch(target.pid, target.core)
            load = run_load(self._plan(target, seconds=_EXACT_S), progress=advance)
            account.add(load)
            return _slice_of_load(EXACT, load, watch)

    def _come_to_rest(self, api: Api, target: Target) -> None:
        """Wait until everything that was accepted is routed, so that the next slice is alone."""
        if target.admin_key is None:
            time.sleep(_QUIET_S)
            return
        deadline = time.monotonic() + _REST_S
        with self._progress.bar("waiting for the queue to empty"):
            while _books(api).queued:
                if time.monotonic() > deadline:
                    raise RunFailed(f"the queue is not empty after {_REST_S:g} s")
                time.sleep(_LOOK_EVERY_S)

    # ── pipeline and latency ──────────────────────────────────────────────────────────────────

    def pipeline(self) -> Pipeline:
        """As much as goes through: ends when everything that was accepted is settled."""
        options = self._options
        events = options.events
        if events is None and options.seconds is None:
            events = USUAL_PIPELINE_EVENTS
        with self._delivering("pipeline") as scene:
            before = scene.routed
            load, settled_at, use = self._run_through(
                scene, "pipeline", events=events, seconds=options.seconds
            )
            arrivals = _arrivals(load)
            accounting, delivered = scene.account.close(), scene.delivered(load)
            seconds = settled_at - load.started_at
            rate = round(load.accepted / seconds, 1)
            measured = _slice_of_load("pipeline", load, use)
            return Pipeline(
                rate=rate,
                accept_seconds=round(load.seconds, 3),
                receive_seconds=round(arrivals.last_at - load.started_at, 3),
                settle_seconds=round(seconds, 3),
                load=measured,
                received_latency=latency_of(doubles(arrivals.latencies)),
                routed_p95_ms=before.p95_ms(),
                delivered=delivered,
                accounting=accounting,
                resident_mb=scene.resident_mb(),
                verdicts=[
                    judge(PIPELINE_RATE, rate, void=measured.void, unjudged=options.unusual),
                    *_refusals([measured]),
                    *_accounts(accounting),
                    *_deliveries(accounting, delivered),
                ],
            )

    def latency(self) -> AtRate:
        """A steady rate, as it comes from a world that does not wait for us."""
        options = self._options
        with self._delivering("latency") as scene:
            load, _, use = self._run_through(
                scene,
                "latency",
                events=options.events,
                seconds=options.load_s,
                rate=options.rate,
            )
            arrivals = _arrivals(load)
            accounting, delivered = scene.account.close(), scene.delivered(load)
            measured = _slice_of_load("latency", load, use)
            received = latency_of(doubles(arrivals.latencies))
            routed_p95_ms = scene.routed.p95_ms()
            unjudged = options.unusual
            if options.rate != USUAL_RATE:
                unjudged = f"the target is for {USUAL_RATE:g} events/s"

            def verdict(goal: Any, number: float | None) -> Verdict:  # noqa: ANN401
                return judge(goal, number, void=measured.void, unjudged=unjudged)

            return AtRate(
                offered=options.rate,
                load=measured,
                accepted_latency=measured.latency,
                received_latency=received,
                send_delay=latency_of(doubles(load.delays)),
                routed_p95_ms=routed_p95_ms,
                delivered=delivered,
                accounting=accounting,
                resident_mb=scene.resident_mb(),
                verdicts=[
                    verdict(RECEIVED_P50, None if received is None else received.p50),
                    verdict(RECEIVED_P99, None if received is None else received.p99),
                    verdict(ROUTED_P95, routed_p95_ms),
                    *_refusals([measured]),
                    *_accounts(accounting),
                    *_deliveries(accounting, delivered),
                ],
            )
