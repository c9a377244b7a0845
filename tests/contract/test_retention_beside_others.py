"""What is opened or queued again keeps all it has, however late in a sweep for old rows that happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg
import pytest
from tests.contract.retention import cutoffs, moments

from triggers_api.model import ids
from triggers_api.model.retention import Cutoffs
from triggers_api.store.base import Pruned
from triggers_api.store.postgres import retention_verbs
from triggers_api.store.postgres.tables import SQL

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World

DAY_S: Final = 86_400
SWEEPS: Final = ("prune_events", "prune_dead_letters", "prune_deliveries", "prune_attempts")


def routed(world: World, organization: str, subscription: str, status: str) -> tuple[str, str]:
    """An event that was routed, and its delivery, which came to this after one attempt."""
    world.queued(organization)
    world.route(world.claim_queue(), subscription)
    claimed = world.claimed()
    world.settle(world.outcome(claimed, status))
    return claimed.event_id, claimed.id


def queue_again(world: World, organization: str, event_id: str) -> None:
    """What a repair does with an event of which it cannot see that it was routed."""
    execute = world.engine.execute
    if world.engine.is_shared:
        given = UUID(organization[4:]), UUID(event_id[4:])
        execute(
            "INSERT INTO event_queue (organization_id, event_id, due_at) VALUES ($1, $2, 5)", *given
        )
    else:
        parsed = ids.parse(ids.EVENT, event_id)
        assert parsed is not None
        execute("UPDATE events SET status = 0 WHERE id = ?1", parsed[0])
        execute(
            "INSERT INTO event_queue (event_id, due_at, lease_until, lease_token, attempts) "
            "VALUES (?1, 5, 0, 4611686018427387904, 0)",
            parsed[0],
        )


def sweep(world: World, verb: str) -> Pruned:
    """One that is about everything there was until now."""
    prune = getattr(world.store, verb)
    found: Pruned = world.run(prune(cutoffs(world.clock()), after=None, limit=100))
    return found


def is_whole(world: World, organization: str, event_id: str, delivery_id: str) -> bool:
    event = world.run(world.store.event(organization, event_id))
    delivery = world.run(world.store.delivery(organization, delivery_id))
    return (
        event is not None
        and [each.id for each in event.deliveries] == [delivery_id]
        and delivery is not None
        and [each.number for each in delivery.attempts] == [1]
    )


@pytest.mark.parametrize("status", ["succeeded", "dead"])
@pytest.mark.parametrize("verb", SWEEPS[:3])
def test_of_an_event_that_is_queued_again_nothing_goes_and_nobody_gets_it_twice(
    world: World, organization: str, subscription: str, clock: FrozenClock, verb: str, status: str
) -> None:
    event_id, delivery_id = routed(world, organization, subscription, status)
    clock.advance(seconds=8 * DAY_S)
    queue_again(world, organization, event_id)
    assert sweep(world, verb) == Pruned()
    assert is_whole(world, organization, event_id, delivery_id)
    (event,) = world.claim_queue().events
    assert event.id == event_id


# ── an engine that holds what it has looked at, and asks again ────────────────────────────────────


class Changed:
    """Statements, some of them other ones."""

    def __init__(self, those: Mapping[str, str]) -> None:
        self._those = those

    def __getitem__(self, name: str) -> str:
        return self._those[name] if name in self._those else SQL[name]


HOLDS_ALL: Final = """
SELECT count(*), (array_agg(id ORDER BY id DESC))[1], array_agg(id)
FROM (SELECT id FROM events WHERE organization_id = $1 AND id > $2 LIMIT $4) AS e
WHERE $3::uuid IS NOT NULL AND $5::bigint IS NOT NULL AND $6::bigint IS NOT NULL
"""


@pytest.mark.parametrize("state", ["opened again", "queued again", "died of late", "finished"])
def test_an_event_that_was_held_by_an_older_look_is_asked_about_again(
    world: World,
    organization: str,
    subscription: str,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    if not world.engine.is_shared:
        pytest.skip("this engine holds nothing while it looks")
    event_id, delivery_id = routed(world, organization, subscription, "dead")
    died = clock()
    clock.advance(seconds=8 * DAY_S)
    if state == "opened again":
        assert world.run(world.store.retry_delivery(organization, delivery_id))
    elif state == "queued again":
        queue_again(world, organization, event_id)
    now = clock()
    kept_from = died if state == "died of late" else now
    monkeypatch.setattr(retention_verbs, "SQL", Changed({"hold_old_events": HOLDS_ALL}))
    gone = world.run(
        world.store.prune_events(
            Cutoffs(default=moments(now, dead_letters=kept_from)), after=None, limit=100
        )
    )
    if state == "finished":
        assert gone == Pruned(events=1, deliveries=1, attempts=1)
    else:
        assert gone == Pruned()
        assert is_whole(world, organization, event_id, delivery_id)


@pytest.mark.parametrize(
    ("verb", "status", "held"),
    [
        ("prune_events", "skipped", "events"),
        ("prune_deliveries", "skipped", "deliveries"),
        ("prune_dead_letters", "dead", "deliveries"),
    ],
)
def test_what_was_looked_at_is_held_until_it_is_gone(
    world: World,
    organization: str,
    subscription: str,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    status: str,
    held: str,
) -> None:
    if not world.engine.is_shared:
        pytest.skip("this engine holds nothing while it looks")
    event_id, delivery_id = routed(world, organization, subscription, status)
    row = UUID((event_id if held == "events" else delivery_id)[4:])
    clock.advance(seconds=8 * DAY_S)
    asked: list[str] = []

    def between(_: int) -> int:
        with pytest.raises(asyncpg.LockNotAvailableError) as refused:
            world.engine.execute(f"SELECT FROM {held} WHERE id = $1 FOR UPDATE NOWAIT", row)
        asked.append(str(refused.value))
        return 0

    monkeypatch.setattr("secrets.randbelow", between)
    assert sweep(world, verb).deliveries == 1
    assert len(asked) == 1


# ── an engine that looks, and asks again while nobody else writes ─────────────────────────────────


def interpose(
    world: World, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], Awaitable[object]]
) -> None:
    """Have something happen after the look for old rows, and before they are deleted."""
    if world.engine.is_shared:
        pytest.skip("this engine holds the rows while it looks")
    readers: Any = world.store._readers  # type: ignore[attr-defined]
    run = readers.run

    async def looked(look: Callable[[object], object]) -> object:
        found = await run(look)
        monkeypatch.setattr(readers, "run", run)
        await meanwhile()
        return found

    monkeypatch.setattr(readers, "run", looked)


@pytest.mark.parametrize("status", ["skipped", "dead"])
@pytest.mark.parametrize("verb", SWEEPS)
def test_a_delivery_opened_again_after_it_was_looked_for_stays_with_its_event_and_attempts(
    world: World,
    organization: str,
    subscription: str,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    status: str,
) -> None:
    event_id, delivery_id = routed(world, organization, subscription, status)
    clock.advance(seconds=8 * DAY_S)
    interpose(world, monkeypatch, lambda: world.store.retry_delivery(organization, delivery_id))
    assert sweep(world, verb) == Pruned()
    assert is_whole(world, organization, event_id, delivery_id)
    assert world.claimed().id == delivery_id


@pytest.mark.parametrize("status", ["succeeded", "dead"])
@pytest.mark.parametrize("verb", SWEEPS[:3])
def test_an_event_queued_again_after_it_was_looked_for_keeps_what_it_has(
    world: World,
    organization: str,
    subscription: str,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    status: str,
) -> None:
    event_id, delivery_id = routed(world, organization, subscription, status)
    clock.advance(seconds=8 * DAY_S)

    async def meanwhile() -> None:
        queue_again(world, organization, event_id)

    interpose(world, monkeypatch, meanwhile)
    assert sweep(world, verb) == Pruned()
    assert is_whole(world, organization, event_id, delivery_id)
