"""What each process says of the others and of the database, and how soon: readiness and metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.endpoint import healthy
from tests.faults.server import until
from tests.faults.states import AWAY, FINE, SEEN_WITHIN_S, SLACK_S, all_say, says
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet
    from tests.servers.postgres import PostgresServer

MISSED_WITHIN_S: Final = 10.0

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]


def test_a_dead_worker_is_seen_by_its_peers_until_another_takes_its_place(
    make_fleet: MakeFleet,
) -> None:
    async def run() -> None:
        fleet = make_fleet(apis=1, workers=2)
        one, other = fleet.workers
        api = fleet.server
        async with fleet:
            await fleet.start()
            await all_say(fleet.all, FINE, within_s=5)
            assert await api.metric("triggers_processes", role="processor") == 2
            # One that ends in order is missed by nobody.
            await one.stop()

            async def has_left() -> bool:
                return await api.metric("triggers_processes", role="processor") == 1

            await until(has_left, "one has left", within_s=5)
            assert FINE.items() <= (await says(api)).items()
            assert await api.metric("triggers_processes_lost_total") == 0
            await one.start()
            await all_say(fleet.all, FINE, within_s=5)

            one.kill()
            lost = FINE | {"status": "degraded", "workers": "lost", "workers ok": 0}
            took_s = await all_say(fleet.all, lost, within_s=MISSED_WITHIN_S)
            print(f"missed after {took_s:.1f} s")  # noqa: T201
            assert await api.metric("triggers_processes_lost_total") == 1
            await one.start()
            await all_say(fleet.all, FINE, within_s=5)

            one.kill()
            other.kill()
            none = lost | {"workers": "none"}
            took_s = await all_say(fleet.all, none, within_s=MISSED_WITHIN_S)
            print(f"nobody is left after {took_s:.1f} s")  # noqa: T201
            # What is accepted meanwhile waits for a worker.
            await fleet.endpoint("healthy", healthy)
            await fleet.post(10)
            await asyncio.gather(one.start(), other.start())
            await all_say(fleet.all, FINE, within_s=5)
            await fleet.check_after_healing()

    asyncio.run(run())


def test_a_database_that_is_away_is_seen_within_2_s_and_so_is_its_return(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    async def run() -> None:
        fleet = make_fleet(apis=1, workers=1)
        async with fleet:
            await fleet.start()
            await all_say(fleet.all, FINE, within_s=5)
            failures = await fleet.server.metric("triggers_store_failures_total", verb="check")
            server.stop("immediate")
            wanted = AWAY | {"store": "store-unavailable"}
            took_s = await all_say(fleet.all, wanted, within_s=SEEN_WITHIN_S + SLACK_S)
            print(f"red after {took_s:.1f} s")  # noqa: T201
            for each in fleet.all:
                assert (await each.call("GET", "/livez", key=None)).status == 200
            assert (
                await fleet.server.metric("triggers_store_failures_total", verb="check") > failures
            )
            server.start()
            took_s = await all_say(fleet.all, FINE, within_s=10)
            print(f"green after {took_s:.1f} s")  # noqa: T201

    asyncio.run(run())


def test_a_database_that_turned_read_only_is_seen_within_2_s(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    async def run() -> None:
        fleet = make_fleet(apis=1, workers=1)
        async with fleet:
            await fleet.start()
            await all_say(fleet.all, FINE, within_s=5)
            turn_read_only(server, "on")
            wanted = AWAY | {"store": "store-unavailable"}
            took_s = await all_say(fleet.all, wanted, within_s=SEEN_WITHIN_S + SLACK_S)
            print(f"red after {took_s:.1f} s")  # noqa: T201
            turn_read_only(server, "off")
            took_s = await all_say(fleet.all, FINE, within_s=SEEN_WITHIN_S + SLACK_S)
            print(f"green after {took_s:.1f} s")  # noqa: T201

    asyncio.run(run())


def turn_read_only(server: PostgresServer, value: str) -> None:
    """Every transaction that begins from now on, whoever's session it is."""
    server.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    server.execute("SELECT pg_reload_conf()")


def test_a_database_that_does_not_answer_is_seen_within_2_s(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    """Nothing fails: what was asked is swallowed."""

    async def run() -> None:
        fleet = make_fleet(wholes=1)
        async with fleet, Proxy("127.0.0.1", server.port) as proxy:
            await fleet.start(through={fleet.server: proxy})
            await all_say(fleet.all, FINE, within_s=5)
            proxy.swallow()
            wanted = AWAY | {"store": "store-unavailable"}
            took_s = await all_say(fleet.all, wanted, within_s=SEEN_WITHIN_S + SLACK_S)
            print(f"red after {took_s:.1f} s")  # noqa: T201
            proxy.pass_on()
            took_s = await all_say(fleet.all, FINE, within_s=10)
            print(f"green after {took_s:.1f} s")  # noqa: T201

    asyncio.run(run())
