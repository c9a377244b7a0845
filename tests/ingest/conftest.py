"""What the tests of reading bodies share."""

import pytest
from hypothesis import strategies as st

_SPACE = st.text(" \t\r\n", max_size=2)
_NUMBERS = st.from_regex(
    r"\A-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?\Z", fullmatch=True
)
_CHARACTERS = st.characters(
    exclude_categories=["Cs"], exclude_characters='"\\', min_codepoint=0x20, codec="utf-8"
)
_ESCAPES = st.sampled_from(
    [
        r"\"", r"\\", r"\/", r"\b", r"\f", r"\n", r"\r", r"\t", r"\u0000", r"\u00e9", r"\uD83D\uDE00",
        r"\\u", r"\\\"", "[", "]", "{", "}",
    ]
)  # fmt: skip
_STRINGS = st.lists(_CHARACTERS | _ESCAPES, max_size=8).map(lambda parts: f'"{"".join(parts)}"')


def _spaced(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("{}{}{}".format, _SPACE, texts, _SPACE)


def _nested(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    inside = _spaced(values)
    members = st.builds("{}:{}".format, _spaced(_STRINGS | st.just('"twice"')), inside)
    empty = _SPACE.map(lambda space: f"[{space}]") | _SPACE.map(lambda space: f"{{{space}}}")
    return (
        st.lists(inside, min_size=1, max_size=4).map(lambda items: f"[{','.join(items)}]")
        | st.lists(members, min_size=1, max_size=4).map(lambda items: f"{{{','.join(items)}}}")
        | empty
    )


_FLAT = _NUMBERS | _STRINGS | st.sampled_from(["null", "true", "false"])
_JSON = st.recursive(_FLAT, _nested, max_leaves=25)


@pytest.fixture(scope="session")
def json_texts() -> st.SearchStrategy[str]:
    """JSON as others may write it: any spacing and escapes, big numbers, members named twice."""
    return _JSON


@pytest.fixture(scope="session")
def flat_json_texts() -> st.SearchStrategy[str]:
    """Numbers, strings and the three words: what nests nothing."""
    return _FLAT
