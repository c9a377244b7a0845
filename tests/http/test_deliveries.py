"""``/api/deliveries`` and dead letters: attempts on file, retry and cancel from each state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

import pytest
from aiohttp import web
from tests.conftest import Run, turn
from tests.http.conftest import assert_problem, assert_stamped

from triggers_api.testing import FrozenClock, Received, Receiver, Service

STATES: Final = ("pending", "delivering", "retrying", "succeeded", "dead", "skipped", "cancelled")


@pytest.fixture
def clock(module_clock: FrozenClock) -> FrozenClock:
    return module_clock


class Held:
    """A receiver's answer that waits until it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, _: Received) -> web.Response:
        await self.go.wait()
        return web.Response(status=204)


class World:
    """Brings deliveries into each state."""

    def __init__(self, service: Service, receiver: Receiver, run: Run, name: str) -> None:
        self.service = service
        self.receiver = receiver
        self.run = run
        self.name = "".join(letter if letter.isalnum() else "." for letter in name)
        self.type = self.name
        self.held = Held()
        self._serial = count()

    def get(self, delivery_id: str) -> dict[str, Any]:
        answer = self.run(self.service.call("GET", f"/api/deliveries/{delivery_id}"))
        assert answer.status == 200
        shown: dict[str, Any] = answer.json
        return shown

    def act(self, delivery_id: str, action: str) -> Any:  # noqa: ANN401 - an answer
        return self.run(self.service.call("POST", f"/api/deliveries/{delivery_id}/{action}"))

    def subscription(self, **fields: Any) -> str:  # noqa: ANN401 - JSON
        """One to a type of its own."""
        self.type = f"{self.name}.{next(self._serial)}"
        made = self.run(self.service.subscribe(self.receiver.url, [self.type], **fields))
        subscription_id: str = made["id"]
        return subscription_id

    def delivery(self, subscription_id: str) -> str:
        """One that is pending."""
        event = self.run(self.service.send(self.type, {"n": 1})).json["id"]
        self.run(self.service.app.processor.run_once())
        query = f"subscription_id={subscription_id}&event_id={event}"
        (found,) = self.run(self.service.call("GET", f"/api/deliveries?{query}")).json["data"]
        delivery_id: str = found["id"]
        return delivery_id

    def in_state(self, state: str) -> str:
        """The id of a delivery that stands there."""
        receiver, run, service = self.receiver, self.run, self.service
        if state == "dead":
            receiver.replies(500)
            delivery = self.delivery(self.subscription(retry_schedule=[]))
            run(service.drain())
        elif state == "skipped":
            delivery = self.delivery(self.subscription())
            run(turn(service, delivery="skip"))
            run(service.drain())
            run(turn(service, delivery=None))
        else:
            delivery = self.delivery(self.subscription())
        if state == "retrying":
            receiver.replies(500)
            run(service.drain())
        elif state == "succeeded":
            run(service.drain())
        elif state == "cancelled":
            assert self.act(delivery, "cancel").status == 202
        elif state == "delivering":
            receiver.replies(self.held)
            sent = len(receiver.requests)
            run(service.app.dispatcher.run_once())
            run(receiver.wait_for(sent + 1))
        assert self.get(delivery)["status"] == state
        return delivery


@pytest.fixture
def world(
    service: Service, receiver: Receiver, run: Run, request: pytest.FixtureRequest
) -> Iterator[World]:
    world = World(service, receiver, run, request.node.name)
    yield world
    world.held.go.set()
    run(service.drain())


def test_a_delivery_shows_every_attempt(world: World, clock: FrozenClock) -> None:
    world.receiver.replies(
        web.Response(status=503, text="later", headers={"Retry-After": "7"}),
        web.Response(status=302, headers={"Location": "/elsewhere"}),
        web.Response(status=200, text="x" * 20_000),
    )
    delivery_id = world.delivery(world.subscription(retry_schedule=[5, 5]))
    first = world.get(delivery_id)
    assert first["attempts"] == []
    assert (first["status"], first["attempt_count"], first["reason"]) == ("pending", 0, None)
    assert first["next_attempt_at"] is not None
    for _ in range(3):
        world.run(world.service.drain())
        clock.advance(seconds=8)
    shown = world.get(delivery_id)
    assert (shown["status"], shown["attempt_count"]) == ("succeeded", 3)
    assert [set(attempt) for attempt in shown["attempts"]] == [
        {
            "id",
            "number",
            "started_at",
            "duration_ms",
            "status_code",
            "error",
            "response_body",
            "request_headers",
            "response_headers",
            "timings",
        }
    ] * 3
    assert [each["number"] for each in shown["attempts"]] == [1, 2, 3]
    assert [each["status_code"] for each in shown["attempts"]] == [503, 302, 200]
    assert [each["error"] for each in shown["attempts"]] == [None] * 3
    bodies = [each["response_body"] for each in shown["attempts"]]
    assert bodies == ["later", None, "x" * 16_384]
    assert all(each["id"].startswith("att_") for each in shown["attempts"])
    assert all(each["duration_ms"] >= 0 for each in shown["attempts"])
    assert len(world.receiver.requests) == 3
    for number, (attempt, received) in enumerate(
        zip(shown["attempts"], world.receiver.requests, strict=True), 1
    ):
        masked = received.headers | {"webhook-signature": "v1,***"}
        assert attempt["request_headers"] == masked
        assert masked["x-triggers-attempt"] == str(number)
        assert set(attempt["timings"]) == {"dns", "connect", "tls", "first_byte", "total"}
        assert attempt["timings"]["first_byte"] <= attempt["timings"]["total"]
    answered = [attempt["response_headers"] for attempt in shown["attempts"]]
    assert answered[0]["retry-after"] == "7"
    assert answered[1]["location"] == "/elsewhere"
    assert answered[2]["content-length"] == "20000"


def test_what_a_receiver_gives_back_of_credentials_is_shown_nowhere(world: World) -> None:
    secrets = {"X-Token": "s3cr3t-v4lue", "X-Other": 'quo"ted/v4lue'}

    async def echo(received: Received) -> web.Response:
        return web.json_response(received.headers, headers={"X-Echo": received.headers["x-token"]})

    world.receiver.replies(echo)
    auth = {"type": "bearer", "token": "t0k3n/t0k3n"}
    delivery_id = world.delivery(world.subscription(headers=secrets, auth=auth))
    world.run(world.service.drain())
    request = world.receiver.requests[-1]
    assert request.headers["authorization"] == "Bearer t0k3n/t0k3n"
    shown = world.run(world.service.call("GET", f"/api/deliveries/{delivery_id}"))
    (attempt,) = shown.json["attempts"]
    assert attempt["request_headers"]["authorization"] == "***"
    assert attempt["request_headers"]["X-Token"] == "***"
    signature = request.headers["webhook-signature"].partition(",")[2]
    for secret in (*secrets.values(), "quo\\", "t0k3n", signature):
        assert secret.encode() not in shown.body


def test_an_attempt_that_got_no_answer_says_why(world: World) -> None:
    made = world.run(
        world.service.subscribe("http://127.0.0.1:9/hook", [world.type], retry_schedule=[])
    )
    delivery_id = world.delivery(made["id"])
    world.run(world.service.drain())
    shown = world.get(delivery_id)
    (attempt,) = shown["attempts"]
    assert (attempt["status_code"], attempt["error"]) == (None, "connection-refused")
    assert shown["status"] == "dead"
    assert "connection-refused" in shown["reason"]
    assert shown["finished_at"] is not None


@pytest.mark.parametrize("state", ["pending", "retrying", "dead", "skipped", "cancelled"])
def test_it_can_be_retried_by_hand(world: World, state: str) -> None:
    delivery_id = world.in_state(state)
    before = len(world.receiver.requests)
    attempts = world.get(delivery_id)["attempt_count"]
    answer = world.act(delivery_id, "retry")
    assert answer.status == 202
    assert_stamped(answer)
    assert answer.json["id"] == delivery_id
    assert answer.json["status"] == ("retrying" if attempts else "pending")
    assert answer.json["finished_at"] is None
    world.run(world.service.drain())
    shown = world.get(delivery_id)
    assert (shown["status"], shown["attempt_count"]) == ("succeeded", attempts + 1)
    assert len(world.receiver.requests) == before + 1


@pytest.mark.parametrize("state", ["succeeded", "delivering"])
def test_it_cannot_be_retried(world: World, state: str) -> None:
    delivery_id = world.in_state(state)
    assert_problem(world.act(delivery_id, "retry"), 409, "invalid-state")
    assert world.get(delivery_id)["status"] == state


@pytest.mark.parametrize("state", ["pending", "retrying", "delivering"])
def test_it_can_be_cancelled(world: World, state: str) -> None:
    delivery_id = world.in_state(state)
    answer = world.act(delivery_id, "cancel")
    assert (answer.status, answer.json["status"]) == (202, "cancelled")
    assert answer.json["next_attempt_at"] is None
    sent = len(world.receiver.requests)
    world.held.go.set()
    world.run(world.service.drain())
    assert world.get(delivery_id)["status"] == "cancelled"
    assert len(world.receiver.requests) == sent


@pytest.mark.parametrize("state", ["succeeded", "dead", "skipped", "cancelled"])
def test_it_cannot_be_cancelled(world: World, state: str) -> None:
    delivery_id = world.in_state(state)
    assert_problem(world.act(delivery_id, "cancel"), 409, "invalid-state")
    assert world.get(delivery_id)["status"] == state


def test_every_state_was_asked_about() -> None:
    can = {"pending", "retrying", "dead", "skipped", "cancelled"}
    assert can | {"succeeded", "delivering"} == set(STATES)


@pytest.mark.parametrize("gone", ["event", "subscription"])
def test_a_dead_one_whose_event_or_subscription_is_gone_stays_dead(world: World, gone: str) -> None:
    delivery_id = world.in_state("dead")
    target = world.get(delivery_id)[f"{gone}_id"]
    assert world.run(world.service.call("DELETE", f"/api/{gone}s/{target}")).status == 204
    assert_problem(world.act(delivery_id, "retry"), 409, "invalid-state")


def test_a_retry_by_hand_begins_the_schedule_anew(world: World, clock: FrozenClock) -> None:
    world.receiver.always(500)
    delivery_id = world.delivery(world.subscription(retry_schedule=[10]))
    for _ in range(2):
        world.run(world.service.drain())
        clock.advance(seconds=12)
    assert world.get(delivery_id)["status"] == "dead"
    assert world.act(delivery_id, "retry").status == 202
    world.run(world.service.drain())
    shown = world.get(delivery_id)
    assert (shown["status"], shown["attempt_count"]) == ("retrying", 3)
    clock.advance(seconds=12)
    world.run(world.service.drain())
    shown = world.get(delivery_id)
    assert (shown["status"], shown["attempt_count"]) == ("dead", 4)
    assert [each["number"] for each in shown["attempts"]] == [1, 2, 3, 4]


def test_dead_letters_are_the_deliveries_that_are_dead(
    world: World, service: Service, run: Run
) -> None:
    dead = world.in_state("dead")
    for state in ("retrying", "succeeded", "skipped", "cancelled", "pending"):
        world.in_state(state)
    listed = run(service.call("GET", "/api/dead-letters?limit=1000")).json["data"]
    assert dead in [each["id"] for each in listed]
    assert {each["status"] for each in listed} == {"dead"}
    assert listed == run(service.call("GET", "/api/deliveries?status=dead&limit=1000")).json["data"]
    assert world.act(dead, "retry").status == 202
    listed = run(service.call("GET", "/api/dead-letters?limit=1000")).json["data"]
    assert dead not in [each["id"] for each in listed]


Act = Callable[[str, str], Any]


@pytest.mark.parametrize("action", ["retry", "cancel"])
def test_of_simultaneous_actions_each_has_an_answer_and_one_effect(
    world: World, service: Service, run: Run, action: str
) -> None:
    delivery_id = world.in_state("retrying" if action == "cancel" else "dead")

    async def main() -> list[int]:
        path = f"/api/deliveries/{delivery_id}/{action}"
        answers = await asyncio.gather(*(service.call("POST", path) for _ in range(8)))
        return sorted(answer.status for answer in answers)

    statuses = run(main())
    sent = len(world.receiver.requests)
    if action == "cancel":
        assert statuses == [202] + [409] * 7
    else:
        assert statuses == [202] * 8
        run(service.drain())
        assert len(world.receiver.requests) == sent + 1
