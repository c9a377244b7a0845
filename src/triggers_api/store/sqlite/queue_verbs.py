"""Append, claim, fan out, release: an event from its acceptance to its routing.

Every method here is an operation's body: it runs in the writer's thread, inside a transaction.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final

import apsw

from triggers_api.errors import InvalidState
from triggers_api.model import ids
from triggers_api.model.delivery import NewDelivery, Origin
from triggers_api.model.event import EventStatus, FirstEvent, NewEvent, QueuedEvent
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import codes
from triggers_api.store.base import FailedEvent, QueueClaim, RoutedEvent
from triggers_api.store.passed import Passed, Place
from triggers_api.store.queue_passed import QueuePassed, Seen
from triggers_api.store.sqlite import lines, tokens
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.tables import SQL, Tables, many, numbers, run_many

_ALONE_AFTER = 2
"""Claims without success after which an event is handed out alone."""

GonePast = QueuePassed[int, tuple[Any, ...]]
"""Rows of ``claim_queue`` at the front of the queue that were gone past."""

_ORGANIZATION: Final = 4
"""Its place in a row of ``claim_queue``."""
_READ_AHEAD: Final = 1000
"""Rows that a claim reads at the most behind what was gone past."""

_NO_CONTENT: Final[dict[str, Any]] = {}

_QUEUED = codes.EVENT_STATUS[EventStatus.QUEUED]
_PROCESSED = codes.EVENT_STATUS[EventStatus.PROCESSED]
_SCHEDULED = codes.EVENT_STATUS[EventStatus.SCHEDULED]
_QUARANTINED = codes.EVENT_STATUS[EventStatus.QUARANTINED]
_FAILED = codes.EVENT_STATUS[EventStatus.FAILED]


class _Numbers(dict[str, int]):
    """Organizations' numbers, remembered: one is wanted for every event."""

    def __init__(self, keys: Keys) -> None:
        super().__init__()
        self._keys = keys

    def __missing__(self, identifier: str) -> int:
        number = self[identifier] = self._keys.of(identifier)
        return number


class QueueVerbs(Tables):
    """The verbs around ``event_queue``."""

    def __init__(self, keys: Keys, passed: Passed[int], gone_past: GonePast) -> None:
        super().__init__(keys)
        self._gone_past = gone_past
        self._organizations = _Numbers(keys)
        self._passed = passed

    def append(
        self, db: apsw.Connection, calls: Sequence[Sequence[NewEvent]], *, now: int
    ) -> list[list[FirstEvent | None]]:
        """Store the events of several calls; the answer is shaped like the input."""
        numbered = [(self.keys.of(event.id), event) for call in calls for event in call]
        holders = self._insert(db, numbered, now)
        taken = numbered
        if holders:
            taken = [(number, event) for number, event in numbered if number not in holders]
        payloads = [(number, event.payload) for number, event in taken]
        run_many(db, "append_payloads", payloads, none=(0,) * 2)
        traced = [(number, event.trace) for number, event in taken if event.trace is not None]
        if traced:
            db.executemany(SQL["append_trace"], traced)
        own = [number for number, event in taken if event.operational]
        if own:
            db.execute(SQL["mark_operational"], (numbers(own),))
        self._queue(db, taken)
        self._count(db, taken)
        if not holders:
            return [[None] * len(call) for call in calls]
        answers = {
            number: self._first(db, holders[number], event, now)
            for number, event in numbered
            if number in holders
        }
        return [[answers.get(self.keys.of(event.id)) for event in call] for call in calls]

    def append_test(self, db: apsw.Connection, event: NewEvent, *, now: int) -> bool:
        """Store an event for one subscription, with its delivery."""
        (delivery,) = event.deliveries or ()
        number, organization = self.keys.of(event.id), self._organizations[event.organization_id]
        subscription = self.keys.find(ids.SUBSCRIPTION, delivery.subscription_id)
        for (ended,) in list(db.execute(SQL["test_target"], (subscription, organization, now))):
            if ended:
                raise InvalidState("the subscription has ended: it was disabled or expired")
            db.execute(SQL["append_test"], (number, organization, now, event.type))
            run_many(db, "append_payloads", [(number, event.payload)], none=(0,) * 2)
            db.execute(SQL["count_accepted"], (organization, 1, 0))
            self._insert_deliveries(
                db, self.delivery_rows(number, organization, (delivery,), now, origin=Origin.TEST)
            )
            return True
        return False

    def _insert(
        self, db: apsw.Connection, numbered: Sequence[tuple[int, NewEvent]], now: int
    ) -> dict[int, int]:
        """Insert event rows; returns, for each that was not, who holds its dedup_id."""
        organization = self._organizations
        rows = [
            (
                number,
                organization[event.organization_id],
                _first_status(event, now),
                number >> 20,
                event.type,
                event.dedup_id,
                event.source,
                event.key,
                event.occurred_at,
                event.deliver_at,
                event.metadata,
            )
            for number, event in numbered
        ]
        before = db.total_changes()
        run_many(db, "append_events", rows, none=(0,) * 11)
        if db.total_changes() - before == len(rows):
            return {}
        holders: dict[int, int] = {}
        for number, organization_id, *_, dedup_id, _, _, _, _, _ in rows:
            if dedup_id is not None:
                ((holder,),) = db.execute(SQL["holder_of_dedup_id"], (organization_id, dedup_id))
                if holder != number:
                    holders[number] = holder
        return holders

    def _queue(self, db: apsw.Connection, taken: Sequence[tuple[int, NewEvent]]) -> None:
        queued = [
            (
                number >> 20 if event.deliver_at is None else max(number >> 20, event.deliver_at),
                number,
                number >> 20,
                tokens.NOBODY,
                0,
            )
            for number, event in taken
            if event.deliveries is None and event.aside is None
        ]
        run_many(db, "append_queue", queued, none=(0,) * 5)
        if queued:
            self._gone_past.came(min(row[0] for row in queued))
        if len(queued) == len(taken):
            return
        routed: list[lines.Row] = []
        for number, event in taken:
            if event.aside is not None:
                db.execute(SQL["save_failure"], (number, event.aside, 0))
            elif event.deliveries is not None:
                organization = self._organizations[event.organization_id]
                routed += self.delivery_rows(number, organization, event.deliveries, number >> 20)
        self._insert_deliveries(db, routed)

    def _count(self, db: apsw.Connection, taken: Sequence[tuple[int, NewEvent]]) -> None:
        counts = Counter([event.organization_id for _, event in taken])
        for organization, count in counts.items():
            db.execute(SQL["count_accepted"], (self._organizations[organization], count, 0))

    def _first(self, db: apsw.Connection, holder: int, event: NewEvent, now: int) -> FirstEvent:
        ((number, event_type, status, deliver_at, payload),) = db.execute(
            SQL["first_event"], (holder,)
        )
        return FirstEvent(
            id=self.keys.event(number),
            status=shown_status(status, deliver_at, now),
            received_at=ids.made_at(number),
            payload_matches=payload == event.payload,
            type=event_type,
        )

    def claim(
        self,
        db: apsw.Connection,
        limit: int,
        *,
        now: int,
        until: int,
        token: int,
        contents_of: Collection[str],
        in_order_of: Collection[str],
        not_of: Collection[str],
    ) -> QueueClaim:
        """Lease due events, oldest first, which is the order in which they were accepted."""
        held = self._held_organizations(db, in_order_of, now) if in_order_of else []
        unfinished = False
        self._gone_past.begin(not_of)
        if not_of:
            rows, unfinished = self._besides(db, not_of, held, limit, now)
        elif held:
            asked = (now, limit, numbers(held))
            rows = list(db.execute(SQL["claim_queue_of_others"], asked))
        else:
            rows = list(db.execute(SQL["claim_queue"], (now, limit)))
        rows = rows[: _claimable([attempts for _, _, attempts, *_ in rows])]
        run_many(
            db,
            "claim_queue_lease",
            [(due_at, number) for due_at, number, *_ in rows],
            before=(token, until),
        )
        contents = self._contents(db, rows, contents_of) if contents_of else {}
        return QueueClaim(
            token=token,
            events=tuple(
                QueuedEvent(
                    id=self.keys.event(number),
                    organization_id=self.keys.organization(organization_id),
                    type=event_type,
                    received_at=ids.made_at(number),
                    due_at=Timestamp(due_at),
                    attempts=attempts + 1,
                    key=key,
                    operational=bool(operational),
                    released_at=Timestamp(status_at) if status_at > number >> 20 else None,
                    **contents.get(number, _NO_CONTENT),
                )
                for (
                    due_at,
                    number,
                    attempts,
                    _,
                    organization_id,
                    event_type,
                    operational,
                    key,
                    status_at,
                ) in rows
            ),
            recovered=sum(held_by != tokens.NOBODY for _, _, _, held_by, *_ in rows),
            unfinished=unfinished,
        )

    def _besides(
        self,
        db: apsw.Connection,
        not_of: Collection[str],
        held: Collection[int],
        limit: int,
        now: int,
    ) -> tuple[list[tuple[Any, ...]], bool]:
        """Rows as ``claim_queue`` finds them, without these organizations'; whether there may be more.

        Those of organizations that are ``held`` for the moment are looked at again by the next claim.
        """
        passed = self._gone_past
        waiting = frozenset(held)
        left = [self._organizations[organization] for organization in not_of]
        seen = [
            _seen(row, waiting)
            for row in many(
                db,
                "queue_behind",
                list(passed.behind),
                before=(now, numbers(left)),
                none=(0, 0),
            )
        ]
        taken = passed.look_back(seen, limit)
        asked = (now, *passed.after, _READ_AHEAD, numbers(left))
        ahead = [_seen(row, waiting) for row in db.execute(SQL["queue_ahead"], asked)]
        before = passed.after
        taken += passed.go_past(ahead, limit - len(taken), now)
        taken.sort(key=lambda seen: seen.place)
        unfinished = len(taken) < limit and len(ahead) == _READ_AHEAD and passed.after > before
        return [seen.row for seen in taken], unfinished

    def _held_organizations(
        self, db: apsw.Connection, asked: Collection[str], now: int
    ) -> list[int]:
        wanted = numbers(self._organizations[organization] for organization in asked)
        return [number for (number,) in db.execute(SQL["queue_held_organizations"], (now, wanted))]

    def _contents(
        self, db: apsw.Connection, rows: Sequence[tuple[Any, ...]], contents_of: Collection[str]
    ) -> dict[int, dict[str, Any]]:
        """What filters read, of the claimed events of these organizations."""
        asking = {self._organizations[organization] for organization in contents_of}
        wanted = [number for _, number, _, _, organization, *_ in rows if organization in asking]
        found = db.execute(SQL["claimed_contents"], (numbers(wanted),)) if wanted else ()
        return {
            number: {"payload": payload, "source": source, "metadata": metadata}
            for number, payload, source, metadata in found
        }

    def _held(
        self, db: apsw.Connection, token: int, events: Sequence[QueuedEvent], now: int
    ) -> set[int]:
        rows = [(event.due_at, self.keys.of(event.id)) for event in events]
        return {
            number
            for (number,) in many(db, "queue_rows_held", rows, before=(token, now), none=(0, 0))
        }

    def fan_out(
        self, db: apsw.Connection, token: int, routed: Sequence[RoutedEvent], *, now: int
    ) -> list[str]:
        """Deliveries in, queue rows out."""
        held = self._held(db, token, [answer.event for answer in routed], now)
        stale, finished, deliveries = [], [], []
        for answer in routed:
            event, number = answer.event, self.keys.of(answer.event.id)
            if number not in held:
                stale.append(event.id)
                continue
            finished.append((event.due_at, number))
            deliveries += self.delivery_rows(
                number, self._organizations[event.organization_id], answer.deliveries, now
            )
        self._insert_deliveries(db, deliveries)
        run_many(db, "queue_rows_done", finished, none=(0, 0))
        self._set_status(db, [number for _, number in finished], _PROCESSED, now)
        return stale

    def _insert_deliveries(self, db: apsw.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        rows = lines.place(db, rows)
        before = db.total_changes()
        run_many(db, "fan_out_deliveries", rows, none=(0,) * 15)
        self._passed.came([row[lines.DUE_AT] for row in rows])
        if db.total_changes() - before != len(rows):
            # An event that was queued again has some already; count only what is new.
            found = db.execute(SQL["delivery_numbers"], (numbers(row[0] for row in rows),))
            new = {number for (number,) in found}
            rows = [row for row in rows if row[0] in new]
        for organization, count in Counter(row[1] for row in rows).items():
            db.execute(SQL["count_accepted"], (organization, 0, count))

    def release(
        self, db: apsw.Connection, token: int, failed: Sequence[FailedEvent], *, now: int
    ) -> list[str]:
        """Back into the queue for later, or set aside."""
        held = self._held(db, token, [failure.event for failure in failed], now)
        stale, aside = [], []
        for failure in failed:
            event, number = failure.event, self.keys.of(failure.event.id)
            if number not in held:
                stale.append(event.id)
            elif failure.retry_in_s is None:
                aside.append((event.due_at, number))
                db.execute(SQL["save_failure"], (number, failure.reason, event.attempts))
            else:
                not_before = now + round(failure.retry_in_s * 1000)
                db.execute(SQL["release_queue"], (event.due_at, number, not_before, tokens.NOBODY))
        run_many(db, "queue_rows_done", aside, none=(0, 0))
        self._set_status(db, [number for _, number in aside], _FAILED, now)
        return stale

    def _set_status(
        self, db: apsw.Connection, events: Sequence[int], status: int, now: int
    ) -> None:
        if events:
            db.execute(SQL["set_event_status"], (status, now, numbers(events)))

    def delivery_rows(
        self,
        event: int,
        organization: int,
        deliveries: Sequence[NewDelivery],
        now: int,
        origin: Origin = Origin.EVENT,
    ) -> list[tuple[Any, ...]]:
        """Rows for ``fan_out_deliveries``."""
        return [
            (
                self.keys.of(delivery.id),
                organization,
                event,
                self.keys.of(delivery.subscription_id),
                codes.ORIGIN[origin],
                0 if origin is Origin.EVENT else self.keys.of(delivery.id),
                2,
                now,
                0,
                0,
                now,
                now,
                tokens.NOBODY,
                delivery.order_key,
                None,
            )
            for delivery in deliveries
        ]


def _seen(row: tuple[Any, ...], held: Collection[int]) -> Seen[int, tuple[Any, ...]]:
    *known, left, ready = row
    is_ready = bool(ready) and known[_ORGANIZATION] not in held
    return Seen(Place(known[0], known[1]), bool(left), is_ready, tuple(known))


def _first_status(event: NewEvent, now: int) -> int:
    if event.aside is not None:
        return _QUARANTINED
    if event.deliveries is not None:
        return _PROCESSED
    return _SCHEDULED if event.deliver_at is not None and event.deliver_at > now else _QUEUED


def shown_status(status: int, deliver_at: int | None, now: int) -> EventStatus:
    """A row's status as it is shown: a scheduled event whose time has come is queued."""
    if status == _SCHEDULED and deliver_at is not None and deliver_at <= now:
        return EventStatus.QUEUED
    return codes.EVENT_STATUS_OF[status]


def _claimable(attempts: Sequence[int]) -> int:
    """How many from the front to claim, given how often each was claimed before.

    One that has been claimed again and again may be what kills the worker: it goes alone, so that
    its neighbours do not share its count and end up set aside with it.
    """
    for position, count in enumerate(attempts):
        if count >= _ALONE_AFTER:
            return max(position, 1)
    return len(attempts)
