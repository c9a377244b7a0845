"""Reads from a real standby: which server answers, and that nothing confirmed is missing from it."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.postgres.conftest import Database, event, until
from tests.servers.postgres import GIVEN, PostgresServer
from tests.servers.proxy import Proxy
from tests.servers.standby import Standby

from triggers_api.errors import StoreUnavailable
from triggers_api.store.base import DeliveryFilter, EventFilter, Page
from triggers_api.store.postgres import replica as replica_module
from triggers_api.store.postgres.connection import COMMAND_S
from triggers_api.store.postgres.record_reads import RecordReads
from triggers_api.store.postgres.search_verbs import SearchVerbs
from triggers_api.store.postgres.tables import SQL

if TYPE_CHECKING:
    from tests.conftest import Log, Run

    from triggers_api.store.postgres.connection import Connection
    from triggers_api.store.postgres.store import PostgresStore

EVERYTHING: Final = EventFilter()
FIRST_PAGE: Final = Page(limit=10)

pytestmark = pytest.mark.skipif(
    GIVEN in os.environ, reason=f"{GIVEN} is set: a server that is not ours cannot be copied"
)


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    with PostgresServer(in_memory=True) as server:
        server.migrated_database()  # its template exists before the copies are made
        yield server


@pytest.fixture(scope="module")
def standby(primary: PostgresServer) -> Iterator[Standby]:
    with Standby(primary) as standby:
        yield standby


@pytest.fixture
def database(primary: PostgresServer, run: Run) -> Iterator[Database]:
    """A database on the primary."""
    database = Database(primary)
    yield database
    run(database.end())
    primary.drop_database(database.name)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """Which reads were answered by which server: the session itself was asked."""
    found: Counter[tuple[str, str]] = Counter()

    def watch(verbs: type[Any], name: str) -> None:
        read: Callable[..., Any] = getattr(verbs, name)

        async def watched(self: object, db: Connection, *arguments: object) -> Any:  # noqa: ANN401
            in_recovery = await db.fetchval("SELECT pg_is_in_recovery()")
            found[name, "standby" if in_recovery else "primary"] += 1
            return await read(self, db, *arguments)

        monkeypatch.setattr(verbs, name, watched)

    watch(SearchVerbs, "events")
    for name in ("event", "log", "deliveries", "delivery", "depths", "accounts"):
        watch(RecordReads, name)
    return found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that could not be used is tried again at once."""
    monkeypatch.setattr(replica_module, "_AWAY_S", 0.0)


async def level(standby: Standby) -> None:
    """Wait until the standby has everything."""
    await until(standby.has_replayed_all, "the standby has everything")


async def listed(store: PostgresStore, organization: str) -> list[str]:
    """The newest events, as the list shows them."""
    return [each.id for each in await store.events(organization, EVERYTHING, FIRST_PAGE)]


def test_lists_and_statistics_come_from_the_replica_and_all_else_from_the_primary(
    run: Run, database: Database, standby: Standby, asked: Counter[tuple[str, str]]
) -> None:
    async def scenario() -> None:
        store = await database.store(read_url=standby.url(database.name))
        organization = await database.organization(store)
        stored = event(store, organization)
        await store.append([stored])
        await level(standby)
        assert await listed(store, organization) == [stored.id]
        assert await store.deliveries(organization, DeliveryFilter(), FIRST_PAGE) == []
        assert (await store.stats()).depth == 1
        assert await store.event(organization, stored.id) is not None
        assert await store.delivery(organization, "dlv_none") is None
        await store.log(organization, None, 10)
        (account,) = await store.accounts()
        assert account.accepted == 1
        assert set(asked) == {
            ("events", "standby"), ("deliveries", "standby"), ("depths", "standby"),
            ("event", "primary"), ("delivery", "primary"), ("log", "primary"),
            ("accounts", "primary"),
        }  # fmt: skip
        rows = standby.execute(
            "SELECT application_name FROM pg_stat_activity WHERE datname = $1", database.name
        )
        assert rows == [("triggers reader",)]

    run(scenario())


def test_an_event_is_listed_as_soon_as_its_append_has_returned(
    run: Run,
    database: Database,
    standby: Standby,
    asked: Counter[tuple[str, str]],
    impatient: None,  # noqa: ARG001
) -> None:
    async def scenario() -> None:
        store = await database.store(read_url=standby.url(database.name))
        organization = await database.organization(store)
        await level(standby)
        for number in range(300):
            stored = event(store, organization)
            await store.append([stored])
            if number % 2:  # or it is the primary that answers, where the standby is slow
                await level(standby)
            assert (await listed(store, organization))[0] == stored.id

    run(scenario(), within_s=110)
    print(f"answered: {dict(asked)}")  # noqa: T201
    assert asked["events", "standby"] > 150, "it was the primary that answered"


def test_an_event_that_the_replica_does_not_have_yet_is_listed_by_the_primary(
    run: Run,
    primary: PostgresServer,
    asked: Counter[tuple[str, str]],
    impatient: None,  # noqa: ARG001
    log: Log,
) -> None:
    database = Database(primary)

    async def scenario(slow: Standby) -> None:
        store = await database.store(read_url=slow.url(database.name))
        organization = await database.organization(store)
        for _ in range(50):
            stored = event(store, organization)
            await store.append([stored])
            assert (await listed(store, organization))[0] == stored.id
        await database.end()

    with Standby(primary, delay_s=3600) as slow:
        run(scenario(slow))
    assert dict(asked) == {("events", "primary"): 50}
    (line,) = [line for line in log if line["event"].startswith("reading from the primary")]
    assert line["reason"] == "the replica is behind"
    primary.drop_database(database.name)


def test_without_looking_how_far_it_is_an_event_would_be_missing(
    run: Run, primary: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(primary)
    monkeypatch.setitem(SQL._texts, "replayed_to", "SELECT $1::text IS NOT NULL")

    async def scenario(slow: Standby) -> None:
        store = await database.store(read_url=slow.url(database.name))
        organization = await database.organization(store)
        await store.append([event(store, organization)])
        assert await listed(store, organization) == []
        await database.end()

    with Standby(primary, delay_s=3600) as slow:
        run(scenario(slow))
    primary.drop_database(database.name)


def test_a_replica_that_is_stopped_is_left_and_one_that_is_back_is_used(
    run: Run,
    database: Database,
    standby: Standby,
    asked: Counter[tuple[str, str]],
    impatient: None,  # noqa: ARG001
    log: Log,
) -> None:
    async def scenario() -> None:
        store = await database.store(read_url=standby.url(database.name))
        organization = await database.organization(store)
        for _ in range(3):
            await level(standby)
            asked.clear()
            await listed(store, organization)
            assert asked == {("events", "standby"): 1}
            standby.stop("immediate")
            stored = event(store, organization)
            await store.append([stored])
            for _ in range(3):
                assert (await listed(store, organization))[0] == stored.id
            assert asked["events", "primary"] == 3
            standby.start()
        await level(standby)
        await listed(store, organization)
        assert asked["events", "standby"] == 2

    run(scenario())
    told = [line for line in log if line["event"].startswith("reading from the primary")]
    assert len(told) == 3, "once for each time"


def test_one_that_could_not_be_used_is_left_alone_for_a_while(
    run: Run,
    database: Database,
    asked: Counter[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica_module, "_AWAY_S", 3600.0)

    async def scenario() -> None:
        store = await database.store(read_url="postgresql://postgres@127.0.0.1:1/nowhere")
        organization = await database.organization(store)
        replica = store._replica
        assert replica is not None
        await listed(store, organization)
        tried_at = replica._not_before
        assert tried_at > time.monotonic()
        for _ in range(5):
            await listed(store, organization)
        assert replica._not_before == tried_at
        assert asked == {("events", "primary"): 6}
        assert not replica.in_use

    run(scenario())


def test_a_replica_behind_a_black_hole_keeps_nobody_waiting_for_long(
    run: Run,
    database: Database,
    standby: Standby,
    asked: Counter[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        async with Proxy("127.0.0.1", standby.port) as proxy:
            store = await database.store(read_url=proxy.url(standby.url(database.name)))
            organization = await database.organization(store)
            await level(standby)
            await listed(store, organization)
            assert asked == {("events", "standby"): 1}
            monkeypatch.setattr(replica_module, "_LOOK_S", 0.3)
            proxy.swallow()
            began = time.monotonic()
            await asyncio.gather(*(listed(store, organization) for _ in range(20)))
            assert time.monotonic() - began < COMMAND_S / 2
            assert asked["events", "primary"] == 20
            # When it is tried again, one tries it, and nobody else waits for what comes of that.
            monkeypatch.setattr(replica_module, "_LOOK_S", 3600.0)
            replica = store._replica
            assert replica is not None
            replica._not_before = 0.0
            trying = [asyncio.create_task(listed(store, organization)) for _ in range(20)]
            await until(lambda: sum(each.done() for each in trying) >= 19, "all but one are done")
            proxy.pass_on()
            await asyncio.gather(*trying)
            await level(standby)
            asked.clear()
            replica._not_before = 0.0
            await listed(store, organization)
            assert asked == {("events", "standby"): 1}
            await store.close()

    run(scenario())


def test_an_answer_may_take_longer_than_the_look_before_it(
    run: Run,
    database: Database,
    standby: Standby,
    asked: Counter[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = SearchVerbs.events

    async def slowly(self: SearchVerbs, db: Connection, *arguments: Any) -> Any:  # noqa: ANN401
        await db.execute("SELECT pg_sleep(1.5)")
        return await read(self, db, *arguments)

    async def scenario() -> None:
        store = await database.store(read_url=standby.url(database.name))
        organization = await database.organization(store)
        await level(standby)
        await listed(store, organization)  # it is connected
        asked.clear()
        monkeypatch.setattr(SearchVerbs, "events", slowly)
        monkeypatch.setattr(replica_module, "_LOOK_S", 1.0)
        assert await listed(store, organization) == []
        assert asked == {("events", "standby"): 1}

    run(scenario())


def test_without_its_primary_a_replica_answers_nothing(
    run: Run, standby: Standby, primary: PostgresServer
) -> None:
    """It cannot be known what was confirmed meanwhile."""
    database = Database(primary)

    async def scenario() -> None:
        store = await database.store(read_url=standby.url(database.name))
        organization = await database.organization(store)
        await level(standby)
        await listed(store, organization)
        primary.shut_out(database.name)
        with pytest.raises(StoreUnavailable):
            await listed(store, organization)
        primary.let_in(database.name)
        await store.append([event(store, organization)])
        assert len(await listed(store, organization)) == 1
        await database.end()

    run(scenario())
    primary.drop_database(database.name)


def test_a_server_that_follows_nobody_is_not_taken_for_a_replica(
    run: Run, database: Database, asked: Counter[tuple[str, str]]
) -> None:
    async def scenario() -> None:
        store = await database.store(read_url=database.url)
        organization = await database.organization(store)
        await store.append([event(store, organization)])
        assert len(await listed(store, organization)) == 1
        assert store._replica is not None
        assert not store._replica.in_use
        assert asked == {("events", "primary"): 1}

    run(scenario())


def test_a_replica_that_was_promoted_is_not_used_any_more(
    run: Run, database: Database, primary: PostgresServer, asked: Counter[tuple[str, str]]
) -> None:
    async def scenario(promoted: Standby) -> None:
        store = await database.store(read_url=promoted.url(database.name))
        organization = await database.organization(store)
        await level(promoted)
        await listed(store, organization)
        assert asked == {("events", "standby"): 1}
        await asyncio.to_thread(promoted.promote)
        stored = event(store, organization)
        await store.append([stored])
        assert await listed(store, organization) == [stored.id]
        assert asked["events", "primary"] == 1
        await store.close()

    with Standby(primary) as promoted:
        run(scenario(promoted))
