"""An embedded file with something in every state there is, and all that can be read of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from tests.contract.conftest import World
from tests.contract.test_inbox import Consumer

from triggers_api.model.controls import Switches, turn
from triggers_api.model.delivery import DeliveryStatus
from triggers_api.model.event import EventStatus
from triggers_api.model.event_type import EventType
from triggers_api.model.inbox import InboxAction
from triggers_api.model.organization import Scope
from triggers_api.model.subscription import SubscriptionStatus
from triggers_api.store.base import (
    DeliveryFilter,
    EventFilter,
    FailedEvent,
    InboxSeek,
    Page,
    RoutedEvent,
    Settlement,
    Store,
)

PAYLOADS: Final = (
    b"null",
    b'{"big":10000000000000000000001,"a":1,"a":2,"nul":"\\u0000"}',
    '{"name":"Zoë \N{SNOWMAN}"}'.encode(),
    b"[" + b"0," * 9_000 + b"0]",
)

HOUR: Final = 3600

SETTINGS_OF_ONE: Final = {
    "webhook_url": "https://acme.example/hook",
    "rate_limit": 70,
    "rate_burst": 9,
    "max_queue_depth": 5000,
    "max_queue_age_s": 0.5,
    "retention_days": 30,
    "delivery_retention_days": 3,
    "attempt_retention_days": 1,
    "dead_letter_retention_days": 0,
}
"""What the first organization has been given of its own."""


def grow(world: World) -> list[str]:
    """Fill a store; the ids of its organizations."""
    store, clock = world.store, world.clock
    acme = world.organization("Acme", **SETTINGS_OF_ONE)
    other, left = (world.organization(name) for name in ("Other", "Left"))
    world.run(store.create_key(world.key(None, secret="operator", scopes=(Scope.ADMIN,))))
    revoked = world.key(acme, name="revoked")
    world.run(store.create_key(revoked))
    world.run(store.note_key_uses({revoked.key.id: clock()}))
    clock.advance(seconds=1)
    world.run(store.revoke_key(acme, revoked.key.id))
    active = world.subscription(acme, secrets=("whsec_b25l", "whsec_dHdv"))
    paused = world.subscription(acme, status=SubscriptionStatus.PAUSED, max_concurrency=3)
    deleted, gone = world.subscription(acme), world.subscription(acme)
    elsewhere, last = world.subscription(other), world.subscription(left)

    _grow_events(world, acme, active)
    _grow_deliveries(world, acme, active, gone)
    world.due(acme, paused, 2)
    (done,) = world.due(acme, deleted)
    world.settle(*(world.outcome(each) for each in _claim(world, done)))
    world.due(acme, deleted, 2)
    world.run(store.delete_subscription(acme, deleted))

    world.due(other, elsewhere, 3)
    world.due(left, last)
    world.run(store.delete_organization(left))
    for scope, changes in (
        (Switches(), {"batch_size": 7}),
        (Switches(organization_id=acme), {"processing": "paused"}),
        (Switches(organization_id=acme, subscription_id=paused), {"delivery": "paused"}),
    ):
        world.run(store.save_switches(turn(scope, changes, at=store.now(), by="key_1")))
    _grow_event_types(world, acme)
    _grow_inboxes(world, acme)
    # Somebody's hands; whoever it was will not be there when the file is opened again.
    world.queued(acme, 2)
    world.claim_queue(1)
    world.claim_deliveries(1)
    return [acme, other, left]


def _grow_events(world: World, acme: str, active: str) -> None:
    store, clock = world.store, world.clock
    now = clock()
    world.append(
        *(world.event(acme, payload=payload) for payload in PAYLOADS),
        world.event(
            acme,
            "user.signed_up",
            dedup_id="first \N{SNOWMAN}",
            source="crm",
            key="user/7",
            metadata=b'{"trace":"00-4bf9"}',
            occurred_at=now.after(seconds=-HOUR),
        ),
    )
    claim = world.claim_queue(3)
    answers = [RoutedEvent(event, (world.new_delivery(active),)) for event in claim.events]
    # Routing took a while: when it was stored is not when the deliveries' ids were made.
    clock.advance(seconds=0.007)
    world.run(store.fan_out(claim.token, answers))
    world.route(world.claim_queue(1))
    world.route(world.claim_queue(), active)

    *_, erased = world.queued(acme, 3)
    claim = world.claim_queue(2)
    first, second = claim.events
    world.run(
        store.release(
            claim.token,
            [FailedEvent(first, "no such thing", None), FailedEvent(second, "not now", 2 * HOUR)],
        )
    )
    world.run(store.delete_event(acme, erased))
    world.append(world.event(acme, deliver_at=clock().after(seconds=HOUR)))
    world.append(world.event(acme, deliver_at=clock().after(seconds=1)))
    event = world.event(acme, to=[active], dedup_id="again", source="crm", metadata=b'{"a":"b"}')
    world.append(event)
    world.run(store.delete_event(acme, event.id))
    world.append(world.event(acme, dedup_id="again", deliver_at=clock().after(seconds=HOUR)))


def _grow_deliveries(world: World, acme: str, active: str, gone: str) -> None:
    store, clock = world.store, world.clock
    dead, reopened, cancelled = world.due(acme, active, 3)
    outcomes: list[dict[str, Any]] = [
        {},
        {"status": "retrying", "status_code": 500, "retry_in_s": 60},
        {"status": "retrying", "status_code": None, "error": "timeout", "retry_in_s": 0},
        {"status": "skipped", "attempted": False, "reason": "delivery is off"},
        {"status": "pending", "attempted": False, "retry_in_s": HOUR},
        {"status": "dead", "status_code": 400, "reason": "the receiver refused it"},
        {"status": "dead", "status_code": 503, "reason": "no attempt is left"},
    ]
    known = {dead: outcomes[-1], reopened: outcomes[-1], cancelled: outcomes[1]}
    settled: list[Settlement] = []
    for claimed in world.claim_deliveries().deliveries:
        outcome = known.get(claimed.id, outcomes[len(settled) % len(outcomes)])
        settled.append(_with_body(world.outcome(claimed, **outcome), "Zoë\0\N{SNOWMAN}"))
    world.settle(*settled)
    clock.advance(seconds=5)
    world.run(store.cancel_delivery(acme, cancelled))
    world.run(store.retry_delivery(acme, reopened))
    world.settle(
        *(world.outcome(each, "retrying", retry_in_s=1) for each in _claim(world, reopened))
    )
    # A receiver that is gone takes what waits for it along.
    first, *_ = world.due(acme, gone, 3)
    world.settle(
        *(
            world.outcome(each, "dead", status_code=410, disable_subscription="410 Gone")
            for each in _claim(world, first)
        )
    )
    clock.advance(seconds=1)


def _grow_inboxes(world: World, acme: str) -> None:
    """Leased, given back, acknowledged in turn and out of turn; one at the end, one that was left."""
    store = world.store
    consumer = Consumer(world, acme)
    acked, held, again = consumer.leased(3)
    consumer.ack(acked)
    consumer.settle(InboxAction.NACK, [again.receipt], seconds=60.0)
    last, *_ = world.run(store.events(acme, EventFilter(), Page(limit=1)))
    consumer.ack_ids(last.id)
    world.run(store.save_inbox(acme, "end", ["user.*", "order.*"], from_end=True))
    world.run(store.save_inbox(acme, "left", None, from_end=False))
    Consumer(world, acme, "left").pull()
    world.run(store.seek_inbox(acme, "left", InboxSeek(event_id=held.event.id)))


def _grow_event_types(world: World, acme: str) -> None:
    """One that is there, one that was deleted; an event that is kept aside, one that was released."""
    store, now = world.store, world.clock()
    for name in ("order.created", "order.deleted"):
        schema = msgspec.Raw(b'{"type":"object"}')
        made = EventType(name=name, schema=schema, created_at=now, updated_at=now)
        world.run(store.save_event_type(acme, made))
    world.run(store.delete_event_type(acme, "order.deleted"))
    kept, released = (world.event(acme, aside="not right") for _ in range(2))
    world.append(kept, released)
    world.clock.advance(seconds=1)
    world.run(store.release_quarantined(acme, released.id, b"mended"))


def _claim(world: World, delivery: str) -> list[Any]:
    """Lease one delivery; everything else that is due is given back as it was."""
    claimed = world.claim_deliveries().deliveries
    others = [each for each in claimed if each.id != delivery]
    world.settle(
        *(
            world.outcome(
                each,
                "retrying" if each.attempt_count else "pending",
                attempted=False,
                retry_in_s=0,
            )
            for each in others
        )
    )
    return [each for each in claimed if each.id == delivery]


def _with_body(settlement: Settlement, body: str) -> Settlement:
    attempt = settlement.attempt
    if attempt is None or attempt.status_code is None:
        return settlement
    return msgspec.structs.replace(
        settlement, attempt=msgspec.structs.replace(attempt, response_body=body)
    )


# ── all that can be read ──────────────────────────────────────────────────────────────────────────


def everything(
    store: Store, run: Callable[..., Any], organizations: list[str]
) -> Iterator[tuple[str, Any]]:
    """What a store answers to every question, each with a name for it."""
    changes = run(store.changes(0))
    yield (
        "settings",
        (
            sorted(changes.organizations, key=lambda each: each.id),
            sorted(changes.keys, key=lambda each: each.key.id),
            sorted(changes.subscriptions, key=lambda each: each.subscription.id),
            changes.controls,
            changes.event_types,
            sorted(changes.gone),
        ),
    )
    yield "books", run(store.accounts())
    yield "depths", run(store.stats())
    yield "next delivery", run(store.next_delivery_at())
    yield "signing key", run(store.signing_key())
    for organization in organizations:
        yield f"keys of {organization}", run(store.keys(organization))
        listed = run(store.subscriptions(organization, Page(limit=100)))
        yield f"subscriptions of {organization}", listed
        for subscription in listed:
            yield subscription.id, run(store.subscription(organization, subscription.id))
        yield from _records(store, run, organization)


def _records(store: Store, run: Callable[..., Any], organization: str) -> Iterator[tuple[str, Any]]:
    whole = Page(limit=1000)
    events = run(store.events(organization, EventFilter(), whole))
    yield f"events of {organization}", events
    page = Page(limit=3, before=events[2].id) if len(events) > 2 else whole
    yield (
        f"a page of events of {organization}",
        run(store.events(organization, EventFilter(), page)),
    )
    for wanted in (
        *(EventFilter(status=status) for status in EventStatus),
        EventFilter(type="user.*"),
        EventFilter(dedup_id="again"),
    ):
        yield f"{wanted} of {organization}", run(store.events(organization, wanted, whole))
    for event in events:
        yield event.id, run(store.event(organization, event.id))
    yield f"what {organization} has aside", run(store.quarantine(organization, whole))
    for inbox in run(store.inboxes(organization)):
        name = inbox.name
        yield f"inbox {name} of {organization}", inbox
        yield f"count of {name}", run(store.count_inbox(organization, name, 1000))
        looked = store.peek_inbox(
            organization, name, type_pattern=None, after=None, limit=1000, most_bytes=1 << 30
        )
        yield f"what is in {name}", run(looked).events
    deliveries = run(store.deliveries(organization, DeliveryFilter(), whole))
    yield f"deliveries of {organization}", deliveries
    for status in DeliveryStatus:
        found = run(store.deliveries(organization, DeliveryFilter(status=status), whole))
        yield f"{status} of {organization}", found
    for delivery in deliveries:
        yield delivery.id, run(store.delivery(organization, delivery.id))
