"""Deletes what has been kept for as long as it was to be kept, in small pieces."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

AT_ONCE: Final = 500
"""How many attempts one piece looks at."""
EVENTS_AT_ONCE: Final = 100
"""How many events one piece looks at: what the embedded engine deletes in some milliseconds."""

_EVERY_S: Final = 3600.0
_BREATH_S: Final = 0.05
"""Between two pieces, so that what is urgent does not queue up behind them."""
_SHORTEST_BREATH_S: Final = 0.005
_REST: Final = 3.0
"""How many times as long as a piece of events took nothing is done after it."""
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


class AuditRetention:
    """Goes to the old end of the audit log once an hour, and deletes what is older than it is to be."""

    name = "audit retention"

    def __init__(self, store: Store, *, metrics: Metrics, days: int) -> None:
        """``days``: how many days entries are kept; 0 means for ever."""
        self._store = store
        self._metrics = metrics
        self._days = days

    async def run_once(self) -> float:
        """One piece."""
        if not self._days:
            return _EVERY_S
        before = Timestamp(max(0, self._store.now().after(seconds=-self._days * _DAY_S)))
        deleted = await self._store.prune_audit(before, AT_ONCE)
        self._metrics.pruned.labels("audit").inc(deleted)
        return _BREATH_S if deleted == AT_ONCE else _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Nothing grows old before its time."""
        await asyncio.sleep(timeout_s)


class EventRetention:
    """Goes through old events once an hour, and deletes those that are finished, with all they had."""

    name = "event retention"

    def __init__(
        self,
        store: Store,
        directory: Directory,
        *,
        metrics: Metrics,
        days: int,
        clock: Callable[[], float],
    ) -> None:
        """``days``: how many days events are kept where an organization has no days of its own.

        0 means for ever. ``clock``: seconds, from any moment on.
        """
        self._store = store
        self._directory = directory
        self._metrics = metrics
        self._days = days
        self._clock = clock
        self._position: str | None = None
        self._deleted = 0

    async def run_once(self) -> float:
        """One piece."""
        began = self._clock()
        own = {
            organization.id: self._before(organization.retention_days)
            for organization in self._directory.organizations()
            if organization.retention_days is not None
        }
        if not self._days and not own:
            return _EVERY_S
        pruned = await self._store.prune_events(
            self._before(self._days), own=own, after=self._position, limit=EVENTS_AT_ONCE
        )
        self._position = pruned.position
        self._deleted += pruned.events
        self._metrics.pruned.labels("event").inc(pruned.events)
        self._metrics.pruned.labels("delivery").inc(pruned.deliveries)
        self._metrics.pruned.labels("attempt").inc(pruned.attempts)
        if self._position is not None:
            return max(_SHORTEST_BREATH_S, _REST * (self._clock() - began))
        if self._deleted:
            log.info("old events deleted", count=self._deleted)
        self._deleted = 0
        return _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Nothing grows old before its time."""
        await asyncio.sleep(timeout_s)

    def _before(self, days: int) -> Timestamp:
        if not days:
            return Timestamp(0)
        return Timestamp(max(0, self._store.now().after(seconds=-days * _DAY_S)))
