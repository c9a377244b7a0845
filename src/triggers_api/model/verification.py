"""What can be found wrong in a store's records, one check each. Pure."""

from enum import StrEnum
from typing import Final

import msgspec


class Check(StrEnum):
    """A kind of fault. ``counters`` are the books, kept and counted; all others are of single rows."""

    COUNTERS = "counters"
    EVENTS_NOT_QUEUED = "events_not_queued"
    QUEUED_WITHOUT_EVENT = "queued_without_event"
    DELIVERIES_WITHOUT_EVENT = "deliveries_without_event"
    DELIVERIES_NOT_QUEUED = "deliveries_not_queued"
    QUEUED_WITHOUT_DELIVERY = "queued_without_delivery"
    ATTEMPTS_WITHOUT_DELIVERY = "attempts_without_delivery"
    DEAD_NOT_LISTED = "dead_not_listed"
    LISTED_NOT_DEAD = "listed_not_dead"
    STATES_WITHOUT_EVENT = "states_without_event"
    PAYLOADS_WITHOUT_EVENT = "payloads_without_event"


MEANINGS: Final = {
    Check.COUNTERS: "what was counted when it was stored is not what is there",
    Check.EVENTS_NOT_QUEUED: "accepted, and neither routed nor waiting to be",
    Check.QUEUED_WITHOUT_EVENT: "waiting to be routed, and no such event, or one that is past it",
    Check.DELIVERIES_WITHOUT_EVENT: "of an event that is not there",
    Check.DELIVERIES_NOT_QUEUED: "to be sent, and never due",
    Check.QUEUED_WITHOUT_DELIVERY: "due, and no such delivery, or one that is finished",
    Check.ATTEMPTS_WITHOUT_DELIVERY: "of a delivery that is not there",
    Check.DEAD_NOT_LISTED: "dead, and not among the dead letters",
    Check.LISTED_NOT_DEAD: "among the dead letters, and not dead",
    Check.STATES_WITHOUT_EVENT: "the state of an event that is not there",
    Check.PAYLOADS_WITHOUT_EVENT: "the payload of an event that is not there",
}
"""What is wrong, in words."""

ONLY_TOLD: Final = frozenset({Check.DELIVERIES_WITHOUT_EVENT})
"""What nobody can mend but a person: what would have been sent is gone."""

HARMLESS: Final = frozenset(
    {
        Check.QUEUED_WITHOUT_EVENT,
        Check.ATTEMPTS_WITHOUT_DELIVERY,
        Check.STATES_WITHOUT_EVENT,
        Check.PAYLOADS_WITHOUT_EVENT,
    }
)
"""Remains that cost room, and nothing else."""

COUNTED: Final = 1000
"""Faults of a kind that are counted, and mended in one transaction."""
EXAMPLES: Final = 5


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What one check came to.

    Attributes:
        check: which.
        found: how many faults, counted up to ``COUNTED``.
        more: there may be more.
        harmless: they cost room, and nothing else.
        repairable: they can be mended.
        meaning: what is wrong with each.
        examples: ids of some.
    """

    check: Check
    found: int
    more: bool
    harmless: bool
    repairable: bool
    meaning: str
    examples: tuple[str, ...]


def checked(check: Check, ids: list[str]) -> Checked:
    """From the ids of what was found."""
    return Checked(
        check=check,
        found=len(ids),
        more=len(ids) >= COUNTED,
        harmless=check in HARMLESS,
        repairable=check not in ONLY_TOLD,
        meaning=MEANINGS[check],
        examples=tuple(ids[:EXAMPLES]),
    )


class Integrity(msgspec.Struct, frozen=True, kw_only=True):
    """What the database says of its own files.

    Attributes:
        checked: what was looked at, in words; ``None`` where it could not be.
        faults: what is damaged, in the database's words.
        reason: why it could not be looked at, and what would help.
    """

    checked: str | None = None
    faults: tuple[str, ...] = ()
    reason: str | None = None
