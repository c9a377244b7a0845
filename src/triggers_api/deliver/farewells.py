"""Tells no-code tools that their hooks have ended: a DELETE to the URL that events were sent to.

REST hooks call it the reverse unsubscribe. Zapier switches the Zap off, so that its user sees it.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from triggers_api.deliver.webhook import Sender
from triggers_api.model.controls import DeliveryMode
from triggers_api.model.farewell import after
from triggers_api.model.hook import living_hooks
from triggers_api.model.outcome import Answered, NoAnswer
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import Farewell, Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_EVERY_S: Final = 10.0
_AT_ONCE: Final = 10


class Farewells:
    """One turn claims what is due, sends each its request, and stores what came of it."""

    name = "farewells"

    def __init__(
        self,
        store: Store,
        directory: Directory,
        sender: Sender,
        *,
        timeout_s: float,
        lease_s: float,
        wall: Callable[[], Timestamp],
        metrics: Metrics,
    ) -> None:
        """Set up; ``wall`` is the clock with which receivers compare the time in a signature."""
        self._store = store
        self._directory = directory
        self._sender = sender
        self._timeout_s = timeout_s
        self._lease_s = lease_s
        self._wall = wall
        self._metrics = metrics

    async def run_once(self) -> float:
        """Tell what is due to be told; returns the seconds until the next look."""
        modes = self._directory.delivery
        if modes.everywhere is not DeliveryMode.RUNNING:
            return _EVERY_S
        claimed = await self._store.claim_farewells(
            _AT_ONCE, self._lease_s, not_of=modes.organizations
        )
        if claimed:
            # A hook that was asked for again must not be taken for one that has ended.
            await self._directory.refresh()
            await asyncio.gather(*map(self._tell, claimed))
        return 0.0 if len(claimed) == _AT_ONCE else _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Nothing calls for a look before its time."""
        await asyncio.sleep(timeout_s)

    async def _tell(self, farewell: Farewell) -> None:
        target = farewell.target
        if self._is_called_again(farewell):
            await self._store.settle_farewell(farewell, retry_at=None)
            return
        subscription = target.subscription
        outcome: Answered | NoAnswer
        try:
            outcome = await self._sender.say_farewell(
                target,
                timeout_s=min(subscription.timeout_s or self._timeout_s, self._timeout_s),
                now=self._wall(),
                at=self._store.now(),
            )
        except Exception:
            log.exception("a farewell failed in an unforeseen way", subscription_id=subscription.id)
            outcome = NoAnswer("connection-lost")  # and so it is not tried for ever
        verdict = after(outcome, farewell.attempts, now=self._store.now())
        counted = await self._store.settle_farewell(
            farewell, retry_at=verdict.retry_at, understood=verdict.understood
        )
        if not counted or verdict.retry_at is not None:
            return
        self._metrics.farewells.labels(
            "understood" if verdict.understood else "not_understood"
        ).inc()
        log.info(
            "a hook ended",
            understood=verdict.understood,
            organization_id=target.organization_id,
            subscription_id=subscription.id,
            attempts=farewell.attempts,
            answer=outcome.status_code if isinstance(outcome, Answered) else outcome.error,
        )

    def _is_called_again(self, farewell: Farewell) -> bool:
        """Whether a hook that lives leads to the same place: this one again, or another."""
        theirs = self._directory.subscriptions(farewell.target.organization_id)
        url = farewell.target.subscription.url
        return any(
            living.subscription.url == url for living in living_hooks(theirs, now=self._store.now())
        )
