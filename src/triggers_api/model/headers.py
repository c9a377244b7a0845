"""Which headers of a request to a receiver are the service's own, and no subscription's to choose."""

from typing import Final

_OURS: Final = frozenset(
    {
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type",
        "cookie", "expect", "host", "http2-settings", "keep-alive", "te", "traceparent",
        "tracestate", "trailer", "transfer-encoding", "upgrade", "user-agent",
    }
)  # fmt: skip
_OUR_PREFIXES: Final = ("ce-", "proxy-", "sec-", "webhook-", "x-triggers-")

AUTHORIZATION: Final = "authorization"
"""Made from a subscription's ``auth``."""


def is_ours(name: str) -> bool:
    """Whether the service sets this header, or HTTP keeps it for one connection; in any case."""
    lower = name.lower()
    return lower in _OURS or lower.startswith(_OUR_PREFIXES)
