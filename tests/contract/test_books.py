"""The store's own counts: depths, and books that balance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import FailedEvent, OrganizationAccount, QueueStats

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World


def stats(world: World) -> QueueStats:
    """Counted now: a store that is asked twice within a second may answer from memory."""
    return world.run(world.store.stats())


NOTHING = QueueStats(
    depth=0, scheduled=0, leased=0, stuck=0, oldest_age_s=0.0, deliveries_waiting=0,
    deliveries_leased=0,
)  # fmt: skip


def test_an_empty_store_counts_nothing(world: World) -> None:
    assert stats(world) == NOTHING


def test_depth_is_what_is_due_and_not_yet_routed(
    world: World, organization: str, clock: FrozenClock
) -> None:
    world.queued(organization, 3)
    world.queued(organization, 2, deliver_at=Timestamp(clock() + 60_000))
    clock.advance(seconds=5)
    world.queued(organization)
    world.claim_queue(2)
    counted = stats(world)
    assert (counted.depth, counted.scheduled) == (4, 2)
    assert (counted.leased, counted.stuck) == (2, 0)
    assert counted.oldest_age_s == 5.0


def test_what_is_routed_set_aside_or_deleted_is_no_longer_counted(
    world: World, organization: str
) -> None:
    world.queued(organization, 2)
    world.route(world.claim_queue(1))
    claim = world.claim_queue(1)
    world.run(world.store.release(claim.token, [FailedEvent(claim.events[0], "no", None)]))
    (deleted,) = world.queued(organization)
    world.run(world.store.delete_event(organization, deleted))
    assert stats(world) == NOTHING


def test_an_event_deleted_in_a_worker_s_hands_is_no_longer_counted(
    world: World, organization: str
) -> None:
    (deleted,) = world.queued(organization)
    world.claim_queue()
    world.run(world.store.delete_event(organization, deleted))
    assert stats(world) == NOTHING


def test_what_was_released_for_later_is_in_nobody_s_hands(world: World, organization: str) -> None:
    world.queued(organization, 2)
    claim = world.claim_queue()
    failed = [FailedEvent(event, "no", 60.0) for event in claim.events]
    world.run(world.store.release(claim.token, failed))
    counted = stats(world)
    assert (counted.depth, counted.leased, counted.stuck) == (2, 0, 0)


def test_a_lease_that_ran_out_is_stuck_until_it_is_taken_over(
    world: World, organization: str, clock: FrozenClock
) -> None:
    world.queued(organization, 3)
    world.claim_queue(2, lease_s=45)
    clock.advance(seconds=45)
    counted = stats(world)
    assert (counted.depth, counted.leased, counted.stuck) == (3, 0, 2)


def test_an_old_backlog_is_not_stuck(world: World, organization: str, clock: FrozenClock) -> None:
    world.queued(organization, 3)
    clock.advance(seconds=86_400)
    world.claim_queue(1)
    counted = stats(world)
    assert (counted.leased, counted.stuck) == (1, 0)
    assert counted.oldest_age_s == 86_400


@pytest.mark.parametrize("recovery", ["reap", "claim"])
def test_what_was_stuck_is_not_any_more_once_it_was_recovered(
    world: World, organization: str, clock: FrozenClock, recovery: str
) -> None:
    world.queued(organization, 3)
    world.claim_queue(2, lease_s=45)
    clock.advance(seconds=45)
    if recovery == "reap":
        world.run(world.store.reap())
    else:
        world.claim_queue()
    counted = stats(world)
    assert (counted.leased, counted.stuck) == (0 if recovery == "reap" else 3, 0)


def test_the_oldest_is_the_longest_due_not_the_first_received(
    world: World, organization: str, clock: FrozenClock
) -> None:
    world.queued(organization, deliver_at=Timestamp(clock() + 50_000))
    clock.advance(seconds=60)
    assert stats(world).oldest_age_s == 10.0


def test_what_is_only_scheduled_has_no_age(
    world: World, organization: str, clock: FrozenClock
) -> None:
    world.queued(organization, deliver_at=Timestamp(clock() + 50_000))
    clock.advance(seconds=10)
    counted = stats(world)
    assert (counted.depth, counted.scheduled, counted.oldest_age_s) == (0, 1, 0.0)


def test_deliveries_are_counted_as_waiting_or_in_a_worker_s_hands(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription, 6)
    first, second, third, _, _ = world.claim_deliveries(5).deliveries
    world.settle(
        world.outcome(first),
        world.outcome(second, "dead"),
        world.outcome(third, "retrying", retry_in_s=60),
    )
    counted = stats(world)
    assert (counted.deliveries_waiting, counted.deliveries_leased) == (2, 2)


@pytest.mark.parametrize(
    "end", ["reap", "cancel", "delete event", "delete subscription", "disable", "reopen"]
)
def test_a_delivery_taken_from_its_worker_is_no_longer_in_its_hands(
    world: World, organization: str, subscription: str, clock: FrozenClock, end: str
) -> None:
    (due,) = world.due(organization, subscription)
    claimed = world.claimed(lease_s=45)
    if end == "reap":
        clock.advance(seconds=45)
        world.run(world.store.reap())
    elif end == "cancel":
        world.run(world.store.cancel_delivery(organization, due))
    elif end == "delete event":
        world.run(world.store.delete_event(organization, claimed.event_id))
    elif end == "delete subscription":
        world.run(world.store.delete_subscription(organization, subscription))
    elif end == "disable":
        world.due(organization, subscription)
        gone = world.outcome(world.claimed(), "cancelled", disable_subscription="gone")
        world.settle(gone)
    else:
        world.run(world.engine.reopen())
    counted = stats(world)
    waiting = int(world.status_of(organization, due) in {"pending", "retrying"})
    leased = int(world.status_of(organization, due) == "delivering")
    assert (counted.deliveries_waiting, counted.deliveries_leased) == (waiting, leased)


def test_a_late_settle_does_not_take_the_delivery_out_of_the_count_of_its_new_holder(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.due(organization, subscription)
    late = world.claimed(lease_s=45)
    clock.advance(seconds=45)
    world.claimed()
    world.settle(world.outcome(late))
    counted = stats(world)
    assert (counted.deliveries_waiting, counted.deliveries_leased) == (0, 1)


# ── books ─────────────────────────────────────────────────────────────────────────────────────


def test_a_new_organization_s_books_are_empty(world: World, organization: str) -> None:
    (account,) = world.run(world.store.accounts())
    states = {"pending", "delivering", "retrying", "succeeded", "dead", "skipped", "cancelled"}
    assert account == OrganizationAccount(
        organization_id=organization,
        accepted=0,
        queued=0,
        scheduled=0,
        processed=0,
        failed=0,
        quarantined=0,
        cancelled=0,
        deleted=0,
        deliveries=dict.fromkeys(["total", *states], 0),
    )
    assert account.balances()


def test_every_event_and_delivery_is_in_exactly_one_place_of_the_books(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.queued(organization, 2)
    world.route(world.claim_queue(), subscription)
    first, second = world.claim_deliveries().deliveries
    world.settle(world.outcome(first), world.outcome(second, "retrying", retry_in_s=600))
    world.queued(organization)
    claim = world.claim_queue()
    world.run(world.store.release(claim.token, [FailedEvent(claim.events[0], "no", None)]))
    world.queued(organization, 4)
    world.claim_queue(1)
    world.queued(organization, 5, deliver_at=Timestamp(clock() + 60_000))
    world.append(*[world.event(organization, dedup_id="twin") for _ in range(3)])
    deleted = world.event(organization, to=[subscription])
    world.append(deleted)
    world.run(world.store.delete_event(organization, deleted.id))
    for status in ("dead", "skipped"):
        world.due(organization, subscription)
        world.settle(world.outcome(world.claimed(), status))
    world.due(organization, subscription, 2)
    world.claimed(limit=1)
    (account,) = world.run(world.store.accounts())
    assert account == OrganizationAccount(
        organization_id=organization,
        accepted=2 + 1 + 4 + 5 + 1 + 1 + 2 + 2,
        queued=4 + 1,
        scheduled=5,
        processed=2 + 2 + 2,
        failed=1,
        quarantined=0,
        cancelled=0,
        deleted=1,
        deliveries={
            "total": 7,
            "pending": 1,
            "delivering": 1,
            "retrying": 1,
            "succeeded": 1,
            "dead": 1,
            "skipped": 1,
            "cancelled": 1,
        },
    )
    assert account.balances()
    clock.advance(seconds=60)
    (account,) = world.run(world.store.accounts())
    assert (account.queued, account.scheduled) == (10, 0)
    assert account.balances()


@pytest.mark.usefixtures("organization")
def test_books_that_miss_something_do_not_balance(world: World) -> None:
    (account,) = world.run(world.store.accounts())
    assert not msgspec.structs.replace(account, accepted=1).balances()
    assert not msgspec.structs.replace(account, queued=1).balances()
    assert not msgspec.structs.replace(
        account, deliveries=account.deliveries | {"total": 1}
    ).balances()
