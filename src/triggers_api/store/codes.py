"""What the numbers in the tables stand for."""

from typing import Final

from triggers_api.model.delivery import DeliveryStatus, Origin
from triggers_api.model.event import EventStatus
from triggers_api.model.job import JobStatus
from triggers_api.model.subscription import Subscription, SubscriptionStatus

EVENT_STATUS: Final = {
    EventStatus.QUEUED: 0,
    EventStatus.PROCESSED: 1,
    EventStatus.SCHEDULED: 2,
    EventStatus.FAILED: 3,
    EventStatus.QUARANTINED: 4,
    EventStatus.CANCELLED: 5,
}
EVENT_DELETED: Final = 6
EVENT_STATUS_OF: Final = {number: status for status, number in EVENT_STATUS.items()}

DELIVERY_STATUS: Final = {
    DeliveryStatus.PENDING: 2,
    DeliveryStatus.DELIVERING: 3,
    DeliveryStatus.RETRYING: 4,
    DeliveryStatus.SUCCEEDED: 5,
    DeliveryStatus.DEAD: 6,
    DeliveryStatus.SKIPPED: 7,
    DeliveryStatus.CANCELLED: 8,
}
DELIVERY_STATUS_OF: Final = {number: status for status, number in DELIVERY_STATUS.items()}

ORIGIN: Final = {Origin.EVENT: 0, Origin.REPLAY: 1, Origin.TEST: 2}
ORIGIN_OF: Final = {number: origin for origin, number in ORIGIN.items()}

JOB_STATUS: Final = {
    JobStatus.PENDING: 0,
    JobStatus.RUNNING: 0,
    JobStatus.DONE: 1,
    JobStatus.CANCELLED: 2,
    JobStatus.FAILED: 3,
}

ACTIVE: Final = 0
HELD: Final = 1
ENDED: Final = 2
"""States of a subscription's row: delivered to, waited for, cancelled."""


def subscription_state(subscription: Subscription) -> int:
    """The state of its row. What a session fetches waits for it: nobody else may claim it."""
    sent = subscription.status is SubscriptionStatus.ACTIVE and not subscription.by_session
    return ACTIVE if sent else HELD


PARKED: Final = (1 << 47) - 1
"""``due_at`` of a delivery that has to wait for another one: later than any moment, and as wide."""
