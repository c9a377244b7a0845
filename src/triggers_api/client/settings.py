"""Where the service is, as whom it is asked, and how patiently."""

import os
import ssl
import sys
from collections.abc import Mapping
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

import msgspec

from triggers_api import __version__
from triggers_api.client.attempts import Retry
from triggers_api.client.calls import JSON

DEFAULT_URL: Final = "http://127.0.0.1:8000"
USER_AGENT: Final = (
    f"triggers-api-client/{__version__} python/{sys.version_info.major}.{sys.version_info.minor}"
)


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a client was told.

    Attributes:
        base: the service's URL.
        prefix: its path, without a slash at its end.
        timeout_s: for a call with all its attempts.
        attempt_timeout_s: for one attempt.
    """

    base: SplitResult
    prefix: str
    headers: Mapping[str, str]
    timeout_s: float
    attempt_timeout_s: float
    retry: Retry
    context: ssl.SSLContext | None

    @classmethod
    def of(
        cls,
        url: str | None,
        api_key: str | None,
        *,
        timeout_s: float,
        attempt_timeout_s: float,
        retry: Retry,
        context: ssl.SSLContext | None,
    ) -> Self:
        """From what was given, or else the environment.

        Raises:
            ValueError: one of them cannot be used.
        """
        base = urlsplit((url or os.environ.get("TRIGGERS_URL") or DEFAULT_URL).rstrip("/"))
        if base.scheme not in {"http", "https"} or not base.hostname:
            raise ValueError("the URL must begin with http://host or https://host")
        if base.username is not None or base.query or base.fragment:
            raise ValueError("the URL has no user, query or fragment")
        _ = base.port  # raises
        key = api_key or os.environ.get("TRIGGERS_API_KEY")
        if not key:
            raise ValueError("a key is needed: api_key, or TRIGGERS_API_KEY in the environment")
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError("not a key: printable ASCII characters are expected")
        if timeout_s <= 0 or attempt_timeout_s <= 0 or retry.max_attempts < 1:
            raise ValueError("timeouts are more than 0, attempts at least 1")
        return cls(
            base=base,
            prefix=base.path,
            headers={"Authorization": f"Bearer {key}", "User-Agent": USER_AGENT, "Accept": JSON},
            timeout_s=timeout_s,
            attempt_timeout_s=attempt_timeout_s,
            retry=retry,
            context=context,
        )

    @property
    def shown(self) -> str:
        """The URL, for people; the key is not."""
        return self.base.geturl()

    def with_body(self, headers: Mapping[str, str], body: bytes | None) -> dict[str, str]:
        """The headers of one request."""
        sent = {**self.headers, **headers}
        if body is not None:
            sent["Content-Type"] = JSON
        return sent
