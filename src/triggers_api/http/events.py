"""``/api/events``: list, read, delete. Sending one is in ``hot.py``."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, cast

import msgspec
import structlog
from litestar import Request, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ASGIApp

from triggers_api.errors import FieldError, InvalidState, NotFound, ValidationFailed
from triggers_api.http.batch import BatchResult
from triggers_api.http.context import ACCESS, BEGINNINGS, Context
from triggers_api.http.deliveries import DeliveryPage
from triggers_api.http.parameters import (
    PAYLOAD,
    Cursor,
    Limit,
    Order,
    Since,
    Until,
    check_type_pattern,
    conditions_wanted,
    words_wanted,
)
from triggers_api.http.request import OPTIONAL_BODY, check_action
from triggers_api.http.stream import EventStream
from triggers_api.model import ids
from triggers_api.model.controls import DeliveryMode
from triggers_api.model.delivery import WAITING, NewDelivery
from triggers_api.model.event import Event, EventDetail, EventStatus
from triggers_api.model.explain import Explanation, explain, view_of
from triggers_api.model.organization import Scope
from triggers_api.model.subscription import MATCHING, Subscription
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import EventFilter, Store
from triggers_api.store.directory import Principal

log = structlog.get_logger(__name__)

REPLAYED_TO_LIMIT: Final = 100

_NO_EVENT: Final = "there is no such event"


TypePattern = Annotated[
    str | None, QueryParameter(name="type", description="A type; `*` is any run of characters.")
]


class EventPage(msgspec.Struct, frozen=True):
    """Events in the order that was asked for."""

    data: list[Event]
    next_cursor: str | None


class EventExplanation(msgspec.Struct, frozen=True):
    """Why each subscription gets an event, or not."""

    event_id: str
    subscriptions: list[Explanation]


class EventReplay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To whom an event is to be delivered once more. ``null`` is the same as leaving it out."""

    subscription_ids: list[str] | None = None


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The event was stored. ``warnings``: where its payload does not fit its type's schema."""

    id: str
    type: str
    dedup_id: str | None
    status: EventStatus
    duplicate: bool
    received_at: Timestamp
    warnings: list[FieldError] = []


class Duplicate(Accepted, frozen=True, kw_only=True):
    """An event with this dedup_id was there already; this is that one."""

    payload_matches: bool
    message: str


@post(
    "/",
    operation_id="SendEvent",
    summary="Send an event",
    status_code=202,
    responses={
        200: ResponseSpec(
            Duplicate, generate_examples=False, description="An event with this dedup_id exists."
        ),
        201: ResponseSpec(
            Accepted,
            generate_examples=False,
            description="Stored, and its routing too (sync mode).",
        ),
        202: ResponseSpec(
            Accepted, generate_examples=False, description="Stored durably, to be routed."
        ),
    },
)
async def send_event(context: NamedDependency[Context]) -> ASGIApp:
    """Stored durably when the answer comes. Counts against the organization's rate limit."""
    return cast("ASGIApp", context.post_event)


@post(
    "/batch",
    operation_id="SendEvents",
    summary="Send many events",
    status_code=202,
    responses={
        201: ResponseSpec(
            BatchResult,
            generate_examples=False,
            description="As 202, and the routing is stored, too (sync mode).",
        ),
        202: ResponseSpec(
            BatchResult,
            generate_examples=False,
            description="Some are stored durably, or were there already.",
        ),
        422: ResponseSpec(
            BatchResult, generate_examples=False, description="None of them was acceptable."
        ),
    },
)
async def send_events(context: NamedDependency[Context]) -> ASGIApp:
    """Each is checked alone and has its own result; what is accepted is stored in one commit."""
    return cast("ASGIApp", context.post_batch)


@get("/", summary="List events", opt={ACCESS: (Scope.READ,), BEGINNINGS: (PAYLOAD,)})
async def list_events(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    request: Request[Any, Any, Any],
    type_: TypePattern = None,
    source: Annotated[str | None, QueryParameter(description="Exactly this source.")] = None,
    key: Annotated[str | None, QueryParameter(description="Exactly this key.")] = None,
    dedup_id: FromQuery[str | None] = None,
    status: FromQuery[EventStatus | None] = None,
    since: Since = None,
    until: Until = None,
    operational: Annotated[  # noqa: FBT002 - a parameter of the query
        bool, QueryParameter(description="The service's own events instead of all others.")
    ] = False,
    q: Annotated[
        str | None, QueryParameter(description="Words that are all in the payload, in any case.")
    ] = None,
    order: Annotated[
        Order, QueryParameter(description="desc: newest first; asc: oldest first.")
    ] = Order.DESC,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> EventPage:
    """An event is found as soon as its 202 is out.

    `payload.<path>=value` asks for a value in the payload, at keys and array indexes joined by dots:
    `payload.items.0.sku=A-7`. Up to ten may be given. A page may be short of the limit, or empty, and
    there are more all the same: `next_cursor` says so.
    """
    check_type_pattern(type_)
    wanted = EventFilter(
        type=type_,
        source=source,
        key=key,
        words=words_wanted(q),
        conditions=conditions_wanted(request.scope["query_string"]),
        oldest_first=order is Order.ASC,
        dedup_id=dedup_id,
        status=status,
        since=since,
        until=until,
        operational=operational,
    )
    bound_to = ("events", organization_id, wanted)
    page = context.cursors.page(cursor, limit, *bound_to)
    events = await context.store.events(organization_id, wanted, page)
    return EventPage(*context.cursors.next(events, limit, *bound_to, go_on=events.go_on))


@get(
    "/stream",
    summary="Follow events as they come in",
    opt={ACCESS: (Scope.READ,)},
    responses={
        200: ResponseSpec(
            str,
            generate_examples=False,
            media_type="text/event-stream",
            description="Server-sent events: `id` is the event's, `data` the event object.",
        )
    },
)
async def stream_events(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    principal: NamedDependency[Principal],
    request: Request[Any, Any, Any],
    type_: TypePattern = None,
) -> ASGIApp:
    """In the order of their commits, from now on, or behind the event that `Last-Event-ID` names."""
    check_type_pattern(type_)
    last = request.headers.get("last-event-id")
    if last is None:
        after = await context.store.log_end(organization_id)
    else:
        after = await context.store.log_position(organization_id, last)
        if after is None:
            raise ValidationFailed.of(
                "Last-Event-ID",
                "unknown-event",
                "there is no such event, or it was kept for as long as events are: what came in since "
                "cannot be told apart from what was missed",
            )
    stream = EventStream(
        context.store,
        organization_id,
        after=after,
        pattern=type_,
        may_read=lambda: context.directory.principal_of(principal.key_id) is not None,
        ending=context.ending,
        readers=context.readers,
    )
    return cast("ASGIApp", stream)


@get("/{event_id:str}", summary="Get an event", opt={ACCESS: (Scope.READ,)})
async def get_event(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    event_id: FromPath[str],
) -> EventDetail:
    """The event with its deliveries and timeline."""
    return await _get(context, organization_id, event_id)


async def _get(context: Context, organization_id: str, event_id: str) -> EventDetail:
    event = await context.event(organization_id, event_id)
    if event is None:
        raise NotFound(_NO_EVENT)
    return event


@get(
    "/{event_id:str}/explain",
    summary="Explain who gets an event, and who does not",
    opt={ACCESS: (Scope.READ,)},
)
async def explain_event(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    event_id: FromPath[str],
) -> EventExplanation:
    """For each subscription, newest first: why it gets the event or not, and how its delivery stands."""
    store = context.store
    event = await context.stored_event(organization_id, event_id)
    if event is None:
        raise NotFound(_NO_EVENT)
    subscriptions = sorted(
        (record.subscription for record in context.directory.subscriptions(organization_id)),
        key=lambda each: each.id,
        reverse=True,
    )
    return EventExplanation(
        event.id,
        explain(
            event,
            event.received_at + store.skew_ms,
            subscriptions,
            in_flight=await _in_flight(store, organization_id, event, subscriptions),
            health=await store.endpoint_health(
                organization_id, {each.subscription_id for each in event.deliveries}
            ),
            now=store.now(),
            held=_held(context, organization_id, subscriptions),
        ),
    )


def _held(
    context: Context, organization_id: str, subscriptions: Iterable[Subscription]
) -> set[str]:
    """Those whose deliveries an operator has paused."""
    modes = context.directory.delivery
    return {
        each.id
        for each in subscriptions
        if modes.of(organization_id, each.id) is DeliveryMode.PAUSED
    }


async def _in_flight(
    store: Store, organization_id: str, event: EventDetail, subscriptions: Iterable[Subscription]
) -> dict[str, int]:
    """How many deliveries are being sent, of those subscriptions whose limit this event may wait for."""
    waiting = {each.subscription_id for each in event.deliveries if each.status in WAITING}
    return {
        each.id: await store.in_flight(organization_id, each.id, each.max_concurrency)
        for each in subscriptions
        if each.id in waiting and each.max_concurrency is not None
    }


@post(
    "/{event_id:str}/replay",
    summary="Replay an event",
    status_code=202,
    opt={ACCESS: (Scope.MANAGE,), OPTIONAL_BODY: True},
)
async def replay_event(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    organization_id: NamedDependency[str],
    event_id: FromPath[str],
    data: JSONBody[EventReplay],
) -> DeliveryPage:
    """Delivers it once more: to the subscriptions that are named, else to all that match it now."""
    store = context.store
    event = await context.stored_event(organization_id, event_id)
    if event is None:
        raise NotFound(_NO_EVENT)
    if data.subscription_ids is None:
        subscription_ids = _matching(context, organization_id, event)
    else:
        subscription_ids = await _named(context, organization_id, data.subscription_ids)
    new = tuple(NewDelivery(store.ids.new(ids.DELIVERY), each) for each in subscription_ids)
    deliveries = await store.replay_event(organization_id, event_id, new)
    if deliveries is None:
        raise NotFound(_NO_EVENT)
    context.metrics.replayed.inc(len(deliveries))
    log.info(
        "event replayed", event_id=event_id, deliveries=len(deliveries), key_id=principal.key_id
    )
    return DeliveryPage(deliveries, None)


def _matching(context: Context, organization_id: str, event: EventDetail) -> list[str]:
    now = context.store.now()
    # As if it came in now: a subscription that was made after it gets it, too.
    received_at = now + context.store.skew_ms
    routes = context.directory.routes(organization_id)
    chosen = routes.route(view_of(event), received_at, now=now)
    return [subscription.id for subscription in chosen]


async def _named(
    context: Context, organization_id: str, subscription_ids: Sequence[str]
) -> list[str]:
    if not 1 <= len(subscription_ids) <= REPLAYED_TO_LIMIT:
        raise ValidationFailed.of(
            "/subscription_ids", "invalid-length", f"must have 1 to {REPLAYED_TO_LIMIT} entries"
        )
    unique = list(dict.fromkeys(subscription_ids))
    records = [await context.store.subscription(organization_id, each) for each in unique]
    errors = [
        FieldError(
            f"/subscription_ids/{subscription_ids.index(subscription_id)}",
            "unknown-subscription",
            "there is no such subscription",
        )
        for subscription_id, record in zip(unique, records, strict=True)
        if record is None
    ]
    if errors:
        raise ValidationFailed("the replay is not acceptable", errors=errors)
    now = context.store.now()
    for record in records:
        status = record.subscription.status_at(now) if record is not None else None
        if record is not None and status not in MATCHING:
            raise InvalidState(f"the subscription {record.subscription.id} is {status}")
    return unique


@post(
    "/{event_id:str}/cancel",
    summary="Cancel an event",
    status_code=200,
    guards=[check_action],
    opt={ACCESS: (Scope.MANAGE,)},
)
async def cancel_event(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    event_id: FromPath[str],
) -> EventDetail:
    """Ends one that is scheduled or queued: nobody gets it. Its dedup_id stays taken."""
    await context.land(organization_id, event_id)
    if not await context.store.cancel_event(organization_id, event_id):
        raise NotFound(_NO_EVENT)
    return await _get(context, organization_id, event_id)


@delete("/{event_id:str}", summary="Delete an event", opt={ACCESS: (Scope.MANAGE,)})
async def delete_event(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    event_id: FromPath[str],
) -> None:
    """Erases the payload, cancels what is pending, and frees the dedup_id."""
    await context.land(organization_id, event_id)
    if await context.store.delete_event(organization_id, event_id):
        return
    if context.buffer is None or not await context.buffer.erase(organization_id, event_id):
        raise NotFound(_NO_EVENT)


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/api/events",
        route_handlers=[
            send_event,
            send_events,
            list_events,
            stream_events,
            get_event,
            explain_event,
            replay_event,
            cancel_event,
            delete_event,
        ],
        tags=["Events"],
    )
