"""Lands what waits in Redis: into the database, and only then out of Redis.

One consumer of all processes has the lead and lands everything, in the order in which it came in. Who
takes the lead over takes over first what its predecessor had in hand. Landing is by the event's own id,
so that doing it twice does it once.
"""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from triggers_api.errors import Unavailable
from triggers_api.failpoints import Failpoints
from triggers_api.ingest.buffer_redis.aside import Aside
from triggers_api.ingest.buffer_redis.entry import Entry
from triggers_api.ingest.buffer_redis.names import (
    GROUP,
    LEAD,
    LEAVE,
    MAKE_GROUP,
    MISSING,
    TIDY,
    Names,
)
from triggers_api.ingest.buffer_redis.watch import Watch
from triggers_api.model.controls import Running
from triggers_api.model.event import NewEvent
from triggers_api.redis.client import Redis
from triggers_api.redis.connection import RefusedByRedis, Value
from triggers_api.store.base import Landed, LandingStore
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_LEAD_MS: Final = 6_000
_LOOK_S: Final = 0.5
_AWAY_S: Final = 0.5
_PAUSED_S: Final = 0.1
_BLOCK_MS: Final = 1_000
_MOST: Final = 500
_FEWEST: Final = 10
_BYTES: Final = 8 << 20
_CLAIM_AT_ONCE: Final = 100
_ALONE_AFTER: Final = 2
"""Deliveries to a consumer without success after which an entry is landed alone."""
_SCAN: Final = 500
_SWEEP_EVERY_S: Final = 60.0
_PATIENCE_S: Final = 30.0
_KEEP_EVERY_S: Final = 1.5
"""How often the lead is kept while the database takes its time."""


class Consumer:
    """The part that lands. Several processes may have one."""

    name = "landing"

    def __init__(
        self,
        redis: Redis,
        names: Names,
        watch: Watch,
        *,
        aside: Aside,
        store: LandingStore,
        directory: Directory,
        worker_id: str,
        max_attempts: int,
        metrics: Metrics,
        failpoints: Failpoints,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up.

        Args:
            redis: where events wait.
            names: of the buffer's keys.
            watch: how things stand there.
            aside: what could not be stored.
            store: where they go.
            directory: knows the switches and the organizations.
            worker_id: the consumer's name, of this process and no other.
            max_attempts: how often landing an entry is begun before it is set aside.
            metrics: is told about it.
            failpoints: for tests.
            monotonic: seconds on a clock that never goes back.
        """
        self._redis = redis
        self._blocking = redis.another()
        self._names = names
        self._watch = watch
        self._aside = aside
        self._store = store
        self._directory = directory
        self._worker_id = worker_id
        self._max_attempts = max_attempts
        self._metrics = metrics
        self._failpoints = failpoints
        self._monotonic = monotonic
        self._leads = False
        self._held: deque[Entry] = deque()
        self._attempts: Counter[bytes] = Counter()
        self._alone: set[bytes] = set()
        self._forgiven = False
        self._last = b"0-0"
        self._size = 1024.0
        self._looked_at = 0.0
        self._swept_at = -math.inf
        self._turning = asyncio.Lock()
        self.landed = 0
        """Entries that the last turn let go of."""

    async def run_once(self) -> float:
        """Land some of what waits."""
        async with self._turning:
            self.landed = 0
            if self._paused:
                # Whoever lands something by hand meanwhile need not wait for the lead.
                await self._step_down()
                return _PAUSED_S
            try:
                return await self._turn_or_begin_again()
            except Unavailable:
                # Of Redis; the watch tells. What is in hand is kept there until the lead is lost.
                return _AWAY_S

    async def by_hand(self) -> int:
        """Land a batch because somebody asks for it, also while processing is paused; how many entries.

        None where another process has the lead: that one lands, unless it is about to pause.

        Raises:
            Unavailable: Redis is away.
        """
        async with self._turning:
            self.landed = 0
            led = self._leads
            try:
                await self._turn_or_begin_again()
            finally:
                if self._paused or not led:
                    await self._step_down()
            return self.landed

    async def _turn_or_begin_again(self) -> float:
        try:
            return await self._turn()
        except RefusedByRedis as refused:
            if refused.code != "NOGROUP":
                raise
            await self._begin_again()
            return 0

    @property
    def _paused(self) -> bool:
        return self._directory.controls.processing is Running.PAUSED

    async def wait(self, timeout_s: float) -> None:
        """Until something comes in, or time is up."""
        # While something is in hand the database is waited for, and more need not be asked for.
        if self._held or not self._leads or self._paused:
            await asyncio.sleep(timeout_s)
            return
        block_ms = max(1, min(round(timeout_s * 1000), _BLOCK_MS))
        try:
            await self._blocking.execute(
                "XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", self._names.stream, self._last,
                within_s=block_ms / 1000 + 2,
            )  # fmt: skip
        except (Unavailable, RefusedByRedis):
            await asyncio.sleep(min(timeout_s, _AWAY_S))

    async def finish(self) -> None:
        """Give the lead up: what is left is the next one's."""
        async with self._turning:
            await self._step_down()
        await self._blocking.close()

    async def _step_down(self) -> None:
        if not self._leads:
            return
        with suppress(Unavailable, RefusedByRedis):  # then the lead runs out by itself
            await self._hand_back()
            await self._redis.run(LEAVE, (self._names.leader,), (self._worker_id,))
        self._leads = False
        self._held.clear()

    async def _hand_back(self) -> None:
        """That it was in hand is held against nothing: the next one begins with what is known of it."""
        by_attempts: dict[int, list[bytes]] = {}
        for entry in self._held:
            by_attempts.setdefault(self._attempts[entry.place], []).append(entry.place)
        for attempts, places in by_attempts.items():
            await self._set_deliveries(places, attempts)

    async def _set_deliveries(self, places: Sequence[bytes], count: int) -> None:
        await self._redis.execute(
            "XCLAIM", self._names.stream, GROUP, self._worker_id, 0, *places,
            "RETRYCOUNT", count, "JUSTID",
        )  # fmt: skip

    async def _turn(self) -> float:
        if not await self._lead():
            return _LOOK_S
        if not self._held:
            await self._look()
            await self._read()
        if not self._held and await self._find_forgotten():
            await self._read()
        if not self._held:
            return _BLOCK_MS / 1000
        batch = self._next()
        return await self._land(batch)

    async def _lead(self) -> bool:
        """Whether the lead is ours; what is in hand of predecessors is taken over with it."""
        came = await self._ask_for_lead()
        if came == 1 and self._leads:
            return True
        # Somebody may have taken over what was in hand here.
        self._leads = False
        await self._land_what_is_adrift()
        if not came:
            return False
        await self._make_group()
        await self._take_over()
        self._leads = True
        return True

    async def _ask_for_lead(self) -> int:
        """2 if it was taken now, 1 if it was kept, 0 if it is another's."""
        found: int = await self._redis.run(LEAD, (self._names.leader,), (self._worker_id, _LEAD_MS))
        return found

    async def _land_what_is_adrift(self) -> None:
        """Of what was in hand, land what Redis knows nothing of.

        Another has landed it, then it is stored already. Or Redis has lost its memory, and nobody else
        has it any more. What waits or was set aside there is whoever leads now to care for.
        """
        held = [entry for entry in self._held if entry.event is not None]
        if held:
            event_ids = [entry.event_id for entry in held]
            known = await self._redis.pipeline(
                [("HMGET", key, *event_ids) for key in (self._names.waiting, self._names.poisoned)]
            )
            for each in known:
                if isinstance(each, Exception):
                    raise each
            places = zip(held, *known, strict=True)
            await self._save([entry for entry, *place in places if place == [None, None]])
        self._held.clear()

    async def _save(self, adrift: Sequence[Entry]) -> None:
        saved = 0
        for entry in adrift:
            if entry.event is None or self._directory.organization(entry.organization_id) is None:
                continue
            try:
                (landed,) = await self._store.land((entry.event,))
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one that cannot be stored costs no other
                log.error(  # noqa: TRY400 - nothing of a payload goes into the log
                    "what redis has forgotten cannot be stored",
                    event_id=entry.event_id,
                    error=type(error).__name__,
                )
            else:
                saved += not landed.was_there
        if saved:
            log.warning("events that redis has forgotten were in hand, and are stored", count=saved)

    async def _make_group(self) -> None:
        """Have the group. If it had been there, what waits is read once more from the first entry on."""
        names = self._names
        if await self._redis.run(MAKE_GROUP, (names.stream, names.books), (GROUP,)) > 1:
            self._metrics.buffer_groups_made_again.inc()
            log.error("the consumer group was gone; it is made again")

    async def _begin_again(self) -> None:
        """The group is gone, and with it who had what in hand. What is in hand here is landed."""
        await self._make_group()

    async def _take_over(self) -> None:
        """What others had in hand, and what they are known to have died of."""
        start: bytes = b"0-0"
        found: list[Entry] = []
        vanished = 0
        while True:
            start, entries, gone = await self._redis.execute(
                "XAUTOCLAIM", self._names.stream, GROUP, self._worker_id, 0, start,
                "COUNT", _CLAIM_AT_ONCE,
            )  # fmt: skip
            found += [Entry.of(place, fields) for place, fields in entries]
            vanished += len(gone)
            if start == b"0-0":
                break
        if vanished:
            # They are written off where they are known by their ids: see _look.
            log.warning("entries in hand have vanished from the stream", count=vanished)
        for entry in found:
            self._note_last(entry)
        self._held.extend(found)
        self._forgiven = False
        await self._count_attempts(len(found))
        await self._redis.run(TIDY, (self._names.stream,), (GROUP, self._worker_id))
        if found:
            self._metrics.buffer_taken_over.inc(len(found))
            log.info("entries of other consumers taken over", count=len(found))

    async def _count_attempts(self, count: int) -> None:
        self._attempts.clear()
        if not count:
            return
        rows = await self._redis.execute(
            "XPENDING", self._names.stream, GROUP, "-", "+", count, self._worker_id
        )
        # The claim itself was a delivery; this one has not been tried yet.
        self._attempts.update({place: times - 1 for place, _, _, times in rows})

    async def _look(self) -> None:
        """See whether something has vanished or been forgotten; only while nothing is in hand."""
        now = self._monotonic()
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        look = await self._watch.look_now()
        if look.vanished:
            await self._write_off()
            look = await self._watch.look_now()
        if look.poisoned and now - self._swept_at >= _SWEEP_EVERY_S:
            self._swept_at = now
            await self._erase_of_gone()
        if look.lost > self._watch.reported:
            self._metrics.buffer_data_loss.inc(look.lost - self._watch.reported)
            await self._redis.execute("HSET", self._names.books, "reported", look.lost)

    async def _erase_of_gone(self) -> None:
        """With an organization goes what was set aside of it."""
        try:
            await self._directory.refresh()
        except Unavailable:
            return
        known = {each.id for each in self._directory.organizations()}
        if erased := await self._aside.forget_all_but(known):
            log.info("entries of organizations that are gone are erased", count=erased)

    async def _write_off(self) -> None:
        names = self._names
        cursor: Value = 0
        lost: list[str] = []
        while True:
            cursor, *ids = await self._redis.run(
                MISSING,
                (names.stream, names.waiting, names.depths, names.books, names.lost),
                (cursor, _SCAN),
            )
            lost += [each.decode() for each in ids]
            if cursor == b"0":
                break
        if lost:
            log.error(
                "events have vanished from redis that had been accepted",
                count=len(lost),
                event_ids=lost[:20],
            )

    async def _read(self) -> None:
        count = max(_FEWEST, min(_MOST, int(_BYTES / max(self._size, 1.0))))
        try:
            answer = await self._redis.execute(
                "XREADGROUP", "GROUP", GROUP, self._worker_id, "COUNT", count,
                "STREAMS", self._names.stream, ">",
            )  # fmt: skip
        except Unavailable:
            # What the answer would have brought is in our hands by what Redis knows, and is not here.
            self._leads = False
            raise
        entries = answer[0][1] if answer else []
        found = [Entry.of(place, fields) for place, fields in entries]
        if not found:
            return
        self._failpoints.hit("landing.read")
        self._note_last(found[-1])
        self._size = max(sum(each.size for each in found) / len(found), 1.0)
        self._held.extend(found)

    async def _find_forgotten(self) -> bool:
        """Have what is in nobody's hands read again from the first entry on; whether there is any.

        Somebody has deleted a consumer that had something in hand, or moved the group. What Redis has in
        somebody's hands, and is not in ours, is taken over with the next turn: the lead is here.
        """
        names = self._names
        first, pending = await self._redis.pipeline(
            [
                ("XRANGE", names.stream, "-", "+", "COUNT", 1),
                ("XPENDING", names.stream, GROUP),
            ]
        )
        for each in (first, pending):
            if isinstance(each, Exception):
                raise each
        if pending[0]:
            self._leads = False
            return False
        if not first or _place(first[0][0]) > _place(self._last):
            return False
        log.warning("entries were in nobody's hands; they are read again")
        await self._redis.execute("XGROUP", "SETID", names.stream, GROUP, "0")
        self._last = b"0-0"
        return True

    def _note_last(self, entry: Entry) -> None:
        if _place(entry.place) > _place(self._last):
            self._last = entry.place

    def _next(self) -> list[Entry]:
        """What is landed in one transaction.

        What was accepted before something else is stored before it, also where two processes' clocks
        differ: the order in one transaction is that of the ids.
        """
        batch: list[Entry] = []
        latest: dict[str, str] = {}
        ordered = self._directory.ordered
        for entry in self._held:
            if self._goes_alone(entry) and batch:
                break
            if entry.organization_id in ordered:
                if entry.event_id < latest.get(entry.organization_id, ""):
                    break
                latest[entry.organization_id] = entry.event_id
            batch.append(entry)
            if self._goes_alone(entry) or len(batch) == _MOST:
                break
        return batch

    def _goes_alone(self, entry: Entry) -> bool:
        return entry.place in self._alone or self._attempts[entry.place] >= _ALONE_AFTER

    async def _land(self, batch: Sequence[Entry]) -> float:
        reasons = await self._unfit(batch)
        events = [
            entry.event for entry in batch if entry.event is not None and entry.place not in reasons
        ]
        began = time.perf_counter()
        landed: Sequence[Landed] = ()
        if events:
            try:
                landed = await self._store_in_the_lead(events)
            except (Unavailable, TimeoutError):
                # Of the database; the monitor tells.
                await self._forgive(batch)
                return _AWAY_S
            except Exception as error:  # noqa: BLE001 - it is told what it is about, or set aside
                return await self._failed(batch, error)
        self._metrics.buffer_land_seconds.observe(time.perf_counter() - began)
        self._forgiven = False
        await self._settle(batch, reasons)
        self._count(landed)
        self.landed = len(batch)
        return 0

    async def _store_in_the_lead(self, events: Sequence[NewEvent]) -> Sequence[Landed]:
        """Store events; a slow database is no reason for another process to begin with the same ones.

        Raises:
            TimeoutError: it is too slow.
            Exception: what storing raised.
        """
        storing = asyncio.ensure_future(self._store.land(events))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while True:
                    done, _ = await asyncio.wait((storing,), timeout=_KEEP_EVERY_S)
                    if done:
                        return storing.result()
                    with suppress(Unavailable):  # then it runs out
                        if await self._ask_for_lead() != 1:
                            self._leads = False
        finally:
            if not storing.done():
                storing.cancel()
                await asyncio.wait((storing,))

    async def _unfit(self, batch: Sequence[Entry]) -> dict[bytes, str]:
        """What of a batch is not to be landed, and why."""
        known = self._directory.organization
        if any(each.event is not None and known(each.organization_id) is None for each in batch):
            # Perhaps made a moment ago, by another process.
            await self._refresh()
        reasons: dict[bytes, str] = {}
        for entry in batch:
            if entry.event is None:
                reasons[entry.place] = "not an event, or damaged"
            elif self._attempts[entry.place] >= self._max_attempts:
                reasons[entry.place] = f"landing it was begun {self._attempts[entry.place]} times"
            elif known(entry.organization_id) is None:
                reasons[entry.place] = ""
                self._metrics.buffer_landed.labels("discarded").inc()
                log.warning("an event of an organization that is gone", event_id=entry.event_id)
        return reasons

    async def _refresh(self) -> None:
        with suppress(Unavailable):  # then landing waits for the database as well
            await self._directory.refresh()

    async def _settle(self, batch: Sequence[Entry], reasons: dict[bytes, str]) -> None:
        for entry in batch:
            if reason := reasons.get(entry.place):
                self._metrics.buffer_landed.labels("poisoned").inc()
                log.error("an entry is set aside", event_id=entry.event_id, reason=reason)
        self._failpoints.hit("landing.before_settle")
        gone = await self._redis.run(*self._names.settling(batch, reasons))
        self._watch.let_go(gone)
        self._failpoints.hit("landing.after_settle")
        for entry in batch:
            self._held.popleft()
            del self._attempts[entry.place]
            self._alone.discard(entry.place)

    def _count(self, landed: Sequence[Landed]) -> None:
        for result, count in Counter(map(_result, landed)).items():
            self._metrics.buffer_landed.labels(result).inc(count)

    async def _forgive(self, batch: Sequence[Entry]) -> None:
        """That the database is away is no fault of what is to be landed."""
        if self._forgiven or not self._leads:
            return
        self._forgiven = True
        await self._set_deliveries([entry.place for entry in batch], 0)

    async def _failed(self, batch: Sequence[Entry], error: Exception) -> float:
        """Something in a batch cannot be landed: each is tried alone, and set aside after some times."""
        log.error(
            "landing failed",
            events=len(batch),
            event_id=batch[0].event_id,
            error=type(error).__name__,
        )
        if len(batch) > 1:
            self._alone.update(entry.place for entry in batch)
            return 0
        (entry,) = batch
        self._attempts[entry.place] += 1
        if self._attempts[entry.place] >= self._max_attempts:
            await self._settle(batch, {entry.place: f"it cannot be stored: {type(error).__name__}"})
            return 0
        return _AWAY_S


def _result(landed: Landed) -> str:
    if landed.was_there:
        return "was_there"
    return "stored" if landed.duplicate_of is None else "duplicate"


def _place(place: bytes) -> tuple[int, int]:
    """A place in the stream, as it compares."""
    millis, _, number = place.partition(b"-")
    return int(millis), int(number)
