"""Switches turned to and fro under load: what was accepted goes on, once, whatever they said then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.faults.endpoint import flaky, healthy
from tests.faults.history import Outcome, load

if TYPE_CHECKING:
    from tests.faults.rig import Rig

TURNS = 60


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_switches_turned_again_and_again_under_load_cost_nothing(rig: Rig) -> None:
    """Routing and delivery paused and resumed, ingest async, sync and refused, a kill in between."""

    async def run() -> None:
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", healthy, ["order.*"])
            await rig.endpoint("flaky", flaky(rig.rng))
            done = asyncio.Event()

            async def turns(count: int) -> None:
                choices = {
                    "ingest": ("async", "sync", "refuse"),
                    "processing": ("running", "paused"),
                    "delivery": ("running", "paused"),
                }
                for _ in range(count):
                    switch = rig.rng.choice(list(choices))
                    position = rig.rng.choice(choices[switch])
                    await rig.server.admin("PATCH", "/controls", {switch: position})
                    await rig.history.wait_for_answers(rig.history.answers + rig.rng.randint(1, 30))
                done.set()

            async def traffic() -> None:
                while not done.is_set():
                    await load(rig.server, rig.history, rig.requests(50), clients=8)

            for _ in range(2):
                done.clear()
                await asyncio.gather(turns(TURNS), traffic())
                rig.server.kill()
                rig.invariants.check(rig.dump(), healed=False)
                await rig.server.start()
            said = {told.code for request in rig.history.requests for told in request.told}
            assert said == {None, "refusing"}
            on = {"ingest": "async", "processing": "running", "delivery": "running"}
            await rig.server.admin("PATCH", "/controls", on)
            await rig.check_after_healing()
            assert len(rig.history.of(Outcome.ACCEPTED)) > TURNS

    asyncio.run(run())
