"""How often the index looks for work."""

from typing import cast

from tests.conftest import Run

from triggers_api.model.timestamp import Timestamp
from triggers_api.operate.indexer import Indexer
from triggers_api.store.base import Store
from triggers_api.telemetry.metrics import Metrics

SLOW_S = 0.1


class Idle:
    """A store that has nothing to take in; each look takes as long as it is told, by its own clock."""

    def __init__(self, *looks_s: float) -> None:
        self._looks_s = list(looks_s)
        self._seconds = 1000.0

    def clock(self) -> float:
        return self._seconds

    def now(self) -> Timestamp:
        return Timestamp(0)

    async def lease_index(self, _seconds: float, _token: int | None) -> int | None:
        return 1

    async def index_backlog(self, _most: int) -> dict[str, int]:
        self._seconds += self._looks_s.pop(0)
        return {}

    async def stale_part(self, _before: Timestamp) -> None:
        return None

    async def prune_index(self, _token: int, _limit: int) -> int:
        return 0


def pauses(run: Run, *looks_s: float) -> list[float]:
    async def main() -> list[float]:
        idle = Idle(*looks_s)
        indexer = Indexer(cast("Store", idle), metrics=Metrics(), clock=idle.clock)
        return [await indexer.run_once() for _ in looks_s]

    return run(main())


def test_a_look_that_took_long_once_does_not_put_the_next_one_off(run: Run) -> None:
    assert pauses(run, SLOW_S, 0.0, SLOW_S) == [2.0, 2.0, 2.0]


def test_looks_that_always_take_long_are_made_less_often(run: Run) -> None:
    first, second = pauses(run, SLOW_S, SLOW_S)
    assert first == 2.0
    assert 100 * SLOW_S * 0.9 < second < 100 * SLOW_S * 1.1
