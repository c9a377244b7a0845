"""CloudEvents as they come in."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.errors import (
    InvalidEncoding,
    InvalidJson,
    Problem,
    TooDeep,
    UnsupportedMediaType,
    ValidationFailed,
)
from triggers_api.ingest.cloudevents import read_binary, read_structured
from triggers_api.model.timestamp import Timestamp

ODD: Final = b'{"big":10000000000000000000001,"a":1,"a":2,"nul":"\\u0000", "s" : "\\/\xc3\xa9"}'
REQUIRED: Final = {"specversion": "1.0", "id": "A-1", "source": "/shops/1", "type": "order.created"}
HEADERS: Final = [
    (b"ce-specversion", b"1.0"),
    (b"ce-id", b"A-1"),
    (b"ce-source", b"/shops/1"),
    (b"ce-type", b"order.created"),
]


def structured(data: bytes | None = None, /, **members: Any) -> bytes:  # noqa: ANN401 - JSON
    body = json.dumps(REQUIRED | members).encode()
    return body if data is None else b'%b,"data":%b}' % (body[:-1], data)


def test_a_structured_one_becomes_an_event_with_its_data_byte_for_byte() -> None:
    draft = read_structured(
        structured(
            ODD,
            subject="kündin 7",
            time="2025-06-01T10:00:00.25+02:00",
            datacontenttype="application/json",
            traceid="a b",
            sampled=True,
            weight=-7,
        )
    )
    assert draft.type == "order.created"
    assert draft.payload == ODD
    assert (draft.dedup_id, draft.source, draft.key) == ("/shops/1 A-1", "/shops/1", "kündin 7")
    assert draft.occurred_at == Timestamp.parse("2025-06-01T08:00:00.250Z")
    assert json.loads(draft.metadata or b"") == {
        "traceid": "a b",
        "sampled": "true",
        "weight": "-7",
    }


@pytest.mark.parametrize("absent", [{}, {"subject": None, "time": None, "datacontenttype": None}])
def test_absent_data_and_attributes_are_null(absent: dict[str, None]) -> None:
    draft = read_structured(structured(**absent))
    assert (draft.payload, draft.key, draft.occurred_at, draft.metadata) == (
        b"null",
        None,
        None,
        None,
    )


def test_data_in_base64_is_taken_when_it_is_json() -> None:
    encoded = base64.b64encode(ODD).decode()
    assert read_structured(structured(data_base64=encoded)).payload == ODD
    with pytest.raises(UnsupportedMediaType):
        read_structured(structured(data_base64=base64.b64encode(b"\x89PNG").decode()))


@pytest.mark.parametrize(
    ("members", "pointer", "code"),
    [
        ({"id": None}, "/id", "missing-field"),
        ({"id": ""}, "/id", "missing-field"),
        ({"source": None}, "/source", "missing-field"),
        ({"type": ""}, "/type", "missing-field"),
        ({"type": "no spaces"}, "/type", "invalid-event-type"),
        ({"specversion": None}, "/specversion", "missing-field"),
        ({"specversion": "0.3"}, "/specversion", "invalid-value"),
        ({"specversion": 1}, "/specversion", "invalid-value"),
        ({"subject": ""}, "/subject", "invalid-length"),
        ({"subject": "x" * 256}, "/subject", "invalid-length"),
        ({"time": "yesterday"}, "/time", "invalid-timestamp"),
        ({"time": ""}, "/time", "invalid-length"),
        ({"id": "x" * 512}, "/id", "invalid-length"),
        ({"Upper": "x"}, "/Upper", "unknown-field"),
        ({"a-b": "x"}, "/a-b", "unknown-field"),
        ({"id": 7}, "/id", "invalid-type"),
        ({"source": True}, "/source", "invalid-type"),
        ({"subject": 7}, "/subject", "invalid-type"),
        ({"ext": {"a": 1}}, "/ext", "invalid-type"),
        ({"ext": 1.5}, "/ext", "invalid-type"),
        ({"ext": 1 << 31}, "/ext", "invalid-type"),
        ({"ext": "x" * 1025}, "/ext", "invalid-value"),
        ({"data_base64": "not base64!"}, "/data_base64", "invalid-value"),
        ({"data_base64": 7}, "/data_base64", "invalid-value"),
        ({"data": 1, "data_base64": "MQ=="}, "/data_base64", "conflict"),
    ],
)
def test_a_fault_is_named_by_its_attribute(
    members: dict[str, Any], pointer: str, code: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        read_structured(structured(**members))
    assert (pointer, code) in [(error.pointer, error.code) for error in refused.value.errors]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", InvalidJson),
        (b"[]", ValidationFailed),
        (structured()[:-1], InvalidJson),
        (structured() + b" 1", InvalidJson),
        (b"\xff", InvalidEncoding),
        (structured(b"[" * 66 + b"]" * 66), TooDeep),
        (structured(datacontenttype="text/plain"), UnsupportedMediaType),
        (structured(datacontenttype="application/json; charset=latin-1"), UnsupportedMediaType),
    ],
)
def test_what_is_no_cloudevent_in_json_is_refused(body: bytes, problem: type[Problem]) -> None:
    with pytest.raises(problem):
        read_structured(body)


def test_a_key_for_idempotency_may_only_say_the_same() -> None:
    assert read_structured(structured(), "/shops/1 A-1").dedup_id == "/shops/1 A-1"
    with pytest.raises(ValidationFailed):
        read_structured(structured(), "another")


def test_a_binary_one_is_its_body_with_attributes_from_headers() -> None:
    draft = read_binary(
        [
            *HEADERS,
            (b"content-type", b"application/vnd.shop+json; charset=utf-8"),
            (b"ce-subject", b"k%C3%BCndin%207"),
            (b"ce-time", b"2025-06-01T08:00:00Z"),
            (b"ce-traceid", b'"a \\"b\\""'),
            (b"user-agent", b"x"),
        ],
        ODD,
    )
    assert (draft.payload, draft.dedup_id, draft.key) == (ODD, "/shops/1 A-1", "kündin 7")
    assert json.loads(draft.metadata or b"") == {"traceid": 'a "b"'}


def test_a_binary_one_without_a_body_has_null_for_data() -> None:
    assert read_binary(HEADERS, b"").payload == b"null"


@pytest.mark.parametrize(
    ("headers", "body", "problem"),
    [
        ([(b"content-type", b"text/plain")], b"1", UnsupportedMediaType),
        ([(b"content-type", b"application/json")], b"{", InvalidJson),
        ([(b"ce-subject", b"%FF")], b"1", InvalidEncoding),
        ([(b"ce-id", b"B-2")], b"1", ValidationFailed),
        ([(b"ce-datacontenttype", b"application/json")], b"1", ValidationFailed),
        ([], b"[" * 65 + b"]" * 65, TooDeep),
    ],
)
def test_what_is_no_cloudevent_in_headers_is_refused(
    headers: list[tuple[bytes, bytes]], body: bytes, problem: type[Problem]
) -> None:
    with pytest.raises(problem):
        read_binary([*HEADERS, *headers], body)


@given(st.binary(max_size=200))
def test_whatever_comes_is_an_event_or_a_problem(body: bytes) -> None:
    for read in (read_structured, lambda data: read_binary([*HEADERS, (b"ce-x", data)], b"1")):
        with suppress(Problem):
            assert read(body).type == "order.created"
