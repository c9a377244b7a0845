"""The end of subscriptions at their time, and farewells to hooks that ended without being asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.contract.test_endpoint_health import URL, Endpoint

from triggers_api.model.farewell import GRACE_S
from triggers_api.model.notice import NoticeType
from triggers_api.model.subscription import SESSION_URL, SubscriptionStatus
from triggers_api.model.timestamp import Timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.contract.conftest import FrozenClock, World

    from triggers_api.store.base import Farewell

LEASE_S = 45.0


def hook(world: World, organization: str, **fields: Any) -> str:  # noqa: ANN401 - of Subscription
    return world.subscription(organization, hook=True, url=URL, **fields)


def claimed(world: World, limit: int = 100) -> Sequence[Farewell]:
    return world.run(world.store.claim_farewells(limit, LEASE_S))


def names(farewells: Sequence[Farewell]) -> list[str]:
    return [each.target.subscription.id for each in farewells]


def settled(world: World, farewell: Farewell, **verdict: Any) -> bool:  # noqa: ANN401
    return world.run(world.store.settle_farewell(farewell, **{"retry_at": None, **verdict}))


def ended(world: World, *notify: str) -> int:
    return world.run(world.store.end_expired(notify))


def told(world: World) -> list[tuple[str, str, str | None]]:
    return [
        (each.organization_id, each.notice.type, each.notice.subscription_id)
        for each in world.run(world.store.notices(100))
    ]


# ── expiry ────────────────────────────────────────────────────────────────────────────────────────


def test_what_waits_for_an_expired_subscription_ends_with_it(
    world: World, organization: str, clock: FrozenClock
) -> None:
    fleeting = world.subscription(organization, expires_at=Timestamp(clock() + 1000))
    lasting = world.subscription(organization, expires_at=Timestamp(clock() + 1001))
    due = world.due(organization, fleeting, 3)
    kept = world.due(organization, lasting)
    assert ended(world) == 0
    clock.advance(seconds=1)
    assert ended(world) == 1
    assert {world.status_of(organization, each) for each in due} == {"cancelled"}
    assert {world.status_of(organization, each) for each in kept} == {"pending"}
    assert ended(world) == 0
    world.assert_balanced()


def test_a_subscription_whose_life_is_prolonged_after_its_end_is_delivered_to_again(
    world: World, organization: str, clock: FrozenClock
) -> None:
    fleeting = world.subscription(organization, expires_at=Timestamp(clock() + 1000))
    clock.advance(seconds=1)
    ended(world)
    world.subscription(organization, subscription_id=fleeting)
    due = world.due(organization, fleeting)
    assert [delivery.id for delivery in world.claim_deliveries().deliveries] == due


def test_organizations_that_want_to_know_are_told_once_of_what_expired(
    world: World, organization: str, clock: FrozenClock
) -> None:
    other = world.organization()
    until = Timestamp(clock() + 1000)
    mine = world.subscription(organization, expires_at=until)
    paused = world.subscription(organization, expires_at=until, status=SubscriptionStatus.PAUSED)
    world.subscription(organization, expires_at=until, status=SubscriptionStatus.DISABLED)
    world.subscription(organization, expires_at=until, url=SESSION_URL)
    world.subscription(other, expires_at=until)
    clock.advance(seconds=5)
    assert ended(world, organization) == 5
    assert ended(world, organization, other) == 0
    assert sorted(told(world)) == sorted(
        (organization, NoticeType.SUBSCRIPTION_EXPIRED, each) for each in (mine, paused)
    )
    (first, *_) = world.run(world.store.notices(1))
    assert first.notice.at == until


def test_a_hook_that_expired_is_told_so_when_it_had_the_time_to_ask_again(
    world: World, organization: str, clock: FrozenClock
) -> None:
    mine = hook(world, organization, expires_at=Timestamp(clock() + 1000))
    world.subscription(organization, expires_at=Timestamp(clock() + 1000))
    clock.advance(seconds=1)
    ended(world)
    assert claimed(world) == []
    clock.advance(seconds=GRACE_S - 1)
    assert claimed(world) == []
    clock.advance(seconds=1)
    (farewell,) = claimed(world)
    assert farewell.target.subscription.id == mine
    assert farewell.target.organization_id == organization
    assert farewell.attempts == 1


# ── farewells ─────────────────────────────────────────────────────────────────────────────────────


def test_a_living_hook_that_is_deleted_with_a_farewell_gets_one(
    world: World, organization: str, clock: FrozenClock
) -> None:
    store = world.store
    quiet, loud = hook(world, organization), hook(world, organization)
    paused = hook(world, organization, status=SubscriptionStatus.PAUSED)
    disabled = hook(world, organization, status=SubscriptionStatus.DISABLED)
    expired = hook(world, organization, expires_at=clock())
    ordinary = world.subscription(organization)
    assert world.run(store.delete_subscription(organization, quiet))
    for each in (loud, paused, disabled, expired, ordinary):
        assert world.run(store.delete_subscription(organization, each, farewell=True))
        assert not world.run(store.delete_subscription(organization, each, farewell=True))
    assert sorted(names(claimed(world))) == sorted([loud, paused])


def test_a_hook_that_is_deleted_without_a_farewell_hears_of_no_end_before_that_either(
    world: World, organization: str, clock: FrozenClock
) -> None:
    mine = hook(world, organization, expires_at=Timestamp(clock() + 1000))
    clock.advance(seconds=1)
    ended(world)
    assert world.run(world.store.delete_subscription(organization, mine))
    clock.advance(seconds=GRACE_S)
    assert claimed(world) == []


def test_another_organization_can_say_no_farewell(world: World, organization: str) -> None:
    mine = hook(world, organization)
    other = world.organization()
    assert not world.run(world.store.delete_subscription(other, mine, farewell=True))
    assert claimed(world) == []


def test_a_hook_that_is_disabled_with_a_farewell_gets_one(world: World, organization: str) -> None:
    mine = hook(world, organization)
    record = world.run(world.store.subscription(organization, mine))
    assert record is not None
    world.run(world.store.save_subscription(record, farewell=True))
    assert names(claimed(world)) == [mine]


def test_hooks_of_a_deleted_organization_get_a_farewell(world: World, organization: str) -> None:
    mine = hook(world, organization)
    world.subscription(organization)
    hook(world, organization, status=SubscriptionStatus.DISABLED)
    theirs = hook(world, world.organization())
    world.run(world.store.delete_organization(organization))
    assert names(claimed(world)) == [mine]
    assert theirs not in names(claimed(world))


def test_a_receiver_that_is_gone_gets_no_farewell(world: World, organization: str) -> None:
    mine = hook(world, organization)
    world.due(organization, mine)
    world.settle(
        world.outcome(
            world.claimed(), "cancelled", status_code=410, disable_subscription="gone for good"
        )
    )
    assert claimed(world) == []


@pytest.mark.parametrize("is_hook", [True, False])
def test_a_hook_that_is_disabled_for_failing_gets_a_farewell(
    is_hook: bool,  # noqa: FBT001 - a parameter of the test
    world: World,
    organization: str,
) -> None:
    mine = world.subscription(organization, hook=is_hook, url=URL)
    endpoint = Endpoint(world, organization, mine)
    endpoint.is_disabled()
    assert endpoint.record.subscription.status is SubscriptionStatus.DISABLED
    assert names(claimed(world)) == [mine] * is_hook


@pytest.mark.parametrize("understood", [True, False])
def test_a_hook_that_failed_is_looked_after_until_its_end_was_understood(
    understood: bool,  # noqa: FBT001 - a parameter of the test
    world: World,
    organization: str,
) -> None:
    endpoint = Endpoint(world, organization, hook(world, organization))
    endpoint.is_disabled()
    (farewell,) = claimed(world)
    assert settled(world, farewell, understood=understood)
    assert (endpoint.health is None) is understood
    world.clock.advance(seconds=86_400)
    probes = world.run(world.store.claim_probes(10, LEASE_S))
    assert len(probes) == (not understood)
    assert claimed(world) == []


def test_a_hook_that_came_back_meanwhile_keeps_what_is_known_of_its_endpoint(
    world: World, organization: str
) -> None:
    endpoint = Endpoint(world, organization, hook(world, organization))
    endpoint.is_disabled()
    (farewell,) = claimed(world)
    record = endpoint.record
    active = msgspec.structs.replace(
        record.subscription, status=SubscriptionStatus.ACTIVE, enabled=True
    )
    world.run(world.store.save_subscription(msgspec.structs.replace(record, subscription=active)))
    before = endpoint.health
    assert before is not None
    assert settled(world, farewell, understood=True)
    assert endpoint.health == before


def test_a_farewell_is_in_one_pair_of_hands_and_is_taken_over_when_the_lease_runs_out(
    world: World, organization: str, clock: FrozenClock
) -> None:
    mine = hook(world, organization)
    world.run(world.store.delete_subscription(organization, mine, farewell=True))
    (first,) = claimed(world)
    assert claimed(world) == []
    clock.advance(seconds=LEASE_S)
    (second,) = claimed(world)
    assert (first.attempts, second.attempts) == (1, 2)
    assert not settled(world, first)
    assert not settled(world, first, retry_at=clock().after(seconds=60))
    assert settled(world, second)
    assert not settled(world, second)
    clock.advance(seconds=86_400)
    assert claimed(world) == []


def test_a_lease_that_ran_out_settles_nothing(
    world: World, organization: str, clock: FrozenClock
) -> None:
    mine = hook(world, organization)
    world.run(world.store.delete_subscription(organization, mine, farewell=True))
    (farewell,) = claimed(world)
    clock.advance(seconds=LEASE_S)
    assert not settled(world, farewell)
    assert names(claimed(world)) == [mine]


def test_a_farewell_that_failed_is_due_again_at_its_time(
    world: World, organization: str, clock: FrozenClock
) -> None:
    mine = hook(world, organization)
    world.run(world.store.delete_subscription(organization, mine, farewell=True))
    (farewell,) = claimed(world)
    assert settled(world, farewell, retry_at=clock().after(seconds=600))
    clock.advance(seconds=599)
    assert claimed(world) == []
    clock.advance(seconds=1)
    (again,) = claimed(world)
    assert again.attempts == 2


def test_farewells_survive_the_process_and_come_in_turn(world: World, organization: str) -> None:
    mine = [hook(world, organization) for _ in range(3)]
    for each in mine:
        world.run(world.store.delete_subscription(organization, each, farewell=True))
        world.clock.advance(seconds=1)
    world.run(world.engine.crash())
    assert sorted(names(claimed(world, 2))) == sorted(mine[:2])
    assert names(claimed(world, 2)) == mine[2:]


# ── what was a hook ───────────────────────────────────────────────────────────────────────────────


def test_a_hook_stays_known_as_one_to_its_organization_alone(
    world: World, organization: str
) -> None:
    mine, ordinary = hook(world, organization), world.subscription(organization)
    other = world.organization()

    def known(organization_id: str, name: str) -> bool:
        return world.run(world.store.is_hook(organization_id, name))

    for _ in range(2):
        assert known(organization, mine)
        assert not known(organization, ordinary)
        assert not known(other, mine)
        assert not known(organization, "sub_" + "0" * 32)
        assert not known(organization, "nonsense")
        world.run(world.store.delete_subscription(organization, mine))
