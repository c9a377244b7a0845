"""An event that routing fails for, or that kills who routes it: it alone is set aside."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import aiohttp
import pytest
from tests.faults.endpoint import healthy
from tests.faults.history import load
from tests.faults.server import NotStarted, until

if TYPE_CHECKING:
    from tests.faults.rig import Rig

MAX_ATTEMPTS = 3


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_an_event_that_routing_fails_for_is_set_aside_alone(rig: Rig) -> None:
    async def run() -> None:
        rig.serve(bug="routing_fails", max_process_attempts=MAX_ATTEMPTS)
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", healthy)
            requests = rig.requests(50)
            requests.insert(25, rig.history.new("poison"))
            await load(rig.server, rig.history, requests)
            found = await rig.check_after_healing(set_aside=["poison"])
            assert len(found.deliveries) == 50
            (line,) = rig.server.logged("event set aside")
            assert line["attempts"] == MAX_ATTEMPTS

    asyncio.run(run())


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_an_event_that_kills_the_process_is_set_aside_alone(rig: Rig) -> None:
    """A supervisor starts the process again each time, as supervisors do."""
    starts = 0

    async def run() -> None:
        nonlocal starts
        rig.serve(max_process_attempts=MAX_ATTEMPTS)
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", healthy)
            await rig.server.admin("PATCH", "/controls", {"processing": "paused"})
            requests = rig.requests(20)
            requests.insert(10, rig.history.new("poison"))
            await load(rig.server, rig.history, requests, clients=1)
            await rig.server.admin("PATCH", "/controls", {"processing": "running"})
            rig.server.kill()

            rig.server.bug = "routing_kills"
            while await dies(rig):
                starts += 1
                assert starts < 20, "it is killed again and again"
            found = await rig.check_after_healing(set_aside=["poison"])
            assert len(found.deliveries) == 20
            assert starts <= MAX_ATTEMPTS + 2

    async def dies(rig: Rig) -> bool:
        """Whether the process dies before everything is done."""
        done = False

        async def ends() -> bool:
            nonlocal done
            with contextlib.suppress(aiohttp.ClientError):
                done = await rig.server.idle()
            return done or rig.server.poll() is not None

        try:
            await rig.server.start()
        except NotStarted as ended:
            return ended.code == -signal.SIGKILL
        await until(ends, "it dies, or has done everything")
        return not done

    asyncio.run(run())
