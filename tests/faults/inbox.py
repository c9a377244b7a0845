"""Consumers that compete for one inbox, are slow, give back and die, on both engines.

Each keeps what it was told. Together that says whether an event was ever in two hands, done with twice,
or never handed out.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from tests.faults.history import Outcome, insist
from tests.faults.server import until

from triggers_api.model.timestamp import Timestamp

if TYPE_CHECKING:
    from tests.faults.history import Target
    from tests.faults.postgres.fleet import Fleet
    from tests.faults.rig import Rig
    from tests.faults.server import Server

CONSUMERS: Final = 8
LEASE_S: Final = 1.0
KILLS_APART_S: Final = (0.4, 1.6)
KILLS_OF_MANY_APART_S: Final = (1.0, 4.0)

_PAUSE_S: Final = 0.05
_CLOCKS_S: Final = 0.02
"""How far the clock that leases go by may be from ours."""


@dataclass
class Lease:
    """One time that an event was handed out, by our clock.

    ``asked_at`` and ``got_at``: when the pull was sent and answered. ``until``: when we cannot have it
    any longer, by the lease, or because we asked for its end then.
    """

    event_id: str
    receipt: str
    asked_at: float
    got_at: float
    until: float
    count: int


@dataclass
class Told:
    """What all consumers together know."""

    leases: list[Lease] = field(default_factory=list)
    acked: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By event: when each answer came that said so."""
    perhaps: set[str] = field(default_factory=set)
    """Acknowledged by a request that was not answered."""
    lost: int = 0
    given_back: int = 0
    """Answers that said so."""

    def judge(self, accepted: set[str]) -> None:
        """No event in two hands, done with twice, or handed out after that; none left out."""
        by_event: dict[str, list[Lease]] = defaultdict(list)
        for lease in sorted(self.leases, key=lambda each: each.got_at):
            by_event[lease.event_id].append(lease)
        twice = [event for event, times in self.acked.items() if len(times) > 1]
        assert not twice, f"acknowledged twice: {twice}"
        for event, leases in by_event.items():
            for before, after in itertools.pairwise(leases):
                assert after.got_at >= before.until - _CLOCKS_S, f"in two hands: {event}"
            for done_at in self.acked[event]:
                late = [each for each in leases if each.asked_at > done_at]
                assert not late, f"handed out after it was done with: {event}"
        known = {event for event, times in self.acked.items() if times} | self.perhaps
        assert not accepted - known, f"left out: {accepted - known}"
        unknown = by_event.keys() - accepted
        assert not unknown, f"handed out although nobody was told of it: {unknown}"


class Consumer:
    """One of those who compete. It dies now and then, with whatever it holds."""

    def __init__(self, target: Target, told: Told, rng: random.Random) -> None:
        self._target = target
        self._told = told
        self._rng = rng

    async def run(self, done: asyncio.Event) -> None:
        """Until everything is done."""
        while not done.is_set():
            try:
                await self._turn()
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                await asyncio.sleep(_PAUSE_S)

    async def _ask(self, path: str, **body: Any) -> Any:  # noqa: ANN401 - JSON
        answer = await self._target.call("POST", f"/api/inbox/{path}", json.dumps(body).encode())
        if answer.status == 503:
            raise ConnectionError(answer)
        assert answer.status == 200, answer
        return answer.json

    async def _turn(self) -> None:
        rng, told = self._rng, self._told
        asked_at = time.time()
        answer = await self._ask(
            "pull", limit=rng.randint(1, 12), lease_s=LEASE_S, wait_s=rng.choice((0, 0.5))
        )
        got_at = time.time()
        held = [
            Lease(
                each["id"],
                each["receipt"],
                asked_at,
                got_at,
                Timestamp.parse(each["lease_until"]) / 1000,
                each["receive_count"],
            )
            for each in answer["data"]
        ]
        told.leases += held
        way = rng.random()
        if way < 0.1:
            return  # it died
        if way < 0.2:
            await asyncio.sleep(LEASE_S * rng.uniform(0.9, 1.3))  # it is slow
        if way < 0.3 and held:
            await self._extend(rng.sample(held, rng.randint(1, len(held))))
        back = [each for each in held if rng.random() < 0.15]
        if back:
            await self._give_back(back)
        await self._acknowledge([each for each in held if each not in back])

    async def _extend(self, leases: list[Lease]) -> None:
        asked_at = time.time()
        answer = await self._ask(
            "extend", receipts=[each.receipt for each in leases], lease_s=2 * LEASE_S
        )
        # From some moment on after we asked; how long ago that was when the answer came nobody knows.
        for lease, result in zip(leases, answer["results"], strict=True):
            if result["status"] == "extended":
                lease.until = max(lease.until, asked_at + 2 * LEASE_S)

    async def _give_back(self, leases: list[Lease]) -> None:
        now = time.time()
        for lease in leases:
            lease.until = min(lease.until, now)
        delay_s = self._rng.choice((0, 0, 0.3))
        receipts = [each.receipt for each in leases]
        answer = await self._ask("nack", receipts=receipts, delay_s=delay_s)
        self._told.given_back += sum(each["status"] == "nacked" for each in answer["results"])

    async def _acknowledge(self, leases: list[Lease]) -> None:
        if not leases:
            return
        now = time.time()
        for lease in leases:
            lease.until = min(lease.until, now)
        try:
            answer = await self._ask("ack", receipts=[each.receipt for each in leases])
        except BaseException:
            self._told.perhaps |= {each.event_id for each in leases}
            raise
        for lease, result in zip(leases, answer["results"], strict=True):
            assert result["id"] == lease.event_id
            if result["status"] == "acked":
                self._told.acked[lease.event_id].append(time.time())
            else:
                assert result["status"] == "lease_lost", result
                self._told.lost += 1


async def _compete(run: Rig | Fleet, *, events: int, killing: asyncio.Task[None]) -> Told:
    """Post, consume, be killed; then let everything be consumed, and judge."""
    told, done = Told(), asyncio.Event()
    consumers = [
        asyncio.create_task(Consumer(run.front, told, random.Random(run.rng.random())).run(done))
        for _ in range(CONSUMERS)
    ]

    async def empty() -> bool:
        try:
            answer = await run.server.call("GET", "/api/inboxes/default")
        except aiohttp.ClientError:
            return False
        return answer.status == 200 and answer.json["unacked"] == 0

    try:
        requests = run.requests(events)
        for start in range(0, events, 50):
            await insist(run.front, run.history, requests[start : start + 50])
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        await until(empty, "the inbox is empty", within_s=120, look_every_s=0.2)
    finally:
        killing.cancel()
        done.set()
        await asyncio.gather(*consumers)
    accepted = {
        event_id for request in run.history.of(Outcome.ACCEPTED) for event_id in request.ids
    }
    assert len(accepted) >= events * 0.9
    told.judge(accepted | {lease.event_id for lease in told.leases if _unanswered(run, lease)})
    assert told.lost, "no lease was lost"
    assert told.given_back, "nothing was given back"
    assert any(lease.count > 2 for lease in told.leases)
    return told


def _unanswered(run: Rig | Fleet, lease: Lease) -> bool:
    """Whether it may be an event whose request was not answered; nobody knows its id."""
    known = {event_id for request in run.history.requests for event_id in request.ids}
    return lease.event_id not in known and bool(run.history.of(Outcome.UNKNOWN))


async def kill_the_server(rig: Rig, *, events: int) -> None:
    """The only server is killed at random instants, and started again."""

    async def keep_killing(server: Server) -> None:
        while True:
            await asyncio.sleep(rig.rng.uniform(*KILLS_APART_S))
            server.kill()
            await asyncio.shield(asyncio.create_task(server.start()))

    async with rig:
        await rig.server.start()
        killing = asyncio.create_task(keep_killing(rig.server))
        await _compete(rig, events=events, killing=killing)
        assert await rig.server.stop() == 0


async def kill_some(fleet: Fleet, *, events: int) -> None:
    """Several processes hand out of one inbox; one after the other is killed."""

    async def keep_killing() -> None:
        while True:
            await asyncio.sleep(fleet.rng.uniform(*KILLS_OF_MANY_APART_S))
            server = fleet.rng.choice(fleet.takers)
            if server.poll() is None:
                server.kill()

    async with fleet:
        await fleet.start()
        async with fleet.supervised(*fleet.takers):
            killing = asyncio.create_task(keep_killing())
            await _compete(fleet, events=events, killing=killing)
        await fleet.stop()
