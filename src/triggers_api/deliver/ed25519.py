"""Signatures with a key pair, Standard Webhooks v1a: ``whsk_`` signs, ``whpk_`` verifies."""

from base64 import b64decode, b64encode
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from triggers_api.errors import MalformedValue

PRIVATE_PREFIX: Final = "whsk_"
PUBLIC_PREFIX: Final = "whpk_"

_KEY_BYTES: Final = 32
_PAIR_BYTES: Final = 64


def new_private_key() -> str:
    """A fresh key: ``whsk_`` and the base64 of its 32 bytes with the 32 of its public half."""
    key = Ed25519PrivateKey.generate()
    pair = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    return PRIVATE_PREFIX + b64encode(pair).decode()


def public_key(private: str) -> str:
    """The ``whpk_…`` text by which receivers verify.

    Raises:
        MalformedValue: it is not ``whsk_`` and the base64 of a key, alone or with its public half.
    """
    return PUBLIC_PREFIX + b64encode(_private(private).public_key().public_bytes_raw()).decode()


def sign(private: str, content: bytes) -> str:
    """The signature in base64.

    Raises:
        MalformedValue: as :func:`public_key`.
    """
    return b64encode(_private(private).sign(content)).decode()


@lru_cache(maxsize=4096)
def _private(text: str) -> Ed25519PrivateKey:
    pair = _decoded(text, PRIVATE_PREFIX, (_KEY_BYTES, _PAIR_BYTES))
    key = Ed25519PrivateKey.from_private_bytes(pair[:_KEY_BYTES])
    if pair[_KEY_BYTES:] not in (b"", key.public_key().public_bytes_raw()):
        raise MalformedValue("not a signing key: its public half belongs to another one")
    return key


def _decoded(text: str, prefix: str, sizes: tuple[int, ...]) -> bytes:
    if not text.startswith(prefix):
        raise MalformedValue(f"not a signing key: it must begin with {prefix}")
    try:
        key = b64decode(text[len(prefix) :], validate=True)
    except ValueError:
        raise MalformedValue(f"not a signing key: what follows {prefix} is not base64") from None
    if len(key) not in sizes:
        wanted = " or ".join(map(str, sizes))
        raise MalformedValue(
            f"not a signing key: it holds {len(key)} bytes, and {wanted} are asked for"
        )
    return key
