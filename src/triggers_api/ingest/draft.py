"""From the bytes of ``POST /api/events`` to an event that keeps every rule, or to a refusal."""

import re
from typing import Final

import msgspec

from triggers_api.errors import (
    FieldError,
    InvalidJson,
    MalformedValue,
    TooDeep,
    ValidationFailed,
)
from triggers_api.ingest.document import check_document, check_json
from triggers_api.model import text
from triggers_api.model.timestamp import Timestamp

BODY_LIMIT: Final = 1 << 20
"""Bytes of one event's request body."""

DEDUP_HEADER: Final = "Idempotency-Key"


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An event that was asked for and passed every check; ``payload`` is the received bytes.

    Attributes:
        aside: why it is kept aside; ``None`` if it is not.
        warnings: where its payload does not fit the schema of its type.
        trace: which one it belongs to, see :class:`~triggers_api.model.event.NewEvent`.
    """

    type: str
    payload: bytes
    dedup_id: str | None = None
    source: str | None = None
    key: str | None = None
    metadata: bytes | None = None
    occurred_at: Timestamp | None = None
    deliver_at: Timestamp | None = None
    aside: str | None = None
    warnings: tuple[FieldError, ...] = ()
    trace: bytes | None = None


class EventRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body as it is written, with the spellings of existing producers."""

    type: str | None = None
    payload: msgspec.Raw = msgspec.Raw(b"")
    dedup_id: str | None = None
    source: str | None = None
    key: str | None = None
    metadata: dict[str, str] | None = None
    occurred_at: str | None = None
    deliver_at: str | None = None
    event_type: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    event_id: str | None = None
    external_id: str | None = None


_decode = msgspec.json.Decoder(EventRequest).decode
_encode = msgspec.json.encode
_PLACE: Final = re.compile(r"^(.*) - at `(?:key in )?\$(.*)`$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"^Object contains unknown field `(.*)`$", re.DOTALL)
_BOUND: Final = re.compile(r"Expected `\w+`( of length)? ([<>])=? (\S+)")
_BEYOND: Final = "Number out of range"
_MISSING: Final = re.compile(r"^Object missing required field `(.*)`$")


def read_draft(body: bytes, header_dedup_id: str | None = None) -> Draft:
    """Decode and check one event.

    Args:
        body: at most :data:`BODY_LIMIT` bytes.
        header_dedup_id: what the header ``Idempotency-Key`` says, if it was sent.

    Raises:
        InvalidJson: not exactly one JSON document.
        InvalidEncoding: not UTF-8.
        TooDeep: nested deeper than 64 levels.
        ValidationFailed: a field is missing, unknown, of the wrong type or out of bounds.
    """
    check_document(body, levels_around=1)
    try:
        request = _decode(body)
    except msgspec.ValidationError as error:
        check_json(body)
        raise ValidationFailed("the event is not acceptable", errors=[field_error(error)]) from None
    except msgspec.DecodeError as error:
        raise InvalidJson(f"the body is not one JSON document: {error}") from None
    except RecursionError:
        raise TooDeep from None
    return checked(request, header_dedup_id)


def field_error(error: msgspec.ValidationError) -> FieldError:
    """Msgspec's message as a pointer, a code and words."""
    message, path = str(error), ""
    if place := _PLACE.match(message):
        message, path = place[1], place[2]
    # $.a[0].b → /a/0/b; the "..." that stands for a key of a map is left out.
    pointer = path.replace("[...]", "").replace("[", "/").replace("]", "").replace(".", "/")
    if unknown := _UNKNOWN.match(message):
        return FieldError(
            f"{pointer}/{pointer_part(unknown[1])}", "unknown-field", "there is no such field"
        )
    if missing := _MISSING.match(message):
        return FieldError(f"{pointer}/{pointer_part(missing[1])}", "missing-field", "is required")
    if bound := _BOUND.match(message):
        length, side, limit = bound.groups()
        words = f"must {'have' if length else 'be'} at {'most' if side == '<' else 'least'} {limit}"
        if length:
            return FieldError(pointer, "invalid-length", f"{words} characters")
        return FieldError(pointer, "out-of-range", words)
    if message == _BEYOND:
        return FieldError(pointer, "out-of-range", "is larger than numbers here can be")
    return FieldError(pointer, "invalid-type", message[:200])


def pointer_part(name: str) -> str:
    """A name as one part of a JSON Pointer (RFC 6901), cut to 64 characters."""
    return name[:64].replace("~", "~0").replace("/", "~1")


def checked(request: EventRequest, header_dedup_id: str | None) -> Draft:
    """An event that was decoded, once every rule of its fields holds.

    Raises:
        ValidationFailed: with every fault.
    """
    errors: list[FieldError] = []
    event_type = request.type
    if event_type is None or request.event_type is not None:
        event_type = _one_of(
            errors, "/type", (("type", event_type), ("event_type", request.event_type))
        )
    if event_type is None:
        errors.append(FieldError("/type", "missing-field", "is required"))
    elif not text.is_event_type(event_type):
        errors.append(
            FieldError(
                "/type",
                "invalid-event-type",
                "must be 1 to 255 characters of A-Z a-z 0-9 _ . : / -",
            )
        )
    payload = bytes(request.payload) or bytes(request.data)
    if not payload:
        errors.append(FieldError("/payload", "missing-field", "is required; null is allowed"))
    elif len(request.payload) and len(request.data) and bytes(request.data) != payload:
        errors.append(FieldError("/payload", "conflict", "payload and data differ"))
    dedup_id = request.dedup_id
    if (
        header_dedup_id is not None
        or request.event_id is not None
        or request.external_id is not None
    ):
        dedup_id = _one_of(
            errors,
            "/dedup_id",
            (
                ("dedup_id", dedup_id),
                ("event_id", request.event_id),
                ("external_id", request.external_id),
                (DEDUP_HEADER, header_dedup_id),
            ),
        )
    if dedup_id is not None:
        _check_label(errors, "/dedup_id", dedup_id, text.DEDUP_ID_LENGTH)
    if request.source is not None:
        _check_label(errors, "/source", request.source, text.LABEL_LENGTH)
    if request.key is not None:
        _check_label(errors, "/key", request.key, text.LABEL_LENGTH)
    occurred_at = deliver_at = None
    if request.occurred_at is not None:
        occurred_at = _moment(errors, "/occurred_at", request.occurred_at)
    if request.deliver_at is not None:
        deliver_at = _moment(errors, "/deliver_at", request.deliver_at)
    metadata = None
    if request.metadata is not None:
        check_metadata(errors, request.metadata)
        metadata = _encode(request.metadata)
    if errors:
        raise ValidationFailed("the event is not acceptable", errors=errors)
    assert event_type is not None
    return Draft(
        event_type,
        payload,
        dedup_id,
        request.source,
        request.key,
        metadata,
        occurred_at,
        deliver_at,
    )


def _one_of(
    errors: list[FieldError], pointer: str, spellings: tuple[tuple[str, str | None], ...]
) -> str | None:
    given = [(name, value) for name, value in spellings if value is not None]
    if len({value for _, value in given}) > 1:
        names = " and ".join(name for name, _ in given)
        errors.append(FieldError(pointer, "conflict", f"{names} differ"))
    return given[0][1] if given else None


def _check_label(errors: list[FieldError], pointer: str, value: str, length: int) -> None:
    if not 1 <= len(value) <= length:
        errors.append(FieldError(pointer, "invalid-length", f"must be 1 to {length} characters"))
    elif text.has_control(value):
        errors.append(FieldError(pointer, "control-character", "must not hold control characters"))


def check_metadata(errors: list[FieldError], metadata: dict[str, str]) -> None:
    """Bounds of an object of strings; faults are added to ``errors``."""
    if len(metadata) > text.METADATA_ENTRIES:
        errors.append(
            FieldError(
                "/metadata", "too-many", f"must have at most {text.METADATA_ENTRIES} entries"
            )
        )
    for name, value in metadata.items():
        if not 1 <= len(name) <= text.METADATA_KEY_LENGTH or text.has_control(name):
            errors.append(
                FieldError(
                    "/metadata",
                    "invalid-key",
                    f"keys must be 1 to {text.METADATA_KEY_LENGTH} characters without controls",
                )
            )
        elif len(value) > text.METADATA_VALUE_LENGTH or "\x00" in value:
            errors.append(
                FieldError(
                    f"/metadata/{pointer_part(name)}",
                    "invalid-value",
                    f"must be at most {text.METADATA_VALUE_LENGTH} characters without NUL",
                )
            )


def _moment(errors: list[FieldError], pointer: str, value: str) -> Timestamp | None:
    try:
        return Timestamp.parse(value)
    except MalformedValue as error:
        errors.append(FieldError(pointer, "invalid-timestamp", f"is {error}"))
        return None
