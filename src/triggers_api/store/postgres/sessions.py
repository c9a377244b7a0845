"""Running something on a connection, and what it means when that fails."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Final, TypeVar

import asyncpg

from triggers_api.errors import OutcomeUnknown, StorageFull, StoreUnavailable
from triggers_api.store.postgres.connection import DURABLE, LOST, SESSION, Connection, said
from triggers_api.store.postgres.pool import Pool

T = TypeVar("T")

_TRIES: Final = 5
_CONFLICTS: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
# The server said no to a whole, and nothing of it is stored.
_REFUSED: Final = (
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InternalServerError,
    asyncpg.UndefinedTableError,
)


class Sessions:
    """Connections with a way to run things on them."""

    def __init__(self, pool: Pool, *, pooled: bool) -> None:
        """Set up; ``pooled`` when a pooler in transaction mode is between us and the server."""
        self.pool = pool
        self.pooled = pooled

    async def read(self, function: Callable[[Connection], Awaitable[T]]) -> T:
        """Run something that changes nothing.

        Raises:
            StoreUnavailable: it could not be done.
        """
        async with self._session(atomic=False, changes=False) as db:
            return await function(db)

    async def read_one_moment(self, function: Callable[[Connection], Awaitable[T]]) -> T:
        """Run several reads that see the same moment, and may take their time.

        Raises:
            StoreUnavailable: it could not be done.
        """
        async with self.pool.connection() as db:
            with _told(db, changes=False):
                async with db.transaction(isolation="repeatable_read", readonly=True):
                    await db.execute(_AT_LEISURE)
                    return await function(db)

    async def write(
        self, function: Callable[[Connection], Awaitable[T]], *, atomic: bool = False
    ) -> T:
        """Run something that changes one thing, or with ``atomic`` several or none.

        What fails because it met another transaction is run again.

        Raises:
            StorageFull: nothing was changed.
            StoreUnavailable: nothing was changed.
            OutcomeUnknown: the answer was lost.
        """
        for _ in range(_TRIES):
            try:
                async with self._session(atomic=atomic, changes=True) as db:
                    return await function(db)
            except _CONFLICTS as error:
                conflict = error
        raise StoreUnavailable(said(conflict))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Several changes in one transaction, which commits at the end of the context.

        What fails because it met another transaction is for the caller to run again.

        Raises:
            StoreUnavailable: nothing was changed.
            OutcomeUnknown: the answer was lost.
        """
        try:
            async with self._session(atomic=True, changes=True) as db:
                yield db
        except _CONFLICTS as error:
            raise StoreUnavailable(said(error)) from None

    @asynccontextmanager
    async def _session(self, *, atomic: bool, changes: bool) -> AsyncIterator[Connection]:
        async with self.pool.connection() as db:
            with _told(db, changes=changes):
                if not (atomic or self.pooled):
                    yield db
                    return
                async with AsyncExitStack() as stack:
                    with _told(db, changes=False):
                        # A pooler may find no session for it, and nothing has been asked for yet.
                        await stack.enter_async_context(db.transaction())
                    if self.pooled:
                        await db.execute(_LOCAL)
                    yield db


_LOCAL: Final = "; ".join(
    (
        *(f"SET LOCAL {name} = '{value}'" for name, value in SESSION.items()),
        DURABLE.format(local="true"),
    )
)
_AT_LEISURE: Final = (
    "SET LOCAL statement_timeout = '5min'; SET LOCAL enable_seqscan = on; "
    "SET LOCAL enable_bitmapscan = on; SET LOCAL max_parallel_workers_per_gather = 2"
)


@contextmanager
def _told(db: Connection, *, changes: bool) -> Iterator[None]:
    """Errors of the driver as what callers are told; conflicts and mistakes of ours pass as they are."""
    try:
        yield
    except _CONFLICTS as error:
        if changes:
            raise
        # A replica ends what is in the way of its replaying.
        raise StoreUnavailable(said(error)) from None
    except asyncpg.DiskFullError as error:
        raise StorageFull(said(error), retry_after_s=5) from None
    except asyncpg.ReadOnlySQLTransactionError as error:
        # It was the primary and is not any more: the next connection may find the one that is.
        db.terminate()
        raise StoreUnavailable(said(error)) from None
    except _REFUSED as error:
        raise StoreUnavailable(said(error)) from None
    except LOST as error:
        if isinstance(error, ValueError):  # the driver could not encode what it was given
            raise
        db.terminate()
        if changes:
            raise OutcomeUnknown(f"the database's answer was lost: {said(error)}") from None
        raise StoreUnavailable(f"the database is away: {said(error)}") from None
