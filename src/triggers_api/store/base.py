"""The store: every write of the product, each verb with its contract in words.

Four verbs carry an event: **append → route → claim → settle**. Routing reads
(:meth:`Store.claim_queue`) and writes (:meth:`Store.fan_out`) here; what it decides is the pure
function in ``model/routing.py``.

Rules that hold for every verb of every engine, and are tested once in ``tests/contract/``:

- A verb that returns has committed; one that raises :class:`~triggers_api.errors.Problem` other than
  ``OutcomeUnknown`` has changed nothing.
- Time is the store's (:meth:`Store.now`); a lease is valid until ``lease_until`` by that clock and no
  longer.
- Work is claimed under a **token**. A settlement, release or fan-out whose token is not the row's
  present one, or whose lease has run out, changes nothing and is reported as stale.
- An id of another organization is the same as one that does not exist.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Final, Protocol, Self

import msgspec

from triggers_api.model.attempt import AttemptDetails
from triggers_api.model.audit import Deed, Entry
from triggers_api.model.controls import Controls, Switches
from triggers_api.model.delivery import (
    Attempt,
    Delivery,
    DeliveryDetail,
    DeliveryStatus,
    NewDelivery,
    Origin,
)
from triggers_api.model.erasure import Erasure
from triggers_api.model.event import (
    Event,
    EventAside,
    EventDetail,
    EventStatus,
    FirstEvent,
    NewEvent,
    QueuedEvent,
)
from triggers_api.model.event_type import EventType, EventTypeRecord
from triggers_api.model.health import EndpointHealth, HealthChange
from triggers_api.model.ids import IdGenerator
from triggers_api.model.inbox import (
    Inbox,
    InboxAction,
    InboxCounts,
    InboxOutcome,
    LeasedEvent,
)
from triggers_api.model.job import Job, Replay, Selection, Then
from triggers_api.model.notice import Notice
from triggers_api.model.organization import ApiKey, KeyRecord, Organization
from triggers_api.model.postings import Part
from triggers_api.model.quota import QuotaAsk, QuotaGrant
from triggers_api.model.retention import Cutoffs
from triggers_api.model.rollup import Rollup
from triggers_api.model.search import Asked, Condition
from triggers_api.model.statistics import SubscriptionStats
from triggers_api.model.subscription import Subscription, SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.verification import Check, Integrity
from triggers_api.model.worker import Worker
from triggers_api.model.workload import DeadGroup, SubscriptionWorkload, Workload
from triggers_api.store.bodies import Sealing


class Landed(msgspec.Struct, frozen=True, gc=False):
    """What became of an event that comes out of the ingest buffer.

    Attributes:
        id: its own.
        was_there: it had been stored before, and nothing was changed.
        duplicate_of: the event that has its dedup_id. It is kept all the same, and nobody gets it.
    """

    id: str
    was_there: bool = False
    duplicate_of: str | None = None


class QueueClaim(msgspec.Struct, frozen=True):
    """Events leased for routing.

    Attributes:
        token: names the lease; goes with every later call about these events.
        recovered: how many of them were taken over from a lease that had run out.
        settings_version: in force when they were claimed. Who routes them by an older one may miss a
            subscription that was confirmed before they came in.
        unfinished: the look ended before all that is due was looked at: look again at once.
    """

    token: int
    events: tuple[QueuedEvent, ...]
    recovered: int = 0
    settings_version: int = 0
    unfinished: bool = False


class RoutedEvent(msgspec.Struct, frozen=True, gc=False):
    """Routing's answer for one claimed event."""

    event: QueuedEvent
    deliveries: tuple[NewDelivery, ...]


class FailedEvent(msgspec.Struct, frozen=True, gc=False):
    """A claimed event that could not be routed this time.

    ``retry_in_s`` is ``None`` when it is to be set aside as ``failed`` with the reason.
    """

    event: QueuedEvent
    reason: str
    retry_in_s: float | None


class ClaimedDelivery(msgspec.Struct, frozen=True, gc=False):
    """A leased delivery with everything needed to send it.

    Attributes:
        failures: attempts since the delivery was opened, by the event or by a retry by hand.
        sent_at: the timestamp inside the ``standard`` format: ``occurred_at``, else received.
        sequence: its place among those of its subscription and key, where they are ordered.
        trace: which one its event belongs to, where the dispatcher has asked for that.
        metadata: a JSON object of strings, or ``None``.
        origin: what made it.
        priority: 0 the first attempt for an event, 1 a retry or a replay.
        probe: the subscription's breaker is open; this one finds out whether its endpoint is back.
        operational: the event is one of the service's own.
    """

    id: str
    token: int
    event_id: str
    event_type: str
    sent_at: Timestamp
    payload: bytes
    attempt_count: int
    failures: int
    target: SubscriptionRecord
    source: str | None = None
    key: str | None = None
    dedup_id: str | None = None
    metadata: bytes | None = None
    origin: Origin = Origin.EVENT
    priority: int = 0
    probe: bool = False
    operational: bool = False
    sequence: int | None = None
    trace: bytes | None = None


class Rooms(msgspec.Struct, frozen=True, kw_only=True):
    """How many deliveries one claim may take, of whom.

    Attributes:
        subscriptions: the room of some subscriptions, by id.
        default_subscription: that of every other one, or its ``max_concurrency`` where that is less.
        organizations: the room of some organizations, by id.
        default_organization: that of every other one.
    """

    subscriptions: Mapping[str, int]
    default_subscription: int
    organizations: Mapping[str, int]
    default_organization: int


class DeliveryClaim(msgspec.Struct, frozen=True):
    """Leased deliveries, and the settings version in force when they were claimed.

    Attributes:
        recovered: how many of them were taken over from a lease that had run out.
        unfinished: the look ended before every subscription with something due was looked at: look
            again at once.
    """

    deliveries: tuple[ClaimedDelivery, ...]
    recovered: int = 0
    settings_version: int = 0
    unfinished: bool = False


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """What became of a claimed delivery of an organization.

    ``attempt`` is ``None`` when no request was made; the attempt count then stays as it is.
    ``status`` may be a waiting one without an attempt: the delivery is given back. ``details`` are
    those of the attempt; headers and timings go on file with them and not with the attempt's own fields.
    ``in_line`` says that the delivery has a sequence; a store finds that out by itself, only later.

    ``notify``: the organization is to be told what this changes beyond the delivery, by a notice about
    each. ``notice`` is what the delivery itself has to tell; it is written down if this is not stale.

    ``sent_to`` is the URL that was asked: what it came to says nothing of another one.
    """

    organization_id: str
    delivery_id: str
    token: int
    status: DeliveryStatus
    reason: str | None = None
    next_attempt_at: Timestamp | None = None
    attempt: Attempt | None = None
    disable_subscription: str | None = None
    details: AttemptDetails | None = None
    notify: bool = False
    notice: Notice | None = None
    sent_to: str | None = None
    in_line: bool = False


class PendingNotice(msgspec.Struct, frozen=True):
    """A notice that is still to be told as an operational event; ``id`` is 32 hex digits."""

    id: str
    organization_id: str
    notice: Notice


class Settled(msgspec.Struct, frozen=True):
    """What came of a settlement.

    Attributes:
        stale: the ids of deliveries whose lease was no longer valid; nothing was changed for them.
        closed_to: subscriptions among the settled ones to which nothing may be sent now, because their
            breaker is open. What is held for them is to be given back.
        changes: the turns in the health of their endpoints.
    """

    stale: tuple[str, ...] = ()
    closed_to: frozenset[str] = frozenset()
    changes: tuple[HealthChange, ...] = ()


class HealthReset(StrEnum):
    """What a change of a subscription is to the health of its endpoint.

    ``forget``: it is another endpoint, or somebody says that it works. ``probe``: the same for one that
    was disabled for failing and stays so, which is tried as soon as possible.
    """

    KEEP = "keep"
    FORGET = "forget"
    PROBE = "probe"


class ProbeClaim(msgspec.Struct, frozen=True):
    """A subscription that was disabled for failing, leased to see whether its endpoint works again."""

    target: SubscriptionRecord
    health: EndpointHealth


class Farewell(msgspec.Struct, frozen=True):
    """A hook that has ended, leased to tell the other side; ``attempts`` count this one."""

    target: SubscriptionRecord
    attempts: int
    lease_until: Timestamp


class Page(msgspec.Struct, frozen=True):
    """Which part of a list, newest first: up to ``limit`` rows with ids before ``before``.

    In a list that begins with the oldest ``before`` is the last id that was shown, too.
    """

    limit: int = 50
    before: str | None = None


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events; ``type`` is a pattern, ``since`` inclusive and ``until`` exclusive on receipt.

    Either the service's own, ``operational``, or all others. ``words`` and ``conditions`` are about the
    payload, see ``model/search.py``.
    """

    type: str | None = None
    source: str | None = None
    key: str | None = None
    dedup_id: str | None = None
    status: EventStatus | None = None
    since: Timestamp | None = None
    until: Timestamp | None = None
    words: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    operational: bool = False
    oldest_first: bool = False

    @property
    def asked(self) -> Asked:
        """The part that follows from the content of an event."""
        return Asked(
            type=self.type,
            source=self.source,
            key=self.key,
            words=self.words,
            conditions=self.conditions,
            operational=self.operational,
        )


class FoundEvents(list[Event]):
    """A page of events.

    Attributes:
        go_on: the look ended before the page was full, because it would have gone too far. It goes on
            behind this id, which need not be one of the list, or of an event at all.
    """

    def __init__(self, events: Iterable[Event] = (), *, go_on: str | None = None) -> None:
        super().__init__(events)
        self.go_on = go_on


class IndexedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event as the index of searches takes it in.

    Attributes:
        id: its own.
        position: where it is in the order in which events are taken in.
        payload: ``None`` when it was deleted.
    """

    id: str
    position: str
    type: str
    source: str | None
    key: str | None
    operational: bool
    payload: bytes | None


class NewPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the index of searches, and how far that comes with it.

    Attributes:
        ids: the events by their places in the part; there may be none, and then there is no part.
        position: of the last event that was looked at.
        read_at: when the first of them was read.
    """

    organization_id: str
    ids: tuple[str, ...]
    part: Part
    position: str
    read_at: Timestamp


class StalePart(msgspec.Struct, frozen=True, kw_only=True):
    """A part with events that were deleted; ``ids`` are the events by their places in it."""

    organization_id: str
    number: int
    ids: tuple[str, ...]


LOOKED_AT: Final = 20_000
"""Deliveries that one look for a status goes past at the most."""


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries; ``since`` inclusive and ``until`` exclusive on creation.

    ``error_class`` is about dead ones of a subscription only.
    """

    status: DeliveryStatus | None = None
    subscription_id: str | None = None
    event_id: str | None = None
    error_class: str | None = None
    since: Timestamp | None = None
    until: Timestamp | None = None


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries of the audit log.

    Attributes:
        action: a pattern.
        actor: the id of a key, or a type of actor that has none.
        resource_type: what kind of thing was changed.
        resource: its id, or its name where it has none.
        since: inclusive.
        until: exclusive.
    """

    action: str | None = None
    actor: str | None = None
    resource_type: str | None = None
    resource: str | None = None
    since: Timestamp | None = None
    until: Timestamp | None = None


class FoundDeliveries(list[Delivery]):
    """A page of deliveries.

    Attributes:
        go_on: the look ended before the page was full, because it would have gone too far. It goes on
            behind this id.
    """

    def __init__(self, deliveries: Iterable[Delivery] = (), *, go_on: str | None = None) -> None:
        super().__init__(deliveries)
        self.go_on = go_on


class AuditPage(list[Entry]):
    """A page of the audit log.

    Attributes:
        go_on: the look ended before the page was full, because it would have gone too far. It goes on
            behind this id.
    """

    def __init__(self, entries: Iterable[Entry] = (), *, go_on: str | None = None) -> None:
        super().__init__(entries)
        self.go_on = go_on


class LogPage(msgspec.Struct, frozen=True):
    """Some events in the order of the log, and the position behind them, for the next call."""

    events: list[Event]
    position: str | None


class Changes(msgspec.Struct, frozen=True):
    """What of the settings half changed after a version: rows as they are now, gone ones by id.

    ``controls`` are the service's switches as versions without expiry read and write them.
    """

    version: int
    organizations: tuple[Organization, ...] = ()
    keys: tuple[KeyRecord, ...] = ()
    subscriptions: tuple[SubscriptionRecord, ...] = ()
    controls: Controls | None = None
    gone: tuple[str, ...] = ()
    event_types: tuple[EventTypeRecord, ...] = ()
    switches: tuple[Switches, ...] = ()


class OrganizationBacklog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits of an organization to be routed.

    Attributes:
        count: events, scheduled ones included.
        oldest_age_s: since when the one that has been due the longest is; 0 if none is.
    """

    count: int = 0
    oldest_age_s: float = 0.0


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """Depths by the store's own count.

    Attributes:
        depth: events accepted, due and not yet routed.
        scheduled: events whose ``deliver_at`` is still to come.
        leased: of ``depth``, how many are in a worker's hands.
        stuck: of ``depth``, how many have a lease that ran out.
        oldest_age_s: how long the oldest due one has been waiting to be routed; 0 when none.
        deliveries_waiting: pending and retrying.
        deliveries_leased: in a worker's hands.
        breakers_open: endpoints to which nothing is sent for a while, or only a probe.
        breakers_half_open: of these, how many may get a probe now.
        endpoints_failing: endpoints whose last attempt failed.
    """

    depth: int
    scheduled: int
    leased: int
    stuck: int
    oldest_age_s: float
    deliveries_waiting: int
    deliveries_leased: int
    breakers_open: int = 0
    breakers_half_open: int = 0
    endpoints_failing: int = 0


class QuotaLedger(Protocol):
    """Where what organizations have used of their rate limits is kept for several processes."""

    async def spend(self, asks: Sequence[QuotaAsk]) -> list[QuotaGrant]:
        """What becomes of the meters is what :func:`triggers_api.model.quota.spend` says, by one clock.

        Args:
            asks: each of another organization, in the order of their ids; none of them to find out
                whether the ledger is there.

        Returns:
            The answers, in the order of the asks.

        Raises:
            Unavailable: it cannot be reached. What was asked for may have been counted or not.
        """


class OrganizationDepth(msgspec.Struct, frozen=True, kw_only=True):
    """Of an organization's events that wait to be routed: how many, and since when the first is due.

    ``leased`` are in a worker's hands, and of ``stuck`` the lease ran out.
    """

    organization_id: str
    depth: int
    leased: int
    stuck: int
    oldest_at: Timestamp


class SubscriptionDepth(msgspec.Struct, frozen=True, kw_only=True):
    """Of a subscription's deliveries that are not finished: how many, and when the first is due.

    ``due`` are due now, those in a worker's hands, which are ``leased``, included. One that waits for
    another one in its line is due at no moment that comes.
    """

    organization_id: str
    subscription_id: str
    waiting: int
    due: int
    leased: int
    first_at: Timestamp


class Depths(msgspec.Struct, frozen=True, kw_only=True):
    """Who has the most in the queues, of what was counted: what has been due the longest.

    Attributes:
        organizations: those with the most events, and how many events were counted.
        subscriptions: those with the most deliveries, and how many deliveries were counted.
    """

    organizations: tuple[OrganizationDepth, ...] = ()
    events: int = 0
    subscriptions: tuple[SubscriptionDepth, ...] = ()
    deliveries: int = 0


class Reaped(msgspec.Struct, frozen=True):
    """What a sweep found.

    Attributes:
        events: leases on events that had run out.
        deliveries: leases on deliveries that had run out.
        cancelled: rows of deleted subscriptions that it ended.
        mended: lines whose first delivery waited for none: it is due now.
    """

    events: int = 0
    deliveries: int = 0
    cancelled: int = 0
    mended: int = 0


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What one piece of a sweep for old rows deleted.

    Attributes:
        events: how many.
        deliveries: how many, those of the events included.
        attempts: how many, those of the deliveries included.
        jobs: how many.
        position: where the next piece begins, ``None`` at the end.
        elsewhere: another process is at it, and nothing was done.
    """

    events: int = 0
    deliveries: int = 0
    attempts: int = 0
    jobs: int = 0
    position: str | None = None
    elsewhere: bool = False


class OrganizationAccount(msgspec.Struct, frozen=True, kw_only=True):
    """One organization's books: ``accepted`` is counted when an event is stored, the rest by row.

    What was deleted because it was old is in ``pruned``, and in ``accepted`` no longer.
    """

    organization_id: str
    accepted: int
    queued: int
    scheduled: int
    processed: int
    failed: int
    quarantined: int
    cancelled: int
    deleted: int
    pruned: int = 0
    deliveries: dict[str, int]

    def balances(self) -> bool:
        """Whether nothing accepted is missing from the states and no delivery from its total."""
        states = (
            self.queued,
            self.scheduled,
            self.processed,
            self.failed,
            self.quarantined,
            self.cancelled,
            self.deleted,
        )
        parts = sum(count for name, count in self.deliveries.items() if name != "total")
        return self.accepted == sum(states) and self.deliveries["total"] == parts


class ClaimedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A leased job; ``position`` is the id of the last event or delivery that was dealt with.

    ``recovered`` says that it was taken over from a lease that had run out.
    """

    organization_id: str
    job: Job
    position: str | None
    due_at: Timestamp
    token: int
    recovered: bool = False


class JobStep(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a job's work, with how far it brings it.

    Attributes:
        position: behind this event or delivery the job goes on; ``None`` is the beginning.
        counted: matches found while counting.
        replays: deliveries to be made.
        purges: ids of dead deliveries to be deleted.
        due_at: when the next step may come.
        error: why the job cannot go on, with ``Then.FAILED``.
        notify: if it is the last one, a notice of the job's end is part of the same transaction.
    """

    claimed: ClaimedJob
    then: Then
    position: str | None = None
    counted: int = 0
    replays: tuple[Replay, ...] = ()
    purges: tuple[str, ...] = ()
    due_at: Timestamp
    error: str | None = None
    notify: bool = False


class JobBacklog(msgspec.Struct, frozen=True):
    """Jobs that are not finished, and when one of them can be claimed (``None``: there is none)."""

    open: int
    next_at: Timestamp | None


class WalkedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that a job comes by.

    Attributes:
        routed: it was decided who gets it, and it is not deleted.
        operational: it is one of the service's own.
        delivered: the subscription that was asked about has a delivery of it, or it was made to test
            one.
    """

    id: str
    type: str
    routed: bool
    operational: bool
    delivered: bool


class WalkedDelivery(msgspec.Struct, frozen=True, gc=False):
    """A delivery that a job comes by.

    ``origin_id`` is the job that made it, if one did; ``error_class`` is of use where it is dead.
    """

    id: str
    event_id: str
    event_type: str
    subscription_id: str
    status: DeliveryStatus
    origin_id: str | None
    error_class: str | None


class EventContent(msgspec.Struct, frozen=True, gc=False):
    """What filters read of an event, besides its type."""

    payload: bytes
    source: str | None
    key: str | None
    metadata: bytes | None


class Reached(msgspec.Struct, frozen=True):
    """How far a look into an inbox came, for the next one to go on; what is in it is the engine's.

    Attributes:
        again: among what waits to be handed out again. Good for what follows at once.
        log: along the log. Good for ever: before it nothing of the types that were asked for is left
            without a row.
    """

    again: str | None = None
    log: str | None = None


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """What one look into an inbox came to.

    Attributes:
        events: in the caller's hands from now on.
        reached: where the next look goes on.
        unfinished: there may be more behind it.
        next_at: when something falls due of what is leased, put off or hidden.
        late: an event is stored that cannot be told yet, because of a transaction that is under way.
    """

    events: tuple[LeasedEvent, ...]
    reached: Reached
    unfinished: bool
    next_at: Timestamp | None = None
    late: bool = False


class InboxPage(msgspec.Struct, frozen=True):
    """Some of what is in an inbox, and the position behind the part that was looked at.

    ``unfinished``: there may be more behind it. ``late``: an event is stored that cannot be told yet.
    """

    events: list[Event]
    position: str | None
    unfinished: bool
    late: bool = False


class InboxSeek(msgspec.Struct, frozen=True, kw_only=True):
    """Where an inbox is to go on: at a moment, at an event, else at the start or the end of the log."""

    at: Timestamp | None = None
    event_id: str | None = None
    end: bool = False

    @property
    def shown(self) -> str:
        """The place as a caller names it."""
        if self.at is not None:
            return str(self.at)
        return self.event_id or ("end" if self.end else "start")


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """How the secrets of subscriptions are kept, by the number of subscriptions.

    Attributes:
        present: encrypted under the key that encrypts now.
        old: encrypted under another key that is known.
        clear: not encrypted, by a version that did not.
        lost: encrypted under a key that is not known, or damaged. Deleted ones do not count as lost.
    """

    present: int = 0
    old: int = 0
    clear: int = 0
    lost: int = 0

    @classmethod
    def of(cls, rows: Iterable[tuple[Sealing, bool]]) -> Self:
        """Count rows: how each is kept, and whether the subscription is there still."""
        counts = Counter(found for found, alive in rows if alive or found is not Sealing.LOST)
        return cls(**{found.value: counts[found] for found in Sealing})


class Durability(msgspec.Struct, frozen=True, kw_only=True):
    """What a 202 is worth on this store, for health: the engine, its version and settings in force."""

    engine: str
    version: str
    settings: dict[str, str]
    survives: str


class Connections(msgspec.Struct, frozen=True, kw_only=True):
    """A process's connections to a database server: at work, and kept until they are needed."""

    in_use: int
    idle: int
    most: int
    """How many there may be at once."""


class Store(Protocol):
    """One engine. See the module's docstring for the rules of every verb."""

    @property
    def ids(self) -> IdGenerator:
        """Makes ids that this store can hold; call it from the event loop only."""

    def now(self) -> Timestamp:
        """The store's clock."""

    @property
    def skew_ms(self) -> int:
        """How far apart this clock may be in two processes on one store."""

    # ── the queue half ────────────────────────────────────────────────────────────────────────

    def append(self, events: Sequence[NewEvent]) -> "asyncio.Future[Sequence[FirstEvent | None]]":
        """Store events durably; the answer, once awaited, follows the input item by item.

        ``None`` means stored. A :class:`FirstEvent` means that an event of the organization, not
        deleted, already holds the ``dedup_id``, and nothing was stored. Of twins in one or several
        simultaneous calls exactly one is stored. An event with ``deliveries`` is stored as
        processed with these deliveries; one without goes into the queue, due at ``deliver_at``; one with
        ``aside`` is stored as quarantined, and waits for :meth:`release_quarantined`.
        One item that cannot be stored does not cost the others of a simultaneous call.

        Raises:
            Overloaded: more is waiting to be committed than may wait.
            StorageFull: nothing was stored.
            OutcomeUnknown: the commit's answer was lost.
        """

    async def append_test(self, event: NewEvent) -> bool:
        """Store an event made to test a subscription, routed to that one alone and due at once.

        It has one delivery, of origin ``test``. No other subscription is asked about it, and the log
        leaves it out; the books count both.

        Returns:
            Whether there is such a subscription.

        Raises:
            InvalidState: the subscription has ended.
        """

    async def claim_queue(
        self,
        limit: int,
        lease_s: float,
        *,
        contents_of: Collection[str] = (),
        in_order_of: Collection[str] = (),
        not_of: Collection[str] = (),
    ) -> QueueClaim:
        """Lease up to ``limit`` due events, oldest first, those with a lease that ran out included.

        Those of the organizations in ``not_of`` are left, and however many they are, they do not keep
        others from being found.

        Events of the organizations in ``contents_of`` come with what filters read besides the key:
        payload, source and metadata.

        Events of the organizations in ``in_order_of`` are handed out in the order in which they were
        accepted, and to one claimer at a time: to nobody while one of them is in somebody's hands.

        An event claimed often without being routed is handed out alone, so that one that kills its
        worker does not take its neighbours with it.
        """

    async def fan_out(self, token: int, routed: Sequence[RoutedEvent]) -> Sequence[str]:
        """Store routing's answers in one transaction: deliveries in, queue rows out.

        Returns:
            The ids of events whose lease was no longer valid; nothing was stored for them.
        """

    async def release(self, token: int, failed: Sequence[FailedEvent]) -> Sequence[str]:
        """Give events back to be tried later, or set them aside; returns the stale ones' ids."""

    async def claim_deliveries(self, limit: int, lease_s: float, *, rooms: Rooms) -> DeliveryClaim:
        """Lease up to ``limit`` due deliveries of active subscriptions, the longest due first.

        No subscription and no organization gets more than its room. One without room does not keep
        others from being found, however much is due for it.
        """

    async def claim_for_session(
        self, organization_id: str, subscription_id: str, limit: int, lease_s: float
    ) -> DeliveryClaim:
        """Lease up to ``limit`` due deliveries of a subscription that a session fetches, oldest first.

        :meth:`claim_deliveries` passes these over. None are leased of one that has ended or expired.
        """

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        """Write outcomes down, state and attempt together, and what they say of endpoints with them.

        The health of endpoints follows ``model/health.py``, settlement by settlement in their order:
        its breaker opens and closes, and a subscription that has failed for too long is disabled, with
        what waits for it cancelled. An attempt that went to another URL than the subscription's present
        one says nothing.

        A settlement with ``disable_subscription`` also disables the subscription for that reason
        and cancels what waits for it; if it went to another URL than the present one, the delivery is
        due again instead.

        Notices are part of the same transaction: its own ``notice``, and with ``notify`` one of
        ``subscription.disabled`` when it was this settlement that disabled it, and one for each turn in
        the health of the endpoint.
        """

    async def endpoint_health(
        self, organization_id: str, subscription_ids: Collection[str]
    ) -> Mapping[str, EndpointHealth]:
        """What is known of the endpoints of subscriptions, of those that fail."""

    async def claim_probes(
        self, limit: int, lease_s: float, *, not_of: Collection[str] = ()
    ) -> Sequence[ProbeClaim]:
        """Lease subscriptions that were disabled for failing, and whose next probe is due.

        Those of the organizations in ``not_of`` are left.

        Until the lease runs out nobody else is given them.
        """

    async def settle_probe(
        self,
        probe: ProbeClaim,
        error: str | None,
        *,
        ended: str | None = None,
        notify: bool = False,
    ) -> HealthChange | bool:
        """Write down what a probe came to; one that succeeded makes the subscription active again.

        With ``notify`` a notice of that is part of the same transaction.

        With ``ended`` the receiver has said, whatever came of the probe, that it wants nothing more: the
        subscription stays disabled, for that reason from now on, and is not probed again.

        Returns:
            What turned, else whether it counted: not when the lease ran out, or the subscription was
            changed meanwhile.
        """

    async def end_expired(self, notify: Collection[str]) -> int:
        """End subscriptions that are past their ``expires_at``; what waits for them is cancelled.

        A notice of each is part of the same transaction for organizations in ``notify``, and for a hook
        a farewell, due when the other side has had the time to ask for it again.

        Returns:
            How many were ended.
        """

    async def claim_farewells(
        self, limit: int, lease_s: float, *, not_of: Collection[str] = ()
    ) -> Sequence[Farewell]:
        """Lease ended hooks of which the other side is to be told now, but for ``not_of``'s.

        Until the lease runs out nobody else is given them.
        """

    async def settle_farewell(
        self, farewell: Farewell, *, retry_at: Timestamp | None, understood: bool = False
    ) -> bool:
        """Tell it again at a moment, or never again.

        Where it was ``understood``, nobody looks any more whether a hook that was disabled for failing
        works again.

        Returns:
            Whether the lease was valid; otherwise nothing is changed.
        """

    async def notices(self, limit: int) -> list[PendingNotice]:
        """Up to ``limit`` notices that are still to be told, of any organization, oldest first."""

    async def forget_notices(self, notice_ids: Collection[str]) -> None:
        """Take notices out that have been told; one that is gone already is fine."""

    async def reap(self) -> Reaped:
        """Free what is held by leases that ran out, and finish what ended ones left to be cancelled."""

    async def beat(self, worker: Worker) -> Reaped:
        """Say that this process is alive, and free at once what silent ones had claimed.

        A process that has just begun, or was silent itself for so long that others may have taken it for
        dead, frees nothing until it has been heard for as long again: it may be the one that was cut
        off, and others need the time to be heard.
        """

    async def workers(self) -> list[Worker]:
        """The processes that work on this store and were heard of within the last minute."""

    async def wait_queue(self, timeout_s: float) -> None:
        """Return when events may be due, or after the timeout. May return for nothing."""

    async def wait_deliveries(self, timeout_s: float) -> None:
        """Return when deliveries may be due, or after the timeout. May return for nothing."""

    def wake_queue(self) -> None:
        """End the waiting of whoever is in :meth:`wait_queue` in this process."""

    def wake_deliveries(self) -> None:
        """End the waiting of whoever is in :meth:`wait_deliveries` in this process."""

    async def watch_deliveries(self, timeout_s: float) -> None:
        """As :meth:`wait_deliveries`, for any number of others, who take no notice away from it."""

    async def next_delivery_at(self) -> Timestamp | None:
        """When the next waiting delivery falls due, ``None`` when none waits."""

    async def in_flight(self, organization_id: str, subscription_id: str, most: int) -> int:
        """How many of a subscription's deliveries are in a worker's hands, counted up to ``most``."""

    # ── the record half ───────────────────────────────────────────────────────────────────────

    async def event(self, organization_id: str, event_id: str) -> EventDetail | None:
        """One event with its deliveries and timeline."""

    async def events(self, organization_id: str, wanted: EventFilter, page: Page) -> FoundEvents:
        """A page of events, newest first. Sees every event whose append has returned.

        What one call looks at is bounded: a page may have fewer events than there are, or none, and then
        says where to go on.
        """

    async def lease_index(self, lease_s: float, token: int | None = None) -> int | None:
        """Take the lease under which the index of searches is made, or with its token take it again.

        Returns:
            Its token; ``None`` while another one has it. Every write under it makes it as long again.
        """

    async def index_backlog(self, most: int) -> Mapping[str, int]:
        """How many events of each organization the index does not have yet, counted up to ``most``."""

    async def unindexed_events(
        self, organization_id: str, after: str | None, limit: int
    ) -> list[IndexedEvent]:
        """The next events to be taken in behind a position, ``None`` for where the index is.

        No event that is stored later, or was seen later, comes before one of these.
        """

    async def save_part(self, token: int, part: NewPart) -> bool:
        """Add a part to the index; returns whether the lease was valid, and nothing changed if not."""

    async def stale_part(self, before: Timestamp) -> StalePart | None:
        """A part from which an event was deleted before a moment."""

    async def events_to_index(
        self, organization_id: str, event_ids: Sequence[str]
    ) -> dict[str, IndexedEvent]:
        """Those of these events that are not deleted."""

    async def replace_part(
        self, token: int, stale: StalePart, part: Part, *, read_at: Timestamp
    ) -> bool:
        """Put what was read at a moment in a part's place; returns whether the lease was valid."""

    async def prune_index(self, token: int, limit: int) -> int:
        """Take out up to ``limit`` parts of events and organizations that are gone.

        Returns:
            How many it were.
        """

    async def log(self, organization_id: str, after: str | None, limit: int) -> LogPage:
        """The events behind a position (``None``: from the first), in the log's order.

        A reader who goes on from position to position is told of each event once, and skips none: an
        event whose transaction is still under way is behind every position that is given out. Deleted
        events are left out, and those that the service tells of itself.

        Raises:
            MalformedValue: the position is not one of this store's.
        """

    async def log_end(self, organization_id: str) -> str | None:
        """The position behind everything that can be told now, ``None`` when that is nothing."""

    async def log_position(self, organization_id: str, event_id: str) -> str | None:
        """The position behind an event, a deleted one too; ``None`` when there is no such event."""

    async def wait_log(self, heard: int, timeout_s: float) -> int:
        """Return when the log may have grown since a call returned ``heard``, or after the timeout."""

    async def cancel_event(self, organization_id: str, event_id: str) -> bool:
        """End an event that was not routed yet: it never will be. Its dedup_id stays taken.

        Of a cancellation and a fan-out at the same time exactly one takes place. One that is cancelled
        stays as it is.

        Returns:
            Whether there is such an event.

        Raises:
            InvalidState: it was routed, or set aside.
        """

    async def delete_event(self, organization_id: str, event_id: str) -> bool:
        """Erase an event: payload gone, waiting deliveries cancelled, its dedup_id free again."""

    async def deliveries(
        self, organization_id: str, wanted: DeliveryFilter, page: Page, *, depth: int = LOOKED_AT
    ) -> FoundDeliveries:
        """A page of deliveries, newest first.

        Where no index holds those of a status by themselves, about ``depth`` are looked at, at the most.
        """

    async def dead_groups(
        self, organization_id: str, *, after: tuple[str, str] | None, limit: int, most: int
    ) -> list[DeadGroup]:
        """Some groups of dead letters, by subscription and error class, behind such a pair.

        Those of each are counted up to ``most``.
        """

    async def delivery(self, organization_id: str, delivery_id: str) -> DeliveryDetail | None:
        """One delivery with its attempts."""

    async def subscription_stats(
        self, organization_id: str, subscription_id: str, *, since: Timestamp, until: Timestamp
    ) -> SubscriptionStats:
        """How the deliveries made for a subscription within a window have fared.

        At most ``DELIVERIES_LIMIT`` of them are looked at, the newest, and ``ATTEMPTS_LIMIT`` of their
        attempts. ``since`` is inclusive, ``until`` exclusive. All zero for a subscription that does not
        exist.
        """

    async def retry_delivery(self, organization_id: str, delivery_id: str) -> bool:
        """Open a dead, skipped or cancelled delivery again, or bring a waiting one forward: due now.

        Returns:
            Whether there is such a delivery.

        Raises:
            InvalidState: it succeeded, is being delivered, or its event or subscription is gone.
        """

    async def cancel_delivery(self, organization_id: str, delivery_id: str) -> bool:
        """End a delivery that is not finished; an attempt in flight will change nothing.

        Returns:
            Whether there is such a delivery.

        Raises:
            InvalidState: it is finished.
        """

    # ── retention ─────────────────────────────────────────────────────────────────────────────
    #
    # A sweep is made piece by piece: ``after`` is the position that the last piece returned, ``None``
    # begins with the first organization; ``limit`` is how many rows to look at, about. Where several
    # processes share the store one of them deletes events or deliveries at a time; the answer of another
    # one is ``elsewhere``.

    async def prune_events(self, cutoffs: Cutoffs, *, after: str | None, limit: int) -> Pruned:
        """Delete events to which all that was to happen had happened before a moment.

        One that waits to be routed, was set aside, or has a delivery that is not finished is kept,
        however old it is; so is one of whose deliveries one was finished since, or is dead and to be
        kept still. With an event go its payload, deliveries and attempts, and its dedup_id is free. The
        books lose it in the same transaction, and count it as pruned.
        """

    async def prune_deliveries(self, cutoffs: Cutoffs, *, after: str | None, limit: int) -> Pruned:
        """Delete deliveries that succeeded, or were skipped or cancelled, before a moment.

        Their attempts go with them. Their events stay, and stay routed; the books lose the deliveries.
        """

    async def prune_dead_letters(
        self, cutoffs: Cutoffs, *, after: str | None, limit: int
    ) -> Pruned:
        """Delete deliveries that died before a moment, in the same way."""

    async def prune_attempts(self, cutoffs: Cutoffs, *, after: str | None, limit: int) -> Pruned:
        """Delete attempts from before a moment whose deliveries are finished.

        A delivery keeps its count of attempts. Attempts of one that is open are kept, however old.
        """

    async def prune_jobs(self, before: Timestamp, *, after: str | None, limit: int) -> Pruned:
        """Delete jobs that were finished before a moment."""

    async def stats(self) -> QueueStats:
        """Depths: up to 100,000 rows of a kind exact and at most 1 s old.

        Beyond that an estimate, or as old as twenty times what counting takes, as the engine has it.
        """

    async def organization_depths(
        self, limits: Mapping[str, int]
    ) -> dict[str, OrganizationBacklog]:
        """How much of some organizations waits to be routed, and for how long.

        Args:
            limits: the organizations, each with the number of events, the first that came, above which
                it need not be looked further.

        Returns:
            At least those that have some.
        """

    async def depths(self, *, counted: int, shown: int) -> Depths:
        """Who has the most waiting: up to ``shown`` organizations and subscriptions.

        Of events, and of either line of deliveries, the ``counted`` are counted that have been due the
        longest, so that it takes no longer however many there are.
        """

    async def is_idle(self, *, but_for: Collection[str] = ()) -> bool:
        """Whether no event is due or in a worker's hands, and no delivery that may be sent now.

        What waits for later, or for a subscription that is not sent to, is not counted, nor is what
        waits for the subscriptions in ``but_for``.
        """

    async def accounts(self) -> list[OrganizationAccount]:
        """Every organization's books, counted now in one snapshot."""

    # ── what was counted ──────────────────────────────────────────────────────────────────────
    #
    # Statistics for people, none of which the books rest on: see ``model/rollup.py``.

    async def save_rollups(self, rollups: Sequence[Rollup]) -> None:
        """Write tallies down, each in place of what its writer wrote of the same stretch before."""

    async def rollups(
        self, organization_id: str, step_s: int, *, since: Timestamp, until: Timestamp
    ) -> list[Rollup]:
        """An organization's tallies, or those of ``EVERYBODY``: one for each stretch and writer.

        Of stretches of ``step_s`` that began at ``since`` or later, and before ``until``.
        """

    async def subscription_rollups(
        self, organization_id: str, subscription_ids: Collection[str], *, since: Timestamp
    ) -> list[Rollup]:
        """The tallies of some of an organization's subscriptions from a moment on."""

    async def prune_rollups(self, step_s: int, before: Timestamp, limit: int) -> int:
        """Delete up to ``limit`` tallies of stretches of this length that began before a moment.

        Returns:
            How many were deleted.
        """

    async def workload(self, organization_id: str | None, most: int) -> Workload:
        """What an organization has waiting, dead and on file; with ``None`` all of them together.

        Rows of a kind are counted up to ``most``.
        """

    async def subscription_workload(
        self, organization_id: str, subscription_ids: Collection[str], most: int
    ) -> Mapping[str, SubscriptionWorkload]:
        """What some subscriptions have waiting and dead, counted up to ``most`` each.

        Of one that is not there, nothing waits.
        """

    async def faults(self, check: Check, limit: int) -> list[str]:
        """The ids of up to ``limit`` records with which something is wrong; goes through all of them.

        Each is told of one moment: what others are at is no fault.
        """

    async def repair(self, check: Check, limit: int) -> int:
        """Mend up to ``limit`` faults of a kind beside whatever else is under way; returns how many.

        What was accepted and lies nowhere waits to be routed, or sent, again. What is left of something
        that is gone is deleted. Counters become what is there.
        """

    async def integrity(self) -> Integrity:
        """What the database finds out about its own files and indexes."""

    # ── sessions of the operator page ─────────────────────────────────────────────────────────

    async def log_out(self, session: str, expires_at: Timestamp) -> None:
        """Note that a session was ended before its time, until it would have ended by itself."""

    async def logged_out(self, session: str) -> bool:
        """Whether a session was ended before its time, by whatever process."""

    # ── what is kept aside ────────────────────────────────────────────────────────────────────

    async def quarantine(self, organization_id: str | None, page: Page) -> list[EventAside]:
        """A page of the events that are kept aside, newest first; of all organizations with ``None``."""

    async def event_aside(self, event_id: str) -> EventAside | None:
        """One event that is kept aside, of whatever organization."""

    async def release_quarantined(
        self, organization_id: str, event_id: str, payload: bytes | None
    ) -> bool:
        """Have an event that is kept aside routed, as if it had come in now.

        With ``payload`` it has another one from then on. One with ``deliver_at`` still to come is
        scheduled. Of a release and a deletion at the same time one comes after the other; of two
        releases one takes place.

        Returns:
            Whether there is such an event.

        Raises:
            InvalidState: it is not kept aside.
        """

    # ── inboxes ───────────────────────────────────────────────────────────────────────────────
    #
    # The default inbox is there from the beginning; of any other one ``None`` says that it is not.

    async def inboxes(self, organization_id: str) -> list[Inbox]:
        """An organization's inboxes by name, the default one included."""

    async def inbox(self, organization_id: str, name: str) -> Inbox | None:
        """One inbox."""

    async def save_inbox(
        self, organization_id: str, name: str, types: Sequence[str] | None, *, from_end: bool
    ) -> tuple[Inbox, bool]:
        """Make an inbox that begins at the log's start or end, or give one other types.

        Other types hold for events that it has not come by; what is in hand stays.

        Returns:
            The inbox, and whether it is new.

        Raises:
            InvalidState: the organization has ``MOST_INBOXES`` of them.
        """

    async def delete_inbox(self, organization_id: str, name: str) -> bool:
        """Delete an inbox; the default one begins anew.

        Returns:
            Whether there was one.
        """

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
        """Lease up to ``limit`` events: what waits to be handed out again first, then along the log.

        An event is in one consumer's hands at a time, until ``lease_until``. One look goes past a
        bounded number of events of other types; the next one goes on where it stopped. An event that is
        hidden when a look comes by is handed out when it can be seen.

        Args:
            organization_id: whose.
            name: of the inbox.
            limit: how many.
            lease_s: for how long.
            types: patterns; of the inbox's events only those of these types. Others stay where they are.
            most_bytes: how large the payloads may be together, but for the first one.
            reached: where the look before ended that asked for the same types, else ``Reached()``.
        """

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
        """Acknowledge events, give them back, or keep them for longer.

        By receipt an event is settled only while its lease is valid. By id it is whoever has it; what
        nobody has can be acknowledged, too, or put off. Acknowledging twice by id is fine.

        Args:
            organization_id: whose.
            name: of the inbox.
            action: what to do.
            named: receipts that :meth:`pull_inbox` gave out, or ids of events.
            by_id: they are ids.
            seconds: from now on, how long to put it off, or how long the lease is to last.

        Returns:
            What came of each, in their order.
        """

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
        """What was not acknowledged, leased or not, in the log's order behind a position.

        Raises:
            MalformedValue: the position is not one of this store's.
        """

    async def seek_inbox(self, organization_id: str, name: str, to: InboxSeek) -> bool | None:
        """Have an inbox go on elsewhere: all from there on is un-acknowledged, all before it done with.

        Leases end. What is hidden still comes when it can be seen, wherever it lies.

        Returns:
            Whether the event is there that it was to go to.
        """

    async def count_inbox(self, organization_id: str, name: str, most: int) -> InboxCounts | None:
        """Count what is in an inbox, going past ``most`` events at the most."""

    async def traces(self, event_ids: Collection[str]) -> Mapping[str, bytes]:
        """Which trace each of these belongs to, of those that do: ``NewEvent.trace``, stored with it."""

    async def prune_traces(self, before: Timestamp, limit: int) -> int:
        """Forget that of up to ``limit`` events accepted before a moment; returns how many."""

    async def prune_inboxes(self, limit: int) -> int:
        """Delete up to ``limit`` rows that seeks and deletions left; returns how many."""

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────

    async def replay_event(
        self, organization_id: str, event_id: str, deliveries: Sequence[NewDelivery]
    ) -> list[Delivery] | None:
        """Make deliveries of an event once more, due now, behind first attempts and in no order.

        Returns:
            The new deliveries in the order of the input; ``None`` if there is no such event.

        Raises:
            InvalidState: the event has not been routed, or a subscription is not there any more.
        """

    async def create_job(
        self, organization_id: str, job: Job, *, position: str | None = None, most_open: int
    ) -> None:
        """Store a job, due now; finished ones that are long over are forgotten.

        Raises:
            InvalidState: the organization has ``most_open`` jobs that are not finished.
        """

    async def job(self, organization_id: str, job_id: str) -> Job | None:
        """One job."""

    async def jobs(self, organization_id: str, page: Page) -> list[Job]:
        """A page of jobs, newest first."""

    async def cancel_job(self, organization_id: str, job_id: str) -> Job | None:
        """End a job that is not finished; a step that is under way will change nothing.

        Returns:
            The job as it is now; ``None`` if there is no such job.

        Raises:
            InvalidState: it is finished.
        """

    async def job_backlog(self) -> JobBacklog:
        """How many jobs are open."""

    async def claim_job(self, lease_s: float) -> ClaimedJob | None:
        """Lease a job that is due, if there is one. Organizations take turns, then the longest due."""

    async def advance_job(self, step: JobStep) -> Job | None:
        """Store a step in one transaction, what it did and how far it came, and end the lease.

        A replay of an event that was deleted, or to a subscription that has ended, counts as failed.
        One that the job has made before is not made again, nor, for a job about missed events, one to
        a subscription that has a delivery of the event by now. What is not dead any more is not purged.

        Returns:
            The job as it is now; ``None`` if the lease was no longer valid, and nothing was changed.
        """

    async def walk_events(
        self, organization_id: str, selection: Selection, after: str | None, limit: int
    ) -> list[WalkedEvent]:
        """The first ``limit`` events of the selection's time behind a position, oldest first.

        They are not chosen by anything but their time: fewer than ``limit`` are the last ones.
        """

    async def event_contents(
        self, organization_id: str, event_ids: Sequence[str]
    ) -> dict[str, EventContent]:
        """What filters read, of those of these events that are not deleted."""

    async def walk_deliveries(
        self, organization_id: str, selection: Selection, after: str | None, limit: int
    ) -> list[WalkedDelivery]:
        """The first ``limit`` deliveries of the selection's time behind a position, oldest first.

        Among them are all that the selection is about; fewer than ``limit`` are the last ones.
        """

    async def wait_jobs(self, timeout_s: float) -> None:
        """Return when jobs may be due, or after the timeout. May return for nothing."""

    def wake_jobs(self) -> None:
        """End the waiting of whoever is in :meth:`wait_jobs` in this process."""

    # ── the settings half ─────────────────────────────────────────────────────────────────────

    def one_change(self) -> AbstractAsyncContextManager[None]:
        """A change to the settings half that rests on how it stands.

        No other process changes it between what is read inside and what is saved inside. Where several
        processes share the store, what is saved is committed at the end, all of it or nothing; where
        one owns it, each verb commits by itself. Only this task's calls are part of it.
        """

    async def changes(self, since: int) -> Changes:
        """What changed in the settings half after version ``since`` (0 for everything)."""

    async def create_organization(self, organization: Organization, key: KeyRecord) -> None:
        """Store a tenant and its first key."""

    async def create_first_organization(
        self, organization: Organization, keys: Sequence[KeyRecord]
    ) -> bool:
        """Store the first tenant and the first keys; of several processes at once one does.

        Returns:
            Whether it was stored. If not, there is a tenant already, and nothing was changed.
        """

    async def update_organization(self, organization: Organization) -> None:
        """Store a tenant's new fields."""

    async def delete_organization(self, organization_id: str) -> bool:
        """Hide a tenant, revoke its keys, delete its subscriptions with a farewell, cancel its jobs."""

    async def erase_organization(self, organization_id: str) -> Erasure | None:
        """Have everything go that is left of an organization that was deleted; asking twice is fine.

        Returns:
            How far that is; ``None`` if there is no such organization, or it is not deleted.
        """

    async def erasures(self) -> list[Erasure]:
        """Every erasure, finished ones included."""

    async def erase_some(self, limit: int) -> bool:
        """Erase up to ``limit`` events of an organization that is to be erased, or what else is left.

        Of an event all or nothing goes in one transaction, and the books with it. With the last piece
        an entry of the service's own says that it is done; all others of the organization are gone.

        Returns:
            Whether there may be more to do at once.
        """

    async def create_key(self, key: KeyRecord) -> None:
        """Store a key; one with the same digest is brought back to life with the new fields."""

    async def keys(self, organization_id: str | None) -> list[ApiKey]:
        """A tenant's keys, or with ``None`` the operators', newest first, revoked ones included."""

    async def revoke_key(self, organization_id: str | None, key_id: str) -> bool:
        """End a tenant's key, or with ``None`` an operator's.

        Returns:
            Whether there is such a key.

        Raises:
            InvalidState: it is the last key of an operator that is valid.
        """

    async def rotate_key(
        self, organization_id: str | None, key_id: str, fresh: KeyRecord, *, until: Timestamp
    ) -> ApiKey | None:
        """Store a key in another one's place, which ends at a moment, at the latest.

        Returns:
            The key that ends, as it is now; ``None`` if there is no such key.

        Raises:
            InvalidState: it is not valid any more.
        """

    async def note_key_uses(self, uses: Mapping[str, Timestamp]) -> None:
        """Write down when keys were last used. One that is not there any more is fine."""

    async def save_subscription(
        self,
        record: SubscriptionRecord,
        *,
        health: HealthReset = HealthReset.KEEP,
        farewell: bool = False,
    ) -> None:
        """Store a subscription, new or changed, and what that is to the health of its endpoint.

        With ``farewell`` the other side is to be told that it has ended.
        """

    async def subscription(
        self, organization_id: str, subscription_id: str
    ) -> SubscriptionRecord | None:
        """One subscription, not deleted."""

    async def subscriptions(self, organization_id: str, page: Page) -> list[Subscription]:
        """A page of subscriptions, newest first."""

    async def delete_subscription(
        self, organization_id: str, subscription_id: str, *, farewell: bool = False
    ) -> bool:
        """Delete a subscription; what waits for it is cancelled.

        With ``farewell`` the other side is to be told, if it is a hook that was active or paused;
        without, it is told nothing any more, also of an end that came before.
        """

    async def is_hook(self, organization_id: str, subscription_id: str) -> bool:
        """Whether a subscription, deleted or not, is the hook of a no-code tool."""

    async def save_event_type(self, organization_id: str, event_type: EventType) -> None:
        """Store an event type, new or changed."""

    async def event_type(self, organization_id: str, name: str) -> EventType | None:
        """One event type."""

    async def event_types(
        self, organization_id: str, after: str | None, limit: int
    ) -> list[EventType]:
        """Some of an organization's event types by name, behind a name (``None``: from the first)."""

    async def delete_event_type(self, organization_id: str, name: str) -> bool:
        """Delete an event type; returns whether there was one. Events keep what they have."""

    async def save_switches(self, switches: Switches) -> None:
        """Store the turns of a scope; those of the service also as other versions read them."""

    async def sealed(self) -> Sealed:
        """How the secrets of all subscriptions are kept."""

    async def seal(self) -> int:
        """Encrypt under the present key what is in the clear or under another known one.

        Subscriptions stay as they are otherwise, and other processes may go on meanwhile: what they save
        stands. Cut off, it goes on where it was when it is called again.

        Returns:
            How many subscriptions' secrets were encrypted anew.
        """

    # ── the audit log ─────────────────────────────────────────────────────────────────────────
    #
    # Whatever somebody changes, and whatever the service ends by itself, is written down in the
    # transaction that does it, by whoever is acting (``store/acting.py``). No verb does the one without
    # the other; one that changes nothing writes nothing.

    async def audit(
        self, organization_id: str | None, wanted: AuditFilter, page: Page
    ) -> AuditPage:
        """A page of entries, newest first: an organization's own, of all and of none with ``None``.

        What one call looks at is bounded, as for :meth:`events`.
        """

    async def note(self, deed: Deed) -> None:
        """Write down what somebody did that changed nothing in the store.

        They had the service do what it would have done by itself, or it was done elsewhere.

        Raises:
            Unavailable: it is not written.
        """

    async def prune_audit(self, before: Timestamp, limit: int) -> int:
        """Delete up to ``limit`` entries of before a moment, the oldest first; returns how many."""

    # ── itself ────────────────────────────────────────────────────────────────────────────────

    async def signing_key(self) -> bytes:
        """A secret that every process on this store shares, made when it is first asked for."""

    def durability(self) -> Durability:
        """What a 202 is worth here."""

    def connections(self) -> Connections | None:
        """How many there are now; ``None`` where there is no server."""

    def quotas(self) -> QuotaLedger | None:
        """For the rate limits of all processes; ``None`` where this is the only one there may be.

        Nothing of it is durable: what was used is forgotten when the database crashes.
        """

    async def check(self) -> None:
        """Return if the store can be written to.

        Raises:
            Unavailable: with the reason.
        """

    async def close(self) -> None:
        """Finish what was accepted and let go of everything. Idempotent."""


class LandingStore(Store, Protocol):
    """An engine that an ingest buffer may stand in front of."""

    async def land(self, events: Sequence[NewEvent]) -> Sequence[Landed]:
        """Store events that were accepted before, all in one transaction; the answer follows them.

        What is stored already is left as it is, by its id, so that this may be repeated. An event whose
        ``dedup_id`` another one holds is stored, too, as cancelled and with ``duplicate_of``: its sender
        was told that it is accepted. Of twins among them the first is the first.

        Raises:
            StoreUnavailable: nothing was stored.
            StorageFull: nothing was stored.
            OutcomeUnknown: the answer was lost; repeat it.
        """

    async def first_events(self, events: Sequence[NewEvent]) -> Mapping[str, FirstEvent]:
        """Who holds the ``dedup_id`` of each event, by the asking event's id, where somebody does."""
