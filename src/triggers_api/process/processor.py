"""The processor: claims accepted events, asks routing, has the answer stored."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Final, TypeVar

import msgspec
import structlog

from triggers_api.errors import Unavailable
from triggers_api.model import ids
from triggers_api.model.controls import Running
from triggers_api.model.delivery import NewDelivery
from triggers_api.model.event import QueuedEvent
from triggers_api.model.filter import EventView
from triggers_api.process.pace import Pace
from triggers_api.store.base import FailedEvent, QueueClaim, RoutedEvent, Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics
from triggers_api.telemetry.tracing import Tracing

T = TypeVar("T")

log = structlog.get_logger(__name__)

Route = Callable[[QueuedEvent], tuple[NewDelivery, ...]]

_GROUP_EVENTS: Final = 50
_NEVER_ANSWERED: Final = "its worker died or stood still each time"
_RETRY_IN_S: Final = 1.0
"""How long an event waits after routing it failed; doubled with each further failure."""


class ProcessorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The processor's settings; the switches may override the first three while it runs."""

    batch_size: int
    concurrency: int
    min_poll_ms: int
    max_poll_ms: int
    item_timeout_s: float
    lease_s: float
    max_attempts: int


class Turned(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events that a turn claimed.

    Attributes:
        claimed: how many there were.
        ok: routed, with ``deliveries`` stored.
        error: given back to be tried again, or ``set_aside``.
        timeout: of which it is not known; their leases will tell.
        stale: of which the lease had run out.
        unfinished: not all that waits was looked at: there may be more.
    """

    claimed: int = 0
    ok: int = 0
    deliveries: int = 0
    error: int = 0
    set_aside: int = 0
    timeout: int = 0
    stale: int = 0
    unfinished: bool = False


class _Batch:
    """What became of one claim."""

    def __init__(self, claim: QueueClaim) -> None:
        self.token = claim.token
        self.size = len(claim.events)
        self.started = perf_counter()
        self.traces: Mapping[str, bytes] = {}
        self.ok = self.stale = self.error = self.timeout = self.set_aside = self.deliveries = 0


class Processor:
    """One turn is one claim. See ``operate/loop.py`` for how turns follow each other."""

    name = "processor"

    def __init__(
        self,
        store: Store,
        directory: Directory,
        *,
        settings: ProcessorSettings,
        metrics: Metrics,
        route: Route | None = None,
        left: Callable[[str], None] | None = None,
        tracing: Tracing | None = None,
        taken_in: Callable[[], int] = lambda: 0,
    ) -> None:
        """Set up.

        Args:
            store: where events wait.
            directory: knows the subscriptions.
            settings: how many at once.
            metrics: is told what became of them.
            route: is asked for each event, by default the directory's subscriptions.
            left: is told the organization of each event that was routed.
            tracing: writes down the routing of events that belong to a trace.
            taken_in: how many events this process has taken in so far, which a backlog gives way to.
        """
        self._tracing = tracing
        self._store = store
        self._directory = directory
        self._settings = settings
        self._metrics = metrics
        self._route = route or self._ask_directory
        self._left = left
        self._pause_s = 0.0
        self._pace = Pace(taken_in)
        self._turning = asyncio.Lock()
        self._unstored: list[tuple[int, Sequence[Sequence[RoutedEvent]]]] = []
        self.claimed = 0
        """Events that the last turn claimed."""

    async def run_once(self) -> float:
        """Claim a batch and route it; returns the seconds until the next look."""
        settings = self._settings
        longest_s = settings.max_poll_ms / 1000
        async with self._turning:
            self.claimed = 0
            await self._store_unstored()
            controls = self._directory.controls
            if controls.processing is Running.PAUSED:
                return longest_s
            limit = self._pace.limit(controls.batch_size or settings.batch_size)
            began = perf_counter()
            turned = await self._turn(limit)
        self.claimed = turned.claimed
        shortest_s = (controls.min_poll_ms or settings.min_poll_ms) / 1000
        if turned.unfinished:
            return 0.0
        if not turned.claimed:
            return self._back_off(shortest_s, longest_s)
        self._pause_s = shortest_s
        if turned.claimed < limit:
            return shortest_s
        # Not returned: whoever waits for that is woken by the next event.
        await asyncio.sleep(self._pace.rest_s(limit, perf_counter() - began))
        return 0.0

    async def by_hand(self) -> Turned:
        """One turn because somebody asks for it, also while processing is paused."""
        async with self._turning:
            await self._store_unstored()
            return await self._turn(
                self._directory.controls.batch_size or self._settings.batch_size
            )

    async def _turn(self, limit: int) -> Turned:
        settings, controls = self._settings, self._directory.controls
        in_order_of = self._directory.ordered
        claim = await self._store.claim_queue(
            limit,
            settings.lease_s,
            contents_of=self._directory.filtering,
            in_order_of=in_order_of,
            not_of=self._directory.processing_paused,
        )
        claimed = len(claim.events)
        if not claimed:
            return Turned(unfinished=claim.unfinished)
        # Another process may have confirmed a subscription before it took one of these in.
        await self._directory.catch_up(claim.settings_version)
        claim = await self._without_late(claim, self._directory.ordered - in_order_of)
        batch = await self._work(claim, controls.concurrency or settings.concurrency)
        return Turned(
            claimed=claimed,
            ok=batch.ok,
            deliveries=batch.deliveries,
            error=batch.error,
            set_aside=batch.set_aside,
            timeout=batch.timeout,
            stale=batch.stale,
            unfinished=claim.unfinished,
        )

    async def _without_late(self, claim: QueueClaim, late: Collection[str]) -> QueueClaim:
        """The claim without events of organizations of which was not known that their order matters."""
        mixed = [event for event in claim.events if event.organization_id in late]
        if not mixed:
            return claim
        again = [FailedEvent(event, "to be claimed in order", 0.0) for event in mixed]
        await self._store.release(claim.token, again)
        kept = tuple(event for event in claim.events if event.organization_id not in late)
        return msgspec.structs.replace(claim, events=kept)

    async def wait(self, timeout_s: float) -> None:
        """Until an event comes in, or the poll is due."""
        await self._store.wait_queue(timeout_s)

    def _back_off(self, shortest_s: float, longest_s: float) -> float:
        before, self._pause_s = self._pause_s, min(max(self._pause_s * 2, shortest_s), longest_s)
        if self._pause_s == longest_s != before:
            log.info("queue empty, backing off", poll_s=longest_s)
        return self._pause_s

    async def _work(self, claim: QueueClaim, concurrency: int) -> _Batch:
        if claim.recovered:
            self._metrics.recovered.labels("event").inc(claim.recovered)
            log.warning("events taken over from a lease that ran out", count=claim.recovered)
        batch = _Batch(claim)
        if self._tracing is not None:
            with suppress(Unavailable):  # a trace is not worth an event's waiting
                batch.traces = await self._store.traces([event.id for event in claim.events])
        ends = await asyncio.gather(
            *(
                self._work_group(batch, events)
                for events in self._groups(claim.events, concurrency)
            ),
            return_exceptions=True,
        )
        for end in ends:
            if end is not None:
                raise end
        self._report(batch)
        return batch

    def _groups(
        self, events: Sequence[QueuedEvent], concurrency: int
    ) -> Iterator[Sequence[QueuedEvent]]:
        """Events that are worked on together; all of an organization's where their order matters."""
        ordered = self._directory.ordered
        lined_up: dict[str, list[QueuedEvent]] = {}
        others = []
        for event in events:
            if event.organization_id in ordered:
                lined_up.setdefault(event.organization_id, []).append(event)
            else:
                others.append(event)
        yield from lined_up.values()
        yield from _groups(others, concurrency)

    async def _work_group(self, batch: _Batch, events: Sequence[QueuedEvent]) -> None:
        routed: list[RoutedEvent] = []
        failed: list[FailedEvent] = []
        for event in events:
            if event.attempts > self._settings.max_attempts:
                # Claimed as often as it may be and never heard of again: it kills who routes it.
                failed.append(FailedEvent(event, _NEVER_ANSWERED, None))
                continue
            try:
                if event.organization_id in self._directory.filtering:
                    routed.append(RoutedEvent(event, await self._route_by_content(event)))
                else:
                    routed.append(RoutedEvent(event, self._route(event)))
            except Exception as error:  # noqa: BLE001 - one event's fault is nobody else's
                failed.append(self._failure(event, error))
        size = max(_GROUP_EVENTS, len(routed))
        if events[0].organization_id in self._directory.ordered:
            size = _GROUP_EVENTS
        failed += await self._store_in_turn(batch, list(_parts(routed, size)))
        if failed:
            await self._give_back(batch, failed)

    async def _store_in_turn(
        self, batch: _Batch, parts: Sequence[Sequence[RoutedEvent]]
    ) -> list[FailedEvent]:
        """Store one part after the other, and none after one of which it is not known."""
        failed: list[FailedEvent] = []
        timeouts = batch.timeout
        for place, routed in enumerate(parts):
            try:
                failed += await self._store_together(batch, routed)
            except Unavailable:
                # Not the events' fault, and the leases still hold: once more with the next turn.
                self._unstored.append((batch.token, parts[place:]))
                raise
            if batch.timeout != timeouts:
                break
        return failed

    async def _store_together(
        self, batch: _Batch, routed: Sequence[RoutedEvent]
    ) -> list[FailedEvent]:
        """Store a group in one transaction; when that fails, each event in its own, in their order."""
        try:
            await self._store_routed(batch, routed)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - find out whose fault it was
            if len(routed) == 1:
                return [self._failure(routed[0].event, error)]
            failed: list[FailedEvent] = []
            timeouts = batch.timeout
            for answer in routed:
                failed += await self._store_together(batch, (answer,))
                if batch.timeout != timeouts:
                    break
            return failed
        return []

    async def _store_unstored(self) -> None:
        """Store what the store did not take. Where a lease has run out meanwhile, nothing is changed."""
        unstored, self._unstored = self._unstored, []
        while unstored:
            token, parts = unstored.pop(0)
            events = tuple(answer.event for routed in parts for answer in routed)
            batch = _Batch(QueueClaim(token, events))
            try:
                failed = await self._store_in_turn(batch, parts)
            except Unavailable:
                self._unstored += unstored
                raise
            if failed:
                await self._give_back(batch, failed)
            self._report(batch)

    async def _store_routed(self, batch: _Batch, routed: Sequence[RoutedEvent]) -> None:
        try:
            async with asyncio.timeout(self._settings.item_timeout_s):
                stale = await self._store.fan_out(batch.token, routed)
        except TimeoutError:
            # Whether it was stored is not known. If not, the leases run out and somebody else
            # does it; if so, the queue rows are gone.
            batch.timeout += len(routed)
            log.error(  # noqa: TRY400 - a timeout's traceback shows only where it was waited
                "items timed out", count=len(routed), timeout_s=self._settings.item_timeout_s
            )
            return
        gone = set(stale)
        batch.stale += len(gone)
        batch.ok += len(routed) - len(gone)
        now = self._store.now()
        for answer in routed:
            if answer.event.id not in gone:
                batch.deliveries += len(answer.deliveries)
                self._metrics.accepted_to_routed.observe((now - answer.event.due_at) / 1000)
                if answer.event.id in batch.traces:
                    self._tell_trace(batch, answer)
                self._metrics.rollups.routed(answer.event.organization_id)
                if self._left is not None:
                    self._left(answer.event.organization_id)

    def _tell_trace(self, batch: _Batch, answer: RoutedEvent) -> None:
        assert self._tracing is not None
        self._tracing.routed(
            batch.traces[answer.event.id],
            seconds=perf_counter() - batch.started,
            attributes={
                "triggers.organization.id": answer.event.organization_id,
                "triggers.event.id": answer.event.id,
                "triggers.deliveries": len(answer.deliveries),
                "triggers.batch.events": batch.size,
            },
        )

    def _failure(self, event: QueuedEvent, error: Exception) -> FailedEvent:
        log.error("routing failed", event_id=event.id, attempts=event.attempts, error=_named(error))
        last = event.attempts >= self._settings.max_attempts
        return FailedEvent(
            event, _named(error), None if last else _RETRY_IN_S * 2 ** (event.attempts - 1)
        )

    async def _give_back(self, batch: _Batch, failed: Sequence[FailedEvent]) -> None:
        stale = set(await self._store.release(batch.token, failed))
        batch.stale += len(stale)
        for failure in failed:
            if failure.event.id in stale:
                continue
            batch.error += 1
            if failure.retry_in_s is None:
                batch.set_aside += 1
                log.error(
                    "event set aside",
                    event_id=failure.event.id,
                    organization_id=failure.event.organization_id,
                    attempts=failure.event.attempts,
                    reason=failure.reason,
                )

    def _report(self, batch: _Batch) -> None:
        seconds = perf_counter() - batch.started
        metrics = self._metrics
        metrics.batch_events.observe(batch.size)
        metrics.batch_seconds.observe(seconds)
        metrics.processed_ok.inc(batch.ok)
        metrics.processed_error.inc(batch.error)
        metrics.processed_timeout.inc(batch.timeout)
        metrics.processed_set_aside.inc(batch.set_aside)
        if batch.stale:
            metrics.processed_stale.inc(batch.stale)
            metrics.stale_leases.labels("fan_out").inc(batch.stale)
        log.info(
            "batch summary",
            events=batch.size,
            ok=batch.ok,
            stale=batch.stale,
            error=batch.error,
            timeout=batch.timeout,
            set_aside=batch.set_aside,
            deliveries=batch.deliveries,
            duration_ms=round(seconds * 1000, 2),
        )

    async def _route_by_content(self, event: QueuedEvent) -> tuple[NewDelivery, ...]:
        # Filters may take a while; requests go on in between.
        await asyncio.sleep(0)
        if event.payload is not None:
            return self._route(event)
        # The first filter of its organization came with the settings that this claim caught up with.
        found = await self._store.event(event.organization_id, event.id)
        if found is None:
            return ()  # deleted since: its lease is gone, too
        return self._route(
            msgspec.structs.replace(
                event,
                payload=bytes(found.payload),
                source=found.source,
                key=found.key,
                metadata=None if found.metadata is None else msgspec.json.encode(found.metadata),
            )
        )

    def _ask_directory(self, event: QueuedEvent) -> tuple[NewDelivery, ...]:
        routes = self._directory.routes(event.organization_id)
        new = self._store.ids.new
        return tuple(
            NewDelivery(new(ids.DELIVERY), subscription.id, subscription.order_key(event.key))
            for subscription in routes.route(
                EventView(
                    event.type,
                    source=event.source,
                    key=event.key,
                    metadata=event.metadata,
                    payload=event.payload,
                    operational=event.operational,
                ),
                (event.released_at or event.received_at) + self._store.skew_ms,
                now=self._store.now(),
                on_fault=self._metrics.count_filter_fault,
            )
        )


def _groups(events: Sequence[QueuedEvent], most: int) -> Iterator[Sequence[QueuedEvent]]:
    """At most so many groups, each worth a transaction."""
    return _parts(events, max(_GROUP_EVENTS, -(-len(events) // most)))


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _named(error: Exception) -> str:
    # The type alone: a message may quote what the event holds.
    return type(error).__name__
