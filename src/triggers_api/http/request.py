"""Requests as this API reads them: one JSON document, decoded strictly into what the route takes."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from litestar.connection import ASGIConnection, Request
from litestar.handlers import BaseRouteHandler
from msgspec.inspect import EnumType, ListType, StructType, Type, UnionType, VarTupleType, type_info

from triggers_api.errors import (
    FieldError,
    InvalidJson,
    TooDeep,
    ValidationFailed,
)
from triggers_api.http.body import check_media_type, read_body
from triggers_api.ingest.document import check_document, check_json
from triggers_api.ingest.draft import BODY_LIMIT, field_error

OPTIONAL_BODY: Final = "optional_body"
"""A key in a handler's ``opt``: no body is the same as ``{}``."""

_MERGE_PATCH: Final = b"application/merge-patch+json"


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class StrictRequest(Request[Any, Any, Any]):
    """Litestar's request, whose body keeps the rules that ``POST /api/events`` keeps."""

    async def body(self) -> bytes:
        """The body, complete, in JSON by its media type, within its limit."""
        if self._body_kept is None:
            headers = dict(self.scope["headers"])
            content_type = headers.get(b"content-type")
            may_be_empty = OPTIONAL_BODY in self.route_handler.opt
            if not may_be_empty and not (self.method == "PATCH" and content_type == _MERGE_PATCH):
                check_media_type(content_type, headers.get(b"content-encoding"))
            self._body_kept = await read_body(
                self.receive, limit=BODY_LIMIT, content_length=headers.get(b"content-length")
            )
            if not self._body_kept.strip():
                if not may_be_empty:
                    raise InvalidJson("the body is empty")
                self._body_kept = b"{}"
            elif may_be_empty:
                check_media_type(content_type, headers.get(b"content-encoding"))
        return self._body_kept

    _body_kept: bytes | None = None

    async def json(self) -> Any:  # noqa: ANN401 - Litestar's signature
        """The body as the type of the handler's ``data``."""
        field = self.route_handler.parsed_data_field
        assert field is not None
        return decode(await self.body(), field.annotation)


async def check_action(request: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """The guard of an action that takes no body, or ``{}``."""
    assert isinstance(request, StrictRequest)
    headers = dict(request.scope["headers"])
    length = headers.get(b"content-length")
    body = await read_body(request.receive, limit=BODY_LIMIT, content_length=length)
    if body.strip():
        check_media_type(headers.get(b"content-type"), headers.get(b"content-encoding"))
        decode(body, _Nothing)


def decode(body: bytes, kind: Any) -> Any:  # noqa: ANN401 - a type goes in, its instance comes out
    """One JSON document as a Struct, nothing coerced.

    Raises:
        InvalidJson: not one JSON document.
        ValidationFailed: not what the type describes.
    """
    check_document(body)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        check_json(body)
        raise ValidationFailed(
            "the request is not acceptable", errors=[_with_choices(field_error(error), kind)]
        ) from None
    except msgspec.DecodeError as error:
        raise InvalidJson(f"the body is not one JSON document: {error}") from None
    except RecursionError:
        raise TooDeep from None


def _with_choices(fault: FieldError, kind: Any) -> FieldError:  # noqa: ANN401 - a type
    """A fault that says what there is to choose from, where that is a list of words."""
    if not fault.message.startswith("Invalid enum value"):
        return fault
    found = [type_info(kind)]
    for part in fault.pointer.split("/")[1:]:
        found = [each for within in found for each in _within(within, part)]
    words = [
        str(word.value) for each in _flat(found) if isinstance(each, EnumType) for word in each.cls
    ]
    return (
        msgspec.structs.replace(fault, message=f"must be one of {', '.join(words)}")
        if words
        else fault
    )


def _flat(types: Iterable[Type]) -> Iterator[Type]:
    for each in types:
        yield from _flat(each.types) if isinstance(each, UnionType) else (each,)


def _within(outer: Type, part: str) -> Iterator[Type]:
    """The types of what is in a type under a name or a number."""
    for each in _flat([outer]):
        if isinstance(each, StructType):
            yield from (field.type for field in each.fields if field.encode_name == part)
        elif isinstance(each, ListType | VarTupleType):
            yield each.item_type


def changes(patch: msgspec.Struct) -> dict[str, Any]:
    """The fields that a merge patch names."""
    given = ((name, getattr(patch, name)) for name in patch.__struct_fields__)
    return {name: value for name, value in given if value is not msgspec.UNSET}
