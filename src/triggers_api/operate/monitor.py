"""Looks at the depths once a second: for gauges, admission, readiness and the warning about depth."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from triggers_api.errors import Problem, StoreUnavailable
from triggers_api.operate.patience import patience
from triggers_api.store.base import QueueStats, Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_EVERY_S: Final = 0.5
_PATIENCE_S: Final = 5.0
_OVERDUE_S: Final = 0.9
"""A store that has not answered for so long is not ready, although it may answer yet."""
_COUNT_PATIENCE_S: Final = 2.0
_COUNT_AWAITED_S: Final = 0.5
"""The next look does not wait for longer than this for a count."""
_WARN_AGAIN_S: Final = 60.0
_NORMAL_DEPTH: Final = 100


class Monitor:
    """Holds the last look."""

    name = "monitor"

    def __init__(
        self,
        store: Store,
        directory: Directory,
        *,
        metrics: Metrics,
        warn_depth: int,
        count: Callable[[], Awaitable[QueueStats]] | None = None,
        elsewhere: Callable[[], int] = lambda: 0,
    ) -> None:
        """Set up.

        ``count`` finds out the depths, by default the store; ``elsewhere`` tells how many accepted
        events wait before the store.
        """
        self._elsewhere = elsewhere
        self._store = store
        self._directory = directory
        self._metrics = metrics
        self._warn_depth = warn_depth
        self._stats = store.stats if count is None else count
        self._warned_at = 0.0
        self._uncounted = False
        self._counting: asyncio.Task[None] | None = None
        self._asked_at: float | None = None
        self._problem: Problem | None = None
        self.stats = QueueStats(
            depth=0,
            scheduled=0,
            leased=0,
            stuck=0,
            oldest_age_s=0.0,
            deliveries_waiting=0,
            deliveries_leased=0,
        )

    @property
    def store_problem(self) -> Problem | None:
        """Why the store cannot be written to; ``None`` when it can."""
        if self._problem is None and self._asked_at is not None:
            silent_s = time.monotonic() - self._asked_at
            if silent_s > _OVERDUE_S:
                return StoreUnavailable(f"the store has not answered for {silent_s:.1f} s")
        return self._problem

    async def run_once(self) -> float:
        """One look. What other processes changed in the settings half is taken in as well."""
        before = self._problem
        self._problem = await self._look()
        if self._problem is None:
            await self._count()
        self._show_connections()
        if self._problem is None:
            if before is not None:
                log.info("the store can be written to again")
            self._show(self.stats)
        elif before is None:
            log.error(
                "the store cannot be written to",
                code=self._problem.code,
                detail=self._problem.detail,
            )
        return _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Until the next look."""
        await asyncio.sleep(timeout_s)

    async def _look(self) -> Problem | None:
        # A store that is away is no failure of this part: it looks again at once, so that
        # readiness turns as quickly when the store is back.
        self._asked_at = time.monotonic()
        try:
            async with patience(_PATIENCE_S):
                await self._store.check()
                await self._directory.refresh()
        except Problem as problem:
            return problem
        finally:
            self._asked_at = None
        return None

    async def _count(self) -> None:
        if self._counting is None:
            self._counting = asyncio.create_task(self._ask_for_depths())
        done, _ = await asyncio.wait((self._counting,), timeout=_COUNT_AWAITED_S)
        if done:
            counted, self._counting = self._counting, None
            counted.result()

    async def _ask_for_depths(self) -> None:
        # That depths cannot be counted in time does not mean that nothing can be written.
        try:
            async with patience(_COUNT_PATIENCE_S):
                self.stats = await self._stats()
        except Problem as problem:
            if not self._uncounted:
                log.warning("the depths could not be counted", code=problem.code)
            self._uncounted = True
        else:
            self._uncounted = False

    async def finish(self) -> None:
        """Give up a count that is under way."""
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.wait((self._counting,))

    @property
    def depth(self) -> int:
        """Events accepted and not yet routed, wherever they wait."""
        return self.stats.depth + self._elsewhere()

    @property
    def level(self) -> str:
        """That of the last look."""
        return self.level_of(self.stats)

    def level_of(self, stats: QueueStats) -> str:
        """``normal`` up to 100 waiting events, ``warning`` up to the threshold, then ``critical``."""
        depth = stats.depth + self._elsewhere()
        if depth > self._warn_depth:
            return "critical"
        return "warning" if depth > _NORMAL_DEPTH or stats.stuck else "normal"

    def _show_connections(self) -> None:
        # Also while the store is away: that none is left may be why.
        connections = self._store.connections()
        if connections is not None:
            self._metrics.connections_in_use.set(connections.in_use)
            self._metrics.connections_idle.set(connections.idle)
            self._metrics.connections_most.set(connections.most)

    def _show(self, stats: QueueStats) -> None:
        metrics = self._metrics
        metrics.queue_depth.set(stats.depth)
        metrics.queue_scheduled.set(stats.scheduled)
        metrics.queue_leased.set(stats.leased)
        metrics.queue_stuck.set(stats.stuck)
        metrics.queue_oldest_age.set(stats.oldest_age_s)
        metrics.deliveries_waiting.set(stats.deliveries_waiting)
        metrics.deliveries_in_flight.set(stats.deliveries_leased)
        metrics.breakers_open.set(stats.breakers_open)
        metrics.breakers_half_open.set(stats.breakers_half_open)
        metrics.endpoints_failing.set(stats.endpoints_failing)
        now = time.monotonic()
        if self.depth > self._warn_depth:
            if now - self._warned_at >= _WARN_AGAIN_S:
                self._warned_at = now
                log.warning(
                    "queue depth exceeds threshold",
                    depth=self.depth,
                    threshold=self._warn_depth,
                    oldest_age_s=round(stats.oldest_age_s, 3),
                )
        else:
            self._warned_at = 0.0
