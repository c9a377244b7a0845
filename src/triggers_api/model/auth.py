"""How deliveries say to a receiver who they are, besides their signature."""

from base64 import b64encode
from enum import StrEnum

import msgspec


class AuthType(StrEnum):
    """The scheme of the ``Authorization`` header."""

    BASIC = "basic"
    BEARER = "bearer"


class BasicAuth(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="basic"
):
    """A user's name and password (RFC 7617)."""

    username: str
    password: str


class BearerAuth(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="bearer"
):
    """A token (RFC 6750)."""

    token: str


Auth = BasicAuth | BearerAuth


class AuthShown(msgspec.Struct, frozen=True):
    """What of an ``auth`` is shown: its type. The rest is only ever written."""

    type: AuthType


def shown(auth: Auth) -> AuthShown:
    """What callers see of it."""
    return AuthShown(AuthType.BASIC if isinstance(auth, BasicAuth) else AuthType.BEARER)


def authorization(auth: Auth) -> str:
    """The value of the ``Authorization`` header; user names and passwords in UTF-8."""
    match auth:
        case BasicAuth(username=username, password=password):
            return f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"
        case BearerAuth(token=token):
            return f"Bearer {token}"
