"""What a replay chooses, against a model, in steps of a few rows."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triggers_api.model import ids
from triggers_api.model.delivery import DeliveryStatus, Origin
from triggers_api.model.job import MOST_OPEN, Job, JobKind, Selection
from triggers_api.model.retention import RetentionDays
from triggers_api.model.subscription import SubscriptionStatus
from triggers_api.operate import jobs
from triggers_api.operate.jobs import JobRunner, Search, count_at_once
from triggers_api.store.base import DeliveryFilter, Page
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from tests.contract.conftest import World

EVERYTHING: Final = Page(limit=1000)
TYPES: Final = ("order.created", "order.paid", "invoice.paid")
PATTERNS: Final = ("*", "order.*", "*.paid", "invoice.paid")
FINISHED: Final = ("succeeded", "dead", "cancelled")

Subscribed = tuple[str, int | None, str]
"""A pattern, the number that payloads must be above, and a status."""
Sent = tuple[str, int, dict[int, str]]
"""A type, a payload, and how it stands with which subscriptions, by their place."""

subscriptions = st.lists(
    st.tuples(
        st.sampled_from(PATTERNS),
        st.none() | st.integers(0, 3),
        st.sampled_from(("active", "paused", "disabled")),
    ),
    min_size=1,
    max_size=3,
)
events = st.lists(
    st.tuples(
        st.sampled_from(TYPES),
        st.integers(0, 4),
        st.dictionaries(st.integers(0, 2), st.sampled_from(FINISHED), max_size=2),
    ),
    max_size=8,
)
asked = st.fixed_dictionaries(
    {
        "status": st.none() | st.sampled_from(FINISHED),
        "missed": st.booleans(),
        "subscription": st.none() | st.integers(0, 2),
        "type": st.none() | st.sampled_from(PATTERNS),
    }
)


def chosen(
    subscribed: list[Subscribed], sent: list[Sent], wanted: dict[str, Any]
) -> set[tuple[int, int]]:
    """Which events go to which subscriptions, by their places."""
    pairs = set()
    for event, (event_type, number, standing) in enumerate(sent):
        if wanted["type"] and not fnmatch.fnmatchcase(event_type, wanted["type"]):
            continue
        for place, (pattern, above, status) in enumerate(subscribed):
            if wanted["subscription"] not in {None, place}:
                continue
            if wanted["status"]:
                if standing.get(place) == wanted["status"]:
                    pairs.add((event, place))
                continue
            takes_part = status != "disabled" or wanted["subscription"] == place
            matches = fnmatch.fnmatchcase(event_type, pattern) and (above is None or number > above)
            missed = place not in standing or not wanted["missed"]
            if takes_part and matches and missed:
                pairs.add((event, place))
    return pairs


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    subscribed=subscriptions,
    sent=events,
    wanted=asked,
    rows=st.integers(1, 5),
    most=st.integers(1, 3),
)
def test_a_replay_makes_one_delivery_for_each_match_and_no_other(
    shared_world: World,
    subscribed: list[Subscribed],
    sent: list[Sent],
    wanted: dict[str, Any],
    rows: int,
    most: int,
) -> None:
    world = shared_world
    if wanted["status"] or wanted["subscription"] is None:
        wanted = wanted | {"missed": False}
    if wanted["subscription"] is not None:
        wanted = wanted | {"subscription": wanted["subscription"] % len(subscribed)}
    sent = [
        (
            name,
            number,
            {place: status for place, status in standing.items() if place < len(subscribed)},
        )
        for name, number, standing in sent
    ]
    organization = world.organization()
    targets = [
        world.subscription(
            organization,
            event_types=(pattern,),
            filter=None if above is None else f"payload > {above}",
            status=SubscriptionStatus(status),
        )
        for pattern, above, status in subscribed
    ]
    made = [plant(world, organization, targets, each) for each in sent]
    before = {each.id for each in listed(world, organization)}
    subscription = wanted["subscription"]
    job = Job(
        id=world.store.ids.new(ids.JOB),
        kind=JobKind.REPLAY,
        selection=Selection(
            status=wanted["status"] and DeliveryStatus(wanted["status"]),
            missed=wanted["missed"],
            subscription_id=None if subscription is None else targets[subscription],
            type=wanted["type"],
            until=world.clock().after(seconds=1),
        ),
        created_at=world.clock(),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs.Search.look, "__kwdefaults__", {"page": rows})
        patch.setattr(jobs, "_CONTENTS", 2)
        patch.setattr(jobs, "_PAGE", most)
        patch.setattr(jobs, "_REPLAYS_AT_ONCE", most)
        counted, ended = run_job(world, organization, job)
    expected = {(made[event], targets[place]) for event, place in chosen(subscribed, sent, wanted)}
    new = [each for each in listed(world, organization) if each.id not in before]
    assert counted == len(new) == len(expected)
    assert {(each.event_id, each.subscription_id) for each in new} == expected
    assert {each.origin for each in new} <= {Origin.REPLAY}
    assert (ended.total, ended.done, ended.failed, ended.deliveries) == (
        len(expected), len(expected), 0, len(expected),
    )  # fmt: skip
    world.assert_balanced()


def plant(world: World, organization: str, targets: list[str], sent: Sent) -> str:
    """The id of an event whose deliveries have come to an end."""
    event_type, number, standing = sent
    event = world.event(
        organization, event_type, b"%d" % number, to=[targets[place] for place in standing]
    )
    assert world.append(event) == [None]
    if not standing:
        return event.id
    records = [world.run(world.store.subscription(organization, each)) for each in targets]
    for record in records:  # of a paused one nothing would be handed out
        assert record is not None
        is_active = msgspec.structs.replace(record.subscription, status=SubscriptionStatus.ACTIVE)
        active = msgspec.structs.replace(record, subscription=is_active)
        world.run(world.store.save_subscription(active))
    claimed = {each.target.subscription.id: each for each in world.claim_deliveries().deliveries}
    outcomes = [
        world.outcome(claimed[targets[place]], status, attempted=False)
        for place, status in standing.items()
    ]
    assert list(world.settle(*outcomes)) == []
    for record in records:
        assert record is not None
        world.run(world.store.save_subscription(record))
    return event.id


def listed(world: World, organization: str) -> list[Any]:
    return world.run(world.store.deliveries(organization, DeliveryFilter(), EVERYTHING))


def run_job(world: World, organization: str, job: Job) -> tuple[int, Job]:
    """What a dry run counts, and the job at its end."""

    async def run() -> tuple[int, Job]:
        directory = Directory(world.store, forced={})
        await directory.refresh()
        search = Search(world.store, directory, days=RetentionDays(events=0))
        total, _, at_end = await count_at_once(search, organization, job)
        assert at_end
        runner = JobRunner(world.store, directory, metrics=Metrics(), days=RetentionDays(events=0))
        await world.store.create_job(organization, job, most_open=MOST_OPEN)
        for _ in range(200):
            await runner.run_once()
            found = await world.store.job(organization, job.id)
            assert found is not None
            if found.finished:
                return total, found
        raise AssertionError("it does not end")

    return world.run(run())
