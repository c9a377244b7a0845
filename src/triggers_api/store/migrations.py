"""Which migrations to run: numbered SQL files, applied once each, in order, never altered after.

``migrations/NNNN_name.sql`` is one step. Lines at its top say what kind it is; without any, it only
*expands* (processes of the version before go on working on the new schema), and it runs in one
transaction with its neighbours:

``-- contract``
    Code that does not know this step must not run on its result.
``-- outside a transaction``
    It cannot be in one, such as ``CREATE INDEX CONCURRENTLY``. It runs alone, and must be able to run
    again after it was cut off: one statement, ``IF NOT EXISTS``.

``migrations/NNNN_name.conflicts.sql`` beside it is a query for the rows that stand in its way, such as
duplicates under what is to become unique. When there are any the step is not tried, and people are told.
The comment at its top says what these rows are.

Why and how: docs/decisions/0011-migrations-online.md.
"""

import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import takewhile
from typing import Any, Final

import msgspec

from triggers_api.errors import SchemaMismatch, StartError

_CONTRACT: Final = "-- contract"
_OUTSIDE: Final = "-- outside a transaction"
_CONFLICTS: Final = ".conflicts"

_SHOWN: Final = 5
_SHOWN_CHARACTERS: Final = 80


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema."""

    number: int
    name: str
    text: str
    conflicts: str | None = None

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, to notice one that was altered after it ran."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def contracts(self) -> bool:
        """Whether older code must not run on what it leaves."""
        return _CONTRACT in self._head

    @property
    def alone(self) -> bool:
        """Whether it cannot be in a transaction."""
        return _OUTSIDE in self._head

    @property
    def _head(self) -> list[str]:
        return _head_of(self.text)

    def __str__(self) -> str:
        return f"{self.number:04} ({self.name})"


class Applied(msgspec.Struct, frozen=True):
    """A migration that a database says it has had.

    Attributes:
        contracts: whether code that does not know it must keep away; where nothing else is on file, it
            must.
        finished: it ran to its end. One that runs alone is on file from its beginning.
    """

    number: int
    name: str
    checksum: str
    contracts: bool = True
    finished: bool = True


def load(package: str) -> list[Migration]:
    """An engine's ``migrations/NNNN_name.sql`` files in order."""
    texts = {
        file.name.removesuffix(".sql"): file.read_text()
        for file in (resources.files(package) / "migrations").iterdir()
        if file.name.endswith(".sql")
    }
    found = []
    for title, text in texts.items():
        if not title.endswith(_CONFLICTS):
            number, _, name = title.partition("_")
            found.append(Migration(int(number), name, text, texts.get(f"{title}{_CONFLICTS}")))
    return sorted(found, key=lambda migration: migration.number)


def pending(known: Sequence[Migration], applied: Sequence[Applied]) -> list[Migration]:
    """What is still to be run.

    Raises:
        SchemaMismatch: the database has had a migration that this code does not know and that is not
            for older code, or one whose text has changed since.
    """
    by_number = {migration.number: migration for migration in known}
    for past in applied:
        if past.number not in by_number:
            if not past.contracts:
                continue
            raise SchemaMismatch(
                f"the database has migration {past.number:04} ({past.name}), which this version "
                "does not know: it was upgraded by a newer version; run that one"
            )
        if past.finished and by_number[past.number].checksum != past.checksum:
            raise SchemaMismatch(
                f"migration {past.number:04} ({past.name}) was altered after it had been applied"
            )
    had = {past.number for past in applied if past.finished}
    return [migration for migration in known if migration.number not in had]


def ahead(known: Sequence[Migration], applied: Sequence[Applied]) -> list[Applied]:
    """What the database has had beyond what this code knows."""
    numbers = {migration.number for migration in known}
    return [past for past in applied if past.number not in numbers]


def next_of(steps: Sequence[Migration]) -> list[Migration]:
    """Those from the front of what is pending that run together: in one transaction, or one alone."""
    if steps and steps[0].alone:
        return [steps[0]]
    return list(takewhile(lambda step: not step.alone, steps))


def first_conflicts(query: str) -> str:
    """A query for the first few of the rows that another one finds, each after the number of all."""
    query = query.rstrip().rstrip(";")
    return f"SELECT count(*) OVER (), * FROM (\n{query}\n) AS found LIMIT {_SHOWN}"  # noqa: S608 - ours


def conflict(
    step: Migration, *, count: int, first: Sequence[Mapping[str, Any]], done: Sequence[Migration]
) -> StartError:
    """What to tell people when rows stand in the way of a step.

    Args:
        step: the one that was not tried.
        count: how many rows there are.
        first: some of them, by column.
        done: the steps that were applied before it and stay.
    """
    what = " ".join(line.removeprefix("--").strip() for line in _head_of(step.conflicts or ""))
    shown = "; ".join(
        ", ".join(f"{name} {_shown(value)}" for name, value in row.items()) for row in first
    )
    more = f"; and {count - len(first)} more" if count > len(first) else ""
    left = f"after {', '.join(map(str, done))}" if done else "nothing was applied"
    return StartError(
        f"migration {step} stopped, {left}: {count} row(s) stand in its way{what and f', {what}'}. "
        f"Mend these, and start again: {shown}{more}"
    )


def _head_of(text: str) -> list[str]:
    """The comment that a text begins with, line by line."""
    return list(takewhile(lambda line: line.startswith("--"), text.splitlines()))


def _shown(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    text = text if text.isprintable() else ascii(text)
    return f"{text[:_SHOWN_CHARACTERS]}…" if len(text) > _SHOWN_CHARACTERS else text
