"""Subscriptions whose events go out one after the other."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from aiohttp import web
from tests.conftest import Enter, MakeService, Run
from tests.scenario.conftest import Ask

from triggers_api.testing import FrozenClock, Received, Receiver, Service

KEYS = 20
EVENTS_OF_A_KEY = 50


@pytest.mark.timeout(120)
def test_live_each_key_arrives_in_order_while_attempts_fail_at_random(
    run: Run, enter: Enter, make_service: MakeService
) -> None:
    rng = random.Random(7)

    async def fails_now_and_then(_: Received) -> web.StreamResponse:
        await asyncio.sleep(rng.random() * 0.005)
        return web.Response(status=500 if rng.random() < 0.1 else 204)

    receiver, service = enter(Receiver()), enter(make_service())
    receiver.always(fails_now_and_then)
    run(service.subscribe(receiver.url, ordering="key", retry_schedule=[0.01] * 40))

    async def post(key: str) -> None:
        for number in range(EVENTS_OF_A_KEY):
            assert (await service.send("order.created", number, key=key)).status == 202

    async def post_and_wait() -> None:
        keys = [f"key-{number}" for number in range(KEYS)]
        await asyncio.gather(*map(post, keys))
        while len(set(receiver.ids)) < KEYS * EVENTS_OF_A_KEY:
            await receiver.wait_for(len(receiver.requests) + 1, timeout_s=60)

    run(post_and_wait(), within_s=110)
    came: dict[str, list[tuple[int, int]]] = {}
    key_of = {event["id"]: event["key"] for page in pages(run, service) for event in page}
    for request in receiver.requests:
        place = request.json["data"], int(request.headers["x-triggers-sequence"])
        line = came.setdefault(key_of[request.headers["webhook-id"]], [])
        if place not in line:
            line.append(place)
    assert len(came) == KEYS
    for line in came.values():
        assert line == [(number, number + 1) for number in range(EVENTS_OF_A_KEY)]
    assert len(receiver.requests) > KEYS * EVENTS_OF_A_KEY, "no attempt failed"


def pages(run: Run, service: Service) -> list[list[dict[str, Any]]]:
    found, cursor = [], ""
    while True:
        answer = run(service.call("GET", f"/api/events?limit=100{cursor}"))
        found.append(answer.json["data"])
        if answer.json["next_cursor"] is None:
            return found
        cursor = f"&cursor={answer.json['next_cursor']}"


@pytest.mark.parametrize("ingest", ["async", "sync"])
def test_strict_order_holds_everything_behind_an_event_that_is_retried(
    ask: Ask,
    run: Run,
    service: Service,
    receiver: Receiver,
    clock: FrozenClock,
    ingest: str,
) -> None:
    ask.turn(ingest=ingest)
    run(service.subscribe(receiver.url, ordering="strict", retry_schedule=[60]))
    receiver.replies(500)
    sent = [ask.event(payload=number, key=key) for number, key in enumerate(["a", "b", None])]
    ask.drain()
    assert receiver.ids == sent[:1]
    waiting = ask.get(f"/api/deliveries?event_id={sent[1]}")["data"][0]
    assert (waiting["status"], waiting["sequence"], waiting["next_attempt_at"]) == (
        "pending",
        2,
        None,
    )
    clock.advance(seconds=80)
    ask.drain()
    assert receiver.ids == [sent[0], *sent]
    assert [each.headers["x-triggers-sequence"] for each in receiver.requests] == list("1123")


def test_an_event_that_cannot_be_delivered_gives_way_and_leaves_a_gap(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url, ordering="key", retry_schedule=[]))
    receiver.replies(204, 500)
    sent = [ask.event(payload=number, key="a") for number in range(3)]
    ask.drain()
    assert receiver.ids == sent
    statuses = [ask.delivery(each)["status"] for each in sent]
    assert statuses == ["succeeded", "dead", "succeeded"]


def test_what_waits_for_its_turn_cannot_be_brought_forward(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url, ordering="key", retry_schedule=[60]))
    receiver.replies(500)
    sent = [ask.event(payload=number, key="a") for number in range(2)]
    ask.drain()
    head, waiting = (ask.delivery(each)["id"] for each in sent)
    answer = run(service.call("POST", f"/api/deliveries/{waiting}/retry"))
    assert (answer.status, answer.json["code"]) == (409, "invalid-state")
    assert head in answer.json["detail"]


def test_events_without_a_key_and_of_other_keys_are_not_held_up(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url, ordering="key", retry_schedule=[60]))
    receiver.replies(500)
    held = ask.event(key="a")
    ask.drain()
    others = [ask.event(key="b"), ask.event(), ask.event()]
    ask.event(key="a")
    ask.drain()
    assert receiver.ids[0] == held
    assert sorted(receiver.ids[1:]) == sorted(others)


def test_a_subscription_can_be_put_in_order_and_out_of_it(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    made = run(service.subscribe(receiver.url))
    assert made["ordering"] == "none"
    for ordering in ("strict", "none"):
        ask.do("PATCH", f"/api/subscriptions/{made['id']}", {"ordering": ordering})
        ask.event()
        ask.drain()
    sequences = [each.headers.get("x-triggers-sequence") for each in receiver.requests]
    assert sequences == ["1", None]


def test_events_that_are_claimed_before_their_order_matters_are_claimed_again_in_order(
    ask: Ask, run: Run, service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [ask.event(payload=number) for number in range(3)]
    claim_queue = service.app.store.claim_queue
    asked: list[bool] = []

    async def claims_and_then_learns(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        asked.append(bool(options["in_order_of"]))
        claim = await claim_queue(*arguments, **options)
        if len(asked) == 1:
            await service.subscribe(receiver.url, ordering="strict")
        return claim

    # The clock stands still: the subscription is as old as the events, and gets them.
    monkeypatch.setattr(service.app.store, "claim_queue", claims_and_then_learns)
    run(service.app.processor.run_once())
    assert [ask.status(each) for each in sent] == ["queued"] * 3
    run(service.app.processor.run_once())
    assert asked == [False, True]
    ask.drain()
    assert receiver.ids == sent
