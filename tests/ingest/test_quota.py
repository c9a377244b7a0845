"""One limit for several processes: each on its own, with a ledger between them that may fail."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final

import pytest
from tests.conftest import Run

from triggers_api.errors import StoreUnavailable
from triggers_api.ingest.limits import RateDecision
from triggers_api.ingest.quota import SharedLimiter
from triggers_api.model import quota
from triggers_api.model.quota import Meter, QuotaAsk, QuotaGrant, Rate
from triggers_api.telemetry.metrics import Metrics

THOUSAND: Final = Rate(1000, 1000)
CHUNK: Final = 50
"""A twentieth of its burst."""
SECOND: Final = 1_000_000


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that answers is waited for, also where this process is held up meanwhile."""
    monkeypatch.setattr("triggers_api.ingest.quota._PATIENCE_S", 60.0)


class Ledger:
    """Common meters, on a clock of the test, that can be held up and taken away."""

    def __init__(self) -> None:
        self.meters: dict[str, Meter] = {}
        self.now = 1000.0
        self.away: Exception | None = None
        self.questions = 0
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        """Set with the first answer."""

    async def spend(self, asks: Sequence[QuotaAsk]) -> list[QuotaGrant]:
        self.questions += 1
        await asyncio.sleep(0)
        await self.open.wait()
        if self.away is not None:
            raise self.away
        assert [ask.organization_id for ask in asks] == sorted(
            {ask.organization_id for ask in asks}
        )
        grants = []
        for ask in asks:
            assert 0 <= ask.need <= ask.want
            meter = self.meters.get(ask.organization_id, Meter())
            meter, grant = quota.spend(meter, ask, round(self.now * SECOND))
            self.meters[ask.organization_id] = meter
            grants.append(grant)
        self.asked.set()
        return grants

    def used(self, key: str = "org") -> int:
        return self.meters[key].level // quota.PARTS


class Processes:
    """Limiters that share a ledger."""

    def __init__(self, count: int) -> None:
        self.ledger = Ledger()
        self.count = count
        self.metrics = Metrics()
        self.limiters = [
            SharedLimiter(
                self.ledger,
                kept_in="a test",
                processes=self._counted,
                metrics=self.metrics,
                clock=lambda: self.ledger.now,
            )
            for _ in range(count)
        ]

    async def _counted(self) -> int:
        return self.count

    async def counted(self) -> None:
        for limiter in self.limiters:
            await limiter.run_once()

    def ask(
        self, process: int = 0, cost: int = 1, rate: Rate = THOUSAND, key: str = "org"
    ) -> RateDecision | asyncio.Future[RateDecision]:
        return self.limiters[process].check(key, cost, rate, now=self.ledger.now)

    async def decided(
        self, process: int = 0, cost: int = 1, rate: Rate = THOUSAND, key: str = "org"
    ) -> RateDecision:
        return await _awaited(self.ask(process, cost, rate, key))

    async def told(self) -> None:
        """Until the ledger has heard of everything."""
        for limiter in self.limiters:
            await limiter.close()


async def _awaited(decision: RateDecision | asyncio.Future[RateDecision]) -> RateDecision:
    return decision if isinstance(decision, RateDecision) else await decision


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_of_3000_at_once_at_several_processes_the_burst_is_let_through_within_a_chunk(
    run: Run, processes: int
) -> None:
    async def scenario() -> None:
        shared = Processes(processes)
        await shared.counted()
        found = [shared.ask(number % processes) for number in range(3000)]
        decisions = [await _awaited(each) for each in found]
        allowed = sum(each.allowed for each in decisions)
        assert 1000 <= allowed <= 1000 + CHUNK
        await shared.told()
        assert shared.ledger.used() == allowed
        # What was let through too much is owed.
        shared.ledger.now += 6
        allowed += sum([(await shared.decided(each % processes)).allowed for each in range(600)])
        assert 1100 <= allowed <= 1100 + CHUNK
        await shared.told()
        shared.ledger.now += 60 + 0.06 * CHUNK
        assert (await shared.decided(cost=1000)).allowed

    run(scenario())


def test_over_a_minute_the_rate_is_exact_within_a_chunk_however_the_requests_are_spread(
    run: Run,
) -> None:
    async def scenario() -> None:
        shared = Processes(3)
        await shared.counted()
        draw = random.Random(6)
        allowed = 0
        for _ in range(600):
            found = [shared.ask(draw.randrange(3)) for _ in range(draw.randrange(15))]
            allowed += sum([(await _awaited(each)).allowed for each in found])
            await shared.told()
            shared.ledger.now += 0.1
        assert 1990 <= allowed <= 2000 + CHUNK

    run(scenario())


def test_far_from_the_limit_nobody_waits_and_many_are_told_at_once(run: Run) -> None:
    async def scenario() -> None:
        shared = Processes(1)
        for _ in range(20):
            assert isinstance(shared.ask(), RateDecision)
        assert shared.ledger.questions == 0
        await shared.told()
        assert (shared.ledger.questions, shared.ledger.used()) == (1, 20)
        for key in ("b", "c", "a"):
            assert isinstance(shared.ask(key=key), RateDecision)
        await shared.told()
        assert shared.ledger.questions == 2

    run(scenario())


def test_what_was_let_through_is_told_without_anybody_asking_again(run: Run) -> None:
    async def scenario() -> None:
        shared = Processes(1)
        assert isinstance(shared.ask(), RateDecision)
        await shared.ledger.asked.wait()
        assert shared.ledger.used() == 1

    run(scenario())


def test_beyond_the_limit_one_is_refused_without_a_question(run: Run) -> None:
    async def scenario() -> None:
        shared = Processes(2)
        assert (await shared.decided(0, 1000)).allowed
        assert not (await shared.decided(1, 500)).allowed
        questions = shared.ledger.questions
        for _ in range(1000):
            decision = shared.ask(1)
            assert isinstance(decision, RateDecision)
            assert not decision.allowed
            assert decision.retry_after_s == pytest.approx(0.06)
            assert decision.remaining == 0
        assert shared.ledger.questions == questions

    run(scenario())


def test_a_batch_goes_through_whole_or_not_at_all_and_leaves_the_rest_to_others(run: Run) -> None:
    async def scenario() -> None:
        shared = Processes(2)
        await shared.counted()
        found = [shared.ask(number % 2, cost) for number, cost in enumerate((600, 600, 600, 1, 1))]
        decisions = [await _awaited(each) for each in found]
        assert [each.allowed for each in decisions].count(True) == 3
        assert decisions[3].allowed
        assert decisions[4].allowed
        await shared.told()
        assert shared.ledger.used() == 602

    run(scenario())


def test_more_than_the_burst_is_refused_at_once(run: Run) -> None:
    async def scenario() -> None:
        shared = Processes(1)
        decision = shared.ask(cost=1001)
        assert isinstance(decision, RateDecision)
        assert not decision.allowed

    run(scenario())


def test_whoever_hangs_up_while_waiting_uses_nothing(run: Run) -> None:
    async def scenario() -> None:
        shared = Processes(1)
        waiting = shared.ask(cost=400)
        other = shared.ask(cost=600)
        assert isinstance(waiting, asyncio.Future)
        waiting.cancel()
        assert (await _awaited(other)).allowed
        await shared.told()
        assert shared.ledger.used() == 600
        assert (await shared.decided(cost=400)).allowed

    run(scenario())


def test_a_small_burst_is_exact_because_nothing_is_let_through_on_credit(run: Run) -> None:
    async def scenario() -> None:
        shared, rate = Processes(3), Rate(60, 10)
        await shared.counted()
        found = [shared.ask(number % 3, rate=rate) for number in range(60)]
        assert sum([(await _awaited(each)).allowed for each in found]) == 10

    run(scenario())


def test_a_new_limit_holds_from_the_next_request_on_and_keeps_what_was_used(run: Run) -> None:
    async def scenario() -> None:
        shared = Processes(1)
        assert (await shared.decided(cost=900)).allowed
        assert not (await shared.decided(cost=101)).allowed
        assert (await shared.decided(cost=1000, rate=Rate(1000, 2000))).allowed
        assert not (await shared.decided(cost=1, rate=Rate(1000, 500))).allowed
        await shared.told()
        assert shared.ledger.used() == 1900

    run(scenario())


# ── without the ledger ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", [StoreUnavailable("away"), KeyError("a fault of ours")])
def test_without_the_ledger_each_process_keeps_its_share(run: Run, fault: Exception) -> None:
    async def scenario() -> None:
        shared = Processes(2)
        await shared.counted()
        shared.ledger.away = fault
        found = [shared.ask(number % 2) for number in range(3000)]
        decisions = [await _awaited(each) for each in found]
        assert all(limiter.away for limiter in shared.limiters)
        assert 1000 <= sum(each.allowed for each in decisions) <= 1000 + CHUNK
        assert shared.metrics.registry.get_sample_value("triggers_rate_limits_local") == 1
        # Everybody is refused by now, and gets half of what comes back: 500 a minute.
        shared.ledger.now += 60
        for process in range(2):
            allowed = sum([(await shared.decided(process)).allowed for _ in range(2000)])
            assert allowed == 500

    run(scenario())


def test_what_was_used_before_counts_when_the_ledger_goes_away(run: Run) -> None:
    async def scenario() -> None:
        shared = Processes(2)
        await shared.counted()
        for process in range(2):
            assert (await shared.decided(process, 450)).allowed
        shared.ledger.away = StoreUnavailable("away")
        await shared.decided(0, 100)
        await shared.decided(1, 100)
        allowed = [
            sum([(await shared.decided(each)).allowed for _ in range(500)]) for each in (0, 1)
        ]
        assert sum(allowed) <= 100

    run(scenario())


def test_a_batch_larger_than_the_share_is_let_through_when_nothing_else_was(run: Run) -> None:
    async def scenario() -> None:
        shared = Processes(4)
        await shared.counted()
        shared.ledger.away = StoreUnavailable("away")
        assert (await shared.decided(cost=900)).allowed
        assert not (await shared.decided(cost=900)).allowed

    run(scenario())


def test_it_is_shared_again_when_the_ledger_is_back(run: Run) -> None:
    async def scenario() -> None:
        shared = Processes(1)
        shared.ledger.away = StoreUnavailable("away")
        await shared.decided(cost=900)
        (limiter,) = shared.limiters
        await limiter.run_once()
        assert limiter.state().state == "local"
        shared.ledger.away = None
        await limiter.run_once()
        assert limiter.state().state == "shared"
        assert shared.metrics.registry.get_sample_value("triggers_rate_limits_local") == 0
        assert (await shared.decided(cost=900)).allowed
        await shared.told()
        assert shared.ledger.used() == 900

    run(scenario())


def test_a_ledger_that_does_not_answer_holds_nobody_up_for_long(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.ingest.quota._PATIENCE_S", 0.01)

    async def scenario() -> None:
        shared = Processes(1)
        shared.ledger.open.clear()
        assert (await shared.decided(cost=1000)).allowed
        assert not (await shared.decided(cost=1000)).allowed
        assert shared.limiters[0].away

    run(scenario())


def test_as_many_processes_as_there_were_when_they_cannot_be_counted(run: Run) -> None:
    async def scenario() -> None:
        shared = Processes(3)
        await shared.counted()
        limiter = shared.limiters[0]
        assert limiter.processes == 3

        async def away() -> int:
            raise StoreUnavailable("away")

        limiter._count = away
        await limiter.run_once()
        assert limiter.processes == 3

    run(scenario())
