"""Group commit: what waits when there is room for another statement is one statement, one flush.

A few statements are in flight, each on a connection of its own, so that the next group is under way
while the database flushes the last one. What comes in meanwhile is the group after.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

import asyncpg

from triggers_api.errors import (
    OutcomeUnknown,
    Overloaded,
    StorageFull,
    StoreUnavailable,
    Unavailable,
)
from triggers_api.model.event import FirstEvent, NewEvent

Answers = Sequence[FirstEvent | None]
Appends = Callable[[Sequence[NewEvent]], Awaitable[Sequence[FirstEvent | Unavailable | None]]]

_IN_FLIGHT: Final = 2
_EVENTS_PER_STATEMENT: Final = 1000
_BYTES_PER_STATEMENT: Final = 8 << 20
_WAITING_CALLS: Final = 20_000
_WAITING_BYTES: Final = 64 << 20
_STALLED_AFTER_S: Final = 2.0


class WriterObserver(Protocol):
    """Who is told about groups."""

    def appended(self, calls: int, *, seconds: float) -> None:
        """So many calls were committed together; ``seconds`` includes the flush."""

    def append_failed(self, reason: Unavailable) -> None:
        """The database refused a group; this is what its callers are told."""


class _Call:
    __slots__ = ("events", "future", "size")

    def __init__(
        self, events: Sequence[NewEvent], future: "asyncio.Future[Answers]", *, size: int
    ) -> None:
        self.events = events
        self.future = future
        self.size = size


class Writer:
    """Stores events in groups."""

    def __init__(self, appends: Appends, *, observer: WriterObserver) -> None:
        """Set up.

        Args:
            appends: stores the events of a group, all or none; the answer follows them.
            observer: is told about groups.
        """
        self._appends = appends
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Call] = deque()
        self._waiting_bytes = 0
        self._progress_at = 0.0
        self._flights: set[asyncio.Task[Unavailable | None]] = set()
        self._scheduled = False
        self._closed = False

    def append(self, events: Sequence[NewEvent], *, size: int) -> "asyncio.Future[Answers]":
        """Store events in the next group.

        Args:
            events: of one call.
            size: their bytes, about.

        Raises:
            Overloaded: more waits than may wait, or nothing has been committed for 2 s.
            StoreUnavailable: the store is closed.
        """
        if self._closed:
            raise StoreUnavailable("the store is closed")
        now = time.monotonic()
        if (
            len(self._waiting) >= _WAITING_CALLS
            or self._waiting_bytes >= _WAITING_BYTES
            or (self._waiting and now - self._progress_at > _STALLED_AFTER_S)
        ):
            raise Overloaded("the commit queue is full")
        if not self._waiting:
            self._progress_at = now
        future: asyncio.Future[Answers] = self._loop.create_future()
        self._waiting.append(_Call(events, future, size=size))
        self._waiting_bytes += size
        if not self._scheduled and len(self._flights) < _IN_FLIGHT:
            # After what else has arrived with this turn of the loop.
            self._scheduled = True
            self._loop.call_soon(self._start)
        return future

    def _start(self) -> None:
        self._scheduled = False
        if self._waiting and len(self._flights) < _IN_FLIGHT:
            flight = self._loop.create_task(self._fly(self._gather()))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _landed(self, flight: "asyncio.Task[Unavailable | None]") -> None:
        self._flights.discard(flight)
        self._start()

    def _gather(self) -> list[_Call]:
        """What waits, up to a statement's bounds."""
        calls: list[_Call] = []
        events = size = 0
        while self._waiting:
            call = self._waiting[0]
            full = events + len(call.events) > _EVENTS_PER_STATEMENT
            if calls and (full or size + call.size > _BYTES_PER_STATEMENT):
                break
            calls.append(self._waiting.popleft())
            events += len(call.events)
            size += call.size
        self._waiting_bytes -= size
        return calls

    async def _fly(self, calls: Sequence[_Call]) -> Unavailable | None:
        """Store some calls; returns what is the matter with the store, if something is."""
        began = time.perf_counter()
        try:
            answers = await self._appends([event for call in calls for event in call.events])
        except Unavailable as error:
            self._observer.append_failed(error)
            if not isinstance(error, StorageFull):
                # A store that is away is away for all; what waits has not been sent to it.
                waiting, self._waiting, self._waiting_bytes = self._waiting, deque(), 0
                _tell(waiting, StoreUnavailable("the database is away"))
            _tell(calls, error)
            return error
        except Exception as error:  # noqa: BLE001 - told to the callers
            if len(calls) > 1 and isinstance(error, (asyncpg.PostgresError, ValueError)):
                return await self._fly_alone(calls)
            _tell(calls, error)
            return None
        start = 0
        for call in calls:
            if not call.future.done():  # whoever asked has gone away
                _answer(call, answers[start : start + len(call.events)])
            start += len(call.events)
        self._progress_at = time.monotonic()
        self._observer.appended(len(calls), seconds=time.perf_counter() - began)
        return None

    async def _fly_alone(self, calls: Sequence[_Call]) -> Unavailable | None:
        """One of them cannot be stored, and it is not known which: each on its own."""
        for place, call in enumerate(calls, start=1):
            error = await self._fly([call])
            if error is not None and not isinstance(error, StorageFull):
                _tell(calls[place:], StoreUnavailable("the database is away"))
                return error
        return None

    async def close(self) -> None:
        """Store what waits; nothing more is taken."""
        self._closed = True
        while self._waiting or self._flights:
            self._start()
            await asyncio.wait(self._flights)


def _tell(calls: Iterable[_Call], error: Exception) -> None:
    for call in calls:
        if not call.future.done():
            call.future.set_exception(error)


def _answer(call: _Call, answers: Sequence[FirstEvent | Unavailable | None]) -> None:
    """Resolve a call. Of several events some may be stored when others cannot be answered for."""
    known = [answer for answer in answers if not isinstance(answer, Unavailable)]
    if len(known) == len(answers):
        call.future.set_result(known)
    elif len(answers) == 1:
        call.future.set_exception(next(each for each in answers if isinstance(each, Unavailable)))
    else:
        call.future.set_exception(OutcomeUnknown("not every event can be answered for"))
