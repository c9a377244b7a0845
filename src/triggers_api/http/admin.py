"""``/api/admin``: for operators' keys only."""

from typing import Annotated

import msgspec
from litestar import Router, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, UnsetType

from triggers_api.errors import FieldError, NotFound, ValidationFailed
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.organization import check_name
from triggers_api.http.parameters import Cursor, Limit
from triggers_api.http.request import changes, check_action
from triggers_api.model import ids
from triggers_api.model.erasure import Erasure
from triggers_api.model.organization import (
    ORGANIZATION_SCOPES,
    Organization,
    Scope,
    key_record,
    new_api_key,
)
from triggers_api.operate import verification
from triggers_api.operate.verification import Repaired, Verification

_MOST = 10**9

Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=_MOST)]
Age = Annotated[float, msgspec.Meta(ge=0, le=31_536_000)]
Days = Annotated[int, msgspec.Meta(ge=0, le=36_500)]
Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class NewOrganization(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant that is asked for. ``rate_limit`` is events a minute, 0 for none."""

    name: str
    rate_limit: Count | None = None
    rate_burst: Positive | None = None
    max_queue_depth: Count | None = None
    max_queue_age_s: Age | None = None
    retention_days: Days | None = None
    delivery_retention_days: Days | None = None
    attempt_retention_days: Days | None = None
    dead_letter_retention_days: Days | None = None


class OrganizationCreated(msgspec.Struct, frozen=True):
    """A new tenant with its first key, which is shown this once."""

    id: str
    name: str
    api_key: str


class OrganizationLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A merge patch; ``null`` puts the service's setting back."""

    name: str | UnsetType = UNSET
    rate_limit: Count | UnsetType | None = UNSET
    rate_burst: Positive | UnsetType | None = UNSET
    max_queue_depth: Count | UnsetType | None = UNSET
    max_queue_age_s: Age | UnsetType | None = UNSET
    retention_days: Days | UnsetType | None = UNSET
    delivery_retention_days: Days | UnsetType | None = UNSET
    attempt_retention_days: Days | UnsetType | None = UNSET
    dead_letter_retention_days: Days | UnsetType | None = UNSET


class OrganizationPage(msgspec.Struct, frozen=True):
    """Tenants, newest first."""

    data: list[Organization]
    next_cursor: str | None


class Erasures(msgspec.Struct, frozen=True):
    """Organizations that are being erased, or were."""

    data: list[Erasure]


@post("/organizations", summary="Create an organization")
async def create_organization(
    context: NamedDependency[Context], data: JSONBody[NewOrganization]
) -> OrganizationCreated:
    """With a first key that has all scopes of an organization."""
    errors: list[FieldError] = []
    check_name(errors, data.name)
    if errors:
        raise ValidationFailed("the organization is not acceptable", errors=errors)
    now = context.store.now()
    organization = Organization(
        id=context.store.ids.new(ids.ORGANIZATION),
        name=data.name,
        rate_limit=data.rate_limit,
        rate_burst=data.rate_burst,
        max_queue_depth=data.max_queue_depth,
        max_queue_age_s=data.max_queue_age_s,
        retention_days=data.retention_days,
        delivery_retention_days=data.delivery_retention_days,
        attempt_retention_days=data.attempt_retention_days,
        dead_letter_retention_days=data.dead_letter_retention_days,
        created_at=now,
        updated_at=now,
    )
    secret = new_api_key()
    key = key_record(
        context.store.ids.new(ids.KEY),
        secret,
        organization_id=organization.id,
        name="first key",
        scopes=ORGANIZATION_SCOPES,
        now=now,
    )
    await context.store.create_organization(organization, key)
    await context.changed()
    return OrganizationCreated(organization.id, organization.name, secret)


@get("/organizations", summary="List organizations")
async def list_organizations(
    context: NamedDependency[Context], limit: Limit = 50, cursor: Cursor = None
) -> OrganizationPage:
    """Newest first."""
    page = context.cursors.page(cursor, limit, "organizations")
    found = [
        organization
        for organization in context.directory.organizations()
        if page.before is None or organization.id < page.before
    ]
    return OrganizationPage(*context.cursors.next(found, limit, "organizations"))


@get("/organizations/{organization_id:str}", summary="Get an organization")
async def get_organization(
    context: NamedDependency[Context], organization_id: FromPath[str]
) -> Organization:
    """With its limits."""
    return _of(context, organization_id)


@patch("/organizations/{organization_id:str}", summary="Change an organization's limits")
async def change_organization(
    context: NamedDependency[Context],
    organization_id: FromPath[str],
    data: JSONBody[OrganizationLimits],
) -> Organization:
    """In force within a second."""
    given = changes(data)
    errors: list[FieldError] = []
    if "name" in given:
        check_name(errors, given["name"])
    if errors:
        raise ValidationFailed("the change is not acceptable", errors=errors)
    async with context.changing(organization_id):
        organization = msgspec.structs.replace(
            _of(context, organization_id), **given, updated_at=context.store.now()
        )
        await context.store.update_organization(organization)
    return organization


@delete("/organizations/{organization_id:str}", summary="Delete an organization")
async def delete_organization(
    context: NamedDependency[Context], organization_id: FromPath[str]
) -> None:
    """Its keys stop working, its subscriptions end."""
    async with context.changing(organization_id):
        if not await context.store.delete_organization(organization_id):
            raise NotFound("there is no such organization")


@post(
    "/organizations/{organization_id:str}/erase",
    summary="Erase an organization",
    status_code=202,
    guards=[check_action],
)
async def erase_organization(
    context: NamedDependency[Context], organization_id: FromPath[str]
) -> Erasure:
    """Deletes it, if that was not done, and has everything of it go. It cannot be called back."""
    async with context.changing(organization_id):
        await context.store.delete_organization(organization_id)
        erasure = await context.store.erase_organization(organization_id)
        if erasure is None:
            raise NotFound("there is no such organization")
    return erasure


@get("/erasures", summary="List erasures")
async def list_erasures(context: NamedDependency[Context]) -> Erasures:
    """How far each organization is erased; finished ones included."""
    return Erasures(await context.store.erasures())


@get("/verify", summary="Check the books and the records")
async def verify(
    context: NamedDependency[Context],
    deep: Annotated[  # noqa: FBT002 - a parameter of the query
        bool, QueryParameter(description="Ask the database about its own files, too.")
    ] = False,
) -> Verification:
    """Counts everything: not for every second. ``accepted`` was counted on acceptance."""
    return await verification.verify(context.store, deep=deep)


@post("/verify/repair", summary="Repair records", status_code=200, guards=[check_action])
async def repair(context: NamedDependency[Context]) -> Repaired:
    """What lies nowhere is queued again, remains are deleted, counters mended; beside all else."""
    return await verification.repair(context.store)


def _of(context: Context, organization_id: str) -> Organization:
    organization = context.directory.organization(organization_id)
    if organization is None:
        raise NotFound("there is no such organization")
    return organization


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/api/admin",
        route_handlers=[
            create_organization,
            list_organizations,
            get_organization,
            change_organization,
            delete_organization,
            erase_organization,
            list_erasures,
            verify,
            repair,
        ],
        opt={ACCESS: (Scope.ADMIN,)},
        tags=["Operator"],
    )
