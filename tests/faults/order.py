"""Strict order through the deaths of those who keep it, on both engines."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from tests.faults.endpoint import Exchange, flaky
from tests.faults.history import Request, load
from tests.faults.server import until

if TYPE_CHECKING:
    from tests.faults.postgres.fleet import Fleet
    from tests.faults.rig import Rig

KILLS_APART_S: Final = (0.3, 1.5)
SLOW: Final = ",".join(["0.3"] * 40)
"""A retry schedule by which others have come before an event is tried again, unless they wait."""


class Line:
    """What came at an endpoint and what it answered, in the order in which it did."""

    def __init__(self, rng: random.Random) -> None:
        self._flaky = flaky(rng)
        self._seen: list[tuple[Exchange, int | None, bool]] = []

    async def behave(self, exchange: Exchange) -> int | None:
        """As a flaky endpoint does."""
        self._seen.append((exchange, None, False))
        status = await self._flaky(exchange)
        self._seen.append((exchange, status, True))
        return status

    def judge(self, requests: Sequence[Request]) -> None:
        """No event came before the one in front of it was done; they were posted one after the other.

        What was done may come again: a repeat. Every time an event has the number that it had.
        """
        place = {request.payload: request.serial for request in requests}
        numbers: dict[int, int] = {}
        done: set[int] = set()
        latest = -1
        for exchange, status, answered in self._seen:
            serial = place[exchange.payload]
            if answered:
                if status == 204:
                    done.add(serial)
            elif serial not in done:
                assert serial >= latest, "events came out of order"
                assert serial == latest or latest in done or latest < 0, "events came out of order"
                latest = serial
            number = int(exchange.headers["x-triggers-sequence"])
            assert numbers.setdefault(serial, number) == number
        assert set(numbers) == done, "some were not delivered"
        assert [numbers[serial] for serial in sorted(numbers)] == list(range(1, len(numbers) + 1))


async def kill_the_server(rig: Rig, *, rounds: int) -> None:
    """One client posts, a server is killed at random instants; what it left goes on in order."""
    rng = rig.rng
    async with rig:
        await rig.server.start()
        line = Line(rng)
        await rig.endpoint("strict", line.behave, ordering="strict")
        for _ in range(rounds):
            requests = rig.requests(rng.randint(30, 80))
            kill_at = rig.history.answers + rng.randint(1, len(requests))
            await asyncio.gather(
                load(rig.server, rig.history, requests, clients=1), _kill_after(rig, kill_at)
            )
            await rig.server.start()
        await rig.check_after_healing(within_s=120)
        line.judge(rig.history.requests)


async def _kill_after(rig: Rig, answers: int) -> None:
    await rig.history.wait_for_answers(answers)
    await asyncio.sleep(rig.rng.choice((0.0, 0.05, 1.0)) * rig.rng.random())
    rig.server.kill()


async def kill_workers(fleet: Fleet, *, events: int) -> None:
    """One client posts, workers are killed at random instants until all is delivered."""
    async with fleet:
        await fleet.start()
        line = Line(fleet.rng)
        endpoint = await fleet.endpoint("strict", line.behave, ordering="strict")
        requests = fleet.requests(events)
        async with fleet.supervised(*fleet.workers):
            killing = asyncio.create_task(_kill_some(fleet))
            try:
                await load(fleet.front, fleet.history, requests, clients=1)
                await until(
                    lambda: len(endpoint.event_ids()) == events, "all have come", within_s=240
                )
            finally:
                killing.cancel()
        await fleet.check_after_healing(within_s=120)
        line.judge(requests)


async def _kill_some(fleet: Fleet) -> None:
    while True:
        await asyncio.sleep(fleet.rng.uniform(*KILLS_APART_S))
        worker = fleet.rng.choice(fleet.workers)
        if worker.poll() is None:
            worker.kill()
