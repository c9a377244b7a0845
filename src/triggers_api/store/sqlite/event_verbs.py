"""What ends an event before, or long after, it was routed.

Every method here is an operation's body: it runs in the writer's thread, inside a transaction.
"""

import apsw

from triggers_api.model.event import check_cancellable
from triggers_api.store import codes
from triggers_api.store.sqlite.tables import SQL, Tables


class EventVerbs(Tables):
    """The verbs about whole events."""

    def cancel(self, db: apsw.Connection, organization: int, event: int, *, now: int) -> bool:
        """Never to be routed: whoever has it in hand finds its queue row gone."""
        place = list(db.execute(SQL["queue_place"], (event, organization)))
        if list(db.execute(SQL["cancel_event"], (event, organization, now))):
            for (due_at,) in place:
                db.execute(SQL["erase_queue_row"], (due_at, event))
            return True
        for (status,) in list(db.execute(SQL["event_standing"], (event, organization))):
            check_cancellable(codes.EVENT_STATUS_OF[status])
            return True
        return False
