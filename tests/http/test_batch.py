"""``POST /api/events/batch``, and CloudEvents in each mode."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from cloudevents.core.bindings.http import (
    HTTPMessage,
    from_http_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from tests.conftest import Enter, MakeService, Run, own_organization, turn
from tests.http.conftest import (
    JSON,
    Connect,
    assert_problem,
    assert_stamped,
    chunked,
    once,
    written,
)

from triggers_api.ingest import accept
from triggers_api.ingest.draft import Draft
from triggers_api.model.controls import IngestMode
from triggers_api.testing import Answer, FrozenClock, Receiver, Service

LINES: Final = "Content-Type: application/x-ndjson"
CLOUDEVENTS: Final = "Content-Type: application/cloudevents-batch+json"
ODD: Final = b'{"big":10000000000000000000001,"a":1,"a":2,"nul":"\\u0000", "s" : "\\/\xc3\xa9"}'


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A dedup_id that no other test uses."""
    name: str = request.node.name
    return name


def item(number: int, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"type": "order.created", "payload": {"n": number}, **fields}


def batch(body: object, *headers: str, kind: str = JSON) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return written("POST", "/api/events/batch", kind, *headers, body=raw)


def outcomes(answer: Answer) -> list[str]:
    return [result["status"] for result in answer.json["results"]]


@pytest.mark.parametrize("wrap", [lambda items: {"events": items}, list], ids=["object", "array"])
def test_nine_good_ones_and_a_bad_one_are_nine_accepted_and_one_rejected_with_its_place(
    service: Service, run: Run, added: Callable[[], int], wrap: Callable[[list[Any]], object]
) -> None:
    items: list[Any] = [item(number) for number in range(10)]
    items[4] = {"type": "not a type", "payload": 1, "metadata": {"a": 7}}
    answer = run(once(service, batch(wrap(items))))
    assert answer.status == 202
    assert_stamped(answer)
    assert {name: answer.json[name] for name in ("accepted", "duplicates", "rejected")} == {
        "accepted": 9,
        "duplicates": 0,
        "rejected": 1,
    }
    assert [result["index"] for result in answer.json["results"]] == list(range(10))
    assert outcomes(answer) == ["accepted"] * 4 + ["rejected"] + ["accepted"] * 5
    error = answer.json["results"][4]["error"]
    assert error["code"] == "validation-failed"
    assert "/metadata" in error["errors"][0]["pointer"]
    assert added() == 9
    for number, result in enumerate(answer.json["results"]):
        if number != 4:
            event = run(service.call("GET", f"/api/events/{result['id']}")).json
            assert event["payload"] == {"n": number}


def test_twins_in_one_batch_and_in_the_store_are_duplicates(
    service: Service, run: Run, unique: str, added: Callable[[], int]
) -> None:
    before = run(once(service, batch([item(0, dedup_id=f"{unique}-0")])))
    items = [item(n, dedup_id=f"{unique}-{n % 3}") for n in range(6)]
    answer = run(once(service, batch(items)))
    assert answer.status == 202
    assert outcomes(answer) == ["duplicate", *["accepted"] * 2, *["duplicate"] * 3]
    ids = [result["id"] for result in answer.json["results"]]
    assert ids[0] == before.json["results"][0]["id"]
    assert ids[:3] == ids[3:]
    assert [result["dedup_id"] for result in answer.json["results"]] == [
        f"{unique}-{n % 3}" for n in range(6)
    ]
    assert added() == 3
    again = run(once(service, batch(items)))
    assert (again.status, outcomes(again)) == (202, ["duplicate"] * 6)


def test_simultaneous_batches_of_the_same_events_store_each_once(
    service: Service, run: Run, unique: str, added: Callable[[], int]
) -> None:
    items = [item(n, dedup_id=f"{unique}-{n}") for n in range(50)]

    async def at_once() -> Sequence[Answer]:
        return await asyncio.gather(*(once(service, batch(items)) for _ in range(8)))

    answers = run(at_once())
    assert added() == 50
    for number in range(50):
        results = [answer.json["results"][number] for answer in answers]
        assert len({result["id"] for result in results}) == 1
        assert sorted(result["status"] for result in results) == ["accepted"] + ["duplicate"] * 7


def test_lines_are_read_as_they_come_and_a_bad_one_costs_no_other(
    service: Service, run: Run, dial: Connect, added: Callable[[], int]
) -> None:
    good = json.dumps(item(1)).encode()
    body = b"\n".join([b"", good, b"{", b"  ", b"\xff", good + b"\r", b"[" * 70 + b"]" * 70, good])
    answer = run(once(service, batch(body, kind=LINES)))
    assert answer.status == 202
    assert outcomes(answer) == [
        "accepted", "rejected", "rejected", "accepted", "rejected", "accepted",
    ]  # fmt: skip
    codes = [result["error"]["code"] for result in answer.json["results"] if "error" in result]
    assert codes == ["invalid-json", "invalid-encoding", "too-deep"]
    assert added() == 3

    async def in_pieces() -> Answer:
        connection = await dial(service)
        head = written("POST", "/api/events/batch", LINES, "Transfer-Encoding: chunked")
        return await connection.ask(head + chunked(body[:7], body[7:30], body[30:]))

    assert outcomes(run(in_pieces())) == outcomes(answer)


@pytest.mark.parametrize(
    "bad",
    [
        rb'{"type":"t","payload":"\ud800"}',
        rb'{"type":"t","payload":{"\udfff":1}}',
        rb'{"type":"t","payload":1,"dedup_id":"\uD83Dx"}',
        rb'{"type":"\ude00\ud83d","payload":1}',
        rb'{"type":"t","payload":"\ud83d\\ude00"}',
        rb'["\ud83d\ude00\ude00"]',
        rb'"\ud800"',
    ],
)
@pytest.mark.parametrize("envelope", [b"[%b]", b'{"events": [%b]}'])
def test_half_a_surrogate_pair_costs_its_own_item_and_no_other(
    service: Service, run: Run, bad: bytes, envelope: bytes
) -> None:
    # An escaped backslash before what looks like an escape, a whole pair, and both one after the other.
    fine = rb'"\\ud800 \ud83d\ude00 \\\ud83d\ude00 \"\u0000"'
    good = b'{"type":"t","payload":%b}' % fine
    answer = run(once(service, batch(envelope % b",".join([good, bad, good]))))
    assert answer.status == 202
    assert outcomes(answer) == ["accepted", "rejected", "accepted"]
    assert answer.json["results"][1]["error"]["code"] == "invalid-json"
    for result in answer.json["results"][::2]:
        shown = run(service.call("GET", f"/api/events/{result['id']}"))
        assert b'"payload":' + fine in shown.body


def test_payloads_are_kept_byte_for_byte(service: Service, run: Run) -> None:
    answer = run(once(service, batch(b'[{"type":"t","payload":%b}]' % ODD)))
    event = run(service.call("GET", f"/api/events/{answer.json['results'][0]['id']}"))
    assert b'"payload":' + ODD in event.body


def test_a_batch_of_which_nothing_is_acceptable_says_so_item_by_item(
    service: Service, run: Run, added: Callable[[], int]
) -> None:
    answer = run(once(service, batch([{}, 7])))
    assert (answer.status, answer.headers["content-type"]) == (422, "application/json")
    assert (answer.json["accepted"], answer.json["rejected"]) == (0, 2)
    pointers = [result["error"]["errors"][0]["pointer"] for result in answer.json["results"]]
    assert pointers == ["/type", ""]
    assert added() == 0


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (batch([]), 422, "validation-failed"),
        (batch(b"\n\n", kind=LINES), 422, "validation-failed"),
        (batch(b"["), 400, "invalid-json"),
        (batch(rb'["\ud800", NaN]'), 400, "invalid-json"),
        (batch(b'["\x00\x00", "\\ud800"]'), 400, "invalid-json"),
        (batch(rb'{"events": [1], "\ud800": 1}'), 400, "invalid-json"),
        (batch({"events": [], "more": 1}), 422, "validation-failed"),
        (batch("text"), 422, "validation-failed"),
        (batch([1], "Idempotency-Key: k"), 422, "validation-failed"),
        (batch([1], kind="Content-Type: text/csv"), 415, "unsupported-media-type"),
        (batch([1], "Content-Encoding: gzip"), 415, "unsupported-media-type"),
        (batch([1] * 1001), 413, "too-large"),
        (batch(b"1\n" * 1001, kind=LINES), 413, "too-large"),
        (batch(b"[" + b" " * (5 << 20) + b"]"), 413, "too-large"),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(
    service: Service, run: Run, request_: bytes, status: int, code: str
) -> None:
    assert_problem(run(once(service, request_)), status, code)


def test_a_thousand_items_are_one_batch(
    service: Service, run: Run, added: Callable[[], int]
) -> None:
    answer = run(once(service, batch([item(number) for number in range(1000)])))
    assert (answer.status, answer.json["accepted"]) == (202, 1000)
    assert added() == 1000


def test_in_sync_mode_the_routing_is_stored_with_the_events(
    run: Run, enter: Enter, make_service: MakeService
) -> None:
    receiver, service = enter(Receiver()), enter(make_service())
    run(service.subscribe(receiver.url))
    run(turn(service, ingest="sync"))
    answer = run(once(service, batch([item(1), item(2)])))
    assert answer.status == 201
    for result in answer.json["results"]:
        event = run(service.call("GET", f"/api/events/{result['id']}")).json
        assert event["status"] == "processed"
        assert len(event["deliveries"]) == 1


def test_a_batch_counts_as_many_as_it_has_all_or_none(
    enter: Enter, run: Run, tmp_path: Path
) -> None:
    service = enter(Service(tmp_path, clock=FrozenClock(), rate_limit=60, rate_burst=10))
    service.app.admission._monotonic = lambda: 50_000.0  # or one is given back each second
    assert_problem(run(once(service, batch([item(1)] * 11))), 413, "too-large")
    answer = run(once(service, batch([item(1)] * 8)))
    assert answer.status == 202
    assert answer.headers["ratelimit"].startswith('"ingest";r=2;')
    assert_problem(run(once(service, batch([item(1)] * 3))), 429, "rate-limited")
    assert run(once(service, batch([item(1)] * 2))).status == 202


def test_a_key_without_the_scope_is_refused(service: Service, run: Run) -> None:
    request = written("POST", "/api/events/batch", JSON, body=b"[1]", key="nobody's")
    assert_problem(run(once(service, request)), 401, "unauthorized")


# ── CloudEvents ───────────────────────────────────────────────────────────────────────────────────


def cloudevent(name: str, data: dict[str, Any]) -> CloudEvent:
    return CloudEvent(
        {
            "id": name,
            "source": "/shops/1",
            "type": "order.created",
            "subject": "kündin 7",
            "time": datetime(2025, 6, 1, 8, 0, 0, 250_000, UTC),
            "datacontenttype": "application/json",
            "dataschema": "https://shop.example/order.json",
            "traceid": "a b",
        },
        data,
    )


def from_sdk(message: HTTPMessage, path: str = "/api/events") -> bytes:
    headers = [f"{name}: {value}" for name, value in message.headers.items()]
    return written("POST", path, *headers, body=message.body)


def batch_of(*events: CloudEvent) -> bytes:
    written_ = b",".join(to_structured_event(event).body for event in events)
    return batch(b"[%b]" % written_, kind=CLOUDEVENTS)


@pytest.mark.parametrize("mode", ["structured", "binary", "batch"])
@pytest.mark.parametrize("payload_format", ["cloudevents", "cloudevents-binary"])
def test_what_the_sdk_sends_in_any_mode_its_reader_gets_back(
    run: Run, enter: Enter, make_service: MakeService, mode: str, payload_format: str
) -> None:
    receiver, service = enter(Receiver()), enter(make_service())
    run(service.subscribe(receiver.url, payload_format=payload_format))
    sent = cloudevent("A-1", {"id": 42, "naïve": [None, True]})
    request = {
        "structured": lambda: from_sdk(to_structured_event(sent)),
        "binary": lambda: from_sdk(to_binary_event(sent, JSONFormat())),
        "batch": lambda: batch_of(sent),
    }[mode]()
    assert run(once(service, request)).status == 202
    run(receiver.wait_for(1))
    (got,) = run(receiver.wait_for(1))
    received = from_http_event(HTTPMessage(got.headers, got.body))
    assert received.get_data() == sent.get_data()
    assert received.get_attributes() == sent.get_attributes()
    # Once more, in another mode: the same event.
    again = run(once(service, from_sdk(to_structured_event(sent))))
    assert (again.status, again.json["duplicate"]) == (200, True)


def test_an_event_shows_where_its_attributes_went(service: Service, run: Run, unique: str) -> None:
    sent = cloudevent(unique, {"id": 42})
    answer = run(once(service, from_sdk(to_structured_event(sent))))
    event = run(service.call("GET", f"/api/events/{answer.json['id']}")).json
    assert {name: event[name] for name in ("type", "dedup_id", "source", "key", "occurred_at")} == {
        "type": "order.created",
        "dedup_id": f"/shops/1 {unique}",
        "source": "/shops/1",
        "key": "kündin 7",
        "occurred_at": "2025-06-01T08:00:00.250Z",
    }
    assert event["metadata"] == {
        "dataschema": "https://shop.example/order.json",
        "traceid": "a b",
    }


def test_data_that_is_not_json_is_an_unsupported_media_type(
    service: Service, run: Run, added: Callable[[], int]
) -> None:
    text = (
        "Content-Type: text/plain",
        "ce-specversion: 1.0",
        "ce-id: 1",
        "ce-source: s",
        "ce-type: t",
    )
    request = written("POST", "/api/events", *text, body=b"hello")
    assert_problem(run(once(service, request)), 415, "unsupported-media-type")
    item_ = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
    answer = run(
        once(service, batch([item_ | {"datacontenttype": "text/plain"}, 1], kind=CLOUDEVENTS))
    )
    assert answer.status == 422
    codes = [result["error"]["code"] for result in answer.json["results"]]
    assert codes == ["unsupported-media-type", "validation-failed"]
    assert added() == 0


def test_others_have_turns_while_a_batch_is_routed_and_ids_stay_in_order(
    run: Run, enter: Enter, make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "_AT_A_STRETCH_S", 0.0)
    service = enter(make_service(ingest_mode=IngestMode.SYNC))
    ingest = service.app.ingest

    async def scenario() -> None:
        organization = await own_organization(service)
        drafts = [Draft("order.created", b"1") for _ in range(20)]
        batch = asyncio.ensure_future(ingest.accept_all(organization, drafts))
        turns = 0
        while not batch.done():
            await asyncio.sleep(0)
            turns += 1
            if turns == 5:
                between, storing = ingest.accept(organization, Draft("order.created", b"1"))
                await storing
        events, stored = await batch
        assert await stored == [None] * 20
        assert turns >= 5
        # Whoever follows the log by ids has not gone past the batch.
        ids = [event.id for event in events]
        assert [between.id, *ids] == sorted([between.id, *ids])

    run(scenario())
