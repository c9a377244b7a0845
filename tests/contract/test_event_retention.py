"""Old events go with all they had; what is not finished stays, and the books balance at each moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import pytest
from tests.contract.retention import cutoffs

from triggers_api.errors import InvalidState
from triggers_api.model.delivery import DeliveryStatus
from triggers_api.model.job import Selection
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import (
    DeliveryFilter,
    EventFilter,
    FailedEvent,
    OrganizationAccount,
    Page,
    Pruned,
    RoutedEvent,
)

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

DAY_S: Final = 86_400
EVERYTHING: Final = Page(limit=1000)
EMPTY: Final = {"events": 0, "event_payloads": 0, "deliveries": 0, "attempts": 0}


def swept(
    world: World,
    *,
    days: float = 7,
    own: Mapping[str, float] | None = None,
    limit: int = 100,
    pieces: list[Pruned] | None = None,
) -> Pruned:
    """A whole sweep: what it deleted, and each of its pieces in ``pieces``."""
    pieces = [] if pieces is None else pieces
    now = world.clock()
    position = None
    while True:
        pruned = world.run(
            world.store.prune_events(
                cutoffs(
                    now.after(seconds=-days * DAY_S),
                    {name: now.after(seconds=-n * DAY_S) for name, n in (own or {}).items()},
                ),
                after=position,
                limit=limit,
            )
        )
        pieces.append(pruned)
        position = pruned.position
        world.assert_balanced()
        if position is None:
            return Pruned(
                events=sum(each.events for each in pieces),
                deliveries=sum(each.deliveries for each in pieces),
                attempts=sum(each.attempts for each in pieces),
            )


def left(world: World, organization: str) -> set[str]:
    listed = world.run(world.store.events(organization, EventFilter(), EVERYTHING))
    return {event.id for event in listed}


def books(world: World, organization: str) -> OrganizationAccount:
    (found,) = [
        each for each in world.run(world.store.accounts()) if each.organization_id == organization
    ]
    return found


def rows(world: World) -> dict[str, int]:
    """How many rows of what an event consists of are in the database."""
    tables = ["events", "event_payloads", "deliveries", "attempts"]
    if world.engine.is_shared:
        tables = ["events", "event_states", "deliveries", "attempts", "dead_letters"]
    counted = {name: world.engine.execute(f"SELECT count(*) FROM {name}")[0][0] for name in tables}
    return {name: counted.get(name, 0) for name in {**EMPTY, **counted}}


def delivered(world: World, organization: str, subscription: str, status: str = "succeeded") -> str:
    """An event with one delivery that came to this, after one attempt."""
    world.due(organization, subscription, dedup_id=None)
    claimed = world.claimed()
    world.settle(world.outcome(claimed, status))
    return claimed.event_id


def test_an_event_goes_when_it_is_older_than_its_days_and_not_before(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    event_id = delivered(world, organization, subscription)
    clock.advance(seconds=7 * DAY_S)
    assert swept(world) == Pruned()
    assert left(world, organization) == {event_id}
    clock.advance(seconds=0.001)
    assert swept(world) == Pruned(events=1, deliveries=1, attempts=1)
    assert world.run(world.store.event(organization, event_id)) is None
    assert left(world, organization) == set()
    listed = world.run(world.store.deliveries(organization, DeliveryFilter(), EVERYTHING))
    assert listed == []
    assert set(rows(world).values()) == {0}
    found = books(world, organization)
    assert (found.accepted, found.processed, found.pruned) == (0, 0, 1)
    assert found.deliveries["total"] == 0


@pytest.mark.parametrize(
    "end", ["unwanted", "succeeded", "dead", "skipped", "cancelled", "called off", "deleted"]
)
def test_whatever_an_event_came_to_it_goes(
    world: World, organization: str, subscription: str, clock: FrozenClock, end: str
) -> None:
    if end in {"unwanted", "called off", "deleted"}:
        (event_id,) = world.queued(organization, dedup_id="x")
        if end == "unwanted":
            world.route(world.claim_queue())
        elif end == "called off":
            world.run(world.store.cancel_event(organization, event_id))
        else:
            world.run(world.store.delete_event(organization, event_id))
    else:
        delivered(world, organization, subscription, end)
    clock.advance(seconds=8 * DAY_S)
    assert swept(world).events == 1
    assert set(rows(world).values()) == {0}
    assert books(world, organization).pruned == 1
    assert world.append(world.event(organization, dedup_id="x")) == [None]


@pytest.mark.parametrize(
    "state",
    ["queued", "leased", "scheduled", "failed", "pending", "delivering", "retrying", "one of two"],
)
def test_what_is_not_finished_is_kept_however_old_it_is(
    world: World, organization: str, subscription: str, clock: FrozenClock, state: str
) -> None:
    if state in {"queued", "leased", "scheduled", "failed"}:
        wait_ms = 3650 * DAY_S * 1000
        deliver_at = Timestamp(clock() + wait_ms) if state == "scheduled" else None
        (event_id,) = world.queued(organization, deliver_at=deliver_at)
        clock.advance(seconds=365 * DAY_S)
        if state in {"leased", "failed"}:
            claim = world.claim_queue()
        if state == "failed":
            world.run(world.store.release(claim.token, [FailedEvent(claim.events[0], "no", None)]))
            clock.advance(seconds=365 * DAY_S)
    else:
        others = [world.subscription(organization)] if state == "one of two" else []
        event = world.event(organization, to=[subscription, *others])
        event_id = event.id
        world.append(event)
        clock.advance(seconds=365 * DAY_S)
        if state == "delivering":
            world.claimed()
        elif state == "retrying":
            claimed = world.claimed()
            again = world.outcome(claimed, "retrying", status_code=500, retry_in_s=10 * DAY_S)
            world.settle(again)
            clock.advance(seconds=9 * DAY_S)
        elif state == "one of two":
            world.settle(world.outcome(world.claimed(limit=1)))
            clock.advance(seconds=9 * DAY_S)
    before = rows(world)
    assert swept(world) == Pruned()
    assert left(world, organization) == {event_id}
    assert rows(world) == before
    assert books(world, organization).accepted == 1


def test_the_days_are_counted_from_the_last_thing_that_happened(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    scheduled = world.event(organization, deliver_at=Timestamp(clock() + 30 * DAY_S * 1000))
    late = world.event(organization, to=[subscription])
    world.append(scheduled, late)
    clock.advance(seconds=30 * DAY_S)
    world.route(world.claim_queue())
    world.settle(world.outcome(world.claimed(), "dead"))
    clock.advance(seconds=6 * DAY_S)
    assert swept(world) == Pruned()
    replayed = world.new_delivery(subscription)
    world.run(world.store.replay_event(organization, late.id, [replayed]))
    world.settle(world.outcome(world.claimed()))
    clock.advance(seconds=2 * DAY_S)
    assert swept(world).events == 1
    assert left(world, organization) == {late.id}
    clock.advance(seconds=6 * DAY_S)
    assert swept(world) == Pruned(events=1, deliveries=2, attempts=2)


def test_an_organization_has_its_own_days_and_others_theirs(
    world: World, clock: FrozenClock
) -> None:
    names = {name: world.organization(name) for name in ("short", "usual", "long", "for ever")}
    for owner in names.values():
        world.queued(owner, 3)
    world.route(world.claim_queue())

    def counts() -> dict[str, int]:
        return {name: len(left(world, owner)) for name, owner in names.items()}

    def sweep() -> None:
        forever = clock() / 1000 / DAY_S
        own = {names["short"]: 1, names["long"]: 30, names["for ever"]: forever}
        swept(world, own=own, limit=2)

    clock.advance(seconds=2 * DAY_S)
    sweep()
    assert counts() == {"short": 0, "usual": 3, "long": 3, "for ever": 3}
    clock.advance(seconds=6 * DAY_S)
    sweep()
    assert counts() == {"short": 0, "usual": 0, "long": 3, "for ever": 3}
    clock.advance(seconds=365 * DAY_S)
    sweep()
    assert counts() == {"short": 0, "usual": 0, "long": 0, "for ever": 3}


def test_events_of_a_deleted_organization_go_as_well(
    world: World, organization: str, clock: FrozenClock
) -> None:
    world.queued(organization, 2)
    world.route(world.claim_queue())
    world.run(world.store.delete_organization(organization))
    clock.advance(seconds=8 * DAY_S)
    assert swept(world).events == 2


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_a_sweep_in_pieces_deletes_what_one_at_once_would(
    world: World, subscription: str, organization: str, clock: FrozenClock, limit: int
) -> None:
    other = world.organization("Other")
    kept = set()
    for owner in (organization, other):
        for _ in range(3):
            world.queued(owner, 2)
            world.route(world.claim_queue())
            kept |= set(world.queued(owner, deliver_at=Timestamp(clock() + 90 * DAY_S * 1000)))
    delivered(world, organization, subscription)
    clock.advance(seconds=8 * DAY_S)
    kept |= set(world.queued(organization))
    pieces: list[Pruned] = []
    assert swept(world, limit=limit, pieces=pieces) == Pruned(events=13, deliveries=1, attempts=1)
    assert len(pieces) >= (13 + 6) // limit
    assert all(piece.events <= limit for piece in pieces)
    assert left(world, organization) | left(world, other) == kept


def test_more_organizations_than_a_piece_goes_into_are_all_swept(
    world: World, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine in ("sqlite.retention_verbs", "postgres.store"):
        monkeypatch.setattr(f"triggers_api.store.{engine}._ORGANIZATIONS_AT_ONCE", 2)
    owners = [world.organization(f"number {number}") for number in range(5)]
    for owner in owners:
        world.queued(owner)
    world.route(world.claim_queue())
    clock.advance(seconds=8 * DAY_S)
    pieces: list[Pruned] = []
    assert swept(world, pieces=pieces).events == 5
    assert len(pieces) >= 3


def test_a_delivery_that_is_opened_again_during_the_sweep_keeps_its_event(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    store = world.store
    for _ in range(30):
        world.due(organization, subscription)
    claimed = world.claim_deliveries().deliveries
    world.settle(*[world.outcome(each, "skipped", attempted=False) for each in claimed])
    clock.advance(seconds=8 * DAY_S)
    before = clock().after(seconds=-7 * DAY_S)

    async def retried(delivery_id: str) -> bool:
        try:
            return await store.retry_delivery(organization, delivery_id)
        except InvalidState:
            return False

    async def main() -> tuple[Pruned, list[bool]]:
        sweep = asyncio.create_task(store.prune_events(cutoffs(before), after=None, limit=100))
        answers = await asyncio.gather(*[retried(each.id) for each in claimed])
        return await sweep, answers

    pruned, answers = world.run(main())
    reopened = {each.event_id for each, found in zip(claimed, answers, strict=True) if found}
    assert left(world, organization) >= reopened
    assert {each.event_id for each in world.claim_deliveries().deliveries} == reopened
    assert pruned.events <= 30 - len(reopened)
    world.assert_balanced()


def test_who_reads_on_from_an_event_that_went_is_not_stopped(
    world: World, organization: str, clock: FrozenClock
) -> None:
    old = world.queued(organization, 3)
    world.route(world.claim_queue())
    page = world.run(world.store.log(organization, None, 2))
    clock.advance(seconds=8 * DAY_S)
    new = world.queued(organization, 2)
    assert swept(world).events == 3
    following = world.run(world.store.log(organization, page.position, 10))
    assert [event.id for event in following.events] == new
    assert world.run(world.store.log_position(organization, old[0])) is None
    walked = world.run(
        world.store.walk_events(organization, Selection(until=clock().after(seconds=1)), old[1], 10)
    )
    assert [event.id for event in walked] == new
    older = world.run(world.store.events(organization, EventFilter(), Page(10, before=new[0])))
    assert older == []


def test_ids_and_the_log_go_on_after_everything_went(
    world: World, organization: str, clock: FrozenClock
) -> None:
    old = world.queued(organization, 3)
    world.route(world.claim_queue())
    position = world.run(world.store.log_end(organization))
    clock.advance(seconds=8 * DAY_S)
    assert swept(world).events == 3
    world.run(world.engine.reopen())
    (new,) = world.queued(organization)
    assert new > max(old)
    following = world.run(world.store.log(organization, position, 10))
    assert [event.id for event in following.events] == [new]


def test_what_lies_open_of_an_event_is_not_hidden_by_what_was_purged(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    event_id = delivered(world, organization, subscription)
    clock.advance(seconds=8 * DAY_S)
    (delivery,) = world.run(
        world.store.deliveries(organization, DeliveryFilter(event_id=event_id), EVERYTHING)
    )
    assert delivery.status is DeliveryStatus.SUCCEEDED
    again = world.new_delivery(subscription)
    world.run(world.store.replay_event(organization, event_id, [again]))
    assert swept(world) == Pruned()
    assert world.claimed().id == again.id


def test_a_crash_after_a_piece_leaves_whole_events_and_books_that_balance(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    for _ in range(5):
        delivered(world, organization, subscription)
    clock.advance(seconds=8 * DAY_S)
    before = clock().after(seconds=-7 * DAY_S)
    first = world.run(world.store.prune_events(cutoffs(before), after=None, limit=2))
    assert first.events == 2
    world.run(world.engine.crash())
    world.assert_balanced()
    assert len(left(world, organization)) == 3
    assert swept(world) == Pruned(events=3, deliveries=3, attempts=3)


def test_nobody_is_hindered_by_a_fan_out_at_the_same_time(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.queued(organization, 20)
    clock.advance(seconds=8 * DAY_S)
    claim = world.claim_queue()
    store = world.store
    before = clock().after(seconds=-7 * DAY_S)
    routed = [
        RoutedEvent(event, (world.new_delivery(subscription),) if number % 2 else ())
        for number, event in enumerate(claim.events)
    ]

    async def main() -> Pruned:
        sweep = asyncio.create_task(store.prune_events(cutoffs(before), after=None, limit=100))
        assert list(await store.fan_out(claim.token, routed)) == []
        return await sweep

    # They were decided a moment ago.
    assert world.run(main()) == Pruned()
    assert len(left(world, organization)) == 20
    assert len(world.claim_deliveries().deliveries) == 10
    world.assert_balanced()
