"""Moves what is in the write-ahead log into the database file, out of the way of commits.

A checkpoint inside a commit is what makes its tail slow, so a thread with a connection of its own
does passive ones (they wait for nobody) soon after there is something to move. Under steady load
these never quite catch up with the writer and the log never starts anew, so once it has 8 MiB the
writer itself moves the rest, between two transactions, when little is left to move. A log that starts
anew often is also a fast one: syncing a file that does not grow needs no write to the file system's
own journal.
"""

import threading
from collections.abc import Callable
from typing import Final

import apsw

_AFTER_PAGES: Final = 500
_PAUSE_S: Final = 0.1
_LARGE_PAGES: Final = 2000


class Checkpointer:
    """The thread. :meth:`committed` is called in the writer's thread after each commit."""

    def __init__(
        self, connection: apsw.Connection, *, failed: Callable[[BaseException], None]
    ) -> None:
        """Start it; ``failed`` is told, in the thread, about an error that is not just contention."""
        self._db = connection
        self._failed = failed
        self._wanted = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sqlite-checkpointer", daemon=True)
        self._thread.start()

    def committed(self, writer: apsw.Connection, pages: int) -> None:
        """Take note of the log's size; runs the writer's own checkpoint when it is large."""
        if pages >= _AFTER_PAGES:
            self._wanted.set()
        if pages >= _LARGE_PAGES:
            checkpoint(writer)

    def close(self) -> None:
        """End the thread and close the connection."""
        self._ended.set()
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wanted.wait()
            self._wanted.clear()
            try:
                checkpoint(self._db)
            except apsw.Error as error:
                self._failed(error)
                break
            self._ended.wait(_PAUSE_S)
        self._db.close()


def checkpoint(db: apsw.Connection) -> None:
    """Move what can be moved without waiting for anybody."""
    try:
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    except (apsw.BusyError, apsw.LockedError, apsw.FullError):
        # Somebody else is at it, or there is no room in the database file: the log keeps what it
        # has, and the writer reports a full disk when it meets one.
        return
