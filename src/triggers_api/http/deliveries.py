"""``/api/deliveries`` and ``/api/dead-letters``."""

from typing import Annotated, Final

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from triggers_api.errors import NotFound, ValidationFailed
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.parameters import Cursor, Limit, Since, Until
from triggers_api.http.request import check_action
from triggers_api.model.delivery import Delivery, DeliveryDetail, DeliveryStatus
from triggers_api.model.ids import received_ms
from triggers_api.model.organization import Scope
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.workload import MOST, DeadGroup
from triggers_api.store.base import DeliveryFilter

SubscriptionId = Annotated[str | None, QueryParameter(description="Of this subscription.")]
GroupLimit = Annotated[int, QueryParameter(ge=1, le=100, description="Groups on a page.")]
ErrorClass = Annotated[
    str | None,
    QueryParameter(
        max_length=40,
        description="What the last attempt came to: a status code, or a word as in `error`.",
    ),
]
EventId = Annotated[str | None, QueryParameter(description="Of this event.")]


_COUNTED: Final = 200_000
"""Up to how many dead letters one page of groups counts."""


class DeadLetterGroup(DeadGroup, frozen=True, kw_only=True):
    """Dead letters of a subscription that came to the same; ``newest_at``: when the last was made."""

    newest_at: Timestamp


class DeadLetterGroups(msgspec.Struct, frozen=True):
    """Groups of dead letters, by subscription and by what their last attempts came to."""

    data: list[DeadLetterGroup]
    next_cursor: str | None


class DeliveryPage(msgspec.Struct, frozen=True):
    """Deliveries, newest first."""

    data: list[Delivery]
    next_cursor: str | None


@get("/api/deliveries", summary="List deliveries", opt={ACCESS: (Scope.READ,)})
async def list_deliveries(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    status: FromQuery[DeliveryStatus | None] = None,
    subscription_id: SubscriptionId = None,
    event_id: EventId = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DeliveryPage:
    """Newest first; ``since`` and ``until`` are about ``created_at``.

    With a ``status`` that few have, a page may be short, or empty, and go on with its ``next_cursor``.
    """
    wanted = DeliveryFilter(
        status=status,
        subscription_id=subscription_id,
        event_id=event_id,
        since=since,
        until=until,
    )
    return await _page(context, organization_id, wanted, limit, cursor)


@get("/api/dead-letters", summary="List dead letters", opt={ACCESS: (Scope.READ, Scope.MANAGE)})
async def list_dead_letters(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    subscription_id: SubscriptionId = None,
    error_class: ErrorClass = None,
    event_id: EventId = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DeliveryPage:
    """Deliveries whose attempts are used up, newest first; by ``error_class`` of one subscription."""
    if error_class is not None and (subscription_id is None or event_id is not None):
        raise ValidationFailed.of(
            "error_class", "invalid-parameter", "goes with subscription_id, and not with event_id"
        )
    wanted = DeliveryFilter(
        status=DeliveryStatus.DEAD,
        subscription_id=subscription_id,
        event_id=event_id,
        error_class=error_class,
        since=since,
        until=until,
    )
    return await _page(context, organization_id, wanted, limit, cursor)


@get(
    "/api/dead-letters/groups",
    summary="Group dead letters",
    opt={ACCESS: (Scope.READ, Scope.MANAGE)},
)
async def group_dead_letters(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    limit: GroupLimit = 20,
    cursor: Cursor = None,
) -> DeadLetterGroups:
    """By subscription and by what the last attempts came to, with how many there are of each.

    Counted up to 10000, or less where many groups are asked for: ``complete`` says whether that is all.
    """
    bound_to = ("dead-letter groups", organization_id)
    after = None
    if cursor is not None:
        subscription_id, _, error_class = context.cursors.read(cursor, *bound_to).partition(" ")
        after = subscription_id, error_class
    found = await context.store.dead_groups(
        organization_id, after=after, limit=limit + 1, most=min(MOST, _COUNTED // limit)
    )
    groups = [
        DeadLetterGroup(
            **msgspec.structs.asdict(each), newest_at=Timestamp(received_ms(each.newest))
        )
        for each in found[:limit]
    ]
    if len(found) <= limit:
        return DeadLetterGroups(groups, None)
    last = f"{groups[-1].subscription_id} {groups[-1].error_class}"
    return DeadLetterGroups(groups, context.cursors.write(last, *bound_to))


async def _page(
    context: Context, organization_id: str, wanted: DeliveryFilter, limit: int, cursor: str | None
) -> DeliveryPage:
    bound_to = ("deliveries", organization_id, wanted)
    page = context.cursors.page(cursor, limit, *bound_to)
    deliveries = await context.store.deliveries(organization_id, wanted, page)
    return DeliveryPage(*context.cursors.next(deliveries, limit, *bound_to, go_on=deliveries.go_on))


@get("/api/deliveries/{delivery_id:str}", summary="Get a delivery", opt={ACCESS: (Scope.READ,)})
async def get_delivery(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    delivery_id: FromPath[str],
) -> DeliveryDetail:
    """The delivery with every attempt."""
    return await _get(context, organization_id, delivery_id)


@post(
    "/api/deliveries/{delivery_id:str}/retry",
    summary="Retry a delivery now",
    status_code=202,
    guards=[check_action],
    opt={ACCESS: (Scope.MANAGE,)},
)
async def retry_delivery(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    delivery_id: FromPath[str],
) -> DeliveryDetail:
    """Opens a dead, skipped or cancelled one again, with a fresh schedule behind it."""
    if not await context.store.retry_delivery(organization_id, delivery_id):
        raise NotFound("there is no such delivery")
    return await _get(context, organization_id, delivery_id)


@post(
    "/api/deliveries/{delivery_id:str}/cancel",
    summary="Cancel a delivery",
    status_code=202,
    guards=[check_action],
    opt={ACCESS: (Scope.MANAGE,)},
)
async def cancel_delivery(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    delivery_id: FromPath[str],
) -> DeliveryDetail:
    """Ends one that is not finished. An attempt in flight is not recalled, but changes nothing."""
    if not await context.store.cancel_delivery(organization_id, delivery_id):
        raise NotFound("there is no such delivery")
    return await _get(context, organization_id, delivery_id)


async def _get(context: Context, organization_id: str, delivery_id: str) -> DeliveryDetail:
    delivery = await context.store.delivery(organization_id, delivery_id)
    if delivery is None:
        raise NotFound("there is no such delivery")
    return delivery


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/",
        route_handlers=[
            list_deliveries,
            list_dead_letters,
            group_dead_letters,
            get_delivery,
            retry_delivery,
            cancel_delivery,
        ],
        tags=["Deliveries"],
    )
