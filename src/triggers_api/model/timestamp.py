"""Time as the product keeps it: whole milliseconds since the epoch, shown as RFC 3339 in UTC."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Self

from triggers_api.errors import MalformedValue

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_EARLIEST = 0
_LATEST = 7_258_118_400_000  # 2200-01-01: later is a unit mistake (microseconds), never a plan


class Timestamp(int):
    """Milliseconds since 1970-01-01T00:00:00Z.

    An ``int`` so that it can be compared, added to and bound to a statement as it is; a type of its
    own so that every encoder shows it the one way the contract knows, ``2026-11-22T20:24:41.123Z``.
    """

    __slots__ = ()

    def __str__(self) -> str:
        seconds, millis = divmod(int(self), 1000)
        return f"{_seconds(seconds)}.{millis:03d}Z"

    def __repr__(self) -> str:
        return f"Timestamp({self})"

    def after(self, *, seconds: float = 0.0) -> "Timestamp":
        """The moment that many seconds later, rounded to the millisecond."""
        return Timestamp(int(self) + round(seconds * 1000))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an RFC 3339 date and time with its zone; finer digits than milliseconds are cut.

        Raises:
            MalformedValue: not such a date (no zone, hour 24, a leap second, a bare number) or one
                outside 1970 to 2199.
        """
        match = _RFC3339.fullmatch(text)
        if match is None:
            raise MalformedValue("not an RFC 3339 date and time with a zone")
        year, month, day, hour, minute, second, fraction, zone = match.groups()
        try:
            moment = datetime(
                int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC
            )
        except ValueError as error:
            raise MalformedValue(f"not a date: {error}") from None
        millis = int(moment.timestamp()) * 1000 + int((fraction or "0").ljust(3, "0")[:3])
        if zone not in "Zz":
            hours, minutes = int(zone[1:3]), int(zone[4:6])
            if hours > 23 or minutes > 59:
                raise MalformedValue("not a zone offset")
            offset = (hours * 60 + minutes) * 60_000
            millis -= offset if zone[0] == "+" else -offset
        if not _EARLIEST <= millis < _LATEST:
            raise MalformedValue("outside the years 1970 to 2199")
        return cls(millis)


@lru_cache(maxsize=256)
def _seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
