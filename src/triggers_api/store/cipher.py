"""What only the service may know of a subscription, encrypted on its way into a row.

AES-256-GCM, each key derived (HKDF-SHA256, RFC 5869) from a text that an operator gives, or from the
store's signing key where none is given. What is sealed says under which key, and opens only for the
subscription that it was sealed for: a row's secrets cannot be moved to another.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from secrets import token_bytes
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from triggers_api.errors import TriggersError

SEALED: Final = "sealed:1:"
"""How a sealed text begins: what it is, and by which rules it was made. The key's id and a colon
follow, then the base64 of a nonce, the ciphertext and its tag."""

_KEY: Final = b"triggers-api: secrets of subscriptions, AES-256-GCM"
_KEY_ID: Final = b"triggers-api: id of the key for secrets of subscriptions"
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12


class Unreadable(TriggersError):
    """A sealed text that none of the keys opens, or that belongs to another subscription."""


class Cipher:
    """Seals with the first of some keys, opens with any of them."""

    def __init__(self, *keys: bytes) -> None:
        """Derive the keys; ``keys`` are at least one secret of any length, which need not be random."""
        self._keys: dict[str, AESGCM] = {}
        for key in keys:
            self._keys.setdefault(_derived(key, _KEY_ID, _ID_BYTES).hex(), _aead(key))
        self.key_id = next(iter(self._keys))
        """What names the key that seals; tells nothing about it."""

    @classmethod
    def of(cls, given: Sequence[str], kept: bytes | None) -> Self:
        """The cipher of a store.

        Args:
            given: by the settings, the first one seals.
            kept: the store's signing key, if it has one; seals where none is given.
        """
        keys = [text.encode() for text in given]
        return cls(*keys, *(() if kept is None else (kept,)))

    def seal(self, content: bytes, *, whose: str) -> str:
        """Encrypt.

        Args:
            content: any bytes.
            whose: what it belongs to; must be said again to open it.
        """
        nonce = token_bytes(_NONCE_BYTES)
        sealed = nonce + self._keys[self.key_id].encrypt(nonce, content, whose.encode())
        return f"{SEALED}{self.key_id}:{b64encode(sealed).decode()}"

    def open(self, sealed: str, *, whose: str) -> bytes:
        """What :meth:`seal` was given.

        Raises:
            Unreadable: the key is not one of these, or it was altered, or sealed for somebody else.
        """
        key_id, _, encoded = sealed.removeprefix(SEALED).partition(":")
        key = self._keys.get(key_id)
        if key is None:
            raise Unreadable("no key for it")
        try:
            raw = b64decode(encoded, validate=True)
            content = key.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], whose.encode())
        except (InvalidTag, ValueError):
            raise Unreadable("altered, or of another subscription") from None
        if b64encode(raw).decode() != encoded:  # the same bytes, spelled otherwise
            raise Unreadable("altered")
        return content

    def is_present(self, sealed: str) -> bool:
        """Whether a sealed text is under the key that seals now."""
        return sealed.startswith(f"{SEALED}{self.key_id}:")


def _aead(key: bytes) -> AESGCM:
    return AESGCM(_derived(key, _KEY, _KEY_BYTES))


def _derived(key: bytes, label: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=label).derive(key)
