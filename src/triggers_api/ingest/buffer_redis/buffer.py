"""The ingest buffer as the rest of the service knows it."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from triggers_api.errors import Unavailable
from triggers_api.failpoints import Failpoints
from triggers_api.ingest.buffer_redis.consumer import Consumer
from triggers_api.ingest.buffer_redis.entry import Entry, Mark
from triggers_api.ingest.buffer_redis.names import RELEASE, Names
from triggers_api.ingest.buffer_redis.producer import Answers, Producer
from triggers_api.ingest.buffer_redis.watch import Watch
from triggers_api.model import ids
from triggers_api.model.event import Event, EventDetail, EventStatus, FirstEvent, Moment, NewEvent
from triggers_api.model.ids import received_ms
from triggers_api.model.timeline import timeline
from triggers_api.model.timestamp import Timestamp
from triggers_api.redis.client import Redis
from triggers_api.redis.connection import Command
from triggers_api.store.base import LandingStore
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_metadata = msgspec.json.Decoder(dict[str, str]).decode
_REASON: Final = b"reason"


class BufferSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What may be chosen.

    Attributes:
        prefix: what every key in Redis begins with.
        strict: nothing goes into a Redis that may lose it.
        falls_back: while Redis is away events go straight into the store; else they are refused.
        most: events that may wait.
        most_of_one: of these, how many may be of one organization; 0 means all.
        alarm_age_s: seconds that one may wait before that is reported.
        dedup_ttl_s: seconds that a dedup_id is remembered in Redis.
        max_attempts: how often landing an event is begun before it is set aside.
    """

    prefix: str = "triggers"
    strict: bool = True
    falls_back: bool = True
    most: int = 100_000
    most_of_one: int = 0
    alarm_age_s: float = 86_400.0
    dedup_ttl_s: int = 86_400
    max_attempts: int = 5


class Buffer:
    """Puts events into Redis, and finds them there."""

    def __init__(
        self,
        redis: Redis,
        names: Names,
        *,
        store: LandingStore,
        watch: Watch,
        producer: Producer,
        consumer: Consumer,
        dedup_ttl_s: int,
    ) -> None:
        """Hold the parts: see them for what they do."""
        self.watch = watch
        self.producer = producer
        self.consumer = consumer
        self.falls_back = producer.falls_back
        """Whether events go straight into the store while Redis is away."""
        self._redis = redis
        self._names = names
        self._store = store
        self._dedup_ttl_s = dedup_ttl_s

    # ── in ────────────────────────────────────────────────────────────────────────────────────

    def append(self, events: Sequence[NewEvent]) -> "asyncio.Future[Answers]":
        """Accept the events of one request; see :meth:`Producer.add`."""
        return self.producer.add(events)

    def append_past(self, events: Sequence[NewEvent]) -> "asyncio.Future[Answers]":
        """Store the events of one request at once, past what waits; see :meth:`Store.append`.

        Whose dedup_id is that of an event that waits is a duplicate of it. One that comes into Redis in
        the very moment between the look and the commit is accepted, and recorded when it lands.
        """
        if not self.watch.open or all(event.dedup_id is None for event in events):
            return self._store.append(events)
        return asyncio.ensure_future(self._append_past(events))

    async def _append_past(self, events: Sequence[NewEvent]) -> Answers:
        waiting = await self._waiting(events)
        rest = [event for event in events if event.id not in waiting]
        stored = await self._store.append(rest) if rest else ()
        answers: dict[str, FirstEvent | None] = dict(waiting)
        answers |= {event.id: first for event, first in zip(rest, stored, strict=True)}
        await self._remember([event for event in rest if answers[event.id] is None])
        return [answers[event.id] for event in events]

    async def _waiting(self, events: Sequence[NewEvent]) -> dict[str, FirstEvent]:
        """By event, the one that waits with its dedup_id."""
        asked = [event for event in events if event.dedup_id is not None]
        try:
            held = await self._redis.pipeline(
                [("GET", self._names.dedup(e.organization_id, e.dedup_id or "")) for e in asked]
            )
            marks = {
                event.id: Mark.read(each)
                for event, each in zip(asked, held, strict=True)
                if isinstance(each, bytes)
            }
            if not marks:
                return {}
            known = await self._redis.pipeline(
                [("HEXISTS", self._names.waiting, mark.event_id) for mark in marks.values()]
            )
        except Unavailable as error:
            # Then what waits there is recorded as the duplicate, when it lands.
            self.watch.failed(error.detail)
            return {}
        waits = {
            event_id: mark
            for (event_id, mark), there in zip(marks.items(), known, strict=True)
            if there == 1
        }
        now = self._store.now()
        return {
            event.id: waits[event.id].first(event.payload, now)
            for event in asked
            if event.id in waits
        }

    async def _remember(self, events: Sequence[NewEvent]) -> None:
        """Have Redis know of dedup_ids that were stored past it; they are the database's in any case."""
        commands: list[Command] = []
        for event in events:
            if event.dedup_id is not None:
                mark = msgspec.structs.replace(Mark.of(event), waits=False)
                key = self._names.dedup(event.organization_id, event.dedup_id)
                commands.append(("SET", key, bytes(mark), "NX", "EX", self._dedup_ttl_s))
        if not commands:
            return
        try:
            await self._redis.pipeline(commands)
        except Unavailable as error:
            self.watch.failed(error.detail)

    # ── what waits ────────────────────────────────────────────────────────────────────────────

    @property
    def depth(self) -> int:
        """How many events wait, as of the last look and what this process has done since."""
        return self.watch.look.length

    @property
    def oldest_age_s(self) -> float:
        """For how long the oldest one has waited, as of the last look."""
        return self.watch.look.oldest_age_s

    async def depths_of(self, organization_ids: Collection[str]) -> Mapping[str, int]:
        """How many of each organization wait; 0 is left out, and everything while Redis is away."""
        if not organization_ids:
            return {}
        asked = tuple(organization_ids)
        try:
            found = await self._redis.execute("HMGET", self._names.depths, *asked)
        except Unavailable as error:
            self.watch.failed(error.detail)
            return {}
        return {
            organization_id: int(depth)
            for organization_id, depth in zip(asked, found, strict=True)
            if depth is not None
        }

    @property
    def takes(self) -> bool:
        """Whether events may go into Redis now."""
        return self.watch.open

    @property
    def state(self) -> str:
        """``ok``, or in a word what is the matter."""
        if not self.takes:
            return "unavailable"
        if not self.watch.look.intact:
            return "data-loss"
        return "waiting-too-long" if self.watch.too_old else "ok"

    @property
    def remark(self) -> str | None:
        """See :attr:`Watch.remark`."""
        return self.watch.remark

    async def find(self, organization_id: str, event_id: str) -> EventDetail | None:
        """An event that waits, or was set aside, as it would be shown.

        Raises:
            Unavailable: Redis is away.
        """
        found = await self._find(organization_id, event_id)
        if found is None or found[0].event is None:
            return None
        entry, reason = found
        return _shown(entry.event, reason, self._store.now()) if entry.event else None

    async def land(self, organization_id: str, event_id: str) -> bool:
        """Land an event before its turn, because something is to be done with it; whether it waited.

        Raises:
            Unavailable: Redis or the database is away.
        """
        found = await self._find(organization_id, event_id)
        if found is None or found[1] is not None or found[0].event is None:
            return False
        await self._store.land((found[0].event,))
        # If a consumer has it in hand, it finds that nothing is left to be done.
        await self._redis.run(*self._names.settling((found[0],), {}))
        return True

    async def release(self, event_id: str) -> bool:
        """Have an event that was set aside tried again; whether there is one.

        Raises:
            Unavailable: Redis is away.
        """
        names = self._names
        keys = (
            names.stream, names.waiting, names.depths, names.books, names.poison, names.poisoned,
        )  # fmt: skip
        return bool(await self._redis.run(RELEASE, keys, (event_id,)))

    async def _find(self, organization_id: str, event_id: str) -> tuple[Entry, str | None] | None:
        if ids.parse(ids.EVENT, event_id) is None:
            return None
        names = self._names
        waits, aside = await self._redis.pipeline(
            [("HGET", names.waiting, event_id), ("HGET", names.poisoned, event_id)]
        )
        for held, stream in ((waits, names.stream), (aside, names.poison)):
            if not isinstance(held, bytes):
                continue
            place, _, owner = held.partition(b" ")
            if owner.decode() != organization_id:
                return None
            rows = await self._redis.execute("XRANGE", stream, place, place)
            if rows:
                fields = dict(zip(rows[0][1][::2], rows[0][1][1::2], strict=True))
                reason = fields.get(_REASON)
                return Entry.of(*rows[0]), None if reason is None else reason.decode()
        return None

    async def finish(self) -> None:
        """Have what was begun come to its end, and give the lead up."""
        await self.producer.finish()
        await self.consumer.finish()


def _shown(event: NewEvent, reason: str | None, now: Timestamp) -> EventDetail:
    received_at = Timestamp(received_ms(event.id))
    status = EventStatus.QUEUED
    if reason is not None:
        status = EventStatus.FAILED
    elif event.aside is not None:
        status = EventStatus.QUARANTINED
    elif event.deliver_at is not None and event.deliver_at > now:
        status = EventStatus.SCHEDULED
    plain = Event(
        id=event.id,
        type=event.type,
        payload=msgspec.Raw(event.payload),
        dedup_id=event.dedup_id,
        source=event.source,
        key=event.key,
        metadata=None if event.metadata is None else _metadata(event.metadata),
        status=status,
        received_at=received_at,
        occurred_at=event.occurred_at,
        deliver_at=event.deliver_at,
    )
    told: tuple[Moment, ...] = timeline(
        plain, status_at=received_at, reason=reason or event.aside, deliveries=(), attempts=()
    )
    return EventDetail(
        **{name: getattr(plain, name) for name in Event.__struct_fields__},
        deliveries=(),
        timeline=told,
    )


async def open_buffer(
    redis: Redis,
    settings: BufferSettings,
    *,
    store: LandingStore,
    directory: Directory,
    worker_id: str,
    metrics: Metrics,
    failpoints: Failpoints,
) -> Buffer:
    """Put the parts together, and look at Redis.

    Raises:
        StartError: it is there, and must not be used as it is.
    """
    names = Names(settings.prefix)
    watch = Watch(
        redis,
        names,
        strict=settings.strict,
        alarm_age_s=settings.alarm_age_s,
        metrics=metrics,
        monotonic=time.monotonic,
    )
    consumer = Consumer(
        redis,
        names,
        watch,
        store=store,
        directory=directory,
        worker_id=worker_id,
        max_attempts=settings.max_attempts,
        metrics=metrics,
        failpoints=failpoints,
    )
    producer = Producer(
        redis,
        names,
        watch,
        store=store,
        most=settings.most,
        most_of_one=settings.most_of_one or settings.most,
        dedup_ttl_s=settings.dedup_ttl_s,
        falls_back=settings.falls_back,
        metrics=metrics,
    )
    await watch.begin()
    return Buffer(
        redis,
        names,
        store=store,
        watch=watch,
        producer=producer,
        consumer=consumer,
        dedup_ttl_s=settings.dedup_ttl_s,
    )
