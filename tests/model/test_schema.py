"""JSON Schemas of event types: which are taken, what they say, and what they may cost."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import pytest

from triggers_api.errors import FieldError
from triggers_api.model.event_type import EventType, SchemaMode, TypeRules, reason_of
from triggers_api.model.schema import (
    FAULTS_LIMIT,
    MOST_STEPS,
    SCHEMA_LENGTH,
    TOO_COMPLEX,
    UNREADABLE,
    UNUSABLE,
    Cost,
    Schema,
    depth_of,
    pattern_states,
    schema_faults,
)
from triggers_api.model.timestamp import Timestamp

ORDER: Final = {
    "type": "object",
    "required": ["id", "lines"],
    "properties": {
        "id": {"type": "string", "pattern": "^ord_"},
        "lines": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"count": {"type": "integer", "minimum": 1}},
                "additionalProperties": False,
            },
        },
        "at": {"type": "string", "format": "date-time"},
    },
}


def refused(schema: Any) -> tuple[str, str]:  # noqa: ANN401 - JSON
    """Pointer and code of the first fault of a schema that is not taken."""
    found = schema_faults(json.dumps(schema).encode())
    assert found, "it was taken"
    return found[0].pointer, found[0].code


def faults(schema: Any, payload: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - JSON
    text = json.dumps(schema).encode()
    assert schema_faults(text) == []
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return [(each.pointer, each.code) for each in Schema(text).faults(raw)]


def test_every_fault_of_a_payload_is_told_with_its_place() -> None:
    payload = {"id": "x", "lines": [{"count": 1}, {"count": 0, "a/b": 1}], "at": "today"}
    assert sorted(faults(ORDER, payload)) == [
        ("/payload/at", "schema-format"),
        ("/payload/id", "schema-pattern"),
        ("/payload/lines/1", "schema-additional-properties"),
        ("/payload/lines/1/count", "schema-minimum"),
    ]


def test_a_payload_that_fits_has_no_faults() -> None:
    payload = {"id": "ord_1", "lines": [{"count": 3}], "at": "2026-01-01T00:00:00Z"}
    assert faults(ORDER, payload) == []


def test_a_missing_member_is_a_fault_of_the_object() -> None:
    assert faults(ORDER, {"id": "ord_1"}) == [("/payload", "schema-required")]


def test_messages_hold_nothing_of_the_values() -> None:
    secret = "hunter2" * 100
    schema = {"properties": {"a": {"enum": ["x"]}, "b": {"pattern": "^y"}, "c": {"const": 1}}}
    found = Schema(json.dumps(schema).encode()).faults(
        json.dumps({"a": secret, "b": secret, "c": secret}).encode()
    )
    assert len(found) == 3
    assert "hunter2" not in str(found)


def test_at_most_so_many_faults_are_told() -> None:
    assert len(faults({"items": {"type": "string"}}, [0] * 100)) == FAULTS_LIMIT


def test_of_a_large_payload_the_first_fault_is_told() -> None:
    assert len(faults({"items": {"type": "string"}}, [0] * 100_000)) == 1


def test_integers_of_any_size_are_compared_as_they_are() -> None:
    assert faults({"type": "integer", "maximum": 10**30}, b"1000000000000000000000000000001") != []
    assert faults({"type": "integer", "maximum": 10**30}, b"1000000000000000000000000000000") == []


def test_a_number_that_cannot_be_compared_is_a_fault_and_no_crash() -> None:
    assert faults({"type": "number"}, b"1e999") == [("/payload", UNREADABLE)]


@pytest.mark.parametrize(
    ("schema", "pointer", "code"),
    [
        (5, "/schema", "invalid-type"),
        ([], "/schema", "invalid-type"),
        ({"type": "text"}, "/schema/type", "invalid-schema"),
        ({"properties": {"a/b": {"minimum": "1"}}}, "/schema/properties/a~1b/minimum", "invalid-schema"),
        ({"pattern": "("}, "/schema/pattern", "invalid-schema"),
        ({"patternProperties": {"(": {}}}, "/schema/patternProperties/(", "invalid-schema"),
        ({"$schema": "https://example.com/mine"}, "/schema/$schema", "unknown-schema"),
        ({"$schema": 1}, "/schema/$schema", "unknown-schema"),
        ({"$ref": "https://example.com/other"}, "/schema/$ref", "invalid-reference"),
        ({"$ref": "other.json#/a"}, "/schema/$ref", "invalid-reference"),
        ({"items": {"$ref": "#anchor"}}, "/schema/items/$ref", "invalid-reference"),
        ({"items": {"$ref": "#/$defs/none"}}, "/schema/items/$ref", "invalid-reference"),
        ({"items": {"$ref": 1}}, "/schema/items/$ref", "invalid-reference"),
        ({"items": {"$dynamicRef": "#a"}}, "/schema/items/$dynamicRef", "invalid-reference"),
        ({"items": {"$id": "https://example.com/a"}}, "/schema/items", "invalid-reference"),
        ({"$ref": "#"}, "/schema", "too-complex"),
        ({"pattern": "a" * 1025}, "/schema", "pattern-too-long"),
        ({"patternProperties": {f"a{n}": {} for n in range(201)}}, "/schema", "too-many"),
        ({"description": "x" * SCHEMA_LENGTH}, "/schema", "too-large"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_used_is_refused_with_its_place(
    schema: Any,  # noqa: ANN401 - JSON
    pointer: str,
    code: str,
) -> None:
    assert refused(schema) == (pointer, code)


def test_a_schema_nested_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(40):
        schema = {"not": schema}
    assert refused(schema)[1] == "too-deep"


@pytest.mark.parametrize(
    "schema",
    [
        True,
        False,
        {},
        {"properties": {"$ref": {"type": "string"}, "$id": {}, "pattern": {}}},
        {"enum": [{"$ref": "https://example.com/"}]},
        {"$id": "https://example.com/order", "$ref": "#/$defs/a~1b", "$defs": {"a/b": True}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {}}},
        {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}},
        {"pattern": "^.{1,255}$"},
    ],
)
def test_a_schema_that_can_be_used_is_taken(schema: Any) -> None:  # noqa: ANN401 - JSON
    assert schema_faults(json.dumps(schema).encode()) == []


def test_the_draft_is_the_one_that_is_named() -> None:
    draft4 = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "maximum": 5,
        "exclusiveMaximum": True,
    }
    assert faults(draft4, 5) != []


# ── what it may cost ──────────────────────────────────────────────────────────────────────────


def doubling(levels: int, inner: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """A small schema that is applied twice as often with every level."""
    steps = {
        f"d{n}": {"allOf": [inner(f"#/$defs/d{n + 1}"), inner(f"#/$defs/d{n + 1}")]}
        for n in range(levels)
    }
    return {"$defs": {**steps, f"d{levels}": {"type": "integer"}}, "$ref": "#/$defs/d0"}


def test_a_schema_that_doubles_its_work_again_and_again_is_refused() -> None:
    assert refused(doubling(40, lambda to: {"$ref": to})) == ("/schema", "too-complex")
    assert refused(doubling(40, lambda to: {"properties": {"a": {"$ref": to}}}))[1] == "too-complex"


def test_a_schema_that_doubles_its_work_with_the_payloads_depth_is_applied_to_what_is_flat() -> (
    None
):
    operators = [
        {
            "properties": {"op": {"const": op}, "l": {"$ref": "#"}, "r": {"$ref": "#"}},
            "required": ["op"],
            "type": "object",
        }
        for op in ("and", "or", "add")
    ]
    schema = {"oneOf": [*operators, {"type": "integer"}]}
    assert faults(schema, {"op": "and", "l": {"op": "or", "l": 1, "r": 2}, "r": 3}) == []
    deep: Any = 1
    for _ in range(60):
        deep = {"op": "and", "l": deep}
    assert faults(schema, deep) == [("/payload", TOO_COMPLEX)]


@pytest.mark.parametrize(
    "schema",
    [
        {"items": {"not": {"enum": [{"a": n} for n in range(4000)]}}},
        {"patternProperties": {f"x{n}y": {} for n in range(100)}},
        {"allOf": [{"pattern": f"(.*a){{9}}{n}?$"} for n in range(100)]},
        {"pattern": "[ab]*a[ab]{500}c"},
    ],
)
def test_a_large_payload_is_not_checked_where_that_could_take_long(schema: Any) -> None:  # noqa: ANN401
    payload = json.dumps("ab" * 500_000).encode()
    assert Cost(schema).steps(payload) > MOST_STEPS
    assert faults(schema, payload) == [("/payload", TOO_COMPLEX)]
    assert faults(schema, b'{"a":1}') == []


def test_what_names_alone_lead_to_is_counted_once() -> None:
    wide = {"properties": {f"p{n}": {"type": "string", "maxLength": 9} for n in range(900)}}
    cost = Cost(wide)
    assert cost.steps(b"x" * 1_000_000) < 10_000
    assert faults(wide, {f"p{n}": "x" for n in range(900)}) == []


@pytest.mark.parametrize(
    ("payload", "depth"),
    [(b"1", 0), (b"[]", 1), (b'{"a":[{}]}', 3), (b'"[[["', 0), (b'["\\"[", "[[", {"]":1}]', 2)],
)
def test_the_depth_of_a_payload_is_that_of_its_brackets(payload: bytes, depth: int) -> None:
    assert depth_of(payload) == depth


@pytest.mark.parametrize(
    ("pattern", "states"),
    [("", 1), ("^ab$", 5), ("[a-z]{64}", 65), ("((ab){10}c){10}", 211), ("\\d+", 4)],
)
def test_a_pattern_counts_by_what_it_repeats(pattern: str, states: int) -> None:
    assert pattern_states(pattern) == states


# ── what a type says of an event ──────────────────────────────────────────────────────────────


def rules(schema: bytes, mode: SchemaMode, redact: tuple[str, ...] = ()) -> TypeRules:
    moment = Timestamp(0)
    return TypeRules(
        EventType(
            name="a", schema=msgspec.Raw(schema), mode=mode, redact=redact,
            created_at=moment, updated_at=moment,
        )
    )  # fmt: skip


def test_what_came_is_checked_and_what_is_redacted_is_stored() -> None:
    judgement = rules(
        b'{"properties":{"a":{"type":"integer"}}}', SchemaMode.ENFORCE, ("/a",)
    ).judge(b'{"a":1}')
    assert (judgement.payload, judgement.faults) == (b'{"a":"[redacted]"}', ())


def test_off_is_not_looked_at_but_redacted() -> None:
    judgement = rules(b"false", SchemaMode.OFF, ("/a",)).judge(b'{"a":1}')
    assert (judgement.payload, judgement.faults) == (b'{"a":"[redacted]"}', ())


@pytest.mark.parametrize(
    ("mode", "then"),
    [
        (SchemaMode.WARN, SchemaMode.WARN),
        (SchemaMode.ENFORCE, SchemaMode.QUARANTINE),
        (SchemaMode.QUARANTINE, SchemaMode.QUARANTINE),
    ],
)
def test_with_a_schema_that_this_version_cannot_use_nothing_is_lost_or_let_through(
    mode: SchemaMode, then: SchemaMode
) -> None:
    judgement = rules(b'{"pattern":"("}', mode).judge(b"1")
    assert judgement.mode is then
    assert [fault.code for fault in judgement.faults] == [UNUSABLE]


def test_a_reason_is_one_line_that_every_database_can_hold() -> None:
    found = (FieldError("/payload", "c", "has \x00"), FieldError("/payload/a", "c", "b"))
    assert reason_of(found) == "schema: /payload has \\0 (and 1 more)"
