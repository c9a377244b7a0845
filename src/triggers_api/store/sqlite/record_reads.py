"""Reads of the record half: events, deliveries, attempts, books. Each runs on a reader's snapshot."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apsw
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
)
from triggers_api.model.event import Event, EventDetail
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
from triggers_api.store.sqlite.queue_verbs import shown_status
from triggers_api.store.sqlite.tables import SQL, Tables, numbers

_END_OF_TIME = (1 << 63) - 1
_FEW_OPEN = 5000
_NULL = msgspec.Raw(b"null")
_metadata = msgspec.json.Decoder(dict[str, str]).decode


class RecordReads(Tables):
    """What was kept, as the API shows it."""

    def event(
        self, db: apsw.Connection, organization: int, event: int, now: int
    ) -> EventDetail | None:
        """One event with its deliveries and timeline."""
        for *row, status_at, reason in db.execute(SQL["event"], (event, organization)):
            plain = self.shown(row, now)
            deliveries = tuple(
                self._delivery(delivery)
                for delivery in db.execute(SQL["event_deliveries"], (event,))
            )
            attempts = [
                Tried(
                    self.keys.delivery(delivery),
                    self.keys.subscription(subscription),
                    Timestamp(started_at),
                    *rest,
                )
                for delivery, subscription, started_at, *rest in db.execute(
                    SQL["event_attempts"], (event,)
                )
            ]
            return EventDetail(
                **{name: getattr(plain, name) for name in Event.__struct_fields__},
                deliveries=deliveries,
                timeline=timeline(
                    plain,
                    status_at=Timestamp(status_at),
                    reason=reason,
                    deliveries=deliveries,
                    attempts=attempts,
                ),
            )
        return None

    def log(
        self, db: apsw.Connection, organization: int, after: str | None, limit: int, now: int
    ) -> LogPage:
        """Events in the order in which they were stored."""
        position = 0 if after is None else self._position(after)
        events = [
            self.shown(row, now) for row in db.execute(SQL["log"], (organization, position, limit))
        ]
        return LogPage(events, events[-1].id if events else after)

    def log_end(self, db: apsw.Connection, organization: int) -> str | None:
        """The id of the last event there is."""
        ((last,),) = db.execute(SQL["log_end"], (organization,))
        return None if last is None else self.keys.event(last)

    def log_position(self, db: apsw.Connection, organization: int, event: int) -> str | None:
        """The id of an event, if it is there."""
        found = list(db.execute(SQL["log_position"], (event, organization)))
        return self.keys.event(event) if found else None

    def _position(self, text: str) -> int:
        position = self.keys.find(ids.EVENT, text)
        if not position:
            raise MalformedValue("not a position in the log")
        return position

    def deliveries(
        self,
        db: apsw.Connection,
        organization: int,
        wanted: DeliveryFilter,
        page: Page,
        depth: int,
    ) -> FoundDeliveries:
        """A page of deliveries, newest first, by the index that fits the filter."""
        parameters: dict[str, Any] = {
            "organization_id": organization,
            "status": None if wanted.status is None else codes.DELIVERY_STATUS[wanted.status],
            "event_id": wanted.event_id and self.keys.find(ids.EVENT, wanted.event_id),
            "subscription_id": wanted.subscription_id
            and self.keys.find(ids.SUBSCRIPTION, wanted.subscription_id),
            **self._span(ids.DELIVERY, wanted.since, wanted.until, page),
        }
        if wanted.event_id is None and wanted.status is DeliveryStatus.DEAD:
            if parameters["subscription_id"] is not None:
                return FoundDeliveries(self._dead_of(db, parameters, wanted.error_class))
            name, bound = "dead_deliveries", None
        elif wanted.event_id is not None:
            name, bound = "deliveries_by_event", None
        elif wanted.status in OPEN and self._few_open(db, organization):
            name, bound = "open_deliveries", None
        elif wanted.subscription_id is not None:
            name, bound = "deliveries_by_subscription", "deliveries_bound_of_subscription"
        else:
            name, bound = "deliveries", "deliveries_bound"
        last = None
        if bound is not None and wanted.status is not None:
            for (last,) in db.execute(SQL[bound], parameters | {"depth": depth}):
                parameters["since"] = last
        found = FoundDeliveries(self._delivery(row) for row in db.execute(SQL[name], parameters))
        if last is not None and len(found) < page.limit:
            found.go_on = self.keys.delivery(last)
        return found

    def _dead_of(
        self, db: apsw.Connection, parameters: dict[str, Any], error_class: str | None
    ) -> list[Delivery]:
        """A page of a subscription's dead letters: of each error class the newest, and of these."""
        whose = parameters["organization_id"], parameters["subscription_id"]
        rows: list[tuple[Any, ...]] = []
        for each in (error_class,) if error_class else self._classes(db, *whose):
            rows += db.execute(SQL["dead_deliveries_of_group"], parameters | {"error_class": each})
        rows.sort(reverse=True)
        return [self._delivery(row) for row in rows[: parameters["limit"]]]

    def _classes(self, db: apsw.Connection, organization: int, subscription: int) -> Iterator[str]:
        found = ""
        while row := db.execute(
            SQL["dead_group_next"], (organization, subscription, found)
        ).fetchone():
            found = row[1]
            yield found

    def dead_groups(
        self,
        db: apsw.Connection,
        organization: int,
        after: tuple[str, str] | None,
        limit: int,
        most: int,
    ) -> list[DeadGroup]:
        """Groups of dead letters behind one."""
        subscription = 0 if after is None else self.keys.find(ids.SUBSCRIPTION, after[0])
        error_class = "" if after is None else after[1]
        groups: list[DeadGroup] = []
        while len(groups) < limit:
            row = (
                db.execute(
                    SQL["dead_group_next"], (organization, subscription, error_class)
                ).fetchone()
                or db.execute(SQL["dead_group_of_next"], (organization, subscription)).fetchone()
            )
            if row is None:
                break
            subscription, error_class = row
            ((count, newest),) = db.execute(
                SQL["dead_group"], (organization, subscription, error_class, most + 1)
            )
            groups.append(
                DeadGroup(
                    subscription_id=self.keys.subscription(subscription),
                    error_class=error_class,
                    count=min(count, most),
                    complete=count <= most,
                    newest=self.keys.delivery(newest),
                )
            )
        return groups

    def workload(
        self, db: apsw.Connection, organization: int | None, most: int, now: int
    ) -> Workload:
        """What waits, is dead, and is on file."""
        name = "workload_of_all" if organization is None else "workload"
        (row,) = db.execute(
            SQL[name], {"organization_id": organization, "now": now, "most": most + 1}
        )
        return Workload.seen(row, most, now)

    def subscription_workload(
        self, db: apsw.Connection, organization: int, asked: Mapping[str, int], most: int
    ) -> dict[str, SubscriptionWorkload]:
        """What subscriptions have waiting and dead."""
        found = {}
        for identifier, subscription in asked.items():
            ((waiting, dead),) = db.execute(
                SQL["subscription_workload"], (organization, subscription, most + 1)
            )
            found[identifier] = SubscriptionWorkload(
                waiting=Count.up_to(most, waiting), dead=Count.up_to(most, dead)
            )
        return found

    def _few_open(self, db: apsw.Connection, organization: int) -> bool:
        """Whether it costs little to look at all that is not finished.

        Where it is much, those that are asked for are likely among the newest of all.
        """
        ((count,),) = db.execute(SQL["count_open"], (organization, _FEW_OPEN))
        return bool(count < _FEW_OPEN)

    def delivery(
        self, db: apsw.Connection, organization: int, delivery: int
    ) -> DeliveryDetail | None:
        """One delivery with its attempts."""
        for row in db.execute(SQL["delivery"], (delivery, organization)):
            plain = self._delivery(row)
            attempts = db.execute(SQL["delivery_attempts"], (delivery,))
            return DeliveryDetail(
                **{name: getattr(plain, name) for name in Delivery.__struct_fields__},
                attempts=tuple(self._attempt(attempt, plain) for attempt in attempts),
            )
        return None

    def subscription_stats(
        self,
        db: apsw.Connection,
        organization: int,
        subscription: int,
        *,
        since: Timestamp,
        until: Timestamp,
        now: Timestamp,
    ) -> SubscriptionStats:
        """What became of the newest deliveries made within a window."""
        window = (
            subscription,
            organization,
            ids.first_sequence(since),
            ids.first_sequence(until),
            DELIVERIES_LIMIT,
        )
        deliveries = {
            codes.DELIVERY_STATUS_OF[status]: count
            for status, count in db.execute(SQL["subscription_deliveries"], window)
        }
        attempts = [
            Taken(duration_ms, bool(succeeded), count, last_at)
            for duration_ms, succeeded, count, last_at in db.execute(
                SQL["subscription_attempts"], (*window, ATTEMPTS_LIMIT)
            )
        ]
        ((due,),) = db.execute(SQL["subscription_next"], (organization, subscription, codes.PARKED))
        return summary(
            deliveries,
            attempts,
            since=since,
            until=until,
            next_due=_moment(due),
            now=now,
        )

    def is_busy(self, db: apsw.Connection, now: int, besides: Sequence[int]) -> bool:
        """Whether there is work to be done now, but for these subscriptions."""
        return any(busy for (busy,) in db.execute(SQL["is_busy"], (now, numbers(besides))))

    def depths_by_whose(self, db: apsw.Connection, now: int, *, counted: int, shown: int) -> Depths:
        """Who has the most in the queues."""
        events = list(db.execute(SQL["depths_by_organization"], (now, counted, shown)))
        deliveries = list(db.execute(SQL["depths_by_subscription"], (now, counted, shown)))
        return depths_of(
            events,
            deliveries,
            organization=self.keys.organization,
            subscription=self.keys.subscription,
        )

    def depths(self, db: apsw.Connection, now: int) -> QueueStats:
        """Depths of the queue and of what is to be delivered."""
        (
            (
                queued,
                scheduled,
                oldest,
                held,
                stuck,
                open_,
                delivering,
                breakers,
                half_open,
                failing,
            ),
        ) = db.execute(SQL["queue_depths"], (now,))
        return QueueStats(
            depth=queued - scheduled,
            scheduled=scheduled,
            leased=held - stuck,
            stuck=stuck,
            oldest_age_s=max(0, now - oldest) / 1000 if oldest is not None else 0.0,
            deliveries_waiting=open_ - delivering,
            deliveries_leased=delivering,
            breakers_open=breakers,
            breakers_half_open=half_open,
            endpoints_failing=failing,
        )

    def organization_depths(self, db: apsw.Connection, now: int) -> dict[str, OrganizationBacklog]:
        """What each organization has in the queue. It goes through all of it."""
        return {
            self.keys.organization(organization): OrganizationBacklog(
                count=count, oldest_age_s=max(now - due_at, 0) / 1000
            )
            for organization, count, due_at in db.execute(SQL["organization_depths"])
        }

    def accounts(self, db: apsw.Connection, now: int) -> list[OrganizationAccount]:
        """Every organization's books."""
        events: dict[tuple[int, int], int] = {
            (organization, status): count
            for organization, status, count in db.execute(SQL["account_event_states"], (now,))
        }
        deliveries: dict[tuple[int, int], int] = {
            (organization, status): count
            for organization, status, count in db.execute(SQL["account_delivery_states"])
        }
        return [
            OrganizationAccount(
                organization_id=self.keys.organization(organization),
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
            for organization, accepted, total, pruned in db.execute(SQL["account_events"])
        ]

    def _span(
        self, prefix: str, since: Timestamp | None, until: Timestamp | None, page: Page
    ) -> dict[str, int]:
        # An id's number begins with the moment it was made, so a span of time is a span of numbers.
        return {
            "before": _END_OF_TIME if page.before is None else self.keys.find(prefix, page.before),
            "since": 0 if since is None else ids.first_sequence(since),
            "until": _END_OF_TIME if until is None else ids.first_sequence(until),
            "limit": page.limit,
        }

    def shown(self, row: Sequence[Any], now: int) -> Event:
        """An event as the API shows it, from a row of ``events.sql``."""
        (
            number,
            event_type,
            payload,
            dedup_id,
            source,
            key,
            metadata,
            status,
            occurred,
            due,
            operational,
        ) = row
        return Event(
            id=self.keys.event(number),
            type=event_type,
            payload=_NULL if payload is None else msgspec.Raw(payload),
            dedup_id=dedup_id,
            source=source,
            key=key,
            metadata=None if metadata is None else _metadata(metadata),
            status=shown_status(status, due, now),
            received_at=ids.made_at(number),
            occurred_at=_moment(occurred),
            deliver_at=_moment(due),
            operational=bool(operational),
        )

    def _delivery(self, row: Sequence[Any]) -> Delivery:
        (
            number,
            event,
            event_type,
            subscription,
            code,
            reason,
            origin,
            count,
            due,
            status_at,
            sequence,
        ) = row
        status = codes.DELIVERY_STATUS_OF[code]
        return Delivery(
            id=self.keys.delivery(number),
            event_id=self.keys.event(event),
            event_type=event_type,
            subscription_id=self.keys.subscription(subscription),
            status=status,
            reason=reason,
            origin=codes.ORIGIN_OF[origin],
            attempt_count=count,
            next_attempt_at=_moment(due) if status in WAITING and due != codes.PARKED else None,
            sequence=sequence,
            created_at=ids.made_at(number),
            finished_at=Timestamp(status_at) if status in FINISHED else None,
        )

    def _attempt(self, row: Sequence[Any], delivery: Delivery) -> Attempt:
        number, count, started_at, duration_ms, status_code, error, body, details = row
        return Attempt(
            id=self.keys.attempt(number),
            number=count,
            started_at=Timestamp(started_at),
            duration_ms=duration_ms,
            status_code=status_code,
            error=error,
            response_body=body,
            **bodies.shown_details(details, delivery, count),
        )


def _moment(millis: int | None) -> Timestamp | None:
    return None if millis is None else Timestamp(millis)
