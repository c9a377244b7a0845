"""Many processes, workers that are killed, a database that is restarted in every way: all at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.faults.postgres.scenarios import restart_under_load

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet
    from tests.servers.postgres import PostgresServer


@pytest.mark.timeout(240)
def test_killed_workers_and_each_kind_of_restart_cost_no_event(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    fleet = make_fleet(apis=2, workers=3, lease_s=8)
    asyncio.run(
        restart_under_load(
            fleet,
            server,
            events=2000,
            restarts=("fast", "immediate", "kill"),
            kills_apart_s=(1.0, 2.0),
            stands_still=False,
        )
    )


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_fifty_thousand_events_outlive_killed_workers_and_restarts_of_the_database(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    fleet = make_fleet(apis=2, workers=3, lease_s=15)
    asyncio.run(
        restart_under_load(
            fleet,
            server,
            events=50_000,
            restarts=("fast", "immediate", "kill") * 3,
            kills_apart_s=(2.0, 5.0),
            stands_still=True,
        )
    )
