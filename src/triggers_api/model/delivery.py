"""A delivery: one event on its way to one subscription, and the states it passes through."""

from enum import StrEnum
from typing import Final

import msgspec

from triggers_api.model.attempt import Timings
from triggers_api.model.timestamp import Timestamp


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERING = "delivering"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


_S = DeliveryStatus

WAITING: Final = frozenset({_S.PENDING, _S.RETRYING})
"""Not finished and not in anybody's hands."""

OPEN: Final = WAITING | {_S.DELIVERING}
"""Something will still happen to it."""

FINISHED: Final = frozenset(_S) - OPEN

TRANSITIONS: Final = {
    _S.PENDING: frozenset({_S.DELIVERING, _S.CANCELLED}),
    # Back to where it came from when the work was given back or its lease ran out.
    _S.DELIVERING: frozenset(
        {_S.SUCCEEDED, _S.RETRYING, _S.DEAD, _S.SKIPPED, _S.CANCELLED, _S.PENDING}
    ),
    _S.RETRYING: frozenset({_S.DELIVERING, _S.CANCELLED}),
    # A retry by hand opens a finished delivery again; what succeeded is replayed instead.
    _S.DEAD: frozenset({_S.PENDING, _S.RETRYING}),
    _S.SKIPPED: frozenset({_S.PENDING, _S.RETRYING}),
    _S.CANCELLED: frozenset({_S.PENDING, _S.RETRYING}),
    _S.SUCCEEDED: frozenset(),
}
"""Every step a delivery can take; what is not here never happens."""

RETRYABLE: Final = frozenset(
    status for status in _S if _S.PENDING in TRANSITIONS[status] and status in FINISHED
)
"""Finished states that a retry by hand can open again."""


def reopened(attempt_count: int) -> DeliveryStatus:
    """The waiting state of a delivery with so many attempts on file."""
    return _S.RETRYING if attempt_count else _S.PENDING


def waits_for(head: str) -> str:
    """Why a delivery that is not the first of its line cannot be brought forward."""
    return f"it waits for its turn: {head} goes out before it"


class Origin(StrEnum):
    """What made the delivery."""

    EVENT = "event"
    REPLAY = "replay"
    TEST = "test"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request made for a delivery, as kept on file.

    Attributes:
        request_headers: as they were sent; the values of signatures, credentials and of the headers that
            the subscription chose are ``***``.
        response_headers: of the answer, their first 4 KiB.
        timings: of its phases.
    """

    id: str
    number: int
    started_at: Timestamp
    duration_ms: int
    status_code: int | None = None
    error: str | None = None
    response_body: str | None = None
    request_headers: dict[str, str] | None = None
    response_headers: dict[str, str] | None = None
    timings: Timings | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery as the API shows it.

    ``sequence`` is its place among those of its subscription and key, from 1, where they are ordered.
    """

    id: str
    event_id: str
    event_type: str
    subscription_id: str
    status: DeliveryStatus
    reason: str | None
    origin: Origin
    attempt_count: int
    next_attempt_at: Timestamp | None
    sequence: int | None = None
    created_at: Timestamp
    finished_at: Timestamp | None


class DeliveryDetail(Delivery, frozen=True, kw_only=True):
    """A delivery with everything that was tried."""

    attempts: tuple[Attempt, ...]


def without_attempts(detail: DeliveryDetail) -> Delivery:
    """A delivery as lists show it."""
    return Delivery(**{name: getattr(detail, name) for name in Delivery.__struct_fields__})


class NewDelivery(msgspec.Struct, frozen=True, gc=False):
    """A delivery that routing decided on, not stored yet.

    ``order_key`` names the line of its subscription in which it waits for its turn; ``None``: none.
    """

    id: str
    subscription_id: str
    order_key: str | None = None
