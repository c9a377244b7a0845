"""What the fault tests on PostgreSQL share: a server to be mistreated, and fleets on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from tests.servers.postgres import GIVEN, PostgresServer

# Before it is imported, or a check that fails would not show its values.
pytest.register_assert_rewrite(
    "tests.faults.postgres.fleet",
    "tests.faults.postgres.scenarios",
    "tests.faults.order",
    "tests.faults.inbox",
)

if TYPE_CHECKING:
    from tests.faults.postgres.fleet import Fleet


class MakeFleet(Protocol):
    """Makes a fleet on the server, see :class:`Fleet`."""

    def __call__(self, **options: Any) -> Fleet: ...  # noqa: ANN401 - the fleet's own


@pytest.fixture(scope="session")
def mistreated_server() -> Iterator[PostgresServer]:
    """One server for all tests that stop, kill and misconfigure it; none of them needs a fresh one.

    In memory: what a killed server has lost is what it had not handed to its operating system.
    """
    if GIVEN in os.environ:
        pytest.skip(f"{GIVEN} is set: the server that it names is not ours to stop and kill")
    with PostgresServer(in_memory=True) as server:
        yield server


@pytest.fixture
def server(mistreated_server: PostgresServer) -> Iterator[PostgresServer]:
    """It runs, and its configuration is as PostgreSQL has it; afterwards again."""
    yield mistreated_server
    if not mistreated_server.is_running():
        mistreated_server.start()
    mistreated_server.execute("ALTER SYSTEM RESET ALL")
    mistreated_server.execute("SELECT pg_reload_conf()")


@pytest.fixture
def make_fleet(server: PostgresServer, tmp_path: Path, seed: int) -> Iterator[MakeFleet]:
    """Makes the processes of a test; what they logged is shown with a failure."""
    from tests.faults.postgres.fleet import Fleet  # noqa: PLC0415 - see above

    made: list[Fleet] = []

    def make(**options: Any) -> Fleet:  # noqa: ANN401 - the fleet's own
        fleet = Fleet(tmp_path, seed, server, **options)
        made.append(fleet)
        return fleet

    yield make
    for fleet in made:
        for each in fleet.all:
            if each.log.exists():
                print(f"── {each.log.name}\n{each.log.read_text()[-3000:]}")  # noqa: T201
