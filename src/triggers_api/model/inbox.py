"""Inboxes: what a consumer fetches by itself, at its own pace.

An inbox is a **position** in the organization's log, and a few rows beside it. Everything up to the
position was handed out or passed over; of that, what has no row is done with. A row stands for an event
that is in a consumer's hands, that waits to be handed out again, or that is hidden still; and, beyond
the position, for one that was handed out or acknowledged out of turn.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum, StrEnum
from functools import cache
from typing import Final, Generic, TypeVar

import msgspec

from triggers_api.model.event import Event
from triggers_api.model.text import glob_matches
from triggers_api.model.timestamp import Timestamp

DEFAULT_INBOX: Final = "default"
"""The one that every organization has; it begins at the first event."""

MOST_INBOXES: Final = 100
"""Of an organization, besides the default one."""

LOOKED_AT: Final = 500
"""Events that one look goes past at the most, when it has to find those of some types."""

Place = TypeVar("Place")


class Inbox(msgspec.Struct, frozen=True, kw_only=True):
    """An inbox as it is set up; ``types`` are patterns, ``None`` takes in everything.

    The default one has no ``created_at`` until somebody has used it.
    """

    name: str
    types: tuple[str, ...] | None = None
    created_at: Timestamp | None = None


class InboxCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What is in an inbox.

    Attributes:
        unacked: events that were not acknowledged, those in somebody's hands included.
        leased: of these, how many are in somebody's hands.
        exact: counting came to the end; otherwise there are at least as many.
        oldest_received_at: when the oldest of them was received; ``None`` when none was found.
    """

    unacked: int
    leased: int
    exact: bool
    oldest_received_at: Timestamp | None


class InboxAction(StrEnum):
    """What a consumer does with events that it was handed: done, again, or more time for it."""

    ACK = "ack"
    NACK = "nack"
    EXTEND = "extend"


class InboxStatus(StrEnum):
    """What came of it.

    ``lease_lost``: it is not, or no longer, in the hands of whoever asked. ``not_found``: there is no
    such event in this inbox.
    """

    ACKED = "acked"
    NACKED = "nacked"
    EXTENDED = "extended"
    LEASE_LOST = "lease_lost"
    NOT_FOUND = "not_found"


DONE: Final = {
    InboxAction.ACK: InboxStatus.ACKED,
    InboxAction.NACK: InboxStatus.NACKED,
    InboxAction.EXTEND: InboxStatus.EXTENDED,
}


class InboxOutcome(msgspec.Struct, frozen=True):
    """What became of one event; ``event_id`` is ``None`` for a receipt that says nothing."""

    event_id: str | None
    status: InboxStatus


class LeasedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event in a consumer's hands.

    Attributes:
        event: the event.
        receipt: names the lease, for the store that gave it out.
        lease_until: until when nobody else gets it.
        receive_count: how often it was handed out, this time included.
    """

    event: Event
    receipt: str
    lease_until: Timestamp
    receive_count: int


class Sight(Enum):
    """Whether an event can be seen in an inbox.

    ``LATER``: from a known moment on. ``WITHHELD``: when somebody releases it. ``GONE``: never, or
    never again.
    """

    SEEN = "seen"
    LATER = "later"
    WITHHELD = "withheld"
    GONE = "gone"


class Mark(Enum):
    """What row an inbox has for an event."""

    NONE = "none"
    OPEN = "open"
    ACKED = "acked"


class Walked(msgspec.Struct, Generic[Place], frozen=True, gc=False):
    """An event of the log that a look comes by, at its place; ``size`` is its payload's, in bytes."""

    place: Place
    type: str
    sight: Sight
    mark: Mark
    size: int
    seen_from: int | None = None


class Steps(msgspec.Struct, Generic[Place]):
    """What a look along the log comes to.

    Attributes:
        leased: to be handed out.
        parked: hidden ones, each with the moment from which it can be seen (``None``: not known). They
            get a row, so that the position can go on.
        dropped: rows that say what the position now says.
        position: the new position; ``None``: where it was.
        reached: how far it looked; ``None``: nowhere.
        count: how many events it came by.
        stopped: there was no room for the next one.
    """

    leased: list[Place]
    parked: list[tuple[Place, int | None]]
    dropped: list[Place]
    position: Place | None = None
    reached: Place | None = None
    count: int = 0
    stopped: bool = False


Matches = Callable[[str], bool]


def matcher(patterns: Sequence[str] | None) -> Matches:
    """Whether a type is one of those that the patterns take in; ``None`` takes in all."""
    if patterns is None:
        return _everything
    given = tuple(patterns)

    @cache
    def matches(event_type: str) -> bool:
        return any(glob_matches(pattern, event_type) for pattern in given)

    return matches


def _everything(_: str) -> bool:
    return True


def steps(
    walked: Iterable[Walked[Place]],
    *,
    inbox: Matches,
    wanted: Matches,
    room: int,
    most_bytes: int,
    contiguous: bool = True,
) -> Steps[Place]:
    """What to do about events that come next in the log.

    Args:
        walked: the events, in the log's order.
        inbox: which types the inbox takes in; others are none of its events.
        wanted: of those, which are asked for; others stay for somebody else, and the position before
            them.
        room: how many may be handed out.
        most_bytes: how large they may be together, but for the first one.
        contiguous: the first of them comes right behind the position.
    """
    result: Steps[Place] = Steps([], [], [])
    for each in walked:
        if each.mark is Mark.NONE and each.sight is not Sight.GONE and inbox(each.type):
            if not wanted(each.type):
                contiguous = False
            elif each.sight is not Sight.SEEN:
                result.parked.append((each.place, each.seen_from))
            elif len(result.leased) < room and (not result.leased or each.size <= most_bytes):
                result.leased.append(each.place)
                most_bytes -= each.size
            else:
                result.stopped = True
                break
        elif each.mark is Mark.ACKED and contiguous:
            result.dropped.append(each.place)
        result.reached = each.place
        result.count += 1
        if contiguous:
            result.position = each.place
    return result


class InboxRow(msgspec.Struct, frozen=True, gc=False):
    """What an inbox has on file about an event.

    Attributes:
        available_at: leased until then, or put off until then; ``None``: acknowledged out of turn.
        token: of the lease, ``None`` in nobody's hands.
        receive_count: how often it was handed out.
    """

    available_at: int | None
    token: int | None
    receive_count: int

    def leased_at(self, now: int) -> bool:
        """Whether it is in somebody's hands."""
        return self.token is not None and self.available_at is not None and self.available_at > now


class Settling(msgspec.Struct, frozen=True):
    """What a consumer is answered, and what becomes of the row: another one, none, or as it is."""

    status: InboxStatus
    row: InboxRow | None = None
    drop: bool = False


def settle_lease(
    action: InboxAction, row: InboxRow | None, token: int, *, passed: bool, now: int, until: int
) -> Settling:
    """What becomes of an event under a receipt.

    Args:
        action: what is asked for.
        row: what is on file.
        token: of the receipt's lease.
        passed: the inbox's position is behind the event, and without a row it is done with.
        now: the store's clock.
        until: for how long it is put off, or its lease goes on.
    """
    if row is None or row.token != token or not row.leased_at(now):
        return Settling(InboxStatus.LEASE_LOST)
    return _settle_row(action, row, passed=passed, until=until)


def settle_event(
    action: InboxAction, row: InboxRow | None, *, passed: bool, now: int, until: int
) -> Settling:
    """What becomes of an event that can be seen, whoever has it; else as :func:`settle_lease`."""
    if row is None and not passed:
        row = InboxRow(now, None, 0)
    if row is None or row.available_at is None:
        done = action is InboxAction.ACK
        return Settling(InboxStatus.ACKED if done else InboxStatus.NOT_FOUND)
    if action is InboxAction.EXTEND and not row.leased_at(now):
        return Settling(InboxStatus.LEASE_LOST)
    return _settle_row(action, row, passed=passed, until=until)


def _settle_row(action: InboxAction, row: InboxRow, *, passed: bool, until: int) -> Settling:
    status = DONE[action]
    if action is InboxAction.EXTEND:
        return Settling(status, InboxRow(until, row.token, row.receive_count))
    if action is InboxAction.NACK:
        return Settling(status, InboxRow(until, None, row.receive_count))
    if passed:
        return Settling(status, drop=True)
    return Settling(status, InboxRow(None, None, row.receive_count))
