"""The loop: the only ``while`` of the background parts. It survives its part and ends when told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import pytest
from tests.conftest import Log, Run

from triggers_api.errors import StoreUnavailable
from triggers_api.operate.loop import Loop

SOON_S: Final = 10.0


class Part:
    """A part under the test's control."""

    name = "part"

    def __init__(self) -> None:
        self.turns = 0
        self.waits: list[float] = []
        self.faults: list[BaseException | None] = []
        self.wait_faults: list[BaseException] = []
        self.pause_s = 0.0
        self.turned = asyncio.Condition()
        self.gate: asyncio.Event | None = None
        self.ended_turns = 0
        self.last = 0

    async def run_once(self) -> float:
        async with self.turned:
            self.turns += 1
            self.turned.notify_all()
        if self.gate is not None:
            await self.gate.wait()
        self.ended_turns += 1
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        return self.pause_s

    async def wait(self, timeout_s: float) -> None:
        self.waits.append(timeout_s)
        if self.wait_faults:
            raise self.wait_faults.pop(0)
        await asyncio.Event().wait()

    async def until(self, turns: int) -> None:
        async with asyncio.timeout(SOON_S), self.turned:
            await self.turned.wait_for(lambda: self.turns >= turns)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggers_api.operate.loop._FIRST_BACKOFF_S", 0.0005)


@pytest.fixture
def crashes() -> list[str]:
    return []


Made = Callable[[], tuple[Part, Loop]]


@pytest.fixture
def made(crashes: list[str]) -> Made:
    def made() -> tuple[Part, Loop]:
        part = Part()
        return part, Loop(part, crashed=crashes.append)

    return made


def test_turns_follow_each_other_until_there_is_nothing_to_do(run: Run, made: Made) -> None:
    async def main() -> None:
        part, loop = made()
        loop.start()
        await part.until(50)
        part.pause_s = 1.5
        await part.until(part.turns + 1)
        await loop.stop()
        assert part.waits == [1.5]

    run(main())


def test_a_turn_that_raises_is_counted_logged_and_tried_again(
    run: Run, made: Made, crashes: list[str], log: Log
) -> None:
    async def main() -> None:
        part, loop = made()
        part.faults = [RuntimeError("a bug"), ValueError("another")]
        part.pause_s = 60
        loop.start()
        await part.until(3)
        await loop.stop()
        assert crashes == ["part", "part"]
        assert not loop.failing

    run(main())
    failed = [line for line in log if line["event"] == "turn failed"]
    assert [line["part"] for line in failed] == ["part", "part"]
    assert all(isinstance(line["exc_info"], Exception) for line in failed)


def test_a_store_that_is_away_is_one_line_without_a_traceback(
    run: Run, made: Made, crashes: list[str], log: Log
) -> None:
    async def main() -> None:
        part, loop = made()
        part.faults = [StoreUnavailable()]
        part.pause_s = 60
        loop.start()
        await part.until(2)
        await loop.stop()

    run(main())
    (line,) = [line for line in log if line["event"] == "turn failed"]
    assert line["exc_info"] is None
    assert crashes == ["part"]


def test_it_is_failing_from_the_third_crash_in_a_row_until_a_turn_succeeds(
    run: Run, made: Made
) -> None:
    async def main() -> None:
        part, loop = made()
        part.gate = asyncio.Event()
        part.faults = [RuntimeError(str(number)) for number in range(4)]
        seen = []
        loop.start()
        for turn in range(1, 6):
            await part.until(turn)
            seen.append(loop.failing)
            part.gate.set()
            part.gate = asyncio.Event()
        await part.until(6)
        seen.append(loop.failing)
        part.gate.set()
        await loop.stop()
        assert seen == [False, False, False, True, True, False]

    run(main())


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the loop waits after each turn that raised; it does not really wait."""
    monkeypatch.undo()
    slept: list[float] = []
    sleep = asyncio.sleep

    async def recorded(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr("triggers_api.operate.loop.asyncio.sleep", recorded)
    return slept


def after(run: Run, made: Made, *faults: BaseException) -> None:
    """The loop goes on after all these."""

    async def main() -> None:
        part, loop = made()
        part.faults = [*faults]
        part.pause_s = 60
        loop.start()
        await part.until(len(faults) + 1)
        await loop.stop()

    run(main())


def test_each_crash_is_waited_out_twice_as_long_up_to_half_a_minute(
    run: Run, made: Made, pauses: list[float]
) -> None:
    after(run, made, *(RuntimeError(str(number)) for number in range(11)))
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]


def test_a_store_that_is_away_is_looked_for_every_second_for_as_long_as_it_takes(
    run: Run, made: Made, pauses: list[float], crashes: list[str]
) -> None:
    """Two to the power of so many failures is no float any more."""
    after(run, made, *(StoreUnavailable() for _ in range(1100)))
    assert pauses == [0.2, 0.4, 0.8] + [1.0] * 1097
    assert len(crashes) == 1100


def test_a_bug_that_shows_while_the_store_is_away_is_waited_out_like_a_bug(
    run: Run, made: Made, pauses: list[float]
) -> None:
    after(run, made, *(StoreUnavailable() for _ in range(4)), RuntimeError("a bug"))
    assert pauses == [0.2, 0.4, 0.8, 1.0, 3.2]


@pytest.mark.usefixtures("pauses")
def test_a_store_that_stays_away_is_said_now_and_then(
    run: Run, made: Made, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    after(run, made, *(StoreUnavailable() for _ in range(20)))
    assert len(log) == 1
    monkeypatch.setattr("triggers_api.operate.loop._SAY_AGAIN_S", 0.0)
    after(run, made, *(StoreUnavailable() for _ in range(20)))
    assert len(log) == 21


def test_a_wait_that_raises_does_not_end_the_loop_unseen(
    run: Run, made: Made, crashes: list[str]
) -> None:
    async def main() -> None:
        part, loop = made()
        part.pause_s = 60
        part.wait_faults = [RuntimeError("the notice is broken")]
        loop.start()
        await part.until(2)
        await loop.stop()
        assert crashes == ["part"]

    run(main())


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


def test_stopping_before_the_start_is_harmless_and_nothing_begins_after(
    run: Run, made: Made
) -> None:
    async def main() -> None:
        part, loop = made()
        await loop.stop()
        await loop.stop()
        loop.start()
        await loop.stop()
        assert part.turns == 0

    run(main())


def test_stopping_ends_a_wait_at_once_and_may_be_repeated(run: Run, made: Made) -> None:
    async def main() -> None:
        part, loop = made()
        part.pause_s = 3600
        loop.start()
        await part.until(1)
        async with asyncio.timeout(SOON_S):
            await asyncio.gather(loop.stop(), loop.stop())
            await loop.stop()
        assert part.turns == 1

    run(main())


def test_stopping_lets_the_turn_under_way_end_and_no_other_begin(run: Run, made: Made) -> None:
    async def main() -> None:
        part, loop = made()
        part.gate = asyncio.Event()
        loop.start()
        await part.until(1)
        stopping = asyncio.create_task(loop.stop())
        done, _ = await asyncio.wait((stopping,), timeout=0.05)
        assert not done
        assert part.ended_turns == 0
        part.gate.set()
        async with asyncio.timeout(SOON_S):
            await stopping
        assert (part.turns, part.ended_turns) == (1, 1)

    run(main())


def test_stopping_does_not_wait_for_the_end_of_a_backoff(
    run: Run, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.operate.loop._FIRST_BACKOFF_S", 10.0)

    async def main() -> None:
        part, loop = made()
        part.faults = [RuntimeError("a bug")]
        loop.start()
        await part.until(1)
        async with asyncio.timeout(SOON_S):
            await loop.stop()
        assert part.turns == 1

    run(main())


class Called(Part):
    """One that is called for again as soon as a turn has ended; a turn takes this long."""

    TURN_S: Final = 0.02

    def __init__(self) -> None:
        super().__init__()
        self.pause_s = 10.0
        self.began: list[float] = []

    async def run_once(self) -> float:
        loop = asyncio.get_running_loop()
        self.began.append(loop.time())
        self.gate = asyncio.Event()
        loop.call_later(self.TURN_S, self.gate.set)
        return await super().run_once()

    async def wait(self, timeout_s: float) -> None:
        self.waits.append(timeout_s)


def test_a_turn_that_is_called_for_at_once_waits_as_long_as_the_last_one_took(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.operate.loop._COMPANY_S", SOON_S)

    async def main() -> None:
        part = Called()
        loop = Loop(part, crashed=lambda _: None)
        loop.start()
        await part.until(3)
        await loop.stop()
        first, second, third = part.began[:3]
        assert min(second - first, third - second) >= 1.9 * part.TURN_S

    run(main())
