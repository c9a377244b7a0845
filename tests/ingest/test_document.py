"""What is checked of a body before it is decoded: its encoding and its nesting."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers_api.errors import InvalidEncoding, TooDeep
from triggers_api.ingest.document import DEPTH_LIMIT, check_document, depth_exceeds


def depth_of(value: Any) -> int:  # noqa: ANN401 - any JSON
    """Levels of nesting; a member of an object comes as a pair, so that none is lost to its twin."""
    if isinstance(value, list):
        return 1 + max((depth_of(item) for item in value), default=0)
    if isinstance(value, tuple):
        return 1 + max((depth_of(item) for _, item in value), default=0)
    return 0


def parsed(text: str) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(text, object_pairs_hook=tuple)


@given(st.data())
def test_depth_is_what_a_recursive_walk_finds(
    json_texts: st.SearchStrategy[str], data: st.DataObject
) -> None:
    text = data.draw(json_texts)
    depth = depth_of(parsed(text))
    assert [depth_exceeds(text.encode(), limit) for limit in range(depth + 2)] == [
        depth > limit for limit in range(depth + 2)
    ]


@settings(max_examples=40)
@given(st.lists(st.booleans(), min_size=50, max_size=80), st.data())
def test_64_levels_are_taken_and_65_refused(
    flat_json_texts: st.SearchStrategy[str], kinds: list[bool], data: st.DataObject
) -> None:
    text = data.draw(flat_json_texts)
    for is_array in kinds:
        text = f"[1, {text}, 2]" if is_array else f'{{"a": 1, "]": {text}, "b": []}}'
    depth = depth_of(parsed(text))
    if depth > DEPTH_LIMIT:
        with pytest.raises(TooDeep):
            check_document(text.encode())
    else:
        check_document(text.encode())


@pytest.mark.parametrize("around", [0, 1, 2])
def test_the_levels_of_the_envelope_do_not_count(around: int) -> None:
    levels = DEPTH_LIMIT + around
    check_document(b"[" * levels + b"]" * levels, levels_around=around)
    with pytest.raises(TooDeep):
        check_document(b"[" * (levels + 1) + b"]" * (levels + 1), levels_around=around)


@pytest.mark.parametrize(
    "text",
    [
        r'["[[[["]',
        r'{"[[[": "]]]}}}{{{"}',
        r'["\"[[[["]',
        r'["\\", "[[["]',
        r'["\\\"[[[["]',
        r'["\\\\"]',
        r'["\\\\\"[[", "]]", "\\"]',
        '["\u00e9[[[["]',
    ],
)
def test_brackets_inside_of_strings_are_text(text: str) -> None:
    assert depth_of(parsed(text)) == 1
    assert not depth_exceeds(text.encode(), 1)
    assert depth_exceeds(text.encode(), 0)


def test_many_levels_side_by_side_are_not_deep() -> None:
    check_document(b"[" + b",".join([b"[[[]]]"] * 10_000) + b"]")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[{" * 50_000,
    ],
)
def test_a_hundred_thousand_levels_are_refused(body: bytes) -> None:
    with pytest.raises(TooDeep):
        check_document(body)


@pytest.mark.parametrize(
    "unit",
    [
        b"[" * 63 + b"]" * 63,
        b"[]" * 63,
        b'["' + b"\\\\" * 30 + b'"]',
        b'"[",',
        b"[[]" * 20 + b"]" * 20,
    ],
)
def test_no_document_of_a_mebibyte_takes_long_to_check(unit: bytes) -> None:
    body = b"[" + b",".join([unit] * ((1 << 20) // (len(unit) + 1))) + b"]"
    before = time.process_time()
    check_document(body, levels_around=1)
    assert time.process_time() - before < 0.5


@pytest.mark.parametrize(
    "body",
    [
        b'"\xff"',
        b'"\xc3"',
        b'"\xc0\xaf"',  # overlong
        b'"\xed\xa0\x80"',  # a surrogate in UTF-8 (CESU)
        b'"\xf5\x80\x80\x80"',  # beyond U+10FFFF
        b'"\x80"',
        '"é"'.encode("latin-1"),
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-32"),
        '{"é": 1}'.encode("utf-16-le"),
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_not_utf_8_without_a_mark_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidEncoding):
        check_document(body)


@given(st.binary(max_size=200))
def test_exactly_utf_8_without_a_mark_passes(body: bytes) -> None:
    try:
        body.decode("utf-8", "strict")
        fits = not body.startswith(b"\xef\xbb\xbf")
    except UnicodeDecodeError:
        fits = False
    try:
        check_document(body)
    except InvalidEncoding:
        assert not fits
    except TooDeep:
        assert fits
    else:
        assert fits
