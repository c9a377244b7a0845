"""The engine as a whole: opens the database, and gives each verb a connection."""

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Final, NamedTuple, Self, TypeVar
from uuid import UUID

import msgspec
import structlog
from asyncpg import Record, UniqueViolationError

from triggers_api.errors import StartError, StorageFull, StoreUnavailable, Unavailable
from triggers_api.failpoints import Failpoints
from triggers_api.model import ids
from triggers_api.model.audit import Deed, by_hand
from triggers_api.model.controls import Switches
from triggers_api.model.delivery import (
    WAITING,
    Delivery,
    DeliveryDetail,
    NewDelivery,
    without_attempts,
)
from triggers_api.model.erasure import Erasure
from triggers_api.model.event import EventAside, EventDetail, FirstEvent, NewEvent
from triggers_api.model.event_type import EventType
from triggers_api.model.health import (
    DEFAULT_POLICY,
    EndpointHealth,
    HealthChange,
    HealthPolicy,
    evidence,
)
from triggers_api.model.inbox import Inbox, InboxAction, InboxCounts, InboxOutcome
from triggers_api.model.job import Job, Selection
from triggers_api.model.organization import ApiKey, KeyRecord, Organization
from triggers_api.model.peers import SILENT_MS
from triggers_api.model.postings import Part
from triggers_api.model.retention import Cutoffs, Moments
from triggers_api.model.rollup import Rollup
from triggers_api.model.statistics import SubscriptionStats
from triggers_api.model.subscription import Subscription, SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.verification import Check, Integrity
from triggers_api.model.worker import Worker
from triggers_api.model.workload import DeadGroup, SubscriptionWorkload, Workload
from triggers_api.store import bodies
from triggers_api.store.acting import present_actor
from triggers_api.store.base import (
    LOOKED_AT,
    AuditFilter,
    AuditPage,
    Changes,
    ClaimedJob,
    Connections,
    DeliveryClaim,
    DeliveryFilter,
    Depths,
    Durability,
    EventContent,
    EventFilter,
    FailedEvent,
    Farewell,
    FoundDeliveries,
    FoundEvents,
    HealthReset,
    InboxPage,
    InboxSeek,
    IndexedEvent,
    JobBacklog,
    JobStep,
    Landed,
    LogPage,
    NewPart,
    OrganizationAccount,
    OrganizationBacklog,
    Page,
    PendingNotice,
    ProbeClaim,
    Pruned,
    Pulled,
    QueueClaim,
    QueueStats,
    Reached,
    Reaped,
    Rooms,
    RoutedEvent,
    Sealed,
    Settled,
    Settlement,
    StalePart,
    WalkedDelivery,
    WalkedEvent,
)
from triggers_api.store.cipher import Cipher
from triggers_api.store.clock import StoreClock
from triggers_api.store.connect import StoreOptions
from triggers_api.store.notice import News, Notice
from triggers_api.store.postgres import retention_verbs as retention
from triggers_api.store.postgres import schema
from triggers_api.store.postgres.audit_verbs import AuditVerbs
from triggers_api.store.postgres.clock import DatabaseClock
from triggers_api.store.postgres.connection import (
    DURABLE,
    FAILED,
    Connection,
    Standing,
    check,
    connect,
    goes_through_pooler,
    said,
    standing,
)
from triggers_api.store.postgres.delivery_verbs import CANCELLED_AT_ONCE, DeliveryVerbs, changed
from triggers_api.store.postgres.erasure_verbs import ErasureVerbs
from triggers_api.store.postgres.event_verbs import EventVerbs
from triggers_api.store.postgres.farewell_verbs import FarewellVerbs
from triggers_api.store.postgres.health_verbs import HealthVerbs
from triggers_api.store.postgres.inbox_verbs import InboxVerbs
from triggers_api.store.postgres.job_verbs import JobVerbs
from triggers_api.store.postgres.listener import DELIVERIES, JOBS, QUEUE, Announcer, Listener
from triggers_api.store.postgres.notice_verbs import forget_notices, pending_notices
from triggers_api.store.postgres.pool import Pool
from triggers_api.store.postgres.quarantine_verbs import QuarantineVerbs
from triggers_api.store.postgres.queue_verbs import Answer, QueueVerbs
from triggers_api.store.postgres.quota_verbs import Quotas
from triggers_api.store.postgres.record_reads import RecordReads
from triggers_api.store.postgres.replica import Replica
from triggers_api.store.postgres.rollup_verbs import (
    read_rollups,
    read_subscription_rollups,
    save_rollups,
)
from triggers_api.store.postgres.search_verbs import SearchVerbs
from triggers_api.store.postgres.sessions import Sessions
from triggers_api.store.postgres.settings_verbs import SettingsVerbs, write_farewell
from triggers_api.store.postgres.tables import FIRST, LAST, SQL, find, number, text
from triggers_api.store.postgres.trace_verbs import prune_traces, traces_of
from triggers_api.store.postgres.verify_verbs import VerifyVerbs
from triggers_api.store.postgres.writer import Writer
from triggers_api.telemetry.metrics import Metrics

T = TypeVar("T")

_ORGANIZATIONS_AT_ONCE: Final = 100
"""Into how many a look for old rows goes."""
_FROM_THE_FIRST: Final = f"{FIRST.hex}-{FIRST.hex}-0"

log = structlog.get_logger(__name__)

_STATS_KEPT_S: Final = 0.5
_LANDING_TRIES: Final = 5
_EVENT_OVERHEAD: Final = 256
"""Bytes that an event takes in the commit queue besides its payload, about."""

_LISTED_MS: Final = 60_000
_SORTED_AT_ONCE: Final = 5000
_PROBE_BYTES: Final = 65_536


class _Last(NamedTuple):
    """The last moment of which a database knows, and the largest sequence in use."""

    moment: Timestamp
    sequence: int

    @classmethod
    def of(cls, row: Record | None) -> Self:
        """From a row of ``last_known``."""
        assert row is not None
        seen_at, *made = row
        found = [ids.parse(ids.EVENT, text(ids.EVENT, each)) for each in made if each is not None]
        sequence = max((each[0] for each in found if each is not None), default=0)
        moment = ids.made_at(sequence)
        # To the end of that millisecond: attempts made in it are not looked for.
        return cls(Timestamp(max(seen_at, moment)), ids.first_sequence(moment + 1) - 1)


class _Change:
    """A change under way: its transaction, and the subscriptions that end with it (``None``: any)."""

    def __init__(self, db: Connection) -> None:
        self.db = db
        self.ended: list[str | UUID | None] = []


class PostgresStore:
    """See :class:`triggers_api.store.base.Store` for what each verb promises."""

    def __init__(
        self,
        options: StoreOptions,
        sessions: Sessions,
        *,
        clock: DatabaseClock,
        last: "_Last",
        found: Standing,
        worker_number: int,
        metrics: Metrics,
        failpoints: Failpoints,
        health: HealthPolicy,
        cipher: Cipher,
    ) -> None:
        """Use :meth:`open`."""
        self._sessions = sessions
        self._database_clock = clock
        self._clock = StoreClock(clock, not_before=last.moment)
        self._standing = found
        self._worker_number = worker_number
        self._tokens = itertools.count(1)
        self._heard_since = 0
        self._index_lease_s = 0.0
        self._metrics = metrics
        self._failpoints = failpoints
        self._closed = False
        self._refused: Unavailable | None = None

        self._ids = ids.IdGenerator(self._clock, after=last.sequence)
        self._queue = QueueVerbs(sessions, failpoints=failpoints)
        self._audit = AuditVerbs(self._ids)
        self._erasures = ErasureVerbs(self._audit)
        self._verify = VerifyVerbs(self._audit)
        self._settings = SettingsVerbs(cipher, self._audit)
        self._farewells = FarewellVerbs(self._settings, self._audit)
        self._health = HealthVerbs(self._settings, policy=health, draw=random.random)
        self._deliveries = DeliveryVerbs(self._settings, self._health)
        self._events = EventVerbs(self._audit)
        self._quarantine = QuarantineVerbs()
        self._records = RecordReads()
        self._search = SearchVerbs()
        self._jobs = JobVerbs(self._audit)
        self._inboxes = InboxVerbs(self._audit)

        self._queue_notice = Notice()
        self._log_news = News()
        self._delivery_notice = Notice()
        self._job_notice = Notice()
        self._stats: tuple[float, QueueStats] | None = None

        self._writer = Writer(self._append, observer=self)
        # Of its own: a sign of life does not wait in line while the service is busy.
        self._beats = Sessions(sessions.pool.another(size=1, overflow=0), pooled=sessions.pooled)
        # Of its own as well: changes wait for each other, and whoever is at it asks for more. If all of
        # them took from what is there for everybody, those that wait would hold what the one needs.
        self._changes = Sessions(sessions.pool.another(size=1, overflow=0), pooled=sessions.pooled)
        self._changing: ContextVar[_Change | None] = ContextVar("changing", default=None)
        self._announcer = Announcer(sessions)
        self._replica = _replica(options, sessions)
        self._listed = sessions if self._replica is None else self._replica
        self._listener = None
        if not sessions.pooled or options.direct_url is not None:
            self._listener = Listener(
                options.direct_url or options.database_url,
                {
                    QUEUE: self._heard_of_events,
                    DELIVERIES: self._delivery_notice.give,
                    JOBS: self._job_notice.give,
                },
            )

    @classmethod
    async def open(
        cls,
        options: StoreOptions,
        *,
        clock: Callable[[], Timestamp],
        metrics: Metrics,
        failpoints: Failpoints,
        keeps_own_time: bool = False,
        health: HealthPolicy = DEFAULT_POLICY,
    ) -> Self:
        """Connect; make or migrate the schema if need be.

        Args:
            options: where it is, and how many connections there may be.
            clock: this machine's wall clock, in milliseconds since the epoch.
            metrics: is told about the store's work.
            failpoints: for tests.
            keeps_own_time: time is what ``clock`` says, whatever the database's says.
            health: when endpoints that fail are left alone.

        Raises:
            StartError: it cannot be reached, or must not be used as it is.
        """
        database_clock = DatabaseClock(clock, follows=not keeps_own_time)
        try:
            first = await connect(options.database_url, pooled=True)
            try:
                found = await standing(first)
                database_clock.compare(found)
                check(found)
                pooled = options.direct_url is not None or await goes_through_pooler(first)
                await schema.bring_up_to_date(first, url=options.direct_url or options.database_url)
                await schema.refuse_half_a_copy(first)
                await schema.refuse_foreign_numbers(first)
                last = await first.fetchrow(SQL["last_known"])
                async with first.transaction():
                    await first.execute(DURABLE.format(local="true"))
                    worker_number = await first.fetchval(SQL["next_worker_number"])
                    if not options.secret_keys:
                        await first.execute(SQL["make_signing_key"], _new_signing_key())
                    kept = await first.fetchval(SQL["signing_key"])
            finally:
                await first.close()
        except Unavailable as problem:
            raise StartError(problem.detail) from None
        except FAILED as error:
            raise StartError(f"cannot use the database: {said(error)}") from None

        async def opened() -> Connection:
            connection = await connect(options.database_url, pooled=pooled)
            try:
                await _look(connection, pooled=pooled)
            except BaseException:
                connection.terminate()
                raise
            return connection

        return cls(
            options,
            Sessions(
                _pool(options, opened, waited=metrics.connection_wait_seconds.observe),
                pooled=pooled,
            ),
            clock=database_clock,
            last=_Last.of(last),
            found=found,
            worker_number=worker_number,
            metrics=metrics,
            failpoints=failpoints,
            health=health,
            cipher=Cipher.of(options.secret_keys, kept),
        )

    # ── itself ────────────────────────────────────────────────────────────────────────────────

    @property
    def ids(self) -> ids.IdGenerator:
        return self._ids

    def now(self) -> Timestamp:
        return self._clock()

    @property
    def skew_ms(self) -> int:
        return self._database_clock.skew_ms

    async def signing_key(self) -> bytes:
        made = _new_signing_key()

        async def kept(db: Connection) -> bytes:
            await db.execute(SQL["make_signing_key"], made)
            key: bytes = await db.fetchval(SQL["signing_key"])
            return key

        return await self._sessions.write(kept, atomic=True)

    def durability(self) -> Durability:
        found = self._standing
        level = found.synchronous_commit
        return Durability(
            engine="postgresql",
            version=found.version,
            settings={
                "fsync": found.fsync,
                "full_page_writes": found.full_page_writes,
                "synchronous_commit": "on" if level == "off" else level,
            },
            survives="process crash, database crash, operating system crash, power cut",
        )

    def connections(self) -> Connections:
        pool = self._sessions.pool
        return Connections(in_use=pool.in_use, idle=pool.idle, most=pool.most)

    def quotas(self) -> Quotas:
        return Quotas(self._sessions)

    async def check(self) -> None:
        async def ask(db: Connection) -> Standing:
            found = await standing(db)
            self._database_clock.compare(found)
            return found

        found = await self._sessions.read(ask)
        try:
            check(found)
        except Unavailable:
            self._sessions.pool.forget()
            raise
        self._standing = found
        refused = self._refused
        if refused is not None:
            # A transaction was refused; find out whether that still holds.
            await self._write(
                lambda db: db.execute(SQL["probe"], secrets.token_bytes(_PROBE_BYTES))
            )
            if self._refused is refused:
                self._refused = None

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        await self._announcer.close()
        if self._listener is not None:
            await self._listener.close()
        if self._replica is not None:
            await self._replica.close()
        try:
            await self._write(self._leave, atomic=True)
        except Unavailable as problem:
            log.warning("the database was not told of the end", detail=problem.detail)
        await self._beats.pool.close()
        await self._changes.pool.close()
        await self._sessions.pool.close()

    async def _leave(self, db: Connection) -> None:
        """Give back what is held, and be listed no more."""
        mine = [self._worker_number]
        await self._deliveries.free(db, now=self.now(), workers=mine)
        await self._jobs.free(db, now=self.now(), workers=mine)
        await db.execute(SQL["leave"], self._worker_number)

    async def _write(
        self, function: Callable[[Connection], Awaitable[T]], *, atomic: bool = False
    ) -> T:
        change = self._changing.get()
        if change is not None:
            return await function(change.db)
        try:
            return await self._sessions.write(function, atomic=atomic)
        except StorageFull as problem:
            self.append_failed(problem)
            raise

    async def _hot(
        self, verb: str, function: Callable[[Connection], Awaitable[T]], *, atomic: bool = False
    ) -> T:
        """A verb that events pass on their way."""
        if self._failpoints:
            self._failpoints.hit(f"{verb}.before_commit")
        answer = await self._write(function, atomic=atomic)
        if self._failpoints:
            self._failpoints.hit(f"{verb}.after_commit")
        return answer

    def _token(self) -> int:
        # After 2³² claims from the start again: what was claimed under the first ones is long over.
        return self._worker_number << 32 | next(self._tokens) & 0xFFFF_FFFF

    async def _noted(self, deed: Deed, function: Callable[[Connection], Awaitable[bool]]) -> bool:
        """Run a verb, and write down what it did if it did it."""
        by = present_actor()

        async def both(db: Connection) -> bool:
            done = await function(db)
            await self._audit.note(db, by, deed if done else None)
            return done

        return await self._write(both, atomic=True)

    # What the writer reports (writer.WriterObserver).

    def appended(self, calls: int, *, seconds: float) -> None:
        self._metrics.commit_seconds.observe(seconds)
        self._metrics.commit_operations.observe(calls)
        self._heard_of_events()
        self._announcer.announce(QUEUE)

    def _heard_of_events(self) -> None:
        self._queue_notice.give()
        self._log_news.give()

    def append_failed(self, reason: Unavailable) -> None:
        self._refused = reason
        self._metrics.store_errors.labels(reason.code).inc()
        log.error("transaction refused by the database", code=reason.code, detail=reason.detail)

    # ── the queue half ────────────────────────────────────────────────────────────────────────

    def append(self, events: Sequence[NewEvent]) -> "asyncio.Future[Sequence[FirstEvent | None]]":
        size = sum([len(event.payload) + _EVENT_OVERHEAD for event in events])
        stored = self._writer.append(events, size=size)
        if any(event.deliveries for event in events):  # sync mode: they come with their deliveries
            stored.add_done_callback(lambda _: self.wake_deliveries(everywhere=True))
        return stored

    async def land(self, events: Sequence[NewEvent]) -> Sequence[Landed]:
        began = time.perf_counter()
        for _ in range(_LANDING_TRIES):
            try:
                landed = await self._hot(
                    "land", lambda db: self._queue.land(db, events, self.now()), atomic=True
                )
            except UniqueViolationError:
                continue  # another process landed some of them meanwhile
            self.appended(1, seconds=time.perf_counter() - began)
            return landed
        raise StoreUnavailable("others are landing the same events again and again")

    async def first_events(self, events: Sequence[NewEvent]) -> Mapping[str, FirstEvent]:
        return await self._queue.first_events(events, self.now())

    async def append_test(self, event: NewEvent) -> bool:
        (delivery,) = event.deliveries or ()
        deed = by_hand(
            "subscription.tested",
            event.organization_id,
            delivery.subscription_id,
            event_id=event.id,
            type=event.type,
        )
        stored = await self._noted(
            deed, lambda db: self._queue.append_test(db, event, now=self.now())
        )
        self.wake_deliveries(everywhere=True)
        return stored

    async def _append(self, events: Sequence[NewEvent]) -> Sequence[Answer]:
        return await self._queue.append(events, self.now())

    async def claim_queue(
        self,
        limit: int,
        lease_s: float,
        *,
        contents_of: Collection[str] = (),
        in_order_of: Collection[str] = (),
        not_of: Collection[str] = (),
    ) -> QueueClaim:
        now, token = self.now(), self._token()
        until = now.after(seconds=lease_s)
        return await self._hot(
            "claim_queue",
            lambda db: self._queue.claim(
                db,
                limit,
                now=now,
                until=until,
                token=token,
                contents_of=contents_of,
                in_order_of=in_order_of,
                not_of=not_of,
                skew_ms=self.skew_ms,
            ),
            atomic=bool(in_order_of or not_of),
        )

    async def fan_out(self, token: int, routed: Sequence[RoutedEvent]) -> Sequence[str]:
        stale = await self._hot(
            "fan_out",
            lambda db: self._queue.fan_out(db, token, routed, now=self.now()),
            atomic=any(
                each.order_key is not None for answer in routed for each in answer.deliveries
            ),
        )
        if any(answer.deliveries for answer in routed):
            self.wake_deliveries(everywhere=True)
        return stale

    async def release(self, token: int, failed: Sequence[FailedEvent]) -> Sequence[str]:
        return await self._hot(
            "release", lambda db: self._queue.release(db, token, failed, now=self.now())
        )

    async def claim_deliveries(self, limit: int, lease_s: float, *, rooms: Rooms) -> DeliveryClaim:
        now, token = self.now(), self._token()
        until = now.after(seconds=lease_s)
        return await self._hot(
            "claim_deliveries",
            lambda db: self._deliveries.claim(
                db, limit, rooms=rooms, now=now, until=until, token=token
            ),
            atomic=True,
        )

    async def claim_for_session(
        self, organization_id: str, subscription_id: str, limit: int, lease_s: float
    ) -> DeliveryClaim:
        now, token = self.now(), self._token()
        until = now.after(seconds=lease_s)
        organization = _organization(organization_id)
        subscription = find(ids.SUBSCRIPTION, subscription_id)
        return await self._hot(
            "claim_for_session",
            lambda db: self._deliveries.claim_for_session(
                db, organization, subscription, limit, now=now, until=until, token=token
            ),
            atomic=True,
        )

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        failing = any(_tells(each) for each in settlements)
        answer = None if failing else await self._settle(settlements, with_health=False)
        if answer is None:
            answer = await self._settle(settlements, with_health=True)
        assert answer is not None
        settled, ended, go_on = answer
        if go_on:
            self.wake_deliveries(everywhere=True)
        if ended:
            await self._tidy_up()
        return settled

    async def _settle(
        self, settlements: Sequence[Settlement], *, with_health: bool
    ) -> tuple[Settled, bool, bool] | None:
        return await self._hot(
            "settle",
            lambda db: self._deliveries.settle(
                db, settlements, now=self.now(), with_health=with_health
            ),
            atomic=with_health,
        )

    async def endpoint_health(
        self, organization_id: str, subscription_ids: Collection[str]
    ) -> Mapping[str, EndpointHealth]:
        organization = _organization(organization_id)
        asked = [find(ids.SUBSCRIPTION, each) for each in subscription_ids]
        change = self._changing.get()
        if change is not None:
            return await self._health.of(change.db, organization, asked)
        return await self._sessions.read(lambda db: self._health.of(db, organization, asked))

    async def claim_probes(
        self, limit: int, lease_s: float, *, not_of: Collection[str] = ()
    ) -> Sequence[ProbeClaim]:
        now = self.now()
        until = now.after(seconds=lease_s)
        return await self._write(
            lambda db: self._health.claim_probes(db, limit, not_of, now=now, until=until),
            atomic=True,
        )

    async def settle_probe(
        self,
        probe: ProbeClaim,
        error: str | None,
        *,
        ended: str | None = None,
        notify: bool = False,
    ) -> HealthChange | bool:
        return await self._write(
            lambda db: self._health.settle_probe(
                db, probe, error, ended=ended, notify=notify, now=self.now()
            ),
            atomic=True,
        )

    async def end_expired(self, notify: Collection[str]) -> int:
        ended = await self._write(
            lambda db: self._farewells.end_expired(db, notify, now=self.now()), atomic=True
        )
        if ended:
            await self._tidy_up()
        return ended

    async def claim_farewells(
        self, limit: int, lease_s: float, *, not_of: Collection[str] = ()
    ) -> Sequence[Farewell]:
        now = self.now()
        until = now.after(seconds=lease_s)
        return await self._write(
            lambda db: self._farewells.claim(db, limit, not_of, now=now, until=until), atomic=True
        )

    async def settle_farewell(
        self, farewell: Farewell, *, retry_at: Timestamp | None, understood: bool = False
    ) -> bool:
        return await self._write(
            lambda db: self._farewells.settle(
                db, farewell, retry_at=retry_at, understood=understood, now=self.now()
            ),
            atomic=True,
        )

    async def notices(self, limit: int) -> list[PendingNotice]:
        return await self._sessions.read(lambda db: pending_notices(db, limit))

    async def forget_notices(self, notice_ids: Collection[str]) -> None:
        await self._hot("forget_notices", lambda db: forget_notices(db, notice_ids))

    async def reap(self) -> Reaped:
        events, deliveries = await self._write(lambda db: self._deliveries.free(db, now=self.now()))
        mended = await self._write(
            lambda db: self._deliveries.mend_order(db, now=self.now()), atomic=True
        )
        await self._write(lambda db: self._jobs.free(db, now=self.now()))
        self._wake_for(events, deliveries + mended)
        await self._write(lambda db: db.execute(SQL["forget_deleted_health"]))
        await self._write(lambda db: db.execute(SQL["sort_dead_letters"], _SORTED_AT_ONCE))
        return Reaped(events, deliveries, await self._cancel_ended(), mended)

    async def beat(self, worker: Worker) -> Reaped:
        row = await self._beats.write(
            lambda db: db.fetchrow(
                SQL["beat"],
                self._worker_number,
                worker.id,
                bodies.encode(worker),
                self.now(),
                self._database_clock.follows,
            )
        )
        assert row is not None
        heard_before, now = row
        if heard_before is None or now - heard_before >= SILENT_MS:
            self._heard_since = now
        if now - self._heard_since < SILENT_MS:
            # This process was silent itself, a moment ago: others have not had the time to be heard.
            return Reaped()

        async def free(db: Connection) -> tuple[int, int]:
            silent = await db.fetch(SQL["silent_workers"], now - SILENT_MS, self._worker_number)
            if not silent:
                return 0, 0
            log.warning("workers fell silent", workers=[name for _, name in silent])
            numbers = [silent_number for silent_number, _ in silent]
            await self._jobs.free(db, now=self.now(), workers=numbers)
            return await self._deliveries.free(db, now=self.now(), workers=numbers)

        events, deliveries = await self._write(free, atomic=True)
        self._wake_for(events, deliveries)
        return Reaped(events, deliveries)

    async def workers(self) -> list[Worker]:
        since = self.now() - _LISTED_MS
        rows = await self._sessions.read(lambda db: db.fetch(SQL["workers"], since))
        return [bodies.worker(body) for (body,) in rows]

    def _wake_for(self, events: int, deliveries: int) -> None:
        if events:
            self._queue_notice.give()
            self._announcer.announce(QUEUE)
        if deliveries:
            self.wake_deliveries(everywhere=True)

    async def _tidy_up(self, subscription: str | UUID | None = None) -> None:
        """What follows from an end that is on file. If it cannot be done now, the sweep does it."""
        change = self._changing.get()
        if change is not None:
            change.ended.append(subscription)
            return
        try:
            await self._cancel_ended(subscription)
        except Unavailable as problem:
            log.warning("what waits for ended subscriptions is cancelled later", code=problem.code)

    async def _cancel_ended(self, subscription: str | UUID | None = None) -> int:
        total = 0
        while True:
            cancelled = await self._write(
                lambda db: self._deliveries.cancel_ended(
                    db, now=self.now(), subscription=subscription
                ),
                atomic=True,
            )
            total += cancelled
            if cancelled < CANCELLED_AT_ONCE:
                return total

    async def wait_queue(self, timeout_s: float) -> None:
        await self._queue_notice.wait(timeout_s)

    async def wait_deliveries(self, timeout_s: float) -> None:
        await self._delivery_notice.wait(timeout_s)

    async def watch_deliveries(self, timeout_s: float) -> None:
        await self._delivery_notice.watch(timeout_s)

    def wake_queue(self) -> None:
        self._queue_notice.give()

    def wake_deliveries(self, *, everywhere: bool = False) -> None:
        self._delivery_notice.give()
        if everywhere:
            self._announcer.announce(DELIVERIES)

    async def next_delivery_at(self) -> Timestamp | None:
        due_at = await self._sessions.read(
            lambda db: db.fetchval(SQL["next_delivery_at"], self.now())
        )
        return None if due_at is None else Timestamp(due_at)

    async def in_flight(self, organization_id: str, subscription_id: str, most: int) -> int:
        asked = (
            _organization(organization_id),
            find(ids.SUBSCRIPTION, subscription_id),
            most,
        )
        return int(await self._sessions.read(lambda db: db.fetchval(SQL["in_flight"], *asked)))

    # ── the record half ───────────────────────────────────────────────────────────────────────

    async def event(self, organization_id: str, event_id: str) -> EventDetail | None:
        organization, event = _organization(organization_id), find(ids.EVENT, event_id)
        return await self._sessions.read(
            lambda db: self._records.event(db, organization, event, self.now())
        )

    async def events(self, organization_id: str, wanted: EventFilter, page: Page) -> FoundEvents:
        organization = _organization(organization_id)
        return await self._listed.read(
            lambda db: self._search.events(db, organization, wanted, page, self.now())
        )

    async def lease_index(self, lease_s: float, token: int | None = None) -> int | None:
        now, until = self.now(), self._index_lease(lease_s)
        held = self._token() if token is None else token
        return await self._write(
            lambda db: self._search.lease(db, now=now, until=until, token=held)
        )

    def _index_lease(self, lease_s: float | None = None) -> Timestamp:
        """Until when the lease is, which every write under it makes longer."""
        if lease_s is not None:
            self._index_lease_s = lease_s
        return self.now().after(seconds=self._index_lease_s)

    async def index_backlog(self, most: int) -> Mapping[str, int]:
        return await self._sessions.read(lambda db: self._search.backlog(db, most))

    async def unindexed_events(
        self, organization_id: str, after: str | None, limit: int
    ) -> list[IndexedEvent]:
        organization = _organization(organization_id)
        return await self._sessions.read(
            lambda db: self._search.unindexed(db, organization, after, limit)
        )

    async def save_part(self, token: int, part: NewPart) -> bool:
        organization = _organization(part.organization_id)
        now, until = self.now(), self._index_lease()
        return await self._write(
            lambda db: self._search.save_part(db, organization, token, part, now=now, until=until),
            atomic=True,
        )

    async def stale_part(self, before: Timestamp) -> StalePart | None:
        return await self._sessions.read(lambda db: self._search.stale_part(db, before))

    async def events_to_index(
        self, organization_id: str, event_ids: Sequence[str]
    ) -> dict[str, IndexedEvent]:
        organization = _organization(organization_id)
        return await self._sessions.read(
            lambda db: self._search.to_index(db, organization, event_ids)
        )

    async def replace_part(
        self, token: int, stale: StalePart, part: Part, *, read_at: Timestamp
    ) -> bool:
        organization = _organization(stale.organization_id)
        now, until = self.now(), self._index_lease()
        return await self._write(
            lambda db: self._search.replace_part(
                db, organization, token, stale, part, read_at=read_at, now=now, until=until
            ),
            atomic=True,
        )

    async def prune_index(self, token: int, limit: int) -> int:
        now, until = self.now(), self._index_lease()
        return await self._write(
            lambda db: self._search.prune(db, token, limit, now=now, until=until), atomic=True
        )

    async def log(self, organization_id: str, after: str | None, limit: int) -> LogPage:
        organization = _organization(organization_id)
        return await self._sessions.read(
            lambda db: self._records.log(db, organization, after, limit, self.now())
        )

    async def log_end(self, organization_id: str) -> str | None:
        organization = _organization(organization_id)
        return await self._sessions.read(lambda db: self._records.log_end(db, organization))

    async def log_position(self, organization_id: str, event_id: str) -> str | None:
        organization, event = _organization(organization_id), find(ids.EVENT, event_id)
        return await self._sessions.read(
            lambda db: self._records.log_position(db, organization, event)
        )

    async def wait_log(self, heard: int, timeout_s: float) -> int:
        return await self._log_news.wait(heard, timeout_s)

    async def cancel_event(self, organization_id: str, event_id: str) -> bool:
        organization, event = _organization(organization_id), find(ids.EVENT, event_id)
        deed, by = by_hand("event.cancelled", organization_id, event_id), present_actor()
        return await self._write(
            lambda db: self._events.cancel(
                db, organization, event, deed=deed, by=by, now=self.now()
            ),
            atomic=True,
        )

    async def delete_event(self, organization_id: str, event_id: str) -> bool:
        organization, event = _organization(organization_id), find(ids.EVENT, event_id)

        deed = by_hand("event.deleted", organization_id, event_id)

        async def erase(db: Connection) -> bool:
            now = self.now()
            if not await self._deliveries.erase_event(db, organization, event, now=now):
                return False
            await self._search.changed(db, organization, event, now=now)
            return True

        found = await self._noted(deed, erase)
        self.wake_deliveries(everywhere=True)
        return found

    async def deliveries(
        self, organization_id: str, wanted: DeliveryFilter, page: Page, *, depth: int = LOOKED_AT
    ) -> FoundDeliveries:
        organization = _organization(organization_id)
        return await self._listed.read(
            lambda db: self._records.deliveries(db, organization, wanted, page, depth)
        )

    async def dead_groups(
        self, organization_id: str, *, after: tuple[str, str] | None, limit: int, most: int
    ) -> list[DeadGroup]:
        organization = _organization(organization_id)
        return await self._sessions.read(
            lambda db: self._records.dead_groups(db, organization, after, limit, most)
        )

    async def delivery(self, organization_id: str, delivery_id: str) -> DeliveryDetail | None:
        organization, delivery = _organization(organization_id), find(ids.DELIVERY, delivery_id)
        return await self._sessions.read(
            lambda db: self._records.delivery(db, organization, delivery)
        )

    async def subscription_stats(
        self, organization_id: str, subscription_id: str, *, since: Timestamp, until: Timestamp
    ) -> SubscriptionStats:
        organization = _organization(organization_id)
        subscription = find(ids.SUBSCRIPTION, subscription_id)
        return await self._listed.read(
            lambda db: self._records.subscription_stats(
                db, organization, subscription, since=since, until=until, now=self.now()
            )
        )

    async def retry_delivery(self, organization_id: str, delivery_id: str) -> bool:
        organization, delivery = _organization(organization_id), find(ids.DELIVERY, delivery_id)
        found = await self._noted(
            by_hand("delivery.retried", organization_id, delivery_id),
            lambda db: self._deliveries.retry(db, organization, delivery, now=self.now()),
        )
        self.wake_deliveries(everywhere=True)
        return found

    async def cancel_delivery(self, organization_id: str, delivery_id: str) -> bool:
        organization, delivery = _organization(organization_id), find(ids.DELIVERY, delivery_id)
        found = await self._noted(
            by_hand("delivery.cancelled", organization_id, delivery_id),
            lambda db: self._deliveries.cancel(db, organization, delivery, now=self.now()),
        )
        self.wake_deliveries(everywhere=True)
        return found

    async def prune_events(self, cutoffs: Cutoffs, *, after: str | None, limit: int) -> Pruned:
        def prune(
            owner: UUID, moments: Moments, place: UUID, left: int
        ) -> Callable[[Connection], Awaitable[retention.Gone | None]]:
            return lambda db: retention.prune_events(db, owner, moments, after=place, limit=left)

        return await self._swept(
            "prune_events", prune, cutoffs, lambda each: each.events, after=after, limit=limit
        )

    async def prune_deliveries(self, cutoffs: Cutoffs, *, after: str | None, limit: int) -> Pruned:
        return await self._swept_deliveries(
            cutoffs, lambda each: each.deliveries, dead=False, after=after, limit=limit
        )

    async def prune_dead_letters(
        self, cutoffs: Cutoffs, *, after: str | None, limit: int
    ) -> Pruned:
        return await self._swept_deliveries(
            cutoffs, lambda each: each.dead_letters, dead=True, after=after, limit=limit
        )

    async def _swept_deliveries(
        self,
        cutoffs: Cutoffs,
        moment: Callable[[Moments], Timestamp],
        *,
        dead: bool,
        after: str | None,
        limit: int,
    ) -> Pruned:
        def prune(
            owner: UUID, moments: Moments, place: UUID, left: int
        ) -> Callable[[Connection], Awaitable[retention.Gone | None]]:
            before = moment(moments)
            return lambda db: retention.prune_deliveries(
                db, owner, before, dead=dead, after=place, limit=left
            )

        return await self._swept(
            "prune_deliveries", prune, cutoffs, moment, after=after, limit=limit
        )

    async def _swept(
        self,
        verb: str,
        prune: Callable[
            [UUID, Moments, UUID, int], Callable[[Connection], Awaitable[retention.Gone | None]]
        ],
        cutoffs: Cutoffs,
        moment: Callable[[Moments], Timestamp],
        *,
        after: str | None,
        limit: int,
    ) -> Pruned:
        """One piece of a sweep, organization by organization."""
        organization, row = (after or f"{FIRST.hex}-{FIRST.hex}").split("-")
        organizations = await self._organizations_from(organization)
        total = Pruned()
        for (owner,) in organizations[:_ORGANIZATIONS_AT_ONCE]:
            moments = cutoffs.own.get(text(ids.ORGANIZATION, owner), cutoffs.default)
            if not moment(moments):
                continue
            place = UUID(row) if owner.hex == organization else FIRST
            found = await self._hot(verb, prune(owner, moments, place, limit), atomic=True)
            if found is None:
                return msgspec.structs.replace(total, elsewhere=True)
            seen, last, gone = found
            total = Pruned(
                events=total.events + gone.events,
                deliveries=total.deliveries + gone.deliveries,
                attempts=total.attempts + gone.attempts,
            )
            if last is not None and seen == limit:
                return msgspec.structs.replace(total, position=f"{owner.hex}-{last.hex}")
            limit -= seen
        if len(organizations) > _ORGANIZATIONS_AT_ONCE:
            following = organizations[-1][0]
            return msgspec.structs.replace(total, position=f"{following.hex}-{FIRST.hex}")
        return total

    async def _organizations_from(self, organization: str) -> list[Record]:
        return await self._sessions.read(
            lambda db: db.fetch(SQL["organizations_from"], organization, _ORGANIZATIONS_AT_ONCE + 1)
        )

    async def prune_attempts(self, cutoffs: Cutoffs, *, after: str | None, limit: int) -> Pruned:
        organization, delivery, number = (after or _FROM_THE_FIRST).split("-")
        organizations = await self._organizations_from(organization)
        deleted, left = 0, limit
        for (owner,) in organizations[:_ORGANIZATIONS_AT_ONCE]:
            moments = cutoffs.own.get(text(ids.ORGANIZATION, owner), cutoffs.default)
            if not moments.attempts:
                continue
            place = (UUID(delivery), int(number)) if owner.hex == organization else (FIRST, 0)
            gone, looked_at, delivered, attempted = await self._write(
                partial(
                    retention.prune_attempts,
                    organization=owner,
                    before=moments.attempts,
                    after=place,
                    limit=left,
                )
            )
            deleted += gone
            if looked_at == left:
                return Pruned(attempts=deleted, position=f"{owner.hex}-{delivered.hex}-{attempted}")
            left -= looked_at
        following = None
        if len(organizations) > _ORGANIZATIONS_AT_ONCE:
            following = f"{organizations[-1][0].hex}-{FIRST.hex}-0"
        return Pruned(attempts=deleted, position=following)

    async def prune_jobs(self, before: Timestamp, *, after: str | None, limit: int) -> Pruned:
        organization, job = (after or f"{FIRST.hex}-{FIRST.hex}").split("-")
        place = UUID(organization), UUID(job)
        deleted, last = await self._write(
            lambda db: retention.prune_jobs(db, before, after=place, limit=limit), atomic=True
        )
        position = None if last is None else f"{last[0].hex}-{last[1].hex}"
        return Pruned(jobs=deleted, position=position)

    async def stats(self) -> QueueStats:
        at = time.monotonic()
        if self._stats is None or at - self._stats[0] > _STATS_KEPT_S:
            depths = await self._listed.read(lambda db: self._records.depths(db, self.now()))
            self._stats = at, depths
        return self._stats[1]

    async def organization_depths(
        self, limits: Mapping[str, int]
    ) -> dict[str, OrganizationBacklog]:
        return await self._listed.read(
            lambda db: self._records.organization_depths(db, limits, self.now())
        )

    async def depths(self, *, counted: int, shown: int) -> Depths:
        return await self._listed.read(
            lambda db: self._records.depths_by_whose(db, self.now(), counted=counted, shown=shown)
        )

    async def is_idle(self, *, but_for: Collection[str] = ()) -> bool:
        besides = [number(each) for each in but_for]
        return not await self._sessions.read(
            lambda db: self._records.is_busy(db, self.now(), besides)
        )

    async def accounts(self) -> list[OrganizationAccount]:
        return await self._sessions.read_one_moment(
            lambda db: self._records.accounts(db, self.now())
        )

    # ── what was counted ──────────────────────────────────────────────────────────────────────

    async def save_rollups(self, rollups: Sequence[Rollup]) -> None:
        await self._write(lambda db: save_rollups(db, rollups))

    async def rollups(
        self, organization_id: str, step_s: int, *, since: Timestamp, until: Timestamp
    ) -> list[Rollup]:
        return await self._sessions.read(
            lambda db: read_rollups(db, organization_id, step_s, since, until)
        )

    async def subscription_rollups(
        self, organization_id: str, subscription_ids: Collection[str], *, since: Timestamp
    ) -> list[Rollup]:
        return await self._sessions.read(
            lambda db: read_subscription_rollups(db, organization_id, subscription_ids, since)
        )

    async def prune_rollups(self, step_s: int, before: Timestamp, limit: int) -> int:
        return changed(
            await self._write(lambda db: db.execute(SQL["prune_rollups"], step_s, before, limit))
        )

    async def workload(self, organization_id: str | None, most: int) -> Workload:
        organization = None if organization_id is None else _organization(organization_id)
        return await self._sessions.read(
            lambda db: self._records.workload(db, organization, most, self.now())
        )

    async def subscription_workload(
        self, organization_id: str, subscription_ids: Collection[str], most: int
    ) -> Mapping[str, SubscriptionWorkload]:
        organization = _organization(organization_id)
        asked = {each: find(ids.SUBSCRIPTION, each) for each in subscription_ids}
        return await self._sessions.read(
            lambda db: self._records.subscription_workload(db, organization, asked, most)
        )

    async def faults(self, check: Check, limit: int) -> list[str]:
        return await self._sessions.read_one_moment(
            lambda db: self._verify.faults(db, check, limit)
        )

    async def repair(self, check: Check, limit: int) -> int:
        by = present_actor()
        if check is Check.COUNTERS:
            found = await self._sessions.read_one_moment(
                lambda db: self._verify.differences(db, limit)
            )
            return await self._write(
                lambda db: self._verify.mend_counters(db, found, by=by), atomic=True
            )
        mended = await self._write(
            lambda db: self._verify.mend(db, check, limit, by=by, now=self.now()), atomic=True
        )
        if mended:
            self._wake_for(mended, mended)
        return mended

    async def integrity(self) -> Integrity:
        return await self._sessions.read_one_moment(self._verify.integrity)

    # ── sessions of the operator page ─────────────────────────────────────────────────────────

    async def log_out(self, session: str, expires_at: Timestamp) -> None:
        async def log_out(db: Connection) -> None:
            await db.execute(SQL["forget_logouts"], self.now())
            await db.execute(SQL["log_out"], session, expires_at)

        await self._write(log_out)

    async def logged_out(self, session: str) -> bool:
        found = await self._sessions.read(lambda db: db.fetch(SQL["logged_out"], session))
        return bool(found)

    # ── inboxes ───────────────────────────────────────────────────────────────────────────────

    async def inboxes(self, organization_id: str) -> list[Inbox]:
        organization = _organization(organization_id)
        return await self._sessions.read(lambda db: self._inboxes.inboxes(db, organization))

    async def inbox(self, organization_id: str, name: str) -> Inbox | None:
        organization = _organization(organization_id)
        held = await self._sessions.read(lambda db: self._inboxes.inbox(db, organization, name))
        return None if held is None else held.inbox

    async def save_inbox(
        self, organization_id: str, name: str, types: Sequence[str] | None, *, from_end: bool
    ) -> tuple[Inbox, bool]:
        organization, by = _organization(organization_id), present_actor()
        return await self._write(
            lambda db: self._inboxes.save(
                db,
                organization,
                name,
                types,
                from_end=from_end,
                owner=organization_id,
                by=by,
                now=self.now(),
            ),
            atomic=True,
        )

    async def delete_inbox(self, organization_id: str, name: str) -> bool:
        organization, by = _organization(organization_id), present_actor()
        return await self._write(
            lambda db: self._inboxes.delete(db, organization, name, owner=organization_id, by=by),
            atomic=True,
        )

    async def pull_inbox(
        self,
        organization_id: str,
        name: str,
        *,
        limit: int,
        lease_s: float,
        types: Sequence[str] | None,
        most_bytes: int,
        reached: Reached,
    ) -> Pulled | None:
        organization = _organization(organization_id)
        now = self.now()
        until, token = now.after(seconds=lease_s), self._token()
        return await self._write(
            lambda db: self._inboxes.pull(
                db,
                organization,
                name,
                limit=limit,
                types=types,
                most_bytes=most_bytes,
                reached=reached,
                now=now,
                until=until,
                token=token,
            ),
            atomic=True,
        )

    async def settle_inbox(
        self,
        organization_id: str,
        name: str,
        action: InboxAction,
        named: Sequence[str],
        *,
        by_id: bool,
        seconds: float = 0.0,
    ) -> list[InboxOutcome] | None:
        organization = _organization(organization_id)

        now = self.now()
        until = now.after(seconds=seconds)
        known: list[InboxOutcome | None] = [None] * len(named)
        if not by_id:
            known = await self._write(
                lambda db: self._inboxes.settle_leases(
                    db, organization, name, action, named, now=now, until=until
                )
            )
        left = [each for each, outcome in zip(named, known, strict=True) if outcome is None]
        if left or not named:
            rest = await self._write(
                lambda db: self._inboxes.settle(
                    db, organization, name, action, left, by_id=by_id, now=now, until=until
                ),
                atomic=True,
            )
            if rest is None:
                return None
            others = iter(rest)
            known = [next(others) if outcome is None else outcome for outcome in known]
        if action is InboxAction.NACK:
            self._log_news.give()
        return [outcome for outcome in known if outcome is not None]

    async def peek_inbox(
        self,
        organization_id: str,
        name: str,
        *,
        type_pattern: str | None,
        after: str | None,
        limit: int,
        most_bytes: int,
    ) -> InboxPage | None:
        organization = _organization(organization_id)
        return await self._sessions.read(
            lambda db: self._inboxes.peek(
                db,
                organization,
                name,
                type_pattern=type_pattern,
                after=after,
                limit=limit,
                most_bytes=most_bytes,
                now=self.now(),
            )
        )

    async def seek_inbox(self, organization_id: str, name: str, to: InboxSeek) -> bool | None:
        organization = _organization(organization_id)
        by, deed = present_actor(), by_hand("inbox.moved", organization_id, name, to=to.shown)

        async def seek(db: Connection) -> bool | None:
            found = await self._inboxes.seek(db, organization, name, to, now=self.now())
            await self._audit.note(db, by, deed if found else None)
            return found

        found = await self._write(seek, atomic=True)
        self._log_news.give()
        return found

    async def count_inbox(self, organization_id: str, name: str, most: int) -> InboxCounts | None:
        organization = _organization(organization_id)
        return await self._sessions.read(
            lambda db: self._inboxes.count(db, organization, name, most, now=self.now())
        )

    async def traces(self, event_ids: Collection[str]) -> Mapping[str, bytes]:
        return await self._sessions.read(lambda db: traces_of(db, event_ids))

    async def prune_traces(self, before: Timestamp, limit: int) -> int:
        return await self._write(lambda db: prune_traces(db, before, limit))

    async def prune_inboxes(self, limit: int) -> int:
        return await self._write(lambda db: self._inboxes.prune(db, limit), atomic=True)

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────

    async def replay_event(
        self, organization_id: str, event_id: str, deliveries: Sequence[NewDelivery]
    ) -> list[Delivery] | None:
        organization, by = _organization(organization_id), present_actor()

        async def replay(db: Connection) -> list[Delivery] | None:
            now = self.now()
            made = await self._jobs.replay_event(
                db, organization, event_id, deliveries, by=by, now=now
            )
            if made is None:
                return None
            shown = [await self._records.delivery(db, organization, each) for each in made]
            return [without_attempts(each) for each in shown if each is not None]

        made = await self._write(replay, atomic=True)
        if made:
            self.wake_deliveries(everywhere=True)
        return made

    async def create_job(
        self, organization_id: str, job: Job, *, position: str | None = None, most_open: int
    ) -> None:
        organization, by = _organization(organization_id), present_actor()
        await self._write(
            lambda db: self._jobs.create(
                db,
                organization,
                job,
                position=position,
                most_open=most_open,
                by=by,
                now=self.now(),
            ),
            atomic=True,
        )
        self._job_notice.give()
        self._announcer.announce(JOBS)

    async def job(self, organization_id: str, job_id: str) -> Job | None:
        organization, job = _organization(organization_id), find(ids.JOB, job_id)
        return await self._sessions.read(lambda db: self._jobs.job(db, organization, job))

    async def jobs(self, organization_id: str, page: Page) -> list[Job]:
        organization = _organization(organization_id)
        before = LAST if page.before is None else find(ids.JOB, page.before)
        return await self._sessions.read(
            lambda db: self._jobs.jobs(db, organization, before, page.limit)
        )

    async def cancel_job(self, organization_id: str, job_id: str) -> Job | None:
        organization, job = _organization(organization_id), find(ids.JOB, job_id)
        by = present_actor()
        return await self._write(
            lambda db: self._jobs.cancel(db, organization, job, by=by, now=self.now()), atomic=True
        )

    async def job_backlog(self) -> JobBacklog:
        return await self._sessions.read(self._jobs.backlog)

    async def claim_job(self, lease_s: float) -> ClaimedJob | None:
        now, token = self.now(), self._token()
        until = now.after(seconds=lease_s)
        return await self._hot(
            "claim_job", lambda db: self._jobs.claim(db, now=now, until=until, token=token)
        )

    async def advance_job(self, step: JobStep) -> Job | None:
        job = await self._hot(
            "advance_job", lambda db: self._jobs.advance(db, step, now=self.now()), atomic=True
        )
        if job is not None and step.replays:
            self.wake_deliveries(everywhere=True)
        return job

    async def walk_events(
        self, organization_id: str, selection: Selection, after: str | None, limit: int
    ) -> list[WalkedEvent]:
        organization = _organization(organization_id)
        return await self._sessions.read(
            lambda db: self._jobs.walk_events(db, organization, selection, after, limit)
        )

    async def event_contents(
        self, organization_id: str, event_ids: Sequence[str]
    ) -> dict[str, EventContent]:
        organization = _organization(organization_id)
        return await self._sessions.read(
            lambda db: self._jobs.event_contents(db, organization, event_ids)
        )

    async def walk_deliveries(
        self, organization_id: str, selection: Selection, after: str | None, limit: int
    ) -> list[WalkedDelivery]:
        organization = _organization(organization_id)
        return await self._sessions.read(
            lambda db: self._jobs.walk_deliveries(db, organization, selection, after, limit)
        )

    async def wait_jobs(self, timeout_s: float) -> None:
        await self._job_notice.wait(timeout_s)

    def wake_jobs(self) -> None:
        self._job_notice.give()

    # ── what is kept aside ────────────────────────────────────────────────────────────────────

    async def quarantine(self, organization_id: str | None, page: Page) -> list[EventAside]:
        organization = None if organization_id is None else _organization(organization_id)
        return await self._sessions.read(lambda db: self._quarantine.page(db, organization, page))

    async def event_aside(self, event_id: str) -> EventAside | None:
        event = find(ids.EVENT, event_id)
        return await self._sessions.read(lambda db: self._quarantine.one(db, event))

    async def release_quarantined(
        self, organization_id: str, event_id: str, payload: bytes | None
    ) -> bool:
        organization, event = _organization(organization_id), find(ids.EVENT, event_id)

        async def release(db: Connection) -> bool:
            now = self.now()
            released = await self._quarantine.release(db, organization, event, payload, now=now)
            if released and payload is not None:
                await self._search.changed(db, organization, event, now=now)
            return released

        mended = () if payload is None else ("payload",)
        released = await self._noted(
            by_hand("event.released", organization_id, event_id, hidden=mended), release
        )
        self._heard_of_events()
        self._announcer.announce(QUEUE)
        return released

    # ── the settings half ─────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def one_change(self) -> AsyncIterator[None]:
        async with self._changes.transaction() as db:
            await db.execute(SQL["hold_version"])
            change = _Change(db)
            token = self._changing.set(change)
            try:
                yield
            finally:
                self._changing.reset(token)
        for subscription in change.ended:
            await self._tidy_up(subscription)

    async def changes(self, since: int) -> Changes:
        return await self._sessions.read(lambda db: self._settings.changes(db, since))

    async def create_organization(self, organization: Organization, key: KeyRecord) -> None:
        by = present_actor()

        async def create(db: Connection) -> None:
            await self._settings.save_organization(db, organization, by=by)
            await self._settings.save_key(db, key, by=by)

        await self._write(create, atomic=True)

    async def create_first_organization(
        self, organization: Organization, keys: Sequence[KeyRecord]
    ) -> bool:
        by = present_actor()
        return await self._write(
            lambda db: self._settings.save_first_organization(db, organization, keys, by=by),
            atomic=True,
        )

    async def update_organization(self, organization: Organization) -> None:
        by = present_actor()
        await self._write(
            lambda db: self._settings.save_organization(db, organization, by=by), atomic=True
        )

    async def delete_organization(self, organization_id: str) -> bool:
        organization, by = _organization(organization_id), present_actor()
        found = await self._write(
            lambda db: self._settings.delete_organization(db, organization, by=by, now=self.now()),
            atomic=True,
        )
        if found:
            await self._tidy_up()
        return found

    async def erase_organization(self, organization_id: str) -> Erasure | None:
        organization, by = _organization(organization_id), present_actor()
        return await self._write(
            lambda db: self._erasures.request(db, organization, by=by, now=self.now()),
            atomic=True,
        )

    async def erasures(self) -> list[Erasure]:
        return await self._sessions.read(self._erasures.erasures)

    async def erase_some(self, limit: int) -> bool:
        return await self._hot(
            "erase_some",
            lambda db: self._erasures.step(db, limit, now=self.now()),
            atomic=True,
        )

    async def create_key(self, key: KeyRecord) -> None:
        by = present_actor()
        await self._write(lambda db: self._settings.save_key(db, key, by=by), atomic=True)

    async def keys(self, organization_id: str | None) -> list[ApiKey]:
        organization = _owner(organization_id)
        return await self._sessions.read(lambda db: self._settings.keys_of(db, organization))

    async def rotate_key(
        self, organization_id: str | None, key_id: str, fresh: KeyRecord, *, until: Timestamp
    ) -> ApiKey | None:
        organization, key = _owner(organization_id), find(ids.KEY, key_id)
        by = present_actor()
        return await self._write(
            lambda db: self._settings.rotate_key(
                db, organization, key, fresh, until=until, by=by, now=self.now()
            ),
            atomic=True,
        )

    async def note_key_uses(self, uses: Mapping[str, Timestamp]) -> None:
        if uses:
            await self._write(lambda db: self._settings.note_key_uses(db, uses))

    async def revoke_key(self, organization_id: str | None, key_id: str) -> bool:
        organization, key = _owner(organization_id), find(ids.KEY, key_id)
        by = present_actor()
        return await self._write(
            lambda db: self._settings.revoke_key(db, organization, key, by=by, now=self.now()),
            atomic=True,
        )

    async def save_subscription(
        self,
        record: SubscriptionRecord,
        *,
        health: HealthReset = HealthReset.KEEP,
        farewell: bool = False,
    ) -> None:
        organization = _organization(record.organization_id)
        subscription = find(ids.SUBSCRIPTION, record.subscription.id)
        by = present_actor()

        async def save(db: Connection) -> None:
            # The version first, as everybody takes it.
            await self._settings.save_subscription(db, record, by=by)
            await self._health.reset(db, organization, subscription, health)
            if farewell:
                await write_farewell(db, organization, subscription, due_at=self.now())

        await self._write(save, atomic=True)
        self.wake_deliveries(everywhere=True)

    async def subscription(
        self, organization_id: str, subscription_id: str
    ) -> SubscriptionRecord | None:
        organization = _organization(organization_id)
        subscription = find(ids.SUBSCRIPTION, subscription_id)
        change = self._changing.get()
        if change is not None:
            return await self._settings.subscription(change.db, organization, subscription)
        return await self._sessions.read(
            lambda db: self._settings.subscription(db, organization, subscription)
        )

    async def subscriptions(self, organization_id: str, page: Page) -> list[Subscription]:
        organization = _organization(organization_id)
        return await self._sessions.read(
            lambda db: self._settings.subscriptions(db, organization, page)
        )

    async def delete_subscription(
        self, organization_id: str, subscription_id: str, *, farewell: bool = False
    ) -> bool:
        organization = _organization(organization_id)
        subscription = find(ids.SUBSCRIPTION, subscription_id)
        by = present_actor()
        found = await self._write(
            lambda db: self._settings.delete_subscription(
                db, organization, subscription, farewell=farewell, by=by, now=self.now()
            ),
            atomic=True,
        )
        if found:
            await self._tidy_up(subscription)
        return found

    async def is_hook(self, organization_id: str, subscription_id: str) -> bool:
        organization = _organization(organization_id)
        subscription = find(ids.SUBSCRIPTION, subscription_id)
        change = self._changing.get()
        if change is not None:
            return await self._settings.is_hook(change.db, organization, subscription)
        return await self._sessions.read(
            lambda db: self._settings.is_hook(db, organization, subscription)
        )

    async def save_event_type(self, organization_id: str, event_type: EventType) -> None:
        organization, by = _organization(organization_id), present_actor()
        await self._write(
            lambda db: self._settings.save_event_type(db, organization, event_type, by=by),
            atomic=True,
        )

    async def event_type(self, organization_id: str, name: str) -> EventType | None:
        organization = _organization(organization_id)
        change = self._changing.get()
        if change is not None:
            return await self._settings.event_type(change.db, organization, name)
        return await self._sessions.read(
            lambda db: self._settings.event_type(db, organization, name)
        )

    async def event_types(
        self, organization_id: str, after: str | None, limit: int
    ) -> list[EventType]:
        organization = _organization(organization_id)
        return await self._sessions.read(
            lambda db: self._settings.event_types(db, organization, after, limit)
        )

    async def delete_event_type(self, organization_id: str, name: str) -> bool:
        organization, by = _organization(organization_id), present_actor()
        return await self._write(
            lambda db: self._settings.delete_event_type(db, organization, name, by=by), atomic=True
        )

    async def save_switches(self, switches: Switches) -> None:
        by = present_actor()
        await self._write(lambda db: self._settings.save_switches(db, switches, by=by), atomic=True)
        self._queue_notice.give()
        self._announcer.announce(QUEUE)
        self.wake_deliveries(everywhere=True)

    async def sealed(self) -> Sealed:
        return await self._sessions.read(self._settings.sealing)

    async def seal(self) -> int:
        by = present_actor()
        return await self._write(lambda db: self._settings.seal(db, by=by))

    # ── the audit log ─────────────────────────────────────────────────────────────────────────

    async def audit(
        self, organization_id: str | None, wanted: AuditFilter, page: Page
    ) -> AuditPage:
        organization = None if organization_id is None else _organization(organization_id)
        return await self._sessions.read(
            lambda db: self._audit.page(db, organization, wanted, page)
        )

    async def note(self, deed: Deed) -> None:
        by = present_actor()
        await self._write(lambda db: self._audit.note(db, by, deed))

    async def prune_audit(self, before: Timestamp, limit: int) -> int:
        return await self._write(lambda db: self._audit.prune(db, before, limit))


def _new_signing_key() -> bytes:
    return secrets.token_hex(32).encode()


def _pool(
    options: StoreOptions,
    opened: Callable[[], Awaitable[Connection]],
    *,
    waited: Callable[[float], None] | None = None,
) -> Pool:
    return Pool(
        opened,
        size=options.pool_size,
        overflow=options.max_overflow,
        wait_s=options.pool_wait_s,
        recycle_s=options.pool_recycle_s,
        waited=waited,
    )


def _replica(options: StoreOptions, primary: Sessions) -> Replica | None:
    url = options.read_url
    if url is None:
        return None
    # Whether a pooler is before it is not asked: what is read needs no session.
    opened = partial(connect, url, pooled=True, name="triggers reader")
    return Replica(primary, Sessions(_pool(options, opened), pooled=True))


async def _look(connection: Connection, *, pooled: bool) -> None:
    """Let a new connection through whose server keeps what it confirms."""
    try:
        if pooled:
            async with connection.transaction():
                check(await standing(connection))
        else:
            check(await standing(connection))
            await connection.execute(DURABLE.format(local="false"))
    except FAILED as error:
        raise StoreUnavailable(f"cannot connect to the database: {said(error)}") from None


def _tells(settlement: Settlement) -> bool:
    """Whether it changes or tells more than a delivery whose endpoint works."""
    said = evidence(settlement.attempt, settlement.status)
    return (
        settlement.disable_subscription is not None
        or (settlement.in_line and settlement.status not in WAITING)
        or settlement.notice is not None
        or (said is not None and said.error is not None)
    )


def _owner(organization_id: str | None) -> str | UUID | None:
    return None if organization_id is None else _organization(organization_id)


def _organization(organization_id: str) -> str | UUID:
    return find(ids.ORGANIZATION, organization_id)
