"""Many events in one body: taken apart here, so that each is read and refused alone."""

from collections.abc import Callable, Iterator
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
from triggers_api.ingest.document import check_json
from triggers_api.ingest.draft import BODY_LIMIT, Draft, field_error

BATCH_LIMIT: Final = 5 << 20
"""Bytes of a batch's request body."""
ITEMS_LIMIT: Final = 1000

_BLANK: Final = b" \t\r"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body that is an object."""

    events: list[msgspec.Raw]


_object = msgspec.json.Decoder(BatchRequest).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def items_of(body: bytes) -> list[bytes]:
    """The items of a JSON array, or of the array ``events`` of a JSON object, each as its bytes.

    Raises:
        InvalidJson: not exactly one JSON document.
        InvalidEncoding: it begins with a byte order mark.
        TooDeep: nested deeper than any item may be.
        ValidationFailed: it is neither, or the object has other fields.
    """
    if body.startswith(_BYTE_ORDER_MARK):
        raise InvalidEncoding("the body begins with a byte order mark")
    is_object = body.lstrip(b" \t\r\n").startswith(b"{")
    try:
        found = _object(body).events if is_object else _array(body)
    except msgspec.ValidationError as error:
        check_json(body)
        raise ValidationFailed("the batch is not acceptable", errors=[field_error(error)]) from None
    except msgspec.DecodeError as error:
        raise InvalidJson(f"the body is not one JSON document: {error}") from None
    except RecursionError:
        raise TooDeep from None
    return [bytes(item) for item in found]


class Lines:
    """The lines of newline-delimited JSON, as their bytes come in. Blank ones are left out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, part: bytes) -> Iterator[bytes]:
        """The lines that a part of the body completes."""
        *complete, self._rest = (self._rest + part).split(b"\n")
        return (line for line in complete if line.strip(_BLANK))

    def end(self) -> Iterator[bytes]:
        """The last one, which needs no line feed."""
        last, self._rest = self._rest, b""
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
