"""Writes down when keys were used, once a minute, and warns of those that end soon."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from triggers_api.model.organization import EXPIRES_SOON_S
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_EVERY_S: Final = 60.0
_WARN_EVERY_S: Final = 86_400.0


class KeyUses:
    """Hears of uses of keys from whoever lets requests in. A process that is killed loses a minute."""

    name = "key uses"

    def __init__(
        self,
        store: Store,
        directory: Directory,
        *,
        taken: Callable[[], Mapping[str, Timestamp]],
        metrics: Metrics,
    ) -> None:
        """``taken``: which keys were used since it was called last, and when."""
        self._store = store
        self._directory = directory
        self._taken = taken
        self._metrics = metrics
        self._unsaved: dict[str, Timestamp] = {}
        self._warned: dict[str, Timestamp] = {}

    async def run_once(self) -> float:
        """Write down what there is."""
        await self.save()
        self._warn()
        return _EVERY_S

    async def save(self) -> None:
        """Write down what there is. What cannot be stored now is kept for the next time."""
        self._unsaved.update(self._taken())
        uses = dict(self._unsaved)
        if uses:
            await self._store.note_key_uses(uses)
            self._unsaved.clear()

    def _warn(self) -> None:
        now = self._store.now()
        ending = self._directory.expiring_keys(within_s=EXPIRES_SOON_S)
        self._metrics.keys_expiring.set(len(ending))
        for each in ending:
            warned_at = self._warned.get(each.key_id)
            if warned_at is None or now >= warned_at.after(seconds=_WARN_EVERY_S):
                self._warned[each.key_id] = now
                log.warning(
                    "a key expires soon",
                    key_id=each.key_id,
                    organization_id=each.organization_id,
                    expires_at=str(each.expires_at),
                )

    async def wait(self, timeout_s: float) -> None:
        """Nothing is urgent."""
        await asyncio.sleep(timeout_s)
