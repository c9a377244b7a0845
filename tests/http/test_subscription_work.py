"""``/api/subscriptions/{id}/test`` and ``/stats``: an event for one endpoint, and how it has fared."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from tests.conftest import Run
from tests.http.conftest import assert_problem, assert_stamped, stored

from triggers_api.testing import Answer, FrozenClock, Receiver, Service


@pytest.fixture
def clock(module_clock: FrozenClock) -> FrozenClock:
    return module_clock


@pytest.fixture
def subscription(service: Service, receiver: Receiver, run: Run) -> dict[str, Any]:
    """One that no event would reach."""
    return run(service.subscribe(receiver.url, ["none.of.them"], filter="false"))


def trial(service: Service, run: Run, subscription: dict[str, Any], body: object = None) -> Answer:
    return run(service.call("POST", f"/api/subscriptions/{subscription['id']}/test", body))


def shown(service: Service, run: Run, path: str) -> dict[str, Any]:
    answer = run(service.call("GET", path))
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json
    return found


def test_a_test_event_goes_the_way_of_all_events_to_one_subscription(
    service: Service,
    run: Run,
    receiver: Receiver,
    subscription: dict[str, Any],
    clock: FrozenClock,
) -> None:
    run(service.subscribe(receiver.url.replace("/hook", "/other"), ["*"]))
    answer = trial(service, run, subscription)
    assert answer.status == 202
    assert_stamped(answer)
    delivery = answer.json
    assert (delivery["origin"], delivery["status"], delivery["event_type"]) == (
        "test",
        "pending",
        "triggers.test",
    )
    assert delivery["subscription_id"] == subscription["id"]
    assert "attempts" not in delivery
    run(service.drain())
    (request,) = receiver.requests
    request.verify(subscription["secret"], now=clock() // 1000)
    assert request.path == "/hook"
    assert request.headers["webhook-id"] == delivery["event_id"]
    assert request.json["type"] == "triggers.test"
    assert "test event" in request.json["data"]["message"]
    found = shown(service, run, f"/api/deliveries/{delivery['id']}")
    assert (found["status"], found["attempt_count"]) == ("succeeded", 1)
    event = shown(service, run, f"/api/events/{delivery['event_id']}")
    assert [each["id"] for each in event["deliveries"]] == [delivery["id"]]
    assert run(stored(service)) >= 1


def test_type_and_payload_can_be_chosen_and_the_payload_is_kept_byte_for_byte(
    service: Service, run: Run, receiver: Receiver, subscription: dict[str, Any]
) -> None:
    payload = b'{"n": 123456789012345678901234567890, "n": null}'
    body = b'{"type":"order.created","payload":%b}' % payload
    assert trial(service, run, subscription, body).status == 202
    run(service.drain())
    assert (
        trial(service, run, subscription, {"payload": None}).json["event_type"] == "triggers.test"
    )
    run(service.drain())
    first, second = receiver.requests
    assert first.headers["x-triggers-event-type"] == "order.created"
    assert payload in first.body
    assert second.json["data"] is None


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"type": "no spaces"}, "/type", "invalid-event-type"),
        ({"type": ""}, "/type", "invalid-event-type"),
        ({"type": 1}, "/type", "invalid-type"),
        ({"data": 1}, "/data", "unknown-field"),
    ],
)
def test_what_cannot_be_an_event_is_refused(
    service: Service,
    run: Run,
    receiver: Receiver,
    subscription: dict[str, Any],
    body: object,
    pointer: str,
    code: str,
) -> None:
    before = run(stored(service))
    answer = trial(service, run, subscription, body)
    assert_problem(answer, 422, "validation-failed")
    assert [(each["pointer"], each["code"]) for each in answer.json["errors"]] == [(pointer, code)]
    run(service.drain())
    assert receiver.requests == []
    assert run(stored(service)) == before


@pytest.mark.parametrize("reply", [500, 302, 410])
def test_a_test_that_fails_is_not_tried_again_and_is_no_dead_letter(
    service: Service,
    run: Run,
    receiver: Receiver,
    subscription: dict[str, Any],
    clock: FrozenClock,
    reply: int,
) -> None:
    receiver.replies(web.Response(status=reply, text="no"))
    delivery = trial(service, run, subscription).json["id"]
    for _ in range(3):
        run(service.drain())
        clock.advance(seconds=86_400)
    found = shown(service, run, f"/api/deliveries/{delivery}")
    assert (found["status"], found["attempt_count"]) == ("cancelled", 1)
    assert str(reply) in found["reason"]
    assert found["attempts"][0]["response_body"] == "no"
    assert len(receiver.requests) == 1
    query = f"subscription_id={subscription['id']}"
    assert shown(service, run, f"/api/dead-letters?{query}")["data"] == []


def test_a_test_that_failed_can_be_made_again_by_hand(
    service: Service, run: Run, receiver: Receiver, subscription: dict[str, Any]
) -> None:
    receiver.replies(500)
    delivery = trial(service, run, subscription).json["id"]
    run(service.drain())
    assert run(service.call("POST", f"/api/deliveries/{delivery}/retry")).status == 202
    run(service.drain())
    found = shown(service, run, f"/api/deliveries/{delivery}")
    assert (found["status"], found["attempt_count"]) == ("succeeded", 2)


def test_a_paused_subscription_gets_its_test_when_it_goes_on(
    service: Service, run: Run, receiver: Receiver, subscription: dict[str, Any]
) -> None:
    path = f"/api/subscriptions/{subscription['id']}"
    run(service.call("POST", f"{path}/pause"))
    assert trial(service, run, subscription).json["status"] == "pending"
    run(service.drain())
    assert receiver.requests == []
    run(service.call("POST", f"{path}/resume"))
    run(service.drain())
    assert len(receiver.requests) == 1


def test_a_disabled_subscription_cannot_be_tested(
    service: Service, run: Run, subscription: dict[str, Any]
) -> None:
    path = f"/api/subscriptions/{subscription['id']}"
    run(service.call("PATCH", path, {"enabled": False}))
    assert_problem(trial(service, run, subscription), 409, "invalid-state")


def test_a_test_event_is_explained_by_the_one_it_was_for(
    service: Service, run: Run, receiver: Receiver, subscription: dict[str, Any]
) -> None:
    other = run(service.subscribe(receiver.url, ["triggers.*"]))
    event = trial(service, run, subscription).json["event_id"]
    explained = shown(service, run, f"/api/events/{event}/explain")["subscriptions"]
    found = {each["subscription_id"]: each for each in explained}
    assert found[subscription["id"]]["delivery_id"] is not None
    assert found[other["id"]]["delivery_id"] is None


# ── statistics ────────────────────────────────────────────────────────────────────────────────────


def test_statistics_tell_how_a_subscription_has_fared(
    service: Service, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(service.subscribe(receiver.url, ["stats.told"], retry_schedule=[60]))
    receiver.replies(204, 500)
    for _ in range(2):
        run(service.send("stats.told"))
    run(service.drain())
    failed_at = str(clock())
    clock.advance(seconds=120)
    found = shown(service, run, f"/api/subscriptions/{made['id']}/stats")
    assert found["deliveries"]["total"] == 2
    assert (found["deliveries"]["succeeded"], found["deliveries"]["retrying"]) == (1, 1)
    assert found["attempts"] == {"total": 2, "succeeded": 1, "failed": 1}
    assert (found["success_rate"], found["complete"]) == (0.5, True)
    assert set(found["latency_ms"]) == {"p50", "p95", "p99"}
    assert found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    assert 45 <= found["oldest_waiting_age_s"] <= 60
    assert found["next_attempt_at"] < str(clock())
    assert found["last_success_at"] == found["last_failure_at"] == failed_at
    assert (found["since"], found["until"]) == (str(clock().after(seconds=-86_400)), str(clock()))


def test_a_window_can_be_given(
    service: Service, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(service.subscribe(receiver.url, ["stats.window"]))
    run(service.send("stats.window"))
    run(service.drain())
    sent_at = clock()
    clock.advance(seconds=2 * 86_400)
    path = f"/api/subscriptions/{made['id']}/stats"
    assert shown(service, run, path)["deliveries"]["total"] == 0
    until = str(sent_at.after(seconds=1))
    assert shown(service, run, f"{path}?until={until}")["deliveries"]["total"] == 1
    assert shown(service, run, f"{path}?since={sent_at}")["deliveries"]["total"] == 1
    assert shown(service, run, f"{path}?since={until}")["deliveries"]["total"] == 0
    assert_problem(run(service.call("GET", f"{path}?since=soon")), 422, "validation-failed")
