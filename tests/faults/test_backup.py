"""A backup under load, the machine lost, the copy put in place: what it must hold, what follows."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.faults.endpoint import flaky, healthy
from tests.faults.history import Outcome, Request, load

import triggers_api
from triggers_api.failpoints import VARIABLE as FAILPOINTS

if TYPE_CHECKING:
    from tests.faults.rig import Rig

SIZE = 4000
"""Events of each half of a run."""


async def command(rig: Rig, *words: str) -> str:
    """A command of the product beside the server, which must end well; what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "triggers_api", *words,
        cwd=rig.folder,
        env={
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(Path(triggers_api.__file__).parents[1]),
            "TRIGGERS_DATABASE_URL": f"sqlite:///{rig.server.database}",
            FAILPOINTS: "",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def back_up_under_load(rig: Rig, size: int) -> None:
    """Load, back up in the middle of it, lose the server, restore, and go on."""
    copy = rig.folder / "elsewhere.db"
    async with rig:
        await rig.server.start()
        good = await rig.endpoint("healthy", healthy, ["order.*"])
        await rig.endpoint("flaky", flaky(rig.rng), ["order.*"])
        before: list[Request] = []

        async def backup() -> None:
            await rig.history.wait_for_accepted(size // 4)
            before.extend(rig.history.of(Outcome.ACCEPTED))
            await command(rig, "backup", str(copy))

        await asyncio.gather(load(rig.server, rig.history, rig.requests(size)), backup())
        await load(rig.server, rig.history, rig.requests(size // 10))
        rig.server.kill()
        was_seen = good.event_ids()

        said = await command(rig, "restore", str(copy), "--replace")
        assert "kept aside" in said
        restored = {event.id for event in rig.dump().events}
        missing = [request.ids for request in before if not request.ids & restored]
        assert len(before) >= size // 4
        assert not missing, f"accepted before the backup, and not in it: {missing[:5]}"

        await rig.server.start()
        lost = [
            request for request in rig.history.of(Outcome.ACCEPTED) if not request.ids & restored
        ]
        assert lost, "what came after the backup is gone, or this run shows nothing"
        again = [request for request in lost if request.dedup_id is not None]
        for request in again:
            request.told.clear()
        await load(rig.server, rig.history, again)
        assert all(request.outcome is Outcome.ACCEPTED for request in again)
        assert not any(told.duplicate for request in again for told in request.told)
        await rig.healed()
        assert await rig.server.stop() == 0

        found = rig.dump()
        assert found.integrity == "ok"
        assert {event.id for event in found.events} >= restored
        assert good.event_ids() >= restored, "every restored event is delivered"
        assert was_seen <= good.event_ids()
        # Whatever came twice came under the same webhook-id, with the same body.
        bodies: dict[str, set[bytes]] = defaultdict(set)
        for exchange in good.exchanges:
            assert exchange.fault is None
            bodies[exchange.event_id].add(exchange.body)
        assert all(len(each) == 1 for each in bodies.values())


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_backup_under_load_has_all_that_was_accepted_before_it_began(rig: Rig) -> None:
    asyncio.run(back_up_under_load(rig, SIZE))
