"""Who a claim serves when not everybody can be: lines, organizations, turns, and half-open breakers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.rooms import rooms

from triggers_api.model.subscription import SubscriptionStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.contract.conftest import FrozenClock, World

    from triggers_api.store.base import ClaimedDelivery, DeliveryClaim

MIB = 1 << 20


def lines(claim: DeliveryClaim) -> tuple[int, int]:
    """How many first attempts and how many others."""
    counts = Counter(delivery.priority for delivery in claim.deliveries)
    assert set(counts) <= {0, 1}
    return counts[0], counts[1]


def served(claim: DeliveryClaim) -> Counter[str]:
    return Counter(delivery.target.subscription.id for delivery in claim.deliveries)


def retried(world: World, organization: str, subscription: str, count: int) -> list[str]:
    """Deliveries that wait to be tried again and are due; no failure of an endpoint is on file."""
    due = world.due(organization, subscription, count)
    claim = world.claim_deliveries(room={subscription: count}, default_room=0)
    assert sorted(delivery.id for delivery in claim.deliveries) == sorted(due)
    world.settle(
        *[world.outcome(each, "retrying", attempted=False) for each in claim.deliveries],
    )
    return due


def hide_the_front(world: World, organization: str, clock: FrozenClock, count: int = 100) -> str:
    """A paused subscription to which the front of the line belongs."""
    paused = world.subscription(organization)
    world.due(organization, paused, count)
    world.subscription(organization, subscription_id=paused, status=SubscriptionStatus.PAUSED)
    clock.advance(seconds=1)
    return paused


# ── two lines ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hidden", [False, True], ids=["at the front", "behind others"])
@pytest.mark.parametrize("one_lane", [False, True], ids=["of two lanes", "of one lane"])
def test_of_a_claim_three_quarters_are_first_attempts_while_both_lines_are_long(
    world: World, organization: str, clock: FrozenClock, *, hidden: bool, one_lane: bool
) -> None:
    if hidden:
        hide_the_front(world, organization, clock)
    failing = world.subscription(organization)
    retried(world, organization, failing, 60)
    clock.advance(seconds=1)
    other = failing if one_lane else world.subscription(organization)
    world.due(organization, other, 60)
    claims = [world.claim_deliveries(16, default_room=1000) for _ in range(3)]
    assert [sum(lines(claim)) for claim in claims] == [16] * 3
    assert all(later in {4, 5} for _, later in map(lines, claims))


@pytest.mark.parametrize("room", [1, 2, 8])
def test_a_lane_s_room_is_shared_in_the_same_way(
    world: World, organization: str, subscription: str, room: int
) -> None:
    retried(world, organization, subscription, 40)
    world.due(organization, subscription, 40)
    total = Counter[int]()
    for _ in range(24 // room):
        claim = world.claim_deliveries(default_room=room)
        assert len(claim.deliveries) == room
        total += Counter(delivery.priority for delivery in claim.deliveries)
    assert total[0] in range(15, 21)
    assert total[1] in range(4, 10)


def test_claims_of_one_delivery_serve_both_lines_too(
    world: World, organization: str, subscription: str
) -> None:
    retried(world, organization, subscription, 40)
    world.due(organization, subscription, 40)
    got = [lines(world.claim_deliveries(1)) for _ in range(40)]
    assert got.count((0, 1)) in range(8, 13)
    assert got.count((1, 0)) == 40 - got.count((0, 1))


@pytest.mark.parametrize("line", ["first attempts", "retries"])
def test_one_line_fills_up_what_the_other_leaves(
    world: World, organization: str, subscription: str, line: str
) -> None:
    if line == "retries":
        retried(world, organization, subscription, 20)
        (few,) = world.due(organization, subscription)
    else:
        (few,) = retried(world, organization, subscription, 1)
        world.due(organization, subscription, 20)
    claim = world.claim_deliveries(16)
    assert len(claim.deliveries) == 16
    assert few in {delivery.id for delivery in claim.deliveries}


def test_retries_of_lanes_that_are_held_keep_neither_line_waiting(
    world: World, organization: str, clock: FrozenClock
) -> None:
    held = world.subscription(organization)
    retried(world, organization, held, 50)
    world.subscription(organization, subscription_id=held, status=SubscriptionStatus.PAUSED)
    clock.advance(seconds=1)
    failing, fresh = world.subscription(organization), world.subscription(organization)
    retried(world, organization, failing, 30)
    world.due(organization, fresh, 30)
    assert lines(world.claim_deliveries(16)) in {(12, 4), (11, 5)}


def test_a_delivery_is_in_the_first_line_until_it_was_tried(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.due(organization, subscription)
    claimed = world.claimed()
    assert claimed.priority == 0
    world.settle(world.outcome(claimed, "pending", attempted=False))
    claimed = world.claimed(lease_s=1)
    assert claimed.priority == 0
    clock.advance(seconds=1)
    world.run(world.store.reap())
    claimed = world.claimed()
    assert claimed.priority == 0
    world.settle(world.outcome(claimed, "retrying", status_code=500))
    claimed = world.claimed()
    assert claimed.priority == 1
    world.settle(world.outcome(claimed, "retrying", attempted=False))
    assert world.claimed().priority == 1


def test_what_is_opened_by_hand_is_no_first_attempt(
    world: World, organization: str, subscription: str
) -> None:
    (due,) = world.due(organization, subscription)
    world.run(world.store.cancel_delivery(organization, due))
    world.run(world.store.retry_delivery(organization, due))
    assert world.claimed().priority == 1


# ── organizations ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hidden", [False, True], ids=["at the front", "behind others"])
def test_an_organization_gets_no_more_than_its_room(
    world: World, organization: str, clock: FrozenClock, *, hidden: bool
) -> None:
    if hidden:
        hide_the_front(world, organization, clock)
    small, other = world.organization("Small"), world.organization("Other")
    of_small = [world.subscription(small) for _ in range(3)]
    of_other = world.subscription(other)
    for each in of_small:
        world.due(small, each, 10)
    clock.advance(seconds=1)
    world.due(other, of_other, 40)
    claim = world.claim_deliveries(40, organizations={small: 7}, default_organization=20)
    got = served(claim)
    assert sum(got[each] for each in of_small) == 7
    assert got[of_other] == 20
    got = served(world.claim_deliveries(40, organizations={other: 0}, default_organization=9))
    assert sum(got[each] for each in of_small) == 9
    assert got[of_other] == 0


@pytest.mark.parametrize("room", [0, 3])
def test_an_organization_with_many_lanes_and_no_room_costs_others_no_turn(
    world: World,
    organization: str,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
    room: int,
) -> None:
    monkeypatch.setattr("triggers_api.store.walk.LANES_PER_CLAIM", 70)
    flooding = [world.subscription(organization) for _ in range(200)]
    world.append(*[world.event(organization, to=flooding) for _ in range(2)])
    clock.advance(seconds=1)
    quiet = world.organization("Quiet")
    (behind,) = world.due(quiet, world.subscription(quiet))
    claim = world.claim_deliveries(20, organizations={organization: room})
    assert [each.id for each in claim.deliveries if each.target.organization_id == quiet] == [
        behind
    ]
    assert len(claim.deliveries) == room + 1
    assert claim.unfinished is False


def test_every_lane_of_an_organization_with_little_room_has_its_turn(
    world: World, organization: str, clock: FrozenClock
) -> None:
    hide_the_front(world, organization, clock)
    lanes = [world.subscription(organization) for _ in range(12)]
    world.append(*[world.event(organization, to=lanes) for _ in range(10)])
    got = Counter[str]()
    for _ in range(6):
        got += served(world.claim_deliveries(20, default_room=1, default_organization=2))
    assert got == dict.fromkeys(lanes, 1)


def test_organizations_take_turns_when_so_much_is_in_the_way_that_lanes_are_walked(
    world: World, organization: str, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.store.front.READ_AHEAD", 0)
    hide_the_front(world, organization, clock)
    tenants = [world.organization(f"Tenant {number}") for number in range(6)]
    for tenant in tenants:
        lanes = [world.subscription(tenant) for _ in range(5)]
        world.append(*[world.event(tenant, to=lanes) for _ in range(4)])
    got = Counter[str]()
    for _ in range(6):
        claim = world.claim_deliveries(4, default_organization=4)
        got += Counter(each.target.organization_id for each in claim.deliveries)
    assert got == dict.fromkeys(tenants, 4)


# ── looking at everybody ──────────────────────────────────────────────────────────────────────────


def looks(world: World, **claim: object) -> list[DeliveryClaim]:
    """Claims until one has seen everybody."""
    claims = [world.claim_deliveries(20, **claim)]  # type: ignore[arg-type]
    while claims[-1].unfinished:
        claims.append(world.claim_deliveries(20, **claim))  # type: ignore[arg-type]
        assert len(claims) < 20, "it goes round and round"
    return claims


@pytest.mark.parametrize("place", [0, 150, 300])
def test_a_look_that_did_not_see_everybody_says_so_and_the_next_ones_see_the_rest(
    world: World,
    organization: str,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
    place: int,
) -> None:
    monkeypatch.setattr("triggers_api.store.walk.LANES_PER_CLAIM", 70)
    lanes = [world.subscription(organization) for _ in range(301)]
    free = lanes.pop(place)
    world.append(*[world.event(organization, to=lanes)])
    clock.advance(seconds=1)
    (behind,) = world.due(organization, free)
    full = dict.fromkeys(lanes, 0)
    claims = looks(world, room=full)
    assert [each.id for claim in claims for each in claim.deliveries] == [behind]
    assert len(claims) <= 5
    again = looks(world, room=full)
    assert [each.id for claim in again for each in claim.deliveries] == []
    assert len(again) <= 5


@pytest.mark.parametrize("status", [SubscriptionStatus.PAUSED, SubscriptionStatus.DISABLED])
def test_however_many_are_held_one_look_goes_past_them(
    world: World,
    organization: str,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
    status: SubscriptionStatus,
) -> None:
    monkeypatch.setattr("triggers_api.store.walk.LANES_PER_CLAIM", 70)
    held = [world.subscription(organization) for _ in range(300)]
    world.append(world.event(organization, to=held))
    for each in held:
        world.subscription(organization, subscription_id=each, status=status)
    clock.advance(seconds=1)
    other = world.organization("Other")
    (behind,) = world.due(other, world.subscription(other))
    claim = world.claim_deliveries(20)
    assert [each.id for each in claim.deliveries] == [behind]
    assert claim.unfinished is False


def test_claims_at_once_of_which_all_have_to_look_further_share_nothing(
    world: World, organization: str, clock: FrozenClock
) -> None:
    hide_the_front(world, organization, clock)
    lanes = [world.subscription(organization) for _ in range(10)]
    world.append(*[world.event(organization, to=lanes) for _ in range(10)])

    async def claims() -> Sequence[DeliveryClaim]:
        return await asyncio.gather(
            *[world.store.claim_deliveries(9, 45, rooms=rooms(3)) for _ in range(16)]
        )

    claimed = [each.id for claim in world.run(claims()) for each in claim.deliveries]
    claimed += [each.id for _ in range(20) for each in world.claim_deliveries(9).deliveries]
    assert len(claimed) == len(set(claimed)) == 100


# ── breakers ──────────────────────────────────────────────────────────────────────────────────────


def break_down(world: World, organization: str, subscription: str) -> None:
    """Ten attempts that fail: the breaker is open for about ten seconds."""
    world.due(organization, subscription, 10)
    claim = world.claim_deliveries(room={subscription: 10}, default_room=0)
    world.settle(
        *[
            world.outcome(each, "retrying", status_code=None, error="timeout")
            for each in claim.deliveries
        ]
    )


def test_an_open_breaker_leaves_no_room_and_hides_nobody(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.due(organization, subscription, 600)
    break_down(world, organization, subscription)
    clock.advance(seconds=1)
    (other,) = world.due(organization, world.subscription(organization))
    claim = world.claim_deliveries(20, room={subscription: 9})
    assert [(each.id, each.probe) for each in claim.deliveries] == [(other, False)]


@pytest.mark.parametrize("backlog", [1, 600])
def test_a_half_open_breaker_leaves_room_for_one_probe_at_a_time(
    world: World, organization: str, subscription: str, clock: FrozenClock, backlog: int
) -> None:
    world.due(organization, subscription, backlog)
    break_down(world, organization, subscription)
    clock.advance(seconds=15)
    claimed = world.claimed(room={subscription: 9}, lease_s=45)
    assert claimed.probe is True
    assert world.claim_deliveries().deliveries == ()
    clock.advance(seconds=44.999)
    assert world.claim_deliveries().deliveries == ()
    clock.advance(seconds=0.001)
    again = world.claimed()
    assert again.probe is True
    world.settle(world.outcome(again))
    rest = world.claim_deliveries().deliveries
    assert len(rest) == min(backlog + 9, 1000)
    assert not any(each.probe for each in rest)


def test_a_half_open_one_without_room_is_not_probed(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    break_down(world, organization, subscription)
    clock.advance(seconds=15)
    assert world.claim_deliveries(room={subscription: 0}).deliveries == ()
    assert world.claimed().probe is True


def test_of_simultaneous_claims_one_has_the_probe(
    world: World, organization: str, clock: FrozenClock
) -> None:
    lanes = [world.subscription(organization) for _ in range(3)]
    for each in lanes:
        break_down(world, organization, each)
    clock.advance(seconds=15)

    async def claims() -> Sequence[DeliveryClaim]:
        return await asyncio.gather(
            *[world.store.claim_deliveries(9, 45, rooms=rooms(9)) for _ in range(8)]
        )

    got = [each for claim in world.run(claims()) for each in claim.deliveries]
    assert all(each.probe for each in got)
    assert sorted(each.target.subscription.id for each in got) == sorted(lanes)


# ── what was passed ───────────────────────────────────────────────────────────────────────────────


def behind_a_front(
    world: World, organization: str, clock: FrozenClock
) -> tuple[str, ClaimedDelivery, str]:
    """Claims have gone past 60 deliveries of a held subscription, and past one in our hands."""
    ours, other = world.subscription(organization), world.subscription(organization)
    (mine,) = world.due(organization, ours)
    clock.advance(seconds=1)
    held = hide_the_front(world, organization, clock, count=60)
    claimed = world.claimed(room={other: 0}, lease_s=60)
    assert claimed.id == mine
    for _ in range(3):
        (due,) = world.due(organization, other)
        assert [each.id for each in world.claim_deliveries(10).deliveries] == [due]
        clock.advance(seconds=0.2)
    return held, claimed, other


def test_what_waited_for_a_paused_subscription_goes_out_as_soon_as_it_is_resumed(
    world: World, organization: str, clock: FrozenClock
) -> None:
    held, _, other = behind_a_front(world, organization, clock)
    world.due(organization, other, 30)
    world.subscription(organization, subscription_id=held, status=SubscriptionStatus.ACTIVE)
    claim = world.claim_deliveries(20, default_room=4)
    assert served(claim) == {held: 4, other: 4}
    assert served(world.claim_deliveries(100)) == {held: 56, other: 26}


def test_a_lease_that_runs_out_before_what_was_passed_is_taken_over(
    world: World, organization: str, clock: FrozenClock
) -> None:
    _, mine, other = behind_a_front(world, organization, clock)
    clock.advance(seconds=58)
    assert served(world.claim_deliveries(10, room={other: 0})) == {}
    clock.advance(seconds=2)
    again = world.claim_deliveries(10, room={other: 0})
    assert [each.id for each in again.deliveries] == [mine.id]
    assert again.recovered == 1


def test_a_lease_that_is_reaped_before_what_was_passed_is_no_longer_in_the_way(
    world: World, organization: str, clock: FrozenClock
) -> None:
    _, mine, other = behind_a_front(world, organization, clock)
    clock.advance(seconds=60)
    world.run(world.store.reap())
    again = world.claim_deliveries(10, room={other: 0})
    assert [each.id for each in again.deliveries] == [mine.id]


def test_what_is_given_back_for_a_moment_that_is_past_is_found(
    world: World, organization: str, clock: FrozenClock
) -> None:
    _, mine, other = behind_a_front(world, organization, clock)
    world.settle(world.outcome(mine, "pending", attempted=False, retry_in_s=-5))
    again = world.claim_deliveries(10, room={other: 0})
    assert [each.id for each in again.deliveries] == [mine.id]


def test_a_breaker_that_is_half_open_is_probed_behind_what_was_passed(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.due(organization, subscription, 60)
    break_down(world, organization, subscription)
    other = world.subscription(organization)
    for _ in range(3):
        clock.advance(seconds=0.2)
        (due,) = world.due(organization, other)
        assert [each.id for each in world.claim_deliveries(10).deliveries] == [due]
    clock.advance(seconds=14)
    world.due(organization, other, 20)
    claim = world.claim_deliveries(10, default_room=5)
    assert [each.probe for each in claim.deliveries].count(True) == 1
    assert served(claim) == {subscription: 1, other: 5}


# ── size ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_ends_with_the_payload_that_reaches_sixteen_mebibytes(
    world: World, organization: str, subscription: str
) -> None:
    payload = b'"' + b"x" * (MIB - 2) + b'"'
    due = [*world.due(organization, subscription, 40, payload=payload)]
    got = [[each.id for each in world.claim_deliveries().deliveries] for _ in range(4)]
    assert got == [due[:16], due[16:32], due[32:], []]


def test_one_delivery_is_claimed_however_large_it_is(
    world: World, organization: str, subscription: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine in ("sqlite", "postgres"):
        monkeypatch.setattr(f"triggers_api.store.{engine}.delivery_verbs.CLAIMED_BYTES", 1)
    due = world.due(organization, subscription, 3)
    got = [[each.id for each in world.claim_deliveries().deliveries] for _ in range(4)]
    assert got == [[each] for each in due] + [[]]
