"""``triggers search``."""

from __future__ import annotations

import json
from functools import partial

import pytest
from tests.cli.conftest import KEY, Command, Serving


@pytest.fixture(scope="module", autouse=True)
def stock(serving: Serving) -> None:
    for number in range(5):
        body = {
            "type": f"order.{'paid' if number % 2 else 'created'}",
            "payload": {"number": number, "note": "Leave it at the DOOR"},
            "source": "shop",
            "key": f"k{number}",
            "dedup_id": f"d{number}",
        }
        assert serving.call("POST", "/api/events", KEY, body)[0] == 202


@pytest.fixture
def search(command: Command) -> Command:
    return partial(command, "search")


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        ((), [4, 3, 2, 1, 0]),
        (("door", "leave"), [4, 3, 2, 1, 0]),
        (("window",), []),
        (("--type", "*.paid", "door"), [3, 1]),
        (("--payload", "number=2", "--payload", "note=Leave it at the DOOR"), [2]),
        (("--source", "shop", "--key", "k3"), [3]),
        (("--dedup-id", "d1"), [1]),
        (("--status", "failed"), []),
        (("--since", "2199-01-01T00:00:00Z"), []),
        (("--until", "2199-01-01T00:00:00Z", "--oldest", "--limit", "2"), [0, 1]),
    ],
)
def test_events_are_found(search: Command, arguments: tuple[str, ...], numbers: list[int]) -> None:
    ended = search("--json", *arguments)
    assert (ended.code, ended.err) == (0, "")
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert [each["payload"]["number"] for each in found] == numbers


def test_an_event_is_a_line_for_people(search: Command) -> None:
    line = search("--key", "k0").out
    assert line.rstrip("\n").endswith('{"number": 0, "note": "Leave it at the DOOR"}')
    assert "  order.created  evt_" in line


def test_what_cannot_be_searched_for_is_told_on_standard_error(search: Command) -> None:
    ended = search("---")
    assert (ended.code, ended.out) == (2, "")
    ended = search("?!")
    assert (ended.code, ended.out) == (1, "")
    assert "has no letter and no digit" in ended.err
    ended = search("--payload", "number")
    assert ended.code == 2
    assert "is not PATH=VALUE" in ended.err
