"""Looks whether endpoints of subscriptions that were disabled for failing work again."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from triggers_api.deliver.dispatcher import Sends
from triggers_api.deliver.health import report_health
from triggers_api.model import ids
from triggers_api.model.controls import DeliveryMode
from triggers_api.model.health import HealthChange
from triggers_api.model.outcome import Answered, NoAnswer, ends_subscription
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import ClaimedDelivery, ProbeClaim, Store
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

EVENT_TYPE: Final = "triggers.probe"
_EVERY_S: Final = 10.0
_AT_ONCE: Final = 10


class Prober:
    """One turn claims what is to be probed, sends each a signed request, and stores what came of it."""

    name = "prober"

    def __init__(
        self,
        store: Store,
        directory: Directory,
        sender: Sends,
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
        """Probe what is due; returns the seconds until the next look."""
        modes = self._directory.delivery
        if modes.everywhere is not DeliveryMode.RUNNING:
            return _EVERY_S
        probes = await self._store.claim_probes(_AT_ONCE, self._lease_s, not_of=modes.organizations)
        if probes:
            await asyncio.gather(*map(self._probe, probes))
            await self._directory.refresh()
        return 0.0 if len(probes) == _AT_ONCE else _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Nothing calls for a look before its time."""
        await asyncio.sleep(timeout_s)

    async def _probe(self, probe: ProbeClaim) -> None:
        target = probe.target
        subscription = target.subscription
        delivery = self._request(probe)
        try:
            sent = await self._sender.send(
                delivery,
                attempt_number=1,
                timeout_s=min(subscription.timeout_s or self._timeout_s, self._timeout_s),
                now=self._wall(),
                at=self._store.now(),
            )
        except Exception:
            log.exception("sending failed in an unforeseen way", delivery_id=delivery.id)
            error: str | None = "an error of the service"
            ended = None
        else:
            error, ended = _error(sent.outcome), ends_subscription(sent.outcome)
        turned = await self._store.settle_probe(
            probe,
            error,
            ended=ended,
            notify=not subscription.operational
            and self._directory.notifies(target.organization_id),
        )
        if isinstance(turned, HealthChange):
            report_health(turned, metrics=self._metrics)

    def _request(self, probe: ProbeClaim) -> ClaimedDelivery:
        """Something to send that nobody will miss: it is not on file."""
        now = self._store.now()
        said = {
            "subscription_id": probe.target.subscription.id,
            "failing_since": str(probe.health.failing_since),
        }
        return ClaimedDelivery(
            id=self._store.ids.new(ids.DELIVERY),
            token=0,
            event_id=self._store.ids.new(ids.EVENT),
            event_type=EVENT_TYPE,
            sent_at=now,
            payload=msgspec.json.encode(said),
            attempt_count=0,
            failures=0,
            target=probe.target,
        )


def _error(outcome: Answered | NoAnswer) -> str | None:
    if isinstance(outcome, NoAnswer):
        return outcome.error
    succeeded = 200 <= outcome.status_code < 300
    return None if succeeded else f"receiver answered {outcome.status_code}"
