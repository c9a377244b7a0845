"""``/api/filters/check``: what a filter would have said of the events that came in last."""

import asyncio
from time import perf_counter
from typing import Annotated, Final

import msgspec
from litestar import Router, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from triggers_api.errors import FieldError, ValidationFailed
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.subscriptions import check_filter, check_types
from triggers_api.model.event import Event
from triggers_api.model.filter import EventView, Judgement, compile_filter
from triggers_api.model.organization import Scope
from triggers_api.model.text import glob_matches
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import EventFilter, Page

MOST_EVENTS: Final = 500
_AT_ONCE: Final = 25
"""Events whose payloads are in memory at once."""
_MOST_BYTES: Final = 8 << 20
_LONGEST_S: Final = 0.25
"""How long events are looked at, from when the first ones have been read: there are some to look at,
however slow the store is."""
_SAMPLES: Final = 5

Events = Annotated[int, msgspec.Meta(ge=1, le=MOST_EVENTS)]


class FilterCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A filter, and types as a subscription would have them. ``null`` is the same as leaving it out."""

    filter: str | None = None
    event_types: list[str] | None = None
    events: Events | None = None


class FilterSample(msgspec.Struct, frozen=True, kw_only=True):
    """An event; ``fault`` says why the filter had no answer for it."""

    id: str
    type: str
    received_at: Timestamp
    fault: str | None = None


class FilterChecked(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the newest events.

    Attributes:
        looked_at: how many these are, of whatever type.
        of_types: how many of them have one of the types.
        matched: of these, how many the filter lets through.
        not_matched: how many it does not.
        no_answer: how many it has no answer for, and does not let through: a field is missing, say.
        complete: there are no older events, or as many as were asked for were looked at.
        samples: of each of the three some, the newest first.
    """

    looked_at: int
    of_types: int
    matched: int
    not_matched: int
    no_answer: int
    complete: bool
    samples: dict[str, list[FilterSample]]


@post("/api/filters/check", summary="Check a filter", status_code=200, opt={ACCESS: (Scope.READ,)})
async def check(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    data: JSONBody[FilterCheck],
) -> FilterChecked:
    """What it would have said of the last 200 events, or as many as are asked for. Changes nothing."""
    errors: list[FieldError] = []
    types = ("*",) if data.event_types is None else check_types(errors, data.event_types)
    if data.filter is not None:
        check_filter(errors, data.filter)
    if errors:
        raise ValidationFailed("the filter is not acceptable", errors=errors)
    looking = _Looking(types, data.filter)
    wanted = 200 if data.events is None else data.events
    before: str | None = None
    until: float | None = None
    at_end = False
    while not (at_end or looking.looked_at >= wanted or looking.is_much(until)):
        page = Page(min(_AT_ONCE, wanted - looking.looked_at), before)
        found = await context.store.events(organization_id, EventFilter(), page)
        until = until or perf_counter() + _LONGEST_S
        for event in found:
            if looking.looked_at and looking.is_much(until):
                break
            looking.look(event)
            # Filters may take a while; others' requests go on in between.
            await asyncio.sleep(0)
        else:
            at_end = len(found) < page.limit and found.go_on is None
        before = found[-1].id if found else found.go_on
    return looking.checked(complete=at_end or looking.looked_at >= wanted)


class _Looking:
    """What came of the events that were looked at."""

    def __init__(self, types: tuple[str, ...], text: str | None) -> None:
        self._types = types
        self._filter = None if text is None else compile_filter(text)
        self.looked_at = 0
        self._bytes = 0
        self._samples: dict[str, list[FilterSample]] = {
            name: [] for name in ("matched", "not_matched", "no_answer")
        }
        self._counts = dict.fromkeys(self._samples, 0)

    def look(self, event: Event) -> None:
        """Judge an event as routing would."""
        self.looked_at += 1
        self._bytes += len(memoryview(event.payload))
        if not any(glob_matches(pattern, event.type) for pattern in self._types):
            return
        judgement = self._judged(event)
        name = "matched" if judgement.matches else "not_matched"
        if judgement.fault is not None:
            name = "no_answer"
        self._counts[name] += 1
        if len(self._samples[name]) < _SAMPLES:
            self._samples[name].append(
                FilterSample(
                    id=event.id,
                    type=event.type,
                    received_at=event.received_at,
                    fault=judgement.fault,
                )
            )

    def is_much(self, until: float | None) -> bool:
        """Whether enough was read, or it has taken long enough."""
        return self._bytes > _MOST_BYTES or (until is not None and perf_counter() > until)

    def _judged(self, event: Event) -> Judgement:
        if self._filter is None:
            return Judgement(matches=True)
        return self._filter.judge(
            EventView(
                event.type,
                source=event.source,
                key=event.key,
                metadata=None if event.metadata is None else msgspec.json.encode(event.metadata),
                payload=bytes(event.payload),
            )
        )

    def checked(self, *, complete: bool) -> FilterChecked:
        """All of it."""
        return FilterChecked(
            looked_at=self.looked_at,
            of_types=sum(self._counts.values()),
            **self._counts,
            complete=complete,
            samples=self._samples,
        )


def router() -> Router:
    """The route of this file."""
    return Router("/", route_handlers=[check], tags=["Subscriptions"])
