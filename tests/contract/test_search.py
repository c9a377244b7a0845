"""Searching for events: the same answers on every engine, whatever has been indexed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from triggers_api.model.event import Event, EventStatus, NewEvent
from triggers_api.model.postings import PartBuilder
from triggers_api.model.search import (
    Asked,
    Condition,
    asked_terms,
    matches_content,
    matches_payload,
    payload_terms,
    words_of,
)
from triggers_api.operate import indexer
from triggers_api.operate.indexer import Indexer
from triggers_api.store import searching
from triggers_api.store.base import EventFilter, FailedEvent, NewPart, Page
from triggers_api.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from tests.contract.conftest import FrozenClock, World


def search(
    world: World,
    organization: str,
    *,
    limit: int = 1000,
    before: str | None = None,
    **wanted: Any,  # noqa: ANN401 - the fields of the filter
) -> list[str]:
    """The ids of one page after the other, until there are no more."""
    wish = EventFilter(**wanted)
    found: list[Event] = []
    while True:
        page = world.run(world.store.events(organization, wish, Page(limit, before)))
        found += page
        if page.go_on is not None:
            before = page.go_on
        elif len(page) == limit:
            before = page[-1].id
        else:
            return [each.id for each in found]


def index(world: World, *, size: int = 3) -> Metrics:
    """Take into the index what it takes, in parts of so many events."""
    metrics = Metrics()
    part = Indexer(world.store, metrics=metrics)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(indexer, "EVENTS_LIMIT", size)
        while world.run(part.run_once()) == 0:
            pass
        world.run(part.finish())
    return metrics


def by_payload(path: str, value: str) -> dict[str, tuple[Condition, ...]]:
    return {"conditions": (Condition(path, value),)}


PAYLOADS = {
    "plain": b'{"order":{"id":42,"total":99.5},"items":[{"sku":"A-7"}],"note":"Leave at the DOOR"}',
    "escaped": b'{"note":"caf\\u00e9 \\u0000 \\"door\\"","order":{"id":"42"}}',
    "twice": b'{"a":1,"a":2}',
    "big": b'{"n":123456789012345678901234567890,"f":1e3}',
    "unicode": '{"name":"Straße Zürich"}'.encode(),
    "literal": b'{"ok":true,"gone":null}',
    "scalar": b'"door"',
}


FINDS: list[tuple[dict[str, Any], list[str]]] = [
        ({"words": words_of("door")}, ["plain", "escaped", "scalar"]),
        ({"words": words_of("DOOR leave")}, ["plain"]),
        ({"words": words_of("CAFÉ")}, ["escaped"]),
        ({"words": words_of("strasse zürich")}, ["unicode"]),
        ({"words": words_of("true gone")}, ["literal"]),
        ({"words": words_of("absent")}, []),
        (by_payload("order.id", "42"), ["plain", "escaped"]),
        (by_payload("order.total", "99.50"), ["plain"]),
        (by_payload("items.0.sku", "A-7"), ["plain"]),
        (by_payload("a", "1"), ["twice"]),
        (by_payload("a", "2"), ["twice"]),
        (by_payload("n", "123456789012345678901234567890"), ["big"]),
        (by_payload("n", "123456789012345678901234567891"), []),
        (by_payload("f", "1000"), ["big"]),
        (by_payload("note", 'café \0 "door"'), ["escaped"]),
        (by_payload("name", "Straße Zürich"), ["unicode"]),
        (by_payload("name", "strasse zürich"), []),
        (by_payload("ok", "true"), ["literal"]),
        (by_payload("gone", "null"), ["literal"]),
        ({"words": words_of("door"), **by_payload("order.id", "42")}, ["plain", "escaped"]),
        ({"conditions": (Condition("order.id", "42"), Condition("order.total", "99.5"))}, ["plain"]),
        ({"type": "kind.plain", "words": words_of("door")}, ["plain"]),
        ({"type": "*.scalar", "words": words_of("door")}, ["scalar"]),
        ({"source": "from twice"}, ["twice"]),
        ({"source": "from"}, []),
        ({"key": "big%"}, []),
        ({"key": "big"}, ["big"]),
        ({"key": "big", "source": "from big", **by_payload("f", "1e3")}, ["big"]),
        ({"key": "a\0b"}, []),
        ({"dedup_id": "plain", "words": words_of("door")}, ["plain"]),
        ({"dedup_id": "plain", "words": words_of("absent")}, []),
]  # fmt: skip


@pytest.mark.parametrize("indexed", ["nothing", "the first", "nearly all"])
def test_events_are_found_by_what_is_in_them(
    world: World,
    organization: str,
    indexed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that the index is asked for all it has.
    monkeypatch.setattr(searching, "_FIRST_LOOK", 1)
    stored = {}
    for name, payload in PAYLOADS.items():
        event = world.event(
            organization, f"kind.{name}", payload, dedup_id=name, source=f"from {name}", key=name
        )
        world.append(event)
        stored[name] = event.id
        if indexed == "nearly all" or (indexed == "the first" and name == "twice"):
            index(world, size=2)
    for wanted, names in FINDS:
        expected = [stored[name] for name in names]
        for limit in (1, 1000):
            found = search(world, organization, limit=limit, **wanted)
            assert found == expected[::-1], wanted
            found = search(world, organization, limit=limit, oldest_first=True, **wanted)
            assert found == expected, wanted


def test_the_oldest_come_first_where_that_is_asked_for(
    world: World, organization: str, clock: FrozenClock
) -> None:
    stored = []
    for _ in range(5):
        stored += world.queued(organization, 2)
        clock.advance(seconds=1)
    for limit in (1, 3, 10, 11):
        assert search(world, organization, limit=limit, oldest_first=True) == stored
    assert search(world, organization, oldest_first=True, before=stored[6]) == stored[7:]


def test_what_is_deleted_is_not_found(world: World, organization: str) -> None:
    event = world.event(organization, payload=b'{"a":"secret"}', source="s", key="k")
    world.append(event)
    assert world.run(world.store.delete_event(organization, event.id))
    assert search(world, organization, words=("secret",)) == []
    assert search(world, organization, source="s") == []
    assert search(world, organization, key="k") == []


def test_nobody_finds_what_is_in_the_events_of_others(world: World, organization: str) -> None:
    other = world.organization()
    world.append(world.event(other, payload=b'{"a":"secret"}', source="s"))
    assert search(world, organization, words=("secret",)) == []
    assert search(world, organization, source="s") == []
    assert len(search(world, other, words=("secret",), source="s")) == 1


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("oldest_first", [True, False])
@pytest.mark.parametrize(
    "wanted", [{"type": "n*dle"}, {"words": ("needle",)}, {"type": "n*dle", "words": ("absent",)}]
)
def test_a_search_that_would_go_too_far_says_where_it_goes_on(
    world: World,
    organization: str,
    monkeypatch: pytest.MonkeyPatch,
    oldest_first: bool,  # noqa: FBT001
    indexed: bool,  # noqa: FBT001
    wanted: dict[str, Any],
) -> None:
    monkeypatch.setattr(searching, "_LOOKED_INTO", 20)
    monkeypatch.setattr(searching, "_PARTS", 3)
    monkeypatch.setattr(searching, "_CHECKED", 3)
    monkeypatch.setattr(searching, "_ROWS_FIRST", 2)
    monkeypatch.setattr(searching, "_LOOKED_AT", 20)
    monkeypatch.setattr(searching, "_FIRST_LOOK", 3)
    needles = []
    for number in range(90):
        kind, text = ("needle", "needle") if number in {0, 44, 89} else ("hay", "hay")
        needles += world.queued(organization, type=kind, payload=b'"%b"' % text.encode()) * (
            kind == "needle"
        )
    if indexed:
        index(world, size=10)
    wish = EventFilter(oldest_first=oldest_first, **wanted)
    first = world.run(world.store.events(organization, wish, Page(10)))
    assert first.go_on is not None
    assert len(first) <= 1
    found = search(world, organization, oldest_first=oldest_first, **wanted)
    expected = [] if wanted.get("words") == ("absent",) else needles
    assert found == (expected if oldest_first else expected[::-1])


# ── the index ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("oldest_first", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_with_the_index_a_search_finds_what_it_finds_without(
    world: World,
    organization: str,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    oldest_first: bool,  # noqa: FBT001
) -> None:
    draw = random.Random(seed)
    monkeypatch.setattr(searching, "_FIRST_LOOK", draw.choice([1, 5, 20]))
    monkeypatch.setattr(searching, "_PARTS_FIRST", draw.choice([1, 2]))
    monkeypatch.setattr(searching, "_ROWS_FIRST", draw.choice([1, 7]))
    monkeypatch.setattr(searching, "_BYTES", draw.choice([1, 100, 1000, 100_000]))
    monkeypatch.setattr(searching, "_BYTES_AT_ONCE", draw.choice([1, 100, 100_000]))
    other = world.organization()
    stored: list[NewEvent] = []
    held: list[NewEvent] = []
    for _ in range(150):
        payload = {"a": draw.choice([1, "1", 2, None]), "b": [draw.choice(["red", "green hose"])]}
        event = world.event(
            draw.choice([organization, organization, other]),
            draw.choice(["order.created", "order.paid", "invoice.created", "x"]),
            msgspec.json.encode(payload),
            source=draw.choice(["s", "t", None]),
            key=draw.choice(["k", None]),
            operational=draw.random() < 0.2,
        )
        # Where several processes store events, one with an older id may be stored after others.
        if world.engine.is_shared and draw.random() < 0.2:
            held.append(event)
            continue
        world.append(event)
        stored.append(event)
        if held and draw.random() < 0.1:
            late = held.pop(draw.randrange(len(held)))
            world.append(late)
            stored.append(late)
        if draw.random() < 0.03:
            index(world, size=draw.choice([2, 5, 9]))
        if draw.random() < 0.05:
            gone = stored.pop(draw.randrange(len(stored)))
            world.run(world.store.delete_event(gone.organization_id, gone.id))
    stored.sort(key=lambda each: each.id)
    for wanted in (
        {"words": ("hose",)},
        {"words": ("green", "hose"), "type": "order.*"},
        {"words": ("absent",)},
        by_payload("a", "1"),
        {**by_payload("b.0", "red"), "source": "s", "key": "k"},
        {"type": "*.created"},
        {"type": "x"},
        {"type": "*r*"},
        {"source": "t"},
        {"operational": True, "words": ("red",)},
        {"operational": True},
    ):
        asked = EventFilter(**wanted).asked
        expected = [
            each.id
            for each in stored
            if each.organization_id == organization
            and each.operational is asked.operational
            and matches_content(asked, each.type, each.source, each.key)
            and matches_payload(asked, each.payload)
        ]
        limit = draw.choice([1, 3, 1000])
        found = search(world, organization, limit=limit, oldest_first=oldest_first, **wanted)
        assert found == (expected if oldest_first else expected[::-1]), wanted


def test_one_at_a_time_makes_the_index(world: World, organization: str, clock: FrozenClock) -> None:
    world.queued(organization, 3)
    store, run = world.store, world.run
    token = run(store.lease_index(60.0))
    assert token is not None
    assert run(store.lease_index(60.0)) is None
    assert run(store.lease_index(60.0, token)) == token
    events = run(store.unindexed_events(organization, None, 2))
    part = NewPart(
        organization_id=organization,
        ids=tuple(each.id for each in events),
        part=PartBuilder().build(),
        position=events[-1].position,
        read_at=store.now(),
    )
    clock.advance(seconds=61)
    assert not run(store.save_part(token, part))
    successor = run(store.lease_index(60.0))
    assert successor is not None
    assert successor != token
    assert not run(store.save_part(token, part))
    assert run(store.prune_index(token, 10)) == 0
    assert len(run(store.unindexed_events(organization, None, 10))) == 3
    assert run(store.save_part(successor, part))
    assert len(run(store.unindexed_events(organization, None, 10))) == 1


def test_the_index_says_how_far_behind_it_is(world: World, organization: str) -> None:
    other = world.organization()
    world.queued(organization, 5)
    world.queued(other, 2)
    assert world.run(world.store.index_backlog(100)) == {organization: 5, other: 2}
    assert world.run(world.store.index_backlog(3)) == {organization: 3, other: 2}
    metrics = index(world, size=4)
    assert world.run(world.store.index_backlog(100)) == {organization: 1, other: 2}
    assert b"triggers_search_unindexed_events 3.0" in metrics.exposition()
    assert b"triggers_search_indexed_events_total 4.0" in metrics.exposition()


def test_what_is_deleted_is_taken_out_of_the_index(
    world: World, organization: str, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_FIRST_LOOK", 1)
    kept, gone = (
        world.event(organization, payload=b'{"a":"%b word"}' % name) for name in (b"kept", b"gone")
    )
    world.append(kept, gone)
    index(world, size=2)

    def terms() -> set[bytes]:
        found = world.engine.execute("SELECT body FROM search_blocks")
        return {bytes(body) for (body,) in found}

    (asked,) = asked_terms(Asked(words=("gone",))).of_payload
    assert any(asked.to_bytes(4, "little") in each for each in terms())
    world.run(world.store.delete_event(organization, gone.id))
    assert search(world, organization, words=("word",)) == [kept.id]
    index(world)
    # Deletions of a while are taken out together.
    clock.advance(seconds=61)
    index(world)
    assert not any(asked.to_bytes(4, "little") in each for each in terms())
    assert search(world, organization, words=("word",)) == [kept.id]
    assert search(world, organization, words=("gone",)) == []


@pytest.mark.parametrize("late", [True, False])
def test_an_event_that_was_mended_is_found_by_what_is_in_it_now(
    world: World,
    organization: str,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
    late: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr(searching, "_FIRST_LOOK", 1)
    mended, *others = world.queued(organization, 3, payload=b'{"a":"before"}')
    claim = world.claim_queue()
    failed = [FailedEvent(each, "no", None) for each in claim.events if each.id == mended]
    world.run(world.store.release(claim.token, failed))
    store, run = world.store, world.run
    token = run(store.lease_index(60.0))
    assert token is not None
    read = run(store.unindexed_events(organization, None, 3))
    part = PartBuilder()
    for each in read:
        part.add((), payload_terms(each.payload or b""), size=1)
    new = NewPart(
        organization_id=organization,
        ids=tuple(each.id for each in read),
        part=part.build(),
        position=read[-1].position,
        read_at=store.now(),
    )
    # Read before it was mended, and stored before or after that.
    if not late:
        assert run(store.save_part(token, new))
    assert run(store.release_quarantined(organization, mended, b'{"a":"after"}'))
    if late:
        assert not run(store.save_part(token, new))
    world.queued(organization)
    for _ in range(3):
        assert search(world, organization, words=("after",)) == [mended]
        assert search(world, organization, words=("before",)) == others[::-1]
        clock.advance(seconds=130)
        index(world)


def test_what_is_gone_with_its_rows_is_gone_from_the_index(world: World, organization: str) -> None:
    other = world.organization()
    world.queued(organization, 4)
    world.queued(other, 4)
    index(world, size=2)
    world.run(world.store.delete_organization(other))
    index(world)
    counts = "SELECT count(*) FROM search_parts"
    assert world.engine.execute(counts) == [(2,)]
    world.engine.execute("DELETE FROM events")
    index(world)
    assert world.engine.execute(counts) == [(0,)]
    assert world.engine.execute("SELECT count(*) FROM search_blocks") == [(0,)]


def test_the_index_outlives_a_restart(
    world: World, organization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_FIRST_LOOK", 1)
    stored = world.queued(organization, 7, payload=b'"word"')
    index(world)
    world.run(world.engine.reopen())
    assert search(world, organization, words=("word",)) == stored[::-1]
    stored += world.queued(organization, 3, payload=b'"word"')
    index(world)
    assert search(world, organization, words=("word",)) == stored[::-1]


@pytest.mark.parametrize("status", [EventStatus.FAILED, EventStatus.QUEUED])
def test_events_are_found_by_a_status_that_few_have(
    world: World, organization: str, status: EventStatus
) -> None:
    stored = world.queued(organization, 6, type="a")
    expected = stored
    if status is EventStatus.FAILED:
        claim = world.claim_queue()
        events = [FailedEvent(each, "no", None) for each in claim.events[:3]]
        world.run(world.store.release(claim.token, events))
        expected = [each.event.id for each in events]
    wanted: dict[str, Any] = {"status": status}
    assert search(world, organization, **wanted) == sorted(expected, reverse=True)
    assert search(world, organization, limit=1, oldest_first=True, **wanted) == sorted(expected)
    assert search(world, organization, type="b", **wanted) == []


def test_each_event_is_found_as_soon_as_it_is_stored(world: World, organization: str) -> None:
    for number in range(20):
        payload = msgspec.json.encode({"number": number, "text": f"word{number}"})
        event = world.event(organization, f"kind.{number}", payload, source=f"s{number}")
        world.append(event)
        for wanted in (
            {"type": f"kind.{number}"},
            {"source": f"s{number}"},
            {"words": (f"word{number}",)},
            by_payload("number", str(number)),
        ):
            assert search(world, organization, **wanted) == [event.id]
