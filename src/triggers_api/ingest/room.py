"""How much may wait to be routed, in all and of one organization; what is beyond that is refused.

Depths are counted twice a second, and what this process took in or routed since then is added: for one
process a limit is exact, for several it may be exceeded by what the others took in within that time.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from time import monotonic
from typing import Final, Protocol

import msgspec
import structlog

from triggers_api.errors import Overloaded, StorageFull
from triggers_api.model.pressure import DrainRate, overdue, retry_after_s
from triggers_api.store.base import OrganizationBacklog, QueueStats, Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

NEARLY: Final = 0.8
"""Above this part of a limit it is said that there will be trouble."""
_REST: Final = 20
"""Counting what each organization has waiting takes at most about this part of the time."""
_DISK_RETRY_S: Final = 5.0
_LOOKED_AT: Final = 10_000
"""So many events of an organization are looked through for the one that has waited longest, where
nothing says how many may wait."""
_NOTHING: Final = OrganizationBacklog()


class RoomLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What may wait.

    Attributes:
        depth: events that are due and not routed.
        age_s: seconds that the oldest of them may have waited; 0 for any.
        organization_depth: events of one organization that has no limit of its own, scheduled ones
            included; 0 for any number.
        organization_age_s: seconds that the oldest due event of one organization that has no limit of
            its own may have waited; 0 for any.
    """

    depth: int
    age_s: float = 0.0
    organization_depth: int = 0
    organization_age_s: float = 0.0


class _Waiting:
    """An organization's events, as they were counted last and what is known since then."""

    __slots__ = ("came", "counted", "left", "oldest_age_s", "refused")

    def __init__(self) -> None:
        self.counted = self.came = self.left = 0
        self.oldest_age_s = 0.0
        self.refused = False

    @property
    def depth(self) -> int:
        return max(self.counted + self.came - self.left, 0)


class Elsewhere(Protocol):
    """Where accepted events may wait before they are in the store."""

    @property
    def depth(self) -> int:
        """How many do, as of a moment ago, with all that this process has put there since."""

    @property
    def oldest_age_s(self) -> float:
        """For how long the oldest one has, as of a moment ago."""

    async def depths_of(self, organization_ids: Collection[str]) -> Mapping[str, int]:
        """How many of each organization do; 0 is left out, as is what cannot be found out."""


class _Nowhere:
    depth = 0
    oldest_age_s = 0.0

    async def depths_of(self, _: Collection[str]) -> Mapping[str, int]:
        return {}


class Room:
    """Asked before anything is stored."""

    def __init__(
        self,
        store: Store,
        directory: Directory,
        *,
        limits: RoomLimits,
        disk_is_full: Callable[[], bool],
        metrics: Metrics,
        elsewhere: Elsewhere | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Set up.

        Args:
            store: counts.
            directory: knows the organizations with limits of their own.
            limits: what may wait.
            disk_is_full: whether what is left of the disk is kept for what was accepted.
            metrics: is told who is refused, and why.
            elsewhere: where events wait before the store; ``None`` where they do nowhere.
            clock: seconds on a clock that never goes back.
        """
        self._store = store
        self._directory = directory
        self._limits = limits
        self._disk_is_full = disk_is_full
        self._metrics = metrics
        self._elsewhere: Elsewhere = elsewhere or _Nowhere()
        self._clock = clock
        self._stats: QueueStats | None = None
        self._depth = 0
        self._oldest_age_s = 0.0
        self._came = 0
        self._came_elsewhere = 0
        self._counted_elsewhere = 0
        self._left = 0
        self._organizations: dict[str, _Waiting] = {}
        self._count_at = 0.0
        self._was = "normal"
        self.drain = DrainRate()
        self.taken_in = 0
        """Events that this process has taken in so far."""

    # ── requests ──────────────────────────────────────────────────────────────────────────────

    def check(self, organization_id: str, count: int) -> None:
        """Return if so many more events may wait.

        Raises:
            Overloaded: too many do, or one for too long.
            StorageFull: what is left of the disk is for what was accepted before.
        """
        if self._disk_is_full():
            self._metrics.ingest_refused.labels("disk").inc()
            raise StorageFull(
                "the disk is nearly full; what is left is for what was accepted",
                retry_after_s=_DISK_RETRY_S,
            )
        depth, limits = self._present_depth, self._limits
        # A batch that is larger than the limit is let in when nothing waits, or it never would be.
        if depth + count > limits.depth and depth > 0:
            self._metrics.ingest_refused.labels("depth").inc()
            raise Overloaded(
                f"more events wait to be routed than may wait ({limits.depth})",
                retry_after_s=retry_after_s(depth + count - limits.depth, self.drain.per_second),
            )
        oldest_age_s = self._present_age_s
        if limits.age_s and oldest_age_s > limits.age_s:
            self._metrics.ingest_refused.labels("age").inc()
            late = overdue(depth, oldest_age_s, limits.age_s)
            raise Overloaded(
                f"an event has waited to be routed for longer than one may wait ({limits.age_s:g} s)",
                retry_after_s=retry_after_s(late, self.drain.per_second),
            )
        most, age_s = self._limits_of(organization_id)
        if most or age_s:
            self._check_organization(organization_id, count, most, age_s)

    def _check_organization(
        self, organization_id: str, count: int, most: int, age_s: float
    ) -> None:
        waiting = self._organizations.get(organization_id)
        if waiting is None or not waiting.depth:
            return
        if age_s and waiting.oldest_age_s > age_s:
            self._refuse_for_age(organization_id, waiting, age_s)
        if not most or waiting.depth + count <= most:
            return
        if not waiting.refused:
            waiting.refused = True
            log.warning(
                "an organization has as many events waiting as it may have",
                organization_id=organization_id,
                depth=waiting.depth,
                threshold=most,
            )
        self._metrics.ingest_refused.labels("organization").inc()
        raise Overloaded(
            f"more of your events wait to be routed than may wait ({most})",
            retry_after_s=retry_after_s(waiting.depth + count - most, self._rate_of(waiting)),
        )

    def _refuse_for_age(self, organization_id: str, waiting: _Waiting, age_s: float) -> None:
        if not waiting.refused:
            waiting.refused = True
            log.warning(
                "an event of an organization has waited for longer than one may",
                organization_id=organization_id,
                oldest_age_s=round(waiting.oldest_age_s, 3),
                threshold=age_s,
            )
        self._metrics.ingest_refused.labels("organization").inc()
        late = overdue(waiting.depth, waiting.oldest_age_s, age_s)
        raise Overloaded(
            f"one of your events has waited to be routed for longer than one may ({age_s:g} s)",
            retry_after_s=retry_after_s(late, self._rate_of(waiting)),
        )

    def _rate_of(self, waiting: _Waiting) -> float:
        # They leave in turn with everybody's.
        part = min(waiting.depth / max(self._depth, waiting.depth), 1.0)
        return self.drain.per_second * part

    def _limits_of(self, organization_id: str) -> tuple[int, float]:
        """How many events of an organization may wait, and for how many seconds; 0 for any."""
        most, age_s = self._limits.organization_depth, self._limits.organization_age_s
        organization = self._directory.organization(organization_id)
        if organization is None:
            return most, age_s
        if organization.max_queue_depth is not None:
            most = organization.max_queue_depth
        if organization.max_queue_age_s is not None:
            age_s = organization.max_queue_age_s
        return most, age_s

    @property
    def _present_depth(self) -> int:
        # What has landed since the last count is not elsewhere any more, and not yet in that count.
        elsewhere = max(self._elsewhere.depth, self._counted_elsewhere + self._came_elsewhere)
        return self._depth + self._came - self._left + elsewhere

    @property
    def _present_age_s(self) -> float:
        return max(self._oldest_age_s, self._elsewhere.oldest_age_s)

    def came(self, organization_id: str, count: int, *, elsewhere: bool = False) -> None:
        """So many events were put into the queue, or to where they wait before it."""
        self.taken_in += count
        if elsewhere:
            self._came_elsewhere += count
        else:
            self._came += count
        if any(self._limits_of(organization_id)):
            waiting = self._organizations.get(organization_id)
            if waiting is None:
                waiting = self._organizations[organization_id] = _Waiting()
            waiting.came += count

    def left(self, organization_id: str) -> None:
        """An event was routed by this process."""
        self._left += 1
        waiting = self._organizations.get(organization_id)
        if waiting is not None:
            waiting.left += 1

    # ── looks ─────────────────────────────────────────────────────────────────────────────────

    async def look(self) -> QueueStats:
        """Count what waits.

        Raises:
            Unavailable: the store could not say.
        """
        came, left, elsewhere = self._came, self._left, self._came_elsewhere
        stats = await self._store.stats()
        if stats is not self._stats:
            depth = stats.depth + self._elsewhere.depth
            self.drain.observe(self._clock(), depth, came=came + elsewhere, left=left)
            self._stats, self._depth, self._oldest_age_s = stats, stats.depth, stats.oldest_age_s
            self._came -= came
            self._left -= left
            self._came_elsewhere -= elsewhere
            self._counted_elsewhere = self._elsewhere.depth
            self._metrics.queue_drain_rate.set(self.drain.per_second)
        await self._count_organizations()
        self._tell()
        return stats

    async def _count_organizations(self) -> None:
        now = self._clock()
        if not self._organizations or now < self._count_at:
            return
        limits = {each: self._limits_of(each) for each in self._organizations}
        before = Counter({key: each.came for key, each in self._organizations.items()})
        gone = Counter({key: each.left for key, each in self._organizations.items()})
        limited = {
            key: most or _LOOKED_AT for key, (most, age_s) in limits.items() if most or age_s
        }
        # Before the store: what goes there meanwhile is counted twice rather than not at all.
        elsewhere = await self._elsewhere.depths_of(limited)
        depths = await self._store.organization_depths(limited)
        self._count_at = self._clock() + (self._clock() - now) * _REST
        for key, (most, age_s) in limits.items():
            waiting, found = self._organizations[key], depths.get(key, _NOTHING)
            waiting.counted = found.count + elsewhere.get(key, 0)
            waiting.oldest_age_s = found.oldest_age_s
            waiting.came -= before[key]
            waiting.left -= gone[key]
            if (not most or waiting.depth <= NEARLY * most) and (
                not age_s or waiting.oldest_age_s <= NEARLY * age_s
            ):
                waiting.refused = False
            if key not in limited or not (waiting.counted or waiting.came):
                del self._organizations[key]

    @property
    def refusing(self) -> str | None:
        """Why nothing is taken in at the moment: ``depth``, ``age`` or ``disk``; ``None`` if it is."""
        if self._disk_is_full():
            return "disk"
        if self._present_depth >= self._limits.depth:
            return "depth"
        if self._limits.age_s and self._present_age_s > self._limits.age_s:
            return "age"
        return None

    @property
    def level(self) -> str:
        """``normal``, ``warning`` from four fifths of a limit on, ``critical`` when it is reached."""
        if self.refusing is not None:
            return "critical"
        limits = self._limits
        near = self._depth + self._elsewhere.depth > NEARLY * limits.depth or (
            limits.age_s and self._present_age_s > NEARLY * limits.age_s
        )
        return "warning" if near else "normal"

    def _tell(self) -> None:
        """In the log, when it has changed."""
        level, was, refusing = self.level, self._was, self.refusing
        for reason in ("depth", "age", "disk"):
            self._metrics.ingest_refusing.labels(reason).set(reason == refusing)
        if level == was:
            return
        self._was = level
        depth = self._depth + self._elsewhere.depth
        oldest_age_s = round(self._present_age_s, 3)
        if level == "critical":
            log.error("ingest is refused", reason=refusing, depth=depth, oldest_age_s=oldest_age_s)
        elif was == "critical":
            log.info("ingest goes on", depth=depth, oldest_age_s=oldest_age_s)
        elif level == "warning":
            log.warning(
                "the queue is nearly full",
                depth=depth,
                max_depth=self._limits.depth,
                oldest_age_s=oldest_age_s,
                max_age_s=self._limits.age_s,
            )


def worst(*levels: str) -> str:
    """The worst of some levels."""
    return max(levels, key=("normal", "warning", "critical").index)
