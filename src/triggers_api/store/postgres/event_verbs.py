"""What ends an event before it was routed."""

from uuid import UUID

from triggers_api.model.audit import Actor, Deed
from triggers_api.model.event import EventStatus, check_cancellable
from triggers_api.store import codes
from triggers_api.store.postgres.audit_verbs import AuditVerbs
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.tables import SQL

_PROCESSED = codes.EVENT_STATUS[EventStatus.PROCESSED]


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
