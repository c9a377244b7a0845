"""How a search for events goes about it, the same on every engine.

:func:`search_events` says what it wants to read, an engine reads it and sends the answer in. Ids are
numbers here, in whose order events are listed: row numbers in one engine, those inside the UUIDs in the
other.

What one search looks at is bounded. Where it would have to look further it ends with what it has, and
says where to go on.
"""

from collections.abc import Callable, Generator
from typing import Any, Final

import msgspec

from triggers_api.model.event import Event
from triggers_api.model.search import Asked, matches_payload
from triggers_api.store.base import EventFilter, FoundEvents

_LOOKED_INTO: Final = 10_000
"""Events whose payloads are looked into at the most, one after the other."""
_LOOKED_AT: Final = 20_000
"""Events of which only their own fields are asked for."""
_FIRST_LOOK: Final = 500
_WIDER: Final = 4
_ROWS_AT_ONCE: Final = 500
_ROWS_FOR_A_FEW: Final = 50


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

    def __bool__(self) -> bool:
        return self.after + 1 < self.before


class Bound(msgspec.Struct, frozen=True):
    """Asks for the event at which a look over ``depth`` of a span ends; ``None``: there are fewer."""

    span: Span
    depth: int


class Rows(msgspec.Struct, frozen=True):
    """Asks for the first events of a span that have what is asked for, but for their payloads.

    With ``by_dedup_id`` the one that has the dedup_id.
    """

    span: Span
    limit: int
    by_dedup_id: bool = False


Ask = Bound | Rows
Number = Callable[[str], int]
"""From an event's id to its number."""


def search_events(
    wanted: EventFilter, span: Span, limit: int, *, number: Number, name: Callable[[int], str]
) -> Generator[Ask, Any, FoundEvents]:
    """Search for a page of events.

    Args:
        wanted: which.
        span: among which.
        limit: how many at the most.
        number: from ids to numbers.
        name: and back.
    """
    asked = wanted.asked
    if wanted.dedup_id is not None:
        rows = yield Rows(span, limit, by_dedup_id=True)
        return FoundEvents(_matching(asked, rows))
    return (yield from _walk(wanted, span, limit, number=number, name=name))


def _walk(
    wanted: EventFilter, span: Span, limit: int, *, number: Number, name: Callable[[int], str]
) -> Generator[Ask, Any, FoundEvents]:
    """Look at one event after the other."""
    asked = wanted.asked
    found: list[Event] = []
    unfiltered = asked == Asked() and wanted.status is None
    left = _LOOKED_INTO if asked.of_payload else _LOOKED_AT
    depth = limit if unfiltered else _FIRST_LOOK
    while span:
        if left <= 0:
            last = span.after if span.upward else span.before
            return FoundEvents(found, go_on=name(last))
        depth = min(depth, left)
        end: int | None = None
        part = span
        if not unfiltered:
            end = yield Bound(span, depth)
            part = span if end is None else span.up_to(end)
        while part:
            most = limit - len(found)
            if asked.of_payload:
                most = min(_ROWS_AT_ONCE, max(2 * most, _ROWS_FOR_A_FEW))
            rows: list[Event] = yield Rows(part, most)
            found += _matching(asked, rows)
            if len(found) >= limit:
                return FoundEvents(found[:limit])
            if len(rows) < most:
                break
            part = part.rest(number(rows[-1].id))
        if end is None:
            break
        span = span.rest(end)
        left -= depth
        depth *= _WIDER
    return FoundEvents(found)


def _matching(asked: Asked, events: list[Event]) -> list[Event]:
    if not asked.of_payload:
        return events
    return [each for each in events if matches_payload(asked, bytes(each.payload))]
