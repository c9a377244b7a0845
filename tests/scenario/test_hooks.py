"""The ends of hooks: who is told, when, how often; and subscriptions that end at their time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest
from aiohttp import web
from tests.conftest import Enter, Log, MakeService, Run, new_organization
from tests.scenario.conftest import Ask

from triggers_api.client import verify
from triggers_api.model.farewell import DELAYS_S
from triggers_api.testing import ADMIN_KEY, FrozenClock, Received, Receiver, Service

DAY_S: Final = 86_400.0
EVENT: Final = "order.created"


def hook(ask: Ask, url: str, event: str = EVENT) -> dict[str, Any]:
    made: dict[str, Any] = ask.do("POST", "/api/hooks", {"target_url": url, "event": event}, 201)
    return made


def farewells(receiver: Receiver) -> list[Received]:
    return [each for each in receiver.requests if each.method == "DELETE"]


def living(ask: Ask) -> list[str]:
    return [each["id"] for each in ask.get("/api/hooks")["data"]]


def answers_a_farewell(receiver: Receiver, status: int) -> None:
    """And everything else with 500."""

    async def answer(request: Received) -> web.StreamResponse:
        return web.Response(status=status if request.method == "DELETE" else 500)

    receiver.always(answer)


def fails_for_days(ask: Ask, clock: FrozenClock) -> None:
    """Long enough for a subscription to be disabled."""
    for _ in range(7):
        ask.event(EVENT)
        ask.drain()
        clock.advance(seconds=DAY_S)


# ── who is told ───────────────────────────────────────────────────────────────────────────────────


def test_a_hook_deleted_by_an_operator_is_taken_back_at_its_target_once_and_signed(
    ask: Ask, receiver: Receiver, clock: FrozenClock
) -> None:
    made = hook(ask, receiver.url)
    ask.do("DELETE", f"/api/subscriptions/{made['id']}")
    ask.drain()
    (request,) = receiver.requests
    assert (request.method, request.path, request.body) == ("DELETE", "/hook", b"")
    assert request.headers["content-length"] == "0"
    assert request.headers["webhook-id"] == made["id"]
    assert request.headers["user-agent"].startswith("triggers-api")
    verify(request.headers, b"", made["secret"], now=clock() / 1000)
    clock.advance(seconds=10 * DAY_S)
    ask.drain()
    assert len(receiver.requests) == 1


def test_a_hook_that_is_disabled_by_an_operator_is_taken_back(ask: Ask, receiver: Receiver) -> None:
    made = hook(ask, receiver.url)
    for _ in range(2):
        ask.do("PATCH", f"/api/subscriptions/{made['id']}", {"enabled": False})
        ask.drain()
    assert len(farewells(receiver)) == 1
    assert living(ask) == []


def test_what_the_tool_asked_for_itself_is_not_told_to_it(ask: Ask, receiver: Receiver) -> None:
    made = hook(ask, receiver.url)
    ask.do("DELETE", f"/api/hooks/{made['id']}", status=204)
    ask.drain()
    receiver.replies(410)
    hook(ask, receiver.url)
    ask.event(EVENT)
    ask.drain()
    assert living(ask) == []
    assert farewells(receiver) == []


def test_an_ordinary_subscription_that_ends_is_nobodys_loss(
    ask: Ask, receiver: Receiver, run: Run, service: Service
) -> None:
    made = run(service.subscribe(receiver.url, payload_format="flat"))
    ask.do("DELETE", f"/api/subscriptions/{made['id']}")
    ask.drain()
    assert receiver.requests == []


def test_hooks_of_a_deleted_organization_are_taken_back(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    organization, key = run(new_organization(service))
    body = {"target_url": receiver.url, "event": EVENT}
    assert run(service.call("POST", "/api/hooks", body, key=key)).status == 201
    path = f"/api/admin/organizations/{organization}"
    assert run(service.call("DELETE", path, key=ADMIN_KEY)).status == 204
    ask.drain()
    assert len(farewells(receiver)) == 1


def test_a_hook_that_failed_for_days_is_taken_back_and_not_probed_any_more(
    ask: Ask, receiver: Receiver, clock: FrozenClock
) -> None:
    made = hook(ask, receiver.url)
    answers_a_farewell(receiver, 200)
    fails_for_days(ask, clock)
    subscription = ask.subscription(made["id"])
    assert subscription["status"] == "disabled"
    assert "receiver answered 500" in subscription["disabled_reason"]
    assert len(farewells(receiver)) == 1
    receiver.always(200)
    receiver.requests.clear()
    for _ in range(4):
        clock.advance(seconds=DAY_S)
        ask.drain()
    assert receiver.requests == []
    assert ask.subscription(made["id"])["status"] == "disabled"


def test_a_hook_whose_tool_knows_no_farewell_comes_back_when_it_works_again(
    ask: Ask, receiver: Receiver, clock: FrozenClock
) -> None:
    """As n8n, which answers 404 to a DELETE."""
    made = hook(ask, receiver.url)
    answers_a_farewell(receiver, 404)
    fails_for_days(ask, clock)
    assert len(farewells(receiver)) == 1
    assert ask.subscription(made["id"])["status"] == "disabled"
    receiver.always(200)
    clock.advance(seconds=DAY_S)
    ask.drain()
    assert living(ask) == [made["id"]]
    assert len(farewells(receiver)) == 1


# ── how often, and when not ───────────────────────────────────────────────────────────────────────


def test_a_target_that_does_not_answer_is_told_again_a_few_times_and_then_left_alone(
    ask: Ask, receiver: Receiver, clock: FrozenClock
) -> None:
    receiver.always(503)
    made = hook(ask, receiver.url)
    ask.do("DELETE", f"/api/subscriptions/{made['id']}")
    ask.drain()
    for count, delay_s in enumerate(DELAYS_S, 1):
        assert len(farewells(receiver)) == count
        clock.advance(seconds=delay_s - 1)
        ask.drain()
        assert len(farewells(receiver)) == count
        clock.advance(seconds=1)
        ask.drain()
    clock.advance(seconds=30 * DAY_S)
    ask.drain()
    assert len(farewells(receiver)) == len(DELAYS_S) + 1


def test_a_farewell_that_cannot_be_made_is_not_tried_for_ever(
    ask: Ask,
    service: Service,
    receiver: Receiver,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
    log: Log,
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(service.app.farewells._sender, "say_farewell", fail)
    made = hook(ask, receiver.url)
    ask.do("DELETE", f"/api/subscriptions/{made['id']}")
    for _ in range(2 * len(DELAYS_S)):
        ask.drain()
        clock.advance(seconds=DAY_S)
    failed = [each for each in log if "unforeseen" in each["event"]]
    assert len(failed) == len(DELAYS_S) + 1
    (ended,) = [each for each in log if each["event"] == "a hook ended"]
    assert (ended["understood"], ended["subscription_id"]) == (False, made["id"])
    assert receiver.url not in str(log)


def test_a_hook_that_was_asked_for_again_is_not_taken_back(
    ask: Ask, receiver: Receiver, clock: FrozenClock
) -> None:
    made = hook(ask, receiver.url)
    ask.do("DELETE", f"/api/subscriptions/{made['id']}")
    again = hook(ask, receiver.url)
    ask.drain()
    clock.advance(seconds=DAY_S)
    ask.event(EVENT)
    ask.drain()
    assert [each.method for each in receiver.requests] == ["POST"]
    assert living(ask) == [again["id"]]


def test_a_hook_that_is_enabled_again_in_time_is_not_taken_back(
    ask: Ask, receiver: Receiver
) -> None:
    path = f"/api/subscriptions/{hook(ask, receiver.url)['id']}"
    ask.do("PATCH", path, {"enabled": False})
    ask.do("PATCH", path, {"enabled": True})
    ask.drain()
    assert receiver.requests == []


def test_while_delivery_is_paused_nobody_is_told(ask: Ask, receiver: Receiver) -> None:
    made = hook(ask, receiver.url)
    ask.turn(delivery="paused")
    ask.do("DELETE", f"/api/subscriptions/{made['id']}")
    ask.drain()
    assert receiver.requests == []
    ask.turn(delivery="running")
    ask.drain()
    assert len(farewells(receiver)) == 1


def test_a_target_that_may_not_be_called_any_more_is_not_called(
    enter: Enter,
    make_service: MakeService,
    leave: Callable[[Service], None],
    run: Run,
    clock: FrozenClock,
    receiver: Receiver,
) -> None:
    before = enter(make_service(clock=clock))
    made = hook(Ask(before, run), receiver.url)
    leave(before)
    strict = enter(make_service(clock=clock, allow_cidrs=()))
    Ask(strict, run).do("DELETE", f"/api/subscriptions/{made['id']}")
    run(strict.drain())
    assert receiver.requests == []
    assert strict.app.metrics.registry.get_sample_value(
        "triggers_farewells_total", {"result": "not_understood"}
    ) == 1  # fmt: skip


# ── expiry ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fleeting(enter: Enter, make_service: MakeService, clock: FrozenClock, run: Run) -> Ask:
    """A service whose hooks live for a day."""
    return Ask(enter(make_service(clock=clock, hook_ttl_days=1.0)), run)


def test_a_hook_says_when_it_ends_and_asking_again_moves_that_on(
    fleeting: Ask, receiver: Receiver, clock: FrozenClock
) -> None:
    made = hook(fleeting, receiver.url)
    assert made["expiration_date"] == "2026-01-02T12:00:00.000Z"
    clock.advance(seconds=DAY_S / 2)
    body = {"target_url": receiver.url, "event": EVENT}
    again = fleeting.do("POST", "/api/hooks", body, 200)
    assert (again["id"], again["expiration_date"]) == (made["id"], "2026-01-03T00:00:00.000Z")
    assert fleeting.subscription(made["id"])["expires_at"] == "2026-01-03T00:00:00.000Z"
    clock.advance(seconds=DAY_S - 1)
    fleeting.event(EVENT)
    fleeting.drain()
    assert len(receiver.requests) == 1


def test_who_asks_again_after_the_end_has_a_new_hook_and_hears_no_farewell(
    fleeting: Ask, receiver: Receiver, clock: FrozenClock
) -> None:
    made = hook(fleeting, receiver.url)
    clock.advance(seconds=DAY_S)
    fleeting.drain()
    assert living(fleeting) == []
    missed = fleeting.event(EVENT)
    clock.advance(seconds=60)
    again = hook(fleeting, receiver.url)
    assert again["id"] != made["id"]
    fleeting.event(EVENT)
    clock.advance(seconds=DAY_S - 120)
    fleeting.drain()
    assert [each.method for each in receiver.requests] == ["POST"]
    assert receiver.requests[0].headers["webhook-id"] != missed
    # The new one ends in its turn, and nobody asks again.
    clock.advance(seconds=2 * DAY_S + 120)
    fleeting.drain()
    clock.advance(seconds=DAY_S)
    fleeting.drain()
    assert len(farewells(receiver)) == 1


def test_an_end_that_an_operator_put_off_is_not_brought_forward(
    fleeting: Ask, receiver: Receiver
) -> None:
    made = hook(fleeting, receiver.url)
    path = f"/api/subscriptions/{made['id']}"
    body = {"target_url": receiver.url, "event": EVENT}
    for until in ("2027-01-01T00:00:00.000Z", None):
        fleeting.do("PATCH", path, {"expires_at": until})
        again = fleeting.do("POST", "/api/hooks", body, 200)
        assert again.get("expiration_date") == until


def test_what_expires_is_explained_and_told(
    ask: Ask, run: Run, service: Service, enter: Enter, receiver: Receiver, clock: FrozenClock
) -> None:
    operator = enter(Receiver())
    run(service.subscribe(operator.url, ["subscription.*"], operational=True))
    until = "2026-01-01T12:01:00.000Z"
    made = run(service.subscribe(receiver.url, expires_at=until, retry_schedule=[120]))
    receiver.replies(500)
    waiting = ask.event()
    ask.drain()
    clock.advance(seconds=60)
    late = ask.event()
    ask.drain()
    clock.advance(seconds=1)
    ask.drain()
    (told,) = operator.requests
    assert told.json["type"] == "subscription.expired"
    assert told.json["timestamp"] == until
    assert told.json["data"] == {
        "at": until,
        "subscription_id": made["id"],
        "reason": "it has expired",
    }
    delivery = ask.delivery(waiting)
    assert (delivery["status"], delivery["reason"]) == (
        "cancelled",
        "the subscription has ended",
    )
    (explained,) = [
        each
        for each in ask.get(f"/api/events/{late}/explain")["subscriptions"]
        if each["subscription_id"] == made["id"]
    ]
    assert (explained["matched"], explained["reason"]) == (False, "expired")
    clock.advance(seconds=3600)
    ask.drain()
    assert len(operator.requests) == 1


def test_one_that_is_given_more_time_lives_again_and_expires_again(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(service.subscribe(receiver.url, expires_at="2026-01-01T12:01:00Z"))
    path = f"/api/subscriptions/{made['id']}"
    clock.advance(seconds=60)
    ask.drain()
    ask.do("PATCH", path, {"expires_at": "2026-01-01T12:03:00Z"})
    assert ask.subscription(made["id"])["status"] == "active"
    ask.event()
    ask.drain()
    assert len(receiver.requests) == 1
    clock.advance(seconds=120)
    ask.event()
    ask.drain()
    assert ask.subscription(made["id"])["status"] == "expired"
    assert len(receiver.requests) == 1
    assert ask.books()["deliveries"]["pending"] == 0


def test_with_the_background_parts_running_a_subscription_ends_by_itself(
    enter: Enter, make_service: MakeService, run: Run, receiver: Receiver
) -> None:
    service = enter(make_service())
    receiver.always(500)

    async def until(event: str, status: str) -> dict[str, Any]:
        while True:
            found = await service.call("GET", f"/api/deliveries?event_id={event}")
            for delivery in found.json["data"]:
                if delivery["status"] == status:
                    ended: dict[str, Any] = delivery
                    return ended
            await asyncio.sleep(0.02)

    async def main() -> dict[str, Any]:
        made = await service.subscribe(receiver.url, retry_schedule=[600])
        event = (await service.send(EVENT)).json["id"]
        await until(event, "retrying")
        now = {"expires_at": str(service.app.store.now())}
        changed = await service.call("PATCH", f"/api/subscriptions/{made['id']}", now)
        assert changed.json["status"] == "expired"
        return await until(event, "cancelled")

    assert run(main())["reason"] == "the subscription has ended"
