"""The clock of the machine jumps: nothing waits for ever, ids rise, nobody is given up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from triggers_api.testing import FrozenClock, Receiver, Service

HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0


async def ids_of(service: Service, count: int) -> list[str]:
    """The ids of new events, in the order of their answers."""
    answers = [await service.send("order.created", {"n": n}) for n in range(count)]
    assert {answer.status for answer in answers} == {202}
    return [answer.json["id"] for answer in answers]


@pytest.mark.parametrize("jump_s", [-HOUR_S, DAY_S])
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


@pytest.mark.parametrize("jump_s", [-HOUR_S, -DAY_S, DAY_S])
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
            clock.advance(seconds=10)
            await service.drain()
            assert len(receiver.requests) == 2

    asyncio.run(run())


def test_a_day_forward_fails_nobody(tmp_path: Path) -> None:
    """All retries fall due, none counts for more than one attempt."""

    async def run() -> None:
        clock = FrozenClock()
        async with Receiver() as receiver, Service(tmp_path, clock=clock) as service:
            subscription = await service.subscribe(receiver.url, ["*"])
            receiver.always(500)
            await ids_of(service, 20)
            await service.drain()
            clock.advance(seconds=DAY_S)
            receiver.always(204)
            await service.drain()
            listed = await service.call(
                "GET", f"/api/deliveries?subscription_id={subscription['id']}&limit=100"
            )
            assert [d["status"] for d in listed.json["data"]] == ["succeeded"] * 20
            assert {d["attempt_count"] for d in listed.json["data"]} == {2}

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
