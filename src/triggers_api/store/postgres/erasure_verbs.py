"""Erasing organizations: everything of one goes, some rows in each transaction."""

from typing import Final
from uuid import UUID

from triggers_api.model import ids
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
from triggers_api.store.postgres.audit_verbs import AuditVerbs
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.tables import SQL, text

MANY: Final = (
    "attempts", "delivery_queue", "dead_letters", "deliveries", "event_queue", "event_states",
    "search_blocks", "search_parts", "search_progress", "inbox_items", "audit_entries", "rollups",
    "jobs", "notices", "order_keys", "endpoint_health",
)  # fmt: skip
"""What goes before the last step, in this order: most of it is gone with the events."""
LAST: Final = (
    "farewells", "event_types", "inbox_remains", "inboxes", "switches", "quotas", "subscriptions",
    "accounts",
)  # fmt: skip


class ErasureVerbs:
    """The verbs around ``erasures``."""

    def __init__(self, audit: AuditVerbs) -> None:
        self._audit = audit

    async def request(
        self, db: Connection, organization: str | UUID, *, by: Actor, now: Timestamp
    ) -> Erasure | None:
        """Of an organization that was deleted."""
        state = await db.fetchrow(SQL["organization_state"], organization)
        if state is None or not state[0]:
            return None
        tag = await db.execute(SQL["request_erasure"], organization, now)
        found = await self.erasures(db)
        wanted = UUID(str(organization)).hex
        erasure = next(each for each in found if each.organization_id[4:] == wanted)
        if tag.endswith(" 1"):
            deed = organization_erased(erasure.organization_id, "erasing")
            await self._audit.note(db, by, deed)
        return erasure

    async def erasures(self, db: Connection) -> list[Erasure]:
        """All of them, the newest organizations first."""
        return [
            Erasure(
                organization_id=text(ids.ORGANIZATION, organization),
                requested_at=Timestamp(requested_at),
                finished_at=None if finished_at is None else Timestamp(finished_at),
                events=events,
                deliveries=deliveries,
            )
            for organization, requested_at, finished_at, events, deliveries in await db.fetch(
                SQL["erasures"]
            )
        ]

    async def step(self, db: Connection, limit: int, *, now: Timestamp) -> bool:
        """One piece; returns whether there may be more to do now."""
        row = await db.fetchrow(SQL["erasure_to_go_on"], now.after(seconds=-BEGINS_AFTER_S))
        if row is None:
            return False
        organization, requested_at = row
        counts = await db.fetchrow(SQL["erase_events"], organization, limit)
        assert counts is not None
        if any(counts):
            await db.execute(SQL["note_erased"], organization, *counts)
            return True
        for table in MANY:
            if await self._erase(db, table, organization, limit):
                return True
        waits = await db.fetchval(SQL["farewells_of"], organization)
        if waits and now < Timestamp(requested_at).after(seconds=FAREWELLS_S):
            return False
        for table in LAST:
            while await self._erase(db, table, organization, limit):
                pass
        await db.execute(SQL["erase_key_uses"], organization)
        for key, body, _ in await db.fetch(SQL["keys_of"], organization):
            blank = blank_key(bodies.api_key(body))
            await db.execute(SQL["blank_key"], key, bodies.encode(blank))
        _, body = await db.fetchrow(SQL["organization_state"], organization) or (None, None)
        assert body is not None
        shell = blank_organization(bodies.organization(body))
        await db.execute(SQL["blank_organization"], organization, bodies.encode(shell))
        await db.execute(SQL["finish_erasure"], organization, now)
        owner = text(ids.ORGANIZATION, organization)
        await self._audit.note(db, SERVICE, organization_erased(owner, "erased"))
        return True

    @staticmethod
    async def _erase(db: Connection, table: str, organization: UUID, limit: int) -> bool:
        statement = SQL["erase_rows"].format(table=table)
        return not (await db.execute(statement, organization, limit)).endswith(" 0")
