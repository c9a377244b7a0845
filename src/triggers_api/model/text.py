"""Rules for texts that callers name things with."""

import re
from typing import Final

TYPE: Final = r"[A-Za-z0-9_.:/-]"
TYPE_LENGTH: Final = 255
DEDUP_ID_LENGTH: Final = 512
LABEL_LENGTH: Final = 255
METADATA_ENTRIES: Final = 64
METADATA_KEY_LENGTH: Final = 128
METADATA_VALUE_LENGTH: Final = 1024

_TYPE = re.compile(rf"{TYPE}{{1,{TYPE_LENGTH}}}", re.ASCII)
_TYPE_PATTERN = re.compile(rf"(?:{TYPE}|\*){{1,{TYPE_LENGTH}}}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def is_event_type(text: str) -> bool:
    """1 to 255 of ``A-Z a-z 0-9 _ . : / -``."""
    return _TYPE.fullmatch(text) is not None


def is_type_pattern(text: str) -> bool:
    """An event type in which ``*`` may stand for any run of characters, dots included."""
    return _TYPE_PATTERN.fullmatch(text) is not None


def has_control(text: str) -> bool:
    """Whether the text holds a control character or a line separator."""
    return _CONTROL.search(text) is not None


def glob_matches(pattern: str, text: str) -> bool:
    """Whether ``text`` is ``pattern`` with every ``*`` replaced by some run of characters.

    Takes the leftmost place for each piece between stars, which is enough for this grammar and
    keeps the work linear where a regular expression could be made to backtrack.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    *middle, last = rest
    if not text.startswith(first) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return text.endswith(last)
