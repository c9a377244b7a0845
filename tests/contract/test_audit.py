"""The audit log: no change without its entry, no entry without its change, no secret in either."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from triggers_api.errors import InvalidState
from triggers_api.model import ids
from triggers_api.model.audit import Actor, ActorType, Entry
from triggers_api.model.auth import AuthShown, AuthType, BasicAuth
from triggers_api.model.controls import Running, Switches, turn
from triggers_api.model.event_type import EventType, SchemaMode
from triggers_api.model.job import Job, JobKind, JobStatus, Selection
from triggers_api.model.organization import Organization
from triggers_api.model.subscription import RetiredSecret, SubscriptionStatus
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import trail
from triggers_api.store.acting import acting
from triggers_api.store.base import AuditFilter, InboxSeek, Page, Store

if TYPE_CHECKING:
    from tests.contract.conftest import Engine, FrozenClock, World

SOMEBODY: Final = Actor(
    type=ActorType.KEY,
    key_id="key_" + "0" * 32,
    organization_id="org_" + "0" * 32,
    request_id="req_1",
    address="192.0.2.7",
)

CHANGES: Final = {
    "append_test",
    "cancel_delivery",
    "cancel_event",
    "cancel_job",
    "create_first_organization",
    "create_job",
    "create_key",
    "create_organization",
    "delete_event",
    "delete_event_type",
    "delete_inbox",
    "delete_organization",
    "erase_organization",
    "delete_subscription",
    "release_quarantined",
    "replay_event",
    "retry_delivery",
    "revoke_key",
    "rotate_key",
    "save_switches",
    "save_event_type",
    "save_inbox",
    "save_subscription",
    "seal",
    "seek_inbox",
    "update_organization",
}
"""Verbs by which somebody changes something: each writes an entry."""
BY_ITSELF: Final = {"erase_some", "repair", "advance_job", "end_expired", "settle", "settle_probe"}
"""Verbs by which the service ends or finishes something: an entry when it does."""
FLOW: Final = {
    "append", "beat", "claim_deliveries", "claim_farewells", "claim_for_session", "claim_job",
    "claim_probes", "claim_queue", "fan_out", "forget_notices", "lease_index", "log_out",
    "note_key_uses", "prune_attempts",
    "prune_audit", "prune_dead_letters", "prune_deliveries", "prune_events", "prune_index",
    "prune_inboxes", "prune_jobs", "pull_inbox", "reap", "release",
    "prune_rollups", "prune_traces", "replace_part", "save_part", "save_rollups", "settle_farewell",
    "settle_inbox",
}  # fmt: skip
"""What events and the service's own upkeep go through. Nobody's settings change."""
SOUNDS_LIKE_A_CHANGE: Final = (
    "cancel", "change", "create", "delete", "disable", "enable", "erase", "forget", "make", "pause",
    "prune", "purge", "release", "remove", "replay", "requeue", "reset", "resume", "retry", "revoke",
    "rotate", "save", "seal", "seek", "set", "settle", "turn", "update",
)  # fmt: skip


def entries(world: World, organization_id: str | None = None, **wanted: Any) -> list[Entry]:  # noqa: ANN401
    """The log, the oldest first."""
    page = Page(limit=1000)
    return list(
        reversed(world.run(world.store.audit(organization_id, AuditFilter(**wanted), page)))
    )


def actions(world: World, organization_id: str | None = None) -> list[str]:
    return [entry.action for entry in entries(world, organization_id)]


def fields(entry: Entry) -> dict[str, Any]:
    """What is told of each field: before and after, or that it is hidden."""
    return {
        change.field: "hidden" if change.hidden else (change.before, change.after)
        for change in entry.changes
    }


def event_type(name: str = "order.created", **fields: Any) -> EventType:  # noqa: ANN401
    return EventType(name=name, created_at=Timestamp(1), updated_at=Timestamp(1), **fields)


def paused(world: World) -> Switches:
    return turn(Switches(), {"processing": Running.PAUSED}, at=world.clock(), by="key_1")


def job(world: World) -> Job:
    return Job(
        id=world.store.ids.new(ids.JOB),
        kind=JobKind.REPLAY,
        status=JobStatus.PENDING,
        selection=Selection(type="order.*", until=world.clock()),
        created_at=world.clock(),
    )


def test_every_verb_that_changes_something_is_known_to_tell_of_it_or_to_be_nobodys_change() -> None:
    verbs = {name for name, _ in inspect.getmembers(Store) if not name.startswith("_")}
    known = CHANGES | BY_ITSELF | FLOW
    assert known <= verbs
    changing = {verb for verb in verbs if verb.split("_")[0] in SOUNDS_LIKE_A_CHANGE}
    assert changing <= known


# ── each change and its entry ─────────────────────────────────────────────────────────────────


class Scene:
    """One change of every kind, each ready to be made once; and what its entry is to be called."""

    def __init__(self, world: World, clock: FrozenClock) -> None:
        self.world = world
        store, run = world.store, world.run
        self.organization = world.organization()
        self.subscription = world.subscription(self.organization)
        key = world.key(self.organization)
        rotated = world.key(self.organization)
        run(store.create_key(key))
        run(store.create_key(rotated))
        run(store.save_event_type(self.organization, event_type("old.type")))
        run(store.save_inbox(self.organization, "old", None, from_end=False))
        (self.waiting,) = world.queued(self.organization)
        (self.deleted,) = world.queued(self.organization)
        aside = world.event(self.organization, aside="it does not fit")
        routed = world.event(self.organization, to=[self.subscription])
        assert world.append(aside, routed) == [None, None]
        (delivery,) = world.due(self.organization, self.subscription)
        (other,) = world.due(self.organization, self.subscription)
        open_job = job(world)
        run(store.create_job(self.organization, open_job, most_open=10))
        test = world.event(self.organization, to=[self.subscription])
        gone = world.organization("Gone")
        to_erase = world.organization("Erase me")
        run(store.delete_organization(to_erase))
        unwanted = world.subscription(self.organization)
        fresh = Organization(
            id=store.ids.new(ids.ORGANIZATION), name="New", created_at=clock(), updated_at=clock()
        )
        renamed = Organization(
            id=self.organization, name="Renamed", created_at=clock(), updated_at=clock()
        )
        made = world.record(self.organization)
        new_job = job(world)
        once_more = (world.new_delivery(self.subscription),)
        self.verbs: Mapping[str, tuple[str, Callable[[], Awaitable[Any]]]] = {
            "append_test": ("subscription.tested", lambda: store.append_test(test)),
            "cancel_delivery": (
                "delivery.cancelled",
                lambda: store.cancel_delivery(self.organization, delivery),
            ),
            "cancel_event": (
                "event.cancelled",
                lambda: store.cancel_event(self.organization, self.waiting),
            ),
            "cancel_job": (
                "job.cancelled",
                lambda: store.cancel_job(self.organization, open_job.id),
            ),
            "create_job": (
                "job.created",
                lambda: store.create_job(self.organization, new_job, most_open=10),
            ),
            "create_key": ("key.created", lambda: store.create_key(world.key(self.organization))),
            "create_organization": (
                "organization.created",
                lambda: store.create_organization(fresh, world.key(fresh.id)),
            ),
            "delete_event": (
                "event.deleted",
                lambda: store.delete_event(self.organization, self.deleted),
            ),
            "delete_event_type": (
                "event_type.deleted",
                lambda: store.delete_event_type(self.organization, "old.type"),
            ),
            "delete_inbox": (
                "inbox.deleted",
                lambda: store.delete_inbox(self.organization, "old"),
            ),
            "delete_organization": (
                "organization.deleted",
                lambda: store.delete_organization(gone),
            ),
            "erase_organization": (
                "organization.erasing",
                lambda: store.erase_organization(to_erase),
            ),
            "delete_subscription": (
                "subscription.deleted",
                lambda: store.delete_subscription(self.organization, unwanted),
            ),
            "release_quarantined": (
                "event.released",
                lambda: store.release_quarantined(self.organization, aside.id, None),
            ),
            "replay_event": (
                "event.replayed",
                lambda: store.replay_event(self.organization, routed.id, once_more),
            ),
            "retry_delivery": (
                "delivery.retried",
                lambda: store.retry_delivery(self.organization, other),
            ),
            "rotate_key": (
                "key.rotated",
                lambda: store.rotate_key(
                    self.organization, rotated.key.id, world.key(self.organization), until=clock()
                ),
            ),
            "revoke_key": ("key.revoked", lambda: store.revoke_key(self.organization, key.key.id)),
            "save_switches": (
                "controls.changed",
                lambda: store.save_switches(paused(world)),
            ),
            "save_event_type": (
                "event_type.created",
                lambda: store.save_event_type(self.organization, event_type("new.type")),
            ),
            "save_inbox": (
                "inbox.created",
                lambda: store.save_inbox(self.organization, "new", None, from_end=False),
            ),
            "save_subscription": ("subscription.created", lambda: store.save_subscription(made)),
            "seek_inbox": (
                "inbox.moved",
                lambda: store.seek_inbox(self.organization, "default", InboxSeek(end=True)),
            ),
            "update_organization": (
                "organization.updated",
                lambda: store.update_organization(renamed),
            ),
        }


@pytest.fixture
def scene(world: World, clock: FrozenClock) -> Scene:
    return Scene(world, clock)


def test_every_change_has_its_entry_with_who_made_it_and_when(
    scene: Scene, world: World, clock: FrozenClock
) -> None:
    assert set(scene.verbs) == CHANGES - {"create_first_organization", "seal"}
    for verb, (action, change) in scene.verbs.items():
        known = {entry.id for entry in entries(world)}
        at = clock.advance(seconds=1)
        world.run(_by_somebody(change))
        added = [entry for entry in entries(world) if entry.id not in known]
        assert action in {entry.action for entry in added}, verb
        assert {entry.actor for entry in added} == {SOMEBODY}, verb
        assert {entry.at for entry in added} == {at}, verb


def test_what_cannot_be_written_down_is_not_done(scene: Scene, world: World) -> None:
    before = _everything(world.engine)
    with _no_room_for_entries(world.engine):
        for verb, (_, change) in scene.verbs.items():
            with pytest.raises(Exception) as caught:  # noqa: PT011 - the engine's
                world.run(_by_somebody(change))
            assert not isinstance(caught.value, InvalidState | AssertionError), verb
            assert _everything(world.engine) == before, verb


async def _by_somebody(change: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - the verb's own
    with acting(SOMEBODY):
        return await change()


def _tables(engine: Engine) -> list[str]:
    asked = (
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        if engine.is_shared
        else "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return sorted(str(name) for (name,) in engine.execute(asked))


def _everything(engine: Engine) -> dict[str, list[str]]:
    return {
        table: sorted(map(repr, engine.execute(f"SELECT * FROM {table}")))
        for table in _tables(engine)
        if table != "workers"
    }


@contextmanager
def _no_room_for_entries(engine: Engine) -> Iterator[None]:
    if engine.is_shared:
        engine.execute(
            "CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN RAISE EXCEPTION ''no room''; END'"
        )
        engine.execute(
            "CREATE TRIGGER no_room BEFORE INSERT ON audit_entries "
            "FOR EACH ROW EXECUTE FUNCTION refused()"
        )
    else:
        engine.execute(
            "CREATE TRIGGER no_room BEFORE INSERT ON audit_entries "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    yield
    engine.execute(
        "DROP TRIGGER no_room ON audit_entries" if engine.is_shared else "DROP TRIGGER no_room"
    )


# ── what is told ──────────────────────────────────────────────────────────────────────────────


def test_an_entry_tells_what_was_before_and_what_is_now(
    world: World, organization: str, subscription: str
) -> None:
    world.subscription(
        organization, subscription_id=subscription, event_types=["order.*"], timeout_s=5.0
    )
    entry = entries(world, organization)[-1]
    assert entry.action == "subscription.updated"
    assert (entry.resource.type, entry.resource.id) == ("subscription", subscription)
    assert fields(entry) == {"event_types": (["*"], ["order.*"]), "timeout_s": (None, 5.0)}


def test_what_changes_nothing_is_not_written_down(
    world: World, organization: str, subscription: str, clock: FrozenClock
) -> None:
    key = world.key(organization, secret="the same")
    world.run(world.store.create_key(key))
    before = actions(world)
    clock.advance(seconds=5)
    world.subscription(organization, subscription_id=subscription)
    world.run(world.store.create_key(key))
    world.run(world.store.save_switches(Switches(updated_at=clock())))
    world.run(world.store.revoke_key(organization, "key_" + "0" * 32))
    world.run(world.store.delete_subscription(organization, "sub_" + "0" * 32))
    assert actions(world) == before


def test_another_reason_for_a_switch_and_another_operator_are_written_down(
    world: World, organization: str, clock: FrozenClock
) -> None:
    whose = Switches(organization_id=organization)

    def turned(by: str, reason: str | None) -> Switches:
        clock.advance(seconds=1)
        changes = {"processing": Running.PAUSED}
        return turn(whose, changes, at=clock(), by=by, reason=reason)

    for by, reason in (
        ("key_1", "a bad filter"),
        ("key_1", "a bad filter"),
        ("key_1", "they asked for it"),
        ("key_2", "they asked for it"),
    ):
        world.run(world.store.save_switches(turned(by, reason)))
    written = [each for each in entries(world) if each.resource.type == "controls"]
    assert [(each.detail, fields(each)) for each in written] == [
        ("a bad filter", {"processing": (None, "paused")}),
        ("they asked for it", {"reason": ("a bad filter", "they asked for it")}),
        ("they asked for it", {"updated_by": ("key_1", "key_2")}),
    ]


def test_turns_of_a_subscription_have_names_of_their_own(
    world: World, organization: str, subscription: str
) -> None:
    for status in ("paused", "active", "disabled", "active"):
        world.subscription(
            organization, subscription_id=subscription, status=SubscriptionStatus(status)
        )
    world.subscription(organization, subscription_id=subscription, secrets=("whsec_bmV3",))
    assert actions(world, organization)[-6:] == [
        "subscription.created",
        "subscription.paused",
        "subscription.resumed",
        "subscription.disabled",
        "subscription.enabled",
        "subscription.secret_rotated",
    ]


def test_hooks_and_sessions_are_called_what_they_are(world: World, organization: str) -> None:
    world.subscription(organization, hook=True)
    session = world.subscription(organization, url="listen:", expires_at=world.clock())
    # It lives on: no news.
    later = world.clock().after(seconds=60)
    world.subscription(organization, subscription_id=session, url="listen:", expires_at=later)
    world.run(world.store.delete_subscription(organization, session))
    assert actions(world, organization)[-3:] == [
        "hook.created",
        "session.created",
        "session.deleted",
    ]


def test_secrets_payloads_and_values_of_headers_are_in_no_entry(
    world: World, organization: str, subscription: str
) -> None:
    canary = "canary-8c1f"
    stored = world.record(
        organization,
        subscription_id=subscription,
        url=f"https://example.com/hook?token={canary}",
        headers={"X-Token": canary},
        secrets=(f"whsec_{canary}",),
        auth=AuthShown(AuthType.BASIC),
    )
    world.run(
        world.store.save_subscription(msgspec.structs.replace(stored, auth=BasicAuth("me", canary)))
    )
    again = world.record(
        organization,
        subscription_id=subscription,
        url=f"https://example.com/hook?token={canary}2",
        headers={"X-Token": f"{canary}2"},
        secrets=(f"whsec_{canary}2",),
        auth=AuthShown(AuthType.BASIC),
    )
    world.run(
        world.store.save_subscription(
            msgspec.structs.replace(
                again,
                auth=BasicAuth("me", f"{canary}2"),
                retired=(RetiredSecret(f"whsec_{canary}", Timestamp(9)),),
            )
        )
    )
    example = msgspec.Raw(f'{{"card":"{canary}"}}'.encode())
    world.run(world.store.save_event_type(organization, event_type(example=example)))
    aside = world.event(organization, payload=canary.encode(), aside="does not fit")
    assert world.append(aside) == [None]
    payload = f'"{canary}"'.encode()
    world.run(world.store.release_quarantined(organization, aside.id, payload))
    found = {entry.action: fields(entry) for entry in entries(world, organization)}
    assert found["subscription.updated"] == {
        "url": "hidden",
        "headers": "hidden",
        "auth": "hidden",
        "secret": "hidden",
    }
    assert found["event_type.created"]["example"] == "hidden"
    assert found["event.released"] == {"payload": "hidden"}
    assert not any(canary in row for row in _everything(world.engine)["audit_entries"])
    assert not any(
        canary.encode() in bytes(body)
        for (body,) in world.engine.execute("SELECT body FROM audit_entries")
    )


def test_what_is_long_is_told_by_its_length_and_digest(world: World, organization: str) -> None:
    schema = msgspec.Raw(b'{"title":"' + b"x" * 5000 + b'"}')
    changed = event_type(schema=schema, mode=SchemaMode.WARN)
    world.run(world.store.save_event_type(organization, changed))
    told = fields(entries(world, organization)[-1])
    assert told["mode"] == (None, "warn")
    assert set(told["schema"][1]) == {"bytes", "sha256"}


def test_what_the_service_ends_by_itself_is_told_as_its_own_deed(
    world: World, organization: str, clock: FrozenClock
) -> None:
    gone = world.subscription(organization)
    world.due(organization, gone)
    settlement = world.outcome(
        world.claimed(), "cancelled", status_code=410, disable_subscription="410 Gone"
    )
    # Whoever happens to be about.
    world.run(_by_somebody(lambda: world.store.settle([settlement])))
    world.subscription(organization, expires_at=clock().after(seconds=1))
    clock.advance(seconds=2)
    assert world.run(_by_somebody(lambda: world.store.end_expired([]))) == 1
    disabled = next(each for each in entries(world) if each.action == "subscription.disabled")
    assert disabled.actor.type is ActorType.SERVICE
    assert disabled.resource.id == gone
    assert fields(disabled)["disabled_reason"] == (None, "410 Gone")
    expired = entries(world)[-1]
    assert (expired.action, expired.actor.type) == ("subscription.expired", ActorType.SERVICE)


def test_a_deletion_stands_apart_from_what_is_the_organizations(
    world: World, organization: str
) -> None:
    world.run(_by_somebody(lambda: world.store.delete_organization(organization)))
    assert "organization.deleted" not in actions(world, organization)
    last = entries(world)[-1]
    assert (last.action, last.organization_id) == ("organization.deleted", None)
    assert last.resource.id == organization


def test_the_first_organization_and_its_keys_are_in_the_log(world: World) -> None:
    organization_id = world.store.ids.new(ids.ORGANIZATION)
    now = world.clock()
    first = Organization(id=organization_id, name="First", created_at=now, updated_at=now)
    keys = [world.key(organization_id), world.key(None)]
    world.run(world.store.create_first_organization(first, keys))
    assert sorted(actions(world)) == ["key.created", "key.created", "organization.created"]
    world.run(world.store.create_first_organization(first, keys))
    assert len(actions(world)) == 3


# ── reading it ────────────────────────────────────────────────────────────────────────────────


def test_an_organization_sees_its_own_entries_and_no_others(world: World) -> None:
    one, other = world.organization("One"), world.organization("Other")
    world.subscription(other)
    world.run(world.store.save_switches(paused(world)))
    assert set(actions(world, one)) == {"organization.created", "key.created"}
    assert {entry.organization_id for entry in entries(world, other)} == {other}
    assert {entry.organization_id for entry in entries(world)} == {one, other, None}


def test_entries_are_found_by_action_actor_resource_and_time(
    world: World, organization: str, clock: FrozenClock
) -> None:
    at = clock.advance(seconds=10)
    record = world.record(organization)
    subscription = record.subscription.id
    world.run(_by_somebody(lambda: world.store.save_subscription(record)))
    clock.advance(seconds=10)
    world.subscription(organization, subscription_id=subscription, timeout_s=3.0)
    for of in (organization, None):
        assert len(entries(world, of, resource=subscription)) == 2
        assert [each.action for each in entries(world, of, actor=SOMEBODY.key_id)] == [
            "subscription.created"
        ]
        assert len(entries(world, of, action="subscription.*")) == 2
        assert len(entries(world, of, action="*.created", since=at)) == 1
        assert len(entries(world, of, resource_type="subscription", until=at)) == 0
        assert [each.at for each in entries(world, of, since=at, until=at.after(seconds=1))] == [at]


def test_pages_of_the_log_follow_each_other(world: World, organization: str) -> None:
    for number in range(25):
        world.subscription(organization, description=str(number))
    everything = list(reversed(entries(world, organization)))
    before: str | None = None
    found: list[Entry] = []
    while page := world.run(
        world.store.audit(organization, AuditFilter(), Page(limit=4, before=before))
    ):
        found += page
        before = page[-1].id
    assert found == everything
    assert [each.id for each in found] == sorted((each.id for each in found), reverse=True)


def test_a_look_past_many_others_ends_and_says_where_to_go_on(
    world: World, organization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "_AT_ONCE", 2)
    monkeypatch.setattr(trail, "_LOOKED_AT", 4)
    world.run(world.store.save_inbox(organization, "wanted", None, from_end=False))
    for _ in range(9):
        world.subscription(organization)
    wanted = AuditFilter(action="inbox.*")
    page = Page(limit=5)
    looks = [world.run(world.store.audit(organization, wanted, page))]
    assert not looks[0]
    while looks[-1].go_on is not None:
        page = Page(limit=5, before=looks[-1].go_on)
        looks.append(world.run(world.store.audit(organization, wanted, page)))
    assert [each.action for look in looks for each in look] == ["inbox.created"]


def test_old_entries_go_the_oldest_first_and_others_stay(
    world: World, organization: str, clock: FrozenClock
) -> None:
    for _ in range(3):
        world.subscription(organization)
    before = clock.advance(seconds=60)
    clock.advance(seconds=60)
    kept = world.subscription(organization)
    assert world.run(world.store.prune_audit(before, 2)) == 2
    assert world.run(world.store.prune_audit(before, 100)) == 3
    assert world.run(world.store.prune_audit(before, 100)) == 0
    assert [each.resource.id for each in entries(world)] == [kept]


def test_entries_go_on_behind_those_of_the_process_before(
    world: World, organization: str, clock: FrozenClock
) -> None:
    before = entries(world, organization)
    clock.advance(seconds=1 if world.engine.is_shared else 0)
    world.run(world.engine.reopen())
    world.subscription(organization)
    assert entries(world, organization)[:-1] == before
