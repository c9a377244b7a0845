"""Another organization's id is the same as one that does not exist, for every verb that takes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from triggers_api.model import ids
from triggers_api.store.base import DeliveryFilter, EventFilter, Page

if TYPE_CHECKING:
    from tests.contract.conftest import World

EVERYTHING = Page(limit=1000)


class Belongings(NamedTuple):
    """What one organization has."""

    organization: str
    subscription: str
    queued: str
    event: str
    pending: str
    dead: str
    key: str


@pytest.fixture
def theirs(world: World) -> Belongings:
    organization = world.organization("Theirs")
    subscription = world.subscription(organization)
    world.due(organization, subscription)
    dead = world.claimed()
    world.settle(world.outcome(dead, "dead"))
    (pending,) = world.due(organization, subscription)
    (queued,) = world.queued(organization, dedup_id="x")
    (key,) = world.run(world.store.keys(organization))
    return Belongings(organization, subscription, queued, dead.event_id, pending, dead.id, key.id)


@pytest.fixture
def snapshot(world: World, theirs: Belongings) -> object:
    return everything_of(world, theirs)


def everything_of(world: World, theirs: Belongings) -> object:
    store, run = world.store, world.run
    return (
        run(store.events(theirs.organization, EventFilter(), EVERYTHING)),
        run(store.event(theirs.organization, theirs.event)),
        run(store.delivery(theirs.organization, theirs.pending)),
        run(store.delivery(theirs.organization, theirs.dead)),
        run(store.subscription(theirs.organization, theirs.subscription)),
        run(store.keys(theirs.organization)),
        [account for account in run(store.accounts())
         if account.organization_id == theirs.organization],
    )  # fmt: skip


def test_reading_by_id(world: World, organization: str, theirs: Belongings) -> None:
    store, run = world.store, world.run
    for event in (theirs.event, theirs.queued):
        assert run(store.event(theirs.organization, event)) is not None
        assert run(store.event(organization, event)) is None
    for delivery in (theirs.pending, theirs.dead):
        assert run(store.delivery(theirs.organization, delivery)) is not None
        assert run(store.delivery(organization, delivery)) is None
    assert run(store.subscription(theirs.organization, theirs.subscription)) is not None
    assert run(store.subscription(organization, theirs.subscription)) is None


def test_reading_lists(world: World, organization: str, theirs: Belongings) -> None:
    store, run = world.store, world.run
    assert run(store.events(organization, EventFilter(), EVERYTHING)) == []
    assert run(store.events(organization, EventFilter(dedup_id="x"), EVERYTHING)) == []
    assert run(store.events(organization, EventFilter(type="*"), EVERYTHING)) == []
    for wanted in (
        DeliveryFilter(),
        DeliveryFilter(event_id=theirs.event),
        DeliveryFilter(subscription_id=theirs.subscription),
        DeliveryFilter(event_id=theirs.event, subscription_id=theirs.subscription),
    ):
        assert run(store.deliveries(organization, wanted, EVERYTHING)) == []
        assert run(store.deliveries(theirs.organization, wanted, EVERYTHING)) != []
    assert run(store.subscriptions(organization, EVERYTHING)) == []
    (own,) = run(store.keys(organization))
    assert own.id != theirs.key


def test_dead_letters(world: World, organization: str, theirs: Belongings) -> None:
    from triggers_api.model.delivery import DeliveryStatus  # noqa: PLC0415

    wanted = DeliveryFilter(status=DeliveryStatus.DEAD)
    (letter,) = world.run(world.store.deliveries(theirs.organization, wanted, EVERYTHING))
    assert letter.id == theirs.dead
    assert world.run(world.store.deliveries(organization, wanted, EVERYTHING)) == []


@pytest.mark.parametrize(
    ("verb", "what"),
    [
        ("delete_event", "queued"),
        ("delete_event", "event"),
        ("retry_delivery", "pending"),
        ("retry_delivery", "dead"),
        ("cancel_delivery", "pending"),
        ("cancel_delivery", "dead"),
        ("delete_subscription", "subscription"),
        ("revoke_key", "key"),
    ],
)
def test_changing_by_id(
    world: World, organization: str, theirs: Belongings, snapshot: object, verb: str, what: str
) -> None:
    change = getattr(world.store, verb)
    assert world.run(change(organization, getattr(theirs, what))) is False
    unknown = world.store.ids.new(getattr(theirs, what)[:3])
    assert world.run(change(organization, unknown)) is False
    assert everything_of(world, theirs) == snapshot


@pytest.mark.parametrize("verb", ["delete_event", "retry_delivery", "cancel_delivery"])
def test_an_organization_that_does_not_exist_has_nothing(
    world: World, theirs: Belongings, snapshot: object, verb: str
) -> None:
    nobody = world.store.ids.new(ids.ORGANIZATION)
    what = theirs.queued if verb == "delete_event" else theirs.pending
    assert world.run(getattr(world.store, verb)(nobody, what)) is False
    assert everything_of(world, theirs) == snapshot


def test_a_duplicate_of_another_organization_s_event_tells_nothing_of_it(
    world: World, organization: str, theirs: Belongings
) -> None:
    assert world.append(world.event(organization, dedup_id="x")) == [None]
    (answer,) = world.append(world.event(organization, dedup_id="x"))
    assert answer is not None
    assert answer.id != theirs.queued


def test_the_books_are_kept_apart(world: World, organization: str, theirs: Belongings) -> None:
    accounts = {each.organization_id: each for each in world.run(world.store.accounts())}
    assert accounts[organization].accepted == 0
    assert accounts[organization].deliveries["total"] == 0
    assert accounts[theirs.organization].accepted == 3
    assert accounts[theirs.organization].deliveries["total"] == 2


def test_deleting_one_organization_leaves_the_other_alone(
    world: World, organization: str, theirs: Belongings, snapshot: object
) -> None:
    world.subscription(organization)
    assert world.run(world.store.delete_organization(organization)) is True
    assert everything_of(world, theirs) == snapshot
    assert world.claimed().id == theirs.pending


def test_the_end_of_one_page_is_no_window_into_another_organization(
    world: World, organization: str, theirs: Belongings
) -> None:
    world.queued(organization, 3)
    page = Page(limit=10, before=theirs.queued)
    for event in world.run(world.store.events(organization, EventFilter(), page)):
        assert event.id < theirs.queued
    assert {
        event.id
        for event in world.run(world.store.events(theirs.organization, EventFilter(), page))
    }.isdisjoint({theirs.queued})


def test_room_for_one_organization_s_subscription_says_nothing_of_another_s(
    world: World, organization: str, theirs: Belongings
) -> None:
    mine = world.subscription(organization)
    (due,) = world.due(organization, mine)
    claim = world.claim_deliveries(room={theirs.subscription: 0}, default_room=5)
    assert [delivery.id for delivery in claim.deliveries] == [due]
