"""``/api/inbox`` and ``/api/inboxes``: events that a consumer fetches at its own pace.

What waits here waits for one of three things: an event that comes in, a moment at which something falls
due again, or a transaction that holds the log up (PostgreSQL). None of them is waited for with anything
leased.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import Annotated, Any, Final, cast

import msgspec
import structlog
from litestar import Request, Response, Router, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from triggers_api.errors import (
    FieldError,
    InvalidCursor,
    InvalidState,
    MalformedValue,
    NotFound,
    Unavailable,
    ValidationFailed,
)
from triggers_api.http.context import ACCESS, Context, check_key
from triggers_api.http.events import EventPage, TypePattern
from triggers_api.http.parameters import Cursor, Limit, check_type_pattern
from triggers_api.http.request import OPTIONAL_BODY
from triggers_api.model.event import Event
from triggers_api.model.inbox import (
    DEFAULT_INBOX,
    Inbox,
    InboxAction,
    InboxCounts,
    InboxOutcome,
    InboxStatus,
    LeasedEvent,
)
from triggers_api.model.organization import Scope
from triggers_api.model.text import is_type_pattern
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import InboxPage, InboxSeek, Pulled, Reached
from triggers_api.store.directory import Principal

log = structlog.get_logger(__name__)

MOST_AT_ONCE: Final = 1000
TYPES_LIMIT: Final = 50
LONGEST_WAIT_S: Final = 30.0
LONGEST_LEASE_S: Final = 43_200.0
DEFAULT_LEASE_S: Final = 30.0
BYTES_AT_ONCE: Final = 16 << 20
"""How large the payloads of one answer are together, but for the first one."""
COUNTED: Final = 10_000
COUNTED_OF_EACH: Final = 1_000
"""Events that are counted of one inbox, and of each in a list of them."""

_LOOK_FOR_S: Final = 1.0
"""How long to go on past events of other types before what was found, or nothing, is answered."""
_LATE_S: Final = 0.25
"""How long to wait for an event that is stored and cannot be told yet, when nobody said to wait."""
_LOOK_LATE_EVERY_S: Final = 0.01
_LOOK_EVERY_S: Final = 1.0
_RECEIPT_LENGTH: Final = 512

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_NO_INBOX: Final = "there is no such inbox"
_NO_EVENT: Final = "there is no such event in this inbox"


class From(StrEnum):
    """Where a new inbox begins."""

    START = "start"
    END = "end"


class InboxRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An inbox as it is to be. ``null`` is the same as leaving a field out."""

    types: list[str] | None = None
    from_: From | None = msgspec.field(name="from", default=None)


class PullRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be handed out. ``null`` is the same as leaving a field out."""

    limit: int | None = None
    lease_s: float | None = None
    types: list[str] | None = None
    wait_s: float | None = None


class AckRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events: either ``receipts`` or ``ids``."""

    receipts: list[str] | None = None
    ids: list[str] | None = None


class NackRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events, and how long they are to be put off."""

    receipts: list[str] | None = None
    ids: list[str] | None = None
    delay_s: float | None = None


class ExtendRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events, and how long the lease is to last from now on."""

    receipts: list[str] | None = None
    ids: list[str] | None = None
    lease_s: float


class SeekRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to go on: ``start``, ``end``, a moment, or the id of an event."""

    to: str


class PulledEvent(Event, frozen=True, kw_only=True):
    """An event in the caller's hands until ``lease_until``."""

    receipt: str
    lease_until: Timestamp
    receive_count: int


class PullAnswer(msgspec.Struct, frozen=True):
    """What was handed out."""

    data: list[PulledEvent]


class InboxResult(msgspec.Struct, frozen=True):
    """What became of one event."""

    id: str | None
    receipt: str | None
    status: InboxStatus


class InboxResults(msgspec.Struct, frozen=True):
    """One result for each receipt or id, in their order."""

    results: list[InboxResult]


class InboxView(msgspec.Struct, frozen=True, kw_only=True):
    """An inbox, and what is in it now."""

    name: str
    types: list[str] | None
    created_at: Timestamp | None
    unacked: int
    leased: int
    complete: bool
    oldest_age_s: float | None


class InboxList(msgspec.Struct, frozen=True):
    """Inboxes by name."""

    data: list[InboxView]
    next_cursor: str | None


WaitS = Annotated[
    float, QueryParameter(ge=0, le=LONGEST_WAIT_S, description="Seconds to wait for the first one.")
]


# ── the default inbox ─────────────────────────────────────────────────────────────────────────────


@get("/api/inbox", summary="Look into the inbox", opt={ACCESS: (Scope.READ,)})
async def peek(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    request: Request[Any, Any, Any],
    type_: TypePattern = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    wait_s: WaitS = 0.0,
) -> EventPage:
    """What was not acknowledged, leased or not, oldest first. Nothing changes by looking."""
    return await _peek(
        context, organization_id, DEFAULT_INBOX, request, type_, limit, cursor, wait_s
    )


@post(
    "/api/inbox/pull",
    summary="Pull events from the inbox",
    status_code=200,
    opt={ACCESS: (Scope.READ,), OPTIONAL_BODY: True},
)
async def pull(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    request: Request[Any, Any, Any],
    data: JSONBody[PullRequest],
) -> PullAnswer:
    """Hands out events for `lease_s` (30 s): nobody else gets them meanwhile."""
    return await _pull(context, organization_id, DEFAULT_INBOX, request, data)


@post(
    "/api/inbox/ack",
    summary="Acknowledge events",
    status_code=200,
    opt={ACCESS: (Scope.READ,)},
)
async def ack(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    data: JSONBody[AckRequest],
) -> InboxResults:
    """They never come again. By id whoever has them; by receipt while the lease lasts."""
    return await _ack(context, organization_id, DEFAULT_INBOX, data)


@post(
    "/api/inbox/nack",
    summary="Give events back",
    status_code=200,
    opt={ACCESS: (Scope.READ,)},
)
async def nack(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    data: JSONBody[NackRequest],
) -> InboxResults:
    """They are handed out again, at once or after `delay_s`."""
    return await _nack(context, organization_id, DEFAULT_INBOX, data)


@post(
    "/api/inbox/extend",
    summary="Keep events for longer",
    status_code=200,
    opt={ACCESS: (Scope.READ,)},
)
async def extend(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    data: JSONBody[ExtendRequest],
) -> InboxResults:
    """Their lease lasts for `lease_s` from now."""
    return await _extend(context, organization_id, DEFAULT_INBOX, data)


@post(
    "/api/inbox/seek",
    summary="Have the inbox go on elsewhere",
    status_code=200,
    opt={ACCESS: (Scope.READ,)},
)
async def seek(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    organization_id: NamedDependency[str],
    data: JSONBody[SeekRequest],
) -> InboxView:
    """All from there on is to be handed out, all before it is done with. Leases end."""
    return await _seek(context, principal, organization_id, DEFAULT_INBOX, data)


@delete("/api/inbox/{event_id:str}", summary="Acknowledge one event", opt={ACCESS: (Scope.READ,)})
async def delete_from_inbox(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    event_id: FromPath[str],
) -> None:
    """It never comes again, whoever has it now."""
    await _delete(context, organization_id, DEFAULT_INBOX, event_id)


# ── inboxes by name ───────────────────────────────────────────────────────────────────────────────


@get("/api/inboxes", summary="List inboxes", opt={ACCESS: (Scope.READ, Scope.MANAGE)})
async def list_inboxes(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> InboxList:
    """By name. `default` is always there."""
    bound_to = ("inboxes", organization_id)
    inboxes = await context.store.inboxes(organization_id)
    if cursor is not None:
        last = context.cursors.read(cursor, *bound_to)
        inboxes = [each for each in inboxes if each.name > last]
    shown = [
        _view(context, inbox, counts)
        for inbox in inboxes[:limit]
        if (counts := await context.store.count_inbox(organization_id, inbox.name, COUNTED_OF_EACH))
    ]
    more = len(inboxes) > limit
    return InboxList(
        shown, context.cursors.write(inboxes[limit - 1].name, *bound_to) if more else None
    )


@put(
    "/api/inboxes/{name:str}",
    summary="Make an inbox",
    status_code=200,
    opt={ACCESS: (Scope.MANAGE,), OPTIONAL_BODY: True},
    responses={
        201: ResponseSpec(InboxView, generate_examples=False, description="It was made."),
    },
)
async def put_inbox(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    organization_id: NamedDependency[str],
    name: FromPath[str],
    data: JSONBody[InboxRequest],
) -> Response[InboxView]:
    """Begins at the first event or, with `from: end`, now; has events of some types or of all.

    One that is there keeps its place, and has these types for what it has not come by.
    """
    if _NAME.fullmatch(name) is None:
        raise ValidationFailed.of(
            "name", "invalid-parameter", "must be 1 to 64 of A-Z a-z 0-9 _ . and -"
        )
    errors: list[FieldError] = []
    _check_types(errors, data.types)
    if errors:
        raise ValidationFailed("the inbox is not acceptable", errors=errors)
    inbox, is_new = await context.store.save_inbox(
        organization_id, name, data.types, from_end=data.from_ is From.END
    )
    log.info(
        "inbox saved",
        organization_id=organization_id,
        inbox=name,
        new=is_new,
        key_id=principal.key_id,
    )
    counts = await context.store.count_inbox(organization_id, name, COUNTED)
    return Response(_view(context, inbox, _there(counts)), status_code=201 if is_new else 200)


@get("/api/inboxes/{name:str}", summary="Get an inbox", opt={ACCESS: (Scope.READ, Scope.MANAGE)})
async def get_inbox(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    name: FromPath[str],
) -> InboxView:
    """With what is in it: counted, up to 10,000 events."""
    return await _shown(context, organization_id, name)


@delete("/api/inboxes/{name:str}", summary="Delete an inbox", opt={ACCESS: (Scope.MANAGE,)})
async def delete_inbox(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    organization_id: NamedDependency[str],
    name: FromPath[str],
) -> None:
    """Its place is forgotten; the events stay."""
    if name == DEFAULT_INBOX:
        raise InvalidState("the default inbox cannot be deleted; it can be sent to the end")
    if not await context.store.delete_inbox(organization_id, _named(name)):
        raise NotFound(_NO_INBOX)
    log.info("inbox deleted", organization_id=organization_id, inbox=name, key_id=principal.key_id)


@get("/api/inboxes/{name:str}/events", summary="Look into an inbox", opt={ACCESS: (Scope.READ,)})
async def peek_named(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    name: FromPath[str],
    request: Request[Any, Any, Any],
    type_: TypePattern = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    wait_s: WaitS = 0.0,
) -> EventPage:
    """As `GET /api/inbox`."""
    return await _peek(
        context, organization_id, _named(name), request, type_, limit, cursor, wait_s
    )


@post(
    "/api/inboxes/{name:str}/pull",
    summary="Pull events from an inbox",
    status_code=200,
    opt={ACCESS: (Scope.READ,), OPTIONAL_BODY: True},
)
async def pull_named(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    name: FromPath[str],
    request: Request[Any, Any, Any],
    data: JSONBody[PullRequest],
) -> PullAnswer:
    """As `POST /api/inbox/pull`."""
    return await _pull(context, organization_id, _named(name), request, data)


@post(
    "/api/inboxes/{name:str}/ack",
    summary="Acknowledge events of an inbox",
    status_code=200,
    opt={ACCESS: (Scope.READ,)},
)
async def ack_named(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    name: FromPath[str],
    data: JSONBody[AckRequest],
) -> InboxResults:
    """As `POST /api/inbox/ack`."""
    return await _ack(context, organization_id, _named(name), data)


@post(
    "/api/inboxes/{name:str}/nack",
    summary="Give events back to an inbox",
    status_code=200,
    opt={ACCESS: (Scope.READ,)},
)
async def nack_named(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    name: FromPath[str],
    data: JSONBody[NackRequest],
) -> InboxResults:
    """As `POST /api/inbox/nack`."""
    return await _nack(context, organization_id, _named(name), data)


@post(
    "/api/inboxes/{name:str}/extend",
    summary="Keep events of an inbox for longer",
    status_code=200,
    opt={ACCESS: (Scope.READ,)},
)
async def extend_named(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    name: FromPath[str],
    data: JSONBody[ExtendRequest],
) -> InboxResults:
    """As `POST /api/inbox/extend`."""
    return await _extend(context, organization_id, _named(name), data)


@post(
    "/api/inboxes/{name:str}/seek",
    summary="Have an inbox go on elsewhere",
    status_code=200,
    opt={ACCESS: (Scope.READ,)},
)
async def seek_named(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    organization_id: NamedDependency[str],
    name: FromPath[str],
    data: JSONBody[SeekRequest],
) -> InboxView:
    """As `POST /api/inbox/seek`."""
    return await _seek(context, principal, organization_id, _named(name), data)


@delete(
    "/api/inboxes/{name:str}/{event_id:str}",
    summary="Acknowledge one event of an inbox",
    opt={ACCESS: (Scope.READ,)},
)
async def delete_from_named(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    name: FromPath[str],
    event_id: FromPath[str],
) -> None:
    """As `DELETE /api/inbox/{event_id}`."""
    await _delete(context, organization_id, _named(name), event_id)


# ── handing out ───────────────────────────────────────────────────────────────────────────────────


async def _pull(
    context: Context,
    organization_id: str,
    name: str,
    request: Request[Any, Any, Any],
    data: PullRequest,
) -> PullAnswer:
    limit = 50 if data.limit is None else data.limit
    lease_s = DEFAULT_LEASE_S if data.lease_s is None else data.lease_s
    wait_s = 0.0 if data.wait_s is None else data.wait_s
    errors: list[FieldError] = []
    _check_range(errors, "/limit", limit, 1, MOST_AT_ONCE)
    _check_range(errors, "/lease_s", lease_s, 1, LONGEST_LEASE_S)
    _check_range(errors, "/wait_s", wait_s, 0, LONGEST_WAIT_S)
    _check_types(errors, data.types)
    if errors:
        raise ValidationFailed("nothing was pulled", errors=errors)
    puller = _Puller(
        context, organization_id, name, request, data.types, limit=limit, lease_s=lease_s
    )
    async with _watched(request, watch=wait_s > 0) as gone:
        leased = await puller.pull(wait_s, gone)
    context.metrics.inbox_pulled.inc(len(leased))
    context.metrics.inbox_pulled_again.inc(sum(each.receive_count > 1 for each in leased))
    bound_to = _bound("receipt", organization_id, name)
    return PullAnswer(
        [
            PulledEvent(
                **{field: getattr(each.event, field) for field in Event.__struct_fields__},
                receipt=context.cursors.write(each.receipt, *bound_to),
                lease_until=each.lease_until,
                receive_count=each.receive_count,
            )
            for each in leased
        ]
    )


class _Puller:
    """One request to pull: looks, and waits between looks."""

    def __init__(
        self,
        context: Context,
        organization_id: str,
        name: str,
        request: Request[Any, Any, Any],
        types: Sequence[str] | None,
        *,
        limit: int,
        lease_s: float,
    ) -> None:
        self._context = context
        self._request = request
        self._organization_id = organization_id
        self._name = name
        self._types = types
        self._limit = limit
        self._lease_s = lease_s
        self._found: list[LeasedEvent] = []
        self._room = BYTES_AT_ONCE
        self._key = (organization_id, name, *(types or ()))
        self._reached = Reached() if types is None else context.hints.get(self._key)

    async def pull(self, wait_s: float, gone: "asyncio.Future[None] | None") -> list[LeasedEvent]:
        """What is found, at once or within so many seconds."""
        store, clock = self._context.store, asyncio.get_running_loop().time
        began = clock()
        heard = await store.wait_log(-1, 0.0)
        while True:
            pulled = await self._look()
            looked_for = clock() - began
            if pulled is None or len(self._found) == self._limit or self._room <= 0:
                break
            if pulled.unfinished and looked_for < max(_LOOK_FOR_S, wait_s):
                continue
            left = max(wait_s, _LATE_S if pulled.late else 0.0) - looked_for
            if self._found or left <= 0 or self._context.draining():
                break
            pause_s = min(left, _until_next(pulled, store.now()))
            heard = await _heard(self._context, heard, pause_s, gone)
            if gone is not None and gone.done():
                break  # nobody would have what is leased now
            check_key(self._context, self._request)
            self._reached = Reached(log=self._reached.log)
        if self._types is not None:
            self._context.hints.keep(self._key, self._reached)
        return self._found

    async def _look(self) -> Pulled | None:
        """One look; ``None`` when it failed and there is something to answer with."""
        try:
            pulled = await self._context.store.pull_inbox(
                self._organization_id,
                self._name,
                limit=self._limit - len(self._found),
                lease_s=self._lease_s,
                types=self._types,
                most_bytes=self._room,
                reached=self._reached,
            )
        except Unavailable:
            if self._found:
                return None
            raise
        if pulled is None:
            if self._found:
                return None
            raise NotFound(_NO_INBOX)
        self._reached = pulled.reached
        self._found += pulled.events
        self._room -= sum(len(memoryview(each.event.payload)) for each in pulled.events)
        return pulled


async def _heard(
    context: Context, heard: int, timeout_s: float, gone: "asyncio.Future[None] | None"
) -> int:
    """As ``Store.wait_log``; returns also when the caller hangs up."""
    context.metrics.inbox_waiting.inc()
    waiting = asyncio.ensure_future(context.store.wait_log(heard, timeout_s))
    try:
        futures: list[asyncio.Future[Any]] = [waiting] if gone is None else [waiting, gone]
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else heard
    finally:
        waiting.cancel()
        context.metrics.inbox_waiting.dec()


def _until_next(pulled: Pulled, now: Timestamp) -> float:
    if pulled.late:
        return _LOOK_LATE_EVERY_S
    if pulled.next_at is None:
        return _LOOK_EVERY_S
    return min(_LOOK_EVERY_S, max(pulled.next_at - now, 1) / 1000)


@asynccontextmanager
async def _watched(
    request: Request[Any, Any, Any], *, watch: bool
) -> AsyncIterator["asyncio.Future[None] | None"]:
    """A future that is done when the caller has hung up."""
    gone = asyncio.ensure_future(_gone(request)) if watch else None
    try:
        yield gone
    finally:
        if gone is not None:
            gone.cancel()


async def _gone(request: Request[Any, Any, Any]) -> None:
    with suppress(OSError):
        while cast("str", (await request.receive())["type"]) != "http.disconnect":
            pass


async def _peek(
    context: Context,
    organization_id: str,
    name: str,
    request: Request[Any, Any, Any],
    type_pattern: str | None,
    limit: int,
    cursor: str | None,
    wait_s: float,
) -> EventPage:
    check_type_pattern(type_pattern)
    bound_to = _bound("peek", organization_id, name, type_pattern)
    after = None if cursor is None else context.cursors.read(cursor, *bound_to)
    store, clock = context.store, asyncio.get_running_loop().time
    began = clock()
    heard = await store.wait_log(-1, 0.0)
    while True:
        events, page = await _page(context, organization_id, name, type_pattern, after, limit)
        left = max(wait_s, _LATE_S if page.late else 0.0) - (clock() - began)
        if events or page.unfinished or left <= 0 or context.draining():
            position = page.position if page.unfinished else None
            return EventPage(
                events, None if position is None else context.cursors.write(position, *bound_to)
            )
        every_s = _LOOK_LATE_EVERY_S if page.late else _LOOK_EVERY_S
        heard = await _heard(context, heard, min(left, every_s), None)
        check_key(context, request)


async def _page(
    context: Context,
    organization_id: str,
    name: str,
    type_pattern: str | None,
    after: str | None,
    limit: int,
) -> tuple[list[Event], InboxPage]:
    """Events behind a position: looked for until the page is full, or for so long."""
    clock = asyncio.get_running_loop().time
    began = clock()
    events: list[Event] = []
    room = BYTES_AT_ONCE
    while True:
        try:
            page = await context.store.peek_inbox(
                organization_id,
                name,
                type_pattern=type_pattern,
                after=after,
                limit=limit - len(events),
                most_bytes=room,
            )
        except MalformedValue:
            raise InvalidCursor from None  # of another store, copied to this one
        if page is None:
            raise NotFound(_NO_INBOX)
        events += page.events
        room -= sum(len(memoryview(each.payload)) for each in page.events)
        after = page.position
        full = len(events) == limit or room <= 0
        if full or not page.unfinished or clock() - began >= _LOOK_FOR_S:
            return events, page


# ── settling ──────────────────────────────────────────────────────────────────────────────────────


async def _ack(context: Context, organization_id: str, name: str, data: AckRequest) -> InboxResults:
    return await _settle(
        context, organization_id, name, InboxAction.ACK, data.receipts, data.ids, [], 0.0
    )


async def _nack(
    context: Context, organization_id: str, name: str, data: NackRequest
) -> InboxResults:
    errors: list[FieldError] = []
    delay_s = data.delay_s or 0.0
    _check_range(errors, "/delay_s", delay_s, 0, LONGEST_LEASE_S)
    return await _settle(
        context, organization_id, name, InboxAction.NACK, data.receipts, data.ids, errors, delay_s
    )


async def _extend(
    context: Context, organization_id: str, name: str, data: ExtendRequest
) -> InboxResults:
    errors: list[FieldError] = []
    _check_range(errors, "/lease_s", data.lease_s, 1, LONGEST_LEASE_S)
    return await _settle(
        context,
        organization_id,
        name,
        InboxAction.EXTEND,
        data.receipts,
        data.ids,
        errors,
        data.lease_s,
    )


async def _settle(
    context: Context,
    organization_id: str,
    name: str,
    action: InboxAction,
    receipts: list[str] | None,
    ids: list[str] | None,
    errors: list[FieldError],
    seconds: float,
) -> InboxResults:
    if receipts is None and ids is None:
        errors.append(FieldError("/receipts", "missing-field", "is needed, or ids"))
    if receipts is not None and ids is not None:
        errors.append(FieldError("/ids", "conflict", "cannot be given beside receipts"))
    for pointer, given in (("/receipts", receipts), ("/ids", ids)):
        if given is not None and not 1 <= len(given) <= MOST_AT_ONCE:
            message = f"must have 1 to {MOST_AT_ONCE} entries"
            errors.append(FieldError(pointer, "invalid-length", message))
    if errors:
        raise ValidationFailed("nothing was changed", errors=errors)
    if receipts is not None:
        bound_to = _bound("receipt", organization_id, name)
        named = [_read_receipt(context, each, bound_to) for each in receipts]
    else:
        named = list[str | None](ids or [])
    outcomes = await context.store.settle_inbox(
        organization_id,
        name,
        action,
        [each for each in named if each is not None],
        by_id=receipts is None,
        seconds=seconds,
    )
    if outcomes is None:
        raise NotFound(_NO_INBOX)
    known = iter(outcomes)
    unknown = InboxOutcome(None, InboxStatus.NOT_FOUND)
    results = []
    for given_text, each in zip(receipts or ids or [], named, strict=True):
        outcome = unknown if each is None else next(known)
        context.metrics.inbox_settled.labels(outcome.status.value).inc()
        if receipts is not None:
            results.append(InboxResult(outcome.event_id, given_text, outcome.status))
        else:
            results.append(InboxResult(given_text, None, outcome.status))
    return InboxResults(results)


def _read_receipt(context: Context, receipt: str, bound_to: tuple[str, ...]) -> str | None:
    """What the store gave out; ``None`` for what we did not make, or not for this inbox."""
    if len(receipt) > _RECEIPT_LENGTH:
        return None
    try:
        return context.cursors.read(receipt, *bound_to)
    except InvalidCursor:
        return None


async def _delete(context: Context, organization_id: str, name: str, event_id: str) -> None:
    outcomes = await context.store.settle_inbox(
        organization_id, name, InboxAction.ACK, [event_id], by_id=True
    )
    if outcomes is None:
        raise NotFound(_NO_INBOX)
    if outcomes[0].status is InboxStatus.NOT_FOUND:
        raise NotFound(_NO_EVENT)
    context.metrics.inbox_settled.labels(InboxStatus.ACKED.value).inc()


async def _seek(
    context: Context,
    principal: Principal,
    organization_id: str,
    name: str,
    data: SeekRequest,
) -> InboxView:
    found = await context.store.seek_inbox(organization_id, name, _target(data.to))
    if found is None:
        raise NotFound(_NO_INBOX)
    if not found:
        raise NotFound("there is no such event")
    log.info("inbox sought", organization_id=organization_id, inbox=name, key_id=principal.key_id)
    return await _shown(context, organization_id, name)


def _target(to: str) -> InboxSeek:
    if to in {"start", "end"}:
        return InboxSeek(end=to == "end")
    if to.startswith("evt_"):
        return InboxSeek(event_id=to)
    try:
        return InboxSeek(at=Timestamp.parse(to))
    except MalformedValue:
        message = "must be start, end, a moment, or the id of an event"
        raise ValidationFailed.of("/to", "invalid-timestamp", message) from None


# ── showing ───────────────────────────────────────────────────────────────────────────────────────


async def _shown(context: Context, organization_id: str, name: str) -> InboxView:
    inbox = await context.store.inbox(organization_id, _named(name))
    counts = await context.store.count_inbox(organization_id, name, COUNTED)
    if inbox is None:
        raise NotFound(_NO_INBOX)
    return _view(context, inbox, _there(counts))


def _there(counts: InboxCounts | None) -> InboxCounts:
    """What was counted.

    Raises:
        NotFound: the inbox was deleted at this very moment.
    """
    if counts is None:
        raise NotFound(_NO_INBOX)
    return counts


def _view(context: Context, inbox: Inbox, counts: InboxCounts) -> InboxView:
    oldest = counts.oldest_received_at
    return InboxView(
        name=inbox.name,
        types=None if inbox.types is None else list(inbox.types),
        created_at=inbox.created_at,
        unacked=counts.unacked,
        leased=counts.leased,
        complete=counts.exact,
        oldest_age_s=None if oldest is None else max(0, context.store.now() - oldest) / 1000,
    )


def _named(name: str) -> str:
    """A name that an inbox can have.

    Raises:
        NotFound: none can have it.
    """
    if _NAME.fullmatch(name) is None:
        raise NotFound(_NO_INBOX)
    return name


def _bound(what: str, organization_id: str, name: str, *more: str | None) -> tuple[Any, ...]:
    """What a cursor or a receipt is good for."""
    return ("inbox", what, organization_id, name, *more)


def _check_range(
    errors: list[FieldError], pointer: str, value: float, least: float, most: float
) -> None:
    if not least <= value <= most:
        message = f"must be from {least:g} to {most:g}"
        errors.append(FieldError(pointer, "out-of-range", message))


def _check_types(errors: list[FieldError], types: Sequence[str] | None) -> None:
    if types is None:
        return
    if not 1 <= len(types) <= TYPES_LIMIT:
        message = f"must have 1 to {TYPES_LIMIT} entries"
        errors.append(FieldError("/types", "invalid-length", message))
        return
    message = "must be an event type, in which * may stand for any run of characters"
    errors += [
        FieldError(f"/types/{position}", "invalid-event-type", message)
        for position, each in enumerate(types)
        if not is_type_pattern(each)
    ]


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/",
        route_handlers=[
            peek,
            pull,
            ack,
            nack,
            extend,
            seek,
            delete_from_inbox,
            list_inboxes,
            put_inbox,
            get_inbox,
            delete_inbox,
            peek_named,
            pull_named,
            ack_named,
            nack_named,
            extend_named,
            seek_named,
            delete_from_named,
        ],
        tags=["Inbox"],
    )
