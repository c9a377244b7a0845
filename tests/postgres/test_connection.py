"""What a server must promise, what is in force on each connection, and how durable a commit is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.postgres.conftest import event, until

from triggers_api.errors import OutcomeUnknown, StartError, StoreUnavailable
from triggers_api.store.postgres import connection as connection_module
from triggers_api.store.postgres import queue_verbs
from triggers_api.store.postgres.connection import (
    SESSION,
    Standing,
    Unfit,
    check,
    connect,
    goes_through_pooler,
    standing,
)
from triggers_api.store.postgres.pool import Pool
from triggers_api.store.postgres.sessions import Sessions
from triggers_api.store.postgres.tables import SQL

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.postgres.conftest import Database

    from triggers_api.store.postgres.connection import Connection

# ── what a server must promise ────────────────────────────────────────────────────────────────────

SOUND = Standing(
    version="18.4",
    version_number=180_004,
    fsync="on",
    full_page_writes="on",
    synchronous_commit="on",
    in_recovery=False,
    read_only="off",
    backend=1,
    now=1,
    asked_in_s=0.001,
)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"version": "13.9", "version_number": 130_009}, "PostgreSQL 13.9 is too old; 14 or newer"),
        ({"in_recovery": True}, "replica (in recovery)"),
        ({"read_only": "on"}, "read-only"),
        ({"fsync": "off"}, "fsync=off"),
        ({"full_page_writes": "off"}, "full_page_writes=off"),
    ],
)
def test_a_server_that_does_not_keep_what_it_confirms_is_not_used(
    found: dict[str, Any], said: str
) -> None:
    weak = msgspec.structs.replace(SOUND, **found)
    assert weak.weakness is not None
    assert said in weak.weakness
    with pytest.raises(Unfit):
        check(weak)


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"version": "14.0", "version_number": 140_000},
        # Raised, session by session and statement by statement.
        {"synchronous_commit": "off"},
        {"synchronous_commit": "local"},
    ],
)
def test_a_server_that_does_is_used(found: dict[str, Any]) -> None:
    check(msgspec.structs.replace(SOUND, **found))


def test_the_server_of_the_tests_says_what_it_is(run: Run, database: Database) -> None:
    async def scenario() -> None:
        db = await database.connection()
        found = await standing(db)
        check(found)
        assert found.backend == db.get_server_pid()
        assert found.version_number // 10_000 >= 14
        assert 0 < found.asked_in_s < 5
        assert not await goes_through_pooler(db)

    run(scenario())


def test_a_role_that_may_only_read_is_refused_at_the_start_and_noticed_when_it_comes_later(
    run: Run, database: Database
) -> None:
    read_only = f'ALTER DATABASE "{database.name}" SET default_transaction_read_only = on'

    async def scenario() -> None:
        store = await database.store()
        database.server.execute(read_only)
        # The sessions that there are have what they began with, until they are replaced.
        store._sessions.pool.forget()
        with pytest.raises(StoreUnavailable, match="read-only"):
            await store.check()
        with pytest.raises(StartError, match="read-only"):
            await database.store()
        database.server.execute(read_only.replace("= on", "= off"))
        await store.check()

    run(scenario())


# ── connecting ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:CANARY@127.0.0.1:1/nowhere",
        "postgresql://me:CANARY@no-such-host.invalid/nowhere",
        "postgresql://me:CANA/RY@127.0.0.1/nowhere",
        "postgresql://me:CANARY@127.0.0.1:port/nowhere",
        "postgresql://me@127.0.0.1:99999/nowhere?password=CANARY",
    ],
)
def test_where_nobody_answers_that_is_told_without_the_password(run: Run, url: str) -> None:
    async def scenario() -> None:
        with pytest.raises(StoreUnavailable) as raised:
            await connect(url, pooled=False)
        assert raised.value.detail
        assert not any(piece in raised.value.detail for piece in ("CANA", "RY"))

    run(scenario())


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ('DROP DATABASE "{name}" WITH (FORCE)', "does not exist"),
        ('ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', "not currently accepting connections"),
    ],
)
def test_a_database_that_is_not_there_or_takes_nobody_is_told(
    run: Run, database: Database, statement: str, said: str
) -> None:
    async def scenario() -> None:
        database.server.execute(statement.format(name=database.name))
        with pytest.raises(StoreUnavailable, match=said):
            await connect(database.url, pooled=False)

    run(scenario())


def test_who_takes_the_connection_and_says_nothing_is_not_waited_for(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "CONNECT_S", 0.1)

    async def scenario() -> None:
        async with database.proxy() as proxy:
            proxy.swallow()
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                await connect(proxy.url(database.url), pooled=False)

    run(scenario())


# ── what is in force ──────────────────────────────────────────────────────────────────────────────

WANTED = {
    "statement_timeout": "15s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "20s",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}


async def in_force(db: Connection) -> dict[str, str]:
    return {name: await db.fetchval("SELECT current_setting($1)", name) for name in WANTED}


@pytest.fixture
def sessions(run: Run, database: Database) -> Iterator[Callable[..., Sessions]]:
    made: list[Pool] = []

    def make(*, pooled: bool) -> Sessions:
        async def opened() -> Connection:
            return await connect(database.url, pooled=pooled)

        made.append(Pool(opened, size=1, overflow=0, wait_s=5, recycle_s=3600))
        return Sessions(made[-1], pooled=pooled)

    yield make
    for pool in made:
        run(pool.close())


@pytest.mark.parametrize("pooled", [False, True])
def test_every_read_and_write_has_its_limits_and_the_planner_its_bounds(
    run: Run, sessions: Callable[..., Sessions], *, pooled: bool
) -> None:
    assert set(WANTED) == set(SESSION)

    async def scenario() -> None:
        those = sessions(pooled=pooled)
        assert await those.read(in_force) == WANTED
        assert await those.write(in_force) == WANTED
        assert await those.write(in_force, atomic=True) == WANTED

    run(scenario())


def test_through_a_pooler_nothing_of_it_stays_in_the_session(
    run: Run, sessions: Callable[..., Sessions]
) -> None:
    async def scenario() -> None:
        those = sessions(pooled=True)
        async with those.pool.connection() as db:
            before = await in_force(db)
        await those.read(in_force)
        async with those.pool.connection() as db:
            assert await in_force(db) == before != WANTED
            assert await db.fetch("SELECT name FROM pg_prepared_statements") == []

    run(scenario())


@pytest.mark.parametrize("pooled", [False, True])
def test_what_counts_everything_may_take_its_time_and_read_tables_whole(
    run: Run, sessions: Callable[..., Sessions], *, pooled: bool
) -> None:
    at_leisure = {
        "statement_timeout": "5min",
        "enable_seqscan": "on",
        "enable_bitmapscan": "on",
        "max_parallel_workers_per_gather": "2",
    }

    async def scenario() -> None:
        found = await sessions(pooled=pooled).read_one_moment(in_force)
        assert {name: found[name] for name in at_leisure} == at_leisure

    run(scenario())


def test_a_session_says_whose_it_is(run: Run, database: Database) -> None:
    async def scenario() -> None:
        store = await database.store()
        await store.check()
        await until(lambda: names(database) >= {"triggers", "triggers listener"}, "both are there")

    run(scenario())


def names(database: Database) -> set[str]:
    rows = database.server.execute(
        "SELECT application_name FROM pg_stat_activity WHERE datname = $1", database.name
    )
    return {name for (name,) in rows}


# ── how durable a commit is ───────────────────────────────────────────────────────────────────────

NOTED = """
CREATE TABLE noted (verb text, level text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO noted VALUES (TG_TABLE_NAME || ' ' || TG_OP, current_setting('synchronous_commit'));
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {table} EXECUTE FUNCTION note();
"""
"""Writes down under which ``synchronous_commit`` a table is written to."""

TABLES = ("events", "event_queue", "deliveries", "delivery_queue", "subscriptions", "workers")


async def noting(database: Database, level: str) -> Connection:
    """A database on which commits are as durable as told, and a connection to see what was noted."""
    database.server.execute(f'ALTER DATABASE "{database.name}" SET synchronous_commit = {level}')
    db = await database.connection()
    function, _, trigger = NOTED.partition("CREATE TRIGGER")
    await db.execute(function)
    for table in TABLES:
        await db.execute("CREATE TRIGGER" + trigger.format(table=table))
    return db


@pytest.mark.parametrize(
    ("configured", "in_force"),
    [("off", "on"), ("local", "local"), ("on", "on"), ("remote_apply", "remote_apply")],
)
@pytest.mark.parametrize("pooled", [False, True])
def test_what_is_confirmed_is_flushed_whatever_the_role_was_set_to(
    run: Run, database: Database, configured: str, in_force: str, *, pooled: bool
) -> None:
    """Off is raised; what an operator chose beyond that stays."""

    async def scenario() -> None:
        db = await noting(database, configured)
        store = await database.store(direct_url=database.url if pooled else None)
        organization = await database.organization(store)
        assert await store.append([event(store, organization)]) == [None]
        assert await store.append([event(store, organization, deliveries=())]) == [None]
        claim = await store.claim_queue(10, 45)
        await store.fan_out(claim.token, [])
        noted = {tuple(row) for row in await db.fetch("SELECT verb, level FROM noted")}
        assert ("events INSERT", in_force) in noted
        assert ("event_queue INSERT", in_force) in noted
        # A lease that is lost is none: it need not be flushed.
        assert ("event_queue UPDATE", "off") in noted
        assert {level for verb, level in noted if verb != "event_queue UPDATE"} == {in_force}
        assert (
            await store._sessions.read(
                lambda one: one.fetchval("SELECT current_setting('synchronous_commit')")
            )
            == in_force
        )
        assert store.durability().settings["synchronous_commit"] == in_force

    run(scenario())


@pytest.mark.parametrize("configured", ["on", "off", "local"])
def test_a_session_keeps_its_level_when_the_server_s_configuration_is_lowered_and_loaded_again(
    run: Run, database: Database, configured: str
) -> None:
    """The server says where the level in force is from; one from the session outlives a reload."""

    async def scenario() -> None:
        await noting(database, configured)
        store = await database.store()
        source = await store._sessions.read(
            lambda one: one.fetchval(
                "SELECT source FROM pg_settings WHERE name = 'synchronous_commit'"
            )
        )
        assert source == "session"

    run(scenario())


def test_an_append_raises_it_although_the_session_was_lowered_meanwhile(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        db = await noting(database, "on")
        store = await database.store()
        organization = await database.organization(store)
        async with store._sessions.pool.connection() as session:
            await session.execute("SET synchronous_commit = off")
        assert await store.append([event(store, organization)]) == [None]
        assert await db.fetchval("SELECT level FROM noted WHERE verb = 'events INSERT'") == "on"

    run(scenario())


def test_an_append_that_was_not_flushed_all_the_same_is_not_confirmed(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored, and may be lost again: nobody knows, and so it is told."""
    raised = "set_config('synchronous_commit', 'on', true)"
    lowered = SQL["append"].replace(raised, "'off'")
    assert lowered != SQL["append"]
    monkeypatch.setattr(queue_verbs, "SQL", {"append": lowered})

    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        async with store._sessions.pool.connection() as session:
            await session.execute("SET synchronous_commit = off")
        with pytest.raises(OutcomeUnknown, match="synchronous_commit is off"):
            await store.append([event(store, organization)])

    run(scenario())
