"""``POST /api/events``: what a producer is answered, by either way in."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any, Final

import pytest
from tests.conftest import (
    Enter,
    Log,
    MakeService,
    Run,
    new_key,
    new_organization,
    own_organization,
    turn,
)
from tests.http.conftest import (
    BODY,
    JSON,
    Connect,
    assert_problem,
    assert_stamped,
    chunked,
    chunked_event,
    connect,
    event,
    once,
    stored,
    written,
)

from triggers_api.testing import ADMIN_KEY, API_KEY, Answer, FrozenClock, Receiver, Service

BOTH_WAYS: Final = pytest.mark.parametrize("post", [event, chunked_event], ids=["lane", "asgi"])
EVENT_ID: Final = re.compile(r"evt_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")
NOW: Final = "2026-01-01T12:00:00.000Z"


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A dedup_id that no other test uses."""
    name: str = request.node.name
    return name


def body(**fields: Any) -> bytes:  # noqa: ANN401 - JSON
    return json.dumps({"type": "order.created", "payload": {"id": 42}, **fields}).encode()


# ── accepted ──────────────────────────────────────────────────────────────────────────────────────


@BOTH_WAYS
def test_an_event_is_answered_as_the_contract_says(
    service: Service, run: Run, unique: str, post: type
) -> None:
    answer = run(once(service, post(body=body(dedup_id=unique))))
    assert answer.status == 202
    event_id = answer.json["id"]
    assert EVENT_ID.fullmatch(event_id)
    assert list(answer.json.items()) == [
        ("id", event_id),
        ("type", "order.created"),
        ("dedup_id", unique),
        ("status", "queued"),
        ("duplicate", False),
        ("received_at", NOW),
    ]
    headers = answer.headers
    assert headers["content-type"] == "application/json"
    assert headers["location"] == f"/api/events/{event_id}"
    assert re.fullmatch(r"store;dur=\d+\.\d\d, total;dur=\d+\.\d\d", headers["server-timing"])
    store_ms, total_ms = map(float, re.findall(r"[\d.]+", headers["server-timing"]))
    assert 0 < store_ms <= total_ms
    assert headers["ratelimit-policy"] == '"ingest";q=60000;w=60;burst=10000'
    assert re.fullmatch(r'"ingest";r=\d+;t=\d+', headers["ratelimit"])
    assert_stamped(answer)
    assert run(service.call("GET", headers["location"])).json["id"] == event_id


@BOTH_WAYS
def test_an_event_without_a_dedup_id_is_always_a_new_one(
    service: Service, run: Run, post: type, added: Callable[[], int]
) -> None:
    first, second = run(once(service, post())), run(once(service, post()))
    assert first.json["dedup_id"] is second.json["dedup_id"] is None
    assert first.json["id"] < second.json["id"]
    assert added() == 2


def test_everything_that_was_sent_is_given_back(service: Service, run: Run, unique: str) -> None:
    sent = {
        "type": "order:created/v2_x-y.Z",
        "payload": {"a": [1, 2.50, None, True], "é": "ü"},
        "dedup_id": unique,
        "source": "shop ü",
        "key": "customer/1",
        "occurred_at": "2025-12-31T23:59:59.5+01:00",
        "metadata": {"region": "eu", "": "x"} | {"région": "é\n"},
    }
    del sent["metadata"][""]  # type: ignore[attr-defined]
    answer = run(service.call("POST", "/api/events", sent))
    assert answer.status == 202
    found = run(service.call("GET", answer.headers["location"])).json
    assert {name: found[name] for name in sent} == sent | {
        "occurred_at": "2025-12-31T22:59:59.500Z"
    }
    (listed,) = run(service.call("GET", "/api/events?limit=1")).json["data"]
    assert listed == {name: found[name] for name in listed}
    assert set(listed) == {
        "id", "type", "payload", "dedup_id", "source", "key", "metadata", "status", "received_at",
        "occurred_at", "deliver_at", "duplicate_of", "operational",
    }  # fmt: skip
    assert set(found) == set(listed) | {"deliveries", "timeline"}


@pytest.mark.parametrize(
    ("alias", "name", "value"),
    [
        ("event_type", "type", "order.paid"),
        ("data", "payload", {"n": 1}),
        ("data", "payload", None),
        ("event_id", "dedup_id", "by event_id"),
        ("external_id", "dedup_id", "by external_id"),
    ],
)
def test_existing_producers_may_keep_their_spelling(
    service: Service, run: Run, alias: str, name: str, value: object
) -> None:
    fields = {"type": "order.created", "payload": 1} | {name: ..., alias: value}
    sent = {key: value for key, value in fields.items() if value is not ...}
    answer = run(service.call("POST", "/api/events", sent))
    assert answer.status == 202, answer
    assert run(service.call("GET", answer.headers["location"])).json[name] == value


def test_two_spellings_may_agree(service: Service, run: Run, unique: str) -> None:
    answer = run(
        service.call(
            "POST",
            "/api/events",
            {
                "type": "a",
                "event_type": "a",
                "payload": {"n": 1},
                "data": {"n": 1},
                "dedup_id": unique,
                "event_id": unique,
                "external_id": unique,
            },
            headers={"Idempotency-Key": unique},
        )
    )
    assert answer.status == 202
    assert answer.json["dedup_id"] == unique


@BOTH_WAYS
@pytest.mark.parametrize("written_as", ["{}", '"{}"'])
def test_the_idempotency_key_header_is_a_dedup_id(
    service: Service, run: Run, post: type, written_as: str, unique: str
) -> None:
    request = post(f"Idempotency-Key: {written_as.format(unique)}")
    first, second = run(once(service, request)), run(once(service, request))
    assert (first.status, first.json["dedup_id"]) == (202, unique)
    assert (second.status, second.json["id"]) == (200, first.json["id"])


# ── again ─────────────────────────────────────────────────────────────────────────────────────────


@BOTH_WAYS
def test_a_duplicate_is_told_the_first_events_id_and_whether_the_payload_is_the_same(
    service: Service, run: Run, unique: str, post: type, log: Log, added: Callable[[], int]
) -> None:
    first = run(once(service, post(body=body(dedup_id=unique)))).json
    again = run(once(service, post(body=body(dedup_id=unique))))
    assert again.status == 200
    assert again.headers["location"] == f"/api/events/{first['id']}"
    assert again.json == {
        "id": first["id"],
        "type": "order.created",
        "dedup_id": unique,
        "status": "queued",
        "duplicate": True,
        "received_at": NOW,
        "payload_matches": True,
        "message": "Event already exists (idempotent)",
    }
    assert_stamped(again)
    other = run(once(service, post(body=body(dedup_id=unique, payload={"id": 43}))))
    spaced = run(
        once(service, post(body=body(dedup_id=unique).replace(b'{"id": 42}', b'{"id":42}')))
    )
    assert (other.status, other.json["payload_matches"]) == (200, False)
    assert (spaced.status, spaced.json["payload_matches"]) == (200, False)
    assert added() == 1
    lines = [line for line in log if line["event"] == "duplicate by constraint"]
    assert [line["event_id"] for line in lines] == [first["id"]] * 3
    assert lines[0]["log_level"] == "info"
    assert unique not in json.dumps(log)


@BOTH_WAYS
def test_a_duplicate_is_told_the_type_of_the_first_event(
    service: Service, run: Run, unique: str, post: type
) -> None:
    first = run(once(service, post(body=body(dedup_id=unique)))).json
    again = run(once(service, post(body=body(dedup_id=unique, type="order.changed"))))
    assert (again.status, again.json["id"]) == (200, first["id"])
    assert again.json["type"] == first["type"] == "order.created"
    run(service.drain())
    assert (
        run(once(service, post(body=body(dedup_id=unique, type="x")))).json["type"]
        == "order.created"
    )


def test_a_duplicate_is_told_the_present_status(service: Service, run: Run, unique: str) -> None:
    request = event(body=body(dedup_id=unique))
    assert run(once(service, request)).json["status"] == "queued"
    run(service.drain())
    again = run(once(service, request)).json
    assert (again["status"], again["duplicate"]) == ("processed", True)


def test_a_dedup_id_is_free_again_when_its_event_is_deleted(
    service: Service, run: Run, unique: str
) -> None:
    request = event(body=body(dedup_id=unique))
    first = run(once(service, request)).json["id"]
    assert run(service.call("DELETE", f"/api/events/{first}")).status == 204
    second = run(once(service, request))
    assert second.status == 202
    assert second.json["id"] != first


def test_a_dedup_id_is_an_organizations_own(service: Service, run: Run, unique: str) -> None:
    _, other_key = run(new_organization(service))
    request = body(dedup_id=unique)
    first = run(once(service, event(body=request)))
    second = run(once(service, event(body=request, key=other_key)))
    assert (first.status, second.status) == (202, 202)
    assert first.json["id"] != second.json["id"]


def test_of_64_simultaneous_twins_one_is_stored_and_all_are_told_its_id(
    service: Service, run: Run, unique: str, added: Callable[[], int]
) -> None:
    async def main() -> list[Answer]:
        connections = [await connect(service) for _ in range(64)]
        request = event(body=body(dedup_id=unique))
        try:
            return await asyncio.gather(*(each.ask(request) for each in connections))
        finally:
            for each in connections:
                await each.hang_up()

    answers = run(main())
    assert sorted(answer.status for answer in answers) == [200] * 63 + [202]
    assert len({answer.json["id"] for answer in answers}) == 1
    assert added() == 1


# ── modes ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def mode(service: Service, run: Run) -> Any:  # noqa: ANN401 - a generator
    """Turns the ingest switch; it is turned back when the test ends."""
    yield lambda ingest: run(turn(service, ingest=ingest))
    run(turn(service, ingest=None))


@BOTH_WAYS
def test_sync_mode_answers_when_the_routing_is_stored(
    service: Service, run: Run, mode: Callable[[str], None], post: type, unique: str, enter: Enter
) -> None:
    receiver = enter(Receiver())
    subscription = run(service.subscribe(receiver.url, [f"sync.{post.__name__}"]))
    mode("sync")
    sent = body(type=f"sync.{post.__name__}", dedup_id=unique)
    answer = run(once(service, post(body=sent)))
    assert answer.status == 201
    assert (answer.json["status"], answer.json["duplicate"]) == ("processed", False)
    # No turn of the processor has been run.
    found = run(service.call("GET", answer.headers["location"])).json
    assert found["status"] == "processed"
    assert [each["subscription_id"] for each in found["deliveries"]] == [subscription["id"]]
    assert found["deliveries"][0]["status"] == "pending"
    assert receiver.requests == []
    again = run(once(service, post(body=sent)))
    assert (again.status, again.json["status"]) == (200, "processed")
    run(service.drain())
    assert receiver.ids == [answer.json["id"]]


def test_sync_mode_stores_an_event_that_nobody_wants_as_processed(
    service: Service, run: Run, mode: Callable[[str], None]
) -> None:
    mode("sync")
    answer = run(service.send("nobody.wants.this"))
    assert (answer.status, answer.json["status"]) == (201, "processed")


@BOTH_WAYS
def test_refuse_mode_takes_nothing(
    service: Service, run: Run, mode: Callable[[str], None], post: type, added: Callable[[], int]
) -> None:
    mode("refuse")
    assert_problem(run(once(service, post())), 503, "refusing")
    assert added() == 0
    assert run(service.call("GET", "/readyz")).status == 200
    mode("async")
    assert run(once(service, post())).status == 202


@BOTH_WAYS
def test_a_draining_service_takes_nothing_and_is_not_ready(
    service: Service, run: Run, post: type, added: Callable[[], int]
) -> None:
    service.app.ingest.draining = True
    try:
        assert_problem(run(once(service, post())), 503, "draining")
        ready = run(service.call("GET", "/readyz"))
        assert (ready.status, ready.json["checks"]["accepting"]) == (503, "draining")
        assert run(service.call("GET", "/api/events")).status == 200
    finally:
        service.app.ingest.draining = False
    assert added() == 0


@BOTH_WAYS
@pytest.mark.usefixtures("fresh_numbers")
def test_above_the_greatest_depth_nothing_is_taken(
    run: Run, enter: Enter, make_service: MakeService, clock: FrozenClock, post: type
) -> None:
    service = enter(make_service(clock=clock, max_queue_depth=3))
    for _ in range(3):
        assert run(once(service, post())).status == 202
    for _ in range(2):
        refused = run(once(service, post()))
        assert_problem(refused, 503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        run(service.app.monitor.run_once())
    assert run(stored(service)) == 3
    run(service.drain())
    run(service.app.monitor.run_once())
    assert run(once(service, post())).status == 202


# ── scheduled ─────────────────────────────────────────────────────────────────────────────────────


def test_an_event_for_later_waits_until_its_time(
    run: Run, enter: Enter, make_service: MakeService, clock: FrozenClock
) -> None:
    service, receiver = enter(make_service(clock=clock)), enter(Receiver())
    run(service.subscribe(receiver.url))
    answer = run(service.send("order.created", 1, deliver_at="2026-01-01T13:00:00+00:30"))
    assert (answer.status, answer.json["status"]) == (202, "scheduled")
    path = answer.headers["location"]
    run(service.drain())
    found = run(service.call("GET", path)).json
    assert (found["status"], found["deliver_at"]) == ("scheduled", "2026-01-01T12:30:00.000Z")
    assert (
        run(service.call("GET", "/api/events?status=scheduled")).json["data"][0]["id"]
        == found["id"]
    )
    clock.advance(seconds=1799.999)
    run(service.drain())
    assert receiver.requests == []
    clock.advance(seconds=0.001)
    run(service.drain())
    assert receiver.ids == [found["id"]]
    assert run(service.call("GET", path)).json["status"] == "processed"


def test_a_time_that_has_passed_is_now(service: Service, run: Run) -> None:
    answer = run(service.send("order.created", 1, deliver_at="2025-01-01T00:00:00Z"))
    assert (answer.status, answer.json["status"]) == (202, "queued")


def test_sync_mode_schedules_as_well(
    service: Service, run: Run, mode: Callable[[str], None]
) -> None:
    mode("sync")
    answer = run(service.send("order.created", 1, deliver_at="2030-01-01T00:00:00Z"))
    assert (answer.status, answer.json["status"]) == (202, "scheduled")


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────


@BOTH_WAYS
def test_a_key_comes_in_either_header_and_in_any_case_of_the_scheme(
    service: Service, run: Run, post: type
) -> None:
    for headers in (
        [f"X-API-Key: {API_KEY}"],
        [f"x-api-key:   {API_KEY}  "],
        [f"Authorization: bearer {API_KEY}"],
        [f"Authorization: BEARER   {API_KEY}"],
        [f"Authorization: Bearer {API_KEY}", f"X-API-Key: {API_KEY}"],
        [f"X-API-Key: {API_KEY}", f"X-API-Key: {API_KEY}"],
    ):
        assert run(once(service, post(*headers, key=None))).status == 202, headers


@BOTH_WAYS
def test_two_keys_that_differ_are_refused_even_if_one_of_them_is_right(
    service: Service, run: Run, post: type
) -> None:
    for headers in (
        [f"X-API-Key: {API_KEY}", f"Authorization: Bearer {ADMIN_KEY}"],
        [f"X-API-Key: {API_KEY}", "X-API-Key: another-key-00000"],
    ):
        assert_problem(run(once(service, post(*headers, key=None))), 400, "bad-request")


@BOTH_WAYS
def test_a_missing_and_an_unknown_key_are_answered_alike(
    service: Service, run: Run, post: type
) -> None:
    unknown = run(once(service, post(key="trg_0123456789abcdef")))
    expired_like = run(once(service, post(key="x" * 40)))
    assert_problem(unknown, 401, "unauthorized")
    assert unknown.json["detail"] == expired_like.json["detail"]
    assert_problem(run(once(service, post(key=None))), 401, "unauthorized")


@BOTH_WAYS
def test_a_revoked_key_is_refused_from_the_next_request_on(
    service: Service, run: Run, post: type
) -> None:
    organization_id = run(own_organization(service))
    key = run(new_key(service, organization_id))
    assert run(once(service, post(key=key["key"]))).status == 202
    path = f"/api/admin/organizations/{organization_id}/keys/{key['id']}"
    assert run(service.call("DELETE", path, key=ADMIN_KEY)).status == 204
    assert_problem(run(once(service, post(key=key["key"]))), 401, "unauthorized")
    assert run(once(service, post())).status == 202


@BOTH_WAYS
def test_a_key_expires_at_its_moment(
    run: Run, enter: Enter, make_service: MakeService, clock: FrozenClock, post: type
) -> None:
    service = enter(make_service(clock=clock))
    organization_id = run(own_organization(service))
    key = run(new_key(service, organization_id, expires_at="2026-01-01T12:00:10Z"))["key"]
    clock.advance(seconds=9.999)
    assert run(once(service, post(key=key))).status == 202
    clock.advance(seconds=0.001)
    assert_problem(run(once(service, post(key=key))), 401, "unauthorized")


@BOTH_WAYS
def test_a_key_without_the_scope_may_not_send(service: Service, run: Run, post: type) -> None:
    organization_id = run(own_organization(service))
    for scopes, status in ((["read", "manage"], 403), (["ingest"], 202), (None, 202)):
        key = run(new_key(service, organization_id, scopes=scopes))["key"]
        answer = run(once(service, post(key=key)))
        assert answer.status == status
        if status == 403:
            assert_problem(answer, 403, "forbidden")
    assert_problem(run(once(service, post(key=ADMIN_KEY))), 403, "forbidden")


@BOTH_WAYS
def test_the_organization_is_the_keys_whatever_the_request_says(
    service: Service, run: Run, post: type
) -> None:
    other_id, other_key = run(new_organization(service))
    request = post(f"X-Organization-Id: {other_id}", "X-Forwarded-For: 10.0.0.1")
    event_id = run(once(service, request)).json["id"]
    assert run(service.call("GET", f"/api/events/{event_id}")).status == 200
    assert run(service.call("GET", f"/api/events/{event_id}", key=other_key)).status == 404


# ── request ids ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "ask",
    [
        event,
        chunked_event,
        lambda *h: written("GET", "/health", *h),
        lambda *h: event(*h, body=b""),
    ],
    ids=["lane", "asgi", "ordinary", "refused"],
)
def test_a_plain_request_id_is_kept_and_any_other_replaced(
    service: Service, run: Run, ask: Callable[..., bytes]
) -> None:
    for given in ("abc-123_x.y:z/=+", "a" * 128):
        answer = run(once(service, ask(f"X-Request-Id: {given}")))
        assert answer.headers["x-request-id"] == given
    made = set()
    for odd in ("a" * 129, "", "a b", "a\tb", "<script>", "é", "a;b", '"a"'):
        answer = run(once(service, ask(f"X-Request-Id: {odd}")))
        made.add(answer.headers["x-request-id"])
        assert answer.headers["x-request-id"] != odd
    made |= {run(once(service, ask())).headers["x-request-id"] for _ in range(10)}
    assert len(made) == 18
    assert all(re.fullmatch(r"req_[0-9a-f]+", each) for each in made)


# ── the two ways in ───────────────────────────────────────────────────────────────────────────────

SAME: Final[dict[str, tuple[tuple[str, ...], bytes, dict[str, Any]]]] = {
    "accepted": ((), BODY, {}),
    "with every field": (
        (),
        body(source="s", key="k", metadata={"a": "b"}, occurred_at=NOW, deliver_at=NOW),
        {},
    ),
    "for later": ((), body(deliver_at="2030-01-01T00:00:00Z"), {}),
    "aliases": ((), b'{"event_type":"a","data":null}', {}),
    "duplicate": (("Idempotency-Key: the same by both ways",), BODY, {}),
    "no key": ((), BODY, {"key": None}),
    "wrong key": ((), BODY, {"key": "wrong-wrong-wrong"}),
    "operator's key": ((), BODY, {"key": ADMIN_KEY}),
    "two keys": (("X-API-Key: other-other-other",), BODY, {}),
    "empty": ((), b"", {}),
    "not json": ((), b"{", {}),
    "not utf-8": ((), b'{"type":"\xff"}', {}),
    "too deep": ((), b"[" * 1000, {}),
    "unknown field": ((), body(colour=1), {}),
    "several faults": ((), body(type="", source="", key="\0", occurred_at="x"), {}),
    "compressed": (("Content-Encoding: gzip",), BODY, {}),
    "two idempotency keys": (("Idempotency-Key: a", "Idempotency-Key: b"), BODY, {}),
    "odd idempotency key": (("Idempotency-Key: \xff",), BODY, {}),
    "request id": (("X-Request-Id: given",), BODY, {}),
    "close": (("Connection: close",), BODY, {}),
}


@pytest.mark.parametrize("what", SAME)
def test_both_ways_in_give_the_same_answer(
    service: Service, run: Run, dial: Connect, what: str
) -> None:
    headers, sent, options = SAME[what]

    async def main() -> tuple[Answer, Answer]:
        if what == "duplicate":
            await once(service, event(*headers, body=sent))
        by_lane = await dial(service)
        by_asgi = await dial(service)
        return (
            await by_lane.ask(event(*headers, body=sent, **options)),
            await by_asgi.ask(chunked_event(*headers, body=sent, **options)),
        )

    lane, asgi = run(main())

    def comparable(answer: Answer) -> tuple[int, dict[str, str], dict[str, Any]]:
        varying = {"date", "server-timing", "ratelimit", "content-length"}
        shown = dict(answer.json)
        kept = {k: v for k, v in answer.headers.items() if k not in varying}
        if what != "duplicate":
            shown.pop("id", None)
            kept.pop("location", None)
        if what != "request id":
            shown.pop("request_id", None)
            assert kept.pop("x-request-id")
        return answer.status, kept, shown

    assert comparable(lane) == comparable(asgi)
    assert ("ratelimit" in lane.headers) is ("ratelimit" in asgi.headers)


def test_a_body_that_the_lane_does_not_take_is_taken_all_the_same(
    service: Service, run: Run
) -> None:
    for size in (47 << 10, 49 << 10, 200 << 10, 1000 << 10):
        sent = body(payload="x" * size)
        answer = run(once(service, event(body=sent)))
        assert answer.status == 202
        found = run(service.call("GET", answer.headers["location"]))
        assert len(found.json["payload"]) == size


def test_a_body_in_many_chunks_is_one_payload(service: Service, run: Run, dial: Connect) -> None:
    sent = body(payload=["é" * 1000] * 50)
    pieces = [sent[at : at + 997] for at in range(0, len(sent), 997)]
    head = written("POST", "/api/events", JSON, "Transfer-Encoding: chunked")

    async def main() -> Answer:
        connection = await dial(service)
        await connection.send(head)
        for piece in pieces:
            await connection.send(chunked(piece)[:-5])
        return await connection.ask(b"0\r\n\r\n")

    answer = run(main())
    assert answer.status == 202
    assert run(service.call("GET", answer.headers["location"])).json["payload"] == ["é" * 1000] * 50


def test_an_event_is_found_as_soon_as_it_is_answered(service: Service, run: Run) -> None:
    async def main() -> None:
        for number in range(30):
            answer = await service.send("read.own.writes", number, dedup_id=f"ryow {number}")
            event_id = answer.json["id"]
            for path in (
                "/api/events?limit=1",
                "/api/events?type=read.own.*&limit=1",
                f"/api/events?dedup_id=ryow%20{number}",
                "/api/events?status=queued&limit=1",
            ):
                listed = (await service.call("GET", path)).json["data"]
                assert [each["id"] for each in listed] == [event_id], path

    run(main())
