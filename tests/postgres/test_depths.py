"""Depths of a deep queue: as quick to tell as those of a shallow one, and about right."""

import pytest
from tests.conftest import Run
from tests.postgres.conftest import Database, event

from triggers_api.model import ids
from triggers_api.model.delivery import NewDelivery
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import QueueStats

pytestmark = pytest.mark.usefixtures("fresh_numbers")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("triggers_api.store.postgres.record_reads.COUNTED", 10)
    return 10


async def filled(database: Database, *, due: int, scheduled: int, deliveries: int) -> QueueStats:
    """The depths of a database with so much in it, that knows roughly what is in it."""
    store = await database.store()
    organization = await database.organization(store)
    later = Timestamp(store.now() + 60_000)
    new = [event(store, organization) for _ in range(due)]
    new += [event(store, organization, deliver_at=later) for _ in range(scheduled)]
    for _ in range(deliveries):
        to = NewDelivery(store.ids.new(ids.DELIVERY), store.ids.new(ids.SUBSCRIPTION))
        new.append(event(store, organization, deliveries=(to,)))
    await store.append(new)
    db = await database.connection()
    await db.execute("ANALYZE event_queue, delivery_queue")
    return await store.stats()


@pytest.mark.parametrize(
    ("due", "scheduled", "deliveries"),
    [(10, 10, 10), (11, 10, 0), (300, 3, 500), (3, 300, 10), (200, 200, 11)],
)
def test_what_is_too_much_to_count_is_estimated(
    run: Run, database: Database, counted: int, due: int, scheduled: int, deliveries: int
) -> None:
    stats = run(filled(database, due=due, scheduled=scheduled, deliveries=deliveries))
    assert (stats.depth, stats.scheduled, stats.deliveries_waiting) == (due, scheduled, deliveries)
    assert counted == 10


def test_without_an_estimate_a_deep_queue_is_known_to_be_deep(
    run: Run, database: Database, counted: int
) -> None:
    async def scenario() -> QueueStats:
        store = await database.store()
        organization = await database.organization(store)
        await store.append([event(store, organization) for _ in range(50)])
        return await store.stats()

    assert run(scenario()).depth == counted + 1
