"""Taking values out of a payload by their paths, and leaving every other byte as it came.

A path is a JSON Pointer (RFC 6901) into the payload in which a part that is ``*`` stands for every
member of an object and every element of an array; a member that is called ``*`` is written ``~2``. A
path that leads nowhere in a payload is no fault. Of members that are there twice, both go.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from triggers_api.errors import MalformedValue

REDACTED: Final = b'"[redacted]"'
"""What stands in the place of a value."""

PATHS_LIMIT: Final = 50
PATH_LENGTH: Final = 512
PARTS_LIMIT: Final = 64

_ANY: Final = "*"
_ESCAPE: Final = re.compile(r"~(.?)", re.DOTALL)
_MEANT: Final = {"0": "~", "1": "/", "2": "*"}
_INDEX: Final = re.compile(r"0|[1-9][0-9]*", re.ASCII)

_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_STRING: Final = re.compile(rb'"(?:[^"\\]+|\\.)*+"', re.DOTALL)
_SCALAR: Final = re.compile(rb'[^ \t\r\n,\]}"]+')
_NEST: Final = re.compile(rb'"(?:[^"\\]+|\\.)*+"|[\[\]{}]', re.DOTALL)
_BACKSLASH: Final = 0x5C

_text = msgspec.json.Decoder(str).decode


class _Branch:
    """What is to go below one place: under names, under any name, or the place itself."""

    __slots__ = ("any", "named", "whole")

    def __init__(self) -> None:
        self.named: dict[str, _Branch] = {}
        self.any: _Branch | None = None
        self.whole = False


_Wanted = tuple[_Branch, ...]


class Redactor:
    """Some paths, ready to be taken out of payloads."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Read the paths.

        Raises:
            MalformedValue: one of them is not a path.
        """
        self._root = _Branch()
        self._last: list[tuple[str, ...]] = []
        for path in paths:
            parts = parse_path(path)
            self._add(parts)
            literal = tuple(
                part for part in parts if part is not None and not _INDEX.fullmatch(part)
            )
            self._last.append(literal)
        # Each path needs all of its names to be in a payload, and without a backslash they are in it as
        # they are: most payloads that hold none of them are told by a search for bytes.
        self._needles = [tuple(_quoted(name) for name in names) for names in self._last]

    def _add(self, parts: Sequence[str | None]) -> None:
        branch = self._root
        for part in parts:
            if part is None:
                if branch.any is None:
                    branch.any = _Branch()
                branch = branch.any
            else:
                branch = branch.named.setdefault(part, _Branch())
        branch.whole = True

    def redact(self, payload: bytes) -> bytes:
        """The payload without the values; itself when it has none of them.

        Args:
            payload: the bytes of one JSON value.
        """
        if b"\\" not in payload and not any(
            all(needle in payload for needle in needles) for needles in self._needles
        ):
            return payload
        spans: list[tuple[int, int]] = []
        at = _after_space(payload, 0)
        _walk(payload, at, (self._root,), spans)
        if not spans:
            return payload
        parts: list[bytes] = []
        end = 0
        for begin, after in spans:
            parts += (payload[end:begin], REDACTED)
            end = after
        return b"".join((*parts, payload[end:]))


def parse_path(path: str) -> tuple[str | None, ...]:
    """The parts of a path; ``None`` is any member or element. The empty path is the whole payload.

    Raises:
        MalformedValue: it is not a path, or too long.
    """
    if len(path) > PATH_LENGTH:
        raise MalformedValue(f"longer than {PATH_LENGTH} characters")
    if not path:
        return ()
    if not path.startswith("/"):
        raise MalformedValue("not a JSON Pointer: it must be empty or begin with /")
    parts = path[1:].split("/")
    if len(parts) > PARTS_LIMIT:
        raise MalformedValue(f"of more than {PARTS_LIMIT} parts")
    return tuple(None if part == _ANY else _name(part) for part in parts)


def _name(part: str) -> str:
    def meant(escape: re.Match[str]) -> str:
        try:
            return _MEANT[escape[1]]
        except KeyError:
            raise MalformedValue("not a JSON Pointer: ~ must be written ~0") from None

    return _ESCAPE.sub(meant, part)


def _quoted(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _after_space(body: bytes, at: int) -> int:
    found = _SPACE.match(body, at)
    assert found is not None
    return found.end()


def _end(body: bytes, at: int) -> int:
    """Where the value that begins at a place ends."""
    first = body[at : at + 1]
    if first == b'"':
        return _string_end(body, at)
    if first not in (b"{", b"["):
        found = _SCALAR.match(body, at)
        assert found is not None
        return found.end()
    depth = 0
    for token in _NEST.finditer(body, at):
        kind = token[0]
        if kind in (b"{", b"["):
            depth += 1
        elif kind in (b"}", b"]"):
            depth -= 1
            if not depth:
                return token.end()
    raise AssertionError("not a JSON value")


def _string_end(body: bytes, at: int) -> int:
    found = _STRING.match(body, at)
    assert found is not None
    return found.end()


def _walk(body: bytes, at: int, wanted: _Wanted, spans: list[tuple[int, int]]) -> int:
    """Find what goes of the value that begins at a place; returns where the value ends."""
    if any(branch.whole for branch in wanted):
        end = _end(body, at)
        spans.append((at, end))
        return end
    first = body[at : at + 1]
    if first == b"{":
        return _walk_object(body, at, wanted, spans)
    if first == b"[":
        return _walk_array(body, at, wanted, spans)
    return _end(body, at)


def _walk_object(body: bytes, at: int, wanted: _Wanted, spans: list[tuple[int, int]]) -> int:
    at = _after_space(body, at + 1)
    while body[at : at + 1] != b"}":
        end = _string_end(body, at)
        raw = body[at:end]
        name = _text(raw) if _BACKSLASH in raw else raw[1:-1].decode()
        at = _after_space(body, _after_space(body, end) + 1)
        at = _member(body, at, wanted, name, spans)
    return at + 1


def _walk_array(body: bytes, at: int, wanted: _Wanted, spans: list[tuple[int, int]]) -> int:
    at = _after_space(body, at + 1)
    place = 0
    while body[at : at + 1] != b"]":
        at = _member(body, at, wanted, str(place), spans)
        place += 1
    return at + 1


def _member(body: bytes, at: int, wanted: _Wanted, name: str, spans: list[tuple[int, int]]) -> int:
    """Go past one value and the comma behind it."""
    below = [found for branch in wanted if (found := branch.named.get(name)) is not None]
    below += [branch.any for branch in wanted if branch.any is not None]
    at = _walk(body, at, tuple(below), spans) if below else _end(body, at)
    at = _after_space(body, at)
    if body[at : at + 1] == b",":
        return _after_space(body, at + 1)
    return at
