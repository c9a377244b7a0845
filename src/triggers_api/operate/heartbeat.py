"""Says that this process is alive, and frees what processes held that no longer say so."""

import asyncio
from typing import Final

import msgspec
import structlog

from triggers_api import __version__
from triggers_api.model.worker import Worker
from triggers_api.operate.patience import patience
from triggers_api.store.base import Store
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_EVERY_S: Final = 2.0
_PATIENCE_S: Final = 3.0
"""With the pause before it less than the 6 s of silence after which others take us for dead."""


class Heartbeat:
    """Beats at the start and every 2 s, until the last delivery of this process is settled."""

    name = "heartbeat"

    def __init__(
        self, store: Store, *, worker_id: str, roles: tuple[str, ...], metrics: Metrics
    ) -> None:
        self._store = store
        self._metrics = metrics
        now = store.now()
        self.worker = Worker(
            id=worker_id, roles=roles, version=__version__, started_at=now, seen_at=now
        )
        """This process, as of its last beat."""

    async def run_once(self) -> float:
        """One beat."""
        worker = msgspec.structs.replace(self.worker, seen_at=self._store.now())
        async with patience(_PATIENCE_S):
            freed = await self._store.beat(worker)
        self.worker = worker
        if freed.events or freed.deliveries:
            self._metrics.recovered.labels("event").inc(freed.events)
            self._metrics.recovered.labels("delivery").inc(freed.deliveries)
            log.warning(
                "work of silent processes freed", events=freed.events, deliveries=freed.deliveries
            )
            self._store.wake_queue()
            self._store.wake_deliveries()
        return _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Nothing calls for a beat before its time."""
        await asyncio.sleep(timeout_s)
