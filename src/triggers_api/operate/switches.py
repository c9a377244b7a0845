"""Takes in what other processes turned, and puts switches back whose time is over."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import structlog

from triggers_api.model.controls import Switches
from triggers_api.store.base import Store
from triggers_api.store.directory import Directory

log = structlog.get_logger(__name__)

_EVERY_S: Final = 0.3
"""Several looks within the second in which a change is in force everywhere."""


class SwitchKeeper:
    """Looks at the settings half more often than anything else does, whatever else takes its time."""

    name = "switches"

    def __init__(
        self,
        store: Store,
        directory: Directory,
        *,
        changing: Callable[[str], AbstractAsyncContextManager[None]],
    ) -> None:
        """``changing`` keeps others from turning switches meanwhile, see ``http/context.py``."""
        self._store = store
        self._directory = directory
        self._changing = changing

    async def run_once(self) -> float:
        """One look. A switch goes back in memory first; then one process writes it down for all."""
        await self._directory.refresh()
        if self._directory.expired_switches():
            async with self._changing("controls"):
                for switches in self._directory.expired_switches():
                    await self._store.save_switches(switches)
                    _tell(switches)
        return _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Until the next look."""
        await asyncio.sleep(timeout_s)


def _tell(switches: Switches) -> None:
    log.info(
        "switches went back, their time is over",
        organization_id=switches.organization_id,
        subscription_id=switches.subscription_id,
        still_turned=sorted(switches.turns),
    )
