"""What a search means: words, values at paths, and that terms only narrow down."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.search import (
    INDEXED_BYTES,
    TERMS_LIMIT,
    Asked,
    Condition,
    asked_terms,
    canonical_number,
    matches_content,
    matches_payload,
    needles,
    own_terms,
    payload_terms,
    payload_words,
    words_of,
)


def holds(payload: bytes | str, words: str = "", **conditions: str) -> bool:
    """Whether a payload matches; ``__`` in a name is a dot, and a ``_`` before a number is left out."""
    encoded = payload if isinstance(payload, bytes) else payload.encode()
    asked = Asked(
        words=words_of(words),
        conditions=tuple(
            Condition(name.replace("__", ".").replace("_", ""), value)
            for name, value in conditions.items()
        ),
    )
    found = matches_payload(asked, encoded)
    if found:
        terms = payload_terms(encoded)
        assert terms is None or terms.issuperset(asked_terms(asked).of_payload), (
            "not narrowed down to"
        )
        text, other = needles(asked)
        assert (
            text is None
            or text.encode() in encoded.lower()
            or (other is not None and other.encode() in encoded.lower())
            or b"\\" in encoded
            or not encoded.isascii()
        )
    return found


# ── words ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ('{"order_id":42,"to":"bob@example.com"}', "42 order id to bob example com"),
        ('["don\'t","snake_case","a-b"]', "don t snake case a b"),
        ("true", "true"),
        ("[null,-1.5e3]", "null 1 5e3"),
        ('"caf\\u00e9 \\ud83d\\ude00 \\ud835\\udc00x"', "café ax"),
        ('"line\\nfeed\\ttab\\\\back\\/slash\\"quote\\u0000nul"', "line feed tab back slash quote nul"),
        ('"STRASSE Straße"', "strasse"),
        ('"\uff26\uff35LL \ufb01ne \u212aelvin"', "full fine kelvin"),
        ('"東京タワー 2"', "東 京 タ ワ ー 2"),
        ('"e\u0301te"', "éte"),
        ('""', ""),
        ('"!?"', ""),
    ],
)  # fmt: skip
def test_the_words_of_a_payload_are_its_letters_and_digits(payload: str, words: str) -> None:
    assert payload_words(payload.encode()) == set(words.split())


def test_a_search_has_the_words_of_its_text_each_once() -> None:
    assert words_of('Bob "BOB" -bob* AND (x:y) NEAR/2') == ("bob", "and", "x", "y", "near", "2")
    assert words_of("'; DROP TABLE events;--") == ("drop", "table", "events")
    assert words_of("  ... % ") == ()


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title, str.swapcase])
@pytest.mark.parametrize("word", ["garden", "ünïcode", "straße", "ДОМ", "ὈΔΥΣΣΕΎΣ", "ﬃx"])
def test_upper_and_lower_case_are_the_same(word: str, case: Any) -> None:  # noqa: ANN401
    assert holds(json.dumps({"a": word}), case(word))
    assert holds(json.dumps({"a": case(word)}, ensure_ascii=False), word)


def test_every_word_must_be_there_as_a_whole() -> None:
    assert holds('{"a":"green garden hose"}', "hose GREEN")
    assert not holds('{"a":"green garden hose"}', "green house")
    assert not holds('{"a":"green garden hose"}', "gard")
    assert holds('{"a":"' + "x" * 5000 + '"}', "x" * 5000)
    assert not holds('{"a":"' + "x" * 5000 + '"}', "x" * 4999)


@given(st.text(), st.text())
def test_whatever_text_is_in_a_payload_is_found_by_its_words(text: str, key: str) -> None:
    for ascii_only in (True, False):
        try:
            payload = json.dumps({key: [text]}, ensure_ascii=ascii_only).encode()
        except UnicodeEncodeError:
            return  # a lone surrogate, which no event has
        # Word by word: what stands beside a letter may change how it is composed.
        for word in payload_words(payload):
            assert holds(payload, word)


# ── values ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("spelling", ["5", "5.0", "50e-1", "0.5E+1", '"5"', "5e0", "5.000e-0"])
def test_a_number_is_found_however_it_is_written_and_as_a_string(spelling: str) -> None:
    assert holds('{"a":' + spelling + "}", a="5")


def test_a_string_is_found_by_its_exact_text_alone() -> None:
    assert holds('{"a":"5.0"}', a="5.0")
    assert not holds('{"a":"5.0"}', a="5")
    assert not holds('{"a":"Bob"}', a="bob")
    assert not holds('{"a":"Bob Miller"}', a="Bob")
    assert holds('{"a":"\\"5\\""}', a='"5"')
    assert not holds('{"a":5}', a='"5"')
    assert holds('{"a":""}', a="")
    assert holds('{"a":"\\u0000\\ud83d\\ude00"}', a="\0😀")


@pytest.mark.parametrize("literal", ["true", "false", "null"])
def test_literals_are_found_by_their_names(literal: str) -> None:
    assert holds('{"a":' + literal + "}", a=literal)
    assert holds('{"a":"' + literal + '"}', a=literal)
    assert not holds('{"a":' + literal + "}", a=literal.upper())
    assert not holds('{"a":' + literal + "}", a="1")


@pytest.mark.parametrize(
    ("one", "other"),
    [("12345", "1.2345E4"), ("12345", "123.45e2"), ("12.5", "0.00125e4"),
     ("1e3", "1000"), ("-0", "0"), ("0e99", "0.0"), ("10", "1e1"), ("1.50", "15e-1"),
     ("123456789012345678901234567890", "1.2345678901234567890123456789e29")],
)  # fmt: skip
def test_numbers_are_compared_exactly(one: str, other: str) -> None:
    assert canonical_number(one) == canonical_number(other)
    assert holds('{"a":' + one + "}", a=other)
    assert holds('{"a":' + other + "}", a=one)


def test_numbers_that_differ_anywhere_differ() -> None:
    big = "9" * 400
    assert holds('{"a":' + big + "}", a=big)
    assert not holds('{"a":' + big + "}", a=big[:-1] + "8")
    assert not holds('{"a":0.1}', a="0.10000000000000001")
    assert not holds('{"a":-5}', a="5")
    assert holds('{"a":1e' + "9" * 5000 + "}", a="1E" + "9" * 5000)
    assert not holds('{"a":1e' + "9" * 5000 + "}", a="1e" + "9" * 4999)
    for text in ("+5", "05", "5.", ".5", "0x5", "\u0665", " 5", "5 ", "NaN", "Infinity", "5_0"):
        assert canonical_number(text) is None
        assert not holds('{"a":5}', a=text)


def test_paths_go_into_objects_and_arrays() -> None:
    payload = '{"items":[{"sku":"a"},{"sku":"b","tags":["x",["y"]]}],"0":{"1":7},"":{"":1}}'
    assert holds(payload, items__0__sku="a")
    assert holds(payload, items__1__tags__1__0="y")
    assert holds(payload, _0__1="7")
    assert not holds(payload, items__0__sku="b")
    assert not holds(payload, items__00__sku="a")
    assert not holds(payload, items__2__sku="a")
    assert not holds(payload, items__sku="a")
    assert not holds(payload, items__0="a")
    assert not holds(payload, items="a")
    assert holds("[[1,2],3]", _0__1="2")
    asked = Asked(conditions=(Condition(".", "1"),))
    assert matches_payload(asked, payload.encode())


def test_a_dot_in_a_key_is_one_more_dot() -> None:
    for payload in ('{"a.b":{"c":1}}', '{"a":{"b.c":1}}', '{"a":{"b":{"c":1}}}', '{"a.b.c":1}'):
        assert holds(payload, a__b__c="1")
    assert not holds('{"a.b":1}', a="1")


def test_of_keys_that_are_there_twice_each_counts() -> None:
    assert holds('{"a":1,"a":2}', a="1")
    assert holds('{"a":1,"a":2}', a="2")
    assert holds('{"a":{"b":1},"a":{"b":2},"a":3}', a__b="1")


def test_every_condition_must_hold() -> None:
    assert holds('{"a":1,"b":"x"}', "x", a="1", b="x")
    assert not holds('{"a":1,"b":"x"}', "x", a="1", b="y")
    assert not holds('{"a":1,"b":"x"}', "y", a="1", b="x")


@pytest.mark.parametrize("payload", ["5", '"5"', "null", "[]", "{}", "[[]]"])
def test_a_payload_without_the_path_does_not_match(payload: str) -> None:
    assert not holds(payload, a="5")


def leaves(value: Any, path: str = "") -> list[tuple[str, str]]:  # noqa: ANN401 - a JSON value
    if isinstance(value, dict):
        return [each for key, inner in value.items() for each in leaves(inner, f"{path}.{key}")]
    if isinstance(value, list):
        return [each for at, inner in enumerate(value) for each in leaves(inner, f"{path}.{at}")]
    text = value if isinstance(value, str) else json.dumps(value)
    return [(path[1:], text)] if path else []


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet='ab.0\\"é', max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(alphabet="ab.0é", max_size=3), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(JSON_VALUES, st.booleans())
def test_every_value_is_found_at_its_path_and_by_its_terms(value: Any, spaced: bool) -> None:  # noqa: ANN401, FBT001
    payload = json.dumps(value, separators=None if spaced else (",", ":")).encode()
    terms = payload_terms(payload)
    assert terms is not None
    for path, text in leaves(value):
        asked = Asked(conditions=(Condition(path, text),))
        assert matches_payload(asked, payload)
        assert terms.issuperset(asked_terms(asked).of_payload)


# ── an event's own fields ─────────────────────────────────────────────────────────────────────────

TYPES = st.text(alphabet="ab._:-/", min_size=1, max_size=8)


@given(TYPES, st.lists(TYPES | st.just(""), min_size=1, max_size=4))
def test_a_type_that_matches_has_the_terms_of_the_pattern(name: str, pieces: list[str]) -> None:
    pattern = "*".join(pieces)
    asked = Asked(type=pattern)
    if matches_content(asked, name, None, None):
        terms = own_terms(name, None, None, operational=False)
        assert terms.issuperset(asked_terms(asked).own)


def test_patterns_are_narrowed_down_by_their_whole_parts() -> None:
    assert len(asked_terms(Asked(type="order.created")).own) == 1
    assert len(asked_terms(Asked(type="order.*")).own) == 1
    assert len(asked_terms(Asked(type="order.*.added")).own) == 2
    assert asked_terms(Asked(type="ord*")).own == ()
    assert asked_terms(Asked(type="*")).own == ()


def test_source_and_key_are_compared_exactly() -> None:
    asked = Asked(source="shop", key="k")
    assert matches_content(asked, "a", "shop", "k")
    assert not matches_content(asked, "a", "Shop", "k")
    assert not matches_content(asked, "a", "shop", None)
    terms = own_terms("a", "shop", "k", operational=True)
    assert terms.issuperset(asked_terms(asked).own)
    assert terms.issuperset(asked_terms(Asked(operational=True)).own)


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────


def test_a_payload_with_too_much_in_it_has_no_terms_and_is_still_matched() -> None:
    many = json.dumps([f"w{n}" for n in range(TERMS_LIMIT)]).encode()
    assert payload_terms(many) is None
    assert matches_payload(Asked(words=("w77",), conditions=(Condition("77", "w77"),)), many)
    long = b'{"a":"' + b"x" * INDEXED_BYTES + b'"}'
    assert payload_terms(long) is None
    assert matches_payload(Asked(words=("x" * INDEXED_BYTES,)), long)


def test_a_search_for_many_words_is_narrowed_down_by_some_and_checked_for_all() -> None:
    words = tuple(f"w{n}" for n in range(100))
    asked = Asked(words=words)
    assert len(asked_terms(asked).of_payload) == 8
    payload = json.dumps(" ".join(words)).encode()
    assert matches_payload(asked, payload)
    assert not matches_payload(asked, payload.replace(b"w55", b"w"))


def test_paths_of_deep_payloads_cost_no_more_than_their_bytes() -> None:
    value: Any = 1
    for _ in range(60):
        value = {"k" * 200: value, "l" * 200: 2}
    payload = json.dumps(value).encode()
    terms = payload_terms(payload)
    assert terms is not None
    path = ".".join(["k" * 200] * 60)
    asked = Asked(conditions=(Condition(path, "1"),))
    assert matches_payload(asked, payload)
    assert terms.issuperset(asked_terms(asked).of_payload)
