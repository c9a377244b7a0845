"""``/api/admin/…/keys``: the keys of organizations, and those of operators."""

from typing import Annotated, Final

import msgspec
from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from triggers_api.errors import FieldError, MalformedValue, NotFound, ValidationFailed
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.organization import check_name
from triggers_api.http.parameters import Cursor, Limit
from triggers_api.http.request import OPTIONAL_BODY
from triggers_api.model import ids
from triggers_api.model.organization import (
    ORGANIZATION_SCOPES,
    ApiKey,
    KeyRecord,
    KeyStatus,
    Scope,
    key_record,
    key_status,
    new_api_key,
)
from triggers_api.model.timestamp import Timestamp

DEFAULT_GRACE_S: Final = 86_400
LONGEST_GRACE_S: Final = 30 * 86_400

Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Grace = Annotated[int, msgspec.Meta(ge=0, le=LONGEST_GRACE_S)]

_NO_KEY: Final = "there is no such key"


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that is asked for; all three scopes unless narrowed."""

    name: str
    scopes: list[Scope] | None = None
    expires_at: Moment | None = None


class NewOperatorKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operator's key that is asked for. Its scope is ``admin``."""

    name: str
    expires_at: Moment | None = None


class KeyRotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a key is replaced.

    Attributes:
        grace_s: seconds that the old one is good for still; a day unless told otherwise.
        expires_at: when the new one ends. Left out, it lives as long as the old one was to live.
    """

    grace_s: Grace | None = None
    expires_at: Moment | None = None


class KeyCreated(msgspec.Struct, frozen=True):
    """A new key, shown this once."""

    id: str
    key: str
    name: str
    scopes: tuple[Scope, ...]
    expires_at: Timestamp | None


class KeyRotated(KeyCreated, frozen=True):
    """A new key in another one's place, which is good until ``old_expires_at``."""

    replaces: str
    old_expires_at: Timestamp


class ShownKey(ApiKey, frozen=True, kw_only=True):
    """A key without its secret, and where it stands."""

    status: KeyStatus


class KeyPage(msgspec.Struct, frozen=True):
    """Keys without their secrets, newest first."""

    data: list[ShownKey]
    next_cursor: str | None


@post("/organizations/{organization_id:str}/keys", summary="Create a key")
async def create_key(
    context: NamedDependency[Context], organization_id: FromPath[str], data: JSONBody[NewKey]
) -> KeyCreated:
    """Shown this once."""
    _check_organization(context, organization_id)
    scopes = ORGANIZATION_SCOPES if data.scopes is None else tuple(dict.fromkeys(data.scopes))
    return await _create(context, organization_id, data.name, scopes, data.expires_at)


@get("/organizations/{organization_id:str}/keys", summary="List keys")
async def list_keys(
    context: NamedDependency[Context],
    organization_id: FromPath[str],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> KeyPage:
    """Newest first, revoked ones included. `last_used_at` is some minutes late at the most."""
    _check_organization(context, organization_id)
    return await _page(context, organization_id, limit, cursor)


@delete("/organizations/{organization_id:str}/keys/{key_id:str}", summary="Revoke a key")
async def revoke_key(
    context: NamedDependency[Context], organization_id: FromPath[str], key_id: FromPath[str]
) -> None:
    """Refused everywhere within a second."""
    await _revoke(context, organization_id, key_id)


@post(
    "/organizations/{organization_id:str}/keys/{key_id:str}/rotate",
    summary="Replace a key",
    opt={OPTIONAL_BODY: True},
)
async def rotate_key(
    context: NamedDependency[Context],
    organization_id: FromPath[str],
    key_id: FromPath[str],
    data: JSONBody[KeyRotation],
) -> KeyRotated:
    """A new key of the same name and scopes. Both are good until the old one's grace is over."""
    _check_organization(context, organization_id)
    return await _rotate(context, organization_id, key_id, data)


@post("/keys", summary="Create an operator's key")
async def create_operator_key(
    context: NamedDependency[Context], data: JSONBody[NewOperatorKey]
) -> KeyCreated:
    """It belongs to no organization, and may do what operators do. Shown this once."""
    return await _create(context, None, data.name, (Scope.ADMIN,), data.expires_at)


@get("/keys", summary="List operators' keys")
async def list_operator_keys(
    context: NamedDependency[Context], limit: Limit = 50, cursor: Cursor = None
) -> KeyPage:
    """Newest first, revoked ones included. `last_used_at` is some minutes late at the most."""
    return await _page(context, None, limit, cursor)


@delete("/keys/{operator_key_id:str}", summary="Revoke an operator's key")
async def revoke_operator_key(
    context: NamedDependency[Context], operator_key_id: FromPath[str]
) -> None:
    """Refused everywhere within a second. The last one that is valid cannot be revoked."""
    await _revoke(context, None, operator_key_id)


@post(
    "/keys/{operator_key_id:str}/rotate",
    summary="Replace an operator's key",
    opt={OPTIONAL_BODY: True},
)
async def rotate_operator_key(
    context: NamedDependency[Context],
    operator_key_id: FromPath[str],
    data: JSONBody[KeyRotation],
) -> KeyRotated:
    """A new key of the same name. Both are good until the old one's grace is over."""
    return await _rotate(context, None, operator_key_id, data)


async def _create(
    context: Context,
    organization_id: str | None,
    name: str,
    scopes: tuple[Scope, ...],
    expires_at: str | None,
) -> KeyCreated:
    errors: list[FieldError] = []
    check_name(errors, name)
    if organization_id is not None and (not scopes or not set(scopes) <= set(ORGANIZATION_SCOPES)):
        errors.append(
            FieldError("/scopes", "invalid-scopes", "must be some of ingest, read, manage")
        )
    ends = _moment(errors, expires_at)
    if errors:
        raise ValidationFailed("the key is not acceptable", errors=errors)
    secret = new_api_key()
    record = key_record(
        context.store.ids.new(ids.KEY),
        secret,
        organization_id=organization_id,
        name=name,
        scopes=scopes,
        now=context.store.now(),
        expires_at=ends,
    )
    async with context.changing(organization_id or "operators"):
        if organization_id is not None:
            # Somebody may have deleted it meanwhile.
            _check_organization(context, organization_id)
        await context.store.create_key(record)
    return KeyCreated(record.key.id, secret, name, scopes, ends)


async def _page(
    context: Context, organization_id: str | None, limit: int, cursor: str | None
) -> KeyPage:
    bound_to = ("keys", organization_id)
    page = context.cursors.page(cursor, limit, *bound_to)
    found = [
        key
        for key in await context.store.keys(organization_id)
        if page.before is None or key.id < page.before
    ]
    keys, next_cursor = context.cursors.next(found, limit, *bound_to)
    now = context.store.now()
    return KeyPage(
        [ShownKey(**msgspec.structs.asdict(key), status=key_status(key, now=now)) for key in keys],
        next_cursor,
    )


async def _revoke(context: Context, organization_id: str | None, key_id: str) -> None:
    if not await context.store.revoke_key(organization_id, key_id):
        raise NotFound(_NO_KEY)
    await context.changed()


async def _rotate(
    context: Context, organization_id: str | None, key_id: str, data: KeyRotation
) -> KeyRotated:
    errors: list[FieldError] = []
    given = _moment(errors, data.expires_at)
    if errors:
        raise ValidationFailed("the rotation is not acceptable", errors=errors)
    store = context.store
    async with context.changing(organization_id or "operators"):
        known = {key.id: key for key in await store.keys(organization_id)}.get(key_id)
        if known is None:
            raise NotFound(_NO_KEY)
        now = store.now()
        secret = new_api_key()
        fresh = _fresh(known, store.ids.new(ids.KEY), secret, organization_id, now, given)
        grace_s = DEFAULT_GRACE_S if data.grace_s is None else data.grace_s
        old = await store.rotate_key(
            organization_id, key_id, fresh, until=now.after(seconds=grace_s)
        )
        if old is None:
            raise NotFound(_NO_KEY)
    assert old.expires_at is not None
    return KeyRotated(
        fresh.key.id,
        secret,
        fresh.key.name,
        fresh.key.scopes,
        fresh.key.expires_at,
        replaces=key_id,
        old_expires_at=old.expires_at,
    )


def _fresh(
    known: ApiKey,
    key_id: str,
    secret: str,
    organization_id: str | None,
    now: Timestamp,
    expires_at: Timestamp | None,
) -> KeyRecord:
    """A key in another one's place, which lives as long as that one was to live."""
    if expires_at is None and known.expires_at is not None:
        expires_at = now.after(seconds=(known.expires_at - known.created_at) / 1000)
    return key_record(
        key_id,
        secret,
        organization_id=organization_id,
        name=known.name,
        scopes=known.scopes,
        now=now,
        expires_at=expires_at,
        replaces=known.id,
    )


def _moment(errors: list[FieldError], text: str | None) -> Timestamp | None:
    if text is None:
        return None
    try:
        return Timestamp.parse(text)
    except MalformedValue as error:
        errors.append(FieldError("/expires_at", "invalid-timestamp", f"is {error}"))
        return None


def _check_organization(context: Context, organization_id: str) -> None:
    if context.directory.organization(organization_id) is None:
        raise NotFound("there is no such organization")


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/api/admin",
        route_handlers=[
            create_key,
            list_keys,
            revoke_key,
            rotate_key,
            create_operator_key,
            list_operator_keys,
            revoke_operator_key,
            rotate_operator_key,
        ],
        opt={ACCESS: (Scope.ADMIN,)},
        tags=["Operator"],
    )
