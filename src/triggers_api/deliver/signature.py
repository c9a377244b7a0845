"""Signatures of webhooks, by Standard Webhooks (https://www.standardwebhooks.com).

What is signed is ``<webhook-id>.<webhook-timestamp>.<body>``, byte for byte as it is sent: with
HMAC-SHA256 (``v1``), or with Ed25519 (``v1a``) where the secret is a private key. Several signatures in
one header stand for several secrets while one replaces another. Receivers verify with
:func:`triggers_api.client.verify`.
"""

import hashlib
from base64 import b64encode
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from secrets import token_bytes
from typing import Final

from triggers_api.deliver import ed25519
from triggers_api.errors import MalformedValue
from triggers_api.model.subscription import SignatureScheme

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"

PREFIX: Final = "whsec_"
KEY_BYTES: Final = range(24, 65)
"""How many bytes a secret may hold."""

_NEW_KEY_BYTES: Final = 32
_PRIVATE_KEY: Final = "whsk_"

_BLOCK_BYTES: Final = 64
"""Of SHA-256; no secret is longer."""
_INNER_PAD: Final = bytes(each ^ 0x36 for each in range(256))
_OUTER_PAD: Final = bytes(each ^ 0x5C for each in range(256))


def new_secret(scheme: SignatureScheme = SignatureScheme.V1) -> str:
    """A fresh signing secret: ``whsec_`` and 256 random bits in base64, or a ``whsk_`` key."""
    if scheme is SignatureScheme.V1A:
        return ed25519.new_private_key()
    return PREFIX + b64encode(token_bytes(_NEW_KEY_BYTES)).decode()


def secret_bytes(secret: str) -> bytes:
    """The key inside a ``whsec_…`` text.

    Raises:
        MalformedValue: it is not ``whsec_`` and standard base64 of 24 to 64 bytes.
    """
    if not secret.startswith(PREFIX):
        raise MalformedValue(f"not a signing secret: it must begin with {PREFIX}")
    try:
        key = a2b_base64(secret[len(PREFIX) :], strict_mode=True)
    except ValueError:
        raise MalformedValue("not a signing secret: what follows whsec_ is not base64") from None
    if len(key) not in KEY_BYTES:
        raise MalformedValue(
            f"not a signing secret: it holds {len(key)} bytes, and 24 to 64 are asked for"
        )
    return key


def public_key(scheme: SignatureScheme, secret: str) -> str | None:
    """What may be told of a secret: for ``v1a`` the ``whpk_…`` key that verifies, else nothing.

    Raises:
        MalformedValue: the secret is not one of this scheme.
    """
    if scheme is SignatureScheme.V1A:
        return ed25519.public_key(secret)
    secret_bytes(secret)
    return None


def sign(secrets: Sequence[str], *, message_id: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` header: a version, a comma and base64 for each secret, with spaces.

    Args:
        secrets: ``whsec_…`` or ``whsk_…`` texts, in the order of the signatures.
        message_id: the ``webhook-id`` header.
        timestamp: the ``webhook-timestamp`` header, seconds since the epoch.
        body: the bytes that are sent.

    Raises:
        MalformedValue: one of the secrets is not one.
    """
    content = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(
        [
            f"v1a,{ed25519.sign(secret, content)}"
            if secret.startswith(_PRIVATE_KEY)
            else f"v1,{_mac(secret, content)}"
            for secret in secrets
        ]
    )


def _mac(secret: str, content: bytes) -> str:
    inner, outer = _begun(secret)
    within = inner.copy()
    within.update(content)
    mac = outer.copy()
    mac.update(within.digest())
    return b2a_base64(mac.digest(), newline=False).decode()


@lru_cache(maxsize=4096)
def _begun(secret: str) -> "tuple[hashlib._Hash, hashlib._Hash]":
    """HMAC-SHA256 (RFC 2104) as far as it goes before there is a text: both hashes with their block.

    To copy them takes half of the time that ``hmac.digest`` does, and unlike it keeps the interpreter
    lock, for which the other thread would have to be waited for.
    """
    block = secret_bytes(secret).ljust(_BLOCK_BYTES, b"\0")
    return (
        hashlib.sha256(block.translate(_INNER_PAD)),
        hashlib.sha256(block.translate(_OUTER_PAD)),
    )
