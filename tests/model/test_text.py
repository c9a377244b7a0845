"""Rules for the texts that callers name things with."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.text import glob_matches, has_control, is_event_type, is_type_pattern


def oracle(pattern: str, text: str) -> bool:
    """What a star means, as a regular expression says it: right, but slow on purpose-made input."""
    expression = ".*".join(re.escape(piece) for piece in pattern.split("*"))
    return re.fullmatch(expression, text, re.DOTALL) is not None


@given(st.text("ab.*", max_size=12), st.text("ab.*", max_size=16))
def test_a_glob_matches_as_the_regular_expression_does(pattern: str, text: str) -> None:
    assert glob_matches(pattern, text) is oracle(pattern, text)


@given(st.text("a*", max_size=8), st.text("a", max_size=10))
def test_a_glob_of_one_letter_matches_as_the_regular_expression_does(
    pattern: str, text: str
) -> None:
    assert glob_matches(pattern, text) is oracle(pattern, text)


@given(st.lists(st.text("abc.", max_size=4), min_size=1, max_size=5), st.data())
def test_a_text_made_from_a_pattern_matches_it(pieces: list[str], data: st.DataObject) -> None:
    runs = st.text("abc.", max_size=4)
    text = pieces[0] + "".join(data.draw(runs) + piece for piece in pieces[1:])
    assert glob_matches("*".join(pieces), text)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("*", "", True),
        ("*", "order.created", True),
        ("**", "order.created", True),
        ("order.*", "order.created", True),
        ("order.*", "order.item.added", True),  # dots included
        ("order.*", "order.", True),
        ("order.*", "order", False),
        ("*.created", "order.created", True),
        ("*.created", "created", False),
        ("order.*.added", "order.item.added", True),
        ("order.*.added", "order.added", False),
        ("a*a", "a", False),  # ends may not overlap
        ("ab*ba", "aba", False),
        ("a*b*a", "aba", True),
        ("order.created", "order.created", True),
        ("order.created", "order.createdx", False),
        ("order.created", "Order.created", False),
        ("order?created", "order.created", False),  # nothing but the star is special
        ("order.[a-z]*", "order.created", False),
        ("order.created", "order_created", False),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_what_a_star_stands_for(pattern: str, text: str, *, matches: bool) -> None:
    assert glob_matches(pattern, text) is matches


class Counting(str):
    """A text that counts the characters looked at by the searches made in it."""

    __slots__ = ("looked_at",)
    looked_at: int

    def find(self, piece: str, start: int = 0, end: int | None = None, /) -> int:  # type: ignore[override]
        stop = len(self) if end is None else end
        found = super().find(piece, start, stop)
        self.looked_at += (stop if found < 0 else found + len(piece)) - start
        return found


@pytest.mark.parametrize("size", [250, 2500, 25_000])
def test_matching_looks_at_each_character_once_where_backtracking_would_not_end(size: int) -> None:
    text = Counting("a" * size)
    text.looked_at = 0
    assert not glob_matches("a*" * (size // 2) + "b", text)
    assert text.looked_at <= size
    text.looked_at = 0
    assert not glob_matches("a*" * (size // 2) + "b*a", text)
    assert text.looked_at <= 2 * size


@given(st.text(max_size=300) | st.text("aZ09_.:/-*", max_size=300))
def test_an_event_type_is_1_to_255_of_the_allowed_characters(text: str) -> None:
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/-")
    assert is_event_type(text) is (1 <= len(text) <= 255 and set(text) <= allowed)
    assert is_type_pattern(text) is (1 <= len(text) <= 255 and set(text) <= allowed | {"*"})


@pytest.mark.parametrize(
    "text",
    ["", "a" * 256, "a b", "a\n", "a*", "ordér", "а", "a١", "a\u200b", "a\x00", "a?"],  # noqa: RUF001
)
def test_look_alikes_and_invisible_characters_are_no_event_type(text: str) -> None:
    assert not is_event_type(text)


@pytest.mark.parametrize("text", ["a", "A-Z_0.9:/", "a..b", ".a", "a" * 255])
def test_event_types_may_be_written_as_paths_and_urns(text: str) -> None:
    assert is_event_type(text)


@pytest.mark.parametrize(
    "character",
    ["\x00", "\t", "\n", "\r", "\x1b", "\x1f", "\x7f", "\x80", "\x9f", "\u2028", "\u2029"],
)
def test_controls_and_line_separators_are_found(character: str) -> None:
    assert has_control(f"a{character}b")


@given(st.text(st.characters(exclude_categories=["Cc", "Zl", "Zp", "Cs"])))
def test_ordinary_text_has_no_controls(text: str) -> None:
    assert not has_control(text)
