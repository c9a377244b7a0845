"""The way in and out: the printed link, a key, a portal's link, the end of a session."""

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import structlog

from triggers_api.errors import NotFound, Unauthorized
from triggers_api.http.client_address import client_address
from triggers_api.http.tickets import PortalTheme
from triggers_api.web.answer import Answer, see_other
from triggers_api.web.gate import Patience
from triggers_api.web.request import BrowserRequest
from triggers_api.web.sessions import Session

if TYPE_CHECKING:
    from triggers_api.web.site import Site

log = structlog.get_logger(__name__)

_ROOT: Final = "/ui"
_PORTAL: Final = "/ui/portal"
_UNENCRYPTED_IS_FINE: Final = ("localhost", "127.", "[::1]")
_WRONG: Final = {
    "key": "That is no key of this service, or it may not read.",
    "link": "The link was used, or is too old. Start the service again for a new one, or use a key.",
    "portal": "The link to this page has expired. Go back to where you found it for a new one.",
}


class Entrance:
    """What is answered without a session."""

    def __init__(self, site: "Site", patience: Patience) -> None:
        self._site = site
        self._patience = patience

    async def answer(self, request: BrowserRequest, base: str, parts: list[str]) -> Answer | None:
        """What an address of the entrance is answered with; ``None`` for every other address."""
        if base == _PORTAL:
            if parts == ["open"]:
                return await self._portal(request)
            return None
        match parts:
            case ["login"]:
                return await self._login(request)
            case ["open"]:
                return await self._link(request)
            case ["accent", name]:
                return _accent(name)
        return None

    async def _login(self, request: BrowserRequest) -> Answer:
        if request.method != "POST":
            return self._page(request, "login.html", next=_next(request.query.get("next")))
        form = await request.form()
        whose = self._whose(request)
        self._patience.check(whose)
        session = self._site.sessions.open_key((form.get("key") or "").strip())
        if session is None:
            self._patience.note_wrong(whose)
            return self._page(
                request,
                "login.html",
                status=401,
                next=_next(form.get("next")),
                wrong=_WRONG["key"],
            )
        return self._opened(request, session, _next(form.get("next")))

    async def _link(self, request: BrowserRequest) -> Answer:
        if request.method != "POST":
            return self._page(request, "open.html", action="/ui/open")
        form = await request.form()
        whose = self._whose(request)
        self._patience.check(whose)
        session = self._site.sessions.open_link(form.get("token") or "")
        if session is None:
            self._patience.note_wrong(whose)
            return self._page(request, "login.html", status=401, next="/ui/", wrong=_WRONG["link"])
        return self._opened(request, session, _next(form.get("next")))

    def _whose(self, request: BrowserRequest) -> str:
        """The address that guesses are counted by."""
        trusted = self._site.context.settings.trusted_proxies
        found = client_address(request.client or None, request.scope["headers"], trusted)
        return found or ""

    async def _portal(self, request: BrowserRequest) -> Answer:
        if request.method != "POST":
            return self._page(request, "open.html", action="/ui/portal/open")
        form = await request.form()
        session = self._site.sessions.open_portal(form.get("token") or "")
        if session is None or self._site.sessions.principal(session) is None:
            return self._page(request, "ended.html", status=401, wrong=_WRONG["portal"])
        return self._opened(request, session, _PORTAL + "/")

    def _opened(self, request: BrowserRequest, session: Session, target: str) -> Answer:
        site = self._site
        log.info("page opened", kind=session.kind, key_id=session.key_id)
        cookie = site.cookies.write(
            request, site.sessions.cookie(session), session, now=site.context.store.now()
        )
        return see_other(target, cookie)

    def closed(self, request: BrowserRequest, *, in_portal: bool, had_cookie: bool) -> Answer:
        """What somebody without a session gets for everything else."""
        if request.method == "POST":
            raise Unauthorized("the session is over: log in again")
        if request.is_refresh or request.by_htmx:
            # The whole page goes where the rest of it cannot be had.
            target = _PORTAL + "/" if in_portal else _login_for(request.headers)
            return Answer(status=200, headers=(("hx-redirect", target),))
        if not had_cookie and request.headers.get("sec-fetch-site") == "cross-site":
            # A strict cookie is not sent when another site's link is followed. It is with the next
            # request, which is ours.
            return self._page(request, "again.html", target=request.target)
        if in_portal:
            return self._page(request, "ended.html", status=401, wrong=_WRONG["portal"])
        return see_other(f"/ui/login?next={quote(request.target, safe='/')}")

    def left(self, request: BrowserRequest, *, in_portal: bool) -> Answer:
        """After a session was ended."""
        cookie = self._site.cookies.clear(request, in_portal=in_portal)
        if in_portal:
            page = self._page(request, "ended.html", wrong="You have left this page.")
            return Answer(body=page.body, headers=(cookie,))
        return see_other("/ui/login", cookie)

    def _page(
        self, request: BrowserRequest, template: str, *, status: int = 200, **given: object
    ) -> Answer:
        if request.method not in {"GET", "HEAD", "POST"}:
            raise NotFound("there is no such page")
        settings = self._site.context.settings
        host = request.host
        text = self._site.rendering.render(
            f"entrance/{template}",
            theme=self._site.cookies.theme(request),
            unencrypted=not self._site.cookies.came_secure(request)
            and not host.startswith(_UNENCRYPTED_IS_FINE),
            local=settings.host in {"localhost", "::1"} or settings.host.startswith("127."),
            **({"wrong": None} | given),
        )
        return Answer(status=status, body=text.encode())


def _next(target: str | None) -> str:
    """Where to go on: only to a page of ours."""
    if (
        target is None
        or not target.startswith("/ui/")
        or "\\" in target
        or not target.isprintable()
    ):
        return "/ui/"
    parts = urlsplit(target)
    if parts.scheme or parts.netloc or parts.path.startswith(("/ui/login", "/ui/open", "/ui/do")):
        return "/ui/"
    return target


def _login_for(headers: dict[str, str]) -> str:
    shown = urlsplit(headers.get("hx-current-url", ""))
    target = f"{shown.path}?{shown.query}" if shown.query else shown.path
    return f"/ui/login?next={quote(_next(target), safe='/')}"


def _accent(name: str) -> Answer:
    """A style sheet with one colour, since nothing may be written into the page."""
    colour = f"#{name.removesuffix('.css')}"
    if not PortalTheme.is_colour(colour):
        raise NotFound("there is no such file")
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    # What is written on the colour is as far from it as can be (the luma of ITU-R BT.601).
    ink = "#000000" if 299 * red + 587 * green + 114 * blue > 150_000 else "#ffffff"
    # Three times, to go before what the page says of light and dark.
    rule = f":root:root:root{{--accent:{colour};--accent-ink:{ink}}}"
    return Answer(
        body=rule.encode(),
        media_type="text/css; charset=utf-8",
        headers=(("cache-control", "public, max-age=31536000, immutable"),),
    )
