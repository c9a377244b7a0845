"""SIGKILL at each step of an event: before and after the commit of every verb that carries one."""

from __future__ import annotations

import asyncio
import signal
from itertools import product
from typing import TYPE_CHECKING

import pytest
from tests.faults.endpoint import Exchange
from tests.faults.history import Outcome, post
from tests.faults.invariants import PROCESSED
from tests.faults.scenarios import AT_ONCE_S, crash_at

if TYPE_CHECKING:
    from tests.faults.rig import Rig

VERBS = ("append", "claim_queue", "fan_out", "release", "claim_deliveries", "settle")
STEPS = tuple(f"{verb}.{side}_commit" for verb, side in product(VERBS, ("before", "after")))
PASSES = (1, 7)
FAST = {("fan_out.after_commit", 7)}


def steps() -> list[object]:
    return [
        pytest.param(
            step, at, marks=() if (step, at) in FAST else pytest.mark.faults, id=f"{step}@{at}"
        )
        for step, at in product(STEPS, PASSES)
    ]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("step", "at"), steps())
def test_a_crash_at_any_step_costs_nothing(rig: Rig, step: str, at: int) -> None:
    asyncio.run(crash_at(rig, step, at))


def test_what_was_not_committed_when_it_crashed_is_not_stored(rig: Rig) -> None:
    async def run() -> None:
        async with rig:
            await rig.server.start(failpoints="append.before_commit=crash")
            (request,) = await rig.post()
            assert request.outcome is Outcome.UNKNOWN
            assert await rig.server.ended() == -signal.SIGKILL
            assert rig.dump().events == []

    asyncio.run(run())


def test_what_was_committed_but_not_answered_keeps_its_id_when_it_is_repeated(rig: Rig) -> None:
    async def run() -> None:
        async with rig:
            await rig.server.start(failpoints="append.after_commit=crash")
            request = rig.history.new("order.created", dedup=True)
            assert (await post(rig.server, rig.history, request)).outcome is Outcome.UNKNOWN
            assert await rig.server.ended() == -signal.SIGKILL
            (stored,) = rig.dump().events
            await rig.server.start()
            told = await post(rig.server, rig.history, request)
            assert (told.status, told.duplicate, told.event_id) == (200, True, stored.id)
            await rig.check_after_healing()

    asyncio.run(run())


@pytest.mark.faults
def test_work_of_a_killed_process_is_taken_up_at_once(rig: Rig) -> None:
    """Not when its lease would have run out, which is 45 s later by default."""

    async def run() -> None:
        async with rig:
            await rig.server.start()
            await rig.server.admin("PATCH", "/controls", {"processing": "paused"})
            await rig.server.stop()
            await rig.server.start(failpoints="claim_queue.after_commit=crash")
            await rig.post()
            await rig.server.admin("PATCH", "/controls", {"processing": "running"})
            await rig.server.ended()
            await rig.server.start()
            await rig.healed(within_s=AT_ONCE_S)
            (event,) = rig.dump().events
            assert event.status == PROCESSED

    asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(204, id="answered"),
        pytest.param(None, id="request-taken", marks=pytest.mark.faults),
    ],
)
def test_a_crash_between_sending_and_settling_sends_again(rig: Rig, answer: int | None) -> None:
    """The receiver kills the sender: when it has the request, and when its answer is out."""
    kills = 2

    async def kills_the_sender(_: Exchange) -> int | None:
        nonlocal kills
        if kills == 0:
            return 204
        kills -= 1
        if answer is None:
            rig.server.kill()
        else:
            # Stopped, it finds the answer in its socket but never gets to settle.
            rig.server.signal(signal.SIGSTOP)
            asyncio.get_running_loop().call_later(0.01, rig.server.kill)
        return answer

    async def run() -> None:
        async with rig:
            await rig.server.start()
            endpoint = await rig.endpoint("killer", kills_the_sender)
            await rig.post()
            await rig.server.ended()
            rig.invariants.check(rig.dump(), healed=False)
            rig.server.launch()
            await rig.server.ended()
            await rig.server.start()
            found = await rig.check_after_healing()
            (delivery,) = found.deliveries
            assert len(endpoint.exchanges) == 3
            assert delivery.attempt_count == 1
            assert {exchange.attempt for exchange in endpoint.exchanges} == {1}

    asyncio.run(run())
