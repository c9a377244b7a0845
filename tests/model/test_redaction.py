"""Values taken out of a payload: they are gone, and every other byte is as it came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from triggers_api.errors import MalformedValue
from triggers_api.model.redaction import REDACTED, Redactor, parse_path


def redacted(payload: bytes, *paths: str) -> bytes:
    return Redactor(paths).redact(payload)


@pytest.mark.parametrize(
    ("path", "payload", "expected"),
    [
        ("/a", b'{"a":1,"b":2}', b'{"a":"[redacted]","b":2}'),
        (
            "/a/b",
            b'{"a": {"b" : [1, {"c":"}"}] , "c":1e2}}',
            b'{"a": {"b" : "[redacted]" , "c":1e2}}',
        ),
        ("/*/n", b'[{"n":1},{"n":"\\"]"},3]', b'[{"n":"[redacted]"},{"n":"[redacted]"},3]'),
        ("/a/*", b'{"a":{"x":1,"y":[]}}', b'{"a":{"x":"[redacted]","y":"[redacted]"}}'),
        ("/1", b"[1, 2 ,3]", b'[1, "[redacted]" ,3]'),
        ("/1", b'{"1":true}', b'{"1":"[redacted]"}'),
        ("/01", b"[1,2,3]", b"[1,2,3]"),
        ("", b" [1] ", b' "[redacted]" '),
        ("/a~1b/c~0d", b'{"a/b":{"c~d":1}}', b'{"a/b":{"c~d":"[redacted]"}}'),
        ("/~2", b'{"*":1,"a":2}', b'{"*":"[redacted]","a":2}'),
        ("/", b'{"":1}', b'{"":"[redacted]"}'),
        (
            "/\xe9",
            b'{"\\u00e9":1,"\xc3\xa9":2}',
            b'{"\\u00e9":"[redacted]","\xc3\xa9":"[redacted]"}',
        ),
        ("/*/*", b'[[[1]],{"a":{}},[],"x"]', b'[["[redacted]"],{"a":"[redacted]"},[],"x"]'),
    ],
)
def test_the_value_at_a_path_is_replaced(path: str, payload: bytes, expected: bytes) -> None:
    assert redacted(payload, path) == expected


def test_of_a_member_that_is_there_twice_both_values_go() -> None:
    assert redacted(b'{"a":1,"a":{"a":2}}', "/a") == b'{"a":"[redacted]","a":"[redacted]"}'


def test_of_two_paths_one_inside_the_other_the_outer_one_goes_as_a_whole() -> None:
    assert redacted(b'{"a":{"b":1,"c":2}}', "/a/b", "/a") == b'{"a":"[redacted]"}'


def test_a_path_may_be_named_and_any_at_once() -> None:
    expected = b'[{"a":"[redacted]","b":"[redacted]"},{"a":"[redacted]","b":2}]'
    assert redacted(b'[{"a":1,"b":1},{"a":2,"b":2}]', "/*/a", "/0/b") == expected


@pytest.mark.parametrize("payload", [b"null", b'"a"', b"[]", b"{}", b'{"b":{"a":1}}', b'[{"a":1}]'])
def test_a_path_that_leads_nowhere_changes_nothing(payload: bytes) -> None:
    assert redacted(payload, "/a", "/x/*/y") is payload


@pytest.mark.parametrize("path", ["a", "/~", "/~3", "/a~", "/" * 66, "/" + "a" * 512])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(MalformedValue):
        parse_path(path)


_names = st.text(alphabet='ab*~/"\\é\x00', max_size=3)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=20,
)


def written(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1").replace("*", "~2")


@st.composite
def paths_into(draw: st.DrawFn, value: Any) -> list[str | int | None]:  # noqa: ANN401 - JSON
    """A way into a value; ``None`` is any member or element."""
    path: list[str | int | None] = []
    while isinstance(value, dict | list) and value and draw(st.booleans()):
        place = draw(
            st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value)))
        )
        value = value[place]
        path.append(draw(st.sampled_from([place, place, None])))
    return path


def without(value: Any, path: list[str | int | None]) -> Any:  # noqa: ANN401 - JSON
    """What is to be left of a value, by the way of a decoded one."""
    if not path:
        return "[redacted]"
    place, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {
            name: without(each, rest) if place in (None, name) else each
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [
            without(each, rest) if place is None or str(place) == str(index) else each
            for index, each in enumerate(value)
        ]
    return value


@given(st.data())
def test_what_is_left_is_the_value_without_what_the_path_leads_to(data: st.DataObject) -> None:
    value = data.draw(_values)
    path = data.draw(paths_into(value))
    text = "".join(f"/{'*' if part is None else written(str(part))}" for part in path)
    indent = data.draw(st.sampled_from([None, 1]))
    payload = json.dumps(value, ensure_ascii=data.draw(st.booleans()), indent=indent).encode()
    # A member may be called as an element is numbered.
    assume(not any(isinstance(part, str) and part.isdecimal() for part in path))
    assert json.loads(redacted(payload, text)) == without(value, path)


@given(st.data())
def test_every_byte_outside_of_what_goes_is_as_it_came(data: st.DataObject) -> None:
    """Pieces of text around values that go: what is between them comes out unchanged."""
    count = data.draw(st.integers(1, 5))
    space = st.text(alphabet=" \t\r\n", max_size=3)
    kept, payload, expected = [], "[", "["
    for place in range(count):
        value = json.dumps(data.draw(_values))
        around = data.draw(space), data.draw(space)
        comma = "," if place else ""
        goes = data.draw(st.booleans())
        kept.append(goes)
        payload += f"{comma}{around[0]}{value}{around[1]}"
        expected += f"{comma}{around[0]}{REDACTED.decode() if goes else value}{around[1]}"
    paths = [f"/{place}" for place, goes in enumerate(kept) if goes]
    assert redacted(f"{payload}]".encode(), *paths) == f"{expected}]".encode()
