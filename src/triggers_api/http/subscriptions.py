"""``/api/subscriptions``."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from litestar import Router, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, UnsetType

from triggers_api.deliver.egress import EgressRefused
from triggers_api.deliver.signature import new_secret, public_key
from triggers_api.errors import (
    FieldError,
    InvalidState,
    MalformedValue,
    NotFound,
    Position,
    Unauthorized,
    ValidationFailed,
)
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.parameters import Cursor, Limit
from triggers_api.http.request import OPTIONAL_BODY, changes, check_action
from triggers_api.ingest.draft import check_metadata, pointer_part
from triggers_api.model import ids, text
from triggers_api.model.auth import Auth, BearerAuth, shown
from triggers_api.model.cel.syntax import ExpressionFault
from triggers_api.model.filter import compile_filter
from triggers_api.model.headers import AUTHORIZATION, is_ours
from triggers_api.model.health import HealthShown, shown_health
from triggers_api.model.hook import is_living_hook
from triggers_api.model.organization import Scope
from triggers_api.model.subscription import (
    Ordering,
    PayloadFormat,
    SignatureScheme,
    Subscription,
    SubscriptionRecord,
    SubscriptionStatus,
)
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import HealthReset

Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]

TYPES_LIMIT: Final = 100
DESCRIPTION_LENGTH: Final = 1000
HEADERS_LIMIT: Final = 20
HEADER_LENGTH: Final = 1024
HEADERS_SIZE: Final = 8192
CREDENTIAL_LENGTH: Final = 2048
SCHEDULE_LIMIT: Final = 50
LONGEST_DELAY_S: Final = 7 * 86_400.0
DEFAULT_GRACE_S: Final = 86_400.0
LONGEST_GRACE_S: Final = 30 * 86_400.0
RETIRED_LIMIT: Final = 5

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", re.ASCII)
_TOKEN: Final = re.compile(r"[!-~]+", re.ASCII)


class SubscriptionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subscription that is asked for. ``null`` is the same as leaving a field out."""

    url: str | None = None
    event_types: list[str] | None = None
    filter: str | None = None
    operational: bool | None = None
    description: str | None = None
    headers: dict[str, str] | None = None
    auth: Auth | None = None
    secret: str | None = None
    payload_format: PayloadFormat | None = None
    signature: SignatureScheme | None = None
    retry_schedule: list[float] | None = None
    timeout_s: float | None = None
    rate_limit: float | None = None
    max_concurrency: int | None = None
    ordering: Ordering | None = None
    enabled: bool | None = None
    expires_at: Moment | None = None
    metadata: dict[str, str] | None = None


class SubscriptionChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A merge patch (RFC 7396): what is not in it stays, also in ``headers`` and ``metadata``; ``null``
    puts the default back, and takes a header or an entry away. ``auth`` is replaced whole.
    """

    url: str | UnsetType = UNSET
    event_types: list[str] | UnsetType = UNSET
    filter: str | UnsetType | None = UNSET
    operational: bool | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    headers: dict[str, str | None] | UnsetType | None = UNSET
    auth: Auth | UnsetType | None = UNSET
    payload_format: PayloadFormat | UnsetType | None = UNSET
    retry_schedule: list[float] | UnsetType | None = UNSET
    timeout_s: float | UnsetType | None = UNSET
    rate_limit: float | UnsetType | None = UNSET
    max_concurrency: int | UnsetType | None = UNSET
    ordering: Ordering | UnsetType | None = UNSET
    enabled: bool | UnsetType | None = UNSET
    expires_at: Moment | UnsetType | None = UNSET
    metadata: dict[str, str | None] | UnsetType | None = UNSET


class SubscriptionShown(Subscription, frozen=True, kw_only=True):
    """A subscription, with the health of its endpoint while that fails."""

    health: HealthShown | None = None


class SubscriptionCreated(SubscriptionShown, frozen=True, kw_only=True):
    """A subscription with a new signing secret, which is shown this once; of ``v1a`` nothing is."""

    secret: str | None


class SecretRotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a secret is to be replaced. ``null`` is the same as leaving a field out."""

    grace_s: float | None = None
    signature: SignatureScheme | None = None


class SubscriptionPage(msgspec.Struct, frozen=True):
    """Subscriptions, newest first."""

    data: list[SubscriptionShown]
    next_cursor: str | None


@post("/", summary="Subscribe", opt={ACCESS: (Scope.MANAGE,)})
async def create_subscription(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    data: JSONBody[SubscriptionRequest],
) -> SubscriptionCreated:
    """Gets every matching event received from now on."""
    given = {
        name: value
        for name in data.__struct_fields__
        if (value := getattr(data, name)) is not None and name != "secret"
    }
    return await make_subscription(context, organization_id, given, secret=data.secret)


async def make_subscription(
    context: Context,
    organization_id: str,
    given: dict[str, Any],
    *,
    secret: str | None,
    url: str = "",
    expires_at: Timestamp | None = None,
) -> SubscriptionCreated:
    """Store a subscription with the given fields, each checked; ``url`` and ``expires_at`` are ours.

    Raises:
        ValidationFailed: with every fault found.
    """
    record = await new_subscription(
        context, organization_id, given, secret=secret, url=url, expires_at=expires_at
    )
    async with context.changing(organization_id):
        check_organization(context, organization_id)
        await context.store.save_subscription(record)
    return _created(_seen(context, record.subscription), record.secrets[0])


async def new_subscription(
    context: Context,
    organization_id: str,
    given: dict[str, Any],
    *,
    secret: str | None = None,
    url: str = "",
    expires_at: Timestamp | None = None,
    hook: bool = False,
) -> SubscriptionRecord:
    """A subscription with the given fields, each checked, to be stored; the other fields are ours.

    Raises:
        ValidationFailed: with every fault found.
    """
    now = context.store.now()
    subscription = await _checked(
        context,
        given,
        Subscription(
            id=context.store.ids.new(ids.SUBSCRIPTION),
            url=url,
            event_types=(),
            expires_at=expires_at,
            hook=hook,
            status=SubscriptionStatus.ACTIVE,
            created_at=now,
            updated_at=now,
        ),
        secret=secret,
    )
    secret = secret or new_secret(subscription.signature)
    return SubscriptionRecord(
        organization_id=organization_id,
        subscription=_signing_with(subscription, subscription.signature, secret),
        secrets=(secret,),
        auth=given.get("auth"),
    )


def check_organization(context: Context, organization_id: str) -> None:
    """Whether it is there still, inside a change.

    Raises:
        Unauthorized: it was deleted meanwhile, and its keys with it.
    """
    if context.directory.organization(organization_id) is None:
        raise Unauthorized


@get("/", summary="List subscriptions", opt={ACCESS: (Scope.READ, Scope.MANAGE)})
async def list_subscriptions(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> SubscriptionPage:
    """Newest first."""
    bound_to = ("subscriptions", organization_id)
    page = context.cursors.page(cursor, limit, *bound_to)
    found = await context.store.subscriptions(organization_id, page)
    shown, next_cursor = context.cursors.next(found, limit, *bound_to)
    return SubscriptionPage(await _with_health(context, organization_id, shown), next_cursor)


@get(
    "/{subscription_id:str}", summary="Get a subscription", opt={ACCESS: (Scope.READ, Scope.MANAGE)}
)
async def get_subscription(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    subscription_id: FromPath[str],
) -> SubscriptionShown:
    """Without its secret."""
    record = await _find(context, organization_id, subscription_id)
    return await _shown(context, organization_id, record.subscription)


@patch("/{subscription_id:str}", summary="Change a subscription", opt={ACCESS: (Scope.MANAGE,)})
async def change_subscription(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    subscription_id: FromPath[str],
    data: JSONBody[SubscriptionChange],
) -> SubscriptionShown:
    """A merge patch (RFC 7396). Attempts from now on use what it says."""
    given = changes(data)
    # Looked at before anybody has to wait: a URL's host may take long to be resolved.
    await _checked(
        context, given, (await _find(context, organization_id, subscription_id)).subscription
    )
    async with context.changing(organization_id):
        record = await _find(context, organization_id, subscription_id)
        changed = await _checked(context, given, record.subscription, url_is_checked=True)
        if "auth" in given:
            record = record.identified_by(given["auth"])
        return await _save(
            context,
            record,
            changed,
            health=_reset(given, record, changed),
            farewell=is_living_hook(record.subscription, context.store.now())
            and changed.status is SubscriptionStatus.DISABLED,
        )


@delete("/{subscription_id:str}", summary="Unsubscribe", opt={ACCESS: (Scope.MANAGE,)})
async def delete_subscription(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    subscription_id: FromPath[str],
) -> None:
    """Cancels what is pending for it."""
    async with context.changing(organization_id):
        if not await context.store.delete_subscription(
            organization_id, subscription_id, farewell=True
        ):
            raise NotFound("there is no such subscription")


@post(
    "/{subscription_id:str}/pause",
    summary="Pause a subscription",
    status_code=200,
    guards=[check_action],
    opt={ACCESS: (Scope.MANAGE,)},
)
async def pause_subscription(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    subscription_id: FromPath[str],
) -> SubscriptionShown:
    """Its events wait until it is resumed."""
    async with context.changing(organization_id):
        record = await _find(context, organization_id, subscription_id)
        return await _set_status(context, record, SubscriptionStatus.PAUSED)


@post(
    "/{subscription_id:str}/resume",
    summary="Resume a subscription",
    status_code=200,
    guards=[check_action],
    opt={ACCESS: (Scope.MANAGE,)},
)
async def resume_subscription(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    subscription_id: FromPath[str],
) -> SubscriptionShown:
    """Sends what waited. Also brings back one that was disabled."""
    async with context.changing(organization_id):
        record = await _find(context, organization_id, subscription_id)
        return await _set_status(context, record, SubscriptionStatus.ACTIVE)


@post(
    "/{subscription_id:str}/rotate-secret",
    summary="Replace the signing secret",
    status_code=200,
    opt={ACCESS: (Scope.MANAGE,), OPTIONAL_BODY: True},
)
async def rotate_secret(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    subscription_id: FromPath[str],
    data: JSONBody[SecretRotation],
) -> SubscriptionCreated:
    """Both sign for ``grace_s`` seconds (a day), then the new one alone; 0 ends every older one now."""
    errors: list[FieldError] = []
    grace_s = DEFAULT_GRACE_S if data.grace_s is None else data.grace_s
    if not 0 <= grace_s <= LONGEST_GRACE_S:
        errors.append(
            FieldError(
                "/grace_s", "out-of-range", f"must be from 0 to {LONGEST_GRACE_S:.0f} seconds"
            )
        )
    if data.signature is not None:
        _check_signature(errors, data.signature, None)
    if errors:
        raise ValidationFailed("the secret was not replaced", errors=errors)
    async with context.changing(organization_id):
        record = await _find(context, organization_id, subscription_id)
        scheme = data.signature or record.subscription.signature
        secret = new_secret(scheme)
        now = context.store.now()
        rotated = record.rotated(secret, now=now, until=now.after(seconds=grace_s))
        if len(rotated.retired) > RETIRED_LIMIT:
            raise InvalidState(
                f"{RETIRED_LIMIT} older secrets sign still; with grace_s 0 they end at once"
            )
        subscription = _signing_with(record.subscription, scheme, secret)
        return _created(await _save(context, rotated, subscription), secret)


async def _find(context: Context, organization_id: str, subscription_id: str) -> SubscriptionRecord:
    record = await context.store.subscription(organization_id, subscription_id)
    if record is None:
        raise NotFound("there is no such subscription")
    return record


async def _set_status(
    context: Context, record: SubscriptionRecord, status: SubscriptionStatus
) -> SubscriptionShown:
    subscription = record.subscription
    if status is SubscriptionStatus.PAUSED and not subscription.enabled:
        # Disabled is more than paused.
        return await _shown(context, record.organization_id, subscription)
    return await _save(
        context,
        record,
        msgspec.structs.replace(subscription, enabled=True, status=status, disabled_reason=None),
        health=HealthReset.FORGET if status is SubscriptionStatus.ACTIVE else HealthReset.KEEP,
    )


async def _save(
    context: Context,
    record: SubscriptionRecord,
    subscription: Subscription,
    *,
    health: HealthReset = HealthReset.KEEP,
    farewell: bool = False,
) -> SubscriptionShown:
    subscription = msgspec.structs.replace(subscription, updated_at=context.store.now())
    await context.store.save_subscription(
        msgspec.structs.replace(record, subscription=subscription), health=health, farewell=farewell
    )
    return await _shown(context, record.organization_id, subscription)


def _reset(given: dict[str, Any], before: SubscriptionRecord, changed: Subscription) -> HealthReset:
    """What a change is to the health of the endpoint."""
    if "enabled" in given and (
        changed.status is SubscriptionStatus.DISABLED
        or changed.status is not before.subscription.status
    ):
        return HealthReset.FORGET
    if changed.url == before.subscription.url:
        return HealthReset.KEEP
    # One that was disabled for failing may be in order now, and is found to be.
    disabled = changed.status is SubscriptionStatus.DISABLED
    return HealthReset.PROBE if disabled else HealthReset.FORGET


async def _shown(
    context: Context, organization_id: str, subscription: Subscription
) -> SubscriptionShown:
    (found,) = await _with_health(context, organization_id, [subscription])
    return found


async def _with_health(
    context: Context, organization_id: str, subscriptions: Sequence[Subscription]
) -> list[SubscriptionShown]:
    now = context.store.now()
    known = await context.store.endpoint_health(
        organization_id, [each.id for each in subscriptions]
    )
    return [
        SubscriptionShown(
            **{name: getattr(each, name) for name in each.__struct_fields__},
            health=shown_health(known[each.id], now) if each.id in known else None,
        )
        for each in (_seen(context, each) for each in subscriptions)
    ]


def _seen(context: Context, subscription: Subscription) -> Subscription:
    status = subscription.status_at(context.store.now())
    if status is subscription.status:
        return subscription
    return msgspec.structs.replace(subscription, status=status)


def _created(subscription: Subscription, secret: str) -> SubscriptionCreated:
    fields = {name: getattr(subscription, name) for name in subscription.__struct_fields__}
    shared = subscription.signature is SignatureScheme.V1
    return SubscriptionCreated(**fields, secret=secret if shared else None)


def _signing_with(subscription: Subscription, scheme: SignatureScheme, secret: str) -> Subscription:
    return msgspec.structs.replace(
        subscription, signature=scheme, public_key=public_key(scheme, secret)
    )


async def _checked(
    context: Context,
    given: dict[str, Any],
    base: Subscription,
    *,
    secret: str | None = None,
    url_is_checked: bool = False,
) -> Subscription:
    """``base`` with the given fields, each checked; ``None`` puts a field's default back.

    Raises:
        ValidationFailed: with every fault found.
    """
    errors: list[FieldError] = []
    merged = {name: getattr(base, name) for name in base.__struct_fields__}
    merged.update(_defaults(given))
    if not merged["url"]:
        errors.append(FieldError("/url", "missing-field", "is required"))
    elif "url" in given and not url_is_checked:
        await _check_new_url(context, errors, base, merged["url"])
    if "event_types" in given:
        merged["event_types"] = check_types(errors, given["event_types"])
    elif not merged["event_types"]:
        errors.append(FieldError("/event_types", "missing-field", "is required"))
    _check_plain(errors, given)
    if given.get("filter") is not None:
        check_filter(errors, given["filter"])
    if given.get("retry_schedule") is not None:
        merged["retry_schedule"] = _schedule(errors, given["retry_schedule"])
    if given.get("expires_at") is not None:
        merged["expires_at"] = _expiry(errors, given["expires_at"])
    if given.get("headers") is not None:
        merged["headers"] = _merged_headers(base.headers or {}, given["headers"])
        _check_headers(errors, merged["headers"])
    if given.get("auth") is not None:
        _check_auth(errors, given["auth"])
        merged["auth"] = shown(given["auth"])
    if given.get("metadata") is not None:
        merged["metadata"] = _merged(base.metadata or {}, given["metadata"])
        check_metadata(errors, merged["metadata"])
    if secret is not None or "signature" in given:
        _check_signature(errors, merged["signature"], secret)
    if errors:
        raise ValidationFailed("the subscription is not acceptable", errors=errors)
    if "enabled" in given and (merged["enabled"] != base.enabled or not merged["enabled"]):
        merged |= _switched(enabled=merged["enabled"])
    return Subscription(**merged)


def _merged(base: Mapping[str, str], patch: Mapping[str, str | None]) -> dict[str, str]:
    """RFC 7396, 2, for an object of strings."""
    return {name: value for name, value in {**base, **patch}.items() if value is not None}


def _merged_headers(base: Mapping[str, str], patch: Mapping[str, str | None]) -> dict[str, str]:
    """The same for names in which case does not matter."""
    named = {name.lower() for name in patch}
    return _merged({name: base[name] for name in base if name.lower() not in named}, patch)


def _defaults(given: dict[str, Any]) -> dict[str, Any]:
    default = {
        "payload_format": PayloadFormat.STANDARD,
        "ordering": Ordering.NONE,
        "enabled": True,
        "operational": False,
    }
    return {name: default.get(name) if value is None else value for name, value in given.items()}


def _switched(*, enabled: bool) -> dict[str, Any]:
    return {
        "status": SubscriptionStatus.ACTIVE if enabled else SubscriptionStatus.DISABLED,
        "disabled_reason": None if enabled else "disabled by request",
    }


async def _check_new_url(
    context: Context, errors: list[FieldError], base: Subscription, url: str
) -> None:
    if base.by_session:
        message = "a session has no URL; subscribe for an endpoint that has one"
        errors.append(FieldError("/url", "invalid-url", message))
    else:
        await check_url(context, errors, "/url", url)


async def check_url(context: Context, errors: list[FieldError], pointer: str, url: str) -> None:
    """Whether deliveries may go to a URL; a fault is added to ``errors``."""
    try:
        await context.egress.check_target(url)
    except EgressRefused as refused:
        errors.append(FieldError(pointer, refused.code, str(refused)))


def check_types(errors: list[FieldError], patterns: list[str]) -> tuple[str, ...]:
    """The types that a subscription asks for; faults are added to ``errors``."""
    if not 1 <= len(patterns) <= TYPES_LIMIT:
        errors.append(
            FieldError("/event_types", "invalid-length", f"must have 1 to {TYPES_LIMIT} entries")
        )
    for position, pattern in enumerate(patterns):
        if not text.is_type_pattern(pattern):
            errors.append(
                FieldError(
                    f"/event_types/{position}",
                    "invalid-event-type",
                    "must be an event type, in which * may stand for any run of characters",
                )
            )
    return tuple(patterns)


def _check_signature(errors: list[FieldError], scheme: SignatureScheme, secret: str | None) -> None:
    try:
        public_key(scheme, new_secret(scheme) if secret is None else secret)
    except MalformedValue as error:
        errors.append(FieldError("/secret", "invalid-secret", f"is {error}"))


def _check_plain(errors: list[FieldError], given: dict[str, Any]) -> None:
    description = given.get("description")
    if description is not None and (len(description) > DESCRIPTION_LENGTH or "\x00" in description):
        errors.append(
            FieldError(
                "/description",
                "invalid-length",
                f"must be at most {DESCRIPTION_LENGTH} characters without NUL",
            )
        )
    timeout_s = given.get("timeout_s")
    if timeout_s is not None and not 0.1 <= timeout_s <= 30:
        errors.append(FieldError("/timeout_s", "out-of-range", "must be from 0.1 to 30"))
    rate = given.get("rate_limit")
    if rate is not None and not 0.01 <= rate <= 10_000:
        errors.append(FieldError("/rate_limit", "out-of-range", "must be from 0.01 to 10000"))
    concurrency = given.get("max_concurrency")
    if concurrency is not None and not 1 <= concurrency <= 10_000:
        errors.append(FieldError("/max_concurrency", "out-of-range", "must be from 1 to 10000"))


def check_filter(errors: list[FieldError], text: str) -> None:
    """A filter's text; its fault, with the place, is added to ``errors``."""
    try:
        compile_filter(text)
    except ExpressionFault as fault:
        before = text[: fault.offset]
        position = Position(
            line=before.count("\n") + 1,
            column=fault.offset - (before.rfind("\n") + 1) + 1,
            offset=fault.offset,
        )
        errors.append(FieldError("/filter", fault.code, fault.message, position))


def _schedule(errors: list[FieldError], delays: list[float]) -> tuple[float, ...]:
    if len(delays) > SCHEDULE_LIMIT:
        errors.append(
            FieldError("/retry_schedule", "too-many", f"must have at most {SCHEDULE_LIMIT} delays")
        )
    for position, delay in enumerate(delays):
        if not 0 <= delay <= LONGEST_DELAY_S:
            errors.append(
                FieldError(
                    f"/retry_schedule/{position}",
                    "out-of-range",
                    f"must be from 0 to {LONGEST_DELAY_S:.0f} seconds",
                )
            )
    return tuple(float(delay) for delay in delays)


def _expiry(errors: list[FieldError], value: str) -> Timestamp | None:
    try:
        return Timestamp.parse(value)
    except MalformedValue as error:
        errors.append(FieldError("/expires_at", "invalid-timestamp", f"is {error}"))
        return None


def _check_headers(errors: list[FieldError], headers: dict[str, str]) -> None:
    if len(headers) > HEADERS_LIMIT:
        errors.append(
            FieldError("/headers", "too-many", f"must have at most {HEADERS_LIMIT} entries")
        )
    if sum(len(name) + len(value) for name, value in headers.items()) > HEADERS_SIZE:
        errors.append(
            FieldError(
                "/headers",
                "invalid-length",
                f"must have at most {HEADERS_SIZE} characters together",
            )
        )
    had: set[str] = set()
    for name, value in headers.items():
        pointer = f"/headers/{pointer_part(name)}"
        if not _HEADER_NAME.fullmatch(name):
            errors.append(FieldError(pointer, "invalid-header", "is not a header name"))
        elif is_ours(name):
            errors.append(FieldError(pointer, "invalid-header", "is set by the service"))
        elif name.lower() == AUTHORIZATION:
            errors.append(FieldError(pointer, "invalid-header", "is made from the field auth"))
        elif name.lower() in had:
            errors.append(FieldError(pointer, "invalid-header", "is given twice"))
        elif len(value) > HEADER_LENGTH or not value.isascii() or text.has_control(value):
            errors.append(
                FieldError(
                    pointer,
                    "invalid-header",
                    f"must be at most {HEADER_LENGTH} ASCII characters without controls",
                )
            )
        had.add(name.lower())


def _check_auth(errors: list[FieldError], auth: Auth) -> None:
    if isinstance(auth, BearerAuth):
        if len(auth.token) > CREDENTIAL_LENGTH or not _TOKEN.fullmatch(auth.token):
            errors.append(
                FieldError(
                    "/auth/token",
                    "invalid-credential",
                    f"must be 1 to {CREDENTIAL_LENGTH} printable ASCII characters without spaces",
                )
            )
        return
    for name in ("username", "password"):
        value = getattr(auth, name)
        if len(value) > CREDENTIAL_LENGTH or text.has_control(value):
            errors.append(
                FieldError(
                    f"/auth/{name}",
                    "invalid-credential",
                    f"must be at most {CREDENTIAL_LENGTH} characters without controls",
                )
            )
    if ":" in auth.username:
        # RFC 7617, 2: it would end where the first colon is.
        errors.append(FieldError("/auth/username", "invalid-credential", "must not hold a colon"))


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/api/subscriptions",
        route_handlers=[
            create_subscription,
            list_subscriptions,
            get_subscription,
            change_subscription,
            delete_subscription,
            pause_subscription,
            resume_subscription,
            rotate_secret,
        ],
        tags=["Subscriptions"],
    )
