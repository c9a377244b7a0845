"""What a failure of the database means: run again, refused, full, or unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from tests.postgres.conftest import until

from triggers_api.errors import OutcomeUnknown, StorageFull, StoreUnavailable, Unavailable
from triggers_api.store.postgres.connection import connect
from triggers_api.store.postgres.pool import Pool
from triggers_api.store.postgres.sessions import Sessions

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.postgres.conftest import Database

    from triggers_api.store.postgres.connection import Connection

Work = Callable[["Connection"], Awaitable[Any]]


class Opened:
    """Sessions on a database of two tables with a row each."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.url = database.url
        self.command_s = 20.0
        self.pools: list[Pool] = []

    async def sessions(self, *, pooled: bool = False) -> Sessions:
        async def opened() -> Connection:
            return await connect(self.url, pooled=pooled, command_s=self.command_s)

        self.pools.append(Pool(opened, size=5, overflow=0, wait_s=10, recycle_s=3600))
        return Sessions(self.pools[-1], pooled=pooled)

    async def table(self, name: str = "one") -> None:
        db = await self.database.connection()
        await db.execute(f"CREATE TABLE {name} (n integer); INSERT INTO {name} VALUES (0)")

    async def value(self, name: str = "one") -> int:
        db = await self.database.connection()
        value: int = await db.fetchval(f"SELECT n FROM {name}")
        return value

    async def end(self) -> None:
        for pool in self.pools:
            await pool.close()


@pytest.fixture
def opened(run: Run, database: Database) -> Iterator[Opened]:
    opened = Opened(database)
    yield opened
    run(opened.end())


def raising(code: str, *, times: int = 1_000_000) -> tuple[Work, list[int]]:
    """Work that the server refuses with this SQLSTATE so many times, and how often it was begun."""
    begun: list[int] = []

    async def work(db: Connection) -> str:
        begun.append(db.get_server_pid())
        await db.execute("UPDATE one SET n = n + 1")
        if len(begun) <= times:
            await db.execute(f"DO $$ BEGIN RAISE 'no' USING ERRCODE = '{code}'; END $$")
        return "done"

    return work, begun


# ── what is run again ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", ["40P01", "40001"])
def test_what_met_another_transaction_is_run_again_and_leaves_nothing_of_the_first_time(
    run: Run, opened: Opened, code: str
) -> None:
    async def scenario() -> None:
        await opened.table()
        sessions = await opened.sessions()
        work, begun = raising(code, times=4)
        assert await sessions.write(work, atomic=True) == "done"
        assert len(begun) == 5
        assert await opened.value() == 1

    run(scenario())


def test_what_meets_others_every_time_is_refused_in_the_end(run: Run, opened: Opened) -> None:
    async def scenario() -> None:
        await opened.table()
        sessions = await opened.sessions()
        work, begun = raising("40P01")
        with pytest.raises(StoreUnavailable):
            await sessions.write(work, atomic=True)
        assert len(begun) == 5
        assert await opened.value() == 0

    run(scenario())


@pytest.mark.parametrize("pooled", [False, True])
def test_a_real_deadlock_is_not_noticed(run: Run, opened: Opened, *, pooled: bool) -> None:
    """Who looks first finds it out, and is ended: the work here, for the other one does not look."""

    async def scenario() -> None:
        await opened.table("one")
        await opened.table("two")
        sessions = await opened.sessions(pooled=pooled)
        other = await opened.database.connection()
        try:
            await other.execute("SET deadlock_timeout = '1h'")
        except asyncpg.InsufficientPrivilegeError:
            pytest.skip("the given server lets this role not say who looks for deadlocks")
        await other.execute("BEGIN; UPDATE two SET n = n + 10")
        attempts: list[int] = []
        holds_one = asyncio.Event()

        async def work(db: Connection) -> None:
            attempts.append(1)
            await db.execute("UPDATE one SET n = n + 1")
            holds_one.set()
            if len(attempts) == 1:
                await opened.database.waiting_for_locks(1)
            await db.execute("UPDATE two SET n = n + 1")

        writing = asyncio.create_task(sessions.write(work, atomic=True))
        await holds_one.wait()
        await other.execute("UPDATE one SET n = n + 10; COMMIT")
        await writing
        assert len(attempts) >= 2
        assert (await opened.value("one"), await opened.value("two")) == (11, 11)

    run(scenario())


def test_a_read_that_a_replica_had_to_cut_off_is_no_fault_of_ours(run: Run, opened: Opened) -> None:
    """A replica ends reads that are in the way of what it must replay, with the code of a conflict."""

    async def scenario() -> None:
        cut_off = "DO $$ BEGIN RAISE 'in the way' USING ERRCODE = '40001'; END $$"
        sessions = await opened.sessions()
        for reading in (sessions.read, sessions.read_one_moment):
            with pytest.raises(StoreUnavailable, match="in the way"):
                await reading(lambda db: db.execute(cut_off))

    run(scenario())


# ── what is refused ───────────────────────────────────────────────────────────────────────────────

REFUSALS = {
    "53000": StoreUnavailable,  # insufficient resources
    "53100": StorageFull,
    "53200": StoreUnavailable,  # out of memory
    "53300": StoreUnavailable,  # too many connections
    "53400": StoreUnavailable,
    "55P03": StoreUnavailable,  # lock not available
    "57014": StoreUnavailable,  # canceled
    "58000": StoreUnavailable,
    "58030": StoreUnavailable,  # I/O error
    "42501": StoreUnavailable,  # insufficient privilege
    "42P01": StoreUnavailable,  # no such table
    "25006": StoreUnavailable,  # read-only
}


@pytest.mark.parametrize(("code", "told"), REFUSALS.items())
@pytest.mark.parametrize("pooled", [False, True])
def test_what_the_server_refuses_is_told_as_such_and_nothing_of_it_is_stored(
    run: Run, opened: Opened, code: str, told: type[Unavailable], *, pooled: bool
) -> None:
    async def scenario() -> None:
        await opened.table()
        sessions = await opened.sessions(pooled=pooled)
        work, begun = raising(code)
        with pytest.raises(told) as raised:
            await sessions.write(work, atomic=True)
        assert type(raised.value) is told
        assert len(begun) == 1
        assert await opened.value() == 0
        assert await sessions.read(lambda db: db.fetchval("SELECT 1")) == 1

    run(scenario())


def test_who_is_read_only_is_left_for_whoever_is_not(run: Run, opened: Opened) -> None:
    """A primary that became a replica would go on refusing on every connection that is kept."""

    async def scenario() -> None:
        await opened.table()
        sessions = await opened.sessions()
        work, begun = raising("25006", times=1)
        with pytest.raises(StoreUnavailable):
            await sessions.write(work)
        assert sessions.pool.idle == 0
        await sessions.write(work)
        assert begun[0] != begun[1]

    run(scenario())


@pytest.mark.parametrize(
    ("limit", "statement", "said"),
    [
        ("lock_timeout", "UPDATE one SET n = 9", "lock timeout"),
        ("statement_timeout", "UPDATE one SET n = 9", "statement timeout"),
        ("statement_timeout", "SELECT pg_sleep(60)", "statement timeout"),
    ],
)
def test_what_takes_too_long_is_ended_by_the_server_and_refused(
    run: Run, opened: Opened, limit: str, statement: str, said: str
) -> None:
    async def scenario() -> None:
        await opened.table()
        holding = await opened.database.connection()
        await holding.execute("BEGIN; UPDATE one SET n = 1")
        sessions = await opened.sessions()

        async def work(db: Connection) -> None:
            await db.execute(f"SET LOCAL {limit} = '20ms'")
            await db.execute(statement)

        with pytest.raises(StoreUnavailable, match=said):
            await sessions.write(work, atomic=True)

    run(scenario())


@pytest.mark.parametrize("statement", ["SELEC", "INSERT INTO once VALUES (1), (1)", "SELECT 1 / 0"])
def test_a_mistake_of_ours_is_not_told_as_trouble_of_the_database(
    run: Run, opened: Opened, statement: str
) -> None:
    async def scenario() -> None:
        db = await opened.database.connection()
        await db.execute("CREATE TABLE once (n integer PRIMARY KEY)")
        sessions = await opened.sessions()
        with pytest.raises(asyncpg.PostgresError):
            await sessions.write(lambda db: db.execute(statement))

    run(scenario())


def test_what_the_driver_cannot_encode_is_not_told_as_a_lost_connection(
    run: Run, opened: Opened
) -> None:
    async def scenario() -> None:
        sessions = await opened.sessions()
        for kind, value in (("int", 1 << 40), ("int", "x"), ("text", "\ud800"), ("uuid", "")):
            statement = f"SELECT $1::{kind}"
            with pytest.raises((asyncpg.DataError, ValueError)):
                await sessions.write(lambda db, of=(statement, value): db.fetchval(*of))  # type: ignore[misc]
        assert sessions.pool.idle == 1

    run(scenario())


# ── what is lost ──────────────────────────────────────────────────────────────────────────────────


async def sleeping(db: Connection) -> None:
    await db.execute("SELECT pg_sleep(60) AS mark")


LOSSES = {
    "terminated": "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = $1 AND query LIKE '%AS mark%'",
}


@pytest.mark.parametrize("way", ["terminated", "reset", "no answer"])
def test_a_lost_answer_is_an_unknown_outcome_for_a_write_and_nothing_for_a_read(
    run: Run, opened: Opened, way: str
) -> None:
    database = opened.database

    def run_of(name: str) -> int:
        count: int = database.asked(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = $1 AND query LIKE $2 AND state = 'active'",
            name,
            "%AS mark%",
        )
        return count

    async def scenario() -> None:
        async with database.proxy() as proxy:
            opened.url = proxy.url(database.url)
            if way == "no answer":
                opened.command_s = 1.0
            sessions = await opened.sessions()
            for running, told in (
                (sessions.write(sleeping), OutcomeUnknown),
                (sessions.write(sleeping, atomic=True), OutcomeUnknown),
                (sessions.read(sleeping), StoreUnavailable),
                (sessions.read_one_moment(sleeping), StoreUnavailable),
            ):
                task = asyncio.ensure_future(running)
                # Without an answer it ends by itself, perhaps before it is looked for.
                await until(
                    lambda task=task: task.done() or run_of(database.name) == 1,  # type: ignore[misc]
                    "it runs",
                )
                if way == "terminated":
                    database.server.execute(LOSSES["terminated"], database.name)
                elif way == "reset":
                    proxy.reset()
                with pytest.raises(Unavailable) as raised:
                    await task
                assert type(raised.value) is told
                proxy.pass_on()
                assert sessions.pool.idle == 0
                database.server.execute(LOSSES["terminated"], database.name)
                await until(lambda: run_of(database.name) == 0, "it has ended")

    run(scenario())


def test_a_connection_that_cannot_be_had_changes_nothing(run: Run, opened: Opened) -> None:
    async def scenario() -> None:
        opened.url = "postgresql://postgres@127.0.0.1:1/nowhere"
        sessions = await opened.sessions()
        work, begun = raising("00000")
        for atomic in (False, True):
            with pytest.raises(StoreUnavailable) as raised:
                await sessions.write(work, atomic=atomic)
            assert type(raised.value) is StoreUnavailable
        assert begun == []

    run(scenario())


@pytest.mark.parametrize("limit", ["idle_in_transaction_session_timeout", "transaction_timeout"])
def test_a_transaction_that_the_server_ended_because_it_took_too_long_is_no_fault_of_ours(
    run: Run, opened: Opened, limit: str
) -> None:
    """As when this process stood still in the middle of one."""

    async def scenario() -> None:
        await opened.table()
        if not opened.database.asked("SELECT count(*) FROM pg_settings WHERE name = $1", limit):
            pytest.skip(f"this server has no {limit}; PostgreSQL 17 has")
        sessions = await opened.sessions()

        async def work(db: Connection) -> None:
            await db.execute("UPDATE one SET n = 9")
            await db.execute(f"SET LOCAL {limit} = '20ms'")
            await until(
                lambda: (
                    not opened.database.asked(
                        "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", db.get_server_pid()
                    )
                ),
                "the server has ended it",
            )
            await db.execute("UPDATE one SET n = 10")

        with pytest.raises(Unavailable):
            await sessions.write(work, atomic=True)
        with pytest.raises(StoreUnavailable):
            await sessions.read_one_moment(work)
        assert await opened.value() == 0

    run(scenario())


# ── reads ─────────────────────────────────────────────────────────────────────────────────────────


def test_several_reads_see_one_moment_if_that_is_asked_for(run: Run, opened: Opened) -> None:
    async def scenario() -> None:
        await opened.table()
        sessions = await opened.sessions()
        writing = await opened.database.connection()

        async def twice(db: Connection) -> list[int]:
            first = await db.fetchval("SELECT n FROM one")
            await writing.execute("UPDATE one SET n = n + 1")
            return [first, await db.fetchval("SELECT n FROM one")]

        assert await sessions.read_one_moment(twice) == [0, 0]
        assert await sessions.read(twice) == [1, 2]

    run(scenario())


def test_what_may_take_its_time_cannot_write(run: Run, opened: Opened) -> None:
    async def scenario() -> None:
        await opened.table()
        sessions = await opened.sessions()
        with pytest.raises(StoreUnavailable, match="read-only"):
            await sessions.read_one_moment(lambda db: db.execute("UPDATE one SET n = 9"))
        assert await opened.value() == 0

    run(scenario())
