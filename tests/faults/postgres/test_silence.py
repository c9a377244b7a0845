"""Workers that are not heard of: others take what they hold, and what they write later is stale."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.faults.endpoint import healthy
from tests.faults.postgres.fleet import FREED_WITHIN_S
from tests.faults.postgres.scenarios import (
    fall_silent,
    lose_the_database,
    stand_still,
    stop_the_database,
)
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet
    from tests.servers.postgres import PostgresServer

LEASE_S = 45.0
TIMEOUT_S = 30.0


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_the_deliveries_of_a_worker_that_stands_still_are_sent_by_another_within_10_s(
    make_fleet: MakeFleet,
) -> None:
    fleet = make_fleet(apis=1, workers=2, lease_s=LEASE_S, delivery_timeout_s=TIMEOUT_S)
    freed_in_s = asyncio.run(stand_still(fleet))
    print(f"freed in {freed_in_s:.1f} s")  # noqa: T201
    assert freed_in_s < FREED_WITHIN_S


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_the_deliveries_of_a_worker_behind_a_black_hole_are_sent_by_another_within_10_s(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    async def run() -> float:
        fleet = make_fleet(apis=1, workers=2, lease_s=LEASE_S, delivery_timeout_s=TIMEOUT_S)
        silent, _ = fleet.workers
        async with fleet, Proxy("127.0.0.1", server.port) as proxy:
            await fleet.server.start()
            await silent.start(database_url=proxy.url(server.url(fleet.database)))
            return await fall_silent(fleet, silent, fall=proxy.swallow, wake=proxy.pass_on)

    freed_in_s = asyncio.run(run())
    print(f"freed in {freed_in_s:.1f} s")  # noqa: T201
    assert freed_in_s < FREED_WITHIN_S


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_the_events_of_a_worker_that_dies_while_routing_are_routed_by_another_within_10_s(
    make_fleet: MakeFleet,
) -> None:
    async def run() -> None:
        fleet = make_fleet(apis=1, workers=2, lease_s=LEASE_S, delivery_timeout_s=TIMEOUT_S)
        killed, other = fleet.workers
        async with fleet:
            await fleet.server.start()
            await other.start()
            await fleet.endpoint("healthy", healthy)
            await fleet.server.admin("PATCH", "/controls", {"processing": "paused"})
            await killed.start(failpoints="claim_queue.after_commit=crash")
            await fleet.post(20)
            await other.stop()
            await fleet.server.admin("PATCH", "/controls", {"processing": "running"})
            await killed.ended()
            await other.start()
            began = asyncio.get_running_loop().time()
            await fleet.healed()
            freed_in_s = asyncio.get_running_loop().time() - began
            print(f"freed in {freed_in_s:.1f} s")  # noqa: T201
            assert freed_in_s < FREED_WITHIN_S
            living = [fleet.server, other]
            assert (
                await fleet.metric("triggers_recovered_total", servers=living, kind="event") == 20
            )
            await killed.start()
            await fleet.check_after_healing()

    asyncio.run(run())


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_when_the_database_was_away_nobody_takes_from_who_was_as_silent(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    fleet = make_fleet(apis=1, workers=2, lease_s=120, delivery_timeout_s=90)
    asyncio.run(stop_the_database(fleet, server, away_s=15))


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_who_finds_the_database_again_first_takes_nothing_from_who_finds_it_later(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    """A network comes back to one machine a few seconds before it does to another."""

    async def run() -> None:
        fleet = make_fleet(apis=1, workers=2, lease_s=120, delivery_timeout_s=90)
        url = server.url(fleet.database)
        async with (
            fleet,
            Proxy("127.0.0.1", server.port) as sooner,
            Proxy("127.0.0.1", server.port) as later,
        ):

            async def outage() -> None:
                sooner.swallow()
                later.swallow()
                await asyncio.sleep(15)
                sooner.pass_on()
                await asyncio.sleep(4)
                later.pass_on()

            await fleet.server.start(database_url=sooner.url(url))
            await fleet.workers[0].start(database_url=sooner.url(url))
            await lose_the_database(fleet, outage, second_url=later.url(url))

    asyncio.run(run())
