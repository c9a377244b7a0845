"""The same event from many clients, through several processes, at the same moment: one row, one id."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.faults.endpoint import healthy
from tests.faults.history import post
from tests.faults.postgres.scenarios import post_identical, post_together

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet


def test_of_64_identical_posts_over_two_processes_one_is_accepted(make_fleet: MakeFleet) -> None:
    asyncio.run(post_identical(make_fleet(wholes=2), rounds=5))


@pytest.mark.faults
def test_twins_of_an_event_that_is_being_deleted_are_one_event_at_a_time(
    make_fleet: MakeFleet,
) -> None:
    """Whoever posts is told 202, or 200 with the event that was there; nothing is left in between."""

    async def run() -> None:
        fleet = make_fleet(wholes=2)
        async with fleet:
            await fleet.start()
            await fleet.endpoint("healthy", healthy)
            request = fleet.history.new("order.created", dedup=True)

            async def delete(event_id: str | None) -> int:
                answer = await fleet.front.call("DELETE", f"/api/events/{event_id}", b"")
                return answer.status

            for _ in range(10):
                request.told.clear()
                there = (await post(fleet.front, fleet.history, request)).event_id
                deleted, _ = await asyncio.gather(delete(there), post_together(fleet, request))
                assert deleted in {204, 404}
                assert {told.status for told in request.told} <= {200, 202}
                accepted = [told.event_id for told in request.told[1:] if told.status == 202]
                assert len(accepted) <= 1
                assert request.ids <= {there, *accepted}
            await fleet.healed()
            found = await fleet.dump()
            holders = {event.id for event in found.events if event.dedup_id == request.dedup_id}
            assert holders <= set(accepted or [there])
            assert found.integrity == "ok"

    asyncio.run(run())
