"""Lines: deliveries of one subscription and key, of which only the first that is not finished is due.

A line is a row of ``order_keys``. Whoever gives out places in it, or finishes what is in it, holds the
row's lock first, and looks at the line by a statement that begins after that: what it sees is how it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from triggers_api.model.delivery import NewDelivery
from triggers_api.model.event import NewEvent, QueuedEvent
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import codes
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.tables import FIRST, SQL, number

Line = tuple[UUID, UUID, str]
"""An organization, a subscription and a key; an empty key where all its deliveries are one line."""

FIRST_LINE: Final[Line] = (FIRST, FIRST, "")


class Place(NamedTuple):
    """A delivery's place in its line, and whether it is the first of those that come with it."""

    sequence: int
    is_first: bool


def ordered(events: Iterable[NewEvent]) -> bool:
    """Whether any of the deliveries that come with these events waits in a line."""
    return any(
        delivery.order_key is not None for event in events for delivery in event.deliveries or ()
    )


async def give(
    db: Connection,
    wanted: Sequence[tuple[NewEvent | QueuedEvent, Sequence[NewDelivery]]],
    *,
    now: Timestamp,
    token: int | None = None,
) -> dict[UUID, Place]:
    """Places for the deliveries that wait in lines, by their ids; the lines are held from here on.

    With a token only those of events that are claimed under it get one.
    """
    deliveries = [
        (event, delivery)
        for event, made in wanted
        for delivery in made
        if delivery.order_key is not None
    ]
    events = sorted((event.organization_id, event.id) for event, _ in wanted)
    rows = await db.fetch(
        SQL["give_sequences"],
        token,
        now,
        [number(organization) for organization, _ in events],
        [number(event) for _, event in events],
        [number(delivery.id) for _, delivery in deliveries],
        [number(event.id) for event, _ in deliveries],
        [number(delivery.subscription_id) for _, delivery in deliveries],
        [delivery.order_key for _, delivery in deliveries],
    )
    return {identifier: Place(sequence, is_first) for identifier, sequence, is_first in rows}


def columns(deliveries: Sequence[NewDelivery], given: Mapping[UUID, Place]) -> list[Any]:
    """The lines and places of deliveries, as ``fan_out`` and ``append_routed`` take them."""
    if not given:
        return [[], [], [], codes.PARKED]
    places = [given.get(UUID(number(delivery.id))) for delivery in deliveries]
    return [
        [
            None if place is None else delivery.order_key
            for delivery, place in zip(deliveries, places, strict=True)
        ],
        [None if place is None else place.sequence for place in places],
        [None if place is None else place.is_first for place in places],
        codes.PARKED,
    ]


async def go_on(db: Connection, lines: Sequence[Line], *, now: Timestamp) -> bool:
    """Something in these lines, which are held, is finished: whose turn it is now is due.

    Returns:
        Whether there is any.
    """
    if not lines:
        return False
    tag = await db.execute(SQL["promote_heads"], *as_columns(lines), now, codes.PARKED)
    return not tag.endswith(" 0")


async def mend(db: Connection, after: Line, *, most: int, now: Timestamp) -> tuple[int, Line]:
    """Look at so many lines after one; returns how many stood still, and where to go on."""
    rows = await db.fetch(SQL["still_lines"], *after, most, codes.PARKED)
    still = [tuple(row[:3]) for row in rows if row[3]]
    mended = 0
    if still:
        held = [tuple(row) for row in await db.fetch(SQL["hold_these_lines"], *as_columns(still))]
        tag = await db.execute(SQL["promote_heads"], *as_columns(held), now, codes.PARKED)
        mended = int(tag.rpartition(" ")[2])
    if not rows or rows[-1][4] < most:
        return mended, FIRST_LINE
    organization, subscription, order_key = rows[-1][:3]
    return mended, (organization, subscription, order_key)


def as_columns(lines: Sequence[Any]) -> list[list[Any]]:
    """Lines as statements take them."""
    return [[line[place] for line in lines] for place in range(3)]
