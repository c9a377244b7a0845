"""Claim and settle: a delivery from falling due to its outcome on file.

Every method here is an operation's body: it runs in the writer's thread, inside a transaction.
"""

from collections.abc import Sequence
from typing import Any, Final

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
    waits_for,
)
from triggers_api.model.health import Evidence, HealthEvent, evidence
from triggers_api.model.notice import Notice, NoticeType
from triggers_api.model.outcome import error_class
from triggers_api.model.subscription import SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies, codes
from triggers_api.store.base import (
    ClaimedDelivery,
    DeliveryClaim,
    HealthReset,
    Rooms,
    Settled,
    Settlement,
)
from triggers_api.store.choice import CLAIMED_BYTES, choose
from triggers_api.store.endpoint_health import at_another_url
from triggers_api.store.passed import Passed, Place
from triggers_api.store.questions import (
    FIRST,
    LANES_AT_ONCE,
    LATER,
    Ahead,
    Allowed,
    Among,
    Behind,
    Chosen,
    Due,
    Lane,
    Within,
)
from triggers_api.store.sqlite import lines
from triggers_api.store.sqlite.health_verbs import HealthVerbs
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.notice_verbs import NoticeVerbs
from triggers_api.store.sqlite.quarantine_verbs import reveal
from triggers_api.store.sqlite.settings_verbs import SettingsVerbs
from triggers_api.store.sqlite.tables import SQL, Tables, many, numbers, run_many
from triggers_api.store.turns import Turns

CANCELLED_AT_ONCE = 5000
"""Rows of ended subscriptions that one transaction cancels, so that no commit waits long for it."""

_TARGETS_KEPT = 10_000
_LINES_AT_ONCE = 1000
_FIRST_LINE: Final = (0, "")

_CODE = codes.DELIVERY_STATUS
_DEAD: Final = DeliveryStatus.DEAD


class DeliveryVerbs(Tables):
    """The verbs around ``deliveries``."""

    def __init__(
        self, keys: Keys, settings: SettingsVerbs, health: HealthVerbs, passed: Passed[int]
    ) -> None:
        super().__init__(keys)
        self._settings = settings
        self._health = health
        self._notices = NoticeVerbs(keys)
        self._turns: Turns[int] = Turns(0, (1 << 63) - 1)
        self._passed = passed
        self._line: lines.Line = _FIRST_LINE
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
        """Lease due deliveries within each subscription's and each organization's room."""
        passed = self._passed
        if passed.lanes and list(db.execute(SQL["claim_ran_out"], (now,))):
            passed.look_at_all()
        chosen = self._choose(db, limit, rooms, now)
        leased, claimed = self._lease(db, chosen.due, now=now, until=until, token=token)
        if len(leased) < len(chosen.due):
            passed.forget()  # what was chosen and is too much to hold may lie before the place
        if probes := {due.subscription for due in leased if due.probe}:
            db.execute(SQL["claim_half_open"], (until, numbers(probes)))
        return DeliveryClaim(
            tuple(claimed),
            recovered=sum(due.recovered for due in leased),
            unfinished=chosen.unfinished,
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
        if not list(db.execute(SQL["session_lane"], (subscription, organization, now))):
            return DeliveryClaim(())
        lane = Lane(organization, subscription, limit, probe=False)
        due = sorted(self._within(db, (lane, limit), now), key=_since_when)[:limit]
        leased, claimed = self._lease(db, due, now=now, until=until, token=token)
        return DeliveryClaim(tuple(claimed), recovered=sum(each.recovered for each in leased))

    def _lease(
        self, db: apsw.Connection, chosen: list[Due[int]], *, now: int, until: int, token: int
    ) -> tuple[list[Due[int]], list[ClaimedDelivery]]:
        """Lease what was chosen, as far as it is not too much to hold."""
        order = numbers([due.delivery for due in chosen])
        size = 0
        leased: list[Due[int]] = []
        claimed: list[ClaimedDelivery] = []
        rows = db.execute(SQL["claimed_deliveries"], (order,)) if chosen else ()
        for row, due in zip(rows, chosen, strict=False):
            if size >= CLAIMED_BYTES:
                break
            leased.append(due)
            claimed.append(self._claimed(db, row, due, token))
            size += len(claimed[-1].payload)
        if leased:
            ids = numbers([due.delivery for due in leased])
            db.execute(SQL["claim_deliveries_lease"], (now, token, until, ids))
        return leased, claimed

    def _choose(self, db: apsw.Connection, limit: int, rooms: Rooms, now: int) -> Chosen[int]:
        key = self.keys.of
        allowed = Allowed(
            {key(each): free for each, free in rooms.subscriptions.items()},
            rooms.default_subscription,
            {key(each): free for each, free in rooms.organizations.items()},
            rooms.default_organization,
        )
        asking = choose(
            limit=limit, allowed=allowed, turns=self._turns, passed=self._passed, now=now
        )
        answer: list[Any] | None = None
        while True:
            try:
                asked = asking.send(answer)
            except StopIteration as ended:
                chosen: Chosen[int] = ended.value
                return chosen
            answer = self._answer(db, asked, now)

    def _answer(
        self,
        db: apsw.Connection,
        asked: Ahead[int] | Among[int] | Behind[int] | Within[int],
        now: int,
    ) -> list[Any]:
        match asked:
            case Ahead():
                lines_asked = zip((FIRST, LATER), asked.after, asked.most, strict=True)
                return [
                    due
                    for line, after, most in lines_asked
                    for due in self._ahead(db, line, after, most, now)
                ]
            case Within():
                return [due for each in asked.lanes for due in self._within(db, each, now)]
            case Among():
                wanted = numbers(subscription for _, subscription in asked.lanes)
                return [Lane(*row) for row in db.execute(SQL["claim_lanes_passed"], (now, wanted))]
            case Behind():
                behind = (asked.organization, asked.subscription, LANES_AT_ONCE)
                rows = db.execute(SQL["claim_lanes"], (now, *behind, numbers(asked.full)))
                return [Lane(*row) for row in rows]

    @staticmethod
    def _ahead(
        db: apsw.Connection, line: int, after: Place[int], most: int, now: int
    ) -> list[Due[int]]:
        """Up to so many of a line behind a place."""
        moment, delivery = after
        rows: list[Any] = []
        if most and moment:
            # Apart: compared as pairs, all that became due in that millisecond would be read.
            rows += db.execute(SQL["claim_due_same"], (now, most, line, moment, delivery))
        if len(rows) < most:
            rows += db.execute(SQL["claim_due"], (now, most - len(rows), line, moment))
        return [Due(*row) for row in rows]

    @staticmethod
    def _within(db: apsw.Connection, asked_of: tuple[Lane[int], int], now: int) -> list[Due[int]]:
        lane, most = asked_of
        asked = (lane.organization, lane.subscription, now, most)
        return [
            Due(
                number,
                lane.organization,
                lane.subscription,
                lane.most,
                lane.probe,
                priority,
                due_at,
                recovered,
            )
            for number, priority, due_at, recovered in db.execute(SQL["claim_lane"], asked)
        ]

    def _claimed(
        self, db: apsw.Connection, row: tuple[Any, ...], due: Due[int], token: int
    ) -> ClaimedDelivery:
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
            origin,
            sequence,
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
            priority=due.priority,
            probe=bool(due.probe),
            operational=bool(operational),
            origin=codes.ORIGIN_OF[origin],
            sequence=sequence,
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
        self, db: apsw.Connection, settlements: Sequence[Settlement], *, now: Timestamp
    ) -> tuple[Settled, bool, bool]:
        """Outcomes onto their rows.

        Returns:
            What came of it, whether subscriptions have ended, and whether others' turn has come.
        """
        asked = [(self.keys.of(s.delivery_id), s.token) for s in settlements]
        held = {
            (number, token): (attempts, subscription, order_key)
            for number, token, attempts, subscription, order_key in many(
                db, "deliveries_held", asked, before=(now,), none=(0, 0)
            )
        }
        stale, states, attempts = [], [], []
        gone: dict[int, Settlement] = {}
        finished: list[tuple[int, str | None]] = []
        seen: dict[int, list[Evidence]] = {}
        to_tell: set[int] = set()
        for settlement, (number, token) in zip(settlements, asked, strict=True):
            # Popped: the first settlement of a row ends its lease, a second one is stale.
            count, subscription, order_key = held.pop((number, token), (None, 0, None))
            if count is None:
                stale.append(settlement.delivery_id)
                continue
            if settlement.disable_subscription is not None:
                settlement = self._present(db, subscription, settlement)  # noqa: PLW2901
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
                    error_class(settlement.reason) if settlement.status is _DEAD else None,
                )
            )
            if settlement.status not in WAITING:
                finished.append((subscription, order_key))
            if settlement.disable_subscription is not None:
                gone[subscription] = settlement
            if settlement.notice is not None:
                organization = self.keys.of(settlement.organization_id)
                self._notices.write(db, organization, (settlement.notice,))
            if settlement.notify:
                to_tell.add(subscription)
            said = evidence(attempt, settlement.status, settlement.sent_to)
            if said is not None:
                seen.setdefault(subscription, []).append(said)
        run_many(db, "settle", states, none=(0,) * 8)
        self._passed.came([due_at for _, _, _, _, due_at, *_ in states if due_at is not None])
        run_many(db, "settle_attempts", attempts, none=(0,) * 9)
        for subscription, settlement in gone.items():
            self._disable(db, subscription, settlement, now)
        closed_to, changes = self._health.settle(db, seen, to_tell=to_tell, now=now)
        ended = bool(gone) or any(each.event is HealthEvent.DISABLED for each in changes)
        go_on = lines.go_on(db, finished, now=now)
        return Settled(tuple(stale), closed_to, tuple(changes)), ended, go_on

    def _present(
        self, db: apsw.Connection, subscription: int, settlement: Settlement
    ) -> Settlement:
        """A settlement that disables, if it went to where the subscription is now."""
        url = self._settings.by_number(db, subscription).subscription.url
        return settlement if settlement.sent_to in (None, url) else at_another_url(settlement)

    def _disable(
        self, db: apsw.Connection, subscription: int, settlement: Settlement, now: int
    ) -> None:
        reason = str(settlement.disable_subscription)
        self._health.reset(db, subscription, HealthReset.FORGET)
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
        deliveries = db.total_changes() - before - events
        if deliveries:
            self._passed.forget()  # they are due since when they were
        return events, deliveries

    def cancel_ended(self, db: apsw.Connection, *, now: int, subscription: int = 0) -> int:
        """Cancel some of what waits for subscriptions that have ended; returns how many."""
        cancelled = list(
            db.execute(
                SQL["cancel_ended"],
                (now, "the subscription has ended", subscription, CANCELLED_AT_ONCE),
            )
        )
        lines.go_on(db, cancelled, now=now)
        return len(cancelled)

    def mend_order(self, db: apsw.Connection, *, now: int) -> int:
        """Have lines that stand still go on, some lines at a time; returns how many stood still."""
        mended, last = lines.mend(db, self._line, most=_LINES_AT_ONCE, now=now)
        self._line = _FIRST_LINE if last is None else last
        return mended

    def retry(self, db: apsw.Connection, organization: int, delivery: int, *, now: int) -> bool:
        """Due now, whatever it was waiting for."""
        for status, attempts, erased, ended, subscription, order_key, _ in list(
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
                self._check_turn(db, delivery, subscription, order_key)
                db.execute(SQL["bring_delivery_forward"], (delivery, now))
            elif standing in RETRYABLE:
                db.execute(SQL["reopen_delivery"], (delivery, _CODE[reopened(attempts)], now))
            else:
                raise InvalidState(f"the delivery is {standing}")
            return True
        return False

    def _check_turn(
        self, db: apsw.Connection, delivery: int, subscription: int, order_key: str | None
    ) -> None:
        if order_key is None:
            return
        head = lines.heads(db, [(subscription, order_key)])[subscription, order_key]
        if head is not None and head != delivery:
            raise InvalidState(waits_for(self.keys.delivery(head)))

    def cancel(self, db: apsw.Connection, organization: int, delivery: int, *, now: int) -> bool:
        """Ended, whatever it was waiting for."""
        for status, *_ in list(db.execute(SQL["delivery_standing"], (delivery, organization))):
            standing = codes.DELIVERY_STATUS_OF[status]
            if standing not in OPEN:
                raise InvalidState(f"the delivery is {standing}")
            gone = db.execute(SQL["cancel_delivery"], (delivery, now, "cancelled by request"))
            lines.go_on(db, list(gone), now=now)
            return True
        return False

    def erase_event(self, db: apsw.Connection, organization: int, event: int, *, now: int) -> bool:
        """Payload gone, queue row gone, what waits cancelled, dedup_id free."""
        place = list(db.execute(SQL["queue_place"], (event, organization)))
        if not self._overwrite(db, organization, event, now):
            return False
        for due_at, was_aside in place:
            db.execute(SQL["erase_queue_row"], (due_at, event))
            if was_aside:
                reveal(db, organization, event, now)
        gone = db.execute(SQL["cancel_event_deliveries"], (event, now, "the event was deleted"))
        lines.go_on(db, list(gone), now=now)
        return True

    def _overwrite(
        self, db: apsw.Connection, organization: int, event: int, now: int
    ) -> list[tuple[Any, ...]]:
        """Take out what a producer said, with zeros in its place in the file."""
        db.pragma("secure_delete", 1)
        try:
            found = list(db.execute(SQL["erase_event"], (event, organization, now)))
            if found:
                db.execute(SQL["erase_payload"], (event,))
                db.execute(SQL["erase_failure"], (event,))
        finally:
            db.pragma("secure_delete", 0)
        return found


def _since_when(due: Due[int]) -> tuple[int, int]:
    return due.due_at, due.delivery
