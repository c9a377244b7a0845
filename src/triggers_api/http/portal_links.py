"""``/api/portal-links``: a link to an organization's own pages, for somebody who has no key."""

import secrets
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
import structlog
from litestar import Request, Router, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from triggers_api.errors import FieldError, InvalidState, ValidationFailed
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.request import OPTIONAL_BODY
from triggers_api.http.tickets import Portal, PortalTheme
from triggers_api.model import text
from triggers_api.model.organization import Scope
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.directory import Principal

log = structlog.get_logger(__name__)

LIFE_S: Final = 3600
SHORTEST_S: Final = 60
LONGEST_S: Final = 86_400


class ThemeMode(StrEnum):
    """Light, dark, or as the reader's system has it."""

    AUTO = "auto"
    LIGHT = "light"
    DARK = "dark"


class PortalLook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a portal looks."""

    mode: ThemeMode = ThemeMode.AUTO
    accent: str | None = None
    name: str | None = None


class NewPortalLink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link that is asked for. What is left out or ``null`` is as usual: an hour, not only to read."""

    expires_in_s: Annotated[int, msgspec.Meta(ge=SHORTEST_S, le=LONGEST_S)] | None = None
    read_only: bool | None = None
    theme: PortalLook | None = None


class PortalLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link, told this once. It opens the organization's pages until it expires."""

    url: str
    expires_at: Timestamp


@post(
    "/api/portal-links",
    summary="Make a link to the organization's portal",
    operation_id="CreatePortalLink",
    status_code=201,
    opt={ACCESS: (Scope.MANAGE,), OPTIONAL_BODY: True},
)
async def create_portal_link(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    organization_id: NamedDependency[str],
    request: Request[Any, Any, Any],
    data: JSONBody[NewPortalLink],
) -> PortalLink:
    """For an application to show its customer their own events, deliveries and subscriptions.

    Whoever has the link may do what the key may do that made it, or only read. It ends with that key.
    """
    settings = context.settings
    if settings.ui != "on":
        raise InvalidState("the operator page is switched off (TRIGGERS_UI)")
    theme = _theme(data.theme or PortalLook())
    life_s = LIFE_S if data.expires_in_s is None else data.expires_in_s
    expires_at = context.store.now().after(seconds=life_s)
    if principal.expires_at is not None:
        expires_at = min(expires_at, principal.expires_at)
    portal = Portal(
        id=secrets.token_urlsafe(12),
        key_id=principal.key_id,
        organization_id=organization_id,
        expires_at=int(expires_at),
        read_only=bool(data.read_only),
        theme=theme,
    )
    log.info(
        "portal link made",
        key_id=principal.key_id,
        organization_id=organization_id,
        expires_at=str(expires_at),
        read_only=portal.read_only,
    )
    base = settings.public_url or f"http://{request.headers.get('host', 'localhost')}"
    url = f"{base}/ui/portal/open#{context.tickets.write_portal(portal)}"
    return PortalLink(url=url, expires_at=Timestamp(expires_at))


def _theme(look: PortalLook) -> PortalTheme:
    errors = []
    accent = None if look.accent is None else look.accent.lower()
    if accent is not None and not PortalTheme.is_colour(accent):
        errors.append(
            FieldError("/theme/accent", "invalid-value", "must be a colour, such as #0f766e")
        )
    name = look.name
    if name is not None and (not 1 <= len(name) <= text.LABEL_LENGTH or text.has_control(name)):
        reason = f"must be 1 to {text.LABEL_LENGTH} characters without controls"
        errors.append(FieldError("/theme/name", "invalid-length", reason))
    if errors:
        raise ValidationFailed("the link is not acceptable", errors=errors)
    return PortalTheme(mode=look.mode.value, accent=accent, name=name)


def router() -> Router:
    """The routes of this file."""
    return Router("/", route_handlers=[create_portal_link], tags=["Portal"])
