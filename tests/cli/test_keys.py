"""``triggers keys`` and ``triggers audit``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import KEY, Ended, Serving, triggers

ADMIN = "a-key-of-the-operator-0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def serving(folder: Path) -> object:
    serving = Serving(folder, TRIGGERS_API_KEY=KEY, TRIGGERS_ADMIN_KEY=ADMIN)
    yield serving
    serving.close()


def ask(serving: Serving, folder: Path, *arguments: str, admin: str = ADMIN) -> Ended:
    return triggers(*arguments, "--url", serving.url, folder=folder, TRIGGERS_ADMIN_KEY=admin)


def test_a_key_is_made_replaced_listed_and_revoked(serving: Serving, folder: Path) -> None:
    made = ask(serving, folder, "keys", "create", "on call", "--expires-in", "30d")
    assert (made.code, made.err) == (0, "")
    identifier, key = made.out.split()
    fresh = ask(serving, folder, "keys", "rotate", identifier, "--grace", "1h", admin=key)
    assert fresh.code == 0, fresh
    line, old = fresh.out.splitlines()
    assert old.startswith(f"{identifier}  is good until ")
    second, newer = line.split()
    listed = ask(serving, folder, "keys", admin=newer).out
    assert f"{identifier}  expiring" in listed
    assert f"{second}  valid" in listed
    assert key not in listed
    shown = ask(serving, folder, "keys", "list", "--json").out.splitlines()
    assert {json.loads(each)["id"] for each in shown} >= {identifier, second}
    ended = ask(serving, folder, "keys", "revoke", identifier, second)
    assert ended == Ended(0, f"{identifier}  revoked\n{second}  revoked\n", "")
    refused = ask(serving, folder, "keys", admin=newer)
    assert (refused.code, refused.out.count("key_")) == (1, 0)
    assert "unauthorized" in refused.err


def test_an_organizations_key_has_its_scopes(serving: Serving, folder: Path) -> None:
    _, organization = serving.call("GET", "/api/organization", KEY)
    of = ("--organization", organization["id"])
    made = ask(serving, folder, "keys", "create", "scanner", *of, "--scope", "ingest", "--json")
    key = json.loads(made.out)
    assert key["scopes"] == ["ingest"]
    event = {"type": "a", "payload": 1}
    assert serving.call("POST", "/api/events", key["key"], event)[0] == 202
    assert serving.call("GET", "/api/events", key["key"])[0] == 403
    assert ask(serving, folder, "keys", "revoke", key["id"], *of).code == 0


def test_a_key_is_made_past_the_service_when_nobody_has_one(folder: Path) -> None:
    database = f"sqlite:///{folder / 'other.db'}"
    made = triggers("keys", "create", "way back", "--database-url", database, folder=folder)
    assert (made.code, made.err) == (0, "")
    _, key = made.out.split()
    other = Serving(folder, TRIGGERS_DATABASE_URL=database, TRIGGERS_API_KEY=KEY)
    try:
        status, page = other.call("GET", "/api/admin/keys", key)
        assert status == 200
        assert "way back" in {each["name"] for each in page["data"]}
        _, log = other.call("GET", "/api/audit?actor=command", key)
        assert [each["actor"]["command"] for each in log["data"]] == ["keys create"]
        in_use = triggers("keys", "create", "x", "--database-url", database, folder=folder)
        assert in_use.code == 1
        assert in_use.err.startswith("triggers: ")
    finally:
        other.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ("create",), ("create", "a", "b"), ("list", "a"), ("rotate",), ("revoke",),
        ("create", "a", "--scope", "read"), ("list", "--grace", "1h"),
        ("create", "a", "--organization", "o", "--database-url", "sqlite:///x.db"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told(
    serving: Serving, folder: Path, arguments: tuple[str, ...]
) -> None:
    ended = ask(serving, folder, "keys", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Usage" in ended.err


def test_without_a_key_it_says_which_is_missing(serving: Serving, folder: Path) -> None:
    ended = triggers("keys", "list", "--url", serving.url, folder=folder)
    assert ended.code == 2
    assert "TRIGGERS_ADMIN_KEY" in ended.err


def test_the_log_is_read_by_operators_and_organizations(serving: Serving, folder: Path) -> None:
    status, made = serving.call(
        "POST", "/api/subscriptions", KEY, {"url": "https://example.com/a", "event_types": ["*"]}
    )
    assert status == 201
    serving.call("PATCH", f"/api/subscriptions/{made['id']}", KEY, {"timeout_s": 5})
    ended = ask(serving, folder, "audit", "--resource", made["id"])
    assert ended.code == 0, ended
    first, change, *_ = ended.out.splitlines()
    assert "subscription.updated" in first
    assert first.endswith("from 127.0.0.1")
    assert change == "    timeout_s: null -> 5.0"
    own = triggers(
        "audit", "--url", serving.url, "--limit", "1", "--json", folder=folder, TRIGGERS_API_KEY=KEY
    )
    assert json.loads(own.out)["resource"]["id"] == made["id"]
    refused = ask(serving, folder, "audit", "--since", "yesterday")
    assert (refused.code, refused.out) == (1, "")
