"""Reading what was kept: lists, filters, pages, one event, one delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from triggers_api.model.delivery import DeliveryStatus
from triggers_api.model.event import EventStatus
from triggers_api.model.text import glob_matches
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import DeliveryFilter, EventFilter, FailedEvent, Page

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World


def events(
    world: World,
    organization: str,
    *,
    limit: int = 1000,
    before: str | None = None,
    **wanted: object,
) -> list[str]:
    wish = EventFilter(**wanted)  # type: ignore[arg-type]
    return [
        event.id for event in world.run(world.store.events(organization, wish, Page(limit, before)))
    ]


def deliveries(
    world: World,
    organization: str,
    *,
    limit: int = 1000,
    before: str | None = None,
    **wanted: object,
) -> list[str]:
    wish = DeliveryFilter(**wanted)  # type: ignore[arg-type]
    page = Page(limit, before)
    return [each.id for each in world.run(world.store.deliveries(organization, wish, page))]


# ── events ────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_list_is_empty(world: World, organization: str) -> None:
    assert events(world, organization) == []
    assert deliveries(world, organization) == []


def test_events_are_listed_newest_first(
    world: World, organization: str, clock: FrozenClock
) -> None:
    stored = []
    for _ in range(3):
        stored += world.queued(organization, 2)
        clock.advance(seconds=1)
    assert events(world, organization) == stored[::-1]


def test_a_listed_event_is_the_event_found_by_id(
    world: World, organization: str, clock: FrozenClock
) -> None:
    event = world.event(
        organization,
        dedup_id="d",
        source="s",
        key="k",
        metadata=b'{"a":"b"}',
        occurred_at=Timestamp(1),
        deliver_at=Timestamp(clock() + 1000),
    )
    world.append(event)
    (listed,) = world.run(world.store.events(organization, EventFilter(), Page()))
    found = world.run(world.store.event(organization, event.id))
    assert found is not None
    for name in listed.__struct_fields__:
        assert getattr(listed, name) == getattr(found, name), name


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_pages_of_events_follow_each_other_without_gap_or_repeat(
    world: World, organization: str, size: int
) -> None:
    stored = world.queued(organization, 7)
    read: list[str] = []
    while page := events(world, organization, limit=size, before=read[-1] if read else None):
        read += page
        # What comes in while somebody reads is newer and belongs to no later page.
        world.queued(organization)
    assert read == stored[::-1]


def test_a_filtered_page_is_full_although_others_lie_between(
    world: World, organization: str
) -> None:
    wanted = []
    for _ in range(10):
        world.queued(organization, 5, type="noise")
        wanted += world.queued(organization, type="wanted")
    first = events(world, organization, limit=6, type="wanted")
    assert first == wanted[:3:-1]
    assert events(world, organization, limit=6, before=first[-1], type="wanted") == wanted[3::-1]


def test_since_is_inclusive_and_until_exclusive(
    world: World, organization: str, clock: FrozenClock
) -> None:
    first = clock()
    stored = []
    for _ in range(5):
        stored += world.queued(organization)
        clock.advance(seconds=0.001)
    second, fourth = Timestamp(first + 1), Timestamp(first + 3)
    assert events(world, organization, since=second) == stored[:0:-1]
    assert events(world, organization, until=fourth) == stored[2::-1]
    assert events(world, organization, since=second, until=fourth) == stored[2:0:-1]
    assert events(world, organization, since=second, until=second) == []
    assert events(world, organization, since=fourth, until=second) == []
    assert events(world, organization, since=Timestamp(0)) == stored[::-1]
    last = events(world, organization, since=second, until=fourth, limit=1)
    assert last == [stored[2]]
    assert events(world, organization, since=second, until=fourth, before=last[0]) == [stored[1]]


@pytest.mark.parametrize(
    "pattern",
    ["*", "order.created", "order.*", "*.created", "*.*", "order.*.added", "o*d", "a:b/c_d-e", "O*",
     "**", "nothing", "order"],
)  # fmt: skip
def test_a_type_is_a_pattern_and_matches_as_in_subscriptions(
    world: World, organization: str, pattern: str
) -> None:
    types = ["order.created", "order.item.added", "order", "invoice.created", "a:b/c_d-e", "ord"]
    stored = {each: world.queued(organization, type=each)[0] for each in types}
    wanted = [stored[each] for each in types if glob_matches(pattern, each)]
    assert events(world, organization, type=pattern) == wanted[::-1]


def test_an_event_is_found_by_its_dedup_id(world: World, organization: str) -> None:
    world.append(*[world.event(organization, dedup_id=f"{n}") for n in range(5)])
    (found,) = world.run(world.store.events(organization, EventFilter(dedup_id="3"), Page()))
    assert found.dedup_id == "3"
    assert events(world, organization, dedup_id="5") == []
    assert events(world, organization, dedup_id="") == []
    assert events(world, organization, dedup_id="3", type="order.*") == [found.id]
    assert events(world, organization, dedup_id="3", type="invoice.*") == []
    assert events(world, organization, dedup_id="3", status=EventStatus.QUEUED) == [found.id]
    assert events(world, organization, dedup_id="3", status=EventStatus.FAILED) == []
    assert events(world, organization, dedup_id="3", since=found.received_at) == [found.id]
    assert events(world, organization, dedup_id="3", until=found.received_at) == []
    assert events(world, organization, dedup_id="3", before=found.id) == []


def test_events_are_filtered_by_where_they_stand(
    world: World, organization: str, clock: FrozenClock
) -> None:
    (processed,) = world.queued(organization)
    world.route(world.claim_queue())
    (failed,) = world.queued(organization)
    claim = world.claim_queue()
    world.run(world.store.release(claim.token, [FailedEvent(claim.events[0], "no", None)]))
    (queued,) = world.queued(organization)
    (scheduled,) = world.queued(organization, deliver_at=Timestamp(clock() + 1000))
    by_status = {status: events(world, organization, status=status) for status in EventStatus}
    assert by_status == {
        EventStatus.SCHEDULED: [scheduled],
        EventStatus.QUEUED: [queued],
        EventStatus.PROCESSED: [processed],
        EventStatus.FAILED: [failed],
        EventStatus.QUARANTINED: [],
        EventStatus.CANCELLED: [],
    }
    clock.advance(seconds=1)
    assert events(world, organization, status=EventStatus.SCHEDULED) == []
    assert events(world, organization, status=EventStatus.QUEUED) == [scheduled, queued]
    # Claimed is still queued, until it is routed.
    world.claim_queue()
    assert events(world, organization, status=EventStatus.QUEUED) == [scheduled, queued]


def test_a_scheduled_event_is_processed_once_it_was_routed(
    world: World, organization: str, clock: FrozenClock
) -> None:
    (scheduled,) = world.queued(organization, deliver_at=Timestamp(clock() + 1000))
    clock.advance(seconds=1)
    world.route(world.claim_queue())
    assert events(world, organization, status=EventStatus.PROCESSED) == [scheduled]
    assert events(world, organization, status=EventStatus.QUEUED) == []


@pytest.mark.parametrize("offset_ms", [-1, 0])
def test_an_event_with_a_deliver_at_that_had_passed_is_listed_as_queued(
    world: World, organization: str, clock: FrozenClock, offset_ms: int
) -> None:
    (event_id,) = world.queued(organization, deliver_at=Timestamp(clock() + offset_ms))
    assert events(world, organization, status=EventStatus.QUEUED) == [event_id]
    assert events(world, organization, status=EventStatus.SCHEDULED) == []


def test_deleted_events_are_listed_nowhere(world: World, organization: str) -> None:
    (kept,) = world.queued(organization)
    event = world.event(organization, dedup_id="x")
    world.append(event)
    assert world.run(world.store.delete_event(organization, event.id))
    assert events(world, organization) == [kept]
    assert events(world, organization, dedup_id="x") == []
    assert world.run(world.store.event(organization, event.id)) is None
    for status in EventStatus:
        assert event.id not in events(world, organization, status=status)


@pytest.mark.parametrize(
    "malformed", ["", "x", "evt_", "evt_" + "0" * 32, "dlv_" + "0" * 32, "'; --", "\x00", "é" * 40]
)
def test_an_id_that_is_none_is_the_same_as_one_that_does_not_exist(
    world: World, organization: str, subscription: str, malformed: str
) -> None:
    world.due(organization, subscription)
    store, run = world.store, world.run
    assert run(store.event(organization, malformed)) is None
    assert run(store.event(malformed, malformed)) is None
    assert run(store.delivery(organization, malformed)) is None
    assert run(store.subscription(organization, malformed)) is None
    assert run(store.delete_event(organization, malformed)) is False
    assert run(store.retry_delivery(organization, malformed)) is False
    assert run(store.cancel_delivery(organization, malformed)) is False
    assert run(store.delete_subscription(organization, malformed)) is False
    assert run(store.revoke_key(organization, malformed)) is False
    assert run(store.delete_organization(malformed)) is False
    assert run(store.keys(malformed)) == []
    assert events(world, malformed) == []
    assert deliveries(world, organization, event_id=malformed) == []
    assert deliveries(world, organization, subscription_id=malformed) == []
    assert run(store.subscriptions(malformed, Page())) == []


# ── deliveries ────────────────────────────────────────────────────────────────────────────────


def test_deliveries_are_listed_newest_first_with_what_is_known_of_them(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    made = []
    for _ in range(3):
        made += world.due(organization, subscription, type="invoice.paid")
        clock.advance(seconds=1)
    page = world.run(world.store.deliveries(organization, DeliveryFilter(), Page()))
    assert [each.id for each in page] == made[::-1]
    for each in page:
        found = world.run(world.store.delivery(organization, each.id))
        assert found is not None
        for name in each.__struct_fields__:
            assert getattr(each, name) == getattr(found, name), name
        assert each.event_type == "invoice.paid"


FILTERS: tuple[dict[str, object], ...] = (
    {},
    {"status": DeliveryStatus.PENDING},
    {"status": DeliveryStatus.DELIVERING},
    {"status": DeliveryStatus.RETRYING},
    {"status": DeliveryStatus.SUCCEEDED},
    {"status": DeliveryStatus.DEAD},
    {"status": DeliveryStatus.SKIPPED},
    {"status": DeliveryStatus.CANCELLED},
)


@pytest.mark.parametrize("status", FILTERS, ids=lambda each: str(each.get("status", "any")))
@pytest.mark.parametrize("by_subscription", [False, True])
@pytest.mark.parametrize("by_event", [False, True])
@pytest.mark.parametrize("by_time", [False, True])
@pytest.mark.parametrize("size", [3, 1000])
def test_every_filter_of_deliveries_works_with_every_other_and_in_pages(
    world: World,
    organization: str,
    clock: FrozenClock,
    status: dict[str, object],
    size: int,
    *,
    by_subscription: bool,
    by_event: bool,
    by_time: bool,
) -> None:
    begin = clock()
    subscriptions = [world.subscription(organization) for _ in range(3)]
    outcomes = ["succeeded", "dead", "skipped", "cancelled", "retrying", "delivering", "pending"]
    for status_name in outcomes:
        world.append(world.event(organization, to=subscriptions))
        if status_name != "pending":
            for claimed in world.claim_deliveries().deliveries:
                if status_name != "delivering":
                    world.settle(world.outcome(claimed, status_name, retry_in_s=3600))
        clock.advance(seconds=1)
    everything = world.run(world.store.deliveries(organization, DeliveryFilter(), Page(limit=1000)))
    assert len(everything) == 21
    wanted: dict[str, object] = dict(status)
    if by_subscription:
        wanted["subscription_id"] = subscriptions[1]
    if by_event:
        wanted["event_id"] = everything[-1].event_id
    if by_time:
        wanted |= {"since": Timestamp(begin + 1000), "until": Timestamp(begin + 6000)}
    expected = [
        each.id
        for each in everything
        if wanted.get("status") in (None, each.status)
        and wanted.get("subscription_id") in (None, each.subscription_id)
        and wanted.get("event_id") in (None, each.event_id)
        and (not by_time or begin + 1000 <= each.created_at < begin + 6000)
    ]
    read: list[str] = []
    while page := deliveries(
        world, organization, limit=size, before=read[-1] if read else None, **wanted
    ):
        assert len(page) <= size
        read += page
    assert read == expected


# ── one event's history ───────────────────────────────────────────────────────────────────────


def test_an_event_s_timeline_tells_what_became_of_it_in_order(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    received = clock()
    (event_id,) = world.queued(organization)
    routed = clock.advance(seconds=1)
    world.route(world.claim_queue(), subscription)
    tried = clock.advance(seconds=1)
    world.settle(
        world.outcome(world.claimed(), "retrying", status_code=None, error="timeout", retry_in_s=5)
    )
    finished = clock.advance(seconds=5)
    world.settle(world.outcome(world.claimed(), "dead", status_code=500, reason="used up"))
    found = world.run(world.store.event(organization, event_id))
    assert found is not None
    (delivery,) = found.deliveries
    assert [(moment.what, moment.at) for moment in found.timeline] == [
        ("received", received),
        ("processed", routed),
        ("attempt", tried),
        ("attempt", finished),
        ("dead", finished),
    ]
    assert "timeout" in (found.timeline[2].detail or "")
    assert "500" in (found.timeline[3].detail or "")
    assert found.timeline[4].detail == "used up"
    for moment in found.timeline[2:]:
        assert moment.delivery_id == delivery.id
        assert moment.subscription_id == subscription


def test_the_timeline_of_a_fresh_event_says_that_it_was_received(
    world: World, organization: str, clock: FrozenClock
) -> None:
    (event_id,) = world.queued(organization)
    found = world.run(world.store.event(organization, event_id))
    assert found is not None
    assert [(moment.what, moment.at) for moment in found.timeline] == [("received", clock())]


def test_every_line_of_a_timeline_has_a_name_that_the_contract_knows(
    world: World, organization: str, clock: FrozenClock
) -> None:
    (event_id,) = world.queued(organization, deliver_at=Timestamp(clock() + 1000))
    found = world.run(world.store.event(organization, event_id))
    assert found is not None
    assert {moment.what for moment in found.timeline} <= {
        "received", "scheduled", "processed", "failed", "cancelled", "attempt", "succeeded", "dead",
        "skipped",
    }  # fmt: skip


def test_an_event_shows_all_its_deliveries(world: World, organization: str) -> None:
    subscriptions = [world.subscription(organization) for _ in range(60)]
    event = world.event(organization, to=subscriptions)
    world.append(event)
    found = world.run(world.store.event(organization, event.id))
    assert found is not None
    assert {delivery.subscription_id for delivery in found.deliveries} == set(subscriptions)


@pytest.mark.parametrize("few", [1, 5000], ids=["much-is-open", "little-is-open"])
def test_deliveries_that_are_not_finished_are_listed_by_their_status(
    world: World, organization: str, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("triggers_api.store.sqlite.record_reads._FEW_OPEN", few)
    record, other = world.subscription(organization), world.subscription(organization)
    elsewhere = world.organization()
    world.due(elsewhere, world.subscription(elsewhere), 2)
    made = [world.due(organization, each)[0] for each in (record, other) * 4]
    claimed = {each.id: each for each in world.claim_deliveries(limit=100).deliveries}
    for each in claimed.values():
        if each.id in made[:2]:
            world.settle(world.outcome(each))
        elif each.id in made[2:4]:
            world.settle(world.outcome(each, "retrying", status_code=500, retry_in_s=60))
        elif each.id in made[4:6]:
            world.settle(world.outcome(each, "pending", attempted=False))
    expected = {
        "succeeded": made[:2],
        "retrying": made[2:4],
        "pending": made[4:6],
        "delivering": made[6:],
    }

    def listed(status: str, subscription: str | None = None, page: Page | None = None) -> list[str]:
        wanted = DeliveryFilter(status=DeliveryStatus(status), subscription_id=subscription)
        found = world.run(world.store.deliveries(organization, wanted, page or Page()))
        assert all(each.status.value == status for each in found)
        return [each.id for each in found]

    for status, ids in expected.items():
        assert listed(status) == ids[::-1]
        assert listed(status, record) == ids[:1]
        assert listed(status, page=Page(limit=1)) == ids[1:]
        assert listed(status, page=Page(before=ids[1])) == ids[:1]


@pytest.mark.parametrize("by_subscription", [False, True])
@pytest.mark.parametrize("status", ["succeeded", "skipped", "cancelled", "retrying"])
def test_a_look_for_a_rare_status_ends_early_and_goes_on_where_it_was(
    world: World,
    organization: str,
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    *,
    by_subscription: bool,
) -> None:
    monkeypatch.setattr("triggers_api.store.sqlite.record_reads._FEW_OPEN", 1)
    subscription, other = world.subscription(organization), world.subscription(organization)
    common = "dead" if status == "succeeded" else "succeeded"
    expected = []
    for number in range(12):
        made = world.due(organization, subscription) + world.due(organization, other)
        for claimed in world.claim_deliveries(limit=2).deliveries:
            rare = number in {1, 2, 9}
            world.settle(world.outcome(claimed, status if rare else common, retry_in_s=3600))
            if rare and claimed.id in made[: 1 if by_subscription else 2]:
                expected.append(claimed.id)
    wanted = DeliveryFilter(
        status=DeliveryStatus(status), subscription_id=subscription if by_subscription else None
    )
    read: list[str] = []
    looks, before = 0, None
    while True:
        page = Page(limit=3, before=before)
        found = world.run(world.store.deliveries(organization, wanted, page, depth=4))
        read += [each.id for each in found]
        looks += 1
        before = found[-1].id if len(found) == 3 else found.go_on
        if before is None:
            break
    assert sorted(read, reverse=True) == read
    assert sorted(read) == sorted(expected)
    # What is not finished may lie in a queue of its own, in which nothing else is.
    assert looks > 2 or status == "retrying"


@pytest.mark.parametrize("status", ["skipped", "pending", "dead"])
def test_a_look_for_what_others_have_tells_nothing_of_them(
    world: World, organization: str, status: str
) -> None:
    elsewhere = world.organization()
    theirs = world.subscription(elsewhere)
    for _ in range(3):
        world.due(elsewhere, theirs, 2)
    wanted = DeliveryFilter(status=DeliveryStatus(status), subscription_id=theirs)
    found = world.run(world.store.deliveries(organization, wanted, Page(), depth=1))
    assert found == []
    assert found.go_on is None
