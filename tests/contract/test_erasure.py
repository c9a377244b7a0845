"""Erasing an organization: nothing of it is left anywhere, whatever is cut off on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from triggers_api.model import erasure, ids
from triggers_api.model.audit import Entry
from triggers_api.model.event_type import EventType
from triggers_api.model.job import Job, JobKind, Selection
from triggers_api.model.subscription import Ordering
from triggers_api.model.timestamp import Timestamp
from triggers_api.operate.verification import verify
from triggers_api.store.base import AuditFilter, EventFilter, Page
from triggers_api.store.postgres import erasure_verbs as postgres_verbs
from triggers_api.store.sqlite import erasure_verbs as sqlite_verbs

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

CANARY: Final = "canary-5d0c1e"

KEPT: Final = {"organizations", "api_keys", "erasures"}
"""Tables with rows that say that there was an organization, and nothing else of it."""


def settle_in(world: World, name: str) -> str:
    """Something of every kind with the canary in it."""
    store, run = world.store, world.run
    organization = world.organization(f"{name} {CANARY}")
    run(store.create_key(world.key(organization, name=CANARY)))
    subscription = world.subscription(
        organization,
        url=f"https://example.com/{CANARY}",
        description=CANARY,
        headers={"x-canary": CANARY},
        metadata={"note": CANARY},
        ordering=Ordering.KEY,
    )
    payload = f'"{CANARY}"'.encode()
    texts = {"dedup_id": CANARY, "source": CANARY, "key": CANARY}
    assert world.append(world.event(organization, f"t.{CANARY}", payload, **texts)) == [None]
    world.queued(organization, 5, payload=payload)
    world.due(organization, subscription, 4, payload=payload)
    for claimed in world.claim_deliveries().deliveries[:2]:
        if claimed.target.organization_id == organization:
            outcome = world.outcome(claimed, "dead", status_code=500, reason=CANARY)
            assert outcome.attempt is not None
            attempt = msgspec.structs.replace(outcome.attempt, response_body=CANARY)
            world.settle(msgspec.structs.replace(outcome, attempt=attempt))
    traced = msgspec.structs.replace(
        world.event(organization), trace=CANARY.encode().ljust(25)[:25]
    )
    assert world.append(traced) == [None]
    aside = world.event(organization, "aside", payload, aside=CANARY)
    assert world.append(aside) == [None]
    described = EventType(
        name=f"type.{CANARY}",
        description=CANARY,
        created_at=Timestamp(1),
        updated_at=Timestamp(1),
    )
    run(store.save_event_type(organization, described))
    run(store.save_inbox(organization, CANARY, [f"{CANARY}.*"], from_end=False))
    job = Job(
        id=store.ids.new(ids.JOB),
        kind=JobKind.REPLAY,
        selection=Selection(type=f"{CANARY}.*", until=world.clock()),
        created_at=world.clock(),
    )
    run(store.create_job(organization, job, most_open=10))
    return organization


def tables(world: World) -> list[str]:
    asked = (
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        if world.engine.is_shared
        else "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return sorted(str(name) for (name,) in world.engine.execute(asked))


def holding(world: World, word: str) -> set[str]:
    """The tables in which a word is to be found."""
    found = set()
    for table in tables(world):
        for row in world.engine.execute(f"SELECT * FROM {table}"):
            texts = [
                bytes(each).decode("latin-1") if isinstance(each, bytes | memoryview) else str(each)
                for each in row
            ]
            if any(word in text for text in texts):
                found.add(table)
    return found


def erase(world: World, organization: str, *, limit: int = 3) -> int:
    """Ask for it, and go on to the end; the pieces that it took."""
    assert world.run(world.store.delete_organization(organization))
    assert world.run(world.store.erase_organization(organization)) is not None
    world.clock.advance(seconds=erasure.BEGINS_AFTER_S)
    pieces = 0
    while world.run(world.store.erase_some(limit)):
        pieces += 1
        assert world.run(verify(world.store, deep=False)).ok
    return pieces


def test_nothing_of_an_erased_organization_is_in_any_table(world: World) -> None:
    organization = settle_in(world, "Mine")
    assert len(holding(world, CANARY)) > 8
    assert erase(world, organization) > 3
    assert holding(world, CANARY) == set()
    (done,) = world.run(world.store.erasures())
    assert (done.organization_id, done.events, done.deliveries) == (organization, 12, 4)
    assert done.finished_at == world.clock()


def test_it_is_in_no_file_either(world: World) -> None:
    if world.engine.is_shared:
        pytest.skip("PostgreSQL overwrites what was deleted when it needs the room")
    organization = settle_in(world, "Mine")
    erase(world, organization)
    world.run(world.engine.reopen())
    for file in world.engine.files():
        content = file.read_bytes()
        at = content.find(CANARY.encode())
        assert at < 0, (file, content[max(0, at - 200) : at + 100])


def test_others_keep_all_that_is_theirs(world: World) -> None:
    other, mine = settle_in(world, "Other"), settle_in(world, "Mine")
    before = {
        table: list(map(repr, world.engine.execute(f"SELECT * FROM {table}")))
        for table in ("events", "deliveries", "attempts", "subscriptions", "event_types", "jobs")
    }
    erase(world, mine)
    for table, rows in before.items():
        left = [repr(row) for row in world.engine.execute(f"SELECT * FROM {table}")]
        assert 0 < len(left) < len(rows) or table in {"jobs", "event_types", "attempts"}, table
    assert len(world.run(world.store.events(other, EventFilter(), Page(limit=100)))) == 12
    assert world.run(world.store.events(mine, EventFilter(), Page(limit=100))) == []
    assert {each.organization_id for each in log(world)} == {other, None}


def log(world: World) -> list[Entry]:
    return list(world.run(world.store.audit(None, AuditFilter(), Page(limit=100))))


def test_that_it_was_erased_and_by_whom_stays_in_the_log(world: World) -> None:
    organization = settle_in(world, "Mine")
    erase(world, organization)
    found = world.run(world.store.audit(None, AuditFilter(resource=organization), Page(limit=9)))
    assert [each.action for each in found] == [
        "organization.erased",
        "organization.erasing",
        "organization.deleted",
    ]
    assert world.run(world.store.audit(organization, AuditFilter(), Page(limit=9))) == []


def test_one_that_is_cut_off_goes_on_where_it_was(world: World) -> None:
    organization = settle_in(world, "Mine")
    world.run(world.store.delete_organization(organization))
    world.run(world.store.erase_organization(organization))
    world.clock.advance(seconds=erasure.BEGINS_AFTER_S)
    for _ in range(200):
        world.run(world.engine.crash())
        if not world.run(world.store.erase_some(4)):
            break
    assert holding(world, CANARY) == set()
    (done,) = world.run(world.store.erasures())
    assert (done.events, done.deliveries) == (12, 4)


def test_it_begins_when_every_process_has_heard_of_the_end(world: World) -> None:
    organization = settle_in(world, "Mine")
    world.run(world.store.delete_organization(organization))
    world.run(world.store.erase_organization(organization))
    assert not world.run(world.store.erase_some(100))
    assert holding(world, CANARY)


def test_only_what_was_deleted_is_erased_and_asking_twice_is_once(
    world: World, organization: str
) -> None:
    assert world.run(world.store.erase_organization(organization)) is None
    assert world.run(world.store.erase_organization("org_" + "0" * 32)) is None
    world.run(world.store.delete_organization(organization))
    first = world.run(world.store.erase_organization(organization))
    world.clock.advance(seconds=1)
    assert world.run(world.store.erase_organization(organization)) == first
    assert world.run(world.store.erasures()) == [first]


def test_keys_stay_dead_for_whoever_hears_of_it_late(world: World) -> None:
    organization = settle_in(world, "Mine")
    before = world.run(world.store.changes(0)).version
    erase(world, organization)
    changes = world.run(world.store.changes(before))
    assert organization in changes.gone
    mine = [each.key for each in changes.keys if each.organization_id == organization]
    assert len(mine) == 2
    assert all(each.revoked_at is not None for each in mine)


def test_hooks_are_told_of_their_end_before_they_are_forgotten(
    world: World, organization: str, clock: FrozenClock
) -> None:
    world.subscription(organization, hook=True)
    world.run(world.store.delete_organization(organization))
    world.run(world.store.erase_organization(organization))
    clock.advance(seconds=erasure.BEGINS_AFTER_S)
    while world.run(world.store.erase_some(10)):
        pass
    (waiting,) = world.run(world.store.erasures())
    assert waiting.finished_at is None
    (farewell,) = world.run(world.store.claim_farewells(5, 60.0))
    world.run(world.store.settle_farewell(farewell, retry_at=None))
    while world.run(world.store.erase_some(10)):
        pass
    (done,) = world.run(world.store.erasures())
    assert done.finished_at is not None


def test_every_table_with_an_organizations_rows_is_known(world: World) -> None:
    known = set(KEPT) | {"events", "audit_entries", "deliveries"}
    if world.engine.is_shared:
        known |= set(postgres_verbs.MANY) | set(postgres_verbs.LAST)
        asked = (
            "SELECT table_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND column_name = 'organization_id'"
        )
        having = {str(name) for (name,) in world.engine.execute(asked)}
    else:
        known |= set(sqlite_verbs.OF_ORGANIZATIONS) | {"search_parts"}
        having = {
            table
            for table in tables(world)
            if any(
                name == "organization_id"
                for (_, name, *_) in world.engine.execute(f"PRAGMA table_info({table})")
            )
        }
    assert having <= known
