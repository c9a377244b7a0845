"""Which migrations to run: numbered SQL files, applied once each, in order, never altered after."""

import hashlib
from collections.abc import Sequence
from importlib import resources

import msgspec

from triggers_api.errors import SchemaMismatch


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, to notice one that was altered after it ran."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class Applied(msgspec.Struct, frozen=True):
    """A migration that a database says it has had."""

    number: int
    name: str
    checksum: str


def load(package: str) -> list[Migration]:
    """An engine's ``migrations/NNNN_name.sql`` files in order."""
    found = []
    for file in (resources.files(package) / "migrations").iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, file.read_text()))
    return sorted(found, key=lambda migration: migration.number)


def pending(known: Sequence[Migration], applied: Sequence[Applied]) -> list[Migration]:
    """What is still to be run.

    Raises:
        SchemaMismatch: the database has had a migration that this code does not know, or one whose
            text has changed since.
    """
    by_number = {migration.number: migration for migration in known}
    for past in applied:
        if past.number not in by_number:
            raise SchemaMismatch(
                f"the database has migration {past.number:04} ({past.name}), which this version "
                "does not know: it was upgraded by a newer version; run that one"
            )
        if by_number[past.number].checksum != past.checksum:
            raise SchemaMismatch(
                f"migration {past.number:04} ({past.name}) was altered after it had been applied"
            )
    had = {past.number for past in applied}
    return [migration for migration in known if migration.number not in had]
