"""The service's own events: who asked for them gets them, and nobody else sees that there are any."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.conftest import Enter, Run
from tests.scenario.conftest import Ask

from triggers_api.testing import FrozenClock, Receiver, Service


@pytest.fixture
def operator(enter: Enter) -> Receiver:
    """Who receives operational events."""
    return enter(Receiver())


def told(receiver: Receiver) -> list[Any]:
    return [json.loads(request.body) for request in receiver.requests]


def asks(service: Service, run: Run, operator: Receiver, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return run(service.subscribe(operator.url, operational=True, **fields))


def test_a_dead_letter_is_told_to_who_asked(
    service: Service, run: Run, ask: Ask, receiver: Receiver, operator: Receiver
) -> None:
    asks(service, run, operator, event_types=["delivery.*"])
    receiver.replies(500)
    failing = run(service.subscribe(receiver.url, retry_schedule=[]))
    event_id = ask.event("order.created", {"secret": "of the customer"})
    ask.drain()
    (request,) = operator.requests
    delivery = ask.delivery(event_id)
    message = json.loads(request.body)
    assert message["type"] == "delivery.dead"
    assert message["data"] == {
        "at": message["timestamp"],
        "subscription_id": failing["id"],
        "delivery_id": delivery["id"],
        "event_id": event_id,
        "event_type": "order.created",
        "reason": delivery["reason"],
        "attempt_count": 1,
        "status_code": 500,
    }
    assert len(receiver.requests) == 1


def test_an_endpoint_that_is_gone_is_told_once(
    service: Service, run: Run, ask: Ask, receiver: Receiver, operator: Receiver
) -> None:
    asks(service, run, operator)
    receiver.replies(410)
    failing = run(service.subscribe(receiver.url))["id"]
    for _ in range(3):
        ask.event()
    ask.drain()
    (message,) = told(operator)
    assert message["type"] == "subscription.disabled"
    assert message["data"] == {
        "at": message["timestamp"],
        "subscription_id": failing,
        "reason": "receiver answered 410 Gone",
    }


def test_who_did_not_ask_sees_no_change(
    service: Service, run: Run, ask: Ask, receiver: Receiver
) -> None:
    receiver.replies(500)
    run(service.subscribe(receiver.url, retry_schedule=[]))
    event_id = ask.event()
    ask.drain()
    assert len(receiver.requests) == 1
    assert ask.get("/api/events?operational=true")["data"] == []
    assert [each["id"] for each in ask.get("/api/events")["data"]] == [event_id]
    assert ask.books()["accepted"] == 1
    assert run(service.app.store.notices(1)) == []


def test_what_is_told_is_listed_apart_and_found_by_id(
    service: Service, run: Run, ask: Ask, receiver: Receiver, operator: Receiver
) -> None:
    made = asks(service, run, operator)
    receiver.replies(410)
    ordinary = run(service.subscribe(receiver.url))["id"]
    event_id = ask.event()
    ask.drain()
    assert [each["id"] for each in ask.get("/api/events")["data"]] == [event_id]
    (own,) = ask.get("/api/events?operational=true")["data"]
    assert (own["type"], own["operational"]) == ("subscription.disabled", True)
    assert ask.get(f"/api/events/{own['id']}")["key"] == ordinary
    why = {
        each["subscription_id"]: each
        for each in ask.get(f"/api/events/{own['id']}/explain")["subscriptions"]
    }
    assert (why[made["id"]]["matched"], why[made["id"]]["reason"]) == (True, "matched")
    assert (why[ordinary]["matched"], why[ordinary]["reason"]) == (False, "type")
    assert why[ordinary]["detail"] == "it gets none of the service's own events"
    (other,) = (
        each
        for each in ask.get(f"/api/events/{event_id}/explain")["subscriptions"]
        if each["subscription_id"] == made["id"]
    )
    assert (other["matched"], other["detail"]) == (False, "it gets the service's own events only")


def test_what_cannot_be_told_is_not_told_of(
    service: Service, run: Run, ask: Ask, receiver: Receiver, operator: Receiver
) -> None:
    operator.replies(500)
    asks(service, run, operator, retry_schedule=[])
    receiver.replies(500)
    run(service.subscribe(receiver.url, retry_schedule=[]))
    ask.event()
    ask.drain()
    assert len(operator.requests) == 1
    assert len(ask.get("/api/events?operational=true")["data"]) == 1
    assert len(ask.get("/api/dead-letters")["data"]) == 2


def test_of_an_operational_event_nothing_is_told_whoever_it_goes_to(
    service: Service, run: Run, ask: Ask, receiver: Receiver, operator: Receiver
) -> None:
    asks(service, run, operator)
    operator.always(500)
    made = run(service.subscribe(operator.url, operational=True, retry_schedule=[]))["id"]
    ask.do("POST", f"/api/subscriptions/{made}/pause")
    receiver.replies(410)
    run(service.subscribe(receiver.url))
    ask.event()
    ask.drain()
    ask.do("PATCH", f"/api/subscriptions/{made}", {"operational": False})
    ask.do("POST", f"/api/subscriptions/{made}/resume")
    ask.drain()
    assert len(ask.get("/api/dead-letters")["data"]) == 1
    assert len(ask.get("/api/events?operational=true")["data"]) == 1


def test_it_waits_for_one_that_is_paused(
    service: Service, run: Run, ask: Ask, receiver: Receiver, operator: Receiver
) -> None:
    made = asks(service, run, operator)
    ask.do("POST", f"/api/subscriptions/{made['id']}/pause")
    receiver.replies(410)
    run(service.subscribe(receiver.url))
    ask.event()
    ask.drain()
    assert operator.requests == []
    ask.do("POST", f"/api/subscriptions/{made['id']}/resume")
    ask.drain()
    assert len(operator.requests) == 1


def test_types_and_filters_choose_among_them(
    service: Service, run: Run, ask: Ask, receiver: Receiver, operator: Receiver
) -> None:
    asks(service, run, operator, event_types=["job.*"])
    asks(service, run, operator, filter='payload.reason.contains("Gone")', payload_format="raw")
    receiver.replies(410)
    run(service.subscribe(receiver.url))
    ask.event()
    ask.drain()
    (message,) = told(operator)
    assert message["reason"] == "receiver answered 410 Gone"


@pytest.mark.parametrize("ingest", ["async", "sync"])
def test_nobody_can_send_one(
    service: Service, run: Run, ask: Ask, operator: Receiver, ingest: str
) -> None:
    asks(service, run, operator)
    ask.turn(ingest=ingest)
    refused = run(service.send("subscription.disabled", {}, operational=True))
    assert refused.status == 422
    ask.event("subscription.disabled", {"subscription_id": "sub_1"})
    ask.drain()
    assert operator.requests == []


def test_from_when_it_asks_an_organization_is_told_and_until_it_asks_no_more(
    service: Service, run: Run, ask: Ask, receiver: Receiver, operator: Receiver, clock: FrozenClock
) -> None:
    receiver.always(500)
    run(service.subscribe(receiver.url, retry_schedule=[]))
    made = run(service.subscribe(operator.url, ["delivery.dead"]))["id"]
    for operational in (False, True, False):
        ask.do("PATCH", f"/api/subscriptions/{made}", {"operational": operational})
        clock.advance(seconds=1)
        ask.event()
        ask.drain()
    assert [message["type"] for message in told(operator)] == ["delivery.dead"]


def test_the_end_of_a_job_is_told(
    service: Service, run: Run, ask: Ask, receiver: Receiver, operator: Receiver
) -> None:
    asks(service, run, operator, event_types=["job.*"])
    receiver.replies(500)
    run(service.subscribe(receiver.url, retry_schedule=[]))
    ask.event()
    ask.drain()
    job = ask.do("POST", "/api/dead-letters/replay", {}, status=202)
    ask.drain()
    (message,) = told(operator)
    assert message["type"] == "job.finished"
    assert message["data"] == {
        "at": message["timestamp"],
        "job_id": job["id"],
        "kind": "replay",
        "status": "done",
        "total": 1,
        "done": 1,
        "failed": 0,
    }


def test_what_was_told_before_it_asked_is_replayed_to_an_operational_subscription_only(
    service: Service, run: Run, ask: Ask, receiver: Receiver, operator: Receiver, enter: Enter
) -> None:
    asks(service, run, operator)
    receiver.replies(410)
    run(service.subscribe(receiver.url))
    ask.event()
    ask.drain()
    later = enter(Receiver())
    for operational in (True, False):
        types = ["subscription.*", "order.*"]
        made = run(service.subscribe(later.url, types, operational=operational))
        ask.do("POST", "/api/replays", {"subscription_id": made["id"]}, status=202)
        ask.drain()
    assert [each["type"] for each in told(later)] == ["subscription.disabled", "order.created"]
