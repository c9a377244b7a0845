"""Takes away what is left of sessions that ended without a word: their clients died."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from triggers_api.store.base import Store
from triggers_api.store.directory import Directory

log = structlog.get_logger(__name__)

_EVERY_S: Final = 5.0
_LATE_S: Final = 5.0
"""After its end, for a renewal by another process of which this one has not heard."""


class EndedSessions:
    """Looks every 5 s, in memory, for sessions that have expired, and deletes their subscriptions."""

    name = "sessions"

    def __init__(self, store: Store, directory: Directory) -> None:
        self._store = store
        self._directory = directory

    async def run_once(self) -> float:
        """One look; what waits for an ended session is cancelled."""
        ended = self._ended()
        if ended:
            # What was read long ago, as while the store was away, knows nothing of what was renewed.
            await self._directory.refresh()
            ended = self._ended()
        for organization_id, subscription_id in ended:
            if await self._store.delete_subscription(organization_id, subscription_id):
                log.info(
                    "session ended without a word",
                    organization_id=organization_id,
                    subscription_id=subscription_id,
                )
        if ended:
            await self._directory.refresh()
        return _EVERY_S

    def _ended(self) -> Sequence[tuple[str, str]]:
        return self._directory.ended_sessions(self._store.now().after(seconds=-_LATE_S))

    async def wait(self, timeout_s: float) -> None:
        """Nothing calls for a look before its time."""
        await asyncio.sleep(timeout_s)
