"""Makes the index that searches read: beside ingest and delivery, and in nobody's way.

What is not in it yet is looked at by searches themselves, so it may lag behind for as long as the
service has something better to do. Events are taken in part by part, some two thousand at a time and
each part in one small write; of an organization with fewer than that none are, and nothing is lost by
it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from triggers_api.model.postings import EVENTS_LIMIT, Part, PartBuilder
from triggers_api.model.search import own_terms, payload_terms
from triggers_api.store.base import IndexedEvent, NewPart, Store
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_LEASE_S: Final = 120.0
_COUNTED: Final = 100_000
_AT_ONCE: Final = 128
"""Events whose payloads are in memory at once."""
_LONG_BYTES: Final = 32 << 10
"""A payload that is taken apart in a thread: it would hold up everything else."""
_SLICE_S: Final = 0.001
"""How long events are taken apart before others get their turn."""
_BUSY_S: Final = 0.0003
"""Others in this thread that take as long for their turn have something to do."""
_REST: Final = 39.0
"""How much longer than it worked it then rests: a fortieth of one core is what it takes."""
_POLL_S: Final = 2.0
_LONGEST_POLL_S: Final = 30.0
_LOOK_SHARE: Final = 100.0
"""A look for work that takes long is made less often: it takes a hundredth of the time. One that took
long once, for a connection that was made or a machine that had other things to do, says nothing: the
shorter one of the last two counts."""
_FORGOTTEN_AFTER_S: Final = 60.0
"""Deletions of so long are taken out of a part together."""
_PRUNED_AT_ONCE: Final = 20
_PRUNE_EVERY_S: Final = 60.0


class Indexer:
    """One turn is one part of the index. See ``operate/loop.py`` for how turns follow each other."""

    name = "indexer"

    def __init__(
        self, store: Store, *, metrics: Metrics, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """``clock``: seconds, by which looks are found to take long."""
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._backlog: dict[str, int] = {}
        self._token: int | None = None
        self._lease_again_at = 0.0
        self._prune_at = 0.0
        self._looked_s = 0.0

    async def run_once(self) -> float:
        """Make or mend one part, if there is one to be made; returns the seconds until the next look."""
        token = await self._leased()
        if token is None:
            self._backlog = {}
            self._metrics.unindexed.set(0)
            return _LEASE_S / 4
        began = self._clock()
        if not self._backlog:
            self._backlog = dict(await self._store.index_backlog(_COUNTED))
            self._metrics.unindexed.set(sum(self._backlog.values()))
        before_s, self._looked_s = self._looked_s, self._clock() - began
        organization_id = max(self._backlog, key=self._backlog.__getitem__, default=None)
        if organization_id is not None and self._backlog[organization_id] >= EVENTS_LIMIT:
            taken = await self._add(token, organization_id)
            self._backlog[organization_id] -= taken
            self._metrics.unindexed.set(sum(self._backlog.values()))
            if taken:
                if self._backlog[organization_id] < EVENTS_LIMIT:
                    self._backlog = {}  # it was counted up to a bound, and some time ago
                return 0.0
        self._backlog = {}
        if await self._mend(token) or await self._prune(token):
            return 0.0
        looked_s = min(before_s, self._looked_s)
        return min(max(_POLL_S, looked_s * _LOOK_SHARE), _LONGEST_POLL_S)

    async def _leased(self) -> int | None:
        """The token; asked for anew long before it runs out, and not with every look."""
        if self._token is None or time.monotonic() >= self._lease_again_at:
            self._token = await self._store.lease_index(_LEASE_S, self._token)
            self._lease_again_at = time.monotonic() + _LEASE_S / 3
        return self._token

    async def finish(self) -> None:
        """Let another process have its turn at once."""
        if self._token is not None:
            await self._store.lease_index(0.0, self._token)
            self._token = None

    async def wait(self, timeout_s: float) -> None:
        """Nothing is urgent here."""
        await asyncio.sleep(timeout_s)

    async def _add(self, token: int, organization_id: str) -> int:
        """A new part; returns how many events were looked at, 0 when it came to nothing."""
        store = self._store
        read_at = store.now()
        builder, kept, position, looked_at = PartBuilder(), list[str](), None, 0
        while not builder.full and looked_at < EVENTS_LIMIT:
            limit = min(_AT_ONCE, EVENTS_LIMIT - looked_at)
            events = await store.unindexed_events(organization_id, position, limit)
            for event in await self._taken_in(builder, events):
                position, looked_at = event.position, looked_at + 1
                if event.payload is not None:
                    kept.append(event.id)
            if len(events) < limit:
                break
        if position is None:
            return 0
        part = NewPart(
            organization_id=organization_id,
            ids=tuple(kept),
            part=await _built(builder),
            position=position,
            read_at=read_at,
        )
        if not await store.save_part(token, part):
            self._told_stale("save_part")
            return 0
        self._metrics.indexed.inc(looked_at)
        return looked_at

    async def _taken_in(
        self, builder: PartBuilder, events: Iterable[IndexedEvent]
    ) -> list[IndexedEvent]:
        """Take events in until the part is full."""
        taken: list[IndexedEvent] = []
        turn = _Turn()
        for event in events:
            if builder.full:
                break
            taken.append(event)
            if event.payload is not None:
                await _take_in(builder, event, event.payload)
                await turn.over()
        return taken

    async def _mend(self, token: int) -> bool:
        """Take what was deleted out of a part; returns whether there was one."""
        store = self._store
        stale = await store.stale_part(store.now().after(seconds=-_FORGOTTEN_AFTER_S))
        if stale is None:
            return False
        read_at = store.now()
        builder = PartBuilder()
        for start in range(0, len(stale.ids), _AT_ONCE):
            chunk = stale.ids[start : start + _AT_ONCE]
            events = await store.events_to_index(stale.organization_id, chunk)
            turn = _Turn()
            for identifier in chunk:
                event = events.get(identifier)
                if event is None or event.payload is None:
                    builder.leave_out()
                else:
                    await _take_in(builder, event, event.payload)
                await turn.over()
        part = await _built(builder)
        if not await store.replace_part(token, stale, part, read_at=read_at):
            self._told_stale("replace_part")
            return False
        return True

    async def _prune(self, token: int) -> bool:
        if time.monotonic() < self._prune_at:
            return False
        if await self._store.prune_index(token, _PRUNED_AT_ONCE):
            return True
        self._prune_at = time.monotonic() + _PRUNE_EVERY_S
        return False

    def _told_stale(self, verb: str) -> None:
        self._token = None
        self._metrics.stale_leases.labels(verb).inc()
        log.warning("another process makes the index now")


async def _take_in(builder: PartBuilder, event: IndexedEvent, payload: bytes) -> None:
    if len(payload) > _LONG_BYTES:
        found = await asyncio.to_thread(payload_terms, payload)
    else:
        found = payload_terms(payload)
    own = own_terms(event.type, event.source, event.key, operational=event.operational)
    builder.add(own, found, size=len(payload))


async def _built(builder: PartBuilder) -> Part:
    building, turn = builder.building(), _Turn()
    while True:
        try:
            next(building)
        except StopIteration as end:
            part: Part = end.value
            return part
        await turn.over()


class _Turn:
    """A while of work, after which others have their turn."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    async def over(self) -> None:
        """Let others have their turn, if it is time, and if they need it, more of it."""
        worked_s = time.perf_counter() - self._began
        if worked_s < _SLICE_S:
            return
        # This thread's own time: that another process has the core says nothing.
        left_at = time.thread_time()
        await asyncio.sleep(0)
        if time.thread_time() - left_at > _BUSY_S:
            await asyncio.sleep(worked_s * _REST)
        self._began = time.perf_counter()
