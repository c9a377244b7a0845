"""How a search for events goes about it, the same on every engine.

:func:`search_events` says what it wants to read, an engine reads it and sends the answer in. Ids are
numbers here, in whose order events are listed: row numbers in one engine, those inside the UUIDs in the
other.

The newest events are looked at themselves, and so are those that the index does not have yet. For all
others the index says which may match, part by part (``model/postings.py``), and these are looked at.

What one search looks at is bounded. Where it would have to look further it ends with what it has, and
says where to go on.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Final, TypeVar

import msgspec

from triggers_api.model.event import Event, EventStatus
from triggers_api.model.postings import block_of, places_at, places_in, places_of
from triggers_api.model.search import Asked, asked_terms
from triggers_api.store.base import EventFilter, FoundEvents

T = TypeVar("T")

_LOOKED_INTO: Final = 10_000
"""Events whose payloads are looked into at the most, one after the other."""
_LOOKED_AT: Final = 20_000
"""Events of which only their own fields are asked for."""
_TAIL: Final = 10_000
"""Events behind the index up to which all of them are looked at, and then the index."""
_FIRST_LOOK: Final = 500
_WIDER: Final = 4
_CHECKED: Final = 2_000
"""Events that the index has found, and that are looked at."""
_BYTES: Final = 8 << 20
"""Of payloads that are looked into."""
_BYTES_AT_ONCE: Final = 2 << 20
_ROWS_FIRST: Final = 50
_ROWS_AT_ONCE: Final = 1000
_PARTS: Final = 1024
"""Parts of the index that are asked."""
_PARTS_FIRST: Final = 8
_PARTS_AT_ONCE: Final = 512

_ASIDE: Final = frozenset({EventStatus.FAILED, EventStatus.QUARANTINED, EventStatus.CANCELLED})
_QUEUED: Final = frozenset({EventStatus.QUEUED, EventStatus.SCHEDULED})


class Span(msgspec.Struct, frozen=True):
    """Ids between two others, from the one or from the other on."""

    after: int
    before: int
    upward: bool = False

    def rest(self, last: int) -> "Span":
        """What is behind an id."""
        if self.upward:
            return Span(max(self.after, last), self.before, upward=True)
        return Span(self.after, min(self.before, last))

    def up_to(self, last: int) -> "Span":
        """What comes before an id, and that."""
        if self.upward:
            return Span(self.after, last + 1, upward=True)
        return Span(last - 1, self.before)

    @property
    def beginning(self) -> int:
        """The id behind which it begins."""
        return self.after if self.upward else self.before

    def __bool__(self) -> bool:
        return self.after + 1 < self.before

    def __contains__(self, number: int) -> bool:
        return self.after < number < self.before


# ── what is asked ─────────────────────────────────────────────────────────────────────────────────


class Source(Enum):
    """Which events: all, the one with the dedup_id, by a status that few have, or behind the index."""

    ALL = auto()
    DEDUP_ID = auto()
    ASIDE = auto()
    QUEUE = auto()
    TAIL = auto()


class Bound(msgspec.Struct, frozen=True):
    """The event at which a look over ``depth`` of a span ends; ``None``: there are fewer."""

    span: Span
    depth: int


class Rows(msgspec.Struct, frozen=True):
    """The first ``limit`` events of a span that have what is asked for, but for their payloads.

    These are looked into, until ``enough`` match. The answer is a :class:`Looked`.
    """

    span: Span
    limit: int
    enough: int
    source: Source = Source.ALL


class RowsOf(msgspec.Struct, frozen=True):
    """The same of these events, in any order."""

    numbers: Sequence[int]


class Looked(msgspec.Struct, frozen=True):
    """What was found.

    Attributes:
        found: those whose payloads match, too.
        rows: how many were looked at, whatever their payloads.
        last: the number of the last of these.
        size: bytes of the payloads that were looked into.
    """

    found: list[Event]
    rows: int
    last: int
    size: int


class QueueIsShort(msgspec.Struct, frozen=True):
    """Whether it costs little to look at everything that is queued."""


class Behind(msgspec.Struct, frozen=True):
    """How far the index is: a :class:`Progress`, or ``None`` when there is none.

    Events behind it are counted up to ``most``; those outside of the span may be left out.
    """

    span: Span
    most: int


class Progress(msgspec.Struct, frozen=True):
    """How many events are behind the index, and the last of its parts."""

    events: int
    parts: int


class Parts(msgspec.Struct, frozen=True):
    """The first parts with events of a span, up to a number: each an :class:`IndexPart`."""

    span: Span
    limit: int
    up_to: int


class IndexPart(msgspec.Struct, frozen=True):
    """What is known of a part; ``first`` and ``last`` are the smallest and the largest id in it."""

    number: int
    first: int
    last: int
    bits: int
    whole: bytes


class Blocks(msgspec.Struct, frozen=True):
    """Blocks by part and number, as far as there are any."""

    wanted: Sequence[tuple[int, int]]


class Ids(msgspec.Struct, frozen=True):
    """The events of parts at the places in a bit map: for each part their ids by their places."""

    places: Mapping[int, int]


Ask = Bound | Rows | RowsOf | QueueIsShort | Behind | Parts | Blocks | Ids
Asking = Generator[Ask, Any, T]
Number = Callable[[str], int]
"""From an event's id to its number."""


# ── the search ────────────────────────────────────────────────────────────────────────────────────


def search_events(
    wanted: EventFilter, span: Span, limit: int, *, number: Number, name: Callable[[int], str]
) -> Asking[FoundEvents]:
    """Search for a page of events.

    Args:
        wanted: which.
        span: among which.
        limit: how many at the most.
        number: from ids to numbers.
        name: and back.
    """
    return (yield from _Search(wanted, limit, number=number, name=name).run(span))


class _Search:
    def __init__(
        self, wanted: EventFilter, limit: int, *, number: Number, name: Callable[[int], str]
    ) -> None:
        self._wanted = wanted
        self._asked = wanted.asked
        self._terms = asked_terms(self._asked)
        self._upward = wanted.oldest_first
        self._limit = limit
        self._number = number
        self._name = name
        self._found: list[Event] = []
        self._size = 0
        self._at_once = _ROWS_FIRST

    def run(self, span: Span) -> Asking[FoundEvents]:
        source = yield from self._source()
        if source is not Source.ALL:
            return self._page(go_on=(yield from self._take(span, source)))
        if not self._terms:
            return (yield from self._walk(span))
        # What matches often is found among the first, and the index need not be asked.
        left = yield from self._look(span, _FIRST_LOOK)
        if left is None or self._spent:
            return self._page(go_on=None if left is None else left.beginning)
        progress: Progress | None = yield Behind(left, _TAIL)
        if progress is None or progress.events >= _TAIL:
            return (yield from self._walk(left))
        return (yield from self._by_index(left, progress))

    def _source(self) -> Asking[Source]:
        """Where there are few to be looked at."""
        status = self._wanted.status
        if self._wanted.dedup_id is not None:
            return Source.DEDUP_ID
        if self._terms.of_payload:
            return Source.ALL
        if status in _ASIDE:
            return Source.ASIDE
        if status in _QUEUED and (yield QueueIsShort()):
            return Source.QUEUE
        return Source.ALL

    # One event after the other.

    def _walk(self, span: Span) -> Asking[FoundEvents]:
        if self._asked == Asked() and self._wanted.status is None:
            return self._page(go_on=(yield from self._take(span, Source.ALL)))
        left = _LOOKED_INTO if self._asked.of_payload else _LOOKED_AT
        depth = _FIRST_LOOK
        while left > 0 and not self._spent:
            depth = min(depth, left)
            rest = yield from self._look(span, depth)
            if rest is None:
                return self._page()
            span = rest
            left -= depth
            depth *= _WIDER
        return self._page(go_on=span.beginning)

    def _look(self, span: Span, depth: int) -> Asking[Span | None]:
        """Look at so many events; returns what is behind, ``None`` when that needs no look."""
        end: int | None = yield Bound(span, depth - 1)
        part = span if end is None else span.up_to(end)
        cut = yield from self._take(part, Source.ALL)
        if cut is not None:
            return span.rest(cut) or None
        if end is None or len(self._found) >= self._limit:
            return None
        return span.rest(end) or None

    def _take(self, span: Span, source: Source) -> Asking[int | None]:
        """Find what matches in a span, until there is enough.

        Returns:
            Up to which event, if that was all that may be looked into.
        """
        while span:
            most = self._at_once if self._asked.of_payload else self._limit - len(self._found)
            looked: Looked = yield Rows(span, most, self._limit - len(self._found), source)
            self._add(looked)
            if looked.rows < most or len(self._found) >= self._limit:
                return None
            if self._spent:
                return looked.last
            span = span.rest(looked.last)
        return None

    def _add(self, looked: Looked) -> None:
        self._found += looked.found
        self._size += looked.size
        if looked.size:
            # As many as are not too much to be in memory, by the size of these.
            fitting = looked.rows * _BYTES_AT_ONCE // looked.size
            self._at_once = max(1, min(_ROWS_AT_ONCE, fitting, self._at_once * _WIDER))

    @property
    def _spent(self) -> bool:
        return self._size > _BYTES

    def _page(self, *, go_on: int | None = None) -> FoundEvents:
        if go_on is None or len(self._found) >= self._limit:
            return FoundEvents(self._found[: self._limit])
        return FoundEvents(self._found, go_on=self._name(go_on))

    # By the index.

    def _by_index(self, span: Span, progress: Progress) -> Asking[FoundEvents]:
        cut = (yield from self._take(span, Source.TAIL)) if progress.events else None
        if cut is not None:
            span = span.up_to(cut)
        parts: list[IndexPart] = yield Parts(span, _PARTS, progress.parts)
        pool: list[int] = []
        checked, at, width = 0, 0, _PARTS_FIRST
        while at < len(parts):
            group = parts[at : at + width]
            at, width = at + width, min(width * _WIDER, _PARTS_AT_ONCE)
            pool += yield from self._candidates(group, span)
            pool.sort(reverse=not self._upward)
            # Parts may overlap: what lies in the reach of one that was not asked yet has to wait.
            reach = self._reach(parts, at)
            ready = [each for each in pool if self._comes_by(each, reach)]
            pool = pool[len(ready) :]
            while ready:
                # What the index finds mostly matches.
                most = min(self._at_once, max(2 * self._limit, _ROWS_FIRST))
                chunk, ready = ready[:most], ready[most:]
                checked += len(chunk)
                self._add((yield RowsOf(chunk)))
                if checked >= _CHECKED or self._spent or self._enough(chunk[-1]):
                    return self._settled(chunk[-1], go_on=True)
            if self._enough(reach):
                return self._settled(reach)
        ends = [each for each in (self._reach(parts, at), cut) if each is not None]
        if not ends:
            return self._settled(None)
        return self._settled(min(ends) if self._upward else max(ends), go_on=True)

    def _candidates(self, parts: Sequence[IndexPart], span: Span) -> Asking[list[int]]:
        """The events that have all terms, in no order."""
        masks = {part.number: -1 for part in parts}
        bits = {part.number: part.bits for part in parts}
        whole = {part.number: places_in(part.whole) for part in parts}
        terms = [(term, True) for term in self._terms.of_payload]
        terms += [(term, False) for term in reversed(self._terms.own)]
        for term, of_payload in terms:
            wanted = [(number, block_of(term, bits[number])) for number in masks]
            blocks: Mapping[tuple[int, int], bytes] = yield Blocks(wanted)
            for place in wanted:
                number = place[0]
                having = places_of(blocks.get(place), term)
                masks[number] &= having | whole[number] if of_payload else having
                if not masks[number]:
                    del masks[number]
            if not masks:
                return []
        ids: Mapping[int, Sequence[int] | Mapping[int, int]] = yield Ids(masks)
        return [
            found
            for number, mask in masks.items()
            if number in ids
            for place in places_at(mask)
            if (found := ids[number][place]) in span
        ]

    def _reach(self, parts: Sequence[IndexPart], at: int) -> int | None:
        """The first id that may be in a part that was not asked; ``None``: there is no such part."""
        if at < len(parts):
            return parts[at].first if self._upward else parts[at].last
        if len(parts) == _PARTS:
            # Of those that were not even listed.
            return parts[-1].first if self._upward else parts[-1].last
        return None

    def _comes_by(self, number: int, reach: int | None) -> bool:
        """Whether an id's turn comes before that of all that follow."""
        if reach is None:
            return True
        return number <= reach if self._upward else number >= reach

    def _enough(self, last: int | None) -> bool:
        if len(self._found) < self._limit:
            return False
        return (
            sum(self._comes_by(self._number(each.id), last) for each in self._found) >= self._limit
        )

    def _settled(self, last: int | None, *, go_on: bool = False) -> FoundEvents:
        """What was found up to an id; nothing before it was left out."""
        found = [each for each in self._found if self._comes_by(self._number(each.id), last)]
        found.sort(key=lambda each: each.id, reverse=not self._upward)
        self._found = found
        return self._page(go_on=last if go_on else None)
