"""The schema of a database: migrations, one process at a time."""

from typing import Final

import structlog

from triggers_api.errors import StartError, Unavailable
from triggers_api.store import migrations
from triggers_api.store.postgres.connection import (
    FAILED,
    Connection,
    check,
    connect,
    said,
    standing,
)
from triggers_api.store.postgres.tables import SQL

log = structlog.get_logger(__name__)

PACKAGE: Final = "triggers_api.store.postgres"
_LOCK: Final = 0x7472_6967_6765_7273
"""``triggers`` in ASCII: the advisory lock under which the schema is changed."""


async def applied(db: Connection) -> list[migrations.Applied]:
    """The migrations a database has had; none for an empty one."""
    if not await db.fetchval(SQL["has_migrations"]):
        return []
    return [migrations.Applied(*row) for row in await db.fetch(SQL["applied_migrations"])]


async def bring_up_to_date(db: Connection) -> list[migrations.Migration]:
    """Run what is pending, all in one transaction; others that want to wait for it.

    Raises:
        SchemaMismatch: it was made by a newer version, or a migration was altered.
    """
    known = migrations.load(PACKAGE)
    if not migrations.pending(known, await applied(db)):
        return []
    async with db.transaction():
        await db.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
        # Held to the end of the transaction, so that it works through a pooler as well.
        await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        # Before the look: until this session takes in what others did to the catalog, which this
        # statement does, it goes on believing that there is no such table.
        await db.execute(SQL["make_migrations"])
        steps = migrations.pending(known, await applied(db))
        for step in steps:
            await db.execute(step.text)
            now = (await standing(db)).now
            await db.execute(SQL["note_migration"], step.number, step.name, step.checksum, now)
    for step in steps:
        log.info("schema migrated", number=step.number, name=step.name)
    return steps


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
        return await bring_up_to_date(db)
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
