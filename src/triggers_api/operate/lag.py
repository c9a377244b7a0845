"""How late the event loop is: what stands in everybody's way is seen here before it is felt."""

import asyncio
from typing import Final

import structlog

from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_EVERY_S: Final = 0.25
_WORTH_SAYING_S: Final = 2.0
"""Heartbeats come every 2 s, and others take us for dead after 6 s."""


class LoopLag:
    """Asks to be woken four times a second, and says how much later that was."""

    name = "lag"

    def __init__(self, *, metrics: Metrics) -> None:
        self._metrics = metrics

    async def run_once(self) -> float:
        """Nothing but the next wait."""
        return _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Until then; everything beyond it is lag."""
        clock = asyncio.get_running_loop().time
        due = clock() + timeout_s
        await asyncio.sleep(timeout_s)
        late = max(0.0, clock() - due)
        self._metrics.event_loop_lag.observe(late)
        if late >= _WORTH_SAYING_S:
            log.warning("the event loop stood still", seconds=round(late, 3))
