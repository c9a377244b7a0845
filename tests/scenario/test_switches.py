"""The operator's switches: what waits, what is refused, what is skipped, and that nothing is lost."""

from __future__ import annotations

import time

import pytest
from tests.conftest import Enter, Log, MakeService, Run
from tests.scenario.conftest import Ask

from triggers_api.model.controls import DeliveryMode
from triggers_api.testing import FrozenClock, Receiver, Service


def test_with_delivery_on_skip_deliveries_end_unsent_with_the_reason(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock, log: Log
) -> None:
    run(service.subscribe(receiver.url))
    ask.turn(delivery="skip")
    sent = [ask.event() for _ in range(3)]
    ask.drain()
    assert receiver.requests == []
    for each in sent:
        delivery = ask.delivery(each)
        assert (delivery["status"], delivery["reason"]) == ("skipped", "delivery is switched off")
        assert (delivery["attempt_count"], delivery["attempts"]) == (0, [])
        assert delivery["finished_at"] is not None
        assert ask.status(each) == "processed"
    # Skipped is not failed.
    assert ask.get("/api/dead-letters")["data"] == []
    books = ask.books()["deliveries"]
    assert (books["skipped"], books["dead"]) == (3, 0)
    assert sum(line["count"] for line in log if line["event"] == "delivery off, skipped") == 3
    # Back on, what was skipped stays so until somebody asks for it.
    ask.turn(delivery="running")
    clock.advance(seconds=3600)
    ask.drain()
    assert receiver.requests == []
    ask.do("POST", f"/api/deliveries/{ask.delivery(sent[0])['id']}/retry", status=202)
    ask.drain()
    assert receiver.ids == [sent[0]]


def test_skip_ends_retries_as_well(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    run(service.subscribe(receiver.url, retry_schedule=[10]))
    receiver.replies(500)
    sent = ask.event()
    ask.drain()
    ask.turn(delivery="skip")
    clock.advance(seconds=12)
    ask.drain()
    delivery = ask.delivery(sent)
    assert (delivery["status"], delivery["attempt_count"]) == ("skipped", 1)
    assert len(receiver.requests) == 1


def test_with_delivery_paused_deliveries_wait(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    run(service.subscribe(receiver.url))
    ask.turn(delivery="paused")
    sent = ask.event()
    ask.drain()
    clock.advance(seconds=86_400)
    ask.drain()
    assert receiver.requests == []
    assert (ask.status(sent), ask.delivery(sent)["status"]) == ("processed", "pending")
    ask.turn(delivery="running")
    ask.drain()
    assert receiver.ids == [sent]


def test_with_processing_paused_events_wait_and_are_all_routed_later(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url))
    ask.turn(processing="paused")
    sent = [ask.event(payload=number) for number in range(30)]
    ask.drain()
    assert {ask.status(each) for each in sent} == {"queued"}
    assert receiver.requests == []
    assert ask.get("/readyz")["status"] == "ready"
    ask.turn(processing="running")
    ask.drain()
    assert sorted(receiver.ids) == sorted(sent)


def test_sync_still_routes_while_processing_is_paused(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url))
    ask.turn(processing="paused", ingest="sync")
    sent = ask.event()
    assert ask.status(sent) == "processed"
    ask.drain()
    assert receiver.ids == [sent]


def test_from_async_to_sync_and_back_nothing_is_lost_or_sent_twice(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url))
    sent = []
    for mode in ("async", "sync", "async", "sync"):
        ask.turn(ingest=mode)
        sent += [ask.event(payload=number) for number in range(10)]
    ask.drain()
    assert sorted(receiver.ids) == sorted(sent)
    assert ask.books()["accepted"] == ask.books()["processed"] == 40


def test_the_environment_switches_delivery_off(
    run: Run, enter: Enter, make_service: MakeService, clock: FrozenClock, receiver: Receiver
) -> None:
    service = enter(make_service(clock=clock, delivery=DeliveryMode.SKIP))
    ask = Ask(service, run)
    run(service.subscribe(receiver.url))
    sent = ask.event()
    ask.drain()
    assert ask.delivery(sent)["status"] == "skipped"
    assert receiver.requests == []


def test_a_batch_size_and_a_concurrency_turned_live_are_used(
    ask: Ask, run: Run, service: Service, log: Log
) -> None:
    for number in range(10):
        ask.event(payload=number)
    ask.turn(batch_size=4, concurrency=2)
    run(service.app.processor.run_once())
    assert service.app.processor.claimed == 4
    ask.turn(batch_size=None)
    run(service.app.processor.run_once())
    assert service.app.processor.claimed == 6
    summaries = [line["events"] for line in log if line["event"] == "batch summary"]
    assert summaries == [4, 6]


@pytest.mark.parametrize("switch", ["delivery", "processing"])
def test_live_a_switch_is_obeyed_by_the_running_parts_within_a_second(
    run: Run, enter: Enter, make_service: MakeService, switch: str
) -> None:
    # None of them looks by itself before ten minutes have passed.
    receiver, service = enter(Receiver()), enter(make_service(max_poll_ms=600_000))
    ask = Ask(service, run)
    run(service.subscribe(receiver.url))
    took_s = []

    def obeyed(count: int) -> None:
        began = time.monotonic()
        ask.turn(**{switch: "running"})
        run(receiver.wait_for(count))
        took_s.append(time.monotonic() - began)

    ask.turn(**{switch: "paused"})
    before = ask.event()
    obeyed(1)
    ask.turn(**{switch: "paused"})
    during = ask.event()

    async def settled() -> None:
        """Until the parts have looked, found the switch off, and wait again."""
        while service.app.monitor.stats.deliveries_waiting + service.app.monitor.depth == 0:
            await service.call("GET", "/readyz")

    run(settled())
    assert receiver.ids == [before]
    obeyed(2)
    assert receiver.ids == [before, during]
    assert min(took_s) < 1
