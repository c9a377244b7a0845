"""What waits and whose it is, and work on it that is asked for."""

from __future__ import annotations

import pytest
from tests.conftest import Enter, MakeService, Run
from tests.http.conftest import assert_problem
from tests.http.test_controls import Operator

from triggers_api.testing import FrozenClock, Receiver, Service


@pytest.fixture
def fresh(enter: Enter, make_service: MakeService, clock: FrozenClock) -> Service:
    return enter(make_service(clock=clock))


@pytest.fixture
def operator(fresh: Service, run: Run) -> Operator:
    return Operator(fresh, run)


def test_an_empty_service_has_nothing_in_its_queues(operator: Operator) -> None:
    shown = operator.ask("GET", "/queues").json
    assert shown["events"] == {
        "depth": 0, "leased": 0, "stuck": 0, "oldest_age_s": 0.0, "scheduled": 0, "level": "normal",
        "buffered": 0, "buffer_pending": 0, "buffer_poisoned": 0,
    }  # fmt: skip
    assert shown["deliveries"] == {"waiting": 0, "leased": 0, "breakers_open": 0}
    assert (shown["organizations"], shown["subscriptions"]) == ([], [])


def test_the_queues_say_what_waits_how_long_and_whose_it_is(
    operator: Operator, run: Run, clock: FrozenClock
) -> None:
    service = operator.service
    acme, key = operator.organization("Acme")
    made = run(service.subscribe("http://127.0.0.1:9/"))
    for _ in range(3):
        operator.send()
    run(service.app.processor.run_once())
    operator.turn(f"?subscription_id={made['id']}", delivery="paused")
    clock.advance(seconds=5)
    for _ in range(2):
        operator.send(key)
    operator.send()
    later = {"type": "a", "payload": 1, "deliver_at": "2026-01-02T00:00:00Z"}
    run(service.call("POST", "/api/events", later))
    operator.turn(f"?organization_id={acme}", processing="paused")
    clock.advance(seconds=5)
    shown = operator.ask("GET", "/queues?limit=1").json
    assert (shown["events"]["depth"], shown["events"]["scheduled"]) == (3, 1)
    assert shown["events"]["oldest_age_s"] == 5.0
    assert shown["events_counted"] == 3
    (most,) = shown["organizations"]
    assert most == {
        "organization_id": acme, "name": "Acme", "depth": 2, "leased": 0, "stuck": 0,
        "oldest_age_s": 5.0, "paused": True,
    }  # fmt: skip
    (most,) = shown["subscriptions"]
    assert (most["subscription_id"], most["waiting"], most["due"]) == (made["id"], 3, 3)
    assert (most["oldest_age_s"], most["leased"]) == (10.0, 0)
    assert (most["status"], most["delivery"]) == ("active", "paused")
    shown = operator.ask("GET", "/queues").json
    assert [each["depth"] for each in shown["organizations"]] == [2, 1]
    for path in ("?limit=0", "?limit=1001", "?top=3"):
        answer = operator.ask("GET", f"/queues{path}")
        assert_problem(answer, 422, "validation-failed")


def test_a_turn_by_hand_routes_a_batch_also_while_processing_is_paused(
    operator: Operator, run: Run, receiver: Receiver
) -> None:
    run(operator.service.subscribe(receiver.url))
    operator.turn(processing="paused", batch_size=2)
    for _ in range(3):
        operator.send()
    run(operator.service.drain())
    assert receiver.requests == []
    turned = operator.ask("POST", "/process")
    assert turned.status == 200
    assert turned.json == {
        "claimed": 2, "ok": 2, "deliveries": 2, "error": 0, "set_aside": 0, "timeout": 0, "stale": 0,
        "unfinished": False,
    }  # fmt: skip
    assert operator.ask("POST", "/process", {}).json["claimed"] == 1
    assert operator.ask("POST", "/process").json["claimed"] == 0
    assert_problem(operator.ask("POST", "/process", {"a": 1}), 422, "validation-failed")
    run(operator.service.drain())
    assert len(receiver.ids) == 3


def test_a_turn_by_hand_leaves_a_paused_organizations_events(operator: Operator) -> None:
    acme, key = operator.organization("Acme")
    operator.turn(f"?organization_id={acme}", processing="paused")
    operator.send(key)
    assert operator.ask("POST", "/process").json["claimed"] == 0


def test_what_a_dead_worker_holds_is_taken_back_when_that_is_asked_for(
    operator: Operator, run: Run, clock: FrozenClock
) -> None:
    for _ in range(2):
        operator.send()
    run(operator.service.app.store.claim_queue(10, 45))
    clock.advance(seconds=40)
    assert operator.ask("POST", "/requeue-stuck").json["events"] == 0
    clock.advance(seconds=6)
    shown = operator.ask("GET", "/queues").json
    assert (shown["events"]["stuck"], shown["events"]["level"]) == (2, "warning")
    assert operator.ask("POST", "/requeue-stuck").json == {
        "events": 2, "deliveries": 0, "cancelled": 0, "mended": 0,
    }  # fmt: skip
