"""What the service signs for itself and gets back from browsers: sessions, and links to portals."""

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

_SIGNATURE_BYTES: Final = 32
_LENGTH_LIMIT: Final = 4096
_PORTAL: Final = "portal"
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}")


class PortalTheme(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a portal looks: ``mode`` is ``auto``, ``light`` or ``dark``, ``accent`` is ``#rrggbb``."""

    mode: str = "auto"
    accent: str | None = None
    name: str | None = None

    @staticmethod
    def is_colour(text: str) -> bool:
        """Whether a text is a colour as ``accent`` has it."""
        return _COLOUR.fullmatch(text) is not None


class Portal(msgspec.Struct, frozen=True, array_like=True):
    """What a link to a portal says; ``expires_at`` is in milliseconds.

    ``key_id`` names the key that made it: the portal may do what that key may do, and ends with it.
    """

    id: str
    key_id: str
    organization_id: str
    expires_at: int
    read_only: bool
    theme: PortalTheme


class Tickets:
    """Signs and reads. What was signed for one purpose is good for no other."""

    def __init__(self, secret: bytes) -> None:
        self._secret = hmac.digest(secret, b"tickets of the operator page, 1", hashlib.sha256)

    def write(self, purpose: str, content: msgspec.Struct) -> str:
        """Something, signed."""
        body = msgspec.json.encode(content)
        return urlsafe_b64encode(self._sign(purpose, body) + body).rstrip(b"=").decode()

    def read(self, purpose: str, ticket: str, into: type[T]) -> T | None:
        """What :meth:`write` was given; ``None`` where it was not written here and for this."""
        if len(ticket) > _LENGTH_LIMIT:
            return None
        try:
            signed = urlsafe_b64decode(ticket.encode("ascii") + b"=" * (-len(ticket) % 4))
        except (Base64Error, ValueError):
            return None
        signature, body = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(purpose, body)):
            return None
        try:
            return msgspec.json.decode(body, type=into)
        except msgspec.DecodeError:
            return None  # of another version

    def word(self, purpose: str, about: str) -> str:
        """A word that only this service can say about something."""
        return self._sign(purpose, about.encode()).hex()[:32]

    def write_portal(self, portal: Portal) -> str:
        """The word that opens a portal."""
        return self.write(_PORTAL, portal)

    def read_portal(self, ticket: str) -> Portal | None:
        """What the portal's word says, whatever its age."""
        return self.read(_PORTAL, ticket, Portal)

    def _sign(self, purpose: str, body: Any) -> bytes:  # noqa: ANN401 - bytes of any kind
        return hmac.digest(self._secret, purpose.encode() + b"\0" + body, hashlib.sha256)
