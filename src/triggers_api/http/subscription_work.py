"""What goes to one subscription: an event to test it, and how its deliveries have fared."""

from typing import Any, Final

import msgspec
from litestar import Request, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from triggers_api.errors import FieldError, InvalidState, NotFound, ValidationFailed
from triggers_api.http.context import ACCESS, LIMIT_HEADERS, Context
from triggers_api.http.event_types import example_of
from triggers_api.http.parameters import Since, Until
from triggers_api.http.request import OPTIONAL_BODY
from triggers_api.http.wire import Headers
from triggers_api.model import ids, text
from triggers_api.model.delivery import Delivery, NewDelivery
from triggers_api.model.event import NewEvent
from triggers_api.model.organization import Scope
from triggers_api.model.statistics import SubscriptionStats
from triggers_api.model.subscription import MATCHING

TEST_TYPE: Final = "triggers.test"
TEST_PAYLOAD: Final = b'{"message":"This is a test event. Nothing has happened."}'
WINDOW_S: Final = 86_400.0


class SubscriptionTest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be sent. A field that is left out has its default, also a ``type`` of ``null``.

    Without ``payload`` it is the example of the type, where it has one.
    """

    type: str | None = None
    payload: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


@post(
    "/{subscription_id:str}/test",
    summary="Send a test event",
    status_code=202,
    opt={ACCESS: (Scope.MANAGE,), OPTIONAL_BODY: True},
)
async def test_subscription(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    subscription_id: FromPath[str],
    data: JSONBody[SubscriptionTest],
    request: Request[Any, Any, Any],
) -> Delivery:
    """One attempt, at this subscription alone, whatever types and filter it has.

    It counts as one event against the organization's rate limit.
    """
    event_type = TEST_TYPE if data.type is None else data.type
    if not text.is_event_type(event_type):
        wanted = "must be 1 to 255 characters of A-Z a-z 0-9 _ . : / -"
        raise ValidationFailed(
            "the test event is not acceptable",
            errors=[FieldError("/type", "invalid-event-type", wanted)],
        )
    limit_headers: Headers = []
    request.scope["state"][LIMIT_HEADERS] = limit_headers
    await context.admission.charged(organization_id, 1, limit_headers)
    store = context.store
    record = await store.subscription(organization_id, subscription_id)
    if record is None:
        raise NotFound("there is no such subscription")
    status = record.subscription.status_at(store.now())
    if status not in MATCHING:
        raise InvalidState(f"the subscription is {status}")
    delivery = NewDelivery(store.ids.new(ids.DELIVERY), subscription_id)
    event = NewEvent(
        store.ids.new(ids.EVENT),
        organization_id,
        event_type,
        bytes(data.payload) or example_of(context, organization_id, event_type) or TEST_PAYLOAD,
        deliveries=(delivery,),
    )
    if not await store.append_test(event):
        raise NotFound("there is no such subscription")
    made = await store.delivery(organization_id, delivery.id)
    assert made is not None
    return Delivery(**{name: getattr(made, name) for name in Delivery.__struct_fields__})


@get(
    "/{subscription_id:str}/stats",
    summary="How a subscription has fared",
    opt={ACCESS: (Scope.READ, Scope.MANAGE)},
)
async def subscription_stats(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    subscription_id: FromPath[str],
    since: Since = None,
    until: Until = None,
) -> SubscriptionStats:
    """Of the deliveries made within a window: the day before ``until``, by default until now."""
    if await context.store.subscription(organization_id, subscription_id) is None:
        raise NotFound("there is no such subscription")
    end = context.store.now() if until is None else until
    return await context.store.subscription_stats(
        organization_id,
        subscription_id,
        since=end.after(seconds=-WINDOW_S) if since is None else since,
        until=end,
    )


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/api/subscriptions",
        route_handlers=[test_subscription, subscription_stats],
        tags=["Subscriptions"],
    )
