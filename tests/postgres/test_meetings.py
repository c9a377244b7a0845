"""Two transactions that meet at one row: one has it in the end, and nobody waits in a circle."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import pytest
from tests.postgres.conftest import event, until
from tests.rooms import rooms

from triggers_api.errors import InvalidState
from triggers_api.model import ids
from triggers_api.model.delivery import Attempt, DeliveryStatus, NewDelivery
from triggers_api.model.health import DEFAULT_POLICY
from triggers_api.model.ids import IdGenerator
from triggers_api.model.subscription import Subscription, SubscriptionRecord, SubscriptionStatus
from triggers_api.store.base import ClaimedDelivery, FailedEvent, RoutedEvent, Settlement
from triggers_api.store.cipher import Cipher
from triggers_api.store.postgres.audit_verbs import AuditVerbs
from triggers_api.store.postgres.delivery_verbs import DeliveryVerbs
from triggers_api.store.postgres.health_verbs import HealthVerbs
from triggers_api.store.postgres.settings_verbs import SettingsVerbs
from triggers_api.store.postgres.tables import SQL, find

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.postgres.conftest import Database

from triggers_api.store.postgres.store import PostgresStore

GATE: Final = 7
ROUNDS: Final = 40
DUE: Final = "WHERE q.priority = 0 AND q.due_at <= $1"
IN_A_LANE: Final = "AND (q.subscription_id, q.priority) >= (l.subscription_id, 0)"


async def subscribed(store: PostgresStore, organization: str) -> str:
    """The id of a new subscription to everything."""
    record = SubscriptionRecord(
        organization_id=organization,
        subscription=Subscription(
            id=store.ids.new(ids.SUBSCRIPTION),
            url="https://example.com/hook",
            event_types=("*",),
            status=SubscriptionStatus.ACTIVE,
            created_at=store.now(),
            updated_at=store.now(),
        ),
        secrets=("whsec_c2VjcmV0",),
    )
    await store.save_subscription(record)
    return record.subscription.id


async def due(
    store: PostgresStore, organization: str, subscription: str, count: int
) -> dict[str, str]:
    """New deliveries: their ids, and those of their events."""
    made = {}
    for _ in range(count):
        delivery = NewDelivery(store.ids.new(ids.DELIVERY), subscription)
        stored = event(store, organization, deliveries=(delivery,))
        assert await store.append([stored]) == [None]
        made[delivery.id] = stored.id
    return made


def delivery_verbs() -> DeliveryVerbs:
    """For what a transaction of the test's own does."""
    settings = SettingsVerbs(Cipher(b"key"), AuditVerbs(IdGenerator(lambda: 0)))
    return DeliveryVerbs(settings, HealthVerbs(settings, policy=DEFAULT_POLICY, draw=lambda: 0.0))


def hold_up(monkeypatch: pytest.MonkeyPatch, statement: str, place: str) -> None:
    """Let a statement wait, between what it sees and what it locks, until the gate is opened."""
    wait = f"(SELECT pg_advisory_xact_lock_shared({GATE})) IS NOT NULL"
    before, after = SQL[statement].split(place)
    word, condition = place.split(" ", maxsplit=1)
    monkeypatch.setitem(SQL._texts, statement, f"{before}{word} {wait} AND {condition}{after}")


# ── a lease that ran out is freed while it is claimed ─────────────────────────────────────────────


@pytest.mark.parametrize(
    ("statement", "place"),
    [("claim_due", DUE), ("claim_lane", IN_A_LANE)],
    ids=["at the front", "lane by lane"],
)
def test_a_delivery_that_is_freed_while_it_is_claimed_is_leased_to_one_only(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch, statement: str, place: str
) -> None:
    async def scenario() -> None:
        gone, claiming, sweeping = [await database.store() for _ in range(3)]
        organization = await database.organization(gone)
        room = {}
        if statement == "claim_lane":  # which is asked when too much is in the way at the front
            monkeypatch.setattr("triggers_api.store.front.READ_AHEAD", 0)
            full = await subscribed(gone, organization)
            room[full] = 0
            await due(gone, organization, full, 3)
        waiting = await due(gone, organization, await subscribed(gone, organization), 3)
        await gone.claim_deliveries(9, 45, rooms=rooms(9, room))
        database.clock.advance(seconds=46)
        gate = await database.connection()
        await gate.execute(f"SELECT pg_advisory_lock({GATE})")
        hold_up(monkeypatch, statement, place)
        claim = asyncio.ensure_future(claiming.claim_deliveries(3, 45, rooms=rooms(9, room)))
        await database.waiting_for_locks(1)
        assert (await sweeping.reap()).deliveries == 3
        await gate.execute(f"SELECT pg_advisory_unlock({GATE})")
        first = (await claim).deliveries
        second = (await sweeping.claim_deliveries(3, 45, rooms=rooms(9, room))).deliveries
        assert sorted(each.id for each in (*first, *second)) == sorted(waiting)

    run(scenario())


def test_an_event_that_is_freed_while_it_is_claimed_is_leased_to_one_only(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        gone, claiming, sweeping = [await database.store() for _ in range(3)]
        organization = await database.organization(gone)
        waiting = [event(gone, organization) for _ in range(3)]
        await gone.append(waiting)
        await gone.claim_queue(9, 45)
        database.clock.advance(seconds=46)
        gate = await database.connection()
        await gate.execute(f"SELECT pg_advisory_lock({GATE})")
        hold_up(monkeypatch, "claim_queue", "WHERE q.due_at <= $1")
        claim = asyncio.ensure_future(claiming.claim_queue(9, 45))
        await database.waiting_for_locks(1)
        assert (await sweeping.reap()).events == 3
        await gate.execute(f"SELECT pg_advisory_unlock({GATE})")
        first = (await claim).events
        second = (await sweeping.claim_queue(9, 45)).events
        assert sorted(each.id for each in (*first, *second)) == [each.id for each in waiting]

    run(scenario())


# ── by hand, beside others ────────────────────────────────────────────────────────────────────────


def test_an_event_deleted_while_a_delivery_of_it_is_retried_leaves_nothing_to_be_sent(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        one, other = await database.store(), await database.store()
        organization = await database.organization(one)
        subscription = await subscribed(one, organization)
        ((delivery, erased),) = (await due(one, organization, subscription, 1)).items()
        await one.cancel_delivery(organization, delivery)
        gate = await database.connection()
        await gate.execute("BEGIN")
        await gate.execute(f"SELECT FROM deliveries WHERE id = '{delivery[4:]}' FOR UPDATE")
        retried = asyncio.ensure_future(one.retry_delivery(organization, delivery))
        await database.waiting_for_locks(1)
        deleted = asyncio.ensure_future(other.delete_event(organization, erased))
        await until(lambda: deleted.done() or database.waiting() == 2, "it is deleted, or waits")
        await gate.execute("COMMIT")
        assert (await retried, await deleted) == (True, True)
        assert (await one.claim_deliveries(9, 45, rooms=rooms(9))).deliveries == ()
        shown = await one.delivery(organization, delivery)
        assert shown is not None
        assert shown.status is DeliveryStatus.CANCELLED
        (account,) = await one.accounts()
        assert account.balances()

    run(scenario())


def test_a_delivery_of_an_event_that_is_being_deleted_is_not_retried(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        subscription = await subscribed(store, organization)
        ((delivery, erased),) = (await due(store, organization, subscription, 1)).items()
        await store.cancel_delivery(organization, delivery)
        db = await database.connection()
        await db.execute("BEGIN")
        assert await delivery_verbs().erase_event(
            db, find(ids.ORGANIZATION, organization), find(ids.EVENT, erased), now=store.now()
        )
        retried = asyncio.ensure_future(store.retry_delivery(organization, delivery))
        await database.waiting_for_locks(1)
        await db.execute("COMMIT")
        with pytest.raises(InvalidState, match="the event was deleted"):
            await retried

    run(scenario())


def test_a_delivery_that_dies_while_it_is_retried_by_hand_is_sent_again(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        subscription = await subscribed(store, organization)
        (delivery,) = await due(store, organization, subscription, 1)
        (claimed,) = (await store.claim_deliveries(1, 45, rooms=rooms(9))).deliveries
        dead = Settlement(organization, delivery, claimed.token, DeliveryStatus.DEAD, "gave up")
        db = await database.connection()
        await db.execute("BEGIN")
        await delivery_verbs().settle(db, [dead], now=store.now())
        retried = asyncio.ensure_future(store.retry_delivery(organization, delivery))
        await database.waiting_for_locks(1)
        await db.execute("COMMIT")
        assert await retried is True
        (again,) = (await store.claim_deliveries(1, 45, rooms=rooms(9))).deliveries
        assert again.id == delivery

    run(scenario())


@pytest.mark.parametrize("verb", ["cancel_delivery", "retry_delivery"])
def test_who_changes_a_delivery_by_hand_stands_in_nobody_s_way_who_settles_it(
    run: Run, database: Database, verb: str
) -> None:
    """A settlement has the place in the line, and comes for the record: it must be free."""

    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        subscription = await subscribed(store, organization)
        (delivery,) = await due(store, organization, subscription, 1)
        settling = await database.connection()
        await settling.execute("BEGIN; SET LOCAL lock_timeout = '300ms'")
        await settling.execute(
            f"SELECT FROM delivery_queue WHERE delivery_id = '{delivery[4:]}' FOR UPDATE"
        )
        by_hand = asyncio.ensure_future(getattr(store, verb)(organization, delivery))
        await database.waiting_for_locks(1)
        await settling.execute(
            f"UPDATE deliveries SET attempt_count = 1 WHERE id = '{delivery[4:]}'"
        )
        await settling.execute("COMMIT")
        assert await by_hand is True

    run(scenario())


# ── all at once ───────────────────────────────────────────────────────────────────────────────────


def test_whoever_appends_routes_and_settles_at_once_waits_in_no_circle(
    run: Run, database: Database
) -> None:
    """In a circle somebody waits for a second, and then does everything again."""
    draws = random.Random(4)

    async def scenario() -> None:
        stores = [await database.store() for _ in range(3)]
        organizations = [await database.organization(stores[0]) for _ in range(2)]
        subscriptions = {
            each: [await subscribed(stores[0], each) for _ in range(3)] for each in organizations
        }

        def wanted(store: PostgresStore, organization: str) -> tuple[NewDelivery, ...]:
            return tuple(
                NewDelivery(store.ids.new(ids.DELIVERY), each, draws.choice((None, "a", "b")))
                for each in draws.sample(subscriptions[organization], 2)
            )

        async def append(store: PostgresStore) -> None:
            new = []
            for _ in range(8):
                organization = draws.choice(organizations)
                made = wanted(store, organization) if draws.random() < 0.5 else None
                dedup_id = str(draws.randrange(1000))
                new.append(event(store, organization, deliveries=made, dedup_id=dedup_id))
            await store.append(new)

        async def route(store: PostgresStore) -> None:
            lined_up = draws.choice(((), tuple(organizations)))
            claim = await store.claim_queue(20, 45, in_order_of=lined_up)
            answers = [
                RoutedEvent(each, wanted(store, each.organization_id)) for each in claim.events[::2]
            ]
            if claim.events:
                await store.fan_out(claim.token, answers)
                failed = [FailedEvent(each, "later", 0.0) for each in claim.events[1::2]]
                await store.release(claim.token, failed)

        async def settle(store: PostgresStore) -> None:
            claim = await store.claim_deliveries(20, 45, rooms=rooms(9))
            outcomes = [outcome(store, each) for each in claim.deliveries]
            draws.shuffle(outcomes)
            await store.settle(outcomes)

        def outcome(store: PostgresStore, claimed: ClaimedDelivery) -> Settlement:
            gone = draws.random() < 0.03
            return Settlement(
                claimed.target.organization_id,
                claimed.id,
                claimed.token,
                draws.choice((DeliveryStatus.SUCCEEDED, DeliveryStatus.DEAD)),
                attempt=Attempt(
                    id=store.ids.new(ids.ATTEMPT),
                    number=claimed.attempt_count + 1,
                    started_at=store.now(),
                    duration_ms=1,
                    status_code=410 if gone else draws.choice((200, 500)),
                    error=None,
                    response_body=None,
                ),
                disable_subscription="gone" if gone else None,
                in_line=claimed.sequence is not None,
            )

        for _ in range(ROUNDS):
            await asyncio.gather(
                *[does(store) for store in stores for does in (append, append, route, settle)]
            )
        for account in await stores[0].accounts():
            assert account.balances()

    run(scenario())
    run(database.end())  # a connection that ends has told of everything
    circles = "SELECT deadlocks FROM pg_stat_database WHERE datname = $1"
    assert database.asked(circles, database.name) == 0
