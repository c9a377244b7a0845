"""Checks of a JSON body before it is decoded: encoding and nesting."""

from typing import Final

import msgspec

from triggers_api.errors import InvalidEncoding, InvalidJson, TooDeep

DEPTH_LIMIT: Final = 64

_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode

_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def check_document(body: bytes, *, levels_around: int = 0) -> None:
    """Refuse what no decoder should see.

    Args:
        body: the document.
        levels_around: levels that do not count, because they are the envelope's.

    Raises:
        InvalidEncoding: not UTF-8, or it begins with a byte order mark.
        TooDeep: nested deeper than 64 levels.
    """
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise InvalidEncoding(f"the body is not valid UTF-8 at byte {error.start}") from None
        if body.startswith(b"\xef\xbb\xbf"):
            raise InvalidEncoding("the body begins with a byte order mark")
    limit = DEPTH_LIMIT + levels_around
    if body.count(b"[") + body.count(b"{") > limit and depth_exceeds(body, limit):
        raise TooDeep


def check_json(body: bytes) -> None:
    """Refuse what is not one JSON document; the fault that a decoder meets first may be another.

    Raises:
        InvalidJson: with the decoder's words.
    """
    try:
        _decode_raw(body)
    except msgspec.DecodeError as error:
        raise InvalidJson(f"the body is not one JSON document: {error}") from None


def depth_exceeds(body: bytes, limit: int) -> bool:
    """Whether a JSON document is nested deeper than ``limit`` levels.

    Works on whole byte strings, since a loop over the bytes in Python would cost more than all the
    rest of accepting them: what is outside of strings is reduced to brackets, and each round takes
    the innermost pairs away. Of what is not JSON it may say anything; the decoder refuses that.
    """
    outside = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    brackets = b"".join(outside).translate(None, _NOT_BRACKETS).translate(_BRACKETS)
    if b"[" * (limit + 1) in brackets:
        return True
    for _ in range(limit):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)
