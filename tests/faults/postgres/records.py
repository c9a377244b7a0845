"""What a PostgreSQL database holds, read by the driver alone and not by the product."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final
from uuid import UUID

import asyncpg
from tests.faults.invariants import PROCESSED, QUEUED, Attempt, Delivery, Dump, Event

_EVENTS: Final = f"""
SELECT e.id, e.organization_id,
       CASE WHEN q.event_id IS NOT NULL THEN {QUEUED} ELSE coalesce(s.status, {PROCESSED}) END,
       e.type, e.dedup_id, e.payload
FROM events AS e
LEFT JOIN event_queue AS q ON q.organization_id = e.organization_id AND q.event_id = e.id
LEFT JOIN event_states AS s ON s.organization_id = e.organization_id AND s.event_id = e.id
"""

_DELIVERIES: Final = """
SELECT id, organization_id, event_id, subscription_id, status, status_at, attempt_count, reason
FROM deliveries
"""

_ATTEMPTS: Final = """
SELECT delivery_id, number, status_code, error FROM attempts ORDER BY delivery_id, number
"""

# The small tables say again what follows from the large ones: each of these rows is a contradiction.
_CONTRADICTIONS: Final = {
    "a queue row of no event": """
        SELECT event_id FROM event_queue AS q
        WHERE NOT EXISTS (SELECT FROM events AS e
                          WHERE e.organization_id = q.organization_id AND e.id = q.event_id)
    """,
    "a delivery that waits without a queue row, or has one although it is finished": """
        SELECT coalesce(d.id, q.delivery_id) FROM deliveries AS d
        FULL JOIN delivery_queue AS q
             ON q.organization_id = d.organization_id AND q.delivery_id = d.id
        WHERE (d.id IS NOT NULL AND d.status IN (2, 3, 4)) <> (q.delivery_id IS NOT NULL)
    """,
    "a dead letter that is not dead, or a dead one that is no dead letter": """
        SELECT coalesce(d.id, l.delivery_id) FROM deliveries AS d
        FULL JOIN dead_letters AS l
             ON l.organization_id = d.organization_id AND l.delivery_id = d.id
        WHERE (d.id IS NOT NULL AND d.status = 6) <> (l.delivery_id IS NOT NULL)
    """,
}

# Every index leads to every row, no row is damaged: what PRAGMA integrity_check is to SQLite.
_DAMAGES: Final = """
SELECT c.oid::regclass::text, h.msg
FROM pg_class AS c, verify_heapam(c.oid::regclass) AS h
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
"""
_INDEXES: Final = """
SELECT bt_index_check(i.indexrelid, true)
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'public'::regnamespace AND i.indisvalid
"""


async def read(url: str) -> Dump:
    """Everything that a database holds about events, at one moment; the operator's URL."""
    db: Any = await asyncpg.connect(url)
    try:
        await db.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        async with db.transaction(isolation="repeatable_read"):
            return await _read(db)
    finally:
        await db.close()


async def _read(db: Any) -> Dump:  # noqa: ANN401 - a connection
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    for delivery, *rest in await db.fetch(_ATTEMPTS):
        attempts[_text("dlv", delivery)].append(Attempt(*rest))
    return Dump(
        integrity=await _integrity(db),
        events=[
            Event(_text("evt", event), organization, *rest)
            for event, organization, *rest in await db.fetch(_EVENTS)
        ],
        deliveries=[
            Delivery(
                _text("dlv", delivery),
                organization,
                _text("evt", event),
                _text("sub", subscription),
                *rest,
            )
            for delivery, organization, event, subscription, *rest in await db.fetch(_DELIVERIES)
        ],
        attempts=dict(attempts),
        queued=await db.fetchval("SELECT count(*) FROM event_queue"),
        organizations={
            organization for (organization,) in await db.fetch("SELECT id FROM organizations")
        },
    )


async def _integrity(db: Any) -> str:  # noqa: ANN401 - a connection
    for what, statement in _CONTRADICTIONS.items():
        if found := await db.fetch(statement):
            return f"{len(found)} times: {what}, {found[0][0]} for one"
    for table, message in await db.fetch(_DAMAGES):
        return f"{table}: {message}"
    try:
        await db.execute(_INDEXES)
    except asyncpg.IndexCorruptedError as error:
        return str(error)
    return "ok"


def _text(prefix: str, identifier: UUID) -> str:
    return f"{prefix}_{identifier.hex}"
