"""An event: what a producer sent, kept byte for byte, and where it stands."""

from enum import StrEnum

import msgspec

from triggers_api.errors import FieldError, InvalidState
from triggers_api.model.delivery import Delivery, NewDelivery
from triggers_api.model.timestamp import Timestamp


class EventStatus(StrEnum):
    """Where an event stands.

    ``processed`` means routed, also when no subscription matched; ``failed`` means set aside with
    its reason because routing it failed again and again.
    """

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    PROCESSED = "processed"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"


def check_cancellable(status: EventStatus) -> None:
    """Let an event pass that is cancelled already, of those that do not wait to be routed.

    Raises:
        InvalidState: it cannot be cancelled any more.
    """
    if status is EventStatus.CANCELLED:
        return
    if status is EventStatus.PROCESSED:
        raise InvalidState("the event was routed already: cancel its deliveries, or delete it")
    raise InvalidState(f"the event is {status} and waits for nothing: delete it")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the API shows it; ``payload`` is the bytes that were received.

    ``operational``: it is one of the service's own, of what happened to the organization.
    """

    id: str
    type: str
    payload: msgspec.Raw
    dedup_id: str | None = None
    source: str | None = None
    key: str | None = None
    metadata: dict[str, str] | None = None
    status: EventStatus
    received_at: Timestamp
    occurred_at: Timestamp | None = None
    deliver_at: Timestamp | None = None
    duplicate_of: str | None = None
    operational: bool = False


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an event's timeline.

    ``what`` is one of ``received``, ``scheduled``, ``processed``, ``failed``, ``cancelled``,
    ``attempt``, or a delivery's final status.
    """

    at: Timestamp
    what: str
    delivery_id: str | None = None
    subscription_id: str | None = None
    detail: str | None = None


class EventDetail(Event, frozen=True, kw_only=True):
    """An event with what became of it."""

    deliveries: tuple[Delivery, ...]
    timeline: tuple[Moment, ...]


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that passed every check, not stored yet.

    Attributes:
        id: made by the store's generator; its time is ``received_at``.
        payload: the received bytes of one JSON value.
        metadata: the received bytes of a JSON object of strings, or ``None``.
        deliveries: routing's answer when it was asked before storing (sync mode); ``None`` puts the
            event in the queue to be routed.
        settings_version: by which routing answered, where that may be older than the store's.
        operational: it is one of the service's own, to be put in the queue.
        aside: why it is kept aside instead of being put in the queue; ``None`` if it is not.
        warnings: what its sender is told of its payload; not stored.
        trace: which one it belongs to (:attr:`triggers_api.model.trace.Trace.kept`), if to any.
    """

    id: str
    organization_id: str
    type: str
    payload: bytes
    dedup_id: str | None = None
    source: str | None = None
    key: str | None = None
    metadata: bytes | None = None
    occurred_at: Timestamp | None = None
    deliver_at: Timestamp | None = None
    deliveries: tuple[NewDelivery, ...] | None = None
    settings_version: int | None = None
    operational: bool = False
    aside: str | None = None
    warnings: tuple[FieldError, ...] = ()
    trace: bytes | None = None


class FirstEvent(msgspec.Struct, frozen=True, gc=False):
    """The event that already holds a dedup_id, told to whoever sends it again.

    Attributes:
        type: of that event, which may be another than was sent; ``None`` where an older process wrote
            nothing of it down.
    """

    id: str
    status: EventStatus
    received_at: Timestamp
    payload_matches: bool
    type: str | None


class QueuedEvent(msgspec.Struct, frozen=True, gc=False):
    """An accepted event claimed for routing.

    Attributes:
        due_at: when it was to be routed: on receipt, or at ``deliver_at``.
        attempts: claims so far, this one included; a crash while routing counts.
        payload: the event's bytes, where they were asked for with the claim; ``source`` and ``metadata``
            come with it, and are ``None`` without.
        released_at: when it was put into the queue after it had been kept aside; it is routed as if it
            had come in then.
    """

    id: str
    organization_id: str
    type: str
    received_at: Timestamp
    due_at: Timestamp
    attempts: int
    payload: bytes | None = None
    source: str | None = None
    key: str | None = None
    metadata: bytes | None = None
    operational: bool = False
    released_at: Timestamp | None = None


class EventAside(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is kept aside: it does not fit its type's schema, or could not be routed.

    Attributes:
        status: ``quarantined``, or ``failed`` for one that could not be routed.
        reason: why, in words.
        attempts: how often it was tried to be routed.
        aside_since: since when.
    """

    id: str
    organization_id: str
    type: str
    status: EventStatus
    reason: str | None
    attempts: int
    received_at: Timestamp
    aside_since: Timestamp
