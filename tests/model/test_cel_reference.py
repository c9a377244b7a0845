"""Filters mean what Google's own runtime of the language says they mean, wherever we accept them."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from triggers_api.model.cel.syntax import ExpressionFault
from triggers_api.model.filter import EventView, compile_filter

cel: Any = pytest.importorskip("cel_expr_python.cel")

ENVIRONMENT: Final = cel.NewEnv(
    variables=dict.fromkeys(("source", "key", "metadata", "payload"), cel.Type.DYN)
)
PAYLOAD: Final[dict[str, Any]] = {
    "n": 3,
    "m": -2,
    "zero": 0,
    "big": 9223372036854775807,
    "d": 1.5,
    "whole": 3.0,
    "s": "order",
    "t": "Ordér\n",
    "b": True,
    "no": None,
    "list": [1, 2, 2.0, "x"],
    "items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 3}, {"sku": "c"}],
    "empty": [],
    "map": {"a": 1, "b": {"c": [True]}},
}
METADATA: Final = {"env": "prod"}
EVENT: Final = EventView(
    "order.created",
    source="shop",
    metadata=json.dumps(METADATA).encode(),
    payload=json.dumps(PAYLOAD).encode(),
)

atoms = st.sampled_from(
    [
        *(f"payload.{name}" for name in (*PAYLOAD, "missing")),
        'payload["s"]', "payload.list[1]", "payload.list[9]", "payload.items[0].sku", "payload.map.b.c",
        "has(payload.n)", "has(payload.missing)", "has(payload.s.x)", "has(payload.map.a)",
        "source", "key", "metadata.env", "metadata.nothing", "true", "false", "null",
        "0", "1", "-7", "2.5", "1e3", "0x1F", '"order"', "'x'", 'r"\\n"', '"\\n\\u00e9"', "[1, 2]", "[]",
    ]
)  # fmt: skip


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(
        ["==", "!=", "<", "<=", ">", ">=", "&&", "||", "+", "-", "*", "/", "%", "in"]
    )
    return st.one_of(
        st.builds(lambda a, op, b: f"({a} {op} {b})", inner, operators, inner),
        st.builds(lambda a, op, b: f"{a} {op} {b}", inner, operators, inner),
        st.builds(lambda op, a: f"{op}({a})", st.sampled_from(["!", "-", "size", "int"]), inner),
        st.builds(lambda a, b, c: f"({a} ? {b} : {c})", inner, inner, inner),
        st.builds(
            lambda a, test, b: f"({a}).{test}({b})",
            inner,
            st.sampled_from(["contains", "startsWith", "endsWith"]),
            inner,
        ),
        st.builds(
            lambda a, macro, test: f"({a}).{macro}(v, {test})",
            st.sampled_from(["payload.list", "payload.items", "payload.map", "payload.empty", "[1, 2]"])
            | inner,
            st.sampled_from(["all", "exists", "exists_one", "filter", "map"]),
            st.sampled_from(["v", "v == 2", "v.qty > 1", "v.qty > 5", "has(v.qty)", "v > payload.n"])
            | inner,
        ),
        st.builds(lambda a, b: f"[{a}, {b}]", inner, inner),
        st.builds(lambda a, b: f"({a})[{b}]", inner, inner),
    )  # fmt: skip


numbers = st.recursive(
    st.sampled_from(
        ["payload.n", "payload.m", "payload.zero", "payload.big", "0", "1", "-7", "size(payload.s)",
         "size(payload.list)", "payload.items.filter(v, has(v.qty)).size()", "payload.items[0].qty",
         "int(payload.d)", "int('12')"]
    ),
    lambda inner: st.builds(
        lambda a, op, b: f"({a} {op} {b})", inner, st.sampled_from("+-*/%"), inner
    ),
    max_leaves=4,
)  # fmt: skip
texts = st.sampled_from(
    [
        "payload.s",
        "payload.t",
        "source",
        "metadata.env",
        "'order'",
        "'o' + 'r'",
        "string(payload.n)",
        "''",
    ]
)
either = st.one_of(
    numbers,
    texts,
    st.sampled_from(["payload.d", "payload.whole", "payload.no", "payload.list", "2.0"]),
)
truths = st.recursive(
    st.one_of(
        st.builds(
            lambda a, op, b: f"{a} {op} {b}",
            numbers,
            st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
            numbers | st.sampled_from(["payload.d", "payload.whole", "1.0"]),
        ),
        st.builds(lambda a, op, b: f"{a} {op} {b}", texts, st.sampled_from(["==", "<", ">="]), texts),
        st.builds(
            lambda a, test, b: f"({a}).{test}({b})",
            texts,
            st.sampled_from(["contains", "startsWith", "endsWith"]),
            texts,
        ),
        st.builds(lambda a, b: f"{a} == {b}", either, either),
        st.builds(lambda a: f"{a} in payload.list", either),
        st.sampled_from(
            ["has(payload.n)", "has(payload.missing)", "'a' in payload.map", "payload.b",
             "payload.missing", "payload.map.b == payload.map.b", "payload.items == payload.items"]
        ),
        st.builds(
            lambda over, macro, test: f"{over}.{macro}(v, {test})",
            st.sampled_from(["payload.items", "payload.items.filter(v, has(v.qty))", "payload.empty"]),
            st.sampled_from(["all", "exists", "exists_one"]),
            st.sampled_from(["v.qty > 1", "v.qty > 5", "has(v.qty)", "v.sku in ['a']", "v.sku < 'z'"]),
        ),
    ),
    lambda inner: st.one_of(
        st.builds(lambda a, op, b: f"({a} {op} {b})", inner, st.sampled_from(["&&", "||"]), inner),
        st.builds(lambda a, op, b: f"{a} {op} {b}", inner, st.sampled_from(["&&", "||"]), inner),
        st.builds(lambda a: f"!({a})", inner),
        st.builds(lambda a, b, c: f"({a} ? {b} : {c})", inner, inner, inner),
    ),
    max_leaves=5,
)  # fmt: skip

expressions = st.recursive(atoms, grown, max_leaves=7) | truths


def theirs(text: str) -> bool | None:
    """True, false, or ``None`` for no answer."""
    try:
        value = ENVIRONMENT.compile(text, disable_check=True).eval(
            data={"source": "shop", "key": None, "metadata": METADATA, "payload": PAYLOAD}
        )
        plain = value.plain_value()
    except RuntimeError:
        return None
    return plain if isinstance(plain, bool) else None


def ours(text: str) -> bool | None:
    judgement = compile_filter(text).judge(EVENT)
    return None if judgement.fault is not None else judgement.matches


@settings(max_examples=400)
@given(expressions)
@example("payload.n == payload.whole && 3.0 in [payload.n] && [payload.whole] == [3]")
@example("-7 / 2 == -3 && -7 % 2 == -1 && 7 % -2 == 1")
@example("payload.big + 1 > 0")
@example("payload.map in payload.map")
def test_what_is_accepted_means_the_same(text: str) -> None:
    refused: str | None = None
    try:
        mine = ours(text)
    except ExpressionFault as fault:
        # A part of it can have no value, for any event: told when it is made, as their checker does.
        refused = fault.code
    else:
        assert mine is theirs(text)
    assert refused in {None, "invalid-type"}
