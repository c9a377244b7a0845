"""An event to test one subscription, and the statistics of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from triggers_api.errors import InvalidState
from triggers_api.model import statistics
from triggers_api.model.delivery import Origin
from triggers_api.model.event import NewEvent
from triggers_api.model.job import Selection
from triggers_api.model.statistics import AttemptCounts, Latency, SubscriptionStats
from triggers_api.model.subscription import SubscriptionStatus
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import DeliveryFilter, Page

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World


def trial(world: World, organization: str, subscription: str) -> NewEvent:
    """An event that is not stored yet."""
    return world.event(organization, "triggers.test", b'{"a" : 1}', to=[subscription])


def delivery_of(event: NewEvent) -> str:
    (delivery,) = event.deliveries or ()
    return delivery.id


# ── a test event ──────────────────────────────────────────────────────────────────────────────────


def test_a_test_event_is_due_at_once_for_its_subscription_alone(
    world: World, organization: str
) -> None:
    asked = world.subscription(organization, event_types=["nothing.else"], filter="false")
    world.subscription(organization)
    event = trial(world, organization, asked)
    assert world.run(world.store.append_test(event))
    assert world.claim_queue().events == ()
    claimed = world.claimed()
    assert (claimed.id, claimed.event_id) == (delivery_of(event), event.id)
    assert (claimed.event_type, claimed.payload) == ("triggers.test", b'{"a" : 1}')
    assert claimed.origin is Origin.TEST
    assert claimed.target.subscription.id == asked
    world.settle(world.outcome(claimed))
    (shown,) = world.run(world.store.deliveries(organization, DeliveryFilter(), Page()))
    assert (shown.origin, shown.status, shown.subscription_id) == ("test", "succeeded", asked)


def test_what_is_not_a_test_is_claimed_as_of_its_event(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription)
    assert world.claimed().origin is Origin.EVENT


def test_a_test_is_in_the_books_and_they_balance_in_every_state(
    world: World, organization: str, subscription: str
) -> None:
    events = [trial(world, organization, subscription) for _ in range(3)]
    for event in events:
        world.run(world.store.append_test(event))
    world.assert_balanced()
    first, second, third = world.claim_deliveries().deliveries
    world.settle(world.outcome(first), world.outcome(second, "cancelled", status_code=500))
    world.run(world.store.delete_event(organization, third.event_id))
    world.assert_balanced()
    (account,) = world.run(world.store.accounts())
    assert (account.accepted, account.processed, account.deleted) == (3, 2, 1)
    assert account.deliveries["total"] == 3
    assert account.deliveries["succeeded"] == 1
    assert account.deliveries["cancelled"] == 2


def test_a_test_event_can_be_read_and_is_not_in_the_log(
    world: World, organization: str, subscription: str
) -> None:
    (before,) = world.queued(organization)
    event = trial(world, organization, subscription)
    world.run(world.store.append_test(event))
    (after,) = world.queued(organization)
    found = world.run(world.store.event(organization, event.id))
    assert found is not None
    assert (found.status, bytes(found.payload)) == ("processed", b'{"a" : 1}')
    assert [moment.what for moment in found.timeline] == ["received", "processed"]
    log = world.run(world.store.log(organization, None, 10))
    assert [each.id for each in log.events] == [before, after]


def test_a_test_of_a_paused_subscription_waits_until_it_goes_on(
    world: World, organization: str
) -> None:
    record = world.record(organization, status=SubscriptionStatus.PAUSED)
    world.run(world.store.save_subscription(record))
    assert world.run(world.store.append_test(trial(world, organization, record.subscription.id)))
    assert world.claim_deliveries().deliveries == ()
    active = msgspec.structs.replace(record.subscription, status=SubscriptionStatus.ACTIVE)
    world.run(world.store.save_subscription(msgspec.structs.replace(record, subscription=active)))
    assert world.claimed().origin is Origin.TEST


@pytest.mark.parametrize("how", ["disabled", "expired"])
def test_a_subscription_that_has_ended_cannot_be_tested(
    world: World, organization: str, clock: FrozenClock, how: str
) -> None:
    expires_at = clock().after(seconds=1) if how == "expired" else None
    subscription = world.subscription(organization, expires_at=expires_at)
    if how == "disabled":
        world.due(organization, subscription)
        world.settle(world.outcome(world.claimed(), "cancelled", disable_subscription="gone"))
    clock.advance(seconds=1)
    event = trial(world, organization, subscription)
    with pytest.raises(InvalidState):
        world.run(world.store.append_test(event))
    assert world.run(world.store.event(organization, event.id)) is None
    world.assert_balanced()


def test_nor_one_that_is_deleted_or_another_organizations(
    world: World, organization: str, subscription: str
) -> None:
    other = world.organization("Other")
    deleted = world.subscription(organization)
    world.run(world.store.delete_subscription(organization, deleted))
    for owner, name in ((other, subscription), (organization, deleted), (organization, "sub_1")):
        event = world.event(owner, to=[])
        event = msgspec.structs.replace(
            event,
            deliveries=(
                msgspec.structs.replace(world.new_delivery(subscription), subscription_id=name),
            ),
        )
        assert not world.run(world.store.append_test(event))
        assert world.run(world.store.event(owner, event.id)) is None
    assert world.claim_deliveries().deliveries == ()
    world.assert_balanced()


def test_no_replay_takes_a_test_event_to_anybody_else(
    world: World, organization: str, subscription: str
) -> None:
    event = trial(world, organization, subscription)
    world.run(world.store.append_test(event))
    other = world.subscription(organization, operational=True)
    for asked in (None, other, subscription):
        selection = Selection(subscription_id=asked, until=world.clock().after(seconds=1))
        (walked,) = world.run(world.store.walk_events(organization, selection, None, 10))
        assert (walked.id, walked.operational, walked.delivered) == (event.id, True, True)


# ── statistics ────────────────────────────────────────────────────────────────────────────────────


def stats(
    world: World, organization: str, subscription: str, *, seconds: float = 86_400
) -> SubscriptionStats:
    until = world.clock().after(seconds=0.001)
    return world.run(
        world.store.subscription_stats(
            organization, subscription, since=until.after(seconds=-seconds), until=until
        )
    )


NO_LATENCY = Latency(p50=None, p95=None, p99=None)


def test_a_subscription_without_deliveries_has_no_rates(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, world.subscription(organization), 3)
    found = stats(world, organization, subscription)
    assert found.complete
    assert set(found.deliveries.values()) == {0}
    assert found.attempts == AttemptCounts(total=0, succeeded=0, failed=0)
    assert (found.success_rate, found.latency_ms) == (None, NO_LATENCY)
    assert (found.oldest_waiting_age_s, found.next_attempt_at) == (None, None)
    assert (found.last_success_at, found.last_failure_at) == (None, None)


def test_deliveries_are_counted_by_state_and_attempts_by_success(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.due(organization, subscription, 6)
    began = clock()
    good, better, late, dead, held, *_ = world.claim_deliveries(5).deliveries
    del held
    clock.advance(seconds=2)
    outcomes = [
        world.outcome(good),
        world.outcome(better, status_code=204),
        world.outcome(late, "retrying", status_code=500, retry_in_s=60),
        world.outcome(dead, "dead", status_code=None, error="dns"),
    ]
    settled = []
    for duration, outcome in zip((10, 20, 30, 40), outcomes, strict=True):
        assert outcome.attempt is not None
        attempt = msgspec.structs.replace(outcome.attempt, duration_ms=duration)
        settled.append(msgspec.structs.replace(outcome, attempt=attempt))
    assert world.settle(*settled) == []
    found = stats(world, organization, subscription)
    assert found.deliveries == {
        "total": 6,
        "pending": 1,
        "delivering": 1,
        "retrying": 1,
        "succeeded": 2,
        "dead": 1,
        "skipped": 0,
        "cancelled": 0,
    }
    assert found.attempts == AttemptCounts(total=4, succeeded=2, failed=2)
    assert found.success_rate == 0.5
    assert found.latency_ms == Latency(p50=20, p95=40, p99=40)
    assert found.last_success_at == found.last_failure_at == began.after(seconds=2)
    # What was not claimed has been due since it was made.
    assert (found.oldest_waiting_age_s, found.next_attempt_at) == (2.0, began)


def test_what_waits_for_its_time_is_not_overdue(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.due(organization, subscription)
    world.settle(world.outcome(world.claimed(), "retrying", status_code=500, retry_in_s=60))
    found = stats(world, organization, subscription)
    assert (found.oldest_waiting_age_s, found.next_attempt_at) == (0.0, clock().after(seconds=60))


def test_the_window_is_about_when_deliveries_were_made(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.due(organization, subscription, 2)
    for each in world.claim_deliveries().deliveries:
        world.settle(world.outcome(each))
    clock.advance(seconds=3600)
    world.due(organization, subscription)
    assert stats(world, organization, subscription).deliveries["total"] == 3
    last_hour = stats(world, organization, subscription, seconds=3600)
    assert last_hour.deliveries["total"] == 1
    assert last_hour.attempts.total == 0
    long_ago = Timestamp(0)
    nothing = world.run(
        world.store.subscription_stats(
            organization, subscription, since=long_ago, until=Timestamp(1)
        )
    )
    assert nothing.deliveries["total"] == 0


def test_another_organization_sees_nothing_of_it(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription)
    found = stats(world, world.organization("Other"), subscription)
    assert (found.deliveries["total"], found.next_attempt_at) == (0, None)


@pytest.mark.parametrize("limited", ["deliveries", "attempts"])
def test_no_more_than_the_newest_are_looked_at_and_the_answer_says_so(
    world: World,
    organization: str,
    subscription: str,
    monkeypatch: pytest.MonkeyPatch,
    limited: str,
) -> None:
    world.due(organization, subscription, 5)
    for each in world.claim_deliveries(3).deliveries:
        world.settle(world.outcome(each))
    assert stats(world, organization, subscription).complete
    limits = {"DELIVERIES_LIMIT": 4} if limited == "deliveries" else {"ATTEMPTS_LIMIT": 2}
    for name, value in limits.items():
        for module in (
            "model.statistics",
            "store.sqlite.record_reads",
            "store.postgres.record_reads",
        ):
            monkeypatch.setattr(f"triggers_api.{module}.{name}", value)
    found = stats(world, organization, subscription)
    assert not found.complete
    assert found.deliveries["total"] == (4 if limited == "deliveries" else 5)
    assert found.attempts.total == 2


def test_percentiles_are_by_nearest_rank() -> None:
    counted = dict.fromkeys(range(1, 101), 1)
    assert [statistics.percentile(counted, share) for share in (0.5, 0.95, 0.99, 1)] == [
        50,
        95,
        99,
        100,
    ]
    assert statistics.percentile({7: 99, 1000: 1}, 0.99) == 7
    assert statistics.percentile({7: 98, 1000: 2}, 0.99) == 1000
    assert statistics.percentile({5: 1}, 0.01) == 5
    assert statistics.percentile({}, 0.5) is None
