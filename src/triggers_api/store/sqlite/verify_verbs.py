"""Faults in the records, and their repair: a look at everything, and mending in pieces.

What mends runs in the writer's thread, inside a transaction; looks read a snapshot.
"""

from typing import Final

import apsw

from triggers_api.model import ids
from triggers_api.model.audit import Actor, records_repaired
from triggers_api.model.verification import ONLY_TOLD, Check, Integrity
from triggers_api.store.sqlite.audit_verbs import AuditVerbs
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.tables import SQL, Tables
from triggers_api.store.sqlite.tokens import NOBODY

_ELSEWHERE: Final = frozenset({Check.DEAD_NOT_LISTED, Check.LISTED_NOT_DEAD})
"""Dead letters are an index of the deliveries here: the one cannot be without the other."""
_DAMAGES: Final = 20
_KIND: Final = {
    Check.COUNTERS: ids.ORGANIZATION,
    Check.DELIVERIES_WITHOUT_EVENT: ids.DELIVERY,
    Check.DELIVERIES_NOT_QUEUED: ids.DELIVERY,
    Check.QUEUED_WITHOUT_DELIVERY: ids.DELIVERY,
    Check.ATTEMPTS_WITHOUT_DELIVERY: ids.ATTEMPT,
}


class VerifyVerbs(Tables):
    """The verbs about faults."""

    def __init__(self, keys: Keys, audit: AuditVerbs) -> None:
        super().__init__(keys)
        self._audit = audit

    def faults(self, db: apsw.Connection, check: Check, limit: int) -> list[str]:
        """The ids of what is wrong."""
        if check in _ELSEWHERE:
            return []
        rows = db.execute(SQL[f"check_{check}"], (limit,))
        kind = _KIND.get(check, ids.EVENT)
        return [self.keys.text(kind, number) for number, *_ in rows]

    def differences(self, db: apsw.Connection, limit: int) -> list[tuple[int, int, int]]:
        """By organization, how many more events and deliveries there are than the books have."""
        return [
            (number, events, deliveries)
            for number, events, deliveries in db.execute(SQL["check_counters"], (limit,))
        ]

    def mend_counters(
        self, db: apsw.Connection, differences: list[tuple[int, int, int]], *, by: Actor
    ) -> int:
        """Add what was found to be missing: others may have counted meanwhile, on both sides alike."""
        for difference in differences:
            db.execute(SQL["count_accepted"], difference)
        return self._mended(db, Check.COUNTERS, len(differences), by)

    def mend(self, db: apsw.Connection, check: Check, limit: int, *, by: Actor, now: int) -> int:
        """Mend some; returns how many."""
        if check in _ELSEWHERE or check in ONLY_TOLD:
            return 0
        statement = SQL[f"mend_{check}"]
        before = db.total_changes()
        parameters = (limit, now, NOBODY)
        db.execute(statement, parameters[: 3 if "?3" in statement else 1])
        return self._mended(db, check, db.total_changes() - before, by)

    def _mended(self, db: apsw.Connection, check: Check, count: int, by: Actor) -> int:
        if count:
            self._audit.note(db, by, records_repaired(check, count))
        return count

    def integrity(self, db: apsw.Connection) -> Integrity:
        """What SQLite finds in the whole file."""
        found = [str(text) for (text,) in db.execute(f"PRAGMA integrity_check({_DAMAGES})")]
        faults = () if found == ["ok"] else tuple(found)
        return Integrity(checked="the whole file, every index against its table", faults=faults)
