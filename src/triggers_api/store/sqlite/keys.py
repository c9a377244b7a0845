"""Ids as row numbers: an id's sequence, with the one tail that all ids of this database share."""

from triggers_api.model import ids


class Keys:
    """Translates between the API's ids and the tables' numbers."""

    def __init__(self, tail: int) -> None:
        self._tail = tail
        self._ends = ids.ends(tail)

    def of(self, identifier: str) -> int:
        """The number of an id that this database made."""
        bits = int(identifier[4:], 16)
        return bits >> 80 << 20 | (bits >> 64 & 0xFFF) << 8 | bits >> 54 & 0xFF

    def find(self, prefix: str, identifier: str) -> int:
        """The number to look for; 0, which no row has, for what is not an id of this database."""
        parsed = ids.parse(prefix, identifier)
        return parsed[0] if parsed is not None and parsed[1] == self._tail else 0

    def text(self, prefix: str, number: int) -> str:
        """The id of any kind with this number."""
        return ids.joined(prefix, number, self._ends)

    def event(self, number: int) -> str:
        """An event's id."""
        return ids.joined(ids.EVENT, number, self._ends)

    def delivery(self, number: int) -> str:
        """A delivery's id."""
        return ids.joined(ids.DELIVERY, number, self._ends)

    def subscription(self, number: int) -> str:
        """A subscription's id."""
        return ids.joined(ids.SUBSCRIPTION, number, self._ends)

    def attempt(self, number: int) -> str:
        """An attempt's id."""
        return ids.joined(ids.ATTEMPT, number, self._ends)

    def organization(self, number: int) -> str:
        """An organization's id."""
        return ids.joined(ids.ORGANIZATION, number, self._ends)

    def job(self, number: int) -> str:
        """A job's id."""
        return ids.joined(ids.JOB, number, self._ends)

    def entry(self, number: int) -> str:
        """An audit entry's id."""
        return ids.joined(ids.AUDIT, number, self._ends)
