"""The members of a JSON object, found in its bytes, so that one can be renamed and all else stays.

Decoding and encoding again would lose what payloads keep: large integers, duplicate names, escapes,
white space.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from triggers_api.errors import MalformedValue

_CANDIDATE: Final = 1
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE: Final = bytes(
    byte for byte in range(256) if byte not in b"[]{}" and byte != _CANDIDATE
)

_by_name = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_value = msgspec.json.Decoder(msgspec.Raw).decode
_text = msgspec.json.Decoder(str).decode


def members_of(document: bytes) -> dict[str, msgspec.Raw] | None:
    """The members of a JSON object, each value as its bytes; of equal names the last one.

    Returns:
        ``None`` when the document is another JSON value.

    Raises:
        MalformedValue: it is not one JSON document.
    """
    try:
        if document.lstrip(b" \t\n\r").startswith(b"{"):
            return _by_name(document)
        _value(document)
    except msgspec.DecodeError as error:
        raise MalformedValue(f"not a JSON document: {error}") from None
    return None


def renamed(document: bytes, names: Mapping[str, str]) -> bytes:
    r"""A JSON object with members renamed, every other byte as it was.

    Only its own members, not those of objects inside it; each of several that have one name; however a
    name is spelled (``"\u0069d"`` is ``id``).

    Like ``ingest/document.py`` it works on whole byte strings: a loop over the members in Python would
    hold up everybody else for most of a second where a payload is made of nothing else.

    Args:
        document: one JSON object, which :func:`members_of` has accepted.
        names: what names become; made of characters that JSON escapes in no other way than ``\u``.
    """
    # Without backslashes that stand before a quote or a backslash, quotes are where strings begin and
    # end. Bytes that JSON does not have stand for them meanwhile.
    parts = document.replace(b"\\\\", b"\x01").replace(b'\\"', b"\x02").split(b'"')
    spellings = {name.encode(): msgspec.json.encode(new)[1:-1] for name, new in names.items()}
    marked = parts.copy()
    marked[1::2] = [
        b"\x01" if string in spellings or b"\\u" in string else b"" for string in parts[1::2]
    ]
    own = _of_depth_one(b"".join(marked).translate(_BRACKETS, _NOT_STRUCTURE))
    places = [place for place in range(1, len(parts), 2) if marked[place]]
    for place, is_own in zip(places, own, strict=True):
        if is_own and parts[place + 1].lstrip(b" \t\n\r").startswith(b":"):
            spelled = parts[place]
            name = _text(b'"%b"' % _restored(spelled)).encode() if b"\\u" in spelled else spelled
            parts[place] = spellings.get(name, spelled)
    return _restored(b'"'.join(parts))


def _restored(text: bytes) -> bytes:
    return text.replace(b"\x02", b'\\"').replace(b"\x01", b"\\\\")


def _of_depth_one(structure: bytes) -> list[bool]:
    """Of each candidate, in order, whether it stands in the outermost brackets alone."""
    before = -1
    while before != len(structure):
        before = len(structure)
        structure = structure.replace(b"[]", b"")
    found = []
    depth = 0
    for byte in structure:
        if byte == _CANDIDATE:
            found.append(depth == 1)
        else:
            depth += 1 if byte == ord("[") else -1
    return found
