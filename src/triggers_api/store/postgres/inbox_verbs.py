"""Inboxes: positions in the log, and what is not done with up to them.

Who hands out of an inbox holds its row, and looks at the log after that: so nobody hands out the same
events. A lease that is valid is settled without the inbox's row.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

import msgspec

from triggers_api.errors import InvalidState, MalformedValue
from triggers_api.model import ids
from triggers_api.model.audit import Actor, inbox_deed
from triggers_api.model.event import Event, EventStatus
from triggers_api.model.ids import received_ms
from triggers_api.model.inbox import (
    DEFAULT_INBOX,
    DONE,
    LOOKED_AT,
    MOST_INBOXES,
    Inbox,
    InboxAction,
    InboxCounts,
    InboxOutcome,
    InboxRow,
    InboxStatus,
    LeasedEvent,
    Mark,
    Matches,
    Settling,
    Sight,
    Steps,
    Walked,
    matcher,
    settle_event,
    settle_lease,
    steps,
)
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import codes
from triggers_api.store.base import InboxPage, InboxSeek, Pulled, Reached
from triggers_api.store.postgres.audit_verbs import AuditVerbs
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.record_reads import position_of, shown
from triggers_api.store.postgres.tables import FIRST, NOBODY, SQL, find, first_at, like, text

Key = str | UUID

NO_LEASE: Final = 0
"""``lease_token`` of what is in nobody's hands."""

_AT_A_MOMENT_MS: Final = 60_000
"""How much later than it was received an event may be stored, at the very most."""

_OVER: Final = frozenset({codes.EVENT_STATUS[EventStatus.CANCELLED], codes.EVENT_DELETED})
_QUARANTINED: Final = codes.EVENT_STATUS[EventStatus.QUARANTINED]

_encode_types = msgspec.json.encode
_types = msgspec.json.Decoder(tuple[str, ...]).decode


class Place(NamedTuple):
    """Where an event is in the log."""

    xid: int
    event: UUID

    @classmethod
    def of(cls, xid: str, event: UUID) -> Self:
        """From the columns of a row."""
        return cls(int(xid), event)

    @classmethod
    def read(cls, position: str) -> Self:
        """From a position as it is given out."""
        return cls.of(*position_of(position))

    def __str__(self) -> str:
        return f"{self.xid}-{self.event.hex}"


_START: Final = Place(0, FIRST)


class Held(msgspec.Struct, frozen=True):
    """An inbox's row; the default one may have none yet, and no cursor."""

    inbox: Inbox
    cursor: UUID
    position: Place

    @property
    def mark(self) -> str:
        """What a place along the log is good for: this cursor and these types."""
        return f"{self.cursor.hex}.{zlib.crc32(repr(self.inbox.types).encode()):x}"


class _Receipt(NamedTuple):
    cursor: UUID
    place: Place
    token: int

    @classmethod
    def read(cls, receipt: str) -> Self:
        try:
            cursor, place, token = receipt.split(".")
            return cls(UUID(cursor), Place.read(place), int(token, 16))
        except (MalformedValue, ValueError):  # of another store, copied to this one
            return cls(NOBODY, _START, NO_LEASE)

    def __str__(self) -> str:
        return f"{self.cursor.hex}.{self.place}.{self.token:x}"


class _Again(NamedTuple):
    """What falls due again, with its counts; how far the look came, whether to the end, the bytes."""

    taken: list[tuple[Place, int]]
    after: str | None
    unfinished: bool
    size: int


class InboxVerbs:
    """The verbs around ``inboxes``. Those that change something run in a transaction."""

    def __init__(self, audit: AuditVerbs) -> None:
        self._audit = audit

    async def inbox(self, db: Connection, organization: Key, name: str) -> Held | None:
        """One inbox as it stands."""
        row = await db.fetchrow(SQL["inbox"], organization, name)
        if row is not None:
            return _held(row)
        return Held(Inbox(name=name), NOBODY, _START) if name == DEFAULT_INBOX else None

    async def inboxes(self, db: Connection, organization: Key) -> list[Inbox]:
        """All of them, by name."""
        rows = await db.fetch(SQL["inboxes"], organization)
        found = {held.inbox.name: held.inbox for held in map(_held, rows)}
        found.setdefault(DEFAULT_INBOX, Inbox(name=DEFAULT_INBOX))
        return [found[name] for name in sorted(found)]

    async def _hold(
        self, db: Connection, organization: Key, name: str, now: Timestamp
    ) -> Held | None:
        """The inbox, in nobody else's hands until the transaction ends."""
        row = await db.fetchrow(SQL["hold_inbox"], organization, name)
        if row is None and name == DEFAULT_INBOX:
            await db.execute(SQL["make_inbox"], organization, name, None, now)
            row = await db.fetchrow(SQL["hold_inbox"], organization, name)
        return None if row is None else _held(row)

    async def save(
        self,
        db: Connection,
        organization: Key,
        name: str,
        types: Sequence[str] | None,
        *,
        from_end: bool,
        owner: str,
        by: Actor,
        now: Timestamp,
    ) -> tuple[Inbox, bool]:
        """New, or with other types."""
        encoded = None if types is None else _encode_types(types)
        named = name != DEFAULT_INBOX
        if named and await self.inbox(db, organization, name) is None:
            others = [
                each for each in await self.inboxes(db, organization) if each.name != DEFAULT_INBOX
            ]
            if len(others) >= MOST_INBOXES:
                raise InvalidState(f"there are {len(others)} inboxes: delete one")
        made = await db.execute(SQL["make_inbox"], organization, name, encoded, now)
        is_new = made.endswith(" 1")
        held = await self._hold(db, organization, name, now)
        assert held is not None
        before = None if is_new else held.inbox
        if not is_new:
            await db.execute(SQL["set_inbox_types"], organization, name, encoded)
            held = msgspec.structs.replace(
                held,
                inbox=msgspec.structs.replace(
                    held.inbox, types=None if types is None else tuple(types)
                ),
            )
        elif from_end and named:
            await self._begin(db, organization, held, await self._end(db, organization), now=now)
        await self._audit.note(db, by, inbox_deed(owner, before, held.inbox))
        return held.inbox, is_new and named

    async def delete(
        self, db: Connection, organization: Key, name: str, *, owner: str, by: Actor
    ) -> bool:
        """Gone; its items follow."""
        row = await db.fetchrow(SQL["hold_inbox"], organization, name)
        if row is None:
            return name == DEFAULT_INBOX
        await db.execute(SQL["delete_inbox"], organization, name)
        held = _held(row)
        await db.execute(SQL["leave_inbox_items"], organization, held.cursor)
        await self._audit.note(db, by, inbox_deed(owner, held.inbox, None))
        return True

    async def prune(self, db: Connection, limit: int) -> int:
        """Items of cursors that are no inbox's any more."""
        deleted = 0
        while deleted < limit:
            row = await db.fetchrow(SQL["inbox_remains"])
            if row is None:
                break
            status = await db.execute(SQL["prune_inbox_items"], *row, limit - deleted)
            done = int(status.rpartition(" ")[2])
            if done < limit - deleted:
                await db.execute(SQL["prune_inbox_remains"], *row)
            deleted += done
        return deleted

    # ── handing out ───────────────────────────────────────────────────────────────────────────

    async def pull(
        self,
        db: Connection,
        organization: Key,
        name: str,
        *,
        limit: int,
        types: Sequence[str] | None,
        most_bytes: int,
        reached: Reached,
        now: Timestamp,
        until: Timestamp,
        token: int,
    ) -> Pulled | None:
        """Lease what waits to be handed out again, then what comes next in the log."""
        held = await self._hold(db, organization, name, now)
        if held is None:
            return None
        wanted = matcher(types)
        again = await self._again(
            db,
            organization,
            held,
            reached.again,
            wanted,
            limit,
            most_bytes,
            now,
            most=LOOKED_AT if types is not None else max(limit, 100),
        )
        taken = dict(again.taken)
        log, unfinished = reached.log, again.unfinished
        if not unfinished and len(taken) < limit and again.size < most_bytes:
            start, contiguous = _start(held, reached.log)
            selective = types is not None or held.inbox.types is not None
            looked, unfinished = await self._look(
                db,
                organization,
                held,
                start,
                wanted=wanted,
                room=limit - len(taken),
                most_bytes=most_bytes - again.size,
                contiguous=contiguous,
                now=now,
                most=LOOKED_AT if selective else max(limit - len(taken), 100) + 1,
            )
            taken |= dict.fromkeys(looked.leased, 1)
            if looked.reached is not None:
                log = f"{held.mark}/{looked.reached}"
        await self._save(
            db,
            organization,
            held,
            {place: InboxRow(until, token, count) for place, count in taken.items()},
        )
        found = await self.contents(db, organization, [place.event for place in taken], now)
        nothing = not taken and not unfinished
        return Pulled(
            events=tuple(
                LeasedEvent(
                    event=found[place.event],
                    receipt=str(_Receipt(held.cursor, place, token)),
                    lease_until=until,
                    receive_count=count,
                )
                for place, count in taken.items()
                if place.event in found
            ),
            reached=Reached(again.after, log),
            unfinished=unfinished,
            next_at=await self._next(db, organization, held, now) if nothing else None,
            late=nothing and await db.fetchval(SQL["inbox_late"], organization),
        )

    async def _again(
        self,
        db: Connection,
        organization: Key,
        held: Held,
        after: str | None,
        wanted: Matches,
        limit: int,
        most_bytes: int,
        now: Timestamp,
        *,
        most: int,
    ) -> _Again:
        taken: list[tuple[Place, int]] = []
        gone: list[Place] = []
        hidden: list[tuple[Place, int | None, int]] = []
        size = looked = 0
        available, place = _again_from(after)
        for (
            at,
            xid,
            event,
            count,
            event_type,
            due,
            operational,
            state,
            queued,
            length,
        ) in await db.fetch(
            SQL["inbox_again"],
            *(organization, held.cursor, now, available, str(place.xid), place.event, most),
        ):
            place = Place.of(xid, event)
            sight = Sight.GONE
            if event_type is not None:
                sight = sight_of(state, due, now, queued=queued, operational=operational)
            if sight is Sight.GONE:
                gone.append(place)
            elif sight is not Sight.SEEN:
                hidden.append((place, due if sight is Sight.LATER else None, count))
            elif wanted(event_type):
                if len(taken) == limit or (taken and size + (length or 0) > most_bytes):
                    break
                taken.append((place, count + 1))
                size += length or 0
            after = f"{at}/{place}"
            looked += 1
        await self._drop(db, organization, held, gone)
        await self._park(db, organization, held, hidden, now)
        return _Again(taken, after, looked == most, size)

    async def _look(
        self,
        db: Connection,
        organization: Key,
        held: Held,
        start: Place,
        *,
        wanted: Matches,
        room: int,
        most_bytes: int = 0,
        contiguous: bool = True,
        now: Timestamp,
        most: int,
    ) -> tuple[Steps[Place], bool]:
        """Along the log as far as there is room, and whether there may be more behind that."""
        rows = await db.fetch(
            SQL["inbox_walk"], organization, str(start.xid), start.event, most, held.cursor
        )
        looked = steps(
            [_walked(row, now) for row in rows],
            inbox=matcher(held.inbox.types),
            wanted=wanted,
            room=room,
            most_bytes=most_bytes,
            contiguous=contiguous,
        )
        parked = [(place, seen_from, 0) for place, seen_from in looked.parked]
        await self._park(db, organization, held, parked, now)
        await self._drop(db, organization, held, looked.dropped)
        if looked.position is not None:
            await db.execute(
                SQL["move_inbox"],
                *(organization, held.inbox.name, str(looked.position.xid), looked.position.event),
            )
        return looked, not looked.stopped and looked.count == most

    async def _park(
        self,
        db: Connection,
        organization: Key,
        held: Held,
        hidden: Sequence[tuple[Place, int | None, int]],
        now: Timestamp,
    ) -> None:
        """Rows for what is hidden; what was released at this very moment is there for the next pull."""
        asked = [place.event for place, seen_from, _ in hidden if seen_from is None]
        withheld = set()
        if asked:
            rows = await db.fetch(SQL["inbox_withheld"], organization, asked)
            withheld = {event for (event,) in rows}
        await self._save(
            db,
            organization,
            held,
            {
                place: InboxRow(
                    (codes.PARKED if place.event in withheld else now)
                    if seen_from is None
                    else seen_from,
                    None,
                    count,
                )
                for place, seen_from, count in hidden
            },
        )

    async def _next(
        self, db: Connection, organization: Key, held: Held, now: int
    ) -> Timestamp | None:
        found = await db.fetchval(SQL["inbox_next"], organization, held.cursor, now)
        return None if found in {None, codes.PARKED} else Timestamp(found)

    async def _save(
        self, db: Connection, organization: Key, held: Held, rows: Mapping[Place, InboxRow]
    ) -> None:
        if rows:
            await db.execute(
                SQL["save_inbox_items"],
                organization,
                held.cursor,
                [str(place.xid) for place in rows],
                [place.event for place in rows],
                [row.available_at for row in rows.values()],
                [NO_LEASE if row.token is None else row.token for row in rows.values()],
                [row.receive_count for row in rows.values()],
            )

    async def _drop(
        self, db: Connection, organization: Key, held: Held, places: Sequence[Place]
    ) -> None:
        if places:
            await db.execute(SQL["drop_inbox_items"], organization, held.cursor, *_columns(places))

    # ── settling ──────────────────────────────────────────────────────────────────────────────

    async def settle_leases(
        self,
        db: Connection,
        organization: Key,
        name: str,
        action: InboxAction,
        receipts: Sequence[str],
        *,
        now: Timestamp,
        until: Timestamp,
    ) -> list[InboxOutcome | None]:
        """What becomes of events whose lease is valid; ``None`` for those still to be looked at."""
        asked = [_Receipt.read(each) for each in receipts]
        named = (
            [each.cursor for each in asked],
            *_columns([each.place for each in asked]),
            [each.token for each in asked],
        )
        if action is InboxAction.ACK:
            rows = await db.fetch(SQL["ack_inbox_items"], organization, name, *named, now)
        else:
            stays = action is InboxAction.EXTEND
            rows = await db.fetch(
                SQL["put_off_inbox_items"], organization, name, *named, now, until, stays
            )
        done = {event for (event,) in rows}
        outcomes: list[InboxOutcome | None] = []
        for each in asked:
            event = each.place.event
            if event in done:
                outcomes.append(InboxOutcome(text(ids.EVENT, event), DONE[action]))
                if action is not InboxAction.EXTEND:
                    done.discard(event)  # named once more, it is in nobody's hands
            else:
                outcomes.append(None)
        return outcomes

    async def settle(
        self,
        db: Connection,
        organization: Key,
        name: str,
        action: InboxAction,
        named: Sequence[str],
        *,
        by_id: bool,
        now: Timestamp,
        until: Timestamp,
    ) -> list[InboxOutcome] | None:
        """What becomes of each event, in their order, with the inbox held."""
        held = await self._hold(db, organization, name, now)
        if held is None:
            return None
        asked: list[tuple[str | None, Place | None, int | None]] = []
        if by_id:
            there = await self._there(db, organization, named, now)
            asked = [
                (
                    each if ids.parse(ids.EVENT, each) else None,
                    None if (found := there.get(each)) is None else found[0],
                    None,
                )
                for each in named
            ]
            type_of = dict(there.values())
        else:
            receipts = [_Receipt.read(each) for each in named]
            type_of = {}
            asked = [
                (
                    None if each.place == _START else text(ids.EVENT, each.place.event),
                    each.place,
                    each.token if each.cursor == held.cursor else NO_LEASE,
                )
                for each in receipts
            ]
        rows = await self._rows(db, organization, held, {place for _, place, _ in asked if place})
        saved: dict[Place, InboxRow | None] = {}
        outcomes = []
        takes_in = matcher(held.inbox.types)
        for event_id, place, token in asked:
            settling = Settling(InboxStatus.NOT_FOUND)
            if place is not None:
                row = saved[place] if place in saved else rows.get(place)
                passed = place <= held.position
                if token is not None:
                    settling = settle_lease(action, row, token, passed=passed, now=now, until=until)
                elif row is not None or takes_in(type_of[place]):
                    settling = settle_event(action, row, passed=passed, now=now, until=until)
                if settling.drop or settling.row is not None:
                    saved[place] = settling.row
            outcomes.append(InboxOutcome(event_id, settling.status))
        kept = {place: row for place, row in saved.items() if row is not None}
        await self._save(db, organization, held, kept)
        await self._drop(
            db, organization, held, [place for place, row in saved.items() if row is None]
        )
        if any(row.available_at is None for row in kept.values()):
            # Who acknowledges in order, without having been handed out anything, leaves no rows behind.
            await self._look(
                db,
                organization,
                held,
                held.position,
                wanted=matcher(None),
                room=0,
                now=now,
                most=LOOKED_AT,
            )
        return outcomes

    async def _there(
        self, db: Connection, organization: Key, named: Sequence[str], now: int
    ) -> dict[str, tuple[Place, str]]:
        """Of these events those that can be seen, by id: place and type."""
        asked = [each[4:] for each in dict.fromkeys(named) if ids.parse(ids.EVENT, each)]
        return {
            text(ids.EVENT, event): (Place.of(xid, event), event_type)
            for xid, event, event_type, due, operational, state, queued in await db.fetch(
                SQL["inbox_events"], organization, asked
            )
            if sight_of(state, due, now, queued=queued, operational=operational) is Sight.SEEN
        }

    async def _rows(
        self, db: Connection, organization: Key, held: Held, places: set[Place]
    ) -> dict[Place, InboxRow]:
        # In one order, so that two who do this do not wait for each other.
        rows = await db.fetch(
            SQL["inbox_items"], organization, held.cursor, *_columns(sorted(places))
        )
        return {
            Place.of(xid, event): InboxRow(
                available_at, None if token == NO_LEASE else token, count
            )
            for xid, event, available_at, token, count in rows
        }

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    async def contents(
        self, db: Connection, organization: Key, events: Sequence[UUID], now: Timestamp
    ) -> dict[UUID, Event]:
        """Events by their keys, those that are there."""
        if not events:
            return {}
        rows = await db.fetch(SQL["inbox_contents"], organization, events)
        return {row[0]: shown(row, now) for row in rows}

    async def peek(
        self,
        db: Connection,
        organization: Key,
        name: str,
        *,
        type_pattern: str | None,
        after: str | None,
        limit: int,
        most_bytes: int,
        now: Timestamp,
    ) -> InboxPage | None:
        """What is not acknowledged behind a place."""
        place = _START if after is None else Place.read(after)
        held = await self.inbox(db, organization, name)
        if held is None:
            return None
        wanted = matcher(None if type_pattern is None else (type_pattern,))
        chosen: list[UUID] = []
        most = LOOKED_AT if type_pattern is not None else max(limit, 100)
        looked = 0
        unacked = await self._unacked(db, organization, held, place, now, most)
        for each, event_type, size in unacked:
            if event_type is not None and wanted(event_type):
                if len(chosen) == limit or (chosen and size > most_bytes):
                    looked = most
                    break
                chosen.append(each.event)
                most_bytes -= size
            place = each
            looked += 1
        found = await self.contents(db, organization, chosen, now)
        return InboxPage(
            [found[event] for event in chosen if event in found],
            after if place == _START else str(place),
            looked == most,
            late=looked < most and await db.fetchval(SQL["inbox_late"], organization),
        )

    async def _unacked(
        self, db: Connection, organization: Key, held: Held, after: Place, now: int, most: int
    ) -> list[tuple[Place, str | None, int]]:
        """Up to so many events behind a place: where, type (``None``: none of these), size."""
        found: list[tuple[Place, str | None, int]] = []
        if after < held.position:
            rows = await db.fetch(
                SQL["inbox_open"],
                organization,
                held.cursor,
                str(after.xid),
                after.event,
                str(held.position.xid),
                held.position.event,
                most,
            )
            for xid, event, event_type, due, operational, state, queued, size, *_ in rows:
                sight = sight_of(state, due, now, queued=queued, operational=operational)
                seen = sight is Sight.SEEN
                found.append((Place.of(xid, event), event_type if seen else None, size or 0))
            if len(found) == most:
                return found
        start = max(after, held.position)
        takes_in = matcher(held.inbox.types)
        rows = await db.fetch(
            SQL["inbox_walk"],
            *(organization, str(start.xid), start.event, most - len(found), held.cursor),
        )
        for walked in (_walked(row, now) for row in rows):
            shows = walked.sight is Sight.SEEN and (
                walked.mark is Mark.OPEN or (walked.mark is Mark.NONE and takes_in(walked.type))
            )
            found.append((walked.place, walked.type if shows else None, walked.size))
        return found

    async def count(
        self, db: Connection, organization: Key, name: str, most: int, *, now: int
    ) -> InboxCounts | None:
        """How many there are, by looking at them."""
        held = await self.inbox(db, organization, name)
        if held is None:
            return None
        types = held.inbox.types
        row = await db.fetchrow(
            SQL["count_inbox"],
            organization,
            held.cursor,
            str(held.position.xid),
            held.position.event,
            most,
            now,
            None if types is None else [like(each) for each in types],
        )
        assert row is not None
        looked, unacked, leased, oldest = row
        return InboxCounts(
            unacked=unacked,
            leased=leased,
            exact=looked < most,
            oldest_received_at=None
            if oldest is None
            else Timestamp(received_ms(text(ids.EVENT, oldest))),
        )

    # ── going elsewhere ───────────────────────────────────────────────────────────────────────

    async def seek(
        self, db: Connection, organization: Key, name: str, to: InboxSeek, *, now: Timestamp
    ) -> bool | None:
        """Another cursor, at another place."""
        held = await self._hold(db, organization, name, now)
        if held is None:
            return None
        position = _START
        if to.event_id is not None:
            row = await db.fetchrow(SQL["log_position"], organization, find(ids.EVENT, to.event_id))
            if row is None:
                return False
            position = _before(Place.of(*row))
        elif to.at is not None:
            position = await self._at(db, organization, to.at)
        elif to.end:
            position = await self._end(db, organization)
        await db.execute(SQL["leave_inbox_items"], organization, held.cursor)
        await self._begin(db, organization, held, position, now=now)
        return True

    async def _at(self, db: Connection, organization: Key, moment: Timestamp) -> Place:
        """Before everything that was received at a moment or later.

        The log is in the order of commits, not of receipt: the first of what was received within the
        longest time that storing can take is before all that came later.
        """
        first = await db.fetchval(SQL["inbox_first"], organization, first_at(max(moment, 0)))
        if first is None:
            return await self._end(db, organization)
        until = received_ms(text(ids.EVENT, first)) + _AT_A_MOMENT_MS
        row = await db.fetchrow(SQL["inbox_place"], organization, first, first_at(until))
        assert row is not None
        return _before(Place.of(*row))

    async def _end(self, db: Connection, organization: Key) -> Place:
        row = await db.fetchrow(SQL["log_end"], organization)
        return _START if row is None else Place.of(*row)

    async def _begin(
        self, db: Connection, organization: Key, held: Held, position: Place, *, now: Timestamp
    ) -> None:
        """A cursor of its own at a place, with what is hidden before it."""
        cursor = await db.fetchval(
            SQL["seek_inbox"], organization, held.inbox.name, str(position.xid), position.event
        )
        anew = Held(held.inbox, cursor, position)
        takes_in = matcher(held.inbox.types)
        rows = await db.fetch(
            SQL["inbox_hidden"], organization, str(position.xid), position.event, now
        )
        withheld: list[Any] = []
        place = str(position.xid), position.event
        last = FIRST
        while some := await db.fetch(SQL["inbox_withheld_before"], organization, *place, last):
            withheld += [row[:3] for row in some if row[3]]
            last = some[-1][1]
        await self._save(
            db,
            organization,
            anew,
            {
                Place.of(xid, event): InboxRow(due, None, 0)
                for xid, event, event_type, due in rows
                if takes_in(event_type)
            }
            | {
                Place.of(xid, event): InboxRow(codes.PARKED, None, 0)
                for xid, event, event_type in withheld
                if takes_in(event_type)
            },
        )


def sight_of(
    state: int | None, deliver_at: int | None, now: int, *, queued: bool, operational: bool
) -> Sight:
    """Whether what is on file about an event says that it can be seen in an inbox."""
    if operational or state in _OVER:
        return Sight.GONE
    if state == _QUARANTINED:
        return Sight.WITHHELD
    return Sight.LATER if queued and deliver_at is not None and deliver_at > now else Sight.SEEN


def _walked(row: Any, now: int) -> Walked[Place]:  # noqa: ANN401 - the driver's
    xid, event, event_type, due, operational, state, queued, size, has_row, available_at, _ = row
    sight = sight_of(state, due, now, queued=queued, operational=operational)
    mark = Mark.NONE
    if has_row:
        mark = Mark.ACKED if available_at is None else Mark.OPEN
    seen_from = due if sight is Sight.LATER else None
    return Walked(Place.of(xid, event), event_type, sight, mark, size or 0, seen_from)


def _held(row: Any) -> Held:  # noqa: ANN401 - the driver's
    name, cursor, types, xid, event, created_at = row
    known = Inbox(
        name=name,
        types=None if types is None else _types(types),
        created_at=Timestamp(created_at),
    )
    return Held(known, cursor, Place.of(xid, event))


def _start(held: Held, log: str | None) -> tuple[Place, bool]:
    """Behind which event to look, and whether that is the position."""
    if log is not None:
        mark, _, rest = log.rpartition("/")
        if mark == held.mark and (place := Place.read(rest)) > held.position:
            return place, False
    return held.position, True


def _again_from(after: str | None) -> tuple[int, Place]:
    if after is None:
        return 0, _START
    at, _, place = after.partition("/")
    return int(at), Place.read(place)


def _before(place: Place) -> Place:
    return Place(place.xid, UUID(int=max(place.event.int - 1, 0)))


def _columns(places: Sequence[Place]) -> tuple[list[str], list[UUID]]:
    return [str(place.xid) for place in places], [place.event for place in places]
