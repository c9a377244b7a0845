"""What is known of the pooler, what is not relied on, and how work is found behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest
from tests.external.conftest import Program
from tests.external.pgbouncer.conftest import SESSIONS, leave
from tests.postgres.conftest import Database, event, until
from tests.postgres.test_listener import is_woken, listening
from tests.servers.pgbouncer import PgBouncer

from triggers_api.errors import StoreUnavailable, Unavailable
from triggers_api.store.postgres.connection import SESSION, connect, goes_through_pooler

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.servers.postgres import Postgres

    from triggers_api.store.postgres.store import PostgresStore

NOBODY: Final = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def database(postgres: Postgres, run: Run) -> Iterator[Database]:
    database = Database(postgres)
    yield database
    run(database.end())
    leave(postgres, database.name)


def test_it_is_recognised_whether_it_is_told_of_or_not(
    run: Run, database: Database, pooler: PgBouncer
) -> None:
    async def scenario() -> None:
        through = pooler.url(database.url)
        for url, is_pooled in ((through, True), (database.url, False)):
            for _ in range(20):
                db = await connect(url, pooled=True)
                assert await goes_through_pooler(db) is is_pooled
                await db.close()
        seen = await database.store(database_url=through)
        assert seen._sessions.pooled
        assert seen._listener is None, "there is no session to listen in: it polls"
        told = await database.store(database_url=through, direct_url=database.url)
        assert told._sessions.pooled
        assert told._listener is not None
        assert not (await database.store())._sessions.pooled

    run(scenario())


def test_who_relies_on_a_session_fails_there(
    run: Run, database: Database, pooler: PgBouncer
) -> None:
    """Or what passes here would show nothing."""

    async def use(db: asyncpg.Connection) -> None:
        for _ in range(20):
            await db.fetchval("SELECT id FROM events WHERE organization_id = $1 LIMIT 1", NOBODY)

    async def scenario() -> None:
        connections = [await asyncpg.connect(pooler.url(database.url)) for _ in range(8)]
        found = await asyncio.gather(*map(use, connections), return_exceptions=True)
        for db in connections:
            db.terminate()
        assert {type(each) for each in found} & {
            asyncpg.DuplicatePreparedStatementError,
            asyncpg.InvalidSQLStatementNameError,
        }

    run(scenario())


def test_many_at_once_share_few_sessions_and_leave_nothing_in_them(
    run: Run, database: Database, pooler: PgBouncer
) -> None:
    async def scenario() -> None:
        through = pooler.url(database.url)
        stores = [await database.store(database_url=through) for _ in range(3)]
        organization = await database.organization(stores[0])

        async def work(store: PostgresStore, number: int) -> None:
            for n in range(10):
                await store.append([event(store, organization, dedup_id=f"{number}-{n}")])
                await store.event(organization, "evt_none")
                claim = await store.claim_queue(3, 45)
                await store.fan_out(claim.token, [])
                await store.check()
                await store.accounts()

        await asyncio.gather(*(work(stores[n % 3], n) for n in range(30)))
        (account,) = await stores[0].accounts()
        assert account.accepted == 300
        # One that it has just replaced is there for a moment longer.
        await until(
            lambda: 0 < len(database.server.connections(database.name)) <= SESSIONS,
            "few sessions are shared",
        )
        direct = await database.connection()
        shared = await asyncpg.connect(through, statement_cache_size=0)
        for name in (*SESSION, "synchronous_commit"):
            found = await shared.fetchval(f"SHOW {name}")
            assert found == await direct.fetchval(f"SHOW {name}"), name
        await shared.close()

    run(scenario())


def test_eight_that_find_an_empty_database_behind_it_all_start(
    run: Run, postgres: Postgres, pooler: PgBouncer
) -> None:
    database = Database(postgres)
    empty = postgres.create_database()

    async def scenario() -> None:
        through = pooler.url(postgres.url(empty))
        stores = await asyncio.gather(*(database.store(database_url=through) for _ in range(8)))
        assert len({store._worker_number for store in stores}) == 8
        await database.end()

    run(scenario())
    leave(postgres, empty)
    leave(postgres, database.name)


def test_work_is_found_by_notices_past_it_and_without_them_by_polling(
    run: Run, database: Database, pooler: PgBouncer
) -> None:
    async def scenario() -> None:
        through = pooler.url(database.url)
        polls = await database.store(database_url=through)
        hears = await database.store(database_url=through, direct_url=database.url)
        organization = await database.organization(polls)
        await listening(hears)
        # What is announced through it reaches whoever listens past it.
        waiting = asyncio.ensure_future(hears.wait_queue(3600))
        await polls.append([event(polls, organization)])
        await waiting
        await polls.wait_queue(3600)  # its own
        await hears.append([event(hears, organization)])
        assert not await is_woken(polls.wait_queue, within_s=0.3)
        await polls.wait_queue(0.01)
        assert len((await polls.claim_queue(10, 45)).events) == 2

    run(scenario())


def test_when_it_is_restarted_all_goes_on(run: Run, database: Database, pooler: PgBouncer) -> None:
    async def scenario() -> None:
        store = await database.store(database_url=pooler.url(database.url))
        organization = await database.organization(store)
        await store.append([event(store, organization)])
        pooler.stop()
        with pytest.raises(Unavailable):
            await store.append([event(store, organization)])
        pooler.start()
        await store.check()
        await store.append([event(store, organization)])
        (account,) = await store.accounts()
        assert account.accepted == 2

    run(scenario())


@pytest.fixture
def impatient(program: Program, postgres: Postgres) -> Iterator[PgBouncer]:
    path = program("pgbouncer")
    with PgBouncer(path, postgres.url("postgres"), sessions=SESSIONS, patience_s=2) as pooler:
        yield pooler


def test_while_it_finds_no_session_it_is_known_that_nothing_was_stored(
    run: Run, impatient: PgBouncer, database: Database
) -> None:
    """It holds what is sent until it gives up, and has passed nothing on by then."""

    async def scenario() -> None:
        store = await database.store(database_url=impatient.url(database.url))
        organization = await database.organization(store)
        database.server.shut_out(database.name)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.append([event(store, organization)])
        database.server.let_in(database.name)

        async def answers() -> bool:
            try:
                await store.check()
            except StoreUnavailable:
                return False
            return True

        await until(answers, "it finds one")
        assert await store.append([event(store, organization)]) == [None]
        (account,) = await store.accounts()
        assert account.accepted == 1

    run(scenario())
