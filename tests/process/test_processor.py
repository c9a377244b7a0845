"""The processor: batches claimed, routed and stored; a fault stays with the event whose it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from tests.conftest import Enter, Log, Run, turn

from triggers_api.errors import StoreUnavailable
from triggers_api.model import ids
from triggers_api.model.delivery import NewDelivery
from triggers_api.model.event import QueuedEvent
from triggers_api.process.processor import Processor, ProcessorSettings
from triggers_api.store.base import RoutedEvent
from triggers_api.testing import ADMIN_KEY, FrozenClock, Receiver, Service

SETTINGS: Final = ProcessorSettings(
    batch_size=100,
    concurrency=20,
    min_poll_ms=100,
    max_poll_ms=2000,
    item_timeout_s=30.0,
    lease_s=45.0,
    max_attempts=5,
)
Install = Callable[..., Processor]


@pytest.fixture
def install(service: Service) -> Install:
    """Puts a processor with other settings or another route in the service's place."""

    def install(route: Any = None, **settings: Any) -> Processor:  # noqa: ANN401 - see Processor
        service.app.processor = Processor(
            service.app.store,
            service.app.directory,
            settings=msgspec.structs.replace(SETTINGS, **settings),
            metrics=service.app.metrics,
            route=route,
        )
        return service.app.processor

    return install


def send(
    service: Service, run: Run, count: int = 1, event_type: str = "order.created"
) -> list[str]:
    return [run(service.send(event_type, number)).json["id"] for number in range(count)]


def status(service: Service, run: Run, event_id: str) -> str:
    found: str = run(service.call("GET", f"/api/events/{event_id}")).json["status"]
    return found


def counted(service: Service, name: str) -> float:
    value = service.app.metrics.registry.get_sample_value(name)
    return value or 0.0


def result(service: Service, kind: str) -> float:
    value = service.app.metrics.registry.get_sample_value(
        "triggers_processed_total", {"result": kind}
    )
    return value or 0.0


def summaries(log: Log) -> list[dict[str, Any]]:
    return [dict(line) for line in log if line["event"] == "batch summary"]


# ── batches ───────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_is_as_large_as_the_setting_and_the_oldest_come_first(
    service: Service, run: Run, install: Install
) -> None:
    sent = send(service, run, 10)
    processor = install(batch_size=4)
    for expected in (4, 4, 2, 0):
        run(processor.run_once())
        assert processor.claimed == expected
        done = [each for each in sent if status(service, run, each) == "processed"]
        assert done == sent[: len(done)]
    assert [status(service, run, each) for each in sent] == ["processed"] * 10


@pytest.mark.parametrize("concurrency", [1, 3, 20])
def test_no_more_transactions_are_under_way_than_may_be(
    service: Service,
    run: Run,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    concurrency: int,
) -> None:
    fan_out = service.app.store.fan_out
    under_way = most = routed_ = 0

    async def counting(token: int, routed: Sequence[RoutedEvent]) -> Sequence[str]:
        nonlocal under_way, most, routed_
        under_way += 1
        most = max(most, under_way)
        try:
            return await fan_out(token, routed)
        finally:
            under_way -= 1
            routed_ += len(routed)

    monkeypatch.setattr(service.app.store, "fan_out", counting)
    send(service, run, 30)
    run(install(concurrency=concurrency).run_once())
    assert most <= concurrency
    assert routed_ == 30


def test_a_turn_while_processing_is_paused_claims_nothing(
    service: Service, run: Run, install: Install
) -> None:
    (sent,) = send(service, run)
    run(turn(service, processing="paused"))
    processor = install()
    assert run(processor.run_once()) > 0
    assert (processor.claimed, status(service, run, sent)) == (0, "queued")


# ── polling ───────────────────────────────────────────────────────────────────────────────────────


def test_the_pause_doubles_while_the_queue_stays_empty_and_starts_anew_after_work(
    service: Service, run: Run, install: Install
) -> None:
    processor = install(batch_size=3)
    pauses = [run(processor.run_once()) for _ in range(8)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    send(service, run, 3)
    assert run(processor.run_once()) == 0.0  # a full batch: there may be more
    send(service, run, 1)
    assert run(processor.run_once()) == 0.1
    assert [run(processor.run_once()) for _ in range(5)] == [0.2, 0.4, 0.8, 1.6, 2.0]


def test_the_pauses_follow_the_settings_and_the_switch(
    service: Service, run: Run, install: Install
) -> None:
    processor = install(min_poll_ms=30, max_poll_ms=100)
    assert [run(processor.run_once()) for _ in range(4)] == [0.03, 0.06, 0.1, 0.1]
    run(turn(service, min_poll_ms=5))
    send(service, run)
    assert run(processor.run_once()) == 0.005


def test_live_an_event_is_routed_without_waiting_for_the_poll(
    run: Run, enter: Enter, tmp_path: Path
) -> None:
    receiver = enter(Receiver())
    service = enter(Service(tmp_path, min_poll_ms=60_000, max_poll_ms=600_000))
    run(service.subscribe(receiver.url))
    run(service.call("GET", "/readyz"))
    for number in range(3):
        run(service.send("a", number))
        run(receiver.wait_for(number + 1, timeout_s=30))


# ── faults ────────────────────────────────────────────────────────────────────────────────────────


def poisoned(service: Service, poison: set[str], subscription_id: str) -> Any:  # noqa: ANN401 - a route
    def route(event: QueuedEvent) -> tuple[NewDelivery, ...]:
        if event.id in poison:
            raise LookupError("with the payload in its message")
        return (NewDelivery(service.app.store.ids.new(ids.DELIVERY), subscription_id),)

    return route


def test_a_poison_event_is_set_aside_alone_with_its_reason_while_its_neighbours_go_on(
    service: Service, run: Run, install: Install, clock: FrozenClock, receiver: Receiver, log: Log
) -> None:
    made = run(service.subscribe(receiver.url))
    sent = send(service, run, 7)
    poison = sent[3]
    processor = install(poisoned(service, {poison}, made["id"]))
    waits = []
    for attempt in range(1, 6):
        run(processor.run_once())
        assert processor.claimed == (7 if attempt == 1 else 1)
        if attempt == 1:
            neighbours = [each for each in sent if each != poison]
            assert {status(service, run, each) for each in neighbours} == {"processed"}
        if attempt < 5:
            assert status(service, run, poison) == "queued"
            # Each failure is waited out longer: 1, 2, 4, 8 seconds.
            wait = 2 ** (attempt - 1)
            clock.advance(seconds=wait - 0.001)
            run(processor.run_once())
            assert processor.claimed == 0
            clock.advance(seconds=0.001)
            waits.append(wait)
    assert waits == [1, 2, 4, 8]
    found = run(service.call("GET", f"/api/events/{poison}")).json
    assert found["status"] == "failed"
    (failed,) = [each for each in found["timeline"] if each["what"] == "failed"]
    assert "LookupError" in failed["detail"]
    assert "payload" not in failed["detail"]
    assert found["deliveries"] == []
    clock.advance(seconds=86_400)
    run(service.drain())
    assert sorted(receiver.ids) == sorted(set(sent) - {poison})
    assert (result(service, "ok"), result(service, "error")) == (6, 5)
    assert result(service, "set_aside") == 1
    (line,) = [line for line in log if line["event"] == "event set aside"]
    assert (line["event_id"], line["attempts"], line["reason"]) == (poison, 5, "LookupError")
    assert line["log_level"] == "error"
    listed = run(service.call("GET", "/api/events?status=failed")).json["data"]
    assert [each["id"] for each in listed] == [poison]
    assert run(service.call("GET", "/api/admin/verify", key=ADMIN_KEY)).json["ok"]


def test_a_fault_that_passes_costs_an_event_nothing_but_time(
    service: Service, run: Run, install: Install, clock: FrozenClock, receiver: Receiver
) -> None:
    made = run(service.subscribe(receiver.url))
    (sent,) = send(service, run)
    poison = {sent}
    processor = install(poisoned(service, poison, made["id"]))
    for _ in range(4):
        run(processor.run_once())
        clock.advance(seconds=8)
    poison.clear()
    run(service.drain())
    assert receiver.ids == [sent]
    assert status(service, run, sent) == "processed"


def test_a_batch_whose_transaction_fails_is_taken_apart(
    service: Service,
    run: Run,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    log: Log,
    receiver: Receiver,
) -> None:
    run(service.subscribe(receiver.url))
    sent = send(service, run, 9)
    poison = sent[4]
    fan_out = service.app.store.fan_out
    sizes = []

    async def failing(token: int, routed: Sequence[RoutedEvent]) -> Sequence[str]:
        sizes.append(len(routed))
        if any(answer.event.id == poison for answer in routed):
            raise RuntimeError("this transaction cannot be stored")
        return await fan_out(token, routed)

    monkeypatch.setattr(service.app.store, "fan_out", failing)
    run(install(concurrency=1).run_once())
    assert sizes == [9] + [1] * 9
    assert [status(service, run, each) for each in sent] == [
        "queued" if each == poison else "processed" for each in sent
    ]
    (summary,) = summaries(log)
    assert (summary["ok"], summary["error"], summary["deliveries"]) == (8, 1, 8)
    monkeypatch.undo()
    run(service.drain())
    assert poison not in receiver.ids


def test_a_transaction_that_hangs_is_given_up_and_its_events_are_claimed_again(
    service: Service,
    run: Run,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    clock: FrozenClock,
    receiver: Receiver,
    log: Log,
) -> None:
    run(service.subscribe(receiver.url))
    sent = send(service, run, 3)

    async def hanging(_token: int, _routed: Sequence[RoutedEvent]) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    processor = install(item_timeout_s=0.05, concurrency=1)
    with monkeypatch.context() as hangs:
        hangs.setattr(service.app.store, "fan_out", hanging)
        run(processor.run_once())
    (line,) = [line for line in log if line["event"] == "items timed out"]
    assert line == {
        "event": "items timed out", "log_level": "error", "count": 3, "timeout_s": 0.05
    }  # fmt: skip
    (summary,) = summaries(log)
    assert (summary["ok"], summary["timeout"], summary["events"]) == (0, 3, 3)
    assert result(service, "timeout") == 3
    processor = install()  # what does not hang has its time
    run(processor.run_once())
    assert processor.claimed == 0  # the lease holds
    clock.advance(seconds=45)
    run(service.drain())
    assert sorted(receiver.ids) == sent
    assert counted(service, "triggers_batch_events_count") == 2


def test_a_hanging_transaction_that_was_stored_all_the_same_is_not_stored_twice(
    service: Service,
    run: Run,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    clock: FrozenClock,
    receiver: Receiver,
) -> None:
    run(service.subscribe(receiver.url))
    sent = send(service, run, 3)
    fan_out = service.app.store.fan_out

    async def stored_then_hanging(token: int, routed: Sequence[RoutedEvent]) -> Sequence[str]:
        await fan_out(token, routed)
        await asyncio.Event().wait()
        raise AssertionError

    processor = install(item_timeout_s=0.05)
    with monkeypatch.context() as hangs:
        hangs.setattr(service.app.store, "fan_out", stored_then_hanging)
        run(processor.run_once())
    install()  # what does not hang has its time
    clock.advance(seconds=45)
    run(service.drain())
    assert sorted(receiver.ids) == sent
    assert run(service.call("GET", "/api/admin/verify", key=ADMIN_KEY)).json["ok"]


def test_a_store_that_is_away_is_nobodys_fault(
    service: Service,
    run: Run,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    clock: FrozenClock,
    receiver: Receiver,
) -> None:
    run(service.subscribe(receiver.url))
    (sent,) = send(service, run)
    processor = install()

    async def away(_token: int, _routed: Sequence[RoutedEvent]) -> Sequence[str]:
        raise StoreUnavailable

    with monkeypatch.context() as broken:
        broken.setattr(service.app.store, "fan_out", away)
        for _ in range(4):
            with pytest.raises(StoreUnavailable):
                run(processor.run_once())
            clock.advance(seconds=46)
    assert status(service, run, sent) == "queued"
    run(service.drain())
    assert receiver.ids == [sent]
    assert status(service, run, sent) == "processed"


def test_what_the_store_did_not_take_is_stored_with_the_next_turn_and_not_after_the_lease(
    service: Service,
    run: Run,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    receiver: Receiver,
    log: Log,
) -> None:
    run(service.subscribe(receiver.url))
    sent = send(service, run, 120)
    processor = install(batch_size=120)

    async def away(_token: int, _routed: Sequence[RoutedEvent]) -> Sequence[str]:
        raise StoreUnavailable

    with monkeypatch.context() as broken:
        broken.setattr(service.app.store, "fan_out", away)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                run(processor.run_once())
    run(processor.run_once())
    assert processor.claimed == 0
    assert {status(service, run, each) for each in sent} == {"processed"}
    assert sum(line["ok"] for line in summaries(log)) == len(sent)
    run(service.drain())
    assert sorted(receiver.ids) == sorted(sent)


def test_what_somebody_else_took_over_is_counted_as_stale(
    service: Service,
    run: Run,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    clock: FrozenClock,
    receiver: Receiver,
    log: Log,
) -> None:
    run(service.subscribe(receiver.url))
    sent = send(service, run, 2)
    fan_out = service.app.store.fan_out

    async def late(token: int, routed: Sequence[RoutedEvent]) -> Sequence[str]:
        clock.advance(seconds=46)
        monkeypatch.undo()
        await service.app.processor.run_once()
        return await fan_out(token, routed)

    processor = install(concurrency=1)
    install(concurrency=1)
    monkeypatch.setattr(service.app.store, "fan_out", late)
    run(processor.run_once())
    second, first = summaries(log)
    assert (first["ok"], first["stale"]) == (0, 2)
    assert (second["ok"], second["stale"]) == (2, 0)
    run(service.drain())
    assert sorted(receiver.ids) == sent
    stale = service.app.metrics.registry.get_sample_value(
        "triggers_stale_leases_total", {"verb": "fan_out"}
    )
    assert stale == 2
