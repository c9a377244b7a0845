"""Wake-ups between processes: soon, few, and found again; without them polling goes on."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.postgres.conftest import event, until

from triggers_api.store.postgres import listener as listener_module
from triggers_api.store.postgres.listener import DELIVERIES, QUEUE

if TYPE_CHECKING:
    from tests.conftest import Log, Run
    from tests.postgres.conftest import Database

    from triggers_api.store.postgres.listener import Announcer
    from triggers_api.store.postgres.store import PostgresStore

SOON_S: Final = 0.1
LISTENING: Final = (
    "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity"
    " WHERE datname = $1 AND application_name = 'triggers listener'"
)

Wait = Callable[[float], Coroutine[Any, Any, None]]


async def listening(store: PostgresStore) -> None:
    """Wait until notices arrive, and let what has come go by."""
    listener = store._listener
    assert listener is not None
    await until(lambda: listener.connected, "it listens")
    await quiet(store.wait_queue)
    await quiet(store.wait_deliveries)


async def quiet(wait: Wait) -> None:
    """Until no notice is left over or on its way."""
    while await is_woken(wait, within_s=0.15):
        pass


def quickly(took_s: list[float]) -> float:
    """What a quarter of them took at most: those while the machine had little else to do."""
    return statistics.quantiles(took_s, n=4)[0]


async def is_woken(wait: Wait, *, within_s: float) -> bool:
    waiting = asyncio.ensure_future(wait(3600))
    done, _ = await asyncio.wait([waiting], timeout=within_s)
    if not done:
        waiting.cancel()
        await asyncio.wait([waiting])
    return bool(done)


def test_an_event_in_one_process_wakes_the_other_within_a_tenth_of_a_second(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        one, other = await database.store(), await database.store()
        organization = await database.organization(one)
        await listening(other)
        took_s = []
        for _ in range(20):
            waiting = asyncio.ensure_future(other.wait_queue(3600))
            await asyncio.sleep(0)
            await one.append([event(one, organization)])
            began = time.perf_counter()
            await waiting
            took_s.append(time.perf_counter() - began)
            await quiet(other.wait_queue)
        assert quickly(took_s) < SOON_S, took_s

    run(scenario())


def test_a_delivery_in_one_process_wakes_the_other_within_a_tenth_of_a_second(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        one, other = await database.store(), await database.store()
        await listening(other)
        took_s = []
        for _ in range(20):
            waiting = asyncio.ensure_future(other.wait_deliveries(3600))
            await asyncio.sleep(0)
            one.wake_deliveries(everywhere=True)
            began = time.perf_counter()
            await waiting
            took_s.append(time.perf_counter() - began)
            await quiet(other.wait_deliveries)
        assert quickly(took_s) < SOON_S, took_s

    run(scenario())


def test_what_concerns_this_process_only_is_not_told_to_others(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        one, other = await database.store(), await database.store()
        await listening(other)
        one.wake_deliveries()
        one.wake_queue()
        assert not await is_woken(other.wait_queue, within_s=0.2)
        assert not await is_woken(other.wait_deliveries, within_s=0.05)

    run(scenario())


def test_a_thousand_appends_make_few_notices(run: Run, database: Database) -> None:
    """Each of them has the commits of the whole server wait in line."""

    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        heard: list[str] = []
        db = await database.connection()
        for channel in (QUEUE, DELIVERIES):
            await db.add_listener(channel, lambda _, __, channel, ___: heard.append(channel))
        began = time.perf_counter()
        for _ in range(1000):
            await store.append([event(store, organization)])
        took_s = time.perf_counter() - began
        await until(lambda: len(heard) > 0, "something was announced")
        await store._announcer.close()
        await db.execute("SELECT 1")  # what was sent by then has come before this answer
        assert set(heard) == {QUEUE}
        assert len(heard) <= took_s / 0.02 + 2, f"{len(heard)} notices in {took_s:.1f} s"

    run(scenario())


class Telling:
    """An announcer's announcements: that one has begun is seen however short it is."""

    def __init__(self, announcer: Announcer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.may_go_on = asyncio.Event(), asyncio.Event()
        self._tell = announcer._tell
        monkeypatch.setattr(announcer, "_tell", self._held)

    async def _held(self, channels: list[str]) -> None:
        self.begun.set()
        await self.may_go_on.wait()
        await self._tell(channels)


def test_what_is_announced_while_an_announcement_is_under_way_is_announced_after_it(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        store = await database.store()
        heard: list[str] = []
        db = await database.connection()
        for channel in (QUEUE, DELIVERIES):
            await db.add_listener(channel, lambda _, __, channel, ___: heard.append(channel))
        announcer = store._announcer
        telling = Telling(announcer, monkeypatch)
        announcer.announce(QUEUE)
        await telling.begun.wait()
        announcer.announce(DELIVERIES)
        announcer.announce(DELIVERIES)
        telling.may_go_on.set()
        await until(lambda: DELIVERIES in heard, "the later one is heard")
        assert heard == [QUEUE, DELIVERIES]

    run(scenario())


def test_what_is_announced_together_is_heard_of_each_kind_once(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        store = await database.store()
        heard: list[str] = []
        db = await database.connection()
        for channel in (QUEUE, DELIVERIES):
            await db.add_listener(channel, lambda _, __, channel, ___: heard.append(channel))
        for channel in (QUEUE, DELIVERIES, QUEUE):
            store._announcer.announce(channel)
        await until(lambda: len(heard) >= 2, "both are heard")
        await store._announcer.close()
        await db.execute("SELECT 1")
        assert sorted(heard) == [DELIVERIES, QUEUE]

    run(scenario())


def test_a_lost_connection_is_made_again_and_what_was_missed_meanwhile_is_looked_for(
    run: Run, database: Database, log: Log
) -> None:
    async def scenario() -> None:
        one, other = await database.store(), await database.store()
        organization = await database.organization(one)
        await listening(other)
        listener = other._listener
        assert listener is not None
        for _ in range(3):
            assert database.asked(LISTENING, database.name) >= 1
            await until(lambda: not listener.connected, "it has noticed")
            # Nobody hears of this one.
            waiting = asyncio.ensure_future(other.wait_queue(3600))
            await until(lambda: listener.connected, "it listens again")
            assert listener._failures == 0, "the next loss is not waited for longer than this one"
            await waiting
            await listening(other)
            await one.append([event(one, organization)])
            assert await is_woken(other.wait_queue, within_s=10)

    run(scenario())
    told = [line for line in log if line["event"] == "not listening for notices, polling instead"]
    assert told == [], "a connection that is back at once is not worth a line"


def test_while_nothing_is_heard_polling_goes_on(run: Run, database: Database, log: Log) -> None:
    async def scenario() -> None:
        one = await database.store()
        other = await database.store(direct_url="postgresql://postgres@127.0.0.1:1/nowhere")
        organization = await database.organization(one)
        listener = other._listener
        assert listener is not None
        await until(lambda: listener._failures > 1, "it has tried more than once")
        assert not listener.connected
        await one.append([event(one, organization)])
        began = time.monotonic()
        await other.wait_queue(0.05)
        assert time.monotonic() - began < 30
        assert len((await other.claim_queue(10, 45)).events) == 1

    run(scenario())
    told = [line for line in log if line["event"] == "not listening for notices, polling instead"]
    assert len(told) == 1


def test_a_server_that_is_gone_without_a_word_is_found_by_asking(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "_LOOK_EVERY_S", 0.1)

    async def scenario() -> None:
        async with database.proxy() as proxy:
            store = await database.store(direct_url=proxy.url(database.url))
            await listening(store)
            listener = store._listener
            assert listener is not None
            proxy.swallow()
            await until(lambda: not listener.connected, "it has noticed")
            proxy.pass_on()
            await until(lambda: listener.connected, "it listens again")
            store._announcer.announce(QUEUE)
            assert await is_woken(store.wait_queue, within_s=10)
            await store.close()

    run(scenario())


def test_an_announcement_that_cannot_be_sent_harms_nobody(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        store = await database.store()
        database.server.shut_out(database.name)
        announcer = store._announcer
        telling = Telling(announcer, monkeypatch)
        store.wake_deliveries(everywhere=True)
        await telling.begun.wait()
        telling.may_go_on.set()
        await until(lambda: announcer._sending is None, "it has given up")
        database.server.let_in(database.name)
        await listening(store)
        store.wake_deliveries(everywhere=True)
        assert await is_woken(store.wait_deliveries, within_s=10)

    run(scenario())


def test_closing_leaves_no_connection_and_no_task_behind(run: Run, database: Database) -> None:
    async def scenario() -> None:
        before = asyncio.all_tasks()
        store = await database.store()
        await listening(store)
        store.wake_deliveries(everywhere=True)
        await store.close()
        assert asyncio.all_tasks() == before
        await until(lambda: database.server.connections(database.name) == [], "all have gone")

    run(scenario())
