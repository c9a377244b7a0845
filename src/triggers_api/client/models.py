"""What is sent and what is answered, as frozen structs.

Every answer may have more fields than are here: a newer service's are passed over. Every field that is
not an id has a default: an older service's answers lack some. For the same reason states are texts, not
enumerations; the docstrings list those that are known.
"""

import builtins
import json
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

import msgspec

from triggers_api.client.errors import FieldError

T = TypeVar("T")

_NULL: Final = msgspec.Raw(b"null")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list; ``next_cursor`` leads to the next one."""

    data: tuple[T, ...]
    next_cursor: str | None = None


# ── events ────────────────────────────────────────────────────────────────────────────────────────


class NewEvent(msgspec.Struct, frozen=True):
    """An event to be sent.

    Attributes:
        type: 1 to 255 of letters, digits and ``_ . : / -``.
        payload: anything that becomes JSON: also structs, dataclasses, dates. ``msgspec.Raw(bytes)`` is
            JSON already and goes as it is, byte for byte.
        dedup_id: a second event with it is not stored. One is made where none is given.
        occurred_at: with a time zone.
        deliver_at: the event is held back until then; with a time zone.
    """

    type: str
    payload: Any = None
    dedup_id: str | None = None
    source: str | None = None
    key: str | None = None
    metadata: Mapping[str, str] | None = None
    occurred_at: datetime | None = None
    deliver_at: datetime | None = None


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """The event is stored.

    Attributes:
        status: ``queued``, ``scheduled``, or ``processed`` in sync mode; of a duplicate the first
            event's present one.
        duplicate: an event with this dedup_id was there already; ``id`` is that one's.
        payload_matches: of a duplicate: its payload is the first one's, byte for byte.
        warnings: where the payload does not fit the schema of its type.
    """

    id: str
    type: str = ""
    dedup_id: str | None = None
    status: str = ""
    duplicate: bool = False
    payload_matches: bool | None = None
    received_at: datetime | None = None
    warnings: tuple[FieldError, ...] = ()


class ItemError(msgspec.Struct, frozen=True, kw_only=True):
    """Why one of many events was rejected."""

    code: str = ""
    detail: str = ""
    errors: tuple[FieldError, ...] = ()


class ItemResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one of many events.

    Attributes:
        index: its place among those that were given, from 0.
        status: ``accepted``, ``duplicate`` or ``rejected``.
        id: the event's; of a duplicate the first one's.
        error: why it was rejected.
        quarantined: it was accepted and is kept aside, for the reasons in ``warnings``.
    """

    index: int
    status: str
    id: str | None = None
    dedup_id: str | None = None
    error: ItemError | None = None
    quarantined: bool = False
    warnings: tuple[FieldError, ...] = ()


class BatchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of many events, in their order."""

    results: tuple[ItemResult, ...]

    @property
    def accepted(self) -> int:
        """How many are new."""
        return self._count("accepted")

    @property
    def duplicates(self) -> int:
        """How many were there already."""
        return self._count("duplicate")

    @property
    def rejected(self) -> int:
        """How many were not acceptable."""
        return self._count("rejected")

    def _count(self, status: str) -> int:
        return sum(each.status == status for each in self.results)


class Event(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """An event.

    Attributes:
        raw: the payload's bytes, as they were sent.
        status: ``scheduled``, ``queued``, ``processed`` (routed), ``failed``, ``quarantined`` or
            ``cancelled``.
        operational: it is one of the service's own.
    """

    id: str
    type: str = ""
    raw: msgspec.Raw = msgspec.field(name="payload", default=_NULL)
    dedup_id: str | None = None
    source: str | None = None
    key: str | None = None
    metadata: dict[str, str] | None = None
    status: str = ""
    received_at: datetime | None = None
    occurred_at: datetime | None = None
    deliver_at: datetime | None = None
    duplicate_of: str | None = None
    operational: bool = False

    @cached_property
    def payload(self) -> Any:  # noqa: ANN401 - whatever was sent
        """The payload's value."""
        return json.loads(bytes(self.raw))

    def payload_as(self, kind: builtins.type[T]) -> T:
        """The payload as a struct, a dataclass or another type that msgspec knows.

        Raises:
            msgspec.ValidationError: it is not one.
        """
        return msgspec.json.decode(self.raw, type=kind)


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an event's timeline."""

    at: datetime | None = None
    what: str = ""
    delivery_id: str | None = None
    subscription_id: str | None = None
    detail: str | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to one subscription.

    Attributes:
        status: ``pending``, ``delivering``, ``retrying``, ``succeeded``, ``dead``, ``skipped`` or
            ``cancelled``.
        origin: ``event``, ``replay`` or ``test``.
        sequence: its number in the order of its subscription, where there is one.
    """

    id: str
    event_id: str = ""
    event_type: str = ""
    subscription_id: str = ""
    status: str = ""
    reason: str | None = None
    origin: str = ""
    attempt_count: int = 0
    next_attempt_at: datetime | None = None
    sequence: int | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of each phase of an attempt; ``None``: not gone through."""

    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    first_byte: float | None = None
    total: float = 0.0


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One request that was made for a delivery."""

    id: str
    number: int = 0
    started_at: datetime | None = None
    duration_ms: int = 0
    status_code: int | None = None
    error: str | None = None
    response_body: str | None = None
    request_headers: dict[str, str] | None = None
    response_headers: dict[str, str] | None = None
    timings: Timings | None = None


class DeliveryDetail(Delivery, frozen=True, kw_only=True):
    """A delivery with everything that was tried."""

    attempts: tuple[Attempt, ...] = ()


class EventDetail(Event, frozen=True, kw_only=True, dict=True):
    """An event with what became of it."""

    deliveries: tuple[Delivery, ...] = ()
    timeline: tuple[Moment, ...] = ()


class FilterPart(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one part of a filter: ``true``, ``false`` or ``failed``."""

    expression: str = ""
    result: str = ""
    detail: str | None = None


class SubscriptionExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """What an event is to one subscription.

    Attributes:
        reason: ``matched``, ``type``, ``filter``, ``paused``, ``disabled``, ``expired``,
            ``created-later`` or ``limit``.
    """

    subscription_id: str
    matched: bool = False
    reason: str = ""
    detail: str = ""
    filter: tuple[FilterPart, ...] | None = None
    changed_since: bool = False
    delivery_id: str | None = None
    delivery_status: str | None = None
    next_attempt_at: datetime | None = None
    last_error: str | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why each subscription gets an event, or not."""

    event_id: str
    subscriptions: tuple[SubscriptionExplanation, ...] = ()


# ── subscriptions ─────────────────────────────────────────────────────────────────────────────────


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The health of an endpoint that fails; ``state`` is ``closed``, ``open`` or ``half-open``."""

    state: str = ""
    consecutive_failures: int = 0
    failing_since: datetime | None = None
    open_until: datetime | None = None
    next_probe_at: datetime | None = None
    last_error: str = ""


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants which events, and how they are sent.

    Attributes:
        status: ``active``, ``paused``, ``disabled`` or ``expired``.
        secret: signs the deliveries; there only in the answer to making the subscription, or to
            replacing the secret.
        public_key: with ``v1a``, what receivers verify with.
        health: ``None`` while the endpoint works.
    """

    id: str
    url: str = ""
    event_types: tuple[str, ...] = ()
    filter: str | None = None
    operational: bool = False
    description: str | None = None
    headers: dict[str, str] | None = None
    payload_format: str = "standard"
    signature: str = "v1"
    public_key: str | None = None
    retry_schedule: tuple[float, ...] | None = None
    timeout_s: float | None = None
    rate_limit: float | None = None
    max_concurrency: int | None = None
    ordering: str = "none"
    enabled: bool = True
    expires_at: datetime | None = None
    metadata: dict[str, str] | None = None
    status: str = ""
    disabled_reason: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    health: Health | None = None
    secret: str | None = None


class AttemptCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts of a window."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of attempts."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class SubscriptionStats(msgspec.Struct, frozen=True, kw_only=True):
    """How a subscription has fared within a window."""

    subscription_id: str = ""
    since: datetime | None = None
    until: datetime | None = None
    deliveries: dict[str, int] = {}
    attempts: AttemptCounts = AttemptCounts()
    success_rate: float | None = None
    latency_ms: Latency | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    complete: bool = True
    next_attempt_at: datetime | None = None
    oldest_waiting_age_s: float | None = None


# ── jobs, organization ────────────────────────────────────────────────────────────────────────────


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is about, fixed when it is made."""

    status: str | None = None
    missed: bool = False
    subscription_id: str | None = None
    event_id: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Work on many deliveries, and how far it has come.

    Attributes:
        kind: ``replay`` or ``purge``.
        status: ``pending``, ``running``, ``done``, ``cancelled`` or ``failed``.
        counted: ``total`` is the whole of it.
    """

    id: str
    kind: str = ""
    status: str = ""
    dry_run: bool = False
    selection: Selection | None = None
    rate: float | None = None
    counted: bool = False
    total: int = 0
    done: int = 0
    failed: int = 0
    deliveries: int = 0
    failures: dict[str, int] = {}
    eta_s: float | None = None
    error: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing more will be done."""
        return self.finished_at is not None or self.status in {"done", "cancelled", "failed"}


class Organization(msgspec.Struct, frozen=True, kw_only=True):
    """The organization whose key is used; ``webhook_secret`` is shown once."""

    id: str
    name: str = ""
    webhook_url: str | None = None
    webhook_secret: str | None = None
    rate_limit: float | None = None
    rate_burst: float | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


# ── event types, hooks ────────────────────────────────────────────────────────────────────────────


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """What the organization says of the events of a type.

    Attributes:
        schema: a JSON Schema of the payload.
        mode: ``off``, ``warn``, ``enforce`` or ``quarantine``: what becomes of those that do not fit.
        example: a payload as it may be.
        redact: JSON Pointers of values that are replaced before an event is stored.
    """

    name: str
    description: str | None = None
    schema: Any = None
    mode: str = "off"
    example: Any = None
    redact: tuple[str, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as a no-code tool knows it; ``secret`` is there with a new one only."""

    id: str
    target_url: str = ""
    event: str = ""
    status: str = ""
    created_at: datetime | None = None
    expiration_date: datetime | None = None
    secret: str | None = None


# ── inboxes ───────────────────────────────────────────────────────────────────────────────────────


class InboxItem(Event, frozen=True, kw_only=True, dict=True):
    """An event in the hands of whoever pulled it.

    Attributes:
        receipt: names the lease.
        lease_until: until then nobody else gets it.
        receive_count: how often it was handed out, this time included.
    """

    receipt: str
    lease_until: datetime | None = None
    receive_count: int = 1


class InboxResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one event of an inbox.

    Attributes:
        status: ``acked``, ``nacked``, ``extended``, ``lease_lost`` or ``not_found``.
    """

    id: str | None = None
    receipt: str | None = None
    status: str = ""


class InboxState(msgspec.Struct, frozen=True, kw_only=True):
    """An inbox, and what is in it.

    Attributes:
        types: patterns; ``None``: everything.
        unacked: events that were not acknowledged, those in somebody's hands included.
        leased: how many are in somebody's hands.
        complete: all were counted; else there are at least as many.
    """

    name: str
    types: tuple[str, ...] | None = None
    created_at: datetime | None = None
    unacked: int = 0
    leased: int = 0
    complete: bool = True
    oldest_age_s: float | None = None
