"""Looks who else works on the database: that a worker died is seen here, by those who live."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from triggers_api.errors import Problem
from triggers_api.model.peers import Peers
from triggers_api.model.worker import Worker
from triggers_api.operate.patience import patience
from triggers_api.store.base import Store
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_EVERY_S: Final = 1.0
_PATIENCE_S: Final = 2.0


class PeerWatch:
    """Holds the last look. With a heartbeat every 2 s, who died is missed within 8 s."""

    name = "peers"

    def __init__(self, store: Store, *, own: Callable[[], Worker], metrics: Metrics) -> None:
        """Set up; ``own`` is this process, as of its last heartbeat."""
        self._store = store
        self._own = own
        self._metrics = metrics
        self._peers = Peers(own())

    @property
    def state(self) -> str:
        """See :attr:`triggers_api.model.peers.Peers.state`."""
        return self._peers.state

    async def run_once(self) -> float:
        """One look. A store that is away says nothing of others."""
        try:
            async with patience(_PATIENCE_S):
                listed = await self._store.workers()
        except Problem:
            return _EVERY_S
        lost = self._peers.look(self._own(), listed, self._store.now())
        self._metrics.show_processes(self._peers.roles)
        self._metrics.processes_lost.inc(len(lost))
        for worker in lost:
            log.warning("process lost", worker_id=worker.id, roles=list(worker.roles))
        return _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Until the next look."""
        await asyncio.sleep(timeout_s)
