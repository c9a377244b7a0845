"""``triggers explain``: who gets an event and who does not, for people and for programs."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final

import pytest
from tests.cli.conftest import KEY, Command, Serving

from triggers_api.cli.api import UNREACHABLE

SETTINGS: Final = {"TRIGGERS_ALLOW_CIDRS": "127.0.0.0/8", "TRIGGERS_INGEST_MODE": "sync"}


@pytest.fixture
def explain(command: Command) -> Command:
    return partial(command, "explain")


def posted(serving: Serving, path: str, body: dict[str, Any]) -> str:
    status, made = serving.call("POST", path, KEY, body)
    assert status in {200, 201}, made
    identifier: str = made["id"]
    return identifier


def test_each_subscription_has_its_line_and_its_filter_a_line_for_each_part(
    serving: Serving, explain: Command
) -> None:
    def subscribed(*event_types: str, **fields: Any) -> str:  # noqa: ANN401
        body = {"url": "http://127.0.0.1:9/", "event_types": event_types, **fields}
        return posted(serving, "/api/subscriptions", body)

    lonely = posted(serving, "/api/events", {"type": "order.created", "payload": 1})
    assert explain(lonely).out == "there are no subscriptions\n"

    getting = subscribed("order.*")
    posted(serving, f"/api/subscriptions/{getting}/pause", {})
    filtering = subscribed("*", filter="payload.amount > 100 &&\n  payload.vip")
    other = subscribed("invoice.*")
    event = posted(serving, "/api/events", {"type": "order.created", "payload": {"amount": 120}})
    ended = explain(event)
    assert ended.code == 0
    head, *lines = ended.out.splitlines()
    assert head.split() == ["SUBSCRIPTION", "GETS", "IT", "REASON", "WHY"]
    assert lines[0].split(maxsplit=3) == [
        other, "no", "type", "none of its patterns matches the type",
    ]  # fmt: skip
    assert lines[1].split(maxsplit=3) == [
        filtering, "no", "filter", "its filter has no answer: there is no field 'vip'",
    ]  # fmt: skip
    assert lines[2:4] == [
        "    true    payload.amount > 100",
        "    failed  payload.vip  (there is no field 'vip')",
    ]
    assert lines[4].split(maxsplit=3)[:3] == [getting, "yes", "paused"]
    assert "its delivery is pending and waits, as the subscription is paused" in lines[4]
    assert "next attempt at 20" in lines[4]
    assert " dlv_" in lines[4]

    answer = json.loads(explain(event, "--json").out)
    assert answer["event_id"] == event
    assert [each["subscription_id"] for each in answer["subscriptions"]] == [
        other, filtering, getting,
    ]  # fmt: skip


def test_an_event_that_is_not_there_is_refused_as_the_api_does(explain: Command) -> None:
    for unknown in ("evt_1", "../organization", "evt_" + "0" * 32, "?"):
        ended = explain(unknown)
        assert ended.code == 1
        assert ended.out == ""
        assert json.loads(ended.err)["code"] == "not-found"


def test_a_service_that_does_not_answer_is_told(explain: Command) -> None:
    ended = explain("evt_1", TRIGGERS_URL="http://127.0.0.1:9")
    assert ended.code == UNREACHABLE
    assert "no answer from http://127.0.0.1:9" in ended.err
