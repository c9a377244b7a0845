"""What is to be told: written down with what it tells of, and taken out when it has been told."""

from collections.abc import Collection, Sequence

from triggers_api.model import ids
from triggers_api.model.notice import Notice
from triggers_api.store import bodies
from triggers_api.store.base import PendingNotice
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.tables import SQL, number, text


async def write_notices(db: Connection, notices: Sequence[tuple[str, Notice]]) -> None:
    """Of organizations, by their ids; part of the transaction that makes it so."""
    if notices:
        await db.execute(
            SQL["write_notices"],
            [number(organization) for organization, _ in notices],
            [notice.at for _, notice in notices],
            [bodies.encode(notice) for _, notice in notices],
        )


async def pending_notices(db: Connection, limit: int) -> list[PendingNotice]:
    """Those that wait, oldest first."""
    return [
        PendingNotice(identifier.hex, text(ids.ORGANIZATION, organization), bodies.notice(body))
        for identifier, organization, body in await db.fetch(SQL["notices"], limit)
    ]


async def forget_notices(db: Connection, notice_ids: Collection[str]) -> None:
    """They have been told."""
    await db.execute(SQL["forget_notices"], list(notice_ids))
