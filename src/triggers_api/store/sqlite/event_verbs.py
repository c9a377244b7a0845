"""What ends an event before, or long after, it was routed.

What writes is an operation's body: it runs in the writer's thread, inside a transaction.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import apsw

from triggers_api.model import ids
from triggers_api.model.audit import Actor, by_hand
from triggers_api.model.event import check_cancellable
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import codes
from triggers_api.store.sqlite.audit_verbs import AuditVerbs
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.tables import SQL, Tables, numbers

_ORGANIZATIONS_AT_ONCE: Final = 100
"""Into how many a look for old events goes."""


class Old(NamedTuple):
    """Events that may go, by organization with the moment that holds for it, and where to go on."""

    found: list[tuple[int, Timestamp, list[int]]]
    position: tuple[int, int] | None


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

    def old(
        self,
        db: apsw.Connection,
        before: Timestamp,
        own: Mapping[int, Timestamp],
        *,
        organization: int,
        after: int,
        limit: int,
    ) -> Old:
        """Look for what may go, on a reader's snapshot: before it goes the writer asks again."""
        found: list[tuple[int, Timestamp, list[int]]] = []
        for _ in range(_ORGANIZATIONS_AT_ONCE):
            owner = _first(db.execute(SQL["next_owner"], (organization,)))
            if owner is None:
                return Old(found, None)
            moment = own.get(owner, before)
            asked = (owner, after if owner == organization else 0, ids.first_sequence(moment))
            rows = list(db.execute(SQL["old_events"], (*asked, moment, limit)))
            going = [number for number, goes in rows if goes]
            if going:
                found.append((owner, moment, going))
            if len(rows) == limit:
                return Old(found, (owner, rows[-1][0]))
            limit -= len(rows)
            organization, after = owner + 1, 0
        return Old(found, (organization, 0))

    def prune(self, db: apsw.Connection, old: Old) -> tuple[int, int, int]:
        """Delete what still may go; how many events, deliveries and attempts."""
        events = deliveries = attempts = 0
        for organization, moment, candidates in old.found:
            asked = (numbers(candidates), moment)
            going = [number for (number,) in db.execute(SQL["still_old"], asked)]
            gone = numbers(going)
            sent = [number for (number,) in db.execute(SQL["deliveries_of_events"], (gone,))]
            db.execute(SQL["purge_attempts"], (numbers(sent),))
            attempts += db.changes() if sent else 0
            for statement, rows in (
                ("purge_deliveries", numbers(sent)), ("prune_payloads", gone),
                ("prune_failures", gone), ("prune_events", gone),
            ):  # fmt: skip
                db.execute(SQL[statement], (rows,))
            db.execute(SQL["prune_items_of_events"], (organization, gone))
            db.execute(SQL["count_pruned"], (organization, len(going), len(sent)))
            events, deliveries = events + len(going), deliveries + len(sent)
        return events, deliveries, attempts


def _first(rows: Iterable[tuple[int]]) -> int | None:
    return next((number for (number,) in rows), None)
