"""The part of the Common Expression Language that filters are written in, by example."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.cel.syntax import (
    DEPTH_LIMIT,
    LENGTH_LIMIT,
    MACRO_DEPTH_LIMIT,
    NODE_LIMIT,
    ExpressionFault,
)
from triggers_api.model.filter import (
    FAULT_CODES,
    STEP_LIMIT,
    EventView,
    Judgement,
    compile_filter,
    stored_filter,
)

PAYLOAD = {
    "amount": 120,
    "price": 19.5,
    "currency": "EUR",
    "paid": True,
    "note": None,
    "in": "a keyword",
    "items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 3}],
    "tags": {"vip": True, "since": 2019},
    "big": 12345678901234567890,
}


def event(payload: object = PAYLOAD, **fields: object) -> EventView:
    given: dict[str, object] = {"source": "shop", "metadata": b'{"env":"prod"}'} | fields
    return EventView("order.created", payload=msgspec.json.encode(payload), **given)  # type: ignore[arg-type]


def judged(text: str, about: EventView | None = None) -> Judgement:
    return compile_filter(text).judge(about or event())


@pytest.mark.parametrize(
    "text",
    [
        'type == "order.created"',
        "type.startsWith('order.')",
        'source == "shop" && key == null',
        'metadata.env == "prod"',
        "payload.amount > 100",
        "payload.amount >= 120.0",
        "payload.amount == 120.0 && 120.0 in [payload.amount] && [1, 2.0] == [1.0, 2]",
        "payload.paid",
        "!(payload.currency in ['USD', 'GBP'])",
        'payload["in"].endsWith("keyword")',
        "payload.note == null",
        "has(payload.tags.vip) && !has(payload.tags.nothing)",
        '"vip" in payload.tags',
        "size(payload.items) == 2 && payload.items.size() == 2",
        'payload.items.exists(i, i.sku == "b" && i.qty > 2)',
        "payload.items.all(i, i.qty > 0)",
        "payload.items.exists_one(i, i.qty == 3)",
        'payload.items.filter(i, i.qty > 2).map(i, i.sku) == ["b"]',
        'payload.items.map(i, i.qty > 2, i.sku)[0] == "b"',
        'payload.tags.exists(name, name == "vip")',
        "payload.items[1].qty - 1 == 2 && -payload.amount == -120",
        "payload.amount / 50 == 2 && payload.amount % 50 == 20",
        "double(payload.amount) * 1.5 == 180.0",
        'int("12") == 12 && string(payload.amount) == "120"',
        'payload.paid ? payload.amount > 1 : payload.currency == "x"',
        "payload.big > 9223372036854775807",
        "'Ma\\u0308\\x41\\101\\n' == \"Ma\\u0308AA\\n\"",
        r"r'a\n' == 'a\\n'",
        "'''it's''' == \"it's\"",
        "0x10 == 16 && 1e2 == 100.0 && .5 < 1.0",
        "payload.amount > 100 // a comment\n  && payload.paid",
        "payload.missing == 1 || true",
        "payload.amount < 0 ? payload.missing : payload.paid",
        "-9223372036854775808 < 0",
    ],
)
def test_a_filter_matches(text: str) -> None:
    assert judged(text) == Judgement(matches=True)


@pytest.mark.parametrize(
    "text",
    ['type == "other"', "payload.amount > 120", "!payload.paid", "false && payload.missing",
     "payload.items.exists(i, i.qty > 9)", "payload.currency == 'eur'", '"120" == payload.amount'],
)  # fmt: skip
def test_a_filter_does_not_match(text: str) -> None:
    assert judged(text) == Judgement(matches=False)


@pytest.mark.parametrize(
    ("text", "code", "fault"),
    [
        ("payload.missing > 5", "missing-field", "there is no field 'missing'"),
        ("payload.note.deeper == 1", "missing-field", "there is no field 'deeper' of null"),
        ("payload.items[7].qty == 1", "missing-field", "there is no entry 7 of 2"),
        ("payload.amount.x == 1", "wrong-type", "there is no field 'x' of int"),
        ("payload.amount > '5'", "wrong-type", "there is no int > string"),
        ("payload.price * 2 > 1.0", "wrong-type", "there is no double * int"),
        ("payload.amount", "wrong-type", "true or false is expected, not int"),
        ("payload.amount && true", "wrong-type", "true or false is expected, not int"),
        ("payload.amount.exists(x, true)", "wrong-type", "there is nothing in int to go over"),
        ("payload.amount / 0 == 1", "arithmetic", "division by zero"),
        (
            "payload.amount * 9223372036854775807 > 1",
            "arithmetic",
            "the integer does not fit into 64 bits",
        ),
        ("int(payload.currency) == 1", "wrong-type", "this string is no int"),
    ],
)
def test_a_filter_that_has_no_answer_does_not_match_and_says_why(
    text: str, code: str, fault: str
) -> None:
    assert judged(text) == Judgement(matches=False, fault_code=code, fault=fault)
    assert code in FAULT_CODES


def test_what_an_event_does_not_have_is_null() -> None:
    bare = EventView("order.created", payload=b"null")
    assert judged(
        "source == null && key == null && metadata == null && payload == null", bare
    ).matches
    assert judged("payload.amount > 1", bare).fault_code == "missing-field"


@pytest.mark.parametrize("payload", [b"1e400", b"[" + b"9" * 5000 + b"]"])
def test_a_payload_with_numbers_that_nobody_can_hold_is_unreadable(payload: bytes) -> None:
    about = EventView("order.created", payload=payload)
    assert judged("payload == 1", about).fault_code == "unreadable"
    assert judged("payload == 1", about).fault_code == "unreadable"
    assert judged("type == 'order.created'", about).matches, "nobody asked for the payload"


def test_a_payload_is_decoded_once_and_only_when_a_filter_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode, decoded = msgspec.json.decode, []

    def counting(raw: bytes) -> object:
        decoded.append(raw)
        return decode(raw)

    about = event()
    monkeypatch.setattr(msgspec.json, "decode", counting)
    judged("type == 'x'", about)
    assert len(decoded) == 0
    judged("payload.amount > 1", about)
    judged("payload.paid && payload.price > 1.0", about)
    assert len(decoded) == 1


@pytest.mark.parametrize(
    ("text", "code", "offset", "message"),
    [
        ("", "syntax-error", 0, "an expression is expected"),
        ("payload.amount >", "syntax-error", 16, "a value is expected, not the end"),
        ("payload.amount > > 1", "syntax-error", 17, "a value is expected, not '>'"),
        ("payload.amount = 1", "syntax-error", 15, "'=' means nothing"),
        ("(payload.paid", "syntax-error", 13, "')' is expected, not the end"),
        ("payload.paid payload.paid", "syntax-error", 13, "'payload' is not expected here"),
        ('type == "abc', "syntax-error", 8, "a string that does not end"),
        ('type == "a\\q"', "syntax-error", 10, "'\\\\q' in a string is no character"),
        ('type == "\\ud800"', "syntax-error", 9, "'\\\\ud800' in a string is no character"),
        ("payload.in == 1", "syntax-error", 8, "the name of a field is expected, not 'in'"),
        ("for == 1", "syntax-error", 0, "'for' is a reserved word"),
        ("has(payload)", "syntax-error", 0, "has() takes a field, as in has(payload.field)"),
        ("payload.items.all(true, true)", "syntax-error", 14,
         "all takes the name of a variable and an expression"),
        ("1 == 9223372036854775808", "syntax-error", 5, "the integer does not fit into 64 bits"),
        ("1.0 == 1e400", "syntax-error", 7, "the number is too large"),
        ("true ||\n  amount > 5", "unknown-name", 10,
         "there is no 'amount'; there are type, source, key, metadata, payload"),
        ("payload.items.all(type, true)", "invalid-name", 14, "'type' is a variable already"),
        ("type.matches('a+')", "not-supported", 5,
         "regular expressions are not supported; there are contains, startsWith and endsWith"),
        ("payload.n == 1u", "not-supported", 13, "unsigned integers are not supported"),
        ("type == b'a'", "not-supported", 8, "bytes are not supported"),
        ("payload == {}", "not-supported", 11, "map literals are not supported"),
        ("type", "invalid-type", 0, "must come to true or false, not to string"),
        ("type > 1", "invalid-type", 5, "there is no string > int"),
        ("!size(payload)", "invalid-type", 1, "must come to true or false, not to int"),
        ("payload.paid && 1", "invalid-type", 16, "must come to true or false, not to int"),
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused_with_its_place(
    text: str, code: str, offset: int, message: str
) -> None:
    with pytest.raises(ExpressionFault) as refused:
        compile_filter(text)
    fault = refused.value
    assert (fault.code, fault.offset, fault.message) == (code, offset, message)


def test_an_unknown_function_is_refused_with_those_that_there_are() -> None:
    for text in ("lower(type) == 'x'", "type.lower() == 'x'", "size() == 1", "size(type, 1) == 1"):
        with pytest.raises(ExpressionFault, match="there are has") as refused:
            compile_filter(text)
        assert refused.value.code == "unknown-function"


def test_the_bounds_of_a_filter() -> None:
    within = [
        "true" + " " * (LENGTH_LIMIT - 4),
        " || ".join(["true"] * (NODE_LIMIT // 2)),
        "(" * (DEPTH_LIMIT - 1) + "true" + ")" * (DEPTH_LIMIT - 1),
        "!" * (DEPTH_LIMIT - 1) + "true",
        "1" + "+1" * (DEPTH_LIMIT - 1) + " > 0",
        "payload" + ".a" * (DEPTH_LIMIT - 1),
        "[1].all(x, " * MACRO_DEPTH_LIMIT + "true" + ")" * MACRO_DEPTH_LIMIT,
    ]
    beyond = {
        "true" + " " * (LENGTH_LIMIT - 3): "invalid-length",
        " || ".join(["true"] * (NODE_LIMIT // 2 + 1)): "too-complex",
        "(" * DEPTH_LIMIT + "true" + ")" * DEPTH_LIMIT: "too-deep",
        "!" * DEPTH_LIMIT + "true": "too-deep",
        "1" + "+1" * DEPTH_LIMIT + " > 0": "too-deep",
        "payload" + ".a" * DEPTH_LIMIT: "too-deep",
        "true ? true : " * DEPTH_LIMIT + "true": "too-deep",
        "[" * (DEPTH_LIMIT + 1) + "]" * (DEPTH_LIMIT + 1): "too-deep",
        "[1].all(x, " * (MACRO_DEPTH_LIMIT + 1)
        + "true"
        + ")" * (MACRO_DEPTH_LIMIT + 1): "too-deep",
    }
    for text in within:
        compile_filter(text)
    for text, code in beyond.items():
        with pytest.raises(ExpressionFault) as refused:
            compile_filter(text)
        assert refused.value.code == code, text[:40]


COSTLY = [
    "payload.a.all(x, x == x)",
    "payload.a.exists(x, payload.a.exists(y, payload.a.exists(z, z == 7)))",
    "payload.a.exists(x, 7 in payload.a)",
    "payload.a.all(x, payload.a == payload.a)",
    "payload.a.map(x, payload.a + payload.a).size() == 1",
    'payload.a.map(x, payload.s + "s").size() == 1',
    'payload.a.exists(x, payload.s.contains("y"))',
    "payload.a.exists(x, payload.missing || payload.missing)",
    "payload.a.filter(x, payload.s == payload.s + '').size() == 1",
    " && ".join(["payload.a == payload.a"] * 3),
]


@pytest.mark.parametrize("text", COSTLY)
def test_a_filter_that_would_take_too_long_ends_without_an_answer(text: str) -> None:
    about = event({"a": [1] * 100_000, "s": "s" * 300_000})
    assert judged(text, about) == Judgement(
        matches=False,
        fault_code="too-costly",
        fault=f"it takes more than {STEP_LIMIT} steps for this event",
    )
    assert not judged(f"({text}) || true", about).matches, "nothing makes up for the time"


def test_a_large_payload_of_usual_things_is_within_the_budget() -> None:
    line = {"sku": "a-fairly-usual-number", "quantity": 2, "price": 19.5}
    about = event({"lines": [line] * 15_000})
    assert len(msgspec.json.encode({"lines": [line] * 15_000})) > 800_000
    assert judged("payload.lines.exists(l, l.quantity > 5 || l.sku == 'x')", about) == Judgement(
        matches=False
    )


@given(st.text(max_size=40) | st.text("payload.a()[]{}!&|=<>+-*/%?:,'\"\\0179e \n", max_size=60))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    try:
        compiled = compile_filter(text)
    except ExpressionFault as fault:
        place = fault.offset
    else:
        compiled.judge(event())
        place = 0
    assert 0 <= place <= len(text)


def test_the_parts_of_a_filter_are_judged_one_by_one_as_they_were_written() -> None:
    text = 'payload.amount>100 && (payload.paid || false) &&\n  payload.missing == 1 && type == "x"'
    assert [
        (part.expression, part.judgement.matches, part.judgement.fault_code)
        for part in compile_filter(text).parts(event())
    ] == [
        ("payload.amount>100", True, None),
        ("(payload.paid || false)", True, None),
        ("payload.missing == 1", False, "missing-field"),
        ('type == "x"', False, None),
    ]


@pytest.mark.parametrize(
    "text", ["payload.paid", "payload.paid || false && true", "true ? true && false : true && true"]
)
def test_a_filter_without_an_outermost_and_is_one_part(text: str) -> None:
    (part,) = compile_filter(f" {text}\n").parts(event())
    assert part.expression == text
    assert part.judgement == judged(text)


def test_a_stored_filter_that_this_version_cannot_compile_matches_nothing() -> None:
    kept = stored_filter("payload.n == 1u")
    assert kept.judge(event()) == Judgement(
        matches=False, fault_code="not-supported", fault="unsigned integers are not supported"
    )
    assert [part.expression for part in kept.parts(event())] == ["payload.n == 1u"]
