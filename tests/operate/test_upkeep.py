"""Reaper and monitor: what is stuck is freed and counted, what is seen is shown."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from tests.conftest import PATIENCE_S, Enter, Log, Run
from tests.rooms import rooms

from triggers_api.errors import Problem, StorageFull, StoreUnavailable
from triggers_api.model.controls import Switches, turn
from triggers_api.store.base import QueueStats
from triggers_api.testing import ADMIN_KEY, FrozenClock, Receiver, Service


@pytest.fixture(autouse=True)
def fresh_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggers_api.store.sqlite.store._STATS_KEPT_S", -1)


def recovered(service: Service, kind: str) -> float:
    value = service.app.metrics.registry.get_sample_value(
        "triggers_recovered_total", {"kind": kind}
    )
    return value or 0.0


# ── reaper ────────────────────────────────────────────────────────────────────────────────────────


def test_a_sweep_frees_what_a_lost_worker_held_and_counts_it(
    service: Service, run: Run, clock: FrozenClock, receiver: Receiver, log: Log
) -> None:
    run(service.subscribe(receiver.url))
    run(service.send("a"))
    run(service.app.processor.run_once())
    run(service.app.store.claim_deliveries(10, 45, rooms=rooms(10)))
    for number in range(3):
        run(service.send("a", number))
    run(service.app.store.claim_queue(10, 45))
    assert run(service.app.reaper.run_once()) == 300.0
    assert (recovered(service, "event"), recovered(service, "delivery")) == (0, 0)
    assert not [line for line in log if line["event"] == "stuck items recovered"]
    clock.advance(seconds=45)
    run(service.app.reaper.run_once())
    assert (recovered(service, "event"), recovered(service, "delivery")) == (3, 1)
    (line,) = [line for line in log if line["event"] == "stuck items recovered"]
    assert (line["events"], line["deliveries"], line["cancelled"]) == (3, 1, 0)
    assert line["log_level"] == "warning"
    run(service.app.reaper.run_once())
    assert (recovered(service, "event"), recovered(service, "delivery")) == (3, 1)
    run(service.drain())
    assert len(receiver.requests) == 4


def test_a_sweep_takes_away_what_inboxes_left_piece_by_piece(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.operate.reaper._AT_ONCE", 2)
    for number in range(5):
        run(service.send("a", number))
    assert len(run(service.call("POST", "/api/inbox/pull", {})).json["data"]) == 5
    run(service.call("POST", "/api/inbox/seek", {"to": "start"}))
    run(service.app.reaper.run_once())
    assert run(service.app.store.prune_inboxes(10)) == 0
    assert len(run(service.call("POST", "/api/inbox/pull", {})).json["data"]) == 5


def test_an_old_backlog_is_not_stuck(service: Service, run: Run, clock: FrozenClock) -> None:
    for number in range(3):
        run(service.send("a", number))
    clock.advance(seconds=86_400)
    run(service.app.reaper.run_once())
    assert recovered(service, "event") == 0
    books = run(service.call("GET", "/api/admin/verify", key=ADMIN_KEY)).json
    assert books["organizations"][0]["queued"] == 3


def test_live_the_first_sweep_is_at_the_start_and_others_follow(
    run: Run, enter: Enter, tmp_path: Path
) -> None:
    service = Service(tmp_path, sweep_s=0.1)
    sweeps = 0

    async def counted() -> None:
        while sweeps < 3:
            await service.call("GET", "/livez")

    enter(service)
    reap = service.app.store.reap

    async def reaping() -> object:
        nonlocal sweeps
        sweeps += 1
        return await reap()

    service.app.store.reap = reaping  # type: ignore[method-assign, assignment]
    run(counted())


# ── monitor ───────────────────────────────────────────────────────────────────────────────────────


def gauge(service: Service, name: str) -> float:
    value = service.app.metrics.registry.get_sample_value(name)
    assert value is not None
    return value


def test_a_look_is_shown_in_the_gauges(
    service: Service, run: Run, clock: FrozenClock, receiver: Receiver
) -> None:
    receiver.replies(500)
    run(service.subscribe(receiver.url))
    run(service.send("a"))
    run(service.drain())
    for number in range(4):
        run(service.send("a", number))
    run(service.send("a", deliver_at="2030-01-01T00:00:00Z"))
    run(service.app.store.claim_queue(2, 45))
    clock.advance(seconds=3)
    assert run(service.app.monitor.run_once()) == 0.5
    assert gauge(service, "triggers_queue_depth") == 4
    assert gauge(service, "triggers_queue_scheduled") == 1
    assert gauge(service, "triggers_queue_leased") == 2
    assert gauge(service, "triggers_queue_stuck") == 0
    assert gauge(service, "triggers_queue_oldest_age_seconds") == 3
    assert gauge(service, "triggers_deliveries_waiting") == 1
    assert gauge(service, "triggers_deliveries_in_flight") == 0
    clock.advance(seconds=60)
    run(service.app.monitor.run_once())
    assert gauge(service, "triggers_queue_stuck") == 2


@pytest.mark.parametrize(
    ("depth", "level"),
    [(0, "normal"), (100, "normal"), (101, "warning"), (1000, "warning"), (1001, "critical")],
)
def test_levels(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch, depth: int, level: str
) -> None:
    async def stats() -> object:
        return msgspec.structs.replace(service.app.monitor.stats, depth=depth)

    monkeypatch.setattr(service.app.store, "stats", stats)
    run(service.app.monitor.run_once())
    assert service.app.monitor.level == level


def problem(service: Service) -> Problem | None:
    return service.app.monitor.store_problem


def test_a_store_problem_is_said_once_and_its_end_as_well(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    async def full() -> None:
        raise StorageFull

    with monkeypatch.context() as broken:
        broken.setattr(service.app.store, "check", full)
        for _ in range(3):
            run(service.app.monitor.run_once())
        assert isinstance(problem(service), StorageFull)
    for _ in range(3):
        run(service.app.monitor.run_once())
    assert problem(service) is None
    assert [(line["event"], line["log_level"]) for line in log] == [
        ("the store cannot be written to", "error"),
        ("the store can be written to again", "info"),
    ]


@pytest.mark.parametrize("silent", ["check", "changes"])
def test_a_store_that_does_not_answer_at_all_is_a_problem_too(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    """As over a connection into a black hole: no error, no answer."""

    async def forever(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("triggers_api.operate.monitor._PATIENCE_S", 0.01)
    with monkeypatch.context() as hanging:
        hanging.setattr(service.app.store, silent, forever)
        run(service.app.monitor.run_once())
        assert isinstance(problem(service), StoreUnavailable)
        assert not service.app.readiness().ready
    monkeypatch.undo()
    run(service.app.monitor.run_once())
    assert service.app.readiness().ready


def test_a_store_that_has_not_answered_for_a_second_is_a_problem_before_it_is_given_up(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.operate.monitor._OVERDUE_S", 0.01)
    answered = asyncio.Event()
    monitor = service.app.monitor
    assert problem(service) is None

    async def slowly() -> None:
        await answered.wait()

    async def look() -> None:
        looking = asyncio.create_task(monitor.run_once())
        while monitor.store_problem is None:  # noqa: ASYNC110 - time is what is waited for
            await asyncio.sleep(0)
        assert isinstance(monitor.store_problem, StoreUnavailable)
        assert not service.app.readiness().ready
        answered.set()
        await looking
        assert monitor.store_problem is None

    monkeypatch.setattr(service.app.store, "check", slowly)
    run(look())


def test_a_count_that_takes_its_time_does_not_keep_the_next_look_waiting(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.operate.monitor._COUNT_AWAITED_S", 0.01)
    counted = asyncio.Event()
    counts = 0
    stats = service.app.store.stats

    async def slowly() -> QueueStats:
        nonlocal counts
        counts += 1
        await counted.wait()
        return await stats()

    async def look() -> None:
        for _ in range(3):
            await service.app.monitor.run_once()
        assert (counts, service.app.monitor.stats.depth) == (1, 0)
        monkeypatch.setattr("triggers_api.operate.monitor._COUNT_AWAITED_S", PATIENCE_S)
        counted.set()
        await service.app.monitor.run_once()
        assert (counts, service.app.monitor.stats.depth) == (1, 1)

    run(service.send("a"))
    monkeypatch.setattr(service.app.store, "stats", slowly)
    run(look())


def test_depths_that_cannot_be_counted_in_time_are_said_once_and_keep_nobody_from_writing(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    run(service.app.monitor.run_once())
    before = service.app.monitor.stats
    with monkeypatch.context() as hanging:
        hanging.setattr("triggers_api.operate.monitor._COUNT_PATIENCE_S", 0.01)
        hanging.setattr(service.app.store, "stats", forever)
        for _ in range(2):
            run(service.app.monitor.run_once())
            assert problem(service) is None
            assert service.app.readiness().ready
            assert service.app.monitor.stats == before
    run(service.send("a"))
    run(service.app.monitor.run_once())
    assert service.app.monitor.stats.depth == 1
    told = [line["event"] for line in log if line["log_level"] != "debug"]
    assert told == ["the depths could not be counted"]


def test_a_look_takes_in_what_another_process_changed(service: Service, run: Run) -> None:
    store = service.app.store
    run(store.save_switches(turn(Switches(), {"batch_size": 7}, at=store.now(), by="key_1")))
    assert service.app.directory.controls.batch_size is None
    run(service.app.monitor.run_once())
    assert service.app.directory.controls.batch_size == 7
