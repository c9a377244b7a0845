"""The audit log: entries beside the changes that they tell of.

:meth:`AuditVerbs.note` runs in the writer's thread, inside the transaction of the change.
"""

from collections.abc import Callable
from typing import Any, Final

import apsw

from triggers_api.model import ids
from triggers_api.model.audit import Actor, Deed, Entry, Resource
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies
from triggers_api.store.base import AuditFilter, AuditPage, Page
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.tables import SQL, Tables
from triggers_api.store.trail import Row, look

_NOBODYS: Final = 0
_END_OF_TIME: Final = (1 << 63) - 1


class AuditVerbs(Tables):
    """The verbs around ``audit_entries``."""

    def __init__(
        self, keys: Keys, clock: Callable[[], Timestamp], *, tail: int, after: int
    ) -> None:
        super().__init__(keys)
        # Of its own: ids are made where they are written, in the writer's thread.
        self._ids = ids.IdGenerator(clock, tail=tail, after=after)

    def note(self, db: apsw.Connection, by: Actor, *deeds: Deed | None) -> None:
        """Write down who did what; ``None`` is nothing."""
        for deed in deeds:
            if deed is None:
                continue
            owner = deed.organization_id
            db.execute(
                SQL["note_deed"],
                (
                    self.keys.of(self._ids.new(ids.AUDIT)),
                    _NOBODYS if owner is None else self.keys.of(owner),
                    deed.action,
                    by.name,
                    deed.resource_type,
                    deed.resource_id,
                    bodies.encode(
                        bodies.AuditBody(actor=by, changes=deed.changes, detail=deed.detail)
                    ),
                ),
            )

    def page(
        self, db: apsw.Connection, organization: int | None, wanted: AuditFilter, page: Page
    ) -> AuditPage:
        """Newest first; of all organizations, and of none, with ``None``."""
        since, until = wanted.since, wanted.until
        before = _END_OF_TIME if until is None else ids.first_sequence(until)
        if page.before is not None:
            before = min(before, self.keys.find(ids.AUDIT, page.before))
        parameters: dict[str, Any] = {
            "after": -1 if since is None else ids.first_sequence(since) - 1
        }
        name = "audit_of_all"
        if organization is not None:
            parameters["organization_id"] = organization
            name = "audit_of_organization"
            if wanted.resource is not None:
                name, parameters["wanted"] = "audit_of_resource", wanted.resource
            elif wanted.actor is not None:
                name, parameters["wanted"] = "audit_of_actor", wanted.actor
        looking = look(wanted, before=before, limit=page.limit)
        rows: list[Row] | None = None
        while True:
            try:
                ask = next(looking) if rows is None else looking.send(rows)
            except StopIteration as ended:
                trail = ended.value
                break
            parameters |= {"before": ask.before, "limit": ask.limit}
            rows = list(db.execute(SQL[name], parameters))
        go_on = None if trail.go_on is None else self.keys.entry(trail.go_on)
        return AuditPage(map(self._entry, trail.found), go_on=go_on)

    def _entry(self, row: Row) -> Entry:
        number, organization, action, _, resource_type, resource_id, body = row
        known = bodies.audit(body)
        return Entry(
            id=self.keys.entry(number),
            at=ids.made_at(number),
            action=action,
            actor=known.actor,
            organization_id=None
            if organization == _NOBODYS
            else self.keys.organization(organization),
            resource=Resource(resource_type, resource_id),
            changes=known.changes,
            detail=known.detail,
        )

    def prune(self, db: apsw.Connection, before: Timestamp, limit: int) -> int:
        """Delete entries of before a moment; returns how many."""
        rows = db.total_changes()
        db.execute(SQL["prune_audit"], (ids.first_sequence(before), limit))
        return db.total_changes() - rows
