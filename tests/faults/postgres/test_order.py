"""Strict order through several workers that are killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.faults.order import SLOW, kill_workers

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_strict_order_outlives_workers_that_are_killed_again_and_again(
    make_fleet: MakeFleet,
) -> None:
    fleet = make_fleet(apis=2, workers=3, lease_s=5, delivery_timeout_s=2)
    asyncio.run(kill_workers(fleet, events=400))


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_product_in_which_nothing_waits_for_its_turn_is_found_out(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(
        apis=1,
        workers=2,
        lease_s=5,
        delivery_timeout_s=2,
        bug="has_everything_due_at_once",
        retry_schedule=SLOW,
    )
    with pytest.raises(AssertionError, match="out of order"):
        asyncio.run(kill_workers(fleet, events=60))
