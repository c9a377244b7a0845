"""What commits late: readers who go from position to position are told of it, and of nothing twice.

The order in which ids are made is not the order in which transactions end. Each test of a promise here
has its counterpart, which breaks the engine on purpose and sees the promise broken.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.postgres.conftest import Database, event, until

from triggers_api.errors import StoreUnavailable
from triggers_api.model import ids
from triggers_api.model.audit import SERVICE
from triggers_api.model.controls import Controls, DeliveryMode, Switches, turn
from triggers_api.model.filter import EventView
from triggers_api.model.ids import IdGenerator
from triggers_api.model.subscription import Subscription, SubscriptionRecord, SubscriptionStatus
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import Changes, InboxSeek
from triggers_api.store.cipher import Cipher
from triggers_api.store.directory import Directory
from triggers_api.store.postgres import record_reads, settings_verbs
from triggers_api.store.postgres.audit_verbs import AuditVerbs
from triggers_api.store.postgres.queue_verbs import _columns
from triggers_api.store.postgres.settings_verbs import SettingsVerbs
from triggers_api.store.postgres.tables import SQL, find

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.servers.postgres import Postgres

    from triggers_api.model.event import NewEvent
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.store import PostgresStore


class Writer:
    """A transaction of somebody else, which appends as the engine does and ends when it is told to."""

    def __init__(self, db: Connection, *, number: int = 0) -> None:
        self._db = db
        # A row of the books that is nobody else's: it is locked until the end.
        self._slot = 100 + number

    async def append(self, *events: NewEvent) -> None:
        if not self._db.is_in_transaction():
            await self._db.execute("BEGIN")
        await self._db.fetchrow(SQL["append"], *_columns(events), [], self._slot)

    async def end(self, how: str) -> None:
        await self._db.execute(how)


class Reader:
    """Follows the log of an organization, a few events at a time."""

    def __init__(self, store: PostgresStore, organization: str, *, limit: int = 2) -> None:
        self._store = store
        self._organization = organization
        self._limit = limit
        self._position: str | None = None
        self.told: list[str] = []

    async def read_page(self) -> bool:
        page = await self._store.log(self._organization, self._position, self._limit)
        self._position = page.position
        self.told += [each.id for each in page.events]
        return bool(page.events)

    async def read_on(self) -> None:
        while await self.read_page():
            pass

    async def read_to_the_end(self) -> None:
        """Everything, once none is under way: the server's own transactions hold readers up too."""
        await until(self._store_is_at_rest, "no transaction is under way")
        await self.read_on()

    async def _store_is_at_rest(self) -> bool:
        at_rest: bool = await self._store._sessions.read(lambda db: db.fetchval(AT_REST))
        return at_rest


AT_REST: Final = """
SELECT pg_snapshot_xmin(now) = pg_snapshot_xmax(now) FROM pg_current_snapshot() AS now
"""
NO_HORIZON: Final = SQL["log"].replace("AND e.xid < pg_snapshot_xmin(pg_current_snapshot())", "")
BY_ID: Final = (
    SQL["log"]
    .replace("(e.xid, e.id) > ($2::text::xid8, $3)", "e.id > $3 AND $2::text IS NOT NULL")
    .replace("ORDER BY e.xid, e.id", "ORDER BY e.id")
)


# ── one that is held open ─────────────────────────────────────────────────────────────────────────


async def one_commits_late(database: Database, how: str) -> tuple[Reader, list[str], str]:
    """Others commit events with earlier and later ids while one transaction is held open.

    Returns:
        A reader who was there all the time; what was committed; what was in the one held open.
    """
    store, other = await database.store(), await database.store()
    organization = await database.organization(store)
    reader = Reader(store, organization)
    earlier, held, later = (event(store, organization) for _ in range(3))
    late = Writer(await database.connection())
    await late.append(held)
    await other.append([later])
    await reader.read_on()
    await other.append([earlier])
    await reader.read_on()
    committed = [earlier.id, later.id]
    for _ in range(5):
        more = event(other, organization)
        await other.append([more])
        committed.append(more.id)
        await reader.read_on()
    await late.end(how)
    await reader.read_to_the_end()
    return reader, committed, held.id


def test_an_event_that_commits_late_is_not_skipped_and_none_is_told_twice(
    run: Run, database: Database
) -> None:
    reader, committed, held = run(one_commits_late(database, "COMMIT"))
    assert sorted(reader.told) == sorted([*committed, held])


def test_an_event_that_is_rolled_back_is_never_told(run: Run, database: Database) -> None:
    reader, committed, held = run(one_commits_late(database, "ROLLBACK"))
    assert sorted(reader.told) == sorted(committed)
    assert held not in reader.told


@pytest.mark.parametrize("broken", [NO_HORIZON, BY_ID])
def test_without_the_horizon_it_would_be_skipped(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    assert broken != SQL["log"]
    monkeypatch.setattr(record_reads, "SQL", {"log": broken})
    reader, committed, held = run(one_commits_late(database, "COMMIT"))
    assert held not in reader.told
    assert set(reader.told) <= set(committed)


def test_what_is_behind_the_one_that_is_held_open_waits_for_it(
    run: Run, database: Database
) -> None:
    """The price: nobody is told of it before, whichever organization the open transaction is about."""

    async def scenario() -> None:
        store = await database.store()
        organization, another = [await database.organization(store) for _ in range(2)]
        late = Writer(await database.connection())
        await late.append(event(store, another))
        behind = event(store, organization)
        await store.append([behind])
        reader = Reader(store, organization)
        await reader.read_on()
        assert reader.told == []
        await late.end("ROLLBACK")
        await reader.read_to_the_end()
        assert reader.told == [behind.id]

    run(scenario())


def test_a_transaction_that_only_reads_holds_nobody_up(run: Run, database: Database) -> None:
    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        reading = await database.connection()
        await reading.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM events")
        stored = event(store, organization)
        await store.append([stored])
        reader = Reader(store, organization)
        await reader.read_to_the_end()
        assert reader.told == [stored.id]

    run(scenario())


def test_deleting_an_event_does_not_move_it_or_others(run: Run, database: Database) -> None:
    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        stored = [event(store, organization) for _ in range(6)]
        for each in stored:
            await store.append([each])
        reader = Reader(store, organization, limit=3)
        await until(reader.read_page, "a page is read")
        await store.delete_event(organization, stored[1].id)
        await store.delete_event(organization, stored[4].id)
        await reader.read_to_the_end()
        assert reader.told == [stored[place].id for place in (0, 1, 2, 3, 5)]

    run(scenario())


# ── in any order ──────────────────────────────────────────────────────────────────────────────────

WRITERS: Final = 3
READERS: Final = 2
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, WRITERS - 1)),
        st.tuples(st.just("commit"), st.integers(0, WRITERS - 1)),
        st.tuples(st.just("roll back"), st.integers(0, WRITERS - 1)),
        st.tuples(st.just("read"), st.integers(0, READERS - 1)),
        st.tuples(st.just("store"), st.just(0)),
    ),
    max_size=40,
)


class Rehearsal:
    """Three writers and two readers on one database, for as many interleavings as are wanted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stores: list[PostgresStore] = []
        self._connections: list[Connection] = []

    async def begin(self) -> None:
        if not self._stores:
            self._stores = [await self._database.store() for _ in range(2)]
            self._connections = [await self._database.connection() for _ in range(WRITERS)]

    async def play(self, played: Sequence[tuple[str, int]]) -> tuple[list[list[str]], list[str]]:
        """What each reader was told, and what was committed."""
        await self.begin()
        store, other = self._stores
        organization = await self._database.organization(store)
        writers = [Writer(db, number=number) for number, db in enumerate(self._connections)]
        readers = [Reader(each, organization) for each in (store, other)]
        # Their ids are made in one order, and stored in another.
        ready = [event(store, organization) for _ in played]
        random.Random(len(played)).shuffle(ready)
        open_: list[list[str]] = [[] for _ in range(WRITERS)]
        committed: list[str] = []
        try:
            for what, who in played:
                if what == "append":
                    open_[who].append(ready[-1].id)
                    await writers[who].append(ready.pop())
                elif what == "read":
                    await readers[who].read_page()
                elif what == "store":
                    committed.append(ready[-1].id)
                    await other.append([ready.pop()])
                elif open_[who]:
                    if what == "commit":
                        committed += open_[who]
                    await writers[who].end("COMMIT" if what == "commit" else "ROLLBACK")
                    open_[who] = []
        finally:
            for who in range(WRITERS):
                if open_[who]:
                    committed += open_[who]
                    await writers[who].end("COMMIT")
        for reader in readers:
            await reader.read_to_the_end()
        return [reader.told for reader in readers], committed


@pytest.fixture(scope="module")
def rehearsal(postgres: Postgres, run: Run) -> Any:  # noqa: ANN401 - it yields
    database = Database(postgres)
    yield Rehearsal(database)
    run(database.end())
    postgres.drop_database(database.name)


@given(played=steps)
@settings(max_examples=60)
def test_in_whatever_order_writers_end_each_reader_is_told_of_each_event_once(
    run: Run, rehearsal: Rehearsal, played: list[tuple[str, int]]
) -> None:
    told, committed = run(rehearsal.play(played))
    for each in told:
        assert sorted(each) == sorted(committed)
    assert told[0] == told[1], "and in one order"


@pytest.mark.parametrize("broken", [NO_HORIZON, BY_ID])
def test_without_the_horizon_an_order_is_found_in_which_one_is_skipped(
    run: Run, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setattr(record_reads, "SQL", {"log": broken})

    @given(played=steps)
    @settings(
        max_examples=300,
        database=None,
        phases=(Phase.generate,),  # one is enough, however long
        suppress_health_check=list(HealthCheck),
    )
    def is_told_of_each(played: list[tuple[str, int]]) -> None:
        told, committed = run(rehearsal.play(played))
        for each in told:
            assert sorted(each) == sorted(committed)

    with pytest.raises(AssertionError):
        is_told_of_each()


# ── the version of the settings ───────────────────────────────────────────────────────────────────


def verbs() -> SettingsVerbs:
    """For what a transaction of the test's own does."""
    return SettingsVerbs(Cipher(b"key"), AuditVerbs(IdGenerator(lambda: 0)))


def subscription(store: PostgresStore, organization: str) -> SubscriptionRecord:
    return SubscriptionRecord(
        organization_id=organization,
        subscription=Subscription(
            id=store.ids.new(ids.SUBSCRIPTION),
            url="https://example.com/hook",
            event_types=("*",),
            status=SubscriptionStatus.ACTIVE,
            created_at=store.now(),
            updated_at=store.now(),
        ),
        secrets=("whsec_c2VjcmV0",),
    )


class Follower:
    """Takes in what has changed, as every process does twice a second."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._version = 0
        self.known: set[str] = set()

    async def refresh(self) -> None:
        changes = await self._store.changes(self._version)
        self._version = changes.version
        self.known |= {each.subscription.id for each in changes.subscriptions}


async def one_is_saved_late(database: Database, how: str) -> tuple[Follower, str, str]:
    """One saves a subscription in a transaction that is held open, and another one saves beside it.

    Returns:
        A follower who asked all the time; what was saved late; what was saved beside it.
    """
    store, other = await database.store(), await database.store()
    organization = await database.organization(store)
    follower = Follower(store)
    late, beside = subscription(store, organization), subscription(other, organization)
    db = await database.connection()
    await db.execute("BEGIN")
    await verbs().save_subscription(db, late, by=SERVICE)
    saving = asyncio.create_task(other.save_subscription(beside))
    await follower.refresh()
    await until(lambda: saving.done() or database.waiting() == 1, "it is saved, or waits")
    await follower.refresh()
    await db.execute(how)
    await saving
    await follower.refresh()
    return follower, late.subscription.id, beside.subscription.id


def test_of_two_settings_that_are_saved_at_once_a_follower_misses_none(
    run: Run, database: Database
) -> None:
    follower, late, beside = run(one_is_saved_late(database, "COMMIT"))
    assert follower.known == {late, beside}


def test_a_setting_that_was_rolled_back_is_not_told(run: Run, database: Database) -> None:
    follower, late, beside = run(one_is_saved_late(database, "ROLLBACK"))
    assert follower.known == {beside}
    assert late not in follower.known


def test_who_saves_beside_another_one_waits_for_its_end(run: Run, database: Database) -> None:
    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        db = await database.connection()
        await db.execute("BEGIN")
        await verbs().next_version(db)
        saving = asyncio.create_task(store.save_subscription(subscription(store, organization)))
        await database.waiting_for_locks(1)
        assert not saving.done()
        await db.execute("ROLLBACK")
        await saving

    run(scenario())


class Interrupted:
    """A connection on which something else is committed after each statement."""

    def __init__(self, db: Connection, between: Callable[[], Awaitable[None]]) -> None:
        self._db = db
        self._between = between

    async def fetch(self, *statement: Any) -> Any:  # noqa: ANN401 - passed on
        rows = await self._db.fetch(*statement)
        await self._between()
        return rows

    async def fetchval(self, *statement: Any) -> Any:  # noqa: ANN401 - passed on
        value = await self._db.fetchval(*statement)
        await self._between()
        return value


def test_what_is_saved_while_a_follower_is_told_is_told_next_time(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        saved: list[str] = []

        async def save() -> None:
            record = subscription(store, organization)
            await store.save_subscription(record)
            saved.append(record.subscription.id)

        await save()
        interrupted: Any = Interrupted(await database.connection(), save)
        told = await verbs().changes(interrupted, 0)
        rest = await store.changes(told.version)
        known = {each.subscription.id for each in (*told.subscriptions, *rest.subscriptions)}
        assert len(saved) > 4
        assert known == set(saved)

    run(scenario())


def test_without_the_lock_on_the_version_one_would_be_missed(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sequence hands numbers out in an order that is not that of the commits."""
    database.server.execute("CREATE SEQUENCE canary START 1000", database=database.name)

    class Broken(dict[str, str]):
        def __missing__(self, name: str) -> str:
            return SQL[name]

    statements = Broken(
        next_version="SELECT nextval('canary')",
        settings_version="SELECT coalesce(max(version), 0) AS version FROM subscriptions",
    )
    monkeypatch.setattr(settings_verbs, "SQL", statements)
    follower, late, beside = run(one_is_saved_late(database, "COMMIT"))
    assert beside in follower.known
    assert late not in follower.known


def test_what_a_restored_database_does_not_know_is_forgotten(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its version is an earlier one: what was taken in since has never been."""

    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        kept, lost = subscription(store, organization), subscription(store, organization)
        await store.save_subscription(kept)
        directory = Directory(store, forced={})
        db = await database.connection()
        before = await db.fetchval("SELECT version FROM settings_version")
        await store.save_subscription(lost)
        await store.save_switches(
            turn(Switches(), {"delivery": "paused"}, at=store.now(), by="key_1")
        )
        await directory.refresh()
        assert len(directory.subscriptions(organization)) == 2
        assert directory.controls.delivery is DeliveryMode.PAUSED
        await db.execute(f"DELETE FROM subscriptions WHERE id = '{lost.subscription.id[4:]}'")
        await db.execute("DELETE FROM controls")
        await db.execute("DELETE FROM switches")
        await db.execute(f"UPDATE settings_version SET version = {before}")
        changes = store.changes

        async def cut_off_on_the_way(since: int) -> Changes:
            if since == 0:
                raise StoreUnavailable("the database is away")
            return await changes(since)

        with monkeypatch.context() as patched:
            patched.setattr(store, "changes", cut_off_on_the_way)
            with pytest.raises(StoreUnavailable):
                await directory.refresh()
        assert len(directory.subscriptions(organization)) == 2, "it is not known yet what there is"
        await directory.refresh()
        assert directory.subscriptions(organization) == [kept]
        assert directory.controls == Controls()
        received_at, now = store.now(), store.now()
        routed = directory.routes(organization).route(
            EventView("order.created"), received_at, now=now
        )
        assert [each.id for each in routed] == [kept.subscription.id]
        await store.save_subscription(lost)
        await directory.refresh()
        assert len(directory.subscriptions(organization)) == 2

    run(scenario())


# ── the numbers of transactions ───────────────────────────────────────────────────────────────────


def test_places_go_by_the_numbers_of_transactions_and_not_by_their_digits(
    run: Run, database: Database
) -> None:
    """As texts, 100 is before 99: so it was at the end of the log, and where a seek by time leads."""

    async def main() -> None:
        store, db = await database.store(), await database.connection()
        organization = await database.organization(store)
        appended = [event(store, organization) for _ in range(2)]
        for each, xid in zip(appended, ("99", "100"), strict=True):
            await store.append([each])
            await db.execute(
                "UPDATE events SET xid = $2::text::xid8 WHERE id = $1",
                find(ids.EVENT, each.id),
                xid,
            )
        page = await store.log(organization, await store.log_end(organization), 10)
        assert page.events == []
        for place, count in ((InboxSeek(end=True), 0), (InboxSeek(at=Timestamp(0)), 2)):
            await store.seek_inbox(organization, "default", place)
            counted = await store.count_inbox(organization, "default", 100)
            assert counted is not None
            assert counted.unacked == count

    run(main())
