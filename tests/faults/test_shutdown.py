"""SIGTERM under load: what was answered is stored, what is in flight is settled or given back."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest
from tests.faults.endpoint import Exchange, flaky, healthy
from tests.faults.history import load
from tests.faults.invariants import SUCCEEDED
from tests.faults.server import until

from triggers_api.model.pace import FIRST_WINDOW

if TYPE_CHECKING:
    from tests.faults.rig import Rig

GRACE_S = 5.0
"""As long as receivers that answer may take here, on a machine that has other things to do."""
PENDING = 2


async def ends_under_load(rig: Rig, *, events: int) -> None:
    """Events come in, some deliveries take a moment and some hang; then the signal."""
    hanging = asyncio.Event()

    async def slow(_: Exchange) -> int:
        await asyncio.sleep(0.3)
        return 204

    async def hangs(_: Exchange) -> int:
        await hanging.wait()
        return 204

    rig.serve(shutdown_grace_s=GRACE_S, delivery_timeout_s=20, lease_s=30)
    async with rig:
        await rig.server.start()
        await rig.endpoint("healthy", healthy, ["order.*"])
        slow_one = await rig.endpoint("slow", slow, ["slow.*"])
        hanging_one = await rig.endpoint("hangs", hangs, ["hang.*"])
        for event_type in ("hang.it", "slow.thing"):
            for _ in range(10):
                await load(rig.server, rig.history, [rig.history.new(event_type)])
        await hanging_one.wait_for(FIRST_WINDOW)
        await slow_one.wait_for(10)
        answers = rig.history.answers
        requests = rig.requests(events, ["order.created", "slow.thing"])

        async def ends() -> tuple[int, float]:
            await rig.history.wait_for_answers(answers + rig.rng.randint(1, events // 2))
            began = time.monotonic()
            rig.server.signal(signal.SIGTERM)
            code = await rig.server.ended(within_s=2 * GRACE_S + 3)
            return code, time.monotonic() - began

        _, (code, seconds) = await asyncio.gather(load(rig.server, rig.history, requests), ends())
        assert code == 0
        assert seconds < 2 * GRACE_S + 2
        codes = {told.code for request in rig.history.requests for told in request.told}
        assert codes <= {None, "draining"}
        found = rig.dump()
        rig.invariants.check(found, healed=False)
        waiting = {d.id: d for d in found.deliveries if d.status != SUCCEEDED}
        for exchange in hanging_one.exchanges:
            assert waiting[exchange.delivery_id].status == PENDING
            assert waiting[exchange.delivery_id].attempt_count == 0
        # What was on its way and answered in time is on file.
        for exchange in slow_one.exchanges:
            assert exchange.answered == 204
            assert exchange.delivery_id not in waiting

        hanging.set()
        await rig.server.start()
        await rig.repeat_unknown()
        await rig.check_after_healing()
        assert {exchange.attempt for exchange in hanging_one.exchanges} == {1}


@pytest.mark.timeout(180)
def test_a_server_that_is_told_to_end_ends_in_order(rig: Rig) -> None:
    asyncio.run(ends_under_load(rig, events=300))


@pytest.mark.faults
@pytest.mark.timeout(180)
@pytest.mark.parametrize("time_of_night", range(5))
def test_a_server_that_is_told_to_end_at_any_time_ends_in_order(
    rig: Rig, time_of_night: int
) -> None:
    del time_of_night
    asyncio.run(ends_under_load(rig, events=600))


@pytest.mark.faults
@pytest.mark.timeout(180)
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGKILL])
def test_a_second_signal_ends_it_at_once_and_costs_nothing(
    rig: Rig, second: signal.Signals
) -> None:
    hanging = asyncio.Event()

    async def hangs(_: Exchange) -> int:
        await hanging.wait()
        return 204

    async def run() -> None:
        rig.serve(shutdown_grace_s=20, delivery_timeout_s=20, lease_s=30)
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", flaky(rig.rng), ["order.*"])
            endpoint = await rig.endpoint("hangs", hangs, ["hang.*"])
            for _ in range(10):
                await load(rig.server, rig.history, [rig.history.new("hang.it")])
            await rig.post(50)
            await endpoint.wait_for(FIRST_WINDOW)
            rig.server.signal(signal.SIGTERM)

            async def gone() -> bool:
                try:
                    await rig.server.call("GET", "/livez", key=None)
                except OSError:
                    return True
                return False

            await until(gone, "nobody is let in")
            rig.server.signal(second)
            code = await rig.server.ended(within_s=5)
            assert code == (0 if second is signal.SIGTERM else -signal.SIGKILL)
            rig.invariants.check(rig.dump(), healed=False)
            hanging.set()
            await rig.server.start()
            await rig.check_after_healing()

    asyncio.run(run())
