"""Makes operational events of notices: the service's own events, on the path of all others."""

import asyncio
from typing import Final

from triggers_api.model import ids
from triggers_api.model.event import NewEvent
from triggers_api.model.notice import payload
from triggers_api.store.base import PendingNotice, Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

_EVERY_S: Final = 1.0
_AT_ONCE: Final = 100


class Outbox:
    """Looks once a second: appends an event for each notice, then takes the notice out.

    Whatever ends the process in between, each notice becomes one event: its ``dedup_id`` is the
    notice's, and is held when the notice is met again.
    """

    name = "outbox"

    def __init__(self, store: Store, directory: Directory, *, metrics: Metrics) -> None:
        self._store = store
        self._directory = directory
        self._metrics = metrics
        self.told = 0
        """Notices that the last turn was done with."""

    async def run_once(self) -> float:
        """Tell what waits to be told; returns the seconds until the next look."""
        self.told = 0
        pending = await self._store.notices(_AT_ONCE)
        if not pending:
            return _EVERY_S
        # Somebody asked when these were written; who has asked since must not be taken for nobody.
        await self._directory.refresh()
        events = [
            self._event(each) for each in pending if self._directory.notifies(each.organization_id)
        ]
        if events:
            stored = await self._store.append(events)
            self._metrics.operational_events.inc(sum(first is None for first in stored))
        await self._store.forget_notices([each.id for each in pending])
        self.told = len(pending)
        return 0.0 if len(pending) == _AT_ONCE else _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Nothing calls for a look before its time."""
        await asyncio.sleep(timeout_s)

    def _event(self, pending: PendingNotice) -> NewEvent:
        notice = pending.notice
        return NewEvent(
            id=self._store.ids.new(ids.EVENT),
            organization_id=pending.organization_id,
            type=notice.type,
            payload=payload(notice),
            dedup_id=f"notice-{pending.id}",
            key=notice.subscription_id or notice.job_id,
            occurred_at=notice.at,
            operational=True,
        )
