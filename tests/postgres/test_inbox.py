"""An inbox that several processes hand out of, beside transactions that are under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.postgres.conftest import Database, event, until
from tests.postgres.test_commit_order import Writer

from triggers_api.model.inbox import DEFAULT_INBOX, InboxAction, InboxStatus
from triggers_api.store.base import InboxSeek, Pulled, Reached
from triggers_api.store.postgres.tables import SQL

if TYPE_CHECKING:
    from tests.conftest import Run

    from triggers_api.store.postgres.store import PostgresStore


async def pull(store: PostgresStore, organization: str, limit: int = 10) -> Pulled:
    pulled = await store.pull_inbox(
        organization,
        DEFAULT_INBOX,
        limit=limit,
        lease_s=30.0,
        types=None,
        most_bytes=1 << 24,
        reached=Reached(),
    )
    assert pulled is not None
    return pulled


async def pull_all(store: PostgresStore, organization: str, count: int) -> list[str]:
    """So many, when nothing is under way any more: any transaction of the server holds the log up."""
    found: list[str] = []

    async def all_came() -> bool:
        found.extend(each.event.id for each in (await pull(store, organization)).events)
        return len(found) >= count

    await until(all_came, "all were handed out")
    return found


def test_an_event_whose_transaction_ends_late_is_waited_for_and_none_is_skipped(
    run: Run, database: Database
) -> None:
    async def main() -> None:
        store, other = await database.store(), await database.store()
        organization = await database.organization(store)
        first, held, behind = (event(store, organization) for _ in range(3))
        await other.append([first])
        assert await pull_all(store, organization, 1) == [first.id]
        late = Writer(await database.connection())
        await late.append(held)
        await other.append([behind])
        pulled = await pull(store, organization)
        assert (pulled.events, pulled.late) == ((), True)
        page = await store.peek_inbox(
            organization, DEFAULT_INBOX, type_pattern=None, after=None, limit=9, most_bytes=1 << 20
        )
        assert page is not None
        assert ([each.id for each in page.events], page.late) == ([first.id], True)
        await late.end("COMMIT")
        assert await pull_all(store, organization, 2) == [held.id, behind.id]

    run(main())


def test_what_is_acknowledged_before_it_can_be_told_is_not_handed_out(
    run: Run, database: Database
) -> None:
    async def main() -> None:
        store, other = await database.store(), await database.store()
        organization = await database.organization(store)
        held, seen, after = (event(store, organization) for _ in range(3))
        late = Writer(await database.connection())
        await late.append(held)
        await other.append([seen])
        settled = await store.settle_inbox(
            organization, DEFAULT_INBOX, InboxAction.ACK, [seen.id], by_id=True
        )
        assert settled is not None
        assert [each.status for each in settled] == [InboxStatus.ACKED]
        await late.end("COMMIT")
        await other.append([after])
        assert await pull_all(store, organization, 2) == [held.id, after.id]

    run(main())


async def at_once(database: Database) -> list[str]:
    """Two processes pull while the inbox is held; what both were given."""
    store, other = await database.store(), await database.store()
    organization = await database.organization(store)
    events = [event(store, organization) for _ in range(6)]
    await store.append(events)
    assert await pull_all(store, organization, 6) == [each.id for each in events]
    await store.seek_inbox(organization, DEFAULT_INBOX, InboxSeek())
    holder = await database.connection()
    await holder.execute("BEGIN")
    await holder.execute("SELECT FROM inboxes FOR UPDATE")
    pulls = [asyncio.create_task(pull(each, organization, limit=4)) for each in (store, other)]
    await database.waiting_for_locks(2)
    await holder.execute("COMMIT")
    return [each.event.id for pulled in await asyncio.gather(*pulls) for each in pulled.events]


def test_two_who_pull_at_once_are_given_different_events(run: Run, database: Database) -> None:
    given = run(at_once(database))
    assert len(given) == 6
    assert len(set(given)) == 6


def test_without_the_inbox_being_held_they_would_be_given_the_same(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    unheld = SQL["hold_inbox"].replace("FOR UPDATE", "")
    monkeypatch.setitem(SQL._texts, "hold_inbox", unheld)
    given = run(at_once(database))
    assert len(given) == 8
    assert len(set(given)) == 4


def test_whoever_settles_under_a_lease_does_not_wait_for_the_inbox(
    run: Run, database: Database
) -> None:
    async def main() -> None:
        store = await database.store()
        organization = await database.organization(store)
        await store.append([event(store, organization) for _ in range(3)])
        leased: list[str] = []

        async def all_came() -> bool:
            leased.extend(each.receipt for each in (await pull(store, organization)).events)
            return len(leased) == 3

        await until(all_came, "all were handed out")
        holder = await database.connection()
        await holder.execute("BEGIN")
        await holder.execute("SELECT FROM inboxes FOR UPDATE")
        for action, receipt in zip(InboxAction, leased, strict=True):
            settled = await store.settle_inbox(
                organization, DEFAULT_INBOX, action, [receipt], by_id=False, seconds=5.0
            )
            assert settled is not None
            assert settled[0].status is not InboxStatus.LEASE_LOST
        await holder.execute("COMMIT")

    run(main())
