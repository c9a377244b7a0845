"""``triggers search``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.cli.conftest import Ended, Serving, triggers

KEY: Final = "a-key-of-the-organization"

Command = Callable[..., Ended]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = Serving(
        tmp_path_factory.mktemp("serving"),
        TRIGGERS_API_KEY=KEY,
        TRIGGERS_ADMIN_KEY="a-key-of-the-operator",
    )
    for number in range(5):
        body = {
            "type": f"order.{'paid' if number % 2 else 'created'}",
            "payload": {"number": number, "note": "Leave it at the DOOR"},
            "source": "shop",
            "key": f"k{number}",
            "dedup_id": f"d{number}",
        }
        assert serving.call("POST", "/api/events", KEY, body)[0] == 202
    yield serving
    serving.close()


@pytest.fixture
def command(serving: Serving, tmp_path: Path) -> Command:
    def command(*arguments: str) -> Ended:
        environ = {"TRIGGERS_URL": serving.url, "TRIGGERS_API_KEY": KEY}
        return triggers("search", *arguments, folder=tmp_path, **environ)

    return command


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
def test_events_are_found(command: Command, arguments: tuple[str, ...], numbers: list[int]) -> None:
    ended = command("--json", *arguments)
    assert (ended.code, ended.err) == (0, "")
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert [each["payload"]["number"] for each in found] == numbers


def test_an_event_is_a_line_for_people(command: Command) -> None:
    line = command("--key", "k0").out
    assert line.rstrip("\n").endswith('{"number": 0, "note": "Leave it at the DOOR"}')
    assert "  order.created  evt_" in line


def test_what_cannot_be_searched_for_is_told_on_standard_error(command: Command) -> None:
    ended = command("---")
    assert (ended.code, ended.out) == (2, "")
    ended = command("?!")
    assert (ended.code, ended.out) == (1, "")
    assert "has no letter and no digit" in ended.err
    ended = command("--payload", "number")
    assert ended.code == 2
    assert "is not PATH=VALUE" in ended.err
