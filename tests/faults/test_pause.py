"""A process that stands still for longer than its leases, and wakes with answers in its hands."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest
from tests.faults.endpoint import healthy
from tests.faults.scenarios import LEASE_S, STILL_S, TIMEOUT_S, pause_beyond_the_lease

from triggers_api.model.pace import FIRST_WINDOW

if TYPE_CHECKING:
    from tests.faults.rig import Rig


@pytest.mark.timeout(180)
def test_what_is_settled_after_its_lease_changes_nothing_and_is_sent_again(rig: Rig) -> None:
    asyncio.run(pause_beyond_the_lease(rig, events=FIRST_WINDOW))


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_what_is_routed_after_its_lease_changes_nothing_and_is_routed_again(rig: Rig) -> None:
    """The thread that commits stands still between the claim and its answer."""

    async def run() -> None:
        rig.serve(lease_s=LEASE_S, delivery_timeout_s=TIMEOUT_S)
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", healthy)
            await rig.server.admin("PATCH", "/controls", {"processing": "paused"})
            await rig.post(10)
            await rig.server.stop()
            await rig.server.start(failpoints=f"claim_queue.after_commit=sleep:{STILL_S}")
            await rig.server.admin("PATCH", "/controls", {"processing": "running"})
            await rig.healed()
            assert await rig.server.metric("triggers_stale_leases_total", verb="fan_out") == 10
            assert await rig.server.metric("triggers_recovered_total", kind="event") == 10
            await rig.check_after_healing()

    asyncio.run(run())


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_pauses_at_random_under_load_cost_nothing(rig: Rig) -> None:
    """Ten pauses, some longer than the lease, while events come in."""

    async def run() -> None:
        rig.serve(lease_s=LEASE_S, delivery_timeout_s=TIMEOUT_S)
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", healthy)
            done = asyncio.Event()

            async def pauses() -> None:
                for _ in range(10):
                    await rig.history.wait_for_answers(
                        rig.history.answers + rig.rng.randint(1, 200)
                    )
                    rig.server.signal(signal.SIGSTOP)
                    await asyncio.sleep(rig.rng.choice((0.1, 0.5, STILL_S)))
                    rig.server.signal(signal.SIGCONT)
                done.set()

            async def traffic() -> None:
                while not done.is_set():
                    await rig.post(100)

            await asyncio.gather(pauses(), traffic())
            await rig.check_after_healing()

    asyncio.run(run())
