"""Claim and settle: a delivery from falling due to its outcome on file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from triggers_api.errors import InvalidState
from triggers_api.model import ids
from triggers_api.model.delivery import (
    OPEN,
    RETRYABLE,
    WAITING,
    DeliveryStatus,
    reopened,
)
from triggers_api.model.ids import received_ms
from triggers_api.model.notice import Notice, NoticeType
from triggers_api.model.subscription import SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies, codes
from triggers_api.store.base import ClaimedDelivery, DeliveryClaim, Rooms, Settlement
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.notice_verbs import write_notices
from triggers_api.store.postgres.settings_verbs import SettingsVerbs
from triggers_api.store.postgres.tables import FIRST, SQL, number, text

CANCELLED_AT_ONCE: Final = 5000
"""Rows of ended subscriptions that one transaction cancels, so that nobody waits long for it."""

_ENDED: Final = "the subscription has ended"
_TARGETS_KEPT: Final = 10_000
_LANES_PER_CLAIM: Final = 200

_CODE = codes.DELIVERY_STATUS


class DeliveryVerbs:
    """The verbs around ``deliveries`` and ``delivery_queue``."""

    def __init__(self, settings: SettingsVerbs) -> None:
        self._settings = settings
        self._lane = FIRST
        self._targets: dict[tuple[UUID, int], SubscriptionRecord] = {}

    async def claim(
        self,
        db: Connection,
        limit: int,
        *,
        rooms: Rooms,
        now: Timestamp,
        until: Timestamp,
        token: int,
    ) -> DeliveryClaim:
        """Lease due deliveries within each subscription's room."""
        room, default_room = rooms.subscriptions, rooms.default_subscription
        rows = await db.fetch(
            SQL["claim_due"],
            now,
            limit,
            [number(each) for each in room],
            list(room.values()),
            default_room,
            token,
            until,
        )
        seen, version = rows[0]["seen"], rows[0]["settings_version"]
        chosen = [row[2:] for row in rows if row["delivery_id"] is not None]
        if len(chosen) < seen == limit:
            # The front of the line belongs to subscriptions without room. Rather than read past all
            # that waits for them, go from subscription to subscription.
            chosen += await self._claim_lanes(
                db,
                limit - len(chosen),
                room=_less(room, default_room, chosen),
                default_room=default_room,
                now=now,
                until=until,
                token=token,
            )
        return DeliveryClaim(
            tuple([await self._claimed(db, row, token) for row in chosen]),
            recovered=sum(row[4] for row in chosen),
            settings_version=version,
        )

    async def _claim_lanes(
        self,
        db: Connection,
        limit: int,
        *,
        room: Mapping[str, int],
        default_room: int,
        now: Timestamp,
        until: Timestamp,
        token: int,
    ) -> list[Any]:
        """From where the last look ended, so that everybody has a turn, and once around at the most."""
        began = self._lane
        chosen: list[Any] = []
        for start in dict.fromkeys((began, FIRST)):
            rows = await db.fetch(
                SQL["claim_lanes"],
                now,
                limit - len(chosen),
                [number(each) for each in room],
                list(room.values()),
                default_room,
                token,
                until,
                start,
                _LANES_PER_CLAIM,
            )
            found = [row[1:] for row in rows if row["delivery_id"] is not None]
            chosen += found
            room = _less(room, default_room, found)
            self._lane = rows[0]["last"] or FIRST
            if rows[0]["last"] is not None:
                break
        return chosen

    async def _claimed(self, db: Connection, row: Any, token: int) -> ClaimedDelivery:  # noqa: ANN401 - a row
        (
            organization,
            delivery,
            subscription,
            version,
            _,
            event,
            attempts,
            base,
            event_type,
            occurred_at,
            payload,
            source,
            key,
            dedup_id,
            metadata,
            operational,
        ) = row
        event_id = text(ids.EVENT, event)
        return ClaimedDelivery(
            id=text(ids.DELIVERY, delivery),
            token=token,
            event_id=event_id,
            event_type=event_type,
            sent_at=Timestamp(received_ms(event_id) if occurred_at is None else occurred_at),
            payload=payload,
            attempt_count=attempts,
            failures=attempts - base,
            target=await self._target(db, organization, subscription, version),
            source=source,
            key=key,
            dedup_id=dedup_id,
            metadata=metadata,
            operational=bool(operational),
        )

    async def claim_for_session(
        self,
        db: Connection,
        organization: str | UUID,
        subscription: str | UUID,
        limit: int,
        *,
        now: Timestamp,
        until: Timestamp,
        token: int,
    ) -> DeliveryClaim:
        """Lease due deliveries of one subscription, which nobody else claims."""
        rows = await db.fetch(
            SQL["claim_for_session"], now, limit, organization, subscription, token, until
        )
        return DeliveryClaim(
            tuple([await self._claimed(db, row, token) for row in rows]),
            recovered=sum(row[4] for row in rows),
        )

    async def _target(
        self, db: Connection, organization: UUID, subscription: UUID, version: int
    ) -> SubscriptionRecord:
        known = self._targets.get((subscription, version))
        if known is None:
            known = await self._settings.of_any_state(db, organization, subscription)
            if len(self._targets) >= _TARGETS_KEPT:
                self._targets.clear()
            self._targets[subscription, version] = known
        return known

    async def settle(
        self, db: Connection, settlements: Sequence[Settlement], *, now: Timestamp
    ) -> tuple[list[str], bool]:
        """Outcomes onto their rows; returns the stale ids, and whether subscriptions have ended."""
        # The first settlement of a row ends its lease; a second one is stale.
        first = {(each.delivery_id, each.token): each for each in reversed(settlements)}
        rows = await db.fetch(SQL["settle"], now, *_columns(list(first.values()), now))
        held = {(delivery.hex, token): subscription for delivery, token, subscription in rows}
        stale: list[str] = []
        ended: dict[UUID, Settlement] = {}
        notices: list[tuple[str, Notice]] = []
        for settlement in settlements:
            subscription = held.pop((number(settlement.delivery_id), settlement.token), None)
            if subscription is None:
                stale.append(settlement.delivery_id)
                continue
            if settlement.disable_subscription is not None:
                ended[subscription] = settlement
            if settlement.notice is not None:
                notices.append((settlement.organization_id, settlement.notice))
        if ended:
            # What is read from here on is what it will be when it is written.
            await db.execute(SQL["hold_version"])
        for subscription, settlement in ended.items():
            reason = str(settlement.disable_subscription)
            disabled = await self._settings.disable_subscription(
                db, number(settlement.organization_id), subscription, reason, now=now
            )
            if disabled and settlement.notify:
                notice = Notice(
                    type=NoticeType.SUBSCRIPTION_DISABLED,
                    at=now,
                    subscription_id=text(ids.SUBSCRIPTION, subscription),
                    reason=reason,
                )
                notices.append((settlement.organization_id, notice))
        await write_notices(db, notices)
        return stale, bool(ended)

    async def cancel_ended(
        self, db: Connection, *, now: Timestamp, subscription: str | UUID | None = None
    ) -> int:
        """Cancel some of what waits for subscriptions that have ended; returns how many."""
        return changed(
            await db.execute(SQL["cancel_ended"], now, _ENDED, subscription, CANCELLED_AT_ONCE)
        )

    async def free(
        self, db: Connection, *, now: Timestamp, workers: Sequence[int] = ()
    ) -> tuple[int, int]:
        """Free events and deliveries whose lease ran out, or whose worker is one of these numbers."""
        events = changed(await db.execute(SQL["free_queue"], now, workers))
        return events, changed(await db.execute(SQL["free_deliveries"], now, workers))

    async def retry(
        self, db: Connection, organization: str | UUID, delivery: str | UUID, *, now: Timestamp
    ) -> bool:
        """Due now, whatever it was waiting for."""
        await db.execute(SQL["hold_event"], organization, delivery)
        await db.execute(SQL["hold_delivery"], organization, delivery)
        row = await db.fetchrow(SQL["delivery_standing"], organization, delivery)
        if row is None:
            return False
        code, attempts, _, leased, erased, ended = row
        standing = DeliveryStatus.DELIVERING if leased else codes.DELIVERY_STATUS_OF[code]
        if erased:
            raise InvalidState("the event was deleted")
        if ended:
            raise InvalidState("the subscription has ended: it was deleted, disabled or expired")
        if standing in WAITING:
            await db.execute(SQL["bring_delivery_forward"], organization, delivery, now)
        elif standing in RETRYABLE:
            status = _CODE[reopened(attempts)]
            await db.execute(SQL["reopen_delivery"], organization, delivery, status, now)
        else:
            raise InvalidState(f"the delivery is {standing}")
        return True

    async def cancel(
        self, db: Connection, organization: str | UUID, delivery: str | UUID, *, now: Timestamp
    ) -> bool:
        """Ended, whatever it was waiting for."""
        await db.execute(SQL["hold_delivery"], organization, delivery)
        row = await db.fetchrow(SQL["delivery_standing"], organization, delivery)
        if row is None:
            return False
        standing = codes.DELIVERY_STATUS_OF[row[0]]
        if standing not in OPEN:
            raise InvalidState(f"the delivery is {standing}")
        await db.execute(
            SQL["cancel_delivery"], organization, delivery, now, "cancelled by request"
        )
        return True

    async def erase_event(
        self, db: Connection, organization: str | UUID, event: str | UUID, *, now: Timestamp
    ) -> bool:
        """Payload gone, queue row gone, what waits cancelled, dedup_id free."""
        # The queue row first, as whoever routes it does.
        await db.execute(SQL["erase_queue_row"], organization, event)
        if await db.fetchval(SQL["erase_event"], organization, event) is None:
            return False
        await db.execute(SQL["mark_erased"], organization, event, now)
        await db.execute(
            SQL["cancel_event_deliveries"], organization, event, now, "the event was deleted"
        )
        return True


def _less(room: Mapping[str, int], default_room: int, chosen: Sequence[Any]) -> dict[str, int]:
    """What is left of the rooms when these rows were claimed."""
    taken = Counter(text(ids.SUBSCRIPTION, row[2]) for row in chosen)
    left = {name: free - taken[name] for name, free in room.items()}
    return left | {
        name: max(default_room - count, 0) for name, count in taken.items() if name not in room
    }


def _columns(settlements: Sequence[Settlement], now: Timestamp) -> list[list[Any]]:
    attempts = [each.attempt for each in settlements]
    return [
        [number(each.organization_id) for each in settlements],
        [number(each.delivery_id) for each in settlements],
        [each.token for each in settlements],
        [_CODE[each.status] for each in settlements],
        [(each.next_attempt_at or now) if each.status in WAITING else None for each in settlements],
        [each.reason for each in settlements],
        [None if each is None else number(each.id) for each in attempts],
        [None if each is None else each.number for each in attempts],
        [None if each is None else each.started_at for each in attempts],
        [None if each is None else each.duration_ms for each in attempts],
        [None if each is None else each.status_code for each in attempts],
        [None if each is None else each.error for each in attempts],
        [
            None if each is None or each.response_body is None else each.response_body.encode()
            for each in attempts
        ],
        [None if each.details is None else bodies.encode(each.details) for each in settlements],
    ]


def changed(tag: str) -> int:
    """How many rows a statement changed, from its command tag."""
    return int(tag.rpartition(" ")[2])
