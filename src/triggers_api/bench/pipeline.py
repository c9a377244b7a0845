"""The profiles ``pipeline`` and ``latency``: events all the way to a receiver on this machine."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from triggers_api.bench.books import Account, Accounting, Routing, verdicts_on
from triggers_api.bench.errors import RunFailed
from triggers_api.bench.loader import Arrivals, Load, doubles
from triggers_api.bench.receiver import Webhook
from triggers_api.bench.run import USUAL_RATE, Mode, Run, memory_mb
from triggers_api.bench.server import Api, Target
from triggers_api.bench.slices import Slice, noise
from triggers_api.bench.statistics import Latency, latency_of
from triggers_api.bench.targets import (
    BAD_SIGNATURES,
    NOT_RECEIVED,
    NOT_SETTLED,
    PIPELINE_RATE,
    RECEIVED_P50,
    RECEIVED_P99,
    ROUTED_P95,
    Verdict,
    judge,
)
from triggers_api.client import InvalidWebhook, verify

_USUAL_EVENTS: Final = 20_000
_WARM_UP_EVENTS: Final = 500
_WEBHOOKS_KEPT: Final = 100
_SETTLED_WITHIN_S: Final = 30.0
_ROUTED_WITHIN_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.01
_UNSETTLED: Final = ("pending", "retrying", "delivering")
"""In the order in which a delivery passes through them: whatever moves on meanwhile is seen later."""


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of accepted events.

    Attributes:
        received: different ones that arrived.
        repeats: requests about an event that had arrived before.
        strangers: events that arrived and that no answer accepted.
        settled: deliveries that the server's books have gained as succeeded; ``None`` without an
            operator's key.
        verified: webhooks whose signature was checked.
        wrong_signatures: of these.
    """

    received: int
    repeats: int
    strangers: int
    settled: int | None
    verified: int
    wrong_signatures: int


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """Single events from ``POST`` to a settled delivery, in one server process.

    Attributes:
        rate: settled deliveries a second, from the first request until the last one is settled.
        cpu_rate: settled deliveries for each second that the server used a core: what noise from
            others does not touch, and the most that one core can do.
        accept_seconds: from the first request to the last answer.
        receive_seconds: to the last arrival.
        settle_seconds: until everything is settled.
        load: as seen by the loader, which is also the receiver.
        received_latency: from sending an event to its arrival. More comes in than goes out
            meanwhile, so most of it is waiting.
        routed_p95_ms: from acceptance to routing, by the server's own histogram.
        resident_mb: the server's memory at the end.
    """

    rate: float
    cpu_rate: float | None
    accept_seconds: float
    receive_seconds: float
    settle_seconds: float
    load: Slice
    received_latency: Latency | None
    routed_p95_ms: float | None
    delivered: Delivered
    accounting: Accounting
    resident_mb: float | None
    verdicts: list[Verdict]


class AtRate(msgspec.Struct, frozen=True, kw_only=True):
    """An open loop: every event is sent at its time, whatever became of those before it.

    Attributes:
        rate: events a second that were to be sent.
        load: as seen by the loader; its latency counts from the time an event was to be sent, so
            that waiting for a slow server is not left out (coordinated omission).
        received_latency: from the time an event was to be sent to its arrival at the receiver.
        send_delay: how late the loader was, a part of both.
        routed_p95_ms: from acceptance to routing, by the server's own histogram.
        resident_mb: the server's memory at the end.
    """

    rate: float
    load: Slice
    received_latency: Latency | None
    send_delay: Latency | None
    routed_p95_ms: float | None
    delivered: Delivered
    accounting: Accounting
    resident_mb: float | None
    verdicts: list[Verdict]


def measure_pipeline(run: Run) -> Pipeline:
    """As much as goes through; ends when everything that was accepted is settled.

    Raises:
        RunFailed: a server or the loader failed.
    """
    options = run.options
    events = options.events
    if events is None and options.seconds is None:
        events = _USUAL_EVENTS
    with _scene(run, "pipeline") as scene:
        done = scene.play(events=events, seconds=options.seconds, rate=None)
    load, arrivals = done.load, done.arrivals
    seconds = done.settled_at - load.started_at
    rate = round(arrivals.unique / seconds, 1)
    return Pipeline(
        rate=rate,
        cpu_rate=_cpu_rate(done, rate),
        accept_seconds=round(load.seconds, 3),
        receive_seconds=round(arrivals.last_at - load.started_at, 3),
        settle_seconds=round(seconds, 3),
        load=done.measured,
        received_latency=latency_of(doubles(arrivals.latencies)),
        routed_p95_ms=done.routed_p95_ms,
        delivered=done.delivered,
        accounting=done.accounting,
        resident_mb=done.resident_mb,
        verdicts=[
            judge(
                PIPELINE_RATE,
                rate,
                void=done.measured.void,
                unjudged=options.unusual,
                doubt=noise([done.measured]),
            ),
            *done.verdicts,
        ],
    )


def _cpu_rate(done: "_Done", rate: float) -> float | None:
    # The server's share was watched until the last arrival, a little before the last settlement.
    server = done.measured.server
    return None if server is None or not server.own else round(rate / server.own, 1)


def measure_latency(run: Run) -> AtRate:
    """A steady rate, as it comes from a world that does not wait for us.

    Raises:
        RunFailed: a server or the loader failed.
    """
    options = run.options
    with _scene(run, "latency") as scene:
        done = scene.play(events=options.events, seconds=options.load_s, rate=options.rate)
    received = latency_of(doubles(done.arrivals.latencies))
    void, unjudged = done.measured.void, options.unusual
    doubt = noise([done.measured])
    if options.rate != USUAL_RATE:
        unjudged = f"the target is for {USUAL_RATE:g} events/s"
    return AtRate(
        rate=options.rate,
        load=done.measured,
        received_latency=received,
        send_delay=latency_of(doubles(done.load.delays)),
        routed_p95_ms=done.routed_p95_ms,
        delivered=done.delivered,
        accounting=done.accounting,
        resident_mb=done.resident_mb,
        verdicts=[
            judge(
                RECEIVED_P50,
                None if received is None else received.p50,
                void=void,
                unjudged=unjudged,
                doubt=doubt,
            ),
            judge(
                RECEIVED_P99,
                None if received is None else received.p99,
                void=void,
                unjudged=unjudged,
                doubt=doubt,
            ),
            judge(ROUTED_P95, done.routed_p95_ms, void=void, unjudged=unjudged, doubt=doubt),
            *done.verdicts,
        ],
    )


class _Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured with a receiver."""

    load: Load
    arrivals: Arrivals
    measured: Slice
    settled_at: float
    routed_p95_ms: float | None
    delivered: Delivered
    accounting: Accounting
    resident_mb: float | None
    verdicts: list[Verdict]


@contextmanager
def _scene(run: Run, name: str) -> Iterator["_Scene"]:
    """A server, a listening socket, and a subscription that leads from one to the other."""
    with run.server(name) as (target, api), listening(target) as listener:
        subscription = api.call(
            "POST",
            "/api/subscriptions",
            {"url": url_of(listener), "event_types": [run.event_type]},
        )
        try:
            yield _Scene(run, name, target, api, listener, subscription)
        finally:
            if not target.is_own:
                api.ask("DELETE", f"/api/subscriptions/{subscription['id']}")


class _Scene:
    """Where events are sent, and where they arrive."""

    def __init__(
        self,
        run: Run,
        name: str,
        target: Target,
        api: Api,
        listener: socket.socket,
        subscription: dict[str, str],
    ) -> None:
        self._run = run
        self._name = name
        self._target = target
        self._api = api
        self._listener = listener
        self._subscription = subscription

    def play(self, *, events: int | None, seconds: float | None, rate: float | None) -> _Done:
        """Warm up; send, receive, wait for everything to be settled; compare."""
        run, target, api = self._run, self._target, self._api
        warm_up = min(_WARM_UP_EVENTS, events or _WARM_UP_EVENTS)
        self._send("warming up", events=warm_up)
        await_settled(api, self._subscription["id"])
        account, routing = Account(api), Routing(api)
        load, measured = self._send(self._name, events=events, seconds=seconds, rate=rate)
        account.add(load)
        settled_at = await_settled(api, self._subscription["id"])
        routed_p95_ms, accounting = routing.p95_ms(), account.close()
        assert load.arrivals is not None
        delivered = self._delivered(load.arrivals, account.succeeded)
        return _Done(
            load=load,
            arrivals=load.arrivals,
            measured=measured,
            settled_at=settled_at,
            # In sync mode nothing goes through the queue.
            routed_p95_ms=None if run.options.mode is Mode.SYNC else routed_p95_ms,
            delivered=delivered,
            accounting=accounting,
            resident_mb=memory_mb(target),
            verdicts=[
                *verdicts_on(accounting, failed=measured.failed, is_own=target.is_own),
                *_verdicts(accounting, delivered, is_own=target.is_own),
            ],
        )

    def _send(
        self,
        what: str,
        *,
        events: int | None,
        seconds: float | None = None,
        rate: float | None = None,
    ) -> tuple[Load, Slice]:
        plan = self._run.plan(
            self._target, events=events, seconds=seconds, rate=rate, webhooks=_WEBHOOKS_KEPT
        )
        return self._run.load(what, self._target, plan, listener=self._listener)

    def _delivered(self, arrivals: Arrivals, settled: int | None) -> Delivered:
        secret = self._subscription["secret"]
        wrong = sum(not _is_signed(webhook, secret) for webhook in arrivals.kept)
        return Delivered(
            received=arrivals.unique,
            repeats=arrivals.repeats,
            strangers=arrivals.strangers,
            settled=settled,
            verified=len(arrivals.kept),
            wrong_signatures=wrong,
        )


def await_settled(api: Api, subscription_id: str) -> float:
    """Wait until no delivery of a subscription is left to be settled; returns when that was seen."""
    deadline = time.monotonic() + _SETTLED_WITHIN_S
    path = f"/api/deliveries?subscription_id={subscription_id}&limit=1&status="
    seen_at = None
    while True:
        left = any(api.call("GET", path + status)["data"] for status in _UNSETTLED)
        now = time.monotonic()
        if now > deadline:
            return now
        # One that is given back goes against the order in which the states are looked at.
        if not left and seen_at is not None:
            return seen_at
        seen_at = None if left else now
        time.sleep(_LOOK_EVERY_S)


def await_routed(api: Api) -> None:
    """Wait until nothing is left to be routed.

    Raises:
        RunFailed: that takes too long.
    """
    deadline = time.monotonic() + _ROUTED_WITHIN_S
    while api.call("GET", "/readyz")["queue"]["depth"]:
        if time.monotonic() > deadline:
            raise RunFailed(f"the queue is not empty after {_ROUTED_WITHIN_S:g} s")
        time.sleep(_LOOK_EVERY_S)


@contextmanager
def listening(target: Target) -> Iterator[socket.socket]:
    """A socket on the address of this machine that the server's machine knows."""
    try:
        with socket.create_connection((target.host, target.port), timeout=10) as probe:
            host, family = probe.getsockname()[0], probe.family
    except OSError as error:
        raise RunFailed(f"no connection to {target.url}: {error}") from None
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((host, 0))
        listener.listen(1024)
        yield listener


def url_of(listener: socket.socket) -> str:
    """Where deliveries for a listening socket go to."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _is_signed(webhook: Webhook, secret: str) -> bool:
    try:
        verify(webhook.headers, webhook.body, secret)
    except InvalidWebhook:
        return False
    return True


def _verdicts(accounting: Accounting, delivered: Delivered, *, is_own: bool) -> list[Verdict]:
    unsettled, unjudged = None, ""
    if delivered.settled is None:
        unjudged = "reading the books needs --admin-key"
    elif is_own:
        unsettled = accounting.accepted - delivered.settled
    else:
        unjudged = "others may use the server, too"
    return [
        judge(NOT_RECEIVED, accounting.accepted - delivered.received),
        judge(NOT_SETTLED, unsettled, unjudged=unjudged),
        judge(BAD_SIGNATURES, delivered.wrong_signatures),
    ]
