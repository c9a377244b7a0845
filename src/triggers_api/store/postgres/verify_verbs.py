"""Faults in the records, and their repair: a look at everything, and mending in pieces."""

from typing import Final
from uuid import UUID

import asyncpg

from triggers_api.model import ids
from triggers_api.model.audit import Actor, records_repaired
from triggers_api.model.verification import ONLY_TOLD, Check, Integrity
from triggers_api.store.postgres.audit_verbs import AuditVerbs
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.tables import SQL, text

_ELSEWHERE: Final = frozenset({Check.PAYLOADS_WITHOUT_EVENT})
"""A payload is a column of its event here."""
_WITH_TIME: Final = frozenset({Check.EVENTS_NOT_QUEUED, Check.DELIVERIES_NOT_QUEUED})
_KIND: Final = {
    Check.COUNTERS: ids.ORGANIZATION,
    Check.DELIVERIES_WITHOUT_EVENT: ids.DELIVERY,
    Check.DELIVERIES_NOT_QUEUED: ids.DELIVERY,
    Check.QUEUED_WITHOUT_DELIVERY: ids.DELIVERY,
    Check.DEAD_NOT_LISTED: ids.DELIVERY,
    Check.LISTED_NOT_DEAD: ids.DELIVERY,
    Check.ATTEMPTS_WITHOUT_DELIVERY: ids.ATTEMPT,
}

Difference = tuple[UUID, int, int]


class VerifyVerbs:
    """The verbs about faults."""

    def __init__(self, audit: AuditVerbs) -> None:
        self._audit = audit

    async def faults(self, db: Connection, check: Check, limit: int) -> list[str]:
        """The ids of what is wrong."""
        if check in _ELSEWHERE:
            return []
        rows = await db.fetch(SQL[f"check_{check}"], limit)
        kind = _KIND.get(check, ids.EVENT)
        return [text(kind, row[0]) for row in rows]

    async def differences(self, db: Connection, limit: int) -> list[Difference]:
        """By organization, how many more events and deliveries there are than the books have."""
        return [(row[0], row[1], row[2]) for row in await db.fetch(SQL["check_counters"], limit)]

    async def mend_counters(
        self, db: Connection, differences: list[Difference], *, by: Actor
    ) -> int:
        """Add what was found to be missing: others may have counted meanwhile, on both sides alike."""
        for difference in differences:
            await db.execute(SQL["mend_counters"], *difference)
        return await self._mended(db, Check.COUNTERS, len(differences), by)

    async def mend(self, db: Connection, check: Check, limit: int, *, by: Actor, now: int) -> int:
        """Mend some; returns how many."""
        if check in _ELSEWHERE or check in ONLY_TOLD:
            return 0
        parameters = (limit, now) if check in _WITH_TIME else (limit,)
        tag = await db.execute(SQL[f"mend_{check}"], *parameters)
        return await self._mended(db, check, int(tag.rpartition(" ")[2]), by)

    async def _mended(self, db: Connection, check: Check, count: int, by: Actor) -> int:
        if count:
            await self._audit.note(db, by, records_repaired(check, count))
        return count

    async def integrity(self, db: Connection) -> Integrity:
        """What PostgreSQL finds in its indexes, where it has the extension that can look."""
        invalid = [
            f"index {name} is not valid: it was never finished"
            for (name,) in await db.fetch(SQL["invalid_indexes"])
        ]
        if not await db.fetchval(SQL["has_amcheck"]):
            return Integrity(
                faults=tuple(invalid),
                reason="the extension amcheck is not there: a superuser can CREATE EXTENSION amcheck",
            )
        indexes = await db.fetch(SQL["indexes_to_check"])
        faults = invalid
        for oid, name in indexes:
            try:
                await db.execute(SQL["check_index"], oid)
            except asyncpg.InsufficientPrivilegeError:
                return Integrity(
                    faults=tuple(faults),
                    reason="this user may not call bt_index_check: grant it EXECUTE on the function",
                )
            except (asyncpg.IndexCorruptedError, asyncpg.DataCorruptedError) as error:
                faults.append(f"index {name}: {error}")
        return Integrity(checked=f"{len(indexes)} indexes, with amcheck", faults=tuple(faults))
