"""What a receiver's answer means: retries on schedule, throttling, the end, and dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final

import pytest
from aiohttp import web
from tests.conftest import Enter, MakeService, Run
from tests.scenario.conftest import Ask

from triggers_api.model.timestamp import Timestamp
from triggers_api.testing import FrozenClock, Received, Receiver, Service

SCHEDULE: Final = (5.0, 30.0, 120.0, 600.0, 3600.0, 10_800.0, 28_800.0)
"""The contract's, in seconds."""

Draw = Callable[[float], None]


@pytest.fixture
def draw(service: Service) -> Draw:
    """Sets the random number that the jitter is made of."""

    def draw(number: float) -> None:
        service.app.dispatcher._draw = lambda: number

    return draw


def waits_s(delivery: dict[str, Any], clock: FrozenClock) -> float:
    """How long until the next attempt."""
    return (Timestamp.parse(delivery["next_attempt_at"]) - clock()) / 1000


@pytest.mark.parametrize(("number", "stretched"), [(0.0, 1.0), (0.5, 1.1), (0.999999, 1.2)])
def test_the_schedule_is_the_contracts_stretched_by_up_to_a_fifth(
    ask: Ask,
    run: Run,
    service: Service,
    receiver: Receiver,
    clock: FrozenClock,
    draw: Draw,
    number: float,
    stretched: float,
) -> None:
    draw(number)
    receiver.always(500)
    run(service.subscribe(receiver.url))
    sent = ask.event()
    for failures, delay in enumerate(SCHEDULE, start=1):
        ask.drain()
        delivery = ask.delivery(sent)
        assert (delivery["status"], delivery["attempt_count"]) == ("retrying", failures)
        assert delivery["reason"] == "receiver answered 500"
        assert waits_s(delivery, clock) == pytest.approx(delay * stretched, abs=0.1)
        clock.advance(seconds=waits_s(delivery, clock) - 0.001)
        ask.drain()
        assert len(receiver.requests) == failures
        clock.advance(seconds=0.001)
    ask.drain()
    delivery = ask.delivery(sent)
    assert (delivery["status"], delivery["attempt_count"]) == ("dead", 8)
    assert delivery["reason"] == "receiver answered 500; 8 of 8 attempts used"
    assert delivery["next_attempt_at"] is None
    clock.advance(seconds=10**6)
    ask.drain()
    assert receiver.ids == [sent] * 8


def test_without_a_given_number_the_jitter_is_within_its_bounds_and_not_always_the_same(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    receiver.always(500)
    for _ in range(5):  # fewer failures of each than have it left alone
        run(service.subscribe(receiver.url, retry_schedule=[1000]))
    sent = [ask.event() for _ in range(8)]
    ask.drain()
    waits = [waits_s(delivery, clock) for each in sent for delivery in ask.deliveries(each)]
    assert len(waits) == 40
    assert all(1000 <= wait <= 1200 for wait in waits)
    assert len({round(wait) for wait in waits}) > 10


def test_a_subscription_may_have_a_schedule_of_its_own_or_none(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock, draw: Draw
) -> None:
    draw(0.0)
    receiver.always(500)
    run(service.subscribe(receiver.url, ["own"], retry_schedule=[0.5, 2]))
    run(service.subscribe(receiver.url, ["none"], retry_schedule=[]))
    own, none = ask.event("own"), ask.event("none")
    ask.drain()
    assert ask.delivery(none)["status"] == "dead"
    assert waits_s(ask.delivery(own), clock) == 0.5
    clock.advance(seconds=0.5)
    ask.drain()
    assert waits_s(ask.delivery(own), clock) == 2
    clock.advance(seconds=2)
    ask.drain()
    assert ask.delivery(own)["status"] == "dead"


# ── throttling ────────────────────────────────────────────────────────────────────────────────────


def throttling(status: int, retry_after: str) -> web.Response:
    return web.Response(status=status, headers={"Retry-After": retry_after})


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_receiver_that_asks_for_time_gets_it(
    ask: Ask,
    run: Run,
    service: Service,
    receiver: Receiver,
    clock: FrozenClock,
    draw: Draw,
    status: int,
) -> None:
    run(service.subscribe(receiver.url, retry_schedule=[5] * 9))
    sent = ask.event()

    def asked(retry_after: str, number: float) -> float:
        draw(number)
        receiver.replies(throttling(status, retry_after))
        ask.drain()
        waits = waits_s(ask.delivery(sent), clock)
        clock.advance(seconds=waits)
        return waits

    # In seconds: never earlier, at most a second later, at most a day.
    assert asked("1234", 0.0) == 1234
    assert asked("1234", 0.999) == pytest.approx(1235, abs=0.01)
    assert asked("1", 0.0) == 1
    assert asked("0", 0.5) == pytest.approx(0.5)
    assert asked("999999999", 0.0) == 86_400
    assert asked("9" * 400, 0.0) == 86_400
    # As a date.
    at = datetime.fromtimestamp(clock() / 1000 + 3600, UTC)
    assert asked(format_datetime(at, usegmt=True), 0.0) == pytest.approx(3600, abs=1)
    # Nonsense is not asking.
    assert asked("soon", 0.0) == 5
    assert asked("-5", 0.0) == 5
    assert len(receiver.requests) == 9


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500, 501, 505])
def test_another_failure_that_asks_for_time_keeps_to_the_schedule(
    ask: Ask,
    run: Run,
    service: Service,
    receiver: Receiver,
    clock: FrozenClock,
    draw: Draw,
    status: int,
) -> None:
    draw(0.0)
    run(service.subscribe(receiver.url, retry_schedule=[5]))
    receiver.replies(throttling(status, "1000"))
    sent = ask.event()
    ask.drain()
    assert waits_s(ask.delivery(sent), clock) == 5


def test_asking_for_time_does_not_add_attempts(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    receiver.always(throttling(429, "10"))
    run(service.subscribe(receiver.url, retry_schedule=[5]))
    sent = ask.event()
    for _ in range(3):
        ask.drain()
        clock.advance(seconds=20)
    assert ask.delivery(sent)["status"] == "dead"
    assert len(receiver.requests) == 2


# ── other answers ─────────────────────────────────────────────────────────────────────────────────


def test_gone_disables_the_subscription_and_cancels_what_waits_for_it(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(service.subscribe(receiver.url))
    receiver.replies(500)
    waiting = ask.event()
    ask.drain()
    receiver.replies(410)
    gone = ask.event()
    ask.drain()
    for sent in (waiting, gone):
        assert ask.delivery(sent)["status"] == "cancelled"
    assert ask.delivery(gone)["reason"] == "receiver answered 410 Gone"
    shown = ask.subscription(made["id"])
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", "receiver answered 410 Gone")
    # Routing learns of it with what it claims, or with its next look at the settings; then a sweep
    # tidies up what came in between.
    between = ask.event()
    ask.drain()
    run(service.app.reaper.run_once())
    assert all(each["status"] == "cancelled" for each in ask.deliveries(between))
    assert len(receiver.requests) == 2
    run(service.app.monitor.run_once())
    later = ask.event()
    clock.advance(seconds=86_400)
    ask.drain()
    assert (ask.status(later), ask.deliveries(later)) == ("processed", [])
    assert len(receiver.requests) == 2


@pytest.mark.parametrize(("status", "ended"), [(200, "succeeded"), (503, "cancelled")])
def test_a_receiver_can_have_its_subscription_disabled_with_any_answer(
    ask: Ask, run: Run, service: Service, receiver: Receiver, status: int, ended: str
) -> None:
    made = run(service.subscribe(receiver.url))
    receiver.replies(500)
    waiting = ask.event()
    ask.drain()
    receiver.replies(web.Response(status=status, headers={"Webhook-Delivery": "Disable"}))
    last = ask.event()
    ask.drain()
    assert (ask.delivery(last)["status"], ask.delivery(waiting)["status"]) == (ended, "cancelled")
    shown = ask.subscription(made["id"])
    asked = f"receiver answered {status} with webhook-delivery: disable"
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", asked)


def test_a_receiver_can_end_a_delivery_that_it_will_never_take(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(service.subscribe(receiver.url))
    receiver.replies(web.Response(status=500, headers={"webhook-delivery": "abort-message"}))
    sent = ask.event()
    ask.drain()
    ended = ask.delivery(sent)
    assert (ended["status"], ended["next_attempt_at"]) == ("cancelled", None)
    assert ended["reason"] == "receiver answered 500 with webhook-delivery: abort-message"
    assert ask.subscription(made["id"])["status"] == "active"
    clock.advance(seconds=86_400)
    after = ask.event()
    ask.drain()
    assert ask.delivery(after)["status"] == "succeeded"
    assert len(receiver.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(
    ask: Ask, run: Run, service: Service, receiver: Receiver, status: int
) -> None:
    run(service.subscribe(receiver.url, retry_schedule=[]))
    elsewhere = receiver.url.replace("/hook", "/elsewhere")
    receiver.replies(web.Response(status=status, headers={"Location": elsewhere}))
    sent = ask.event()
    ask.drain()
    delivery = ask.delivery(sent)
    assert delivery["status"] == "dead"
    assert delivery["attempts"][0]["status_code"] == status
    assert [each.path for each in receiver.requests] == ["/hook"]


def test_a_receiver_that_does_not_answer_in_time_is_tried_again(
    run: Run, enter: Enter, make_service: MakeService, clock: FrozenClock
) -> None:
    service, receiver = enter(make_service(clock=clock)), enter(Receiver())
    ask = Ask(service, run)

    async def hang(_: Received) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    receiver.always(hang)
    made = run(service.subscribe(receiver.url, retry_schedule=[10], timeout_s=0.2))
    sent = ask.event()
    ask.drain()
    delivery = ask.delivery(sent)
    assert delivery["status"] == "retrying"
    assert delivery["attempts"][0]["error"] == "timeout"
    assert 200 <= delivery["attempts"][0]["duration_ms"] < 10_000
    receiver.always(204)
    ask.do("PATCH", f"/api/subscriptions/{made['id']}", {"timeout_s": None})
    clock.advance(seconds=12)
    ask.drain()
    assert ask.delivery(sent)["status"] == "succeeded"


def test_an_endpoint_that_does_not_listen_is_tried_again_and_then_dead(
    ask: Ask, run: Run, service: Service, clock: FrozenClock
) -> None:
    run(service.subscribe("http://127.0.0.1:9/", retry_schedule=[10]))
    sent = ask.event()
    ask.drain()
    assert ask.delivery(sent)["status"] == "retrying"
    clock.advance(seconds=12)
    ask.drain()
    delivery = ask.delivery(sent)
    assert delivery["status"] == "dead"
    assert [each["error"] for each in delivery["attempts"]] == ["connection-refused"] * 2
    assert ask.status(sent) == "processed"


def test_an_address_that_is_no_longer_allowed_is_dead_at_once_with_the_reason(
    run: Run, enter: Enter, make_service: MakeService, clock: FrozenClock,
    leave: Callable[[Service], None],
) -> None:  # fmt: skip
    receiver = enter(Receiver())
    first = enter(make_service(clock=clock))
    run(first.subscribe(receiver.url))
    sent = Ask(first, run).event()
    leave(first)
    second = enter(make_service(clock=clock, allow_cidrs=()))
    ask = Ask(second, run)
    ask.drain()
    delivery = ask.delivery(sent)
    assert delivery["status"] == "dead"
    assert delivery["attempts"][0]["error"] == "blocked-address"
    assert "blocked-address" in delivery["reason"]
    assert receiver.requests == []


# ── dead letters ──────────────────────────────────────────────────────────────────────────────────


def test_a_dead_letter_is_retried_by_hand_and_succeeds(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    secret = run(service.subscribe(receiver.url, retry_schedule=[]))["secret"]
    receiver.replies(500)
    sent = ask.event(payload={"n": 1})
    ask.drain()
    (dead,) = ask.get("/api/dead-letters")["data"]
    assert dead["event_id"] == sent
    ask.do("POST", f"/api/deliveries/{dead['id']}/retry", status=202)
    assert ask.get("/api/dead-letters")["data"] == []
    ask.drain()
    delivery = ask.delivery(sent)
    assert (delivery["status"], delivery["attempt_count"]) == ("succeeded", 2)
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == sent
    assert second.headers["x-triggers-attempt"] == "2"
    assert first.body == second.body
    second.verify(secret, now=int(second.headers["webhook-timestamp"]))


def test_one_receivers_failure_is_no_others(
    ask: Ask, run: Run, service: Service, clock: FrozenClock, enter: Enter
) -> None:
    bad, good = enter(Receiver()), enter(Receiver())
    bad.always(500)
    run(service.subscribe(bad.url, retry_schedule=[10]))
    run(service.subscribe(good.url))
    sent = [ask.event(payload=number) for number in range(4)]
    ask.drain()
    clock.advance(seconds=12)
    ask.drain()
    assert sorted(good.ids) == sorted(sent)
    assert sorted(bad.ids) == sorted(sent * 2)
    books = ask.books()["deliveries"]
    assert (books["dead"], books["succeeded"]) == (4, 4)
