"""The fixture that every test of a user may ask for, and what it costs those that do not."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PLUGIN: Final = "triggers_api.pytest_plugin"


def pytest_run(folder: Path, program: str, *arguments: str) -> str:
    """What pytest prints about a file of tests, in a process of its own."""
    (folder / "test_theirs.py").write_text(program)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_it_is_declared_under_its_own_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # A name that -p also takes: whoever says it does not load it twice.
    assert project["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}
    installed = {each.name: each.value for each in entry_points(group="pytest11")}
    assert installed.get(PLUGIN, PLUGIN) == PLUGIN


def test_a_test_sends_waits_for_nothing_and_sees_what_was_delivered(tmp_path: Path) -> None:
    printed = pytest_run(
        tmp_path,
        """
import asyncio

def test_a_delivery(triggers):
    warehouse = triggers.receiver()
    made = triggers.client.subscriptions.create(warehouse.url, ["order.*"])
    sent = triggers.client.send("order.created", {"id": 42})
    assert not warehouse.requests
    triggers.drain()
    (request,) = warehouse.requests
    assert warehouse.ids == [sent.id]
    assert request.verify(made.secret, now=triggers.clock() / 1000).data == {"id": 42}
    assert triggers.client.events.get(sent.id).status == "processed"

def test_a_retry(triggers):
    warehouse = triggers.receiver()
    warehouse.replies(500)
    triggers.client.subscriptions.create(warehouse.url)
    triggers.client.send("order.created")
    triggers.drain()
    triggers.clock.advance(seconds=6)
    triggers.drain()
    assert len(warehouse.requests) == 2

def test_another_one_has_a_service_of_its_own(triggers):
    assert triggers.client.events.list().first() is None
    answer = triggers.call("GET", "/api/admin/verify", key=triggers.admin_key)
    assert answer.json["ok"]

def test_a_loop_of_ones_own(triggers):
    async def main():
        async with triggers.async_client() as client:
            return await client.send("a")
    assert asyncio.run(main()).id
""",
    )
    assert "4 passed" in printed, printed


def test_settings_and_time_can_be_chosen(tmp_path: Path) -> None:
    printed = pytest_run(
        tmp_path,
        """
import pytest
from triggers_api.client import RateLimited, Retry

@pytest.fixture
def triggers_settings():
    return {"rate_limit": 1, "rate_burst": 1, "real_time": True}

def test_real_time(triggers):
    warehouse = triggers.receiver()
    triggers.client.subscriptions.create(warehouse.url)
    triggers.client.send("a")
    assert warehouse.wait_for(1)
    with pytest.raises(RateLimited):
        triggers.client.with_timeout(20).send("a")
    with pytest.raises(RuntimeError):
        triggers.drain()
""",
    )
    assert "1 passed" in printed, printed


def test_tests_that_have_nothing_to_do_with_it_import_nothing_of_it(tmp_path: Path) -> None:
    printed = pytest_run(
        tmp_path,
        """
import sys

def test_theirs():
    ours = {name for name in sys.modules if name.startswith("triggers_api")}
    assert ours == {"triggers_api", "triggers_api.pytest_plugin"}
    assert not {"msgspec", "aiohttp", "litestar", "structlog", "apsw"} & set(sys.modules)
""",
    )
    assert "1 passed" in printed, printed


def test_the_fixtures_are_listed_with_what_they_are(tmp_path: Path) -> None:
    printed = pytest_run(tmp_path, "", "--fixtures")
    assert "triggers " in printed
    assert "time standing still" in printed
