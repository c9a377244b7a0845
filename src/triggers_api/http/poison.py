"""``/api/admin/buffer/poison``: entries of the ingest buffer that could not be stored."""

from typing import TYPE_CHECKING, Final

import msgspec
from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from triggers_api.errors import NotFound
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.parameters import Cursor, Limit
from triggers_api.http.request import check_action
from triggers_api.model.organization import Scope
from triggers_api.model.timestamp import Timestamp

if TYPE_CHECKING:
    from triggers_api.ingest.buffer_redis.aside import Aside, EntryAside

_NO_ENTRY: Final = "nothing of that name was set aside in the ingest buffer"
_LIST: Final = "poison"


class PoisonEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the ingest buffer that could not be stored, without its payload.

    Where it is damaged, or none of ours, nothing is known but ``id``, ``reason`` and ``aside_since``.
    """

    id: str
    event_id: str | None
    organization_id: str | None
    type: str | None
    reason: str
    received_at: Timestamp | None
    aside_since: Timestamp


class PoisonPage(msgspec.Struct, frozen=True):
    """Entries that could not be stored, the newest first."""

    data: list[PoisonEntry]
    next_cursor: str | None


@get(
    "/", summary="List what could not be stored out of the ingest buffer", operation_id="ListPoison"
)
async def list_poison(
    context: NamedDependency[Context], limit: Limit = 50, cursor: Cursor = None
) -> PoisonPage:
    """Newest first, without payloads; empty where there is no ingest buffer."""
    page = context.cursors.page(cursor, limit, _LIST)
    found = [] if context.buffer is None else await context.buffer.aside.entries(page)
    shown, next_cursor = context.cursors.next([_shown(each) for each in found], limit, _LIST)
    return PoisonPage(shown, next_cursor)


@post(
    "/{entry_id:str}/release",
    summary="Have an entry tried again",
    operation_id="ReleasePoison",
    status_code=202,
    guards=[check_action],
)
async def release_poison(context: NamedDependency[Context], entry_id: FromPath[str]) -> PoisonEntry:
    """As if it had just come in. It is called by its `id`, or by that of its event."""
    aside, entry = await _find(context, entry_id)
    if not await aside.release(entry):
        raise NotFound(_NO_ENTRY)
    return _shown(entry)


@delete("/{entry_id:str}", summary="Delete an entry", operation_id="DeletePoison")
async def delete_poison(context: NamedDependency[Context], entry_id: FromPath[str]) -> None:
    """Erases the event with it. It is called by its `id`, or by that of its event."""
    aside, entry = await _find(context, entry_id)
    if not await aside.delete(entry):
        raise NotFound(_NO_ENTRY)


async def _find(context: Context, entry_id: str) -> "tuple[Aside, EntryAside]":
    if context.buffer is None:
        raise NotFound(_NO_ENTRY)
    aside = context.buffer.aside
    entry = await aside.find(entry_id)
    if entry is None:
        raise NotFound(_NO_ENTRY)
    return aside, entry


def _shown(entry: "EntryAside") -> PoisonEntry:
    return PoisonEntry(
        id=entry.id,
        event_id=entry.event_id,
        organization_id=entry.organization_id,
        type=entry.type,
        reason=entry.reason,
        received_at=entry.received_at,
        aside_since=entry.aside_since,
    )


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/api/admin/buffer/poison",
        route_handlers=[list_poison, release_poison, delete_poison],
        opt={ACCESS: (Scope.ADMIN,)},
        tags=["Operator"],
    )
