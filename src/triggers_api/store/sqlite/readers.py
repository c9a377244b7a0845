"""Reading connections, one for each thread of a small pool."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import apsw
import structlog

from triggers_api.errors import StoreUnavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

_THREADS: Final = 4

# What the machine does to a reader, as opposed to a mistake in a statement.
_NOT_READABLE: Final = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.IOError,
    apsw.NotADBError,
)


class Readers:
    """Runs functions on read-only connections; each sees everything committed before it began."""

    def __init__(self, open_: Callable[[], apsw.Connection]) -> None:
        self._open = open_
        self._local = threading.local()
        self._opened: list[apsw.Connection] = []
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="sqlite-reader")

    async def run(self, function: Callable[[apsw.Connection], T]) -> T:
        """Run in one read transaction, so that several statements see the same moment.

        Raises:
            StoreUnavailable: the file cannot be read, for instance for want of a file descriptor.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, function)

    def _run(self, function: Callable[[apsw.Connection], T]) -> T:
        try:
            return self._read(function)
        except _NOT_READABLE as error:
            log.error("the database cannot be read", error=str(error))  # noqa: TRY400 - its words say it
            raise StoreUnavailable("the database file cannot be read") from None

    def _read(self, function: Callable[[apsw.Connection], T]) -> T:
        db: apsw.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self._open()
            self._opened.append(db)
        db.execute("BEGIN")
        try:
            return function(db)
        finally:
            db.execute("ROLLBACK")

    async def close(self) -> None:
        """Wait for what is running and close the connections."""
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)
        for db in self._opened:
            db.close()
