"""Events that are kept aside: an organization's own, and for operators those of all."""

from typing import Annotated, Final

import msgspec
import structlog
from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from triggers_api.errors import NotFound, ValidationFailed
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.parameters import Cursor, Limit
from triggers_api.http.request import OPTIONAL_BODY
from triggers_api.model.event import EventAside
from triggers_api.model.event_type import SchemaMode
from triggers_api.model.organization import Scope
from triggers_api.store.directory import Principal

log = structlog.get_logger(__name__)

_NOT_ASIDE: Final = "there is no such event among those that are kept aside"


class EventAsidePage(msgspec.Struct, frozen=True):
    """Events that are kept aside, newest first, without their payloads."""

    data: list[EventAside]
    next_cursor: str | None


class EventRelease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an event is released: with another payload, or as it is."""

    payload: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class EventReleased(msgspec.Struct, frozen=True):
    """The event was released. Its own route tells how it stands."""

    id: str
    organization_id: str
    type: str


@get("/", summary="List what is kept aside", opt={ACCESS: (Scope.READ, Scope.MANAGE)})
async def list_quarantine(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> EventAsidePage:
    """Newest first: events that do not fit their schema, and those that could not be routed."""
    return await _page(context, organization_id, limit, cursor)


@post(
    "/{event_id:str}/release",
    summary="Release an event that is kept aside",
    status_code=202,
    opt={ACCESS: (Scope.MANAGE,), OPTIONAL_BODY: True},
)
async def release_event(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    organization_id: NamedDependency[str],
    event_id: FromPath[str],
    data: JSONBody[EventRelease],
) -> EventReleased:
    """Routes it as if it had come in now: as it is, or with a payload that fits the schema."""
    return await _release(context, principal, organization_id, event_id, bytes(data.payload))


@delete(
    "/{event_id:str}", summary="Delete an event that is kept aside", opt={ACCESS: (Scope.MANAGE,)}
)
async def delete_quarantined(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    event_id: FromPath[str],
) -> None:
    """Erases it, and frees its dedup_id."""
    await _delete(context, organization_id, event_id)


@get("/", summary="List what is kept aside of all organizations", operation_id="ListAllQuarantine")
async def list_all_quarantine(
    context: NamedDependency[Context],
    organization_id_: Annotated[
        str | None, QueryParameter(name="organization_id", description="Only of this one.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> EventAsidePage:
    """Newest first. No payloads."""
    return await _page(context, organization_id_, limit, cursor)


@post(
    "/{event_id:str}/release",
    summary="Release an event of any organization",
    operation_id="ReleaseAnyEvent",
    status_code=202,
    opt={OPTIONAL_BODY: True},
)
async def release_any_event(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    event_id: FromPath[str],
    data: JSONBody[EventRelease],
) -> EventReleased:
    """Routes it as if it had come in now: as it is, or with a payload that fits the schema."""
    return await _release(context, principal, None, event_id, bytes(data.payload))


@delete(
    "/{event_id:str}",
    summary="Delete an event of any organization that is kept aside",
    operation_id="DeleteAnyQuarantined",
)
async def delete_any_quarantined(
    context: NamedDependency[Context], event_id: FromPath[str]
) -> None:
    """Erases it, and frees its dedup_id."""
    await _delete(context, None, event_id)


async def _page(
    context: Context, organization_id: str | None, limit: int, cursor: str | None
) -> EventAsidePage:
    bound_to = ("quarantine", organization_id)
    page = context.cursors.page(cursor, limit, *bound_to)
    found = await context.store.quarantine(organization_id, page)
    return EventAsidePage(*context.cursors.next(found, limit, *bound_to))


async def _aside(context: Context, organization_id: str | None, event_id: str) -> EventAside:
    event = await context.store.event_aside(event_id)
    if event is None or organization_id not in {None, event.organization_id}:
        raise NotFound(_NOT_ASIDE)
    return event


async def _release(
    context: Context,
    principal: Principal,
    organization_id: str | None,
    event_id: str,
    payload: bytes,
) -> EventReleased:
    event = await _aside(context, organization_id, event_id)
    mended = _mended(context, event, payload) if payload else None
    if not await context.store.release_quarantined(event.organization_id, event.id, mended):
        raise NotFound(_NOT_ASIDE)
    log.info(
        "event released",
        event_id=event.id,
        organization_id=event.organization_id,
        mended=mended is not None,
        key_id=principal.key_id,
    )
    return EventReleased(event.id, event.organization_id, event.type)


def _mended(context: Context, event: EventAside, payload: bytes) -> bytes:
    """Another payload as it is to be stored: its type has its say, as when an event comes in."""
    rules = context.directory.event_types.get(event.organization_id, {}).get(event.type)
    if rules is None:
        return payload
    judgement = rules.judge(payload)
    if judgement.faults and judgement.mode is not SchemaMode.WARN:
        raise ValidationFailed(
            "the payload does not fit its type's schema", errors=judgement.faults
        )
    return judgement.payload


async def _delete(context: Context, organization_id: str | None, event_id: str) -> None:
    event = await _aside(context, organization_id, event_id)
    if not await context.store.delete_event(event.organization_id, event.id):
        raise NotFound(_NOT_ASIDE)


def router() -> Router:
    """The routes for organizations."""
    return Router(
        "/api/quarantine",
        route_handlers=[list_quarantine, release_event, delete_quarantined],
        tags=["Event types"],
    )


def admin_router() -> Router:
    """The routes for operators."""
    return Router(
        "/api/admin/quarantine",
        route_handlers=[list_all_quarantine, release_any_event, delete_any_quarantined],
        opt={ACCESS: (Scope.ADMIN,)},
        tags=["Operator"],
    )
