"""What was in the file is in the database: all of it, once, and alive; or nothing of it is."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import pytest
from tests.conftest import Enter, Run
from tests.contract.conftest import FrozenClock, PostgresEngine, SqliteEngine, World
from tests.copying.conftest import Copying, Database, Grown
from tests.copying.grown import SETTINGS_OF_ONE, everything
from tests.migrations.conftest import until
from tests.servers.postgres import PostgresServer

from triggers_api.errors import DatabaseInUse, StartError
from triggers_api.model.delivery import DeliveryStatus
from triggers_api.model.event import EventStatus, QueuedEvent
from triggers_api.store.base import ClaimedDelivery, DeliveryFilter, EventFilter, Page
from triggers_api.store.copying.copy import Copied, copy
from triggers_api.testing import ADMIN_KEY, Receiver, Service
from triggers_api.testing import FrozenClock as ServiceClock

StartCopy = Callable[[Path, str], Copying]


def copied(grown: Grown, database: Database) -> Copied:
    return asyncio.run(copy(grown.path, database.url, now=grown.clock(), advance=lambda _: None))


def sqlite(grown: Grown) -> SqliteEngine:
    engine = SqliteEngine(grown.folder, grown.clock)
    engine._path = grown.path
    return engine


def postgres(database: Database, clock: FrozenClock) -> PostgresEngine:
    engine = PostgresEngine(database.server, clock)
    engine._database = database.name
    return engine


def test_everything_reads_there_as_it_did_here(grown: Grown, database: Database) -> None:
    done = copied(grown, database)
    assert done.equal
    assert set(done.rows) >= {"organizations", "events", "event_queue", "deliveries", "attempts"}
    assert all(here for here, _ in done.rows.values()), "nothing of a kind was there to be copied"
    with asyncio.Runner() as runner:
        engines = sqlite(grown), postgres(database, grown.clock)
        stores = [runner.run(engine.open()) for engine in engines]
        here, there = (dict(everything(store, runner.run, grown.organizations)) for store in stores)
        for store in stores:
            runner.run(store.close())
    for question, answer in here.items():
        assert there[question] == answer, question
    assert there.keys() == here.keys()


def test_what_is_due_is_the_same_and_so_is_what_was_put_off(
    grown: Grown, database: Database
) -> None:
    copied(grown, database)
    claims = []
    with asyncio.Runner() as runner:
        for engine in (sqlite(grown), postgres(database, grown.clock)):
            runner.run(engine.open())
            world = World(engine, grown.clock, runner)
            events: list[QueuedEvent] = []
            deliveries: list[ClaimedDelivery] = []
            # One that was claimed before is handed out alone.
            while claim := world.claim_queue().events:
                events += claim
            while due := world.claim_deliveries().deliveries:
                deliveries += [msgspec.structs.replace(each, token=0) for each in due]
            claims.append((events, sorted(deliveries, key=lambda each: each.id)))
            runner.run(engine.store.close())
    assert claims[0] == claims[1]
    events, deliveries = claims[1]
    assert {each.attempts for each in events} >= {1, 2}
    assert any(each.failures < each.attempt_count for each in deliveries), "one was opened again"


def test_progress_is_told_from_nothing_to_all_of_it(
    grown: Grown, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.store.copying.source._BATCH_ROWS", 3)
    told: list[float] = []
    asyncio.run(copy(grown.path, database.url, now=grown.clock(), advance=told.append))
    assert told[0] == 0
    assert told[-1] == 1
    assert told == sorted(told)
    assert len(told) > 10


def test_the_file_has_something_in_every_state(grown: Grown) -> None:
    with asyncio.Runner() as runner:
        engine = sqlite(grown)
        store = runner.run(engine.open())
        acme = grown.organizations[0]
        for status in set(EventStatus) - {EventStatus.QUARANTINED, EventStatus.CANCELLED}:
            wanted = EventFilter(status=status)
            assert runner.run(store.events(acme, wanted, Page())), status
        # A file that was closed is in nobody's hands.
        for delivery in set(DeliveryStatus) - {DeliveryStatus.DELIVERING}:
            found = runner.run(store.deliveries(acme, DeliveryFilter(status=delivery), Page()))
            assert found, delivery
        assert runner.run(store.accounts())[0].deleted == 2
        runner.run(engine.close())


def test_the_order_of_the_log_is_that_of_the_events(grown: Grown, database: Database) -> None:
    copied(grown, database)
    by_log = database.execute("SELECT id FROM events ORDER BY xid, id")
    assert by_log == database.execute("SELECT id FROM events ORDER BY id")


def test_what_a_text_there_cannot_hold_is_spelled_out(grown: Grown, database: Database) -> None:
    with closing(apsw.Connection(str(grown.path))) as db:
        db.execute("UPDATE event_failures SET reason = ?", ("a\0b",))
    copied(grown, database)
    assert database.execute("SELECT reason FROM event_states WHERE status = 3") == [("a\\0b",)]


def test_the_database_goes_on_where_the_file_was_left(grown: Grown, database: Database) -> None:
    copied(grown, database)
    acme = grown.organizations[0]
    with asyncio.Runner() as runner:
        engine = postgres(database, grown.clock)
        runner.run(engine.open())
        world = World(engine, grown.clock, runner)
        newest = world.run(world.store.events(acme, EventFilter(), Page(limit=1)))[0].id
        (new,) = world.queued(acme)
        assert new > newest
        subscriptions = world.run(world.store.subscriptions(acme, Page()))
        active = next(each.id for each in subscriptions if each.status == "active")
        # Past everything that was put off.
        grown.clock.advance(seconds=3 * 3600)
        while (claim := world.claim_queue()).events:
            assert world.route(claim, active) == []
        while (due := world.claim_deliveries()).deliveries:
            assert world.settle(*(world.outcome(each) for each in due.deliveries)) == []
        world.assert_balanced()
        for status in ("queued", "scheduled"):
            wanted = EventFilter(status=EventStatus(status))
            assert not world.run(world.store.events(acme, wanted, Page()))
        left = world.run(
            world.store.deliveries(acme, DeliveryFilter(status=DeliveryStatus.PENDING), Page())
        )
        # What waits still, waits for somebody who paused.
        assert {each.subscription_id for each in left} == {
            each.id for each in subscriptions if each.status == "paused"
        }
        runner.run(world.store.close())


def test_the_service_goes_on_with_the_same_keys_cursors_and_secrets(
    tmp_path: Path, database: Database, run: Run, enter: Enter
) -> None:
    clock = ServiceClock()
    receiver = enter(Receiver())
    before = Service(tmp_path, clock=clock)
    receiver.replies(204, 500)

    async def first_half() -> tuple[str, str, list[str]]:
        async with before as service:
            made = await service.subscribe(receiver.url, retry_schedule=[60, 60])
            ids = [(await service.send("order.created", n)).json["id"] for n in range(2)]
            await service.drain()
            ids += [(await service.send("order.created", n)).json["id"] for n in range(2, 5)]
            page = await service.call("GET", "/api/events?limit=2")
            return made["secret"], page.json["next_cursor"], ids

    secret, cursor, ids = run(first_half())
    path = tmp_path / "triggers.db"
    assert run(copy(path, database.url, now=clock(), advance=lambda _: None)).equal

    async def second_half() -> None:
        async with Service(tmp_path, clock=clock, database_url=database.url) as service:
            page = await service.call("GET", f"/api/events?limit=2&cursor={cursor}")
            assert [each["id"] for each in page.json["data"]] == [ids[2], ids[1]], page
            await service.drain()
            clock.advance(seconds=120)
            await service.drain()
            ready = await service.call("GET", "/readyz", key=None)
            assert ready.json["queue"]["depth"] == 0

    run(second_half())
    (again,) = (Counter(receiver.ids) - Counter(ids)).elements()
    assert again in ids[:2]
    assert set(receiver.ids) == set(ids)
    for request in receiver.requests:
        request.verify(secret, now=int(request.headers["webhook-timestamp"]))


def test_what_an_organization_was_given_of_its_own_comes_along(
    grown: Grown, database: Database
) -> None:
    copied(grown, database)
    acme, other, _ = grown.organizations
    with asyncio.Runner() as runner:
        engine = postgres(database, grown.clock)
        store = runner.run(engine.open())
        changes = runner.run(store.changes(0))
        runner.run(store.close())
    shown = {each.id: msgspec.structs.asdict(each) for each in changes.organizations}
    assert {name: shown[acme][name] for name in SETTINGS_OF_ONE} == SETTINGS_OF_ONE
    assert {shown[other][name] for name in SETTINGS_OF_ONE} == {None}


def test_what_is_finished_is_kept_there_for_the_days_of_its_organization(
    tmp_path: Path, database: Database, run: Run, enter: Enter
) -> None:
    clock = ServiceClock()
    receiver = enter(Receiver())
    receiver.replies(204, 500)
    days = {"retention_days": 4, "delivery_retention_days": 2, "dead_letter_retention_days": 6}
    kept = ("/api/events", "/api/deliveries", "/api/dead-letters")

    async def first_half() -> None:
        async with Service(tmp_path, clock=clock) as service:
            own = (await service.call("GET", "/api/organization")).json["id"]
            path = f"/api/admin/organizations/{own}"
            assert (await service.call("PATCH", path, days, key=ADMIN_KEY)).status == 200
            await service.subscribe(receiver.url, retry_schedule=[])
            for number in range(2):
                await service.send("order.created", number)
                await service.drain()

    async def second_half() -> list[list[int]]:
        found = []
        async with Service(tmp_path, clock=clock, database_url=database.url) as service:
            for _ in range(4):
                clock.advance(seconds=86_400 + 1)
                while await service.app.retention.run_once() < 3600:
                    pass
                counts = [len((await service.call("GET", path)).json["data"]) for path in kept]
                found.append(counts)
                clock.advance(seconds=86_400)
        return found

    run(first_half())
    assert run(
        copy(tmp_path / "triggers.db", database.url, now=clock(), advance=lambda _: None)
    ).equal
    # The events, the deliveries and the dead letters that are left after 1, 3, 5 and 7 days.
    assert run(second_half()) == [[2, 2, 1], [2, 1, 1], [1, 1, 1], [0, 0, 0]]


# ── cut off ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def whole(
    grown: Grown, make_database: Callable[[], Database]
) -> dict[str, list[tuple[object, ...]]]:
    """What a copy comes to that nobody disturbed."""
    database = make_database()
    assert copied(grown, database).equal
    return database.contents()


@pytest.mark.parametrize("table", ["events", "deliveries", "dead_letters", "attempts"])
def test_a_copy_that_is_killed_among_the_records_goes_on_and_comes_to_the_same(
    grown: Grown,
    database: Database,
    whole: dict[str, list[tuple[object, ...]]],
    copying: StartCopy,
    table: str,
) -> None:
    asyncio.run(_prepare(database))
    with database.held_up(table) as is_waited_for:
        killed = copying(grown.path, database.url)
        until(is_waited_for, f"it writes {table}")
        killed.kill()
    assert database.execute("SELECT count(*) FROM organizations") == [(0,)]
    code, out, err = copying(grown.path, database.url).end()
    assert (code, err) == (0, "")
    assert ("went on where an earlier run had stopped" in out) is (table != "events")
    assert database.contents() == whole


@pytest.mark.parametrize("table", ["organizations", "event_queue", "delivery_queue"])
def test_a_copy_that_is_killed_in_its_last_transaction_brings_nothing_to_life(
    grown: Grown,
    database: Database,
    whole: dict[str, list[tuple[object, ...]]],
    copying: StartCopy,
    table: str,
) -> None:
    asyncio.run(_prepare(database))
    with database.held_up(table, "EXCLUSIVE") as is_waited_for:
        killed = copying(grown.path, database.url)
        until(is_waited_for, f"it writes {table}")
        killed.kill()
    until(lambda: not database.server.connections(database.name), "its session is over")
    for live in ("organizations", "api_keys", "subscriptions", "event_queue", "delivery_queue"):
        assert database.execute(f"SELECT count(*) FROM {live}") == [(0,)]
    with asyncio.Runner() as runner, pytest.raises(StartError, match="half a copy"):
        runner.run(postgres(database, grown.clock).open())
    assert copied(grown, database).went_on
    assert database.contents() == whole


@pytest.mark.parametrize("flushed", [True, False])
def test_a_copy_whose_database_goes_away_says_so_and_goes_on_when_it_is_back(
    flushed: bool,  # noqa: FBT001 - a parameter of the test
    grown: Grown,
    own_postgres: PostgresServer,
    whole: dict[str, list[tuple[object, ...]]],
    copying: StartCopy,
) -> None:
    database = Database(own_postgres, own_postgres.create_database())
    asyncio.run(_prepare(database))
    with database.held_up("attempts") as is_waited_for:
        process = copying(grown.path, database.url)
        until(is_waited_for, "it writes attempts")
        if flushed:
            database.execute("CHECKPOINT")
        own_postgres.restart("immediate")
    code, out, err = process.end()
    assert (code, out) == (1, "")
    assert "the copy stopped: " in err
    assert err.endswith("Run it again, and it goes on where it was\n")
    # Nobody waited for the disk among the records: the last of them may be gone, and their note too.
    again = copied(grown, database)
    assert again.equal
    assert again.went_on or not flushed
    assert database.contents() == whole


def test_a_copy_that_is_killed_when_it_was_complete_is_complete(
    grown: Grown,
    database: Database,
    whole: dict[str, list[tuple[object, ...]]],
    copying: StartCopy,
) -> None:
    asyncio.run(_prepare(database))
    # Statistics are all that comes after the commit.
    with database.held_up("api_keys", "SHARE UPDATE EXCLUSIVE") as is_waited_for:
        killed = copying(grown.path, database.url)
        until(is_waited_for, "it makes statistics")
        killed.kill()
    assert database.contents() == whole
    code, out, err = copying(grown.path, database.url).end()
    assert (code, err) == (0, "")
    assert f"was copied to {database.url} at 20" in out


def test_a_file_that_was_used_between_two_runs_is_copied_from_the_start(
    grown: Grown,
    database: Database,
    make_database: Callable[[], Database],
    copying: StartCopy,
) -> None:
    asyncio.run(_prepare(database))
    with database.held_up("attempts") as is_waited_for:
        killed = copying(grown.path, database.url)
        until(is_waited_for, "it writes attempts")
        killed.kill()
    with asyncio.Runner() as runner:
        engine = sqlite(grown)
        runner.run(engine.open())
        world = World(engine, grown.clock, runner)
        due = world.claim_deliveries().deliveries
        assert due
        world.settle(*(world.outcome(each) for each in due))
        runner.run(engine.close())
    again = copied(grown, database)
    assert again.equal
    assert again.started_over
    assert not again.went_on
    fresh = make_database()
    copied(grown, fresh)
    assert database.contents() == fresh.contents()


async def _prepare(database: Database) -> None:
    from triggers_api.store.postgres import schema  # noqa: PLC0415

    await schema.migrate(database.url)


# ── not equal, or not to be copied ────────────────────────────────────────────────────────────────


def test_what_is_not_equal_in_the_end_does_not_come_to_life(
    grown: Grown, database: Database, copying: StartCopy
) -> None:
    asyncio.run(_prepare(database))
    database.execute(
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    database.execute(
        "CREATE TRIGGER lose BEFORE INSERT ON attempts FOR EACH ROW WHEN (new.number = 2)"
        " EXECUTE FUNCTION lose()"
    )
    code, out, err = copying(grown.path, database.url).end()
    assert code == 1
    assert [line.split()[0] for line in out.splitlines() if "NOT EQUAL" in line] == ["attempts"]
    assert "the two sides are not equal" in err
    assert database.execute("SELECT count(*) FROM organizations") == [(0,)]
    with asyncio.Runner() as runner, pytest.raises(StartError, match="half a copy"):
        runner.run(postgres(database, grown.clock).open())


def test_books_that_differ_are_shown_although_every_count_is_right(
    grown: Grown, database: Database, copying: StartCopy
) -> None:
    asyncio.run(_prepare(database))
    database.execute(
        "CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN new.status = 8; RETURN new; END'"
    )
    database.execute(
        "CREATE TRIGGER turn BEFORE INSERT ON deliveries FOR EACH ROW WHEN (new.status = 5)"
        " EXECUTE FUNCTION turn()"
    )
    code, out, err = copying(grown.path, database.url).end()
    assert code == 1
    assert f"{grown.organizations[0]}: NOT EQUAL" in out
    assert "the two sides are not equal" in err
    assert database.execute("SELECT count(*) FROM organizations") == [(0,)]


def test_a_file_that_is_served_is_not_copied(grown: Grown, database: Database) -> None:
    with asyncio.Runner() as runner:
        engine = sqlite(grown)
        runner.run(engine.open())
        with pytest.raises(DatabaseInUse, match="in use by another server"):
            copied(grown, database)
        runner.run(engine.close())
    assert copied(grown, database).equal


def test_a_database_that_is_in_use_is_not_copied_to(grown: Grown, database: Database) -> None:
    with asyncio.Runner() as runner:
        engine = postgres(database, grown.clock)
        runner.run(engine.open())
        World(engine, grown.clock, runner).organization()
        runner.run(engine.store.close())
    before = database.contents()
    with pytest.raises(StartError, match="the database is in use already; copy to a new one"):
        copied(grown, database)
    assert database.contents() == before


def test_an_organization_that_is_made_meanwhile_ends_the_copy(
    grown: Grown, database: Database, copying: StartCopy
) -> None:
    # Its process was there before the copy began, and did not see the note.
    with asyncio.Runner() as runner:
        engine = postgres(database, grown.clock)
        runner.run(engine.open())
        with database.held_up("attempts") as is_waited_for:
            process = copying(grown.path, database.url)
            until(is_waited_for, "it writes attempts")
            World(engine, grown.clock, runner).organization()
        code, _, err = process.end()
        runner.run(engine.store.close())
    assert code == 1
    assert "somebody has begun to use the database meanwhile" in err
    assert database.execute("SELECT count(*) FROM organizations") == [(1,)]


def test_of_two_copies_at_once_one_ends_and_the_other_completes(
    grown: Grown,
    database: Database,
    whole: dict[str, list[tuple[object, ...]]],
    copying: StartCopy,
    tmp_path: Path,
) -> None:
    # On two machines: on one, the file's lock keeps them apart.
    asyncio.run(_prepare(database))
    twin = tmp_path / "twin.db"
    with database.held_up("attempts") as is_waited_for:
        first = copying(grown.path, database.url)
        until(is_waited_for, "the first one writes attempts")
        for suffix in ("", ".secret"):
            shutil.copy2(f"{grown.path}{suffix}", f"{twin}{suffix}")
        second = copying(twin, database.url)
        until(lambda: is_waited_for() == 2, "the second one waits for it")
    ended = [first.end(), second.end()]
    assert sorted(code for code, *_ in ended) == [0, 1]
    assert sum("another copy to this database is under way" in err for *_, err in ended) == 1
    assert database.contents() == whole


def test_another_file_is_not_mixed_with_what_is_there_of_the_first(
    grown: Grown, database: Database, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert copied(Grown(other), database).equal
    with pytest.raises(StartError, match="a copy of another file"):
        copied(grown, database)


def test_a_complete_copy_is_not_brought_up_to_date(grown: Grown, database: Database) -> None:
    assert copied(grown, database).equal
    before = database.contents()
    assert copied(grown, database).finished_at is not None
    with asyncio.Runner() as runner:
        engine = sqlite(grown)
        runner.run(engine.open())
        World(engine, grown.clock, runner).queued(grown.organizations[0])
        runner.run(engine.close())
    with pytest.raises(StartError, match="complete copy of this file, which was written to since"):
        copied(grown, database)
    assert database.contents() == before
