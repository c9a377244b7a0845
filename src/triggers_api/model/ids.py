"""Identifiers: a prefix that says what it is, then a UUIDv7 (RFC 9562) in 32 lower-case hex digits.

``evt_019ab3c54f2e7000a1b2c3d4e5f60718`` sorts by the moment it was made. Inside the UUID:

=========  ====  =========================================================================
bits       size  what
=========  ====  =========================================================================
time         48  milliseconds since the epoch
counter      20  counts up within a millisecond (12 bits before the variant, 8 after it)
tail         54  random; constant for all ids of one embedded database
=========  ====  =========================================================================

Time and counter together are the **sequence**: 63 bits, strictly rising in one generator. The
embedded engine uses it as the row number, so an id needs no index of its own
(docs/decisions/0005-ids-and-row-numbers.md).
"""

import random
import re
import secrets
from collections.abc import Callable
from typing import Final

from triggers_api.model.timestamp import Timestamp

EVENT: Final = "evt"
SUBSCRIPTION: Final = "sub"
DELIVERY: Final = "dlv"
ATTEMPT: Final = "att"
ORGANIZATION: Final = "org"
KEY: Final = "key"
JOB: Final = "job"
AUDIT: Final = "aud"

TAIL_BITS: Final = 54
_COUNTER_BITS: Final = 20
_VERSION_AND_VARIANT: Final = 7 << 76 | 2 << 62
_UUID7 = re.compile(r"([0-9a-f]{12})7([0-9a-f]{3})([89ab][0-9a-f]{15})", re.ASCII)


class IdGenerator:
    """Makes ids whose sequence never falls or repeats, whatever the wall clock does."""

    def __init__(self, now: Callable[[], int], *, tail: int | None = None, after: int = 0) -> None:
        """Start a generator.

        Args:
            now: milliseconds since the epoch.
            tail: the 54 bits at the end of each id; ``None`` draws fresh ones for each id.
            after: a sequence already in use; the first one made is larger.
        """
        self._now = now
        # Ids must differ, not be secret: a generator of our own costs no system call for each.
        self._draw = random.Random(secrets.randbits(256)).getrandbits  # noqa: S311
        self._last = after
        self._ends = None if tail is None else ends(tail)

    def new(self, prefix: str) -> str:
        """One new id."""
        sequence = self._now() << _COUNTER_BITS
        if sequence <= self._last:
            # Same millisecond, or a clock set back: count on from the last one, borrowing from
            # the next millisecond when this one's million is used up.
            sequence = self._last + 1
        self._last = sequence
        return self._text(prefix, sequence)

    def several(self, prefix: str, count: int) -> list[str]:
        """So many new ids, one after the other."""
        if not count:
            return []
        first = max(self._now() << _COUNTER_BITS, self._last + 1)
        self._last = first + count - 1
        return [self._text(prefix, sequence) for sequence in range(first, first + count)]

    def _text(self, prefix: str, sequence: int) -> str:
        if self._ends is None:
            return text(prefix, sequence, self._draw(TAIL_BITS))
        return joined(prefix, sequence, self._ends)


Ends = tuple[str, ...]
"""The last 16 digits of ids with one tail, by the lower 8 bits of the counter."""


def ends(tail: int) -> Ends:
    """See :data:`Ends`."""
    return tuple(f"{2 << 62 | low << TAIL_BITS | tail:016x}" for low in range(256))


def joined(prefix: str, sequence: int, ends: Ends) -> str:
    """What :func:`text` makes, without numbers of more than one machine word."""
    return "%s_%012x7%03x%s" % (  # noqa: UP031 - faster
        prefix,
        sequence >> _COUNTER_BITS,
        sequence >> 8 & 0xFFF,
        ends[sequence & 0xFF],
    )


def text(prefix: str, sequence: int, tail: int) -> str:
    """The id with this sequence (63 bits) and tail (54 bits)."""
    bits = (
        sequence >> _COUNTER_BITS << 80
        | (sequence & 0xFFF00) << 56
        | (sequence & 0xFF) << TAIL_BITS
        | _VERSION_AND_VARIANT
        | tail
    )
    return f"{prefix}_{bits:032x}"


def parse(prefix: str, identifier: str) -> tuple[int, int] | None:
    """``(sequence, tail)`` of an id with this prefix, or ``None`` when it is not one."""
    if not identifier.startswith(f"{prefix}_"):
        return None
    match = _UUID7.fullmatch(identifier, len(prefix) + 1)
    if match is None:
        return None
    time, high, low = (int(group, 16) for group in match.groups())
    sequence = time << _COUNTER_BITS | high << 8 | low >> TAIL_BITS & 0xFF
    return sequence, low & (1 << TAIL_BITS) - 1


def made_at(sequence: int) -> Timestamp:
    """When the id with this sequence was made."""
    return Timestamp(sequence >> _COUNTER_BITS)


def received_ms(event_id: str) -> int:
    """The moment inside an event's id, in milliseconds: when it was received."""
    return int(event_id[4:16], 16)


def first_sequence(moment: int) -> int:
    """The smallest sequence an id made at this moment (milliseconds) can have."""
    return moment << _COUNTER_BITS
