"""What a view is given, and what it gives back."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Concatenate, Final
from urllib.parse import quote, urlencode

import msgspec

from triggers_api.errors import NotFound
from triggers_api.http.auth import check_operator
from triggers_api.http.context import Context
from triggers_api.model.organization import ORGANIZATION_SCOPES, Organization, Scope
from triggers_api.store.directory import Principal
from triggers_api.web.actions import Action, as_curl
from triggers_api.web.answer import Answer
from triggers_api.web.banner import Banner, banners
from triggers_api.web.calls import Api, Call
from triggers_api.web.request import BrowserRequest, Form
from triggers_api.web.sessions import Kind, Visitor
from triggers_api.web.stream import Stream

if TYPE_CHECKING:
    from triggers_api.web.site import Site

Handler = Callable[Concatenate["Page", ...], Awaitable[Answer | Stream]]

REFRESH_S: Final = 5


class View(msgspec.Struct, frozen=True):
    """A part of the page with an entry in its navigation.

    Attributes:
        name: the first part of its addresses; empty for what comes first.
        title: in the navigation.
        icon: a name in ``templates/macros.html``.
        pages: handlers by the rest of the address, with parameters in braces: ``""``, ``"{event_id}"``.
        actions: what can be done there.
        of_everyone: it exists for all organizations together, too.
        of_organization: it exists for one organization.
        operators_only: organizations do not see it.
        in_portal: whether a portal has it.
    """

    name: str
    title: str
    icon: str
    pages: Mapping[str, Handler]
    actions: tuple[Action, ...] = ()
    of_everyone: bool = False
    of_organization: bool = True
    operators_only: bool = False
    in_portal: bool = True

    def find(self, rest: list[str]) -> tuple[Handler, list[str]] | None:
        """The handler of an address, and its parameters."""
        for pattern, handler in self.pages.items():
            parts = pattern.split("/") if pattern else []
            if len(parts) == len(rest) and all(
                part.startswith("{") or part == given
                for part, given in zip(parts, rest, strict=True)
            ):
                named = [
                    given for part, given in zip(parts, rest, strict=True) if part.startswith("{")
                ]
                return handler, named
        return None


class NavigationEntry(msgspec.Struct, frozen=True):
    """A line of the navigation."""

    title: str
    icon: str
    href: str
    current: bool


class Page:
    """One request for a view, with the means to answer it."""

    def __init__(
        self,
        site: "Site",
        request: BrowserRequest,
        visitor: Visitor,
        view: View,
        organization: Organization | None,
    ) -> None:
        self.site = site
        self.request = request
        self.visitor = visitor
        self.view = view
        self.organization = organization
        """The organization that is looked at; ``None``: all of them together."""

    # ── who asks ──────────────────────────────────────────────────────────────────────────────

    @property
    def context(self) -> Context:
        """The parts of the service."""
        return self.site.context

    @property
    def query(self) -> Form:
        """The parameters of the address."""
        return self.request.query

    @property
    def is_operator(self) -> bool:
        """Whether all organizations may be seen."""
        return self.visitor.is_operator

    @property
    def in_portal(self) -> bool:
        """Whether this is an organization's page in somebody else's application."""
        return self.visitor.session.kind is Kind.PORTAL

    @property
    def principal(self) -> Principal:
        """Who speaks: an operator who looks at an organization speaks for it."""
        principal = self.visitor.principal
        if self.organization is None or not self.is_operator:
            return principal
        return _for_organization(principal, self.organization)

    @property
    def api(self) -> Api:
        """The API, as the session may use it for the organization that is looked at."""
        return self.site.api(self.principal, self.request)

    def api_of(self, organization: Organization) -> Api:
        """The API, as an operator uses it for an organization that is not the one looked at."""
        if organization == self.organization:
            return self.api
        check_operator(self.visitor.principal)
        speaker = _for_organization(self.visitor.principal, organization)
        return self.site.api(speaker, self.request)

    @property
    def organization_id(self) -> str:
        """The id of the organization that is looked at."""
        assert self.organization is not None
        return self.organization.id

    def goes_on(self) -> bool:
        """Whether what is sent little by little may go on: the session is not over, nor the service."""
        return not self.context.ending() and self.site.sessions.goes_on(self.visitor.session)

    @property
    def operator_api(self) -> Api:
        """The API, as the operator; refused where the session is none."""
        return self.site.api(self.visitor.principal, self.request)

    def may(self, scope: Scope) -> bool:
        """Whether the session has a scope for what is looked at."""
        return scope in self.principal.scopes

    def can(self, action: Action) -> bool:
        """Whether a button is of any use here."""
        if self.in_portal and not action.in_portal:
            return False
        if action.as_operator:
            return self.is_operator
        return self.may(action.scope)

    # ── what every page shows ─────────────────────────────────────────────────────────────────

    @property
    def brand(self) -> str:
        """The name at the top."""
        portal = self.visitor.session.portal
        if portal is None:
            return "Triggers"
        name = self.organization.name if self.organization is not None else ""
        return portal.theme.name or name

    @property
    def accent(self) -> str | None:
        """The colour that a portal was given."""
        portal = self.visitor.session.portal
        return None if portal is None else portal.theme.accent

    @property
    def theme(self) -> str:
        """``light``, ``dark``, or ``auto`` for as the system has it."""
        chosen = self.site.cookies.theme(self.request)
        portal = self.visitor.session.portal
        return portal.theme.mode if chosen == "auto" and portal is not None else chosen

    def organizations(self, most: int) -> list[Organization]:
        """Some organizations, for the operator: the one that is looked at, and the oldest."""
        found = self.context.directory.organizations()[::-1][:most]
        here = self.organization
        if here is not None and all(each.id != here.id for each in found):
            found = [here, *found[: most - 1]]
        return found

    @property
    def organization_count(self) -> int:
        """How many organizations there are."""
        return self.context.directory.organization_count

    def banners(self) -> list[Banner]:
        """What everybody should know who looks at the page now."""
        reason = self.is_operator
        controls = self.context.directory.controls_of(
            None if self.organization is None else self.organization.id
        )
        return banners(controls, draining=self.context.draining(), with_reason=reason)

    @property
    def done_text(self) -> str | None:
        """What is said of the action from which somebody comes, where there is no JavaScript."""
        action = self.action(self.query.get("done", ""))
        return None if action is None else action.done

    def subscription_url(self, subscription_id: str) -> str | None:
        """Where a subscription of the organization that is looked at goes; ``None``: it is gone."""
        record = self.context.directory.subscription(self.organization_id, subscription_id)
        return None if record is None else record.subscription.url

    def subscriptions(self, most: int) -> list[tuple[str, str]]:
        """Id and name of some subscriptions, newest first."""
        records = self.context.directory.subscriptions(self.organization_id)
        ids = sorted((each.subscription.id for each in records), reverse=True)[:most]
        return [(each, self.subscription_name(each)) for each in ids]

    def subscription_name(self, subscription_id: str, organization_id: str | None = None) -> str:
        """What people call a subscription: its description, its host and path, or its id.

        Of another organization than the one that is looked at only for operators.
        """
        if organization_id is None:
            organization_id = self.organization_id
        else:
            check_operator(self.visitor.principal)
        record = self.context.directory.subscription(organization_id, subscription_id)
        if record is None:
            return subscription_id
        url = record.subscription.url
        return record.subscription.description or url.partition("://")[2].partition("?")[0]

    def organization_name(self, organization_id: str) -> str:
        """What people call an organization; for operators."""
        check_operator(self.visitor.principal)
        found = self.context.directory.organization(organization_id)
        return organization_id if found is None else found.name

    # ── addresses ─────────────────────────────────────────────────────────────────────────────

    @property
    def base(self) -> str:
        """What every address within the organization that is looked at begins with."""
        if self.in_portal:
            return "/ui/portal"
        if self.is_operator and self.organization is not None:
            return f"/ui/org/{self.organization.id}"
        return "/ui"

    def href(self, path: str = "", **query: object) -> str:
        """The address of a view's page: ``events/evt_1``. Parameters that are ``None`` are left out."""
        given = {name: value for name, value in query.items() if value not in {None, ""}}
        address = f"{self.base}/{quote(path, safe='/@:')}"
        return f"{address}?{urlencode(given)}" if given else address

    def here(self, **changes: object) -> str:
        """This address with other parameters; ``None`` takes one away, and so goes back to page one."""
        given: dict[str, object] = dict(self.query)
        given.pop("cursor", None)
        given.pop("done", None)
        given |= changes
        given = {name: value for name, value in given.items() if value not in {None, ""}}
        return f"{self.request.path}?{urlencode(given)}" if given else self.request.path

    def curl(self, path: str, **query: object) -> str:
        """A read of the API as it is typed into a shell."""
        pairs = tuple((name, str(value)) for name, value in query.items() if value is not None)
        return as_curl(Call("GET", path, pairs), self.site.base_url(self.request))

    def curl_operator(self, path: str) -> str:
        """A read of the API with the operator's key."""
        base = self.site.base_url(self.request)
        return as_curl(Call("GET", path), base, as_operator=True)

    def curl_send(self) -> str:
        """How an event is sent."""
        body = b'{"type": "order.created", "payload": {"id": 42, "total": 99.5}}'
        return self._curl_post("/api/events", body)

    def curl_subscribe(self) -> str:
        """How a subscription is made."""
        body = b'{"url": "https://example.com/hook", "event_types": ["*"]}'
        return self._curl_post("/api/subscriptions", body)

    def curl_describe(self) -> str:
        """How a type of events is described."""
        body = b'{"description": "Somebody bought something", "example": {"id": 42}}'
        call = Call("PUT", "/api/event-types/order.created", body=body)
        return as_curl(call, self.site.base_url(self.request))

    def _curl_post(self, path: str, body: bytes) -> str:
        return as_curl(Call("POST", path, body=body), self.site.base_url(self.request))

    # ── answers ───────────────────────────────────────────────────────────────────────────────

    @property
    def layout(self) -> str:
        """As much of a page as is asked for."""
        target = self.request.headers.get("hx-target", "") if self.request.by_htmx else ""
        return f"layouts/{target}.html" if target in {"drawer", "dialog", "main"} else "page.html"

    def check_shown(self) -> None:
        """Let a session see what its navigation has.

        Raises:
            NotFound: it has no such view here.
        """
        here = self.view.of_everyone if self.organization is None else self.view.of_organization
        if not here or not self._shows(self.view):
            raise NotFound("there is no such page here")

    @property
    def navigation(self) -> list[NavigationEntry]:
        """The views that there are for this session and organization."""
        return [
            NavigationEntry(view.title, view.icon, self._entry(view), view is self.view)
            for view in self.site.views
            if self._shows(view)
        ]

    def _shows(self, view: View) -> bool:
        if self.in_portal and not view.in_portal:
            return False
        return self.is_operator or not view.operators_only

    def _entry(self, view: View) -> str:
        if not view.of_organization:
            return f"/ui/{view.name}"
        if self.organization is None and self.is_operator and not view.of_everyone:
            first = self.site.first_organization()
            return "/ui/" if first is None else f"/ui/org/{first.id}/{view.name}"
        return self.href(view.name)

    def render(
        self,
        template: str,
        *,
        status: int = 200,
        refresh_s: float | None = REFRESH_S,
        **given: object,
    ) -> Answer:
        """A page, or the part of it that is asked for.

        Args:
            template: in ``templates``.
            status: of the answer.
            refresh_s: how often its middle is fetched again while somebody looks; ``None``: never.
            given: what the template shows.
        """
        text = self.site.rendering.render(
            template,
            page=self,
            layout=self.layout,
            refresh_s=refresh_s,
            act=partial(self.site.rendering.button, self),
            **given,
        )
        return Answer(status=status, body=text.encode())

    def part(self, template: str, **given: object) -> str:
        """A part of a page."""
        return self.site.rendering.render(template, page=self, **given)

    def action(self, name: str) -> Action | None:
        """A button of any view."""
        return self.site.actions.get(name)

    def csrf(self) -> str:
        """What a form of this session brings along."""
        return self.site.sessions.csrf(self.visitor.session)


def _for_organization(operator: Principal, organization: Organization) -> Principal:
    """An operator who speaks for an organization."""
    return Principal(
        operator.key_id, organization.id, frozenset(ORGANIZATION_SCOPES), as_operator=True
    )
