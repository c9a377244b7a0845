"""Notices: what is to be told of the service itself, on file with what it tells of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from triggers_api.model.notice import Notice, NoticeType
from triggers_api.store.base import PendingNotice, Settlement

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World


def dead(world: World, delivery_id: str) -> Notice:
    return Notice(
        type=NoticeType.DELIVERY_DEAD,
        at=world.clock(),
        delivery_id=delivery_id,
        reason="receiver answered 500; 8 of 8 attempts used",
        attempt_count=8,
        status_code=500,
    )


def ends(world: World, organization: str, subscription: str) -> Settlement:
    """A delivery's last attempt, with a notice of it."""
    world.due(organization, subscription)
    claimed = world.claimed()
    settlement = world.outcome(claimed, "dead", status_code=500, reason="tried often")
    return msgspec.structs.replace(settlement, notify=True, notice=dead(world, claimed.id))


def gone(world: World, *, notify: bool) -> Settlement:
    """The answer 410 to a delivery that is due."""
    settlement = world.outcome(
        world.claimed(limit=1), "cancelled", status_code=410, disable_subscription="gone for good"
    )
    return msgspec.structs.replace(settlement, notify=notify)


def pending(world: World) -> list[PendingNotice]:
    return world.run(world.store.notices(100))


def test_a_notice_is_stored_with_the_settlement_that_it_tells_of(
    world: World, organization: str, subscription: str
) -> None:
    settlement = ends(world, organization, subscription)
    assert pending(world) == []
    world.settle(settlement)
    (notice,) = pending(world)
    assert notice.organization_id == organization
    assert notice.notice == settlement.notice


def test_a_stale_settlement_tells_nothing(
    world: World, organization: str, subscription: str
) -> None:
    settlement = ends(world, organization, subscription)
    world.settle(settlement, settlement)
    assert len(pending(world)) == 1
    late = ends(world, organization, subscription)
    world.clock.advance(seconds=46)
    assert world.settle(late) == [late.delivery_id]
    assert len(pending(world)) == 1


def test_notices_survive_the_process_that_wrote_them(
    world: World, organization: str, subscription: str
) -> None:
    world.settle(ends(world, organization, subscription))
    before = pending(world)
    world.run(world.engine.crash())
    assert pending(world) == before


def test_notices_come_oldest_first_and_no_more_than_asked_for(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    told = []
    for _ in range(3):
        settlement = ends(world, organization, subscription)
        world.settle(settlement)
        told.append(settlement.notice)
        clock.advance(seconds=1)
    assert [each.notice for each in pending(world)] == told
    assert [each.notice for each in world.run(world.store.notices(2))] == told[:2]


def test_what_has_been_told_is_forgotten_and_may_be_forgotten_again(
    world: World, organization: str, subscription: str
) -> None:
    for _ in range(2):
        world.settle(ends(world, organization, subscription))
    first, second = pending(world)
    world.run(world.store.forget_notices([first.id]))
    assert pending(world) == [second]
    world.run(world.store.forget_notices([first.id, second.id]))
    assert pending(world) == []


def test_who_disables_a_subscription_tells_it_once(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription, 2)
    first, second = gone(world, notify=True), gone(world, notify=True)
    world.settle(first)
    world.settle(second)
    (notice,) = pending(world)
    assert notice.organization_id == organization
    assert notice.notice == Notice(
        type=NoticeType.SUBSCRIPTION_DISABLED,
        at=world.clock(),
        subscription_id=subscription,
        reason="gone for good",
    )


def test_who_did_not_ask_is_told_nothing(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription)
    world.settle(gone(world, notify=False))
    assert pending(world) == []


def test_notices_of_several_organizations_do_not_mix(
    world: World, organization: str, subscription: str
) -> None:
    other = world.organization()
    others = world.subscription(other)
    first = ends(world, organization, subscription)
    second = ends(world, other, others)
    world.settle(first, second)
    found = {each.organization_id: each.notice.delivery_id for each in pending(world)}
    assert found == {organization: first.delivery_id, other: second.delivery_id}
