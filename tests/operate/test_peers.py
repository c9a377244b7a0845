"""A worker that is gone, as the processes see it that are left; and how late the event loop is."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry
from tests.conftest import Enter, Log, MakeService, Run

from triggers_api.errors import StoreUnavailable
from triggers_api.model.worker import Worker
from triggers_api.operate.lag import LoopLag
from triggers_api.telemetry.metrics import Metrics
from triggers_api.testing import FrozenClock, Service


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float:
    value = registry.get_sample_value(name, labels)
    assert value is not None
    return value


class Listed:
    """Another process on the store of a service, as far as the store knows."""

    def __init__(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, *roles: str, clock: FrozenClock
    ) -> None:
        self.clock = clock
        self.worker = Worker(
            id="other-1-abcdef01", roles=roles, version="1", started_at=clock(), seen_at=clock()
        )
        self.away = False
        monkeypatch.setattr(service.app.store, "workers", self.workers)

    async def workers(self) -> list[Worker]:
        if self.away:
            raise StoreUnavailable
        return [self.worker]


def ready(service: Service, run: Run) -> tuple[int, str, str]:
    answer = run(service.call("GET", "/readyz", key=None))
    return answer.status, answer.json["status"], answer.json["checks"]["workers"]


def test_a_dead_worker_is_seen_by_the_others_and_traffic_may_come_all_the_same(
    run: Run,
    enter: Enter,
    make_service: MakeService,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
    log: Log,
) -> None:
    service = enter(make_service(clock=clock))
    assert ready(service, run) == (200, "ready", "ok")
    other = Listed(service, monkeypatch, "processor", "dispatcher", clock=clock)
    assert run(service.app.peers.run_once()) == 1.0
    assert ready(service, run) == (200, "ready", "ok")
    registry = service.app.metrics.registry
    assert sample(registry, "triggers_processes", role="processor") == 2
    clock.advance(seconds=6)
    # A store that is away says nothing of others.
    other.away = True
    run(service.app.peers.run_once())
    assert ready(service, run) == (200, "ready", "ok")
    other.away = False
    for _ in range(2):
        run(service.app.peers.run_once())
    assert ready(service, run) == (200, "degraded", "lost")
    assert sample(registry, "triggers_processes", role="processor") == 1
    assert sample(registry, "triggers_processes_lost_total") == 1
    shown = run(service.call("GET", "/metrics", key=None)).body.decode()
    assert 'triggers_check{check="workers"} 0.0' in shown
    assert "triggers_ready 1.0" in shown
    (line,) = [line for line in log if line["event"] == "process lost"]
    assert (line["worker_id"], line["roles"]) == (other.worker.id, ["processor", "dispatcher"])


def test_a_stall_of_the_event_loop_is_measured_and_said(
    run: Run, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.operate.lag._WORTH_SAYING_S", 0.05)
    metrics = Metrics()
    lag = LoopLag(metrics=metrics)

    async def stall() -> None:
        waiting = asyncio.create_task(lag.wait(await lag.run_once() / 100))
        await asyncio.sleep(0)
        time.sleep(0.1)  # noqa: ASYNC251 - this is the fault
        await waiting

    run(stall())
    late_s = sample(metrics.registry, "triggers_event_loop_lag_seconds_sum")
    assert late_s >= 0.05
    (line,) = log
    assert line["event"] == "the event loop stood still"
    assert line["seconds"] == pytest.approx(late_s, abs=0.001)


def test_how_late_the_loop_is_shows_also_when_it_is_not(run: Run) -> None:
    metrics = Metrics()
    run(LoopLag(metrics=metrics).wait(0))
    assert sample(metrics.registry, "triggers_event_loop_lag_seconds_count") == 1
