"""The settings half: organizations, keys, subscriptions, switches, and what changed of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from triggers_api.model import ids
from triggers_api.model.auth import AuthShown, AuthType, BasicAuth
from triggers_api.model.controls import (
    Controls,
    IngestMode,
    Running,
    Switches,
    for_older,
    turn,
)
from triggers_api.model.organization import KeyRecord, Organization, Scope
from triggers_api.model.subscription import PayloadFormat, RetiredSecret, SubscriptionStatus
from triggers_api.store.base import Changes, Page

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World


def version(world: World) -> int:
    return world.run(world.store.changes(0)).version


def since(world: World, before: int) -> Changes:
    return world.run(world.store.changes(before))


# ── changes ───────────────────────────────────────────────────────────────────────────────────


def test_a_fresh_store_has_no_settings(world: World) -> None:
    changes = since(world, 0)
    assert msgspec.structs.replace(changes, version=0) == Changes(0)


def test_from_the_beginning_everything_has_changed(world: World, clock: FrozenClock) -> None:
    organizations = [world.organization(f"No {n}") for n in range(2)]
    subscriptions = [world.subscription(each) for each in organizations]
    turned = turn(Switches(), {"processing": "paused"}, at=clock(), by="key_1")
    world.run(world.store.save_switches(turned))
    changes = since(world, 0)
    assert {each.id for each in changes.organizations} == set(organizations)
    assert {each.subscription.id for each in changes.subscriptions} == set(subscriptions)
    assert {each.organization_id for each in changes.keys} == set(organizations)
    assert changes.switches == (turned,)
    assert changes.gone == ()


@pytest.mark.usefixtures("organization", "subscription")
def test_since_the_latest_version_nothing_has(world: World) -> None:
    latest = version(world)
    assert since(world, latest) == Changes(latest)


def test_a_change_is_told_once_and_alone(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    world.organization("Other")
    world.subscription(organization)

    before = version(world)
    changed = Organization(
        id=organization, name="Renamed", rate_limit=5, created_at=clock(), updated_at=clock()
    )
    world.run(world.store.update_organization(changed))
    changes = since(world, before)
    assert changes.version > before
    assert changes == Changes(changes.version, organizations=(changed,))

    before = changes.version
    record = world.record(organization, subscription_id=subscription, description="new")
    world.run(world.store.save_subscription(record))
    changes = since(world, before)
    assert changes == Changes(changes.version, subscriptions=(record,))

    before = changes.version
    key = world.key(organization, scopes=(Scope.READ,))
    world.run(world.store.create_key(key))
    changes = since(world, before)
    assert changes == Changes(changes.version, keys=(key,))

    before = changes.version
    turned = turn(Switches(), {"delivery": "skip"}, at=clock(), by="key_1")
    world.run(world.store.save_switches(turned))
    changes = since(world, before)
    assert changes == Changes(changes.version, controls=for_older(turned), switches=(turned,))

    before = changes.version
    own = Switches(organization_id=organization)
    turned = turn(own, {"processing": "paused"}, at=clock(), by="key_1")
    world.run(world.store.save_switches(turned))
    changes = since(world, before)
    assert changes == Changes(changes.version, switches=(turned,))


def test_who_missed_several_changes_hears_of_all_of_them_as_they_are_now(
    world: World, organization: str, subscription: str
) -> None:
    before = version(world)
    for n in range(3):
        world.subscription(organization, subscription_id=subscription, description=f"{n}")
    other = world.subscription(organization)
    changes = since(world, before)
    assert {
        each.subscription.id: each.subscription.description for each in changes.subscriptions
    } == {subscription: "2", other: None}


def test_a_deleted_subscription_is_told_by_its_id(
    world: World, organization: str, subscription: str
) -> None:
    before = version(world)
    world.run(world.store.delete_subscription(organization, subscription))
    changes = since(world, before)
    assert changes == Changes(changes.version, gone=(subscription,))


def test_a_deleted_organization_is_told_with_all_that_went_with_it(
    world: World, organization: str, subscription: str
) -> None:
    other = world.organization("Other")
    world.subscription(other)
    before = version(world)
    assert world.run(world.store.delete_organization(organization)) is True
    changes = since(world, before)
    assert set(changes.gone) == {organization, subscription}
    assert changes.organizations == ()
    assert changes.subscriptions == ()
    (key,) = changes.keys
    assert key.organization_id == organization
    assert key.key.revoked_at == world.clock()


def test_work_is_not_a_change_of_settings(
    world: World, organization: str, subscription: str
) -> None:
    before = version(world)
    world.queued(organization)
    world.route(world.claim_queue(), subscription)
    world.settle(world.outcome(world.claimed()))
    world.run(world.store.reap())
    assert version(world) == before


def test_simultaneous_changes_are_all_told(world: World, organization: str) -> None:
    before = version(world)
    records = [world.record(organization) for _ in range(50)]

    async def save() -> None:
        await asyncio.gather(*map(world.store.save_subscription, records))

    world.run(save())
    changes = since(world, before)
    assert {each.subscription.id for each in changes.subscriptions} == {
        record.subscription.id for record in records
    }
    assert since(world, changes.version) == Changes(changes.version)


def test_a_reader_that_follows_every_change_never_misses_one(
    world: World, organization: str
) -> None:
    known: set[str] = set()
    records = [world.record(organization) for _ in range(30)]

    async def save() -> None:
        for record in records:
            await world.store.save_subscription(record)

    async def follow() -> None:
        writing = asyncio.ensure_future(save())
        at = 0
        while not writing.done():
            changes = await world.store.changes(at)
            known.update(each.subscription.id for each in changes.subscriptions)
            at = changes.version
        await writing
        known.update(each.subscription.id for each in (await world.store.changes(at)).subscriptions)

    world.run(follow())
    assert known == {record.subscription.id for record in records}


# ── organizations and keys ────────────────────────────────────────────────────────────────────


def test_an_organization_comes_back_with_every_field(world: World, clock: FrozenClock) -> None:
    organization = world.organization(
        "Ünïcode \U0001f600", webhook_url="https://example.com", rate_limit=0, rate_burst=7
    )
    (found,) = since(world, 0).organizations
    assert found == Organization(
        id=organization,
        name="Ünïcode \U0001f600",
        webhook_url="https://example.com",
        rate_limit=0,
        rate_burst=7,
        created_at=clock(),
        updated_at=clock(),
    )


def first_organization(world: World) -> tuple[Organization, list[KeyRecord]]:
    """The first tenant as a start makes it: its key, and an operator's."""
    now = world.clock()
    organization = Organization(
        id=world.store.ids.new(ids.ORGANIZATION), name="default", created_at=now, updated_at=now
    )
    return organization, [world.key(organization.id), world.key(None, scopes=(Scope.ADMIN,))]


def test_the_first_organization_is_stored_with_its_keys(world: World) -> None:
    organization, keys = first_organization(world)
    before = version(world)
    assert world.run(world.store.create_first_organization(organization, keys)) is True
    changes = since(world, before)
    assert changes.organizations == (organization,)
    assert {each.digest: each for each in changes.keys} == {each.digest: each for each in keys}
    world.assert_balanced()


def test_where_there_is_an_organization_there_is_no_first_one_any_more(world: World) -> None:
    world.organization()
    before = since(world, 0)
    assert world.run(world.store.create_first_organization(*first_organization(world))) is False
    assert since(world, 0) == before


def test_of_several_first_organizations_at_once_one_is_stored(world: World) -> None:
    firsts = [first_organization(world) for _ in range(10)]

    async def create() -> list[bool]:
        return await asyncio.gather(
            *(world.store.create_first_organization(*each) for each in firsts)
        )

    answers = world.run(create())
    assert answers.count(True) == 1
    organization, keys = firsts[answers.index(True)]
    changes = since(world, 0)
    assert changes.organizations == (organization,)
    assert {each.digest for each in changes.keys} == {each.digest for each in keys}


def test_an_organization_is_deleted_once(world: World, organization: str) -> None:
    assert world.run(world.store.delete_organization(organization)) is True
    assert world.run(world.store.delete_organization(organization)) is False


def test_deleting_an_organization_cancels_what_waits_and_sends_nothing_more(
    world: World, organization: str, subscription: str
) -> None:
    (due,) = world.due(organization, subscription)
    world.run(world.store.delete_organization(organization))
    assert world.claim_deliveries().deliveries == ()
    assert world.status_of(organization, due) == "cancelled"
    assert world.run(world.store.subscription(organization, subscription)) is None
    assert world.run(world.store.subscriptions(organization, Page())) == []
    world.assert_balanced()


def test_keys_are_listed_newest_first_revoked_ones_included(
    world: World, organization: str, clock: FrozenClock
) -> None:
    made = []
    for name in ("second", "third"):
        clock.advance(seconds=1)
        made.append(world.key(organization, name=name, scopes=(Scope.INGEST,)))
        world.run(world.store.create_key(made[-1]))
    assert world.run(world.store.revoke_key(organization, made[0].key.id)) is True
    third, second, first = world.run(world.store.keys(organization))
    assert third == made[1].key
    assert second == msgspec.structs.replace(made[0].key, revoked_at=clock())
    assert first.revoked_at is None


def test_a_revoked_key_is_told_to_every_process(world: World, organization: str) -> None:
    (key,) = world.run(world.store.keys(organization))
    before = version(world)
    assert world.run(world.store.revoke_key(organization, key.id)) is True
    (record,) = since(world, before).keys
    assert record.key.revoked_at == world.clock()


def test_revoking_a_key_again_keeps_the_first_moment(
    world: World, organization: str, clock: FrozenClock
) -> None:
    (key,) = world.run(world.store.keys(organization))
    world.run(world.store.revoke_key(organization, key.id))
    revoked = clock()
    clock.advance(seconds=60)
    assert world.run(world.store.revoke_key(organization, key.id)) is True
    (found,) = world.run(world.store.keys(organization))
    assert found.revoked_at == revoked


def test_a_key_given_again_lives_again_with_the_new_fields(world: World, organization: str) -> None:
    given = world.key(organization, secret="given by the operator")
    world.run(world.store.create_key(given))
    world.run(world.store.revoke_key(organization, given.key.id))
    before = version(world)
    again = world.key(
        organization, secret="given by the operator", name="renamed", scopes=(Scope.READ,)
    )
    world.run(world.store.create_key(again))
    (record,) = since(world, before).keys
    assert record.digest == given.digest
    assert (record.key.name, record.key.scopes) == ("renamed", (Scope.READ,))
    assert record.key.revoked_at is None
    assert len(world.run(world.store.keys(organization))) == 2


def test_a_key_given_again_can_be_revoked_by_the_id_it_is_listed_with(
    world: World, organization: str
) -> None:
    for _ in range(2):
        given = world.key(organization, secret="given by the operator", name="given")
        world.run(world.store.create_key(given))
    (listed,) = [key for key in world.run(world.store.keys(organization)) if key.name == "given"]
    assert world.run(world.store.revoke_key(organization, listed.id)) is True
    (revoked,) = [key for key in world.run(world.store.keys(organization)) if key.name == "given"]
    assert revoked.revoked_at is not None
    assert revoked.id == listed.id


def test_a_key_given_to_another_organization_stands_for_that_one(
    world: World, organization: str
) -> None:
    other = world.organization("Other")
    world.run(world.store.create_key(world.key(organization, secret="one secret")))
    before = version(world)
    world.run(world.store.create_key(world.key(other, secret="one secret")))
    (record,) = since(world, before).keys
    assert record.organization_id == other
    assert len(world.run(world.store.keys(organization))) == 1
    assert len(world.run(world.store.keys(other))) == 2


def test_an_operator_s_key_belongs_to_no_organization(world: World, organization: str) -> None:
    before = version(world)
    operator = world.key(None, scopes=(Scope.ADMIN,))
    world.run(world.store.create_key(operator))
    assert since(world, before).keys == (operator,)
    assert len(world.run(world.store.keys(organization))) == 1


# ── subscriptions and switches ────────────────────────────────────────────────────────────────


def test_a_subscription_comes_back_with_every_field(
    world: World, organization: str, clock: FrozenClock
) -> None:
    record = msgspec.structs.replace(
        world.record(
            organization,
            event_types=("order.*", "invoice.paid"),
            status=SubscriptionStatus.PAUSED,
            description="Ünïcode",
            headers={"x-a": "b"},
            auth=AuthShown(AuthType.BASIC),
            payload_format=PayloadFormat.RAW,
            retry_schedule=(0.5, 2.0),
            timeout_s=2.5,
            max_concurrency=3,
            enabled=False,
            expires_at=clock.advance(seconds=60),
            metadata={"k": "v"},
            disabled_reason="because",
            secrets=("whsec_b25l", "whsec_dHdv"),
        ),
        retired=(RetiredSecret("whsec_b2xk", clock()),),
        auth=BasicAuth("käthe", 'a"\\ü'),
        from_organization=True,
    )
    world.run(world.store.save_subscription(record))
    found = world.run(world.store.subscription(organization, record.subscription.id))
    assert found == record
    assert since(world, 0).subscriptions == (record,)
    listed = world.run(world.store.subscriptions(organization, Page()))
    assert listed == [record.subscription]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_of_subscriptions_follow_each_other_newest_first(
    world: World, organization: str, size: int
) -> None:
    made = [world.subscription(organization) for _ in range(5)]
    gone = world.subscription(organization)
    world.run(world.store.delete_subscription(organization, gone))
    read: list[str] = []
    while page := world.run(
        world.store.subscriptions(organization, Page(size, read[-1] if read else None))
    ):
        assert len(page) <= size
        read += [each.id for each in page]
    assert read == made[::-1]


def test_a_deleted_subscription_is_found_no_more(
    world: World, organization: str, subscription: str
) -> None:
    assert world.run(world.store.delete_subscription(organization, subscription)) is True
    assert world.run(world.store.subscription(organization, subscription)) is None
    assert world.run(world.store.subscriptions(organization, Page())) == []


def test_a_change_that_comes_after_the_deletion_does_not_bring_a_subscription_back(
    world: World, organization: str, subscription: str
) -> None:
    read_before = world.run(world.store.subscription(organization, subscription))
    assert read_before is not None
    world.run(world.store.delete_subscription(organization, subscription))
    (due,) = world.due(organization, subscription)  # routed by who does not know of it yet
    world.run(world.store.save_subscription(read_before))
    assert world.run(world.store.subscription(organization, subscription)) is None
    assert since(world, 0).subscriptions == ()
    assert world.claim_deliveries().deliveries == ()
    assert world.run(world.store.reap()).cancelled == 1
    assert world.status_of(organization, due) == "cancelled"
    world.assert_balanced()


def test_the_switches_come_back_as_they_were_turned_and_survive(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    for_good: dict[str, str | int | None] = {
        "ingest": "refuse",
        "processing": "paused",
        "concurrency": 3,
        "batch_size": 7,
    }
    turned = turn(Switches(), for_good, at=clock(), by="key_1", reason="maintenance")
    later = clock().after(seconds=60)
    turned = turn(turned, {"batch_size": 9}, at=clock(), by="key_2", expires_at=later)
    own = [
        turn(scope, {"delivery": "paused"}, at=clock(), by="key_1", reason="their wish")
        for scope in (
            Switches(organization_id=organization),
            Switches(organization_id=organization, subscription_id=subscription),
        )
    ]
    for each in (turned, *own, turned):
        world.run(world.store.save_switches(each))
    world.run(world.engine.reopen())
    kept = since(world, 0)
    by_scope = {(each.organization_id, each.subscription_id): each for each in kept.switches}
    assert by_scope == {
        (each.organization_id, each.subscription_id): each for each in (turned, *own)
    }
    # What a version reads that knows nothing of the time in which some go back.
    assert kept.controls == Controls(
        ingest=IngestMode.REFUSE,
        processing=Running.PAUSED,
        concurrency=3,
        batch_size=9,
        updated_at=clock(),
        updated_by="key_2",
    )


def test_switches_end_with_whose_they_are(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    other = world.subscription(organization)
    for scope in (
        Switches(organization_id=organization),
        Switches(organization_id=organization, subscription_id=subscription),
        Switches(organization_id=organization, subscription_id=other),
        Switches(),
    ):
        turned = turn(scope, {"delivery": "paused"}, at=clock(), by="key_1")
        world.run(world.store.save_switches(turned))

    def left() -> set[str | None]:
        return {each.subscription_id for each in since(world, 0).switches}

    world.run(world.store.delete_subscription(organization, other))
    assert left() == {None, subscription}
    world.run(world.store.delete_organization(organization))
    (service,) = since(world, 0).switches
    assert service.organization_id is None
