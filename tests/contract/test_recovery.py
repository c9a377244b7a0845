"""What happens when somebody dies, stops, waits, or looks in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.rooms import rooms

from triggers_api.errors import Unavailable
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import EventFilter, Page, Reaped

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from tests.contract.conftest import FrozenClock, MakeEngine, World


# ── reap ──────────────────────────────────────────────────────────────────────────────────────


def test_a_sweep_finds_nothing_where_nothing_was_left(
    world: World, organization: str, subscription: str
) -> None:
    world.queued(organization)
    world.due(organization, subscription)
    assert world.run(world.store.reap()) == Reaped()
    world.claim_queue()
    world.claim_deliveries()
    assert world.run(world.store.reap()) == Reaped()


def test_a_sweep_frees_what_leases_that_ran_out_held(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.queued(organization, 2)
    due = world.due(organization, subscription, 3)
    world.claim_queue(lease_s=45)
    world.claim_deliveries(lease_s=45)
    clock.advance(seconds=44.999)
    assert world.run(world.store.reap()) == Reaped()
    clock.advance(seconds=0.001)
    assert world.run(world.store.reap()) == Reaped(events=2, deliveries=3)
    assert {world.status_of(organization, each) for each in due} == {"pending"}
    assert world.run(world.store.reap()) == Reaped()
    assert len(world.claim_queue().events) == 2
    assert len(world.claim_deliveries().deliveries) == 3


def test_a_sweep_leaves_alone_what_is_still_held(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.queued(organization, 2)
    world.due(organization, subscription, 2)
    world.claim_queue(1, lease_s=10)
    world.claim_deliveries(1, lease_s=10)
    clock.advance(seconds=5)
    kept_events = world.claim_queue(1, lease_s=10)
    kept_delivery = world.claimed(limit=1, lease_s=10)
    clock.advance(seconds=5)
    assert world.run(world.store.reap()) == Reaped(events=1, deliveries=1)
    assert list(world.route(kept_events, subscription)) == []
    assert list(world.settle(world.outcome(kept_delivery))) == []


def test_a_delivery_freed_by_a_sweep_waits_as_it_did_before(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (due,) = world.due(organization, subscription)
    world.settle(world.outcome(world.claimed(), "retrying", status_code=500, retry_in_s=5))
    clock.advance(seconds=5)
    late = world.claimed(lease_s=1)
    clock.advance(seconds=1)
    world.run(world.store.reap())
    assert world.status_of(organization, due) == "retrying"
    assert list(world.settle(world.outcome(late))) == [due]
    assert world.status_of(organization, due) == "retrying"


def test_what_a_sweep_freed_is_stale_to_its_old_holder(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (event_id,) = world.queued(organization)
    claim = world.claim_queue(lease_s=1)
    clock.advance(seconds=1)
    world.run(world.store.reap())
    assert list(world.route(claim, subscription)) == [event_id]


def test_a_sweep_counts_no_failure_that_was_not_one(
    world: World, organization: str, clock: FrozenClock
) -> None:
    world.queued(organization)
    world.claim_queue(lease_s=1)
    clock.advance(seconds=1)
    world.run(world.store.reap())
    (event,) = world.claim_queue().events
    assert event.attempts == 2


def test_a_sweep_does_not_bring_forward_what_was_put_off(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.due(organization, subscription)
    world.settle(world.outcome(world.claimed(), "retrying", status_code=500, retry_in_s=600))
    clock.advance(seconds=300)
    assert world.run(world.store.reap()) == Reaped()
    assert world.claim_deliveries().deliveries == ()


# ── waiting ───────────────────────────────────────────────────────────────────────────────────


def test_the_next_delivery_is_the_one_that_falls_due_first(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    assert world.run(world.store.next_delivery_at()) is None
    for seconds in (60, 30, 90):
        world.due(organization, subscription)
        settlement = world.outcome(world.claimed(), "retrying", status_code=500, retry_in_s=seconds)
        world.settle(settlement)
    assert world.run(world.store.next_delivery_at()) == clock() + 30_000
    clock.advance(seconds=45)
    assert len(world.claim_deliveries().deliveries) == 1
    assert world.run(world.store.next_delivery_at()) == clock() + 15_000


def test_finished_deliveries_are_nothing_to_wait_for(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription)
    world.settle(world.outcome(world.claimed()))
    assert world.run(world.store.next_delivery_at()) is None


def returns_on_notice(
    world: World,
    wait: Callable[[float], Coroutine[Any, Any, None]],
    work: Callable[[], Coroutine[Any, Any, object]],
) -> None:
    """Waiting, begun with an hour to go, ends because of the work (or the run's patience does)."""

    async def scenario() -> None:
        while True:  # a notice of earlier work may still be there
            try:
                await asyncio.wait_for(wait(3600), 0.001)
            except TimeoutError:
                break
        waiting = asyncio.ensure_future(wait(3600))
        await work()
        await waiting

    world.run(scenario())


def test_waiting_for_the_queue_ends_when_an_event_is_appended(
    world: World, organization: str
) -> None:
    async def append() -> None:
        await world.store.append([world.event(organization)])

    returns_on_notice(world, world.store.wait_queue, append)


def test_waiting_for_deliveries_ends_when_events_are_routed(
    world: World, organization: str, subscription: str
) -> None:
    from triggers_api.store.base import RoutedEvent  # noqa: PLC0415

    world.queued(organization)
    claim = world.claim_queue()

    async def route() -> None:
        routed = [RoutedEvent(claim.events[0], (world.new_delivery(subscription),))]
        await world.store.fan_out(claim.token, routed)

    returns_on_notice(world, world.store.wait_deliveries, route)


def test_waiting_for_deliveries_ends_when_an_event_comes_with_its_own(
    world: World, organization: str, subscription: str
) -> None:
    async def append() -> None:
        await world.store.append([world.event(organization, to=[subscription])])

    returns_on_notice(world, world.store.wait_deliveries, append)


def test_waiting_for_deliveries_ends_when_one_is_retried_by_hand(
    world: World, organization: str, subscription: str
) -> None:
    (due,) = world.due(organization, subscription)
    world.settle(world.outcome(world.claimed(), "dead"))
    returns_on_notice(
        world,
        world.store.wait_deliveries,
        lambda: world.store.retry_delivery(organization, due),
    )


def test_waiting_for_deliveries_ends_when_a_subscription_is_resumed(
    world: World, organization: str, subscription: str
) -> None:
    record = world.record(organization, subscription_id=subscription)
    returns_on_notice(
        world, world.store.wait_deliveries, lambda: world.store.save_subscription(record)
    )


def test_waiting_for_deliveries_ends_when_it_is_woken(world: World) -> None:
    async def wake() -> None:
        world.store.wake_deliveries()

    returns_on_notice(world, world.store.wait_deliveries, wake)


def test_waiting_ends_by_itself_after_its_time(world: World) -> None:
    world.run(world.store.wait_queue(0.001))
    world.run(world.store.wait_deliveries(0.001))
    world.run(world.store.wait_queue(0))


# ── closing, opening, dying ───────────────────────────────────────────────────────────────────


def test_closing_twice_is_fine(world: World) -> None:
    async def twice() -> None:
        await world.store.close()
        await world.store.close()
        await asyncio.gather(world.store.close(), world.store.close())

    world.run(twice())


def test_what_was_accepted_before_closing_is_finished(world: World, organization: str) -> None:
    event = world.event(organization)

    async def append_and_close() -> object:
        answer = world.store.append([event])
        await world.store.close()
        return await answer

    assert world.run(append_and_close()) == [None]
    world.run(world.engine.open())
    assert world.run(world.store.event(organization, event.id)) is not None


def test_a_closed_store_takes_nothing_and_says_so(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription)
    event = world.event(organization)
    world.run(world.store.close())

    async def append() -> object:
        return await world.store.append([event])

    for refused in (
        append(),
        world.store.claim_queue(1, 45),
        world.store.claim_deliveries(1, 45, rooms=rooms(1)),
        world.store.reap(),
        world.store.check(),
    ):
        with pytest.raises(Unavailable):
            world.run(refused)


def everything(world: World, organization: str) -> object:
    """All that can be read of an organization."""
    store = world.store
    events = world.run(store.events(organization, EventFilter(), Page(limit=1000)))
    details = [world.run(store.event(organization, event.id)) for event in events]
    deliveries = [
        world.run(store.delivery(organization, delivery.id))
        for detail in details
        if detail is not None
        for delivery in detail.deliveries
    ]
    return (
        events,
        details,
        deliveries,
        world.run(store.subscriptions(organization, Page(limit=1000))),
        world.run(store.keys(organization)),
        world.run(store.changes(0)),
        world.run(store.accounts()),
    )


def some_of_everything(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.queued(organization, 2, dedup_id=None, metadata=b'{"a":"b"}')
    world.queued(organization, deliver_at=Timestamp(clock() + 60_000))
    world.append(world.event(organization, dedup_id="x", source="s", key="k"))
    for status in ("succeeded", "retrying", "dead", "skipped"):
        world.due(organization, subscription)
        world.settle(
            world.outcome(
                world.claimed(),
                status,
                status_code=500,
                retry_in_s=60,
                attempted=status != "skipped",
            )
        )
    world.due(organization, subscription)


@pytest.mark.parametrize("way", ["reopen", "crash"])
def test_everything_is_there_after_opening_again(
    world: World, organization: str, subscription: str, clock: FrozenClock, way: str
) -> None:
    some_of_everything(world, organization, subscription, clock)
    before = everything(world, organization)
    world.run(getattr(world.engine, way)())
    assert everything(world, organization) == before
    (answer,) = world.append(world.event(organization, dedup_id="x"))
    assert answer is not None
    world.assert_balanced()


def test_leases_of_a_store_that_was_closed_are_free_at_once(
    world: World, organization: str, subscription: str
) -> None:
    held = Held(world, organization, subscription)
    world.run(world.engine.reopen())
    held.is_free_for_others()


def test_leases_of_a_process_that_was_killed_are_free_as_soon_as_it_must_be_gone(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.beat()
    held = Held(world, organization, subscription)
    world.run(world.engine.crash())
    if world.engine.is_shared:
        for _ in range(3):
            assert world.beat() == Reaped(), "it may still be there"
            clock.advance(seconds=2)
        clock.advance(seconds=0.001)
        assert world.beat() == Reaped(events=3, deliveries=3)
    held.is_free_for_others()


class Held:
    """Three events and three deliveries in the hands of the store that is open."""

    def __init__(self, world: World, organization: str, subscription: str) -> None:
        self.world = world
        self.organization = organization
        self.subscription = subscription
        self.events = world.queued(organization, 3)
        self.due = world.due(organization, subscription, 3)
        self.claim = world.claim_queue(lease_s=3600)
        self.deliveries = world.claim_deliveries(lease_s=3600).deliveries

    def is_free_for_others(self) -> None:
        """All of it can be claimed, and the old leases are worth nothing."""
        world, events, due = self.world, self.events, self.due
        assert {world.status_of(self.organization, each) for each in due} == {"pending"}
        deliveries = world.claim_deliveries().deliveries
        assert sorted(each.id for each in deliveries) == sorted(due)
        late = [world.outcome(each) for each in self.deliveries]
        assert sorted(world.settle(*late)) == sorted(due)
        assert list(world.settle(*[world.outcome(each) for each in deliveries])) == []
        claim = world.claim_queue()
        assert [event.id for event in claim.events] == events
        assert sorted(world.route(self.claim, self.subscription)) == sorted(events)
        assert list(world.route(claim, self.subscription)) == []


@pytest.mark.parametrize("way", ["reopen", "crash"])
def test_what_was_put_off_is_still_put_off_after_opening_again(
    world: World, organization: str, subscription: str, clock: FrozenClock, way: str
) -> None:
    from triggers_api.store.base import FailedEvent  # noqa: PLC0415

    world.queued(organization)
    claim = world.claim_queue()
    world.run(world.store.release(claim.token, [FailedEvent(claim.events[0], "no", 60.0)]))
    world.due(organization, subscription)
    world.settle(world.outcome(world.claimed(), "retrying", status_code=500, retry_in_s=60))
    world.run(getattr(world.engine, way)())
    clock.advance(seconds=59.999)
    assert world.claim_queue().events == ()
    assert world.claim_deliveries().deliveries == ()
    clock.advance(seconds=0.001)
    assert len(world.claim_queue().events) == 1
    assert len(world.claim_deliveries().deliveries) == 1


@pytest.mark.parametrize("way", ["reopen", "crash"])
def test_how_often_an_event_was_claimed_is_remembered(
    world: World, organization: str, way: str
) -> None:
    world.queued(organization, deliver_at=None)
    counts = []
    for _ in range(3):
        counts += [event.attempts for event in world.claim_queue(lease_s=1).events]
        world.run(getattr(world.engine, way)())
        world.clock.advance(seconds=1)
    assert counts == [1, 2, 3]


@pytest.mark.parametrize("way", ["reopen", "crash"])
def test_ids_go_on_rising_after_opening_again_even_if_the_clock_was_set_back(
    world: World, organization: str, subscription: str, way: str
) -> None:
    (before,) = world.queued(organization)
    world.due(organization, subscription)
    last = world.outcome(world.claimed())
    world.settle(last)
    assert last.attempt is not None
    world.clock.advance(seconds=-3600)
    world.run(getattr(world.engine, way)())
    (after,) = world.queued(organization)
    assert after > before
    assert after.partition("_")[2] > last.attempt.id.partition("_")[2]
    assert world.run(world.store.event(organization, before)) is not None


# ── signs of life ─────────────────────────────────────────────────────────────────────────────


def test_a_process_that_says_that_it_is_alive_is_listed_as_it_last_was(
    world: World, clock: FrozenClock
) -> None:
    assert world.run(world.store.workers()) == []
    world.beat()
    clock.advance(seconds=2)
    assert world.beat() == Reaped()
    assert world.run(world.store.workers()) == [world.worker()]


def test_a_process_that_was_not_heard_of_for_a_minute_is_not_listed(
    world: World, clock: FrozenClock
) -> None:
    world.beat()
    clock.advance(seconds=60)
    assert len(world.run(world.store.workers())) == 1
    clock.advance(seconds=0.001)
    assert world.run(world.store.workers()) == []
    world.beat()
    assert len(world.run(world.store.workers())) == 1


def test_a_sign_of_life_frees_nothing_of_one_s_own(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    held = Held(world, organization, subscription)
    for _ in range(5):
        clock.advance(seconds=2)
        assert world.beat() == Reaped()
    assert list(world.settle(*[world.outcome(each) for each in held.deliveries])) == []
    assert list(world.route(held.claim, subscription)) == []


# ── a secret of all processes ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["reopen", "crash"])
def test_the_signing_key_is_made_once_and_kept(world: World, way: str) -> None:
    made = world.run(world.store.signing_key())
    assert len(made) >= 32
    assert world.run(world.store.signing_key()) == made
    world.run(getattr(world.engine, way)())
    assert world.run(world.store.signing_key()) == made


def test_a_signing_key_asked_for_by_many_at_once_is_one_key(world: World) -> None:
    async def ask() -> list[bytes]:
        return await asyncio.gather(*(world.store.signing_key() for _ in range(10)))

    assert len(set(world.run(ask()))) == 1


def test_each_database_has_a_signing_key_of_its_own(
    world: World, make_engine: MakeEngine, make_clock: Callable[[], FrozenClock], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = make_engine(tmp_path / "other", make_clock())

    async def key_of_the_other() -> bytes:
        store = await other.open()
        try:
            return await store.signing_key()
        finally:
            await other.close()

    assert world.run(key_of_the_other()) != world.run(world.store.signing_key())


# ── itself ────────────────────────────────────────────────────────────────────────────────────


def test_a_store_says_what_a_202_is_worth_and_that_it_can_be_written_to(world: World) -> None:
    durability = world.store.durability()
    assert durability.engine
    assert durability.version
    assert durability.survives
    world.run(world.store.check())


def test_the_store_s_clock_is_the_one_it_was_given(world: World, clock: FrozenClock) -> None:
    assert world.store.now() == clock()
    clock.advance(seconds=1)
    assert world.store.now() == clock()
