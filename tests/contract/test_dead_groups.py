"""Dead letters by subscription and by what their last attempts came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.contract.retention import cutoffs

from triggers_api.model.delivery import DeliveryStatus
from triggers_api.model.job import Selection
from triggers_api.model.outcome import error_class
from triggers_api.model.workload import DeadGroup
from triggers_api.store.base import DeliveryFilter, Page

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

    from triggers_api.model.delivery import Delivery

REASONS: Final = {
    "receiver answered 500; 8 of 8 attempts used": "500",
    "receiver answered 404; 1 of 1 attempts used": "404",
    "timeout: no complete answer within the deadline; 8 of 8 attempts used": "timeout",
    "blocked-address: the address is not one that deliveries may go to": "blocked-address",
    "somebody said so": "other",
    ": nothing before the colon": "other",
    f"{'long' * 20}: longer than any word of ours": ("long" * 20)[:40],
}


def dead(world: World, organization: str, subscription: str, *reasons: str | None) -> list[str]:
    """Deliveries that died of these."""
    made = world.due(organization, subscription, len(reasons))
    why = dict(zip(made, reasons, strict=True))
    world.settle(
        *(
            world.outcome(each, "dead", status_code=500, reason=why[each.id])
            for each in world.claim_deliveries().deliveries
        )
    )
    return made


def groups(
    world: World,
    organization: str,
    *,
    after: tuple[str, str] | None = None,
    limit: int = 100,
    most: int = 100,
) -> list[DeadGroup]:
    found = world.store.dead_groups(organization, after=after, limit=limit, most=most)
    return world.run(found)


def listed(
    world: World,
    organization: str,
    page: Page | None = None,
    **wanted: Any,  # noqa: ANN401 - of the filter
) -> list[Delivery]:
    asked = DeliveryFilter(status=DeliveryStatus.DEAD, **wanted)
    return world.run(world.store.deliveries(organization, asked, page or Page(100)))


@pytest.mark.parametrize("reason", REASONS)
def test_what_a_dead_letter_died_of_follows_from_its_reason(
    world: World, organization: str, subscription: str, reason: str
) -> None:
    (letter,) = dead(world, organization, subscription, reason)
    assert error_class(reason) == REASONS[reason]
    assert groups(world, organization) == [
        DeadGroup(
            subscription_id=subscription,
            error_class=REASONS[reason],
            count=1,
            complete=True,
            newest=letter,
        )
    ]


def test_one_without_a_reason_is_among_the_others(
    world: World, organization: str, subscription: str
) -> None:
    dead(world, organization, subscription, None)
    assert [each.error_class for each in groups(world, organization)] == ["other"]


def test_groups_come_by_subscription_and_class_page_by_page(
    world: World, organization: str
) -> None:
    subscriptions = sorted(world.subscription(organization) for _ in range(3))
    letters = {
        (subscription, kind): dead(world, organization, subscription, *([reason] * count))
        for subscription in subscriptions
        for count, (reason, kind) in enumerate(list(REASONS.items())[:3], 1)
    }
    found = groups(world, organization)
    assert [(each.subscription_id, each.error_class) for each in found] == sorted(letters)
    assert {(each.subscription_id, each.error_class): each.count for each in found} == {
        key: len(made) for key, made in letters.items()
    }
    assert all(each.newest == letters[each.subscription_id, each.error_class][-1] for each in found)
    paged: list[DeadGroup] = []
    while page := groups(
        world,
        organization,
        after=(paged[-1].subscription_id, paged[-1].error_class) if paged else None,
        limit=2,
    ):
        assert len(page) <= 2
        paged += page
    assert paged == found


def test_a_large_group_is_counted_up_to_a_bound(
    world: World, organization: str, subscription: str
) -> None:
    reasons = ["receiver answered 500; 1 of 1 attempts used"] * 5
    dead(world, organization, subscription, *reasons)
    found = {most: groups(world, organization, most=most)[0] for most in (4, 5)}
    assert [(each.count, each.complete) for each in found.values()] == [(4, False), (5, True)]


def test_a_letter_that_is_opened_again_or_purged_or_pruned_leaves_its_group(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    reasons = ["receiver answered 500; 1 of 1 attempts used"] * 3
    first, _, last = dead(world, organization, subscription, *reasons)
    world.run(world.store.retry_delivery(organization, last))
    (group,) = groups(world, organization)
    assert (group.count, group.newest > first) == (2, True)
    clock.advance(seconds=10)
    retried = world.claimed()
    world.settle(world.outcome(retried, "dead", status_code=404, reason=list(REASONS)[1]))
    assert [(each.error_class, each.count) for each in groups(world, organization)] == [
        ("404", 1), ("500", 2),
    ]  # fmt: skip
    clock.advance(seconds=86_400)
    world.run(world.store.prune_events(cutoffs(clock()), after=None, limit=100))
    assert groups(world, organization) == []


def test_nobody_sees_anothers_groups(world: World, organization: str, subscription: str) -> None:
    other = world.organization("Other")
    dead(world, organization, subscription, next(iter(REASONS)))
    assert groups(world, other) == []
    assert listed(world, other, subscription_id=subscription) == []
    assert listed(world, other, subscription_id=subscription, error_class="500") == []
    after = (subscription, "")
    assert groups(world, other, after=after) == []
    assert groups(world, organization, after=("nonsense", "")) != []


def test_a_subscriptions_letters_are_listed_newest_first_whatever_they_died_of(
    world: World, organization: str, subscription: str
) -> None:
    elsewhere = world.subscription(organization)
    reasons = [list(REASONS)[number % 4] for number in range(11)]
    made = dead(world, organization, subscription, *reasons)
    dead(world, organization, elsewhere, *reasons)
    assert [each.id for each in listed(world, organization, subscription_id=subscription)] == made[
        ::-1
    ]
    of_class = [
        each for each, reason in zip(made, reasons, strict=True) if REASONS[reason] == "404"
    ]
    found = listed(world, organization, subscription_id=subscription, error_class="404")
    assert [each.id for each in found] == of_class[::-1]
    seen: list[str] = []
    while page := listed(
        world,
        organization,
        Page(4, seen[-1] if seen else None),
        subscription_id=subscription,
    ):
        seen += [each.id for each in page]
    assert seen == made[::-1]
    assert listed(world, organization, subscription_id=subscription, error_class="503") == []


def test_a_job_walks_a_group_or_what_was_named(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    other = world.organization("Other")
    reasons = [list(REASONS)[number % 2] for number in range(6)]
    made = dead(world, organization, subscription, *reasons)
    until = clock.advance(seconds=1)

    def walked(selection: Selection, of: str = organization, limit: int = 100) -> list[str]:
        found: list[str] = []
        while rows := world.run(
            world.store.walk_deliveries(of, selection, found[-1] if found else None, limit)
        ):
            found += [each.id for each in rows]
        return found

    group = Selection(
        status=DeliveryStatus.DEAD, subscription_id=subscription, error_class="404", until=until
    )
    assert walked(group) == walked(group, limit=1) == made[1::2]
    named = Selection(status=DeliveryStatus.DEAD, ids=(made[4], made[0], "nonsense"), until=until)
    assert walked(named) == walked(named, limit=1) == [made[0], made[4]]
    assert walked(named, of=other) == walked(group, of=other) == []
    all_of_a_class = Selection(status=DeliveryStatus.DEAD, error_class="404", until=until)
    rows = world.run(world.store.walk_deliveries(organization, all_of_a_class, None, 100))
    assert {each.id: each.error_class for each in rows} == {
        each: REASONS[reason] for each, reason in zip(made, reasons, strict=True)
    }


def test_what_an_older_process_has_made_is_sorted_in_by_the_sweep(
    world: World, organization: str, subscription: str
) -> None:
    if not world.engine.is_shared:
        pytest.skip("one process owns the file")
    (letter,) = dead(world, organization, subscription, "timeout: too late")
    world.engine.execute("UPDATE dead_letters SET subscription_id = NULL, error_class = NULL")
    assert groups(world, organization) == []
    assert [each.id for each in listed(world, organization)] == [letter]
    world.run(world.store.reap())
    assert [each.error_class for each in groups(world, organization)] == ["timeout"]
