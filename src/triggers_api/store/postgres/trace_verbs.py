"""Which traces events belong to; stored with them (``queue_verbs.py``)."""

from collections.abc import Collection

from triggers_api.model import ids
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.tables import SQL, first_at, number, text


async def traces_of(db: Connection, event_ids: Collection[str]) -> dict[str, bytes]:
    """Of some events."""
    rows = await db.fetch(SQL["event_traces"], [number(each) for each in event_ids])
    return {text(ids.EVENT, event): trace for event, trace in rows}


async def prune_traces(db: Connection, before: Timestamp, limit: int) -> int:
    """Of events accepted before a moment."""
    done = await db.execute(SQL["prune_traces"], first_at(before), limit)
    return int(done.rpartition(" ")[2])
