"""CloudEvents 1.0.2 as they come in: the JSON format, and the binary mode of the HTTP binding.

https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents. ``model/rendering.py`` is the way out, and
gives back what is taken in here.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from triggers_api.errors import (
    FieldError,
    InvalidEncoding,
    InvalidJson,
    TooDeep,
    UnsupportedMediaType,
    ValidationFailed,
)
from triggers_api.ingest.document import check_document, check_json
from triggers_api.ingest.draft import Draft, EventRequest, checked, field_error, pointer_part

STRUCTURED: Final = b"application/cloudevents+json"
BATCH: Final = b"application/cloudevents-batch+json"
MARK: Final = b"ce-specversion"
"""The header that makes a request a CloudEvent in binary mode."""

_VERSION: Final = "1.0"
_ALWAYS_TEXT: Final = frozenset(
    {"id", "source", "type", "subject", "time", "datacontenttype", "dataschema"}
)
"""What the specification itself names (context attributes, 2.8) is a string in JSON."""
_PREFIX: Final = b"ce-"
_EXTENSION: Final = re.compile(r"[a-z0-9]{1,128}", re.ASCII)
_JSON: Final = re.compile(r"application/json|[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+\+json", re.ASCII)
_UTF_8: Final = frozenset({"utf-8", "utf8"})

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_value = msgspec.json.Decoder().decode
_NULL: Final = b"null"


def read_structured(body: bytes, header_dedup_id: str | None = None) -> Draft:
    """A CloudEvent in its JSON format.

    Args:
        body: one JSON object.
        header_dedup_id: what the header ``Idempotency-Key`` says, if it was sent.

    Raises:
        InvalidJson: not exactly one JSON document.
        InvalidEncoding: not UTF-8.
        TooDeep: nested deeper than 64 levels.
        UnsupportedMediaType: its data is not JSON.
        ValidationFailed: an attribute is missing, of the wrong type or out of bounds.
    """
    check_document(body, levels_around=1)
    try:
        members = _members(body)
    except msgspec.ValidationError as error:
        check_json(body)
        raise _refused([field_error(error)]) from None
    except msgspec.DecodeError as error:
        raise InvalidJson(f"the body is not one JSON document: {error}") from None
    except RecursionError:
        raise TooDeep from None
    data, encoded = members.pop("data", None), members.pop("data_base64", None)
    errors: list[FieldError] = []
    attributes = {
        name: text
        for name, raw in members.items()
        if (text := _attribute(errors, name, raw)) is not None
    }
    if data is not None and encoded is not None:
        errors.append(FieldError("/data_base64", "conflict", "data is there as well"))
    payload = _NULL if data is None else bytes(data)
    if encoded is not None:
        payload = _decoded(errors, encoded)
    if errors:
        raise _refused(errors)
    return _draft(attributes, payload, header_dedup_id)


def read_binary(
    headers: Iterable[tuple[bytes, bytes]], body: bytes, header_dedup_id: str | None = None
) -> Draft:
    """A CloudEvent whose attributes are headers and whose data is the body.

    Args:
        headers: names in lower case.
        body: JSON, or nothing.
        header_dedup_id: what the header ``Idempotency-Key`` says, if it was sent.

    Raises:
        InvalidJson: the body is not exactly one JSON document.
        InvalidEncoding: body or an attribute is not UTF-8.
        TooDeep: nested deeper than 64 levels.
        UnsupportedMediaType: the data is not JSON.
        ValidationFailed: an attribute is missing, there twice, or out of bounds.
    """
    attributes: dict[str, str] = {}
    errors: list[FieldError] = []
    for name, value in headers:
        if name == b"content-type":
            attributes["datacontenttype"] = value.decode("latin-1")
        elif name.startswith(_PREFIX):
            attribute = name[len(_PREFIX) :].decode("latin-1")
            if attribute in attributes or attribute == "datacontenttype":
                errors.append(FieldError(_pointer(attribute), "conflict", "was sent twice"))
            attributes[attribute] = _text_of(value)
    if errors:
        raise _refused(errors)
    _check_data_type(attributes.get("datacontenttype"))
    if body:
        check_document(body)
        check_json(body)
    return _draft(attributes, body or _NULL, header_dedup_id)


def _text_of(value: bytes) -> str:
    """A header's value as HTTP binding 3.1.3.2 writes it: percent-encoded, in quotes or not."""
    if len(value) > 1 and value[:1] == value[-1:] == b'"':
        value = re.sub(rb"\\(.)", rb"\1", value[1:-1])
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise InvalidEncoding("a ce- header is not valid UTF-8") from None


def _attribute(errors: list[FieldError], name: str, raw: msgspec.Raw) -> str | None:
    """An attribute as a text; ``None`` for one that is null, which is the same as absent."""
    try:
        value = _value(raw)
    except msgspec.DecodeError as error:
        raise InvalidJson(f"the body is not one JSON document: {error}") from None
    of_extension = name not in _ALWAYS_TEXT
    match value:
        case None | str():
            return value
        case bool() if of_extension:
            return "true" if value else "false"
        case int() if of_extension and -(1 << 31) <= value < 1 << 31:
            return str(value)
    allowed = "a string, a boolean or a 32-bit integer" if of_extension else "a string"
    errors.append(FieldError(_pointer(name), "invalid-type", f"must be {allowed}"))
    return None


def _decoded(errors: list[FieldError], encoded: msgspec.Raw) -> bytes:
    try:
        text = _value(encoded)
        payload = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (msgspec.DecodeError, binascii.Error, ValueError):
        payload = None
    if payload is None:
        errors.append(FieldError("/data_base64", "invalid-value", "must be base64 (RFC 4648, 4)"))
        return _NULL
    try:
        check_document(payload)
        check_json(payload)
    except (InvalidJson, InvalidEncoding):
        raise UnsupportedMediaType("the data of a CloudEvent must be JSON here") from None
    return payload


def _draft(attributes: dict[str, str], payload: bytes, header_dedup_id: str | None) -> Draft:
    errors = [
        FieldError(_pointer(name), "missing-field", "is required")
        for name in ("specversion", "id", "source", "type")
        if not attributes.get(name)
    ]
    if attributes.pop("specversion", None) not in {None, "", _VERSION}:
        errors.append(FieldError("/specversion", "invalid-value", f"must be {_VERSION}"))
    _check_data_type(attributes.pop("datacontenttype", None))
    given = {
        name: attributes.pop(name, None) for name in ("id", "source", "type", "subject", "time")
    }
    errors += [
        FieldError(_pointer(name), "invalid-length", "must not be empty")
        for name in ("subject", "time")
        if given[name] == ""
    ]
    errors += [
        FieldError(_pointer(name), "unknown-field", "attributes are named by a-z and 0-9")
        for name in attributes
        if not _EXTENSION.fullmatch(name)
    ]
    if errors:
        raise _refused(errors)
    request = EventRequest(
        type=given["type"],
        payload=msgspec.Raw(payload),
        dedup_id=f"{given['source']} {given['id']}",
        source=given["source"],
        key=given["subject"],
        metadata=attributes or None,
        occurred_at=given["time"],
    )
    try:
        return checked(request, header_dedup_id)
    except ValidationFailed as refused:
        raise _refused([_by_their_name(error) for error in refused.errors]) from None


def _check_data_type(declared: str | None) -> None:
    """Let JSON through; where nothing is said, it is (JSON format, 3.1.1).

    Raises:
        UnsupportedMediaType: anything else.
    """
    if declared is None:
        return
    kind, *parameters = (part.strip().lower() for part in declared.split(";"))
    if not _JSON.fullmatch(kind):
        raise UnsupportedMediaType("the data of a CloudEvent must be JSON here")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip('" ') not in _UTF_8:
            raise UnsupportedMediaType("the charset must be utf-8")


_THEIR_NAMES: Final[Mapping[str, str]] = {
    "/key": "/subject",
    "/occurred_at": "/time",
    "/dedup_id": "/id",
}


def _by_their_name(error: FieldError) -> FieldError:
    pointer = _THEIR_NAMES.get(error.pointer, error.pointer)
    if pointer.startswith("/metadata/"):
        pointer = pointer.removeprefix("/metadata")
    return msgspec.structs.replace(error, pointer=pointer)


def _pointer(name: str) -> str:
    return f"/{pointer_part(name)}"


def _refused(errors: list[FieldError]) -> ValidationFailed:
    return ValidationFailed("the CloudEvent is not acceptable", errors=errors)
