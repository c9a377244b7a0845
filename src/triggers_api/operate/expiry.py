"""Ends subscriptions at the moment that they say."""

import asyncio
from typing import Final

import structlog

from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import Store
from triggers_api.store.directory import Directory

log = structlog.get_logger(__name__)

_EVERY_S: Final = 1.0


class Expiry:
    """Looks every second, in memory; the store is asked when something has expired.

    From its moment on a subscription matches nothing and is sent nothing, whether this runs or not. This
    cancels what waits for it, and has those told who want to know.
    """

    name = "expiry"

    def __init__(self, store: Store, directory: Directory) -> None:
        self._store = store
        self._directory = directory
        self._ended: dict[str, Timestamp] = {}

    async def run_once(self) -> float:
        """One look."""
        now = self._store.now()
        expired = {
            each.id: (organization_id, each.expires_at)
            for organization_id, each in self._directory.expiring()
            if each.expires_at is not None and each.expires_at <= now
        }
        if any(self._ended.get(name) != moment for name, (_, moment) in expired.items()):
            organizations = {organization_id for organization_id, _ in expired.values()}
            ended = await self._store.end_expired(
                [each for each in organizations if self._directory.notifies(each)]
            )
            if ended:
                log.info("subscriptions expired", count=ended)
        self._ended = {name: moment for name, (_, moment) in expired.items()}
        return _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Nothing calls for a look before its time."""
        await asyncio.sleep(timeout_s)
