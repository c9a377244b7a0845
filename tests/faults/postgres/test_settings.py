"""What one process has confirmed holds for events that come in after it, whichever process they meet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.faults.endpoint import healthy
from tests.faults.history import load

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet


@pytest.mark.parametrize("ingest", ["async", pytest.param("sync", marks=pytest.mark.faults)])
def test_an_event_sent_after_the_201_of_a_subscription_is_delivered_to_it(
    make_fleet: MakeFleet, ingest: str
) -> None:
    """Made in one process, posted to another, routed by a third: nobody waits for news to spread."""

    async def run() -> None:
        fleet = make_fleet(apis=2, workers=1)
        _, posted_to = fleet.apis
        async with fleet:
            await fleet.start()
            await fleet.server.admin("PATCH", "/controls", {"ingest": ingest})
            await fleet.post(20)
            for number in range(20):
                kind = f"kind.{number}"
                endpoint = await fleet.endpoint(kind, healthy, [kind])
                await load(posted_to, fleet.history, [fleet.history.new(kind)])
                await endpoint.wait_for(1)
            found = await fleet.check_after_healing()
            assert len(found.deliveries) == 20

    asyncio.run(run())
