"""Inboxes: positions in the log, and what is not done with up to them.

Methods that change something are an operation's body, in the writer's thread, inside a transaction;
the others read a snapshot.
"""

import zlib
from collections.abc import Generator, Iterator, Sequence
from secrets import randbits
from typing import Any, Final

import apsw
import msgspec

from triggers_api.errors import InvalidState, MalformedValue
from triggers_api.model import ids
from triggers_api.model.audit import Actor, by_hand, inbox_deed
from triggers_api.model.event import Event, EventStatus
from triggers_api.model.inbox import (
    DEFAULT_INBOX,
    LOOKED_AT,
    MOST_INBOXES,
    Inbox,
    InboxAction,
    InboxCounts,
    InboxOutcome,
    InboxRow,
    InboxStatus,
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
from triggers_api.store.base import InboxPage, InboxSeek, Reached
from triggers_api.store.sqlite.audit_verbs import AuditVerbs
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.record_reads import RecordReads
from triggers_api.store.sqlite.tables import SQL, Tables, numbers, run_many
from triggers_api.store.sqlite.tokens import NOBODY

_OVER: Final = frozenset({codes.EVENT_STATUS[EventStatus.CANCELLED], codes.EVENT_DELETED})
_SCHEDULED: Final = codes.EVENT_STATUS[EventStatus.SCHEDULED]
_QUARANTINED: Final = codes.EVENT_STATUS[EventStatus.QUARANTINED]

NO_LEASE: Final = 0
"""A token that no lease has."""

_encode_types = msgspec.json.encode
_types = msgspec.json.Decoder(tuple[str, ...]).decode


class Held(msgspec.Struct, frozen=True):
    """An inbox's row; ``cursor`` is 0 for the default one while there is no row."""

    inbox: Inbox
    cursor: int
    position: int

    @property
    def mark(self) -> str:
        """What a place along the log is good for: this cursor and these types."""
        return f"{self.cursor}.{zlib.crc32(repr(self.inbox.types).encode()):x}"


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a pull took: events by number, each with how often it was handed out."""

    events: list[tuple[int, int]]
    cursor: int
    reached: Reached
    unfinished: bool
    next_at: Timestamp | None


class InboxVerbs(Tables):
    """The verbs around ``inboxes`` and ``inbox_items``."""

    def __init__(self, keys: Keys, records: RecordReads, audit: AuditVerbs) -> None:
        super().__init__(keys)
        self._records = records
        self._audit = audit

    def inbox(self, db: apsw.Connection, organization: int, name: str) -> Held | None:
        """One inbox as it stands."""
        for row in db.execute(SQL["inbox"], (organization, name)):
            return _held(row)
        return Held(Inbox(name=name), 0, 0) if name == DEFAULT_INBOX else None

    def inboxes(self, db: apsw.Connection, organization: int) -> list[Inbox]:
        """All of them, by name."""
        found = {
            held.inbox.name: held.inbox
            for held in map(_held, db.execute(SQL["inboxes"], (organization,)))
        }
        found.setdefault(DEFAULT_INBOX, Inbox(name=DEFAULT_INBOX))
        return [found[name] for name in sorted(found)]

    def save(
        self,
        db: apsw.Connection,
        organization: int,
        name: str,
        types: Sequence[str] | None,
        *,
        from_end: bool,
        by: Actor,
        now: Timestamp,
    ) -> tuple[Inbox, bool]:
        """New, or with other types."""
        owner = self.keys.organization(organization)
        encoded = None if types is None else _encode_types(types)
        for row in list(db.execute(SQL["inbox"], (organization, name))):
            db.execute(SQL["set_inbox_types"], (organization, name, encoded))
            inbox = _held((*row[:2], encoded, *row[3:])).inbox
            self._audit.note(db, by, inbox_deed(owner, _held(row).inbox, inbox))
            return inbox, False
        if name != DEFAULT_INBOX:
            others = [each for each in self.inboxes(db, organization) if each.name != DEFAULT_INBOX]
            if len(others) >= MOST_INBOXES:
                raise InvalidState(f"there are {len(others)} inboxes: delete one")
        held = self._make(db, organization, name, encoded, now=now)
        if from_end and name != DEFAULT_INBOX:
            self._begin(db, organization, held, self._end(db, organization), now=now)
        self._audit.note(db, by, inbox_deed(owner, None, held.inbox))
        return held.inbox, name != DEFAULT_INBOX

    def _make(
        self,
        db: apsw.Connection,
        organization: int,
        name: str,
        types: bytes | None,
        *,
        now: Timestamp,
    ) -> Held:
        row = (name, _new_cursor(), types, 0, now)
        db.execute(SQL["make_inbox"], (organization, *row))
        return _held(row)

    def _hold(
        self, db: apsw.Connection, organization: int, name: str, now: Timestamp
    ) -> Held | None:
        """The inbox with a row."""
        held = self.inbox(db, organization, name)
        if held is not None and not held.cursor:
            return self._make(db, organization, name, None, now=now)
        return held

    def delete(self, db: apsw.Connection, organization: int, name: str, *, by: Actor) -> bool:
        """Gone; its items follow."""
        held = self.inbox(db, organization, name)
        if held is None or not held.cursor:
            return held is not None
        db.execute(SQL["delete_inbox"], (organization, name))
        db.execute(SQL["leave_inbox_items"], (held.cursor,))
        owner = self.keys.organization(organization)
        self._audit.note(db, by, inbox_deed(owner, held.inbox, None))
        return True

    def delete_all(self, db: apsw.Connection, organization: int) -> None:
        """All inboxes of an organization."""
        for _, cursor, *_ in list(db.execute(SQL["inboxes"], (organization,))):
            db.execute(SQL["leave_inbox_items"], (cursor,))
        db.execute(SQL["delete_inboxes_of"], (organization,))

    def prune(self, db: apsw.Connection, limit: int) -> int:
        """Items of cursors that are no inbox's any more."""
        deleted = 0
        while deleted < limit:
            left = list(db.execute(SQL["inbox_remains"]))
            if not left:
                break
            ((cursor,),) = left
            before = db.total_changes()
            db.execute(SQL["prune_inbox_items"], (cursor, limit - deleted))
            done = db.total_changes() - before
            if done < limit - deleted:
                db.execute(SQL["prune_inbox_remains"], (cursor,))
            deleted += done
        return deleted

    # ── handing out ───────────────────────────────────────────────────────────────────────────

    def pull(
        self,
        db: apsw.Connection,
        organization: int,
        name: str,
        *,
        limit: int,
        types: Sequence[str] | None,
        most_bytes: int,
        reached: Reached,
        now: Timestamp,
        until: Timestamp,
        token: int,
    ) -> Taken | None:
        """Lease what waits to be handed out again, then what comes next in the log."""
        held = self._hold(db, organization, name, now)
        if held is None:
            return None
        wanted = matcher(types)
        taken, again, unfinished, size = self._again(
            db, held, reached.again, wanted, limit, most_bytes, now
        )
        log = reached.log
        if not unfinished and len(taken) < limit and size < most_bytes:
            start, contiguous = _start(held, reached.log)
            looked, unfinished = self._look(
                db,
                organization,
                held,
                start,
                wanted=wanted,
                room=limit - len(taken),
                most_bytes=most_bytes - size,
                contiguous=contiguous,
                now=now,
            )
            taken += [(number, 1) for number in looked.leased]
            if looked.reached is not None:
                log = f"{held.mark}/{looked.reached}"
        self._save(db, held, [(number, until, token, count) for number, count in taken])
        return Taken(
            events=taken,
            cursor=held.cursor,
            reached=Reached(again, log),
            unfinished=unfinished,
            next_at=None if taken else self._next(db, held, now),
        )

    def _again(
        self,
        db: apsw.Connection,
        held: Held,
        after: str | None,
        wanted: Matches,
        limit: int,
        most_bytes: int,
        now: Timestamp,
    ) -> tuple[list[tuple[int, int]], str | None, bool, int]:
        """What falls due again, with its counts; how far it looked, whether there is more, the bytes."""
        taken: list[tuple[int, int]] = []
        gone: list[int] = []
        hidden: list[tuple[int, int, int, int]] = []
        size = looked = 0
        asked = (held.cursor, now, *_numbers(after), LOOKED_AT)
        for at, number, count, event_type, status, deliver_at, length in list(
            db.execute(SQL["inbox_again"], asked)
        ):
            sight = Sight.GONE if status is None else sight_of(status, deliver_at, now)
            if sight is Sight.GONE:
                gone.append(number)
            elif sight is not Sight.SEEN:
                hidden.append((number, _seen_from(sight, deliver_at), NOBODY, count))
            elif wanted(event_type):
                if len(taken) == limit or (taken and size + (length or 0) > most_bytes):
                    break
                taken.append((number, count + 1))
                size += length or 0
            after = f"{at}/{number}"
            looked += 1
        if gone:
            db.execute(SQL["drop_inbox_items"], (held.cursor, numbers(gone)))
        self._save(db, held, hidden)
        return taken, after, looked == LOOKED_AT, size

    def _look(
        self,
        db: apsw.Connection,
        organization: int,
        held: Held,
        start: int,
        *,
        wanted: Matches,
        room: int,
        most_bytes: int = 0,
        contiguous: bool = True,
        now: Timestamp,
    ) -> tuple[Steps[int], bool]:
        """Along the log as far as there is room, and whether there may be more behind that."""
        most = max(LOOKED_AT, room)
        walked = self._walk(db, organization, held, start, most, now)
        looked = steps(
            walked,
            inbox=matcher(held.inbox.types),
            wanted=wanted,
            room=room,
            most_bytes=most_bytes,
            contiguous=contiguous,
        )
        walked.close()  # what it reads of is written to now
        self._save(
            db,
            held,
            [
                (number, codes.PARKED if seen_from is None else seen_from, NOBODY, 0)
                for number, seen_from in looked.parked
            ],
        )
        if looked.dropped:
            db.execute(SQL["drop_inbox_items"], (held.cursor, numbers(looked.dropped)))
        if looked.position is not None:
            db.execute(SQL["move_inbox"], (organization, held.inbox.name, looked.position))
        return looked, not looked.stopped and looked.count == most

    def _walk(
        self,
        db: apsw.Connection,
        organization: int,
        held: Held,
        after: int,
        limit: int,
        now: Timestamp,
    ) -> Generator[Walked[int], None, None]:
        asked = (held.cursor, organization, after, limit)
        rows = db.execute(SQL["inbox_walk"], asked)
        try:
            for number, event_type, status, due, operational, row, available_at, size, _ in rows:
                sight = Sight.GONE if operational else sight_of(status, due, now)
                mark = Mark.NONE
                if row:
                    mark = Mark.ACKED if available_at is None else Mark.OPEN
                seen_from = due if sight is Sight.LATER else None
                yield Walked(number, event_type, sight, mark, size or 0, seen_from)
        finally:
            rows.close(True)

    def _next(self, db: apsw.Connection, held: Held, now: int) -> Timestamp | None:
        ((found,),) = db.execute(SQL["inbox_next"], (held.cursor, now))
        return None if found in (None, codes.PARKED) else Timestamp(found)

    def _save(
        self, db: apsw.Connection, held: Held, rows: Sequence[tuple[int, int | None, int, int]]
    ) -> None:
        run_many(db, "save_inbox_items", [(held.cursor, *row) for row in rows])

    def receipt(self, cursor: int, number: int, token: int) -> str:
        """What names a lease."""
        return f"{cursor:x}.{number:x}.{token:x}"

    # ── settling ──────────────────────────────────────────────────────────────────────────────

    def settle(
        self,
        db: apsw.Connection,
        organization: int,
        name: str,
        action: InboxAction,
        named: Sequence[str],
        *,
        by_id: bool,
        now: Timestamp,
        until: Timestamp,
    ) -> list[InboxOutcome] | None:
        """What becomes of each event, in their order."""
        held = self._hold(db, organization, name, now)
        if held is None:
            return None
        asked: list[tuple[int, int | None]]
        if by_id:
            asked = [(self.keys.find(ids.EVENT, each), None) for each in named]
            there = self._there(db, organization, [number for number, _ in asked], now)
        else:
            asked = [_read_receipt(each, held.cursor) for each in named]
            there = {}
        rows = self._rows(db, held, [number for number, _ in asked])
        saved: dict[int, InboxRow | None] = {}
        outcomes = []
        takes_in = matcher(held.inbox.types)
        for number, token in asked:
            row = saved[number] if number in saved else rows.get(number)
            passed = number <= held.position
            if token is not None:
                settling = settle_lease(action, row, token, passed=passed, now=now, until=until)
            elif number in there and (row is not None or takes_in(there[number])):
                settling = settle_event(action, row, passed=passed, now=now, until=until)
            else:
                settling = Settling(InboxStatus.NOT_FOUND)
            if settling.drop or settling.row is not None:
                saved[number] = settling.row
            shown = self.keys.event(number) if number else None
            outcomes.append(InboxOutcome(shown, settling.status))
        self._save(
            db,
            held,
            [
                (
                    number,
                    row.available_at,
                    NOBODY if row.token is None else row.token,
                    row.receive_count,
                )
                for number, row in saved.items()
                if row is not None
            ],
        )
        if dropped := [number for number, row in saved.items() if row is None]:
            db.execute(SQL["drop_inbox_items"], (held.cursor, numbers(dropped)))
        if any(row is not None and row.available_at is None for row in saved.values()):
            # Who acknowledges in order, without having been handed out anything, leaves no rows behind.
            self._look(db, organization, held, held.position, wanted=matcher(None), room=0, now=now)
        return outcomes

    def _there(
        self, db: apsw.Connection, organization: int, asked: Sequence[int], now: int
    ) -> dict[int, str]:
        """Of these events those that can be seen, with their types."""
        return {
            number: event_type
            for number, event_type, status, deliver_at in db.execute(
                SQL["inbox_events"], (organization, numbers(asked))
            )
            if sight_of(status, deliver_at, now) is Sight.SEEN
        }

    def _rows(self, db: apsw.Connection, held: Held, asked: Sequence[int]) -> dict[int, InboxRow]:
        return {
            number: InboxRow(available_at, None if token == NOBODY else token, count)
            for number, available_at, token, count in db.execute(
                SQL["inbox_items"], (held.cursor, numbers(asked))
            )
        }

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    def contents(
        self, db: apsw.Connection, organization: int, asked: Sequence[int], now: int
    ) -> dict[int, Event]:
        """Events by number, those that are there."""
        return {
            row[0]: self._records.shown(row, now)
            for row in db.execute(SQL["inbox_contents"], (organization, numbers(asked)))
        }

    def peek(
        self,
        db: apsw.Connection,
        organization: int,
        name: str,
        *,
        type_pattern: str | None,
        after: str | None,
        limit: int,
        most_bytes: int,
        now: Timestamp,
    ) -> InboxPage | None:
        """What is not acknowledged behind a place."""
        place = 0 if after is None else self.keys.find(ids.EVENT, after)
        if after is not None and not place:
            raise MalformedValue("not a position in the log")
        held = self.inbox(db, organization, name)
        if held is None:
            return None
        wanted = matcher(None if type_pattern is None else (type_pattern,))
        chosen: list[int] = []
        looked = 0
        for number, event_type, _, size in self._unacked(
            db, organization, held, place, now, LOOKED_AT
        ):
            if event_type is not None and wanted(event_type):
                if len(chosen) == limit or (chosen and size > most_bytes):
                    looked = LOOKED_AT
                    break
                chosen.append(number)
                most_bytes -= size
            place = number
            looked += 1
        found = self.contents(db, organization, chosen, now)
        return InboxPage(
            [found[number] for number in chosen if number in found],
            self.keys.event(place) if place else None,
            looked == LOOKED_AT,
        )

    def _unacked(
        self,
        db: apsw.Connection,
        organization: int,
        held: Held,
        after: int,
        now: int,
        most: int,
    ) -> Iterator[tuple[int, str | None, bool, int]]:
        """Up to so many events behind a place: number, type (``None``: none of these), leased, size."""
        looked = 0
        asked = (held.cursor, after, held.position, most)
        for number, event_type, status, due, available_at, token, size in db.execute(
            SQL["inbox_open"], asked
        ):
            seen = sight_of(status, due, now) is Sight.SEEN
            leased = token != NOBODY and available_at > now
            yield number, event_type if seen else None, leased, size or 0
            looked += 1
        if looked == most:
            return
        takes_in = matcher(held.inbox.types)
        asked = (held.cursor, organization, max(after, held.position), most - looked)
        for (
            number,
            event_type,
            status,
            due,
            operational,
            row,
            available_at,
            size,
            token,
        ) in db.execute(SQL["inbox_walk"], asked):
            seen = not operational and sight_of(status, due, now) is Sight.SEEN
            if row:
                wanted, leased = available_at is not None, token != NOBODY and available_at > now
            else:
                wanted, leased = takes_in(event_type), False
            yield number, event_type if seen and wanted else None, leased, size or 0

    def count(
        self, db: apsw.Connection, organization: int, name: str, most: int, *, now: int
    ) -> InboxCounts | None:
        """How many there are, by looking at them."""
        held = self.inbox(db, organization, name)
        if held is None:
            return None
        unacked = in_hands = looked = 0
        oldest: int | None = None
        for number, event_type, leased, _ in self._unacked(db, organization, held, 0, now, most):
            looked += 1
            if event_type is not None:
                unacked += 1
                in_hands += leased
                oldest = number if oldest is None else oldest
        return InboxCounts(
            unacked=unacked,
            leased=in_hands,
            exact=looked < most,
            oldest_received_at=None if oldest is None else ids.made_at(oldest),
        )

    # ── going elsewhere ───────────────────────────────────────────────────────────────────────

    def seek(
        self,
        db: apsw.Connection,
        organization: int,
        name: str,
        to: InboxSeek,
        *,
        by: Actor,
        now: Timestamp,
    ) -> bool | None:
        """Another cursor, at another place."""
        held = self._hold(db, organization, name, now)
        if held is None:
            return None
        position = 0
        if to.event_id is not None:
            number = self.keys.find(ids.EVENT, to.event_id)
            if not list(db.execute(SQL["log_position"], (number, organization))):
                return False
            position = number - 1
        elif to.at is not None:
            position = ids.first_sequence(max(to.at, 0)) - 1
        elif to.end:
            position = self._end(db, organization)
        db.execute(SQL["leave_inbox_items"], (held.cursor,))
        self._begin(db, organization, held, position, now=now)
        owner = self.keys.organization(organization)
        self._audit.note(db, by, by_hand("inbox.moved", owner, name, to=to.shown))
        return True

    def _end(self, db: apsw.Connection, organization: int) -> int:
        ((last,),) = db.execute(SQL["log_end"], (organization,))
        return last or 0

    def _begin(
        self, db: apsw.Connection, organization: int, held: Held, position: int, *, now: int
    ) -> None:
        """A cursor of its own at a place, with what is hidden before it."""
        anew = msgspec.structs.replace(held, cursor=_new_cursor(), position=max(position, 0))
        name = held.inbox.name
        db.execute(SQL["seek_inbox"], (organization, name, anew.cursor, anew.position))
        takes_in = matcher(held.inbox.types)
        hidden = list(db.execute(SQL["inbox_hidden"], (organization, anew.position, now)))
        self._save(
            db,
            anew,
            [
                (number, _seen_from(sight_of(status, due, now), due), NOBODY, 0)
                for number, event_type, status, due in hidden
                if takes_in(event_type)
            ],
        )


def sight_of(status: int, deliver_at: int | None, now: int) -> Sight:
    """Whether an event's row says that it can be seen in an inbox."""
    if status in _OVER:
        return Sight.GONE
    if status == _QUARANTINED:
        return Sight.WITHHELD
    if status == _SCHEDULED and deliver_at is not None and deliver_at > now:
        return Sight.LATER
    return Sight.SEEN


def _seen_from(sight: Sight, deliver_at: int | None) -> int:
    return codes.PARKED if sight is not Sight.LATER or deliver_at is None else deliver_at


def _held(row: Sequence[Any]) -> Held:
    name, cursor, types, position, created_at = row
    known = Inbox(
        name=name,
        types=None if types is None else _types(types),
        created_at=Timestamp(created_at),
    )
    return Held(known, cursor, position)


def _start(held: Held, log: str | None) -> tuple[int, bool]:
    """Behind which event to look, and whether that is the position."""
    if log is not None:
        mark, _, place = log.rpartition("/")
        if mark == held.mark and int(place) > held.position:
            return int(place), False
    return held.position, True


def _numbers(after: str | None) -> tuple[int, int]:
    if after is None:
        return 0, 0
    at, _, number = after.partition("/")
    return int(at), int(number)


def _read_receipt(receipt: str, cursor: int) -> tuple[int, int | None]:
    """Event and token; a token that no lease has, for a receipt of another cursor."""
    try:
        whose, number, token = (int(part, 16) for part in receipt.split("."))
    except ValueError:  # of another store, before everything was copied to this one
        return 0, NO_LEASE
    return number, token if whose == cursor else NO_LEASE


def _new_cursor() -> int:
    return randbits(62) | 1
