"""``triggers serve --demo``: deliveries on the first screen."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any, Final

import pytest
from tests.cli.conftest import Serve, Serving, keys_of

from triggers_api.demo import payloads

DELIVERED: Final = re.compile(
    r"  ✓ delivered (github\.\S+)  (evt_[0-9a-f]{32})  attempt 1  (\d+) bytes  signature ok\n"
)


def first_deliveries(serving: Serving, count: int) -> list[tuple[str, str]]:
    """Type and id of what the screen says was delivered."""
    found: list[tuple[str, str]] = []
    while len(found) < count:
        line = serving.line()
        assert line, serving.log
        if line.strip():
            match = DELIVERED.fullmatch(line)
            assert match, line
            found.append((match[1], match[2]))
    return found


def listed(serving: Serving, path: str, key: str) -> list[dict[str, Any]]:
    status, answer = serving.call("GET", path, key)
    assert status == 200, answer
    data: list[dict[str, Any]] = answer["data"]
    return data


def test_real_events_are_sent_delivered_and_verified(serve: Serve) -> None:
    serving = serve("--demo", "--demo-rate", "50")
    # They are on their way side by side: a later one may arrive before an earlier one.
    wanted = {kind for kind, _ in payloads()[:5]}
    shown = first_deliveries(serving, 5)
    while not wanted <= {kind for kind, _ in shown}:
        shown += first_deliveries(serving, 1)
    key = keys_of(serving)["API key"]
    for kind, event_id in shown:
        _, event = serving.call("GET", f"/api/events/{event_id}", key)
        assert (event["type"], event["source"]) == (kind, "demo")
    assert serving.end() == 0
    assert serving.log == ""


def test_what_you_send_yourself_arrives_as_well(serve: Serve) -> None:
    serving = serve("--demo", "--demo-rate", "0.001")
    key = keys_of(serving)["API key"]
    status, sent = serving.call("POST", "/api/events", key, {"type": "mine", "payload": 1})
    assert status == 202
    assert serving.line() == "\n"
    assert serving.line().startswith(f"  ✓ delivered mine  {sent['id']}  attempt 1  ")


def test_the_keys_of_the_first_screen_stay_valid_without_the_demo(serve: Serve) -> None:
    demo = serve("--demo")
    keys = keys_of(demo)
    assert set(keys) == {"API key", "admin key"}
    assert demo.end() == 0
    serving = serve()
    assert listed(serving, "/api/subscriptions", keys["API key"]) == []
    assert serving.call("GET", "/api/admin/organizations", keys["admin key"])[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_later_demo_needed_is_gone_after_it_or_after_the_next(
    number: signal.Signals, serve: Serve, tmp_path: Path
) -> None:
    """Its subscription, and the key it makes where nobody knows one any more."""
    first = serve()
    key = keys_of(first)["API key"]
    admin = keys_of(first)["admin key"]
    own = {"url": "https://hooks.example.org/demo", "description": "mine", "event_types": ["x"]}
    assert first.call("POST", "/api/subscriptions", key, own)[0] == 201
    assert first.end() == 0
    demo = serve("--demo")
    made = keys_of(demo)["API key"]
    assert made != key
    assert len(listed(demo, "/api/subscriptions", made)) == 2
    demo.end(number)
    if number is signal.SIGKILL:
        assert serve("--demo").end() == 0
    last = serve()
    assert last.call("GET", "/api/organization", made)[0] == 401
    (subscription,) = listed(last, "/api/subscriptions", key)
    assert subscription["description"] == "mine"
    (organization,) = listed(last, "/api/admin/organizations", admin)
    keys = listed(last, f"/api/admin/organizations/{organization['id']}/keys", admin)
    assert [each["name"] for each in keys if each["revoked_at"] is None] == ["first key"]
    assert list(tmp_path.glob("*.db")) == [tmp_path / "triggers.db"]


def test_a_given_key_is_the_demos_key(serve: Serve) -> None:
    assert serve().end() == 0
    given = "a-key-of-the-organization"
    demo = serve("--demo", "--demo-rate", "50", TRIGGERS_API_KEY=given)
    assert keys_of(demo) == {"API key": given}
    first_deliveries(demo, 1)
    assert demo.end() == 0
    assert serve().call("GET", "/api/organization", given)[0] == 200
