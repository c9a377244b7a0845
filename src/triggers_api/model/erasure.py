"""Erasing an organization: everything of it goes, piece by piece. Pure."""

from typing import Final

import msgspec

from triggers_api.model.organization import ApiKey, Organization
from triggers_api.model.timestamp import Timestamp

BEGINS_AFTER_S: Final = 5.0
"""By then every process has heard that the organization is no more, and takes nothing in for it."""
FAREWELLS_S: Final = 3600.0
"""So long the other sides of its hooks may take to be told that these have ended."""
NAME: Final = "erased"
"""What an organization and its keys are called afterwards."""


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """How far an organization is erased.

    Attributes:
        requested_at: when somebody asked for it.
        finished_at: when nothing was left; ``None`` while there may be.
        events: how many are gone so far.
        deliveries: the same of them.
    """

    organization_id: str
    requested_at: Timestamp
    finished_at: Timestamp | None = None
    events: int = 0
    deliveries: int = 0


def blank_organization(organization: Organization) -> Organization:
    """What is left of one: that there was one, so that whoever has not heard of its end still does."""
    return Organization(
        id=organization.id,
        name=NAME,
        created_at=organization.created_at,
        updated_at=organization.updated_at,
    )


def blank_key(key: ApiKey) -> ApiKey:
    """What is left of a key: that it is revoked."""
    return ApiKey(
        id=key.id,
        name=NAME,
        hint="",
        scopes=(),
        created_at=key.created_at,
        revoked_at=key.revoked_at,
    )
