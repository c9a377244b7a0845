"""Secrets at rest as an operator meets them: starts, ``triggers encrypt`` and ``triggers doctor``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import apsw
import asyncpg
import pytest
from tests.cli.conftest import Ended, Endpoint, Serve, Serving, triggers
from tests.cli.test_doctor import findings

API_KEY: Final = "trg_0123456789abcdef"
SECRET: Final = "whsec_" + "c2VjcmV0" * 5
CLEAR: Final = json.dumps([SECRET]).encode()
OLD: Final = "an-old-key-0123456789"
NEW: Final = "a-new-key-0123456789"
NOT_HERE: Final = "the secrets of 1 subscription(s) are encrypted under a key that is not here"


class Place:
    """A database of either engine, and commands on it."""

    def __init__(self, folder: Path, serve: Serve, url: str | None) -> None:
        self.folder = folder
        self.url = url
        self._serve = serve
        self._environ = {"TRIGGERS_API_KEY": API_KEY, "TRIGGERS_ALLOW_CIDRS": "127.0.0.0/8"}
        if url is not None:
            self._environ["TRIGGERS_DATABASE_URL"] = url

    def serve(self, **keys: str) -> Serving:
        return self._serve(**self._environ, **keys)

    def run(self, *arguments: str, **keys: str) -> Ended:
        return triggers(*arguments, folder=self.folder, **self._environ, **keys)

    def doctor(self, **keys: str) -> tuple[str, str]:
        return findings(self.run("doctor", "--port", "0", **keys))["secrets"]

    def execute(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        if self.url is not None:
            return asyncio.run(_fetched(self.url, statement, *arguments))
        with closing(apsw.Connection(str(self.folder / "triggers.db"))) as db:
            return list(db.execute(statement, arguments))

    def put_in_the_clear(self) -> None:
        self.execute("UPDATE subscriptions SET secrets = $1", CLEAR)

    def row(self) -> bytes:
        ((secrets,),) = self.execute("SELECT secrets FROM subscriptions")
        return bytes(secrets)

    def populated(self, to: str = "http://127.0.0.1:9/", **keys: str) -> str:
        """The id of a subscription, made by a service that has ended since."""
        serving = self.serve(**keys)
        body = {"url": to, "event_types": ["*"], "secret": SECRET}
        made: str = ask(serving, "POST", "/api/subscriptions", body)["id"]
        assert serving.end() == 0
        return made


async def _fetched(url: str, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
    db = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await db.fetch(statement, *arguments)]
    finally:
        await db.close()


def ask(serving: Serving, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
    status, answer = serving.call(method, path, API_KEY, body)
    assert status < 300, answer
    return answer


@pytest.fixture(params=["postgres", "sqlite"])
def url(request: pytest.FixtureRequest) -> str | None:
    """Of an empty database on a server; ``None``: the file that is used by default."""
    return request.getfixturevalue("server_url") if request.param == "postgres" else None


@pytest.fixture
def place(url: str | None, serve: Serve, tmp_path: Path) -> Place:
    return Place(tmp_path, serve, url)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        yield endpoint


def test_without_any_setting_secrets_are_encrypted_and_served_after_a_restart(
    place: Place, endpoint: Endpoint
) -> None:
    assert place.run("migrate").code == 0
    assert place.doctor() == ("ok", "there are none yet")
    place.populated(endpoint.url)
    assert place.row().startswith(b'["sealed:1:')
    level, text = place.doctor()
    assert level == ("ok" if place.url is None else "warn")
    assert text.startswith("1 encrypted under ")
    serving = place.serve()
    sent = ask(serving, "POST", "/api/events", {"type": "order.created", "payload": 1})
    while ask(serving, "GET", f"/api/deliveries?event_id={sent['id']}&status=succeeded") == {
        "data": [],
        "next_cursor": None,
    }:
        pass
    assert endpoint.ids == [sent["id"]]
    assert serving.end() == 0


def test_a_wrong_key_or_none_ends_the_start_and_changes_nothing(place: Place) -> None:
    place.populated(TRIGGERS_SECRET_KEY=OLD)
    assert place.doctor(TRIGGERS_SECRET_KEY=OLD) == ("ok", "1 encrypted under TRIGGERS_SECRET_KEY")
    before = place.row()
    for keys in ({}, {"TRIGGERS_SECRET_KEY": NEW}):
        ended = place.run("serve", "--port", "0", **keys)
        assert (ended.code, ended.out) == (1, "")
        said = ended.err.splitlines()[-1]
        assert said.startswith("triggers: ")
        assert NOT_HERE in said
        assert not {OLD, NEW} & set(ended.err.split())
        assert place.doctor(**keys)[0] == "fail"
        ended = place.run("encrypt", **keys)
        assert ended.code == 1
        assert NOT_HERE in ended.err
    assert place.row() == before
    assert place.serve(TRIGGERS_SECRET_KEY=OLD).end() == 0


def test_a_key_is_replaced_in_three_steps(place: Place) -> None:
    place.populated(TRIGGERS_SECRET_KEY=OLD)
    before = place.row()
    both = {"TRIGGERS_SECRET_KEY": NEW, "TRIGGERS_OLD_SECRET_KEYS": OLD}
    remedy = "run triggers encrypt" if place.url else "the next start encrypts them"
    assert place.doctor(**both) == (
        "warn",
        f"0 in the clear, 1 encrypted under an old key: {remedy}",
    )
    serving = place.serve(**both)
    if place.url is None:
        # One process owns the file, and has encrypted anew before it served.
        assert "secrets of subscriptions encrypted" in serving.log
        assert serving.end() == 0
    else:
        assert "run triggers encrypt" in serving.log
        assert place.row() == before
        done = place.run("encrypt", **both)
        assert done == (0, "1 encrypted anew\n1 encrypted under the present key\n", "")
        assert serving.end() == 0
    assert place.row() != before
    assert place.doctor(TRIGGERS_SECRET_KEY=NEW)[0] == "ok"
    assert place.serve(TRIGGERS_SECRET_KEY=NEW).end() == 0


def test_rows_in_the_clear_are_found_and_encrypted(place: Place) -> None:
    place.populated()
    place.put_in_the_clear()
    level, text = place.doctor()
    assert (level, text.partition(":")[0]) == (
        "warn",
        "1 in the clear, 0 encrypted under an old key",
    )
    assert place.row() == CLEAR
    done = place.run("encrypt")
    assert done == (0, "1 encrypted anew\n1 encrypted under the present key\n", "")
    assert place.run("encrypt").out == "0 encrypted anew\n1 encrypted under the present key\n"
    assert SECRET.encode() not in place.row()


def test_a_lost_key_costs_secrets_and_no_event(place: Place, endpoint: Endpoint) -> None:
    lost = {"TRIGGERS_SECRET_KEY": OLD}
    made = place.populated(endpoint.url, **lost)
    serving = place.serve(**lost)
    ask(serving, "POST", f"/api/subscriptions/{made}/pause")
    sent = ask(serving, "POST", "/api/events", {"type": "order.created", "payload": 1})
    ask(serving, "POST", f"/api/subscriptions/{made}/resume")
    ask(serving, "POST", f"/api/subscriptions/{made}/pause")
    assert serving.end() == 0
    kept = {"TRIGGERS_SECRET_KEY": NEW}
    done = place.run("encrypt", "--give-up-lost", **kept)
    assert (done.code, done.err) == (0, "")
    assert f"{made} is paused" in done.out
    serving = place.serve(**kept)
    assert ask(serving, "GET", f"/api/subscriptions/{made}")["status"] == "paused"
    fresh = ask(serving, "POST", f"/api/subscriptions/{made}/rotate-secret", {"grace_s": 0})
    assert fresh["secret"] != SECRET
    ask(serving, "POST", f"/api/subscriptions/{made}/resume")
    path = f"/api/deliveries?event_id={sent['id']}&status=succeeded"
    while not ask(serving, "GET", path)["data"]:
        pass
    assert set(endpoint.ids) == {sent["id"]}
    assert serving.end() == 0
