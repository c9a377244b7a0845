"""Accepting an event: is there room, what mode, store it."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Final, Protocol

import msgspec
import structlog

from triggers_api.errors import Draining, Refusing, ValidationFailed
from triggers_api.ingest.draft import Draft
from triggers_api.ingest.room import Room
from triggers_api.model import ids
from triggers_api.model.controls import IngestMode
from triggers_api.model.delivery import NewDelivery
from triggers_api.model.event import EventStatus, FirstEvent, NewEvent
from triggers_api.model.event_type import SchemaMode, TypeRules, reason_of
from triggers_api.model.filter import EventView
from triggers_api.model.ids import received_ms
from triggers_api.model.subscription import Subscription
from triggers_api.store.base import Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_AT_A_STRETCH_S: Final = 0.02


Storing = asyncio.Future[Sequence[FirstEvent | None]]
"""The storing of some events; see :meth:`Store.append`."""


class IngestBuffer(Protocol):
    """What may stand between ingest and the store."""

    @property
    def takes(self) -> bool:
        """Whether events go there now, and not past it."""

    @property
    def remark(self) -> str | None:
        """What an answer says of what it is worth, where that is less than it might be."""

    def append(self, events: Sequence[NewEvent]) -> Storing:
        """Make the events of one request durable; answers as :meth:`Store.append` does."""

    def append_past(self, events: Sequence[NewEvent]) -> Storing:
        """Store them at once, past what waits, and as duplicates of it where they are."""


class Ingest:
    """Takes drafts in."""

    def __init__(
        self,
        store: Store,
        directory: Directory,
        *,
        metrics: Metrics,
        room: Room,
        buffer: IngestBuffer | None = None,
    ) -> None:
        """Set up.

        Args:
            store: where events go.
            directory: knows the switches and the subscriptions.
            metrics: is told about duplicates.
            room: says whether more may wait.
            buffer: takes them before the store does; ``None`` without one.
        """
        self._buffer = buffer
        self._store = store
        self._directory = directory
        self._metrics = metrics
        self._room = room
        self.draining = False
        """Set when the service is about to end: nothing more is taken."""

    def judges(self, organization_id: str) -> bool:
        """Whether :meth:`judge` may have something to say of an organization's events."""
        return organization_id in self._directory.event_types

    def judge(self, organization_id: str, draft: Draft) -> Draft:
        """An event as its type has it: redacted, and marked if it does not fit the schema.

        Raises:
            ValidationFailed: it does not, and the type's mode is ``enforce``.
        """
        catalogue = self._directory.event_types.get(organization_id)
        if catalogue is None:
            return draft
        rules = catalogue.get(draft.type)
        return draft if rules is None else self._judged(organization_id, draft, rules)

    def _judged(self, organization_id: str, draft: Draft, rules: TypeRules) -> Draft:
        judgement = rules.judge(draft.payload)
        faults, aside = judgement.faults, None
        if faults:
            self._metrics.schema_faults.labels(judgement.mode.value).inc()
            log.info(
                "payload does not fit its schema",
                organization_id=organization_id,
                mode=judgement.mode.value,
                code=faults[0].code,
                faults=len(faults),
            )
            if judgement.mode is SchemaMode.ENFORCE:
                raise ValidationFailed("the payload does not fit its type's schema", errors=faults)
            if judgement.mode is SchemaMode.QUARANTINE:
                aside = reason_of(faults)
        return msgspec.structs.replace(
            draft, payload=judgement.payload, warnings=faults, aside=aside
        )

    def accept(self, organization_id: str, draft: Draft) -> tuple[NewEvent, Storing]:
        """Have one event stored.

        Returns:
            The event, and its storing: once awaited it is durable, unless the answer names the
            first event that held its dedup_id (see :meth:`Store.append`).

        Raises:
            Unavailable: nothing is taken at the moment.
        """
        mode = self._admit(organization_id, 1)
        event_id = self._store.ids.new(ids.EVENT)
        wanted = self._wanted(organization_id, draft, mode, received_ms(event_id))
        event = self._event(organization_id, event_id, draft, wanted)
        storing = self._append((event,), mode)
        if wanted is None and _waits(draft):
            self._room.came(organization_id, 1, elsewhere=self._goes_into_buffer(mode))
        return event, storing

    async def accept_all(
        self, organization_id: str, drafts: Sequence[Draft]
    ) -> tuple[list[NewEvent], Storing]:
        """Have several events stored together; see :meth:`accept`.

        Of twins among them the first is stored.
        """
        mode = self._admit(organization_id, len(drafts))
        if mode is not IngestMode.SYNC:
            made = zip(self._store.ids.several(ids.EVENT, len(drafts)), drafts, strict=True)
            events = [self._event(organization_id, *each, None) for each in made]
            storing = self._append(events, mode)
            waiting = sum(map(_waits, drafts))
            self._room.came(organization_id, waiting, elsewhere=self._goes_into_buffer(mode))
            return events, storing
        routed: list[tuple[int, Sequence[Subscription] | None]] = []
        since = perf_counter()
        for draft in drafts:
            # Filters of many subscriptions may take a while; others' requests go on in between.
            if perf_counter() - since > _AT_A_STRETCH_S:
                await asyncio.sleep(0)
                since = perf_counter()
            wanted = self._wanted(organization_id, draft, mode, int(self._store.now()))
            routed.append((self._directory.version, wanted))
        # From here on nothing comes in between: events are stored in the order of their ids.
        events = []
        for draft, (version, wanted) in zip(drafts, routed, strict=True):
            event_id = self._store.ids.new(ids.EVENT)
            if version != self._directory.version:
                wanted = self._wanted(organization_id, draft, mode, received_ms(event_id))  # noqa: PLW2901
            events.append(self._event(organization_id, event_id, draft, wanted))
        return events, self._append(events, mode)

    @property
    def remark(self) -> str | None:
        """What an answer says of what it is worth, where that is less than it might be."""
        return None if self._buffer is None else self._buffer.remark

    def _append(self, events: Sequence[NewEvent], mode: IngestMode) -> Storing:
        if self._buffer is None:
            return self._store.append(events)
        if mode is IngestMode.SYNC:
            return self._buffer.append_past(events)
        return self._buffer.append(events)

    def _goes_into_buffer(self, mode: IngestMode) -> bool:
        return self._buffer is not None and self._buffer.takes and mode is not IngestMode.SYNC

    def note_duplicate(self, organization_id: str, first: FirstEvent) -> None:
        """Count and log an event that was not stored because it is there already."""
        self._metrics.duplicates.inc()
        log.info("duplicate by constraint", organization_id=organization_id, event_id=first.id)

    def _admit(self, organization_id: str, count: int) -> IngestMode:
        if self.draining or self._directory.draining:
            raise Draining
        mode = self._directory.ingest_mode(organization_id)
        if mode is IngestMode.REFUSE:
            raise Refusing
        self._room.check(organization_id, count)
        return mode

    def _event(
        self,
        organization_id: str,
        event_id: str,
        draft: Draft,
        wanted: Sequence[Subscription] | None,
    ) -> NewEvent:
        deliveries = None
        if wanted is not None:
            deliveries = tuple(
                NewDelivery(
                    self._store.ids.new(ids.DELIVERY),
                    subscription.id,
                    subscription.order_key(draft.key),
                )
                for subscription in wanted
            )
        return NewEvent(
            event_id,
            organization_id,
            draft.type,
            draft.payload,
            draft.dedup_id,
            draft.source,
            draft.key,
            draft.metadata,
            draft.occurred_at,
            draft.deliver_at,
            deliveries,
            self._directory.version,
            aside=draft.aside,
            warnings=draft.warnings,
            trace=draft.trace,
        )

    def _wanted(
        self, organization_id: str, draft: Draft, mode: IngestMode, received: int
    ) -> Sequence[Subscription] | None:
        """Who gets it, where that is decided now."""
        # A scheduled event is routed when its time comes, by the subscriptions of that time.
        if mode is not IngestMode.SYNC or draft.deliver_at is not None or draft.aside is not None:
            return None
        return self._directory.routes(organization_id).route(
            EventView(
                draft.type,
                source=draft.source,
                key=draft.key,
                metadata=draft.metadata,
                payload=draft.payload,
            ),
            received + self._store.skew_ms,
            now=received,
            on_fault=self._metrics.count_filter_fault,
        )


def _waits(draft: Draft) -> bool:
    """Whether an event that is not routed at once waits for that from now on."""
    return draft.aside is None and draft.deliver_at is None


def status_on_receipt(event: NewEvent) -> EventStatus:
    """The status an event has the moment it is stored."""
    if event.aside is not None:
        return EventStatus.QUARANTINED
    if event.deliveries is not None:
        return EventStatus.PROCESSED
    if event.deliver_at is not None and event.deliver_at > received_ms(event.id):
        return EventStatus.SCHEDULED
    return EventStatus.QUEUED
