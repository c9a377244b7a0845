"""``GET /api/events`` with filters on what is in the events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from tests.conftest import Run, new_organization
from tests.http.conftest import assert_problem

from triggers_api.testing import Service

EVENTS: Final[dict[str, Any]] = {
    "plain": {"order": {"id": 42, "note": "Leave at the DOOR"}, "items": [{"sku": "A-7"}]},
    "text": {
        "order": {"id": "42", "note": 'quoted "door" \\ 50% off + more'},
        "a.b": {"c d": "e&f=g"},
    },
    "literal": {"ok": True, "gone": None, "n": 1e3, "Größe": "für Ärzte"},
    "scalar": "door",
}


@pytest.fixture(scope="module")
def service(run: Run, module_folder: Path, module_database: str) -> Iterator[Service]:
    entered = Service(module_folder, database_url=module_database)
    run(entered.__aenter__())

    async def fill() -> None:
        for name, payload in EVENTS.items():
            await entered.send(f"kind.{name}", payload, dedup_id=name, source=f"/{name}", key=name)

    run(fill())
    yield entered
    run(entered.__aexit__(None, None, None))


Found = Callable[..., list[str]]


@pytest.fixture(scope="module")
def found(service: Service, run: Run) -> Found:
    """The names of what a query finds."""

    def found(query: str, **call: Any) -> list[str]:  # noqa: ANN401 - see Service.call
        answer = run(service.call("GET", f"/api/events?{query}", **call))
        assert answer.status == 200, answer
        return [row["dedup_id"] for row in answer.json["data"]]

    return found


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("q=door", ["scalar", "text", "plain"]),
        ("q=DOOR%20leave", ["plain"]),
        ("q=door+quoted", ["text"]),
        ('q="door"', ["scalar", "text", "plain"]),
        ("q=door+AND+NOT", []),
        ("q=do*", []),
        ("q=(door)+^door:", ["scalar", "text", "plain"]),
        ("q=%27+OR+1%3D1--", []),
        ("q=50%25", ["text"]),
        (f"q={quote('FÜR ÄRZTE')}", ["literal"]),
        (f"q={quote('grösse')}", ["literal"]),
        ("q=" + "x" * 2000, []),
        ("q=" + "+".join(f"w{n}" for n in range(100)), []),
        ("payload.order.id=42", ["text", "plain"]),
        ("payload.order.id=4.2e1", ["plain"]),
        ("payload.order.id=%22%34%32%22", []),
        ("payload.items.0.sku=A-7", ["plain"]),
        ("payload.items.1.sku=A-7", []),
        ("payload.order=42", []),
        ("payload.ok=true", ["literal"]),
        ("payload.gone=null", ["literal"]),
        ("payload.n=1e3", ["literal"]),
        ("payload.n=1000.0", ["literal"]),
        (f"payload.{quote('Größe')}={quote('für Ärzte')}", ["literal"]),
        ("payload.a.b.c%20d=e%26f%3Dg", ["text"]),
        ("payload.a.b.c+d=e%26f%3Dg", ["text"]),
        ("payload%2Eorder%2Eid=42&payload.items.0.sku=A-7", ["plain"]),
        ("payload.order.id=42&q=quoted", ["text"]),
        ("payload.absent=", []),
        ("payload..=1", []),
        ("payload.%00=%00", []),
        ("source=/text", ["text"]),
        ("source=/t*", []),
        ("source=%00", []),
        ("key=plain", ["plain"]),
        ("key=plain&source=/text", []),
        ("type=*.scalar&q=door", ["scalar"]),
        ("type=kind.*&payload.order.id=42&limit=1", ["text"]),
        ("type=other.*&q=door", []),
        ("dedup_id=text&payload.order.id=42", ["text"]),
        ("order=asc", ["plain", "text", "literal", "scalar"]),
        ("order=desc&q=door", ["scalar", "text", "plain"]),
        ("order=asc&q=door", ["plain", "text", "scalar"]),
    ],
)
def test_events_are_found_by_what_is_in_them(found: Found, query: str, names: list[str]) -> None:
    assert found(query) == names


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("q=", "q"),
        ("q=%20", "q"),
        ("q=---", "q"),
        ("q=" + "x" * 2001, "q"),
        ("q=" + "+".join(f"w{n}" for n in range(101)), "q"),
        ("q=a&q=b", "q"),
        ("payload.=1", "payload."),
        ("payload=1", "payload"),
        ("payload.a=1&payload.a=2", "payload.a"),
        ("payload.a=%ff", "payload.a"),
        ("payload." + "a" * 513 + "=1", "payload." + "a" * 56),
        ("payload.a=" + "x" * 1025, "payload.a"),
        ("&".join(f"payload.a{n}=1" for n in range(11)), "payload."),
        ("order=up", "order"),
        ("order=", "order"),
        ("Q=door", "Q"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(
    service: Service, run: Run, query: str, pointer: str
) -> None:
    answer = run(service.call("GET", f"/api/events?{query}"))
    assert_problem(answer, 422, "validation-failed")
    assert [each["pointer"] for each in answer.json["errors"]] == [pointer]


def test_pages_go_on_in_either_order_and_a_cursor_is_bound_to_it(
    service: Service, run: Run
) -> None:
    for order, names in (
        ("asc", ["plain", "text", "scalar"]),
        ("desc", ["scalar", "text", "plain"]),
    ):
        query = f"/api/events?q=door&order={order}"
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            answer = run(service.call("GET", f"{query}&limit=1{cursor and '&cursor='}{cursor}"))
            seen += [row["dedup_id"] for row in answer.json["data"]]
            cursor = answer.json["next_cursor"]
        assert seen == names
    first = run(service.call("GET", "/api/events?q=door&limit=1")).json["next_cursor"]
    for query in (
        "q=door&order=asc",
        "q=doors",
        "q=door&payload.order.id=42",
        "q=door&source=/text",
        "q=door&key=text",
        "payload.q=door",
        "",
    ):
        answer = run(service.call("GET", f"/api/events?{query}&limit=1&cursor={first}"))
        assert_problem(answer, 400, "invalid-cursor")
    # The same words are the same search.
    assert run(service.call("GET", f"/api/events?q=DOOR&limit=1&cursor={first}")).status == 200


def test_nobody_finds_the_events_of_another_organization(
    service: Service, run: Run, found: Found
) -> None:
    key = run(new_organization(service))[1]
    for query in ("q=door", "payload.order.id=42", "source=/text", "key=plain", "type=kind.*"):
        assert found(query, key=key) == []


def test_an_event_is_found_as_soon_as_it_was_confirmed(service: Service, run: Run) -> None:
    async def one(number: int) -> None:
        payload = {"number": number, "word": f"unheard{number}"}
        sent = await service.send(f"at.once.{number}", payload, dedup_id=f"once {number}")
        for query in (
            f"q=unheard{number}",
            f"payload.word=unheard{number}",
            f"type=at.once.{number}",
            f"dedup_id=once%20{number}",
        ):
            answer = await service.call("GET", f"/api/events?{query}")
            assert [row["id"] for row in answer.json["data"]] == [sent.json["id"]]

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(50)))

    run(main())
