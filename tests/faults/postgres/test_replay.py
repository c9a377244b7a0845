"""A replay whose workers are killed ends with exactly one new delivery for each match."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.faults import replays
from tests.faults.endpoint import Endpoint, healthy

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet
    from tests.faults.postgres.fleet import Fleet


async def kill_workers(fleet: Fleet, number: int, rate: float | None, crash: str = "") -> None:
    """Replay dead letters; one worker after the other dies, at a step or at a third of the way each."""
    url = fleet.postgres.url(fleet.database)
    async with Endpoint("hook", healthy) as endpoint, fleet:
        await replays.plant(fleet.folder, url, endpoint, number)
        await fleet.server.start()
        for worker in fleet.workers:
            await worker.start(failpoints=crash)
        job_id = await replays.ask_for_replay(fleet.server, rate=rate)
        for third, worker in enumerate(fleet.workers, start=1):
            if crash:
                await worker.ended()
            else:
                await replays.reached(fleet.server, job_id, number * third // 3)
                worker.kill()
        _, made = await replays.rows_of_database(url)
        assert len(made) < number
        for worker in fleet.workers:
            await worker.start()
        ended = await replays.finished(fleet.server, job_id)
        await replays.idle(fleet.server)
        await fleet.stop()
        replays.check(ended, number, *await replays.rows_of_database(url), rate=rate)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "crash",
    [
        pytest.param("advance_job.before_commit=crash@2", marks=pytest.mark.faults),
        "advance_job.after_commit=crash@2",
    ],
)
def test_a_replay_whose_workers_die_at_a_step_makes_each_delivery_once(
    make_fleet: MakeFleet, crash: str
) -> None:
    asyncio.run(kill_workers(make_fleet(apis=1, workers=2), 3000, None, crash))


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_replay_of_20000_dead_letters_whose_workers_are_killed_makes_each_delivery_once(
    make_fleet: MakeFleet,
) -> None:
    asyncio.run(kill_workers(make_fleet(apis=1, workers=2), 20_000, 2500))


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_a_replay_that_stores_its_place_before_its_deliveries_is_found_out(
    make_fleet: MakeFleet,
) -> None:
    fleet = make_fleet(apis=1, workers=2, bug="postgres_replays_after_its_place")
    with pytest.raises(AssertionError, match=r"\d+ dead letters have no new delivery"):
        asyncio.run(kill_workers(fleet, 3000, None, "advance_job.after_commit=crash@2"))
