"""A replay whose process is killed ends with exactly one new delivery for each match."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest
from tests.faults.endpoint import Endpoint, healthy
from tests.faults.replays import kill_half_way
from tests.faults.server import Server

STEPS: Final = (
    "advance_job.before_commit=crash@3",
    "advance_job.after_commit=crash@3",
    "claim_job.after_commit=crash@4",
)


async def replay(
    folder: Path, number: int, rate: float | None, crash: str = "", bug: str | None = None
) -> None:
    async with Endpoint("hook", healthy) as endpoint, Server(folder, bug=bug) as server:
        await kill_half_way(server, endpoint, number, rate=rate, crash=crash)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("crash", STEPS)
def test_a_replay_that_dies_at_a_step_makes_each_delivery_once(tmp_path: Path, crash: str) -> None:
    asyncio.run(replay(tmp_path, 1200, None, crash))


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_a_replay_of_20000_dead_letters_killed_half_way_makes_each_delivery_once(
    tmp_path: Path,
) -> None:
    asyncio.run(replay(tmp_path, 20_000, 2500))


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_a_replay_that_stores_its_place_before_its_deliveries_is_found_out(
    tmp_path: Path,
) -> None:
    with pytest.raises(AssertionError, match=r"500 dead letters have no new delivery"):
        asyncio.run(
            replay(
                tmp_path,
                1200,
                None,
                "advance_job.after_commit=crash@3",
                bug="replays_after_its_place",
            )
        )
