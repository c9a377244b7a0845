"""Claim and settle: a delivery from falling due to its outcome on file.

Every method here is an operation's body: it runs in the writer's thread, inside a transaction.
"""

from collections.abc import Sequence
from typing import Any

import apsw

from triggers_api.errors import InvalidState
from triggers_api.model.attempt import AttemptDetails
from triggers_api.model.delivery import (
    OPEN,
    RETRYABLE,
    WAITING,
    Attempt,
    DeliveryStatus,
    reopened,
)
from triggers_api.model.notice import Notice, NoticeType
from triggers_api.model.subscription import SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies, codes
from triggers_api.store.base import ClaimedDelivery, DeliveryClaim, Rooms, Settlement
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.notice_verbs import NoticeVerbs
from triggers_api.store.sqlite.settings_verbs import SettingsVerbs
from triggers_api.store.sqlite.tables import SQL, Tables, many, numbers, run_many

CANCELLED_AT_ONCE = 5000
"""Rows of ended subscriptions that one transaction cancels, so that no commit waits long for it."""

_TARGETS_KEPT = 10_000
_LANES_PER_CLAIM = 200

_CODE = codes.DELIVERY_STATUS
_DELIVERING = _CODE[DeliveryStatus.DELIVERING]


class DeliveryVerbs(Tables):
    """The verbs around ``deliveries``."""

    def __init__(self, keys: Keys, settings: SettingsVerbs) -> None:
        super().__init__(keys)
        self._settings = settings
        self._notices = NoticeVerbs(keys)
        self._lane = 0
        self._targets: dict[tuple[int, int], SubscriptionRecord] = {}

    def claim(
        self,
        db: apsw.Connection,
        limit: int,
        *,
        rooms: Rooms,
        now: int,
        until: int,
        token: int,
    ) -> DeliveryClaim:
        """Lease due deliveries within each subscription's room."""
        left = {self.keys.of(each): free for each, free in rooms.subscriptions.items()}
        chosen = self._choose(db, limit, left, rooms.default_subscription, now)
        if not chosen:
            return DeliveryClaim(())
        leased = numbers(chosen)
        db.execute(SQL["claim_deliveries_lease"], (now, token, until, leased))
        claimed = {
            row[0]: self._claimed(db, row, token)
            for row in list(db.execute(SQL["claimed_deliveries"], (leased,)))
        }
        return DeliveryClaim(
            tuple(claimed[number] for number in chosen),
            recovered=sum(status == _DELIVERING for status in chosen.values()),
        )

    def _choose(
        self, db: apsw.Connection, limit: int, left: dict[int, int], default_room: int, now: int
    ) -> dict[int, int]:
        """Numbers and statuses of due deliveries, the longest due first."""
        chosen: dict[int, int] = {}
        passed_over = False
        rows = list(db.execute(SQL["claim_due"], (now, limit)))
        for number, status, lane, most in rows:
            free = left.get(lane, min(most, default_room)) if most else 0
            left[lane] = max(free - 1, 0)
            if free > 0:
                chosen[number] = status
            else:
                passed_over = True
        if passed_over and len(rows) == limit:
            self._choose_by_lane(db, limit, left, default_room, now, chosen)
        return chosen

    def _choose_by_lane(
        self,
        db: apsw.Connection,
        limit: int,
        left: dict[int, int],
        default_room: int,
        now: int,
        chosen: dict[int, int],
    ) -> None:
        # The front of the line belongs to subscriptions without room. Rather than read past all
        # that waits for them, go from subscription to subscription, starting where the last look
        # ended so that everybody has a turn.
        first: int | None = None
        for _ in range(_LANES_PER_CLAIM):
            lane = self._next_lane(db)
            if lane is None or lane == first or len(chosen) >= limit:
                return
            first = lane if first is None else first
            ((most,),) = list(db.execute(SQL["claim_lane_limit"], (lane, now)))
            left[lane] = left.get(lane, min(most, default_room)) if most else 0
            if left[lane] <= 0:
                continue
            rows = list(db.execute(SQL["claim_lane"], (lane, now, left[lane] + len(chosen))))
            fresh = {number: status for number, status in rows if number not in chosen}
            for number in list(fresh)[: min(left[lane], limit - len(chosen))]:
                chosen[number] = fresh[number]
                left[lane] -= 1

    def _next_lane(self, db: apsw.Connection) -> int | None:
        for after in (self._lane, 0):
            for (lane,) in db.execute(SQL["claim_next_lane"], (after,)):
                self._lane = lane
                return int(lane)
        return None

    def _claimed(self, db: apsw.Connection, row: tuple[Any, ...], token: int) -> ClaimedDelivery:
        (
            number,
            event,
            event_type,
            sent_at,
            payload,
            attempts,
            base,
            subscription,
            version,
            source,
            key,
            dedup_id,
            metadata,
            operational,
        ) = row
        return ClaimedDelivery(
            id=self.keys.delivery(number),
            token=token,
            event_id=self.keys.event(event),
            event_type=event_type,
            sent_at=Timestamp(sent_at),
            payload=payload,
            attempt_count=attempts,
            failures=attempts - base,
            target=self._target(db, subscription, version),
            source=source,
            key=key,
            dedup_id=dedup_id,
            metadata=metadata,
            operational=bool(operational),
        )

    def claim_for_session(
        self,
        db: apsw.Connection,
        organization: int,
        subscription: int,
        limit: int,
        *,
        now: int,
        until: int,
        token: int,
    ) -> DeliveryClaim:
        """Lease due deliveries of one subscription, which nobody else claims."""
        asked = (subscription, organization, now, limit)
        chosen = dict(list(db.execute(SQL["claim_for_session"], asked)))
        if not chosen:
            return DeliveryClaim(())
        leased = numbers(chosen)
        db.execute(SQL["claim_deliveries_lease"], (now, token, until, leased))
        rows = {row[0]: row for row in list(db.execute(SQL["claimed_deliveries"], (leased,)))}
        return DeliveryClaim(
            tuple(self._claimed(db, rows[each], token) for each in chosen),
            recovered=sum(status == _DELIVERING for status in chosen.values()),
        )

    def _target(self, db: apsw.Connection, number: int, version: int) -> SubscriptionRecord:
        known = self._targets.get((number, version))
        if known is None:
            known = self._settings.by_number(db, number)
            if len(self._targets) >= _TARGETS_KEPT:
                self._targets.clear()
            self._targets[number, version] = known
        return known

    def settle(
        self, db: apsw.Connection, settlements: Sequence[Settlement], *, now: int
    ) -> tuple[list[str], bool]:
        """Outcomes onto their rows; returns the stale ids, and whether subscriptions have ended."""
        asked = [(self.keys.of(s.delivery_id), s.token) for s in settlements]
        held = {
            (number, token): (attempts, subscription)
            for number, token, attempts, subscription in many(
                db, "deliveries_held", asked, before=(now,)
            )
        }
        stale, states, attempts = [], [], []
        gone: dict[int, Settlement] = {}
        for settlement, (number, token) in zip(settlements, asked, strict=True):
            # Popped: the first settlement of a row ends its lease, a second one is stale.
            count, subscription = held.pop((number, token), (None, 0))
            if count is None:
                stale.append(settlement.delivery_id)
                continue
            attempt = settlement.attempt
            if attempt is not None:
                count = attempt.number
                attempts.append(self._attempt_row(number, attempt, settlement.details))
            states.append(
                (
                    number,
                    _CODE[settlement.status],
                    now,
                    count,
                    (settlement.next_attempt_at or now) if settlement.status in WAITING else None,
                    now,
                    settlement.reason,
                )
            )
            if settlement.disable_subscription is not None:
                gone[subscription] = settlement
            if settlement.notice is not None:
                organization = self.keys.of(settlement.organization_id)
                self._notices.write(db, organization, (settlement.notice,))
        run_many(db, "settle", states)
        run_many(db, "settle_attempts", attempts)
        for subscription, settlement in gone.items():
            self._disable(db, subscription, settlement, now)
        return stale, bool(gone)

    def _disable(
        self, db: apsw.Connection, subscription: int, settlement: Settlement, now: int
    ) -> None:
        reason = str(settlement.disable_subscription)
        disabled = self._settings.disable_subscription(db, subscription, reason, now=now)
        if disabled and settlement.notify:
            notice = Notice(
                type=NoticeType.SUBSCRIPTION_DISABLED,
                at=Timestamp(now),
                subscription_id=self.keys.subscription(subscription),
                reason=reason,
            )
            self._notices.write(db, self.keys.of(settlement.organization_id), (notice,))

    def _attempt_row(
        self, delivery: int, attempt: Attempt, details: AttemptDetails | None
    ) -> tuple[object, ...]:
        return (
            self.keys.of(attempt.id),
            delivery,
            attempt.number,
            attempt.started_at,
            attempt.duration_ms,
            attempt.status_code,
            attempt.error,
            attempt.response_body,
            None if details is None else bodies.encode(details),
        )

    def free(self, db: apsw.Connection, *, ran_out: int, now: int) -> tuple[int, int]:
        """Free events and deliveries whose lease ran out by a moment; returns how many of each."""
        before = db.total_changes()
        db.execute(SQL["free_queue"], (ran_out, now))
        events = db.total_changes() - before
        db.execute(SQL["free_deliveries"], (ran_out, now))
        return events, db.total_changes() - before - events

    def cancel_ended(self, db: apsw.Connection, *, now: int, subscription: int = 0) -> int:
        """Cancel some of what waits for subscriptions that have ended; returns how many."""
        before = db.total_changes()
        db.execute(
            SQL["cancel_ended"],
            (now, "the subscription has ended", subscription, CANCELLED_AT_ONCE),
        )
        return db.total_changes() - before

    def retry(self, db: apsw.Connection, organization: int, delivery: int, *, now: int) -> bool:
        """Due now, whatever it was waiting for."""
        for status, attempts, erased, ended in list(
            db.execute(SQL["delivery_standing"], (delivery, organization))
        ):
            standing = codes.DELIVERY_STATUS_OF[status]
            if erased:
                raise InvalidState("the event was deleted")
            if ended:
                raise InvalidState(
                    "the subscription has ended: it was deleted, disabled or expired"
                )
            if standing in WAITING:
                db.execute(SQL["bring_delivery_forward"], (delivery, now))
            elif standing in RETRYABLE:
                db.execute(SQL["reopen_delivery"], (delivery, _CODE[reopened(attempts)], now))
            else:
                raise InvalidState(f"the delivery is {standing}")
            return True
        return False

    def cancel(self, db: apsw.Connection, organization: int, delivery: int, *, now: int) -> bool:
        """Ended, whatever it was waiting for."""
        for status, *_ in list(db.execute(SQL["delivery_standing"], (delivery, organization))):
            standing = codes.DELIVERY_STATUS_OF[status]
            if standing not in OPEN:
                raise InvalidState(f"the delivery is {standing}")
            db.execute(SQL["cancel_delivery"], (delivery, now, "cancelled by request"))
            return True
        return False

    def erase_event(self, db: apsw.Connection, organization: int, event: int, *, now: int) -> bool:
        """Payload gone, queue row gone, what waits cancelled, dedup_id free."""
        for (due_at,) in list(db.execute(SQL["erase_event"], (event, organization, now))):
            db.execute(SQL["erase_payload"], (event,))
            db.execute(SQL["erase_failure"], (event,))
            db.execute(SQL["erase_queue_row"], (due_at, event))
            db.execute(SQL["cancel_event_deliveries"], (event, now, "the event was deleted"))
            return True
        return False
