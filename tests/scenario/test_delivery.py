"""An event's way to its receivers: what is sent, to whom, and signed how."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks.webhooks import Webhook
from tests.conftest import Enter, MakeService, Run, own_organization
from tests.scenario.conftest import Ask

from triggers_api import __version__
from triggers_api.client import InvalidWebhook
from triggers_api.testing import FrozenClock, Receiver, Service

ODD: Final = (
    b'{"big":1234567890123456789012345,"a":1,"a":2,"nul":"\\u0000","f":1e400, "s" : "\\/\xc3\xa9"}'
)


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_live_an_event_arrives_signed_within_a_moment(
    run: Run, enter: Enter, make_service: MakeService
) -> None:
    receiver, service = enter(Receiver()), enter(make_service())
    ask = Ask(service, run)
    secret = run(service.subscribe(receiver.url, ["order.*"]))["secret"]
    sent = ask.event("order.created", {"id": 42})
    (request,) = run(receiver.wait_for(1))
    # The package checks signature and timestamp against the time it is.
    assert Webhook(secret).verify(request.body, request.headers)["data"] == {"id": 42}
    assert request.headers["webhook-id"] == sent


def test_the_request_is_what_the_contract_says(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    run(
        service.subscribe(
            receiver.url, headers={"x-env": "test"}, auth={"type": "bearer", "token": "abc"}
        )
    )
    sent = ask.event("order.created", {"id": 42})
    clock.advance(seconds=90)
    ask.drain()
    (request,) = receiver.requests
    assert (request.method, request.path) == ("POST", "/hook")
    assert request.body == (
        b'{"type":"order.created","timestamp":"2026-01-01T12:00:00.000Z","data":{"id": 42}}'
    )
    headers = request.headers
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == sent
    assert headers["webhook-timestamp"] == str(clock() // 1000)
    assert re.fullmatch(r"v1,[A-Za-z0-9+/]{43}=", headers["webhook-signature"])
    assert headers["user-agent"] == f"triggers-api/{__version__}"
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", headers["traceparent"])
    assert headers["x-triggers-event-type"] == "order.created"
    assert headers["x-triggers-delivery-id"] == ask.delivery(sent)["id"]
    assert headers["x-triggers-attempt"] == "1"
    assert headers["authorization"] == "Bearer abc"
    assert headers["x-env"] == "test"
    assert int(headers["content-length"]) == len(request.body)
    assert "cookie" not in headers


def test_what_a_receiver_is_told_of_who_sends_follows_the_subscription_and_is_never_shown(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    auth = {"type": "basic", "username": "käthe", "password": "pass:word ü"}
    made = run(service.subscribe(receiver.url, auth=auth))
    path = f"/api/subscriptions/{made['id']}"
    ask.event()
    ask.drain()
    ask.do("PATCH", path, {"description": "another"})
    ask.event()
    ask.drain()
    ask.do("PATCH", path, {"auth": {"type": "bearer", "token": "t0ken"}})
    ask.event()
    ask.drain()
    ask.do("PATCH", path, {"auth": None})
    ask.event()
    ask.drain()
    assert [each.headers.get("authorization") for each in receiver.requests] == [
        "Basic a8OkdGhlOnBhc3M6d29yZCDDvA==",
        "Basic a8OkdGhlOnBhc3M6d29yZCDDvA==",
        "Bearer t0ken",
        None,
    ]
    assert made["auth"] == {"type": "basic"}
    assert ask.subscription(made["id"])["auth"] is None


def test_the_timestamp_inside_is_when_it_happened_if_that_was_told(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url))
    ask.event(occurred_at="2025-06-01T10:00:00.25+02:00")
    ask.drain()
    assert receiver.requests[0].json["timestamp"] == "2025-06-01T08:00:00.250Z"


def test_the_payload_arrives_byte_for_byte(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url, ["odd"]))
    run(service.subscribe(receiver.url, ["odd"], payload_format="raw"))
    answer = run(service.call("POST", "/api/events", b'{"type":"odd","payload":%b}' % ODD))
    assert answer.status == 202
    ask.drain()
    bodies = sorted((request.body for request in receiver.requests), key=len)
    assert bodies == [
        ODD,
        b'{"type":"odd","timestamp":"2026-01-01T12:00:00.000Z","data":%b}' % ODD,
    ]


def test_any_json_value_is_a_payload(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    payloads = [b"null", b"0", b'"text"', b"[]", b"{}", b"false", b'"\\u0000"']
    run(service.subscribe(f"{receiver.url}/standard"))
    run(service.subscribe(f"{receiver.url}/raw", payload_format="raw"))
    for payload in payloads:
        run(service.call("POST", "/api/events", b'{"type":"a","payload":%b}' % payload))
    ask.drain()
    raw = [each.body for each in receiver.requests if each.path.endswith("raw")]
    assert sorted(raw) == sorted(payloads)
    standard = [each.body for each in receiver.requests if each.path.endswith("standard")]
    begin = b'{"type":"a","timestamp":"2026-01-01T12:00:00.000Z","data":'
    assert sorted(standard) == sorted(begin + payload + b"}" for payload in payloads)


def test_flat_puts_the_payloads_own_fields_beside_ours(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url, payload_format="flat"))
    payload = ODD[:-1] + b', "\\u0069d":7}'
    answer = run(service.call("POST", "/api/events", b'{"type":"odd","payload":%b}' % payload))
    ask.drain()
    assert receiver.requests[0].body == (
        b'{"id":"%b","type":"odd","received_at":"2026-01-01T12:00:00.000Z",%b, "payload_id":7}'
        % (answer.json["id"].encode(), ODD[1:-1])
    )


@pytest.mark.parametrize("payload_format", ["cloudevents", "cloudevents-binary"])
def test_the_cloudevents_sdk_reads_what_a_receiver_gets(
    ask: Ask, run: Run, service: Service, receiver: Receiver, payload_format: str
) -> None:
    secret = run(service.subscribe(receiver.url, payload_format=payload_format))["secret"]
    plain = ask.event("order.created", {"id": 42})
    ask.event(
        source="/shops/1",
        dedup_id="/shops/1 A-1",
        key="kündin 7",
        metadata={"traceid": "a b", "Not-One": "x"},
        occurred_at="2025-06-01T10:00:00.25+02:00",
    )
    ask.drain()
    first, second = sorted(
        (from_http_event(HTTPMessage(each.headers, each.body)) for each in receiver.requests),
        key=lambda event: event.get_source(),
    )
    assert (first.get_id(), first.get_data()) == (plain, {"id": 42})
    assert first.get_source() == f"/organizations/{run(own_organization(service))}"
    assert (second.get_source(), second.get_id()) == ("/shops/1", "A-1")
    assert (second.get_subject(), second.get_extension("traceid")) == ("kündin 7", "a b")
    assert second.get_time() == datetime(2025, 6, 1, 8, 0, 0, 250_000, UTC)
    for request in receiver.requests:
        request.verify(secret, now=int(request.headers["webhook-timestamp"]))
        assert "webhook-id" in request.headers


@pytest.mark.parametrize(
    "payload_format", ["standard", "raw", "flat", "cloudevents", "cloudevents-binary"]
)
def test_every_attempt_is_signed_anew_over_the_same_bytes(
    ask: Ask,
    run: Run,
    service: Service,
    receiver: Receiver,
    clock: FrozenClock,
    payload_format: str,
) -> None:
    secret = run(
        service.subscribe(receiver.url, payload_format=payload_format, retry_schedule=[600, 600])
    )["secret"]
    receiver.replies(500, 500, 204)
    sent = ask.event(payload={"n": 1})
    for _ in range(3):
        ask.drain()
        clock.advance(seconds=720)
    assert receiver.ids == [sent] * 3
    assert [each.headers["x-triggers-attempt"] for each in receiver.requests] == ["1", "2", "3"]
    assert len({each.body for each in receiver.requests}) == 1
    stamps = [int(each.headers["webhook-timestamp"]) for each in receiver.requests]
    assert all(later - earlier == 720 for earlier, later in pairwise(stamps))
    for request, stamp in zip(receiver.requests, stamps, strict=True):
        request.verify(secret, now=stamp)
        # As the package computes it, without its look at the clock.
        expected = Webhook(secret).sign(sent, moment(stamp), request.body.decode())
        assert request.headers["webhook-signature"] == expected


def test_every_subscription_that_matches_gets_it_once_and_no_other(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    matching = ["order.created", "order.*", "*", "*.created", "o*d", "**", "order.*d"]
    others = [
        "order",
        "order.",
        "order.created.",
        "invoice.*",
        "*.paid",
        "ORDER.*",
        "order.?reated",
    ]
    ids = {}
    for pattern in matching:
        made = run(service.subscribe(f"{receiver.url}/yes", [pattern, "never.this"]))
        ids[made["id"]] = made["secret"]
    for pattern in others[:-1]:
        run(service.subscribe(f"{receiver.url}/no", [pattern]))
    sent = ask.event("order.created", {"n": 1})
    ask.drain()
    assert len(receiver.requests) == len(matching)
    assert {each.path for each in receiver.requests} == {"/hook/yes"}
    deliveries = ask.deliveries(sent)
    assert {each["subscription_id"] for each in deliveries} == set(ids)
    by_delivery = {each["id"]: each["subscription_id"] for each in deliveries}
    for request in receiver.requests:
        secret = ids[by_delivery[request.headers["x-triggers-delivery-id"]]]
        request.verify(secret, now=int(request.headers["webhook-timestamp"]))
        for other in set(ids.values()) - {secret}:
            with pytest.raises(InvalidWebhook):
                request.verify(other, now=int(request.headers["webhook-timestamp"]))


def test_a_subscription_with_two_matching_patterns_gets_it_once(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url, ["order.*", "*", "order.created"]))
    ask.event("order.created")
    ask.drain()
    assert len(receiver.requests) == 1


def test_two_hundred_subscriptions_get_two_hundred_deliveries(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    for number in range(200):
        run(service.subscribe(f"{receiver.url}/{number}", ["wide"]))
    sent = ask.event("wide")
    ask.drain()
    assert sorted(int(each.path.rpartition("/")[2]) for each in receiver.requests) == list(
        range(200)
    )
    assert len(ask.get(f"/api/events/{sent}")["deliveries"]) == 200
    books = ask.books()["deliveries"]
    assert (books["total"], books["succeeded"]) == (200, 200)


def test_an_event_that_nobody_wants_is_processed(ask: Ask, receiver: Receiver) -> None:
    sent = ask.event()
    ask.drain()
    assert ask.status(sent) == "processed"
    assert ask.deliveries(sent) == []
    assert receiver.requests == []


def test_many_events_arrive_each_once(
    ask: Ask, run: Run, service: Service, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url))
    sent = [ask.event("order.created", number) for number in range(250)]
    ask.drain()
    assert sorted(receiver.ids) == sorted(sent)
    assert {each["status"] for each in ask.get("/api/events?limit=1000")["data"]} == {"processed"}


def test_a_receiver_is_never_asked_twice_for_what_it_took(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    run(service.subscribe(receiver.url))
    for status in (200, 201, 202, 204, 299):
        receiver.replies(status)
        sent = ask.event()
        ask.drain()
        assert ask.delivery(sent)["status"] == "succeeded"
    clock.advance(seconds=86_400)
    ask.drain()
    assert len(receiver.requests) == 5
