"""What operators are told of the health of endpoints."""

import structlog

from triggers_api.model.health import HealthChange, HealthEvent
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


def report_health(change: HealthChange, *, metrics: Metrics) -> None:
    """Count and log a turn in the health of an endpoint."""
    if change.event is HealthEvent.OPENED:
        metrics.breakers_opened.inc()
    elif change.event is HealthEvent.DISABLED:
        metrics.subscriptions_disabled.inc()
    line = log.info if change.event is HealthEvent.RECOVERED else log.warning
    line(
        "the health of an endpoint turned",
        organization_id=change.organization_id,
        subscription_id=change.subscription_id,
        turn=change.event,
        failures=change.health.failures,
        failing_since=str(change.health.failing_since),
        error=change.health.error,
    )
