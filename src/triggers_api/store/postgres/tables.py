"""What every group of verbs works with: the statements, and ids as the columns hold them."""

from typing import Final
from uuid import UUID

from triggers_api.model import ids
from triggers_api.store.sql import Statements

SQL: Final = Statements("triggers_api.store.postgres")

NOBODY: Final = UUID(int=0)
"""What no row has as its id."""

FIRST: Final = UUID(int=0)
LAST: Final = UUID(int=(1 << 128) - 1)


def number(identifier: str) -> str:
    """The uuid of an id that was made here, as asyncpg takes it."""
    return identifier[4:]


def find(prefix: str, identifier: str) -> str | UUID:
    """The uuid to look for; :data:`NOBODY` for what is not such an id."""
    return identifier[4:] if ids.parse(prefix, identifier) is not None else NOBODY


def text(prefix: str, value: UUID) -> str:
    """The id with this uuid."""
    return f"{prefix}_{value.hex}"


def first_at(moment: int) -> UUID:
    """The smallest uuid an id made at this moment (milliseconds) can have."""
    return UUID(int=moment << 80)


def like(pattern: str) -> str:
    """A glob, whose ``*`` is any run of characters, for LIKE."""
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")
