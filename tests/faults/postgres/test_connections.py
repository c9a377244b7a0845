"""The way to the database fails: cut in a commit, swallowed, all of it taken."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.endpoint import healthy
from tests.faults.history import Outcome, post
from tests.faults.postgres.fleet import held
from tests.faults.postgres.scenarios import cut_the_commit, mark
from tests.faults.server import until
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet
    from tests.faults.postgres.fleet import Fleet
    from tests.servers.postgres import PostgresServer

RED_WITHIN_S: Final = 3.0
"""The monitor looks twice a second, and a store that has not answered for a second is not ready."""
GREEN_WITHIN_S: Final = 5.0
ANSWERED_WITHIN_S: Final = 25.0
"""A statement has 20 s to be answered, a connection 5 s to be made."""


async def turns(fleet: Fleet, status: int, *, within_s: float) -> float:
    """Wait until readiness says so; returns the seconds it took."""

    async def has_turned() -> bool:
        return (await fleet.server.ready()).status == status

    return await until(has_turned, f"readiness is {status}", within_s=within_s)


def test_a_connection_cut_in_a_commit_is_an_unknown_outcome_and_a_repetition_finds_the_event(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    asyncio.run(cut_the_commit(make_fleet(wholes=1), server, rounds=5))


def test_a_connection_lost_before_the_commit_is_an_unknown_outcome_and_a_repetition_is_accepted(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    """The statement waits for a lock when its connection is lost, and is ended with it."""

    async def run() -> None:
        fleet = make_fleet(wholes=1)
        url = server.url(fleet.database)
        async with fleet, Proxy("127.0.0.1", server.port) as proxy:
            await fleet.start(through={fleet.server: proxy})
            await fleet.endpoint("healthy", healthy)
            request = fleet.history.new("order.created", dedup=True)
            async with held(url, "LOCK TABLE events IN SHARE MODE"):
                posting = asyncio.create_task(post(fleet.front, fleet.history, request))
                await until(
                    lambda: waiting_for_locks(server, fleet.database) == 1, "it waits for the lock"
                )
                proxy.reset()
                told = await posting
                assert (told.status, told.code) == (503, "outcome-unknown")
                server.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = $1 AND wait_event_type = 'Lock'",
                    fleet.database,
                )
            proxy.pass_on()
            await fleet.ready()
            told = await post(fleet.front, fleet.history, request)
            assert told.status == 202
            await fleet.check_after_healing()

    asyncio.run(run())


@pytest.mark.faults
def test_a_repetition_that_overtakes_the_lost_statement_is_the_same_event(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    """What was lost still runs at the server when it is repeated: both are one row."""

    async def run() -> None:
        fleet = make_fleet(wholes=1)
        url = server.url(fleet.database)
        async with fleet, Proxy("127.0.0.1", server.port) as proxy:
            await fleet.start(through={fleet.server: proxy})
            await fleet.endpoint("healthy", healthy)
            request = fleet.history.new("order.created", dedup=True)
            # The books come last in the statement: its event is in the index by then.
            async with held(url, BOOKS):
                cut = proxy.cut_after(mark(request))
                told = await post(fleet.front, fleet.history, request)
                assert (told.status, told.code) == (503, "outcome-unknown")
                again = asyncio.create_task(post(fleet.front, fleet.history, request))
                await until(
                    lambda: waiting_for_locks(server, fleet.database) == 2, "both of them wait"
                )
            await cut.wait()
            assert (await again).status in {200, 202}
            found = await fleet.check_after_healing()
            assert len(found.events) == 1

    asyncio.run(run())


BOOKS: Final = """
INSERT INTO accounts AS a (organization_id, slot, events, deliveries)
SELECT id, slot, 0, 0 FROM organizations, generate_series(0, 15) AS slot
ON CONFLICT (organization_id, slot) DO UPDATE SET events = a.events
"""


def waiting_for_locks(server: PostgresServer, database: str) -> int:
    """How many statements wait for somebody's lock."""
    ((count,),) = server.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'",
        database,
    )
    return int(count)


def test_an_outcome_whose_settlement_was_not_confirmed_is_settled_once(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    """It is written down, and written again: the second time is stale, counted, and changes nothing."""

    async def run() -> None:
        fleet = make_fleet(wholes=1)
        async with fleet, Proxy("127.0.0.1", server.port) as proxy:
            await fleet.start(through={fleet.server: proxy})
            endpoint = await fleet.endpoint("healthy", answers_well)
            endpoint.says = "a word that is kept"
            cut = proxy.cut_after(endpoint.says.encode())
            await fleet.post()
            await cut.wait()
            await fleet.healed()
            await until(
                lambda: len(list(fleet.logged("settled too late, nothing changed"))) == 1,
                "it is settled again",
            )
            assert await fleet.metric("triggers_stale_leases_total", verb="settle") == 1
            found = await fleet.check_after_healing()
            assert [delivery.attempt_count for delivery in found.deliveries] == [1]
            assert len(endpoint.exchanges) == 1

    asyncio.run(run())


async def answers_well(_: object) -> int:
    """With a body, which 204 has none of."""
    return 200


@pytest.mark.faults
def test_routing_whose_confirmation_was_lost_makes_no_second_delivery(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    async def run() -> None:
        fleet = make_fleet(wholes=1)
        async with fleet, Proxy("127.0.0.1", server.port) as proxy:
            await fleet.start(through={fleet.server: proxy})
            endpoint = await fleet.endpoint("healthy", healthy)
            (subscriber,) = fleet.subscribers
            # Nobody else names the subscription to the database before its delivery is there.
            cut = proxy.cut_after(bytes.fromhex(subscriber.id.partition("_")[2]))
            await fleet.post()
            await cut.wait()
            await fleet.healed()
            found = await fleet.check_after_healing()
            assert len(found.deliveries) == 1
            assert len(endpoint.exchanges) == 1

    asyncio.run(run())


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_behind_a_black_hole_everybody_is_answered_and_afterwards_all_goes_on(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    async def run() -> None:
        fleet = make_fleet(wholes=1)
        async with fleet, Proxy("127.0.0.1", server.port) as proxy:
            await fleet.start(through={fleet.server: proxy})
            await fleet.endpoint("healthy", healthy)
            await fleet.post(200, clients=64)
            # Many connections are open and idle: none of them is worth waiting for.
            answers = await asyncio.gather(
                *(fleet.server.call("GET", "/api/events?limit=100") for _ in range(60))
            )
            assert {answer.status for answer in answers} == {200}
            await fleet.healed()

            proxy.swallow()
            began = time.monotonic()
            red = asyncio.create_task(turns(fleet, 503, within_s=RED_WITHIN_S))
            swallowed = await fleet.post(50, clients=50)
            took_s = time.monotonic() - began
            print(f"answered in {took_s:.1f} s, red after {await red:.1f} s")  # noqa: T201
            assert {told.status for each in swallowed for told in each.told} == {503}
            assert took_s < ANSWERED_WITHIN_S
            # Who comes later is not kept waiting as long: nothing moves.
            began = time.monotonic()
            late = await fleet.post(50, clients=50)
            print(f"the next ones in {time.monotonic() - began:.1f} s")  # noqa: T201
            assert {told.status for each in late for told in each.told} == {503}

            proxy.pass_on()
            print(f"green after {await turns(fleet, 200, within_s=GREEN_WITHIN_S):.1f} s")  # noqa: T201
            assert {each.outcome for each in await fleet.post(50)} == {Outcome.ACCEPTED}
            await fleet.repeat_unknown()
            await fleet.check_after_healing(within_s=90)

    asyncio.run(run())


POOL_WAIT_S: Final = 1.0
LOCK_WAIT_S: Final = 5.0
"""The server's own limit for a statement that waits for a lock (docs/reference/settings.md)."""


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_an_exhausted_pool_refuses_within_its_wait_and_recovers(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    """Two connections, both taken by statements that hang."""

    async def run() -> None:
        fleet = make_fleet(apis=1, db_pool_size=2, db_max_overflow=0, db_pool_wait_s=POOL_WAIT_S)
        async with fleet:
            await fleet.start()
            await fleet.post(20)
            async with held(server.url(fleet.database), "LOCK TABLE events"):
                hanging = [
                    asyncio.create_task(fleet.server.call("GET", "/api/events")) for _ in range(2)
                ]
                await until(lambda: waiting_for_locks(server, fleet.database) == 2, "both hang")
                began = time.monotonic()
                refused = await fleet.post(20, clients=20)
                took_s = time.monotonic() - began
                assert {told.status for each in refused for told in each.told} == {503}
                assert {each.outcome for each in refused} == {Outcome.REFUSED}
                assert took_s < POOL_WAIT_S + 1.0, took_s
                await turns(fleet, 503, within_s=RED_WITHIN_S)
                assert {(await each).status for each in hanging} == {503}
            await turns(fleet, 200, within_s=GREEN_WITHIN_S)
            assert {each.outcome for each in await fleet.post(20)} == {Outcome.ACCEPTED}
            await fleet.stop()
            fleet.invariants.check(await fleet.dump(), healed=False)

    asyncio.run(run())
