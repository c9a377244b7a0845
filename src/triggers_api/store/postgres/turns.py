"""Claiming events in the order of their acceptance, from one organization by one claim at a time.

If A's append had returned before B came in, A's transaction has the smaller xid, and A's id is not later
than B's by more than clocks may be apart. So what was accepted before an event is found among the ids up
to that much behind its own; there the xids say what was first.
"""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from triggers_api.model.timestamp import Timestamp
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.tables import SQL, number

_ORGANIZATIONS: Final = 16
_LOCKS: Final = 0x74726967
"""``trig`` in ASCII: the kind of advisory lock that a claim takes for an organization."""
_MORE: Final = 50
"""How many more events are looked at than may be claimed, at least."""


class Queued(NamedTuple):
    """An event of an organization whose turn it is, as it lies in the queue."""

    organization: UUID
    event: UUID
    attempts: int


async def in_order(
    db: Connection,
    organizations: Collection[str],
    limit: int,
    *,
    now: Timestamp,
    skew_ms: int,
) -> list[Queued]:
    """What may be claimed of these organizations, their rows locked; ``limit`` of each at the most."""
    rows = await db.fetch(
        SQL["claim_turns"], [number(each) for each in organizations], _ORGANIZATIONS, _LOCKS
    )
    found: list[Queued] = []
    # Their rows are locked in the order in which others lock them.
    for organization in sorted(row[0] for row in rows):
        found += await _of_one(db, organization, limit, now=now, skew_ms=skew_ms)
    return found


async def _of_one(
    db: Connection, organization: UUID, limit: int, *, now: Timestamp, skew_ms: int
) -> Sequence[Queued]:
    wanted = limit + max(_MORE, limit // 4)
    while True:
        rows = await db.fetch(SQL["claim_front"], [organization], now, now + skew_ms, wanted)
        if any(row[5] for row in rows):
            return ()  # some are in another's hands
        # Of those whose ids are this late some may not be among the rows that have to go first.
        all_of_them = len(rows) < wanted
        sure_until = None if all_of_them else _moment(rows[-1][1]) - skew_ms
        ready: list[Queued] = []
        for row in sorted((row for row in rows if row[6]), key=lambda row: (int(row[7]), row[1])):
            if sure_until is not None and _moment(row[1]) > sure_until:
                break
            ready.append(Queued(organization, row[1], row[3]))
        if ready or all_of_them:
            return ready[:limit]
        wanted *= 4


def _moment(event: UUID) -> int:
    return event.int >> 80
