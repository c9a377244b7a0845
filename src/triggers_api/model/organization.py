"""Tenants, their keys and their limits."""

import hashlib
import secrets
from enum import StrEnum
from typing import Final

import msgspec

from triggers_api.model.timestamp import Timestamp


class Scope(StrEnum):
    """What a key may do. ``admin`` is for operators' keys, which belong to no organization."""

    INGEST = "ingest"
    READ = "read"
    MANAGE = "manage"
    ADMIN = "admin"


ORGANIZATION_SCOPES: Final = (Scope.INGEST, Scope.READ, Scope.MANAGE)
"""What an organization's key has unless it was narrowed."""


class Organization(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant.

    ``rate_limit`` (events a minute), ``rate_burst`` (events), ``max_queue_depth`` (events that may wait
    to be routed), ``max_queue_age_s`` (seconds that one may) and the days that something is kept are
    ``None`` for the service's setting; a limit of 0 means none, and 0 days for ever.
    """

    id: str
    name: str
    webhook_url: str | None = None
    rate_limit: int | None = None
    rate_burst: int | None = None
    max_queue_depth: int | None = None
    max_queue_age_s: float | None = None
    retention_days: int | None = None
    delivery_retention_days: int | None = None
    attempt_retention_days: int | None = None
    dead_letter_retention_days: int | None = None
    created_at: Timestamp
    updated_at: Timestamp


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret.

    Attributes:
        hint: the first characters, to tell keys apart; not enough to guess the rest.
        replaces: the key in whose place this one was made.
        last_used_at: when it was last used, to the minute; ``None``: never, or not since that is noted.
    """

    id: str
    name: str
    hint: str
    scopes: tuple[Scope, ...]
    created_at: Timestamp
    expires_at: Timestamp | None = None
    revoked_at: Timestamp | None = None
    replaces: str | None = None
    last_used_at: Timestamp | None = None

    def is_valid_at(self, now: int) -> bool:
        """Whether it opens anything at a moment."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


class KeyStatus(StrEnum):
    """Whether a key opens anything, and for how long: ``expiring`` ones end within days."""

    VALID = "valid"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    REVOKED = "revoked"


EXPIRES_SOON_S: Final = 7 * 86_400
"""A key that ends within this time is warned of."""


def key_status(key: ApiKey, *, now: Timestamp) -> KeyStatus:
    """Where a key stands at a moment."""
    if key.revoked_at is not None:
        return KeyStatus.REVOKED
    if key.expires_at is None:
        return KeyStatus.VALID
    if key.expires_at <= now:
        return KeyStatus.EXPIRED
    soon = key.expires_at <= now.after(seconds=EXPIRES_SOON_S)
    return KeyStatus.EXPIRING if soon else KeyStatus.VALID


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is kept: by its digest, with the organization it stands for.

    ``organization_id`` is ``None`` for an operator's key.
    """

    organization_id: str | None
    digest: bytes
    key: ApiKey


HINT_LENGTH: Final = 8


def new_api_key() -> str:
    """A fresh key: 256 random bits behind a prefix that leak scanners can look for."""
    return f"trg_{secrets.token_urlsafe(32)}"


def key_digest(key: str) -> bytes:
    """What is stored of a key and looked up: its SHA-256.

    Keys that we make hold 256 random bits, so a slow hash would protect nothing and would hand
    callers a way to keep the CPU busy.
    """
    return hashlib.sha256(key.encode()).digest()


def key_record(
    key_id: str,
    secret: str,
    *,
    organization_id: str | None,
    name: str,
    scopes: tuple[Scope, ...],
    now: Timestamp,
    expires_at: Timestamp | None = None,
    replaces: str | None = None,
) -> KeyRecord:
    """A key as it is kept."""
    return KeyRecord(
        organization_id=organization_id,
        digest=key_digest(secret),
        key=ApiKey(
            id=key_id,
            name=name,
            hint=secret[:HINT_LENGTH],
            scopes=scopes,
            created_at=now,
            expires_at=expires_at,
            replaces=replaces,
        ),
    )


LAST_OPERATOR: Final = (
    "it is the last operator's key: make another one first, or nobody could make one any more"
)


def retired(key: ApiKey, *, until: Timestamp) -> ApiKey:
    """A key in whose place there is another one: it ends at a moment, or earlier if it would anyway."""
    ends = until if key.expires_at is None else min(until, key.expires_at)
    return msgspec.structs.replace(key, expires_at=ends)
