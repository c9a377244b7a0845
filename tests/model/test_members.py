"""Renaming members in the bytes of an object, with the standard library's decoder as the judge."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from triggers_api.errors import MalformedValue
from triggers_api.model.members import members_of, renamed

NAMES: Final = {"id": "payload_id", "type": "payload_type", "payload_id": "payload_payload_id"}

CHARACTERS: Final = 'idu069\\"/{}[]:, \n\0\u00e9\u2028\U0001f600'
"""Those that something could take for a name's or a bracket's, and one of each length in UTF-8."""

space = st.text(" \t\n\r", max_size=2)


def _spelled(text: str, escaped: set[int]) -> str:
    """A JSON string in which the characters at some places are escaped, and those that must be."""
    inside = "".join(
        "".join(f"\\u{unit:04X}" for unit in _utf16(character))
        if place in escaped
        else json.dumps(character, ensure_ascii=False)[1:-1]
        for place, character in enumerate(text)
    )
    return f'"{inside}"'


def _utf16(character: str) -> list[int]:
    units = character.encode("utf-16-be")
    return [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]


@st.composite
def strings(draw: st.DrawFn) -> tuple[str, str]:
    """A string and one of its spellings in JSON."""
    text = draw(st.sampled_from([*NAMES, "ids", "i", ""]) | st.text(CHARACTERS, max_size=6))
    escaped = draw(st.sets(st.integers(0, max(len(text) - 1, 0))))
    return text, _spelled(text, escaped)


def _containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    @st.composite
    def arrays(draw: st.DrawFn) -> str:
        items = draw(st.lists(inner, max_size=4))
        return f"[{draw(space)}{f',{draw(space)}'.join(items)}{draw(space)}]"

    @st.composite
    def inner_objects(draw: st.DrawFn) -> str:
        members = [
            f"{name}{draw(space)}:{draw(space)}{draw(inner)}"
            for _, name in draw(st.lists(strings(), max_size=4))
        ]
        return f"{{{draw(space)}{','.join(members)}{draw(space)}}}"

    return arrays() | inner_objects()


values = st.recursive(
    st.sampled_from(["null", "true", "false", "-0", "1e400", "0.10", "9" * 25])
    | strings().map(lambda spelled: spelled[1]),
    _containers,
    max_leaves=12,
)


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, str]:
    """An object, and the same one with its members renamed by whoever wrote it."""
    before, after = [], []
    for name, spelled in draw(st.lists(strings(), max_size=6)):
        rest = f"{draw(space)}:{draw(space)}{draw(values)}{draw(space)}"
        lead = draw(space)
        before.append(f"{lead}{spelled}{rest}")
        after.append(f"{lead}{json.dumps(NAMES[name]) if name in NAMES else spelled}{rest}")
    empty = draw(space) if not before else ""
    first, last = draw(space), draw(space)
    return tuple(f"{first}{{{empty}{','.join(each)}}}{last}" for each in (before, after))  # type: ignore[return-value]


def pairs(document: bytes) -> Any:  # noqa: ANN401 - JSON
    return json.loads(document, object_pairs_hook=list)


@given(objects())
def test_an_objects_own_members_are_renamed_and_every_other_byte_stays(
    written: tuple[str, str],
) -> None:
    before, after = (text.encode() for text in written)
    assert renamed(before, NAMES) == after
    assert pairs(after) == [(NAMES.get(name, name), value) for name, value in pairs(before)]


@given(objects())
def test_its_members_are_those_that_a_decoder_finds(written: tuple[str, str]) -> None:
    document = written[0].encode()
    found = members_of(document)
    assert found is not None
    assert list(found) == list(json.loads(document))
    assert {name: pairs(bytes(value)) for name, value in found.items()} == dict(pairs(document))


@given(values)
@example('"{"')
@example(" [] ")
def test_what_is_no_object_has_no_members(value: str) -> None:
    is_object = value.lstrip().startswith("{")
    assert (members_of(value.encode()) is not None) == is_object


@pytest.mark.parametrize(
    "document",
    [
        b"", b" ", b"{", b"{}}", b"{} {}", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{,}", b'{"a":1 "b":2}',
        b"{a:1}", b'{"a":[}', b'{"a":01}', b'{"a":"\n"}', b'{"a\\x":1}', b"[1", b"nul",
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused(document: bytes) -> None:
    with pytest.raises(MalformedValue, match="not a JSON document"):
        members_of(document)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (rb'{"id":"id"}', rb'{"payload_id":"id"}'),
        (rb'{"a":"id","id" : 1}', rb'{"a":"id","payload_id" : 1}'),
        (rb'{"id":1,"id":2}', rb'{"payload_id":1,"payload_id":2}'),
        (rb'{"\u0069d":1,"i\u0064":2}', rb'{"payload_id":1,"payload_id":2}'),
        (rb'{"\\u0069d":1}', rb'{"\\u0069d":1}'),
        (rb'{"\"id":1,"id\\":2,"\\\"":3}', rb'{"\"id":1,"id\\":2,"\\\"":3}'),
        (rb'{"a":{"id":1},"b":[{"id":2}]}', rb'{"a":{"id":1},"b":[{"id":2}]}'),
        (rb'{"a":"{","id":1,"b":"}"}', rb'{"a":"{","payload_id":1,"b":"}"}'),
        (rb'{"a":"\\","id":"\",\"type\":"}', rb'{"a":"\\","payload_id":"\",\"type\":"}'),
        (rb'{"ID":1,"id ":2}', rb'{"ID":1,"id ":2}'),
    ],
)
def test_names_are_told_from_what_looks_like_them(before: bytes, after: bytes) -> None:
    assert renamed(before, NAMES) == after
