"""``/api/event-types``: what an organization says of the events that it sends."""

from typing import Annotated, Any, Final
from urllib.parse import unquote

import msgspec
from litestar import Request, Response, Router, delete, get, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from triggers_api.errors import (
    FieldError,
    InvalidState,
    MalformedValue,
    NotFound,
    ValidationFailed,
)
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.parameters import Cursor, Limit
from triggers_api.http.subscriptions import DESCRIPTION_LENGTH
from triggers_api.model import text
from triggers_api.model.event_type import (
    EXAMPLE_LENGTH,
    NOTHING,
    TYPES_LIMIT,
    TYPES_SIZE,
    EventType,
    SchemaMode,
    TypeRules,
    nothing,
)
from triggers_api.model.organization import Scope
from triggers_api.model.redaction import PATHS_LIMIT, parse_path
from triggers_api.model.schema import Schema, schema_faults

_NO_TYPE: Final = "there is no such event type"
_PREFIX: Final = "/event-types/"


class EventTypeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an event type is to be. ``null`` is the same as leaving a field out."""

    description: Annotated[str, msgspec.Meta(max_length=DESCRIPTION_LENGTH)] | None = None
    schema: msgspec.Raw = msgspec.field(default_factory=nothing)
    mode: SchemaMode | None = None
    example: msgspec.Raw = msgspec.field(default_factory=nothing)
    redact: list[str] | None = None


class EventTypePage(msgspec.Struct, frozen=True):
    """Event types by name."""

    data: list[EventType]
    next_cursor: str | None


@put(
    "/{name:path}",
    operation_id="SaveEventType",
    summary="Create or replace an event type",
    opt={ACCESS: (Scope.MANAGE,)},
    responses={
        200: ResponseSpec(EventType, generate_examples=False, description="It was replaced."),
        201: ResponseSpec(EventType, generate_examples=False, description="It is new."),
    },
)
async def save_event_type(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    request: Request[Any, Any, Any],
    name: FromPath[str],
    data: JSONBody[EventTypeRequest],
) -> Response[EventType]:
    """Replaces it as a whole. In force in this process at once, in every other within a second."""
    name = _named(request)  # what came in its place is tidied up: of a//b it would be a/b
    wanted = _checked(name, data)
    async with context.changing(organization_id):
        catalogue = context.directory.event_types.get(organization_id, {})
        others = [rules.event_type for known, rules in catalogue.items() if known != name]
        if len(others) >= TYPES_LIMIT:
            raise InvalidState(f"an organization may have at most {TYPES_LIMIT} event types")
        now = context.store.now()
        before = await context.store.event_type(organization_id, name)
        saved = EventType(
            name=name,
            description=wanted.description,
            schema=wanted.schema,
            mode=wanted.mode or SchemaMode.OFF,
            example=wanted.example,
            redact=tuple(dict.fromkeys(wanted.redact or ())),
            created_at=now if before is None else before.created_at,
            updated_at=now,
        )
        if sum(other.size for other in others) + saved.size > TYPES_SIZE:
            raise InvalidState(
                f"the schemas and examples of an organization may have {TYPES_SIZE} bytes together"
            )
        await context.store.save_event_type(organization_id, saved)
    return Response(saved, status_code=201 if before is None else 200)


@get("/", summary="List event types", opt={ACCESS: (Scope.READ, Scope.MANAGE)})
async def list_event_types(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> EventTypePage:
    """By name."""
    bound_to = ("event-types", organization_id)
    page = context.cursors.page(cursor, limit, *bound_to)
    found = await context.store.event_types(organization_id, page.before, page.limit)
    return EventTypePage(*context.cursors.next(found, limit, *bound_to))


@get("/{name:path}", summary="Get an event type", opt={ACCESS: (Scope.READ, Scope.MANAGE)})
async def get_event_type(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    request: Request[Any, Any, Any],
    name: FromPath[str],
) -> EventType:
    """With its schema and example."""
    name = _known(request)  # see above
    found = await context.store.event_type(organization_id, name)
    if found is None:
        raise NotFound(_NO_TYPE)
    return found


@delete("/{name:path}", summary="Delete an event type", opt={ACCESS: (Scope.MANAGE,)})
async def delete_event_type(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    request: Request[Any, Any, Any],
    name: FromPath[str],
) -> None:
    """Its events are taken as they come from then on. What was kept aside stays so."""
    name = _known(request)  # see above
    async with context.changing(organization_id):
        if not await context.store.delete_event_type(organization_id, name):
            raise NotFound(_NO_TYPE)


def _name_in(request: Request[Any, Any, Any]) -> str:
    return unquote(request.scope["raw_path"]).partition(_PREFIX)[2]


def _named(request: Request[Any, Any, Any]) -> str:
    name = _name_in(request)
    if not text.is_event_type(name):
        raise ValidationFailed.of(
            "name",
            "invalid-event-type",
            "must be 1 to 255 characters of A-Z a-z 0-9 _ . : / -: a type, not a pattern",
        )
    return name


def _known(request: Request[Any, Any, Any]) -> str:
    name = _name_in(request)
    if not text.is_event_type(name):
        raise NotFound(_NO_TYPE)
    return name


def _checked(name: str, wanted: EventTypeRequest) -> EventTypeRequest:
    errors: list[FieldError] = []
    if wanted.description is not None and text.has_control(wanted.description):
        errors.append(
            FieldError("/description", "control-character", "must not hold control characters")
        )
    schema, example = bytes(wanted.schema), bytes(wanted.example)
    has_schema, has_example = schema != b"null", example != b"null"
    mode = wanted.mode or SchemaMode.OFF
    if has_schema:
        errors += schema_faults(schema)
    elif mode is not SchemaMode.OFF:
        errors.append(FieldError("/schema", "missing-field", f"is required for the mode {mode}"))
    if has_example and len(example) > EXAMPLE_LENGTH:
        errors.append(
            FieldError("/example", "too-large", f"may have at most {EXAMPLE_LENGTH} bytes")
        )
    elif has_schema and has_example and not errors:
        errors += [
            msgspec.structs.replace(
                fault, pointer="/example" + fault.pointer.removeprefix("/payload")
            )
            for fault in Schema(schema).faults(example)
        ]
    errors += _path_faults(wanted.redact or [])
    if errors:
        raise ValidationFailed(f"the event type {name} is not acceptable", errors=errors)
    return wanted


def _path_faults(paths: list[str]) -> list[FieldError]:
    if len(paths) > PATHS_LIMIT:
        return [FieldError("/redact", "too-many", f"may have at most {PATHS_LIMIT} paths")]
    errors = []
    for place, path in enumerate(paths):
        try:
            parse_path(path)
        except MalformedValue as error:
            errors.append(FieldError(f"/redact/{place}", "invalid-path", f"is {error}"))
    return errors


def example_of(context: Context, organization_id: str, event_type: str) -> bytes | None:
    """The example of an event type, as the bytes of its JSON; ``None`` where there is none."""
    rules: TypeRules | None = context.directory.event_types.get(organization_id, {}).get(event_type)
    if rules is None or rules.event_type.example == NOTHING:
        return None
    return bytes(rules.event_type.example)


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/api/event-types",
        route_handlers=[save_event_type, list_event_types, get_event_type, delete_event_type],
        tags=["Event types"],
    )
