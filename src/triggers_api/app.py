"""The composition root: builds the parts, starts and stops them in order. It alone knows everybody."""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Final, Self, cast

import msgspec
import structlog

from triggers_api.deliver.dispatcher import Dispatcher, DispatcherSettings
from triggers_api.deliver.egress import Egress
from triggers_api.deliver.farewells import Farewells
from triggers_api.deliver.prober import Prober
from triggers_api.deliver.sessions import Sessions
from triggers_api.deliver.webhook import Sender
from triggers_api.errors import Problem, SettingsError, StartError, StorageFull, Unavailable
from triggers_api.failpoints import Failpoints, armed
from triggers_api.http.admission import Admission
from triggers_api.http.application import Application
from triggers_api.http.auth import Authenticator
from triggers_api.http.batch import PostBatch
from triggers_api.http.context import Context, QueueHealth, Readiness
from triggers_api.http.cursor import Cursors
from triggers_api.http.hot import PostEvent
from triggers_api.http.server import Server, make_server
from triggers_api.http.tickets import Tickets
from triggers_api.ingest.accept import Ingest
from triggers_api.ingest.limits import RateLimiter
from triggers_api.ingest.quota import SharedLimiter
from triggers_api.ingest.room import Room, RoomLimits, worst
from triggers_api.model import ids
from triggers_api.model.health import HealthPolicy
from triggers_api.model.organization import (
    ORGANIZATION_SCOPES,
    Organization,
    Scope,
    key_record,
    new_api_key,
)
from triggers_api.model.quota import Rate
from triggers_api.model.timestamp import Timestamp
from triggers_api.operate.disk import DiskWatch
from triggers_api.operate.erasure import Eraser
from triggers_api.operate.expiry import Expiry
from triggers_api.operate.heartbeat import Heartbeat
from triggers_api.operate.indexer import Indexer
from triggers_api.operate.jobs import JobRunner
from triggers_api.operate.key_uses import KeyUses
from triggers_api.operate.lag import LoopLag
from triggers_api.operate.loop import Loop, Part
from triggers_api.operate.monitor import Monitor
from triggers_api.operate.outbox import Outbox
from triggers_api.operate.peers import PeerWatch
from triggers_api.operate.reaper import Reaper
from triggers_api.operate.retention import AuditRetention, JobRetention, Retention, days_of
from triggers_api.operate.rollups import RollupWriter
from triggers_api.operate.sessions import EndedSessions
from triggers_api.operate.switches import SwitchKeeper
from triggers_api.process.processor import Processor, ProcessorSettings, Turned
from triggers_api.settings import Settings, variable
from triggers_api.settings import table as settings_table
from triggers_api.store.base import LandingStore, Store
from triggers_api.store.connect import (
    StoreOptions,
    is_postgres,
    open_store,
    shown_url,
    sqlite_path,
)
from triggers_api.store.directory import Directory
from triggers_api.store.timed import time_verbs
from triggers_api.telemetry.metrics import Metrics
from triggers_api.telemetry.tracing import Tracing
from triggers_api.web.site import Site

if TYPE_CHECKING:
    from triggers_api.ingest.buffer_redis.buffer import Buffer
    from triggers_api.redis.client import Redis

log = structlog.get_logger(__name__)

FIRST_ORGANIZATION: Final = "default"
_API_KEY: Final = "TRIGGERS_API_KEY"
_ADMIN_KEY: Final = "TRIGGERS_ADMIN_KEY"
"""What keys are called that the settings give."""
_DOES: Final = {
    "all": ("api", "processor", "dispatcher"),
    "api": ("api",),
    "worker": ("processor", "dispatcher"),
}
"""What a process does, by its ``role``."""
_LAST_WORDS_S: Final = 1.0
_HEARD_OF_MS: Final = 10_000
_LIMITS_WITHIN_S: Final = 0.4
_DISK_FAILED: Final = "the disk failed; see the log. Nothing that was accepted is given up"


def wall_clock() -> Timestamp:
    """Now."""
    return Timestamp(time.time_ns() // 1_000_000)


class FirstKeys(msgspec.Struct, frozen=True):
    """Keys made when the database was created; they can be told this once."""

    organization_id: str
    api_key: str
    admin_key: str


class App:
    """The service in one process; use it with ``async with``."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], Timestamp] = wall_clock,
        failpoints: Failpoints | None = None,
    ) -> None:
        """Nothing happens before it is entered.

        Args:
            settings: of this process.
            clock: the wall clock, in milliseconds since the epoch; may go back.
            failpoints: for tests; by default those that the environment arms.
        """
        self.settings = settings
        self.metrics = Metrics()
        self.worker_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.first_keys: FirstKeys | None = None
        self.failed = asyncio.Event()
        """Set when the process must end because its store failed for good."""
        self.failure = ""
        """Then: why, for a person."""
        self.hurried = asyncio.Event()
        """Set by whoever wants the end at once: what is being sent is given up."""
        self._clock = clock
        self._failpoints = armed() if failpoints is None else failpoints
        self._has_api = "api" in _DOES[settings.role]
        self._stack = AsyncExitStack()
        self._loops: list[Loop] = []

    async def __aenter__(self) -> Self:
        settings, metrics = self.settings, self.metrics
        async with AsyncExitStack() as stack:
            self.redis = _redis(settings)
            if self.redis is not None:
                stack.push_async_callback(self.redis.close)
            store = await self._open(stack)
            directory = self.directory
            self.buffer = await self._open_buffer(stack)
            self.disk = self._disk_watch()
            self.room = Room(
                store,
                directory,
                limits=RoomLimits(
                    depth=settings.max_queue_depth,
                    age_s=settings.max_queue_age_s,
                    organization_depth=settings.max_organization_queue_depth,
                    organization_age_s=settings.max_organization_queue_age_s,
                ),
                disk_is_full=lambda: self.disk is not None and self.disk.full,
                elsewhere=self.buffer,
                metrics=metrics,
            )
            self.monitor = Monitor(
                store,
                directory,
                metrics=metrics,
                warn_depth=settings.queue_warn_depth,
                count=self.room.look,
                elsewhere=self._in_buffer,
            )
            stack.push_async_callback(self.monitor.finish)
            self.peers = PeerWatch(store, own=lambda: self.heartbeat.worker, metrics=metrics)
            self.lag = LoopLag(metrics=metrics)
            self.ingest = Ingest(
                store,
                directory,
                metrics=metrics,
                room=self.room,
                buffer=self.buffer,
            )
            self.egress = Egress(settings.allow_cidrs, own=_own_addresses(settings.host))
            self._tracing = self._traces(stack)
            sender = await stack.enter_async_context(Sender(self.egress, tracing=self._tracing))
            self.processor = Processor(
                store,
                directory,
                settings=ProcessorSettings(
                    batch_size=settings.batch_size,
                    concurrency=settings.max_concurrent_events,
                    min_poll_ms=settings.min_poll_ms,
                    max_poll_ms=settings.max_poll_ms,
                    item_timeout_s=settings.item_timeout_s,
                    lease_s=settings.lease_s,
                    max_attempts=settings.max_process_attempts,
                ),
                metrics=metrics,
                tracing=self._tracing,
                left=self.room.left,
                taken_in=lambda: self.room.taken_in,
            )
            self.dispatcher = Dispatcher(
                store,
                directory,
                sender,
                settings=DispatcherSettings(
                    concurrency=settings.delivery_concurrency,
                    timeout_s=settings.delivery_timeout_s,
                    retry_schedule=settings.retry_schedule,
                    lease_s=settings.lease_s,
                    max_poll_ms=settings.max_poll_ms,
                    grace_s=settings.shutdown_grace_s,
                    host_rates=dict(settings.host_rates),
                ),
                wall=self._clock,
                metrics=metrics,
                traced=self._tracing is not None,
            )
            self.prober = Prober(
                store,
                directory,
                sender,
                timeout_s=settings.delivery_timeout_s,
                lease_s=settings.lease_s,
                wall=self._clock,
                metrics=self.metrics,
            )
            self.farewells = Farewells(
                store,
                directory,
                sender,
                timeout_s=settings.delivery_timeout_s,
                lease_s=settings.lease_s,
                wall=self._clock,
                metrics=self.metrics,
            )
            stack.push_async_callback(self._finish_deliveries)
            self.sessions = EndedSessions(store, directory)
            self.expiry = Expiry(store, directory)
            self.jobs = JobRunner(store, directory, metrics=metrics, days=days_of(settings))
            self.indexer = Indexer(store, metrics=metrics)
            stack.push_async_callback(self._finish_indexing)
            self.outbox = Outbox(store, directory, metrics=metrics)
            self.reaper = Reaper(store, metrics=metrics, sweep_s=settings.sweep_s)
            self.retention = Retention(
                store,
                directory,
                metrics=metrics,
                days=days_of(settings),
                clock=time.monotonic,
            )
            self.job_retention = JobRetention(
                store, metrics=metrics, days=settings.job_retention_days
            )
            self.eraser = Eraser(store, clock=time.monotonic)
            self.audit_retention = AuditRetention(
                store, metrics=metrics, days=settings.audit_retention_days
            )
            self.limits = self._shared_limiter(stack)
            self._build_http()
            stack.push_async_callback(self._finish_key_uses)
            self.switches = SwitchKeeper(store, directory, changing=self.context.changing)
            self._stack = stack.pop_all()
        return self

    def _disk_watch(self) -> DiskWatch | None:
        """For the embedded engine; how much room a server has cannot be asked."""
        settings = self.settings
        if is_postgres(settings.database_url) or not settings.disk_reserve_mb:
            return None
        return DiskWatch(
            sqlite_path(settings.database_url).absolute().parent,
            reserve=settings.disk_reserve_mb << 20,
            metrics=self.metrics,
        )

    def _shared_limiter(self, stack: AsyncExitStack) -> SharedLimiter | None:
        """For rate limits that other processes keep as well; ``None`` where there are no others."""
        ledger, kept_in = self.store.quotas(), "postgresql"
        if ledger is None or not self._has_api:
            return None
        if self.redis is not None:
            from triggers_api.ingest.quota_redis import RedisQuotas  # noqa: PLC0415 - an extra

            # Of its own: what is asked here is not waited for as long as other things are.
            redis = self.redis.another(answer_within_s=_LIMITS_WITHIN_S)
            stack.push_async_callback(redis.close)
            ledger, kept_in = RedisQuotas(redis, prefix=self.settings.redis_prefix), "redis"
        limits = SharedLimiter(
            ledger, kept_in=kept_in, processes=self._api_processes, metrics=self.metrics
        )
        stack.push_async_callback(limits.close)
        return limits

    async def _api_processes(self) -> int:
        """How many that take events in have been heard of lately, this one included."""
        store, own = self.store, self.worker_id
        since = store.now() - _HEARD_OF_MS
        others = [
            worker
            for worker in await store.workers()
            if "api" in worker.roles and worker.seen_at >= since and worker.id != own
        ]
        return 1 + len(others)

    async def _open(self, stack: AsyncExitStack) -> Store:
        """The store with what every process needs from it at its start."""
        settings = self.settings
        store = self.store = await open_store(
            store_options(settings),
            clock=self._clock,
            keeps_own_time=self._clock is not wall_clock,
            metrics=self.metrics,
            failpoints=self._failpoints,
            fatal=self._fatal,
            health=HealthPolicy(
                breaker_failures=settings.breaker_failures,
                disable_after_s=settings.disable_after_days * 86_400,
                probe_every_s=settings.probe_disabled_s,
            ),
        )
        stack.push_async_callback(store.close)
        time_verbs(store, self.metrics)
        self.rollups = RollupWriter(store, metrics=self.metrics)
        stack.push_async_callback(self.rollups.finish)
        self.directory = Directory(store, forced=_forced(settings))
        self.heartbeat = Heartbeat(
            store, worker_id=self.worker_id, roles=_DOES[settings.role], metrics=self.metrics
        )
        self._beating = Loop(self.heartbeat, crashed=self._crashed)
        # Ends after the last delivery: without a heartbeat others would send again what is under way.
        stack.push_async_callback(self._beating.stop)
        try:
            await self._look_at_secrets()
            await self.directory.refresh()
            await self._settle_in()
            given = settings.secret_key
            self._secret = await store.signing_key() if given is None else given.encode()
            await self.heartbeat.run_once()
        except Unavailable as problem:
            url = shown_url(settings.database_url)
            raise StartError(f"cannot use {url}: {problem.detail}") from None
        return store

    def _traces(self, stack: AsyncExitStack) -> Tracing | None:
        settings = self.settings
        if settings.otel_endpoint is None:
            return None
        tracing = Tracing(
            settings.otel_endpoint,
            sample=settings.otel_sample,
            instance=self.worker_id,
            metrics=self.metrics,
        )
        stack.push_async_callback(asyncio.to_thread, tracing.close)
        return tracing

    async def _open_buffer(self, stack: AsyncExitStack) -> "Buffer | None":
        """The ingest buffer, if there is to be one. Redis may be away; if not, it must be fit."""
        if self.settings.ingest_buffer != "redis" or self.redis is None:
            return None
        # Imported only here: it needs an extra.
        from triggers_api.ingest.buffer_redis import buffer as buffers  # noqa: PLC0415

        settings = self.settings
        buffer = await buffers.open_buffer(
            self.redis,
            buffers.BufferSettings(
                prefix=settings.redis_prefix,
                strict=settings.redis_durability == "strict",
                falls_back=settings.redis_fallback == "direct",
                most=settings.redis_stream_max_length,
                most_of_one=settings.redis_organization_max_length,
                alarm_age_s=settings.redis_stream_ttl,
                dedup_ttl_s=settings.redis_dedup_ttl,
                max_attempts=settings.max_process_attempts,
            ),
            store=cast("LandingStore", self.store),
            directory=self.directory,
            worker_id=self.worker_id,
            metrics=self.metrics,
            failpoints=self._failpoints,
        )
        stack.push_async_callback(buffer.finish)
        return buffer

    async def _look_at_secrets(self) -> None:
        """Refuse to start without the key of subscriptions' secrets; encrypt what is not yet."""
        store = self.store
        found = await store.sealed()
        if found.lost:
            raise StartError(
                f"the secrets of {found.lost} subscription(s) are encrypted under a key that is not "
                "here: give it as TRIGGERS_SECRET_KEY or among TRIGGERS_OLD_SECRET_KEYS, or put the "
                ".secret file back beside the database (triggers encrypt --give-up-lost if it is gone)"
            )
        if not found.old and not found.clear:
            return
        if is_postgres(self.settings.database_url):
            # Others on this database may be older, or not have the key yet.
            log.warning(
                "secrets of subscriptions are not under the present key; run triggers encrypt",
                in_the_clear=found.clear,
                under_an_old_key=found.old,
            )
        else:
            log.info("secrets of subscriptions encrypted", count=await store.seal())

    async def __aexit__(self, *_: object) -> None:
        self.ingest.draining = True
        await asyncio.gather(*(loop.stop() for loop in self._loops if loop is not self._beating))
        await self._stack.aclose()

    def start(self) -> None:
        """Start the background parts. Tests that run turns by hand leave it out."""
        self._loops = [
            self._beating,
            *(Loop(part, crashed=self._crashed) for part in self._parts()),
        ]
        for loop in self._loops:
            self.metrics.loop_crashes.labels(loop.name)  # from nothing to 1 there is no rise
            loop.start()

    def _parts(self) -> tuple[Part, ...]:
        buffer = self.buffer
        shared: tuple[Part, ...] = () if self.limits is None else (self.limits,)
        if buffer is not None:
            shared = (*shared, buffer.watch)
        if self.settings.role == "api":
            return (
                self.switches,
                self.monitor,
                self.peers,
                self.lag,
                self.rollups,
                self.key_uses,
                *shared,
            )
        disk = () if self.disk is None else (self.disk,)
        return (
            *shared,
            *(() if buffer is None else (buffer.consumer,)),
            *disk,
            self.switches,
            self.reaper,
            self.retention,
            self.job_retention,
            self.audit_retention,
            self.eraser,
            self.key_uses,
            self.monitor,
            self.peers,
            self.lag,
            self.processor,
            self.dispatcher,
            self.prober,
            self.farewells,
            self.outbox,
            self.sessions,
            self.expiry,
            self.jobs,
            self.indexer,
            self.rollups,
        )

    def _build_http(self) -> None:
        settings, directory = self.settings, self.directory
        authenticator = Authenticator(directory)
        limiter = RateLimiter() if self.limits is None else self.limits
        self.admission = Admission(
            directory,
            limiter,
            authenticator=authenticator,
            rate=Rate(settings.rate_limit, settings.rate_burst),
        )
        self.key_uses = KeyUses(
            self.store, directory, taken=authenticator.take_uses, metrics=self.metrics
        )
        self.post_event = PostEvent(
            self.ingest, self.admission, metrics=self.metrics, tracing=self._tracing
        )
        post_batch = PostBatch(
            self.ingest, self.admission, metrics=self.metrics, tracing=self._tracing
        )
        self.context = Context(
            settings=settings,
            store=self.store,
            directory=directory,
            admission=self.admission,
            authenticator=authenticator,
            egress=self.egress,
            cursors=Cursors(self._secret),
            tickets=Tickets(self._secret),
            metrics=self.metrics,
            post_event=self.post_event,
            sessions=Sessions(
                self.store,
                directory,
                secret=self._secret,
                retry_schedule=settings.retry_schedule,
                wall=self._clock,
                metrics=self.metrics,
            ),
            draining=lambda: self.ingest.draining,
            post_batch=post_batch,
            pool=store_options(settings) if is_postgres(settings.database_url) else None,
            readiness=self.readiness,
            limits=limiter.state,
            last_stats=lambda: self.monitor.stats,
            buffer=self.buffer,
            redis_is_up=None if self.redis is None else self._redis_is_up,
            worker=lambda: self.heartbeat.worker,
            ending=lambda: self.ingest.draining,
            process=self._process_by_hand,
            level=self.monitor.level_of,
        )
        self.asgi = Application(self.context, api=self._has_api)
        self.site: Site | None = None
        if self._has_api and settings.ui == "on":
            self.site = Site(self.asgi, local=is_loopback(settings.host))

    def server(self) -> Server:
        """An HTTP server for this app."""
        lane = self.post_event if self._has_api else None
        return make_server(self.site or self.asgi, lane, grace_s=self.settings.shutdown_grace_s)

    def readiness(self) -> Readiness:
        """Whether traffic should come here."""
        problem = self.monitor.store_problem
        checks = {"store": "ok" if problem is None else problem.code}
        draining = self.ingest.draining or self.directory.draining
        checks["accepting"] = "draining" if draining else "ok"
        for loop in self._loops:
            checks[loop.name] = "failing" if loop.failing else "ok"
        if self.disk is not None and self.disk.full:
            checks[self.disk.name] = StorageFull.code
        ready = all(state == "ok" for state in checks.values())
        if self.buffer is not None:
            takes = self._has_api and self.buffer.takes
            if problem is not None:
                # What cannot do without the store fails; events go on being accepted.
                ready = takes and not draining
            elif self._has_api:
                ready = ready and (takes or self.buffer.falls_back)
            checks["buffer"] = self.buffer.state
        # Traffic may come all the same: what is accepted waits for a worker.
        checks["workers"] = self.peers.state
        stats = self.monitor.stats
        return Readiness(
            ready=ready,
            checks=checks,
            queue=QueueHealth(
                depth=self.monitor.depth,
                warn_depth=self.settings.queue_warn_depth,
                level=worst(
                    self.monitor.level,
                    self.room.level,
                    "normal" if self.disk is None else self.disk.level,
                ),
                stuck=stats.stuck,
                oldest_age_s=stats.oldest_age_s,
                refusing=self.room.refusing,
                drain_rate=round(self.room.drain.per_second, 1),
            ),
        )

    async def _process_by_hand(self) -> Turned:
        """A batch out of Redis, and one of the queue, also while processing is paused."""
        landed = 0
        if self.buffer is not None:
            with suppress(Unavailable):  # what is in the queue can be routed all the same
                landed = await self.buffer.consumer.by_hand()
        turned = await self.processor.by_hand()
        return msgspec.structs.replace(turned, unfinished=turned.unfinished or landed > 0)

    def _in_buffer(self) -> int:
        """How many accepted events wait before the store."""
        return 0 if self.buffer is None else self.buffer.depth

    def _redis_is_up(self) -> bool:
        return self.redis is not None and self.redis.is_connected

    def _crashed(self, loop: str) -> None:
        self.metrics.loop_crashes.labels(loop).inc()

    def _fatal(self, error: BaseException) -> None:
        self.failure = error.detail if isinstance(error, Problem) else _DISK_FAILED
        self.failed.set()

    async def _finish_deliveries(self) -> None:
        """Settle what is being sent, as far as time and the store allow.

        What is not settled is sent again: leases are freed at the next start.
        """
        finishing = asyncio.create_task(self.dispatcher.finish(self.hurried))
        hurried = asyncio.create_task(self.hurried.wait())
        await asyncio.wait((finishing, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not finishing.done():
            log.warning("ended at once, what was being sent is sent again")
            # What is known is still to be written down, unless the store takes its time, too.
            await asyncio.wait((finishing,), timeout=_LAST_WORDS_S)
        if not finishing.done():
            finishing.cancel()
            await asyncio.wait((finishing,))
            return
        try:
            finishing.result()
        except Unavailable as problem:
            # One line: the fault is the disk's, and not in this code.
            log.error("outcomes not stored at the end, sent again", code=problem.code)  # noqa: TRY400

    async def _finish_key_uses(self) -> None:
        with suppress(Unavailable):  # the last minute is not known then
            await self.key_uses.save()

    async def _finish_indexing(self) -> None:
        with suppress(Unavailable):  # then it is another's turn a little later
            await self.indexer.finish()

    async def _settle_in(self) -> None:
        """Make the first organization and its keys; apply the keys that the settings give."""
        if not self._has_api:
            return  # nobody would look at a worker's screen for the keys of the service
        if not self.directory.organizations():
            await self._make_first_organization()
            await self.directory.refresh()
        if self.first_keys is None:
            # Also where another process was quicker: its settings may give other keys.
            await self._apply_given_keys(self.directory.organizations()[-1].id)
            await self.directory.refresh()

    async def _make_first_organization(self) -> None:
        settings, store = self.settings, self.store
        api_key = settings.api_key or new_api_key()
        admin_key = settings.admin_key or new_api_key()
        now = store.now()
        organization = Organization(
            id=store.ids.new(ids.ORGANIZATION),
            name=FIRST_ORGANIZATION,
            created_at=now,
            updated_at=now,
        )
        keys = (
            self._key(
                api_key,
                organization.id,
                "first key" if settings.api_key is None else _API_KEY,
                ORGANIZATION_SCOPES,
            ),
            self._key(
                admin_key,
                None,
                "operator" if settings.admin_key is None else _ADMIN_KEY,
                (Scope.ADMIN,),
            ),
        )
        if await store.create_first_organization(organization, keys):
            self.first_keys = FirstKeys(organization.id, api_key, admin_key)

    async def _apply_given_keys(self, organization_id: str) -> None:
        settings, store = self.settings, self.store
        if settings.api_key is not None:
            await store.create_key(
                self._key(settings.api_key, organization_id, _API_KEY, ORGANIZATION_SCOPES)
            )
        if settings.admin_key is not None:
            await store.create_key(self._key(settings.admin_key, None, _ADMIN_KEY, (Scope.ADMIN,)))

    def _key(
        self, secret: str, organization_id: str | None, name: str, scopes: tuple[Scope, ...]
    ) -> Any:  # noqa: ANN401
        return key_record(
            self.store.ids.new(ids.KEY),
            secret,
            organization_id=organization_id,
            name=name,
            scopes=scopes,
            now=self.store.now(),
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _own_addresses(host: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """The address that is listened on, if it is one: deliveries may not come back to it."""
    try:
        address = ip_address(host)
    except ValueError:
        return ()
    return () if address.is_unspecified else (address,)


def _redis(settings: Settings) -> "Redis | None":
    """A connection to the Redis that the settings name; nothing is asked of it yet.

    Raises:
        SettingsError: they name none that can be asked.
    """
    if settings.redis_url is None:
        return None
    if find_spec("hiredis") is None:
        raise SettingsError("Redis needs an extra: pip install 'triggers-api[redis]'")
    # Imported only here: it needs that extra.
    from triggers_api.redis.address import address_of  # noqa: PLC0415
    from triggers_api.redis.client import Redis  # noqa: PLC0415

    return Redis(address_of(settings.redis_url))


def store_options(settings: Settings) -> StoreOptions:
    """Where the store of a process with these settings is, and how it is talked to."""
    size = settings.db_pool_size
    return StoreOptions(
        database_url=settings.database_url,
        direct_url=settings.database_direct_url,
        read_url=settings.read_database_url,
        pool_size=settings.max_concurrent_events * 2 + 10 if size is None else size,
        max_overflow=settings.db_max_overflow,
        pool_wait_s=settings.db_pool_wait_s,
        pool_recycle_s=settings.db_pool_recycle_s,
        secret_keys=secret_keys(settings),
    )


def secret_keys(settings: Settings) -> tuple[str, ...]:
    """What the settings give for the secrets of subscriptions: the first encrypts."""
    if settings.secret_key is None:
        return ()
    return settings.secret_key, *settings.old_secret_keys


def _forced(settings: Settings) -> dict[str, Any]:
    rows = {row.name: variable(row) for row in settings_table()}
    forced: dict[str, Any] = {}
    if settings.ingest_mode is not None:
        forced["ingest"] = (settings.ingest_mode, rows["ingest_mode"])
    if settings.delivery is not None:
        forced["delivery"] = (settings.delivery, rows["delivery"])
    return forced
