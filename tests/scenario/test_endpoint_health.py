"""Endpoints that fail: they are left alone, nothing for them is lost, and they come back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest
from aiohttp import web
from tests.conftest import Enter, MakeService
from tests.rooms import rooms
from tests.scenario.conftest import Ask, Asking

from triggers_api.model import ids
from triggers_api.model.delivery import Attempt, DeliveryStatus
from triggers_api.store.base import Settlement
from triggers_api.testing import FrozenClock, Received, Receiver, Service

DAY_S: Final = 86_400.0
DISABLE: Final = {"webhook-delivery": "disable"}
URLS: Final = ("first", "second")
Metric = Callable[[str], float]


@pytest.fixture
def metric(service: Service) -> Metric:
    """A number as it is shown now."""
    return lambda name: service.app.metrics.registry.get_sample_value(name) or 0.0


def backlog(ask: Ask, count: int) -> list[str]:
    return [ask.event("order.created", number) for number in range(count)]


def subscribed(ask: Ask, url: str, **fields: Any) -> str:  # noqa: ANN401 - JSON
    subscription_id: str = ask.run(ask.service.subscribe(url, **fields))["id"]
    return subscription_id


def statuses(ask: Ask) -> dict[str, int]:
    return {name: count for name, count in ask.books()["deliveries"].items() if count}


def test_an_endpoint_that_works_has_no_health_to_show(ask: Ask, receiver: Receiver) -> None:
    subscription = subscribed(ask, receiver.url)
    ask.event()
    ask.drain()
    assert ask.subscription(subscription)["health"] is None
    (listed,) = ask.get("/api/subscriptions")["data"]
    assert listed["health"] is None


def test_a_dead_endpoint_with_a_backlog_gets_few_requests_and_then_everything(
    ask: Ask, receiver: Receiver, clock: FrozenClock, metric: Metric
) -> None:
    receiver.always(500)
    subscription = subscribed(ask, receiver.url, retry_schedule=[5.0] * 40)
    sent = backlog(ask, 1000)
    ask.drain()
    first = len(receiver.requests)
    # What was under way when the tenth failure was settled, and not one more.
    assert 10 <= first <= ask.service.settings.delivery_concurrency + 10
    health = ask.subscription(subscription)["health"]
    assert health["state"] == "open"
    assert health["consecutive_failures"] == first
    assert health["last_error"] == "receiver answered 500"
    assert health["failing_since"] == str(clock())
    assert metric("triggers_breakers_opened_total") == 1
    for _ in range(60):
        clock.advance(seconds=10)
        ask.drain()
    # Ten minutes: probes after about 10, 20, 40 … up to 300 s.
    assert len(receiver.requests) - first <= 8
    assert ask.subscription(subscription)["health"]["state"] in {"open", "half-open"}
    listed = ask.get("/api/deliveries?limit=1000")["data"]
    untried = [each for each in listed if each["attempt_count"] == 0]
    assert len(listed) == 1000
    assert len(untried) >= 1000 - first - 8
    receiver.always(204)
    receiver.requests.clear()
    for _ in range(60):
        clock.advance(seconds=10)
        ask.drain()
    assert ask.subscription(subscription)["health"] is None
    assert sorted(receiver.ids) == sorted(sent)
    assert statuses(ask) == {"succeeded": 1000, "total": 1000}


def test_what_is_held_for_an_endpoint_whose_breaker_opens_is_given_back_untried(
    enter: Enter, make_service: MakeService, asking: Asking, receiver: Receiver, clock: FrozenClock
) -> None:
    ask = asking(enter(make_service(clock=clock, breaker_failures=1)))
    subscribed(ask, receiver.url)
    sent = backlog(ask, 3)
    app = ask.service.app
    ask.run(app.processor.run_once())
    failed, *held = ask.run(app.store.claim_deliveries(3, 45, rooms=rooms(3))).deliveries
    attempt = Attempt(
        id=app.store.ids.new(ids.ATTEMPT),
        number=1,
        started_at=clock(),
        duration_ms=1,
        status_code=500,
    )
    for delivery in held:
        app.dispatcher._lanes.add(delivery, 0.0)
    app.dispatcher._finished.append(
        Settlement(
            failed.target.organization_id,
            failed.id,
            failed.token,
            DeliveryStatus.DEAD,
            attempt=attempt,
        )
    )
    # The outcome is settled, then what was given back because of it.
    assert ask.run(app.dispatcher.rest())
    assert ask.run(app.dispatcher.rest())
    states = [ask.delivery(each) for each in sent]
    assert Counter(each["status"] for each in states) == {"dead": 1, "pending": 2}
    assert {each["reason"] for each in states if each["status"] == "pending"} == {
        "the endpoint keeps failing"
    }
    assert receiver.requests == []


def test_the_reason_for_waiting_is_explained(ask: Ask, receiver: Receiver) -> None:
    receiver.always(500)
    subscription = subscribed(ask, receiver.url, retry_schedule=[1.0] * 40)
    backlog(ask, 10)
    ask.drain()
    waiting = ask.event()
    ask.drain()
    (told,) = ask.get(f"/api/events/{waiting}/explain")["subscriptions"]
    until = ask.subscription(subscription)["health"]["open_until"]
    assert told["reason"] == "limit"
    assert f"breaker open until {until}" in told["detail"]
    assert told["next_attempt_at"] == until


def test_a_probe_that_fails_waits_longer(ask: Ask, receiver: Receiver, clock: FrozenClock) -> None:
    receiver.always(500)
    subscribed(ask, receiver.url, retry_schedule=[1.0] * 50)
    backlog(ask, 10)
    ask.drain()
    waits, asked_at = [], clock()
    for _ in range(400):
        before = len(receiver.requests)
        clock.advance(seconds=1)
        ask.drain()
        if len(receiver.requests) > before:
            assert len(receiver.requests) == before + 1
            waits.append((clock() - asked_at) / 1000)
            asked_at = clock()
    assert len(waits) == 5
    for wait, longest in zip(waits, (10, 20, 40, 80, 160), strict=True):
        assert 0.75 * longest <= wait <= longest + 1


def test_others_are_served_while_an_endpoint_is_left_alone(
    ask: Ask, receiver: Receiver, enter: Enter
) -> None:
    dead = enter(Receiver())
    dead.always(500)
    subscribed(ask, dead.url, retry_schedule=[5.0] * 40)
    subscribed(ask, receiver.url)
    sent = backlog(ask, 100)
    ask.drain()
    assert sorted(receiver.ids) == sorted(sent)


def test_resuming_by_hand_forgets_what_was_known(
    ask: Ask, receiver: Receiver, clock: FrozenClock
) -> None:
    receiver.always(500)
    subscription = subscribed(ask, receiver.url, retry_schedule=[1.0] * 40)
    backlog(ask, 12)
    ask.drain()
    receiver.always(204)
    ask.do("POST", f"/api/subscriptions/{subscription}/resume")
    assert ask.subscription(subscription)["health"] is None
    clock.advance(seconds=2)
    ask.drain()
    assert statuses(ask) == {"succeeded": 12, "total": 12}


def test_another_url_is_another_endpoint(
    ask: Ask, receiver: Receiver, enter: Enter, clock: FrozenClock
) -> None:
    dead = enter(Receiver())
    dead.always(500)
    subscription = subscribed(ask, dead.url, retry_schedule=[1.0] * 40)
    backlog(ask, 12)
    ask.drain()
    path = f"/api/subscriptions/{subscription}"
    ask.do("PATCH", path, {"description": "as before"})
    assert ask.subscription(subscription)["health"]["state"] == "open"
    ask.do("PATCH", path, {"url": receiver.url})
    assert ask.subscription(subscription)["health"] is None
    clock.advance(seconds=2)
    ask.drain()
    assert statuses(ask) == {"succeeded": 12, "total": 12}


def test_after_a_kill_the_breaker_is_as_open_as_before_and_nothing_is_missing(
    enter: Enter,
    leave: Callable[[Any], None],
    make_service: MakeService,
    asking: Asking,
    receiver: Receiver,
    clock: FrozenClock,
) -> None:
    receiver.always(500)
    service = enter(make_service(clock=clock))
    ask = asking(service)
    subscription = subscribed(ask, receiver.url, retry_schedule=[1.0] * 40)
    sent = backlog(ask, 60)
    ask.drain()
    before = ask.subscription(subscription)["health"]
    leave(service)
    ask = asking(enter(make_service(clock=clock)))
    assert ask.subscription(subscription)["health"] == before
    ask.drain()
    asked = len(receiver.requests)
    receiver.always(204)
    clock.advance(seconds=9 * 60)
    ask.drain()
    clock.advance(seconds=60)
    ask.drain()
    assert statuses(ask) == {"succeeded": 60, "total": 60}
    assert sorted(set(receiver.ids[asked:])) == sorted(sent)


def fail_for(ask: Ask, clock: FrozenClock, days: float) -> None:
    """One event every six hours, none of which is taken."""
    for _ in range(round(days * 4)):
        ask.event()
        ask.drain()
        clock.advance(seconds=DAY_S / 4)


def disabled(ask: Ask, receiver: Receiver, clock: FrozenClock) -> str:
    """The id of a subscription that has failed for five days."""
    receiver.always(500)
    subscription = subscribed(ask, receiver.url, retry_schedule=[60.0] * 3)
    for _ in range(6):
        fail_for(ask, clock, 1)
        if ask.subscription(subscription)["status"] == "disabled":
            return subscription
    raise AssertionError("it is not disabled")


def notices(ask: Ask) -> Sequence[str]:
    return [
        each["type"]
        for each in reversed(ask.get("/api/events?operational=true&limit=1000")["data"])
        if each["type"].startswith("subscription.")
    ]


def test_who_fails_for_days_is_warned_disabled_and_back_when_a_probe_is_taken(
    ask: Ask, receiver: Receiver, enter: Enter, clock: FrozenClock, metric: Metric
) -> None:
    told = enter(Receiver())
    subscribed(ask, told.url, operational=True)
    began = clock()
    subscription = disabled(ask, receiver, clock)
    shown = ask.subscription(subscription)
    assert shown["disabled_reason"] == f"failing since {began}: receiver answered 500"
    assert shown["health"]["next_probe_at"] is not None
    assert metric("triggers_subscriptions_disabled_total") == 1
    assert {"succeeded", "total"} < set(statuses(ask))
    assert ask.books()["deliveries"]["pending"] == 0
    assert ask.books()["deliveries"]["retrying"] == 0
    receiver.requests.clear()
    clock.advance(seconds=DAY_S)
    ask.drain()
    (probe,) = receiver.requests
    assert probe.json["type"] == "triggers.probe"
    assert probe.json["data"]["subscription_id"] == subscription
    assert ask.subscription(subscription)["status"] == "disabled"
    receiver.always(204)
    clock.advance(seconds=DAY_S)
    ask.drain()
    shown = ask.subscription(subscription)
    assert (shown["status"], shown["disabled_reason"], shown["health"]) == ("active", None, None)
    sent = ask.event()
    ask.drain()
    assert receiver.ids[-1] == sent
    assert notices(ask) == [
        "subscription.breaker-opened",
        "subscription.failing",
        "subscription.disabled",
        "subscription.recovered",
    ]
    assert len(told.requests) >= 4


def test_a_probe_is_signed_like_everything_else(
    ask: Ask, receiver: Receiver, clock: FrozenClock
) -> None:
    receiver.always(500)
    created = ask.run(ask.service.subscribe(receiver.url, retry_schedule=[60.0] * 3))
    for _ in range(6):
        fail_for(ask, clock, 1)
    clock.advance(seconds=DAY_S)
    receiver.requests.clear()
    ask.drain()
    (probe,) = receiver.requests
    probe.verify(created["secret"], now=clock() // 1000)


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (410, {}, "receiver answered 410 Gone"),
        (500, DISABLE, "receiver answered 500 with webhook-delivery: disable"),
        (204, DISABLE, "receiver answered 204 with webhook-delivery: disable"),
    ],
)
def test_who_wants_nothing_more_is_not_probed_again(
    ask: Ask,
    receiver: Receiver,
    clock: FrozenClock,
    status: int,
    headers: dict[str, str],
    reason: str,
) -> None:
    async def wants_nothing_more(_: Received) -> web.Response:
        return web.Response(status=status, headers=headers)

    subscription = disabled(ask, receiver, clock)
    receiver.always(wants_nothing_more)
    receiver.requests.clear()
    clock.advance(seconds=DAY_S)
    ask.drain()
    assert len(receiver.requests) == 1
    shown = ask.subscription(subscription)
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", reason)
    assert shown["health"] is None
    receiver.always(204)
    clock.advance(seconds=10 * DAY_S)
    ask.drain()
    assert len(receiver.requests) == 1
    resumed = f"/api/subscriptions/{subscription}/resume"
    assert ask.do("POST", resumed)["status"] == "active"


def test_a_disabled_one_with_a_new_url_is_tried_at_once(
    ask: Ask, receiver: Receiver, enter: Enter, clock: FrozenClock
) -> None:
    subscription = disabled(ask, receiver, clock)
    there = enter(Receiver())
    path = f"/api/subscriptions/{subscription}"
    ask.do("PATCH", path, {"url": there.url})
    assert ask.subscription(subscription)["status"] == "disabled"
    ask.drain()
    assert len(there.requests) == 1
    assert ask.subscription(subscription)["status"] == "active"


@pytest.mark.parametrize("enabled", [False, True])
def test_what_its_owner_decides_ends_the_probing(
    ask: Ask,
    receiver: Receiver,
    clock: FrozenClock,
    enabled: bool,  # noqa: FBT001 - a case
) -> None:
    subscription = disabled(ask, receiver, clock)
    ask.do("PATCH", f"/api/subscriptions/{subscription}", {"enabled": enabled})
    shown = ask.subscription(subscription)
    assert (shown["enabled"], shown["health"]) == (enabled, None)
    receiver.requests.clear()
    clock.advance(seconds=10 * DAY_S)
    ask.drain()
    assert receiver.requests == []


def test_a_new_description_leaves_the_reason_for_being_disabled(
    ask: Ask, receiver: Receiver, clock: FrozenClock
) -> None:
    subscription = disabled(ask, receiver, clock)
    reason = ask.subscription(subscription)["disabled_reason"]
    ask.do("PATCH", f"/api/subscriptions/{subscription}", {"description": "new"})
    shown = ask.subscription(subscription)
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", reason)
    assert shown["health"] is not None


def test_nothing_is_probed_while_delivery_is_switched_off(
    ask: Ask, receiver: Receiver, clock: FrozenClock
) -> None:
    disabled(ask, receiver, clock)
    ask.turn(delivery="paused")
    receiver.requests.clear()
    clock.advance(seconds=10 * DAY_S)
    ask.drain()
    assert receiver.requests == []


def test_with_the_breaker_switched_off_every_delivery_is_tried(
    enter: Enter, make_service: MakeService, asking: Asking, receiver: Receiver, clock: FrozenClock
) -> None:
    receiver.always(500)
    ask = asking(enter(make_service(clock=clock, breaker_failures=0)))
    subscription = subscribed(ask, receiver.url)
    sent = backlog(ask, 200)
    ask.drain()
    assert sorted(receiver.ids) == sorted(sent)
    assert ask.subscription(subscription)["health"]["state"] == "closed"
