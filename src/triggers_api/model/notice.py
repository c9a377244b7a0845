"""What the service has to tell an organization of itself: the content of an operational event. Pure.

A notice is written down in the transaction that makes it so, and only where somebody has asked: the
organization has an operational subscription that is active or paused. ``operate/outbox.py`` makes
events of notices.
"""

from enum import StrEnum
from typing import Any

import msgspec

from triggers_api.model.delivery import Attempt
from triggers_api.model.subscription import Subscription
from triggers_api.model.timestamp import Timestamp


class NoticeType(StrEnum):
    """The type of the operational event."""

    DELIVERY_DEAD = "delivery.dead"
    SUBSCRIPTION_EXPIRED = "subscription.expired"
    SUBSCRIPTION_DISABLED = "subscription.disabled"
    SUBSCRIPTION_FAILING = "subscription.failing"
    SUBSCRIPTION_RECOVERED = "subscription.recovered"
    BREAKER_OPENED = "subscription.breaker-opened"
    BREAKER_CLOSED = "subscription.breaker-closed"
    JOB_FINISHED = "job.finished"


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened. Ids, codes, counts and times; never what a customer's event holds.

    Attributes:
        at: when it happened.
        subscription_id: whose endpoint it is about.
        event_type: of the event that was to be delivered.
        reason: why, for a person.
        attempt_count: attempts on file for the delivery.
        failures: attempts in a row that failed, for the endpoint.
        failing_since: when the first of these was made.
        disable_at: when the subscription will be disabled if nothing changes.
        status_code: of the last answer, if there was one.
        error: what the last attempt came to without an answer, one of ``model.outcome.ERRORS``.
        status: how a job ended; ``total``, ``done`` and ``failed`` are its counts.
    """

    type: NoticeType
    at: Timestamp
    subscription_id: str | None = None
    delivery_id: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    job_id: str | None = None
    kind: str | None = None
    status: str | None = None
    reason: str | None = None
    attempt_count: int | None = None
    failures: int | None = None
    failing_since: Timestamp | None = None
    disable_at: Timestamp | None = None
    status_code: int | None = None
    error: str | None = None
    total: int | None = None
    done: int | None = None
    failed: int | None = None


def payload(notice: Notice) -> bytes:
    """The payload of its operational event: what is set, without the type; times in RFC 3339."""
    said: dict[str, Any] = {
        name: str(value) if type(value) is Timestamp else value
        for name in notice.__struct_fields__
        if name != "type" and (value := getattr(notice, name)) is not None
    }
    return msgspec.json.encode(said)


def dead_letter(
    *,
    at: Timestamp,
    subscription_id: str,
    delivery_id: str,
    event_id: str,
    event_type: str,
    reason: str | None,
    attempts: int,
    last: Attempt | None,
) -> Notice:
    """Of a delivery that ended as a dead letter, with ``attempts`` on file.

    ``last`` is the attempt that ended it, if it was one.
    """
    return Notice(
        type=NoticeType.DELIVERY_DEAD,
        at=at,
        subscription_id=subscription_id,
        delivery_id=delivery_id,
        event_id=event_id,
        event_type=event_type,
        reason=reason,
        attempt_count=attempts,
        status_code=None if last is None else last.status_code,
        error=None if last is None else last.error,
    )


def expired(subscription: Subscription, now: Timestamp) -> Notice:
    """Of a subscription that is past its time."""
    return Notice(
        type=NoticeType.SUBSCRIPTION_EXPIRED,
        at=subscription.expires_at or now,
        subscription_id=subscription.id,
        reason="it has expired",
    )
