"""Many events in one body: taken apart here, so that each is read and refused alone."""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from itertools import count
from typing import Final

import msgspec

from triggers_api.errors import (
    InvalidEncoding,
    InvalidJson,
    Problem,
    TooDeep,
    TooLarge,
    ValidationFailed,
)
from triggers_api.ingest.document import DEPTH_LIMIT, check_json, depth_exceeds
from triggers_api.ingest.draft import BODY_LIMIT, Draft, EventRequest, checked, field_error

BATCH_LIMIT: Final = 5 << 20
"""Bytes of a batch's request body."""
ITEMS_LIMIT: Final = 1000

_BLANK: Final = b" \t\r"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_BACKSLASH: Final = rb"\\"
_PUT_AWAY: Final = b"\x00\x00"
"""Stands for an escaped backslash, that what follows it is not taken for an escape."""
_LONE: Final = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)
_HALF: Final = rb"\ud800"
_ESCAPE_LENGTH: Final = 6


_Items: Final = msgspec.defstruct(
    "_Items",
    [
        (f"item{number}", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET)
        for number in range(ITEMS_LIMIT + 1)
    ],
    array_like=True,
)
"""An array of which the first items are kept, up to one too many: a body may hold millions, fifty times
its bytes in memory."""

_Request: Final = msgspec.defstruct("_Request", [("events", _Items)], forbid_unknown_fields=True)

_object = msgspec.json.Decoder(_Request).decode
_array = msgspec.json.Decoder(_Items).decode

_Requests: Final = msgspec.defstruct(
    "_Requests",
    [
        (f"item{number}", EventRequest | msgspec.UnsetType, msgspec.UNSET)
        for number in range(ITEMS_LIMIT + 1)
    ],
    array_like=True,
)
_Batch: Final = msgspec.defstruct("_Batch", [("events", _Requests)], forbid_unknown_fields=True)

_object_of_requests = msgspec.json.Decoder(_Batch).decode
_array_of_requests = msgspec.json.Decoder(_Requests).decode


def items_of(body: bytes) -> list[bytes]:
    """The items of a JSON array, or of the array ``events`` of a JSON object, each as its bytes.

    Of too many there is one more than :data:`ITEMS_LIMIT`.

    Raises:
        InvalidJson: not exactly one JSON document.
        InvalidEncoding: it begins with a byte order mark.
        TooDeep: nested deeper than any item may be.
        ValidationFailed: it is neither, or the object has other fields.
    """
    if body.startswith(_BYTE_ORDER_MARK):
        raise InvalidEncoding("the body begins with a byte order mark")
    try:
        return _split(body)
    except msgspec.ValidationError as error:
        check_json(body)
        raise ValidationFailed("the batch is not acceptable", errors=[field_error(error)]) from None
    except msgspec.DecodeError as error:
        if b"\x00" not in body:
            with suppress(msgspec.DecodeError, RecursionError):
                return _split_around_surrogates(body)
        raise InvalidJson(f"the body is not one JSON document: {error}") from None
    except RecursionError:
        raise TooDeep from None


def _split(body: bytes) -> list[bytes]:
    found = getattr(_object(body), "events") if _is_object(body) else _array(body)  # noqa: B009
    items = msgspec.structs.astuple(found)
    return [bytes(item) for item in items if item is not msgspec.UNSET]


def _split_around_surrogates(body: bytes) -> list[bytes]:
    """The items of an array of which some hold surrogates without their other half.

    By its grammar (RFC 8259, 7) such an item is JSON: only it is to be refused, though the decoder takes
    it for the fault of the whole. So the halves are put away under a word while the array is split.
    """
    word = _word_not_in(body)
    aside = body.replace(_BACKSLASH, _PUT_AWAY)
    items = _split(_LONE.sub(word, aside).replace(_PUT_AWAY, _BACKSLASH))
    return [item.replace(word, _HALF) for item in items]


def _word_not_in(body: bytes) -> bytes:
    """As long as an escape. Made from the body, so that nobody can have written it into it."""
    salts = (b"%d" % number for number in count())
    words = (b64encode(blake2b(body, salt=salt).digest())[:_ESCAPE_LENGTH] for salt in salts)
    return next(word for word in words if word not in body)


def _is_object(body: bytes) -> bool:
    return body[:1] == b"{" or (body[:1] != b"[" and body.lstrip(b" \t\r\n").startswith(b"{"))


def requests_of(body: bytes) -> list[EventRequest]:
    """The items of :func:`items_of`, all decoded at once.

    None where one of them may not be an event, or the body is none of the usual ones: then each is to
    be read alone, which says what is wrong with which.
    """
    if len(body) > BODY_LIMIT:
        return []
    try:
        if not body.isascii():
            body.decode()
        if _is_object(body):
            found = getattr(_object_of_requests(body), "events")  # noqa: B009
        else:
            found = _array_of_requests(body)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return []
    return [item for item in msgspec.structs.astuple(found) if item is not msgspec.UNSET]


def quick_draft(request: EventRequest) -> Draft | None:
    """An event of :func:`requests_of`; ``None`` where it is to be read alone, because it is none."""
    try:
        draft = checked(request, None)
    except Problem:
        return None
    payload = draft.payload
    if payload.count(b"[") + payload.count(b"{") > DEPTH_LIMIT and depth_exceeds(
        payload, DEPTH_LIMIT
    ):
        return None
    return draft


class Lines:
    """The lines of newline-delimited JSON, as their bytes come in. Blank ones are left out."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []

    def feed(self, part: bytes) -> Iterator[bytes]:
        """The lines that a part of the body completes."""
        first, *others = part.split(b"\n")
        self._begun.append(first)
        if not others:
            return iter(())
        # Put together once: a long line may come in very many parts.
        complete = [b"".join(self._begun), *others[:-1]]
        self._begun = others[-1:]
        return (line for line in complete if line.strip(_BLANK))

    def end(self) -> Iterator[bytes]:
        """The last one, which needs no line feed."""
        last, self._begun = b"".join(self._begun), []
        if last.strip(_BLANK):
            yield last


def read_item(item: bytes, read: Callable[[bytes], Draft]) -> Draft | Problem:
    """One item as an event, or why it is none."""
    if len(item) > BODY_LIMIT:
        return TooLarge(f"an event may have at most {BODY_LIMIT} bytes")
    try:
        return read(item)
    except Problem as refused:
        return refused
