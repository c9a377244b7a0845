"""Reading the body of ``POST /api/events``: what is kept, what is refused, and with which words."""

import json
from typing import Any, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from triggers_api.errors import (
    InvalidEncoding,
    InvalidJson,
    Problem,
    TooDeep,
    ValidationFailed,
)
from triggers_api.ingest.draft import Draft, read_draft
from triggers_api.model.timestamp import Timestamp


def body_of(**fields: object) -> bytes:
    return json.dumps({"type": "order.created", "payload": {"n": 1}} | fields).encode()


def with_payload(payload: bytes) -> bytes:
    return b'{"type":"a","payload":' + payload + b"}"


def faults_of(body: bytes, header: str | None = None) -> set[tuple[str, str]]:
    with pytest.raises(ValidationFailed) as refusal:
        read_draft(body, header)
    assert refusal.value.status == 422
    assert refusal.value.errors
    assert all(error.message for error in refusal.value.errors)
    return {(error.pointer, error.code) for error in refusal.value.errors}


# ── what is kept ──────────────────────────────────────────────────────────────────────────────


def test_an_event_with_everything_is_read() -> None:
    body = b"""{
        "type": "order.created", "payload": {"n" : 1}, "dedup_id": "order 7", "source": "shop",
        "key": "customer-1", "metadata": {"region": "eu", "empty": ""},
        "occurred_at": "2026-11-22T12:00:00+01:00", "deliver_at": "2026-11-23T00:00:00Z"
    }"""
    assert read_draft(body) == Draft(
        type="order.created",
        payload=b'{"n" : 1}',
        dedup_id="order 7",
        source="shop",
        key="customer-1",
        metadata=b'{"region":"eu","empty":""}',
        occurred_at=Timestamp.parse("2026-11-22T11:00:00Z"),
        deliver_at=Timestamp.parse("2026-11-23T00:00:00Z"),
    )


def test_type_and_payload_are_enough() -> None:
    assert read_draft(b'{"type":"a","payload":null}') == Draft(type="a", payload=b"null")


@given(st.data(), st.text(" \t\r\n", max_size=3), st.text(" \t\r\n", max_size=3))
def test_a_payload_is_kept_byte_for_byte_without_the_space_around_it(
    json_texts: st.SearchStrategy[str], data: st.DataObject, before: str, after: str
) -> None:
    payload = data.draw(json_texts).encode()
    space, more = before.encode(), after.encode()
    for body in (
        b'{"type":"a","payload":' + space + payload + more + b"}",
        space + b'{"payload" :' + space + payload + more + b', "type" : "a" }' + more,
        b'{"data":' + space + payload + more + b',"event_type":"a"}',
    ):
        assert read_draft(body) == Draft(type="a", payload=payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"1e400", b"-1e400", b"1e-400", b"9007199254740993", b"18446744073709551616",
        b"1" * 25, b"7" * 5000, b"0." + b"3" * 5000, b"-0", b"1E+5",
        b'{"a":1,"a":2}', b'{"a":{"b":1,"b":2}}',
        rb'"x\u0000y"', b'"\x7f"', rb'"\ud83d\ude00"', '"😀 שלום e\u0301\u0301"'.encode(),
        '{"\u00e9":1,"e\u0301":2}'.encode(), b'{"__proto__":{"$where":1},"constructor":2}',
        b'""', b"0", b"null", b"true", b"[]", b"{}", b'"\\/"', b'{"a" : [1 ,2 ]}', b'{"":""}',
    ],
)  # fmt: skip
def test_what_other_parsers_would_change_is_kept(payload: bytes) -> None:
    assert read_draft(with_payload(payload)).payload == payload


def test_a_payload_of_64_levels_is_taken_and_one_of_65_is_too_deep() -> None:
    assert read_draft(with_payload(b"[" * 64 + b"]" * 64)).payload == b"[" * 64 + b"]" * 64
    with pytest.raises(TooDeep) as refusal:
        read_draft(with_payload(b'{"a":' * 65 + b"1" + b"}" * 65))
    assert refusal.value.status == 400


@pytest.mark.parametrize("bracket", [b"[", b'{"a":', b'[{"a":'])
def test_a_hundred_thousand_open_brackets_are_a_client_s_fault(bracket: bytes) -> None:
    with pytest.raises((TooDeep, InvalidJson)):
        read_draft(with_payload(bracket * 100_000))


# ── spellings ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["type", "event_type"])
@pytest.mark.parametrize("place", ["payload", "data"])
@pytest.mark.parametrize("dedup", ["dedup_id", "event_id", "external_id"])
def test_the_spellings_of_existing_producers_mean_the_same(
    name: str, place: str, dedup: str
) -> None:
    body = json.dumps({name: "a.b", place: [1], dedup: "x"}).encode()
    assert read_draft(body) == Draft(type="a.b", payload=b"[1]", dedup_id="x")


def test_the_header_is_a_dedup_id_too() -> None:
    assert read_draft(body_of(), "from the header").dedup_id == "from the header"


def test_spellings_that_agree_are_fine_together() -> None:
    body = (
        b'{"type":"a","event_type":"a","payload":[1],"data":[1],'
        b'"dedup_id":"x","event_id":"x","external_id":"x"}'
    )
    assert read_draft(body, "x") == Draft(type="a", payload=b"[1]", dedup_id="x")


@pytest.mark.parametrize(
    ("body", "header", "pointer"),
    [
        (b'{"type":"a","event_type":"b","payload":1}', None, "/type"),
        (b'{"type":"a","payload":1,"data":2}', None, "/payload"),
        (b'{"type":"a","payload":1,"dedup_id":"x","event_id":"y"}', None, "/dedup_id"),
        (b'{"type":"a","payload":1,"dedup_id":"x","external_id":"y"}', None, "/dedup_id"),
        (b'{"type":"a","payload":1,"event_id":"x","external_id":"y"}', None, "/dedup_id"),
        (b'{"type":"a","payload":1,"dedup_id":"x"}', "y", "/dedup_id"),
        (b'{"type":"a","payload":1,"event_id":"x"}', "y", "/dedup_id"),
        (b'{"type":"a","payload":1,"external_id":"x"}', "X", "/dedup_id"),
    ],
)
def test_two_spellings_that_differ_are_a_conflict(
    body: bytes, header: str | None, pointer: str
) -> None:
    assert faults_of(body, header) == {(pointer, "conflict")}


def test_null_means_absent() -> None:
    nothing = dict.fromkeys(
        ["dedup_id", "source", "key", "metadata", "occurred_at", "deliver_at", "event_id",
         "external_id", "event_type"]
    )  # fmt: skip
    assert read_draft(body_of(**nothing)) == read_draft(body_of())


# ── not one JSON document: 400 ────────────────────────────────────────────────────────────────

NOT_JSON = [
    b"", b" ", b"\n", b"{", b"}", b'{"type"', b'{"type":"a","payload":', b'{"type":"a","payload":1',
    b'{"type":"a","payload":1}{"type":"a","payload":1}', b'{"type":"a","payload":1} x',
    b'{"type":"a","payload":1}\x00', b'{"type":"a","payload":1}]', b'{"type":"a","payload":1},',
    b"{'type':'a','payload':1}", b"{type:'a'}", b'// c\n{"type":"a","payload":1}',
    b'{"type":"a",/**/"payload":1}', b'{"type":"a","payload":1,}', b'{"type":"a" "payload":1}',
    b"undefined", b'"unended', b"\x00", b'\x1e{"type":"a","payload":1}',
    '{"type":"a","payload":1}'.encode("utf-16-le"), '{"type":"a","payload":1}'.encode("utf-16-be"),
]  # fmt: skip

NOT_VALUES = [
    b"", b"NaN", b"Infinity", b"-Infinity", b"nan", b"01", b"-01", b"0x1", b"+1", b".5", b"1.",
    b"1e", b"1e+", b"-", b"1_0", b"tru", b"True", b"None", b"nul", b"'a'", b"[1,]", b'{"a":1,}',
    b"[1 2]", b'{"a" 1}', b'{"a":1 "b":2}', b"{1:2}", b"{a:1}", b"[", b"]", b'["a"', b"1 2", b"[1]]",
    b'"a\nb"', b'"a\tb"', b'"a\x00b"', b'"a\x1fb"', b'"\\x"', b'"\\u12"', b'"\\u12g4"', b'"\\"',
    rb'"\ud800"', rb'"\udc00"', rb'"\udc00\ud800"', rb'"\ud800x"', rb'"\ud800\n"', rb'"\ud800A"',
    rb'{"\ud800":1}', rb'["\udfff"]', rb'"\ud83d\ud83d"', rb'"\U0001F600"',
    "\u00a01".encode(), "\u30001".encode(), "\N{FULLWIDTH DIGIT ONE}".encode(), b"/* */1", b"1//",
]  # fmt: skip


@pytest.mark.parametrize("body", NOT_JSON)
def test_what_is_not_exactly_one_json_document_is_400(body: bytes) -> None:
    with pytest.raises(InvalidJson) as refusal:
        read_draft(body)
    assert (refusal.value.status, refusal.value.code) == (400, "invalid-json")


@pytest.mark.parametrize("value", NOT_VALUES)
@pytest.mark.parametrize("place", [b"payload", b"data", b"source", b"metadata", b"unknown"])
def test_what_is_not_json_is_400_wherever_it_stands(place: bytes, value: bytes) -> None:
    with pytest.raises((InvalidJson, ValidationFailed)) as refusal:
        read_draft(b'{"type":"a","' + place + b'":' + value + b"}")
    if place in {b"payload", b"data"}:
        assert refusal.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"type":"a","payload":1}',
        b'{"type":"a","payload":"\xff"}',
        b'{"type":"a","payload":"\xc0\xaf"}',
        b'{"type":"a","payload":"\xed\xa0\x80"}',
        b'{"type":"\xe9","payload":1}',
        '{"type":"a","payload":1}'.encode("utf-16"),
        '{"type":"a","payload":1}'.encode("utf-32"),
    ],
)
def test_what_is_not_utf_8_without_a_mark_is_400(body: bytes) -> None:
    with pytest.raises(InvalidEncoding) as refusal:
        read_draft(body)
    assert (refusal.value.status, refusal.value.code) == (400, "invalid-encoding")


# ── JSON, but not an event: 422 ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("body", [b"[]", b"[{}]", b'"a"', b"1", b"null", b"true", b" 1.5 "])
def test_a_document_that_is_not_an_object_is_422(body: bytes) -> None:
    assert faults_of(body) == {("", "invalid-type")}


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"type": None}, "/type", "missing-field"),
        ({"type": ""}, "/type", "invalid-event-type"),
        ({"type": "a" * 256}, "/type", "invalid-event-type"),
        ({"type": "a b"}, "/type", "invalid-event-type"),
        ({"type": "a\n"}, "/type", "invalid-event-type"),
        ({"type": "a\x00"}, "/type", "invalid-event-type"),
        ({"type": "order.*"}, "/type", "invalid-event-type"),
        ({"type": "b\u0435fore"}, "/type", "invalid-event-type"),
        ({"type": "a\u200bb"}, "/type", "invalid-event-type"),
        ({"type": "\u202eevil"}, "/type", "invalid-event-type"),
        ({"type": "a\u0661"}, "/type", "invalid-event-type"),
        ({"type": 1}, "/type", "invalid-type"),
        ({"type": ["a"]}, "/type", "invalid-type"),
        ({"type": True}, "/type", "invalid-type"),
        ({"event_type": 1}, "/event_type", "invalid-type"),
        ({"dedup_id": ""}, "/dedup_id", "invalid-length"),
        ({"dedup_id": "x" * 513}, "/dedup_id", "invalid-length"),
        ({"dedup_id": "a\r\nb"}, "/dedup_id", "control-character"),
        ({"dedup_id": "a\x00b"}, "/dedup_id", "control-character"),
        ({"dedup_id": "\x7f"}, "/dedup_id", "control-character"),
        ({"dedup_id": "\x9b0m"}, "/dedup_id", "control-character"),
        ({"dedup_id": 7}, "/dedup_id", "invalid-type"),
        ({"dedup_id": 10**30}, "/dedup_id", "invalid-type"),
        ({"dedup_id": True}, "/dedup_id", "invalid-type"),
        ({"event_id": {}}, "/event_id", "invalid-type"),
        ({"external_id": 1.5}, "/external_id", "invalid-type"),
        ({"event_id": "a\tb"}, "/dedup_id", "control-character"),
        ({"source": ""}, "/source", "invalid-length"),
        ({"source": "s" * 256}, "/source", "invalid-length"),
        ({"source": "a\x1b[31m"}, "/source", "control-character"),
        ({"source": []}, "/source", "invalid-type"),
        ({"key": ""}, "/key", "invalid-length"),
        ({"key": "k" * 256}, "/key", "invalid-length"),
        ({"key": "a\u2028b"}, "/key", "control-character"),
        ({"key": 1}, "/key", "invalid-type"),
        ({"metadata": []}, "/metadata", "invalid-type"),
        ({"metadata": "a"}, "/metadata", "invalid-type"),
        ({"metadata": {"a": 1}}, "/metadata", "invalid-type"),
        ({"metadata": {"a": None}}, "/metadata", "invalid-type"),
        ({"metadata": {"a": {"b": "c"}}}, "/metadata", "invalid-type"),
        ({"metadata": {str(n): "" for n in range(65)}}, "/metadata", "too-many"),
        ({"metadata": {"": "a"}}, "/metadata", "invalid-key"),
        ({"metadata": {"k" * 129: "a"}}, "/metadata", "invalid-key"),
        ({"metadata": {"a\n": "a"}}, "/metadata", "invalid-key"),
        ({"metadata": {"a": "v" * 1025}}, "/metadata/a", "invalid-value"),
        ({"metadata": {"a": "\x00"}}, "/metadata/a", "invalid-value"),
        ({"occurred_at": "yesterday"}, "/occurred_at", "invalid-timestamp"),
        ({"occurred_at": "2026-11-22T12:00:00"}, "/occurred_at", "invalid-timestamp"),
        ({"occurred_at": "2026-11-22T24:00:00Z"}, "/occurred_at", "invalid-timestamp"),
        ({"occurred_at": "2026-11-22T23:59:60Z"}, "/occurred_at", "invalid-timestamp"),
        ({"occurred_at": "0000-01-01T00:00:00Z"}, "/occurred_at", "invalid-timestamp"),
        ({"occurred_at": "9999-12-31T23:59:59Z"}, "/occurred_at", "invalid-timestamp"),
        ({"occurred_at": "1795378000000"}, "/occurred_at", "invalid-timestamp"),
        ({"occurred_at": 1795378000000}, "/occurred_at", "invalid-type"),
        ({"deliver_at": ""}, "/deliver_at", "invalid-timestamp"),
        ({"deliver_at": "2500-01-01T00:00:00Z"}, "/deliver_at", "invalid-timestamp"),
        ({"deliver_at": 5}, "/deliver_at", "invalid-type"),
        ({"tenant_id": "org_1"}, "/tenant_id", "unknown-field"),
        ({"organization_id": "org_1"}, "/organization_id", "unknown-field"),
        ({"id": "evt_1"}, "/id", "unknown-field"),
        ({"status": "processed"}, "/status", "unknown-field"),
        ({"Type": "a"}, "/Type", "unknown-field"),
        ({"payload ": 1}, "/payload ", "unknown-field"),
        ({"__proto__": {}}, "/__proto__", "unknown-field"),
    ],
)  # fmt: skip
def test_a_field_that_is_not_acceptable_is_422_with_its_place_and_code(
    fields: dict[str, object], pointer: str, code: str
) -> None:
    assert faults_of(body_of(**fields)) == {(pointer, code)}


@pytest.mark.parametrize(
    ("name", "pointer"),
    [("a/b", "/a~1b"), ("a~b", "/a~0b"), ("~1", "/~01"), ("a`b", "/a`b"), ("é", "/é"), ("", "/")],
)
def test_an_unknown_field_s_place_is_a_json_pointer_whatever_its_name(
    name: str, pointer: str
) -> None:
    assert faults_of(body_of(**{name: 1})) == {(pointer, "unknown-field")}


@pytest.mark.parametrize(("name", "pointer"), [("a/b", "/metadata/a~1b"), ("~", "/metadata/~0")])
def test_a_metadata_entry_s_place_is_a_json_pointer_whatever_its_name(
    name: str, pointer: str
) -> None:
    assert faults_of(body_of(metadata={name: "\x00"})) == {(pointer, "invalid-value")}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{}", "/type"),
        (b"{}", "/payload"),
        (b'{"payload":1}', "/type"),
        (b'{"type":"a"}', "/payload"),
        (b'{"type":"a","metadata":{}}', "/payload"),
    ],
)
def test_a_missing_field_is_named(body: bytes, pointer: str) -> None:
    assert (pointer, "missing-field") in faults_of(body)


def test_all_faults_are_told_at_once() -> None:
    body = body_of(type="*", dedup_id="\n", source="", key="\x00", occurred_at="x", deliver_at="y")
    assert faults_of(body) == {
        ("/type", "invalid-event-type"),
        ("/dedup_id", "control-character"),
        ("/source", "invalid-length"),
        ("/key", "control-character"),
        ("/occurred_at", "invalid-timestamp"),
        ("/deliver_at", "invalid-timestamp"),
    }


@pytest.mark.parametrize("header", ["", "x" * 513, "a\x00b", "a\r\nb", "\x7f"])
def test_a_header_that_is_no_dedup_id_is_422(header: str) -> None:
    ((pointer, _),) = faults_of(body_of(), header)
    assert pointer == "/dedup_id"


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "a"}, {"type": "a" * 255}, {"type": "urn:x:y/z-1_2.A"}, {"type": "a..b"},
        {"dedup_id": "x"}, {"dedup_id": "é" * 512}, {"dedup_id": "a.b c/d"}, {"dedup_id": "😀"},
        {"source": "s" * 255}, {"key": "k" * 255}, {"metadata": {}},
        {"metadata": {"k" * 128: "v" * 1024}}, {"metadata": {str(n): "" for n in range(64)}},
        {"metadata": {"a": "line\nbreak"}}, {"occurred_at": "1970-01-01T00:00:00Z"},
        {"deliver_at": "1999-01-01T00:00:00Z"}, {"deliver_at": "2199-12-31T23:59:59.999Z"},
    ],
)  # fmt: skip
def test_what_is_just_within_bounds_is_taken(fields: dict[str, object]) -> None:
    read_draft(body_of(**fields))


def test_a_refusal_does_not_repeat_a_long_name_of_the_client_s() -> None:
    with pytest.raises(ValidationFailed) as refusal:
        read_draft(body_of(**{"x" * 10_000: 1}))
    assert all(len(error.pointer) + len(error.message) < 500 for error in refusal.value.errors)
    assert len(refusal.value.detail) < 500


# ── anything at all ───────────────────────────────────────────────────────────────────────────


def never(constant: str) -> NoReturn:
    raise ValueError(constant)


def strictly(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    """What RFC 8259 and nothing else takes, by the standard library's parser made strict."""
    value = json.loads(body.decode(), parse_constant=never, parse_int=str)
    json.dumps(value, ensure_ascii=False).encode()  # no lone surrogate
    return value


def read_or_refused(body: bytes, header: str | None = None) -> Draft | None:
    try:
        return read_draft(body, header)
    except Problem as problem:
        assert problem.status in {400, 422}  # noqa: PT017 - which of the two is the point elsewhere
        return None


VALID = (
    b'{"type":"order.created","payload":{"a":[1,2.5e3,"\\u00e9\\ud83d\\ude00"],"b":null},'
    b'"dedup_id":"x","metadata":{"k":"v"},"occurred_at":"2026-11-22T12:00:00Z"}'
)


@given(st.binary(max_size=400), st.none() | st.text(max_size=20))
@example(b'{"type":"a","payload":1}', "\ud800")
def test_any_bytes_are_an_event_or_a_client_s_fault(body: bytes, header: str | None) -> None:
    read_or_refused(body, header)


@given(st.data())
def test_a_body_with_a_few_bytes_changed_is_an_event_or_a_client_s_fault(
    data: st.DataObject,
) -> None:
    body = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        piece = data.draw(st.binary(max_size=3) | st.sampled_from(list(b'{}[]",:\\0e-')).map(
            lambda byte: bytes([byte])
        ))  # fmt: skip
        body[at : at + data.draw(st.integers(0, 3))] = piece
    draft = read_or_refused(bytes(body))
    if draft is not None:
        strictly(bytes(body))
        strictly(draft.payload)


@given(st.data())
def test_a_value_with_a_few_characters_changed_is_taken_only_if_it_is_json(
    json_texts: st.SearchStrategy[str], data: st.DataObject
) -> None:
    value = data.draw(json_texts)
    at = data.draw(st.integers(0, len(value)))
    changed = (
        value[:at] + data.draw(st.text(max_size=2)) + value[at + data.draw(st.integers(0, 2)) :]
    )
    try:
        strictly(changed.encode())
        is_json = True
    except (ValueError, RecursionError):
        is_json = False
    draft = read_or_refused(b'{"type":"a","payload":' + changed.encode("utf-8", "replace") + b"}")
    if is_json:
        assert draft is not None
        assert draft.payload == changed.strip(" \t\r\n").encode()
    elif draft is not None:
        # A changed value may end the payload and begin another field: what was read is JSON still.
        strictly(draft.payload)


@given(
    st.dictionaries(
        st.sampled_from(
            ["type", "event_type", "payload", "data", "dedup_id", "event_id", "external_id",
             "source", "key", "metadata", "occurred_at", "deliver_at", "other"]
        ),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
        | st.lists(st.text(max_size=3), max_size=3)
        | st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(), max_size=3),
    ),
)  # fmt: skip
def test_any_object_with_our_fields_is_an_event_or_a_client_s_fault(
    fields: dict[str, object],
) -> None:
    draft = read_or_refused(json.dumps(fields).encode())
    if draft is not None:
        assert draft.type in (fields.get("type"), fields.get("event_type"))
        assert json.loads(draft.payload) in (fields.get("payload"), fields.get("data"))
