"""The product through pgbouncer in transaction mode, which gives every transaction another session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Final

import pytest
from tests.external.conftest import Program
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import Postgres

SESSIONS: Final = 3
"""Few, so that whoever relies on a session of its own meets somebody else's."""


def borrowed(*modules: ModuleType) -> dict[str, Callable[..., Any]]:
    """The tests of other modules as they are, to be run with the fixtures of another folder."""
    return {
        f"{name}__{module.__name__.rpartition('.test_')[2]}": test
        for module in modules
        for name, test in vars(module).items()
        if name.startswith("test_")
    }


@pytest.fixture(scope="session")
def pooler(program: Program, postgres: Postgres) -> Iterator[PgBouncer]:
    path = program("pgbouncer")
    with PgBouncer(path, postgres.url("postgres"), sessions=SESSIONS) as pooler:
        yield pooler


def leave(postgres: Postgres, database: str) -> None:
    """Drop a database although the pooler keeps sessions in it."""
    postgres.shut_out(database)
    postgres.drop_database(database)
