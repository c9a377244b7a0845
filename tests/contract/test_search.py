"""Searching for events: the same answers on every engine, whatever has been indexed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from triggers_api.model.event import Event
from triggers_api.model.search import Condition, words_of
from triggers_api.store import searching
from triggers_api.store.base import EventFilter, Page

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


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
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
    ],
)  # fmt: skip
def test_events_are_found_by_what_is_in_them(
    world: World, organization: str, wanted: dict[str, Any], names: list[str]
) -> None:
    stored = {}
    for name, payload in PAYLOADS.items():
        event = world.event(
            organization, f"kind.{name}", payload, dedup_id=name, source=f"from {name}", key=name
        )
        world.append(event)
        stored[name] = event.id
    expected = [stored[name] for name in names]
    assert search(world, organization, **wanted) == expected[::-1]
    assert search(world, organization, oldest_first=True, **wanted) == expected
    assert search(world, organization, limit=1, **wanted) == expected[::-1]
    assert search(world, organization, limit=1, oldest_first=True, **wanted) == expected


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


@pytest.mark.parametrize("oldest_first", [True, False])
@pytest.mark.parametrize(
    "wanted", [{"type": "n*dle"}, {"words": ("needle",)}, {"type": "n*dle", "words": ("absent",)}]
)
def test_a_search_that_would_go_too_far_says_where_it_goes_on(
    world: World,
    organization: str,
    monkeypatch: pytest.MonkeyPatch,
    oldest_first: bool,  # noqa: FBT001
    wanted: dict[str, Any],
) -> None:
    monkeypatch.setattr(searching, "_LOOKED_INTO", 20)
    monkeypatch.setattr(searching, "_LOOKED_AT", 20)
    monkeypatch.setattr(searching, "_FIRST_LOOK", 3)
    needles = []
    for number in range(90):
        kind, text = ("needle", "needle") if number in {0, 44, 89} else ("hay", "hay")
        needles += world.queued(organization, type=kind, payload=b'"%b"' % text.encode()) * (
            kind == "needle"
        )
    wish = EventFilter(oldest_first=oldest_first, **wanted)
    first = world.run(world.store.events(organization, wish, Page(10)))
    assert first.go_on is not None
    assert len(first) <= 1
    found = search(world, organization, oldest_first=oldest_first, **wanted)
    expected = [] if wanted.get("words") == ("absent",) else needles
    assert found == (expected if oldest_first else expected[::-1])


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
