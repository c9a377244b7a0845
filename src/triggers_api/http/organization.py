"""``/api/organization``: what an organization sees and changes of itself."""

import msgspec
from litestar import Router, get, patch
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, UnsetType

from triggers_api.deliver.signature import new_secret
from triggers_api.errors import FieldError, NotFound, ValidationFailed
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.request import changes
from triggers_api.http.subscriptions import check_url
from triggers_api.model import ids, text
from triggers_api.model.organization import Organization, Scope
from triggers_api.model.subscription import (
    Subscription,
    SubscriptionRecord,
    SubscriptionStatus,
)
from triggers_api.store.base import HealthReset


class OrganizationChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A merge patch."""

    name: str | UnsetType = UNSET
    webhook_url: str | UnsetType | None = UNSET


class OrganizationChanged(Organization, frozen=True, kw_only=True):
    """The organization; with the signing secret when the change made a subscription."""

    webhook_secret: str | None = None


@get("/api/organization", summary="Get the organization", opt={ACCESS: (Scope.READ, Scope.MANAGE)})
async def get_organization(
    context: NamedDependency[Context], organization_id: NamedDependency[str]
) -> Organization:
    """The one whose key is used."""
    return _of(context, organization_id)


@patch("/api/organization", summary="Change the organization", opt={ACCESS: (Scope.MANAGE,)})
async def change_organization(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    data: JSONBody[OrganizationChange],
) -> OrganizationChanged:
    """``webhook_url`` keeps one subscription to all events; ``null`` ends it."""
    errors: list[FieldError] = []
    if data.name is not UNSET:
        check_name(errors, data.name)
    if isinstance(data.webhook_url, str):
        await check_url(context, errors, "/webhook_url", data.webhook_url)
    if errors:
        raise ValidationFailed("the change is not acceptable", errors=errors)
    async with context.changing(organization_id):
        return await _change(context, organization_id, data)


async def _change(
    context: Context, organization_id: str, data: OrganizationChange
) -> OrganizationChanged:
    secret = None
    if data.webhook_url is not UNSET:
        secret = await _keep_subscription(context, organization_id, data.webhook_url)
    organization = msgspec.structs.replace(
        _of(context, organization_id), **changes(data), updated_at=context.store.now()
    )
    await context.store.update_organization(organization)
    fields = {name: getattr(organization, name) for name in organization.__struct_fields__}
    return OrganizationChanged(**fields, webhook_secret=secret)


def check_name(errors: list[FieldError], name: str) -> None:
    """An organization's or a key's name; a fault is added to ``errors``."""
    if not 1 <= len(name) <= text.LABEL_LENGTH or text.has_control(name):
        errors.append(
            FieldError(
                "/name",
                "invalid-length",
                f"must be 1 to {text.LABEL_LENGTH} characters without controls",
            )
        )


def _of(context: Context, organization_id: str) -> Organization:
    organization = context.directory.organization(organization_id)
    if organization is None:
        raise NotFound("there is no such organization")
    return organization


async def _keep_subscription(context: Context, organization_id: str, url: str | None) -> str | None:
    """Make, change or end the organization's own subscription; returns a new one's secret."""
    own = next(
        (
            record
            for record in context.directory.subscriptions(organization_id)
            if record.from_organization
        ),
        None,
    )
    if url is None:
        if own is not None:
            await context.store.delete_subscription(organization_id, own.subscription.id)
        return None
    now = context.store.now()
    if own is not None:
        changed = msgspec.structs.replace(
            own.subscription,
            url=url,
            enabled=True,
            status=SubscriptionStatus.ACTIVE,
            disabled_reason=None,
            updated_at=now,
        )
        await context.store.save_subscription(
            msgspec.structs.replace(own, subscription=changed), health=HealthReset.FORGET
        )
        return None
    secret = new_secret()
    await context.store.save_subscription(
        SubscriptionRecord(
            organization_id=organization_id,
            subscription=Subscription(
                id=context.store.ids.new(ids.SUBSCRIPTION),
                url=url,
                event_types=("*",),
                description="the organization's webhook_url",
                status=SubscriptionStatus.ACTIVE,
                created_at=now,
                updated_at=now,
            ),
            secrets=(secret,),
            from_organization=True,
        )
    )
    return secret


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/", route_handlers=[get_organization, change_organization], tags=["Organization"]
    )
