"""A server that is killed while it deletes old events: nothing unfinished is lost, the books balance."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from tests.conftest import new_database
from tests.faults.server import NotStarted, Server, until

from triggers_api.app import wall_clock
from triggers_api.testing import FrozenClock, Receiver, Service

CLIENTS: Final = 4


@pytest.fixture(params=["postgres", "sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with new_database(request.param, tmp_path, request) as url:
        yield url


class Old:
    """What was left a month ago, by what is to become of it."""

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.unfinished: list[str] = []
        self.paused = ""


async def a_month_ago(folder: Path, database_url: str, receiver: Receiver, *, finished: int) -> Old:
    """A service that ended with events in every state."""
    old = Old()
    clock = FrozenClock(str(wall_clock().after(seconds=-30 * 86_400)))
    async with Service(folder, clock=clock, database_url=database_url, rate_limit=0) as service:

        async def sent(count: int, event_type: str, **fields: Any) -> list[str]:  # noqa: ANN401
            ids: list[str] = []
            while len(ids) < count:
                size = min(count - len(ids), 500)
                events = [{"type": event_type, "payload": n, **fields} for n in range(size)]
                answer = await service.call("POST", "/api/events/batch", events)
                assert answer.status == 202, answer
                ids += [each["id"] for each in answer.json["results"]]
            return ids

        await service.subscribe(receiver.url, ["done", "late", "new"])
        old.paused = (await service.subscribe(receiver.url, ["open"]))["id"]
        await service.call("POST", f"/api/subscriptions/{old.paused}/pause")
        old.finished += await sent(finished, "nobody")
        old.finished += await sent(20, "done")
        old.unfinished += await sent(30, "open")
        await service.drain()
        old.unfinished += await sent(30, "late")
        soon = str(wall_clock().after(seconds=1))
        old.unfinished += await sent(20, "late", deliver_at=soon)
    assert sorted(receiver.ids) == sorted(old.finished[finished:])
    return old


class Clients:
    """Post events for as long as they are let, each until it is known to be stored."""

    def __init__(self, server: Server) -> None:
        self.ids: dict[str, str] = {}
        """By dedup_id, what was accepted."""
        self._server = server
        self._serial = 0
        self._over = False

    @asynccontextmanager
    async def posting(self) -> AsyncIterator[None]:
        """Meanwhile."""
        self._over = False
        tasks = [asyncio.create_task(self._client()) for _ in range(CLIENTS)]
        try:
            yield
        finally:
            self._over = True
            await asyncio.gather(*tasks)

    async def _client(self) -> None:
        while not self._over:
            self._serial += 1
            dedup_id = f"new-{self._serial}"
            body = json.dumps({"type": "new", "payload": self._serial, "dedup_id": dedup_id})
            while dedup_id not in self.ids:
                with suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
                    answer = await self._server.call("POST", "/api/events", body.encode())
                    if answer.status in {200, 202}:
                        self.ids[dedup_id] = answer.json["id"]
                if dedup_id not in self.ids:
                    await asyncio.sleep(0.02)


async def books(server: Server) -> dict[str, Any]:
    answer = await server.admin("GET", "/verify")
    assert answer["ok"], answer
    (account,) = answer["organizations"]
    found: dict[str, Any] = account
    return found


async def start_to_die(server: Server, crash: str) -> None:
    """Start a server that dies at a step of its first sweep; that may be before it answers."""
    server.launch(failpoints=crash)
    with suppress(NotStarted):
        await server.started()


async def prune_and_die(
    folder: Path, database_url: str, crashes: Sequence[str], finished: int
) -> None:
    async with Receiver() as receiver:
        old = await a_month_ago(folder, database_url, receiver, finished=finished)
        server = Server(folder, database_url=database_url)
        async with server:
            clients = Clients(server)
            await start_to_die(server, crashes[0])
            async with clients.posting():
                for crash in crashes[1:]:
                    assert await server.ended() == -signal.SIGKILL
                    await start_to_die(server, crash)
                assert await server.ended() == -signal.SIGKILL
                await server.start()
                await books(server)

                async def swept() -> bool:
                    pruned: int = (await books(server))["pruned"]
                    return pruned == len(old.finished)

                await until(swept, "all that is old and finished is deleted", within_s=120)
            resumed = await server.call("POST", f"/api/subscriptions/{old.paused}/resume")
            assert resumed.status == 200
            wanted = {*old.unfinished, *clients.ids.values()}
            await until(
                lambda: wanted <= set(receiver.ids), "all that was not finished is delivered"
            )
            await until(server.idle, "nothing waits")
            account = await books(server)
            assert account["pruned"] == len(old.finished)
            assert account["accepted"] == account["processed"] == len(wanted)
            assert (
                account["deliveries"]["succeeded"] == account["deliveries"]["total"] == len(wanted)
            )
            for event_id in (old.finished[0], old.finished[-1]):
                assert (await server.call("GET", f"/api/events/{event_id}")).status == 404
            for event_id in (old.unfinished[0], old.unfinished[-1]):
                assert (await server.call("GET", f"/api/events/{event_id}")).status == 200
            assert await server.stop() == 0


@pytest.mark.timeout(240)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_server_that_dies_while_it_prunes_loses_nothing_that_is_not_finished(
    tmp_path: Path, database_url: str
) -> None:
    asyncio.run(prune_and_die(tmp_path, database_url, ["prune_events.after_commit=crash@2"], 300))


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_a_server_that_dies_again_and_again_while_it_prunes_gets_to_the_end(
    tmp_path: Path, database_url: str
) -> None:
    crashes = [
        f"prune_events.{step}_commit=crash@{at}" for at in (2, 5, 9) for step in ("before", "after")
    ]
    asyncio.run(prune_and_die(tmp_path, database_url, crashes, 10_000))
