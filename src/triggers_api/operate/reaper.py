"""Frees what is held by leases that ran out. Claims take such rows over by themselves; the sweep is
for those that nobody claims, and it is what counts them. It also takes away what inboxes left behind.
"""

import asyncio
from typing import Final

import structlog

from triggers_api.store.base import Store
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 1000
"""How many rows of inboxes that were left are deleted in one transaction."""
_BREATH_S: Final = 0.05
_TRACES_KEPT_S: Final = 3 * 86_400
"""An attempt that is made later than this begins a trace of its own."""


class Reaper:
    """Sweeps at start and every ``sweep_s`` seconds."""

    name = "reaper"

    def __init__(self, store: Store, *, metrics: Metrics, sweep_s: float) -> None:
        self._store = store
        self._metrics = metrics
        self._sweep_s = sweep_s

    async def run_once(self) -> float:
        """One sweep."""
        reaped = await self._store.reap()
        self._metrics.recovered.labels("event").inc(reaped.events)
        self._metrics.recovered.labels("delivery").inc(reaped.deliveries)
        if reaped.events or reaped.deliveries or reaped.cancelled or reaped.mended:
            log.warning(
                "stuck items recovered",
                events=reaped.events,
                deliveries=reaped.deliveries,
                cancelled=reaped.cancelled,
                mended=reaped.mended,
            )
        before = self._store.now().after(seconds=-_TRACES_KEPT_S)
        pruned = _AT_ONCE
        while pruned == _AT_ONCE:
            pruned = await self._store.prune_traces(before, _AT_ONCE)
            await asyncio.sleep(_BREATH_S)
        pruned = _AT_ONCE
        while pruned == _AT_ONCE:
            pruned = await self._store.prune_inboxes(_AT_ONCE)
            await asyncio.sleep(_BREATH_S)
        return self._sweep_s

    async def wait(self, timeout_s: float) -> None:
        """Nothing calls for a sweep before its time."""
        await asyncio.sleep(timeout_s)
