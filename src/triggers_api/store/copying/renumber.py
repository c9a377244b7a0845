"""New numbers for a database that was dumped from one server and restored into another.

The log is read in the order of the transactions that stored the events, as far as none is under way
(docs/decisions/0010-postgresql-engine.md). A dump carries these numbers along, and the other server has
its own: until that has come as far as the first one was, streams, inboxes and the index of searches see
nothing. ``pg_upgrade``, base backups and replicas keep the count, and need none of this.
"""

from typing import Final

from triggers_api.errors import StartError, Unavailable
from triggers_api.store.copying.source import SQL
from triggers_api.store.postgres.connection import DURABLE, FAILED, Connection, connect, said

_OTHERS: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'triggers'
"""
_LOCKED: Final = "LOCK TABLE events, inboxes, inbox_items, search_progress IN EXCLUSIVE MODE"


async def renumber(url: str) -> int:
    """Give the events of another server's transactions numbers of this one's, in the same order.

    All of it or nothing; run again, it has nothing to do. Nobody may work on the database meanwhile.

    Args:
        url: of the database, past a pooler if there is one.

    Returns:
        How many events were given another number.

    Raises:
        StartError: it cannot be done, or processes work on the database; the message says which.
    """
    try:
        db = await connect(url, pooled=True, name="triggers migrate", command_s=None)
        try:
            return await _renumber(db)
        finally:
            await db.close()
    except Unavailable as problem:
        raise StartError(f"cannot use the database: {problem.detail}") from None
    except FAILED as error:
        raise StartError(f"cannot renumber the log: {said(error)}") from None


async def _renumber(db: Connection) -> int:
    if others := await db.fetchval(_OTHERS):
        raise StartError(f"{others} connection(s) of processes on this database: stop them first")
    await db.execute("SET statement_timeout = 0; " + DURABLE.format(local="false"))
    first = int(await db.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))
    # Numbers, and not parameters: neither statement can have any.
    await db.execute(SQL["renumber_look"] % {"first": first})
    count = await db.fetchval("SELECT count(*) FROM renumbered")
    runs = await db.fetchval("SELECT coalesce(max(run), 0) FROM renumbered")
    await db.execute("CREATE INDEX ON renumbered (organization_id, old, id); ANALYZE renumbered")
    await db.execute("SET synchronous_commit = off")
    await db.execute(SQL["renumber_spend"] % {"count": int(runs) + 2})
    await db.execute(DURABLE.format(local="false"))
    async with db.transaction():
        await db.execute(_LOCKED)
        await db.execute(SQL["renumber_events"], first)
        await db.execute(SQL["renumber_items"])
        await db.execute(SQL["renumber_positions"], str(first))
        await db.execute(SQL["renumber_progress"], str(first))
    return int(count)
