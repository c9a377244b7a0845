"""SIGKILL at instants that nobody chose: nothing accepted is lost, nothing is there twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.faults.endpoint import flaky, healthy
from tests.faults.history import Outcome, load

from triggers_api.app import wall_clock

if TYPE_CHECKING:
    from tests.faults.rig import Rig

TYPES = ("order.created", "order.paid", "invoice.sent", "nobody.wants")


async def kill_under_load(rig: Rig, rounds: int) -> None:
    """Serve, load, kill at a random instant, serve again; at the end heal and check everything."""
    rng = rig.rng
    async with rig:
        await rig.server.start()
        await rig.endpoint("healthy", healthy, ["order.*", "invoice.*"])
        await rig.endpoint("flaky", flaky(rng), ["order.*"])
        for _ in range(rounds):
            await rig.repeat_unknown(share=0.5)
            # In sync mode an event is routed in the transaction that stores it.
            await rig.server.admin(
                "PATCH", "/controls", {"ingest": rng.choice(("async", "async", "sync"))}
            )
            requests = rig.requests(rng.randint(200, 500), TYPES)
            for request in rng.sample(requests, 10):
                request.deliver_at = str(wall_clock().after(seconds=rng.choice((0.1, 2))))
            kill_at = rig.history.answers + rng.randint(1, len(requests))

            async def killer(at: int = kill_at) -> None:
                await rig.history.wait_for_answers(at)
                await asyncio.sleep(rng.choice((0.0, 0.01, 0.3)) * rng.random())
                rig.server.kill()

            await asyncio.gather(load(rig.server, rig.history, requests), killer())
            found = rig.dump()
            rig.invariants.check(found, healed=False)
            await rig.server.start()
        await rig.repeat_unknown()
        assert len(rig.history.of(Outcome.ACCEPTED)) > rounds
        await rig.check_after_healing()


@pytest.mark.timeout(180)
def test_a_killed_server_has_lost_nothing_that_it_accepted(rig: Rig) -> None:
    asyncio.run(kill_under_load(rig, rounds=2))


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_server_killed_fifty_times_has_lost_nothing_that_it_accepted(rig: Rig) -> None:
    asyncio.run(kill_under_load(rig, rounds=50))
