"""What ends an event before it was routed.

What writes is an operation's body: it runs in the writer's thread, inside a transaction.
"""

import apsw

from triggers_api.model.audit import Actor, by_hand
from triggers_api.model.event import check_cancellable
from triggers_api.store import codes
from triggers_api.store.sqlite.audit_verbs import AuditVerbs
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.tables import SQL, Tables


class EventVerbs(Tables):
    """The verbs about whole events."""

    def __init__(self, keys: Keys, audit: AuditVerbs) -> None:
        super().__init__(keys)
        self._audit = audit

    def cancel(
        self, db: apsw.Connection, organization: int, event: int, *, by: Actor, now: int
    ) -> bool:
        """Never to be routed: whoever has it in hand finds its queue row gone."""
        place = list(db.execute(SQL["queue_place"], (event, organization)))
        if list(db.execute(SQL["cancel_event"], (event, organization, now))):
            for due_at, _ in place:
                db.execute(SQL["erase_queue_row"], (due_at, event))
            owner, identifier = self.keys.organization(organization), self.keys.event(event)
            self._audit.note(db, by, by_hand("event.cancelled", owner, identifier))
            return True
        for (status,) in list(db.execute(SQL["event_standing"], (event, organization))):
            check_cancellable(codes.EVENT_STATUS_OF[status])
            return True
        return False
