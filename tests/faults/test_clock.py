"""The clock of the machine jumps: nothing waits for ever, ids rise, nobody is given up."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.model.timestamp import Timestamp
from triggers_api.store.clock import StoreClock
from triggers_api.testing import FrozenClock, Receiver, Service

HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0


async def ids_of(service: Service, count: int) -> list[str]:
    """The ids of new events, in the order of their answers."""
    answers = [await service.send("order.created", {"n": n}) for n in range(count)]
    assert {answer.status for answer in answers} == {202}
    return [answer.json["id"] for answer in answers]


@pytest.mark.parametrize("jump_s", [-HOUR_S, pytest.param(DAY_S, marks=pytest.mark.faults)])
def test_ids_rise_whatever_the_clock_does(tmp_path: Path, jump_s: float) -> None:
    async def run() -> None:
        clock = FrozenClock()
        async with Service(tmp_path, clock=clock) as service:
            ids = await ids_of(service, 3)
            clock.advance(seconds=jump_s)
            ids += await ids_of(service, 3)
        # And the next process knows.
        async with Service(tmp_path, clock=clock) as service:
            ids += await ids_of(service, 3)
        assert ids == sorted(ids)
        assert len(set(ids)) == 9

    asyncio.run(run())


@pytest.mark.parametrize(
    "jump_s",
    [-HOUR_S, *(pytest.param(days, marks=pytest.mark.faults) for days in (-DAY_S, DAY_S))],
)
@pytest.mark.parametrize("restart", [False, True])
def test_events_are_delivered_after_a_jump(tmp_path: Path, jump_s: float, *, restart: bool) -> None:
    """Those that came before it and those that come after it, without waiting for the old time."""

    async def run() -> None:
        clock = FrozenClock()
        async with Receiver() as receiver:
            async with Service(tmp_path, clock=clock) as service:
                await service.subscribe(receiver.url, ["*"])
                sent = await ids_of(service, 3)
                clock.advance(seconds=jump_s)
                if not restart:
                    sent += await ids_of(service, 3)
                    await service.drain()
            if restart:
                async with Service(tmp_path, clock=clock) as service:
                    sent += await ids_of(service, 3)
                    await service.drain()
            assert sorted(receiver.ids) == sorted(sent)

    asyncio.run(run())


def test_a_retry_is_not_put_off_by_more_than_its_delay_when_the_clock_is_set_back(
    tmp_path: Path,
) -> None:
    """Set back by an hour, a retry that was due in five seconds is not due in an hour."""

    async def run() -> None:
        clock = FrozenClock()
        async with Receiver() as receiver, Service(tmp_path, clock=clock) as service:
            await service.subscribe(receiver.url, ["*"])
            receiver.replies(500)
            await ids_of(service, 1)
            await service.drain()
            clock.advance(seconds=-HOUR_S)
            # Between the two steps the service looks at the clock, as a running one always does.
            await service.drain()
            assert len(receiver.requests) == 1
            clock.advance(seconds=10)
            await service.drain()
            assert len(receiver.requests) == 2

    asyncio.run(run())


def test_a_day_forward_fails_nobody(tmp_path: Path) -> None:
    """All that waits falls due, and the day counts for no attempt."""

    async def run() -> None:
        clock = FrozenClock()
        async with Receiver() as receiver, Service(tmp_path, clock=clock) as service:
            subscription = await service.subscribe(receiver.url, ["*"])

            async def attempts() -> dict[str, int]:
                listed = await service.call(
                    "GET", f"/api/deliveries?subscription_id={subscription['id']}&limit=100"
                )
                return {d["id"]: d["attempt_count"] for d in listed.json["data"]}

            receiver.always(500)
            await ids_of(service, 20)
            await service.drain()
            # The breaker opens at the tenth failure and holds what is not on its way by then.
            failed = await attempts()
            assert sum(failed.values()) >= 10
            clock.advance(seconds=DAY_S)
            receiver.always(204)
            await service.drain()
            succeeded = await service.call(
                "GET", f"/api/deliveries?subscription_id={subscription['id']}&status=succeeded"
            )
            assert len(succeeded.json["data"]) == 20
            assert await attempts() == {delivery: n + 1 for delivery, n in failed.items()}

    asyncio.run(run())


def test_work_that_is_leased_when_the_clock_is_set_back_is_not_held_for_an_hour(
    tmp_path: Path,
) -> None:
    """The process dies with a lease in its hands, the clock is set back, the next one starts."""

    async def run() -> None:
        clock = FrozenClock()
        async with Receiver() as receiver:
            async with Service(tmp_path, clock=clock) as service:
                await service.subscribe(receiver.url, ["*"])
                sent = await ids_of(service, 3)
                claim = await service.app.store.claim_queue(10, 45.0)
                assert len(claim.events) == 3
                clock.advance(seconds=-HOUR_S)
            async with Service(tmp_path, clock=clock) as service:
                await service.drain()
            assert sorted(receiver.ids) == sorted(sent)

    asyncio.run(run())


def test_signatures_have_the_wall_clocks_time_when_it_is_set_back(tmp_path: Path) -> None:
    """Receivers refuse a signature of an hour later, and they do not know of our clock."""

    async def run() -> None:
        clock = FrozenClock()
        async with Receiver() as receiver, Service(tmp_path, clock=clock) as service:
            subscription = await service.subscribe(receiver.url, ["*"])
            await ids_of(service, 1)
            clock.advance(seconds=-HOUR_S)
            await ids_of(service, 1)
            await service.drain()
            assert len(receiver.requests) == 2
            for request in receiver.requests:
                request.verify(subscription["secret"], now=clock() // 1000)

    asyncio.run(run())


def test_a_subscription_made_after_the_clock_was_set_back_gets_no_earlier_events(
    tmp_path: Path,
) -> None:
    """What comes later has a later time, whatever the wall clock says."""

    async def run() -> None:
        clock = FrozenClock()
        async with Receiver() as receiver, Service(tmp_path, clock=clock) as service:
            await ids_of(service, 3)
            clock.advance(seconds=-HOUR_S)
            service.app.store.now()
            clock.advance(seconds=0.01)
            await service.subscribe(receiver.url, ["*"])
            clock.advance(seconds=0.01)
            later = await ids_of(service, 3)
            await service.drain()
            assert sorted(receiver.ids) == sorted(later)

    asyncio.run(run())


# ── the clock itself ──────────────────────────────────────────────────────────────────────────


class Wall:
    """A wall clock that is set by hand."""

    def __init__(self, now: int = 0) -> None:
        self.now = now

    def __call__(self) -> Timestamp:
        return Timestamp(self.now)


@given(steps=st.lists(st.integers(-10_000, 10_000)), not_before=st.integers(-20_000, 20_000))
def test_the_stores_clock_never_goes_back_and_is_never_behind(
    steps: list[int], not_before: int
) -> None:
    wall = Wall(100_000)
    clock = StoreClock(wall, not_before=Timestamp(100_000 + not_before))
    before, ahead = clock(), max(0, not_before)
    for step in steps:
        wall.now += step
        now = clock()
        assert before <= now
        # Only setting it back puts the wall clock further behind.
        ahead += max(0, -step)
        assert 0 <= now - wall.now <= ahead
        before = now


def test_the_stores_clock_is_caught_up_with_in_ten_times_what_it_was_ahead() -> None:
    wall = Wall(100_000)
    clock = StoreClock(wall, not_before=Timestamp(0))
    wall.now -= 1000
    assert clock() == 100_000
    for left in range(9_999, -1, -1):
        before = clock()
        wall.now += 1
        assert before <= clock() <= before + 1
        assert left // 10 - 1 <= clock() - wall.now <= left // 10
    assert clock() == wall.now


def test_it_is_said_that_the_clock_was_set_back(log: list[MutableMapping[str, Any]]) -> None:
    wall = Wall(100_000)
    clock = StoreClock(wall, not_before=Timestamp(0))
    wall.now -= 999
    clock()
    assert log == []
    wall.now -= 3000
    clock()
    StoreClock(wall, not_before=Timestamp(100_000))
    assert log == [
        {"event": "the clock was set back", "log_level": "warning", "seconds": seconds}
        for seconds in (3.0, 3.999)
    ]
