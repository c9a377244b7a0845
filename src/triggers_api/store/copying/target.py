"""A PostgreSQL database while a copy is written to it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self

import msgspec

from triggers_api.errors import StartError, Unavailable
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import OrganizationAccount
from triggers_api.store.copying.source import SQL, Batch, Row
from triggers_api.store.postgres import schema
from triggers_api.store.postgres.connection import (
    DURABLE,
    FAILED,
    Connection,
    check,
    connect,
    said,
    standing,
)
from triggers_api.store.postgres.record_reads import RecordReads
from triggers_api.store.postgres.tables import SQL as ENGINE

_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "organizations": ("id", "body", "deleted_at", "version"),
    "api_keys": ("id", "organization_id", "digest", "body", "version"),
    "subscriptions": (
        "organization_id", "id", "from_organization", "state", "expires_at", "max_concurrency",
        "body", "secrets", "deleted_at", "version",
    ),
    "controls": ("id", "body", "version"),
    "accounts": ("organization_id", "slot", "events", "deliveries", "pruned"),
    "events": (
        "organization_id", "id", "type", "dedup_id", "source", "key", "occurred_at", "deliver_at",
        "metadata", "operational", "payload",
    ),
    "event_states": ("organization_id", "event_id", "status", "status_at", "reason", "attempts"),
    "event_queue": (
        "organization_id", "event_id", "due_at", "lease_until", "attempts", "released_at",
    ),
    "deliveries": (
        "organization_id", "id", "event_id", "subscription_id", "origin", "origin_id", "status",
        "status_at", "attempt_count", "attempt_base", "reason", "sequence",
    ),
    "delivery_queue": (
        "organization_id", "delivery_id", "subscription_id", "due_at", "priority", "order_key",
        "sequence",
    ),
    "dead_letters": ("organization_id", "delivery_id", "subscription_id", "error_class"),
    "attempts": (
        "organization_id", "delivery_id", "number", "id", "started_at", "duration_ms",
        "status_code", "error", "response_body", "details",
    ),
    "order_keys": ("organization_id", "subscription_id", "order_key", "sequence"),
    "endpoint_health": (
        "organization_id", "subscription_id", "failures", "failing_since", "opened", "open_until",
        "warned_at", "error", "probe_from", "disabled_at",
    ),
    "jobs": ("organization_id", "id", "status", "body", "position", "due_at"),
    "event_types": ("organization_id", "name", "body", "version"),
    "switches": ("organization_id", "subscription_id", "body", "version"),
    "farewells": ("organization_id", "subscription_id", "due_at", "attempts"),
    "rollups": ("organization_id", "subscription_id", "step_s", "started_at", "writer", "body"),
    "logouts": ("session", "expires_at"),
    "notices": ("id", "organization_id", "noticed_at", "body"),
    "inboxes": (
        "organization_id", "name", "cursor", "types", "position_xid", "position_id", "created_at",
    ),
    "inbox_items": (
        "organization_id", "cursor", "xid", "event_id", "available_at", "lease_token",
        "receive_count",
    ),
    "key_uses": ("key_id", "used_at"),
    "erasures": ("organization_id", "requested_at", "finished_at", "events", "deliveries"),
    "audit_entries": (
        "organization_id", "id", "action", "actor", "resource_type", "resource_id", "body",
    ),
}  # fmt: skip

_LONG: Final = (
    "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; "
    "SET LOCAL idle_in_transaction_session_timeout = 0; "
)
_LAX: Final = "SET LOCAL synchronous_commit = off"
"""For all but the last transaction, whose flush takes in what was committed before it."""


class Note(msgspec.Struct, frozen=True):
    """How far a copy is, as the database keeps it.

    Attributes:
        source: which file.
        state: what was in it.
        reached: the last row number of each kind of record that is here.
        records: how many these are.
        finished_at: when the copy was complete, in milliseconds since the epoch.
    """

    source: str
    state: str
    reached: dict[str, int] = {}
    records: int = 0
    finished_at: int | None = None


class Target:
    """The database."""

    def __init__(self, db: Connection) -> None:
        """Use :meth:`open`."""
        self._db = db
        self._kept = b""
        self.note = Note("", "")

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Self]:
        """Connect, with the schema brought up to date.

        Raises:
            StartError: it cannot be reached, must not be used as it is, or went away.
        """
        await schema.migrate(url)
        try:
            db = await connect(url, pooled=True, command_s=None)
            try:
                check(await standing(db))
                yield cls(db)
            finally:
                await db.close()
        except Unavailable as problem:
            raise StartError(problem.detail) from None
        except FAILED as error:
            raise StartError(
                f"the copy stopped: {said(error)}. Run it again, and it goes on where it was"
            ) from None

    async def begin(self, *, source: str, state: str) -> bool:
        """Take up the copy of a file.

        Args:
            source: which file.
            state: what is in it.

        Returns:
            Whether something of it was here and had to be thrown away, because the file has changed.

        Raises:
            StartError: there is something here that is not part of this copy.
        """
        fresh = Note(source, state)
        async with self._transaction(_LAX):
            # Who makes a first organization waits here, and its process cannot be started again.
            await self._db.execute(ENGINE["hold_version"])
            kept = await self._db.fetchval(SQL["target_note"])
            if kept is None:
                if await self._db.fetchval(SQL["target_in_use"]):
                    raise StartError("the database is in use already; copy to a new one")
                kept = msgspec.json.encode(fresh)
                await self._db.execute(SQL["target_note_first"], kept)
            self._kept, self.note = kept, msgspec.json.decode(kept, type=Note)
            if self.note.source != source:
                raise StartError("the database holds a copy of another file; copy to a new one")
            if self.note.state == state:
                return False
            if self.note.finished_at is not None:
                raise StartError(
                    "the database holds a complete copy of this file, which was written to since; "
                    "copy to a new one"
                )
            await self._db.execute(SQL["target_clear"])
            await self._save(fresh)
            return True

    async def add(self, name: str, batch: Batch) -> None:
        """Store records, and how far the copy is now; all of it or nothing."""
        note = msgspec.structs.replace(
            self.note,
            reached=self.note.reached | {name: batch.last},
            records=self.note.records + len(batch.rows[name]),
        )
        async with self._transaction(_LAX):
            # First: whoever else is at it waits here, and not for rows that are in its way.
            await self._save(note)
            for table, rows in batch.rows.items():
                await self.write(table, rows)

    @asynccontextmanager
    async def end(self, *, signing_key: bytes | None, version: int) -> AsyncIterator[int]:
        """The last transaction, committed when the context is left in order.

        Args:
            signing_key: of the file.
            version: of the settings half in the file.

        Yields:
            The version that the settings half has here.

        Raises:
            StartError: somebody has begun to use the database in the meantime.
        """
        async with self._transaction(DURABLE.format(local="true")):
            await self._db.execute(ENGINE["hold_version"])
            if await self._db.fetchval(ENGINE["any_organization"]):
                raise StartError(
                    "somebody has begun to use the database meanwhile; copy to a new one"
                )
            if signing_key is not None:
                await self._db.execute(SQL["target_signing_key"], signing_key)
            yield await self._db.fetchval(SQL["target_next_version"], version)
            now = (await standing(self._db)).now
            await self._save(msgspec.structs.replace(self.note, finished_at=now))
        async with self._transaction(_LAX):
            await self._db.execute(SQL["target_statistics"])

    async def write(self, table: str, rows: Sequence[Row]) -> None:
        """Add rows to a table."""
        await self._db.copy_records_to_table(table, records=rows, columns=_COLUMNS[table])

    async def place_inboxes(self) -> None:
        """Put inboxes where their events are in the log of this side."""
        await self._db.execute(SQL["target_inbox_positions"])
        await self._db.execute(SQL["target_inbox_places"])

    async def counts(self) -> dict[str, int]:
        """How many rows each table has; under ``payload_bytes`` the payloads' length."""
        row = await self._db.fetchrow(SQL["target_rows"])
        return dict(row or {})

    async def accounts(self, now: Timestamp) -> list[OrganizationAccount]:
        """Every organization's books."""
        return await RecordReads().accounts(self._db, now)

    async def _save(self, note: Note) -> None:
        kept = msgspec.json.encode(note)
        if await self._db.fetchval(SQL["target_note_next"], self._kept, kept) is None:
            raise StartError("another copy to this database is under way")
        self.note, self._kept = note, kept

    @asynccontextmanager
    async def _transaction(self, commit: str) -> AsyncIterator[None]:
        async with self._db.transaction():
            await self._db.execute(_LONG + commit)
            yield
