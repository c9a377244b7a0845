"""Events that wait in Redis: found there, answered for, and stored as if there were no Redis."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.conftest import Enter, Log, Run, new_organization
from tests.redis.conftest import Buffered, MakeBuffered
from tests.servers.collector import Collector

from triggers_api.testing import ADMIN_KEY, Receiver


def batch(buffered: Buffered, *items: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    answer = buffered.call("POST", "/api/events/batch", list(items))
    assert answer.status == 202, answer
    return answer.json


def test_an_event_is_found_by_id_before_it_has_landed_and_in_lists_after(
    buffered: Buffered,
) -> None:
    sent = buffered.send({"n": 1.50}, dedup_id="d", source="shop", key="k", metadata={"a": "b"})
    assert sent["status"] == "queued"
    assert buffered.length == 1
    waiting = buffered.event(sent["id"])
    assert buffered.listed() == []
    assert buffered.land() == 1
    assert buffered.length == 0
    landed = buffered.event(sent["id"])
    assert buffered.listed() == [sent["id"]]
    assert waiting == landed
    assert (landed["status"], landed["dedup_id"], landed["key"]) == ("queued", "d", "k")
    buffered.drain()
    assert buffered.event(sent["id"])["status"] == "processed"


def test_what_waits_of_an_organization_is_nobody_elses(buffered: Buffered) -> None:
    sent = buffered.send()
    _, key = buffered.run(new_organization(buffered.service))
    assert buffered.call("GET", f"/api/events/{sent['id']}", key=key).status == 404
    for method, path in (("POST", "/cancel"), ("POST", "/replay"), ("DELETE", "")):
        assert buffered.call(method, f"/api/events/{sent['id']}{path}", key=key).status == 404
    assert buffered.length == 1


def test_the_payload_is_kept_byte_for_byte(buffered: Buffered) -> None:
    body = b'{"type":"a","payload":{"n":1E+2, "n":12345678901234567890,"\\u0000":"\xc3\xa9"}}'
    sent = buffered.call("POST", "/api/events", body)
    assert sent.status == 202
    found = [buffered.call("GET", f"/api/events/{sent.json['id']}").body for _ in range(2)]
    buffered.land()
    found.append(buffered.call("GET", f"/api/events/{sent.json['id']}").body)
    assert all(
        b'{"n":1E+2, "n":12345678901234567890,"\\u0000":"\xc3\xa9"}' in each for each in found
    )


def test_a_duplicate_of_what_waits_is_answered_with_the_first(buffered: Buffered) -> None:
    first = buffered.send({"a": 1}, dedup_id="d")
    second = buffered.send({"a": 1}, 200, dedup_id="d")
    third = buffered.send({"a": 2}, 200, dedup_id="d")
    assert second["id"] == third["id"] == first["id"]
    assert second["duplicate"]
    assert (second["payload_matches"], third["payload_matches"]) == (True, False)
    assert second["status"] == "queued"
    assert buffered.length == 1


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"deliver_at": "2099-01-01T00:00:00Z"}, "scheduled"), ({}, "queued")],
)
def test_a_duplicate_is_told_the_status_of_what_waits(
    buffered: Buffered, fields: dict[str, Any], status: str
) -> None:
    sent = buffered.send(dedup_id="d", **fields)
    assert sent["status"] == status
    assert buffered.event(sent["id"])["status"] == status
    assert buffered.send(1, 200, dedup_id="d", **fields)["status"] == status
    buffered.land()
    assert buffered.event(sent["id"])["status"] == status


def test_a_duplicate_of_what_has_landed_is_told_its_present_status(buffered: Buffered) -> None:
    first = buffered.send(1, dedup_id="d")
    buffered.drain()
    second = buffered.send(2, 200, dedup_id="d")
    assert (second["id"], second["status"], second["payload_matches"]) == (
        first["id"], "processed", False,
    )  # fmt: skip
    assert buffered.length == 0


def test_a_dedup_id_is_free_again_when_its_event_is_deleted(buffered: Buffered) -> None:
    first = buffered.send(1, dedup_id="d")
    buffered.land()
    assert buffered.call("DELETE", f"/api/events/{first['id']}").status == 204
    second = buffered.send(2, dedup_id="d")
    assert second["id"] != first["id"]
    assert buffered.call("DELETE", f"/api/events/{second['id']}").status == 204  # while it waits
    third = buffered.send(3, dedup_id="d")
    buffered.drain()
    assert buffered.event(third["id"])["status"] == "processed"
    assert buffered.listed() == [third["id"]]


def test_a_duplicate_whose_key_has_left_redis_is_recorded_and_reaches_nobody(
    buffered: Buffered, enter: Enter, run: Run
) -> None:
    receiver = enter(Receiver())
    run(buffered.service.subscribe(receiver.url))
    first = buffered.send(1, dedup_id="d")
    buffered.drain()
    for key in buffered.server.call("KEYS", f"{buffered.prefix}:dedup:*"):
        buffered.server.call("DEL", key)
    second = buffered.send(2, dedup_id="d")
    third = buffered.send(2, 200, dedup_id="d")
    assert third["id"] == second["id"] != first["id"]
    buffered.drain()
    found = buffered.event(second["id"])
    assert (found["status"], found["duplicate_of"], found["dedup_id"]) == (
        "cancelled", first["id"], "d",
    )  # fmt: skip
    assert found["deliveries"] == []
    listed = {each["id"]: each for each in buffered.get("/api/events")["data"]}
    assert listed[second["id"]]["duplicate_of"] == first["id"]
    assert listed[first["id"]]["duplicate_of"] is None
    assert receiver.ids == [first["id"]]
    assert buffered.send(1, 200, dedup_id="d")["id"] == first["id"]
    assert buffered.get("/api/admin/verify", key=ADMIN_KEY)["ok"]


def test_of_twins_in_a_batch_the_first_is_accepted(buffered: Buffered) -> None:
    sent = batch(
        buffered,
        {"type": "a", "payload": 1, "dedup_id": "d"},
        {"type": "a", "payload": 2, "dedup_id": "d"},
        {"type": "not a type", "payload": 3},
        {"type": "a", "payload": 4},
    )
    assert (sent["accepted"], sent["duplicates"], sent["rejected"]) == (2, 1, 1)
    statuses = [each["status"] for each in sent["results"]]
    assert statuses == ["accepted", "duplicate", "rejected", "accepted"]
    assert sent["results"][1]["id"] == sent["results"][0]["id"]
    again = batch(
        buffered,
        {"type": "a", "payload": 1, "dedup_id": "d"},
        {"type": "a", "payload": 1, "dedup_id": "e"},
    )
    assert [each["status"] for each in again["results"]] == ["duplicate", "accepted"]
    assert buffered.land() == 3
    # One that has landed, one whose event was deleted, one that is new.
    gone = again["results"][1]["id"]
    assert buffered.call("DELETE", f"/api/events/{gone}").status == 204
    last = batch(
        buffered,
        *({"type": "a", "payload": 1, "dedup_id": each} for each in ("d", "e", "f")),
    )
    assert [each["status"] for each in last["results"]] == ["duplicate", "accepted", "accepted"]
    assert buffered.land() == 2


def test_a_batch_is_taken_whole_or_not_at_all(make_buffered: MakeBuffered) -> None:
    buffered = make_buffered(redis_stream_max_length=3)
    buffered.send()
    answer = buffered.call("POST", "/api/events/batch", [{"type": "a", "payload": 1}] * 3)
    assert (answer.status, answer.json["code"]) == (503, "overloaded")
    assert buffered.length == 1
    assert batch(buffered, *[{"type": "a", "payload": 1}] * 2)["accepted"] == 2


def test_what_is_full_refuses_and_says_when_to_come_again(make_buffered: MakeBuffered) -> None:
    buffered = make_buffered(redis_stream_max_length=2)
    sent = [buffered.send(n, dedup_id=str(n)) for n in range(2)]
    refused = buffered.run(buffered.service.send("a", 1))
    assert (refused.status, refused.json["code"]) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    # A duplicate adds nothing.
    assert buffered.send(0, 200, dedup_id="0")["id"] == sent[0]["id"]
    assert buffered.land() == 2
    buffered.send()


def test_one_organization_does_not_fill_it_for_the_others(make_buffered: MakeBuffered) -> None:
    buffered = make_buffered(redis_stream_max_length=100, redis_organization_max_length=2)
    _, key = buffered.run(new_organization(buffered.service))
    for _ in range(2):
        buffered.send()
    assert buffered.run(buffered.service.send("a", 1)).status == 503
    body = {"type": "a", "payload": 1}
    assert buffered.call("POST", "/api/events", body, key=key).status == 202
    assert buffered.land() == 3
    buffered.send()
    assert buffered.redis("HLEN", "depths") == 1


def test_in_sync_mode_an_event_goes_past_what_waits_and_duplicates_are_still_found(
    buffered: Buffered,
) -> None:
    waiting = buffered.send(1, dedup_id="d")
    buffered.turn(ingest="sync")
    assert buffered.send(2, 200, dedup_id="d")["id"] == waiting["id"]
    routed = buffered.send(3, 201, dedup_id="e")
    assert buffered.event(routed["id"])["status"] == "processed"
    assert buffered.send(3, 200, dedup_id="e")["id"] == routed["id"]
    buffered.turn(ingest="async")
    again = buffered.send(4, 200, dedup_id="e")
    assert (again["id"], again["status"]) == (routed["id"], "processed")
    assert buffered.length == 1
    buffered.drain()
    assert buffered.listed() == [waiting["id"], routed["id"]]


def test_what_is_asked_of_a_waiting_event_is_done_to_it(buffered: Buffered) -> None:
    cancelled, replayed, explained = (buffered.send() for _ in range(3))
    buffered.turn(processing="paused")
    assert buffered.call("POST", f"/api/events/{cancelled['id']}/cancel").status == 200
    # As of any event that is not routed yet.
    assert buffered.call("POST", f"/api/events/{replayed['id']}/replay").status == 409
    assert buffered.get(f"/api/events/{explained['id']}/explain")["event_id"] == explained["id"]
    assert buffered.length == 0
    buffered.turn(processing="running")
    buffered.drain()
    assert buffered.event(cancelled["id"])["status"] == "cancelled"
    assert buffered.event(replayed["id"])["status"] == "processed"
    assert buffered.get("/api/admin/verify", key=ADMIN_KEY)["ok"]


def test_it_is_held_while_processing_is_paused(buffered: Buffered) -> None:
    buffered.turn(processing="paused")
    sent = buffered.send()
    assert buffered.land() == 0
    assert buffered.event(sent["id"])["status"] == "queued"
    buffered.turn(processing="running")
    assert buffered.land() == 1


def test_what_does_not_fit_its_schema_is_kept_aside_and_what_is_secret_never_gets_there(
    buffered: Buffered,
) -> None:
    made = buffered.call(
        "PUT",
        "/api/event-types/order.created",
        {"mode": "quarantine", "schema": {"type": "object"}, "redact": ["/card"]},
    )
    assert made.status < 300, made
    aside = buffered.send(7, type="order.created")
    fine = buffered.send({"card": "4111111111111111"}, type="order.created")
    assert aside["status"] == "quarantined"
    assert buffered.event(aside["id"])["status"] == "quarantined"
    kept = json.dumps([str(each) for each in buffered.redis("XRANGE", "events", "-", "+")])
    assert "4111" not in kept
    buffered.drain()
    assert buffered.event(aside["id"])["status"] == "quarantined"
    assert "4111" not in buffered.call("GET", f"/api/events/{fine['id']}").body.decode()


def test_depths_count_what_waits_in_redis(buffered: Buffered, fresh_numbers: None) -> None:
    for _ in range(3):
        buffered.send()
    buffered.run(buffered.buffer.watch.run_once())
    ready = buffered.call("GET", "/readyz", key=None)
    assert ready.status == 200
    assert ready.json["queue"]["depth"] == 3
    assert ready.json["checks"]["buffer"] == "ok"
    health = buffered.get("/api/health/detailed")
    assert health["redis"] == "healthy"
    assert health["queues"]["event_queue_length"] == 3
    assert health["config"]["redis_stream_max_length"] == 100_000
    assert health["buffer"]["stream_length"] == 3
    assert health["buffer"]["weaknesses"] == []
    assert health["buffer"]["settings"]["appendfsync"] == "always"
    assert fresh_numbers is None


def test_events_land_in_the_order_in_which_they_came(buffered: Buffered) -> None:
    sent = [buffered.send(n)["id"] for n in range(20)]
    buffered.land()
    assert buffered.listed() == sent


def test_what_waits_for_too_long_is_told(make_buffered: MakeBuffered, log: Log) -> None:
    buffered = make_buffered(redis_stream_ttl=1.0)
    entry = ("id", "evt_" + "0" * 12 + "7" + "0" * 3 + "8" + "0" * 15)
    buffered.redis("XADD", "events", "1000-0", *entry)
    buffered.run(buffered.buffer.watch.run_once())
    assert "events wait in redis for too long" in [line["event"] for line in log]
    ready = buffered.call("GET", "/readyz", key=None)
    assert (ready.status, ready.json["status"]) == (200, "degraded")
    assert ready.json["checks"]["buffer"] == "waiting-too-long"


def test_by_hand_it_is_landed_and_routed_while_processing_is_paused(
    make_buffered: MakeBuffered,
) -> None:
    busy = make_buffered()
    busy.send()
    busy.drain()  # it has the lead
    asked = make_buffered(redis_prefix=busy.prefix)
    busy.turn(processing="paused")
    for each in (busy, asked):
        each.run(each.service.app.directory.refresh())
        each.run(each.buffer.consumer.run_once())
    sent = [asked.send(n)["id"] for n in range(3)]
    make_buffered.clock.advance(
        seconds=1
    )  # ids of two processes may be ahead of a clock that stands
    turned = asked.call("POST", "/api/admin/process", key=ADMIN_KEY).json
    assert (turned["claimed"], turned["ok"], turned["unfinished"]) == (3, 3, True)
    assert {asked.event(each)["status"] for each in sent} == {"processed"}
    turned = asked.call("POST", "/api/admin/process", key=ADMIN_KEY).json
    assert (turned["claimed"], turned["unfinished"]) == (0, False)
    # The lead is free for whoever goes on.
    busy.turn(processing="running")
    last = busy.send()["id"]
    busy.drain()
    assert busy.event(last)["status"] == "processed"


def test_the_trace_of_a_request_goes_through_redis_to_the_attempt(
    make_buffered: MakeBuffered, enter: Enter, run: Run
) -> None:
    receiver = enter(Receiver())
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with Collector() as collector:
        taking = make_buffered(otel_endpoint=collector.url)
        landing = make_buffered(otel_endpoint=collector.url, redis_prefix=taking.prefix)
        run(taking.service.subscribe(receiver.url))
        headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        body = {"type": "order.created", "payload": 1}
        sent = taking.call("POST", "/api/events", body, headers=headers)
        assert sent.status == 202
        assert taking.length == 1
        landing.drain()
        (request,) = receiver.requests
        collector.wait_for(spans=4)
        (attempt,) = collector.named("POST")
        assert request.headers["traceparent"] == f"00-{trace}-{attempt.span_id}-01"
        for name in ("POST /api/events", "append", "route", "POST"):
            assert [span.trace_id for span in collector.named(name)] == [trace], name
