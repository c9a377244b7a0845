"""``GET /api/events/{id}/explain``: the story of an event, as each subscription has it."""

from __future__ import annotations

from typing import Any

from tests.conftest import Run
from tests.rooms import rooms
from tests.scenario.conftest import Ask

from triggers_api.testing import ADMIN_KEY, FrozenClock, Receiver, Service


def explained(ask: Ask, event_id: str) -> dict[str, dict[str, Any]]:
    """The explanations by subscription."""
    answer = ask.get(f"/api/events/{event_id}/explain")
    assert answer["event_id"] == event_id
    return {each["subscription_id"]: each for each in answer["subscriptions"]}


def test_every_subscription_of_the_organization_is_told_newest_first(
    service: Service, run: Run, ask: Ask, receiver: Receiver, clock: FrozenClock
) -> None:
    receiver.always(500)
    ids = [
        run(service.subscribe(receiver.url, **fields))["id"]
        for fields in (
            {},
            {"event_types": ["invoice.*"]},
            {"filter": "payload.amount > 100 && payload.vip"},
            {"enabled": False},
            {"expires_at": "2026-01-01T12:00:30Z"},
        )
    ]
    clock.advance(seconds=60)
    event_id = ask.event(payload={"amount": 120})
    clock.advance(seconds=1)
    late = run(service.subscribe(receiver.url))["id"]
    run(service.drain())
    answer = ask.get(f"/api/events/{event_id}/explain")["subscriptions"]
    assert [each["subscription_id"] for each in answer] == [late, *reversed(ids)]
    assert [(each["matched"], each["reason"]) for each in reversed(answer)] == [
        (True, "matched"),
        (False, "type"),
        (False, "filter"),
        (False, "disabled"),
        (False, "expired"),
        (False, "created-later"),
    ]
    got = answer[-1]
    delivery = ask.delivery(event_id)
    assert got["delivery_id"] == delivery["id"]
    assert got["delivery_status"] == delivery["status"] == "retrying"
    assert got["next_attempt_at"] == delivery["next_attempt_at"] is not None
    assert got["last_error"] == "500"
    assert answer[3]["filter"] == [
        {"expression": "payload.amount > 100", "result": "true", "detail": None},
        {"expression": "payload.vip", "result": "failed", "detail": "there is no field 'vip'"},
    ]


def test_what_waits_for_a_busy_subscription_says_so(
    service: Service, run: Run, ask: Ask, receiver: Receiver
) -> None:
    busy = run(service.subscribe(receiver.url, max_concurrency=1))["id"]
    first, second = ask.event(), ask.event()
    run(service.app.processor.run_once())
    claim = run(service.app.store.claim_deliveries(1, 45, rooms=rooms(1)))
    assert [each.event_id for each in claim.deliveries] == [first]
    assert explained(ask, first)[busy]["delivery_status"] == "delivering"
    assert explained(ask, first)[busy]["reason"] == "matched"
    assert explained(ask, second)[busy]["reason"] == "limit"


def test_a_paused_subscription_a_changed_filter_and_a_replaced_truth(
    service: Service, run: Run, ask: Ask, receiver: Receiver
) -> None:
    one = run(service.subscribe(receiver.url, filter="payload == 1"))["id"]
    path = f"/api/subscriptions/{one}"
    ask.do("POST", f"{path}/pause")
    wanted, unwanted = ask.event(payload=1), ask.event(payload=2)
    assert explained(ask, wanted)[one]["reason"] == "paused", "it is queued, and will wait"
    run(service.drain())
    assert explained(ask, wanted)[one]["reason"] == "paused"
    ask.do("POST", f"{path}/resume")
    run(service.drain())
    ask.do("PATCH", path, {"filter": "payload == 2"})
    got, missed = explained(ask, wanted)[one], explained(ask, unwanted)[one]
    assert (got["matched"], got["changed_since"], got["delivery_status"]) == (
        True, True, "succeeded",
    )  # fmt: skip
    assert (missed["matched"], missed["changed_since"], missed["delivery_id"]) == (
        True, True, None,
    )  # fmt: skip


def test_an_event_of_another_organization_or_a_deleted_one_is_not_explained(
    service: Service, run: Run, ask: Ask, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url))
    event_id = ask.event()
    made = run(
        service.call("POST", "/api/admin/organizations", {"name": "Other"}, key=ADMIN_KEY)
    ).json
    theirs = run(service.call("GET", f"/api/events/{event_id}/explain", key=made["api_key"]))
    assert (theirs.status, theirs.json["code"]) == (404, "not-found")
    ask.do("DELETE", f"/api/events/{event_id}")
    gone = run(service.call("GET", f"/api/events/{event_id}/explain"))
    assert (gone.status, gone.json["code"]) == (404, "not-found")
