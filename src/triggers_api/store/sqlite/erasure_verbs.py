"""Erasing organizations: everything of one goes, some rows in each transaction.

What writes runs in the writer's thread, inside a transaction.
"""

from typing import Final

import apsw

from triggers_api.model.audit import SERVICE, Actor, organization_erased
from triggers_api.model.erasure import (
    BEGINS_AFTER_S,
    FAREWELLS_S,
    Erasure,
    blank_key,
    blank_organization,
)
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies
from triggers_api.store.sqlite.audit_verbs import AuditVerbs
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.search_verbs import PART_BITS
from triggers_api.store.sqlite.tables import SQL, Tables, numbers

OF_SUBSCRIPTIONS: Final = ("order_keys", "endpoint_health")
"""Tables whose rows are a subscription's."""
OF_ORGANIZATIONS: Final = (
    "search_progress", "jobs", "notices", "rollups", "farewells", "event_types", "inboxes", "switches",
    "subscriptions", "accounts",
)  # fmt: skip
"""Tables whose rows are an organization's, few of them."""


class ErasureVerbs(Tables):
    """The verbs around ``erasures``."""

    def __init__(self, keys: Keys, audit: AuditVerbs) -> None:
        super().__init__(keys)
        self._audit = audit

    def request(
        self, db: apsw.Connection, organization: int, *, by: Actor, now: Timestamp
    ) -> Erasure | None:
        """Of an organization that was deleted."""
        if not any(gone for gone, _ in db.execute(SQL["organization_state"], (organization,))):
            return None
        before = db.total_changes()
        db.execute(SQL["request_erasure"], (organization, now))
        if db.total_changes() > before:
            owner = self.keys.organization(organization)
            self._audit.note(db, by, organization_erased(owner, "erasing"))
        return next(each for number, each in self._all(db) if number == organization)

    def erasures(self, db: apsw.Connection) -> list[Erasure]:
        """All of them, the newest organizations first."""
        return [each for _, each in self._all(db)]

    def _all(self, db: apsw.Connection) -> list[tuple[int, Erasure]]:
        return [
            (
                number,
                Erasure(
                    organization_id=self.keys.organization(number),
                    requested_at=Timestamp(requested_at),
                    finished_at=None if finished_at is None else Timestamp(finished_at),
                    events=events,
                    deliveries=deliveries,
                ),
            )
            for number, requested_at, finished_at, events, deliveries in db.execute(SQL["erasures"])
        ]

    def step(self, db: apsw.Connection, limit: int, *, now: Timestamp) -> bool:
        """One piece; returns whether there may be more to do now."""
        asked = (now.after(seconds=-BEGINS_AFTER_S),)
        for organization, requested_at in list(db.execute(SQL["erasure_to_go_on"], asked)):
            # With zeros in its place in the file, not only out of sight.
            db.pragma("secure_delete", 1)
            try:
                return self._step(db, organization, Timestamp(requested_at), limit, now)
            finally:
                db.pragma("secure_delete", 0)
        return False

    def _step(
        self,
        db: apsw.Connection,
        organization: int,
        requested_at: Timestamp,
        limit: int,
        now: Timestamp,
    ) -> bool:
        if self._records(db, organization, limit) or self._parts(db, organization, limit):
            return True
        before = db.total_changes()
        db.execute(SQL["erase_entries"], (organization, limit))
        if db.total_changes() > before:
            return True
        waits = list(db.execute(SQL["farewells_of"], (organization,)))
        if waits and now < requested_at.after(seconds=FAREWELLS_S):
            return False
        for _, cursor, *_ in list(db.execute(SQL["inboxes"], (organization,))):
            db.execute(SQL["leave_inbox_items"], (cursor,))
        for table in OF_SUBSCRIPTIONS:
            statement = SQL["erase_of_subscriptions"].format(table=table)
            db.execute(statement, (organization,))
        for table in OF_ORGANIZATIONS:
            db.execute(SQL["erase_rows"].format(table=table), (organization,))
        db.execute(SQL["erase_key_uses"], (organization,))
        for number, body, _ in list(db.execute(SQL["keys_of"], (organization,))):
            key = blank_key(bodies.api_key(body))
            db.execute(SQL["blank_key"], (number, bodies.encode(key)))
        for _, body in list(db.execute(SQL["organization_state"], (organization,))):
            blank = blank_organization(bodies.organization(body))
            db.execute(SQL["blank_organization"], (organization, bodies.encode(blank)))
        db.execute(SQL["finish_erasure"], (organization, now))
        owner = self.keys.organization(organization)
        self._audit.note(db, SERVICE, organization_erased(owner, "erased"))
        return True

    def _records(self, db: apsw.Connection, organization: int, limit: int) -> bool:
        """Events with what they had, then deliveries without an event."""
        asked = (organization, limit)
        events = [number for (number,) in db.execute(SQL["events_to_erase"], asked)]
        if events:
            rows = db.execute(SQL["deliveries_of_events"], (numbers(events),))
        else:
            rows = db.execute(SQL["deliveries_to_erase"], asked)
        sent = [number for (number,) in rows]
        if not events and not sent:
            return False
        for event in events:
            for due_at, _ in list(db.execute(SQL["queue_place"], (event, organization))):
                db.execute(SQL["erase_queue_row"], (due_at, event))
        going = numbers(events)
        db.execute(SQL["prune_items_of_events"], (organization, going))
        db.execute(SQL["purge_attempts"], (numbers(sent),))
        db.execute(SQL["purge_deliveries"], (numbers(sent),))
        for name in ("erase_traces", "prune_payloads", "prune_failures", "prune_events"):
            db.execute(SQL[name], (numbers(events),))
        db.execute(SQL["count_accepted"], (organization, -len(events), -len(sent)))
        db.execute(SQL["note_erased"], (organization, len(events), len(sent)))
        return True

    def _parts(self, db: apsw.Connection, organization: int, limit: int) -> bool:
        """Of the index of searches."""
        found = list(db.execute(SQL["parts_to_erase"], (organization, limit)))
        for (number,) in found:
            first = number << PART_BITS
            db.execute(SQL["delete_blocks"], (first, first + (1 << PART_BITS)))
            db.execute(SQL["delete_part"], (number,))
        return bool(found)
