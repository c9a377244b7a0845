"""Twins that come to several processes at once: the commit decides, and all hear of one event."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.postgres.conftest import event

from triggers_api.errors import OutcomeUnknown, StoreUnavailable
from triggers_api.model.event import FirstEvent
from triggers_api.store.base import EventFilter, Page
from triggers_api.store.postgres.tables import SQL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conftest import Log, Run
    from tests.postgres.conftest import Database

    from triggers_api.model.event import NewEvent
    from triggers_api.store.postgres.store import PostgresStore

EVERYTHING = Page(limit=1000)


async def stored(store: PostgresStore, organization: str) -> dict[str, str]:
    """The ids of what is stored, by dedup_id, each of which is there once."""
    events = await store.events(organization, EventFilter(), EVERYTHING)
    found = {each.dedup_id: each.id for each in events}
    assert len(found) == len(events)
    return {name: event_id for name, event_id in found.items() if name is not None}


def holders(
    sent: Sequence[Sequence[NewEvent]], answers: Sequence[Sequence[FirstEvent | None]]
) -> list[tuple[str, str]]:
    """For each event that was sent: its dedup_id, and which event its caller was told holds it."""
    return [
        (str(each.dedup_id), each.id if answer is None else answer.id)
        for call, told in zip(sent, answers, strict=True)
        for each, answer in zip(call, told, strict=True)
    ]


@pytest.mark.parametrize("deliveries", [None, ()])
@pytest.mark.parametrize("pooled", [False, True])
def test_of_64_simultaneous_twins_over_two_processes_one_is_stored_and_all_hear_its_id(
    run: Run, database: Database, deliveries: tuple[()] | None, *, pooled: bool
) -> None:
    async def scenario() -> None:
        direct_url = database.url if pooled else None
        stores = [await database.store(direct_url=direct_url) for _ in range(2)]
        organization = await database.organization(stores[0])
        for round_ in range(10):
            sent = [
                [
                    event(
                        stores[n % 2],
                        organization,
                        b'{"n":1}' if n % 4 else b'{"n":2}',
                        dedup_id=f"{round_}",
                        deliveries=deliveries,
                    )
                ]
                for n in range(64)
            ]
            answers = await asyncio.gather(
                *(stores[n % 2].append(call) for n, call in enumerate(sent))
            )
            won = [call[0] for call, (answer,) in zip(sent, answers, strict=True) if answer is None]
            assert len(won) == 1
            assert set(holders(sent, answers)) == {(f"{round_}", won[0].id)}
            for (each,), (answer,) in zip(sent, answers, strict=True):
                if answer is not None:
                    assert answer.payload_matches == (each.payload == won[0].payload)
            assert (await stored(stores[1], organization))[f"{round_}"] == won[0].id
        (account,) = await stores[0].accounts()
        assert account.accepted == 10
        assert account.balances()

    run(scenario())


@pytest.mark.parametrize("routed", ["none", "all", "some"])
def test_overlapping_batches_in_opposite_orders_never_block_each_other_and_lose_nothing(
    run: Run, database: Database, log: Log, monkeypatch: pytest.MonkeyPatch, routed: str
) -> None:
    """The two kinds come together only when the switch between them is turned; then they may meet."""
    draw = random.Random(routed)
    if routed != "some":
        monkeypatch.setattr("triggers_api.store.postgres.sessions._TRIES", 1)

    async def scenario() -> None:
        stores = [await database.store() for _ in range(2)]
        organizations = [await database.organization(stores[0]) for _ in range(3)]
        names = [f"{n}" for n in range(30)]

        def batch(store: PostgresStore, chosen: list[tuple[str, str]]) -> list[NewEvent]:
            at_once = {"none": 0.0, "all": 1.0, "some": 0.5}[routed]
            return [
                event(
                    store,
                    organization,
                    dedup_id=name,
                    deliveries=() if draw.random() < at_once else None,
                )
                for organization, name in chosen
            ]

        everything = [(organization, name) for organization in organizations for name in names]
        for round_ in range(10 if routed == "some" else 40):
            prefixed = [(organization, f"{round_}-{name}") for organization, name in everything]
            sent = []
            for number in range(4):
                chosen = draw.sample(prefixed, 60)
                chosen.sort(reverse=number % 2 == 1)
                sent.append(batch(stores[number % 2], chosen))
            answers = await asyncio.gather(
                *(stores[number % 2].append(call) for number, call in enumerate(sent))
            )
            # One holder for each name that was sent, and all who sent it were told of that one.
            told: dict[tuple[str, str], set[str]] = {}
            won: Counter[tuple[str, str]] = Counter()
            for call, answered in zip(sent, answers, strict=True):
                for each, answer in zip(call, answered, strict=True):
                    key = (each.organization_id, str(each.dedup_id))
                    told.setdefault(key, set()).add(each.id if answer is None else answer.id)
                    won[key] += answer is None
            assert {len(ids) for ids in told.values()} == {1}
            assert set(won.values()) == {1}
        for account in await stores[1].accounts():
            assert account.balances()

    run(scenario())
    assert not [line for line in log if line["log_level"] == "error"]


def test_one_batch_with_twins_in_it_stores_the_first_of_them(run: Run, database: Database) -> None:
    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        batch = [event(store, organization, dedup_id=name) for name in "babcab"]
        answers = await store.append(batch)
        won = {
            str(each.dedup_id): each.id
            for each, told in zip(batch, answers, strict=True)
            if told is None
        }
        assert sorted(won) == ["a", "b", "c"]
        assert set(holders([batch], [answers])) == set(won.items())
        assert won["b"] == batch[0].id

    run(scenario())


def test_a_twin_of_an_event_that_is_being_deleted_is_told_of_it_or_takes_its_place(
    run: Run, database: Database
) -> None:
    """Never neither: an answer that names an event names one that was there."""

    async def scenario() -> None:
        one, other = await database.store(), await database.store()
        organization = await database.organization(one)
        taken_over = told_of_the_old_one = 0
        for round_ in range(150):
            first = event(one, organization, dedup_id="twin")
            assert await one.append([first]) == [None]
            twins = [event(other, organization, dedup_id="twin") for _ in range(4)]
            gathered: list[Any] = await asyncio.gather(
                one.delete_event(organization, first.id),
                *(
                    other.append([each]) if n % 2 else _later(other, each)
                    for n, each in enumerate(twins)
                ),
            )
            assert gathered[0] is True
            answers = [answer for (answer,) in gathered[1:]]
            won = [each.id for each, answer in zip(twins, answers, strict=True) if answer is None]
            assert len(won) <= 1
            assert {answer.id for answer in answers if answer is not None} <= {first.id, *won}
            left = await stored(one, organization)
            assert list(left.values()) == won, f"round {round_}"
            taken_over += len(won)
            told_of_the_old_one += any(
                answer is not None and answer.id == first.id for answer in answers
            )
            for event_id in won:
                assert await one.delete_event(organization, event_id)
        assert taken_over, "it did not come to that"
        print(f"{taken_over} took over, in {told_of_the_old_one} rounds some heard of the old one")  # noqa: T201
        (account,) = await one.accounts()
        assert account.balances()
        assert account.accepted == 150 + taken_over == account.deleted

    run(scenario())


async def _later(store: PostgresStore, each: NewEvent) -> Sequence[FirstEvent | None]:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return await store.append([each])


def test_a_twin_waits_for_the_one_whose_outcome_is_not_decided_yet(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        for how in ("ROLLBACK", "COMMIT"):
            db = await database.connection()
            await db.execute("BEGIN")
            first = event(store, organization, dedup_id=how)
            await db.execute(
                "INSERT INTO events (organization_id, id, type, payload, dedup_id)"
                f" VALUES ('{organization[4:]}', '{first.id[4:]}', 'a', '1', '{how}')"
            )
            twin = store.append([event(store, organization, dedup_id=how)])
            await database.waiting_for_locks(1)
            assert not twin.done()
            await db.execute(how)
            (answer,) = await twin
            assert (answer is None) == (how == "ROLLBACK")
            assert answer is None or answer.id == first.id

    run(scenario())


def test_who_is_stored_is_told_so_although_the_look_for_a_twin_beside_it_fails(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        await store.append([event(store, organization, dedup_id="taken")])
        new, twin = event(store, organization), event(store, organization, dedup_id="taken")
        both = [event(store, organization), event(store, organization, dedup_id="taken")]
        monkeypatch.setitem(
            SQL._texts,
            "first_events",
            "SELECT pg_terminate_backend(pg_backend_pid())"
            " FROM unnest($1::uuid[], $2::text[], $3::bytea[])",
        )
        answers = await asyncio.gather(
            store.append([new]), store.append([twin]), store.append(both), return_exceptions=True
        )
        assert answers[0] == [None]
        assert isinstance(answers[1], StoreUnavailable), "nothing of it was stored"
        assert isinstance(answers[2], OutcomeUnknown), "a part of it was"
        kept = await store.events(organization, EventFilter(), EVERYTHING)
        assert {new.id, both[0].id} < {each.id for each in kept}
        assert len(kept) == 3

    run(scenario())
