"""The heartbeat: the process is heard of as long as it has work, and silent ones lose theirs."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from aiohttp import web
from tests.conftest import Enter, Log, Run

from triggers_api import __version__
from triggers_api.errors import StoreUnavailable
from triggers_api.model.worker import Worker
from triggers_api.store.base import Reaped
from triggers_api.testing import FrozenClock, Received, Receiver, Service

Leave = Callable[[AbstractAsyncContextManager[object]], None]


def heard(service: Service, run: Run) -> Worker:
    """The only process on the store."""
    (worker,) = run(service.app.store.workers())
    return worker


def test_a_process_is_heard_of_from_its_start_by_an_id_of_its_own(
    service: Service, run: Run, clock: FrozenClock
) -> None:
    worker = heard(service, run)
    host, pid, random = worker.id.rsplit("-", 2)
    assert (host, pid) == (socket.gethostname(), str(os.getpid()))
    assert re.fullmatch("[0-9a-f]{8}", random)
    assert worker.id == service.app.worker_id
    assert worker.roles == ("api", "processor", "dispatcher")
    assert worker.version == __version__
    assert worker.started_at == worker.seen_at == clock()


def test_each_beat_says_when_it_was(service: Service, run: Run, clock: FrozenClock) -> None:
    began = clock()
    clock.advance(seconds=2)
    assert run(service.app.heartbeat.run_once()) == 2.0
    worker = heard(service, run)
    assert (worker.started_at, worker.seen_at) == (began, clock())
    assert service.app.heartbeat.worker == worker


def freeing(service: Service, monkeypatch: pytest.MonkeyPatch, *answers: Reaped) -> None:
    """Let the next beats find work of silent processes."""
    left = [*answers]

    async def beat(_worker: Worker) -> Reaped:
        return left.pop(0)

    monkeypatch.setattr(service.app.store, "beat", beat)


def test_what_silent_processes_held_is_counted_and_said(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    freeing(service, monkeypatch, Reaped(), Reaped(events=3, deliveries=2), Reaped())
    for _ in range(3):
        run(service.app.heartbeat.run_once())
    sample = service.app.metrics.registry.get_sample_value
    assert sample("triggers_recovered_total", {"kind": "event"}) == 3
    assert sample("triggers_recovered_total", {"kind": "delivery"}) == 2
    assert log == [
        {"event": "work of silent processes freed", "log_level": "warning", "events": 3,
         "deliveries": 2}
    ]  # fmt: skip


@pytest.mark.parametrize("freed", [Reaped(events=1), Reaped(deliveries=1)])
def test_whoever_waits_for_work_is_woken_when_some_was_freed(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch, freed: Reaped
) -> None:
    freeing(service, monkeypatch, freed)
    store = service.app.store

    async def main() -> None:
        waiting = [
            asyncio.create_task(store.wait_queue(60)),
            asyncio.create_task(store.wait_deliveries(60)),
        ]
        await asyncio.sleep(0)
        await service.app.heartbeat.run_once()
        await asyncio.gather(*waiting)

    run(main())


def test_a_beat_that_is_not_answered_is_given_up(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forever(_worker: Worker) -> Reaped:
        await asyncio.Event().wait()
        return Reaped()

    before = service.app.heartbeat.worker
    monkeypatch.setattr(service.app.store, "beat", forever)
    monkeypatch.setattr("triggers_api.operate.heartbeat._PATIENCE_S", 0.01)
    with pytest.raises(StoreUnavailable, match=r"has not answered for 0\.01 s"):
        run(service.app.heartbeat.run_once())
    assert service.app.heartbeat.worker == before


def test_live_it_beats_until_the_last_delivery_is_settled(
    run: Run,
    enter: Enter,
    leave: Leave,
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise others would take what is under way for lost, and send it again."""
    monkeypatch.setattr("triggers_api.operate.heartbeat._EVERY_S", 0.01)
    service = enter(Service(tmp_path))
    arrived, enough = asyncio.Event(), asyncio.Event()
    at_the_end = 0
    beat = service.app.store.beat

    async def counted(worker: Worker) -> Reaped:
        nonlocal at_the_end
        at_the_end += service.app.ingest.draining
        if at_the_end == 3:
            enough.set()
        return await beat(worker)

    async def slow(_request: Received) -> web.Response:
        arrived.set()
        await enough.wait()
        return web.Response(status=204)

    service.app.store.beat = counted  # type: ignore[method-assign]
    receiver.always(slow)

    async def main() -> None:
        await service.subscribe(receiver.url)
        await service.send("a")
        await arrived.wait()

    run(main())
    leave(service)
    again = enter(Service(tmp_path, clock=FrozenClock("2036-01-01T00:00:00Z")))
    run(again.drain())
    assert len(receiver.requests) == 1
