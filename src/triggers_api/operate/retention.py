"""Deletes what has been kept for as long as it was to be kept, in small pieces."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

import structlog

from triggers_api.model.retention import Cutoffs, RetentionDays, keeps_everything
from triggers_api.model.timestamp import Timestamp
from triggers_api.settings import Settings
from triggers_api.store.base import Pruned, Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

AT_ONCE: Final = 500
"""How many attempts, entries or jobs one piece looks at."""
EVENTS_AT_ONCE: Final = 100
"""How many events or deliveries one piece looks at: what the embedded engine deletes in milliseconds."""

_EVERY_S: Final = 3600.0
_BREATH_S: Final = 0.05
"""Between two pieces, so that what is urgent does not queue up behind them."""
_SHORTEST_BREATH_S: Final = 0.005
_RESTS: Final = ((3 * _EVERY_S, 0.25), (_EVERY_S, 1.0), (0.0, 3.0))
"""How many times as long as a piece took nothing is done after it, in a sweep that has taken so long.
One that is not over after an hour deletes no faster than events come in, and would never be over."""
_DAY_S: Final = 86_400.0


def days_of(settings: Settings) -> RetentionDays:
    """What the settings say of it."""
    return RetentionDays(
        events=settings.retention_days,
        deliveries=settings.delivery_retention_days,
        attempts=settings.attempt_retention_days,
        dead_letters=settings.dead_letter_retention_days,
    )


class _Kind(Enum):
    """What one walk of a sweep is about, in their order."""

    EVENTS = auto()
    DEAD_LETTERS = auto()
    DELIVERIES = auto()
    ATTEMPTS = auto()


class Retention:
    """Once an hour: old events with all they had, then of other events what is old by itself.

    One moment holds for a whole sweep, so that what goes with its event does not go by itself before.
    How many days are kept is asked before each piece: longer ones are in force at once.
    """

    name = "retention"

    def __init__(
        self,
        store: Store,
        directory: Directory,
        *,
        metrics: Metrics,
        days: RetentionDays,
        clock: Callable[[], float],
    ) -> None:
        """``days``: where an organization has none of its own. ``clock``: in seconds."""
        self._store = store
        self._directory = directory
        self._metrics = metrics
        self._days = days
        self._clock = clock
        self._now = Timestamp(0)
        self._began = 0.0
        self._kinds: list[_Kind] = []
        self._position: str | None = None
        self._deleted = 0

    async def run_once(self) -> float:
        """One piece."""
        began = self._clock()
        if not self._kinds:
            self._kinds, self._now, self._began = [*_Kind], self._store.now(), began
        cutoffs = self._days.cutoffs(self._directory.organizations(), now=self._now)
        if keeps_everything(cutoffs):
            self._kinds, self._position, self._deleted = [], None, 0
            return _EVERY_S
        pruned = await self._prune(self._kinds[0], cutoffs)
        self._position = pruned.position
        self._metrics.pruned.labels("event").inc(pruned.events)
        self._metrics.pruned.labels("delivery").inc(pruned.deliveries)
        self._metrics.pruned.labels("attempt").inc(pruned.attempts)
        if self._position is None:
            if self._deleted:
                _tell(self._kinds[0], self._deleted)
            self._deleted = 0
            # Whoever is at it goes on with the rest.
            self._kinds = [] if pruned.elsewhere else self._kinds[1:]
        if not self._kinds:
            return _EVERY_S
        now = self._clock()
        rest = next(times for since, times in _RESTS if now - self._began >= since)
        return max(_SHORTEST_BREATH_S, rest * (now - began))

    async def _prune(self, kind: _Kind, cutoffs: Cutoffs) -> Pruned:
        after = self._position
        match kind:
            case _Kind.EVENTS:
                pruned = await self._store.prune_events(cutoffs, after=after, limit=EVENTS_AT_ONCE)
                self._deleted += pruned.events
            case _Kind.DEAD_LETTERS:
                pruned = await self._store.prune_dead_letters(
                    cutoffs, after=after, limit=EVENTS_AT_ONCE
                )
                self._deleted += pruned.deliveries
            case _Kind.DELIVERIES:
                pruned = await self._store.prune_deliveries(
                    cutoffs, after=after, limit=EVENTS_AT_ONCE
                )
                self._deleted += pruned.deliveries
            case _Kind.ATTEMPTS:
                pruned = await self._store.prune_attempts(cutoffs, after=after, limit=AT_ONCE)
                self._deleted += pruned.attempts
        return pruned

    async def wait(self, timeout_s: float) -> None:
        """Nothing grows old before its time."""
        await asyncio.sleep(timeout_s)


def _tell(kind: _Kind, count: int) -> None:
    match kind:
        case _Kind.EVENTS:
            log.info("old events deleted", count=count)
        case _Kind.DEAD_LETTERS:
            log.info("old dead letters deleted", count=count)
        case _Kind.DELIVERIES:
            log.info("old deliveries deleted", count=count)
        case _Kind.ATTEMPTS:
            log.info("old attempts deleted", count=count)


class JobRetention:
    """Goes through finished jobs once an hour, and deletes those that are older than they are to be."""

    name = "job retention"

    def __init__(self, store: Store, *, metrics: Metrics, days: int) -> None:
        """``days``: how many days finished jobs are kept; 0 means for ever."""
        self._store = store
        self._metrics = metrics
        self._days = days
        self._position: str | None = None

    async def run_once(self) -> float:
        """One piece."""
        if not self._days:
            return _EVERY_S
        before = Timestamp(max(0, self._store.now().after(seconds=-self._days * _DAY_S)))
        pruned = await self._store.prune_jobs(before, after=self._position, limit=AT_ONCE)
        self._position = pruned.position
        self._metrics.pruned.labels("job").inc(pruned.jobs)
        return _EVERY_S if self._position is None else _BREATH_S

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
