"""Searching for events, and the index that searches read, made beside everything else."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from asyncpg import Record

from triggers_api.model import ids
from triggers_api.model.postings import Part, places_at, with_place
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
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.record_reads import shown
from triggers_api.store.postgres.tables import FIRST, LAST, SQL, find, first_at, like, number, text
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

_ID_BYTES: Final = 16
_FEW: Final = 64
"""Places of a part whose ids are read one by one."""
_PAYLOAD: Final = 2
_LONG_BYTES: Final = 128 << 10
_STATEMENTS: Final = {
    Source.ALL: "events",
    Source.TAIL: "events_tail",
    Source.ASIDE: "events_aside",
    Source.QUEUE: "events_queued",
}

Key = str | UUID


class SearchVerbs:
    """The verbs around searches and the tables ``search_*``."""

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    async def events(
        self,
        db: Connection,
        organization: Key,
        wanted: EventFilter,
        page: Page,
        now: Timestamp,
    ) -> FoundEvents:
        """A page of events."""
        if "\0" in f"{wanted.dedup_id}{wanted.type}{wanted.source}{wanted.key}":
            return FoundEvents()  # no event has it, and no text of PostgreSQL can
        look = _Look(db, organization, wanted, now)
        search = search_events(wanted, _span(wanted, page), page.limit, number=_number, name=_name)
        try:
            ask = next(search)
            while True:
                ask = search.send(await look.answer(ask))
        except StopIteration as end:
            found: FoundEvents = end.value
            return found

    # ── the index ─────────────────────────────────────────────────────────────────────────────

    async def lease(self, db: Connection, *, now: int, until: int, token: int) -> int | None:
        """Whose turn it is."""
        found: int | None = await db.fetchval(SQL["lease_index"], now, until, token)
        return found

    async def backlog(self, db: Connection, most: int) -> dict[str, int]:
        """Events behind the index, by organization."""
        return {
            text(ids.ORGANIZATION, organization): count
            for organization, count in await db.fetch(SQL["search_backlog"], most)
        }

    async def unindexed(
        self, db: Connection, organization: Key, after: str | None, limit: int
    ) -> list[IndexedEvent]:
        """The next ones, erased ones among them."""
        xid, event = (None, None) if after is None else after.split("-")
        rows = await db.fetch(SQL["unindexed_events"], organization, xid, event, limit)
        return [_indexed(row) for row in rows]

    async def save_part(
        self, db: Connection, organization: Key, token: int, part: NewPart, *, now: int, until: int
    ) -> bool:
        """A part, and how far the index comes with it; in a transaction."""
        if await db.fetchval(SQL["extend_index"], token, until, now) is None:
            return False
        xid, event = part.position.split("-")
        last = await db.fetchval(SQL["save_progress"], organization, xid, event, bool(part.ids))
        if part.ids:
            events = [number(each) for each in part.ids]
            await db.execute(
                SQL["save_part"],
                organization,
                last,
                min(events),
                max(events),
                part.part.bits,
                part.part.whole,
                b"".join([bytes.fromhex(each) for each in events]),
                events,
                now,
            )
            await self._save_blocks(db, organization, last, part.part)
        return True

    async def _save_blocks(self, db: Connection, organization: Key, last: int, part: Part) -> None:
        blocks = sorted(part.blocks.items())
        await db.execute(
            SQL["save_blocks"],
            organization,
            last,
            [at for at, _ in blocks],
            [body for _, body in blocks],
        )

    async def changed(self, db: Connection, organization: Key, event: Key, *, now: int) -> None:
        """Part of the transaction that deletes an event, or gives it another payload."""
        mended = await db.fetchval(SQL["has_payload"], organization, event)
        if mended:
            # What was read before and is not saved yet has the old one: that is read again.
            await db.execute(SQL["revoke_index"])
        await db.execute(SQL["mark_stale"], organization, event, now)
        if not mended:
            return
        # Until its part is made anew every search looks at it.
        value = event.int if isinstance(event, UUID) else int(event, 16)
        for part, whole, packed in await db.fetch(SQL["parts_with"], organization, event):
            events = _unpacked(packed)
            if value in events:
                marked = with_place(whole, events.index(value))
                await db.execute(SQL["save_whole"], organization, part, marked)

    async def stale_part(self, db: Connection, before: int) -> StalePart | None:
        """The one that has been stale for the longest time."""
        row = await db.fetchrow(SQL["stale_part"], before)
        if row is None:
            return None
        organization, last, packed = row
        return StalePart(
            organization_id=text(ids.ORGANIZATION, organization),
            number=last,
            ids=tuple(_name(each) for each in _unpacked(packed)),
        )

    async def to_index(
        self, db: Connection, organization: Key, events: Sequence[str]
    ) -> dict[str, IndexedEvent]:
        """Those that have a payload."""
        rows = await db.fetch(
            SQL["events_to_index"], organization, [number(each) for each in events]
        )
        return {each.id: each for each in map(_indexed, rows)}

    async def replace_part(
        self,
        db: Connection,
        organization: Key,
        token: int,
        stale: StalePart,
        part: Part,
        *,
        read_at: int,
        now: int,
        until: int,
    ) -> bool:
        """What is left of a part; in a transaction. The events keep their places."""
        if await db.fetchval(SQL["extend_index"], token, until, now) is None:
            return False
        values = (organization, stale.number, part.bits, part.whole, read_at)
        if await db.fetchval(SQL["replace_part"], *values) is not None:
            await db.execute(SQL["delete_blocks"], organization, stale.number)
            await self._save_blocks(db, organization, stale.number, part)
        return True

    async def prune(self, db: Connection, token: int, limit: int, *, now: int, until: int) -> int:
        """Parts of what is not there any more; in a transaction."""
        if await db.fetchval(SQL["extend_index"], token, until, now) is None:
            return 0
        found = await db.fetch(SQL["parts_to_prune"], limit)
        for organization, part, deleted in found:
            await db.execute(SQL["delete_blocks"], organization, part)
            await db.execute(SQL["delete_part"], organization, part)
            if deleted:
                await db.execute(SQL["delete_progress"], organization)
        return len(found)


class _Look:
    """Reads what one search asks for."""

    def __init__(
        self, db: Connection, organization: Key, wanted: EventFilter, now: Timestamp
    ) -> None:
        self._db = db
        self._organization = organization
        self._now = now
        self._dedup_id = wanted.dedup_id
        self._upward = "_upward" if wanted.oldest_first else ""
        self._matches = Matcher(wanted.asked)
        self._behind: tuple[str, UUID] = "0", FIRST
        self._fixed = (
            wanted.operational,
            None if wanted.type is None else like(wanted.type),
            wanted.source,
            wanted.key,
            None if wanted.status is None else codes.EVENT_STATUS[wanted.status],
            now,
            *needles(wanted.asked),
        )

    async def answer(self, ask: Ask) -> Any:  # noqa: ANN401, PLR0911 - by what is asked
        db, organization = self._db, self._organization
        match ask:
            case Rows():
                return await self._rows(ask)
            case RowsOf(events):
                asked = [UUID(int=each) for each in events]
                whole = (organization, FIRST, LAST, len(events))
                rows = await db.fetch(SQL["events_of_ids"], *whole, *self._fixed, asked)
                return await self._looked(rows, len(events))
            case Bound(span, depth):
                name = f"events_bound{self._upward}"
                last = await db.fetchval(SQL[name], organization, *_between(span), depth)
                return None if last is None else last.int
            case QueueIsShort():
                return True  # it is in the order of the events
            case Behind(_, most):
                row = await db.fetchrow(SQL["search_progress"], organization, most)
                if row is None:
                    return None
                xid, event, parts, events = row
                self._behind = xid, event
                return Progress(events, parts)
            case Parts(span, limit, up_to):
                name = f"search_parts{self._upward}"
                rows = await db.fetch(SQL[name], organization, *_between(span), up_to, limit)
                return [
                    IndexPart(at, first.int, last.int, bits, whole)
                    for at, first, last, bits, whole in rows
                ]
            case Blocks(wanted):
                rows = await db.fetch(
                    SQL["search_blocks"],
                    organization,
                    [part for part, _ in wanted],
                    [block for _, block in wanted],
                )
                return {(part, block): body for part, block, body in rows}
            case Ids(places):
                return await self._ids(places)

    async def _ids(self, places: Mapping[int, int]) -> dict[int, Any]:
        whole = [part for part, mask in places.items() if mask.bit_count() > _FEW]
        found: dict[int, Any] = {}
        if whole:
            rows = await self._db.fetch(SQL["search_ids"], self._organization, whole)
            found = {part: _unpacked(packed) for part, packed in rows}
        few = [
            (part, place)
            for part, mask in places.items()
            if mask.bit_count() <= _FEW
            for place in places_at(mask)
        ]
        if few:
            rows = await self._db.fetch(
                SQL["search_places"],
                self._organization,
                [part for part, _ in few],
                [place for _, place in few],
            )
            for part, place, packed in rows:
                found.setdefault(part, {})[place] = int.from_bytes(packed, "big")
        return found

    async def _rows(self, ask: Rows) -> Looked:
        name = "events_by_dedup_id"
        if ask.source is not Source.DEDUP_ID:
            name = f"{_STATEMENTS[ask.source]}{self._upward}"
        more: tuple[Any, ...] = ()
        if ask.source is Source.DEDUP_ID:
            more = (self._dedup_id,)
        elif ask.source is Source.TAIL:
            more = self._behind
        between = (self._organization, *_between(ask.span))
        rows = await self._db.fetch(SQL[name], *between, ask.limit, *self._fixed, *more)
        return await self._looked(rows, ask.enough)

    async def _looked(self, rows: list[Record], enough: int) -> Looked:
        size = sum(len(row[_PAYLOAD]) for row in rows) if self._matches.needed else 0
        if size > _LONG_BYTES:
            # It would hold up everything else.
            return await asyncio.to_thread(self._matching, rows, enough)
        return self._matching(rows, enough)

    def _matching(self, rows: list[Record], enough: int) -> Looked:
        found, count, last, size = [], 0, 0, 0
        matches = self._matches
        for row in rows:
            count, last = count + 1, row[0].int
            if matches.needed:
                size += len(row[_PAYLOAD])
                if not matches(row[_PAYLOAD]):
                    continue
            found.append(shown(row, self._now))
            if len(found) == enough:
                break
        return Looked(found, count, last, size)


def _span(wanted: EventFilter, page: Page) -> Span:
    span = Span(
        FIRST.int if wanted.since is None else max(first_at(wanted.since).int - 1, 0),
        LAST.int if wanted.until is None else first_at(wanted.until).int,
        upward=wanted.oldest_first,
    )
    if page.before is None:
        return span
    last = find(ids.EVENT, page.before)
    return span.rest(last.int if isinstance(last, UUID) else int(last, 16))


def _between(span: Span) -> tuple[UUID, UUID]:
    return UUID(int=span.after), UUID(int=span.before)


def _unpacked(packed: bytes) -> list[int]:
    return [
        int.from_bytes(packed[at : at + _ID_BYTES], "big")
        for at in range(0, len(packed), _ID_BYTES)
    ]


def _indexed(row: Record) -> IndexedEvent:
    event, xid, event_type, source, key, operational, payload = row
    return IndexedEvent(
        text(ids.EVENT, event),
        f"{xid}-{event.hex}",
        event_type,
        source,
        key,
        operational,
        payload,
    )


def _number(event_id: str) -> int:
    return int(event_id[4:], 16)


def _name(value: int) -> str:
    return text(ids.EVENT, UUID(int=value))
