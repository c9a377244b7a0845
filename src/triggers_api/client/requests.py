"""Every call that the clients know, as data; the clients carry them out. No I/O."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypedDict, TypeVar

from msgspec import UNSET, Struct

from triggers_api.client.calls import (
    Answer,
    Call,
    body_of,
    encoded,
    into,
    moment,
    nothing,
    query_of,
    url,
)
from triggers_api.client.models import (
    Delivery,
    DeliveryDetail,
    Event,
    EventDetail,
    EventType,
    Explanation,
    Hook,
    InboxItem,
    InboxResult,
    InboxState,
    Job,
    Organization,
    Page,
    Subscription,
    SubscriptionStats,
)

T = TypeVar("T")

Fetch = Callable[[str | None], Call[Page[T]]]
"""Makes the call for one page of a list: the first one, or that of a cursor."""

PAGE_SIZE: Final = 100

_EMPTY: Final = b"{}"


class EventFields(TypedDict, total=False):
    """What an event may have beside type and payload; see :class:`NewEvent`."""

    dedup_id: str | None
    source: str | None
    key: str | None
    metadata: Mapping[str, str] | None
    occurred_at: datetime | None
    deliver_at: datetime | None


class EventFilter(TypedDict, total=False):
    """Which events: all that is given must hold.

    ``type`` is a pattern in which ``*`` is any run of characters. ``since`` is inclusive, ``until``
    exclusive. ``payload`` has values by path: ``{"customer.id": 7}``. ``q`` are words, each of which
    must be in the payload. ``order`` is ``desc`` (newest first) or ``asc``.
    """

    type: str | None
    source: str | None
    key: str | None
    dedup_id: str | None
    status: str | None
    since: datetime | None
    until: datetime | None
    payload: Mapping[str, Any] | None
    q: str | None
    order: Literal["asc", "desc"] | None
    operational: bool | None


class DeliveryFilter(TypedDict, total=False):
    """Which deliveries: all that is given must hold. The times are those of ``created_at``."""

    status: str | None
    subscription_id: str | None
    event_id: str | None
    since: datetime | None
    until: datetime | None


class DeadLetterFilter(TypedDict, total=False):
    """Which dead letters: all that is given must hold."""

    subscription_id: str | None
    event_id: str | None
    since: datetime | None
    until: datetime | None


class ReplayFilter(TypedDict, total=False):
    """What is to be delivered once more.

    ``status`` is that of deliveries, or ``missed``: events of which the subscription has none.
    Without it, every event that was routed.
    """

    subscription_id: str | None
    type: str | None
    status: Literal["succeeded", "dead", "skipped", "cancelled", "missed"] | None
    since: datetime | None
    until: datetime | None


class SubscriptionSettings(TypedDict, total=False):
    """What a subscription may have beside URL and types; ``None`` is the default."""

    filter: str | None
    operational: bool | None
    description: str | None
    headers: Mapping[str, str] | None
    auth: Mapping[str, str] | None
    payload_format: Literal["standard", "raw", "flat", "cloudevents", "cloudevents-binary"] | None
    retry_schedule: Sequence[float] | None
    timeout_s: float | None
    rate_limit: float | None
    max_concurrency: int | None
    ordering: Literal["none", "key", "strict"] | None
    enabled: bool | None
    expires_at: datetime | None
    metadata: Mapping[str, str] | None


class NewSubscription(SubscriptionSettings, total=False):
    """The same for a new one, with what signs its deliveries."""

    secret: str | None
    signature: Literal["v1", "v1a"] | None


class SubscriptionChange(SubscriptionSettings, total=False):
    """What is to be changed: what is not given stays, ``None`` puts the default back."""

    url: str
    event_types: Sequence[str]


class EventTypeSettings(TypedDict, total=False):
    """What an event type may have; what is not given it does not have."""

    description: str | None
    schema: Any
    mode: Literal["off", "warn", "enforce", "quarantine"] | None
    example: Any
    redact: Sequence[str] | None


def _listed(path: str, kind: Any, page_size: int, **query: Any) -> Fetch[Any]:  # noqa: ANN401
    """Calls for the pages of a list."""
    decode = into(Page[kind])

    def fetch(cursor: str | None) -> Call[Any]:
        target = path + query_of({**query, "limit": page_size, "cursor": cursor})
        return Call("GET", target, decode, repeatable=True)

    return fetch


def _read(path: str, kind: Any) -> Call[Any]:  # noqa: ANN401 - a type
    return Call("GET", path, into(kind), repeatable=True)


# ── events ────────────────────────────────────────────────────────────────────────────────────────


def list_events(page_size: int, wanted: EventFilter) -> Fetch[Event]:
    query: dict[str, Any] = {**wanted}
    paths = query.pop("payload", None) or {}
    query |= {f"payload.{path}": _searched(value) for path, value in paths.items()}
    return _listed("/api/events", Event, page_size, **query)


def _searched(value: Any) -> Any:  # noqa: ANN401 - JSON
    return "null" if value is None else value


def get_event(event_id: str) -> Call[EventDetail]:
    return _read(url("/api/events/{}", event_id), EventDetail)


def explain_event(event_id: str) -> Call[Explanation]:
    return _read(url("/api/events/{}/explain", event_id), Explanation)


def replay_event(
    event_id: str, subscription_ids: Sequence[str] | None
) -> Call[tuple[Delivery, ...]]:
    decode = into(Page[Delivery])

    def deliveries(answer: Answer) -> tuple[Delivery, ...]:
        found: Page[Delivery] = decode(answer)
        return found.data

    return Call(
        "POST",
        url("/api/events/{}/replay", event_id),
        deliveries,
        body_of({"subscription_ids": subscription_ids}),
    )


def cancel_event(event_id: str) -> Call[EventDetail]:
    path = url("/api/events/{}/cancel", event_id)
    return Call("POST", path, into(EventDetail), _EMPTY, repeatable=True)


def delete_event(event_id: str) -> Call[None]:
    return _delete("/api/events/{}", event_id)


def stream_path(pattern: str | None) -> str:
    return "/api/events/stream" + query_of({"type": pattern})


def _delete(path: str, *ids: str) -> Call[None]:
    return Call("DELETE", url(path, *ids), nothing, repeatable=True, gone_is_done=True)


# ── subscriptions ─────────────────────────────────────────────────────────────────────────────────


def create_subscription(
    target: str, event_types: Sequence[str], settings: NewSubscription
) -> Call[Subscription]:
    body = body_of({"url": target, "event_types": list(event_types), **settings})
    return Call("POST", "/api/subscriptions", into(Subscription), body)


def list_subscriptions(page_size: int) -> Fetch[Subscription]:
    return _listed("/api/subscriptions", Subscription, page_size)


def get_subscription(subscription_id: str) -> Call[Subscription]:
    return _read(url("/api/subscriptions/{}", subscription_id), Subscription)


def change_subscription(subscription_id: str, change: SubscriptionChange) -> Call[Subscription]:
    return Call(
        "PATCH",
        url("/api/subscriptions/{}", subscription_id),
        into(Subscription),
        encoded(change),
        repeatable=True,
    )


def delete_subscription(subscription_id: str) -> Call[None]:
    return _delete("/api/subscriptions/{}", subscription_id)


def switch_subscription(
    subscription_id: str, verb: Literal["pause", "resume"]
) -> Call[Subscription]:
    path = url(f"/api/subscriptions/{{}}/{verb}", subscription_id)
    return Call("POST", path, into(Subscription), _EMPTY, repeatable=True)


def rotate_secret(
    subscription_id: str, grace_s: float | None, signature: str | None
) -> Call[Subscription]:
    return Call(
        "POST",
        url("/api/subscriptions/{}/rotate-secret", subscription_id),
        into(Subscription),
        body_of({"grace_s": grace_s, "signature": signature}),
    )


def check_subscription(
    subscription_id: str,
    event_type: str | None,
    payload: Any,  # noqa: ANN401 - JSON, or UNSET
) -> Call[Delivery]:
    fields = b"" if event_type is None else b'"type":' + encoded(event_type)
    if payload is not UNSET:
        fields += (b"," if fields else b"") + b'"payload":' + encoded(payload)
    path = url("/api/subscriptions/{}/test", subscription_id)
    return Call("POST", path, into(Delivery), b"{%b}" % fields)


def subscription_stats(
    subscription_id: str, since: datetime | None, until: datetime | None
) -> Call[SubscriptionStats]:
    path = url("/api/subscriptions/{}/stats", subscription_id, since=since, until=until)
    return _read(path, SubscriptionStats)


# ── deliveries, dead letters, jobs ────────────────────────────────────────────────────────────────


def list_deliveries(page_size: int, wanted: DeliveryFilter) -> Fetch[Delivery]:
    return _listed("/api/deliveries", Delivery, page_size, **wanted)


def get_delivery(delivery_id: str) -> Call[DeliveryDetail]:
    return _read(url("/api/deliveries/{}", delivery_id), DeliveryDetail)


def act_on_delivery(delivery_id: str, verb: Literal["retry", "cancel"]) -> Call[DeliveryDetail]:
    return Call(
        "POST", url(f"/api/deliveries/{{}}/{verb}", delivery_id), into(DeliveryDetail), _EMPTY
    )


def list_dead_letters(page_size: int, wanted: DeadLetterFilter) -> Fetch[Delivery]:
    return _listed("/api/dead-letters", Delivery, page_size, **wanted)


def replay_dead_letters(
    wanted: DeadLetterFilter, rate: float | None, *, dry_run: bool
) -> Call[Job]:
    body = body_of({**wanted, "rate": rate, "dry_run": dry_run or None})
    return Call("POST", "/api/dead-letters/replay", into(Job), body)


def purge_dead_letters(wanted: DeadLetterFilter, *, everything: bool) -> Call[Job]:
    query = query_of({**wanted, "all": everything or None})
    return Call("DELETE", f"/api/dead-letters{query}", into(Job))


def create_replay(wanted: ReplayFilter, rate: float | None, *, dry_run: bool) -> Call[Job]:
    body = body_of({**wanted, "rate": rate, "dry_run": dry_run or None})
    return Call("POST", "/api/replays", into(Job), body)


def list_jobs(page_size: int) -> Fetch[Job]:
    return _listed("/api/jobs", Job, page_size)


def get_job(job_id: str) -> Call[Job]:
    return _read(url("/api/jobs/{}", job_id), Job)


def cancel_job(job_id: str) -> Call[Job]:
    return Call("DELETE", url("/api/jobs/{}", job_id), into(Job))


# ── organization ──────────────────────────────────────────────────────────────────────────────────


def get_organization() -> Call[Organization]:
    return _read("/api/organization", Organization)


def change_organization(change: Mapping[str, Any]) -> Call[Organization]:
    return Call("PATCH", "/api/organization", into(Organization), encoded(change))


# ── event types, hooks ────────────────────────────────────────────────────────────────────────────


def save_event_type(name: str, settings: EventTypeSettings) -> Call[EventType]:
    path = url("/api/event-types/{}", name)
    return Call("PUT", path, into(EventType), body_of(settings), repeatable=True)


def list_event_types(page_size: int) -> Fetch[EventType]:
    return _listed("/api/event-types", EventType, page_size)


def get_event_type(name: str) -> Call[EventType]:
    return _read(url("/api/event-types/{}", name), EventType)


def delete_event_type(name: str) -> Call[None]:
    return _delete("/api/event-types/{}", name)


def create_hook(target_url: str, event: str) -> Call[Hook]:
    """Asked for again it is the same hook, but the answer that was lost had the secret."""
    return Call(
        "POST", "/api/hooks", into(Hook), body_of({"target_url": target_url, "event": event})
    )


def list_hooks(page_size: int, target_url: str | None) -> Fetch[Hook]:
    return _listed("/api/hooks", Hook, page_size, target_url=target_url)


def delete_hook(hook_id: str) -> Call[None]:
    return _delete("/api/hooks/{}", hook_id)


def hook_samples(event_type: str, limit: int | None) -> Call[list[Any]]:
    return _read(url("/api/hooks/samples", event_type=event_type, limit=limit), list[Any])


# ── inboxes ───────────────────────────────────────────────────────────────────────────────────────


def _inbox(name: str | None, verb: str) -> str:
    return f"/api/inbox{verb}" if name is None else url("/api/inboxes/{}", name) + verb


def pull(
    name: str | None,
    *,
    limit: int,
    lease_s: float | None,
    types: Sequence[str] | None,
    wait_s: float,
) -> Call[tuple[InboxItem, ...]]:
    decode = into(Page[InboxItem])

    def items(answer: Answer) -> tuple[InboxItem, ...]:
        found: Page[InboxItem] = decode(answer)
        return found.data

    body = body_of({"limit": limit, "lease_s": lease_s, "types": types, "wait_s": wait_s or None})
    return Call("POST", _inbox(name, "/pull"), items, body, repeatable=True, hold_s=wait_s)


def settle(
    name: str | None, verb: Literal["ack", "nack", "extend"], named: Mapping[str, Any]
) -> Call[tuple[InboxResult, ...]]:
    decode = into(_InboxResults)

    def results(answer: Answer) -> tuple[InboxResult, ...]:
        found: _InboxResults = decode(answer)
        return found.results

    return Call("POST", _inbox(name, f"/{verb}"), results, body_of(named), repeatable=True)


class _InboxResults(Struct, frozen=True):
    results: tuple[InboxResult, ...] = ()


def peek(name: str | None, page_size: int, pattern: str | None) -> Fetch[Event]:
    path = "/api/inbox" if name is None else _inbox(name, "/events")
    return _listed(path, Event, page_size, type=pattern)


def seek(name: str | None, to: str | datetime) -> Call[InboxState]:
    body = body_of({"to": moment(to) if isinstance(to, datetime) else to})
    return Call("POST", _inbox(name, "/seek"), into(InboxState), body, repeatable=True)


def save_inbox(
    name: str, types: Sequence[str] | None, start: Literal["start", "end"] | None
) -> Call[InboxState]:
    body = body_of({"types": types, "from": start})
    return Call("PUT", _inbox(name, ""), into(InboxState), body, repeatable=True)


def get_inbox(name: str) -> Call[InboxState]:
    return _read(_inbox(name, ""), InboxState)


def delete_inbox(name: str) -> Call[None]:
    return _delete("/api/inboxes/{}", name)


def list_inboxes(page_size: int) -> Fetch[InboxState]:
    return _listed("/api/inboxes", InboxState, page_size)
