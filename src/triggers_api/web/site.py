"""The ASGI application in front of the API: it answers under ``/ui`` and lets everything else pass."""

import time
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog

from triggers_api.errors import (
    InternalError,
    MethodNotAllowed,
    NotFound,
    Problem,
    Unauthorized,
)
from triggers_api.http.application import Application
from triggers_api.http.body import ClientGone, Receive
from triggers_api.http.wire import Send, problem_answer
from triggers_api.model.organization import Organization
from triggers_api.store.directory import Principal
from triggers_api.web import assets
from triggers_api.web.actions import Action
from triggers_api.web.answer import Answer, see_other
from triggers_api.web.calls import Api, Refused
from triggers_api.web.cookies import Cookies
from triggers_api.web.doing import do
from triggers_api.web.entrance import Entrance
from triggers_api.web.gate import Patience, check_csrf, check_origin
from triggers_api.web.page import Page, View
from triggers_api.web.rendering import Rendering
from triggers_api.web.request import BrowserRequest
from triggers_api.web.sessions import Kind, Sessions, Visitor
from triggers_api.web.stream import Stream
from triggers_api.web.views import VIEWS

log = structlog.get_logger(__name__)

ROOT: Final = "/ui"
PORTAL: Final = "/ui/portal"

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors "
)
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    # A form's Origin would be "null" with no-referrer.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"permissions-policy",
        b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
)


class Site:
    """The operator page."""

    def __init__(self, application: Application, *, local: bool) -> None:
        """Set up.

        Args:
            application: the API, which gets everything that is not the page's.
            local: only this machine can reach it: its one-time link opens the page.
        """
        self.context = context = application.context
        self.views: Sequence[View] = VIEWS
        self.actions: dict[str, Action] = {
            action.name: action for view in VIEWS for action in view.actions
        }
        self.rendering = Rendering(context.store.now)
        self.sessions = Sessions(
            context.store, context.directory, context.tickets, takes_links=local
        )
        self.cookies = Cookies(context.settings)
        self.entrance = Entrance(self, Patience(time.monotonic))
        self._application = application
        self._is_local = local
        self._by_name = {view.name: view for view in VIEWS}
        self._by_action = {action.name: view for view in VIEWS for action in view.actions}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI's
        """Serve one request."""
        if scope["type"] == "http":
            path = scope["path"]
            if path == ROOT or path.startswith(ROOT + "/"):
                await self._serve(BrowserRequest(scope, receive), send)
                return
            if path == "/" and scope["method"] in {"GET", "HEAD"} and _is_browser(scope):
                await _send(send, see_other(ROOT + "/"), [], head=scope["method"] == "HEAD")
                return
        await self._application(scope, receive, send)

    def make_link(self) -> str | None:
        """A word that opens the page once, soon; ``None`` where others can reach it, too."""
        return self.sessions.make_link() if self._is_local else None

    def api(self, principal: Principal, request: BrowserRequest) -> Api:
        """The API for a principal, in the name of a browser's request."""
        return Api(
            self._application,
            self.context.authenticator,
            principal,
            request_id=request.identifier,
            client=request.scope.get("client"),
            forwarded=[each for each in request.scope["headers"] if each[0] == b"x-forwarded-for"],
        )

    def first_organization(self) -> Organization | None:
        """The organization that is looked at until another is chosen: the oldest."""
        found = self.context.directory.organizations()
        return found[-1] if found else None

    def base_url(self, request: BrowserRequest) -> str:
        """The service's address as the browser knows it."""
        public = self.context.settings.public_url
        if public is not None:
            return public
        scheme = "https" if self.cookies.came_secure(request) else "http"
        return f"{scheme}://{request.host or 'localhost'}"

    # ── one request ───────────────────────────────────────────────────────────────────────────

    async def _serve(self, request: BrowserRequest, send: Send) -> None:
        try:
            answer = await self._answer(request)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - every fault has an answer
            answer = self._fault(request, error)
        headers = self._headers(request)
        if isinstance(answer, Stream):
            await answer(request.receive, send, headers)
        else:
            await _send(send, answer, headers, head=request.method == "HEAD")

    async def _answer(self, request: BrowserRequest) -> Answer | Stream:
        path = request.path
        if request.method not in {"GET", "HEAD", "POST"}:
            raise MethodNotAllowed(headers=[("Allow", "GET, HEAD, POST")])
        if path.startswith(assets.PREFIX):
            return _asset(path)
        if path in {ROOT, PORTAL}:
            return see_other(path + "/")
        if request.method == "POST":
            check_origin(request, self.context.settings.public_url)
        in_portal = path.startswith(PORTAL + "/")
        base = PORTAL if in_portal else ROOT
        parts = _parts(path, base)
        found = await self.entrance.answer(request, base, parts)
        if found is not None:
            return found
        cookie = self.cookies.read(request, in_portal=in_portal)
        visitor = None if cookie is None else await self.sessions.visitor(cookie)
        if visitor is None or (visitor.session.kind is Kind.PORTAL) is not in_portal:
            return self.entrance.closed(request, in_portal=in_portal, had_cookie=cookie is not None)
        request.visitor = visitor
        return self._kept(request, visitor, await self._visit(request, visitor, base, parts))

    async def _visit(
        self, request: BrowserRequest, visitor: Visitor, base: str, parts: list[str]
    ) -> Answer | Stream:
        """What somebody with a session gets."""
        form = None
        if request.method == "POST":
            form = await request.form()
            check_csrf(
                request.headers.get("x-csrf") or form.get("csrf"),
                self.sessions.csrf(visitor.session),
            )
            if parts == ["logout"]:
                await self.sessions.end(visitor.session)
                return self.entrance.left(request, in_portal=base == PORTAL)
        organization, parts = self._looked_at(visitor, parts)
        name, rest = (parts[0], parts[1:]) if parts else ("", [])
        if name == "do" and len(rest) == 1:
            its_view = self._by_action.get(rest[0], self._by_name[""])
            page = Page(self, request, visitor, its_view, organization)
            return await do(page, rest[0], request.query if form is None else form)
        view = self._by_name.get(name)
        handler = None if view is None else view.find(rest)
        if view is None:
            view = self._by_name[""]
            handler = view.find(parts)
        if handler is None or form is not None:
            raise NotFound("there is no such page")
        page = Page(self, request, visitor, view, organization)
        page.check_shown()
        return await handler[0](page, *handler[1])

    def _looked_at(
        self, visitor: Visitor, parts: list[str]
    ) -> tuple[Organization | None, list[str]]:
        """The organization that an address is about, and the rest of the address."""
        directory = self.context.directory
        own = visitor.principal.organization_id
        if parts[:1] != ["org"]:
            found = None if own is None else directory.organization(own)
            if own is not None and found is None:
                raise Unauthorized("the organization was deleted")
            return found, parts
        found = directory.organization(parts[1]) if own is None and len(parts) > 1 else None
        if found is None:
            raise NotFound("there is no such organization")
        return found, parts[2:]

    def _kept(
        self, request: BrowserRequest, visitor: Visitor, answer: Answer | Stream
    ) -> Answer | Stream:
        """The answer, with a fresh cookie where somebody did something."""
        if isinstance(answer, Stream) or request.is_refresh:
            return answer
        session = self.sessions.seen(visitor.session)
        if session is None or any(name == "set-cookie" for name, _ in answer.headers):
            return answer
        header = self.cookies.write(
            request, self.sessions.cookie(session), session, now=self.context.store.now()
        )
        return msgspec.structs.replace(answer, headers=(*answer.headers, header))

    # ── refusals ──────────────────────────────────────────────────────────────────────────────

    def _fault(self, request: BrowserRequest, error: Exception) -> Answer:
        """A refusal in plain words."""
        match error:
            case Refused():
                status, problem = error.status, error.problem
            case Problem():
                status, _, body = problem_answer(error, request.identifier.encode())
                problem = msgspec.json.decode(body)
            case _:
                log.error(
                    "page failed",
                    route=request.path,
                    request_id=request.identifier,
                    exc_info=error,
                )
                status, _, body = problem_answer(InternalError(), request.identifier.encode())
                problem = msgspec.json.decode(body)
        if request.is_refresh:
            return Answer(status=status, headers=(("hx-reswap", "none"),))
        found = self._refused(request, status, problem)
        if found is not None:
            return found
        template, headers = "refused.html", []
        if request.by_htmx:
            template = "parts/problem.html"
            within = request.headers.get("hx-target")
            if within != "dialog-problem":
                headers = [("hx-retarget", "#notices"), ("hx-reswap", "beforeend")]
        text = self.rendering.render(
            template,
            status=status,
            phrase=HTTPStatus(status).phrase,
            problem=problem,
            theme=self.cookies.theme(request),
            in_portal=request.path.startswith(PORTAL + "/"),
        )
        return Answer(status=status, body=text.encode(), headers=headers)

    def _refused(
        self, request: BrowserRequest, status: int, problem: dict[str, Any]
    ) -> Answer | None:
        """A refusal on a page with its navigation; ``None`` where there can be none."""
        visitor = request.visitor
        if visitor is None or request.by_htmx or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return None
        own = visitor.principal.organization_id
        organization = None if own is None else self.context.directory.organization(own)
        name = ""
        base = PORTAL if request.path.startswith(PORTAL + "/") else ROOT
        with suppress(NotFound, Unauthorized):
            organization, (name, *_) = self._looked_at(visitor, [*_parts(request.path, base), ""])
        if organization is None and not visitor.is_operator:
            return None
        view = self._by_name.get(name, self._by_name[""])
        page = Page(self, request, visitor, view, organization)
        return page.render("views/refused.html", status=status, refresh_s=None, problem=problem)

    # ── headers ───────────────────────────────────────────────────────────────────────────────

    def _headers(self, request: BrowserRequest) -> list[tuple[bytes, bytes]]:
        """Of every answer."""
        ancestors: tuple[str, ...] = ()
        if request.path.startswith(PORTAL + "/"):
            ancestors = self.context.settings.portal_ancestors
        policy = _POLICY + (" ".join(ancestors) or "'none'")
        headers = [*_HEADERS, (b"content-security-policy", policy.encode())]
        headers.append((b"x-request-id", request.identifier.encode()))
        if not ancestors:
            headers.append((b"x-frame-options", b"DENY"))
        if (self.context.settings.public_url or "").startswith("https://"):
            headers.append((b"strict-transport-security", b"max-age=31536000"))
        return headers


def _asset(path: str) -> Answer:
    found = assets.asset(path)
    if found is None:
        raise NotFound("there is no such file")
    return Answer(
        body=found.content,
        media_type=found.media_type,
        headers=(("cache-control", "public, max-age=31536000, immutable"),),
    )


def _parts(path: str, base: str) -> list[str]:
    """What an address has behind its beginning, without a slash at its end."""
    parts = path.removeprefix(base + "/").split("/")
    return parts[:-1] if parts[-1] == "" else parts


def _is_browser(scope: Any) -> bool:  # noqa: ANN401 - ASGI's
    """Whether a person looks: browsers ask for HTML first, programs for anything."""
    accept: bytes = dict(scope["headers"]).get(b"accept", b"")
    return accept.lower().startswith(b"text/html")


async def _send(
    send: Send, answer: Answer, headers: list[tuple[bytes, bytes]], *, head: bool
) -> None:
    own = answer.raw_headers()
    names = {name for name, _ in own}
    everything = own + [header for header in headers if header[0] not in names]
    if b"cache-control" not in names:
        everything.append((b"cache-control", b"no-store"))
    await send({"type": "http.response.start", "status": answer.status, "headers": everything})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})
