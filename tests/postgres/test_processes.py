"""What tells the processes on one database apart: numbers, tokens, ids; and how they all begin."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Final

from tests.postgres.conftest import event

from triggers_api.app import wall_clock
from triggers_api.model import ids
from triggers_api.model.worker import Worker
from triggers_api.store import migrations
from triggers_api.store.postgres.schema import PACKAGE

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.postgres.conftest import Database
    from tests.servers.postgres import Postgres

    from triggers_api.store.postgres.store import PostgresStore

AT_ONCE: Final = 8


def test_a_lease_s_token_carries_the_number_of_its_process(run: Run, database: Database) -> None:
    async def scenario() -> None:
        stores = [await database.store() for _ in range(3)]
        organization = await database.organization(stores[0])
        tokens: dict[int, list[int]] = {}
        for store in stores * 4:
            await store.append([event(store, organization)])
            claim = await store.claim_queue(1, 45)
            tokens.setdefault(claim.token >> 32, []).append(claim.token & 0xFFFFFFFF)
        assert set(tokens) == {store._worker_number for store in stores}
        assert all(counts == [1, 2, 3, 4] for counts in tokens.values())

    run(scenario())


def test_a_number_is_never_given_to_a_second_process(run: Run, database: Database) -> None:
    async def scenario() -> None:
        first = await database.store()
        await first.close()
        stores = await asyncio.gather(*(database.store() for _ in range(5)))
        numbers = {store._worker_number for store in (first, *stores)}
        assert len(numbers) == 6

    run(scenario())


def test_the_largest_number_and_the_largest_count_still_make_a_token_that_the_columns_hold(
    run: Run, database: Database
) -> None:
    database.server.execute(
        "SELECT setval('worker_numbers', 2147483647, false)", database=database.name
    )

    async def scenario() -> None:
        store = await database.store()
        assert store._worker_number == 2**31 - 1
        store._tokens = iter([2**32 - 1])  # type: ignore[assignment]
        organization = await database.organization(store)
        await store.append([event(store, organization)])
        claim = await store.claim_queue(1, 45)
        assert claim.token == 2**63 - 1
        assert list(await store.fan_out(claim.token, [])) == []
        again = await database.store()
        assert again._worker_number == 1

    run(scenario())


def test_ids_go_on_rising_from_process_to_process_although_no_time_passes(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        last = ""
        organization: str | None = None
        for _ in range(4):
            store = await database.store()
            organization = organization or await database.organization(store)
            stored = [event(store, organization) for _ in range(10)]
            await store.append(stored)
            made = [each.id for each in stored]
            assert [last, *made] == sorted({last, *made})
            last = made[-1]
            await store.close()

    run(scenario())


def test_the_ids_of_processes_that_work_at_once_on_one_moment_differ(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        stores = [await database.store() for _ in range(4)]
        made = [store.ids.new(ids.EVENT) for store in stores for _ in range(5000)]
        assert len(set(made)) == len(made)

    run(scenario())


# ── signs of life ─────────────────────────────────────────────────────────────────────────────────


def worker(store: PostgresStore) -> Worker:
    return Worker(
        id="one", roles=("api",), version="1", started_at=store.now(), seen_at=store.now()
    )


def test_a_sign_of_life_is_heard_while_every_connection_is_in_use(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        store = await database.store(pool_size=1, max_overflow=0, pool_wait_s=0.1)
        async with store._sessions.pool.connection():
            await store.beat(worker(store))
            assert [each.id for each in await (await database.store()).workers()] == ["one"]

    run(scenario())


def test_a_sign_of_life_that_had_to_wait_counts_from_when_it_came_through(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        store = await database.store(clock=wall_clock, keeps_own_time=False)
        await store.beat(worker(store))
        slow = await database.connection()
        await slow.execute("BEGIN")
        await slow.execute("SELECT FROM workers FOR UPDATE")
        beats = [asyncio.ensure_future(store.beat(worker(store))) for _ in range(2)]
        await database.waiting_for_locks(1)
        now = await slow.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        await slow.execute("COMMIT")
        await asyncio.gather(*beats)
        assert await slow.fetchval("SELECT seen_at FROM workers") >= now

    run(scenario())


def test_a_sign_of_life_that_comes_late_does_not_undo_a_later_one(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        store = await database.store()
        await store.beat(worker(store))
        db = await database.connection()
        heard = await db.fetchval("UPDATE workers SET seen_at = seen_at + 1000 RETURNING seen_at")
        await store.beat(worker(store))
        assert await db.fetchval("SELECT seen_at FROM workers") == heard

    run(scenario())


# ── the first start ───────────────────────────────────────────────────────────────────────────────

OPEN_IT: Final = """
    import asyncio, sys
    import structlog
    from triggers_api.app import wall_clock
    from triggers_api.failpoints import Failpoints
    from triggers_api.store.connect import StoreOptions, open_store
    from triggers_api.telemetry.metrics import Metrics

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

    async def main():
        print("ready", flush=True)
        sys.stdin.readline()
        store = await open_store(
            StoreOptions(database_url=sys.argv[1]), clock=wall_clock, metrics=Metrics(),
            failpoints=Failpoints(""), fatal=print,
        )
        claim = await store.claim_queue(1, 45)
        print(claim.token >> 32, (await store.signing_key()).hex(), flush=True)
        sys.stdin.readline()
        await store.close()

    asyncio.run(main())
"""


def test_eight_processes_that_find_an_empty_database_all_start_and_one_makes_the_schema(
    postgres: Postgres,
) -> None:
    name = postgres.create_database()
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(OPEN_IT), postgres.url(name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(AT_ONCE)
    ]
    try:
        for process in starting:
            assert told(process) == "ready"
        for process in starting:  # they are loaded, and begin at one moment
            say(process)
        answers = [told(process).split() for process in starting]
        assert len({number for number, _ in answers}) == AT_ONCE
        assert len({key for _, key in answers}) == 1, "they sign with one key"
        for process in starting:
            say(process)
        ended = [process.communicate(timeout=60) for process in starting]
    finally:
        for process in starting:
            process.kill()
            process.communicate()
    assert [process.returncode for process in starting] == [0] * AT_ONCE
    made = [line for _, said in ended for line in said.splitlines() if "schema migrated" in line]
    assert len(made) == len(migrations.load(PACKAGE))
    applied = postgres.execute("SELECT number FROM schema_migrations ORDER BY 1", database=name)
    assert applied == [(each.number,) for each in migrations.load(PACKAGE)]
    postgres.drop_database(name)


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        assert process.stderr is not None
        raise AssertionError(process.stderr.read())
    return line
