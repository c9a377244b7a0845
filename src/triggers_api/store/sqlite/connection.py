"""Connections to the embedded file, with every setting asserted by reading it back."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw

from triggers_api.errors import StartError

FIXED_IN: Final = (3, 51, 3)
_FIXED_BRANCHES: Final = {(3, 50): 7, (3, 44): 6}

BUSY_TIMEOUT_MS: Final = 5000
STATEMENTS_KEPT: Final = 1000

_WRITER_PRAGMAS: Final = {
    "synchronous": 2,  # FULL: a commit returns after its fdatasync
    "foreign_keys": 0,  # the schema declares none; every key is checked by the verb that writes it
    "trusted_schema": 0,
    "cell_size_check": 1,
    "mmap_size": 0,
    "temp_store": 2,
    "wal_autocheckpoint": 0,  # writer.py and checkpointer.py decide when
    "journal_size_limit": 67_108_864,
    "cache_size": -65_536,
}


def version_gate(version: str) -> None:
    """Refuse a SQLite with the WAL-reset bug (https://sqlite.org/wal.html#walresetbug).

    It can corrupt a database when one connection writes while another checkpoints, which is what
    this engine does all day. Fixed in 3.51.3, and in 3.50.7 and 3.44.6 of the older branches.

    Raises:
        StartError: the version has it.
    """
    major, minor, patch, *_ = (int(part) for part in [*version.split("."), "0"])
    if (major, minor, patch) >= FIXED_IN or patch >= _FIXED_BRANCHES.get((major, minor), 1 << 30):
        return
    raise StartError(
        f"SQLite {version} can corrupt a database in WAL mode; install a newer apsw (it brings "
        "its own SQLite)"
    )


def open_writer(path: Path, *, vfs: str | None = None, synchronous: int = 2) -> apsw.Connection:
    """The one connection that writes.

    Args:
        path: the database file, made when it is not there.
        vfs: another file layer; tests use one that forgets what was not synced.
        synchronous: less than FULL (2) only for the test that shows the loss.

    Raises:
        StartError: it cannot be opened, or a setting does not take.
    """
    version_gate(apsw.sqlite_lib_version())
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    # It holds signing secrets: nobody else's to read. SQLite gives its other files the same mode.
    # What hinders this hinders SQLite as well, which says what it is.
    with suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    try:
        db = apsw.Connection(str(path), flags=flags, vfs=vfs, statementcachesize=STATEMENTS_KEPT)
        db.set_busy_timeout(BUSY_TIMEOUT_MS)
        if db.pragma("journal_mode", "wal") != "wal":
            raise StartError(f"{path}: the file system does not support SQLite's write-ahead log")
        for name, value in (_WRITER_PRAGMAS | {"synchronous": synchronous}).items():
            db.pragma(name, value)
            if (taken := db.pragma(name)) != value:
                raise StartError(f"{path}: SQLite took {name}={taken} instead of {value}")
        if sys.platform == "darwin":
            db.pragma("fullfsync", 1)
            db.pragma("checkpoint_fullfsync", 1)
    except apsw.Error as error:
        raise StartError(f"cannot open {path}: {plain(error)}") from None
    return db


def open_checkpointer(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """The one other connection that may write to the database file: it only checkpoints."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
    db.set_busy_timeout(0)
    db.pragma("wal_autocheckpoint", 0)
    db.pragma("synchronous", 2)
    return db


def open_reader(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """A connection that can only read."""
    db = apsw.Connection(
        str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs, statementcachesize=100
    )
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    for name, value in {
        "query_only": 1,
        "trusted_schema": 0,
        "mmap_size": 0,
        "temp_store": 2,
        "cache_size": -16_384,
    }.items():
        db.pragma(name, value)
    return db


def plain(error: apsw.Error) -> str:
    """What is wrong, for a person."""
    if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE:
        return "no room for its -shm file, the disk is full"
    return str(error).partition(": ")[2] or str(error)
