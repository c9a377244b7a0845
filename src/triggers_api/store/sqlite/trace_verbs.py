"""Which traces events belong to; stored with them (``queue_verbs.py``)."""

from collections.abc import Collection

import apsw

from triggers_api.model import ids
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.sqlite.tables import SQL, Tables, numbers


class TraceVerbs(Tables):
    """The verbs around ``event_traces``."""

    def of(self, db: apsw.Connection, event_ids: Collection[str]) -> dict[str, bytes]:
        """Of some events."""
        asked = [self.keys.of(each) for each in event_ids]
        return {
            self.keys.event(number): trace
            for number, trace in db.execute(SQL["event_traces"], (numbers(asked),))
        }

    def prune(self, db: apsw.Connection, before: Timestamp, limit: int) -> int:
        """Of events accepted before a moment."""
        db.execute(SQL["prune_traces"], (ids.first_sequence(before), limit))
        return db.changes()
