"""Event types: schemas, redaction and what is kept aside, as a user meets them, on every engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from tests.conftest import Enter, Log, MakeService, Run, new_organization, turn
from tests.scenario.conftest import Ask

from triggers_api.model.event_type import TYPES_LIMIT, TYPES_SIZE
from triggers_api.testing import ADMIN_KEY, API_KEY, Answer, FrozenClock, Receiver, Service

TYPES: Final = "/api/event-types"
ORDER: Final = f"{TYPES}/order.created"
SCHEMA: Final = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "integer"}, "note": {"type": "string"}},
}
WRONG: Final = b'{"type":"order.created","payload":{"id":"hunter2"}}'
FAULT: Final = {
    "pointer": "/payload/id",
    "code": "schema-type",
    "message": 'the value is not of type "integer"',
}


@pytest.fixture
def ask(service: Service, run: Run) -> Ask:
    return Ask(service, run)


def put(ask: Ask, name: str = "order.created", status: int | None = None, **fields: Any) -> Any:  # noqa: ANN401
    return ask.do("PUT", f"{TYPES}/{name}", fields, status)


def put_mode(ask: Ask, mode: str, **fields: Any) -> None:  # noqa: ANN401 - JSON
    put(ask, schema=SCHEMA, mode=mode, **fields)


def send(ask: Ask, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    return ask.run(ask.service.call("POST", "/api/events", body, headers=headers))


def payload_of(ask: Ask, event_id: str) -> bytes:
    """The bytes of a stored payload, as an event's own route answers them."""
    answer = ask.run(ask.service.call("GET", f"/api/events/{event_id}"))
    head, _, rest = answer.body.partition(b'"payload":')
    assert head
    return rest.partition(b',"dedup_id"')[0]


def kept(ask: Ask) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask.get("/api/quarantine")["data"]
    return found


def verify(ask: Ask) -> dict[str, Any]:
    """The first organization's account, out of books that balance."""
    books = ask.get("/api/admin/verify", key=ADMIN_KEY)
    assert books["ok"], books
    account: dict[str, Any] = books["organizations"][0]
    return account


# ── the registry ──────────────────────────────────────────────────────────────────────────────


def test_an_event_type_is_made_replaced_shown_and_deleted(ask: Ask) -> None:
    made = put(ask, status=201, description="An order", schema=SCHEMA, example={"id": 1})
    assert (made["name"], made["mode"], made["redact"]) == ("order.created", "off", [])
    assert ask.get(ORDER) == made
    changed = put(ask, status=200, mode="warn", schema=SCHEMA)
    assert (changed["description"], changed["example"]) == (None, None)
    assert changed["created_at"] == made["created_at"]
    assert ask.get(TYPES) == {"data": [changed], "next_cursor": None}
    ask.do("DELETE", ORDER, status=204)
    ask.do("DELETE", ORDER, status=404)
    ask.do("GET", ORDER, status=404)
    assert ask.get(TYPES)["data"] == []


@pytest.mark.parametrize("name", ["a/b", "a//b", "a:b-c_d.e", "/a", "A", "x" * 255])
def test_a_name_is_whatever_an_event_may_be_sent_with(ask: Ask, name: str) -> None:
    assert put(ask, name, status=201)["name"] == name
    assert ask.get(f"{TYPES}/{name}")["name"] == name
    ask.do("DELETE", f"{TYPES}/{name.replace('/', '%2F')}", status=204)


@pytest.mark.parametrize("name", ["order.*", "*", "a%20b", "x" * 256, "%C3%A9"])
def test_a_pattern_is_no_name(ask: Ask, name: str) -> None:
    put(ask, name, status=422)
    ask.do("GET", f"{TYPES}/{name}", status=404)


def test_the_list_goes_on_by_a_cursor_that_nobody_else_can_use(ask: Ask, run: Run) -> None:
    for name in ("b", "a", "c"):
        put(ask, name)
    first = ask.get(f"{TYPES}?limit=2")
    assert [each["name"] for each in first["data"]] == ["a", "b"]
    cursor = first["next_cursor"]
    assert [each["name"] for each in ask.get(f"{TYPES}?cursor={cursor}")["data"]] == ["c"]
    _, key = run(new_organization(ask.service))
    for used, by in ((cursor, key), ("x", API_KEY)):
        answer = run(ask.service.call("GET", f"{TYPES}?cursor={used}", key=by))
        assert (answer.status, answer.json["code"]) == (400, "invalid-cursor")


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"schema": {"type": "text"}}, "/schema/type", "invalid-schema"),
        ({"schema": {"$ref": "https://example.com/a"}}, "/schema/$ref", "invalid-reference"),
        ({"mode": "enforce"}, "/schema", "missing-field"),
        ({"mode": "loud"}, "/mode", "invalid-type"),
        ({"schema": SCHEMA, "example": {"id": "1"}}, "/example/id", "schema-type"),
        ({"example": "x" * 70_000}, "/example", "too-large"),
        ({"redact": ["/a", "b"]}, "/redact/1", "invalid-path"),
        ({"redact": ["/a"] * 51}, "/redact", "too-many"),
        ({"description": "a\x00"}, "/description", "control-character"),
        ({"unknown": 1}, "/unknown", "unknown-field"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(
    ask: Ask, fields: dict[str, Any], pointer: str, code: str
) -> None:
    problem = put(ask, status=422, **fields)
    assert [(each["pointer"], each["code"]) for each in problem["errors"]] == [(pointer, code)]
    ask.do("GET", ORDER, status=404)


def test_there_is_room_for_so_many_and_no_more(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    assert TYPES_LIMIT == 500
    monkeypatch.setattr("triggers_api.http.event_types.TYPES_LIMIT", 2)
    for name in ("a", "b"):
        put(ask, name, status=201)
    put(ask, "b", status=200)
    assert put(ask, "c", status=409)["code"] == "invalid-state"


def test_their_schemas_and_examples_have_so_much_room_together(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TYPES_SIZE == 4 << 20
    monkeypatch.setattr("triggers_api.http.event_types.TYPES_SIZE", 1000)
    put(ask, "a", status=201, example="x" * 600)
    put(ask, "b", status=409, example="x" * 600)
    put(ask, "a", status=200, example="x" * 700)


# ── what becomes of events ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["off", "warn", "enforce", "quarantine"])
def test_an_event_that_fits_is_taken_as_ever(ask: Ask, mode: str) -> None:
    put_mode(ask, mode)
    answer = send(ask, b'{"type":"order.created","payload":{"id" : 1}}')
    assert (answer.status, answer.json["status"]) == (202, "queued")
    assert "warnings" not in answer.json
    assert payload_of(ask, answer.json["id"]) == b'{"id" : 1}'


def test_off_looks_at_nothing(ask: Ask) -> None:
    put_mode(ask, "off")
    answer = send(ask, WRONG)
    assert (answer.status, "warnings" in answer.json) == (202, False)


def test_warn_takes_it_and_tells_its_sender(ask: Ask, log: Log) -> None:
    put_mode(ask, "warn")
    answer = send(ask, WRONG)
    assert (answer.status, answer.json["status"]) == (202, "queued")
    assert answer.json["warnings"] == [FAULT]
    (line,) = (each for each in log if each["event"] == "payload does not fit its schema")
    assert (line["mode"], line["code"], line["faults"]) == ("warn", "schema-type", 1)
    assert "hunter2" not in str(log)
    metrics = ask.run(ask.service.call("GET", "/metrics")).body
    assert b'triggers_schema_faults_total{mode="warn"} 1.0' in metrics


def test_enforce_refuses_it_and_stores_nothing(ask: Ask) -> None:
    put_mode(ask, "enforce")
    answer = send(ask, WRONG)
    assert (answer.status, answer.json["code"]) == (422, "validation-failed")
    assert answer.json["errors"] == [FAULT]
    assert verify(ask)["accepted"] == 0


def test_quarantine_takes_it_and_keeps_it_aside(ask: Ask, receiver: Receiver) -> None:
    ask.run(ask.service.subscribe(receiver.url))
    put_mode(ask, "quarantine")
    answer = send(ask, WRONG)
    assert (answer.status, answer.json["status"]) == (202, "quarantined")
    assert answer.json["warnings"] == [FAULT]
    ask.run(ask.service.drain())
    assert receiver.requests == []
    event_id = answer.json["id"]
    assert ask.status(event_id) == "quarantined"
    (aside,) = kept(ask)
    assert (aside["id"], aside["status"]) == (event_id, "quarantined")
    assert aside["reason"] == 'schema: /payload/id the value is not of type "integer"'
    assert "payload" not in aside
    assert ask.get("/api/events?status=quarantined")["data"][0]["id"] == event_id
    account = verify(ask)
    assert (account["accepted"], account["quarantined"]) == (1, 1)


def test_a_type_of_another_name_or_organization_is_nobodys_business(ask: Ask, run: Run) -> None:
    put_mode(ask, "enforce")
    assert run(ask.service.send("order.created.v2", {"id": "x"})).status == 202
    _, key = run(new_organization(ask.service))
    answer = run(ask.service.call("POST", "/api/events", WRONG, key=key))
    assert answer.status == 202


def test_in_a_batch_each_item_is_judged_alone(ask: Ask) -> None:
    put_mode(ask, "enforce")
    put(ask, "b", schema=SCHEMA, mode="quarantine")
    put(ask, "c", schema=SCHEMA, mode="warn")
    items = [
        {"type": name, "payload": {"id": payload}}
        for name in ("order.created", "b", "c", "d")
        for payload in (1, "x")
    ]
    result = ask.do("POST", "/api/events/batch", {"events": items}, status=202)
    assert (result["accepted"], result["rejected"]) == (7, 1)
    shown = [
        (each["status"], each.get("quarantined", False), len(each.get("warnings", ())))
        for each in result["results"]
    ]
    assert shown == [
        ("accepted", False, 0), ("rejected", False, 0),
        ("accepted", False, 0), ("accepted", True, 1),
        ("accepted", False, 0), ("accepted", False, 1),
        ("accepted", False, 0), ("accepted", False, 0),
    ]  # fmt: skip
    assert result["results"][1]["error"]["errors"] == [FAULT]
    assert [each["id"] for each in kept(ask)] == [result["results"][3]["id"]]


def test_a_cloudevent_is_judged_by_its_data_in_each_mode(ask: Ask) -> None:
    put_mode(ask, "enforce")
    attributes = {"specversion": "1.0", "id": "1", "source": "/a", "type": "order.created"}
    structured = json.dumps(attributes | {"data": {"id": "x"}}).encode()
    answers = [
        send(ask, structured, {"Content-Type": "application/cloudevents+json"}),
        send(ask, b'{"id":"x"}', {f"ce-{name}": value for name, value in attributes.items()}),
    ]
    for answer in answers:
        assert (answer.status, answer.json["errors"]) == (422, [FAULT])
    batch = ask.run(
        ask.service.call(
            "POST",
            "/api/events/batch",
            b"[" + structured + b"]",
            headers={"Content-Type": "application/cloudevents-batch+json"},
        )
    )
    assert batch.json["results"][0]["error"]["errors"] == [FAULT]


def test_in_sync_mode_what_is_kept_aside_is_not_routed(ask: Ask, receiver: Receiver) -> None:
    ask.run(ask.service.subscribe(receiver.url))
    put_mode(ask, "quarantine")
    ask.run(turn(ask.service, ingest="sync"))
    assert send(ask, b'{"type":"order.created","payload":{"id":1}}').status == 201
    answer = send(ask, WRONG)
    assert (answer.status, answer.json["status"]) == (202, "quarantined")
    ask.do("POST", f"/api/quarantine/{answer.json['id']}/release", status=202)
    ask.run(ask.service.drain())
    assert len(receiver.requests) == 2
    verify(ask)


def test_a_duplicate_of_what_is_kept_aside_is_told_so(ask: Ask) -> None:
    put_mode(ask, "quarantine")
    wrong = {"type": "order.created", "payload": {"id": "x"}, "dedup_id": "d"}
    first = ask.do("POST", "/api/events", wrong)
    again = ask.do("POST", "/api/events", wrong, status=200)
    assert (again["id"], again["status"], again["payload_matches"]) == (
        first["id"], "quarantined", True,
    )  # fmt: skip
    assert len(kept(ask)) == 1


def test_a_payload_that_no_schema_can_be_held_against_is_no_error_of_ours(ask: Ask) -> None:
    put_mode(ask, "enforce")
    for payload in (b"1e999", b'{"id":1e999}', b'{"id":"\\u0000"}', b"[" * 60 + b"]" * 60):
        answer = send(ask, b'{"type":"order.created","payload":' + payload + b"}")
        assert answer.status == 422, answer


# ── changes while events come in ──────────────────────────────────────────────────────────────


def test_a_change_holds_from_its_answer_on_while_events_come_in(ask: Ask) -> None:
    stop = asyncio.Event()

    async def sender(statuses: list[int]) -> None:
        while not stop.is_set():
            statuses.append((await ask.service.send("order.created", {"id": "x"})).status)

    async def story() -> list[int]:
        found: list[int] = []
        running = [asyncio.create_task(sender(found)) for _ in range(4)]
        for mode, status in (("enforce", 422), ("off", 202)) * 3:
            answer = await ask.service.call("PUT", ORDER, {"schema": SCHEMA, "mode": mode})
            assert answer.status in {200, 201}
            after = await ask.service.send("order.created", {"id": "x"})
            assert after.status == status
        stop.set()
        await asyncio.gather(*running)
        return found

    statuses = ask.run(story())
    assert set(statuses) <= {202, 422}
    assert verify(ask)["accepted"] == statuses.count(202) + 3


@pytest.mark.engines("postgres")  # one process owns the file of the other
def test_another_process_hears_of_a_change_with_its_next_look(
    enter: Enter, make_service: MakeService, run: Run
) -> None:
    one, other = (enter(make_service(background=False)) for _ in range(2))
    run(one.call("PUT", ORDER, {"schema": SCHEMA, "mode": "enforce"}))
    run(other.app.directory.refresh())
    assert run(other.send("order.created", {"id": "x"})).status == 422
    run(other.call("DELETE", ORDER))
    run(one.app.directory.refresh())
    assert run(one.send("order.created", {"id": "x"})).status == 202


def test_they_survive_a_restart(
    enter: Enter, make_service: MakeService, run: Run, leave: Callable[[Service], None]
) -> None:
    service = enter(make_service(background=False))
    run(service.call("PUT", ORDER, {"schema": SCHEMA, "mode": "enforce"}))
    leave(service)
    again = enter(make_service(background=False))
    assert run(again.send("order.created", {"id": "x"})).status == 422


# ── redaction ─────────────────────────────────────────────────────────────────────────────────

CARD: Final = b'{ "card" : {"number":"4111", "cvc": 123}, "lines":[{"sku":1},{"sku":2}], "n":1.0 }'
REDACTED: Final = (
    b'{ "card" : {"number":"[redacted]", "cvc": 123}, '
    b'"lines":[{"sku":"[redacted]"},{"sku":"[redacted]"}], "n":1.0 }'
)


def test_what_is_redacted_is_stored_and_delivered_nowhere(ask: Ask, receiver: Receiver) -> None:
    ask.run(ask.service.subscribe(receiver.url, payload_format="raw"))
    put(ask, redact=["/card/number", "/lines/*/sku"])
    answer = send(ask, b'{"type":"order.created","payload":' + CARD + b"}")
    assert answer.status == 202
    assert payload_of(ask, answer.json["id"]) == REDACTED
    ask.run(ask.service.drain())
    assert receiver.requests[0].body == REDACTED


def test_a_schema_sees_what_came_and_filters_what_is_kept(ask: Ask, receiver: Receiver) -> None:
    filter_ = 'payload.id == "[redacted]"'
    ask.run(ask.service.subscribe(receiver.url, filter=filter_))
    put_mode(ask, "enforce", redact=["/id"])
    assert send(ask, WRONG).status == 422
    ask.event(payload={"id": 1})
    ask.run(turn(ask.service, ingest="sync"))
    ask.event(payload={"id": 2})
    ask.run(ask.service.drain())
    assert len(receiver.requests) == 2


def test_in_batches_and_cloudevents_values_are_redacted_as_well(ask: Ask) -> None:
    put(ask, redact=["/a"])
    batch = ask.do(
        "POST", "/api/events/batch", [{"type": "order.created", "payload": {"a": 1, "b": 2}}]
    )
    binary = send(
        ask, b'{"a":1,"b":2}',
        {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/", "ce-type": "order.created"},
    )  # fmt: skip
    for event_id in (batch["results"][0]["id"], binary.json["id"]):
        assert ask.get(f"/api/events/{event_id}")["payload"] == {"a": "[redacted]", "b": 2}


# ── release ───────────────────────────────────────────────────────────────────────────────────


def aside(ask: Ask, **fields: Any) -> str:  # noqa: ANN401 - JSON
    """The id of a new event that is kept aside."""
    put_mode(ask, "quarantine", **fields)
    event_id: str = send(ask, WRONG).json["id"]
    return event_id


def test_a_released_event_reaches_those_who_subscribed_meanwhile_once(
    ask: Ask, receiver: Receiver, clock: FrozenClock
) -> None:
    event_id = aside(ask)
    clock.advance(seconds=60)
    ask.run(ask.service.subscribe(receiver.url, payload_format="raw"))
    ask.do("POST", f"/api/quarantine/{event_id}/release", status=202)
    assert ask.do("POST", f"/api/quarantine/{event_id}/release", status=404)["code"] == "not-found"
    ask.run(ask.service.drain())
    assert [each.body for each in receiver.requests] == [b'{"id":"hunter2"}']
    assert ask.status(event_id) == "processed"
    assert kept(ask) == []
    verify(ask)


def test_a_mended_payload_must_fit_and_is_redacted(ask: Ask, receiver: Receiver) -> None:
    ask.run(ask.service.subscribe(receiver.url, payload_format="raw"))
    event_id = aside(ask, redact=["/note"])
    path = f"/api/quarantine/{event_id}/release"
    problem = ask.do("POST", path, {"payload": {"id": "still wrong"}}, status=422)
    assert problem["errors"] == [FAULT]
    assert len(kept(ask)) == 1
    ask.do("POST", path, b'{"payload":{ "id" : 7,"note":"secret" }}', status=202)
    ask.run(ask.service.drain())
    assert receiver.requests[0].body == b'{ "id" : 7,"note":"[redacted]" }'
    assert ask.get(f"/api/events/{event_id}")["payload"] == {"id": 7, "note": "[redacted]"}


def test_one_that_is_deleted_is_erased_and_its_dedup_id_is_free(ask: Ask) -> None:
    event_id = aside(ask)
    ask.do("DELETE", f"/api/quarantine/{event_id}", status=204)
    ask.do("DELETE", f"/api/quarantine/{event_id}", status=404)
    ask.do("GET", f"/api/events/{event_id}", status=404)
    assert verify(ask)["deleted"] == 1


def test_an_operator_sees_and_releases_what_all_organizations_have_aside(
    ask: Ask, run: Run
) -> None:
    mine = aside(ask)
    organization_id, key = run(new_organization(ask.service))
    for method, path, body in (
        ("PUT", ORDER, {"schema": SCHEMA, "mode": "quarantine"}),
        ("POST", "/api/events", {"type": "order.created", "payload": {}}),
    ):
        theirs = run(ask.service.call(method, path, body, key=key)).json
    shown = ask.get("/api/admin/quarantine", key=ADMIN_KEY)["data"]
    assert [each["id"] for each in shown] == [theirs["id"], mine]
    path = f"/api/admin/quarantine?organization_id={organization_id}"
    assert [each["id"] for each in ask.get(path, key=ADMIN_KEY)["data"]] == [theirs["id"]]
    assert [each["id"] for each in kept(ask)] == [mine]
    for path in (f"{theirs['id']}/release", f"{mine}/release"):
        answer = run(ask.service.call("POST", f"/api/admin/quarantine/{path}", key=ADMIN_KEY))
        assert answer.status == 202, answer
    assert ask.get("/api/admin/quarantine", key=ADMIN_KEY)["data"] == []


def test_nobody_touches_what_another_organization_has_aside(ask: Ask, run: Run) -> None:
    event_id = aside(ask)
    _, key = run(new_organization(ask.service))
    for method, path in (("POST", f"{event_id}/release"), ("DELETE", event_id)):
        answer = run(ask.service.call(method, f"/api/quarantine/{path}", key=key))
        assert answer.status == 404
    assert run(ask.service.call("GET", "/api/quarantine", key=key)).json["data"] == []
    assert len(kept(ask)) == 1


# ── examples ──────────────────────────────────────────────────────────────────────────────────


def test_an_example_is_what_a_test_event_of_its_type_holds(ask: Ask, receiver: Receiver) -> None:
    subscription = ask.run(ask.service.subscribe(receiver.url, payload_format="raw"))
    ask.do("PUT", ORDER, b'{"example":{ "id" : 42 }}')
    path = f"/api/subscriptions/{subscription['id']}/test"
    ask.do("POST", path, {"type": "order.created"})
    ask.do("POST", path, {"type": "order.created", "payload": 1})
    ask.run(ask.service.drain())
    assert {each.body for each in receiver.requests} == {b'{ "id" : 42 }', b"1"}


def test_an_example_is_the_sample_of_a_type_that_has_no_events_yet(ask: Ask) -> None:
    put(ask, example={"total": 42})
    (sample,) = ask.get("/api/hooks/samples?event_type=order.created")
    assert sample["total"] == 42
