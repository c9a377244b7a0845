"""Subscriptions that change while events are under way."""

from __future__ import annotations

from typing import Any

from tests.conftest import Run
from tests.scenario.conftest import Ask

from triggers_api.testing import FrozenClock, Receiver, Service


def path(subscription: dict[str, Any], action: str = "") -> str:
    return f"/api/subscriptions/{subscription['id']}{action}"


def test_a_paused_subscriptions_events_wait_until_it_is_resumed(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(service.subscribe(receiver.url))
    before = ask.event(payload="before")
    ask.do("POST", path(made, "/pause"))
    during = ask.event(payload="during")
    ask.drain()
    clock.advance(seconds=3600)
    ask.drain()
    assert receiver.requests == []
    for sent in (before, during):
        assert ask.status(sent) == "processed"
        assert ask.delivery(sent)["status"] == "pending"
    ask.do("POST", path(made, "/resume"))
    ask.drain()
    assert sorted(receiver.ids) == [before, during]


def test_a_retry_waits_for_a_paused_subscription_as_well(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(service.subscribe(receiver.url, retry_schedule=[10, 10]))
    receiver.replies(500)
    sent = ask.event()
    ask.drain()
    ask.do("POST", path(made, "/pause"))
    clock.advance(seconds=60)
    ask.drain()
    assert len(receiver.requests) == 1
    assert ask.delivery(sent)["status"] == "retrying"
    ask.do("POST", path(made, "/resume"))
    ask.drain()
    assert ask.delivery(sent)["status"] == "succeeded"


def test_a_deleted_subscriptions_deliveries_are_cancelled_and_stay_on_file(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(service.subscribe(receiver.url, retry_schedule=[10]))
    done = ask.event()
    ask.drain()
    receiver.replies(500)
    retrying = ask.event()
    ask.drain()
    queued = ask.event()
    ask.do("DELETE", path(made), status=204)
    clock.advance(seconds=60)
    ask.drain()
    assert len(receiver.requests) == 2
    assert ask.delivery(done)["status"] == "succeeded"
    assert ask.delivery(retrying)["status"] == "cancelled"
    assert ask.deliveries(queued) == []
    assert ask.status(queued) == "processed"


def test_attempts_after_a_change_use_what_it_says(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(service.subscribe(receiver.url, retry_schedule=[10, 10, 10]))
    receiver.replies(500, 500, 500)
    sent = ask.event(payload={"n": 1})
    ask.drain()
    changes: list[dict[str, Any]] = [
        {"url": receiver.url + "/moved"},
        {"headers": {"X-Env": "new"}, "payload_format": "raw"},
        {"event_types": ["nothing.of.this"]},
    ]
    for change in changes:
        ask.do("PATCH", path(made), change)
        clock.advance(seconds=12)
        ask.drain()
    assert [each.path for each in receiver.requests] == ["/hook"] + ["/hook/moved"] * 3
    assert [each.headers.get("x-env") for each in receiver.requests] == [None, None, "new", "new"]
    assert receiver.requests[0].json["data"] == {"n": 1}
    assert receiver.requests[2].json == {"n": 1}
    # What was matched stays matched.
    assert ask.delivery(sent)["status"] == "succeeded"


def test_a_subscription_gets_what_is_received_after_its_201(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    before = ask.event(payload="before")
    clock.advance(seconds=0.001)
    run(service.subscribe(receiver.url))
    clock.advance(seconds=0.001)
    after = ask.event(payload="after")
    ask.drain()
    assert receiver.ids == [after]
    assert ask.deliveries(before) == []


def test_an_expired_subscription_matches_nothing_and_its_waiting_events_end(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(
        service.subscribe(receiver.url, expires_at="2026-01-01T12:01:00Z", retry_schedule=[120])
    )
    receiver.replies(204, 500)
    first, second = ask.event(), ask.event()
    ask.drain()
    clock.advance(seconds=60)
    late = ask.event()
    ask.drain()
    assert ask.subscription(made["id"])["status"] == "expired"
    assert ask.deliveries(late) == []
    statuses = sorted(ask.delivery(sent)["status"] for sent in (first, second))
    assert statuses == ["cancelled", "succeeded"]
    assert len(receiver.requests) == 2


def test_a_disabled_subscription_matches_nothing_until_it_is_enabled(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    made = run(service.subscribe(receiver.url, enabled=False))
    missed = ask.event()
    ask.drain()
    ask.do("PATCH", path(made), {"enabled": True})
    taken = ask.event()
    ask.drain()
    assert receiver.ids == [taken]
    assert ask.deliveries(missed) == []


def test_an_event_deleted_while_it_waits_is_not_sent(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    run(service.subscribe(receiver.url, retry_schedule=[10]))
    receiver.replies(500)
    sent = ask.event(dedup_id="once")
    ask.drain()
    delivery = ask.delivery(sent)["id"]
    ask.do("DELETE", f"/api/events/{sent}", status=204)
    clock.advance(seconds=60)
    ask.drain()
    assert len(receiver.requests) == 1
    assert ask.get(f"/api/deliveries/{delivery}")["status"] == "cancelled"
    again = ask.event(dedup_id="once")
    assert again != sent
    ask.drain()
    assert receiver.ids == [sent, again]
    assert ask.books()["deleted"] == 1
