"""Who is at the page: one-time links, sessions, the portal's links.

A session is a signed cookie that names a key and never holds it: what the session may do is looked
up with every request, so that it ends when its key does. What ended before its time is kept in the
store, so that neither a restart nor another process takes an old cookie for a good one.
"""

import hashlib
import secrets
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from triggers_api.http.tickets import Portal, Tickets
from triggers_api.model.organization import Scope
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import Store
from triggers_api.store.directory import Directory, Principal

T = TypeVar("T")

IDLE_S: Final = 2 * 3600
"""After so long without anybody doing anything a session ends."""
ABSOLUTE_S: Final = 24 * 3600
"""It ends then whatever happens."""
_SEEN_EVERY_S: Final = 60
"""How exactly it is known when somebody last did something."""
LINK_LIFE_S: Final = 15 * 60

_SESSION: Final = "session"


class Kind(StrEnum):
    """How somebody came in."""

    LINK = "link"
    KEY = "key"
    PORTAL = "portal"


class Session(msgspec.Struct, frozen=True, array_like=True):
    """What a cookie says. Moments are in milliseconds.

    Attributes:
        id: by which it is ended.
        kind: how somebody came in.
        key_id: the key whose rights it has; empty for this machine's own link.
        created_at: when it began.
        seen_at: when somebody last did something with it, to the minute.
        expires_at: when it ends at the latest.
        portal: what a portal's link said.
    """

    id: str
    kind: Kind
    key_id: str
    created_at: int
    seen_at: int
    expires_at: int
    portal: Portal | None = None


class Visitor(msgspec.Struct, frozen=True):
    """Somebody with a session, and what it may do now."""

    session: Session
    principal: Principal

    @property
    def is_operator(self) -> bool:
        """Whether all organizations may be seen."""
        return self.principal.organization_id is None


class Sessions:
    """Makes, reads and ends sessions."""

    def __init__(
        self, store: Store, directory: Directory, tickets: Tickets, *, takes_links: bool
    ) -> None:
        """Set up.

        Args:
            store: keeps what ended, and tells the time.
            directory: knows the keys.
            tickets: signs.
            takes_links: whether sessions that began with this machine's own link count.
        """
        self._store = store
        self._directory = directory
        self._tickets = tickets
        self._takes_links = takes_links
        self._links: dict[bytes, int] = {}
        self._ended: dict[str, int] = {}

    # ── the link that `serve` prints ──────────────────────────────────────────────────────────

    def make_link(self) -> str:
        """A word that opens the page once, soon."""
        word = secrets.token_urlsafe(24)
        self._links[_digest(word)] = self._store.now() + LINK_LIFE_S * 1000
        return word

    def open_link(self, word: str) -> Session | None:
        """The session that such a word is good for."""
        expires_at = self._links.pop(_digest(word), 0)
        if not self._takes_links or expires_at <= self._store.now():
            return None
        return self._begin(Kind.LINK, "")

    # ── keys and portals ──────────────────────────────────────────────────────────────────────

    def open_key(self, key: str) -> Session | None:
        """The session of a key that may read."""
        principal = self._directory.principal(key)
        if principal is None or not principal.scopes & {Scope.ADMIN, Scope.READ}:
            return None
        expires_at = principal.expires_at
        return self._begin(Kind.KEY, principal.key_id, until=expires_at)

    def open_portal(self, token: str) -> Session | None:
        """The session of a portal's link."""
        portal = self._tickets.read_portal(token)
        if portal is None or portal.expires_at <= self._store.now():
            return None
        return self._begin(Kind.PORTAL, portal.key_id, until=portal.expires_at, portal=portal)

    def _begin(
        self, kind: Kind, key_id: str, *, until: int | None = None, portal: Portal | None = None
    ) -> Session:
        now = int(self._store.now())
        expires_at = now + ABSOLUTE_S * 1000
        return Session(
            id=secrets.token_urlsafe(18),
            kind=kind,
            key_id=key_id,
            created_at=now,
            seen_at=now,
            expires_at=expires_at if until is None else min(expires_at, int(until)),
            portal=portal,
        )

    # ── cookies ───────────────────────────────────────────────────────────────────────────────

    def cookie(self, session: Session) -> str:
        """The cookie's value."""
        return self._tickets.write(_SESSION, session)

    def csrf(self, session: Session) -> str:
        """What a form must bring along to be taken for one of ours."""
        return self._tickets.word("csrf", session.id)

    async def visitor(self, cookie: str) -> Visitor | None:
        """Who has this cookie, unless the session is over.

        Raises:
            Unavailable: it cannot be said whether it was ended.
        """
        session = self._tickets.read(_SESSION, cookie, Session)
        if session is None:
            return None
        principal = self.principal(session)
        if principal is None or await self._is_ended(session):
            return None
        return Visitor(session, principal)

    def principal(self, session: Session) -> Principal | None:
        """What a session may do now; ``None`` when it is over because of its age or its key."""
        now = self._store.now()
        if now >= session.expires_at or now - session.seen_at >= IDLE_S * 1000:
            return None
        if session.kind is Kind.LINK:
            if not self._takes_links:
                return None
            return Principal("local-link", None, frozenset({Scope.ADMIN}))
        principal = self._directory.principal_of(session.key_id)
        if principal is None or session.portal is None:
            return principal
        return _within_portal(principal, session.portal)

    def goes_on(self, session: Session) -> bool:
        """Whether a session is not over, as far as this process knows by itself."""
        return session.id not in self._ended and self.principal(session) is not None

    def seen(self, session: Session) -> Session | None:
        """The session after somebody did something; ``None`` where that need not be noted."""
        now = int(self._store.now())
        if now - session.seen_at < _SEEN_EVERY_S * 1000:
            return None
        return msgspec.structs.replace(session, seen_at=now)

    async def end(self, session: Session) -> None:
        """End a session: its cookie is good for nothing from now on."""
        now = self._store.now()
        self._ended = {each: until for each, until in self._ended.items() if until > now}
        self._ended[session.id] = session.expires_at
        await self._store.log_out(session.id, Timestamp(session.expires_at))

    async def _is_ended(self, session: Session) -> bool:
        return session.id in self._ended or await self._store.logged_out(session.id)


def _within_portal(principal: Principal, portal: Portal) -> Principal | None:
    """What a portal may do: nothing that the key that made its link may not do now."""
    if principal.organization_id != portal.organization_id or Scope.MANAGE not in principal.scopes:
        return None
    wanted = {Scope.READ} if portal.read_only else {Scope.READ, Scope.MANAGE, Scope.INGEST}
    return Principal(principal.key_id, principal.organization_id, principal.scopes & wanted)


def _digest(word: str) -> bytes:
    return hashlib.sha256(word.encode()).digest()
