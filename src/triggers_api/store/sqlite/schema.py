"""The schema of the embedded file: migrations, its identity, and what is done on opening it."""

import secrets
from pathlib import Path
from typing import Any, Final

import apsw
import structlog

from triggers_api.errors import StartError
from triggers_api.model import ids
from triggers_api.store import migrations
from triggers_api.store.sqlite.tables import SQL

log = structlog.get_logger(__name__)

PACKAGE: Final = "triggers_api.store.sqlite"
_CHECKED_WHOLE: Final = 512 << 20
"""The size up to which a file is checked after a crash: a larger one would keep the start waiting."""


def applied(db: apsw.Connection) -> list[migrations.Applied]:
    """The migrations a database has had; none for a new file."""
    if not list(db.execute(SQL["has_migrations"])):
        return []
    return [migrations.Applied(*row) for row in db.execute(SQL["applied_migrations"])]


def pending(db: apsw.Connection) -> list[migrations.Migration]:
    """The migrations it still needs.

    Raises:
        SchemaMismatch: it was made by a newer version, or a migration was altered.
    """
    return migrations.pending(migrations.load(PACKAGE), applied(db))


def migrate(db: apsw.Connection, *, now: int) -> list[migrations.Migration]:
    """Bring the schema up to date: a crash leaves all of it or nothing.

    Raises:
        SchemaMismatch: it was made by a newer version, or a migration was altered.
        StartError: rows stand in the way of a migration.
    """
    done: list[migrations.Migration] = []
    while steps := migrations.next_of(pending(db)):
        if steps[0].alone:
            _apply(db, steps[0], done=done, now=now)
        else:
            with db:
                for step in steps:
                    _apply(db, step, done=done, now=now)
        done += steps
    for step in done:
        log.info("schema migrated", number=step.number, name=step.name)
    return done


def _apply(
    db: apsw.Connection, step: migrations.Migration, *, done: list[migrations.Migration], now: int
) -> None:
    if step.conflicts is not None:
        _refuse_conflicts(db, step, step.conflicts, done)
    db.execute(step.text)
    db.execute(SQL["make_migrations"])
    db.execute(SQL["note_migration"], (step.number, step.name, step.checksum, now))


def _refuse_conflicts(
    db: apsw.Connection, step: migrations.Migration, query: str, done: list[migrations.Migration]
) -> None:
    found = db.execute(migrations.first_conflicts(query))
    rows: list[dict[str, Any]] = []
    count = 0
    for count, *values in found:  # noqa: B007 - the same in every row
        names = [column for column, *_ in found.get_description()]
        rows.append(dict(zip(names[1:], values, strict=True)))
    if rows:
        raise migrations.conflict(step, count=count, first=rows, done=done)


def identity(db: apsw.Connection) -> tuple[int, int]:
    """The tail that all ids of this file share, and the largest sequence in use."""
    db.execute(SQL["make_identity"], (secrets.randbits(ids.TAIL_BITS),))
    ((tail,),) = list(db.execute(SQL["identity"]))
    ((last,),) = list(db.execute(SQL["last_sequence"]))
    return int(tail), int(last)


def free_all_leases(db: apsw.Connection, *, now: int) -> None:
    """Give back what a process that is gone had claimed."""
    end_of_time = (1 << 63) - 1
    with db:
        db.execute(SQL["free_queue"], (end_of_time, now))
        db.execute(SQL["free_deliveries"], (end_of_time, now))
        db.execute(SQL["free_jobs"], (end_of_time, now))


def check_after_crash(db: apsw.Connection, path: Path) -> None:
    """Look through a file whose last owner did not close it.

    Raises:
        StartError: it is damaged.
    """
    if path.stat().st_size > _CHECKED_WHOLE:
        log.warning("not closed in order, too large to check now; run: triggers doctor --deep")
        return
    ((verdict,), *_) = list(db.execute("PRAGMA quick_check(1)"))
    if verdict != "ok":
        raise StartError(
            f"{path} is damaged ({verdict}); restore the last backup, or salvage what can be read "
            "with: sqlite3 FILE .recover"
        )
    log.info("the last server was not shut down in order; the database is intact", path=str(path))
