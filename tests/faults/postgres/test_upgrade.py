"""The version before this one and this one, side by side on one database, under load.

The old code comes from the history of the repository. Where that is missing (a shallow clone, a source
archive) the test is skipped, and says so: then nothing was shown.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest
from tests.faults.endpoint import flaky, healthy
from tests.faults.history import Outcome, insist

import triggers_api

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet
    from tests.faults.postgres.fleet import Fleet
    from tests.servers.postgres import PostgresServer

PREVIOUS: Final = "4159b4a76bf6ffb92abe7eba8f54e198b169a1d5"
"""The last commit of the version before this one; to be moved on with each release."""

ROOT: Final = Path(__file__).parents[3]
NEW: Final = Path(triggers_api.__file__).parents[1]
EVENTS: Final = 600
"""In each step of the upgrade."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The source of the version before."""
    archive = tmp_path / "old.tar"
    with archive.open("wb") as file:
        done = subprocess.run(
            ["git", "-C", str(ROOT), "archive", "--format=tar", PREVIOUS, "src"],
            stdout=file, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"NOT SHOWN, the history lacks {PREVIOUS}: {done.stderr.strip()}")
    subprocess.run(["tar", "-xf", str(archive), "-C", str(tmp_path)], check=True)
    return tmp_path / "src"


def migrations(source: Path) -> set[str]:
    folder = source / "triggers_api" / "store" / "postgres" / "migrations"
    return {path.name for path in folder.glob("*.sql")}


async def migrate(url: str, folder: Path) -> str:
    """``triggers migrate`` of this version; what it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "triggers_api", "migrate",
        cwd=folder,
        env={
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(NEW),
            "TRIGGERS_DATABASE_URL": url,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def versions(fleet: Fleet) -> set[str]:
    """The migrations that the database has had."""
    db: Any = await asyncpg.connect(fleet.postgres.url(fleet.database))
    try:
        return {row["name"] for row in await db.fetch("SELECT name FROM schema_migrations")}
    finally:
        await db.close()


async def upgrade_under_load(fleet: Fleet, old: Path) -> None:
    """Old processes; then migrations, mixtures of both versions, a kill; at the end new ones only."""
    for server in fleet.all:
        server.source = old

    async def loaded(*steps: Any) -> None:  # noqa: ANN401 - coroutines
        """Do these one after the other, while events are posted until each is accepted."""

        async def one_by_one() -> None:
            for step in steps:
                await step

        requests = fleet.requests(EVENTS)
        await asyncio.gather(insist(fleet.front, fleet.history, requests), one_by_one())

    async def replace(server: Any, source: Path, *, kill: bool = False) -> None:  # noqa: ANN401 - a Server
        if kill:
            server.kill()
        else:
            assert await server.stop() == 0
        server.source = source
        await server.start()

    async def migrated() -> None:
        said = await migrate(fleet.postgres.url(fleet.database), fleet.folder)
        assert "up to date" in said

    (api, other_api), (worker, other_worker) = fleet.apis, fleet.workers
    async with fleet:
        await fleet.start()
        good = await fleet.endpoint("healthy", healthy)
        await fleet.endpoint("flaky", flaky(fleet.rng), ["order.*"])
        await loaded()
        before = await versions(fleet)
        await loaded(migrated())
        assert len(await versions(fleet)) > len(before), "this shows nothing: no migration is new"
        # The old version goes on, and may even be started again, on the new schema.
        await loaded(replace(other_worker, old), replace(other_api, old))
        # New beside old, of each kind; then old ones go one by one, and not all of them in order.
        await loaded(replace(worker, NEW), replace(api, NEW))
        await loaded()
        await loaded(replace(other_worker, NEW, kill=True))
        await loaded(replace(other_api, NEW))
        await loaded()
        accepted = fleet.history.of(Outcome.ACCEPTED)
        found = await fleet.check_after_healing()
        assert {request_id for each in accepted for request_id in each.ids} <= {
            event.id for event in found.events
        }
        assert {event.id for event in found.events} <= good.event_ids()


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_old_and_new_versions_side_by_side_lose_nothing_and_do_nothing_twice(
    make_fleet: MakeFleet, server: PostgresServer, old: Path
) -> None:
    assert migrations(old) < migrations(NEW)
    database = server.create_database()
    asyncio.run(upgrade_under_load(make_fleet(apis=2, workers=2, database=database), old))
