"""What the embedded service says of a file that it cannot write to, and how soon."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import apsw
import pytest
from tests.faults.history import Outcome
from tests.faults.server import NotStarted, until
from tests.faults.states import AWAY, FINE, SEEN_WITHIN_S, SLACK_S, all_say
from tests.faults.volume import Volume, mounted

if TYPE_CHECKING:
    from tests.faults.rig import Rig

MEGABYTE = 1 << 20
START_AGAIN_S = 0.2

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]


async def red(rig: Rig, wanted: dict[str, object]) -> None:
    took_s = await all_say([rig.server], wanted, within_s=SEEN_WITHIN_S + SLACK_S)
    print(f"red after {took_s:.1f} s")  # noqa: T201
    assert (await rig.server.call("GET", "/livez", key=None)).status == 200


async def green(rig: Rig) -> None:
    took_s = await all_say([rig.server], FINE, within_s=SEEN_WITHIN_S + SLACK_S)
    print(f"green after {took_s:.1f} s")  # noqa: T201


@pytest.mark.parametrize("asked", [False, True])
def test_a_file_that_another_program_has_locked_is_seen_within_2_s_and_so_is_the_end_of_it(
    rig: Rig, *, asked: bool
) -> None:
    """Also by a service of which nobody asks anything."""

    async def run() -> None:
        async with rig:
            await rig.begin(20)
            await green(rig)
            foreign = apsw.Connection(str(rig.server.database))
            foreign.execute("BEGIN IMMEDIATE")
            meanwhile = asyncio.create_task(rig.post(4 if asked else 0))
            await red(rig, AWAY | {"store": "store-unavailable"})
            refused = await meanwhile
            assert all(request.outcome is Outcome.REFUSED for request in refused)

            async def told() -> bool:
                errors = "triggers_store_errors_total"
                return await rig.server.metric(errors, code="store-unavailable") > 0

            await until(told, "the refusal is counted")
            await red(rig, AWAY | {"store": "store-unavailable"})
            foreign.execute("ROLLBACK")
            foreign.close()
            await green(rig)
            assert {request.outcome for request in await rig.post(20)} == {Outcome.ACCEPTED}
            await rig.check_after_healing()

    asyncio.run(run())


@asynccontextmanager
async def on_volume(rig: Rig, folder: Path, kind: str, *, reserve_mb: int) -> AsyncIterator[Volume]:
    """The service has a small file system to itself, and has delivered something."""
    with mounted(kind, folder, megabytes=24) as volume:
        database = volume.folder / "triggers.db"
        rig.serve(database_url=f"sqlite:///{database}", disk_reserve_mb=reserve_mb)
        rig.server.database = database
        async with rig:
            await rig.begin(20)
            yield volume


def test_a_disk_without_room_is_seen_within_2_s_although_nobody_asks_anything(
    rig: Rig, tmp_path: Path
) -> None:
    async def run() -> None:
        async with on_volume(rig, tmp_path, "tmpfs", reserve_mb=4) as volume:
            await green(rig)
            volume.fill(spare=2 * MEGABYTE)
            full = {"code": 503, "status": "not-ready", "disk": "storage-full"}
            await red(rig, full | {"ready": 0, "disk ok": 0})
            volume.free()
            await green(rig)
            await rig.post(20)
            await rig.check_after_healing()

    asyncio.run(run())


class Supervisor:
    """Whenever the server ends it is started again, unless somebody holds ``starting``.

    What it said that was not started is collected in ``refusals``.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.refusals: list[str] = []
        self.starting = asyncio.Lock()

    async def keep(self) -> None:
        while True:
            async with self.starting:
                if self._rig.server.poll() is not None:
                    try:
                        await self._rig.server.start()
                    except NotStarted as refused:
                        self.refusals.append(refused.said)
            await asyncio.sleep(START_AGAIN_S)


@asynccontextmanager
async def supervised(rig: Rig) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(rig)
    keeper = asyncio.create_task(supervisor.keep())
    try:
        yield supervisor
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper


async def is_ready(rig: Rig) -> bool:
    try:
        return (await rig.server.ready()).status == 200
    except aiohttp.ClientError:
        return False


def test_a_file_system_that_turned_read_only_is_seen_within_2_s_although_nobody_asks_anything(
    rig: Rig, tmp_path: Path
) -> None:
    """Not every kernel says of the file system that it is."""

    async def run() -> None:
        async with on_volume(rig, tmp_path, "ext4", reserve_mb=0) as volume:
            await green(rig)
            volume.abort()
            await red(rig, AWAY | {"store": "store-unavailable"})
            assert rig.server.poll() is None
            rig.server.kill()

    asyncio.run(run())


def test_a_file_system_that_turned_read_only_ends_the_process_until_it_is_writable_again(
    rig: Rig, tmp_path: Path
) -> None:
    """After a failed write SQLite and the kernel may hold different things for the file."""

    async def run() -> None:
        async with on_volume(rig, tmp_path, "ext4", reserve_mb=0) as volume:
            volume.abort()
            lost = await rig.post(4)
            assert Outcome.ACCEPTED not in {request.outcome for request in lost}
            assert await rig.server.ended() == 1
            said = rig.server.said().splitlines()
            assert [line for line in said if line.startswith("triggers: the disk failed")], said
            async with supervised(rig) as supervisor:
                refusals = supervisor.refusals
                await until(lambda: len(refusals) >= 2, "it is not started")
                assert not await is_ready(rig)
                assert "Traceback" not in refusals[-1]
                assert str(rig.server.database) in refusals[-1]
                assert "Read-only file system" in refusals[-1]
                async with supervisor.starting:
                    # Nobody has a file of it open, nor finds an empty folder while it is not mounted.
                    volume.mend()
                await until(lambda: is_ready(rig), "readiness is green")
                assert await rig.server.metric("triggers_ready") == 1
            await rig.repeat_unknown()
            await rig.check_after_healing(tracebacks=True)

    asyncio.run(run())


def test_a_file_that_was_moved_ends_the_process_within_2_s_and_is_used_when_it_is_back(
    rig: Rig,
) -> None:
    """Meanwhile no start makes an empty one in its place."""

    async def run() -> None:
        async with rig:
            await rig.begin(20)
            aside = rig.folder / "aside"
            aside.mkdir()
            names = [f"{rig.server.database.name}{suffix}" for suffix in ("-wal", "-shm", "")]
            for name in names:
                shutil.move(rig.folder / name, aside)
            assert await rig.server.ended(within_s=SEEN_WITHIN_S + SLACK_S) == 1
            assert rig.server.logged("the database file was moved; ending the process")
            async with supervised(rig) as supervisor:
                refusals = supervisor.refusals
                await until(lambda: len(refusals) >= 2, "it is not started")
                assert not await is_ready(rig)
                (line,) = refusals[-1].splitlines()
                assert f"{rig.server.database} is gone" in line
                async with supervisor.starting:
                    for name in names:
                        shutil.move(aside / name, rig.folder)
                await until(lambda: is_ready(rig), "readiness is green")
            await green(rig)
            await rig.post(20)
            await rig.check_after_healing()

    asyncio.run(run())
