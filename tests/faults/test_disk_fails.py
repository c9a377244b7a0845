"""The disk fails, or takes its time; and the proof that an answer waits for it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from tests.faults.endpoint import healthy
from tests.faults.history import Outcome, Told, load, read
from tests.faults.scenarios import SYNCS, trace_answers
from tests.faults.trace import Tracer, faults

if TYPE_CHECKING:
    from tests.faults.rig import Rig


# ── the sync fails ────────────────────────────────────────────────────────────────────────────


async def failing_syncs(rig: Rig, *, at: int, error: str) -> None:
    """The n-th sync from now on fails, and all that follow it, until the process is another one."""
    async with rig:
        await rig.begin(50)
        inject = faults(SYNCS, f"error={error}:when={at}+")
        async with Tracer(rig.server, rig.folder / "strace.txt", *inject):
            requests = rig.requests(400)
            await load(rig.server, rig.history, requests, clients=8)
            assert await rig.server.ended() not in {0, -9}
        # Whose event was in the transaction is told so; who comes later, that nothing is stored.
        codes = {told.code for request in requests for told in request.told} - {None}
        assert codes <= {"outcome-unknown", "store-unavailable", "draining"}
        assert "the disk failed" in rig.server.said()
        rig.invariants.check(rig.dump(), healed=False)

        await rig.server.start()
        await rig.repeat_unknown()
        await rig.check_after_healing(tracebacks=True)


@pytest.mark.faults
@pytest.mark.timeout(240)
@pytest.mark.parametrize("at", [1, 2, 7, 20, 40])
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_failed_sync_ends_the_process_and_costs_nothing(rig: Rig, at: int, error: str) -> None:
    asyncio.run(failing_syncs(rig, at=at, error=error))


@pytest.mark.faults
@pytest.mark.timeout(240)
@pytest.mark.parametrize("call", ["pwrite64", "ftruncate"])
def test_a_failed_write_ends_the_process_and_costs_nothing(rig: Rig, call: str) -> None:
    async def run() -> None:
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", healthy)
            await rig.post(50)
            async with Tracer(
                rig.server, rig.folder / "strace.txt", *faults((call,), "error=EIO:when=30+")
            ):
                # ftruncate is called seldom; the test is then about being told nothing of it.
                await load(rig.server, rig.history, rig.requests(300), clients=8)
                if call == "pwrite64":
                    assert await rig.server.ended() not in {0, -9}
            rig.invariants.check(rig.dump(), healed=False)
            if call == "pwrite64":
                await rig.server.start()
            await rig.repeat_unknown()
            await rig.check_after_healing(tracebacks=True)

    asyncio.run(run())


async def end_by_failed_sync(rig: Rig) -> None:
    """Serve until the disk fails."""
    await rig.server.start()
    await rig.endpoint("healthy", healthy)
    inject = faults(SYNCS, "error=EIO:when=40+")
    async with Tracer(rig.server, rig.folder / "strace.txt", *inject):
        await load(rig.server, rig.history, rig.requests(400), clients=8)
        assert await rig.server.ended() == 1


@pytest.mark.faults
def test_the_last_words_after_a_failed_sync_are_plain(rig: Rig) -> None:
    async def run() -> None:
        async with rig:
            await end_by_failed_sync(rig)
            assert "Traceback" not in rig.server.said()
            assert rig.server.said().splitlines()[-1].startswith("triggers: the disk failed")

    asyncio.run(run())


@pytest.mark.faults
def test_the_start_after_a_failed_sync_checks_the_file(rig: Rig) -> None:
    async def run() -> None:
        async with rig:
            await end_by_failed_sync(rig)
            await rig.server.start()
            assert "the last server was not shut down in order" in rig.server.said()

    asyncio.run(run())


# ── the sync takes its time ───────────────────────────────────────────────────────────────────


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_a_slow_disk_is_answered_with_503_in_bounded_memory(rig: Rig) -> None:
    """Every sync takes six seconds. Who comes while nothing moves is sent away at once."""
    wave, size = 100, 40_000

    async def run() -> None:
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", healthy, ["order.*"])
            await rig.post(50)
            before_mb = peak_mb = resident_mb(rig.server.process.pid)
            overloaded = 0
            retry_after: set[str | None] = set()

            async def client() -> None:
                nonlocal peak_mb, overloaded
                request = rig.history.new("bulk", size=size, dedup=True)
                try:
                    answer = await rig.server.call("POST", "/api/events", request.body)
                except (aiohttp.ClientError, TimeoutError):
                    rig.history.note(request, Told())
                    return
                told = rig.history.note(request, read(answer.status, answer.body))
                peak_mb = max(peak_mb, resident_mb(rig.server.process.pid))
                if told.status == 503:
                    assert told.code == "overloaded"
                    retry_after.add(answer.headers.get("retry-after"))
                    overloaded += 1

            slow = faults(SYNCS, "delay_exit=6000000")
            async with (
                Tracer(rig.server, rig.folder / "strace.txt", *slow),
                asyncio.TaskGroup() as all_,
            ):
                while overloaded < 5 * wave:
                    for _ in range(wave):
                        all_.create_task(client())
                    # As they would come: whether or not the ones before them were answered.
                    await asyncio.sleep(0.5)
            assert all(value is not None and int(value) >= 1 for value in retry_after)
            assert peak_mb - before_mb < 150, f"{before_mb:.0f} MB became {peak_mb:.0f} MB"
            # Without the tracer the disk is quick again.
            again = await rig.post(50)
            assert {request.outcome for request in again} == {Outcome.ACCEPTED}
            await rig.repeat_unknown()
            await rig.check_after_healing()

    asyncio.run(run())


# ── an answer waits for the disk ──────────────────────────────────────────────────────────────


@pytest.mark.timeout(180)
def test_every_202_is_written_after_the_sync_of_its_event(rig: Rig) -> None:
    asyncio.run(trace_answers(rig))
