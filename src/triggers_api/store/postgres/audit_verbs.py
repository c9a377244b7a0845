"""The audit log: entries beside the changes that they tell of."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from triggers_api.model import ids
from triggers_api.model.audit import Actor, Deed, Entry, Resource
from triggers_api.model.ids import IdGenerator, received_ms
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies
from triggers_api.store.base import AuditFilter, AuditPage, Page
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.tables import FIRST, LAST, SQL, find, first_at, number, text
from triggers_api.store.trail import Row, look

_NOBODYS: Final = UUID(int=0)


class AuditVerbs:
    """The verbs around ``audit_entries``."""

    def __init__(self, identifiers: IdGenerator) -> None:
        self._ids = identifiers

    async def note(self, db: Connection, by: Actor, *deeds: Deed | None) -> None:
        """Write down who did what, in the transaction of the change; ``None`` is nothing."""
        for deed in deeds:
            if deed is None:
                continue
            owner = deed.organization_id
            await db.execute(
                SQL["note_deed"],
                _NOBODYS if owner is None else number(owner),
                number(self._ids.new(ids.AUDIT)),
                deed.action,
                by.name,
                deed.resource_type,
                deed.resource_id,
                bodies.encode(bodies.AuditBody(actor=by, changes=deed.changes, detail=deed.detail)),
            )

    async def page(
        self, db: Connection, organization: str | UUID | None, wanted: AuditFilter, page: Page
    ) -> AuditPage:
        """Newest first; of all organizations, and of none, with ``None``."""
        since, until = wanted.since, wanted.until
        after = FIRST if since is None else UUID(int=max(first_at(since).int - 1, 0))
        before = LAST if until is None else first_at(until)
        if page.before is not None:
            before = min(before, UUID(str(find(ids.AUDIT, page.before))))
        name = "audit_of_all"
        more: list[Any] = []
        if organization is not None:
            name, more = "audit_of_organization", [organization]
            if wanted.resource is not None:
                name, more = "audit_of_resource", [organization, wanted.resource]
            elif wanted.actor is not None:
                name, more = "audit_of_actor", [organization, wanted.actor]
        looking = look(wanted, before=before, limit=page.limit)
        rows: Sequence[Any] | None = None
        while True:
            try:
                ask = next(looking) if rows is None else looking.send(rows)
            except StopIteration as ended:
                trail = ended.value
                break
            rows = await db.fetch(SQL[name], after, ask.before, ask.limit, *more)
        go_on = None if trail.go_on is None else text(ids.AUDIT, trail.go_on)
        return AuditPage(map(_entry, trail.found), go_on=go_on)

    async def prune(self, db: Connection, before: Timestamp, limit: int) -> int:
        """Delete entries of before a moment; returns how many."""
        tag = await db.execute(SQL["prune_audit"], first_at(before), limit)
        return int(tag.rpartition(" ")[2])


def _entry(row: Row) -> Entry:
    identifier, organization, action, _, resource_type, resource_id, body = row
    known = bodies.audit(body)
    entry_id = text(ids.AUDIT, identifier)
    return Entry(
        id=entry_id,
        at=Timestamp(received_ms(entry_id)),
        action=action,
        actor=known.actor,
        organization_id=None if organization == _NOBODYS else text(ids.ORGANIZATION, organization),
        resource=Resource(resource_type, resource_id),
        changes=known.changes,
        detail=known.detail,
    )
