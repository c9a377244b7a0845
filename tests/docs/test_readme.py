"""The README's commands do what it says they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.docs.console import Failed, Inbox, Session, Step, steps
from tests.docs.pages import ROOT, code_blocks

README: Final = ROOT / "README.md"


class Read:
    """What was left after the README's commands had run."""

    def __init__(self, session: Session, inbox: Inbox, failures: list[str]) -> None:
        self.session = session
        self.inbox = inbox
        self.failures = failures
        self.answers = len(session.answers)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    """The README, read and followed from top to bottom, with an endpoint where it supposes one."""
    with (
        Session(tmp_path_factory.mktemp("readme")) as session,
        Inbox(session.ports["9000"]) as inbox,
    ):
        failures = []
        for block in code_blocks(README):
            if block.language == "console":
                for step in steps(block):
                    try:
                        session.run(step)
                    except Failed as failure:
                        failures.append(f"README.md:{step.line}: {failure}")
        yield Read(session, inbox, failures)


def test_every_command_runs_and_prints_what_is_shown(read: Read) -> None:
    assert read.failures == []
    assert read.answers == 3


def the_step(words: str) -> Step:
    """The command with these words."""
    every = [step for block in code_blocks(README) for step in steps(block)]
    (found,) = (step for step in every if words in step.command)
    return found


def test_an_event_is_accepted_and_the_second_time_answered_with_the_first_id(read: Read) -> None:
    (first,) = (answer for answer in read.session.answers if answer.status == 202)
    read.session.run(the_step('"dedup_id": "order-42"'))
    again = read.session.answers[-1]
    assert again.status == 200
    assert again.json["id"] == first.json["id"]
    assert again.json["duplicate"] is True


def test_the_event_is_delivered_and_verifies_as_the_snippet_does_it(read: Read) -> None:
    secret = next(a.json["secret"] for a in read.session.answers if "secret" in a.json)
    webhook, *_ = read.inbox.wait_for(1)
    (snippet,) = (block.text for block in code_blocks(README) if block.language == "python")
    names: dict[str, Any] = {
        "secret": secret,
        "request_body": webhook.body,
        "request_headers": webhook.headers,
    }
    exec(compile(snippet, "README.md", "exec"), names)
    shown = json.loads(snippet.rpartition("# ")[2])
    assert names["event"] | {"timestamp": shown["timestamp"]} == shown
    assert len(names["event"]["timestamp"]) == len(shown["timestamp"])


def test_the_event_shows_what_became_of_it(read: Read) -> None:
    read.session.run(the_step("/api/events/evt_…"))
    event = read.session.answers[-1].json
    assert event["status"] == "processed"
    assert [delivery["status"] for delivery in event["deliveries"]] == ["succeeded"]


def test_a_command_that_does_not_exist_is_not_passed_over(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        for command in ("triggers frobnicate", "curl --frobnicate http://127.0.0.1:8000", "nope"):
            with pytest.raises(AssertionError):
                session.run(Step(command, [], 1))
