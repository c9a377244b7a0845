"""What operators are told of the health of endpoints."""

import structlog

from triggers_api.model.health import HealthChange, HealthEvent
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


def report_health(change: HealthChange, *, metrics: Metrics) -> None:
    """Count and log a turn in the health of an endpoint."""
    about = {
        "organization_id": change.organization_id,
        "subscription_id": change.subscription_id,
        "failures": change.health.failures,
        "failing_since": str(change.health.failing_since),
        "error": change.health.error,
    }
    match change.event:
        case HealthEvent.OPENED:
            metrics.breakers_opened.inc()
            log.warning("an endpoint keeps failing and is left alone for a while", **about)
        case HealthEvent.FAILING:
            log.warning("a subscription will be disabled if its endpoint keeps failing", **about)
        case HealthEvent.DISABLED:
            metrics.subscriptions_disabled.inc()
            log.warning("a subscription was disabled because its endpoint kept failing", **about)
        case HealthEvent.RECOVERED:
            log.info("an endpoint works again", **about)
