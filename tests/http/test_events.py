"""``/api/events/{id}``: an event with what became of it, and its end."""

from __future__ import annotations

import pytest
from tests.conftest import Enter, MakeService, Run
from tests.http.conftest import assert_problem

from triggers_api.testing import FrozenClock, Receiver, Service


@pytest.fixture
def service(enter: Enter, make_service: MakeService, clock: FrozenClock) -> Service:
    return enter(make_service(clock=clock, retry_schedule=(10.0,)))


def test_an_event_tells_what_became_of_it(
    service: Service, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    receiver.replies(500, 204)
    subscription = run(service.subscribe(receiver.url))
    event_id = run(service.send("order.created", {"n": 1})).json["id"]
    clock.advance(seconds=1)
    run(service.drain())
    clock.advance(seconds=12)
    run(service.drain())
    found = run(service.call("GET", f"/api/events/{event_id}")).json
    assert found["status"] == "processed"
    (delivery,) = found["deliveries"]
    assert set(delivery) == {
        "id", "event_id", "event_type", "subscription_id", "status", "reason", "origin",
        "attempt_count", "next_attempt_at", "created_at", "finished_at", "sequence",
    }  # fmt: skip
    assert delivery["event_id"] == event_id
    assert delivery["event_type"] == "order.created"
    assert delivery["subscription_id"] == subscription["id"]
    assert (delivery["status"], delivery["attempt_count"]) == ("succeeded", 2)
    assert delivery["origin"] == "event"
    assert delivery["next_attempt_at"] is None
    assert delivery["created_at"] == "2026-01-01T12:00:01.000Z"
    assert delivery["finished_at"] == "2026-01-01T12:00:13.000Z"
    assert [(each["at"], each["what"]) for each in found["timeline"]] == [
        ("2026-01-01T12:00:00.000Z", "received"),
        ("2026-01-01T12:00:01.000Z", "processed"),
        ("2026-01-01T12:00:01.000Z", "attempt"),
        ("2026-01-01T12:00:13.000Z", "attempt"),
        ("2026-01-01T12:00:13.000Z", "succeeded"),
    ]
    assert [each["detail"] for each in found["timeline"] if each["what"] == "attempt"] == [
        "1: 500",
        "2: 204",
    ]


def test_a_deleted_event_is_gone_and_what_was_pending_for_it_is_cancelled(
    service: Service, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    receiver.replies(204, 500)
    run(service.subscribe(receiver.url))
    run(service.subscribe(receiver.url))
    event_id = run(service.send("order.created", "the payload", dedup_id="once")).json["id"]
    run(service.drain())
    assert run(service.call("DELETE", f"/api/events/{event_id}")).status == 204
    assert_problem(run(service.call("GET", f"/api/events/{event_id}")), 404, "not-found")
    assert_problem(run(service.call("DELETE", f"/api/events/{event_id}")), 404, "not-found")
    for query in ("", "?dedup_id=once", "?type=order.created", "?status=processed"):
        assert run(service.call("GET", f"/api/events{query}")).json["data"] == []
    clock.advance(seconds=60)
    run(service.drain())
    assert len(receiver.requests) == 2
    deliveries = run(service.call("GET", "/api/deliveries")).json["data"]
    assert sorted(each["status"] for each in deliveries) == ["cancelled", "succeeded"]


def test_an_event_deleted_before_it_was_routed_goes_nowhere(
    service: Service, run: Run, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url))
    event_id = run(service.send("order.created")).json["id"]
    answer = run(service.call("DELETE", f"/api/events/{event_id}"))
    assert (answer.status, answer.body) == (204, b"")
    run(service.drain())
    assert receiver.requests == []
    assert run(service.call("GET", "/api/deliveries")).json["data"] == []


def test_a_scheduled_event_waits_for_its_time_and_is_routed_by_the_subscriptions_of_that_time(
    service: Service, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    gone = run(service.subscribe(receiver.url))
    kept = run(service.subscribe(receiver.url))
    when = "2026-01-01T13:00:00.000Z"
    event_id = run(service.send("order.created", 1, deliver_at=when)).json["id"]
    run(service.subscribe(receiver.url, filter="payload == 2"))
    run(service.drain())
    found = run(service.call("GET", f"/api/events/{event_id}")).json
    assert (found["status"], found["deliver_at"]) == ("scheduled", when)
    assert [each["what"] for each in found["timeline"]] == ["received"]
    for status, count in (("scheduled", 1), ("queued", 0)):
        listed = run(service.call("GET", f"/api/events?status={status}")).json["data"]
        assert len(listed) == count
    run(service.call("DELETE", f"/api/subscriptions/{gone['id']}"))
    clock.advance(seconds=3600)
    run(service.drain())
    found = run(service.call("GET", f"/api/events/{event_id}")).json
    assert found["status"] == "processed"
    assert [each["subscription_id"] for each in found["deliveries"]] == [kept["id"]]
    assert receiver.ids == [event_id]


def test_an_event_whose_time_is_past_is_routed_at_once_and_there_may_be_centuries_to_wait(
    service: Service, run: Run
) -> None:
    body = {
        "events": [
            {"type": "a", "payload": 1, "deliver_at": "1999-12-31T23:59:59Z"},
            {"type": "a", "payload": 2, "deliver_at": "2199-12-31T23:59:59Z"},
        ]
    }
    past, far = run(service.call("POST", "/api/events/batch", body)).json["results"]
    run(service.drain())
    for accepted, status in ((past, "processed"), (far, "scheduled")):
        found = run(service.call("GET", f"/api/events/{accepted['id']}")).json
        assert found["status"] == status


def test_a_scheduled_event_is_cancelled_as_often_as_one_likes_and_never_sent(
    service: Service, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    run(service.subscribe(receiver.url))
    sent = {"deliver_at": "2026-01-01T13:00:00Z", "dedup_id": "once"}
    event_id = run(service.send("order.created", 1, **sent)).json["id"]
    for _ in range(2):
        answer = run(service.call("POST", f"/api/events/{event_id}/cancel"))
        assert (answer.status, answer.json["id"]) == (200, event_id)
        assert answer.json["status"] == "cancelled"
        assert answer.json["timeline"][-1]["what"] == "cancelled"
    clock.advance(seconds=7200)
    run(service.drain())
    assert receiver.requests == []
    again = run(service.send("order.created", 1, **sent))
    assert (again.status, again.json["status"]) == (200, "cancelled")
    answer = run(service.call("POST", f"/api/events/{event_id}/replay", {}))
    assert_problem(answer, 409, "invalid-state")
    (why,) = run(service.call("GET", f"/api/events/{event_id}/explain")).json["subscriptions"]
    assert why["detail"] == "would get it; the event is cancelled and not routed"


def test_what_was_routed_is_not_cancelled_any_more(
    service: Service, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    receiver.replies(500)
    run(service.subscribe(receiver.url))
    event_id = run(service.send("order.created")).json["id"]
    run(service.drain())
    answer = run(service.call("POST", f"/api/events/{event_id}/cancel"))
    assert_problem(answer, 409, "invalid-state")
    assert "cancel its deliveries" in answer.json["detail"]
    clock.advance(seconds=60)
    run(service.drain())
    assert receiver.ids == [event_id] * 2
    for body, status in (({"reason": "x"}, 422), (b"[", 400)):
        answer = run(service.call("POST", f"/api/events/{event_id}/cancel", body))
        assert answer.status == status
    run(service.call("DELETE", f"/api/events/{event_id}"))
    for gone in (event_id, "evt_nonsense"):
        answer = run(service.call("POST", f"/api/events/{gone}/cancel"))
        assert_problem(answer, 404, "not-found")
