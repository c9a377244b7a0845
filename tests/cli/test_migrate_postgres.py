"""``triggers migrate`` on PostgreSQL: as on a file, with the server's ways of being unreachable."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from tests.cli.conftest import Ended, Serve, triggers, with_password
from tests.servers.postgres import Postgres

from triggers_api.store import migrations
from triggers_api.store.postgres import schema

ALL: Final = migrations.load(schema.PACKAGE)

NEWER: Final = "INSERT INTO schema_migrations VALUES (9999, 'of the future', 'x', 0)"
ALTERED: Final = "UPDATE schema_migrations SET checksum = 'other'"


def listed(word: str) -> str:
    return "".join(f"{word}: {step.number:04} {step.name}\n" for step in ALL)


@pytest.fixture
def database(postgres: Postgres, server_url: str) -> str:
    """The name of the database behind the URL."""
    name = server_url.rpartition("/")[2].partition("?")[0]
    assert postgres.url(name) == server_url
    return name


def migrate(folder: Path, url: str, *arguments: str, **environ: str) -> Ended:
    return triggers("migrate", *arguments, folder=folder, TRIGGERS_DATABASE_URL=url, **environ)


def test_an_empty_database_is_looked_at_made_and_found_up_to_date(
    server_url: str, tmp_path: Path
) -> None:
    missing = f"{listed('pending')}{server_url}: {len(ALL)} migration(s) to be applied\n"
    assert migrate(tmp_path, server_url, "--check") == (1, missing, "")
    assert migrate(tmp_path, server_url, "--check") == (1, missing, "")
    made = f"{listed('applied')}{server_url}: up to date\n"
    assert migrate(tmp_path, server_url) == (0, made, "")
    nothing = f"{server_url}: 0 migration(s) to be applied\n"
    assert migrate(tmp_path, server_url, "--check") == (0, nothing, "")
    assert migrate(tmp_path, server_url) == (0, f"{server_url}: up to date\n", "")
    assert list(tmp_path.iterdir()) == []


def test_of_several_at_once_one_does_it_and_all_end_well(server_url: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        ended = [*threads.map(lambda _: migrate(tmp_path, server_url), range(4))]
    assert [each.code for each in ended] == [0, 0, 0, 0]
    assert sum(each.out.count("applied: ") for each in ended) == len(ALL)


def test_a_database_that_is_served_may_be_migrated_beside_it(
    server_url: str, serve: Serve, tmp_path: Path
) -> None:
    serving = serve(TRIGGERS_DATABASE_URL=server_url)
    assert migrate(tmp_path, server_url) == (0, f"{server_url}: up to date\n", "")
    assert serving.call("GET", "/readyz")[0] == 200
    assert serving.end() == 0
    assert "schema migrated" in serving.log


def test_it_goes_past_a_pooler(server_url: str, tmp_path: Path) -> None:
    nowhere = "postgresql://127.0.0.1:1/pooler"
    environ = {"TRIGGERS_DATABASE_DIRECT_URL": server_url}
    assert migrate(tmp_path, nowhere, **environ).out.endswith(f"{server_url}: up to date\n")
    assert migrate(tmp_path, nowhere, "--database-direct-url", server_url).code == 0


@pytest.mark.parametrize("check", [["--check"], []], ids=["check", "migrate"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (NEWER, "migration 9999 (of the future), which this version does not know"),
        (ALTERED, "was altered after it had been applied"),
    ],
    ids=["newer", "altered"],
)
def test_another_schema_is_refused_in_one_line(
    postgres: Postgres,
    server_url: str,
    database: str,
    tmp_path: Path,
    change: str,
    said: str,
    check: list[str],
) -> None:
    assert migrate(tmp_path, server_url).code == 0
    postgres.execute(change, database=database)
    ended = migrate(tmp_path, server_url, *check)
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("check", [["--check"], []], ids=["check", "migrate"])
def test_what_cannot_be_reached_is_said_in_one_line_without_the_password(
    postgres: Postgres, tmp_path: Path, check: list[str]
) -> None:
    missing = postgres.url("no_such_database")
    for url, said in (
        ("postgresql://me@127.0.0.1:1/events", "127.0.0.1"),
        (missing, 'database "no_such_database" does not exist'),
    ):
        ended = migrate(tmp_path, with_password(url, "CANARY"), *check)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith(f"triggers: {with_password(url, '***')}: cannot connect to the")
        assert said in ended.err
        assert ended.err.count("\n") == 1
        assert "CANARY" not in ended.err
