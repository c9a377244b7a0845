"""The pool: how many connections there are, which one is handed out, and which is not kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from tests.postgres.conftest import until

from triggers_api.errors import StoreUnavailable
from triggers_api.store.postgres import pool as pool_module
from triggers_api.store.postgres.pool import Pool

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.postgres.conftest import Database

    from triggers_api.store.postgres.connection import Connection


class Hand:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class Pooled:
    """A pool, and every connection that it has ever opened."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.hand = Hand()
        self.opened: list[Connection] = []
        self.pools: list[Pool] = []

    def make(self, **options: Any) -> Pool:  # noqa: ANN401 - of the pool
        given: dict[str, Any] = {"size": 2, "overflow": 1, "wait_s": 0.05, "recycle_s": 3600}
        made = Pool(self._open, monotonic=self.hand, **given | options)
        self.pools.append(made)
        return made

    async def _open(self) -> Connection:
        connection = await asyncpg.connect(self.url)
        self.opened.append(connection)
        return connection

    @property
    def alive(self) -> list[Connection]:
        return [each for each in self.opened if not each.is_closed()]

    async def end(self) -> None:
        for each in self.pools:
            await each.close()
        assert not self.alive, "connections left behind"


@pytest.fixture
def pooled(run: Run, database: Database) -> Iterator[Pooled]:
    pooled = Pooled(database.url)
    yield pooled
    run(pooled.end())


async def pid(pool: Pool) -> int:
    """The process that serves the connection which is handed out now."""
    async with pool.connection() as db:
        return db.get_server_pid()


# ── how many ──────────────────────────────────────────────────────────────────────────────────────


def test_a_connection_is_opened_when_it_is_needed_and_used_again(run: Run, pooled: Pooled) -> None:
    async def scenario() -> None:
        pool = pooled.make()
        assert pool.idle == 0
        assert await pid(pool) == await pid(pool) == await pid(pool)
        assert len(pooled.opened) == pool.idle == 1

    run(scenario())


def test_what_is_open_beyond_the_size_is_closed_when_it_comes_back(
    run: Run, pooled: Pooled
) -> None:
    async def scenario() -> None:
        pool = pooled.make(size=2, overflow=3)
        async with AsyncExitStack() as stack:
            for _ in range(5):
                await stack.enter_async_context(pool.connection())
            assert pool.in_use == len(pooled.alive) == 5
        assert (pool.in_use, pool.idle, len(pooled.alive)) == (0, 2, 2)

    run(scenario())


def test_the_one_used_last_goes_out_first_so_that_others_may_rest(run: Run, pooled: Pooled) -> None:
    async def scenario() -> None:
        pool = pooled.make(size=3)
        async with pool.connection(), pool.connection(), pool.connection() as last:
            used_last = last.get_server_pid()
        async with pool.connection() as first:
            assert first.get_server_pid() != used_last, "that which came back last goes out first"
            again = first.get_server_pid()
        assert await pid(pool) == again

    run(scenario())


def test_who_gets_none_in_time_is_told_so(run: Run, pooled: Pooled) -> None:
    async def scenario() -> None:
        pool = pooled.make(size=1, overflow=1, wait_s=0.05)
        async with pool.connection(), pool.connection():
            with pytest.raises(StoreUnavailable, match=r"became free in 0\.05 s"):
                await pid(pool)
        assert await pid(pool) in {each.get_server_pid() for each in pooled.alive}
        assert len(pooled.opened) == 2

    run(scenario())


def test_who_waits_gets_the_one_that_comes_back_in_the_order_of_coming(
    run: Run, pooled: Pooled
) -> None:
    async def scenario() -> None:
        pool = pooled.make(size=1, overflow=0, wait_s=20)
        served: list[int] = []

        async def use(number: int) -> None:
            async with pool.connection() as db:
                served.append(number)
                await db.execute("SELECT 1")

        async with pool.connection():
            waiting = [asyncio.create_task(use(number)) for number in range(5)]
            await asyncio.sleep(0)
            assert served == []
        await asyncio.gather(*waiting)
        assert served == [0, 1, 2, 3, 4]
        assert len(pooled.opened) == 1

    run(scenario())


def test_a_wait_that_is_given_up_or_an_opening_that_fails_takes_no_place_away(
    run: Run, pooled: Pooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse() -> Connection:
        raise StoreUnavailable("cannot connect to the database: refused")

    async def scenario() -> None:
        pool = pooled.make(size=1, overflow=0, wait_s=20)
        async with pool.connection():
            waiting = asyncio.create_task(pid(pool))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        pool.forget()
        with monkeypatch.context() as patched:
            patched.setattr(pool, "_connect", refuse)
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="refused"):
                    await pid(pool)
        assert await pid(pool)
        assert pool.in_use == 0

    run(scenario())


def test_however_users_come_and_go_no_connection_and_no_place_is_lost(
    run: Run, pooled: Pooled
) -> None:
    """Some are cut off while they wait, while a connection is opened, or during a statement."""

    async def use(pool: Pool, number: int) -> None:
        async with pool.connection() as db:
            if number % 7 == 0:
                raise LookupError
            await db.execute(f"SELECT pg_sleep(0.002 * {number % 3})")

    async def scenario() -> None:
        pool = pooled.make(size=3, overflow=2, wait_s=20)
        users = [asyncio.create_task(use(pool, number)) for number in range(150)]
        for number, user in enumerate(users):
            if number % 3 == 0:
                await asyncio.sleep(0.001)
                user.cancel()
        await asyncio.gather(*users, return_exceptions=True)
        assert pool.in_use == 0
        assert pool.idle == len(pooled.alive) <= 3
        async with AsyncExitStack() as stack:
            for _ in range(5):
                db = await stack.enter_async_context(pool.connection())
                assert await db.fetchval("SELECT 1") == 1

    run(scenario())


# ── which are kept ────────────────────────────────────────────────────────────────────────────────


def test_one_that_is_old_is_replaced_by_the_clock_that_never_goes_back(
    run: Run, pooled: Pooled
) -> None:
    async def scenario() -> None:
        pool = pooled.make(recycle_s=3600)
        first = await pid(pool)
        pooled.hand.at += 3599
        assert await pid(pool) == first
        pooled.hand.at += 2
        second = await pid(pool)
        assert second != first
        assert [each.get_server_pid() for each in pooled.alive] == [second]

    run(scenario())


def test_one_that_has_rested_is_looked_at_before_it_is_handed_out(
    run: Run, pooled: Pooled, database: Database
) -> None:
    async def scenario() -> None:
        pool = pooled.make()
        first = await pid(pool)
        end(database, pooled.opened[0])
        pooled.hand.at += 1.01
        async with pool.connection() as db:
            assert await db.fetchval("SELECT pg_backend_pid()") != first

    run(scenario())


def test_one_that_was_used_a_moment_ago_costs_no_look(
    run: Run, pooled: Pooled, database: Database
) -> None:
    async def scenario() -> None:
        pool = pooled.make()
        async with pool.connection() as db:
            await db.execute("SELECT 'mine'")
        pooled.hand.at += 0.9
        served_by = await pid(pool)
        assert last_statement(database, served_by) == "SELECT 'mine'"
        pooled.hand.at += 1.1
        assert await pid(pool) == served_by
        assert last_statement(database, served_by) == "SELECT 1"

    run(scenario())


def test_when_one_does_not_answer_none_that_rests_is_waited_for(
    run: Run, pooled: Pooled, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They all go the same way, and each would cost the wait again."""
    monkeypatch.setattr(pool_module, "_LOOK_S", 0.2)

    async def scenario() -> None:
        async with database.proxy() as proxy:
            pooled.url = proxy.url(database.url)
            pool = pooled.make(size=8, overflow=0)
            await use_all(pool, 8)
            proxy.swallow()
            pooled.url = database.url  # the next one finds a way
            pooled.hand.at += 2
            asked = called(monkeypatch, "execute")
            await pid(pool)
            assert (pool.idle, len(pooled.alive)) == (1, 1)
            assert asked == ["SELECT 1"]

    run(scenario())


@pytest.mark.parametrize("while_it_is", ["looked at", "closed"])
def test_one_that_is_given_up_while_its_server_is_silent_is_not_left_open(
    run: Run, pooled: Pooled, database: Database, while_it_is: str
) -> None:
    async def scenario() -> None:
        async with database.proxy() as proxy:
            pooled.url = proxy.url(database.url)
            pool = pooled.make(size=3, overflow=0)
            await use_all(pool, 3)
            proxy.swallow()
            pooled.hand.at += 2
            waiting = asyncio.create_task(pid(pool) if while_it_is == "looked at" else pool.close())
            await until(lambda: pool.idle < 3, "it is at it")
            waiting.cancel()
            await asyncio.wait((waiting,))
            assert waiting.cancelled()
            assert len(pooled.alive) == pool.idle

    run(scenario())


@pytest.mark.parametrize("leave", ["BEGIN", "closed", "killed"])
def test_one_that_is_not_as_it_was_is_not_kept(
    run: Run, pooled: Pooled, database: Database, leave: str
) -> None:
    async def scenario() -> None:
        pool = pooled.make()
        async with pool.connection() as db:
            if leave == "BEGIN":
                await db.execute("BEGIN; CREATE TABLE left_behind ()")
            elif leave == "closed":
                await db.close()
            else:
                end(database, db)
                await until(db.is_closed, "the driver has noticed")
        assert pool.idle == 0
        assert not pooled.alive
        async with pool.connection() as db:
            assert await db.fetchval("SELECT to_regclass('left_behind')") is None

    run(scenario())


def test_one_whose_user_failed_is_kept(run: Run, pooled: Pooled) -> None:
    async def scenario() -> None:
        pool = pooled.make()
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with pool.connection() as db:
                await db.execute("SELECT 1 / 0")
        assert pool.idle == 1
        async with pool.connection() as db:
            assert await db.fetchval("SELECT 1") == 1
        assert len(pooled.opened) == 1

    run(scenario())


def test_a_statement_that_was_given_up_does_not_answer_the_next_user(
    run: Run, pooled: Pooled
) -> None:
    async def scenario() -> None:
        pool = pooled.make(size=1, overflow=0)

        async def slow() -> None:
            async with pool.connection() as db:
                await db.fetchval("SELECT 'slow' FROM pg_sleep(10)")

        giving_up = asyncio.create_task(slow())
        await until(lambda: pool.in_use == 1, "it runs")
        giving_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await giving_up
        assert pool.idle == 0, "nor does anybody wait for its end"
        async with pool.connection() as db:
            assert await db.fetchval("SELECT 'mine'") == "mine"

    run(scenario())


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


def test_to_forget_closes_what_rests_and_what_is_at_work_when_it_comes_back(
    run: Run, pooled: Pooled
) -> None:
    async def scenario() -> None:
        pool = pooled.make()
        async with pool.connection() as at_work:
            async with pool.connection():
                pass
            assert pool.idle == 1
            pool.forget()
            assert (pool.idle, pooled.alive) == (0, [at_work])
            assert await at_work.fetchval("SELECT 1") == 1
        # Nobody has looked whether its server may still be written to.
        assert (pool.idle, pooled.alive) == (0, [])
        async with pool.connection() as opened_since:
            pass
        assert (pool.idle, pooled.alive) == (1, [opened_since])

    run(scenario())


def test_a_closed_pool_hands_nothing_out_and_closes_what_comes_back(
    run: Run, pooled: Pooled
) -> None:
    async def scenario() -> None:
        pool = pooled.make(size=1, overflow=1, wait_s=20)
        async with pool.connection() as at_work:
            async with pool.connection():
                waiting = asyncio.create_task(pid(pool))
                await asyncio.sleep(0)
                await pool.close()
            with pytest.raises(StoreUnavailable, match="the store is closed"):
                await waiting
            assert await at_work.fetchval("SELECT 1") == 1
        assert not pooled.alive
        with pytest.raises(StoreUnavailable, match="the store is closed"):
            await pid(pool)

    run(scenario())


def test_closing_does_not_wait_again_and_again_for_a_server_that_does_not_answer(
    run: Run, pooled: Pooled, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_LOOK_S", 0.2)

    async def scenario() -> None:
        async with database.proxy() as proxy:
            pooled.url = proxy.url(database.url)
            pool = pooled.make(size=8, overflow=0)
            await use_all(pool, 8)
            proxy.swallow()
            waited_for = called(monkeypatch, "close")
            await pool.close()
            assert not pooled.alive
            assert waited_for == [None]

    run(scenario())


def called(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str | None]:
    """The first argument of each call of a driver's connection from now on."""
    calls: list[str | None] = []
    method = getattr(asyncpg.Connection, name)

    async def noted(self: Connection, *arguments: str, **options: Any) -> Any:  # noqa: ANN401
        calls.append(arguments[0] if arguments else None)
        return await method(self, *arguments, **options)

    monkeypatch.setattr(asyncpg.Connection, name, noted)
    return calls


async def use_all(pool: Pool, count: int) -> None:
    """Have so many connections open."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(pool.connection())


def end(database: Database, connection: Connection) -> None:
    """The server ends a connection."""
    assert database.asked("SELECT pg_terminate_backend($1, 10000)", connection.get_server_pid())


def last_statement(database: Database, served_by: int) -> str:
    statement: str = database.asked("SELECT query FROM pg_stat_activity WHERE pid = $1", served_by)
    return statement
