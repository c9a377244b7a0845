"""The writer thread: everything that waits when it comes round is one transaction, one ``fsync``.

An operation is a function that runs statements on the writer's connection. It raises
:class:`~triggers_api.errors.Problem` to refuse, before it has written anything; whatever else it
raises spoils the transaction, which is then rolled back and run again one operation at a time, so
that one bad item costs nobody else anything. Operations must therefore not mind running twice.
"""

import asyncio
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import apsw

from triggers_api.errors import (
    OutcomeUnknown,
    Overloaded,
    Problem,
    StorageFull,
    StoreUnavailable,
    Unavailable,
)
from triggers_api.failpoints import Failpoints
from triggers_api.model.event import FirstEvent, NewEvent

T = TypeVar("T")
Operation = Callable[[apsw.Connection], T]
Appends = Callable[
    [apsw.Connection, Sequence[Sequence[NewEvent]]], Sequence[Sequence[FirstEvent | None]]
]

APPEND: Final = "append"
LOOK: Final = "look"

_OPERATIONS_PER_COMMIT: Final = 1024
_BYTES_PER_COMMIT: Final = 8 << 20
_WAITING_OPERATIONS: Final = 20_000
_WAITING_BYTES: Final = 64 << 20
_STALLED_AFTER_S: Final = 2.0

_BUSY_OPERATIONS: Final = 8
_LINGER_S: Final = 0.0003
"""After a busy commit the next one waits this long for company: an fsync for thirty costs no more
than one for ten. A quiet service does not wait."""

# What SQLite reports when it could not grow a file for lack of room, besides SQLITE_FULL itself.
_FULL: Final = frozenset({apsw.SQLITE_FULL, apsw.SQLITE_IOERR_SHMSIZE})


class WriterObserver(Protocol):
    """Who is told about commits; called in the event loop."""

    def committed(self, verbs: Counter[str], *, seconds: float) -> None:
        """So many of each verb were committed together; ``seconds`` includes the fsync."""

    def commit_failed(self, reason: Unavailable) -> None:
        """The database refused a transaction; this is what its callers are told."""

    def broken(self, error: BaseException) -> None:
        """The disk failed in a way that cannot be retried; the process must end."""


class _Item:
    __slots__ = ("events", "future", "operation", "result", "size", "verb")

    def __init__(
        self,
        verb: str,
        future: "asyncio.Future[Any]",
        *,
        operation: Operation[Any] | None = None,
        events: Sequence[NewEvent] = (),
        size: int = 0,
    ) -> None:
        self.verb = verb
        self.operation = operation
        self.events = events
        self.size = size
        self.future = future
        self.result: object = None


class Writer:
    """Owns the writing connection and its thread. Everything public is called in the event loop."""

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        appends: Appends,
        observer: WriterObserver,
        failpoints: Failpoints,
        after_commit: Callable[[apsw.Connection, int], None],
    ) -> None:
        """Start the thread.

        Args:
            connection: belongs to the thread from now on.
            appends: stores the events of all calls of a transaction together.
            observer: is told about commits.
            failpoints: ``<verb>.before_commit`` and ``<verb>.after_commit`` are passed.
            after_commit: called in the thread with the number of pages in the write-ahead log, or 0
                when nothing was written.
        """
        self._db = connection
        self._appends = appends
        self._observer = observer
        self._failpoints = failpoints
        self._after_commit = after_commit
        self._loop = asyncio.get_running_loop()
        self._inbox: queue.SimpleQueue[list[_Item] | None] = queue.SimpleQueue()
        self._gathered: list[_Item] = []
        self._waiting = 0
        self._waiting_bytes = 0
        self._progress_at = 0.0
        self._broken: BaseException | None = None
        self._disk_failed = False
        self._last = 0
        self._wal_pages = 0
        connection.set_wal_hook(self._note_wal_pages)
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, verb: str, operation: Operation[T]) -> "asyncio.Future[T]":
        """Run an operation in the next transaction; the future resolves after its commit.

        Raises:
            StoreUnavailable: the store is closed or broken.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._put(_Item(verb, future, operation=operation))
        return future

    def append(
        self, events: Sequence[NewEvent], *, size: int
    ) -> "asyncio.Future[Sequence[FirstEvent | None]]":
        """Store events in the next transaction, together with those of every other call.

        Args:
            events: of one call.
            size: their bytes, about.

        Raises:
            Overloaded: more waits than may wait, or nothing has been committed for 2 s. Only new
                work is refused like this; outcomes of work that is under way always get in line.
            StoreUnavailable: the store is closed or broken.
        """
        if (
            self._waiting >= _WAITING_OPERATIONS
            or self._waiting_bytes >= _WAITING_BYTES
            or (self._waiting and time.monotonic() - self._progress_at > _STALLED_AFTER_S)
        ):
            raise Overloaded("the commit queue is full")
        future: asyncio.Future[Sequence[FirstEvent | None]] = self._loop.create_future()
        self._put(_Item(APPEND, future, events=events, size=size))
        return future

    def look(self) -> None:
        """Where nothing waits: take the lock and let go of it. Writes nothing, and waits for nothing;
        that it cannot be done shows in :attr:`stalled_s`.

        Raises:
            StoreUnavailable: the store is closed or broken.
        """
        if not self._waiting:
            # What it is refused for is told to the observer.
            self.submit(LOOK, _nothing).add_done_callback(asyncio.Future.exception)

    @property
    def stalled_s(self) -> float:
        """For how many seconds nothing has been committed or refused, although something waits."""
        return time.monotonic() - self._progress_at if self._waiting else 0.0

    def _put(self, item: _Item) -> None:
        if self._broken is not None:
            raise StoreUnavailable("the database is closed or failed")
        if self._waiting == 0:
            self._progress_at = time.monotonic()
        self._waiting += 1
        self._waiting_bytes += item.size
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(item)

    def _hand_over(self) -> None:
        self._inbox.put(self._gathered)
        self._gathered = []

    @property
    def broken(self) -> bool:
        """Whether nothing more is taken: the disk failed, or the store was closed."""
        return self._broken is not None

    def fail(self, error: BaseException) -> None:
        """Take nothing more, because the disk failed elsewhere; callable in any thread."""
        self._broken = error
        self._disk_failed = True

    async def close(self) -> None:
        """Commit what waits, close the connection, end the thread."""
        if self._gathered:
            self._hand_over()
        if self._broken is None:
            self._broken = StoreUnavailable("the store is closed")
        self._inbox.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    # ── in the thread ─────────────────────────────────────────────────────────────────────────

    def _note_wal_pages(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _run(self) -> None:
        open_ = True
        while open_:
            items, open_ = self._take()
            if not items:
                continue
            started = time.perf_counter()
            if self._disk_failed:
                self._refuse(items, StoreUnavailable("the database failed"))
            else:
                self._guarded(items, self._commit, items)
            self._call(self._resolve, items, time.perf_counter() - started)
            if not self._disk_failed:
                # After the answers are on their way: a checkpoint is nobody's to wait for.
                self._guarded([], self._after_commit, self._db, self._wal_pages)
        self._db.close()

    def _guarded(
        self, items: list[_Item], function: Callable[..., None], *arguments: object
    ) -> None:
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001 - the thread must not die unheard
            self._break(items, error)

    def _take(self) -> tuple[list[_Item], bool]:
        """Wait for one item, then take what else is there, up to a commit's bounds."""
        items: list[_Item] = []
        size = 0
        gathered = self._inbox.get()
        if self._last >= _BUSY_OPERATIONS:
            time.sleep(_LINGER_S)
        while gathered is not None:
            items += gathered
            size += sum([item.size for item in gathered])
            if len(items) >= _OPERATIONS_PER_COMMIT or size >= _BYTES_PER_COMMIT:
                self._last = len(items)
                return items, True
            try:
                gathered = self._inbox.get_nowait()
            except queue.Empty:
                self._last = len(items)
                return items, True
        return items, False

    def _commit(self, items: list[_Item]) -> None:
        try:
            self._transact(items)
        except apsw.Error as error:
            self._roll_back()
            refusal = _refusal(error)
            if isinstance(refusal, OutcomeUnknown):
                raise
            if refusal is not None or len(items) == 1:
                self._refuse(items, refusal or error)
            else:
                self._one_by_one(items)
        except Exception as error:  # noqa: BLE001 - an operation's own fault, told to its caller
            self._roll_back()
            if len(items) == 1:
                items[0].result = error
            else:
                self._one_by_one(items)

    def _one_by_one(self, items: list[_Item]) -> None:
        for item in items:
            self._commit([item])

    def _transact(self, items: list[_Item]) -> None:
        db, failpoints = self._db, self._failpoints
        self._wal_pages = 0  # until something is written
        db.execute("BEGIN IMMEDIATE")
        appends = [item for item in items if item.operation is None]
        if appends:
            answers = self._appends(db, [item.events for item in appends])
            for item, answer in zip(appends, answers, strict=True):
                item.result = answer
        for item in items:
            if item.operation is not None:
                try:
                    item.result = item.operation(db)
                except Problem as refusal:
                    item.result = refusal
        if failpoints:
            for item in items:
                failpoints.hit(f"{item.verb}.before_commit")
        db.execute("COMMIT")
        if failpoints:
            for item in items:
                failpoints.hit(f"{item.verb}.after_commit")

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _refuse(self, items: list[_Item], reason: Exception) -> None:
        for item in items:
            item.result = reason
        if isinstance(reason, Unavailable):
            self._call(self._observer.commit_failed, reason)

    def _break(self, items: list[_Item], error: BaseException) -> None:
        # After a failed write or sync SQLite and the kernel may disagree about what is on disk, and
        # trying again on the same handle can report success for lost data (Rebello et al., ATC '20).
        self.fail(error)
        for item in items:
            item.result = OutcomeUnknown()
        self._call(self._observer.broken, error)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is gone; nobody is left to be told
            return

    # ── in the event loop ─────────────────────────────────────────────────────────────────────

    def _resolve(self, items: list[_Item], seconds: float) -> None:
        self._progress_at = time.monotonic()
        self._waiting -= len(items)
        for item in items:
            self._waiting_bytes -= item.size
            if item.future.done():  # whoever asked has gone away
                continue
            if isinstance(item.result, Exception):
                item.future.set_exception(item.result)
            else:
                item.future.set_result(item.result)
        self._observer.committed(Counter([item.verb for item in items]), seconds=seconds)


def _nothing(_: apsw.Connection) -> None:
    pass


def _refusal(error: apsw.Error) -> Unavailable | None:
    """What an error of SQLite means for everyone in the transaction; ``None`` for one item's fault."""
    code = getattr(error, "extendedresult", 0)
    if code in _FULL or isinstance(error, apsw.FullError):
        return StorageFull(retry_after_s=5)
    if isinstance(error, (apsw.IOError, apsw.CorruptError, apsw.NotADBError)):
        return OutcomeUnknown()
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return StoreUnavailable("another program holds a lock on the database file")
    if isinstance(error, (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError)):
        return StoreUnavailable("the database file cannot be written to")
    return None
