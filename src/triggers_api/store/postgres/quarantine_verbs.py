"""Events that are kept aside, because of what is in them or because they could not be routed."""

from typing import Any
from uuid import UUID

from triggers_api.errors import InvalidState
from triggers_api.model import ids
from triggers_api.model.event import EventAside, EventStatus
from triggers_api.model.ids import received_ms
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import codes
from triggers_api.store.base import Page
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.tables import LAST, SQL, find, text

_PROCESSED = codes.EVENT_STATUS[EventStatus.PROCESSED]


async def reveal(db: Connection, organization: str | UUID, event: str | UUID, at: int) -> None:
    """Inboxes that went past it while it was withheld look at it again from a moment on."""
    await db.execute(SQL["reveal_inbox_items"], organization, [event], at, codes.PARKED)


class QuarantineVerbs:
    """The verbs about what is kept aside."""

    async def page(
        self, db: Connection, organization: str | UUID | None, page: Page
    ) -> list[EventAside]:
        """Newest first."""
        before = LAST if page.before is None else find(ids.EVENT, page.before)
        if organization is None:
            rows = await db.fetch(SQL["set_aside_of_all"], before, page.limit)
        else:
            rows = await db.fetch(SQL["set_aside"], organization, before, page.limit)
        return [_aside(row) for row in rows]

    async def one(self, db: Connection, event: str | UUID) -> EventAside | None:
        """Of whatever organization."""
        row = await db.fetchrow(SQL["event_aside"], event)
        return None if row is None else _aside(row)

    async def release(
        self,
        db: Connection,
        organization: str | UUID,
        event: str | UUID,
        payload: bytes | None,
        *,
        now: Timestamp,
    ) -> bool:
        """Into the queue, as if it had come in now."""
        released = await db.fetchval(SQL["release_event"], organization, event, now)
        if released is not None:
            if payload is not None:
                await db.execute(SQL["mend_payload"], organization, event, payload)
            await reveal(db, organization, event, released)
            return True
        row = await db.fetchrow(SQL["event_standing"], organization, event)
        if row is None:
            return False
        state, queued, _ = row
        status = EventStatus.QUEUED if queued else codes.EVENT_STATUS_OF[state or _PROCESSED]
        raise InvalidState(f"the event is {status}, and not kept aside")


def _aside(row: Any) -> EventAside:  # noqa: ANN401 - a row
    event, organization, event_type, status, status_at, reason, attempts = row
    event_id = text(ids.EVENT, event)
    return EventAside(
        id=event_id,
        organization_id=text(ids.ORGANIZATION, organization),
        type=event_type,
        status=codes.EVENT_STATUS_OF[status],
        reason=reason,
        attempts=attempts,
        received_at=Timestamp(received_ms(event_id)),
        aside_since=Timestamp(status_at),
    )
