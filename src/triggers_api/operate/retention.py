"""Deletes what has been kept for as long as it was to be kept, in small pieces."""

import asyncio
from typing import Final

import structlog

from triggers_api.store.base import Store
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

AT_ONCE: Final = 500
"""How many attempts one piece looks at."""

_EVERY_S: Final = 3600.0
_BREATH_S: Final = 0.05
"""Between two pieces, so that what is urgent does not queue up behind them."""
_DAY_S: Final = 86_400.0


class Retention:
    """Goes through old attempts once an hour, and deletes those of finished deliveries."""

    name = "retention"

    def __init__(self, store: Store, *, metrics: Metrics, attempt_days: int) -> None:
        """``attempt_days``: how many days attempts are kept; 0 means for ever."""
        self._store = store
        self._metrics = metrics
        self._attempt_days = attempt_days
        self._position: str | None = None
        self._deleted = 0

    async def run_once(self) -> float:
        """One piece."""
        if not self._attempt_days:
            return _EVERY_S
        pruned = await self._store.prune_attempts(
            self._store.now().after(seconds=-self._attempt_days * _DAY_S),
            after=self._position,
            limit=AT_ONCE,
        )
        self._position = pruned.position
        self._deleted += pruned.deleted
        self._metrics.pruned.labels("attempt").inc(pruned.deleted)
        if self._position is not None:
            return _BREATH_S
        if self._deleted:
            log.info("old attempts deleted", count=self._deleted)
        self._deleted = 0
        return _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Nothing grows old before its time."""
        await asyncio.sleep(timeout_s)
