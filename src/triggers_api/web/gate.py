"""What a request must show before it may change anything, and patience with guesses."""

from collections import OrderedDict
from collections.abc import Callable
from hmac import compare_digest
from typing import Final
from urllib.parse import urlsplit

from triggers_api.errors import Forbidden, RateLimited
from triggers_api.web.request import BrowserRequest

_GUESSES: Final = 10
_GUESSES_OF_ALL: Final = 200
_FORGOTTEN_AFTER_S: Final = 60.0
_ADDRESSES_KEPT: Final = 10_000
_ALL: Final = ""


def check_origin(request: BrowserRequest, public_origin: str | None) -> None:
    """Let through what one of our own pages sent.

    Args:
        request: one that would change something.
        public_origin: the one origin that is ours; ``None``: whatever host the request came to.

    Raises:
        Forbidden: it came from elsewhere, or does not say from where.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if origin is None and site is None:
        raise Forbidden("the browser does not say which page this came from")
    if site is not None and site != "same-origin":
        raise Forbidden("this came from another site")
    if origin is None:
        return
    if public_origin is not None:
        ours = origin.lower() == public_origin
    else:
        parts = urlsplit(origin.lower())
        ours = parts.scheme in {"http", "https"} and parts.netloc == request.host != ""
    if not ours:
        raise Forbidden(
            "this came from another address than the page is known under (TRIGGERS_PUBLIC_URL)"
        )


def check_csrf(given: str | None, expected: str) -> None:
    """Let a form through that was made for this session.

    Raises:
        Forbidden: it was not.
    """
    if given is None or not compare_digest(given.encode(), expected.encode()):
        raise Forbidden("the form is not of this session: load the page again")


class Patience:
    """Counts wrong keys by address, and altogether; right ones cost nothing."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock``: seconds, never going back."""
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Whether another guess is heard.

        Raises:
            RateLimited: not now.
        """
        for whose, most in ((address, _GUESSES), (_ALL, _GUESSES_OF_ALL)):
            if self._level(whose) > most - 1:
                wait_s = _FORGOTTEN_AFTER_S / most
                raise RateLimited("too many wrong keys: wait a little", retry_after_s=wait_s)

    def note_wrong(self, address: str) -> None:
        """Another guess was wrong."""
        for whose in (address, _ALL):
            self._wrong[whose] = (self._level(whose) + 1, self._clock())
            self._wrong.move_to_end(whose)
        while len(self._wrong) > _ADDRESSES_KEPT:
            self._wrong.popitem(last=False)

    def _level(self, whose: str) -> float:
        """How many count, each fading within a minute's share."""
        level, at = self._wrong.get(whose, (0.0, 0.0))
        most = _GUESSES_OF_ALL if whose == _ALL else _GUESSES
        return max(0.0, level - (self._clock() - at) * most / _FORGOTTEN_AFTER_S)
