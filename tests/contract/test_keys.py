"""Keys: those of operators, one in another one's place, and when they were used."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from triggers_api.errors import InvalidState
from triggers_api.model.audit import Entry
from triggers_api.model.organization import ApiKey, KeyRecord, Scope
from triggers_api.store.base import AuditFilter, Page

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

OPERATORS = (Scope.ADMIN,)


def operator(world: World, name: str = "operator") -> ApiKey:
    record = world.key(None, scopes=OPERATORS, name=name)
    world.run(world.store.create_key(record))
    return record.key


def keys(world: World, organization: str | None = None) -> dict[str, ApiKey]:
    return {each.name: each for each in world.run(world.store.keys(organization))}


def log(world: World) -> list[Entry]:
    return list(reversed(world.run(world.store.audit(None, AuditFilter(), Page(limit=100)))))


def fresh(world: World, organization: str | None = None) -> KeyRecord:
    return world.key(organization, name="fresh")


def test_operators_keys_are_listed_apart_from_those_of_organizations(
    world: World, organization: str
) -> None:
    made = operator(world)
    assert keys(world) == {"operator": made}
    assert set(keys(world, organization)) == {"key"}


def test_a_key_is_nobodys_but_its_owners(world: World, organization: str) -> None:
    operator(world, "other")
    mine, theirs = keys(world, organization)["key"], operator(world)
    until = world.clock()
    assert not world.run(world.store.revoke_key(None, mine.id))
    assert not world.run(world.store.revoke_key(organization, theirs.id))
    assert world.run(world.store.rotate_key(None, mine.id, fresh(world), until=until)) is None
    record = fresh(world, organization)
    assert world.run(world.store.rotate_key(organization, theirs.id, record, until=until)) is None
    assert set(keys(world)) == {"operator", "other"}
    assert set(keys(world, organization)) == {"key"}


def test_the_last_operators_key_cannot_be_revoked(world: World, clock: FrozenClock) -> None:
    first, second = operator(world, "first"), operator(world, "second")
    assert world.run(world.store.revoke_key(None, first.id))
    with pytest.raises(InvalidState, match="last operator"):
        world.run(world.store.revoke_key(None, second.id))
    assert keys(world)["second"].revoked_at is None
    # One that has ended anyway is no key that anybody could do without.
    assert world.run(world.store.revoke_key(None, first.id))
    third = world.key(None, scopes=OPERATORS, name="third")
    world.run(world.store.rotate_key(None, second.id, third, until=clock().after(seconds=10)))
    clock.advance(seconds=11)
    with pytest.raises(InvalidState):
        world.run(world.store.revoke_key(None, third.key.id))


def test_of_the_last_two_only_one_is_revoked_when_both_are_at_once(world: World) -> None:
    both = operator(world, "first"), operator(world, "second")

    async def revoke() -> list[object]:
        return await asyncio.gather(
            *(world.store.revoke_key(None, each.id) for each in both), return_exceptions=True
        )

    answers = world.run(revoke())
    assert [type(each) for each in answers if each is not True] == [InvalidState]
    assert [each.revoked_at for each in keys(world).values()].count(None) == 1


def test_a_key_is_replaced_with_time_for_both(
    world: World, organization: str, clock: FrozenClock
) -> None:
    old, record = keys(world, organization)["key"], fresh(world, organization)
    until = clock().after(seconds=60)
    ending = world.run(world.store.rotate_key(organization, old.id, record, until=until))
    assert ending is not None
    assert ending.expires_at == until
    found = keys(world, organization)
    assert (found["key"], found["fresh"]) == (ending, record.key)
    # It does not live longer for being replaced once more.
    later = world.key(organization, name="later")
    world.run(world.store.rotate_key(organization, old.id, later, until=clock().after(seconds=600)))
    assert keys(world, organization)["key"].expires_at == until
    clock.advance(seconds=61)
    with pytest.raises(InvalidState):
        world.run(world.store.rotate_key(organization, old.id, fresh(world), until=clock()))
    assert [each.action for each in log(world)][-4:] == [
        "key.rotated",
        "key.created",
        "key.rotated",
        "key.created",
    ]


def test_others_hear_of_both_keys_at_once(world: World, organization: str) -> None:
    old, record = keys(world, organization)["key"], fresh(world, organization)
    before = world.run(world.store.changes(0)).version
    until = world.clock().after(seconds=60)
    world.run(world.store.rotate_key(organization, old.id, record, until=until))
    told = {each.key.id: each.key for each in world.run(world.store.changes(before)).keys}
    assert set(told) == {old.id, record.key.id}
    assert told[old.id].expires_at == until


def test_when_a_key_was_used_is_noted_and_is_no_change_of_it(
    world: World, organization: str, clock: FrozenClock
) -> None:
    key, theirs = keys(world, organization)["key"], operator(world)
    version, told = world.run(world.store.changes(0)).version, len(log(world))
    at = clock.advance(seconds=60)
    world.run(world.store.note_key_uses({key.id: at, theirs.id: at, "key_" + "0" * 32: at}))
    assert keys(world, organization)["key"].last_used_at == at
    assert keys(world)["operator"].last_used_at == at
    # What comes late does not set it back.
    world.run(world.store.note_key_uses({key.id: at.after(seconds=-30)}))
    assert keys(world, organization)["key"].last_used_at == at
    world.run(world.store.note_key_uses({}))
    assert world.run(world.store.changes(0)).version == version
    assert len(log(world)) == told
    world.run(world.engine.reopen())
    assert keys(world, organization)["key"].last_used_at == at
