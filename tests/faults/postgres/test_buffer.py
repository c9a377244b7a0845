"""Redis before the database: what was accepted there is stored once, whoever dies and whatever is full.

What an operator destroys by hand is in ``tests/redis/test_failures.py``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.faults.endpoint import healthy
from tests.faults.history import Outcome, Request, insist, load, post
from tests.faults.server import until
from tests.servers.redis import RedisServer

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet
    from tests.faults.postgres.fleet import Fleet
    from tests.servers.postgres import PostgresServer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

STREAM: Final = "triggers:events"
STEPS: Final = (
    "landing.read",
    "land.before_commit",
    "append.after_commit",
    "land.after_commit",
    "landing.before_settle",
    "landing.after_settle",
)


def buffered(redis: RedisServer, **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - the product's
    """The settings of processes with a buffer, and no way past it that would hide what it does."""
    return {
        "ingest_buffer": "redis",
        "redis_url": redis.url(),
        "redis_fallback": "refuse",
        **settings,
    }


def length(redis: RedisServer) -> int:
    found: int = redis.call("XLEN", STREAM)
    return found


async def landed(redis: RedisServer, *, within_s: float = 60.0) -> None:
    """Wait until nothing is left in Redis."""
    await until(lambda: length(redis) == 0, "everything has landed", within_s=within_s)


async def check(fleet: Fleet, redis: RedisServer, *, within_s: float = 120.0) -> None:
    """Everything that was accepted is stored and delivered, once, and Redis has nothing left of it."""
    await landed(redis, within_s=within_s)
    assert redis.call("HLEN", "triggers:waiting") == redis.call("HLEN", "triggers:depths") == 0
    assert redis.call("XLEN", "triggers:poison") == redis.call("XLEN", "triggers:lost") == 0
    assert await fleet.metric("triggers_buffer_data_loss_total") == 0
    await fleet.check_after_healing(within_s=within_s)


@pytest.mark.parametrize("step", STEPS)
def test_a_consumer_that_is_killed_at_any_step_costs_no_event(
    make_fleet: MakeFleet, own_redis: RedisServer, step: str
) -> None:
    fleet = make_fleet(apis=1, workers=2, **buffered(own_redis))

    async def main() -> None:
        async with fleet:
            await fleet.server.start()
            await fleet.endpoint("one", healthy)
            doomed, other = fleet.workers
            await doomed.start(failpoints=f"{step}=crash@2")
            await fleet.post(100)
            await fleet.post(100)
            assert await doomed.ended() == -9
            await other.start()
            await fleet.post(100)
            await doomed.start()
            await check(fleet, own_redis)

    asyncio.run(main())


def test_a_redis_that_is_killed_has_everything_that_it_confirmed(
    make_fleet: MakeFleet, own_redis: RedisServer
) -> None:
    fleet = make_fleet(apis=2, workers=1, **buffered(own_redis))

    async def main() -> None:
        async with fleet:
            await fleet.start()
            await fleet.endpoint("one", healthy)
            requests = fleet.requests(3000)
            posting = asyncio.create_task(insist(fleet.front, fleet.history, requests))
            for accepted in (500, 1200, 2000):
                await fleet.history.wait_for_accepted(accepted)
                own_redis.kill()
                await asyncio.sleep(0.3)
                own_redis.start()
            await posting
            assert not [each for each in requests if each.outcome is Outcome.REFUSED]
            await fleet.repeat_unknown()
            await check(fleet, own_redis)

    asyncio.run(main())


def test_an_api_that_is_killed_between_redis_and_its_answers_costs_no_event(
    make_fleet: MakeFleet, own_redis: RedisServer
) -> None:
    fleet = make_fleet(apis=2, workers=1, **buffered(own_redis))

    async def main() -> None:
        async with fleet:
            await fleet.start()
            await fleet.endpoint("one", healthy)
            doomed = fleet.apis[1]
            requests = fleet.requests(3000)
            async with fleet.supervised(doomed):
                posting = asyncio.create_task(insist(fleet.front, fleet.history, requests))
                for accepted in (300, 1000, 1700):
                    await fleet.history.wait_for_accepted(accepted)
                    doomed.kill()
                await posting
            await fleet.repeat_unknown()
            await check(fleet, own_redis)

    asyncio.run(main())


def test_with_a_way_past_redis_nobody_is_refused_while_it_is_killed(
    make_fleet: MakeFleet, own_redis: RedisServer
) -> None:
    fleet = make_fleet(apis=1, workers=1, **buffered(own_redis, redis_fallback="direct"))

    async def main() -> None:
        async with fleet:
            await fleet.start()
            requests = fleet.requests(2000)
            posting = asyncio.create_task(load(fleet.front, fleet.history, requests, clients=8))
            for accepted in (400, 1000):
                await fleet.history.wait_for_accepted(accepted)
                own_redis.kill()
                await asyncio.sleep(0.5)
                own_redis.start()
            await posting
            assert fleet.history.statuses() <= {200, 202}
            assert await fleet.metric("triggers_buffer_fallbacks_total") > 0
            await check(fleet, own_redis)

    asyncio.run(main())


@pytest.mark.timeout(1200)
def test_while_the_database_is_away_for_a_minute_a_thousand_events_a_second_are_accepted(
    make_fleet: MakeFleet, server: PostgresServer, own_redis: RedisServer
) -> None:
    fleet = make_fleet(apis=1, workers=1, **buffered(own_redis))
    a_second, seconds = 1000, 60

    async def main() -> None:
        async with fleet:
            await fleet.start()
            await fleet.post(100)
            await landed(own_redis)
            server.stop("immediate")
            began = time.monotonic()
            taken = 0
            for second in range(seconds):
                requests = fleet.requests(a_second)
                await load(fleet.front, fleet.history, requests, clients=32)
                taken += sum(each.outcome is Outcome.ACCEPTED for each in requests)
                await asyncio.sleep(max(0.0, began + second + 1 - time.monotonic()))
            assert taken == a_second * seconds
            assert length(own_redis) == taken
            ready = await fleet.server.ready()
            assert (ready.status, ready.json["status"]) == (200, "degraded")
            assert ready.json["queue"]["depth"] >= taken
            (last,) = fleet.requests(1)
            told = await post(fleet.front, fleet.history, last)
            found = await fleet.server.call("GET", f"/api/events/{told.event_id}")
            assert (found.status, found.json["status"]) == (200, "queued")
            server.start()
            await check(fleet, own_redis, within_s=300)

    asyncio.run(main())


def test_without_memory_it_refuses_and_what_it_took_is_stored(
    make_fleet: MakeFleet, own_redis: RedisServer
) -> None:
    fleet = make_fleet(apis=1, workers=1, **buffered(own_redis))

    async def main() -> None:
        async with fleet:
            await fleet.start()
            await fleet.server.admin("PATCH", "/controls", {"processing": "paused"})
            await fleet.post(100)
            used = own_redis.call("INFO", "memory").split(b"used_memory:")[1].split(b"\r")[0]
            own_redis.configure(maxmemory=str(int(used) + (3 << 20)))
            requests = [fleet.history.new("order.created", size=20_000) for _ in range(400)]
            await load(fleet.front, fleet.history, requests, clients=8)
            refused = [each for each in requests if each.outcome is Outcome.REFUSED]
            assert 0 < len(refused) < len(requests)
            assert {told.code for each in refused for told in each.told} == {"storage-full"}
            # Landing needs no memory.
            await fleet.server.admin("PATCH", "/controls", {"processing": "running"})
            await landed(own_redis)
            own_redis.configure(maxmemory="0")
            await fleet.post(10)
            await check(fleet, own_redis)

    asyncio.run(main())


def test_fifty_clients_never_exceed_the_depth_and_nothing_is_trimmed(
    make_fleet: MakeFleet, own_redis: RedisServer
) -> None:
    most = 300
    fleet = make_fleet(apis=2, workers=1, **buffered(own_redis, redis_stream_max_length=most))
    deepest = 0

    @asynccontextmanager
    async def watched() -> AsyncIterator[None]:
        async def look() -> None:
            nonlocal deepest
            while True:
                deepest = max(deepest, await asyncio.to_thread(length, own_redis))

        looking = asyncio.create_task(look())
        yield
        looking.cancel()

    async def client(requests: list[Request], refusals: list[Any]) -> None:
        for request in requests:
            answer = await fleet.front.call("POST", "/api/events", request.body)
            if answer.status == 503:
                refusals.append(answer)
            else:
                assert answer.status == 202, answer

    async def main() -> None:
        async with fleet:
            await fleet.start()
            await fleet.server.admin("PATCH", "/controls", {"processing": "paused"})
            refusals: list[Any] = []
            async with watched():
                await asyncio.gather(*(client(fleet.requests(40), refusals) for _ in range(50)))
            assert len(refusals) == 50 * 40 - most
            assert {each.json["code"] for each in refusals} == {"overloaded"}
            assert all(int(each.headers["retry-after"]) >= 1 for each in refusals)
            assert deepest == length(own_redis) == most
            assert own_redis.call("HGET", "triggers:books", "added") == b"%d" % most
            await fleet.server.admin("PATCH", "/controls", {"processing": "running"})
            await landed(own_redis)
            books = await fleet.server.admin("GET", "/verify")
            assert books["organizations"][0]["accepted"] == most
            await fleet.stop()

    asyncio.run(main())
