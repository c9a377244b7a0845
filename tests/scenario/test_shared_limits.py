"""One rate limit over several API processes: real ones, at which many requests arrive at once."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from tests.conftest import Run
from tests.faults.server import Server, until
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer

from triggers_api.testing import ADMIN_KEY, Answer

PROCESSES: Final = 3
LIMIT: Final = 1000
BURST: Final = 1000
CHUNK: Final = BURST // 20


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """The engine for several processes."""
    name = postgres.migrated_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@asynccontextmanager
async def processes(folder: Path, **settings: object) -> AsyncIterator[list[Server]]:
    """So many API processes that know of each other."""
    given: dict[str, Any] = {"role": "api", "rate_limit": LIMIT, "rate_burst": BURST}
    async with AsyncExitStack() as stack:
        servers = []
        for number in range(PROCESSES):
            server = Server(folder, name=f"api{number}", **(given | settings))
            servers.append(await stack.enter_async_context(server))
        # The first one makes the organization and the keys.
        await servers[0].start()
        for server in servers[1:]:
            server.launch()
        for server in servers[1:]:
            await server.started()

        async def all_known() -> bool:
            return all([(await limits(server))["processes"] == PROCESSES for server in servers])

        await until(all_known, "each process knows of the others")
        yield servers


async def limits(server: Server) -> dict[str, object]:
    shown = await server.call("GET", "/api/health/detailed", key=ADMIN_KEY)
    found: dict[str, object] = shown.json["limits"]
    return found


async def send(server: Server) -> Answer:
    return await server.call("POST", "/api/events", {"type": "a", "payload": 1})


async def at_once(servers: list[Server], count: int) -> tuple[list[Answer], float]:
    """So many requests, spread over the processes; and the seconds they took."""
    began = time.monotonic()
    room = asyncio.Semaphore(300)  # as many sockets as a test may have

    async def one(number: int) -> Answer:
        async with room:
            return await send(servers[number % len(servers)])

    answers = await asyncio.gather(*(one(number) for number in range(count)))
    return answers, time.monotonic() - began


def allowed(answers: list[Answer]) -> int:
    assert {answer.status for answer in answers} <= {202, 429}
    return sum(answer.status == 202 for answer in answers)


async def keeps_one_limit(servers: list[Server]) -> None:
    answers, seconds = await at_once(servers, 3000)
    accepted, refill = allowed(answers), seconds * LIMIT / 60
    assert BURST <= accepted <= BURST + refill + CHUNK
    for answer in answers:
        assert answer.headers["ratelimit-policy"] == f'"ingest";q={LIMIT};w=60;burst={BURST}'
        if answer.status == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["ratelimit"].startswith('"ingest";r=0;')
    depth = (await servers[0].admin("GET", "/verify"))["organizations"][0]["accepted"]
    assert depth == accepted
    # Whoever waits as long as told is let through, wherever it asks.
    wait_s = max(int(answer.headers.get("retry-after", 0)) for answer in answers)
    assert wait_s <= math.ceil((CHUNK + 1) * 60 / LIMIT)


def test_of_3000_at_once_three_processes_let_the_burst_through(
    run: Run, tmp_path: Path, database_url: str
) -> None:
    async def scenario() -> None:
        async with processes(tmp_path, database_url=database_url) as servers:
            assert await limits(servers[0]) == {
                "kept_in": "postgresql",
                "state": "shared",
                "processes": 3,
            }
            await keeps_one_limit(servers)

    run(scenario())


def test_what_an_operator_changes_holds_in_every_process(
    run: Run, tmp_path: Path, database_url: str
) -> None:
    async def scenario() -> None:
        async with processes(tmp_path, database_url=database_url) as servers:
            organizations = await servers[0].admin("GET", "/organizations")
            path = f"/organizations/{organizations['data'][0]['id']}"
            await servers[0].admin("PATCH", path, {"rate_limit": 60, "rate_burst": 30})

            async def told() -> bool:
                wanted = '"ingest";q=60;w=60;burst=30'
                answers = [await send(server) for server in servers]
                return all(each.headers["ratelimit-policy"] == wanted for each in answers)

            await until(told, "every process has the new limit")
            answers, seconds = await at_once(servers, 300)
            assert allowed(answers) <= 30 + seconds
            assert (await servers[2].call("GET", "/api/events?limit=1")).status == 200
            await servers[1].admin("PATCH", path, {"rate_limit": 0})

            async def unlimited() -> bool:
                answers = [await send(server) for server in servers]
                return all("ratelimit" not in each.headers for each in answers)

            await until(unlimited, "no process has a limit")

    run(scenario())


# ── with Redis ────────────────────────────────────────────────────────────────────────────────────


def test_with_redis_three_processes_let_the_burst_through_also_without_it(
    run: Run, tmp_path: Path, database_url: str, own_redis: RedisServer
) -> None:
    async def scenario() -> None:
        async with processes(
            tmp_path, database_url=database_url, redis_url=own_redis.url()
        ) as servers:
            assert await limits(servers[0]) == {
                "kept_in": "redis",
                "state": "shared",
                "processes": 3,
            }
            await keeps_one_limit(servers)
            # What was used is known to each process, so that nothing begins anew.
            own_redis.kill()
            answers, seconds = await at_once(servers, 1500)
            assert allowed(answers) <= seconds * LIMIT / 60 + BURST

            async def state(wanted: str) -> bool:
                found = [await limits(server) for server in servers]
                for server in servers:
                    await send(server)
                return all(each["state"] == wanted for each in found)

            await until(lambda: state("local"), "each process keeps its share")
            for server in servers:
                assert (await server.ready()).status == 200
                assert await server.metric("triggers_rate_limits_local") == 1
            own_redis.start()
            await until(lambda: state("shared"), "the limit is shared again")
            assert await servers[0].metric("triggers_rate_limits_local") == 0

    run(scenario())
