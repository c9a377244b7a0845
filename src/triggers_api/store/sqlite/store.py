"""The embedded engine as a whole: opens the file, and puts each verb on the right thread."""

import asyncio
import os
import random
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Final, Self, TypeVar

import apsw
import msgspec
import structlog

from triggers_api.errors import OutcomeUnknown, StartError, StoreUnavailable, Unavailable
from triggers_api.failpoints import Failpoints
from triggers_api.model import ids
from triggers_api.model.audit import Deed, by_hand
from triggers_api.model.controls import Switches
from triggers_api.model.delivery import Delivery, DeliveryDetail, NewDelivery, without_attempts
from triggers_api.model.erasure import Erasure
from triggers_api.model.event import EventAside, EventDetail, FirstEvent, NewEvent
from triggers_api.model.event_type import EventType
from triggers_api.model.health import DEFAULT_POLICY, EndpointHealth, HealthChange, HealthPolicy
from triggers_api.model.inbox import Inbox, InboxAction, InboxCounts, InboxOutcome, LeasedEvent
from triggers_api.model.job import Job, Selection
from triggers_api.model.organization import ApiKey, KeyRecord, Organization
from triggers_api.model.postings import Part
from triggers_api.model.retention import Cutoffs, Moments
from triggers_api.model.rollup import Rollup
from triggers_api.model.statistics import SubscriptionStats
from triggers_api.model.subscription import Subscription, SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.verification import Check, Integrity
from triggers_api.model.worker import Worker
from triggers_api.model.workload import DeadGroup, SubscriptionWorkload, Workload
from triggers_api.store.acting import present_actor
from triggers_api.store.base import (
    LOOKED_AT,
    AuditFilter,
    AuditPage,
    Changes,
    ClaimedJob,
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
from triggers_api.store.notice import News, Notice
from triggers_api.store.passed import Passed
from triggers_api.store.queue_passed import QueuePassed
from triggers_api.store.sqlite import schema, tokens
from triggers_api.store.sqlite.audit_verbs import AuditVerbs
from triggers_api.store.sqlite.checkpointer import Checkpointer
from triggers_api.store.sqlite.connection import (
    open_checkpointer,
    open_reader,
    open_writer,
    plain,
)
from triggers_api.store.sqlite.delivery_verbs import CANCELLED_AT_ONCE, DeliveryVerbs
from triggers_api.store.sqlite.erasure_verbs import ErasureVerbs
from triggers_api.store.sqlite.event_verbs import EventVerbs
from triggers_api.store.sqlite.farewell_verbs import FarewellVerbs
from triggers_api.store.sqlite.health_verbs import HealthVerbs
from triggers_api.store.sqlite.inbox_verbs import InboxVerbs
from triggers_api.store.sqlite.job_verbs import JobVerbs
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.lock import OwnerLock, refuse_network_file_system
from triggers_api.store.sqlite.notice_verbs import NoticeVerbs
from triggers_api.store.sqlite.quarantine_verbs import QuarantineVerbs
from triggers_api.store.sqlite.queue_verbs import GonePast, QueueVerbs
from triggers_api.store.sqlite.readers import Readers
from triggers_api.store.sqlite.record_reads import RecordReads
from triggers_api.store.sqlite.retention_verbs import OldRows, RetentionVerbs
from triggers_api.store.sqlite.rollup_verbs import RollupVerbs
from triggers_api.store.sqlite.search_verbs import SearchVerbs
from triggers_api.store.sqlite.secret import found_secret, kept_secret, secret_path
from triggers_api.store.sqlite.settings_verbs import SettingsVerbs, write_farewell
from triggers_api.store.sqlite.tables import SQL
from triggers_api.store.sqlite.trace_verbs import TraceVerbs
from triggers_api.store.sqlite.verify_verbs import VerifyVerbs
from triggers_api.store.sqlite.writer import APPEND, LOOK, Operation, Writer
from triggers_api.telemetry.metrics import Metrics

T = TypeVar("T")

log = structlog.get_logger(__name__)

_STALLED_S: Final = 0.9
"""When nothing was committed for so long, although something waits, readiness says so."""
_STATS_KEPT_S: Final = 0.5
_STATS_REST: Final = 20
_COUNTED_OFTEN: Final = 100_000
"""Rows up to which depths are counted as often as somebody asks, at most every ``_STATS_KEPT_S``."""
_LISTED_MS: Final = 60_000
_EVENT_OVERHEAD: Final = 256
"""Bytes that an event takes in the commit queue besides its payload, about."""


class SqliteStore:
    """See :class:`triggers_api.store.base.Store` for what each verb promises."""

    def __init__(
        self,
        path: Path,
        lock: OwnerLock,
        writer_connection: apsw.Connection,
        *,
        clock: StoreClock,
        tail: int,
        last: int,
        metrics: Metrics,
        failpoints: Failpoints,
        vfs: str | None,
        synchronous: int,
        fatal: Callable[[BaseException], None],
        health: HealthPolicy,
        cipher: Cipher,
    ) -> None:
        """Use :meth:`open`."""
        self._path = path
        self._lock = lock
        self._clock = clock
        self._metrics = metrics
        self._fatal = fatal
        self._synchronous = synchronous
        self._closed = False
        self._failed = False
        self._refused: Unavailable | None = None
        self._files = _files(path)

        keys = self._keys = Keys(tail)
        self._ids = ids.IdGenerator(clock, tail=tail, after=last)
        passed: Passed[int] = Passed(0)
        gone_past: GonePast = QueuePassed(0)
        self._queue = QueueVerbs(keys, passed, gone_past)
        self._audit = AuditVerbs(keys, clock, tail=tail, after=last)
        self._erasures = ErasureVerbs(keys, self._audit)
        self._verify = VerifyVerbs(keys, self._audit)
        self._settings = SettingsVerbs(keys, cipher, self._audit)
        self._health = HealthVerbs(keys, self._settings, policy=health, draw=random.random)
        self._deliveries = DeliveryVerbs(keys, self._settings, self._health, passed)
        self._events = EventVerbs(keys, self._audit)
        self._retention = RetentionVerbs(keys)
        self._quarantine = QuarantineVerbs(keys, gone_past)
        self._records = RecordReads(keys)
        self._search = SearchVerbs(keys, self._records)
        self._jobs = JobVerbs(keys, self._audit)
        self._inboxes = InboxVerbs(keys, self._records, self._audit)
        self._traces = TraceVerbs(keys)
        self._notices = NoticeVerbs(keys)
        self._farewells = FarewellVerbs(keys, self._settings, self._audit)
        self._rollups = RollupVerbs(keys)

        self._queue_notice = Notice()
        self._log_news = News()
        self._delivery_notice = Notice()
        self._job_notice = Notice()
        self._stats: tuple[float, QueueStats] | None = None
        self._worker: Worker | None = None

        self._loop = asyncio.get_running_loop()
        self._readers = Readers(lambda: open_reader(path, vfs=vfs))
        self._checkpointer = Checkpointer(
            open_checkpointer(path, vfs=vfs), failed=self._checkpoint_failed
        )
        self._writer = Writer(
            writer_connection,
            appends=lambda db, calls: self._queue.append(db, calls, now=clock()),
            observer=self,
            failpoints=failpoints,
            after_commit=self._checkpointer.committed,
        )

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        clock: Callable[[], Timestamp],
        metrics: Metrics,
        failpoints: Failpoints,
        fatal: Callable[[BaseException], None],
        vfs: str | None = None,
        synchronous: int = 2,
        health: HealthPolicy = DEFAULT_POLICY,
        secret_keys: Sequence[str] = (),
    ) -> Self:
        """Open the file, made and migrated if need be, and take over what its last owner left.

        Args:
            path: the database file.
            clock: the wall clock, in milliseconds since the epoch; may go back.
            metrics: is told about commits.
            failpoints: for tests.
            fatal: called in the event loop when the disk failed for good; the process must end.
            vfs: another file layer, for tests.
            synchronous: less than 2 only for the test that shows what it loses.
            health: when endpoints that fail are left alone.
            secret_keys: see :class:`~triggers_api.store.connect.StoreOptions`.

        Raises:
            StartError: it must not be used as it is; the message says why and what to do.
        """
        path = path.resolve()  # noqa: ASYNC240 - once, before anything is served
        refuse_network_file_system(path)
        lock = OwnerLock(path)
        try:
            beside = secret_path(path)
            if not lock.was_closed:
                _refuse_to_begin_anew(path, beside)
            connection = open_writer(path, vfs=vfs, synchronous=synchronous)
            try:
                if not lock.was_closed:
                    schema.check_after_crash(connection, path)
                schema.migrate(connection, now=clock())
                tail, last = schema.identity(connection)
                store_clock = StoreClock(clock, not_before=ids.made_at(last))
                # Whoever held a lease was a process that had this lock: it is gone.
                schema.free_all_leases(connection, now=store_clock())
                kept = found_secret(beside) if secret_keys else kept_secret(beside)
                return cls(
                    path,
                    lock,
                    connection,
                    clock=store_clock,
                    tail=tail,
                    last=last,
                    metrics=metrics,
                    failpoints=failpoints,
                    vfs=vfs,
                    synchronous=synchronous,
                    fatal=fatal,
                    health=health,
                    cipher=Cipher.of(secret_keys, kept),
                )
            except apsw.Error as error:
                raise StartError(f"cannot use {path}: {plain(error)}") from None
        except BaseException:
            lock.release(in_order=lock.was_closed)
            raise

    # ── itself ────────────────────────────────────────────────────────────────────────────────

    @property
    def ids(self) -> ids.IdGenerator:
        return self._ids

    def now(self) -> Timestamp:
        return self._clock()

    @property
    def skew_ms(self) -> int:
        return 0

    async def signing_key(self) -> bytes:
        return await asyncio.to_thread(kept_secret, secret_path(self._path))

    def durability(self) -> Durability:
        names = {0: "off", 1: "normal", 2: "full"}
        return Durability(
            engine="sqlite",
            version=apsw.sqlite_lib_version(),
            settings={"journal_mode": "wal", "synchronous": names[self._synchronous]},
            survives="process crash, operating system crash, power cut",
        )

    def connections(self) -> None:
        return None

    def quotas(self) -> None:
        return None

    async def check(self) -> None:
        if self._writer.broken:
            raise StoreUnavailable("the database failed or is closed")
        if _files(self._path) != self._files:
            # What is written now goes into a file that nobody will find.
            moved = StoreUnavailable(
                f"{self._path} or its -wal file was moved, removed or replaced while in use; "
                "put both back together, and start again"
            )
            log.critical("the database file was moved; ending the process", path=str(self._path))
            self._give_up(moved)
            raise moved
        if os.statvfs(self._path.parent).f_flag & os.ST_RDONLY:
            # By a kernel that met errors on it; the files stay open, and nothing can be written.
            raise StoreUnavailable(f"the file system of {self._path} is read-only")
        self._lock.check_writable()
        refused = self._refused
        if refused is not None:
            # A transaction was refused; find out whether that still holds.
            await self._write("probe", lambda db: db.execute(SQL["probe"]))
            if self._refused is refused:
                self._refused = None
            return
        stalled_s = self._writer.stalled_s
        if stalled_s > _STALLED_S:
            raise StoreUnavailable(f"nothing could be written for {stalled_s:.1f} s")
        self._writer.look()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # The writer last: whoever closes the file last moves the log into it and deletes the log.
        await self._readers.close()
        await asyncio.to_thread(self._checkpointer.close)
        await self._writer.close()
        self._lock.release(in_order=not self._failed)

    def _write(self, verb: str, operation: Operation[T]) -> "asyncio.Future[T]":
        return self._writer.submit(verb, operation)

    # What the writer reports (writer.WriterObserver).

    def committed(self, verbs: Counter[str], *, seconds: float) -> None:
        if verbs.keys() == {LOOK}:
            return
        self._metrics.commit_seconds.observe(seconds)
        self._metrics.commit_operations.observe(verbs.total())
        if APPEND in verbs:
            self._queue_notice.give()
            self._log_news.give()

    def commit_failed(self, reason: Unavailable) -> None:
        self._refused = reason
        self._metrics.store_errors.labels(reason.code).inc()
        log.error("transaction refused by the database", code=reason.code, detail=reason.detail)

    def broken(self, error: BaseException) -> None:
        self._metrics.store_errors.labels(OutcomeUnknown.code).inc()
        log.critical("the disk failed; ending the process", error=str(error))
        self._give_up(error)

    def _checkpoint_failed(self, error: BaseException) -> None:
        self._writer.fail(error)
        self._loop.call_soon_threadsafe(self.broken, error)

    def _give_up(self, error: BaseException) -> None:
        self._failed = True
        self._writer.fail(error)
        self._fatal(error)

    # ── the queue half ────────────────────────────────────────────────────────────────────────

    def append(self, events: Sequence[NewEvent]) -> "asyncio.Future[Sequence[FirstEvent | None]]":
        if len(events) == 1:
            size = len(events[0].payload) + _EVENT_OVERHEAD
        else:
            size = sum(len(event.payload) + _EVENT_OVERHEAD for event in events)
        stored = self._writer.append(events, size=size)
        if any(event.deliveries for event in events):  # sync mode: they come with their deliveries
            stored.add_done_callback(lambda _: self._delivery_notice.give())
        return stored

    async def append_test(self, event: NewEvent) -> bool:
        by, (delivery,) = present_actor(), event.deliveries or ()

        def append(db: apsw.Connection) -> bool:
            stored = self._queue.append_test(db, event, now=self.now())
            if stored:
                deed = by_hand(
                    "subscription.tested",
                    event.organization_id,
                    delivery.subscription_id,
                    event_id=event.id,
                    type=event.type,
                )
                self._audit.note(db, by, deed)
            return stored

        stored = await self._write("append_test", append)
        self._delivery_notice.give()
        return stored

    async def claim_queue(
        self,
        limit: int,
        lease_s: float,
        *,
        contents_of: Collection[str] = (),
        in_order_of: Collection[str] = (),
        not_of: Collection[str] = (),
    ) -> QueueClaim:
        now = self.now()
        until, token = now.after(seconds=lease_s), _token()
        return await self._write(
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
            ),
        )

    async def fan_out(self, token: int, routed: Sequence[RoutedEvent]) -> Sequence[str]:
        stale = await self._write(
            "fan_out", lambda db: self._queue.fan_out(db, token, routed, now=self.now())
        )
        if any(answer.deliveries for answer in routed):
            self._delivery_notice.give()
        return stale

    async def release(self, token: int, failed: Sequence[FailedEvent]) -> Sequence[str]:
        return await self._write(
            "release", lambda db: self._queue.release(db, token, failed, now=self.now())
        )

    async def claim_deliveries(self, limit: int, lease_s: float, *, rooms: Rooms) -> DeliveryClaim:
        now = self.now()
        until, token = now.after(seconds=lease_s), _token()
        return await self._write(
            "claim_deliveries",
            lambda db: self._deliveries.claim(
                db, limit, rooms=rooms, now=now, until=until, token=token
            ),
        )

    async def claim_for_session(
        self, organization_id: str, subscription_id: str, limit: int, lease_s: float
    ) -> DeliveryClaim:
        now = self.now()
        until, token = now.after(seconds=lease_s), _token()
        organization = self._organization(organization_id)
        subscription = self._keys.find(ids.SUBSCRIPTION, subscription_id)
        return await self._write(
            "claim_for_session",
            lambda db: self._deliveries.claim_for_session(
                db, organization, subscription, limit, now=now, until=until, token=token
            ),
        )

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        settled, ended, go_on = await self._write(
            "settle", lambda db: self._deliveries.settle(db, settlements, now=self.now())
        )
        if go_on:
            self._delivery_notice.give()
        if ended:
            await self._cancel_ended()
        return settled

    async def endpoint_health(
        self, organization_id: str, subscription_ids: Collection[str]
    ) -> Mapping[str, EndpointHealth]:
        organization = self._organization(organization_id)
        asked = [self._keys.find(ids.SUBSCRIPTION, each) for each in subscription_ids]
        return await self._readers.run(lambda db: self._health.of(db, organization, asked))

    async def claim_probes(
        self, limit: int, lease_s: float, *, not_of: Collection[str] = ()
    ) -> Sequence[ProbeClaim]:
        def claim(db: apsw.Connection) -> Sequence[ProbeClaim]:
            now = self.now()
            until = now.after(seconds=lease_s)
            return self._health.claim_probes(db, limit, not_of, now=now, until=until)

        return await self._write("claim_probes", claim)

    async def settle_probe(
        self,
        probe: ProbeClaim,
        error: str | None,
        *,
        ended: str | None = None,
        notify: bool = False,
    ) -> HealthChange | bool:
        return await self._write(
            "settle_probe",
            lambda db: self._health.settle_probe(
                db, probe, error, ended=ended, notify=notify, now=self.now()
            ),
        )

    async def end_expired(self, notify: Collection[str]) -> int:
        ended = await self._write(
            "end_expired", lambda db: self._farewells.end_expired(db, notify, now=self.now())
        )
        for subscription in ended:
            await self._cancel_ended(subscription)
        return len(ended)

    async def claim_farewells(
        self, limit: int, lease_s: float, *, not_of: Collection[str] = ()
    ) -> Sequence[Farewell]:
        def claim(db: apsw.Connection) -> Sequence[Farewell]:
            now = self.now()
            until = now.after(seconds=lease_s)
            return self._farewells.claim(db, limit, not_of, now=now, until=until)

        return await self._write("claim_farewells", claim)

    async def settle_farewell(
        self, farewell: Farewell, *, retry_at: Timestamp | None, understood: bool = False
    ) -> bool:
        return await self._write(
            "settle_farewell",
            lambda db: self._farewells.settle(
                db, farewell, retry_at=retry_at, understood=understood, now=self.now()
            ),
        )

    async def notices(self, limit: int) -> list[PendingNotice]:
        return await self._readers.run(lambda db: self._notices.notices(db, limit))

    async def forget_notices(self, notice_ids: Collection[str]) -> None:
        await self._write("forget_notices", lambda db: self._notices.forget(db, notice_ids))

    async def reap(self) -> Reaped:
        now = self.now()
        events, deliveries = await self._write(
            "reap", lambda db: self._deliveries.free(db, ran_out=now, now=now)
        )
        await self._write("reap", lambda db: self._jobs.free(db, ran_out=now, now=now))
        if events:
            self._queue_notice.give()
        mended = await self._write(
            "reap", lambda db: self._deliveries.mend_order(db, now=self.now())
        )
        if deliveries or mended:
            self._delivery_notice.give()
        await self._write("reap", self._health.forget_deleted)
        return Reaped(events, deliveries, await self._cancel_ended(), mended)

    async def _cancel_ended(self, subscription: int = 0) -> int:
        total = 0
        while True:
            cancelled = await self._write(
                "cancel_ended",
                lambda db: self._deliveries.cancel_ended(
                    db, now=self.now(), subscription=subscription
                ),
            )
            total += cancelled
            if cancelled < CANCELLED_AT_ONCE:
                return total

    async def beat(self, worker: Worker) -> Reaped:
        # One process owns the file, and it is this one: there is nobody to free.
        self._worker = worker
        return Reaped()

    async def workers(self) -> list[Worker]:
        worker = self._worker
        if worker is None or self.now() - worker.seen_at > _LISTED_MS:
            return []
        return [worker]

    async def wait_queue(self, timeout_s: float) -> None:
        await self._queue_notice.wait(timeout_s)

    async def wait_deliveries(self, timeout_s: float) -> None:
        await self._delivery_notice.wait(timeout_s)

    async def watch_deliveries(self, timeout_s: float) -> None:
        await self._delivery_notice.watch(timeout_s)

    def wake_queue(self) -> None:
        self._queue_notice.give()

    def wake_deliveries(self) -> None:
        self._delivery_notice.give()

    async def next_delivery_at(self) -> Timestamp | None:
        now = self.now()
        ((due_at,),) = await self._readers.run(
            lambda db: list(db.execute(SQL["next_delivery_at"], (now,)))
        )
        return None if due_at is None else Timestamp(due_at)

    async def in_flight(self, organization_id: str, subscription_id: str, most: int) -> int:
        asked = (
            self._keys.find(ids.SUBSCRIPTION, subscription_id),
            self._organization(organization_id),
            most,
        )
        ((count,),) = await self._readers.run(lambda db: list(db.execute(SQL["in_flight"], asked)))
        return int(count)

    # ── the record half ───────────────────────────────────────────────────────────────────────

    async def event(self, organization_id: str, event_id: str) -> EventDetail | None:
        organization, event = self._organization(organization_id), self._event(event_id)
        return await self._readers.run(
            lambda db: self._records.event(db, organization, event, self.now())
        )

    async def events(self, organization_id: str, wanted: EventFilter, page: Page) -> FoundEvents:
        organization = self._organization(organization_id)
        return await self._readers.run(
            lambda db: self._search.events(db, organization, wanted, page, self.now())
        )

    async def lease_index(self, lease_s: float, token: int | None = None) -> int | None:
        return self._search.lease.take(self.now(), lease_s, token)

    async def index_backlog(self, most: int) -> Mapping[str, int]:
        return await self._readers.run(lambda db: self._search.backlog(db, most))

    async def unindexed_events(
        self, organization_id: str, after: str | None, limit: int
    ) -> list[IndexedEvent]:
        organization = self._organization(organization_id)
        return await self._readers.run(
            lambda db: self._search.unindexed(db, organization, after, limit)
        )

    async def save_part(self, token: int, part: NewPart) -> bool:
        organization = self._organization(part.organization_id)
        return await self._write(
            "save_part",
            lambda db: self._search.save_part(db, organization, token, part, now=self.now()),
        )

    async def stale_part(self, before: Timestamp) -> StalePart | None:
        return await self._readers.run(lambda db: self._search.stale_part(db, before))

    async def events_to_index(
        self, organization_id: str, event_ids: Sequence[str]
    ) -> dict[str, IndexedEvent]:
        organization = self._organization(organization_id)
        events = [self._event(each) for each in event_ids]
        return await self._readers.run(lambda db: self._search.to_index(db, organization, events))

    async def replace_part(
        self, token: int, stale: StalePart, part: Part, *, read_at: Timestamp
    ) -> bool:
        return await self._write(
            "replace_part",
            lambda db: self._search.replace_part(
                db, token, stale, part, read_at=read_at, now=self.now()
            ),
        )

    async def prune_index(self, token: int, limit: int) -> int:
        return await self._write(
            "prune_index", lambda db: self._search.prune(db, token, limit, now=self.now())
        )

    async def log(self, organization_id: str, after: str | None, limit: int) -> LogPage:
        organization = self._organization(organization_id)
        return await self._readers.run(
            lambda db: self._records.log(db, organization, after, limit, self.now())
        )

    async def log_end(self, organization_id: str) -> str | None:
        organization = self._organization(organization_id)
        return await self._readers.run(lambda db: self._records.log_end(db, organization))

    async def log_position(self, organization_id: str, event_id: str) -> str | None:
        organization, event = self._organization(organization_id), self._event(event_id)
        return await self._readers.run(
            lambda db: self._records.log_position(db, organization, event)
        )

    async def wait_log(self, heard: int, timeout_s: float) -> int:
        return await self._log_news.wait(heard, timeout_s)

    async def cancel_event(self, organization_id: str, event_id: str) -> bool:
        organization, event = self._organization(organization_id), self._event(event_id)
        by = present_actor()
        return await self._write(
            "cancel_event",
            lambda db: self._events.cancel(db, organization, event, by=by, now=self.now()),
        )

    async def delete_event(self, organization_id: str, event_id: str) -> bool:
        organization, event = self._organization(organization_id), self._event(event_id)
        by = present_actor()

        def erase(db: apsw.Connection) -> bool:
            now = self.now()
            if not self._deliveries.erase_event(db, organization, event, now=now):
                return False
            self._search.changed(db, organization, event, now=now)
            self._audit.note(db, by, by_hand("event.deleted", organization_id, event_id))
            return True

        found = await self._write("delete_event", erase)
        self._delivery_notice.give()
        return found

    async def deliveries(
        self, organization_id: str, wanted: DeliveryFilter, page: Page, *, depth: int = LOOKED_AT
    ) -> FoundDeliveries:
        organization = self._organization(organization_id)
        return await self._readers.run(
            lambda db: self._records.deliveries(db, organization, wanted, page, depth)
        )

    async def dead_groups(
        self, organization_id: str, *, after: tuple[str, str] | None, limit: int, most: int
    ) -> list[DeadGroup]:
        organization = self._organization(organization_id)
        return await self._readers.run(
            lambda db: self._records.dead_groups(db, organization, after, limit, most)
        )

    async def delivery(self, organization_id: str, delivery_id: str) -> DeliveryDetail | None:
        organization = self._organization(organization_id)
        delivery = self._keys.find(ids.DELIVERY, delivery_id)
        return await self._readers.run(
            lambda db: self._records.delivery(db, organization, delivery)
        )

    async def subscription_stats(
        self, organization_id: str, subscription_id: str, *, since: Timestamp, until: Timestamp
    ) -> SubscriptionStats:
        organization = self._organization(organization_id)
        subscription = self._keys.find(ids.SUBSCRIPTION, subscription_id)
        return await self._readers.run(
            lambda db: self._records.subscription_stats(
                db, organization, subscription, since=since, until=until, now=self.now()
            )
        )

    async def retry_delivery(self, organization_id: str, delivery_id: str) -> bool:
        organization = self._organization(organization_id)
        delivery = self._keys.find(ids.DELIVERY, delivery_id)
        deed, by = by_hand("delivery.retried", organization_id, delivery_id), present_actor()

        def retry(db: apsw.Connection) -> bool:
            found = self._deliveries.retry(db, organization, delivery, now=self.now())
            self._audit.note(db, by, deed if found else None)
            return found

        found = await self._write("retry_delivery", retry)
        self._delivery_notice.give()
        return found

    async def cancel_delivery(self, organization_id: str, delivery_id: str) -> bool:
        organization = self._organization(organization_id)
        delivery = self._keys.find(ids.DELIVERY, delivery_id)
        deed, by = by_hand("delivery.cancelled", organization_id, delivery_id), present_actor()

        def cancel(db: apsw.Connection) -> bool:
            found = self._deliveries.cancel(db, organization, delivery, now=self.now())
            self._audit.note(db, by, deed if found else None)
            return found

        found = await self._write("cancel_delivery", cancel)
        self._delivery_notice.give()
        return found

    async def prune_events(self, cutoffs: Cutoffs, *, after: str | None, limit: int) -> Pruned:
        own = self._moments(cutoffs)
        old = await self._readers.run(
            lambda db: self._retention.old_events(
                db, cutoffs.default, own, place=_place(after), limit=limit
            )
        )
        return await self._pruned(
            "prune_events", old, lambda db: self._retention.prune_events(db, old)
        )

    async def prune_deliveries(self, cutoffs: Cutoffs, *, after: str | None, limit: int) -> Pruned:
        return await self._prune_deliveries(cutoffs, after=after, limit=limit, dead=False)

    async def prune_dead_letters(
        self, cutoffs: Cutoffs, *, after: str | None, limit: int
    ) -> Pruned:
        return await self._prune_deliveries(cutoffs, after=after, limit=limit, dead=True)

    async def _prune_deliveries(
        self, cutoffs: Cutoffs, *, after: str | None, limit: int, dead: bool
    ) -> Pruned:
        own = self._moments(cutoffs)
        old = await self._readers.run(
            lambda db: self._retention.old_deliveries(
                db, cutoffs.default, own, dead=dead, place=_place(after), limit=limit
            )
        )
        return await self._pruned(
            "prune_deliveries",
            old,
            lambda db: self._retention.prune_deliveries(db, old, dead=dead),
        )

    async def _pruned(
        self, verb: str, old: OldRows, prune: Callable[[apsw.Connection], Pruned]
    ) -> Pruned:
        pruned = await self._write(verb, prune) if old.found else Pruned()
        position = None if old.position is None else "{}-{}".format(*old.position)
        return msgspec.structs.replace(pruned, position=position)

    def _moments(self, cutoffs: Cutoffs) -> dict[int, Moments]:
        return {self._organization(each): moments for each, moments in cutoffs.own.items()}

    async def prune_attempts(self, cutoffs: Cutoffs, *, after: str | None, limit: int) -> Pruned:
        own = self._moments(cutoffs)
        found, position = await self._readers.run(
            lambda db: self._retention.old_attempts(
                db, cutoffs.default, own, after=int(after or 0), limit=limit
            )
        )
        deleted = 0
        if found:
            deleted = await self._write(
                "prune_attempts", lambda db: self._retention.prune_attempts(db, found)
            )
        return Pruned(attempts=deleted, position=None if position is None else str(position))

    async def prune_jobs(self, before: Timestamp, *, after: str | None, limit: int) -> Pruned:
        found, position = await self._readers.run(
            lambda db: self._retention.old_jobs(db, before, after=int(after or 0), limit=limit)
        )
        deleted = 0
        if found:
            deleted = await self._write(
                "prune_jobs", lambda db: self._retention.prune_jobs(db, found)
            )
        return Pruned(jobs=deleted, position=None if position is None else str(position))

    async def stats(self) -> QueueStats:
        moment = self._loop.time()
        if self._stats is None or moment > self._stats[0]:
            counted = await self._readers.run(lambda db: self._records.depths(db, self.now()))
            rows = counted.depth + counted.scheduled + counted.deliveries_waiting
            ended = self._loop.time()
            # Counting many takes long; then it is done less often, so that it takes a small part of
            # the time however many there are.
            kept_s = _STATS_KEPT_S if rows <= _COUNTED_OFTEN else (ended - moment) * _STATS_REST
            self._stats = (ended + kept_s, counted)
        return self._stats[1]

    async def organization_depths(
        self, limits: Mapping[str, int]
    ) -> dict[str, OrganizationBacklog]:
        depths = await self._readers.run(
            lambda db: self._records.organization_depths(db, self.now())
        )
        return {each: found for each in limits if (found := depths.get(each)) is not None}

    async def depths(self, *, counted: int, shown: int) -> Depths:
        return await self._readers.run(
            lambda db: self._records.depths_by_whose(db, self.now(), counted=counted, shown=shown)
        )

    async def is_idle(self, *, but_for: Collection[str] = ()) -> bool:
        besides = [self._keys.find(ids.SUBSCRIPTION, each) for each in but_for]
        return not await self._readers.run(
            lambda db: self._records.is_busy(db, self.now(), besides)
        )

    async def accounts(self) -> list[OrganizationAccount]:
        return await self._readers.run(lambda db: self._records.accounts(db, self.now()))

    # ── what was counted ──────────────────────────────────────────────────────────────────────

    async def save_rollups(self, rollups: Sequence[Rollup]) -> None:
        await self._write("save_rollups", lambda db: self._rollups.save(db, rollups))

    async def rollups(
        self, organization_id: str, step_s: int, *, since: Timestamp, until: Timestamp
    ) -> list[Rollup]:
        return await self._readers.run(
            lambda db: self._rollups.rollups(db, organization_id, step_s, since, until)
        )

    async def subscription_rollups(
        self, organization_id: str, subscription_ids: Collection[str], *, since: Timestamp
    ) -> list[Rollup]:
        return await self._readers.run(
            lambda db: self._rollups.of_subscriptions(db, organization_id, subscription_ids, since)
        )

    async def prune_rollups(self, step_s: int, before: Timestamp, limit: int) -> int:
        return await self._write(
            "prune_rollups", lambda db: self._rollups.prune(db, step_s, before, limit)
        )

    async def workload(self, organization_id: str | None, most: int) -> Workload:
        organization = None if organization_id is None else self._organization(organization_id)
        return await self._readers.run(
            lambda db: self._records.workload(db, organization, most, self.now())
        )

    async def subscription_workload(
        self, organization_id: str, subscription_ids: Collection[str], most: int
    ) -> Mapping[str, SubscriptionWorkload]:
        organization = self._organization(organization_id)
        asked = {each: self._keys.find(ids.SUBSCRIPTION, each) for each in subscription_ids}
        return await self._readers.run(
            lambda db: self._records.subscription_workload(db, organization, asked, most)
        )

    async def faults(self, check: Check, limit: int) -> list[str]:
        return await self._readers.run(lambda db: self._verify.faults(db, check, limit))

    async def repair(self, check: Check, limit: int) -> int:
        by = present_actor()
        if check is Check.COUNTERS:
            found = await self._readers.run(lambda db: self._verify.differences(db, limit))
            return await self._write(
                "repair", lambda db: self._verify.mend_counters(db, found, by=by)
            )
        mended = await self._write(
            "repair", lambda db: self._verify.mend(db, check, limit, by=by, now=self.now())
        )
        if mended:
            self._queue_notice.give()
            self._delivery_notice.give()
        return mended

    async def integrity(self) -> Integrity:
        return await self._readers.run(self._verify.integrity)

    # ── sessions of the operator page ─────────────────────────────────────────────────────────

    async def log_out(self, session: str, expires_at: Timestamp) -> None:
        def log_out(db: apsw.Connection) -> None:
            db.execute(SQL["forget_logouts"], (self.now(),))
            db.execute(SQL["log_out"], (session, expires_at))

        await self._write("log_out", log_out)

    async def logged_out(self, session: str) -> bool:
        return await self._readers.run(
            lambda db: db.execute(SQL["logged_out"], (session,)).fetchone() is not None
        )

    # ── inboxes ───────────────────────────────────────────────────────────────────────────────

    async def inboxes(self, organization_id: str) -> list[Inbox]:
        organization = self._organization(organization_id)
        return await self._readers.run(lambda db: self._inboxes.inboxes(db, organization))

    async def inbox(self, organization_id: str, name: str) -> Inbox | None:
        organization = self._organization(organization_id)
        held = await self._readers.run(lambda db: self._inboxes.inbox(db, organization, name))
        return None if held is None else held.inbox

    async def save_inbox(
        self, organization_id: str, name: str, types: Sequence[str] | None, *, from_end: bool
    ) -> tuple[Inbox, bool]:
        organization, by = self._organization(organization_id), present_actor()
        return await self._write(
            "save_inbox",
            lambda db: self._inboxes.save(
                db, organization, name, types, from_end=from_end, by=by, now=self.now()
            ),
        )

    async def delete_inbox(self, organization_id: str, name: str) -> bool:
        organization, by = self._organization(organization_id), present_actor()
        return await self._write(
            "delete_inbox", lambda db: self._inboxes.delete(db, organization, name, by=by)
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
        organization = self._organization(organization_id)
        now = self.now()
        until, token = now.after(seconds=lease_s), _token()
        taken = await self._write(
            "pull_inbox",
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
        )
        if taken is None:
            return None
        asked = [number for number, _ in taken.events]
        found = await self._readers.run(
            lambda db: self._inboxes.contents(db, organization, asked, now)
        )
        return Pulled(
            events=tuple(
                LeasedEvent(
                    event=found[number],
                    receipt=self._inboxes.receipt(taken.cursor, number, token),
                    lease_until=until,
                    receive_count=count,
                )
                for number, count in taken.events
                if number in found
            ),
            reached=taken.reached,
            unfinished=taken.unfinished,
            next_at=taken.next_at,
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
        organization = self._organization(organization_id)

        def settle(db: apsw.Connection) -> list[InboxOutcome] | None:
            now = self.now()
            until = now.after(seconds=seconds)
            return self._inboxes.settle(
                db, organization, name, action, named, by_id=by_id, now=now, until=until
            )

        outcomes = await self._write("settle_inbox", settle)
        if action is InboxAction.NACK:
            self._log_news.give()
        return outcomes

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
        organization = self._organization(organization_id)
        return await self._readers.run(
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
        organization, by = self._organization(organization_id), present_actor()
        found = await self._write(
            "seek_inbox",
            lambda db: self._inboxes.seek(db, organization, name, to, by=by, now=self.now()),
        )
        self._log_news.give()
        return found

    async def count_inbox(self, organization_id: str, name: str, most: int) -> InboxCounts | None:
        organization = self._organization(organization_id)
        return await self._readers.run(
            lambda db: self._inboxes.count(db, organization, name, most, now=self.now())
        )

    async def traces(self, event_ids: Collection[str]) -> Mapping[str, bytes]:
        return await self._readers.run(lambda db: self._traces.of(db, event_ids))

    async def prune_traces(self, before: Timestamp, limit: int) -> int:
        return await self._write("prune_traces", lambda db: self._traces.prune(db, before, limit))

    async def prune_inboxes(self, limit: int) -> int:
        return await self._write("prune_inboxes", lambda db: self._inboxes.prune(db, limit))

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────

    async def replay_event(
        self, organization_id: str, event_id: str, deliveries: Sequence[NewDelivery]
    ) -> list[Delivery] | None:
        organization, event = self._organization(organization_id), self._event(event_id)
        by = present_actor()

        def replay(db: apsw.Connection) -> list[Delivery] | None:
            now = self.now()
            made = self._jobs.replay_event(db, organization, event, deliveries, by=by, now=now)
            if made is None:
                return None
            shown = (self._records.delivery(db, organization, number) for number in made)
            return [without_attempts(each) for each in shown if each is not None]

        made = await self._write("replay_event", replay)
        if made:
            self._delivery_notice.give()
        return made

    async def create_job(
        self, organization_id: str, job: Job, *, position: str | None = None, most_open: int
    ) -> None:
        organization, by = self._organization(organization_id), present_actor()
        await self._write(
            "create_job",
            lambda db: self._jobs.create(
                db,
                organization,
                job,
                position=position,
                most_open=most_open,
                by=by,
                now=self.now(),
            ),
        )
        self._job_notice.give()

    async def job(self, organization_id: str, job_id: str) -> Job | None:
        organization, job = self._organization(organization_id), self._keys.find(ids.JOB, job_id)
        return await self._readers.run(lambda db: self._jobs.job(db, organization, job))

    async def jobs(self, organization_id: str, page: Page) -> list[Job]:
        organization = self._organization(organization_id)
        before = (1 << 63) - 1 if page.before is None else self._keys.find(ids.JOB, page.before)
        return await self._readers.run(
            lambda db: self._jobs.jobs(db, organization, before, page.limit)
        )

    async def cancel_job(self, organization_id: str, job_id: str) -> Job | None:
        organization, job = self._organization(organization_id), self._keys.find(ids.JOB, job_id)
        by = present_actor()
        return await self._write(
            "cancel_job",
            lambda db: self._jobs.cancel(db, organization, job, by=by, now=self.now()),
        )

    async def job_backlog(self) -> JobBacklog:
        return await self._readers.run(self._jobs.backlog)

    async def claim_job(self, lease_s: float) -> ClaimedJob | None:
        now = self.now()
        until, token = now.after(seconds=lease_s), _token()
        return await self._write(
            "claim_job", lambda db: self._jobs.claim(db, now=now, until=until, token=token)
        )

    async def advance_job(self, step: JobStep) -> Job | None:
        job = await self._write(
            "advance_job", lambda db: self._jobs.advance(db, step, now=self.now())
        )
        if job is not None and step.replays:
            self._delivery_notice.give()
        return job

    async def walk_events(
        self, organization_id: str, selection: Selection, after: str | None, limit: int
    ) -> list[WalkedEvent]:
        organization = self._organization(organization_id)
        return await self._readers.run(
            lambda db: self._jobs.walk_events(db, organization, selection, after, limit)
        )

    async def event_contents(
        self, organization_id: str, event_ids: Sequence[str]
    ) -> dict[str, EventContent]:
        organization = self._organization(organization_id)
        return await self._readers.run(
            lambda db: self._jobs.event_contents(db, organization, event_ids)
        )

    async def walk_deliveries(
        self, organization_id: str, selection: Selection, after: str | None, limit: int
    ) -> list[WalkedDelivery]:
        organization = self._organization(organization_id)
        return await self._readers.run(
            lambda db: self._jobs.walk_deliveries(db, organization, selection, after, limit)
        )

    async def wait_jobs(self, timeout_s: float) -> None:
        await self._job_notice.wait(timeout_s)

    def wake_jobs(self) -> None:
        self._job_notice.give()

    # ── what is kept aside ────────────────────────────────────────────────────────────────────

    async def quarantine(self, organization_id: str | None, page: Page) -> list[EventAside]:
        organization = None if organization_id is None else self._organization(organization_id)
        return await self._readers.run(lambda db: self._quarantine.page(db, organization, page))

    async def event_aside(self, event_id: str) -> EventAside | None:
        event = self._event(event_id)
        return await self._readers.run(lambda db: self._quarantine.one(db, event))

    async def release_quarantined(
        self, organization_id: str, event_id: str, payload: bytes | None
    ) -> bool:
        organization, event = self._organization(organization_id), self._event(event_id)
        mended = () if payload is None else ("payload",)
        deed = by_hand("event.released", organization_id, event_id, hidden=mended)
        by = present_actor()

        def release(db: apsw.Connection) -> bool:
            now = self.now()
            released = self._quarantine.release(db, organization, event, payload, now=now)
            self._audit.note(db, by, deed if released else None)
            if released and payload is not None:
                self._search.changed(db, organization, event, now=now)
            return released

        released = await self._write("release_quarantined", release)
        self._queue_notice.give()
        self._log_news.give()
        return released

    # ── the settings half ─────────────────────────────────────────────────────────────────────

    def one_change(self) -> AbstractAsyncContextManager[None]:
        # One process owns the file, and it keeps its own changes apart (http/context.py).
        return nullcontext()

    async def changes(self, since: int) -> Changes:
        return await self._readers.run(lambda db: self._settings.changes(db, since))

    async def create_organization(self, organization: Organization, key: KeyRecord) -> None:
        by = present_actor()

        def create(db: apsw.Connection) -> None:
            self._settings.save_organization(db, organization, by=by)
            self._settings.save_key(db, key, by=by)

        await self._write("create_organization", create)

    async def create_first_organization(
        self, organization: Organization, keys: Sequence[KeyRecord]
    ) -> bool:
        by = present_actor()
        return await self._write(
            "create_first_organization",
            lambda db: self._settings.save_first_organization(db, organization, keys, by=by),
        )

    async def update_organization(self, organization: Organization) -> None:
        by = present_actor()
        await self._write(
            "update_organization",
            lambda db: self._settings.save_organization(db, organization, by=by),
        )

    async def delete_organization(self, organization_id: str) -> bool:
        organization, by = self._organization(organization_id), present_actor()

        def delete(db: apsw.Connection) -> bool:
            # What is changed or deleted here is to be found nowhere in the file if all is erased later.
            db.pragma("secure_delete", 1)
            try:
                found = self._settings.delete_organization(db, organization, by=by, now=self.now())
                self._inboxes.delete_all(db, organization)
            finally:
                db.pragma("secure_delete", 0)
            return found

        found = await self._write("delete_organization", delete)
        await self._cancel_ended()
        return found

    async def erase_organization(self, organization_id: str) -> Erasure | None:
        organization, by = self._organization(organization_id), present_actor()
        return await self._write(
            "erase_organization",
            lambda db: self._erasures.request(db, organization, by=by, now=self.now()),
        )

    async def erasures(self) -> list[Erasure]:
        return await self._readers.run(self._erasures.erasures)

    async def erase_some(self, limit: int) -> bool:
        return await self._write(
            "erase_some", lambda db: self._erasures.step(db, limit, now=self.now())
        )

    async def create_key(self, key: KeyRecord) -> None:
        by = present_actor()
        await self._write("create_key", lambda db: self._settings.save_key(db, key, by=by))

    async def keys(self, organization_id: str | None) -> list[ApiKey]:
        organization = self._owner(organization_id)
        return await self._readers.run(lambda db: self._settings.keys_of(db, organization))

    async def rotate_key(
        self, organization_id: str | None, key_id: str, fresh: KeyRecord, *, until: Timestamp
    ) -> ApiKey | None:
        organization, key = self._owner(organization_id), self._keys.find(ids.KEY, key_id)
        by = present_actor()
        return await self._write(
            "rotate_key",
            lambda db: self._settings.rotate_key(
                db, organization, key, fresh, until=until, by=by, now=self.now()
            ),
        )

    async def note_key_uses(self, uses: Mapping[str, Timestamp]) -> None:
        if uses:
            await self._write("note_key_uses", lambda db: self._settings.note_key_uses(db, uses))

    async def revoke_key(self, organization_id: str | None, key_id: str) -> bool:
        organization, key = self._owner(organization_id), self._keys.find(ids.KEY, key_id)
        by = present_actor()
        return await self._write(
            "revoke_key",
            lambda db: self._settings.revoke_key(db, organization, key, by=by, now=self.now()),
        )

    async def save_subscription(
        self,
        record: SubscriptionRecord,
        *,
        health: HealthReset = HealthReset.KEEP,
        farewell: bool = False,
    ) -> None:
        by = present_actor()

        def save(db: apsw.Connection) -> None:
            subscription = self._keys.of(record.subscription.id)
            self._settings.save_subscription(db, record, by=by)
            self._health.reset(db, subscription, health)
            if farewell:
                organization = self._keys.of(record.organization_id)
                write_farewell(db, organization, subscription, due_at=self.now())

        await self._write("save_subscription", save)
        self._delivery_notice.give()

    async def subscription(
        self, organization_id: str, subscription_id: str
    ) -> SubscriptionRecord | None:
        organization = self._organization(organization_id)
        subscription = self._keys.find(ids.SUBSCRIPTION, subscription_id)
        return await self._readers.run(
            lambda db: self._settings.subscription(db, organization, subscription)
        )

    async def subscriptions(self, organization_id: str, page: Page) -> list[Subscription]:
        organization = self._organization(organization_id)
        return await self._readers.run(
            lambda db: self._settings.subscriptions(db, organization, page)
        )

    async def delete_subscription(
        self, organization_id: str, subscription_id: str, *, farewell: bool = False
    ) -> bool:
        organization = self._organization(organization_id)
        subscription = self._keys.find(ids.SUBSCRIPTION, subscription_id)
        by = present_actor()
        found = await self._write(
            "delete_subscription",
            lambda db: self._settings.delete_subscription(
                db, organization, subscription, farewell=farewell, by=by, now=self.now()
            ),
        )
        if found:
            await self._cancel_ended(subscription)
        return found

    async def is_hook(self, organization_id: str, subscription_id: str) -> bool:
        organization = self._organization(organization_id)
        subscription = self._keys.find(ids.SUBSCRIPTION, subscription_id)
        return await self._readers.run(
            lambda db: self._settings.is_hook(db, organization, subscription)
        )

    async def save_event_type(self, organization_id: str, event_type: EventType) -> None:
        organization, by = self._organization(organization_id), present_actor()
        await self._write(
            "save_event_type",
            lambda db: self._settings.save_event_type(db, organization, event_type, by=by),
        )

    async def event_type(self, organization_id: str, name: str) -> EventType | None:
        organization = self._organization(organization_id)
        return await self._readers.run(lambda db: self._settings.event_type(db, organization, name))

    async def event_types(
        self, organization_id: str, after: str | None, limit: int
    ) -> list[EventType]:
        organization = self._organization(organization_id)
        return await self._readers.run(
            lambda db: self._settings.event_types(db, organization, after, limit)
        )

    async def delete_event_type(self, organization_id: str, name: str) -> bool:
        organization, by = self._organization(organization_id), present_actor()
        return await self._write(
            "delete_event_type",
            lambda db: self._settings.delete_event_type(db, organization, name, by=by),
        )

    async def save_switches(self, switches: Switches) -> None:
        by = present_actor()
        await self._write(
            "save_switches", lambda db: self._settings.save_switches(db, switches, by=by)
        )
        self._queue_notice.give()
        self._delivery_notice.give()

    async def sealed(self) -> Sealed:
        return await self._readers.run(self._settings.sealing)

    async def seal(self) -> int:
        by = present_actor()
        return await self._write("seal", lambda db: self._settings.seal(db, by=by))

    # ── the audit log ─────────────────────────────────────────────────────────────────────────

    async def audit(
        self, organization_id: str | None, wanted: AuditFilter, page: Page
    ) -> AuditPage:
        organization = None if organization_id is None else self._organization(organization_id)
        return await self._readers.run(lambda db: self._audit.page(db, organization, wanted, page))

    async def note(self, deed: Deed) -> None:
        by = present_actor()
        await self._write("note", lambda db: self._audit.note(db, by, deed))

    async def prune_audit(self, before: Timestamp, limit: int) -> int:
        return await self._write("prune_audit", lambda db: self._audit.prune(db, before, limit))

    def _owner(self, organization_id: str | None) -> int | None:
        return None if organization_id is None else self._organization(organization_id)

    def _organization(self, organization_id: str) -> int:
        return self._keys.find(ids.ORGANIZATION, organization_id)

    def _event(self, event_id: str) -> int:
        return self._keys.find(ids.EVENT, event_id)


def _refuse_to_begin_anew(path: Path, beside: Path) -> None:
    # Whoever takes the file away from under a server does not mean to have an empty one in its place,
    # which whatever starts servers again would make at once.
    if beside.exists() and not path.exists():
        raise StartError(
            f"{path} is gone, and was in use when its last server ended: put it back, its -wal file "
            f"first; to begin with an empty one, delete {path.name}.lock"
        )


def _files(path: Path) -> list[tuple[int, int] | None]:
    """Which files lie where the database and its log should."""
    found: list[tuple[int, int] | None] = []
    for name in (str(path), f"{path}-wal"):
        try:
            status = os.stat(name)  # noqa: PTH116 - many times a minute
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return found


def _place(position: str | None) -> tuple[int, int]:
    """An organization, and a row of it."""
    organization, row = (position or "0-0").split("-")
    return int(organization), int(row)


def _token() -> int:
    low, high = tokens.TOKEN_RANGE
    return low + secrets.randbelow(high - low)
