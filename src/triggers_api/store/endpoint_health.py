"""Health and its rows, for every engine: columns in one order, and what a settlement says."""

from collections.abc import Iterable
from typing import Any

import msgspec

from triggers_api.model.delivery import DeliveryStatus, reopened
from triggers_api.model.health import EndpointHealth
from triggers_api.model.subscription import SubscriptionRecord, SubscriptionStatus
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import Settlement

_MOVED = "the receiver is at another URL now"


def columns(health: EndpointHealth) -> tuple[Any, ...]:
    """Failures, failing_since, error, opened, open_until, probe_from, warned_at, disabled_at."""
    return (
        health.failures,
        health.failing_since,
        health.error,
        health.opened,
        health.open_until,
        health.probe_from,
        health.warned_at,
        health.disabled_at,
    )


def of_columns(values: Iterable[Any]) -> EndpointHealth:
    """From the values that :func:`columns` gives."""
    failures, failing_since, error, opened, open_until, probe_from, warned_at, disabled_at = values
    return EndpointHealth(
        failures=failures,
        failing_since=Timestamp(failing_since),
        error=error,
        opened=opened,
        open_until=Timestamp(open_until),
        probe_from=Timestamp(probe_from),
        warned_at=None if warned_at is None else Timestamp(warned_at),
        disabled_at=None if disabled_at is None else Timestamp(disabled_at),
    )


def at_another_url(settlement: Settlement) -> Settlement:
    """What disables only the URL that was asked and no longer is: what failed there is due again."""
    if settlement.status is DeliveryStatus.SUCCEEDED:
        return msgspec.structs.replace(settlement, disable_subscription=None)
    attempt = settlement.attempt
    return msgspec.structs.replace(
        settlement,
        status=DeliveryStatus.PENDING if attempt is None else reopened(attempt.number),
        reason=_MOVED,
        next_attempt_at=None,
        disable_subscription=None,
    )


def reactivated(record: SubscriptionRecord, *, now: Timestamp) -> SubscriptionRecord:
    """A subscription that was disabled, as it is when its endpoint works again."""
    return msgspec.structs.replace(
        record,
        subscription=msgspec.structs.replace(
            record.subscription,
            enabled=True,
            status=SubscriptionStatus.ACTIVE,
            disabled_reason=None,
            updated_at=now,
        ),
    )


def given_up(record: SubscriptionRecord, reason: str, *, now: Timestamp) -> SubscriptionRecord:
    """A subscription that was disabled, as it is when its receiver wants nothing more."""
    return msgspec.structs.replace(
        record,
        subscription=msgspec.structs.replace(
            record.subscription, disabled_reason=reason, updated_at=now
        ),
    )
