"""SIGKILL at each step of an event, in one process of several: another one goes on."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import TYPE_CHECKING

import pytest
from tests.faults.postgres.scenarios import crash_at

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet

VERBS = ("append", "claim_queue", "fan_out", "release", "claim_deliveries", "settle")
STEPS = tuple(f"{verb}.{side}_commit" for verb, side in product(VERBS, ("before", "after")))


@pytest.mark.faults
@pytest.mark.timeout(180)
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_of_one_process_at_any_step_costs_nothing(make_fleet: MakeFleet, step: str) -> None:
    # Every event's first routing fails, so that every event passes ``release``.
    bug = "routing_fails_once" if step.startswith("release.") else None
    asyncio.run(crash_at(make_fleet(apis=1, workers=2, bug=bug), step, at=3))
