"""Machines whose clocks disagree: leases and due times go by the database's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.faults.postgres.scenarios import disagree

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet


@pytest.mark.faults
def test_workers_whose_clocks_are_minutes_apart_take_nothing_from_each_other_and_send_in_time(
    make_fleet: MakeFleet,
) -> None:
    asyncio.run(
        disagree(
            make_fleet(apis=1, workers=2, delivery_timeout_s=30),
            ahead="clock_ahead",
            behind="clock_behind",
        )
    )
