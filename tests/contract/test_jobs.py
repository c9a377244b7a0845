"""Replays and jobs: what a step stores, what of it is stale, and that no match is met twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from triggers_api.errors import InvalidState
from triggers_api.model import ids
from triggers_api.model.delivery import DeliveryStatus, Origin
from triggers_api.model.job import (
    EVENT_GONE,
    MOST_OPEN,
    SUBSCRIPTION_ENDED,
    Job,
    JobKind,
    JobStatus,
    Replay,
    Selection,
    Then,
)
from triggers_api.store.base import ClaimedJob, DeliveryFilter, JobStep, Page

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

    from triggers_api.model.delivery import Delivery

LEASE_S = 30.0
EVERYTHING = Page(limit=1000)


def new_job(world: World, *, kind: JobKind = JobKind.REPLAY, **fields: Any) -> Job:  # noqa: ANN401
    """A job that is not stored yet, by default about dead letters; fields are the selection's."""
    return Job(
        id=world.store.ids.new(ids.JOB),
        kind=kind,
        selection=selection(world, **{"status": DeliveryStatus.DEAD, **fields}),
        created_at=world.clock(),
    )


def create(world: World, organization: str, **fields: Any) -> Job:  # noqa: ANN401
    job = new_job(world, **fields)
    world.run(world.store.create_job(organization, job, most_open=MOST_OPEN))
    return job


def claim(world: World) -> ClaimedJob:
    claimed = world.run(world.store.claim_job(LEASE_S))
    assert claimed is not None
    return claimed


def step(
    world: World,
    claimed: ClaimedJob,
    then: Then = Then.GO_ON,
    **fields: Any,  # noqa: ANN401 - the Struct's own
) -> Job | None:
    """Store a step, due again at once unless told otherwise."""
    given = {"due_at": world.clock(), **fields}
    return world.run(world.store.advance_job(JobStep(claimed=claimed, then=then, **given)))


def replay(world: World, event_id: str, subscription_id: str) -> Replay:
    return Replay(world.store.ids.new(ids.DELIVERY), event_id, subscription_id)


def dead(world: World, organization: str, subscription: str, count: int = 1) -> list[Delivery]:
    """Dead letters, oldest first."""
    made = world.due(organization, subscription, count)
    claimed = world.claim_deliveries().deliveries
    assert [each.id for each in claimed] == made
    world.settle(*(world.outcome(each, "dead", status_code=500) for each in claimed))
    return deliveries(world, organization, status=DeliveryStatus.DEAD)[-count:]


def deliveries(world: World, organization: str, **wanted: Any) -> list[Delivery]:  # noqa: ANN401
    found = world.run(world.store.deliveries(organization, DeliveryFilter(**wanted), EVERYTHING))
    return found[::-1]


def job_of(world: World, organization: str, job_id: str) -> Job:
    job = world.run(world.store.job(organization, job_id))
    assert job is not None
    return job


# ── an event once more ────────────────────────────────────────────────────────────────────────


def test_an_event_is_delivered_once_more_to_those_that_are_named(
    world: World, organization: str, subscription: str
) -> None:
    second = world.subscription(organization)
    (letter,) = dead(world, organization, subscription)
    new = [world.new_delivery(each) for each in (subscription, second)]
    made = world.run(world.store.replay_event(organization, letter.event_id, new))
    assert made is not None
    assert [each.id for each in made] == [each.id for each in new]
    assert {each.origin for each in made} == {Origin.REPLAY}
    assert {each.status for each in made} == {DeliveryStatus.PENDING}
    claimed = world.claim_deliveries().deliveries
    assert [(each.id, each.target.subscription.id) for each in claimed] == [
        (new[0].id, subscription),
        (new[1].id, second),
    ]
    assert [(each.attempt_count, each.failures) for each in claimed] == [(0, 0), (0, 0)]
    assert [each.priority for each in claimed] == [1, 1]
    assert world.status_of(organization, letter.id) == "dead"
    world.assert_balanced()


def test_an_event_may_be_replayed_again_and_again(
    world: World, organization: str, subscription: str
) -> None:
    (letter,) = dead(world, organization, subscription)
    for _ in range(3):
        new = [world.new_delivery(subscription)]
        assert world.run(world.store.replay_event(organization, letter.event_id, new))
    assert len(deliveries(world, organization, event_id=letter.event_id)) == 4
    world.assert_balanced()


def test_a_replay_to_nobody_makes_nothing(
    world: World, organization: str, subscription: str
) -> None:
    (letter,) = dead(world, organization, subscription)
    assert world.run(world.store.replay_event(organization, letter.event_id, [])) == []


def test_an_event_that_is_not_there_cannot_be_replayed(
    world: World, organization: str, subscription: str
) -> None:
    (letter,) = dead(world, organization, subscription)
    world.run(world.store.delete_event(organization, letter.event_id))
    for event_id in (letter.event_id, world.store.ids.new(ids.EVENT), "evt_nonsense"):
        new = [world.new_delivery(subscription)]
        assert world.run(world.store.replay_event(organization, event_id, new)) is None
    assert len(deliveries(world, organization)) == 1


def test_an_event_that_is_still_to_be_routed_cannot_be_replayed(
    world: World, organization: str, subscription: str
) -> None:
    (event_id,) = world.queued(organization)
    with pytest.raises(InvalidState):
        world.run(
            world.store.replay_event(organization, event_id, [world.new_delivery(subscription)])
        )
    assert deliveries(world, organization) == []


@pytest.mark.parametrize("how", ["deleted", "disabled", "expired"])
def test_a_replay_to_a_subscription_that_has_ended_makes_nothing_for_anybody(
    world: World, organization: str, subscription: str, how: str
) -> None:
    second = world.subscription(organization)
    (letter,) = dead(world, organization, subscription)
    end(world, organization, second, how)
    before = deliveries(world, organization)
    new = [world.new_delivery(each) for each in (subscription, second)]
    with pytest.raises(InvalidState):
        world.run(world.store.replay_event(organization, letter.event_id, new))
    assert deliveries(world, organization) == before
    world.assert_balanced()


def end(world: World, organization: str, subscription: str, how: str) -> None:
    if how == "deleted":
        world.run(world.store.delete_subscription(organization, subscription))
    elif how == "disabled":
        world.due(organization, subscription)
        gone = world.outcome(world.claimed(), "cancelled", disable_subscription="410")
        world.settle(gone)
    else:
        world.subscription(organization, subscription_id=subscription, expires_at=world.clock())


# ── a job's life ──────────────────────────────────────────────────────────────────────────────


def test_a_job_that_was_stored_is_found_and_waits_for_its_turn(
    world: World, organization: str
) -> None:
    assert world.run(world.store.job_backlog()).next_at is None
    job = create(world, organization)
    assert world.run(world.store.job(organization, job.id)) == job
    assert world.run(world.store.jobs(organization, EVERYTHING)) == [job]
    backlog = world.run(world.store.job_backlog())
    assert (backlog.open, backlog.next_at) == (1, world.clock())
    claimed = claim(world)
    assert (claimed.organization_id, claimed.job, claimed.position) == (organization, job, None)
    assert not claimed.recovered


def test_jobs_are_listed_newest_first_page_by_page(world: World, organization: str) -> None:
    made = [create(world, organization).id for _ in range(5)][::-1]
    first = world.run(world.store.jobs(organization, Page(limit=2)))
    assert [job.id for job in first] == made[:2]
    rest = world.run(world.store.jobs(organization, Page(limit=9, before=made[1])))
    assert [job.id for job in rest] == made[2:]


def test_a_job_in_somebodys_hands_is_not_handed_out_until_its_lease_has_ended(
    world: World, organization: str, clock: FrozenClock
) -> None:
    job = create(world, organization)
    first = claim(world)
    assert world.run(world.store.claim_job(LEASE_S)) is None
    assert world.run(world.store.job_backlog()).next_at == clock().after(seconds=LEASE_S)
    clock.advance(seconds=LEASE_S)
    second = claim(world)
    assert second.job.id == job.id
    assert second.recovered
    assert second.token != first.token


def test_a_step_is_where_the_next_one_goes_on(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    letters = dead(world, organization, subscription, 2)
    create(world, organization)
    counted = step(world, claim(world), Then.COUNTED, position=letters[1].id, counted=2)
    assert counted is not None
    assert (counted.status, counted.counted, counted.total) == (JobStatus.RUNNING, True, 2)
    claimed = claim(world)
    assert (claimed.position, claimed.job) == (None, counted)
    later = clock().after(seconds=7)
    first = replay(world, letters[0].event_id, subscription)
    job = step(world, claimed, position=letters[0].id, replays=(first,), due_at=later)
    assert job is not None
    assert (job.done, job.failed, job.deliveries, job.finished_at) == (1, 0, 1, None)
    assert world.run(world.store.claim_job(LEASE_S)) is None
    assert world.run(world.store.job_backlog()).next_at == later
    clock.advance(seconds=7)
    claimed = claim(world)
    assert (claimed.position, claimed.due_at) == (letters[0].id, later)
    second = replay(world, letters[1].event_id, subscription)
    job = step(world, claimed, Then.DONE, position=letters[1].id, replays=(second,))
    assert job is not None
    assert job == job_of(world, organization, job.id)
    assert (job.status, job.total, job.done, job.deliveries) == (JobStatus.DONE, 2, 2, 2)
    assert job.finished_at == clock()
    assert world.run(world.store.job_backlog()).open == 0
    made = deliveries(world, organization, status=DeliveryStatus.PENDING)
    assert [each.id for each in made] == [first.delivery_id, second.delivery_id]
    assert {each.origin for each in made} == {Origin.REPLAY}
    assert {each.priority for each in world.claim_deliveries().deliveries} == {1}
    world.assert_balanced()


def test_a_step_whose_lease_has_ended_changes_nothing(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (letter,) = dead(world, organization, subscription)
    job = create(world, organization)
    late = claim(world)
    clock.advance(seconds=LEASE_S)
    one = {"position": letter.id, "replays": (replay(world, letter.event_id, subscription),)}
    assert step(world, late, Then.DONE, **one) is None
    present = claim(world)
    assert step(world, late, Then.DONE, **one) is None
    assert (present.job, present.position) == (job, None)
    assert deliveries(world, organization) == [letter]
    assert step(world, present, Then.DONE, **one) is not None
    assert step(world, present, Then.DONE, **one) is None
    assert len(deliveries(world, organization)) == 2
    world.assert_balanced()


def test_what_a_job_has_made_it_does_not_make_again(
    world: World, organization: str, subscription: str
) -> None:
    (letter,) = dead(world, organization, subscription)
    create(world, organization)
    for done in (1, 2):
        one = (replay(world, letter.event_id, subscription),)
        job = step(world, claim(world), position=letter.id, replays=one)
        assert job is not None
        assert (job.done, job.deliveries) == (done, 1)
    assert len(deliveries(world, organization)) == 2
    world.assert_balanced()


def test_two_jobs_each_make_one(world: World, organization: str, subscription: str) -> None:
    (letter,) = dead(world, organization, subscription)
    for _ in range(2):
        create(world, organization)
        one = (replay(world, letter.event_id, subscription),)
        assert step(world, claim(world), Then.DONE, position=letter.id, replays=one)
    assert len(deliveries(world, organization)) == 3
    world.assert_balanced()


def test_a_deleted_event_and_an_ended_subscription_count_as_failed(
    world: World, organization: str, subscription: str
) -> None:
    ending = world.subscription(organization)
    letters = dead(world, organization, subscription, 3)
    world.run(world.store.delete_event(organization, letters[0].event_id))
    world.run(world.store.delete_subscription(organization, ending))
    create(world, organization)
    job = step(
        world,
        claim(world),
        Then.DONE,
        position=letters[-1].id,
        replays=(
            replay(world, letters[0].event_id, subscription),
            replay(world, letters[1].event_id, ending),
            replay(world, letters[2].event_id, subscription),
        ),
    )
    assert job is not None
    assert (job.status, job.total, job.done, job.failed) == (JobStatus.DONE, 3, 1, 2)
    assert job.failures == {EVENT_GONE: 1, SUBSCRIPTION_ENDED: 1}
    assert len(deliveries(world, organization, status=DeliveryStatus.PENDING)) == 1
    world.assert_balanced()


def test_a_job_about_missed_events_leaves_those_alone_that_came_meanwhile(
    world: World, organization: str, subscription: str
) -> None:
    late = world.subscription(organization)
    letters = dead(world, organization, subscription, 2)
    create(world, organization, status=None, missed=True, subscription_id=late)
    world.run(
        world.store.replay_event(organization, letters[0].event_id, [world.new_delivery(late)])
    )
    replays = tuple(replay(world, letter.event_id, late) for letter in letters)
    job = step(world, claim(world), Then.DONE, position=letters[-1].event_id, replays=replays)
    assert job is not None
    assert (job.total, job.done, job.failed, job.deliveries) == (1, 1, 0, 1)
    assert len(deliveries(world, organization, subscription_id=late)) == 2
    world.assert_balanced()


# ── cancelled, given up, too many ─────────────────────────────────────────────────────────────


def test_a_cancelled_job_does_nothing_more(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (letter,) = dead(world, organization, subscription)
    job = create(world, organization)
    claimed = claim(world)
    cancelled = world.run(world.store.cancel_job(organization, job.id))
    assert cancelled is not None
    assert (cancelled.status, cancelled.finished_at) == (JobStatus.CANCELLED, clock())
    one = (replay(world, letter.event_id, subscription),)
    assert step(world, claimed, Then.DONE, position=letter.id, replays=one) is None
    clock.advance(seconds=LEASE_S)
    assert world.run(world.store.claim_job(LEASE_S)) is None
    assert job_of(world, organization, job.id) == cancelled
    assert deliveries(world, organization) == [letter]
    with pytest.raises(InvalidState):
        world.run(world.store.cancel_job(organization, job.id))


def test_a_job_that_cannot_go_on_says_why(world: World, organization: str) -> None:
    job = create(world, organization)
    step(world, claim(world), Then.FAILED, error="the subscription was deleted")
    found = job_of(world, organization, job.id)
    assert (found.status, found.error) == (JobStatus.FAILED, "the subscription was deleted")
    assert world.run(world.store.claim_job(LEASE_S)) is None


def test_an_organization_has_so_many_unfinished_jobs_and_no_more(
    world: World, organization: str
) -> None:
    for _ in range(3):
        world.run(world.store.create_job(organization, new_job(world), most_open=3))
    with pytest.raises(InvalidState):
        world.run(world.store.create_job(organization, new_job(world), most_open=3))
    world.run(world.store.create_job(world.organization(), new_job(world), most_open=3))
    step(world, claim(world), Then.DONE)
    world.run(world.store.create_job(organization, new_job(world), most_open=3))
    assert len(world.run(world.store.jobs(organization, EVERYTHING))) == 4


def test_finished_jobs_are_forgotten_in_the_end_and_unfinished_ones_never(
    world: World, organization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine in ("sqlite", "postgres"):
        monkeypatch.setattr(f"triggers_api.store.{engine}.job_verbs.JOBS_KEPT", 3)
    first = create(world, organization)
    for _ in range(5):
        world.run(world.store.cancel_job(organization, create(world, organization).id))
    assert len(world.run(world.store.jobs(organization, EVERYTHING))) == 5
    assert world.run(world.store.job(organization, first.id)) is not None


def test_the_jobs_of_a_deleted_organization_end(world: World) -> None:
    gone = world.organization()
    create(world, gone)
    world.run(world.store.delete_organization(gone))
    assert world.run(world.store.job_backlog()).open == 0
    assert world.run(world.store.claim_job(LEASE_S)) is None


# ── whose turn it is ──────────────────────────────────────────────────────────────────────────


def test_organizations_take_turns_however_many_jobs_they_have(world: World) -> None:
    busy, quiet = world.organization(), world.organization()
    for _ in range(5):
        create(world, busy)
    create(world, quiet)
    turns = []
    for _ in range(6):
        claimed = claim(world)
        turns.append(claimed.organization_id)
        step(world, claimed)
    assert turns in ([busy, quiet] * 3, [quiet, busy] * 3)


def test_the_jobs_of_an_organization_take_turns(
    world: World, organization: str, clock: FrozenClock
) -> None:
    made = [create(world, organization).id for _ in range(3)]
    turns = []
    for _ in range(6):
        claimed = claim(world)
        turns.append(claimed.job.id)
        clock.advance(seconds=0.001)
        step(world, claimed)
    assert turns == made * 2


# ── after a crash ─────────────────────────────────────────────────────────────────────────────


def test_a_job_goes_on_after_a_crash_where_it_was(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    letters = dead(world, organization, subscription, 2)
    create(world, organization)
    one = (replay(world, letters[0].event_id, subscription),)
    step(world, claim(world), position=letters[0].id, replays=one)
    lost = claim(world)
    world.run(world.engine.crash())
    clock.advance(seconds=LEASE_S)
    claimed = claim(world)
    assert (claimed.position, claimed.job.done) == (letters[0].id, 1)
    two = (replay(world, letters[1].event_id, subscription),)
    assert step(world, lost, Then.DONE, position=letters[1].id, replays=two) is None
    assert step(world, claimed, Then.DONE, position=letters[1].id, replays=two) is not None
    assert len(deliveries(world, organization)) == 4
    world.assert_balanced()


def test_a_sweep_frees_a_job_whose_lease_has_ended(
    world: World, organization: str, clock: FrozenClock
) -> None:
    create(world, organization)
    claim(world)
    clock.advance(seconds=LEASE_S)
    world.run(world.store.reap())
    assert not claim(world).recovered


# ── walking ───────────────────────────────────────────────────────────────────────────────────


def selection(world: World, **fields: Any) -> Selection:  # noqa: ANN401 - the Struct's own
    return Selection(**{"until": world.clock().after(seconds=1), **fields})


def test_events_are_walked_oldest_first_each_once(
    world: World, organization: str, subscription: str
) -> None:
    world.due(organization, subscription, 5)
    (queued,) = world.queued(organization, type="order.updated")
    walked, after = [], None
    while page := world.run(world.store.walk_events(organization, selection(world), after, 2)):
        walked += page
        after = page[-1].id
    assert [each.id for each in walked] == sorted(each.id for each in walked)
    assert len(walked) == 6
    assert [each.routed for each in walked] == [True] * 5 + [False]
    assert (walked[-1].id, walked[-1].type) == (queued, "order.updated")
    assert not any(each.delivered for each in walked)


def test_a_walk_is_bounded_by_time(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    moments, events = [], []
    for _ in range(3):
        moments.append(clock())
        world.due(organization, subscription)
        events.append(deliveries(world, organization)[-1].event_id)
        clock.advance(seconds=10)
    span = selection(world, since=moments[1], until=moments[2])
    found = world.run(world.store.walk_events(organization, span, None, 10))
    assert [each.id for each in found] == events[1:2]
    found_too = world.run(world.store.walk_deliveries(organization, span, None, 10))
    assert [each.event_id for each in found_too] == events[1:2]


def test_a_walk_says_of_which_events_a_subscription_has_a_delivery(
    world: World, organization: str, subscription: str
) -> None:
    other = world.subscription(organization)
    world.due(organization, subscription)
    world.due(organization, other)
    about = selection(world, missed=True, subscription_id=other)
    walked = world.run(world.store.walk_events(organization, about, None, 10))
    assert [each.delivered for each in walked] == [False, True]


def test_a_deleted_event_is_walked_as_one_that_is_not_routed(
    world: World, organization: str, subscription: str
) -> None:
    (letter,) = dead(world, organization, subscription)
    world.run(world.store.delete_event(organization, letter.event_id))
    walked = world.run(world.store.walk_events(organization, selection(world), None, 10))
    assert [each.routed for each in walked] == [False]


def test_what_filters_read_comes_by_id(world: World, organization: str, subscription: str) -> None:
    world.due(
        organization, subscription, payload=b"[1, 2]", source="s", key="k", metadata=b'{"a":"b"}'
    )
    (kept,) = deliveries(world, organization)
    world.due(organization, subscription)
    gone = deliveries(world, organization)[-1]
    world.run(world.store.delete_event(organization, gone.event_id))
    asked = [kept.event_id, gone.event_id, world.store.ids.new(ids.EVENT)]
    found = world.run(world.store.event_contents(organization, asked))
    assert list(found) == [kept.event_id]
    content = found[kept.event_id]
    assert (content.payload, content.source, content.key, content.metadata) == (
        b"[1, 2]",
        "s",
        "k",
        b'{"a":"b"}',
    )


@pytest.mark.parametrize("about", ["dead", "succeeded", "of a subscription"])
def test_deliveries_are_walked_oldest_first_each_once(
    world: World, organization: str, subscription: str, about: str
) -> None:
    other = world.subscription(organization)
    letters = dead(world, organization, subscription, 3)
    sent = world.due(organization, other, 2)
    world.settle(*(world.outcome(each) for each in world.claim_deliveries().deliveries))
    fields: dict[str, Any] = {"status": DeliveryStatus.DEAD}
    expected = [letter.id for letter in letters]
    if about == "succeeded":
        fields = {"status": DeliveryStatus.SUCCEEDED}
        expected += sent
    elif about == "of a subscription":
        fields = {"status": DeliveryStatus.SUCCEEDED, "subscription_id": other}
        expected = sent
    walked, after = [], None
    while page := world.run(
        world.store.walk_deliveries(organization, selection(world, **fields), after, 2)
    ):
        walked += page
        after = page[-1].id
    assert [each.id for each in walked] == expected
    assert {each.origin_id for each in walked} == {None}


def test_a_walked_delivery_says_which_job_made_it(
    world: World, organization: str, subscription: str
) -> None:
    (letter,) = dead(world, organization, subscription)
    job = create(world, organization)
    one = (replay(world, letter.event_id, subscription),)
    step(world, claim(world), Then.DONE, position=letter.id, replays=one)
    about = selection(world, status=DeliveryStatus.CANCELLED)
    walked = world.run(world.store.walk_deliveries(organization, about, None, 10))
    assert [each.origin_id for each in walked] == [None, job.id]


# ── purging ───────────────────────────────────────────────────────────────────────────────────


def test_what_is_purged_is_gone_with_its_attempts_and_the_books_balance(
    world: World, organization: str, subscription: str
) -> None:
    letters = dead(world, organization, subscription, 3)
    create(world, organization, kind=JobKind.PURGE)
    job = step(
        world, claim(world), Then.DONE, position=letters[1].id,
        purges=tuple(letter.id for letter in letters[:2]),
    )  # fmt: skip
    assert job is not None
    assert (job.total, job.done, job.failed, job.deliveries) == (2, 2, 0, 0)
    assert deliveries(world, organization) == [letters[2]]
    assert deliveries(world, organization, status=DeliveryStatus.DEAD) == [letters[2]]
    assert world.run(world.store.delivery(organization, letters[0].id)) is None
    world.assert_balanced()
    (account,) = world.run(world.store.accounts())
    assert (account.accepted, account.processed, account.deliveries["total"]) == (3, 3, 1)


def test_an_event_whose_deliveries_were_purged_is_still_processed_since_then(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    (letter,) = dead(world, organization, subscription)
    before = world.run(world.store.event(organization, letter.event_id))
    assert before is not None
    clock.advance(seconds=60)
    create(world, organization, kind=JobKind.PURGE)
    step(world, claim(world), Then.DONE, position=letter.id, purges=(letter.id,))
    after = world.run(world.store.event(organization, letter.event_id))
    assert after is not None
    assert (after.status, after.deliveries) == (before.status, ())
    routed = [moment for moment in before.timeline if moment.what == "processed"]
    assert [moment for moment in after.timeline if moment.what == "processed"] == routed
    world.assert_balanced()


def test_what_was_opened_again_is_not_purged(
    world: World, organization: str, subscription: str
) -> None:
    letters = dead(world, organization, subscription, 2)
    create(world, organization, kind=JobKind.PURGE)
    claimed = claim(world)
    world.run(world.store.retry_delivery(organization, letters[0].id))
    job = step(
        world, claimed, Then.DONE, position=letters[1].id,
        purges=tuple(letter.id for letter in letters),
    )  # fmt: skip
    assert job is not None
    assert (job.total, job.done) == (1, 1)
    assert [each.id for each in deliveries(world, organization)] == [letters[0].id]
    assert world.claimed().id == letters[0].id
    world.assert_balanced()


# ── nobody else's ─────────────────────────────────────────────────────────────────────────────


def test_another_organizations_jobs_events_and_deliveries_are_as_if_they_were_not_there(
    world: World, organization: str, subscription: str
) -> None:
    store, run = world.store, world.run
    (letter,) = dead(world, organization, subscription)
    job = create(world, organization)
    theirs = world.organization()
    own = world.subscription(theirs)
    assert run(store.job(theirs, job.id)) is None
    assert run(store.jobs(theirs, EVERYTHING)) == []
    assert run(store.cancel_job(theirs, job.id)) is None
    assert run(store.replay_event(theirs, letter.event_id, [world.new_delivery(own)])) is None
    assert run(store.walk_events(theirs, selection(world), None, 10)) == []
    assert run(store.event_contents(theirs, [letter.event_id])) == {}
    for about in (
        selection(world, status=DeliveryStatus.DEAD),
        selection(world, status=DeliveryStatus.CANCELLED),
        selection(world, status=DeliveryStatus.CANCELLED, subscription_id=subscription),
    ):
        assert run(store.walk_deliveries(theirs, about, None, 10)) == []
    with pytest.raises(InvalidState):
        run(store.replay_event(organization, letter.event_id, [world.new_delivery(own)]))
    step(world, claim(world), Then.DONE)
    create(world, theirs)
    refused = step(
        world,
        claim(world),
        position=letter.id,
        replays=(
            replay(world, letter.event_id, own),
            replay(world, letter.event_id, subscription),
        ),
    )
    assert refused is not None
    assert (refused.done, refused.failures) == (0, {EVENT_GONE: 2})
    purged = step(world, claim(world), Then.DONE, position=letter.id, purges=(letter.id,))
    assert purged is not None
    assert purged.done == 0
    assert deliveries(world, organization) == [letter]
    world.assert_balanced()
