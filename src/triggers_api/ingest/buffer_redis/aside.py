"""What could not be landed: it is set aside in Redis with the reason, until somebody decides."""

import re
from collections.abc import Collection, Mapping
from typing import Final, Self

import msgspec
import structlog

from triggers_api.errors import InvalidState
from triggers_api.ingest.buffer_redis.entry import Entry
from triggers_api.ingest.buffer_redis.names import FORGET, RELEASE, Names
from triggers_api.model import ids
from triggers_api.model.audit import Deed
from triggers_api.model.timestamp import Timestamp
from triggers_api.redis.client import Redis
from triggers_api.redis.connection import Value
from triggers_api.store.base import LandingStore, Page

log = structlog.get_logger(__name__)

_PLACE: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_FIRST: Final = "-"
_LAST: Final = "+"
_SCAN: Final = 500
_REASON: Final = b"reason"


class EntryAside(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that was set aside, without its payload.

    Attributes:
        id: what it is called there: its place in the stream of those that were set aside.
        event_id: the event; ``None`` where the entry is damaged, or none of ours.
        organization_id: whose it is; ``None`` likewise.
        type: of the event.
        reason: why it could not be stored.
        received_at: when the event was accepted.
        aside_since: when it was set aside, by the clock of Redis.
    """

    id: str
    event_id: str | None
    organization_id: str | None
    type: str | None
    reason: str
    received_at: Timestamp | None
    aside_since: Timestamp

    @classmethod
    def of(cls, place: bytes, fields: list[bytes]) -> Self:
        """From a reply of XRANGE."""
        entry = Entry.of(place, fields)
        event = entry.event
        reason = dict(zip(fields[::2], fields[1::2], strict=False)).get(_REASON, b"")
        return cls(
            id=place.decode(),
            event_id=None if event is None else event.id,
            organization_id=None if event is None else event.organization_id,
            type=None if event is None else event.type,
            reason=reason.decode(errors="replace"),
            received_at=None if event is None else Timestamp(ids.received_ms(event.id)),
            aside_since=Timestamp(int(place.partition(b"-")[0])),
        )


class Aside:
    """The entries that were set aside."""

    def __init__(self, redis: Redis, names: Names, *, store: LandingStore) -> None:
        """Hold on to them; ``store`` has the audit log."""
        self._redis = redis
        self._names = names
        self._store = store

    async def entries(self, page: Page) -> list[EntryAside]:
        """A page of them, newest first.

        Raises:
            Unavailable: Redis is away.
        """
        last = _LAST if page.before is None else f"({page.before}"
        rows = await self._redis.execute(
            "XREVRANGE", self._names.poison, last, _FIRST, "COUNT", page.limit
        )
        return [EntryAside.of(*row) for row in rows]

    async def find(self, name: str) -> EntryAside | None:
        """The one with this id, or with the event of this id.

        Raises:
            Unavailable: Redis is away.
        """
        place: Value = name
        if ids.parse(ids.EVENT, name) is not None:
            held = await self._redis.execute("HGET", self._names.poisoned, name)
            if held is None:
                return None
            place = held.partition(b" ")[0]
        elif _PLACE.fullmatch(name) is None or any(int(n) >> 64 for n in name.split("-")):
            return None
        rows = await self._redis.execute("XRANGE", self._names.poison, place, place)
        return EntryAside.of(*rows[0]) if rows else None

    async def release(self, entry: EntryAside) -> bool:
        """Have it tried again, as if it had just come in; whether it was still there.

        Raises:
            InvalidState: there is no event in it that could be stored.
            Unavailable: Redis or the database is away.
        """
        if entry.event_id is None:
            raise InvalidState("there is no event in it that could be stored")
        await self._store.note(_deed("event.released", entry))
        names = self._names
        keys = (
            names.stream, names.waiting, names.depths, names.books, names.poison, names.poisoned,
        )  # fmt: skip
        return bool(await self._redis.run(RELEASE, keys, (entry.id,)))

    async def delete(self, entry: EntryAside) -> bool:
        """Erase it; whether it was still there.

        Raises:
            Unavailable: Redis or the database is away.
        """
        await self._store.note(_deed("event.deleted", entry))
        return await self._forget(entry.id, entry.event_id or "")

    async def forget_all_but(self, organization_ids: Collection[str]) -> int:
        """Erase what belongs to organizations that are gone; how many entries.

        Raises:
            Unavailable: Redis is away.
        """
        forgotten = 0
        cursor: Value = 0
        while True:
            cursor, rows = await self._redis.execute(
                "HSCAN", self._names.poisoned, cursor, "COUNT", _SCAN
            )
            for event_id, (place, organization_id) in _pairs(rows).items():
                if (
                    ids.parse(ids.ORGANIZATION, organization_id) is not None
                    and organization_id not in organization_ids
                ):
                    forgotten += await self._forget(place, event_id)
            if cursor == b"0":
                return forgotten

    async def _forget(self, place: str, event_id: str) -> bool:
        keys = self._names.poison, self._names.poisoned
        return bool(await self._redis.run(FORGET, keys, (place, event_id)))


def _pairs(rows: list[bytes]) -> Mapping[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for event_id, held in zip(rows[::2], rows[1::2], strict=True):
        place, _, organization_id = held.decode(errors="replace").partition(" ")
        found[event_id.decode(errors="replace")] = (place, organization_id)
    return found


def _deed(action: str, entry: EntryAside) -> Deed:
    return Deed(
        action=action,
        resource_type="event",
        resource_id=entry.event_id or entry.id,
        organization_id=entry.organization_id,
        detail="it had been set aside in Redis",
    )
