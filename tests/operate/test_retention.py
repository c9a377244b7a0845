"""Attempts are deleted when they are old, piece by piece, and counted."""

from __future__ import annotations

import pytest
from tests.conftest import Enter, Log, MakeService, Run

from triggers_api.testing import FrozenClock, Receiver, Service

DAY_S = 86_400
HOUR_S = 3600.0


def pruned(service: Service) -> float:
    value = service.app.metrics.registry.get_sample_value(
        "triggers_pruned_total", {"kind": "attempt"}
    )
    return value or 0.0


def attempts(service: Service, run: Run) -> list[int]:
    """How many attempts each delivery has on file, the newest first."""
    listed = run(service.call("GET", "/api/deliveries")).json["data"]
    found = [run(service.call("GET", f"/api/deliveries/{each['id']}")).json for each in listed]
    return [len(each["attempts"]) for each in found]


def delivered(service: Service, run: Run, count: int) -> None:
    for number in range(count):
        run(service.send("a", number))
    run(service.drain())


def test_attempts_go_when_they_have_been_kept_for_as_long_as_the_setting_says(
    service: Service, run: Run, receiver: Receiver, clock: FrozenClock, log: Log
) -> None:
    run(service.subscribe(receiver.url))
    delivered(service, run, 2)
    clock.advance(seconds=DAY_S)
    delivered(service, run, 1)
    clock.advance(seconds=29 * DAY_S - 1)
    assert run(service.app.retention.run_once()) == HOUR_S
    assert (attempts(service, run), pruned(service)) == ([1, 1, 1], 0)
    clock.advance(seconds=2)
    assert run(service.app.retention.run_once()) == HOUR_S
    assert (attempts(service, run), pruned(service)) == ([1, 0, 0], 2)
    (line,) = [line for line in log if line["event"] == "old attempts deleted"]
    assert line["count"] == 2
    run(service.app.retention.run_once())
    assert pruned(service) == 2


def test_a_sweep_is_made_in_pieces_with_a_breath_between_them(
    service: Service,
    run: Run,
    receiver: Receiver,
    clock: FrozenClock,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("triggers_api.operate.retention.AT_ONCE", 2)
    run(service.subscribe(receiver.url))
    delivered(service, run, 5)
    clock.advance(seconds=31 * DAY_S)
    pauses = [run(service.app.retention.run_once()) for _ in range(3)]
    assert [pause < 1 for pause in pauses] == [True, True, False]
    assert pruned(service) == 5
    assert [line["count"] for line in log if line["event"] == "old attempts deleted"] == [5]


def test_with_0_days_attempts_are_kept_for_ever(
    make_service: MakeService, enter: Enter, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    service = enter(make_service(clock=clock, attempt_retention_days=0))
    run(service.subscribe(receiver.url))
    delivered(service, run, 1)
    clock.advance(seconds=3650 * DAY_S)
    assert run(service.app.retention.run_once()) == HOUR_S
    assert attempts(service, run) == [1]
