"""Strict order on the embedded engine, whose server is killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.faults.order import SLOW, kill_the_server

if TYPE_CHECKING:
    from tests.faults.rig import Rig


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_strict_order_outlives_a_server_that_is_killed_again_and_again(rig: Rig) -> None:
    asyncio.run(kill_the_server(rig, rounds=10))


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_a_product_in_which_nothing_waits_for_its_turn_is_found_out(rig: Rig) -> None:
    rig.serve(bug="has_everything_due_at_once", retry_schedule=SLOW)
    with pytest.raises(AssertionError, match="out of order"):
        asyncio.run(kill_the_server(rig, rounds=1))
