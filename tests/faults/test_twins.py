"""The same event from many clients at the same moment: one row, one id."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.faults.endpoint import healthy
from tests.faults.history import Outcome
from tests.faults.scenarios import exceed_the_rate, post_identical, post_together

if TYPE_CHECKING:
    from tests.faults.rig import Rig


def test_of_64_identical_posts_one_is_accepted(rig: Rig) -> None:
    asyncio.run(post_identical(rig, rounds=5))


@pytest.mark.faults
@pytest.mark.parametrize("step", ["append.before_commit", "append.after_commit", "random"])
def test_64_identical_posts_and_a_kill_and_the_same_again_are_one_event(
    rig: Rig, step: str
) -> None:
    async def run() -> None:
        async with rig:
            await rig.server.start(failpoints="" if step == "random" else f"{step}=crash@3")
            await rig.endpoint("healthy", healthy)
            request = rig.history.new("order.created", dedup=True)

            async def killer() -> None:
                await asyncio.sleep(rig.rng.random() * 0.03)
                rig.server.kill()

            if step == "random":
                await asyncio.gather(post_together(rig, request), killer(), return_exceptions=True)
            else:
                await post_together(rig, request)
            await rig.server.ended()
            rig.invariants.check(rig.dump(), healed=False)
            await rig.server.start()
            await post_together(rig, request)
            assert request.outcome is Outcome.ACCEPTED
            assert len(request.ids) == 1
            assert sum(told.status == 202 for told in request.told) <= 1
            found = await rig.check_after_healing()
            assert len(found.events) == 1

    asyncio.run(run())


def test_what_exceeds_the_rate_is_refused_and_not_stored(rig: Rig) -> None:
    asyncio.run(exceed_the_rate(rig))
