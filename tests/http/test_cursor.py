"""Cursors and receipts as texts."""

from __future__ import annotations

import pytest

from triggers_api.errors import InvalidCursor
from triggers_api.http.cursor import Cursors


def test_none_begins_as_an_option_of_a_command_does() -> None:
    written = [Cursors(b"secret").write(f"{number}", "list") for number in range(500)]
    assert len(set(written)) == 500
    assert all(text[0].isalnum() for text in written)


def test_what_was_written_is_read_and_nothing_else() -> None:
    cursors = Cursors(b"secret")
    text = cursors.write("place", "list")
    assert cursors.read(text, "list") == "place"
    for other in (text[1:], f"B{text[1:]}", f"-{text[1:]}", f"{text}=", ""):
        with pytest.raises(InvalidCursor):
            cursors.read(other, "list")
