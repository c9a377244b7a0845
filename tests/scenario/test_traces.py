"""One trace from a POST to each attempt, seen by a collector; and what tracing must never do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest
from tests.conftest import Enter, MakeService, Run
from tests.scenario.conftest import Ask
from tests.servers.collector import Collector

from triggers_api.telemetry import tracing
from triggers_api.testing import FrozenClock, Receiver, Service

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN: Final = "00f067aa0ba902b7"
GIVEN: Final = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
UNWANTED: Final = {"traceparent": f"00-{TRACE}-{SPAN}-00"}

SERVER, CLIENT, CONSUMER, INTERNAL = 2, 3, 5, 1
"""SpanKind of the protocol."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_EVERY_S", 0.05)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def traced(make_service: MakeService, collector: Collector, **settings: Any) -> Service:  # noqa: ANN401 - see Service
    return make_service(otel_endpoint=collector.url, **{"otel_sample": 1.0, **settings})


def send(service: Service, run: Run, payload: object = 1, **headers: str) -> str:
    answer = run(
        service.call(
            "POST", "/api/events", {"type": "order.created", "payload": payload}, headers=headers
        )
    )
    assert answer.status in {201, 202}
    found: str = answer.json["id"]
    return found


def test_a_trace_goes_from_the_request_through_storing_and_routing_to_each_attempt(
    run: Run,
    enter: Enter,
    make_service: MakeService,
    clock: FrozenClock,
    receiver: Receiver,
    collector: Collector,
) -> None:
    service = enter(traced(make_service, collector, clock=clock))
    receiver.replies(500, 204)
    subscription = run(service.subscribe(receiver.url, retry_schedule=[1]))
    event = send(service, run, **GIVEN)
    run(service.drain())
    clock.advance(seconds=30)
    run(service.drain())
    collector.wait_for(spans=5)
    assert {span.trace_id for span in collector.spans} == {TRACE}
    (request,) = collector.named("POST /api/events")
    (stored,) = collector.named("append")
    (routed,) = collector.named("route")
    first, second = sorted(
        collector.named("POST"), key=lambda span: span.attributes["triggers.attempt"]
    )
    assert (request.parent_id, request.kind) == (SPAN, SERVER)
    for span, kind in ((stored, INTERNAL), (routed, CONSUMER), (first, CLIENT), (second, CLIENT)):
        assert (span.parent_id, span.kind) == (request.span_id, kind)
        assert span.took_ns >= 0
    assert request.attributes["http.response.status_code"] == 202
    assert request.attributes["triggers.event.id"] == event
    assert routed.attributes["triggers.deliveries"] == 1
    assert (first.attributes["http.response.status_code"], first.failed) == (500, True)
    assert (second.attributes["http.response.status_code"], second.failed) == (204, False)
    assert second.attributes["triggers.subscription.id"] == subscription["id"]
    # What the receivers are told leads to the very attempt.
    told = [request.headers["traceparent"] for request in receiver.requests]
    assert told == [f"00-{TRACE}-{span.span_id}-01" for span in (first, second)]
    assert collector.service["service.name"] == "triggers-api"
    assert collector.service["service.instance.id"] == service.app.worker_id


def test_a_trace_goes_on_in_the_next_process(
    run: Run,
    enter: Enter,
    make_service: MakeService,
    clock: FrozenClock,
    receiver: Receiver,
    collector: Collector,
) -> None:
    with_first = traced(make_service, collector, clock=clock)
    run(with_first.__aenter__())
    run(with_first.subscribe(receiver.url))
    send(with_first, run, **GIVEN)
    run(with_first.__aexit__(None, None, None))
    second = enter(traced(make_service, collector, clock=clock, otel_sample=0.0))
    run(second.drain())
    (request,) = receiver.requests
    collector.wait_for(spans=4)
    (attempt,) = collector.named("POST")
    assert request.headers["traceparent"] == f"00-{TRACE}-{attempt.span_id}-01"
    assert len(collector.named("route")) == 1


def test_events_of_a_batch_share_the_trace_of_their_request(
    run: Run,
    enter: Enter,
    make_service: MakeService,
    clock: FrozenClock,
    receiver: Receiver,
    collector: Collector,
) -> None:
    service = enter(traced(make_service, collector, clock=clock))
    run(service.subscribe(receiver.url))
    items = [{"type": "a", "payload": number} for number in range(3)]
    run(service.call("POST", "/api/events/batch", {"events": items}))
    run(service.drain())
    collector.wait_for(spans=8)
    (request,) = collector.named("POST /api/events/batch")
    assert request.attributes["triggers.accepted"] == 3
    assert len(collector.named("route")) == len(collector.named("POST")) == 3
    assert {span.trace_id for span in collector.spans} == {request.trace_id}


def test_a_trace_that_its_sender_does_not_want_goes_on_unwritten(
    run: Run,
    enter: Enter,
    make_service: MakeService,
    clock: FrozenClock,
    receiver: Receiver,
    collector: Collector,
) -> None:
    service = enter(traced(make_service, collector, clock=clock))
    run(service.subscribe(receiver.url))
    send(service, run, **UNWANTED)
    run(service.drain())
    (request,) = receiver.requests
    version, trace, span, flags = request.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "00")
    assert span != SPAN
    run(service.__aexit__(None, None, None))
    assert collector.requests == 0


def test_where_nobody_asks_for_a_trace_and_none_is_drawn_nothing_is_made(
    run: Run,
    enter: Enter,
    make_service: MakeService,
    clock: FrozenClock,
    receiver: Receiver,
    collector: Collector,
) -> None:
    service = enter(traced(make_service, collector, clock=clock, otel_sample=0.0))
    run(service.subscribe(receiver.url))
    event = send(service, run)
    run(service.drain())
    assert run(service.app.store.traces([event])) == {}
    (request,) = receiver.requests
    assert request.headers["traceparent"].endswith("-01")
    assert collector.requests == 0


def test_a_request_that_is_refused_ends_its_trace(
    run: Run,
    enter: Enter,
    make_service: MakeService,
    clock: FrozenClock,
    collector: Collector,
) -> None:
    service = enter(traced(make_service, collector, clock=clock))
    Ask(service, run).turn(ingest="refuse")
    run(service.call("POST", "/api/events", {"type": "a", "payload": 1}, headers=GIVEN))
    collector.wait_for(spans=1)
    (span,) = collector.spans
    assert span.failed
    assert span.attributes["http.response.status_code"] == 503
    assert span.attributes["triggers.code"] == "refusing"


@pytest.mark.parametrize("status", [500, 401])
def test_a_collector_that_takes_nothing_costs_spans_and_nothing_else(
    run: Run,
    enter: Enter,
    make_service: MakeService,
    clock: FrozenClock,
    receiver: Receiver,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setattr(tracing, "_EXPORT_TIMEOUT_S", 0.2)
    collector.status = status
    service = enter(traced(make_service, collector, clock=clock))
    run(service.subscribe(receiver.url))
    for number in range(3):
        send(service, run, number)
    run(service.drain())
    assert len(receiver.requests) == 3
    collector.wait_for(requests=1)
    give_up = time.monotonic() + 20
    while not value(service, "failed"):
        assert time.monotonic() < give_up
        run(service.call("GET", "/livez", key=None))
    assert value(service, "sent") == 0


def value(service: Service, result: str) -> float:
    registry = service.app.metrics.registry
    found = registry.get_sample_value("triggers_trace_spans_total", {"result": result})
    assert found is not None
    return found


def test_what_nobody_takes_is_dropped_and_counted(
    run: Run,
    enter: Enter,
    make_service: MakeService,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing listens; the thread that sends is held up, and the queue has a bound."""
    monkeypatch.setattr(tracing, "_WAITING", 4)
    monkeypatch.setattr(tracing._Sending, "_run", lambda _: None)
    service = enter(
        make_service(otel_endpoint="http://127.0.0.1:9/v1/traces", otel_sample=1.0, clock=clock)
    )
    for number in range(5):
        send(service, run, number)
    assert value(service, "dropped") >= 6  # of the ten that the requests made


def test_the_sdk_is_not_even_imported_where_traces_are_off() -> None:
    program = (
        "import sys; import triggers_api.app, triggers_api.cli.serve;"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
