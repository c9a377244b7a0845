"""No file descriptor is left: who is let in is served, and when there are some again all goes on."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.faults.endpoint import healthy
from tests.faults.history import Outcome
from tests.faults.server import until

from triggers_api.testing import Answer

if TYPE_CHECKING:
    from tests.faults.rig import Rig

KNOWN = 8
SPARE = 4
IDLE = 100


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_server_out_of_descriptors_answers_whom_it_can_and_recovers(rig: Rig) -> None:
    async def run() -> None:
        rig.serve(retry_schedule=",".join(["0.2"] * 40))
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", healthy)
            await rig.post(20, clients=KNOWN)
            await rig.healed()
            pid = rig.server.process.pid
            opened = descriptors(pid)
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (opened + SPARE, hard))
            port = int(rig.server.url.rpartition(":")[2])
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(IDLE)]
            closed = await asyncio.gather(
                *(asyncio.wait_for(reader.read(1), 5.0) for reader, _ in idle),
                return_exceptions=True,
            )
            assert closed.count(b"") + sum(isinstance(c, OSError) for c in closed) >= IDLE - SPARE
            # Whom it knows it serves as far as it can; deliveries wait for a descriptor.
            meanwhile = await rig.post(40, clients=KNOWN)
            lists = await asyncio.gather(
                *(rig.server.call("GET", "/api/events") for _ in range(KNOWN)),
                return_exceptions=True,
            )
            assert {each.status for each in lists if isinstance(each, Answer)} <= {200, 503}
            for _, writer in idle:
                writer.close()
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

            async def green() -> bool:
                return (await rig.server.ready()).status == 200

            await until(green, "readiness is green")
            again = await rig.post(40)
            assert {request.outcome for request in again} == {Outcome.ACCEPTED}
            assert Outcome.ACCEPTED in {request.outcome for request in meanwhile}
            await rig.repeat_unknown()
            await rig.check_after_healing()

    asyncio.run(run())
