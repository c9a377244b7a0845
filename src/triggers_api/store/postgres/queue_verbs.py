"""Append, claim, fan out, release: an event from its acceptance to its routing."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from triggers_api.errors import InvalidState, OutcomeUnknown, StoreUnavailable, Unavailable
from triggers_api.failpoints import Failpoints
from triggers_api.model import ids
from triggers_api.model.event import EventStatus, FirstEvent, NewEvent, QueuedEvent
from triggers_api.model.ids import received_ms
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import codes
from triggers_api.store.base import FailedEvent, Landed, QueueClaim, RoutedEvent
from triggers_api.store.passed import Place
from triggers_api.store.postgres import lines
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.sessions import Sessions
from triggers_api.store.postgres.tables import FIRST, LAST, SQL, find, number, text
from triggers_api.store.postgres.turns import Queued, in_order
from triggers_api.store.queue_passed import QueuePassed, Seen

_ALONE_AFTER: Final = 2
"""Claims without success after which an event is handed out alone."""

_READ_AHEAD: Final = 2000
"""Rows that a claim reads at the most behind what was gone past."""
_MARGIN_MS: Final = 250
"""What became due just now is not gone past: others may commit what is due before it."""
_SWEPT: Final = 500
_SWEEP_EVERY_MS: Final = 50
"""So many rows of what was gone past are read again, so often: some commit later still."""

SLOTS: Final = 16
"""Rows of ``accounts`` for one organization."""
_TRIES: Final = 5

_QUEUED = codes.EVENT_STATUS[EventStatus.QUEUED]
_PROCESSED = codes.EVENT_STATUS[EventStatus.PROCESSED]
_SCHEDULED = codes.EVENT_STATUS[EventStatus.SCHEDULED]


Answer = FirstEvent | Unavailable | None
"""Of an append, for one event: stored; who came first; or why it is not known which of the two."""


class QueueVerbs:
    """The verbs around ``event_queue``."""

    def __init__(self, sessions: Sessions, *, failpoints: Failpoints) -> None:
        self._sessions = sessions
        self._failpoints = failpoints
        self._gone_past: QueuePassed[UUID, UUID] = QueuePassed(FIRST, margin_ms=_MARGIN_MS)
        self._swept_at = 0

    async def append(self, events: Sequence[NewEvent], now: Timestamp) -> list[Answer]:
        """Store events, all in one transaction; the answer follows the input item by item.

        Who holds a dedup_id that was taken is looked up after the commit. What fails from then on is the
        answer of those events alone: the others are stored, and must not be told otherwise.
        """
        met = await self._sessions.write(lambda db: self._append(db, events, now))
        answers: dict[str, Answer] = {}
        for _ in range(_TRIES):
            if not met:
                break
            try:
                answers |= await self.first_events(met, now)
                # Who held the dedup_id a moment ago was deleted since: now it is free.
                met = [event for event in met if event.id not in answers]
                if met:
                    met = await self._sessions.write(
                        lambda db, these=met: self._append(db, these, now)  # type: ignore[misc]
                    )
            except Unavailable as problem:
                answers |= {event.id: problem for event in met if event.id not in answers}
                met = []
        for event in met:
            answers[event.id] = StoreUnavailable("the dedup_id is being deleted again and again")
        return [answers.get(event.id) for event in events]

    async def land(
        self, db: Connection, events: Sequence[NewEvent], now: Timestamp
    ) -> list[Landed]:
        """Store what was accepted before, if it is not stored yet; in a transaction of its own."""
        asked = [number(e.organization_id) for e in events], [number(e.id) for e in events]
        stored = {row[0].hex for row in await db.fetch(SQL["events_present"], *asked)}
        answers = {
            event.id: Landed(event.id, was_there=True)
            for event in events
            if number(event.id) in stored
        }
        waiting = [event for event in events if event.id not in answers]
        for _ in range(_TRIES):
            met = await self._append(db, waiting, now) if waiting else []
            refused = {event.id for event in met}
            answers |= {each.id: Landed(each.id) for each in waiting if each.id not in refused}
            if not met:
                return [answers[event.id] for event in events]
            firsts = await self._firsts(db, met, now)
            repeated = [event for event in met if event.id in firsts]
            if repeated:
                await self._append_duplicates(db, repeated, firsts, now)
                answers |= {
                    each.id: Landed(each.id, duplicate_of=firsts[each.id].id) for each in repeated
                }
            # Who held the dedup_id a moment ago was deleted since: now it is free.
            waiting = [event for event in met if event.id not in firsts]
        raise StoreUnavailable("a dedup_id is being deleted again and again")

    async def _append_duplicates(
        self,
        db: Connection,
        events: Sequence[NewEvent],
        firsts: Mapping[str, FirstEvent],
        now: Timestamp,
    ) -> None:
        await db.execute(
            SQL["append_duplicates"],
            [number(event.id) for event in events],
            [number(event.organization_id) for event in events],
            [event.type for event in events],
            [event.payload for event in events],
            [event.dedup_id for event in events],
            [event.source for event in events],
            [event.key for event in events],
            [event.occurred_at for event in events],
            [event.metadata for event in events],
            [number(firsts[event.id].id) for event in events],
            now,
            # None of the slots that were taken before, and after them.
            3 * SLOTS + secrets.randbelow(SLOTS),
            [event.deliver_at for event in events],
        )

    async def _append(
        self, db: Connection, events: Sequence[NewEvent], now: Timestamp
    ) -> list[NewEvent]:
        """Store events; returns those that were not, because their dedup_id is taken."""
        if all(event.trace is None for event in events):
            return await self._append_all(db, events, now)
        async with db.transaction():
            met = await self._append_all(db, events, now)
            refused = {event.id for event in met}
            traced = {
                number(event.id): event.trace
                for event in events
                if event.trace is not None and event.id not in refused
            }
            await db.execute(SQL["append_trace"], [*traced], [*traced.values()])
        return met

    async def _append_all(
        self, db: Connection, events: Sequence[NewEvent], now: Timestamp
    ) -> list[NewEvent]:
        aside = [event for event in events if event.aside is not None]
        at_once = [event for event in events if event.deliveries is not None]
        if not at_once and not aside:
            return await self._insert("append", db, events, secrets.randbelow(SLOTS))
        if len(at_once) == len(events) and not lines.ordered(at_once):
            return await self._insert("append_routed", db, events, *_of_deliveries(events))
        # Whoever holds several things takes them in this order: dedup_ids, lines, accounts. So first all
        # events, whatever becomes of them, then who is next in each line, then the rest.
        async with db.transaction():
            met = await self._insert("append_events", db, events)
            refused = {event.id for event in met}
            stored = [event for event in events if event.id not in refused]
            to_queue = [each for each in stored if each.deliveries is None and each.aside is None]
            at_once = [event for event in stored if event.deliveries is not None]
            aside = [event for event in stored if event.aside is not None]
            given: Mapping[UUID, lines.Place] = {}
            if lines.ordered(at_once):
                answers = [(event, event.deliveries or ()) for event in at_once]
                given = await lines.give(db, answers, now=now)
            if at_once:
                more = _of_deliveries(at_once, given, stored=True)
                await self._insert("append_routed", db, at_once, *more)
            if to_queue:
                await db.execute(
                    SQL["append_queue"],
                    [number(event.organization_id) for event in to_queue],
                    [number(event.id) for event in to_queue],
                    [_due_at(event) for event in to_queue],
                    # None of the slots that were taken for those that are routed, and after them.
                    SLOTS + secrets.randbelow(SLOTS),
                )
            if aside:
                await db.execute(
                    SQL["append_aside"],
                    [number(event.organization_id) for event in aside],
                    [number(event.id) for event in aside],
                    [event.aside for event in aside],
                    now,
                    2 * SLOTS + secrets.randbelow(SLOTS),
                )
        return met

    async def _insert(
        self,
        statement: str,
        db: Connection,
        events: Sequence[NewEvent],
        *more: Any,  # noqa: ANN401 - what else it takes
    ) -> list[NewEvent]:
        events = _in_order(events)
        columns = _columns(events)
        operational = _sparse([event.operational or None for event in events])
        if statement == "append":
            columns.append(operational)
        elif statement == "append_events":
            columns[-1] = operational
        self._hit("append.before_commit", len(events))
        row = await db.fetchrow(SQL[statement], *columns, *more)
        self._hit("append.after_commit", len(events))
        assert row is not None
        level, stored = row
        if level == "off":
            # It was raised inside the statement: somebody makes the server disregard that. What was
            # stored may be lost again.
            raise OutcomeUnknown("the server does not flush commits (synchronous_commit is off)")
        if stored is None:
            return []
        kept = {each.hex for each in stored}
        return [event for event in events if number(event.id) not in kept]

    def _hit(self, point: str, times: int) -> None:
        if self._failpoints:
            for _ in range(times):
                self._failpoints.hit(point)

    async def first_events(
        self, events: Sequence[NewEvent], now: Timestamp
    ) -> dict[str, FirstEvent]:
        """Who holds the dedup_ids of events, by the id of the event that asks."""
        return await self._sessions.read(lambda db: self._firsts(db, events, now))

    async def _firsts(
        self, db: Connection, met: Sequence[NewEvent], now: Timestamp
    ) -> dict[str, FirstEvent]:
        rows = await db.fetch(
            SQL["first_events"],
            [number(event.organization_id) for event in met],
            [event.dedup_id for event in met],
            [event.payload for event in met],
        )
        found: dict[str, FirstEvent] = {}
        for place, event_id, event_type, deliver_at, state, queued, matches in rows:
            first_id = text(ids.EVENT, event_id)
            found[met[place - 1].id] = FirstEvent(
                id=first_id,
                status=shown_status(state, queued=queued, deliver_at=deliver_at, now=now),
                received_at=Timestamp(received_ms(first_id)),
                payload_matches=bool(matches),
                type=event_type,
            )
        return found

    async def append_test(self, db: Connection, event: NewEvent, *, now: Timestamp) -> bool:
        """Store an event for one subscription, with its delivery."""
        (delivery,) = event.deliveries or ()
        ended = await db.fetchval(
            SQL["append_test"],
            number(event.organization_id),
            number(event.id),
            event.type,
            event.payload,
            number(delivery.id),
            find(ids.SUBSCRIPTION, delivery.subscription_id),
            now,
            secrets.randbelow(SLOTS),
        )
        if ended:
            raise InvalidState("the subscription has ended: it was disabled or expired")
        return ended is not None

    async def claim(
        self,
        db: Connection,
        limit: int,
        *,
        now: Timestamp,
        until: Timestamp,
        token: int,
        contents_of: Collection[str],
        in_order_of: Collection[str],
        not_of: Collection[str],
        skew_ms: int,
    ) -> QueueClaim:
        """Lease due events, oldest first; of some organizations in the order of their acceptance."""
        asking = [number(organization) for organization in contents_of]
        besides = frozenset(in_order_of) | frozenset(not_of)
        in_order_of = frozenset(in_order_of) - frozenset(not_of)
        unfinished = False
        self._gone_past.begin(besides if not_of else ())
        lined_up: list[Queued] = []
        if in_order_of:
            lined_up = await in_order(db, in_order_of, limit, now=now, skew_ms=skew_ms)
        cut = next(
            (place for place, each in enumerate(lined_up) if each.attempts >= _ALONE_AFTER), None
        )
        rows: list[Any] = []
        if cut != 0:
            lined_up = lined_up[:cut]
            room = limit - min(len(lined_up), (limit + 1) // 2)
            if not_of:
                others, unfinished = await self._besides(db, besides, room, now)
                if others and others[0].attempts >= _ALONE_AFTER:
                    lined_up = []
                lined_up = [*lined_up[: limit - len(others)], *others]
        else:
            lined_up = lined_up[:1]
        if cut != 0 and not not_of:
            rows = await db.fetch(
                SQL["claim_queue"],
                now,
                room,
                token,
                until,
                _ALONE_AFTER,
                asking,
                [number(organization) for organization in besides],
            )
            if len(rows) == 1 and rows[0][4] > _ALONE_AFTER:
                lined_up = []
        chosen = lined_up[: limit - len(rows)]
        if chosen:
            rows += await db.fetch(
                SQL["claim_these"],
                [each.organization for each in chosen],
                [each.event for each in chosen],
                token,
                until,
                asking,
            )
        return QueueClaim(
            token=token,
            events=tuple(
                QueuedEvent(
                    event_id := text(ids.EVENT, event),
                    text(ids.ORGANIZATION, organization),
                    event_type,
                    Timestamp(received_ms(event_id)),
                    Timestamp(due_at),
                    attempts,
                    payload=payload,
                    source=source,
                    key=key,
                    metadata=metadata,
                    operational=operational,
                    released_at=None if released_at is None else Timestamp(released_at),
                )
                for (
                    organization,
                    event,
                    event_type,
                    due_at,
                    attempts,
                    payload,
                    source,
                    key,
                    metadata,
                    operational,
                    released_at,
                    _,
                    _,
                ) in rows
            ),
            recovered=sum(recovered for *_, recovered, _ in rows),
            settings_version=rows[0][-1] if rows else 0,
            unfinished=unfinished,
        )

    async def _besides(
        self, db: Connection, left: Collection[str], room: int, now: Timestamp
    ) -> tuple[list[Queued], bool]:
        """Events of others than these organizations, locked; and whether there may be more of them."""
        passed = self._gone_past
        whose = [number(organization) for organization in left]
        behind = list(passed.behind.items())
        found: Sequence[Any] = ()
        if behind:
            found = await db.fetch(
                SQL["queue_behind"],
                now,
                [organization for _, organization in behind],
                [place.delivery for place, _ in behind],
                whose,
            )
        taken = passed.look_back(map(_seen, found), room)
        taken += await self._swept(db, whose, now)
        ahead = [
            _seen(row)
            for row in await db.fetch(
                SQL["queue_ahead"], now, *passed.after, now, LAST, _READ_AHEAD, whose
            )
        ]
        taken = taken[:room]
        before = passed.after
        taken += passed.go_past(ahead, room - len(taken), now)
        rows = await db.fetch(
            SQL["hold_queue_rows"],
            now,
            [seen.row for seen in taken],
            [seen.place.delivery for seen in taken],
        )
        held = [Queued(organization, event, attempts) for organization, event, attempts in rows]
        alone = [place for place, each in enumerate(held) if each.attempts >= _ALONE_AFTER]
        unfinished = len(taken) < room and len(ahead) == _READ_AHEAD and passed.after > before
        return (held[: max(alone[0], 1)] if alone else held), unfinished

    async def _swept(
        self, db: Connection, left: Sequence[str], now: Timestamp
    ) -> list[Seen[UUID, UUID]]:
        """Of what was gone past some again: others may have committed it late."""
        passed = self._gone_past
        if passed.after <= passed.swept or self._swept_at <= now < self._swept_at + _SWEEP_EVERY_MS:
            return []
        self._swept_at = now
        asked = (now, *passed.swept, *passed.after, _SWEPT, left)
        return passed.sweep(
            [_seen(row) for row in await db.fetch(SQL["queue_ahead"], *asked)], _SWEPT
        )

    async def fan_out(
        self, db: Connection, token: int, routed: Sequence[RoutedEvent], *, now: Timestamp
    ) -> list[str]:
        """Deliveries in, queue rows out; the ids of events whose lease was not valid."""
        events = _as_claimed([answer.event for answer in routed])
        wanted = {answer.event.id for answer in routed if answer.deliveries}
        deliveries = [(each, answer.event.id) for answer in routed for each in answer.deliveries]
        given: Mapping[UUID, lines.Place] = {}
        if any(delivery.order_key is not None for delivery, _ in deliveries):
            given = await lines.give(
                db, [(answer.event, answer.deliveries) for answer in routed], now=now, token=token
            )
        held: list[UUID] | None = await db.fetchval(
            SQL["fan_out"],
            token,
            now,
            [number(event.organization_id) for event in events],
            [number(event.id) for event in events],
            [event.id not in wanted for event in events],
            [number(delivery.id) for delivery, _ in deliveries],
            [number(event) for _, event in deliveries],
            [number(delivery.subscription_id) for delivery, _ in deliveries],
            secrets.randbelow(SLOTS),
            *lines.columns([delivery for delivery, _ in deliveries], given),
        )
        return _missing([answer.event.id for answer in routed], held)

    async def release(
        self, db: Connection, token: int, failed: Sequence[FailedEvent], *, now: Timestamp
    ) -> list[str]:
        """Back into the queue for later, or set aside; the ids of events whose lease was not valid."""
        failures = {failure.event.id: failure for failure in failed}
        failed = [failures[event.id] for event in _as_claimed([each.event for each in failed])]
        rows = await db.fetch(
            SQL["release_queue"],
            token,
            now,
            [number(failure.event.organization_id) for failure in failed],
            [number(failure.event.id) for failure in failed],
            [
                None if failure.retry_in_s is None else now.after(seconds=failure.retry_in_s)
                for failure in failed
            ],
            [failure.reason for failure in failed],
            [failure.event.attempts for failure in failed],
        )
        return _missing([failure.event.id for failure in failed], [event for (event,) in rows])


def _seen(row: Any) -> Seen[UUID, UUID]:  # noqa: ANN401 - a row of queue_ahead
    due_at, event, organization, _, left, ready = row
    return Seen(Place(due_at, event), left, ready, organization)


def _of_deliveries(
    events: Sequence[NewEvent],
    given: Mapping[UUID, lines.Place] | None = None,
    *,
    stored: bool = False,
) -> list[Any]:
    """What ``append_routed`` takes besides the events; ``stored``: these are in their table already."""
    rows = [(each, event.id) for event in events for each in event.deliveries or ()]
    return [
        [number(delivery.id) for delivery, _ in rows],
        [number(event) for _, event in rows],
        [number(delivery.subscription_id) for delivery, _ in rows],
        [event.settings_version for event in events],
        secrets.randbelow(SLOTS),
        stored,
        *lines.columns([delivery for delivery, _ in rows], given or {}),
    ]


def _in_order(events: Sequence[NewEvent]) -> Sequence[NewEvent]:
    """In the order in which every process takes dedup_ids, so that two never wait for each other."""
    if all(event.dedup_id is None for event in events):
        return events
    return sorted(events, key=lambda event: (event.organization_id, event.dedup_id or ""))


def _as_claimed(events: Sequence[QueuedEvent]) -> Sequence[QueuedEvent]:
    """In the order in which claims lock them, so that neither waits for the other."""
    return sorted(events, key=lambda event: (event.organization_id, event.id))


def _columns(events: Sequence[NewEvent]) -> list[list[Any]]:
    return [
        [number(event.id) for event in events],
        [number(event.organization_id) for event in events],
        [event.type for event in events],
        [event.payload for event in events],
        _sparse([event.dedup_id for event in events]),
        _sparse([event.source for event in events]),
        _sparse([event.key for event in events]),
        _sparse([event.occurred_at for event in events]),
        _sparse([event.deliver_at for event in events]),
        _sparse([event.metadata for event in events]),
        [_due_at(event) for event in events],
    ]


def _sparse(column: list[Any]) -> list[Any]:
    """A column, or nothing of it when it holds nothing."""
    return [] if all(value is None for value in column) else column


def _due_at(event: NewEvent) -> int:
    received = received_ms(event.id)
    return received if event.deliver_at is None else max(received, event.deliver_at)


def _missing(asked: Sequence[str], held: Sequence[UUID] | None) -> list[str]:
    """Of the ids that were asked for, those that were not held; ``None`` says that all were."""
    if held is None:
        return []
    found = {each.hex for each in held}
    return [identifier for identifier in asked if number(identifier) not in found]


def shown_status(
    state: int | None, *, queued: bool, deliver_at: int | None, now: int
) -> EventStatus:
    """Where an event stands, from what is on file about it."""
    if not queued:
        return codes.EVENT_STATUS_OF[_PROCESSED if state is None else state]
    scheduled = deliver_at is not None and deliver_at > now
    return codes.EVENT_STATUS_OF[_SCHEDULED if scheduled else _QUEUED]
