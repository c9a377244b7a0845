"""Consumers that compete on the embedded engine, whose server is killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.faults.inbox import kill_the_server

if TYPE_CHECKING:
    from tests.faults.rig import Rig


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_competing_consumers_get_each_event_to_themselves_through_kills(rig: Rig) -> None:
    asyncio.run(kill_the_server(rig, events=1500))


@pytest.mark.faults
@pytest.mark.timeout(200)
def test_a_product_that_believes_every_receipt_is_found_out(rig: Rig) -> None:
    rig.serve(bug="believes_every_receipt")
    with pytest.raises(AssertionError, match="acknowledged twice"):
        asyncio.run(kill_the_server(rig, events=400))
