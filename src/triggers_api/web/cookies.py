"""Cookies: the session's, and which colours somebody likes.

Over https the session's cookie has the prefix ``__Host-``: no other host and no plain connection can set
it. Plain http knows no such thing; there the name holds the port, so that two services on one machine do
not end each other's sessions.
"""

from math import ceil
from typing import Final

from triggers_api.settings import Settings
from triggers_api.web.request import BrowserRequest
from triggers_api.web.sessions import Session

_NAME: Final = "triggers"
_SECURE: Final = "__Host-"
_THEME: Final = "triggers-theme"
_THEMES: Final = frozenset({"light", "dark"})


class Cookies:
    """Reads and writes them."""

    def __init__(self, settings: Settings) -> None:
        public = settings.public_url or ""
        self._always_secure = public.startswith("https://")
        self._is_framed = bool(settings.portal_ancestors)

    def read(self, request: BrowserRequest, *, in_portal: bool) -> str | None:
        """The session's cookie."""
        found = request.cookies.get(_SECURE + _suffixed(in_portal=in_portal))
        if found is not None or self._always_secure:
            return found
        return request.cookies.get(_plain(request, in_portal=in_portal))

    def came_secure(self, request: BrowserRequest) -> bool:
        """Whether the browser uses https, as far as it shows."""
        if self._always_secure or request.headers.get("origin", "").startswith("https://"):
            return True
        return any(name.startswith(_SECURE + _NAME) for name in request.cookies)

    def write(
        self, request: BrowserRequest, value: str, session: Session, *, now: int
    ) -> tuple[str, str]:
        """The header that gives a browser its session."""
        life_s = max(0, ceil((session.expires_at - now) / 1000))
        return self._header(request, value, in_portal=session.portal is not None, life_s=life_s)

    def clear(self, request: BrowserRequest, *, in_portal: bool) -> tuple[str, str]:
        """The header that takes it away."""
        return self._header(request, "", in_portal=in_portal, life_s=0)

    def _header(
        self, request: BrowserRequest, value: str, *, in_portal: bool, life_s: int
    ) -> tuple[str, str]:
        secure = self.came_secure(request)
        name = (
            _SECURE + _suffixed(in_portal=in_portal)
            if secure
            else _plain(request, in_portal=in_portal)
        )
        # Within another site's frame a strict cookie is never sent.
        site = "SameSite=Strict"
        if in_portal and self._is_framed and secure:
            site = "SameSite=None; Partitioned"
        header = f"{name}={value}; Path=/; Max-Age={life_s}; HttpOnly; {site}"
        return "set-cookie", f"{header}; Secure" if secure else header

    @staticmethod
    def theme(request: BrowserRequest) -> str:
        """``light`` or ``dark`` where somebody chose, else ``auto``."""
        chosen = request.cookies.get(_THEME, "")
        return chosen if chosen in _THEMES else "auto"


def _suffixed(*, in_portal: bool) -> str:
    return f"{_NAME}-portal" if in_portal else _NAME


def _plain(request: BrowserRequest, *, in_portal: bool) -> str:
    port = request.host.rpartition(":")[2]
    return f"{_suffixed(in_portal=in_portal)}-{port if port.isdigit() else 80}"
