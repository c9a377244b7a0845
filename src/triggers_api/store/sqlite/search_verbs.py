"""Searching for events, and the index that searches read, made beside everything else."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import apsw

from triggers_api.model import ids
from triggers_api.model.postings import Part, with_place
from triggers_api.model.search import Matcher, needles
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import codes
from triggers_api.store.base import (
    EventFilter,
    FoundEvents,
    IndexedEvent,
    NewPart,
    Page,
    StalePart,
)
from triggers_api.store.searching import (
    Ask,
    Behind,
    Blocks,
    Bound,
    Ids,
    IndexPart,
    Looked,
    Parts,
    Progress,
    QueueIsShort,
    Rows,
    RowsOf,
    Source,
    Span,
    search_events,
)
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.record_reads import RecordReads
from triggers_api.store.sqlite.tables import SQL, Tables, numbers, run_many

_END_OF_TIME: Final = (1 << 63) - 1
_SHORT_QUEUE: Final = 5000
PART_BITS: Final = 16
"""A block's number: that of its part, and below it its own."""
_IDS: Final = (1 << PART_BITS) - 1
"""The place of the ids among the blocks of a part."""
_PAYLOAD: Final = 2
_STATEMENTS: Final = {
    Source.ALL: "events",
    Source.TAIL: "events",
    Source.ASIDE: "events_aside",
    Source.QUEUE: "events_queued",
}


class IndexLease:
    """Whose turn it is to make the index. One process owns the file, and so knows by itself."""

    def __init__(self) -> None:
        self._token = 0
        self._lease_s = 0.0
        self._until = Timestamp(0)

    def take(self, now: Timestamp, lease_s: float, token: int | None) -> int | None:
        """The token, if nobody else has it."""
        if self._until > now and token != self._token:
            return None
        if token != self._token:
            self._token += 1
        self._lease_s = lease_s
        self._until = now.after(seconds=lease_s)
        return self._token

    def revoke(self) -> None:
        """Take it away from whoever has it."""
        self._token += 1
        self._until = Timestamp(0)

    def holds(self, now: Timestamp, token: int) -> bool:
        """Whether a token is valid; it is for as long again."""
        if token != self._token or self._until <= now:
            return False
        self._until = now.after(seconds=self._lease_s)
        return True


class SearchVerbs(Tables):
    """The verbs around searches and the tables ``search_*``."""

    def __init__(self, keys: Keys, records: RecordReads) -> None:
        super().__init__(keys)
        self.lease = IndexLease()
        self._records = records
        self._erased = 0
        self._erased_when_read = 0

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    def events(
        self, db: apsw.Connection, organization: int, wanted: EventFilter, page: Page, now: int
    ) -> FoundEvents:
        """A page of events."""
        look = _Look(self._records, db, organization, wanted, now)
        search = search_events(
            wanted,
            self._span(wanted, page),
            page.limit,
            number=self.keys.of,
            name=self.keys.event,
        )
        try:
            ask = next(search)
            while True:
                ask = search.send(look.answer(ask))
        except StopIteration as end:
            found: FoundEvents = end.value
            return found

    def _span(self, wanted: EventFilter, page: Page) -> Span:
        span = Span(
            -1 if wanted.since is None else ids.first_sequence(wanted.since) - 1,
            _END_OF_TIME if wanted.until is None else ids.first_sequence(wanted.until),
            upward=wanted.oldest_first,
        )
        if page.before is None:
            return span
        return span.rest(self.keys.find(ids.EVENT, page.before))

    # ── the index ─────────────────────────────────────────────────────────────────────────────

    def backlog(self, db: apsw.Connection, most: int) -> dict[str, int]:
        """Events behind the index, by organization."""
        return {
            self.keys.organization(number): count
            for number, count in db.execute(SQL["search_backlog"], (most,))
            if count
        }

    def unindexed(
        self, db: apsw.Connection, organization: int, after: str | None, limit: int
    ) -> list[IndexedEvent]:
        """The next ones, erased ones among them."""
        if after is None:
            self._erased_when_read = self._erased
        behind = None if after is None else int(after)
        rows = db.execute(SQL["unindexed_events"], (organization, behind, limit))
        return [self._indexed(row) for row in rows]

    def _indexed(self, row: Sequence[Any]) -> IndexedEvent:
        number, position, event_type, source, key, operational, payload = row
        return IndexedEvent(
            self.keys.event(number),
            str(position),
            event_type,
            source,
            key,
            bool(operational),
            payload,
        )

    def save_part(
        self, db: apsw.Connection, organization: int, token: int, part: NewPart, *, now: Timestamp
    ) -> bool:
        """A part, and how far the index comes with it."""
        if not self.lease.holds(now, token):
            return False
        if part.ids:
            events = array("q", [self.keys.of(each) for each in part.ids])
            # One that was erased after it was read is in it; which one, is not worth a look.
            stale_at = now if self._erased != self._erased_when_read else None
            ((number,),) = db.execute(
                SQL["save_part"],
                (
                    organization,
                    events[0],
                    events[-1],
                    part.part.bits,
                    part.part.whole,
                    stale_at,
                ),
            )
            run_many(db, "save_blocks", [(number << PART_BITS | _IDS, events.tobytes())])
            self._save_blocks(db, number, part.part)
        db.execute(SQL["save_progress"], (organization, int(part.position)))
        return True

    def _save_blocks(self, db: apsw.Connection, number: int, part: Part) -> None:
        first = number << PART_BITS
        run_many(
            db, "save_blocks", [(first | at, body) for at, body in sorted(part.blocks.items())]
        )

    def changed(self, db: apsw.Connection, organization: int, event: int, *, now: int) -> None:
        """Part of the transaction that deletes an event, or gives it another payload."""
        self._erased += 1
        db.execute(SQL["mark_stale"], (organization, event, now))
        if not list(db.execute(SQL["has_payload"], (event,))):
            return
        # Until its part is mended every search looks at it. What was read before and is not saved yet
        # has the old one: that is read again.
        self.lease.revoke()
        for part, whole in list(db.execute(SQL["parts_with"], (organization, event))):
            events = list(_ids(db, [part])[part])
            if event in events:
                db.execute(SQL["save_whole"], (part, with_place(whole, events.index(event))))

    def stale_part(self, db: apsw.Connection, before: int) -> StalePart | None:
        """The one that has been stale for the longest time."""
        for number, organization in db.execute(SQL["stale_part"], (before,)):
            return StalePart(
                organization_id=self.keys.organization(organization),
                number=number,
                ids=tuple(self.keys.event(each) for each in _ids(db, [number])[number]),
            )
        return None

    def to_index(
        self, db: apsw.Connection, organization: int, events: Sequence[int]
    ) -> dict[str, IndexedEvent]:
        """Those that have a payload."""
        rows = db.execute(SQL["events_to_index"], (organization, numbers(events)))
        return {each.id: each for each in map(self._indexed, rows)}

    def replace_part(
        self,
        db: apsw.Connection,
        token: int,
        stale: StalePart,
        part: Part,
        *,
        read_at: int,
        now: Timestamp,
    ) -> bool:
        """What is left of a part. The events keep their places."""
        if not self.lease.holds(now, token):
            return False
        values = (stale.number, part.bits, part.whole, read_at)
        for (number,) in list(db.execute(SQL["replace_part"], values)):
            first = number << PART_BITS
            db.execute(SQL["delete_blocks"], (first, first | _IDS))
            self._save_blocks(db, number, part)
        return True

    def prune(self, db: apsw.Connection, token: int, limit: int, *, now: Timestamp) -> int:
        """Parts of what is not there any more."""
        if not self.lease.holds(now, token):
            return 0
        found = list(db.execute(SQL["parts_to_prune"], (limit,)))
        for number, organization, deleted in found:
            first = number << PART_BITS
            db.execute(SQL["delete_blocks"], (first, first + (1 << PART_BITS)))
            db.execute(SQL["delete_part"], (number,))
            if deleted:
                db.execute(SQL["delete_progress"], (organization,))
        return len(found)


class _Look:
    """Reads what one search asks for."""

    def __init__(
        self,
        records: RecordReads,
        db: apsw.Connection,
        organization: int,
        wanted: EventFilter,
        now: int,
    ) -> None:
        self._records = records
        self._db = db
        self._now = now
        self._upward = "_upward" if wanted.oldest_first else ""
        self._behind = 0
        self._matches = Matcher(wanted.asked)
        needle, or_needle = needles(wanted.asked)
        self._fixed = {
            "organization_id": organization,
            "type": wanted.type,
            "source": wanted.source,
            "key": wanted.key,
            "dedup_id": wanted.dedup_id,
            "status": None if wanted.status is None else codes.EVENT_STATUS[wanted.status],
            "operational": wanted.operational,
            "needle": needle,
            "or_needle": or_needle,
            "now": now,
        }

    def answer(self, ask: Ask) -> Any:  # noqa: ANN401, PLR0911 - by what is asked
        db = self._db
        match ask:
            case Rows():
                return self._rows(ask)
            case RowsOf(events):
                rows = db.execute(SQL["events_of_ids"], self._fixed | {"ids": numbers(events)})
                return self._looked(rows, len(events))
            case Bound(span, depth):
                name = f"events_bound{self._upward}"
                return self._one(name, self._fixed | _between(span) | {"depth": depth})
            case QueueIsShort():
                ((count,),) = db.execute(SQL["count_queued"], (_SHORT_QUEUE,))
                return count < _SHORT_QUEUE
            case Behind(span, most):
                position = self._one("search_progress", self._fixed)
                if position is None:
                    return None
                self._behind = position
                between = _between(Span(max(span.after, position), span.before))
                parameters = self._fixed | between | {"limit": most}
                return Progress(self._one("count_behind", parameters) or 0, 0)
            case Parts(span, limit):
                name = f"search_parts{self._upward}"
                rows = db.execute(SQL[name], self._fixed | _between(span) | {"limit": limit})
                return [IndexPart(*row) for row in rows]
            case Blocks(wanted):
                return _blocks(db, wanted)
            case Ids(places):
                return _ids(db, list(places))

    def _rows(self, ask: Rows) -> Looked:
        between = _between(ask.span)
        if ask.source is Source.TAIL:
            between["after"] = max(between["after"], self._behind)
        name = "events_by_dedup_id"
        if ask.source is not Source.DEDUP_ID:
            name = f"{_STATEMENTS[ask.source]}{self._upward}"
        rows = self._db.execute(SQL[name], self._fixed | between | {"limit": ask.limit})
        return self._looked(rows, ask.enough)

    def _looked(self, rows: Iterable[tuple[Any, ...]], enough: int) -> Looked:
        found, count, last, size = [], 0, 0, 0
        matches = self._matches
        for row in rows:
            count, last = count + 1, row[0]
            if matches.needed:
                size += len(row[_PAYLOAD])
                if not matches(row[_PAYLOAD]):
                    continue
            found.append(self._records.shown(row, self._now))
            if len(found) == enough:
                break
        return Looked(found, count, last, size)

    def _one(self, name: str, parameters: Mapping[str, Any]) -> int | None:
        for (value,) in self._db.execute(SQL[name], parameters):
            return int(value)
        return None


def _between(span: Span) -> dict[str, int]:
    return {"after": span.after, "before": span.before}


def _blocks(db: apsw.Connection, wanted: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    rows = db.execute(
        SQL["search_blocks"], (numbers([part << PART_BITS | block for part, block in wanted]),)
    )
    return {(number >> PART_BITS, number & _IDS): body for number, body in rows}


def _ids(db: apsw.Connection, parts: Sequence[int]) -> dict[int, Sequence[int]]:
    rows = db.execute(
        SQL["search_blocks"], (numbers([part << PART_BITS | _IDS for part in parts]),)
    )
    return {number >> PART_BITS: array("q", body) for number, body in rows}
