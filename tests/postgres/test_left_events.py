"""Beside others: what they commit late, and what an older process turned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.postgres.conftest import event

from triggers_api.model.controls import Controls, DeliveryMode, IngestMode, Switches, turn
from triggers_api.store import bodies
from triggers_api.store.directory import Directory

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.postgres.conftest import Database


def test_what_is_committed_late_before_the_place_that_was_gone_past_is_found(
    run: Run, database: Database
) -> None:
    """Its transaction began before what was gone past came in, and took its time."""

    async def scenario() -> None:
        store, other = await database.store(), await database.store()
        left, late = await database.organization(store), await database.organization(store)
        await store.append([event(store, left) for _ in range(700)])
        database.clock.advance(seconds=10)
        await store.append([event(store, left) for _ in range(700)])
        database.clock.advance(seconds=10)
        assert (await store.claim_queue(10, 45, not_of=[left])).events == ()
        late_one = event(other, late)
        await other.append([late_one])
        db = await database.connection()
        await db.execute(
            "UPDATE event_queue SET due_at = due_at - 15000 WHERE event_id = $1", late_one.id[4:]
        )
        looks = 0
        while not (claim := await store.claim_queue(10, 45, not_of=[left])).events:
            looks += 1
            assert looks < 5, "what was gone past is read again, some at a time"
            database.clock.advance(seconds=0.05)
        assert [each.id for each in claim.events] == [late_one.id]

    run(scenario())


def test_what_an_older_process_turned_is_in_force_and_ends_what_was_for_a_while(
    run: Run, database: Database
) -> None:
    """It knows one row, and writes that one alone."""

    async def scenario() -> None:
        store = await database.store()
        directory = Directory(store, forced={})
        for_a_while = turn(
            Switches(), {"delivery": "paused", "ingest": "sync"}, at=store.now(), by="key_new",
            expires_at=store.now().after(seconds=60),
        )  # fmt: skip
        await store.save_switches(for_a_while)
        await directory.refresh()
        assert directory.controls.delivery is DeliveryMode.PAUSED
        row = Controls(
            ingest=IngestMode.SYNC,
            delivery=DeliveryMode.RUNNING,
            batch_size=9,
            updated_at=store.now(),
            updated_by="key_old",
        )
        db = await database.connection()
        await db.execute(
            "UPDATE controls SET body = $1, version = (SELECT version + 1 FROM settings_version)",
            bodies.encode(row),
        )
        await db.execute("UPDATE settings_version SET version = version + 1")
        await directory.refresh()
        now = directory.controls
        assert (now.delivery, now.batch_size) == (DeliveryMode.RUNNING, 9)
        assert now.turned["batch_size"].updated_by == "key_old"
        assert now.ingest is IngestMode.SYNC
        database.clock.advance(seconds=60)
        directory.look_at_clock()
        assert directory.controls.ingest is IngestMode.ASYNC
        assert directory.controls.batch_size == 9

    run(scenario())
