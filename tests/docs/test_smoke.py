"""``tests/smoke.py`` against servers that work, that lack something, and that are broken on purpose."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from tests.docs.pages import ROOT
from tests.faults.server import Server
from tests.servers.ports import free_ports

from triggers_api.testing import ADMIN_KEY, API_KEY

SMOKE: Final = ROOT / "tests" / "smoke.py"


class Smoked(NamedTuple):
    """A run of the script: its exit code, and its lines by their first word."""

    code: int
    ok: list[str]
    skipped: dict[str, str]
    failed: dict[str, str]
    out: str


def smoke(*arguments: str, **environ: str) -> Smoked:
    # Without site-packages: it needs Python and nothing else.
    ended = subprocess.run(
        [sys.executable, "-I", "-S", str(SMOKE), *arguments],
        env={"PATH": os.environ.get("PATH", ""), **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    lines = [line.partition(": ") for line in ended.stdout.splitlines()]
    return Smoked(
        ended.returncode,
        [name[6:] for name, _, _ in lines if name.startswith("ok  ")],
        {name[6:]: why for name, _, why in lines if name.startswith("skip")},
        {name[6:]: why for name, _, why in lines if name.startswith("FAIL")},
        ended.stdout + ended.stderr,
    )


def with_keys(server: Server) -> list[str]:
    return ["--url", server.url, "--key", API_KEY, "--admin-key", ADMIN_KEY]


def test_a_server_that_works_passes_every_check_and_is_left_as_it_was(tmp_path: Path) -> None:
    async def run() -> None:
        async with Server(tmp_path, rate_limit=60_000) as server:
            await server.start()
            before = await server.admin("GET", "/controls")
            smoked = await asyncio.to_thread(smoke, *with_keys(server))
            assert (smoked.code, smoked.failed) == (0, {}), smoked.out
            assert smoked.skipped == {}
            assert len(smoked.ok) >= 27
            for path in ("/api/events", "/api/subscriptions"):
                assert (await server.call("GET", path)).json["data"] == []
            assert len((await server.admin("GET", "/organizations"))["data"]) == 1
            after = await server.admin("GET", "/controls")
            assert after | {"updated_at": 0, "updated_by": 0} == before | {
                "updated_at": 0,
                "updated_by": 0,
            }

    asyncio.run(run())


def test_what_cannot_be_checked_is_skipped_and_says_what_is_missing(tmp_path: Path) -> None:
    async def run() -> None:
        async with Server(tmp_path, allow_cidrs="") as server:
            await server.start()
            environ = {"TRIGGERS_URL": server.url, "TRIGGERS_API_KEY": API_KEY}
            smoked = await asyncio.to_thread(smoke, **environ)
            assert (smoked.code, smoked.failed) == (0, {}), smoked.out
            assert "TRIGGERS_ALLOW_CIDRS" in smoked.skipped["an event is delivered and signed"]
            assert "--admin-key" in smoked.skipped["the books balance"]
            no_limit = smoked.skipped["an answer says what is left of the limit"]
            assert no_limit == "the organization has no limit"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("bug", "found_by"),
    [
        ("has_no_unique_index", "an event sent twice is stored once"),
        ("limits_nothing", "of 150 events a limit of 100 lets 100 through"),
    ],
)
def test_a_server_that_is_broken_is_found_out(tmp_path: Path, bug: str, found_by: str) -> None:
    async def run() -> None:
        async with Server(tmp_path, bug=bug) as server:
            await server.start()
            smoked = await asyncio.to_thread(smoke, *with_keys(server))
            assert smoked.code == 1
            assert found_by in smoked.failed, smoked.out

    asyncio.run(run())


def test_a_wrong_key_fails_what_needs_one(tmp_path: Path) -> None:
    async def run() -> None:
        async with Server(tmp_path) as server:
            await server.start()
            smoked = await asyncio.to_thread(
                smoke, "--url", server.url, "--key", "trg_nobodys_key_0123"
            )
            assert smoked.code == 1
            assert smoked.failed["an event is accepted"].startswith("401 ")
            assert "metrics are shown" in smoked.ok

    asyncio.run(run())


def test_a_server_that_is_not_there_fails_every_check() -> None:
    (port,) = free_ports(1)
    smoked = smoke("--url", f"http://127.0.0.1:{port}", "--key", API_KEY)
    assert (smoked.code, smoked.ok) == (1, [])
    assert "refused" in smoked.failed["an event is accepted"]


@pytest.mark.parametrize("arguments", [["--key", API_KEY, "--url", "nonsense"], [], ["--nonsense"]])
def test_a_command_line_that_makes_no_sense_is_refused(arguments: list[str]) -> None:
    smoked = smoke(*arguments)
    assert (smoked.code, smoked.ok) == (2, [])
