"""SIGKILL between an operational event's commit and the end of the notice it was made of."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from tests.faults.server import until

if TYPE_CHECKING:
    from tests.faults.rig import Rig

NOWHERE = "http://127.0.0.1:9/hook"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("side", ["before", "after"])
def test_what_is_told_is_told_once_whatever_kills_the_service_meanwhile(
    rig: Rig, side: str
) -> None:
    async def listed() -> list[Any]:
        answer = await rig.server.call("GET", "/api/events?operational=true")
        found: list[Any] = answer.json["data"]
        return found

    async def told() -> bool:
        path = next(rig.folder.rglob("*.db"))
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            ((notices,),) = database.execute("SELECT count(*) FROM notices")
        database.close()
        return notices == 0 and bool(await listed())

    async def run() -> None:
        async with rig:
            await rig.server.start(failpoints=f"forget_notices.{side}_commit=crash")
            await rig.server.subscribe(NOWHERE, ["*"], operational=True)
            await rig.server.subscribe(NOWHERE, ["order.*"], retry_schedule=[])
            await rig.post(1)
            assert await rig.server.ended() == -signal.SIGKILL
            await rig.server.start()
            await until(told, "the notice is told and gone")
            assert [event["type"] for event in await listed()] == ["delivery.dead"]

    asyncio.run(run())
