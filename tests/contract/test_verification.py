"""Faults in the records: each is planted, found, mended, and gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from uuid import UUID

import pytest

from triggers_api.model import ids
from triggers_api.model.verification import COUNTED, HARMLESS, ONLY_TOLD, Check
from triggers_api.operate.verification import Verification, repair, verify
from triggers_api.store.base import AuditFilter, Page

if TYPE_CHECKING:
    from tests.contract.conftest import World


class Planting:
    """Rows taken out, put in and changed past the store."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.shared = world.engine.is_shared
        self.organization = world.organization()
        self.subscription = world.subscription(self.organization)
        (self.queued,) = world.queued(self.organization)
        (self.due,) = world.due(self.organization, self.subscription)
        (self.dead,) = world.due(self.organization, self.subscription)
        (claimed,) = [each for each in world.claim_deliveries().deliveries if each.id == self.dead]
        world.settle(world.outcome(claimed, "dead", status_code=500))

    def number(self, identifier: str) -> object:
        """As the rows have it."""
        if self.shared:
            return UUID(identifier[4:])
        parsed = ids.parse(identifier[:3], identifier)
        assert parsed is not None
        return parsed[0]

    def __call__(self, statement: str, *identifiers: str) -> None:
        marked = statement
        for place in range(1, len(identifiers) + 1):
            marked = marked.replace("?", f"${place}" if self.shared else f"?{place}", 1)
        self.world.engine.execute(marked, *map(self.number, identifiers))


def event_of(p: Planting, delivery_id: str) -> str:
    found = p.world.run(p.world.store.delivery(p.organization, delivery_id))
    assert found is not None
    return found.event_id


def nobodys(kind: str) -> str:
    return f"{kind}_019ab3c54f2e7000a1b2c3d4e5f60718"


def _insert_queued(p: Planting) -> None:
    columns = "due_at, event_id" if not p.shared else "organization_id, event_id, due_at"
    if p.shared:
        p(f"INSERT INTO event_queue ({columns}) VALUES (?, ?, 5)", p.organization, nobodys("evt"))
    else:
        p(
            f"INSERT INTO event_queue ({columns}, lease_until, lease_token, attempts) "
            "VALUES (5, ?, 0, 4611686018427387904, 0)",
            nobodys("evt"),
        )


def _insert_state(p: Planting) -> None:
    if p.shared:
        p(
            "INSERT INTO event_states (organization_id, event_id, status, status_at) "
            "VALUES (?, ?, 1, 5)",
            p.organization,
            nobodys("evt"),
        )
    else:
        p("INSERT INTO event_failures VALUES (?, 'why', 1)", nobodys("evt"))


def _insert_letter(p: Planting) -> None:
    p(
        "INSERT INTO dead_letters (organization_id, delivery_id) VALUES (?, ?)",
        p.organization,
        p.due,
    )


PLANTED: Final[Mapping[Check, Callable[[Planting], None]]] = {
    Check.COUNTERS: lambda p: p(
        "UPDATE accounts SET events = events + 3, deliveries = deliveries - 1 "
        "WHERE organization_id = ?" + (" AND events > 0" if p.shared else ""),
        p.organization,
    ),
    Check.EVENTS_NOT_QUEUED: lambda p: p("DELETE FROM event_queue WHERE event_id = ?", p.queued),
    Check.QUEUED_WITHOUT_EVENT: _insert_queued,
    Check.DELIVERIES_WITHOUT_EVENT: lambda p: p(
        "DELETE FROM events WHERE id = ?", event_of(p, p.due)
    ),
    Check.DELIVERIES_NOT_QUEUED: lambda p: p(
        "DELETE FROM delivery_queue WHERE delivery_id = ?"
        if p.shared
        else "UPDATE deliveries SET due_at = NULL WHERE id = ?",
        p.due,
    ),
    Check.QUEUED_WITHOUT_DELIVERY: lambda p: p(
        "UPDATE deliveries SET status = 7 WHERE id = ?", p.due
    ),
    Check.ATTEMPTS_WITHOUT_DELIVERY: lambda p: p(
        "UPDATE attempts SET delivery_id = ?", nobodys("dlv")
    ),
    Check.STATES_WITHOUT_EVENT: _insert_state,
    Check.PAYLOADS_WITHOUT_EVENT: lambda p: p(
        "INSERT INTO event_payloads VALUES (?, x'31')", nobodys("evt")
    ),
    Check.DEAD_NOT_LISTED: lambda p: p("DELETE FROM dead_letters WHERE delivery_id = ?", p.dead),
    Check.LISTED_NOT_DEAD: _insert_letter,
}
ONLY_ON: Final = {
    Check.PAYLOADS_WITHOUT_EVENT: False,
    Check.DEAD_NOT_LISTED: True,
    Check.LISTED_NOT_DEAD: True,
}
"""Of what only one engine has a table: whether it is the one that several processes share."""


@pytest.fixture
def planting(world: World) -> Planting:
    return Planting(world)


def looked(world: World, *, deep: bool = False) -> Verification:
    return world.run(verify(world.store, deep=deep))


def faults(found: Verification) -> dict[Check, int]:
    return {each.check: each.found for each in found.checks if each.found}


def test_where_nothing_is_wrong_nothing_is_found(planting: Planting, world: World) -> None:
    del planting
    found = looked(world)
    assert found.ok
    assert faults(found) == {}
    assert {each.check for each in found.checks} == set(Check)
    assert world.run(repair(world.store)).repaired == {}


@pytest.mark.parametrize("check", list(Check))
def test_a_fault_is_found_and_mended_and_gone(
    planting: Planting, world: World, check: Check
) -> None:
    if ONLY_ON.get(check, planting.shared) is not planting.shared:
        pytest.skip("that cannot be wrong in this engine: there is no such table")
    PLANTED[check](planting)
    found = looked(world)
    told = next(each for each in found.checks if each.check is check)
    assert (told.found, told.more) == (1, False)
    assert told.harmless is (check in HARMLESS)
    assert told.examples[0].startswith(("evt_", "dlv_", "att_", "org_"))
    if check not in HARMLESS:
        assert not found.ok
    mended = world.run(repair(world.store)).repaired
    after = looked(world)
    if check in ONLY_TOLD:
        assert check in faults(after)
        assert check not in mended
        return
    assert mended[check] == 1
    assert faults(after) == {}
    assert after.ok
    logged = world.run(world.store.audit(None, AuditFilter(action="records.*"), Page(limit=9)))
    assert check in {each.resource.id for each in logged}
    assert world.run(repair(world.store)).repaired == {}


def test_an_event_that_lay_nowhere_is_routed_after_a_repair(
    planting: Planting, world: World
) -> None:
    PLANTED[Check.EVENTS_NOT_QUEUED](planting)
    assert world.claim_queue().events == ()
    world.run(repair(world.store))
    (claimed,) = world.claim_queue().events
    assert claimed.id == planting.queued


def test_a_delivery_that_was_never_due_is_sent_after_a_repair(
    planting: Planting, world: World
) -> None:
    PLANTED[Check.DELIVERIES_NOT_QUEUED](planting)
    world.run(repair(world.store))
    world.clock.advance(seconds=3600)
    assert planting.due in {each.id for each in world.claim_deliveries().deliveries}


def test_many_faults_are_counted_and_mended_in_pieces(
    world: World, organization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert COUNTED >= 1000
    monkeypatch.setattr("triggers_api.operate.verification.COUNTED", 4)
    world.queued(organization, 10)
    world.engine.execute("DELETE FROM event_queue")
    found = next(each for each in looked(world).checks if each.check is Check.EVENTS_NOT_QUEUED)
    assert found.found == 4
    assert world.run(repair(world.store)).repaired == {Check.EVENTS_NOT_QUEUED: 10}
    assert len(world.claim_queue().events) == 10


def test_what_is_under_way_is_no_fault(world: World, organization: str, subscription: str) -> None:
    world.queued(organization, 3)
    claim = world.claim_queue()
    assert looked(world).ok
    world.route(claim, subscription)
    world.claim_deliveries()
    assert faults(looked(world)) == {}
    world.run(world.store.delete_event(organization, claim.events[0].id))
    assert faults(looked(world)) == {}


def test_the_database_is_asked_about_its_own_files(world: World) -> None:
    integrity = looked(world, deep=True).integrity
    assert integrity is not None
    assert integrity.faults == ()
    assert (integrity.checked is None) is (integrity.reason is not None)
    if not world.engine.is_shared:
        assert integrity.checked is not None


def test_an_index_that_was_never_finished_is_told(world: World) -> None:
    if not world.engine.is_shared:
        pytest.skip("an index of a file is made in one transaction, or not at all")
    world.engine.execute(
        "UPDATE pg_index SET indisvalid = false "
        "WHERE indexrelid = 'deliveries_subscription'::regclass"
    )
    found = looked(world, deep=True)
    assert found.integrity is not None
    assert "deliveries_subscription" in found.integrity.faults[0]
    assert not found.ok
