"""Group commit: what shares a statement, what is refused, and who pays for one that cannot be stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from tests.postgres.conftest import event, until

from triggers_api.errors import (
    OutcomeUnknown,
    Overloaded,
    StorageFull,
    StoreUnavailable,
    Unavailable,
)
from triggers_api.model.event import FirstEvent, NewEvent
from triggers_api.store.base import EventFilter, Page
from triggers_api.store.postgres import writer as writer_module
from triggers_api.store.postgres.writer import Writer

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.postgres.conftest import Database

    from triggers_api.store.postgres.store import PostgresStore

EVERYTHING = Page(limit=1000)


class Desk:
    """Takes the statements of a writer, and answers each when it is told to."""

    def __init__(self) -> None:
        self.statements: list[list[str]] = []
        """The types of the events of each."""
        self.together: list[int] = []
        """How many calls were committed with each."""
        self.refused: list[Unavailable] = []
        self._answers: list[asyncio.Future[None]] = []

    async def appends(self, events: Sequence[NewEvent]) -> Sequence[FirstEvent | None]:
        self.statements.append([each.type for each in events])
        self._answers.append(asyncio.get_running_loop().create_future())
        await self._answers[-1]
        return [None] * len(events)

    def appended(self, calls: int, *, seconds: float) -> None:
        assert seconds >= 0
        self.together.append(calls)

    def append_failed(self, reason: Unavailable) -> None:
        self.refused.append(reason)

    async def answer(self, place: int, error: Exception | None = None) -> None:
        """Answer a statement, once it is there."""
        await until(lambda: len(self._answers) > place, f"statement {place} is there")
        if error is None:
            self._answers[place].set_result(None)
        else:
            self._answers[place].set_exception(error)
        await turn()


async def turn() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def item(name: str) -> NewEvent:
    return NewEvent(f"evt_{name}", "org_1", name, b"1")


def items(count: int, name: str = "e") -> list[NewEvent]:
    return [item(f"{name}{number}") for number in range(count)]


def types(count: int, name: str = "e") -> list[str]:
    return [f"{name}{number}" for number in range(count)]


# ── groups ────────────────────────────────────────────────────────────────────────────────────────


def test_calls_that_come_with_one_turn_of_the_loop_share_a_statement(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        writer = Writer(desk.appends, observer=desk)
        calls = [writer.append([each], size=1) for each in items(10)]
        await desk.answer(0)
        assert desk.statements == [types(10)]
        assert await asyncio.gather(*calls) == [[None]] * 10
        assert desk.together == [10]

    run(scenario())


def test_each_call_is_answered_with_what_is_its_own(run: Run) -> None:
    async def appends(events: Sequence[NewEvent]) -> Sequence[Any]:
        return [each.type for each in events]

    async def scenario() -> None:
        writer = Writer(appends, observer=Desk())
        calls: list[Awaitable[Any]] = [
            writer.append(items(n, f"c{n}-"), size=1) for n in (2, 0, 1, 3)
        ]
        assert await asyncio.gather(*calls) == [types(n, f"c{n}-") for n in (2, 0, 1, 3)]

    run(scenario())


def test_two_statements_are_in_flight_and_what_comes_meanwhile_is_the_third(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        writer = Writer(desk.appends, observer=desk)
        calls = []
        for each in items(7):
            calls.append(writer.append([each], size=1))
            await turn()
        assert desk.statements == [["e0"], ["e1"]]
        await desk.answer(1)
        assert desk.statements[2:] == [["e2", "e3", "e4", "e5", "e6"]]
        await desk.answer(0)
        await desk.answer(2)
        assert await asyncio.gather(*calls) == [[None]] * 7
        assert desk.together == [1, 1, 5]

    run(scenario())


def test_a_statement_is_bounded_in_events_and_a_call_is_never_divided(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        writer = Writer(desk.appends, observer=desk)
        calls = [writer.append(items(count), size=1) for count in (600, 400, 1, 1000, 1500)]
        for place, count in enumerate((1000, 1, 1000, 1500)):
            await desk.answer(place)
            assert len(desk.statements[place]) == count
        await asyncio.gather(*calls)

    run(scenario())


def test_a_statement_is_bounded_in_bytes(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        writer = Writer(desk.appends, observer=desk)
        calls = [writer.append([each], size=3 << 20) for each in items(5)]
        calls.append(writer.append([item("large")], size=20 << 20))
        for place, expected in enumerate((["e0", "e1"], ["e2", "e3"], ["e4"], ["large"])):
            await desk.answer(place)
            assert desk.statements[place] == expected
        await asyncio.gather(*calls)

    run(scenario())


def test_a_caller_that_goes_away_disturbs_nobody(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        writer = Writer(desk.appends, observer=desk)
        calls = [writer.append([each], size=1) for each in items(3)]
        await turn()
        calls[1].cancel()
        await desk.answer(0)
        assert await calls[0] == await calls[2] == [None]
        assert desk.statements == [types(3)], "it was sent by then, and is stored"

    run(scenario())


# ── one that cannot be stored ─────────────────────────────────────────────────────────────────────


def test_one_item_that_cannot_be_stored_costs_only_itself(run: Run) -> None:
    async def appends(events: Sequence[NewEvent]) -> Sequence[FirstEvent | None]:
        if any(each.type == "bad" for each in events):
            raise asyncpg.CharacterNotInRepertoireError("invalid byte sequence")
        return [None] * len(events)

    async def scenario() -> None:
        desk = Desk()
        writer = Writer(appends, observer=desk)
        good = [writer.append([each], size=1) for each in items(5)]
        bad = writer.append([item("bad"), item("beside it")], size=1)
        good += [writer.append([each], size=1) for each in items(5)]
        with pytest.raises(asyncpg.CharacterNotInRepertoireError):
            await bad
        assert await asyncio.gather(*good) == [[None]] * 10
        assert desk.refused == []

    run(scenario())


def test_the_database_away_while_they_are_stored_one_by_one_keeps_nobody_waiting_in_line(
    run: Run,
) -> None:
    """Each would find out for itself, one wait after the other."""

    async def scenario() -> None:
        desk = Desk()
        writer = Writer(desk.appends, observer=desk)
        calls = [writer.append([each], size=1) for each in items(4)]
        await desk.answer(0, asyncpg.DataError("bad"))
        await desk.answer(1)
        await desk.answer(2, OutcomeUnknown("the database's answer was lost"))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert answers[0] == [None]
        assert [type(each) for each in answers[1:]] == [
            OutcomeUnknown, StoreUnavailable, StoreUnavailable,
        ]  # fmt: skip
        assert len(desk.statements) == 3

    run(scenario())


@pytest.mark.parametrize(
    "fields",
    [{"source": "a\x00b"}, {"dedup_id": "a\x00b"}, {"key": "\ud800"}, {"occurred_at": 1 << 63}],
)
def test_what_the_database_cannot_hold_costs_simultaneous_calls_nothing(
    run: Run, database: Database, fields: dict[str, Any]
) -> None:
    """Checks before the store keep such a thing away; should one let it pass, the others do not pay."""

    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        good = [event(store, organization, dedup_id=f"{n}") for n in range(20)]
        calls = [store.append([each]) for each in good]
        calls.insert(10, store.append([event(store, organization, **fields)]))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = answers.pop(10)
        assert isinstance(refused, (asyncpg.PostgresError, ValueError))
        assert answers == [[None]] * 20
        assert await stored(store, organization) == {each.id for each in good}

    run(scenario())


# ── a store that is away, full, or stands still ───────────────────────────────────────────────────


@pytest.mark.parametrize("error", [StoreUnavailable("refused"), OutcomeUnknown("lost")])
def test_when_the_store_is_away_what_waits_is_refused_at_once_and_nothing_of_it_is_sent(
    run: Run, error: Unavailable
) -> None:
    async def scenario() -> None:
        desk = Desk()
        writer = Writer(desk.appends, observer=desk)
        in_flight = []
        for each in items(2):
            in_flight.append(writer.append([each], size=1))
            await turn()
        waiting = [writer.append([each], size=1) for each in items(5, "w")]
        await desk.answer(0, error)
        for call in waiting:
            with pytest.raises(StoreUnavailable, match="the database is away"):
                await call
        with pytest.raises(type(error)):
            await in_flight[0]
        assert not in_flight[1].done(), "it may succeed"
        await desk.answer(1)
        assert await in_flight[1] == [None]
        assert desk.statements == [["e0"], ["e1"]]
        assert desk.refused == [error]
        again = writer.append([item("again")], size=1)
        await desk.answer(2)
        assert await again == [None]

    run(scenario())


def test_a_full_disk_is_asked_again_for_what_waits(run: Run) -> None:
    """What needs less room may find it; and the answer says what is the matter."""

    async def scenario() -> None:
        desk = Desk()
        writer = Writer(desk.appends, observer=desk)
        calls = []
        for each in items(3):
            calls.append(writer.append([each], size=1))
            await turn()
        await desk.answer(0, StorageFull("no space left"))
        await desk.answer(1, StorageFull("no space left"))
        await desk.answer(2)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in answers] == [StorageFull, StorageFull, list]

    run(scenario())


def test_more_calls_than_may_wait_are_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_WAITING_CALLS", 10)

    async def scenario() -> None:
        desk = Desk()
        writer = Writer(desk.appends, observer=desk)
        calls = [writer.append([each], size=1) for each in items(10)]
        with pytest.raises(Overloaded):
            writer.append([item("late")], size=1)
        await turn()  # they are under way: nothing waits any more
        calls.append(writer.append([item("later")], size=1))
        await desk.answer(0)
        await desk.answer(1)
        assert await asyncio.gather(*calls) == [[None]] * 11
        assert desk.statements == [types(10), ["later"]]

    run(scenario())


def test_more_bytes_than_may_wait_are_refused(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        writer = Writer(desk.appends, observer=desk)
        calls = [writer.append([each], size=32 << 20) for each in items(2)]
        with pytest.raises(Overloaded):
            writer.append([item("late")], size=1)
        await desk.answer(0)
        calls.append(writer.append([item("later")], size=1))
        await desk.answer(1)
        await desk.answer(2)
        assert await asyncio.gather(*calls) == [[None]] * 3

    run(scenario())


def test_when_nothing_is_committed_for_two_seconds_more_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([100.0, 100.1, 100.2, 101.9, 102.3, 110.0, 110.0, 111.9])
    standing_still = SimpleNamespace(
        monotonic=lambda: next(seconds), perf_counter=time.perf_counter
    )
    monkeypatch.setattr(writer_module, "time", standing_still)

    async def scenario() -> None:
        desk = Desk()
        writer = Writer(desk.appends, observer=desk)
        calls = []
        for each in items(2):  # at 100.0 and 100.1: under way
            calls.append(writer.append([each], size=1))
            await turn()
        calls.append(writer.append([item("w0")], size=1))  # 100.2: the first one that waits
        calls.append(writer.append([item("w1")], size=1))  # 101.9
        with pytest.raises(Overloaded):
            writer.append([item("late")], size=1)  # 102.3
        monkeypatch.undo()
        await desk.answer(0)
        await desk.answer(1)
        await desk.answer(2)
        assert await asyncio.gather(*calls) == [[None]] * 4
        assert desk.statements[2] == ["w0", "w1"]

    run(scenario())


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


def test_closing_stores_what_waits_and_takes_nothing_more(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        writer = Writer(desk.appends, observer=desk)
        calls = []
        for each in items(5):
            calls.append(writer.append([each], size=1))
            await turn()
        closing = asyncio.create_task(writer.close())
        await turn()
        with pytest.raises(StoreUnavailable, match="the store is closed"):
            writer.append([item("late")], size=1)
        for place in range(3):
            assert not closing.done()
            await desk.answer(place)
        await closing
        assert [call.result() for call in calls] == [[None]] * 5

    run(scenario())


def test_closing_a_writer_with_calls_that_have_just_come_stores_them(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        writer = Writer(desk.appends, observer=desk)
        call = writer.append([item("e")], size=1)
        closing = asyncio.create_task(writer.close())
        await desk.answer(0)
        await closing
        assert await call == [None]
        await writer.close()

    run(scenario())


def test_a_store_that_is_closed_has_stored_what_it_took(run: Run, database: Database) -> None:
    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        taken = [event(store, organization) for _ in range(3000)]
        calls = [store.append([each]) for each in taken]
        await store.close()
        assert {tuple(call.result()) for call in calls} == {(None,)}
        other = await database.store()
        (account,) = await other.accounts()
        assert account.accepted == account.queued == 3000

    run(scenario())


async def stored(store: PostgresStore, organization: str) -> set[str]:
    return {each.id for each in await store.events(organization, EventFilter(), EVERYTHING)}
