"""Consumers that compete for one inbox through several processes that are killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.faults.inbox import kill_some

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_competing_consumers_get_each_event_to_themselves_through_kills(
    make_fleet: MakeFleet,
) -> None:
    asyncio.run(kill_some(make_fleet(apis=3, workers=1), events=1000))


@pytest.mark.faults
@pytest.mark.timeout(200)
def test_a_product_in_which_pulls_do_not_wait_for_each_other_is_found_out(
    make_fleet: MakeFleet,
) -> None:
    fleet = make_fleet(apis=3, bug="pulls_at_once")
    with pytest.raises(AssertionError, match=r"in two hands|acknowledged twice"):
        asyncio.run(kill_some(fleet, events=600))
