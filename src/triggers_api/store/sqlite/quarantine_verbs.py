"""Events that are kept aside, because of what is in them or because they could not be routed.

Those that write run in the writer's thread, inside a transaction.
"""

from collections.abc import Sequence
from typing import Any

import apsw

from triggers_api.errors import InvalidState
from triggers_api.model import ids
from triggers_api.model.event import EventAside
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import codes
from triggers_api.store.base import Page
from triggers_api.store.sqlite import tokens
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.queue_verbs import GonePast
from triggers_api.store.sqlite.tables import SQL, Tables, numbers, run_many

_END_OF_TIME = (1 << 63) - 1


def reveal(db: apsw.Connection, organization: int, event: int, at: int) -> None:
    """Inboxes that went past it while it was withheld look at it again from a moment on."""
    db.execute(SQL["reveal_inbox_items"], (organization, numbers((event,)), at, codes.PARKED))


class QuarantineVerbs(Tables):
    """The verbs about what is kept aside."""

    def __init__(self, keys: Keys, gone_past: GonePast) -> None:
        super().__init__(keys)
        self._gone_past = gone_past

    def page(self, db: apsw.Connection, organization: int | None, page: Page) -> list[EventAside]:
        """Newest first."""
        before = _END_OF_TIME if page.before is None else self.keys.find(ids.EVENT, page.before)
        name = "set_aside_of_all" if organization is None else "set_aside"
        return [
            self._aside(row) for row in db.execute(SQL[name], (organization, before, page.limit))
        ]

    def one(self, db: apsw.Connection, event: int) -> EventAside | None:
        """Of whatever organization."""
        for row in db.execute(SQL["event_aside"], (event,)):
            return self._aside(row)
        return None

    def release(
        self, db: apsw.Connection, organization: int, event: int, payload: bytes | None, *, now: int
    ) -> bool:
        """Into the queue, as if it had come in now."""
        for (due_at,) in list(db.execute(SQL["release_event"], (event, organization, now))):
            run_many(db, "append_queue", [(due_at, event, now, tokens.NOBODY, 0)])
            self._gone_past.came(due_at)
            db.execute(SQL["erase_failure"], (event,))
            reveal(db, organization, event, due_at)
            if payload is not None:
                db.execute(SQL["mend_payload"], (event, payload))
            return True
        for (status,) in list(db.execute(SQL["event_standing"], (event, organization))):
            raise InvalidState(f"the event is {codes.EVENT_STATUS_OF[status]}, and not kept aside")
        return False

    def _aside(self, row: Sequence[Any]) -> EventAside:
        number, organization, event_type, status, status_at, reason, attempts = row
        return EventAside(
            id=self.keys.event(number),
            organization_id=self.keys.organization(organization),
            type=event_type,
            status=codes.EVENT_STATUS_OF[status],
            reason=reason,
            attempts=attempts,
            received_at=ids.made_at(number),
            aside_since=Timestamp(status_at),
        )
