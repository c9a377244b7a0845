"""Several stores on one database, as several processes have them: each thing is done by one of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from tests.contract.conftest import SHARED_ENGINES, MakeEngine, SharedEngine, maker_of
from tests.contract.retention import cutoffs
from tests.rooms import rooms

from triggers_api.errors import NotFound
from triggers_api.model import ids
from triggers_api.model.controls import Switches, turn
from triggers_api.model.event import FirstEvent, NewEvent
from triggers_api.model.job import Job, JobKind, Replay, Selection, Then
from triggers_api.model.organization import KeyRecord, Organization, Scope
from triggers_api.store.base import (
    Changes,
    ClaimedDelivery,
    ClaimedJob,
    DeliveryFilter,
    EventFilter,
    HealthReset,
    JobStep,
    Page,
    Reaped,
    RoutedEvent,
    Settled,
    Settlement,
    Store,
)

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

EVERYTHING = Page(limit=1000)


@pytest.fixture(params=SHARED_ENGINES)
def make_engine(request: pytest.FixtureRequest) -> MakeEngine:
    return maker_of(request.param, request)


@pytest.fixture
def other(world: World) -> Store:
    """A second store beside the first one."""
    return another(world)


def another(world: World) -> Store:
    return world.run(cast("SharedEngine", world.engine).open_another())


# ── append, route, claim, settle ──────────────────────────────────────────────────────────────


def test_what_one_has_appended_the_other_sees_and_routes(
    world: World, organization: str, subscription: str, other: Store
) -> None:
    (event_id,) = world.queued(organization)
    (seen,) = world.run(other.events(organization, EventFilter(), EVERYTHING))
    assert seen.id == event_id
    claim = world.run(other.claim_queue(10, 45))
    assert [event.id for event in claim.events] == [event_id]
    assert world.claim_queue().events == ()
    routed = [RoutedEvent(claim.events[0], (world.new_delivery(subscription),))]
    assert list(world.run(other.fan_out(claim.token, routed))) == []
    assert world.claimed().event_id == event_id


def test_events_are_claimed_in_the_order_of_acceptance_whichever_process_took_them_in(
    world: World, organization: str, other: Store
) -> None:
    # The clock stands still: two processes' ids of one millisecond are in no order.
    accepted = []
    for number in range(20):
        store = (world.store, other)[number % 2]
        event = msgspec.structs.replace(world.event(organization), id=store.ids.new(ids.EVENT))
        assert world.run(_append(store, event)) == [None]
        accepted.append(event.id)
    assert accepted != sorted(accepted)
    claim = world.claim_queue(in_order_of=[organization])
    assert [event.id for event in claim.events] == accepted


async def _append(store: Store, event: NewEvent) -> list[FirstEvent | None]:
    return list(await store.append([event]))


def test_while_one_holds_events_of_an_organization_in_order_others_get_none_of_them(
    world: World, organization: str, other: Store
) -> None:
    accepted = world.queued(organization, 4)
    mine = world.claim_queue(2, in_order_of=[organization])
    assert [event.id for event in mine.events] == accepted[:2]
    assert world.claim_queue(in_order_of=[organization], store=other).events == ()
    world.route(mine)
    theirs = world.claim_queue(in_order_of=[organization], store=other)
    assert [event.id for event in theirs.events] == accepted[2:]


def test_of_twins_that_come_to_two_processes_at_once_one_is_stored_and_all_hear_its_id(
    world: World, organization: str, other: Store
) -> None:
    events = [world.event(organization, dedup_id=f"{n // 16}") for n in range(64)]

    async def append(event: NewEvent, store: Store) -> FirstEvent | None:
        (answer,) = await store.append([event])
        return answer

    async def at_once() -> list[FirstEvent | None]:
        return await asyncio.gather(
            *(append(event, (world.store, other)[n % 2]) for n, event in enumerate(events))
        )

    answers = world.run(at_once())
    for name in range(4):
        group = list(zip(events, answers, strict=True))[16 * name : 16 * name + 16]
        (winner,) = [event for event, answer in group if answer is None]
        assert {answer.id for _, answer in group if answer is not None} == {winner.id}
    assert len(world.run(world.store.events(organization, EventFilter(), EVERYTHING))) == 4
    world.assert_balanced()


def test_twins_in_crossed_order_in_two_processes_do_not_block_each_other(
    world: World, organization: str, other: Store
) -> None:
    names = [f"{n}" for n in range(50)]

    async def append(store: Store, order: list[str]) -> int:
        calls = [store.append([world.event(organization, dedup_id=name)]) for name in order]
        return sum(first is None for (first,) in await asyncio.gather(*calls))

    async def at_once() -> tuple[int, int]:
        return await asyncio.gather(append(world.store, names), append(other, names[::-1]))

    assert sum(world.run(at_once())) == len(names)
    world.assert_balanced()


def test_events_claimed_at_once_by_two_processes_are_shared_out(
    world: World, organization: str, other: Store
) -> None:
    events = world.queued(organization, 200)

    async def claim(store: Store) -> list[str]:
        found: list[str] = []
        while claim := (await store.claim_queue(7, 45)).events:
            found += [event.id for event in claim]
        return found

    async def at_once() -> list[list[str]]:
        return await asyncio.gather(*(claim(store) for store in (world.store, other) * 3))

    shares = world.run(at_once())
    assert sorted(itertools.chain(*shares)) == sorted(events)


def test_deliveries_claimed_at_once_by_two_processes_are_shared_out(
    world: World, organization: str, subscription: str, other: Store
) -> None:
    second = world.subscription(organization)
    due = world.due(organization, subscription, 100) + world.due(organization, second, 100)

    async def claim(store: Store) -> list[str]:
        found: list[str] = []
        while claim := (await store.claim_deliveries(7, 45, rooms=rooms(7))).deliveries:
            found += [delivery.id for delivery in claim]
        return found

    async def at_once() -> list[list[str]]:
        return await asyncio.gather(*(claim(store) for store in (world.store, other) * 3))

    shares = world.run(at_once())
    assert sorted(itertools.chain(*shares)) == sorted(due)


def test_no_two_leases_of_any_process_have_one_token(
    world: World, organization: str, subscription: str, other: Store
) -> None:
    tokens = []
    for store in (world.store, other) * 3:
        world.queued(organization)
        world.due(organization, subscription)
        tokens.append(world.run(store.claim_queue(1, 45)).token)
        (claimed,) = world.run(store.claim_deliveries(1, 45, rooms=rooms(9))).deliveries
        tokens.append(claimed.token)
    assert len(set(tokens)) == 12


def test_a_lease_that_ran_out_is_taken_over_by_the_other_and_worth_nothing_to_the_first(
    world: World, organization: str, subscription: str, other: Store, clock: FrozenClock
) -> None:
    (due,) = world.due(organization, subscription)
    late = world.claimed(lease_s=45)
    clock.advance(seconds=45)
    claim = world.run(other.claim_deliveries(1, 45, rooms=rooms(9)))
    assert claim.recovered == 1
    assert list(world.settle(world.outcome(late, "dead"))) == [due]
    assert world.run(other.settle([world.outcome(claim.deliveries[0])])).stale == ()
    assert world.status_of(organization, due) == "succeeded"


def test_what_one_cancels_the_other_settles_without_effect(
    world: World, organization: str, subscription: str, other: Store
) -> None:
    (due,) = world.due(organization, subscription)
    claimed = world.claimed()
    assert world.run(other.cancel_delivery(organization, due)) is True
    assert list(world.settle(world.outcome(claimed))) == [due]
    assert world.status_of(organization, due) == "cancelled"
    world.assert_balanced()


def test_both_doing_everything_at_once_deliver_each_event_once(
    world: World, organization: str, subscription: str, other: Store
) -> None:
    second = world.subscription(organization)
    count = 60

    async def work(store: Store) -> None:
        while True:
            claim = await store.claim_queue(5, 45)
            routed = [
                RoutedEvent(event, (world.new_delivery(subscription), world.new_delivery(second)))
                for event in claim.events
            ]
            assert list(await store.fan_out(claim.token, routed)) == []
            found = await store.claim_deliveries(9, 45, rooms=rooms(5))
            settled = [world.outcome(each) for each in found.deliveries]
            assert (await store.settle(settled)).stale == ()
            wanted = DeliveryFilter()
            done = await store.deliveries(organization, wanted, EVERYTHING)
            if sum(each.status == "succeeded" for each in done) == 2 * count:
                return

    async def at_once() -> None:
        appending = [
            store.append([world.event(organization)])
            for store in (world.store, other)
            for _ in range(count // 2)
        ]
        await asyncio.gather(*appending, *(work(store) for store in (world.store, other) * 2))

    world.run(at_once())
    deliveries = world.run(other.deliveries(organization, DeliveryFilter(), EVERYTHING))
    assert len({(each.event_id, each.subscription_id) for each in deliveries}) == 2 * count
    assert {each.attempt_count for each in deliveries} == {1}
    world.assert_balanced()


# ── signs of life ─────────────────────────────────────────────────────────────────────────────


def test_all_that_are_alive_are_listed_and_who_closes_is_not(
    world: World, other: Store, clock: FrozenClock
) -> None:
    world.beat("one")
    world.beat("other", store=other)
    clock.advance(seconds=1)
    for store in (world.store, other):
        assert {each.id for each in world.run(store.workers())} == {"one", "other"}
    world.run(other.close())
    assert [each.id for each in world.run(world.store.workers())] == ["one"]


def test_what_a_silent_process_holds_is_freed_after_six_seconds_and_fenced(
    world: World, organization: str, subscription: str, other: Store, clock: FrozenClock
) -> None:
    world.beat("one")
    events = world.queued(organization, 2)
    due = world.due(organization, subscription, 3)
    claim = world.claim_queue(lease_s=3600)
    held = world.claim_deliveries(lease_s=3600).deliveries
    for _ in range(4):
        assert world.beat("other", store=other) == Reaped()
        clock.advance(seconds=2)
    assert world.beat("other", store=other) == Reaped(events=2, deliveries=3)
    assert world.beat("other", store=other) == Reaped()
    assert {world.status_of(organization, each) for each in due} == {"pending"}
    late = [world.outcome(each, "dead") for each in held]
    assert sorted(world.settle(*late)) == sorted(due)
    assert sorted(world.route(claim, subscription)) == sorted(events)
    taken = world.run(other.claim_deliveries(10, 45, rooms=rooms(9))).deliveries
    assert sorted(each.id for each in taken) == sorted(due)


def test_what_a_process_holds_that_goes_on_being_heard_of_is_left_to_it(
    world: World, organization: str, subscription: str, other: Store, clock: FrozenClock
) -> None:
    held: list[ClaimedDelivery] = []
    for store, name in ((world.store, "one"), (other, "other")):
        world.beat(name, store=store)
        world.due(organization, subscription)
        held += world.run(store.claim_deliveries(1, 3600, rooms=rooms(9))).deliveries
    for _ in range(10):
        clock.advance(seconds=2)
        assert world.beat("one") == world.beat("other", store=other) == Reaped()
    assert list(world.settle(*[world.outcome(each) for each in held])) == []


def test_who_was_silent_itself_frees_nothing_at_its_first_sign_of_life(
    world: World, organization: str, other: Store, clock: FrozenClock
) -> None:
    world.beat("one")
    world.beat("other", store=other)
    world.queued(organization)
    world.run(other.claim_queue(1, 3600))
    clock.advance(seconds=60)  # the machine of both stood still, say
    assert world.beat("one") == Reaped()
    assert world.beat("other", store=other) == Reaped()
    clock.advance(seconds=2)
    assert world.beat("one") == world.beat("other", store=other) == Reaped()


def test_who_was_taken_for_dead_goes_on_with_new_leases(
    world: World, organization: str, subscription: str, other: Store, clock: FrozenClock
) -> None:
    world.beat("one")
    for _ in range(5):
        world.beat("other", store=other)
        clock.advance(seconds=2)
    (due,) = world.due(organization, subscription)
    assert world.beat("one") == Reaped()
    claimed = world.claimed(lease_s=3600)
    clock.advance(seconds=2)
    assert world.beat("other", store=other) == world.beat("one") == Reaped()
    assert list(world.settle(world.outcome(claimed))) == []
    assert world.status_of(organization, due) == "succeeded"


def test_what_a_closing_process_holds_is_free_for_the_other_at_once(
    world: World, organization: str, subscription: str, other: Store
) -> None:
    world.queued(organization)
    world.due(organization, subscription)
    world.run(other.claim_queue(1, 3600))
    world.run(other.claim_deliveries(1, 3600, rooms=rooms(9)))
    assert world.claim_deliveries().deliveries == ()
    world.run(other.close())
    assert len(world.claim_queue().events) == 1
    assert len(world.claim_deliveries().deliveries) == 1


def test_a_start_takes_nothing_from_those_who_are_at_work(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription)
    claimed = world.claimed()
    another(world)
    assert list(world.settle(world.outcome(claimed))) == []


# ── settings ──────────────────────────────────────────────────────────────────────────────────


def test_what_one_changes_the_other_is_told(world: World, organization: str, other: Store) -> None:
    before = world.run(other.changes(0)).version
    record = world.record(organization)
    world.run(world.store.save_subscription(record))
    changes = world.run(other.changes(before))
    assert changes == Changes(changes.version, subscriptions=(record,))
    turned = turn(Switches(), {"delivery": "paused"}, at=other.now(), by="key_1")
    world.run(other.save_switches(turned))
    assert world.run(world.store.changes(changes.version)).switches == (turned,)


def test_a_reader_that_follows_the_changes_of_two_processes_never_misses_one(
    world: World, organization: str, other: Store
) -> None:
    records = [world.record(organization) for _ in range(60)]
    known: set[str] = set()

    async def save(store: Store, own: int) -> None:
        for record in records[own::2]:
            await store.save_subscription(record)

    async def follow() -> None:
        writing = asyncio.gather(save(world.store, 0), save(other, 1))
        at = 0
        while True:
            done = writing.done()
            changes = await world.store.changes(at)
            known.update(each.subscription.id for each in changes.subscriptions)
            at = changes.version
            if done:
                break
        await writing

    world.run(follow())
    assert known == {record.subscription.id for record in records}


def test_of_changes_that_rest_on_what_is_there_none_is_lost(
    world: World, organization: str, subscription: str, other: Store
) -> None:
    async def add_to(store: Store, name: str) -> None:
        async with store.one_change():
            found = await store.subscription(organization, subscription)
            assert found is not None
            more = msgspec.structs.replace(
                found.subscription, event_types=(*found.subscription.event_types, name)
            )
            await store.save_subscription(msgspec.structs.replace(found, subscription=more))

    async def at_once() -> None:
        await asyncio.gather(*(add_to((world.store, other)[n % 2], f"n{n}") for n in range(20)))

    world.run(at_once())
    found = world.run(other.subscription(organization, subscription))
    assert found is not None
    assert sorted(found.subscription.event_types) == sorted(["*", *(f"n{n}" for n in range(20))])


def test_what_is_changed_in_one_change_is_seen_by_others_at_its_end_and_all_of_it(
    world: World, organization: str, subscription: str, other: Store
) -> None:
    (due,) = world.due(organization, subscription)
    record = world.record(organization)

    async def change() -> None:
        async with world.store.one_change():
            await world.store.save_subscription(record)
            assert await world.store.subscription(organization, record.subscription.id) == record
            assert await world.store.delete_subscription(organization, subscription) is True
            listed = await other.subscriptions(organization, EVERYTHING)
            assert [each.id for each in listed] == [subscription]

    world.run(change())
    listed = world.run(other.subscriptions(organization, EVERYTHING))
    assert [each.id for each in listed] == [record.subscription.id]
    assert world.status_of(organization, due) == "cancelled", "as after a deletion by itself"
    world.assert_balanced()


def test_of_a_change_that_is_given_up_nothing_is_kept(
    world: World, organization: str, subscription: str, other: Store
) -> None:
    before = world.run(other.changes(0))

    async def give_up() -> None:
        async with world.store.one_change():
            await world.store.save_subscription(world.record(organization))
            await world.store.delete_subscription(organization, subscription)
            raise NotFound("there is no such organization")

    with pytest.raises(NotFound):
        world.run(give_up())
    assert world.run(other.changes(0)) == before
    world.run(world.store.save_subscription(world.record(organization)))
    assert len(world.run(other.subscriptions(organization, EVERYTHING))) == 2


def test_of_two_processes_that_start_on_an_empty_database_one_makes_the_first_organization(
    world: World, other: Store
) -> None:
    def first(store: Store) -> tuple[Organization, list[KeyRecord]]:
        organization = Organization(
            id=store.ids.new(ids.ORGANIZATION),
            name="default",
            created_at=store.now(),
            updated_at=store.now(),
        )
        return organization, [world.key(organization.id), world.key(None, scopes=(Scope.ADMIN,))]

    stores = (world.store, other) * 5
    firsts = [first(store) for store in stores]

    async def create() -> list[bool]:
        return await asyncio.gather(
            *(
                store.create_first_organization(*each)
                for store, each in zip(stores, firsts, strict=True)
            )
        )

    answers = world.run(create())
    assert answers.count(True) == 1
    organization, keys = firsts[answers.index(True)]
    changes = world.run(other.changes(0))
    assert changes.organizations == (organization,)
    assert {each.digest for each in changes.keys} == {each.digest for each in keys}


def test_all_processes_sign_with_one_key(world: World, other: Store) -> None:
    async def ask() -> list[bytes]:
        return await asyncio.gather(*(store.signing_key() for store in (world.store, other) * 5))

    assert len(set(world.run(ask()))) == 1
    assert world.run(another(world).signing_key()) == world.run(world.store.signing_key())


# ── wake-ups ──────────────────────────────────────────────────────────────────────────────────


def wakes_up(
    world: World, wait: Callable[[float], Coroutine[Any, Any, None]], work: Callable[[], Any]
) -> None:
    """Waiting in one process, begun with an hour to go, ends because of work in another."""

    async def scenario() -> None:
        while True:  # a notice of earlier work may still be there, or on its way
            try:
                await asyncio.wait_for(wait(3600), 0.2)
            except TimeoutError:
                break
        waiting = asyncio.ensure_future(wait(3600))
        await work()
        await waiting

    world.run(scenario())


def test_an_event_that_comes_to_one_wakes_the_processor_of_the_other(
    world: World, organization: str, other: Store
) -> None:
    wakes_up(world, other.wait_queue, lambda: world.store.append([world.event(organization)]))


def test_an_event_routed_by_one_wakes_the_dispatcher_of_the_other(
    world: World, organization: str, subscription: str, other: Store
) -> None:
    world.queued(organization)
    claim = world.claim_queue()
    routed = [RoutedEvent(claim.events[0], (world.new_delivery(subscription),))]
    wakes_up(world, other.wait_deliveries, lambda: world.store.fan_out(claim.token, routed))


def test_an_event_that_comes_with_its_deliveries_wakes_the_dispatcher_of_the_other(
    world: World, organization: str, subscription: str, other: Store
) -> None:
    event = world.event(organization, to=[subscription])
    wakes_up(world, other.wait_deliveries, lambda: world.store.append([event]))


def test_a_retry_by_hand_in_one_wakes_the_dispatcher_of_the_other(
    world: World, organization: str, subscription: str, other: Store
) -> None:
    (due,) = world.due(organization, subscription)
    world.settle(world.outcome(world.claimed(), "dead"))
    wakes_up(world, other.wait_deliveries, lambda: world.store.retry_delivery(organization, due))


# ── the health of endpoints ───────────────────────────────────────────────────────────────────


def failing(
    world: World, organization: str, subscriptions: Sequence[str], each: int
) -> list[Settlement]:
    """Failed attempts for deliveries that are claimed, as many for each subscription."""
    for subscription in subscriptions:
        world.due(organization, subscription, each)
    found = world.claim_deliveries(len(subscriptions) * each).deliveries
    assert len(found) == len(subscriptions) * each
    return [
        msgspec.structs.replace(
            world.outcome(claimed, "dead", status_code=None, error="timeout"), notify=True
        )
        for claimed in found
    ]


def settled_at_once(world: World, calls: Sequence[tuple[Store, list[Settlement]]]) -> list[Settled]:
    async def at_once() -> list[Settled]:
        return await asyncio.gather(*(store.settle(batch) for store, batch in calls))

    return world.run(at_once())


def test_failures_that_are_settled_by_several_at_once_are_all_counted_and_open_once(
    world: World, organization: str, other: Store
) -> None:
    subscriptions = [world.subscription(organization) for _ in range(6)]
    settlements = failing(world, organization, subscriptions, 20)
    batches: list[list[Settlement]] = [[] for _ in range(8)]
    for place, settlement in enumerate(settlements):
        batches[place % 8].append(settlement)
    # Each meets the endpoints in another order.
    calls = [
        ((world.store, other)[place % 2], batch if place % 4 < 2 else batch[::-1])
        for place, batch in enumerate(batches)
    ]
    answers = settled_at_once(world, calls)
    turned = [(each.event.value, each.subscription_id) for a in answers for each in a.changes]
    assert sorted(turned) == sorted(("opened", each) for each in subscriptions)
    known = world.run(world.store.endpoint_health(organization, subscriptions))
    assert {name: health.failures for name, health in known.items()} == dict.fromkeys(
        subscriptions, 20
    )
    assert len(world.run(world.store.notices(100))) == len(subscriptions)


def test_one_of_several_at_once_disables_a_subscription_that_failed_too_long(
    world: World, organization: str, subscription: str, other: Store, clock: FrozenClock
) -> None:
    world.settle(*failing(world, organization, [subscription], 10))
    clock.advance(seconds=2.5 * 86_400)
    world.settle(*failing(world, organization, [subscription], 1))
    clock.advance(seconds=2.5 * 86_400)
    late = failing(world, organization, [subscription], 1)
    answers = settled_at_once(world, [(world.store, late), (other, late)])
    assert sorted(len(each.stale) for each in answers) == [0, 1]
    turned = [each.event.value for answer in answers for each in answer.changes]
    assert turned == ["disabled"]
    told = [each.notice.type.value for each in world.run(other.notices(10))]
    assert told.count("subscription.disabled") == 1


def test_changing_subscriptions_and_settling_their_failures_do_not_stand_in_each_others_way(
    world: World, organization: str, other: Store
) -> None:
    subscriptions = [world.subscription(organization) for _ in range(5)]
    records = [world.record(organization, subscription_id=each) for each in subscriptions]
    settlements = failing(world, organization, subscriptions, 12)

    async def at_once() -> None:
        await asyncio.gather(
            *((world.store, other)[place % 2].settle(settlements[place::6]) for place in range(6)),
            *(
                (other, world.store)[place % 2].save_subscription(record, health=HealthReset.FORGET)
                for place, record in enumerate(records * 4)
            ),
        )

    world.run(at_once())
    for subscription in subscriptions:
        done = world.run(
            other.deliveries(organization, DeliveryFilter(subscription_id=subscription), EVERYTHING)
        )
        assert [each.status.value for each in done] == ["dead"] * 12
    world.assert_balanced()


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────


def dead_letter(world: World, organization: str, subscription: str) -> str:
    """The event of a new one."""
    world.due(organization, subscription)
    claimed = world.claimed()
    world.settle(world.outcome(claimed, "dead"))
    return claimed.event_id


def new_job(world: World, **fields: Any) -> Job:  # noqa: ANN401 - the selection's own
    return Job(
        id=world.store.ids.new(ids.JOB),
        kind=JobKind.REPLAY,
        selection=Selection(until=world.clock().after(seconds=1), **fields),
        created_at=world.clock(),
    )


def last_step(world: World, claimed: ClaimedJob, event_id: str, subscription: str) -> JobStep:
    replay = Replay(world.store.ids.new(ids.DELIVERY), event_id, subscription)
    return JobStep(claimed=claimed, then=Then.DONE, replays=(replay,), due_at=world.clock())


def test_a_job_is_claimed_by_one_of_two_processes(
    world: World, organization: str, other: Store
) -> None:
    for _ in range(20):
        world.run(world.store.create_job(organization, new_job(world), most_open=100))

    async def claim(store: Store) -> list[str]:
        found = []
        while (claimed := await store.claim_job(60)) is not None:
            found.append(claimed.job.id)
        return found

    async def at_once() -> list[list[str]]:
        return await asyncio.gather(*(claim(store) for store in (world.store, other) * 3))

    claimed = list(itertools.chain(*world.run(at_once())))
    assert len(claimed) == len(set(claimed)) == 20


def test_the_job_of_a_silent_process_is_freed_and_its_late_step_changes_nothing(
    world: World, organization: str, subscription: str, other: Store, clock: FrozenClock
) -> None:
    event_id = dead_letter(world, organization, subscription)
    world.beat("one")
    world.beat("two", store=other)
    world.run(world.store.create_job(organization, new_job(world), most_open=100))
    late = world.run(world.store.claim_job(60))
    assert late is not None
    for _ in range(4):
        clock.advance(seconds=2)
        world.beat("two", store=other)
    present = world.run(other.claim_job(60))
    assert present is not None
    assert present.token != late.token
    step = last_step(world, late, event_id, subscription)
    assert world.run(world.store.advance_job(step)) is None
    step = last_step(world, present, event_id, subscription)
    done = world.run(other.advance_job(step))
    assert done is not None
    assert (done.done, done.deliveries) == (1, 1)
    found = world.run(other.deliveries(organization, DeliveryFilter(), EVERYTHING))
    assert len(found) == 2
    world.assert_balanced()


def test_two_processes_that_replay_what_was_missed_at_once_send_it_once(
    world: World, organization: str, subscription: str, other: Store
) -> None:
    events = [dead_letter(world, organization, subscription) for _ in range(10)]
    for event_id in events:
        late = world.subscription(organization)
        claims = []
        for store in (world.store, other):
            job = new_job(world, missed=True, subscription_id=late)
            world.run(store.create_job(organization, job, most_open=100))
            claimed = world.run(store.claim_job(60))
            assert claimed is not None
            claims.append((store, last_step(world, claimed, event_id, late)))

        async def at_once(claims: list[tuple[Store, JobStep]] = claims) -> list[Job | None]:
            return await asyncio.gather(*(store.advance_job(step) for store, step in claims))

        ended = world.run(at_once())
        assert sorted(job.deliveries for job in ended if job is not None) == [0, 1]
    world.assert_balanced()


def test_a_job_that_comes_to_one_wakes_the_other(
    world: World, organization: str, other: Store
) -> None:
    job = new_job(world)
    wakes_up(
        world, other.wait_jobs, lambda: world.store.create_job(organization, job, most_open=100)
    )


# ── retention ─────────────────────────────────────────────────────────────────────────────────


def test_while_one_sweeps_old_events_it_is_over_for_the_other_and_all_go(
    world: World, organization: str, other: Store, clock: FrozenClock
) -> None:
    world.queued(organization, 40)
    world.route(world.claim_queue())
    clock.advance(seconds=8 * 86_400)
    before = clock().after(seconds=-7 * 86_400)

    async def sweep(store: Store) -> int:
        deleted, position = 0, None
        while True:
            pruned = await store.prune_events(cutoffs(before), after=position, limit=3)
            deleted += pruned.events
            position = pruned.position
            if position is None:
                return deleted

    async def main() -> tuple[int, int]:
        return await asyncio.gather(sweep(world.store), sweep(other))

    assert sum(world.run(main())) == 40
    assert world.run(world.store.events(organization, EventFilter(), EVERYTHING)) == []
    world.assert_balanced()
