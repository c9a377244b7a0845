"""``/api/deliveries`` and ``/api/dead-letters``."""

from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from triggers_api.errors import NotFound
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.parameters import Cursor, Limit, Since, Until
from triggers_api.http.request import check_action
from triggers_api.model.delivery import Delivery, DeliveryDetail, DeliveryStatus
from triggers_api.model.organization import Scope
from triggers_api.store.base import DeliveryFilter

SubscriptionId = Annotated[str | None, QueryParameter(description="Of this subscription.")]
EventId = Annotated[str | None, QueryParameter(description="Of this event.")]


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
    """Newest first; ``since`` and ``until`` are about ``created_at``."""
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
    event_id: EventId = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DeliveryPage:
    """Deliveries whose attempts are used up, newest first."""
    wanted = DeliveryFilter(
        status=DeliveryStatus.DEAD,
        subscription_id=subscription_id,
        event_id=event_id,
        since=since,
        until=until,
    )
    return await _page(context, organization_id, wanted, limit, cursor)


async def _page(
    context: Context, organization_id: str, wanted: DeliveryFilter, limit: int, cursor: str | None
) -> DeliveryPage:
    bound_to = ("deliveries", organization_id, wanted)
    page = context.cursors.page(cursor, limit, *bound_to)
    deliveries = await context.store.deliveries(organization_id, wanted, page)
    return DeliveryPage(*context.cursors.next(deliveries, limit, *bound_to))


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
            get_delivery,
            retry_delivery,
            cancel_delivery,
        ],
        tags=["Deliveries"],
    )
