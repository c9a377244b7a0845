"""The schema of a database: migrations, one process at a time, beside others that work on it."""

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog

from triggers_api.errors import StartError, Unavailable
from triggers_api.store import migrations
from triggers_api.store.postgres.connection import (
    DURABLE,
    FAILED,
    Connection,
    check,
    connect,
    goes_through_pooler,
    said,
    standing,
)
from triggers_api.store.postgres.tables import SQL

log = structlog.get_logger(__name__)

PACKAGE: Final = "triggers_api.store.postgres"
_LOCK: Final = 0x7472_6967_6765_7273
"""``triggers`` in ASCII: the advisory lock under which the schema is changed."""

_TABLE_LOCK_MS: Final = 1_000
"""How long a step waits for a table: as long as it does, everybody else who wants the table waits."""
_TABLE_AGAIN_S: Final = 4.0
_LOOK_AGAIN_S: Final = 0.2
_SAID_AFTER_S: Final = 3.0
_AT_LEISURE_S: Final = 30 * 86_400.0
"""For the driver, which has a limit for every statement: none."""


async def applied(db: Connection) -> list[migrations.Applied]:
    """The migrations a database has had; none for an empty one."""
    # One transaction: a pooler may give every statement to another session.
    async with db.transaction():
        if not await db.fetchval(SQL["has_migrations"]):
            return []
        return [migrations.Applied(*row) for row in await db.fetch(SQL["applied_migrations"])]


async def bring_up_to_date(db: Connection, *, url: str) -> list[migrations.Migration]:
    """Run what is pending; of several processes one does, and the others wait until it is done.

    Args:
        db: where.
        url: of the same database, past a pooler if there is one, for what cannot be in a transaction.

    Raises:
        SchemaMismatch: it was made by a newer version, or a migration was altered.
        StartError: rows stand in the way of a migration, or a pooler does.
    """
    known = migrations.load(PACKAGE)
    done: list[migrations.Migration] = []
    turn = _Turn()
    while steps := migrations.next_of(migrations.pending(known, had := await applied(db))):
        try:
            if steps[0].alone:
                ran = await _run_alone(url, known, done)
            else:
                ran = await _run_together(db, known, done)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            log.warning("a table is in use, migrating it later", error=said(error))
            await asyncio.sleep(_TABLE_AGAIN_S)
            continue
        if ran is None:
            await turn.wait()
        else:
            done += ran
    for step in done:
        log.info("schema migrated", number=step.number, name=step.name)
    for past in migrations.ahead(known, had):
        log.warning("the schema is newer than this version", number=past.number, name=past.name)
    return done


class _Turn:
    """Waiting for another process, which is said when it takes long."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._said = False

    async def wait(self) -> None:
        now = time.monotonic()
        if self._began is None:
            self._began = now
        if now - self._began >= _SAID_AFTER_S and not self._said:
            self._said = True
            log.warning("waiting for another process that migrates the database")
        # Not in the database: what waits there in a transaction is waited for by an index that is being
        # built beside it, and both wait for ever.
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _run_together(
    db: Connection, known: Sequence[migrations.Migration], done: Sequence[migrations.Migration]
) -> list[migrations.Migration] | None:
    """The next steps in one transaction; ``None`` when it is another process's turn."""
    async with db.transaction():
        await db.execute(
            f"SET LOCAL lock_timeout = {_TABLE_LOCK_MS}; SET LOCAL statement_timeout = 0; "
            + DURABLE.format(local="true")
        )
        # Held to the end of the transaction, so that it works through a pooler as well.
        if not await db.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
            return None
        # Before the look: until this session takes in what others did to the catalog, which this
        # statement does, it goes on believing that there is no such table.
        await db.execute(SQL["make_migrations"])
        steps = migrations.next_of(migrations.pending(known, await applied(db)))
        if steps and steps[0].alone:
            return []
        for step in steps:
            await _refuse_conflicts(db, step, done)
            await db.execute(step.text, timeout=_AT_LEISURE_S)
            await _note(db, step, finished=True)
    return steps


async def _run_alone(
    url: str, known: Sequence[migrations.Migration], done: Sequence[migrations.Migration]
) -> list[migrations.Migration] | None:
    """The next step in no transaction; ``None`` when it is another process's turn."""
    db = await connect(url, pooled=True)
    try:
        if await goes_through_pooler(db):
            await _leave_to_others(db, known)
            return None
        # Held to the end of the session, also when this process is gone and the server works on.
        if not await db.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            return None
        # It waits for everybody else's transactions, however long, and nobody waits for it.
        await db.execute(
            "SET lock_timeout = 0; SET statement_timeout = 0; " + DURABLE.format(local="false")
        )
        await db.execute(SQL["make_migrations"])
        steps = migrations.next_of(migrations.pending(known, await applied(db)))
        if not steps or not steps[0].alone:
            return []
        (step,) = steps
        await _refuse_conflicts(db, step, done)
        await _note(db, step, finished=False)
        await _drop_half_made(db, step)
        await db.execute(step.text, timeout=_AT_LEISURE_S)
        await _note(db, step, finished=True)
        return steps
    finally:
        await db.close()


async def _leave_to_others(db: Connection, known: Sequence[migrations.Migration]) -> None:
    """For a process that has no session of its own: return if another one is at it.

    Raises:
        StartError: none is.
    """
    async with db.transaction():
        if not await db.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
            return
        steps = migrations.next_of(migrations.pending(known, await applied(db)))
    if steps and steps[0].alone:
        raise StartError(
            f"migration {steps[0]} cannot run through a pooler in transaction mode: give the "
            "server's own address in TRIGGERS_DATABASE_DIRECT_URL (--database-direct-url)"
        )


async def _refuse_conflicts(
    db: Connection, step: migrations.Migration, done: Sequence[migrations.Migration]
) -> None:
    if step.conflicts is None:
        return
    query = migrations.first_conflicts(step.conflicts)
    rows = await db.fetch(query, timeout=_AT_LEISURE_S)
    if rows:
        first = [dict(list(row.items())[1:]) for row in rows]
        raise migrations.conflict(step, count=rows[0][0], first=first, done=done)


async def _note(db: Connection, step: migrations.Migration, *, finished: bool) -> None:
    at = (await standing(db)).now if finished else None
    await db.execute(
        SQL["note_migration"], step.number, step.name, step.checksum, step.contracts, at
    )


async def _drop_half_made(db: Connection, step: migrations.Migration) -> None:
    for (name,) in await db.fetch(SQL["invalid_indexes"]):
        if re.search(rf"\b{re.escape(name)}\b", step.text):
            log.warning("dropping what a migration that was cut off has left", index=name)
            await db.execute(f'DROP INDEX CONCURRENTLY "{name}"', timeout=_AT_LEISURE_S)


async def refuse_half_a_copy(db: Connection) -> None:
    """Let a database through to which ``triggers copy`` is not writing still.

    Raises:
        StartError: it is, or it was and was cut off.
    """
    async with db.transaction():
        if await db.fetchval(SQL["half_a_copy"]):
            raise StartError(
                "the database holds half a copy: run triggers copy again, it goes on where it stopped"
            )


async def refuse_foreign_numbers(db: Connection) -> None:
    """Let a database through whose log is numbered by this server's transactions.

    Raises:
        StartError: it was dumped from another server: streams and inboxes would see nothing.
    """
    async with db.transaction():
        if await db.fetchval(SQL["foreign_numbers"]):
            raise StartError(
                "the database was dumped from another server, whose transactions number its log: stop "
                "every process, then run triggers migrate --renumber"
            )


async def pending(url: str) -> list[migrations.Migration]:
    """The migrations that the database behind a URL still needs.

    Raises:
        StartError: it cannot be reached, or must not be used as it is.
    """
    db = await _open(url)
    try:
        return migrations.pending(migrations.load(PACKAGE), await applied(db))
    except FAILED as error:
        raise StartError(f"cannot read the database: {said(error)}") from None
    finally:
        await db.close()


async def migrate(url: str) -> list[migrations.Migration]:
    """Bring the database behind a URL up to date.

    Raises:
        StartError: it cannot be reached, or must not be used as it is.
    """
    db = await _open(url)
    try:
        check(await standing(db))
        return await bring_up_to_date(db, url=url)
    except Unavailable as problem:
        raise StartError(f"cannot use the database: {problem.detail}") from None
    except FAILED as error:
        raise StartError(f"cannot migrate the database: {said(error)}") from None
    finally:
        await db.close()


async def _open(url: str) -> Connection:
    try:
        return await connect(url, pooled=True)
    except Unavailable as problem:
        raise StartError(problem.detail) from None
