"""Notices: what is to be told of the service itself, on file with what it tells of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from triggers_api.failpoints import InjectedError
from triggers_api.model import ids
from triggers_api.model.delivery import DeliveryStatus
from triggers_api.model.job import Job, JobKind, Selection, Then
from triggers_api.model.notice import Notice, NoticeType
from triggers_api.operate.outbox import Outbox
from triggers_api.store.base import EventFilter, JobStep, Page, PendingNotice, Settlement
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

    from triggers_api.model.event import Event


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


@pytest.mark.parametrize("notify", [True, False])
@pytest.mark.parametrize(
    ("then", "error", "status"), [(Then.DONE, None, "done"), (Then.FAILED, "broken", "failed")]
)
def test_a_job_tells_of_its_end_in_the_step_that_ends_it(
    world: World,
    organization: str,
    then: Then,
    error: str | None,
    status: str,
    notify: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    job = Job(
        id=world.store.ids.new(ids.JOB),
        kind=JobKind.PURGE,
        selection=Selection(status=DeliveryStatus.DEAD, until=world.clock()),
        created_at=world.clock(),
    )
    world.run(world.store.create_job(organization, job, most_open=1))
    for end in (Then.COUNTED, then):
        claimed = world.run(world.store.claim_job(30))
        assert claimed is not None
        step = JobStep(claimed=claimed, then=end, due_at=world.clock(), error=error, notify=notify)
        assert pending(world) == []
        world.run(world.store.advance_job(step))
    told = [each.notice for each in pending(world)]
    assert [(each.type, each.job_id, each.status, each.reason) for each in told] == (
        [(NoticeType.JOB_FINISHED, job.id, status, error)] if notify else []
    )


# ── the events that are made of them ──────────────────────────────────────────────────────────────


def own(world: World, organization: str) -> str:
    """The id of a new event of the service's own."""
    (event_id,) = world.queued(organization, type="delivery.dead", operational=True)
    return event_id


def test_an_operational_event_says_so_when_it_is_claimed_and_shown(
    world: World, organization: str
) -> None:
    ordinary, operational = world.queued(organization)[0], own(world, organization)
    claimed = {event.id: event.operational for event in world.claim_queue().events}
    assert claimed == {ordinary: False, operational: True}
    for event_id, expected in claimed.items():
        event = world.run(world.store.event(organization, event_id))
        assert event is not None
        assert event.operational is expected


def test_a_claimed_delivery_says_which_kind_of_event_it_is_of(
    world: World, organization: str, subscription: str
) -> None:
    for kind in (False, True):
        own(world, organization) if kind else world.queued(organization)
        world.route(world.claim_queue(), subscription)
        assert world.claimed().operational is kind


def test_lists_have_either_kind_of_event(world: World, organization: str) -> None:
    ordinary, operational = world.queued(organization)[0], own(world, organization)

    def listed(wanted: EventFilter) -> list[str]:
        found = world.run(world.store.events(organization, wanted, Page()))
        return [event.id for event in found if event.operational is wanted.operational]

    assert listed(EventFilter()) == [ordinary]
    assert listed(EventFilter(operational=True)) == [operational]
    assert listed(EventFilter(operational=True, type="order.*")) == []


def test_a_dedup_id_is_looked_for_among_one_kind_of_event(world: World, organization: str) -> None:
    event = world.event(organization, dedup_id="notice-1", operational=True)
    world.append(event)
    for kind, expected in ((False, []), (True, [event.id])):
        wanted = EventFilter(dedup_id="notice-1", operational=kind)
        found = world.run(world.store.events(organization, wanted, Page()))
        assert [each.id for each in found] == expected


def test_the_log_leaves_operational_events_out(world: World, organization: str) -> None:
    first = world.queued(organization)
    own(world, organization)
    second = world.queued(organization)
    page = world.run(world.store.log(organization, None, 100))
    assert [event.id for event in page.events] == [*first, *second]


def test_an_operational_event_counts_in_the_books(world: World, organization: str) -> None:
    own(world, organization)
    (account,) = world.run(world.store.accounts())
    assert (account.accepted, account.queued) == (1, 1)
    world.assert_balanced()


# ── the outbox: of each notice one event ──────────────────────────────────────────────────────────


def outbox(world: World) -> Outbox:
    return Outbox(world.store, Directory(world.store, forced={}), metrics=Metrics())


def operational_events(world: World, organization: str) -> list[Event]:
    wanted = EventFilter(operational=True)
    return world.run(world.store.events(organization, wanted, Page()))


def test_each_notice_becomes_one_event_whatever_ends_the_process_in_between(
    world: World, organization: str, subscription: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.subscription(organization, operational=True)
    for _ in range(3):
        world.settle(ends(world, organization, subscription))

    async def dies(_: object) -> None:
        raise InjectedError("killed before the notices were taken out")

    monkeypatch.setattr(world.store, "forget_notices", dies)
    with pytest.raises(InjectedError):
        world.run(outbox(world).run_once())
    told = operational_events(world, organization)
    assert len(told) == len(pending(world)) == 3
    world.run(world.engine.crash())
    again = outbox(world)
    world.run(again.run_once())
    assert again.told == 3
    assert operational_events(world, organization) == told
    assert pending(world) == []


def test_two_outboxes_at_once_tell_each_notice_once(
    world: World, organization: str, subscription: str
) -> None:
    world.subscription(organization, operational=True)
    for _ in range(5):
        world.settle(ends(world, organization, subscription))

    async def both() -> None:
        await asyncio.gather(*(outbox(world).run_once() for _ in range(2)))

    world.run(both())
    assert len(operational_events(world, organization)) == 5
    assert pending(world) == []


def test_what_nobody_asks_for_any_more_is_forgotten_untold(
    world: World, organization: str, subscription: str
) -> None:
    asked = world.subscription(organization, operational=True)
    world.settle(ends(world, organization, subscription))
    world.run(world.store.delete_subscription(organization, asked))
    world.run(outbox(world).run_once())
    assert operational_events(world, organization) == []
    assert pending(world) == []
