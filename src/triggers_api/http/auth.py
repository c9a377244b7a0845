"""Who makes a request: the key in ``Authorization: Bearer`` or ``X-API-Key``, nothing else."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from triggers_api.errors import BadRequest, Forbidden, Unauthorized
from triggers_api.model.organization import Scope
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.directory import Directory, Principal


def presented_key(headers: list[tuple[bytes, bytes]]) -> str:
    """The key that a request presents.

    Raises:
        Unauthorized: none, or not in a form that a key can have.
        BadRequest: several that differ, so that it is not clear who asks.
    """
    found = set()
    for name, value in headers:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() != b"bearer":
                raise Unauthorized("the Authorization header must be: Bearer <key>")
            found.add(key.strip())
        elif name == b"x-api-key":
            found.add(value.strip())
    if not found:
        raise Unauthorized("no API key: send Authorization: Bearer <key>")
    if len(found) > 1:
        raise BadRequest("several different API keys in one request")
    return found.pop().decode("latin-1")


class Authenticator:
    """Says who asks. Remembers valid headers until the directory changes, so that a busy key is
    hashed once and not for every request.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._version = -1
        self._known: dict[bytes, Principal] = {}
        self._spoken_for: dict[str, Principal] = {}
        self._uses: dict[str, Timestamp] = {}

    @contextmanager
    def speaking_for(self, principal: Principal) -> Iterator[bytes]:
        """A word that stands for a principal like a key: for calls that the process makes of itself.

        It is good until the context is left, and nobody outside ever has it.
        """
        word = f"own_{secrets.token_urlsafe(32)}"
        self._spoken_for[word] = principal
        try:
            yield word.encode()
        finally:
            del self._spoken_for[word]

    def __call__(self, raw: list[tuple[bytes, bytes]], headers: dict[bytes, bytes]) -> Principal:
        """Who asks.

        Args:
            raw: the headers as they were sent.
            headers: the same by name.

        Raises:
            Unauthorized: the key is missing, unknown, expired or revoked.
            BadRequest: several keys that differ.
        """
        header = headers.get(b"authorization")
        if header is not None and len(headers) == len(raw) and b"x-api-key" not in headers:
            if self._version != self._directory.version:
                self._known.clear()
                self._version = self._directory.version
            principal = self._known.get(header)
            if principal is None:
                key = presented_key(raw)
                if key in self._spoken_for:
                    return self._spoken_for[key]
                principal = self._principal(key)
                if principal.expires_at is None:
                    self._known[header] = principal
            return principal
        return self._principal(presented_key(raw))

    def _principal(self, key: str) -> Principal:
        principal = self._directory.principal(key)
        if principal is None:
            raise Unauthorized
        self._uses[principal.key_id] = self._directory.now()
        return principal

    def take_uses(self) -> dict[str, Timestamp]:
        """Which keys were used since the last call, and when.

        What is remembered is forgotten: the next use of a key is seen again, and none but that one
        costs anything.
        """
        uses, self._uses = self._uses, {}
        self._known.clear()
        return uses


def organization_of(principal: Principal, *scopes: Scope) -> str:
    """The organization that a key with one of these scopes speaks for.

    Raises:
        Forbidden: the key has none of the scopes, or belongs to no organization.
    """
    if not principal.scopes.intersection(scopes) or principal.organization_id is None:
        raise Forbidden(f"this needs a key of an organization with the scope {' or '.join(scopes)}")
    return principal.organization_id


def check_operator(principal: Principal) -> None:
    """Let operators' keys through.

    Raises:
        Forbidden: the key is an organization's.
    """
    if Scope.ADMIN not in principal.scopes:
        raise Forbidden("this needs an operator's key (scope admin)")
