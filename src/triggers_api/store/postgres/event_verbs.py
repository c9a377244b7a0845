"""What ends an event before, or long after, it was routed."""

import secrets
from typing import NamedTuple
from uuid import UUID

from triggers_api.model.audit import Actor, Deed
from triggers_api.model.event import EventStatus, check_cancellable
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import codes
from triggers_api.store.postgres.audit_verbs import AuditVerbs
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.queue_verbs import SLOTS
from triggers_api.store.postgres.tables import SQL, first_at

_PROCESSED = codes.EVENT_STATUS[EventStatus.PROCESSED]


class Gone(NamedTuple):
    """How many events were looked at, the last one, and how many went with what they had."""

    seen: int
    last: UUID | None
    counts: tuple[int, int, int]


class EventVerbs:
    """The verbs about whole events."""

    def __init__(self, audit: AuditVerbs) -> None:
        self._audit = audit

    async def cancel(
        self,
        db: Connection,
        organization: str | UUID,
        event: str | UUID,
        *,
        deed: Deed,
        by: Actor,
        now: int,
    ) -> bool:
        """Never to be routed: whoever has it in hand finds its queue row gone."""
        await db.execute(SQL["hold_queue_row"], organization, event)
        row = await db.fetchrow(SQL["event_standing"], organization, event)
        if row is None:
            return False
        state, queued, routed = row
        if queued and not routed and state != _PROCESSED:
            await db.execute(SQL["erase_queue_row"], organization, event)
            await db.execute(SQL["mark_cancelled"], organization, event, now)
            await self._audit.note(db, by, deed)
        else:
            # What is queued although it was routed is only looked at once more.
            check_cancellable(codes.EVENT_STATUS_OF[_PROCESSED if state is None else state])
        return True

    async def prune(
        self, db: Connection, *, organization: UUID, after: UUID, before: Timestamp, limit: int
    ) -> Gone | None:
        """Delete old events of an organization behind a place; ``None`` if somebody else is at it."""
        if not await db.fetchval(SQL["sweep_alone"]):
            return None
        row = await db.fetchrow(
            SQL["hold_old_events"], organization, after, first_at(before), limit, before
        )
        assert row is not None
        seen, last, held = row
        if not held:
            return Gone(seen, last, (0, 0, 0))
        # What is asked from here on is as it is now, and stays so.
        slot = secrets.randbelow(SLOTS)
        counts = await db.fetchrow(SQL["prune_events"], organization, held, before, slot)
        assert counts is not None
        return Gone(seen, last, tuple(counts))
