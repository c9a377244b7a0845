"""``/api/audit``: who changed what."""

from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from triggers_api.errors import NotFound, ValidationFailed
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.parameters import Cursor, Limit, Since, Until
from triggers_api.model.audit import Entry
from triggers_api.model.organization import Scope
from triggers_api.store.base import AuditFilter
from triggers_api.store.directory import Principal

_LONGEST = 255


class AuditEntries(msgspec.Struct, frozen=True):
    """Entries, newest first. A page may be short, or empty, although there is a next one."""

    data: list[Entry]
    next_cursor: str | None


@get(
    "/api/audit",
    summary="List who changed what",
    operation_id="ListAudit",
    opt={ACCESS: (Scope.READ, Scope.MANAGE, Scope.ADMIN)},
)
async def list_audit(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    action: Annotated[
        str | None,
        QueryParameter(
            description="An action such as `subscription.updated`; `*` is any run of characters."
        ),
    ] = None,
    actor: Annotated[
        str | None,
        QueryParameter(description="The id of a key, or `service`, `command`."),
    ] = None,
    resource_type: Annotated[
        str | None,
        QueryParameter(description="A kind of resource, such as `subscription` or `key`."),
    ] = None,
    resource: Annotated[
        str | None,
        QueryParameter(description="The id of what was changed, or its name where it has none."),
    ] = None,
    organization_id_: Annotated[
        str | None,
        QueryParameter(name="organization_id", description="Of this one; for operators."),
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AuditEntries:
    """Newest first. An organization sees its own, an operator all."""
    named = {
        "action": action,
        "actor": actor,
        "resource_type": resource_type,
        "resource": resource,
    }
    for name, value in named.items():
        if value is not None and not 1 <= len(value) <= _LONGEST:
            reason = f"must be 1 to {_LONGEST} characters"
            raise ValidationFailed.of(name, "invalid-parameter", reason)
    own = principal.organization_id
    if own is not None and organization_id_ not in {None, own}:
        raise NotFound("there is no such organization")
    of = organization_id_ if own is None else own
    bound_to = ("audit", own, of, *named.values(), since, until)
    page = context.cursors.page(cursor, limit, *bound_to)
    found = await context.store.audit(of, AuditFilter(since=since, until=until, **named), page)
    shown, next_cursor = context.cursors.next(found, limit, *bound_to, go_on=found.go_on)
    if own is not None:
        shown = [entry.shown_to(own) for entry in shown]
    return AuditEntries(shown, next_cursor)


def router() -> Router:
    """The routes of this file."""
    return Router("/", route_handlers=[list_audit], tags=["Audit"])
