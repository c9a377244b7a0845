"""Reads of the record half: events, deliveries, attempts, books."""

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec

from triggers_api.errors import MalformedValue
from triggers_api.model import ids
from triggers_api.model.delivery import (
    FINISHED,
    OPEN,
    WAITING,
    Attempt,
    Delivery,
    DeliveryDetail,
    DeliveryStatus,
    Origin,
)
from triggers_api.model.event import Event, EventDetail
from triggers_api.model.ids import received_ms
from triggers_api.model.statistics import (
    ATTEMPTS_LIMIT,
    DELIVERIES_LIMIT,
    SubscriptionStats,
    Taken,
    summary,
)
from triggers_api.model.timeline import Tried, timeline
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.workload import Count, DeadGroup, SubscriptionWorkload, Workload
from triggers_api.store import bodies, codes
from triggers_api.store.base import (
    DeliveryFilter,
    Depths,
    FoundDeliveries,
    LogPage,
    OrganizationAccount,
    OrganizationBacklog,
    Page,
    QueueStats,
)
from triggers_api.store.depths import depths_of
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.queue_verbs import shown_status
from triggers_api.store.postgres.tables import FIRST, LAST, SQL, find, first_at, number, text

_POSITION: Final = re.compile(r"(\d{1,19})-([0-9a-f]{32})", re.ASCII)
_NULL: Final = msgspec.Raw(b"null")
_metadata = msgspec.json.Decoder(dict[str, str]).decode

COUNTED: Final = 100_000
"""Rows of a kind up to which depths are counted; beyond it they are estimated."""

_OPEN_LOOKED_AT: Final = 5000
"""Deliveries in the queue that one look goes past: of each the record is looked up."""

Key = str | UUID


class RecordReads:
    """What was kept, as the API shows it."""

    async def event(
        self, db: Connection, organization: Key, event: Key, now: Timestamp
    ) -> EventDetail | None:
        """One event with its deliveries and timeline."""
        row = await db.fetchrow(SQL["event"], organization, event)
        if row is None:
            return None
        *columns, status_at, reason = row
        plain = shown(columns, now)
        deliveries = tuple(
            _delivery(each) for each in await db.fetch(SQL["event_deliveries"], organization, event)
        )
        attempts = [
            Tried(
                text(ids.DELIVERY, delivery),
                text(ids.SUBSCRIPTION, subscription),
                Timestamp(started_at),
                *rest,
            )
            for delivery, subscription, started_at, *rest in await db.fetch(
                SQL["event_attempts"], organization, event
            )
        ]
        return EventDetail(
            **{name: getattr(plain, name) for name in Event.__struct_fields__},
            deliveries=deliveries,
            timeline=timeline(
                plain,
                status_at=_routed_at(deliveries) if status_at is None else Timestamp(status_at),
                reason=reason,
                deliveries=deliveries,
                attempts=attempts,
            ),
        )

    async def log(
        self, db: Connection, organization: Key, after: str | None, limit: int, now: Timestamp
    ) -> LogPage:
        """Events in the order in which they could first be seen."""
        xid, event = ("0", FIRST) if after is None else position_of(after)
        rows = await db.fetch(SQL["log"], organization, xid, event, limit)
        events = [shown(row[:-1], now) for row in rows]
        return LogPage(events, f"{rows[-1][-1]}-{rows[-1][0].hex}" if rows else after)

    async def log_end(self, db: Connection, organization: Key) -> str | None:
        """Behind the last event that can be told."""
        row = await db.fetchrow(SQL["log_end"], organization)
        return None if row is None else f"{row[0]}-{row[1].hex}"

    async def log_position(self, db: Connection, organization: Key, event: Key) -> str | None:
        """Behind an event, if it is there."""
        row = await db.fetchrow(SQL["log_position"], organization, event)
        return None if row is None else f"{row[0]}-{row[1].hex}"

    async def deliveries(
        self,
        db: Connection,
        organization: Key,
        wanted: DeliveryFilter,
        page: Page,
        depth: int,
    ) -> FoundDeliveries:
        """A page of deliveries, newest first, by the index that fits the filter."""
        status = None if wanted.status is None else codes.DELIVERY_STATUS[wanted.status]
        subscription = None
        if wanted.subscription_id is not None:
            subscription = find(ids.SUBSCRIPTION, wanted.subscription_id)
        parameters: list[Any] = [
            organization,
            *_span(ids.DELIVERY, wanted.since, wanted.until, page),
        ]
        bound = None
        if wanted.event_id is None and wanted.status is DeliveryStatus.DEAD:
            name = "dead_deliveries"
            if subscription is not None:
                name = "dead_deliveries_of_groups"
                classes = (
                    [each async for each in _classes(db, organization, subscription)]
                    if wanted.error_class is None
                    else [wanted.error_class]
                )
                parameters += [subscription, classes]
        elif wanted.event_id is not None:
            name = "deliveries_by_event"
            parameters += [status, find(ids.EVENT, wanted.event_id), subscription]
        elif wanted.status in OPEN:
            name, bound = "open_deliveries", "open_deliveries_bound"
            parameters += [status, subscription]
            depth = min(depth, _OPEN_LOOKED_AT)
        elif subscription is not None:
            name = "deliveries_by_subscription"
            if status is not None:
                name = "finished_deliveries_of_subscription"
                bound = "deliveries_bound_of_subscription"
                parameters.append(status)
            parameters.append(subscription)
        elif status is not None:
            name, bound = "finished_deliveries", "deliveries_bound"
            parameters.append(status)
        else:
            name = "deliveries"
        last = None
        if bound is not None:
            whose = [subscription] if bound.endswith("of_subscription") else []
            last = await db.fetchval(SQL[bound], *parameters[:4], depth, *whose)
            if last is not None:
                parameters[2] = last
        rows = await db.fetch(SQL[name], *parameters)
        go_on = None
        if last is not None and len(rows) < page.limit:
            go_on = text(ids.DELIVERY, last)
        return FoundDeliveries(map(_delivery, rows), go_on=go_on)

    async def dead_groups(
        self,
        db: Connection,
        organization: Key,
        after: tuple[str, str] | None,
        limit: int,
        most: int,
    ) -> list[DeadGroup]:
        """Groups of dead letters behind one."""
        subscription = FIRST if after is None else find(ids.SUBSCRIPTION, after[0])
        error_class = "" if after is None else after[1]
        rows = await db.fetch(
            SQL["dead_groups"], organization, subscription, error_class, limit, most + 1
        )
        return [
            DeadGroup(
                subscription_id=text(ids.SUBSCRIPTION, of),
                error_class=kind,
                count=min(count, most),
                complete=count <= most,
                newest=text(ids.DELIVERY, newest),
            )
            for of, kind, count, newest in rows
        ]

    async def workload(
        self, db: Connection, organization: Key | None, most: int, now: Timestamp
    ) -> Workload:
        """What waits, is dead, and is on file."""
        whose = () if organization is None else (organization,)
        name = "workload_of_all" if organization is None else "workload"
        row = await db.fetchrow(SQL[name], most + 1, now, *whose)
        assert row is not None
        return Workload.seen(row, most, now)

    async def subscription_workload(
        self, db: Connection, organization: Key, asked: Mapping[str, Key], most: int
    ) -> dict[str, SubscriptionWorkload]:
        """What subscriptions have waiting and dead."""
        rows = await db.fetch(
            SQL["subscription_workload"], organization, list(asked.values()), most + 1
        )
        return {
            identifier: SubscriptionWorkload(
                waiting=Count.up_to(most, waiting), dead=Count.up_to(most, dead)
            )
            for identifier, (waiting, dead) in zip(asked, rows, strict=True)
        }

    async def delivery(
        self, db: Connection, organization: Key, delivery: Key
    ) -> DeliveryDetail | None:
        """One delivery with its attempts."""
        row = await db.fetchrow(SQL["delivery"], organization, delivery)
        if row is None:
            return None
        plain = _delivery(row)
        attempts = await db.fetch(SQL["delivery_attempts"], organization, delivery)
        return DeliveryDetail(
            **{name: getattr(plain, name) for name in Delivery.__struct_fields__},
            attempts=tuple(_attempt(attempt, plain) for attempt in attempts),
        )

    async def subscription_stats(
        self,
        db: Connection,
        organization: Key,
        subscription: Key,
        *,
        since: Timestamp,
        until: Timestamp,
        now: Timestamp,
    ) -> SubscriptionStats:
        """What became of the newest deliveries made within a window."""
        window = (organization, subscription, first_at(since), first_at(until), DELIVERIES_LIMIT)
        deliveries = {
            codes.DELIVERY_STATUS_OF[status]: count
            for status, count in await db.fetch(SQL["subscription_deliveries"], *window)
        }
        rows = await db.fetch(SQL["subscription_attempts"], *window, ATTEMPTS_LIMIT)
        due = await db.fetchval(SQL["subscription_next"], organization, subscription, codes.PARKED)
        return summary(
            deliveries,
            [Taken(*row) for row in rows],
            since=since,
            until=until,
            next_due=_moment(due),
            now=now,
        )

    async def is_busy(self, db: Connection, now: Timestamp, besides: Sequence[str]) -> bool:
        """Whether there is work to be done now, but for these subscriptions."""
        return bool(await db.fetchval(SQL["is_busy"], now, besides))

    async def organization_depths(
        self, db: Connection, limits: Mapping[str, int], now: Timestamp
    ) -> dict[str, OrganizationBacklog]:
        """What these organizations have in the queue, up to so many."""
        rows = await db.fetch(
            SQL["organization_depths"], [number(each) for each in limits], list(limits.values())
        )
        return {
            text(ids.ORGANIZATION, organization): OrganizationBacklog(
                count=count, oldest_age_s=max(now - due_at, 0) / 1000
            )
            for organization, count, due_at in rows
            if count
        }

    async def depths_by_whose(
        self, db: Connection, now: Timestamp, *, counted: int, shown: int
    ) -> Depths:
        """Who has the most in the queues."""
        events = await db.fetch(SQL["depths_by_organization"], now, counted, shown)
        deliveries = await db.fetch(SQL["depths_by_subscription"], now, counted, shown)
        return depths_of(
            events,
            deliveries,
            organization=partial(text, ids.ORGANIZATION),
            subscription=partial(text, ids.SUBSCRIPTION),
        )

    async def depths(self, db: Connection, now: Timestamp) -> QueueStats:
        """Depths of the queue and of what is to be delivered."""
        row = await db.fetchrow(SQL["queue_depths"], now, COUNTED)
        assert row is not None
        (
            due,
            scheduled,
            oldest,
            held,
            stuck,
            events,
            first,
            later,
            delivering,
            deliveries,
            breakers,
            half_open,
            failing,
        ) = row
        due, scheduled = _of_total(due, scheduled, events)
        first, later = _of_total(first, later, deliveries)
        return QueueStats(
            depth=due,
            scheduled=scheduled,
            leased=held - stuck,
            stuck=stuck,
            oldest_age_s=max(0, now - oldest) / 1000 if oldest is not None else 0.0,
            deliveries_waiting=first + later - delivering,
            deliveries_leased=delivering,
            breakers_open=breakers,
            breakers_half_open=half_open,
            endpoints_failing=failing,
        )

    async def accounts(self, db: Connection, now: Timestamp) -> list[OrganizationAccount]:
        """Every organization's books."""
        events: dict[tuple[UUID, int], int] = {
            (organization, status): count
            for organization, status, count in await db.fetch(SQL["account_event_states"], now)
        }
        deliveries: dict[tuple[UUID, int], int] = {
            (organization, status): count
            for organization, status, count in await db.fetch(SQL["account_delivery_states"])
        }
        return [
            OrganizationAccount(
                organization_id=text(ids.ORGANIZATION, organization),
                accepted=accepted,
                **{
                    str(status): events.get((organization, code), 0)
                    for status, code in codes.EVENT_STATUS.items()
                },
                deleted=events.get((organization, codes.EVENT_DELETED), 0),
                pruned=pruned,
                deliveries={"total": total}
                | {
                    str(status): deliveries.get((organization, code), 0)
                    for status, code in codes.DELIVERY_STATUS.items()
                },
            )
            for organization, accepted, total, pruned in await db.fetch(SQL["account_totals"])
        ]


async def _classes(db: Connection, organization: Key, subscription: Key) -> AsyncIterator[str]:
    """The error classes of a subscription's dead letters."""
    found = ""
    while found is not None:
        found = await db.fetchval(SQL["dead_class_next"], organization, subscription, found)
        if found is not None:
            yield found


def _span(
    prefix: str, since: Timestamp | None, until: Timestamp | None, page: Page
) -> tuple[Key, Key, Key, int]:
    # An id begins with the moment it was made, so a span of time is a span of ids.
    return (
        LAST if page.before is None else find(prefix, page.before),
        FIRST if since is None else first_at(since),
        LAST if until is None else first_at(until),
        page.limit,
    )


def position_of(text_: str) -> tuple[str, UUID]:
    """The transaction and the event that a position in the log names.

    Raises:
        MalformedValue: it is none.
    """
    match = _POSITION.fullmatch(text_)
    if match is None:
        raise MalformedValue("not a position in the log")
    return match[1], UUID(match[2])


def shown(row: Iterable[Any], now: Timestamp) -> Event:
    """An event as the API shows it, from a row of ``events.sql``."""
    (
        identifier,
        event_type,
        payload,
        dedup_id,
        source,
        key,
        metadata,
        occurred_at,
        deliver_at,
        state,
        queued,
        operational,
        duplicate_of,
    ) = row
    event_id = text(ids.EVENT, identifier)
    return Event(
        id=event_id,
        type=event_type,
        payload=_NULL if payload is None else msgspec.Raw(payload),
        dedup_id=dedup_id,
        source=source,
        key=key,
        metadata=None if metadata is None else _metadata(metadata),
        status=shown_status(state, queued=queued, deliver_at=deliver_at, now=now),
        received_at=Timestamp(received_ms(event_id)),
        occurred_at=_moment(occurred_at),
        deliver_at=_moment(deliver_at),
        duplicate_of=None if duplicate_of is None else text(ids.EVENT, duplicate_of),
        operational=operational,
    )


def _delivery(row: Iterable[Any]) -> Delivery:
    (
        identifier,
        event,
        event_type,
        subscription,
        code,
        reason,
        origin,
        count,
        status_at,
        due_at,
        leased,
        sequence,
    ) = row
    delivery_id = text(ids.DELIVERY, identifier)
    status = DeliveryStatus.DELIVERING if leased else codes.DELIVERY_STATUS_OF[code]
    return Delivery(
        id=delivery_id,
        event_id=text(ids.EVENT, event),
        event_type=event_type,
        subscription_id=text(ids.SUBSCRIPTION, subscription),
        status=status,
        reason=reason,
        origin=codes.ORIGIN_OF[origin],
        attempt_count=count,
        next_attempt_at=_moment(due_at) if status in WAITING and due_at != codes.PARKED else None,
        sequence=sequence,
        created_at=Timestamp(received_ms(delivery_id)),
        finished_at=Timestamp(status_at) if status in FINISHED else None,
    )


def _attempt(row: Iterable[Any], delivery: Delivery) -> Attempt:
    identifier, count, started_at, duration_ms, status_code, error, body, details = row
    return Attempt(
        id=text(ids.ATTEMPT, identifier),
        number=count,
        started_at=Timestamp(started_at),
        duration_ms=duration_ms,
        status_code=status_code,
        error=error,
        response_body=None if body is None else body.decode(),
        **bodies.shown_details(details, delivery, count),
    )


def _of_total(one: int, other: int, estimate: int) -> tuple[int, int]:
    """Two counts, each of which ended at ``COUNTED`` rows and one, and an estimate of their sum."""
    deep = [count > COUNTED for count in (one, other)]
    if all(deep):
        return max(one, estimate // 2), max(other, estimate - estimate // 2)
    if deep[0]:
        return max(one, estimate - other), other
    return one, max(other, estimate - one) if deep[1] else other


def _routed_at(deliveries: Sequence[Delivery]) -> Timestamp:
    """When an event was routed that somebody wanted; not asked for one that is not routed."""
    made = [each.created_at for each in deliveries if each.origin is Origin.EVENT]
    return min(made, default=Timestamp(0))


def _moment(millis: int | None) -> Timestamp | None:
    return None if millis is None else Timestamp(millis)
