"""An event's timeline, put together from what is on file. Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from triggers_api.model.delivery import Delivery
from triggers_api.model.event import Event, EventStatus, Moment
from triggers_api.model.timestamp import Timestamp


class Tried(msgspec.Struct, frozen=True, gc=False):
    """One attempt, as far as a timeline shows it."""

    delivery_id: str
    subscription_id: str
    started_at: Timestamp
    number: int
    status_code: int | None
    error: str | None


def timeline(
    event: Event,
    *,
    status_at: Timestamp,
    reason: str | None,
    deliveries: Sequence[Delivery],
    attempts: Iterable[Tried],
) -> tuple[Moment, ...]:
    """What happened, in order.

    Args:
        event: whose timeline it is.
        status_at: since when it has had its present status; not used while it waits.
        reason: why it was set aside, if it was.
        deliveries: of the event.
        attempts: of these, in the order they were made.
    """
    moments = [Moment(at=event.received_at, what="received")]
    if event.status not in {EventStatus.QUEUED, EventStatus.SCHEDULED}:
        moments.append(Moment(at=status_at, what=event.status, detail=reason))
    moments += [
        Moment(
            at=tried.started_at,
            what="attempt",
            delivery_id=tried.delivery_id,
            subscription_id=tried.subscription_id,
            detail=f"{tried.number}: {tried.error or tried.status_code}",
        )
        for tried in attempts
    ]
    moments += [
        Moment(
            at=each.finished_at,
            what=each.status,
            delivery_id=each.id,
            subscription_id=each.subscription_id,
            detail=each.reason,
        )
        for each in deliveries
        if each.finished_at is not None
    ]
    return tuple(sorted(moments, key=lambda moment: moment.at))
