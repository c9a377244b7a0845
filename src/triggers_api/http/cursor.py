"""Cursors: where the next page of a list begins, signed so that nobody can make one up.

A cursor is bound to the organization, the list and its filters: with others it is refused rather
than answered with a page of something else.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from triggers_api.errors import InvalidCursor
from triggers_api.store.base import Page

_SIGNATURE_BYTES: Final = 16
_FIRST: Final = b"\0"
"""Before the signature, so that none begins with a dash: commands take that for an option."""


class Identified(Protocol):
    """Something with an id."""

    @property
    def id(self) -> str:
        """Its id."""


Item = TypeVar("Item", bound=Identified)


class Cursors:
    """Makes and reads cursors."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def page(self, cursor: str | None, limit: int, *bound_to: object) -> Page:
        """The page that a cursor (``None`` for the first) and a limit ask for, one row longer.

        The row too many says whether there is a next page; :meth:`next` takes it off again.

        Raises:
            InvalidCursor: it was not made for this organization, list and filters.
        """
        return Page(limit + 1, None if cursor is None else self.read(cursor, *bound_to))

    def next(
        self, items: Sequence[Item], limit: int, *bound_to: object, go_on: str | None = None
    ) -> tuple[list[Item], str | None]:
        """The items to show and the cursor behind them, ``None`` at the end.

        ``go_on``: there may be more behind this id, however few the items are.
        """
        shown = list(items[:limit])
        if len(items) > limit:
            return shown, self.write(shown[-1].id, *bound_to)
        return shown, None if go_on is None else self.write(go_on, *bound_to)

    def read(self, cursor: str, *bound_to: object) -> str:
        """What :meth:`write` was given.

        Raises:
            InvalidCursor: it was not made here, or for something else.
        """
        try:
            signed = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
            last = signed[len(_FIRST) + _SIGNATURE_BYTES :].decode()
        except (Base64Error, ValueError):
            raise InvalidCursor from None
        # Base64 lets several spellings stand for the same bytes; only ours is one.
        if not hmac.compare_digest(cursor, self.write(last, *bound_to)):
            raise InvalidCursor
        return last

    def write(self, last: str, *bound_to: object) -> str:
        """A place, signed; good for what it is bound to."""
        signed = _FIRST + self._sign(last, bound_to) + last.encode()
        return urlsafe_b64encode(signed).rstrip(b"=").decode()

    def _sign(self, last: str, bound_to: tuple[object, ...]) -> bytes:
        message = msgspec.json.encode((last, bound_to), enc_hook=int)
        return hmac.digest(self._secret, message, hashlib.sha256)[:_SIGNATURE_BYTES]
