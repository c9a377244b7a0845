"""The database's time in a process: how close it is kept, and what does not move it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.postgres.conftest import event
from tests.postgres.test_connection import SOUND

from triggers_api.app import wall_clock
from triggers_api.model.ids import received_ms
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.worker import Worker
from triggers_api.store.postgres import schema
from triggers_api.store.postgres.clock import DatabaseClock
from triggers_api.store.postgres.connection import standing

if TYPE_CHECKING:
    from tests.conftest import Log, Run
    from tests.postgres.conftest import Database

    from triggers_api.store.postgres.store import PostgresStore

BEGAN = 1_800_000_000_000
HOUR_MS = 3_600_000


class Machine:
    """A machine's wall clock, and a database whose clock is so far ahead of it."""

    def __init__(self, *, ahead_ms: int, follows: bool = True) -> None:
        self.wall_ms = float(BEGAN)
        self.ahead_ms = ahead_ms
        self.passed_s = 0.0
        self.clock = DatabaseClock(
            lambda: Timestamp(int(self.wall_ms)),
            follows=follows,
            monotonic=lambda: self.passed_s,
        )

    def ask(self, *, there_s: float, back_s: float) -> None:
        """One question to the database, which takes so long to get there, and so long to be answered."""
        self.wall_ms += there_s * 1000
        self.passed_s += there_s
        now = int(self.wall_ms + self.ahead_ms)
        self.wall_ms += back_s * 1000
        self.passed_s += back_s
        self.clock.compare(msgspec.structs.replace(SOUND, now=now, asked_in_s=there_s + back_s))

    @property
    def off_ms(self) -> int:
        return abs(self.clock() - int(self.wall_ms + self.ahead_ms))


def test_this_machine_s_clock_being_put_right_moves_nothing() -> None:
    machine = Machine(ahead_ms=5 * 60_000)
    machine.ask(there_s=0.001, back_s=0.001)
    before = machine.clock()
    machine.wall_ms += 5 * 60_000
    assert machine.clock() == before
    machine.wall_ms -= HOUR_MS
    assert machine.clock() == before


@pytest.mark.skipif(
    not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no clock that runs in its sleep"
)
def test_what_passes_while_the_machine_is_suspended_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or what it accepts right after would be dated before those who subscribed while it slept."""
    asleep_s = 0.0
    running = time.clock_gettime

    def says(which: int) -> float:
        return running(which) + (asleep_s if which == time.CLOCK_BOOTTIME else 0)

    monkeypatch.setattr(time, "clock_gettime", says)
    clock = DatabaseClock(wall_clock, follows=True)
    before = clock()
    asleep_s = 60.0
    assert clock() - before >= 60_000


ways = st.floats(0, 0.125)
offsets = st.integers(-HOUR_MS * 24, HOUR_MS * 24)


@given(offset=offsets, there_s=ways, back_s=ways)
def test_after_one_answer_it_is_right_to_half_a_round_trip(
    offset: int, there_s: float, back_s: float
) -> None:
    machine = Machine(ahead_ms=offset)
    machine.ask(there_s=there_s, back_s=back_s)
    assert machine.off_ms <= (there_s + back_s) * 500 + 2


# How far the difference of the clocks has moved, and how long a question then went there and back.
answers = st.tuples(
    st.one_of(st.integers(-300, 300), offsets),
    st.sampled_from([(0.0, 0.25), (0.125, 0.125), (0.25, 0.0), (0.001, 0.001), (0.05, 0.0)]),
)


@given(one=st.lists(answers, min_size=1), other=st.lists(answers, min_size=1))
@example(one=[(250, (0.25, 0.0))], other=[(-250, (0.0, 0.25))])
def test_two_processes_are_never_further_apart_than_routing_reckons_with(
    one: list[tuple[int, tuple[float, float]]], other: list[tuple[int, tuple[float, float]]]
) -> None:
    """However their machines' clocks drift, and whichever way their questions are slow."""
    machines = [Machine(ahead_ms=0), Machine(ahead_ms=0)]
    for machine, answered in zip(machines, (one, other), strict=True):
        for drift, (there_s, back_s) in answered:
            machine.ahead_ms += drift
            machine.ask(there_s=there_s, back_s=back_s)
    assert sum(machine.off_ms for machine in machines) <= machines[0].clock.skew_ms


def test_it_does_not_move_for_what_an_answer_cannot_tell_apart() -> None:
    machine = Machine(ahead_ms=0)
    machine.ask(there_s=0.0, back_s=0.01)
    machine.ask(there_s=0.01, back_s=0.0)
    machine.ask(there_s=0.0, back_s=0.01)
    assert machine.clock.ahead_ms in {5, -5, 0}
    before = machine.clock.ahead_ms
    for _ in range(10):
        machine.ask(there_s=0.004, back_s=0.006)
    assert machine.clock.ahead_ms == before


def test_an_answer_that_took_long_says_nothing_where_there_was_a_better_one() -> None:
    machine = Machine(ahead_ms=5000)
    machine.ask(there_s=0.1, back_s=0.1)
    machine.ask(there_s=0.25, back_s=0.01)
    assert machine.clock.ahead_ms == 5000


def test_the_first_answer_counts_however_long_it_took() -> None:
    machine = Machine(ahead_ms=HOUR_MS)
    machine.ask(there_s=2, back_s=1)
    assert machine.off_ms <= 1502
    machine.ask(there_s=0.01, back_s=0.01)
    assert machine.off_ms <= 12


def test_it_follows_when_either_clock_is_set() -> None:
    machine = Machine(ahead_ms=0)
    machine.ask(there_s=0.001, back_s=0.001)
    machine.ahead_ms = -HOUR_MS
    machine.ask(there_s=0.001, back_s=0.001)
    assert machine.off_ms <= 3


def test_time_of_its_own_is_what_it_was_given() -> None:
    machine = Machine(ahead_ms=HOUR_MS, follows=False)
    machine.ask(there_s=0.001, back_s=0.001)
    assert machine.clock() == int(machine.wall_ms)
    assert machine.clock.skew_ms == 0


def test_a_machine_that_is_a_second_off_is_told_about(log: Log) -> None:
    machine = Machine(ahead_ms=-61_000)
    machine.ask(there_s=0.001, back_s=0.001)
    machine.ask(there_s=0.001, back_s=0.001)
    (line,) = log
    assert line["event"] == "this machine's clock is off the database's"
    assert line["seconds"] == pytest.approx(61, abs=0.01)


# ── in the store ──────────────────────────────────────────────────────────────────────────────────


async def told_the_time(*stores: PostgresStore) -> None:
    """Wait until each was told it quickly: a first answer counts however long it took."""
    for store in stores:
        async with store._sessions.pool.connection() as db:
            while (found := await standing(db)).asked_in_s > 0.1:
                pass
        store._database_clock.compare(found)


def is_right(store: PostgresStore) -> bool:
    """Whether its time is the server's, which is ours: it was asked between two looks at the clock."""
    before, now, after = wall_clock(), store.now(), wall_clock()
    return before - store.skew_ms <= now <= after + store.skew_ms


def off_by(ms: int) -> Callable[[], Timestamp]:
    return lambda: Timestamp(wall_clock() + ms)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_store_has_the_time_of_its_database_whatever_its_machine_says(
    run: Run, database: Database, hours: int, *, pooled: bool
) -> None:
    """The server is on this machine: its time is ours."""

    async def scenario() -> None:
        store = await database.store(
            clock=off_by(hours * HOUR_MS),
            keeps_own_time=False,
            direct_url=database.url if pooled else None,
        )
        await told_the_time(store)
        for _ in range(3):
            assert is_right(store)
            await store.check()
        organization = await database.organization(store)
        stored = event(store, organization)
        await store.append([stored])
        assert abs(received_ms(stored.id) - wall_clock()) <= 10_000

    run(scenario())


def test_how_long_the_schema_took_does_not_count_as_a_difference_of_clocks(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_up_to_date = schema.bring_up_to_date

    async def slowly(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on
        await asyncio.sleep(0.6)
        return await bring_up_to_date(*arguments, **options)

    monkeypatch.setattr(schema, "bring_up_to_date", slowly)

    async def scenario() -> None:
        for _ in range(3):  # the answer itself may have been slow
            store = await database.store(clock=wall_clock, keeps_own_time=False)
            if abs(store._database_clock.ahead_ms) <= 130:
                return
        raise AssertionError("it is off by more than an answer takes")

    run(scenario())


def test_stores_on_machines_with_different_clocks_claim_by_one_time(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        early = await database.store(clock=off_by(-HOUR_MS), keeps_own_time=False)
        late = await database.store(clock=off_by(HOUR_MS), keeps_own_time=False)
        organization = await database.organization(early)
        await early.append([event(early, organization)])
        claim = await early.claim_queue(10, 45)
        assert len(claim.events) == 1
        assert (await late.claim_queue(10, 45)).events == (), "its lease has not run out"
        in_a_minute = Timestamp(wall_clock() + 60_000)
        await late.append([event(late, organization, deliver_at=in_a_minute)])
        assert (await late.claim_queue(10, 45)).events == (), "it is not due"

    run(scenario())


def test_a_process_whose_machine_s_clock_is_put_right_keeps_the_database_s_time(
    run: Run, database: Database
) -> None:
    """So do those that start after it: none takes what another holds."""
    off_ms = [-5 * 60_000]

    async def scenario() -> None:
        put_right = await database.store(
            clock=lambda: Timestamp(wall_clock() + off_ms[0]), keeps_own_time=False
        )
        other = await database.store(clock=wall_clock, keeps_own_time=False)
        await told_the_time(put_right, other)
        organization = await database.organization(other)
        await other.append([event(other, organization)])
        assert len((await other.claim_queue(10, 45)).events) == 1
        off_ms[0] = 0
        for _ in range(2):
            assert is_right(put_right)
            assert (await put_right.claim_queue(10, 45)).events == ()
            await put_right.check()
        worker = Worker(
            id="put right", roles=(), version="1", started_at=Timestamp(0), seen_at=Timestamp(0)
        )
        await put_right.beat(worker)
        later = await database.store(clock=wall_clock, keeps_own_time=False)
        await told_the_time(later)
        assert is_right(later)

    run(scenario())
