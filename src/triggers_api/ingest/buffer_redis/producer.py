"""Many requests' events in one round trip, which Redis makes durable with one flush.

An event goes in under its own id, so that asking twice adds it once: what a lost answer leaves open is
asked again. While Redis is away, events go straight into the database, or are refused.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import structlog

from triggers_api.errors import (
    MalformedValue,
    OutcomeUnknown,
    Overloaded,
    StorageFull,
    StoreUnavailable,
    Unavailable,
)
from triggers_api.ingest.buffer_redis.entry import Mark, body_of
from triggers_api.ingest.buffer_redis.names import ADD, Names
from triggers_api.ingest.buffer_redis.watch import Watch, new_name
from triggers_api.model.event import FirstEvent, NewEvent
from triggers_api.redis.client import Call, Redis
from triggers_api.redis.connection import RefusedByRedis, Value
from triggers_api.store.base import LandingStore
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

Answers = Sequence[FirstEvent | None]

_IN_FLIGHT: Final = 2
_EVENTS_AT_ONCE: Final = 1000
_BYTES_AT_ONCE: Final = 8 << 20
_WAITING_CALLS: Final = 20_000
_WAITING_BYTES: Final = 64 << 20
_EVENT_OVERHEAD: Final = 256
_STALLED_AFTER_S: Final = 3.0
_AWAY_RETRY_S: Final = 2.0


class _Adding:
    """The events of one request."""

    __slots__ = ("events", "future", "over", "size")

    def __init__(self, events: Sequence[NewEvent], future: "asyncio.Future[Answers]") -> None:
        self.events = events
        self.future = future
        self.size = sum(len(event.payload) + _EVENT_OVERHEAD for event in events)
        self.over: dict[str, str] = {}
        """By event, whose dedup key it may take over."""


class Producer:
    """Puts events into Redis."""

    def __init__(
        self,
        redis: Redis,
        names: Names,
        watch: Watch,
        *,
        store: LandingStore,
        most: int,
        most_of_one: int,
        dedup_ttl_s: int,
        falls_back: bool,
        metrics: Metrics,
    ) -> None:
        """Set up.

        Args:
            redis: where they go.
            names: of the buffer's keys.
            watch: knows whether they may.
            store: knows about what has landed, and takes events while Redis is away.
            most: how many may wait.
            most_of_one: how many may wait of one organization.
            dedup_ttl_s: seconds that a dedup_id is remembered in Redis.
            falls_back: whether events go straight into the store while Redis is away.
            metrics: is told about it.
        """
        self._redis = redis
        self._names = names
        self._watch = watch
        self._store = store
        self._most = most
        self._most_of_one = most_of_one
        self._dedup_ttl_s = dedup_ttl_s
        self.falls_back = falls_back
        """See the argument."""
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Adding] = deque()
        self._waiting_bytes = 0
        self._progress_at = 0.0
        self._flights: set[asyncio.Task[None]] = set()
        self._others: set[asyncio.Task[None]] = set()
        self._scheduled = False

    def add(self, events: Sequence[NewEvent]) -> "asyncio.Future[Answers]":
        """Have the events of one request accepted, all or none; see :meth:`Store.append`.

        The difference is that the first event of a dedup_id may be in Redis still, and that one whose
        key has left Redis is not known: then a duplicate is accepted, and recorded when it lands.

        Raises:
            Overloaded: more waits to be asked than may wait.
        """
        if not self._watch.open:
            return self._without_redis(events)
        now = time.monotonic()
        if (
            len(self._waiting) >= _WAITING_CALLS
            or self._waiting_bytes >= _WAITING_BYTES
            or (self._waiting and now - self._progress_at > _STALLED_AFTER_S)
        ):
            raise Overloaded("more events wait for Redis than may wait")
        if not self._waiting:
            self._progress_at = now
        adding = _Adding(events, self._loop.create_future())
        self._waiting.append(adding)
        self._waiting_bytes += adding.size
        if not self._scheduled and len(self._flights) < _IN_FLIGHT:
            # After what else has arrived with this turn of the loop.
            self._scheduled = True
            self._loop.call_soon(self._start)
        return adding.future

    async def finish(self) -> None:
        """Have everything that was begun come to its end."""
        while self._waiting or self._flights or self._others:
            self._start()
            await asyncio.wait(self._flights | self._others)

    def _start(self) -> None:
        self._scheduled = False
        if self._waiting and len(self._flights) < _IN_FLIGHT:
            flight = self._loop.create_task(self._ask(self._gather()))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _beside(self, what: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(what)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    def _landed(self, flight: "asyncio.Task[None]") -> None:
        self._flights.discard(flight)
        self._start()

    def _gather(self) -> list[_Adding]:
        found: list[_Adding] = []
        events = size = 0
        while self._waiting:
            adding = self._waiting[0]
            full = events + len(adding.events) > _EVENTS_AT_ONCE
            if found and (full or size + adding.size > _BYTES_AT_ONCE):
                break
            found.append(self._waiting.popleft())
            events += len(adding.events)
            size += adding.size
        self._waiting_bytes -= size
        return found

    async def _ask(self, group: Sequence[_Adding]) -> None:
        began = time.perf_counter()
        try:
            answers = await self._run(group)
        except Unavailable as error:
            self._watch.failed(error.detail)
            for adding in group:
                self._give_up(adding, error)
            return
        except Exception as error:  # noqa: BLE001 - told to the callers
            _tell(group, error)
            return
        self._progress_at = time.monotonic()
        self._metrics.buffer_add_seconds.observe(time.perf_counter() - began)
        self._metrics.buffer_add_operations.observe(len(group))
        for adding, answer in zip(group, answers, strict=True):
            self._take(adding, answer)

    async def _run(self, group: Sequence[_Adding]) -> list[Any]:
        calls = [self._call(adding) for adding in group]
        try:
            return await self._redis.run_each(calls)
        except OutcomeUnknown as lost:
            # Perhaps it was done. Whether or not, asked again it is done once, by a server that is
            # known to be what it should be.
            await self._watch.run_once()
            if not self._watch.open:
                raise
            try:
                return await self._redis.run_each(calls)
            except Unavailable:
                raise lost from None

    def _call(self, adding: _Adding) -> Call:
        names, first = self._names, adding.events[0]
        keys: list[Value] = [names.stream, names.waiting, names.depths, names.books]
        arguments: list[Value] = [
            self._most,
            self._most_of_one,
            first.organization_id,
            self._dedup_ttl_s,
            new_name(),
        ]
        for event in adding.events:
            mark = b""
            if event.dedup_id is not None:
                keys.append(names.dedup(event.organization_id, event.dedup_id))
                mark = bytes(Mark.of(event))
            arguments += (event.id, mark, adding.over.get(event.id, ""), body_of(event))
        return ADD, keys, arguments

    def _take(self, adding: _Adding, answer: Any) -> None:  # noqa: ANN401 - the script's
        """Tell a request what became of its events."""
        if isinstance(answer, Exception):
            if isinstance(answer, StorageFull):
                self._metrics.buffer_refused.labels("memory").inc()
            elif isinstance(answer, (Unavailable, RefusedByRedis)):
                # The server said no to this one, and will to others.
                self._watch.failed(str(answer))
                self._give_up(adding, StoreUnavailable(str(answer)))
                return
            _tell((adding,), answer)
            return
        if not answer[0]:
            self._refuse(adding, answer[1], answer[2])
            return
        _, name, number, *held = answer
        self._watch.noted(name.decode(), number)
        self._watch.came(sum(not each for each in held))
        if not any(held):
            _resolve(adding, [None] * len(held))
            return
        self._beside(self._answer_for(adding, held))

    def _refuse(self, adding: _Adding, waits: int, of_one: int) -> None:
        wanted = len(adding.events)
        of_all = waits + wanted > self._most
        self._metrics.buffer_refused.labels("depth" if of_all else "organization").inc()
        what = f"{waits} events wait" if of_all else f"{of_one} events of the organization wait"
        error = Overloaded(
            f"{what}, and no more may", retry_after_s=self._watch.retry_after_s(wanted)
        )
        _tell((adding,), error)

    async def _answer_for(self, adding: _Adding, held: Sequence[bytes]) -> None:
        """Answer a request with duplicates in it: those that have landed the database knows best."""
        try:
            marks = [Mark.read(each) if each else None for each in held]
            landed = [
                event
                for event, mark in zip(adding.events, marks, strict=True)
                if mark is not None and not mark.waits
            ]
            firsts: dict[str, FirstEvent] = {}
            stale: list[tuple[NewEvent, str]] = []
            if landed:
                firsts, stale = await self._look_up(adding, marks)
            now = self._store.now()
            answers: list[FirstEvent | None] = []
            for event, mark in zip(adding.events, marks, strict=True):
                if mark is None:
                    answers.append(None)
                else:
                    answers.append(firsts.get(event.id) or mark.first(event.payload, now))
            if stale:
                await self._take_over(adding, answers, stale)
            else:
                _resolve(adding, answers)
        except MalformedValue as error:
            log.error("a dedup key is not ours", why=str(error))  # noqa: TRY400
            _tell((adding,), StoreUnavailable("Redis holds something that is not ours"))
        except Exception as error:  # noqa: BLE001 - told to the caller
            _tell((adding,), error)

    async def _look_up(
        self, adding: _Adding, marks: Sequence[Mark | None]
    ) -> tuple[dict[str, FirstEvent], list[tuple[NewEvent, str]]]:
        """The first events of what has landed, and the keys that mean nothing any more."""
        asked = {
            event.id: (event, mark.event_id)
            for event, mark in zip(adding.events, marks, strict=True)
            if mark is not None and not mark.waits
        }
        try:
            found = dict(await self._store.first_events([event for event, _ in asked.values()]))
        except Unavailable:
            # The key says which event it is, and that it landed. That is as much as can be told.
            return {}, []
        # Nobody has it any more: its event was deleted, so that it is free.
        return found, [each for event_id, each in asked.items() if event_id not in found]

    async def _take_over(
        self,
        adding: _Adding,
        answers: Sequence[FirstEvent | None],
        stale: Sequence[tuple[NewEvent, str]],
    ) -> None:
        """Add those after all whose dedup_ids have become free."""
        if len(adding.events) == 1:
            again = adding
        else:
            again = _Adding([event for event, _ in stale], self._loop.create_future())
        again.over = {event.id: holder for event, holder in stale}
        await self._ask([again])
        if again is adding:
            return
        try:
            added = dict(zip([e.id for e in again.events], await again.future, strict=True))
        except Unavailable:
            # The others of the request are in. They must not be told otherwise.
            _tell((adding,), OutcomeUnknown("not every event can be answered for"))
            return
        _resolve(
            adding,
            [
                added.get(event.id, answer)
                for event, answer in zip(adding.events, answers, strict=True)
            ],
        )

    # ── without Redis ─────────────────────────────────────────────────────────────────────────

    def _without_redis(self, events: Sequence[NewEvent]) -> "asyncio.Future[Answers]":
        if not self.falls_back:
            self._metrics.buffer_refused.labels("away").inc()
            raise StoreUnavailable(
                f"the ingest buffer is away: {self._watch.problem or 'it is looked for'}",
                retry_after_s=_AWAY_RETRY_S,
            )
        self._metrics.buffer_fallbacks.inc(len(events))
        return self._store.append(events)

    def _give_up(self, adding: _Adding, error: Unavailable) -> None:
        """Redis does not take it, or it is not known whether it has."""
        if not self.falls_back or isinstance(error, StorageFull):
            _tell((adding,), error)
            return
        self._metrics.buffer_fallbacks.inc(len(adding.events))
        self._beside(self._land(adding))

    async def _land(self, adding: _Adding) -> None:
        # Under its own id: if it turns out to be in Redis as well, it is stored once.
        try:
            await self._store.land(adding.events)
        except Exception as error:  # noqa: BLE001 - told to the caller
            _tell((adding,), error)
            return
        _resolve(adding, [None] * len(adding.events))


def _resolve(adding: _Adding, answers: Answers) -> None:
    if not adding.future.done():  # whoever asked has gone away
        adding.future.set_result(answers)


def _tell(group: Sequence[_Adding], error: Exception) -> None:
    for adding in group:
        if not adding.future.done():
            adding.future.set_exception(error)
