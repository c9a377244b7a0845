"""Writes down what this process has counted, every few seconds, and deletes what is old."""

import asyncio
import time
from contextlib import suppress
from typing import Final

from triggers_api.errors import Unavailable
from triggers_api.model.rollup import KEPT_S, MINUTE_S
from triggers_api.operate.patience import patience
from triggers_api.store.base import Store
from triggers_api.telemetry.metrics import Metrics

AT_ONCE: Final = 500
"""Rows that one transaction writes or deletes, so that nothing waits long for its commit."""

_EVERY_S: Final = 10.0
"""What a process counted that was killed since is lost: so much of statistics, and of nothing else."""
_SHARE: Final = 100
"""How many times as long as writing took nothing is written after it, at the most for a minute."""
_PRUNE_EVERY_S: Final = 600.0
_SHORTEST_S: Final = 0.05
_PATIENCE_S: Final = 2.0


class RollupWriter:
    """Writes the tallies that have changed. A process that counts nothing writes nothing."""

    name = "rollups"

    def __init__(self, store: Store, *, metrics: Metrics) -> None:
        self._store = store
        self._rollups = metrics.rollups
        self._prune_at = 0.0

    async def run_once(self) -> float:
        """Write what is to be written; returns the seconds until the next time."""
        began = time.monotonic()
        now = self._store.now()
        self._rollups.fold(now)
        unsaved = self._rollups.unsaved()
        for start in range(0, len(unsaved), AT_ONCE):
            part = unsaved[start : start + AT_ONCE]
            await self._store.save_rollups(part)
            self._rollups.saved(part)
        if began >= self._prune_at:
            self._prune_at = began + _PRUNE_EVERY_S
            await self.prune()
        rest = min(max(_EVERY_S, _SHARE * (time.monotonic() - began)), float(MINUTE_S))
        # What is counted just before a minute ends is put down to it.
        return max(_SHORTEST_S, min(rest, MINUTE_S - self._store.now() / 1000 % MINUTE_S))

    async def prune(self) -> None:
        """Delete what has been kept for as long as it is kept."""
        now = self._store.now()
        for step_s, kept_s in KEPT_S.items():
            before = now.after(seconds=-kept_s)
            while await self._store.prune_rollups(step_s, before, AT_ONCE) == AT_ONCE:
                pass

    async def wait(self, timeout_s: float) -> None:
        """Nothing calls for it before its time."""
        await asyncio.sleep(timeout_s)

    async def finish(self) -> None:
        """Write down what was counted last; what the store does not take in time is lost."""
        with suppress(Unavailable):
            async with patience(_PATIENCE_S):
                await self.run_once()
