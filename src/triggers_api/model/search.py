"""What a search for events means: the words of a payload, the values in it, and when an event matches.

The indexes of the engines only narrow down where to look. What they find, and what is not indexed yet,
is judged here, so that every engine answers the same.

**Words** are runs of letters and digits in the payload's text: in keys, strings, numbers and literals.
Upper and lower case are the same (Unicode's case folding and NFKC). Chinese and Japanese, which are
written without spaces, are taken sign by sign.

**Paths** are keys, and indexes into arrays from 0, joined by dots; a dot in a key is one more dot. A
value is found by its text: ``5`` is the number, however it is written (``5.0``, ``50e-1``), and the
string ``"5"``. Of keys that are there twice each counts.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from unicodedata import normalize
from zlib import crc32

import msgspec

from triggers_api.model.text import glob_matches

WORDS_LIMIT: Final = 100
"""Words that one search may ask for."""
CONDITIONS_LIMIT: Final = 10
"""Values that one search may ask for."""
PATH_LENGTH: Final = 512
VALUE_LENGTH: Final = 1024
TERMS_LIMIT: Final = 4096
"""Values and words of a payload that are indexed; one with more is looked at each time."""
INDEXED_BYTES: Final = 256 << 10
"""A longer payload is looked at each time, too."""
_TERMS_ASKED: Final = 8
"""Terms by which a search is narrowed down. The others are checked on what these leave."""

_UNSPACED: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD: Final = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_ASCII_WORD: Final = re.compile(rb"[a-z0-9]+")
_ESCAPE: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\."
)
_NUMBER: Final = re.compile(
    r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?)0*([0-9]+))?", re.ASCII
)
_INDEX: Final = re.compile(r"(0|[1-9][0-9]{0,8})(?:\.|$)", re.ASCII)
_PLAIN: Final = re.compile(r"[ !#-\[\]-~]+", re.ASCII)
_EXPONENT: Final = re.compile(rb"e(?<=[0-9]e)[-+]?[0-9]+[\s,\]}]")
"""The end of a number with an exponent, in lower case."""
_PLACES: Final = 30
_FEW_DIGITS: Final = 3
_SEPARATOR: Final = re.compile(r"[_.:/-]")
_EXPONENT_DIGITS: Final = 15
_MARKED: Final = {True: "true", False: "false", None: "null"}


class Condition(msgspec.Struct, frozen=True):
    """A value that the payload must hold at a path."""

    path: str
    value: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a search asks of the content of an event; ``type`` is a pattern.

    ``words`` are as :func:`words_of` gives them.
    """

    type: str | None = None
    source: str | None = None
    key: str | None = None
    words: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    operational: bool = False

    @property
    def of_payload(self) -> bool:
        """Whether the payload must be looked into."""
        return bool(self.words or self.conditions)


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, each once, in their order."""
    return tuple(dict.fromkeys(_WORD.findall(_folded(text))))


def payload_words(payload: bytes) -> set[str]:
    """The words of a JSON text, escapes resolved."""
    if payload.isascii() and b"\\" not in payload:
        return {word.decode() for word in _ASCII_WORD.findall(payload.lower())}
    text = payload.decode()
    if "\\" in text:
        text = _ESCAPE.sub(_unescaped, text)
    return set(_WORD.findall(_folded(text)))


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    return normalize("NFKC", normalize("NFKC", text).casefold())


def _unescaped(match: re.Match[str]) -> str:
    found = match[0]
    if found[1] != "u":
        # Of the short ones none is a letter, but b, f, n, r and t, which stand for spaces.
        return found[1] if found[1] in '"\\/' else " "
    if len(found) == len("\\u0000"):
        return chr(int(found[2:6], 16))
    high, low = int(found[2:6], 16), int(found[8:], 16)
    return chr(0x10000 + ((high & 0x3FF) << 10 | low & 0x3FF))


def matches_content(asked: Asked, event_type: str, source: str | None, key: str | None) -> bool:
    """Whether an event's own fields are what is asked for."""
    return (
        (asked.type is None or glob_matches(asked.type, event_type))
        and (asked.source is None or asked.source == source)
        and (asked.key is None or asked.key == key)
    )


class Matcher:
    """Whether a payload holds every word and every value that is asked for.

    Most payloads that do not are told by a look at their bytes.
    """

    def __init__(self, asked: Asked) -> None:
        self.needed = asked.of_payload
        """Whether anything is asked for; if not, every payload will do."""
        self._words = asked.words
        self._conditions = [
            (each.path, each.value, canonical_number(each.value)) for each in asked.conditions
        ]
        self._texts = [each.encode() for each in _plain_texts(asked)]
        self._numbers = [
            [each.encode() for each in (_positional(number), value.lower())]
            for _, value, number in self._conditions
            if number is not None
        ]

    def __call__(self, payload: bytes) -> bool:
        """Look into a payload."""
        if not self._may_hold(payload):
            return False
        if self._conditions:
            root = _parsed(payload)
            if not all(_holds(root, *each) for each in self._conditions):
                return False
        return not self._words or payload_words(payload).issuperset(self._words)

    def _may_hold(self, payload: bytes) -> bool:
        if b"\\" in payload:
            return True
        lower = payload.lower()
        if payload.isascii() and not all(each in lower for each in self._texts):
            return False
        return all(
            spellings[0] in lower or spellings[1] in lower or _EXPONENT.search(lower)
            for spellings in self._numbers
        )


def matches_payload(asked: Asked, payload: bytes) -> bool:
    """Whether a payload holds every word and every value that is asked for."""
    return Matcher(asked)(payload)


# ── a first look ──────────────────────────────────────────────────────────────────────────────────


def needles(asked: Asked) -> tuple[str | None, str | None]:
    """Two texts in lower case: a payload in plain ASCII without escapes holds one, if it matches.

    By them the engines leave out others before anybody looks into them. The second one is ``None`` where
    the first must be there, and both are where nothing can be said.
    """
    found: list[tuple[str, str | None]] = [(each, None) for each in _plain_texts(asked)]
    for each in asked.conditions:
        digits = (canonical_number(each.value) or "").lstrip("-").partition("e")[0]
        if len(digits) >= _FEW_DIGITS and digits.isdecimal():
            # However it is written, at most a point comes between, and the first half is there in one
            # piece or the last one is.
            half = (len(digits) + 1) // 2
            found.append((digits[:half], digits[-half:]))
    return max(found, key=lambda each: len(each[0]), default=(None, None))


def _plain_texts(asked: Asked) -> list[str]:
    return [word for word in asked.words if word.isascii()] + [
        each.value.lower()
        for each in asked.conditions
        if _PLAIN.fullmatch(each.value) and canonical_number(each.value) is None
    ]


def _positional(number: str) -> str:
    """How a number is written without an exponent; of a very large or small one no more than a part."""
    digits, _, exponent = number.lstrip("-").partition("e")
    power = int(exponent or 0) if len(exponent) <= _EXPONENT_DIGITS else 0
    if not -_PLACES <= power <= _PLACES:
        return digits[:1]
    if power >= 0:
        return digits + "0" * power
    digits = digits.rjust(1 - power, "0")
    return f"{digits[:power]}.{digits[power:]}"


# ── values ────────────────────────────────────────────────────────────────────────────────────────


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def _parsed(payload: bytes) -> Any:  # noqa: ANN401 - a JSON value: objects are tuples of pairs
    return json.loads(
        payload.decode(), object_pairs_hook=tuple, parse_int=_Number, parse_float=_Number
    )


def _holds(root: Any, path: str, value: str, number: str | None) -> bool:  # noqa: ANN401 - a JSON value
    for leaf in _leaves_at(root, path):
        if isinstance(leaf, _Number):
            if number is not None and canonical_number(leaf) == number:
                return True
        elif (leaf if isinstance(leaf, str) else _MARKED[leaf]) == value:
            return True
    return False


def _leaves_at(root: Any, path: str) -> Iterator[Any]:  # noqa: ANN401 - a JSON value
    """Strings, numbers and literals there; several where keys are there twice, or have dots."""
    # A value is come to by one way only, so this is never more than a walk over the whole.
    open_: list[tuple[Any, int]] = [(root, 0)]
    while open_:
        value, at = open_.pop()
        inner: Iterable[tuple[Any, int]] = ()
        if isinstance(value, tuple):
            inner = [(each, at + len(key) + 1) for key, each in value if _goes_by(path, at, key)]
        elif isinstance(value, list):
            found = _INDEX.match(path, at)
            if found is not None and int(found[1]) < len(value):
                inner = [(value[int(found[1])], at + len(found[1]) + 1)]
        for each, behind in inner:
            if behind <= len(path):
                open_.append((each, behind))
            elif not isinstance(each, tuple | list):
                yield each


def _goes_by(path: str, at: int, key: str) -> bool:
    end = at + len(key)
    return path.startswith(key, at) and (end == len(path) or path[end] == ".")


def canonical_number(text: str) -> str | None:
    """One spelling for all that are the same number; ``None`` for what is no JSON number."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    sign, whole, fraction, exponent_sign, exponent = found.groups(default="")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return "0"
    if len(exponent) > _EXPONENT_DIGITS:
        return text.lower()
    significant = digits.rstrip("0")
    power = int(exponent or 0) * (-1 if exponent_sign == "-" else 1)
    power += len(digits) - len(significant) - len(fraction)
    return f"{sign}{significant}e{power}"


# ── terms: what indexes hold ──────────────────────────────────────────────────────────────────────

_WORD_TERM: Final = crc32(b"w")
_PATH_TERM: Final = crc32(b"p")
_TYPE_TERM: Final = crc32(b"t")
_TYPE_START_TERM: Final = crc32(b"<")
_TYPE_END_TERM: Final = crc32(b">")
_SOURCE_TERM: Final = crc32(b"s")
_KEY_TERM: Final = crc32(b"k")
_OPERATIONAL_TERM: Final = crc32(b"o")


class Terms(msgspec.Struct, frozen=True):
    """By which terms a search is narrowed down: of an event's own fields, and of its payload."""

    own: tuple[int, ...]
    of_payload: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.own or self.of_payload)


def asked_terms(asked: Asked) -> Terms:
    """What an event that matches has, all of it: 32-bit numbers that stand for texts.

    Two texts may have the same number, so what has the number need not match.
    """
    own = [crc32(b"", _OPERATIONAL_TERM)] if asked.operational else []
    if asked.type is not None:
        own += _pattern_terms(asked.type)
    if asked.source is not None:
        own.append(crc32(asked.source.encode(), _SOURCE_TERM))
    if asked.key is not None:
        own.append(crc32(asked.key.encode(), _KEY_TERM))
    found = [
        crc32(_value_key(each.value), crc32(b"." + each.path.encode(), _PATH_TERM))
        for each in asked.conditions
    ]
    # The longer a word, the fewer have it.
    found += [crc32(word.encode(), _WORD_TERM) for word in sorted(asked.words, key=len)[::-1]]
    return Terms(tuple(own), tuple(found[:_TERMS_ASKED]))


def own_terms(
    event_type: str, source: str | None, key: str | None, *, operational: bool
) -> set[int]:
    """The terms of an event's own fields."""
    name = event_type.encode()
    found = {crc32(name, _TYPE_TERM)}
    for separator in _SEPARATOR.finditer(event_type):
        found.add(crc32(name[: separator.end()], _TYPE_START_TERM))
        found.add(crc32(name[separator.start() :], _TYPE_END_TERM))
    if source is not None:
        found.add(crc32(source.encode(), _SOURCE_TERM))
    if key is not None:
        found.add(crc32(key.encode(), _KEY_TERM))
    if operational:
        found.add(crc32(b"", _OPERATIONAL_TERM))
    return found


def payload_terms(payload: bytes) -> set[int] | None:
    """The terms of a payload; ``None`` where it has too many of them, or is too long."""
    if len(payload) > INDEXED_BYTES:
        return None
    found = _value_terms(_parsed(payload))
    if found is None:
        return None
    found.update([crc32(word.encode(), _WORD_TERM) for word in payload_words(payload)])
    return found if len(found) <= TERMS_LIMIT else None


def _pattern_terms(pattern: str) -> list[int]:
    """A pattern's own beginning and end, as far as they are whole parts of a type."""
    if "*" not in pattern:
        return [crc32(pattern.encode(), _TYPE_TERM)]
    found = []
    start, end = pattern[: pattern.index("*")], pattern[pattern.rindex("*") + 1 :]
    starts = [each.end() for each in _SEPARATOR.finditer(start)]
    ends = [each.start() for each in _SEPARATOR.finditer(end)]
    if starts:
        found.append(crc32(start[: starts[-1]].encode(), _TYPE_START_TERM))
    if ends:
        found.append(crc32(end[ends[0] :].encode(), _TYPE_END_TERM))
    return found


def _value_terms(root: Any) -> set[int] | None:  # noqa: ANN401 - a JSON value
    found: set[int] = set()
    # The checksum of a path goes on from that of its beginning: no path is ever written out.
    open_: list[tuple[Any, int]] = [(root, _PATH_TERM)]
    for value, path in open_:
        pairs: Sequence[tuple[str, Any]]
        if isinstance(value, tuple):
            pairs = value
        elif isinstance(value, list):
            pairs = [(str(index), each) for index, each in enumerate(value)]
        else:
            continue  # a payload that is a single value has no path
        for key, each in pairs:
            inner = crc32(b"." + key.encode(), path)
            if isinstance(each, tuple | list):
                open_.append((each, inner))
            else:
                text = each if isinstance(each, str) else _MARKED[each]
                found.add(crc32(_value_key(text), inner))
        if len(found) > TERMS_LIMIT:
            return None
    return found


def _value_key(text: str) -> bytes:
    """One for every text and number that may be the same."""
    if text[:1] in _STARTS_NUMBERS:
        return b"\0" + (canonical_number(text) or text).encode()
    return b"\0" + text.encode()


_STARTS_NUMBERS: Final = frozenset("-0123456789")
