"""The embedded file, read in the form that PostgreSQL's tables have."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

import apsw
import msgspec

from triggers_api.errors import StartError
from triggers_api.model import ids
from triggers_api.model.outcome import error_class
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import codes
from triggers_api.store.base import OrganizationAccount
from triggers_api.store.sql import Statements
from triggers_api.store.sqlite import schema, tokens
from triggers_api.store.sqlite.connection import open_writer, plain
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.lock import OwnerLock
from triggers_api.store.sqlite.record_reads import RecordReads
from triggers_api.store.sqlite.secret import found_secret, secret_path
from triggers_api.store.sqlite.tables import SQL as ENGINE

SQL: Final = Statements("triggers_api.store.copying")

RECORDS: Final = ("events", "deliveries", "attempts")
"""What is copied batch by batch, in this order."""
SETTINGS: Final = (
    "organizations", "api_keys", "subscriptions", "controls", "accounts", "order_keys",
    "endpoint_health", "farewells", "jobs", "notices", "inboxes", "event_types", "key_uses", "erasures",
    "rollups",    "switches", "logouts",
)  # fmt: skip
"""What is small enough to be copied at the end, each table as a whole."""
QUEUES: Final = ("event_queue", "delivery_queue", "inbox_items", "audit_entries")
"""What may be much, and is copied at the end as well, some rows at a time."""

_BATCH_ROWS: Final = 5_000
_BATCH_BYTES: Final = 8 << 20

_PROCESSED: Final = 1
_WITH_STATE: Final = frozenset({3, 4, 5, codes.EVENT_DELETED})
_DEAD: Final = 6
_NOTHING: Final = "0" * 32

Row = tuple[Any, ...]


class Batch(msgspec.Struct, frozen=True):
    """Rows by the table they belong to there; after the row number ``last`` comes the next batch."""

    rows: dict[str, list[Row]]
    last: int


class Source:
    """The file. Nobody else may use it while it is open."""

    def __init__(
        self, path: Path, lock: OwnerLock, db: apsw.Connection, *, tail: int, now: Timestamp
    ) -> None:
        """Use :meth:`open`."""
        self._path = path
        self._lock = lock
        self._db = db
        self._tail = tail
        self.now = now
        """The present, by the clock of the file: never before what it holds."""
        self.identity = f"{tail:014x}"
        """What no other file has."""
        self.state = _state_of(path)
        """Another one whenever something was written to the file."""
        self._known = _Known(self._uuid)

    @classmethod
    def open(cls, path: Path, *, now: Timestamp) -> Self:
        """Take the file over as a server does at its start.

        Args:
            path: the file.
            now: the wall clock.

        Raises:
            DatabaseInUse: another process owns it.
            StartError: it must not be used as it is.
        """
        path = path.resolve()
        if not path.is_file():
            raise StartError(f"there is no database at {path}")
        lock = OwnerLock(path)
        try:
            db = open_writer(path)
            _refuse_another(db, path)
            if not lock.was_closed:
                schema.check_after_crash(db, path)
            schema.migrate(db, now=now)
            tail, last = schema.identity(db)
            now = max(now, ids.made_at(last))
            # Whoever held a lease was a process that had this lock: it is gone.
            schema.free_all_leases(db, now=now)
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            db.pragma("query_only", 1)
            return cls(path, lock, db, tail=tail, now=now)
        except apsw.Error as error:
            lock.release(in_order=lock.was_closed)
            raise StartError(f"cannot use {path}: {plain(error)}") from None
        except BaseException:
            lock.release(in_order=lock.was_closed)
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
        self._lock.release(in_order=True)

    # ── what it holds ─────────────────────────────────────────────────────────────────────────

    def counts(self) -> dict[str, int]:
        """How many rows each table there must have; under ``payload_bytes`` the payloads' length."""
        cursor = self._db.execute(SQL["source_rows"])
        names = [name for name, *_ in cursor.get_description()]
        return dict(zip(names, next(cursor), strict=True))

    def accounts(self) -> list[OrganizationAccount]:
        """Every organization's books at :attr:`now`."""
        return RecordReads(Keys(self._tail)).accounts(self._db, self.now)

    def settings_version(self) -> int:
        """The version of the settings half."""
        ((version,),) = self._db.execute(ENGINE["settings_version"])
        return int(version)

    def signing_key(self) -> bytes | None:
        """The secret beside the file, if there is one."""
        return found_secret(secret_path(self._path))

    # ── rows ──────────────────────────────────────────────────────────────────────────────────

    def records(self, name: str, after: int) -> Batch | None:
        """The next rows of one of :data:`RECORDS`, ``None`` when there are no more."""
        tables: dict[str, list[Row]] = {}
        add = {"events": self._event, "deliveries": self._delivery, "attempts": self._attempt}[name]
        last = size = 0
        for count, row in enumerate(self._db.execute(SQL[f"source_{name}"], (after,)), 1):
            last = row[0]
            size += add(row, tables)
            if count >= _BATCH_ROWS or size >= _BATCH_BYTES:
                break
        return Batch(tables, last) if tables else None

    def queue(self, name: str) -> Iterator[list[Row]]:
        """The rows of one of :data:`QUEUES`, some at a time."""
        cursor = self._db.execute(SQL[f"source_{name}"])
        makers: Mapping[str, Callable[..., Row]] = {
            "event_queue": self._queued,
            "delivery_queue": self._due,
            "inbox_items": self._inbox_item,
            "audit_entries": self._entry,
        }
        make = makers[name]
        while rows := list(islice(cursor, _BATCH_ROWS)):
            yield [make(*row) for row in rows]

    def settings(self, name: str, version: int) -> list[Row]:
        """All rows of one of :data:`SETTINGS`, under a version of the settings half there."""
        known, uuid = self._known, self._uuid
        make: Mapping[str, Callable[..., Row]] = {
            "organizations": lambda number, body, gone: (known[number], body, gone, version),
            "api_keys": lambda number, owner, *columns: (
                (known[number], None if owner is None else known[owner], *columns, version)
            ),
            "subscriptions": lambda owner, number, own, *columns: (
                (known[owner], known[number], bool(own), *columns, version)
            ),
            "controls": lambda body: (1, body, version),
            "accounts": lambda owner, *counts: (known[owner], 0, *counts),
            "order_keys": lambda owner, number, *rest: (known[owner], known[number], *rest),
            "endpoint_health": lambda owner, number, *rest: (known[owner], known[number], *rest),
            "erasures": lambda owner, *columns: (known[owner], *columns),
            "key_uses": lambda key, used_at: (uuid(key), used_at),
            "event_types": lambda owner, *columns: (known[owner], *columns, version),
            "switches": lambda owner, number, body: (
                (
                    known[owner] if owner else _NOTHING,
                    known[number] if number else _NOTHING,
                    body,
                    version,
                )
            ),
            "farewells": lambda owner, number, *rest: (known[owner], known[number], *rest),
            "jobs": lambda owner, number, status, body, position, due_at: (
                (known[owner], uuid(number), status, body, uuid(position), due_at)
            ),
            "notices": lambda key, owner, *rest: (key.hex(), known[owner], *rest),
            "inboxes": lambda owner, name, cursor, types, position, created_at: (
                (known[owner], name, _cursor(cursor), types, 0, uuid(position), created_at)
            ),
            "logouts": lambda *columns: columns,
            "rollups": lambda owner, number, *rest: (
                (known[owner] if owner else _NOTHING, known[number] if number else _NOTHING, *rest)
            ),
        }
        return [make[name](*row) for row in self._db.execute(SQL[f"source_{name}"])]

    def _event(self, row: Row, tables: dict[str, list[Row]]) -> int:
        number, owner, *columns, operational, payload = row[:11]
        status, status_at, reason, attempts, routed = row[11:]
        keys = self._known[owner], self._uuid(number)
        tables.setdefault("events", []).append((*keys, *columns, bool(operational), payload))
        if status in _WITH_STATE or (status == _PROCESSED and status_at != routed):
            tables.setdefault("event_states", []).append(
                (*keys, status, status_at, _storable(reason), attempts)
            )
        return 0 if payload is None else len(payload)

    def _delivery(self, row: Row, tables: dict[str, list[Row]]) -> int:
        number, owner, event, subscription, origin, origin_id, status, *columns = row
        keys = self._known[owner], self._uuid(number)
        asked = self._uuid(origin_id) if origin_id else _NOTHING
        tables.setdefault("deliveries", []).append(
            (*keys, self._uuid(event), self._known[subscription], origin, asked, status, *columns)
        )
        if status == _DEAD:
            *_, reason, _sequence = columns
            tables.setdefault("dead_letters", []).append(
                (*keys, self._known[subscription], error_class(reason))
            )
        return 0

    def _attempt(self, row: Row, tables: dict[str, list[Row]]) -> int:
        number, owner, delivery, count, *columns, body, details = row
        encoded = None if body is None else body.encode()
        tables.setdefault("attempts", []).append(
            (
                *(self._known[owner], self._uuid(delivery), count, self._uuid(number)),
                *(*columns, encoded, details),
            )
        )
        return 0 if encoded is None else len(encoded)

    def _queued(self, owner: int, event: int, *columns: int) -> Row:
        return self._known[owner], self._uuid(event), *columns

    def _due(self, owner: int, delivery: int, subscription: int, *columns: object) -> Row:
        return self._known[owner], self._uuid(delivery), self._known[subscription], *columns

    def _inbox_item(
        self, owner: int, cursor: int, event: int, available_at: int | None, token: int, count: int
    ) -> Row:
        lease = 0 if token == tokens.NOBODY else token
        return self._known[owner], _cursor(cursor), 0, self._uuid(event), available_at, lease, count

    def _entry(self, owner: int, number: int, *columns: object) -> Row:
        return self._known[owner] if owner else _NOTHING, self._uuid(number), *columns

    def _uuid(self, number: int) -> str:
        return ids.text(ids.EVENT, number, self._tail)[4:]


def _cursor(number: int) -> str:
    return f"{number:032x}"


def _refuse_another(db: apsw.Connection, path: Path) -> None:
    if not schema.applied(db):
        raise StartError(f"{path} is not a database of Triggers API")


class _Known(dict[int, str]):
    """The uuids of what many rows name, by their numbers."""

    def __init__(self, uuid: Callable[[int], str]) -> None:
        super().__init__()
        self._uuid = uuid

    def __missing__(self, number: int) -> str:
        made = self[number] = self._uuid(number)
        return made


def _storable(text: str | None) -> str | None:
    """What an exception said, without what a text there cannot hold."""
    return text if text is None else text.replace("\0", "\\0")


def _state_of(path: Path) -> str:
    """Size, moment of the last write, and SQLite's own counters of changes."""
    status = path.stat()
    with path.open("rb") as file:
        header = file.read(100)
    return f"{status.st_size}-{status.st_mtime_ns}-{header[24:28].hex()}-{header[92:96].hex()}"
