"""What deletes old rows: it holds them first, and decides by a second statement what goes."""

import secrets
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from triggers_api.model import ids
from triggers_api.model.ids import received_ms
from triggers_api.model.retention import Moments
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies
from triggers_api.store.base import Pruned
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.delivery_verbs import changed
from triggers_api.store.postgres.queue_verbs import SLOTS
from triggers_api.store.postgres.tables import SQL, first_at, text


class Gone(NamedTuple):
    """How many rows were looked at, the last one, and what went."""

    seen: int
    last: UUID | None
    pruned: Pruned


async def prune_events(
    db: Connection, organization: UUID, moments: Moments, *, after: UUID, limit: int
) -> Gone | None:
    """Delete old events of an organization behind a place; ``None`` if somebody else is at it."""
    if not await db.fetchval(SQL["sweep_alone"]):
        return None
    before, dead_before = moments.events, moments.dead_letters
    row = await db.fetchrow(
        SQL["hold_old_events"], organization, after, first_at(before), limit, before, dead_before
    )
    assert row is not None
    seen, last, held = row
    if not held:
        return Gone(seen, last, Pruned())
    # What is asked from here on is as it is now, and stays so.
    slot = secrets.randbelow(SLOTS)
    counts = await db.fetchrow(SQL["prune_events"], organization, held, before, slot, dead_before)
    assert counts is not None
    events, deliveries, attempts = counts
    return Gone(seen, last, Pruned(events=events, deliveries=deliveries, attempts=attempts))


async def prune_deliveries(
    db: Connection, organization: UUID, before: Timestamp, *, dead: bool, after: UUID, limit: int
) -> Gone | None:
    """Delete old deliveries behind a place, dead ones or others; ``None`` if somebody else is at it."""
    if not await db.fetchval(SQL["sweep_alone"]):
        return None
    hold = SQL["hold_old_dead_letters" if dead else "hold_old_deliveries"]
    row = await db.fetchrow(hold, organization, after, first_at(before), limit, before)
    assert row is not None
    seen, last, held = row
    if not held:
        return Gone(seen, last, Pruned())
    made = [received_ms(text(ids.DELIVERY, each)) for each in held]
    slot = secrets.randbelow(SLOTS)
    counts = await db.fetchrow(SQL["purge_deliveries"], organization, held, made, slot)
    assert counts is not None
    deliveries, attempts = counts
    return Gone(seen, last, Pruned(deliveries=deliveries, attempts=attempts))


async def prune_attempts(
    db: Connection, organization: UUID, before: Timestamp, *, after: tuple[UUID, int], limit: int
) -> tuple[int, int, UUID, int]:
    """Delete old attempts; how many, how many were looked at, and the last one of these."""
    row = await db.fetchrow(
        SQL["prune_attempts"], organization, *after, first_at(before), limit, before
    )
    assert row is not None
    gone, seen, delivery, number = row
    return gone, seen, delivery, number


async def prune_jobs(
    db: Connection, before: Timestamp, *, after: tuple[UUID, UUID], limit: int
) -> tuple[int, tuple[UUID, UUID] | None]:
    """Delete jobs that were finished before a moment; how many, and the one to go on behind."""
    rows = await db.fetch(SQL["jobs_from"], *after, limit)
    old: Sequence[tuple[UUID, UUID]] = [
        (organization, job)
        for organization, job, finished, body in rows
        if finished and (bodies.job(body).finished_at or before) < before
    ]
    deleted = 0
    if old:
        owners, jobs = zip(*old, strict=True)
        deleted = changed(await db.execute(SQL["prune_jobs"], owners, jobs))
    return deleted, (rows[-1][0], rows[-1][1]) if len(rows) == limit else None
