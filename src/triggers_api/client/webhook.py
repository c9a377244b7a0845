"""Webhooks on their way out of the service, as a receiver sees them: whose they are, and what they say.

The scheme is that of Standard Webhooks (https://www.standardwebhooks.com): what is signed is
``<webhook-id>.<webhook-timestamp>.<body>``, with HMAC-SHA256 (``v1``, a ``whsec_…`` secret) or with
Ed25519 (``v1a``, the sender's ``whpk_…`` key).
"""

import builtins
import hmac
import json
import time
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, Final, TypeVar

import msgspec

from triggers_api.client.errors import InvalidWebhook

T = TypeVar("T")

TOLERANCE_S: Final = 300.0
"""How far a webhook's timestamp may be from the receiver's clock, in seconds, either way."""

_ID: Final = "webhook-id"
_TIMESTAMP: Final = "webhook-timestamp"
_SIGNATURE: Final = "webhook-signature"
_SECRET: Final = "whsec_"  # noqa: S105 - its beginning
_PUBLIC_KEY: Final = "whpk_"
_V1: Final = "v1,"
_V1A: Final = "v1a,"
_KEY_BYTES: Final = range(24, 65)
_PUBLIC_KEY_BYTES: Final = 32
_TIMESTAMP_DIGITS: Final = 12


class Webhook(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A webhook that is what it says.

    Attributes:
        id: the event's, the same on every attempt and replay: what was had already is skipped by it.
        timestamp: of this attempt.
        body: the bytes that came.
        event_type: the event's type.
        delivery_id: the delivery.
        attempt: from 1.
        sequence: its number in the order of the subscription, where it is ordered.
    """

    id: str
    timestamp: datetime
    body: bytes
    event_type: str | None = None
    delivery_id: str | None = None
    attempt: int | None = None
    sequence: int | None = None

    @cached_property
    def json(self) -> Any:  # noqa: ANN401 - whatever was sent
        """The body's value."""
        return json.loads(self.body)

    @property
    def type(self) -> str:
        """The event's type: as the header has it, or else as the body says."""
        return self.event_type or str(self.json["type"])

    @property
    def data(self) -> Any:  # noqa: ANN401 - whatever was sent
        """The event's payload, with the payload format ``standard``."""
        return self.json["data"]

    def json_as(self, kind: builtins.type[T]) -> T:
        """The body as a struct, a dataclass or another type that msgspec knows.

        Raises:
            msgspec.ValidationError: it is not one.
        """
        return msgspec.json.decode(self.body, type=kind)


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secrets: str | Iterable[str],
    *,
    tolerance_s: float | None = TOLERANCE_S,
    now: float | None = None,
) -> Webhook:
    """A webhook that was signed with one of these secrets, not long ago.

    Args:
        headers: the request's; their names in any case.
        body: the bytes that were received, before any decoding.
        secrets: the receiver's ``whsec_…`` secret or the sender's ``whpk_…`` key; several while one
            replaces another.
        tolerance_s: how many seconds the timestamp may be away from now, either way; ``None``: it is
            not looked at, and a webhook that somebody has recorded can be sent again.
        now: the receiver's clock, in seconds since the epoch; this machine's if not given.

    Raises:
        InvalidWebhook: a header is missing or unreadable, the time is too far off, or none of the
            signatures is right.
        ValueError: a secret is not one, or there is none.
    """
    keys = [secrets] if isinstance(secrets, str) else list(secrets)
    if not keys:
        raise ValueError("without a secret nothing can be verified")
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp = given[_ID], given[_TIMESTAMP]
        signatures = given[_SIGNATURE].split(" ")
    except KeyError as missing:
        raise InvalidWebhook(f"not signed: the header {missing.args[0]} is missing") from None
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _TIMESTAMP_DIGITS):
        raise InvalidWebhook(f"not signed: {_TIMESTAMP} is not a number of seconds")
    content = f"{message_id}.{timestamp}.".encode(errors="surrogatepass") + body
    if not any(_is_signed(key, signatures, content) for key in keys):
        raise InvalidWebhook(
            "not signed with the private half of this key"
            if all(key.startswith(_PUBLIC_KEY) for key in keys)
            else "not signed with this secret"
        )
    moment = int(timestamp)
    if (
        tolerance_s is not None
        and abs((time.time() if now is None else now) - moment) > tolerance_s
    ):
        raise InvalidWebhook(f"signed more than {tolerance_s:g} s away from now")
    try:
        signed_at = datetime.fromtimestamp(moment, UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidWebhook(f"not signed: {_TIMESTAMP} is no time") from None
    return Webhook(
        id=message_id,
        timestamp=signed_at,
        body=body,
        event_type=given.get("x-triggers-event-type"),
        delivery_id=given.get("x-triggers-delivery-id"),
        attempt=_number(given.get("x-triggers-attempt")),
        sequence=_number(given.get("x-triggers-sequence")),
    )


def _is_signed(key: str, signatures: Iterable[str], content: bytes) -> bool:
    if key.startswith(_PUBLIC_KEY):
        return any(
            _verifies(key, each.removeprefix(_V1A), content)
            for each in signatures
            if each.startswith(_V1A)
        )
    mac = hmac.digest(_secret_bytes(key), content, "sha256")
    expected = _V1.encode() + b2a_base64(mac, newline=False)
    # compare_digest takes the same time wherever the first difference is, so that the right
    # signature cannot be found byte by byte.
    return any(
        hmac.compare_digest(each.encode(errors="surrogatepass"), expected) for each in signatures
    )


@lru_cache(maxsize=256)
def _secret_bytes(secret: str) -> bytes:
    return _decoded(secret, _SECRET, _KEY_BYTES)


def _verifies(key: str, signature: str, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - few need it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PublicKey,
    )

    size = range(_PUBLIC_KEY_BYTES, _PUBLIC_KEY_BYTES + 1)
    public = Ed25519PublicKey.from_public_bytes(_decoded(key, _PUBLIC_KEY, size))
    try:
        public.verify(a2b_base64(signature, strict_mode=True), content)
    except (ValueError, InvalidSignature):
        return False
    return True


def _decoded(text: str, prefix: str, sizes: range) -> bytes:
    if not text.startswith(prefix):
        raise ValueError(f"not a signing secret: it must begin with {_SECRET} or {_PUBLIC_KEY}")
    try:
        key = a2b_base64(text[len(prefix) :], strict_mode=True)
    except ValueError:
        raise ValueError(f"not a signing secret: what follows {prefix} is not base64") from None
    if len(key) not in sizes:
        raise ValueError(f"not a signing secret: {len(key)} bytes is not its size")
    return key


def _number(text: str | None) -> int | None:
    known = text is not None and text.isascii() and text.isdigit() and len(text) < 19
    return int(text) if known and text is not None else None
