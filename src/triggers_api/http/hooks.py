"""``/api/hooks``: subscriptions as no-code tools ask for them, and samples of what these are sent."""

from typing import Annotated, Final

import msgspec
from litestar import Response, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, UnsetType

from triggers_api.errors import FieldError, NotFound, ValidationFailed
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.event_types import example_of
from triggers_api.http.parameters import Cursor, Limit
from triggers_api.http.poll import FLAT_EVENTS, array, check_pattern, recent
from triggers_api.http.subscriptions import check_organization, check_url, new_subscription
from triggers_api.model.hook import FORMAT, is_same, living_hooks
from triggers_api.model.organization import Scope
from triggers_api.model.rendering import JSON, EventContent, flat
from triggers_api.model.subscription import Subscription, SubscriptionRecord, SubscriptionStatus
from triggers_api.model.text import is_type_pattern
from triggers_api.model.timestamp import Timestamp

_DAY_S: Final = 86_400
_SAMPLE_ID: Final = "evt_019b76daa80070008000000000000000"
"""2026-01-01T00:00:00Z, and the same each time: a tool takes it for one event, however often it asks."""
_SAMPLE_PAYLOAD: Final = b'{"sample":true,"message":"No event of this type has come in yet."}'


class HookRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where events are to go, and which, by one spelling of each. ``null`` is the same as none."""

    target_url: str | None = None
    url: str | None = None
    hook_url: str | None = msgspec.field(default=None, name="hookUrl")
    event: str | None = None
    event_type: str | None = None


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as a no-code tool knows it. Its id is that of the subscription."""

    id: str
    target_url: str
    event: str
    status: SubscriptionStatus
    created_at: Timestamp
    expiration_date: Timestamp | UnsetType = UNSET


class HookCreated(Hook, frozen=True, kw_only=True):
    """A new hook, with the secret that signs what it is sent, which is shown this once."""

    secret: str


class HookPage(msgspec.Struct, frozen=True):
    """Hooks, newest first."""

    data: list[Hook]
    next_cursor: str | None


@post(
    "/",
    operation_id="CreateHook",
    summary="Subscribe a no-code tool",
    opt={ACCESS: (Scope.MANAGE,)},
    responses={
        200: ResponseSpec(
            Hook, generate_examples=False, description="There is such a hook, and it is this one."
        ),
        201: ResponseSpec(HookCreated, generate_examples=False, description="A new hook."),
    },
)
async def create_hook(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    data: JSONBody[HookRequest],
) -> Response[Hook]:
    """Gets every matching event from now on, in the flat format. Asked for again, it is the same one."""
    url, event = await _asked(context, data)
    expires_at = _expiry(context)
    # Made before anybody has to wait for the answer to whether it is needed.
    record = await new_subscription(
        context,
        organization_id,
        {"event_types": [event], "payload_format": FORMAT},
        url=url,
        expires_at=expires_at,
        hook=True,
    )
    async with context.changing(organization_id):
        check_organization(context, organization_id)
        theirs = context.directory.subscriptions(organization_id)
        for living in living_hooks(theirs, now=context.store.now()):
            if is_same(living.subscription, url, event):
                renewed = await _renewed(context, living, expires_at)
                return Response(_shown(renewed), status_code=200)
        for ended in theirs:
            # What it asks for again replaces what had ended: a tool does so whenever it is told.
            if is_same(ended.subscription, url, event):
                await context.store.delete_subscription(organization_id, ended.subscription.id)
        await context.store.save_subscription(record)
    (secret,) = record.secrets
    shown = _shown(record.subscription)
    fields = {name: getattr(shown, name) for name in shown.__struct_fields__}
    return Response(HookCreated(**fields, secret=secret), status_code=201)


@get("/", summary="List hooks", opt={ACCESS: (Scope.READ, Scope.MANAGE)})
async def list_hooks(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    target_url: Annotated[
        str | None, QueryParameter(description="Only those that lead exactly there.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> HookPage:
    """Newest first. One that has ended is not listed here, but among the subscriptions."""
    bound_to = ("hooks", organization_id, target_url)
    page = context.cursors.page(cursor, limit, *bound_to)
    await context.directory.refresh()  # what another process was asked for a moment ago
    theirs = context.directory.subscriptions(organization_id)
    found = [
        _shown(record.subscription)
        for record in living_hooks(theirs, now=context.store.now())
        if (target_url is None or record.subscription.url == target_url)
        and (page.before is None or record.subscription.id < page.before)
    ]
    return HookPage(*context.cursors.next(found, limit, *bound_to))


@delete("/{hook_id:str}", summary="Unsubscribe a no-code tool", opt={ACCESS: (Scope.MANAGE,)})
async def delete_hook(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    hook_id: FromPath[str],
) -> None:
    """Cancels what is pending for it. Deleting it again is fine."""
    async with context.changing(organization_id):
        if not await context.store.is_hook(organization_id, hook_id):
            raise NotFound("there is no such hook, and never was")
        await context.store.delete_subscription(organization_id, hook_id)


@get(
    "/samples",
    operation_id="SampleEvents",
    summary="Show what a hook is sent",
    opt={ACCESS: (Scope.READ,)},
    responses=FLAT_EVENTS,
)
async def sample_events(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    event_type: Annotated[
        str, QueryParameter(description="A type; `*` is any run of characters.")
    ] = "*",
    limit: Annotated[int, QueryParameter(ge=1, le=100, description="Events at the most.")] = 3,
) -> Response[bytes]:
    """The newest events of the type, as they are sent; its example where none has come in yet."""
    check_pattern("event_type", event_type)
    found = await recent(context, organization_id, event_type, limit=limit)
    if not found:
        example = example_of(context, organization_id, event_type)
        found = [_made_up(organization_id, event_type, example)]
    return Response(array(found), media_type=JSON)


def _made_up(organization_id: str, pattern: str, example: bytes | None) -> bytes:
    event_type = pattern.replace("*", "sample")
    return flat(
        EventContent(
            id=_SAMPLE_ID,
            organization_id=organization_id,
            type=event_type,
            sent_at=Timestamp(0),
            payload=example or _SAMPLE_PAYLOAD,
        )
    )


async def _asked(context: Context, data: HookRequest) -> tuple[str, str]:
    errors: list[FieldError] = []
    name, url = _one_of(
        errors, {"target_url": data.target_url, "url": data.url, "hookUrl": data.hook_url}
    )
    if url:
        await check_url(context, errors, f"/{name}", url)
    name, event = _one_of(errors, {"event": data.event, "event_type": data.event_type})
    if event and not is_type_pattern(event):
        message = "must be an event type, in which * may stand for any run of characters"
        errors.append(FieldError(f"/{name}", "invalid-event-type", message))
    if errors:
        raise ValidationFailed("the hook is not acceptable", errors=errors)
    return url, event


def _one_of(errors: list[FieldError], spellings: dict[str, str | None]) -> tuple[str, str]:
    """Which of several names was used, and for what; a fault is added to ``errors``."""
    given = {name: value for name, value in spellings.items() if value is not None}
    first, *_ = given or spellings
    if not given or not given[first]:
        errors.append(FieldError(f"/{first}", "missing-field", "is required"))
        return first, ""
    if len(set(given.values())) > 1:
        names = " and ".join(given)
        errors.append(FieldError(f"/{first}", "conflict", f"{names} differ"))
    return first, given[first]


def _expiry(context: Context) -> Timestamp | None:
    days = context.settings.hook_ttl_days
    return context.store.now().after(seconds=days * _DAY_S) if days else None


async def _renewed(
    context: Context, record: SubscriptionRecord, expires_at: Timestamp | None
) -> Subscription:
    """A hook that was asked for again lives on from now; what somebody else set is not shortened."""
    subscription = record.subscription
    if (
        expires_at is None
        or subscription.expires_at is None
        or expires_at <= subscription.expires_at
    ):
        return subscription
    renewed = msgspec.structs.replace(
        subscription, expires_at=expires_at, updated_at=context.store.now()
    )
    await context.store.save_subscription(msgspec.structs.replace(record, subscription=renewed))
    return renewed


def _shown(subscription: Subscription) -> Hook:
    return Hook(
        id=subscription.id,
        target_url=subscription.url,
        event=subscription.event_types[0],
        status=subscription.status,
        created_at=subscription.created_at,
        expiration_date=UNSET if subscription.expires_at is None else subscription.expires_at,
    )


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/api/hooks",
        route_handlers=[create_hook, list_hooks, delete_hook, sample_events],
        tags=["Hooks"],
    )
