"""What the buffer's keys in Redis are called."""

from collections.abc import Mapping, Sequence
from typing import Final

from triggers_api.ingest.buffer_redis.entry import Entry, key_digest
from triggers_api.redis.client import Call
from triggers_api.redis.connection import Value
from triggers_api.redis.script import Script

GROUP: Final = "landing"
"""The consumer group."""

_PACKAGE: Final = "triggers_api.ingest.buffer_redis"
ADD: Final = Script.of(_PACKAGE, "add")
SETTLE: Final = Script.of(_PACKAGE, "settle")
LOOK: Final = Script.of(_PACKAGE, "look")
MISSING: Final = Script.of(_PACKAGE, "missing")
REPORT: Final = Script.of(_PACKAGE, "report")
MAKE_GROUP: Final = Script.of(_PACKAGE, "group")
LEAD: Final = Script.of(_PACKAGE, "lead")
LEAVE: Final = Script.of(_PACKAGE, "leave")
TIDY: Final = Script.of(_PACKAGE, "tidy")
RELEASE: Final = Script.of(_PACKAGE, "release")
FORGET: Final = Script.of(_PACKAGE, "forget")


class Names:
    """The keys of one installation, which all begin with its prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.stream = f"{prefix}:events"
        """What waits, in the order in which it came."""
        self.waiting = f"{prefix}:waiting"
        """By event, its place in the stream and its organization."""
        self.depths = f"{prefix}:depths"
        """By organization, how much of it waits."""
        self.books = f"{prefix}:books"
        """How many were added, settled, poisoned, lost."""
        self.poison = f"{prefix}:poison"
        """What could not be landed, each with its reason."""
        self.poisoned = f"{prefix}:poisoned"
        """By event, its place there and its organization."""
        self.lost = f"{prefix}:lost"
        """The ids of events that vanished, the newest of them."""
        self.leader = f"{prefix}:leader"
        """The consumer that lands."""

    def dedup(self, organization_id: str, dedup_id: str) -> bytes:
        """The key of a dedup_id."""
        return f"{self._prefix}:dedup:".encode() + key_digest(organization_id, dedup_id)

    def settling(self, entries: Sequence[Entry], reasons: Mapping[bytes, str]) -> Call:
        """What lets go of entries; ``reasons``, by place, say why some are set aside."""
        keys: list[Value] = [
            self.stream, self.waiting, self.depths, self.books, self.poison, self.poisoned,
        ]  # fmt: skip
        arguments: list[Value] = [GROUP]
        for entry in entries:
            dedup_id = None if entry.event is None else entry.event.dedup_id
            if dedup_id is not None:
                keys.append(self.dedup(entry.organization_id, dedup_id))
            arguments += (
                entry.place, entry.event_id, entry.organization_id, int(dedup_id is not None),
                reasons.get(entry.place, ""),
            )  # fmt: skip
        return SETTLE, keys, arguments
