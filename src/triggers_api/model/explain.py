"""Why a subscription gets an event, or not: routing's own decision, beside what is on file. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from triggers_api.model.delivery import OPEN, WAITING, Delivery, DeliveryStatus, Origin
from triggers_api.model.event import EventDetail, EventStatus
from triggers_api.model.filter import EventView, Judgement
from triggers_api.model.health import BreakerState, EndpointHealth
from triggers_api.model.routing import Candidate, Reason, Verdict
from triggers_api.model.subscription import Subscription, SubscriptionStatus
from triggers_api.model.timestamp import Timestamp


class FilterPart(msgspec.Struct, frozen=True):
    """What came of one of the conditions that a filter joins by ``&&``.

    ``result`` is ``true``, ``false``, or ``failed`` where it has no answer; ``detail`` then says why.
    """

    expression: str
    result: str
    detail: str | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What an event is to one subscription.

    Attributes:
        matched: the subscription gets it.
        reason: why it does or does not; ``paused`` and ``limit`` say why what it gets waits.
        detail: the same in words.
        filter: the parts of its filter, where it has one that was asked.
        changed_since: what is on file is not what would be decided now: the subscription is another than
            when the event was routed.
        delivery_id: of the newest delivery.
        last_error: what went wrong with the last attempt.
    """

    subscription_id: str
    matched: bool
    reason: Reason
    detail: str
    filter: tuple[FilterPart, ...] | None = None
    changed_since: bool = False
    delivery_id: str | None = None
    delivery_status: DeliveryStatus | None = None
    next_attempt_at: Timestamp | None = None
    last_error: str | None = None


def explain(
    event: EventDetail,
    received_at: int,
    subscriptions: Iterable[Subscription],
    *,
    in_flight: Mapping[str, int],
    now: int,
    health: Mapping[str, EndpointHealth] | None = None,
    held: Collection[str] = (),
) -> list[Explanation]:
    """An explanation for each subscription, in the order in which they are given.

    Args:
        event: with its deliveries and timeline.
        received_at: as routing is told it.
        subscriptions: the organization's.
        in_flight: by subscription, how many of its deliveries are being sent.
        now: milliseconds since the epoch.
        health: by subscription, what is known of endpoints that fail.
        held: the subscriptions whose deliveries an operator has paused.
    """
    view = view_of(event)
    errors = _last_errors(event)
    newest = {each.subscription_id: each for each in sorted(event.deliveries, key=_made)}
    routed = {each.subscription_id for each in event.deliveries if each.origin is Origin.EVENT}
    found = []
    for subscription in subscriptions:
        candidate = Candidate.of(subscription)
        verdict = candidate.verdict(view, received_at, now=now)
        delivery = newest.get(subscription.id)
        if delivery is None:
            found.append(_undelivered(event.status, candidate, verdict, view, now))
            continue
        reason = _reason(subscription, delivery, in_flight.get(subscription.id, 0), now)
        is_held = subscription.id in held and delivery.status in WAITING
        if is_held:
            reason = Reason.PAUSED
        ailing = (health or {}).get(subscription.id)
        shut = reason is not Reason.PAUSED and _shut(delivery, ailing, now)
        if shut:
            reason = Reason.LIMIT
        changed = subscription.id in routed and not verdict.matched
        found.append(
            Explanation(
                subscription_id=subscription.id,
                matched=True,
                reason=reason,
                detail=_said(
                    delivery,
                    reason,
                    verdict if changed else None,
                    shut_until=ailing.open_until if shut and ailing is not None else None,
                    is_held=is_held,
                ),
                filter=_parts(candidate, verdict, view),
                changed_since=changed,
                delivery_id=delivery.id,
                delivery_status=delivery.status,
                next_attempt_at=_next_attempt(delivery, ailing, now),
                last_error=errors.get(delivery.id),
            )
        )
    return found


def view_of(event: EventDetail) -> EventView:
    """A stored event as filters read it."""
    return EventView(
        event.type,
        source=event.source,
        key=event.key,
        metadata=None if event.metadata is None else msgspec.json.encode(event.metadata),
        payload=bytes(event.payload),
        operational=event.operational,
    )


def _made(delivery: Delivery) -> str:
    return delivery.id


def _last_errors(event: EventDetail) -> dict[str, str]:
    """What went wrong with the last attempt of each delivery that has not succeeded."""
    succeeded = {each.id for each in event.deliveries if each.status is DeliveryStatus.SUCCEEDED}
    return {
        moment.delivery_id: (moment.detail or "").partition(": ")[2]
        for moment in event.timeline
        if moment.what == "attempt"
        and moment.delivery_id is not None
        and moment.delivery_id not in succeeded
    }


def _undelivered(
    status: EventStatus, candidate: Candidate, verdict: Verdict, view: EventView, now: int
) -> Explanation:
    subscription, reason = candidate.subscription, verdict.reason
    changed = verdict.matched and status is EventStatus.PROCESSED
    if verdict.matched and subscription.status_at(now) is SubscriptionStatus.PAUSED:
        reason = Reason.PAUSED
    if subscription.operational is not view.operational:
        detail = _OTHER_KIND[view.operational]
    elif not verdict.matched:
        detail = _why_not(verdict)
    elif changed:
        detail = "would get it now; it did not when the event was routed, and has changed since"
    else:
        detail = f"would get it; the event is {status} and not routed"
    return Explanation(
        subscription_id=subscription.id,
        matched=verdict.matched,
        reason=reason,
        detail=detail,
        filter=_parts(candidate, verdict, view),
        changed_since=changed,
    )


def _reason(subscription: Subscription, delivery: Delivery, in_flight: int, now: int) -> Reason:
    if delivery.status in OPEN and subscription.status_at(now) is SubscriptionStatus.PAUSED:
        return Reason.PAUSED
    due_at, most = delivery.next_attempt_at, subscription.max_concurrency
    is_due = delivery.status in WAITING and due_at is not None and due_at <= now
    if is_due and most is not None and in_flight >= most:
        return Reason.LIMIT
    return Reason.MATCHED


def _shut(delivery: Delivery, health: EndpointHealth | None, now: int) -> bool:
    """Whether a delivery is due and waits for the breaker of its endpoint."""
    due_at = delivery.next_attempt_at
    is_due = delivery.status in WAITING and due_at is not None and due_at <= now
    return is_due and health is not None and health.state(now) is not BreakerState.CLOSED


def _next_attempt(delivery: Delivery, health: EndpointHealth | None, now: int) -> Timestamp | None:
    """When a delivery is tried next: not before the breaker of its endpoint lets a probe through."""
    due_at = delivery.next_attempt_at
    if due_at is None or health is None or health.state(now) is not BreakerState.OPEN:
        return due_at
    return max(due_at, health.open_until)


def _said(
    delivery: Delivery,
    reason: Reason,
    changed_to: Verdict | None,
    *,
    shut_until: Timestamp | None,
    is_held: bool,
) -> str:
    told = f"its delivery is {delivery.status}"
    if shut_until is not None:
        told += f" and waits, as its endpoint keeps failing: breaker open until {shut_until}"
    elif is_held:
        told += " and waits, as an operator has paused delivery"
    elif reason is Reason.PAUSED:
        told += " and waits, as the subscription is paused"
    elif reason is Reason.LIMIT:
        told += " and waits until fewer are being sent to it"
    if changed_to is not None:
        told += f"; it would not get the event now: {_why_not(changed_to)}"
    return told


def _why_not(verdict: Verdict) -> str:
    judgement = verdict.judgement
    if judgement is not None and judgement.fault is not None:
        return f"its filter has no answer: {judgement.fault}"
    return _WHY_NOT[verdict.reason]


_OTHER_KIND: Final = {
    False: "it gets the service's own events only",
    True: "it gets none of the service's own events",
}
_WHY_NOT: Final = {
    Reason.TYPE: "none of its patterns matches the type",
    Reason.CREATED_LATER: "it was made after the event was received",
    Reason.DISABLED: "it is disabled",
    Reason.EXPIRED: "it has expired",
    Reason.FILTER: "its filter is false",
}


def _parts(
    candidate: Candidate, verdict: Verdict, view: EventView
) -> tuple[FilterPart, ...] | None:
    if candidate.filter is None or verdict.judgement is None:
        return None
    return tuple(
        FilterPart(part.expression, _result(part.judgement), part.judgement.fault)
        for part in candidate.filter.parts(view)
    )


def _result(judgement: Judgement) -> str:
    if judgement.fault is not None:
        return "failed"
    return "true" if judgement.matches else "false"
