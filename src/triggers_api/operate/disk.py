"""Looks at the room that is left where the embedded database is.

Ingest ends while there is still room for what was accepted before: outcomes are written down, retention
deletes, and events are taken in again when there is room.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

import structlog

from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_EVERY_S: Final = 0.5
_FRESH_S: Final = 0.01
"""What a look is good for when an event is to be taken in: in half a second a reserve can be filled."""
_LOW: Final = 2.0
"""Below so many reserves it is said that the disk is filling up."""
_AGAIN: Final = 1.25
"""At so many reserves ingest begins again: not at one, where it would end at once."""


def free_bytes(folder: Path) -> int:
    """What a process without privileges may still write there."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class DiskWatch:
    """Holds the last look."""

    name = "disk"

    def __init__(
        self,
        folder: Path,
        *,
        reserve: int,
        metrics: Metrics,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        """Look once.

        Args:
            folder: where the database is.
            reserve: bytes that are kept free of new events.
            metrics: is told how much is left.
            free: finds out how much that is.
        """
        self._folder = folder
        self._reserve = reserve
        self._metrics = metrics
        self._free = free
        self._looked_at = 0.0
        self.level = "normal"
        """``normal``, ``warning`` while it is filling up, ``critical`` while ingest is refused."""
        metrics.disk_reserve.set(reserve)
        self._see(free(folder))

    @property
    def full(self) -> bool:
        """Whether what is left is for what was accepted before."""
        if monotonic() - self._looked_at > _FRESH_S:
            with suppress(OSError):  # the loop below will say so
                self._see(self._free(self._folder))
        return self.level == "critical"

    async def run_once(self) -> float:
        """One look."""
        self._see(await asyncio.to_thread(self._free, self._folder))
        return _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Until the next look."""
        await asyncio.sleep(timeout_s)

    def _see(self, free: int) -> None:
        self._looked_at = monotonic()
        self._metrics.disk_free.set(free)
        before, reserve = self.level, self._reserve
        if free < reserve or (before == "critical" and free < _AGAIN * reserve):
            self.level = "critical"
        elif free < _LOW * reserve:
            self.level = "warning"
        else:
            self.level = "normal"
        if self.level == before:
            return
        if self.level == "critical":
            log.error(
                "the disk is nearly full, events are refused",
                free_bytes=free,
                reserve_bytes=reserve,
            )
        elif before == "critical":
            log.info("the disk has room again", free_bytes=free, reserve_bytes=reserve)
        elif self.level == "warning":
            log.warning("the disk is filling up", free_bytes=free, reserve_bytes=reserve)
