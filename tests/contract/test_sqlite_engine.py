"""The embedded engine behind the protocol: its file, its lock, its settings, and a disk that fails."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import apsw
import pytest

from triggers_api.errors import (
    DatabaseInUse,
    OutcomeUnknown,
    Overloaded,
    SchemaMismatch,
    StartError,
    StorageFull,
    StoreUnavailable,
    Unavailable,
)
from triggers_api.failpoints import Failpoints, InjectedError
from triggers_api.model import ids
from triggers_api.model.delivery import NewDelivery
from triggers_api.model.event import FirstEvent, NewEvent
from triggers_api.store import migrations
from triggers_api.store.base import EventFilter, Page, Settled
from triggers_api.store.migrations import Applied, Migration
from triggers_api.store.sql import Statements
from triggers_api.store.sqlite import checkpointer, lock, schema, writer
from triggers_api.store.sqlite.connection import open_reader, version_gate
from triggers_api.store.sqlite.store import SqliteStore
from triggers_api.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from tests.contract.conftest import FrozenClock

T = TypeVar("T")

PATIENCE_S: Final = 60.0
ORGANIZATION: Final = "org_01a20320a2007000800000000000002a"


class Owner:
    """One process's hold on a file: opens it as often as the test likes."""

    def __init__(self, path: Path, clock: FrozenClock, runner: asyncio.Runner) -> None:
        self.path = path
        self.fatal: list[BaseException] = []
        self.gave_up = asyncio.Event()
        self._clock = clock
        self._runner = runner
        self._opened: list[SqliteStore] = []

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(asyncio.wait_for(coroutine, PATIENCE_S))

    def open(self, *, vfs: str | None = None, failpoints: str = "") -> SqliteStore:
        store = self.run(
            SqliteStore.open(
                self.path,
                clock=self._clock,
                metrics=Metrics(),
                failpoints=Failpoints(failpoints),
                fatal=self._give_up,
                vfs=vfs,
            )
        )
        self._opened.append(store)
        return store

    def _give_up(self, error: BaseException) -> None:
        self.fatal.append(error)
        self.gave_up.set()

    def close(self, store: SqliteStore) -> None:
        self.run(store.close())

    def close_all(self) -> None:
        for store in self._opened:
            self.close(store)

    def on_writer(self, store: SqliteStore, operation: Callable[[apsw.Connection], T]) -> T:
        """Run in the writer's thread, in a transaction."""

        async def submit() -> T:
            return await store._writer.submit("test", operation)

        return self.run(submit())

    def event(self, store: SqliteStore, payload: bytes = b"1", **fields: Any) -> NewEvent:  # noqa: ANN401
        organization = store._keys.organization(42)
        return NewEvent(store.ids.new(ids.EVENT), organization, "a", payload, **fields)

    def append(self, store: SqliteStore, *events: NewEvent) -> Sequence[FirstEvent | None]:
        async def append() -> Sequence[FirstEvent | None]:
            return await store.append(events)

        return self.run(append())

    def stored(self, store: SqliteStore) -> set[str]:
        organization = store._keys.organization(42)
        events = self.run(store.events(organization, EventFilter(), Page(limit=10_000)))
        return {event.id for event in events}


@pytest.fixture
def owner(tmp_path: Path, clock: FrozenClock) -> Iterator[Owner]:
    with asyncio.Runner() as runner:
        owner = Owner(tmp_path / "triggers.db", clock, runner)
        yield owner
        owner.close_all()


@pytest.fixture
def store(owner: Owner) -> SqliteStore:
    return owner.open()


# ── one owner ─────────────────────────────────────────────────────────────────────────────────

OPEN_IT = """
    import asyncio, sys
    from pathlib import Path
    from triggers_api.failpoints import Failpoints
    from triggers_api.model.timestamp import Timestamp
    from triggers_api.store.sqlite.store import SqliteStore
    from triggers_api.telemetry.metrics import Metrics

    async def main():
        try:
            store = await SqliteStore.open(
                Path(sys.argv[1]), clock=lambda: Timestamp(1), metrics=Metrics(),
                failpoints=Failpoints(""), fatal=print,
            )
        except Exception as error:
            print(type(error).__name__, error)
        else:
            await store.close()
            print("opened")

    asyncio.run(main())
"""


def opened_by_another_process(path: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(OPEN_IT), path],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return ended.stdout.strip().splitlines()[-1]


def test_a_second_process_is_refused_with_a_clear_text_and_let_in_once_the_first_has_gone(
    owner: Owner, store: SqliteStore
) -> None:
    owner.append(store, owner.event(store))
    told = opened_by_another_process(owner.path)
    assert told.startswith("DatabaseInUse")
    assert str(owner.path) in told
    assert f"process {os.getpid()}" in told
    assert "--database-url" in told
    assert owner.append(store, owner.event(store)) == [None], "the first one works on"
    owner.close(store)
    assert opened_by_another_process(owner.path) == "opened"


def test_the_same_process_cannot_open_it_twice_either(owner: Owner, store: SqliteStore) -> None:
    with pytest.raises(DatabaseInUse):
        owner.open()
    owner.close(store)
    owner.open()


def test_another_name_for_the_same_file_is_the_same_file(
    owner: Owner, store: SqliteStore, tmp_path: Path
) -> None:
    (tmp_path / "link.db").symlink_to(owner.path)
    assert opened_by_another_process(tmp_path / "link.db").startswith("DatabaseInUse")
    assert owner.append(store, owner.event(store)) == [None]


@pytest.mark.usefixtures("store")
def test_only_its_owner_can_read_the_file_and_what_lies_beside_it(owner: Owner) -> None:
    for name in ("triggers.db", "triggers.db-wal", "triggers.db-shm", "triggers.db.lock"):
        assert (owner.path.with_name(name).stat().st_mode & 0o777) == 0o600


def test_the_key_and_who_owns_the_file_are_on_disk_before_anything_rests_on_them(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power cut leaves secrets that nobody can read, and a file that nobody looks over."""
    synced: list[int] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    owner.open()
    beside = (owner.path.with_name(f"triggers.db.{name}") for name in ("lock", "secret"))
    assert synced == [path.stat().st_ino for path in (*beside, owner.path.parent)]
    assert not owner.path.with_name("triggers.db.secret.new").exists()


def test_a_folder_that_is_not_there_is_told(owner: Owner) -> None:
    owner.path = owner.path.parent / "missing" / "triggers.db"
    with pytest.raises(StartError, match=r"missing.*No such file"):
        owner.open()


def test_a_file_that_is_no_database_is_told_and_left_alone(owner: Owner) -> None:
    owner.path.write_bytes(b"precious, and no database at all\n" * 100)
    with pytest.raises(StartError, match=r"triggers\.db"):
        owner.open()
    assert owner.path.read_bytes() == b"precious, and no database at all\n" * 100


MOUNTS: Final = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /mnt/share rw,relatime - nfs4 server:/share rw
24 22 0:22 / /mnt/share/disk rw,relatime master:1 - xfs /dev/vdb rw
25 22 0:23 / /mnt/with\040space rw - cifs //server/share rw
26 22 0:24 / /mnt/données rw - fuse.sshfs server:/ rw
27 22 0:25 / /mnt/shared rw - btrfs /dev/vdc rw
28 22 0:26 / /over rw - ext4 /dev/vdd rw
29 28 0:27 / /over rw - 9p host rw
""".strip()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib", "ext4"),
        ("/mnt", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/down", "nfs4"),
        ("/mnt/share/disk/a", "xfs"),
        ("/mnt/shared/a", "btrfs"),
        ("/mnt/with space/a", "cifs"),
        ("/mnt/données/a", "fuse.sshfs"),
        ("/over/a", "9p"),  # the last one mounted hides the others
    ],
)
def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount_above_it(
    folder: str, kind: str
) -> None:
    assert lock.file_system_of(Path(folder), MOUNTS) == kind


def test_a_system_that_tells_nothing_of_its_mounts_refuses_nothing() -> None:
    assert lock.file_system_of(Path("/a"), "") == ""


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ("nfs", True), ("nfs4", True), ("cifs", True), ("smb3", True), ("smbfs", True),
        ("9p", True), ("fuse.sshfs", True), ("fuse.glusterfs", True), ("afs", True),
        ("ceph", True), ("lustre", True), ("glusterfs", True),
        ("ext4", False), ("xfs", False), ("btrfs", False), ("zfs", False), ("tmpfs", False),
        ("overlay", False), ("fuseblk", False), ("apfs", False), ("", False),
    ],
)  # fmt: skip
def test_a_database_on_a_network_file_system_is_refused(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, kind: str, *, refused: bool
) -> None:
    monkeypatch.setattr(lock, "file_system_of", lambda _: kind)
    if not refused:
        owner.open()
        return
    with pytest.raises(StartError, match="network file system"):
        owner.open()
    assert not owner.path.exists()


# ── the library, its settings, the connections ────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("3.7.0", False), ("3.40.1", False), ("3.44.5", False), ("3.44.6", True), ("3.44.7", True),
        ("3.45.9", False), ("3.50.6", False), ("3.50.7", True), ("3.51.0", False),
        ("3.51.2", False), ("3.51.3", True), ("3.52.0", True), ("3.54.1", True), ("4.0.0", True),
        ("3.54", True), ("3.51.2.1", False), ("3.51.3.1", True),
    ],
)  # fmt: skip
def test_a_sqlite_with_the_wal_reset_bug_is_refused(version: str, *, fits: bool) -> None:
    if fits:
        version_gate(version)
    else:
        with pytest.raises(StartError, match=version):
            version_gate(version)


def test_the_writer_has_the_settings_that_a_202_rests_on(owner: Owner, store: SqliteStore) -> None:
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "mmap_size": 0,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "wal_autocheckpoint": 0,
        "temp_store": 2,
        "locking_mode": "normal",
    }
    found = owner.on_writer(store, lambda db: {name: db.pragma(name) for name in wanted})
    assert found == wanted


def test_a_setting_that_does_not_take_ends_the_start(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triggers_api.store.sqlite import connection  # noqa: PLC0415

    monkeypatch.setitem(connection._WRITER_PRAGMAS, "synchronous", 2)
    monkeypatch.setitem(connection._WRITER_PRAGMAS, "cell_size_check", 7)
    with pytest.raises(StartError, match="cell_size_check"):
        owner.open()


def test_health_says_what_is_in_force(store: SqliteStore) -> None:
    durability = store.durability()
    assert durability.engine == "sqlite"
    assert durability.version == apsw.sqlite_lib_version()
    assert durability.settings == {"journal_mode": "wal", "synchronous": "full"}
    assert "power cut" in durability.survives


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO meta (name, value) VALUES ('a', 1)",
        "DELETE FROM events",
        "CREATE TABLE t (a)",
        "PRAGMA user_version = 7",
    ],
)
def test_a_reader_cannot_write(owner: Owner, store: SqliteStore, statement: str) -> None:
    with pytest.raises(apsw.ReadOnlyError):
        owner.run(store._readers.run(lambda db: list(db.execute(statement))))


def test_a_reader_sees_one_moment_however_many_statements_it_runs(
    owner: Owner, store: SqliteStore
) -> None:
    looked, wrote = threading.Event(), threading.Event()

    def count_twice(db: apsw.Connection) -> list[int]:
        counts = []
        for _ in range(2):
            ((count,),) = db.execute("SELECT count(*) FROM events")
            counts.append(count)
            looked.set()
            assert wrote.wait(PATIENCE_S)
        return counts

    async def scenario() -> list[int]:
        reading = asyncio.ensure_future(store._readers.run(count_twice))
        await asyncio.to_thread(looked.wait, PATIENCE_S)
        await store.append([owner.event(store)])
        wrote.set()
        return await reading

    assert owner.run(scenario()) == [0, 0]


# ── the schema ────────────────────────────────────────────────────────────────────────────────


def edit(path: Path, statement: str, *parameters: object) -> None:
    db = apsw.Connection(str(path))
    db.execute(statement, parameters)
    db.close()


def test_a_new_file_has_every_migration_and_an_old_one_is_not_migrated_again(
    owner: Owner, store: SqliteStore
) -> None:
    known = migrations.load(schema.PACKAGE)
    assert [step.number for step in known] == list(range(1, len(known) + 1))

    def applied(db: apsw.Connection) -> list[Applied]:
        return schema.applied(db)

    before = owner.on_writer(store, applied)
    assert [(step.number, step.name, step.checksum) for step in known] == [
        (step.number, step.name, step.checksum) for step in before
    ]
    owner.close(store)
    assert owner.on_writer(owner.open(), applied) == before


def test_a_database_of_a_newer_version_is_refused_and_left_alone(
    owner: Owner, store: SqliteStore
) -> None:
    owner.append(store, owner.event(store))
    owner.close(store)
    edit(
        owner.path,
        "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
        9999, "from_the_future", "x", 1,
    )  # fmt: skip
    with pytest.raises(SchemaMismatch, match=r"9999 \(from_the_future\).*newer version"):
        owner.open()
    edit(owner.path, "DELETE FROM schema_migrations WHERE number = 9999")
    assert len(owner.stored(owner.open())) == 1


def test_a_migration_altered_after_it_was_applied_is_refused(
    owner: Owner, store: SqliteStore
) -> None:
    owner.close(store)
    edit(owner.path, "UPDATE schema_migrations SET checksum = 'x' WHERE number = 1")
    with pytest.raises(SchemaMismatch, match=r"0001.*altered"):
        owner.open()


def test_what_is_pending_is_what_was_not_applied_in_order() -> None:
    steps = [Migration(number, f"step_{number}", f"SELECT {number}") for number in (1, 2, 3)]
    had = [Applied(step.number, step.name, step.checksum) for step in steps]
    assert migrations.pending(steps, []) == steps
    assert migrations.pending(steps, had[:1]) == steps[1:]
    assert migrations.pending(steps, had[:1] + had[2:]) == [steps[1]]
    assert migrations.pending(steps, had) == []


def test_a_migration_that_fails_leaves_nothing_of_itself(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Migration(2, "broken", "CREATE TABLE half (a); INSERT INTO nowhere VALUES (1)")
    known = migrations.load(schema.PACKAGE)
    monkeypatch.setattr(migrations, "load", lambda _: [*known, broken])
    with pytest.raises(StartError, match="nowhere"):
        owner.open()
    monkeypatch.undo()
    store = owner.open()
    tables = owner.on_writer(
        store, lambda db: [name for (name,) in db.execute("SELECT name FROM sqlite_schema")]
    )
    assert "half" not in tables
    assert "events" in tables


def test_every_file_keeps_the_identity_that_its_ids_carry(owner: Owner, store: SqliteStore) -> None:
    first = ids.parse(ids.EVENT, store.ids.new(ids.EVENT))
    owner.close(store)
    second = ids.parse(ids.EVENT, owner.open().ids.new(ids.EVENT))
    assert first is not None
    assert second is not None
    assert first[1] == second[1]


def test_a_statement_s_row_is_repeated_as_often_as_it_is_needed() -> None:
    statements = Statements("triggers_api.store.sqlite")
    one, three = (statements.rows("append_queue", count) for count in (1, 3))
    assert one.count("(?, ?, ?, ?, ?)") == 1
    assert three.count("(?, ?, ?, ?, ?)") == 3
    assert "rows" not in three


# ── a file that was left behind ───────────────────────────────────────────────────────────────


def leave_behind(owner: Owner, count: int = 200) -> set[str]:
    """A file whose owner was killed; the ids of the events in it."""
    store = owner.open()
    owner.append(store, *[owner.event(store, b'"' + b"x" * 3000 + b'"') for _ in range(count)])
    stored = owner.stored(store)
    owner.close(store)
    edit(owner.path, "PRAGMA wal_checkpoint(TRUNCATE)")
    owner.path.with_name("triggers.db.lock").write_text("99999\n")
    return stored


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for page in range(len(content) // 8192 * 4096, len(content), 4096):
        content[page : page + 12] = b"\xff" * 12
    path.write_bytes(content)


def test_a_file_left_behind_is_looked_through_and_used(owner: Owner) -> None:
    stored = leave_behind(owner)
    assert owner.stored(owner.open()) == stored


def test_a_damaged_file_left_behind_is_refused_each_time(owner: Owner) -> None:
    leave_behind(owner)
    damage(owner.path)
    for _ in range(3):
        with pytest.raises(StartError, match=r"(?s)damaged.*backup"):
            owner.open()


def test_a_start_that_failed_for_another_reason_does_not_hide_that_the_file_was_left_behind(
    owner: Owner,
) -> None:
    leave_behind(owner)
    edit(owner.path, "UPDATE schema_migrations SET number = number + 9000")
    with pytest.raises(SchemaMismatch):
        owner.open()
    edit(owner.path, "UPDATE schema_migrations SET number = number - 9000")
    damage(owner.path)
    with pytest.raises(StartError, match="damaged"):
        owner.open()


# ── more than can be written ──────────────────────────────────────────────────────────────────


def at_once(
    owner: Owner, store: SqliteStore, events: Sequence[NewEvent]
) -> list[Sequence[FirstEvent | None] | BaseException]:
    """Append each in a call of its own, all before anything can be committed."""

    async def append(event: NewEvent) -> Sequence[FirstEvent | None]:
        return await store.append([event])

    async def all_of_them() -> list[Sequence[FirstEvent | None] | BaseException]:
        return await asyncio.gather(*map(append, events), return_exceptions=True)

    return owner.run(all_of_them())


def test_more_calls_than_may_wait_are_refused_and_nothing_of_them_stored(
    owner: Owner, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_WAITING_OPERATIONS", 10)
    events = [owner.event(store) for _ in range(25)]
    answers = at_once(owner, store, events)
    accepted = {event.id for event, told in zip(events, answers, strict=True) if told == [None]}
    refused = [told for told in answers if told != [None]]
    assert len(accepted) == 10
    assert len(refused) == 15
    assert all(isinstance(told, Overloaded) for told in refused)
    assert owner.stored(store) == accepted
    assert at_once(owner, store, [owner.event(store)]) == [[None]], "there is room again"


def test_more_bytes_than_may_wait_are_refused_and_nothing_of_them_stored(
    owner: Owner, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_WAITING_BYTES", 100_000)
    payload = b'"' + b"x" * 10_000 + b'"'
    events = [owner.event(store, payload) for _ in range(25)]
    answers = at_once(owner, store, events)
    accepted = {event.id for event, told in zip(events, answers, strict=True) if told == [None]}
    assert 9 <= len(accepted) <= 10
    assert owner.stored(store) == accepted
    assert at_once(owner, store, [owner.event(store, payload)]) == [[None]]


def test_a_writer_that_does_not_come_round_refuses_more_but_not_outcomes(
    owner: Owner, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, free = threading.Event(), threading.Event()

    def hang(_: apsw.Connection) -> None:
        busy.set()
        assert free.wait(PATIENCE_S)

    async def scenario() -> None:
        hanging = store._writer.submit("test", hang)
        await asyncio.to_thread(busy.wait, PATIENCE_S)
        waiting = store.append([owner.event(store)])
        monkeypatch.setattr(writer, "_STALLED_AFTER_S", 0.0)
        with pytest.raises(Overloaded):
            await store.append([owner.event(store)])
        outcome = asyncio.ensure_future(store.settle([]))
        await asyncio.sleep(0)
        free.set()
        await hanging
        assert await waiting == [None]
        assert await outcome == Settled()

    owner.run(scenario())
    monkeypatch.undo()
    assert len(owner.stored(store)) == 1


def test_a_commit_is_bounded_in_bytes(
    owner: Owner, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_BYTES_PER_COMMIT", 50_000)
    busy, free = threading.Event(), threading.Event()
    together: list[int] = []
    monkeypatch.setattr(
        store, "committed", lambda verbs, **_: together.append(verbs[writer.APPEND])
    )

    def hang(_: apsw.Connection) -> None:
        busy.set()
        assert free.wait(PATIENCE_S)

    async def scenario() -> None:
        hanging = store._writer.submit("test", hang)
        await asyncio.to_thread(busy.wait, PATIENCE_S)
        waiting = []
        for _ in range(10):
            waiting.append(store.append([owner.event(store, b"1" * 20_000)]))
            await asyncio.sleep(0)  # each from another turn of the loop
        free.set()
        await hanging
        assert await asyncio.gather(*waiting) == [[None]] * 10

    owner.run(scenario())
    assert together == [0, 3, 3, 3, 1]
    assert len(owner.stored(store)) == 10


def test_an_append_wakes_the_dispatcher_when_it_brings_deliveries_and_only_then(
    owner: Owner, store: SqliteStore
) -> None:
    async def scenario() -> None:
        waiting = asyncio.create_task(store.wait_deliveries(PATIENCE_S))
        assert await store.append([owner.event(store)]) == [None]
        done, _ = await asyncio.wait((waiting,), timeout=0.05)
        assert not done
        subscription = store.ids.new(ids.SUBSCRIPTION)
        delivery = NewDelivery(store.ids.new(ids.DELIVERY), subscription)
        events = [owner.event(store), owner.event(store, deliveries=(delivery,))]
        assert await store.append(events) == [None, None]
        await asyncio.wait_for(waiting, PATIENCE_S / 2)

    owner.run(scenario())


def test_a_caller_that_goes_away_does_not_disturb_the_others(
    owner: Owner, store: SqliteStore
) -> None:
    async def scenario() -> None:
        first, gone, last = (store.append([owner.event(store)]) for _ in range(3))
        gone.cancel()
        assert await first == [None]
        assert await last == [None]

    owner.run(scenario())
    assert len(owner.stored(store)) == 3


def test_an_operation_that_fails_costs_nobody_else_anything(
    owner: Owner, store: SqliteStore
) -> None:
    def fails(db: apsw.Connection) -> None:
        db.execute("INSERT INTO meta (name, value) VALUES ('half', 1)")
        raise LookupError("a bug")

    def works(db: apsw.Connection) -> int:
        db.execute("INSERT INTO meta (name, value) VALUES ('whole', 1)")
        return 7

    async def scenario() -> list[object]:
        work: list[asyncio.Future[Any]] = [
            store.append([owner.event(store)]),
            store._writer.submit("test", fails),
            store._writer.submit("test", works),
            store.append([owner.event(store)]),
        ]
        return list(await asyncio.gather(*work, return_exceptions=True))

    first, failed, worked, last = owner.run(scenario())
    assert isinstance(failed, LookupError)
    assert (first, worked, last) == ([None], 7, [None])
    names = owner.on_writer(
        store, lambda db: {name for (name,) in db.execute("SELECT name FROM meta")}
    )
    assert "whole" in names
    assert "half" not in names


def test_a_failure_before_the_commit_leaves_nothing(owner: Owner) -> None:
    store = owner.open(failpoints="append.before_commit=error")
    with pytest.raises(InjectedError):
        owner.append(store, owner.event(store))
    assert owner.stored(store) == set()
    assert owner.append(store, owner.event(store)) == [None]


# ── a disk that is full ───────────────────────────────────────────────────────────────────────


def test_a_full_disk_refuses_and_takes_again_when_there_is_room(
    owner: Owner, store: SqliteStore
) -> None:
    def limit(db: apsw.Connection, pages: int | None = None) -> None:
        pages = db.pragma("page_count") + 20 if pages is None else pages
        db.pragma("max_page_count", pages)

    kept = owner.event(store, dedup_id="kept")
    owner.append(store, kept)
    owner.on_writer(store, limit)
    big = b'"' + b"x" * 200_000 + b'"'
    refused = owner.event(store, big, dedup_id="refused")
    for _ in range(2):
        with pytest.raises(StorageFull) as told:
            owner.append(store, refused)
        assert told.value.code == "storage-full"
    crowd = at_once(owner, store, [owner.event(store, big) for _ in range(5)])
    assert all(isinstance(answer, StorageFull) for answer in crowd)
    assert owner.stored(store) == {kept.id}
    owner.on_writer(store, lambda db: limit(db, 1 << 30))
    assert owner.append(store, refused) == [None]
    owner.run(store.check())
    assert owner.stored(store) == {kept.id, refused.id}
    assert owner.fatal == []


def test_a_full_disk_is_what_the_check_reports_until_there_is_room(
    owner: Owner, store: SqliteStore
) -> None:
    def fill(db: apsw.Connection) -> None:
        db.pragma("max_page_count", 1)  # taken as: no more than there are

    owner.run(store.check())
    owner.on_writer(store, fill)
    with pytest.raises(StorageFull):
        owner.append(store, owner.event(store, b'"' + b"x" * 200_000 + b'"'))
    owner.on_writer(store, lambda db: db.pragma("max_page_count", 1 << 30))
    owner.run(store.check())
    # It has found out, and tries no more.
    log = Path(f"{owner.path}-wal")
    size = log.stat().st_size
    owner.run(store.check())
    owner.on_writer(store, lambda _: None)
    assert log.stat().st_size == size


def test_many_rows_are_not_counted_again_before_twenty_times_that_long(
    owner: Owner, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_STATS_KEPT_S", -1), ("_COUNTED_OFTEN", 2), ("_STATS_REST", 1e9)):
        monkeypatch.setattr(f"triggers_api.store.sqlite.store.{name}", value)
    depths = []
    for _ in range(5):
        owner.append(store, owner.event(store))
        depths.append(owner.run(store.stats()).depth)
    assert depths == [1, 2, 3, 3, 3]


def test_what_needs_no_room_goes_on_while_the_disk_is_full(
    owner: Owner, store: SqliteStore
) -> None:
    owner.append(store, *[owner.event(store) for _ in range(5)])
    owner.on_writer(store, lambda db: db.pragma("max_page_count", 1))
    with pytest.raises(StorageFull):
        owner.append(store, owner.event(store, b'"' + b"x" * 200_000 + b'"'))
    claim = owner.run(store.claim_queue(10, 45))
    assert len(claim.events) == 5


# ── a disk that fails ─────────────────────────────────────────────────────────────────────────


class Disk:
    """Says which call on which file fails."""

    def __init__(self) -> None:
        self.failing: dict[tuple[str, str], int] = {}
        """(method, end of the file's name) → how many of the next calls fail."""

    def pass_by(self, method: str, name: str, error: int) -> None:
        for (failing, ending), count in self.failing.items():
            if failing == method and name.endswith(ending) and count > 0:
                self.failing[failing, ending] -= 1
                raise apsw.exception_for(error)


class DiskFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._name = name if isinstance(name, str) else name.filename() if name else ""

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.pass_by("sync", self._name, apsw.SQLITE_IOERR_FSYNC)
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.pass_by("write", self._name, apsw.SQLITE_IOERR_WRITE)
        self._disk.pass_by("fill", self._name, apsw.SQLITE_FULL)
        super().xWrite(data, offset)


class DiskLayer(apsw.VFS):
    def __init__(self, name: str, disk: Disk) -> None:
        super().__init__(name, "")
        self._disk = disk

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> DiskFile:  # noqa: N802
        return DiskFile(self._disk, name, flags)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def faulty(owner: Owner, disk: Disk) -> Iterator[SqliteStore]:
    layer = DiskLayer("faulty", disk)
    yield owner.open(vfs="faulty")
    owner.close_all()
    layer.unregister()


@pytest.mark.parametrize("method", ["sync", "write"])
def test_a_commit_that_the_disk_fails_has_an_unknown_outcome_and_ends_the_process(
    owner: Owner, faulty: SqliteStore, disk: Disk, method: str
) -> None:
    assert owner.append(faulty, owner.event(faulty)) == [None]
    disk.failing[method, "-wal"] = 1
    with pytest.raises(OutcomeUnknown) as told:
        owner.append(faulty, owner.event(faulty))
    assert told.value.code == "outcome-unknown"
    assert len(owner.fatal) == 1
    assert isinstance(owner.fatal[0], apsw.IOError)


def test_nothing_more_is_taken_after_the_disk_failed_although_it_works_again(
    owner: Owner, faulty: SqliteStore, disk: Disk
) -> None:
    disk.failing["sync", "-wal"] = 1
    with pytest.raises(OutcomeUnknown):
        owner.append(faulty, owner.event(faulty))
    late = owner.event(faulty)
    with pytest.raises(StoreUnavailable):
        owner.append(faulty, late)
    with pytest.raises(Unavailable):
        owner.run(faulty.claim_queue(1, 45))
    with pytest.raises(Unavailable):
        owner.run(faulty.check())
    owner.close(faulty)
    assert late.id not in owner.stored(owner.open())


def test_what_waited_behind_the_commit_that_failed_is_not_tried_on_the_same_handle(
    owner: Owner, faulty: SqliteStore, disk: Disk
) -> None:
    busy, free = threading.Event(), threading.Event()
    behind = owner.event(faulty)

    def hang(db: apsw.Connection) -> None:
        db.execute("INSERT INTO meta (name, value) VALUES ('a', 1)")
        busy.set()
        assert free.wait(PATIENCE_S)

    async def scenario() -> None:
        hanging = faulty._writer.submit("test", hang)
        await asyncio.to_thread(busy.wait, PATIENCE_S)
        waiting = faulty.append([behind])
        await asyncio.sleep(0)
        disk.failing["sync", "-wal"] = 1
        free.set()
        with pytest.raises(OutcomeUnknown):
            await hanging
        with pytest.raises(StoreUnavailable):
            await waiting

    owner.run(scenario())
    owner.close(faulty)
    assert owner.stored(owner.open()) == set(), "it was told that nothing was stored"


def test_everything_answered_before_the_disk_failed_is_there(
    owner: Owner, faulty: SqliteStore, disk: Disk
) -> None:
    events = [owner.event(faulty) for _ in range(20)]
    for event in events:
        assert owner.append(faulty, event) == [None]
    disk.failing["sync", "-wal"] = 1
    with pytest.raises(OutcomeUnknown):
        owner.append(faulty, owner.event(faulty))
    owner.close(faulty)
    assert owner.stored(owner.open()) >= {event.id for event in events}


def test_a_disk_without_room_for_the_log_refuses_and_takes_again(
    owner: Owner, faulty: SqliteStore, disk: Disk
) -> None:
    disk.failing["fill", "-wal"] = 1
    with pytest.raises(StorageFull):
        owner.append(faulty, owner.event(faulty))
    assert owner.fatal == []
    taken = owner.event(faulty)
    assert owner.append(faulty, taken) == [None]
    owner.run(faulty.check())
    owner.close(faulty)
    assert owner.stored(owner.open()) == {taken.id}


@pytest.mark.parametrize("who", ["writer", "checkpointer"])
@pytest.mark.parametrize("method", ["sync", "write"])
def test_a_checkpoint_that_the_disk_fails_ends_the_process_and_leaves_nobody_waiting(
    owner: Owner,
    faulty: SqliteStore,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    who: str,
    method: str,
) -> None:
    monkeypatch.setattr(checkpointer, "_LARGE_PAGES", 1 if who == "writer" else 1 << 30)
    monkeypatch.setattr(checkpointer, "_AFTER_PAGES", 1 if who == "checkpointer" else 1 << 30)
    disk.failing[method, "triggers.db"] = 1

    async def scenario() -> None:
        assert await faulty.append([owner.event(faulty)]) == [None], "it is in the log"
        await owner.gave_up.wait()
        with pytest.raises(Unavailable):
            await faulty.append([owner.event(faulty)])

    owner.run(scenario())
    owner.close(faulty)
    assert len(owner.stored(owner.open())) >= 1


def test_a_checkpoint_without_room_in_the_file_is_tried_again_later(
    owner: Owner, faulty: SqliteStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointer, "_LARGE_PAGES", 1)
    disk.failing["fill", "triggers.db"] = 1
    for _ in range(3):
        assert owner.append(faulty, owner.event(faulty)) == [None]
    assert owner.fatal == []
    assert disk.failing["fill", "triggers.db"] == 0


def test_checkpoints_keep_the_log_from_growing_without_end(
    owner: Owner, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointer, "_LARGE_PAGES", 50)
    payload = b'"' + b"x" * 50_000 + b'"'
    for _ in range(60):
        owner.append(store, owner.event(store, payload))
    log = owner.path.with_name("triggers.db-wal")
    assert log.stat().st_size < 60 * len(payload) / 2


def test_a_store_closed_in_order_leaves_everything_in_the_one_file(
    owner: Owner, store: SqliteStore, tmp_path: Path
) -> None:
    events = [owner.event(store) for _ in range(20)]
    owner.append(store, *events)
    assert len(owner.stored(store)) == 20
    owner.close(store)
    log = owner.path.with_name("triggers.db-wal")
    assert not log.exists() or log.stat().st_size == 0
    (tmp_path / "backup").mkdir()
    owner.path = owner.path.rename(tmp_path / "backup" / "triggers.db")
    assert owner.stored(owner.open()) == {event.id for event in events}


# ── a foreign hand on the file ────────────────────────────────────────────────────────────────


def test_a_program_that_locks_the_file_makes_the_store_unavailable_not_broken(
    owner: Owner, store: SqliteStore
) -> None:
    store._writer._db.set_busy_timeout(0)
    foreign = apsw.Connection(str(owner.path))
    foreign.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="lock"):
        owner.append(store, owner.event(store))
    assert owner.stored(store) == set()
    foreign.execute("ROLLBACK")
    foreign.close()
    assert owner.append(store, owner.event(store)) == [None]
    owner.run(store.check())
    assert owner.fatal == []


def test_the_check_reports_a_lock_that_no_write_has_met_yet(
    owner: Owner, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.store.sqlite.store._STALLED_S", 0.0)
    foreign = apsw.Connection(str(owner.path))
    foreign.execute("BEGIN IMMEDIATE")
    owner.run(store.check())
    with pytest.raises(StoreUnavailable, match="nothing could be written for"):
        owner.run(store.check())
    foreign.execute("ROLLBACK")
    foreign.close()
    owner.on_writer(store, lambda _: None)
    owner.run(store.check())
    assert owner.fatal == []


def test_the_check_writes_nothing_and_is_no_commit(owner: Owner, store: SqliteStore) -> None:
    owner.append(store, owner.event(store))
    log = Path(f"{owner.path}-wal")
    counted = store._metrics.registry.get_sample_value
    before = log.read_bytes(), counted("triggers_commit_seconds_count")

    async def looked() -> None:
        await store.check()
        assert store._writer.stalled_s > 0
        await store._writer.submit(writer.LOOK, lambda _: None)

    for _ in range(3):
        owner.run(looked())
    assert (log.read_bytes(), counted("triggers_commit_seconds_count")) == before


def test_the_check_reports_a_file_system_that_was_made_read_only(
    owner: Owner, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_it_is = os.statvfs(owner.path.parent)
    read_only = os.statvfs_result((*as_it_is[:8], as_it_is.f_flag | os.ST_RDONLY, *as_it_is[9:]))
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda _: read_only)
        with pytest.raises(StoreUnavailable, match="read-only"):
            owner.run(store.check())
    owner.run(store.check())


@pytest.mark.parametrize(
    ("met", "taken"),
    [(errno.EROFS, False), (errno.EIO, False), (errno.EMFILE, True), (errno.ENOENT, True)],
)
def test_the_check_reports_a_disk_that_takes_no_writes_and_does_not_say_it_is_read_only(
    owner: Owner,
    store: SqliteStore,
    monkeypatch: pytest.MonkeyPatch,
    met: int,
    taken: bool,  # noqa: FBT001 - a case
) -> None:
    open_ = os.open

    def refuse(path: Path, flags: int, *rest: Any) -> int:  # noqa: ANN401 - as it is
        if path == owner.path.with_name(f"{owner.path.name}.lock") and flags & os.O_RDWR:
            raise OSError(met, os.strerror(met))
        return open_(path, flags, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        if taken:
            owner.run(store.check())
        else:
            with pytest.raises(StoreUnavailable, match="cannot be written to"):
                owner.run(store.check())
    owner.run(store.check())


def test_the_check_leaves_the_database_locked(owner: Owner, store: SqliteStore) -> None:
    owner.run(store.check())
    with pytest.raises(DatabaseInUse):
        lock.OwnerLock(owner.path)


def test_a_reading_program_disturbs_nobody(owner: Owner, store: SqliteStore) -> None:
    reader = open_reader(owner.path)
    reader.execute("BEGIN")
    assert list(reader.execute("SELECT count(*) FROM events")) == [(0,)]
    assert owner.append(store, owner.event(store)) == [None]
    assert list(reader.execute("SELECT count(*) FROM events")) == [(0,)]
    reader.close()
