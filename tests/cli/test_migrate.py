"""``triggers migrate``: the schema brought up to date, or only looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw
import pytest
from tests.cli.conftest import Ended, Serve, triggers

from triggers_api.store import migrations
from triggers_api.store.sqlite import schema

ALL: Final = migrations.load(schema.PACKAGE)

Run = Callable[..., Ended]


@pytest.fixture
def migrate(tmp_path: Path) -> Run:
    return lambda *arguments: triggers("migrate", *arguments, folder=tmp_path)


def listed(word: str) -> str:
    return "".join(f"{word}: {step.number:04} {step.name}\n" for step in ALL)


def test_a_new_database_is_looked_at_made_and_found_up_to_date(
    migrate: Run, tmp_path: Path
) -> None:
    path = tmp_path / "triggers.db"
    missing = f"{listed('pending')}{path}: {len(ALL)} migration(s) to be applied\n"
    assert migrate("--check") == (1, missing, "")
    assert list(tmp_path.iterdir()) == []
    assert migrate() == (0, f"{listed('applied')}{path}: up to date\n", "")
    assert migrate("--check") == (0, f"{path}: 0 migration(s) to be applied\n", "")
    assert migrate() == (0, f"{path}: up to date\n", "")


def test_an_older_database_is_looked_at_without_being_changed(migrate: Run, tmp_path: Path) -> None:
    path = tmp_path / "triggers.db"
    path.touch()
    missing = f"{listed('pending')}{path}: {len(ALL)} migration(s) to be applied\n"
    assert migrate("--check") == (1, missing, "")
    assert path.read_bytes() == b""


def test_what_was_migrated_is_served(migrate: Run, serve: Serve, tmp_path: Path) -> None:
    assert migrate("--database-url", "sqlite:///other.db").code == 0
    serving = serve("--database-url", "sqlite:///other.db")
    assert serving.end() == 0
    assert "schema migrated" not in serving.log
    assert not (tmp_path / "triggers.db").exists()


def test_a_database_in_use_may_be_looked_at_and_not_migrated(migrate: Run, serve: Serve) -> None:
    serving = serve()
    assert migrate("--check").code == 0
    ended = migrate()
    assert ended.code == 1
    assert f"is in use by another server (process {serving.pid})" in ended.err
    assert serving.call("GET", "/readyz")[0] == 200
    assert serving.end() == 0


def newer(path: Path) -> None:
    with apsw.Connection(str(path)) as db:
        db.execute("INSERT INTO schema_migrations VALUES (9999, 'of the future', 'x', 0)")


def altered(path: Path) -> None:
    with apsw.Connection(str(path)) as db:
        db.execute("UPDATE schema_migrations SET checksum = 'other'")


@pytest.mark.parametrize("check", [["--check"], []], ids=["check", "migrate"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (newer, "migration 9999 (of the future), which this version does not know"),
        (altered, "was altered after it had been applied"),
    ],
)
def test_another_schema_is_refused_in_one_line(
    change: Callable[[Path], None], said: str, check: list[str], migrate: Run, tmp_path: Path
) -> None:
    migrate()
    change(tmp_path / "triggers.db")
    ended = migrate(*check)
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("check", [["--check"], []], ids=["check", "migrate"])
@pytest.mark.parametrize("url", ["sqlite:///garbage", "sqlite:///.", "sqlite:///missing/x.db"])
def test_what_is_no_database_is_refused_in_one_line(
    url: str, check: list[str], migrate: Run, tmp_path: Path
) -> None:
    (tmp_path / "garbage").write_text("not a database, and not an empty file either")
    ended = migrate(*check, "--database-url", url)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("triggers: cannot ")
    assert ended.err.count("\n") == 1
    assert (tmp_path / "garbage").read_text().startswith("not a database")
