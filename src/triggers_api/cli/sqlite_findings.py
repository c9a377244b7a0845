"""What ``triggers doctor`` looks at where the embedded engine is used: the file and its disk."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from secrets import token_bytes
from typing import Final

import apsw

from triggers_api.app import store_options, wall_clock
from triggers_api.bench.machine import SYNCS, sync_ms
from triggers_api.cli import secrets_finding
from triggers_api.cli.finding import Finding
from triggers_api.errors import StartError
from triggers_api.settings import Settings
from triggers_api.store.cipher import Cipher
from triggers_api.store.sqlite import schema
from triggers_api.store.sqlite.audit_verbs import AuditVerbs
from triggers_api.store.sqlite.connection import version_gate
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.lock import file_system_of, refuse_network_file_system
from triggers_api.store.sqlite.secret import found_secret, secret_path
from triggers_api.store.sqlite.settings_verbs import SettingsVerbs
from triggers_api.store.sqlite.tables import SQL

_SLOW_SYNC_MS: Final = 20.0
_LITTLE_SPACE: Final = 256 << 20


def examine(path: Path, settings: Settings, *, deep: bool) -> Iterator[Finding]:
    """Look at a database file and at where it lies; nothing is changed."""
    yield _sqlite()
    if path.parent.is_dir():
        yield from _disk(path)
        yield from _database(path, settings, deep=deep)
    else:
        yield Finding("fail", "folder", f"{path.parent} does not exist")


def _sqlite() -> Finding:
    version = apsw.sqlite_lib_version()
    try:
        version_gate(version)
    except StartError as error:
        return Finding("fail", "sqlite", str(error))
    return Finding("ok", "sqlite", f"{version}, without the WAL-reset bug")


def _disk(path: Path) -> Iterator[Finding]:
    folder = path.parent
    if not os.access(folder, os.W_OK):
        yield Finding("fail", "folder", f"{folder} cannot be written to")
        return
    try:
        refuse_network_file_system(path)
        yield Finding("ok", "file system", file_system_of(folder) or "local")
    except StartError as error:
        yield Finding("fail", "file system", str(error))
    free = shutil.disk_usage(folder).free
    yield Finding(
        "ok" if free > _LITTLE_SPACE else "warn", "free space", f"{free >> 20} MiB in {folder}"
    )
    milliseconds = sync_ms(folder)
    text = f"{milliseconds:.2f} ms (median of {SYNCS} writes of 4 KiB)"
    if milliseconds > _SLOW_SYNC_MS:
        yield Finding("warn", "fsync", f"{text}: every group of events waits for one")
    elif milliseconds < 0.005:
        yield Finding("warn", "fsync", f"{text}: too fast to be true; is this a memory disk?")
    else:
        yield Finding("ok", "fsync", text)


def _database(path: Path, settings: Settings, *, deep: bool) -> Iterator[Finding]:
    if not path.exists():
        yield Finding("ok", "database", f"{path} will be made at the first start")
        return
    mode = path.stat().st_mode & 0o077
    if mode:
        yield Finding("warn", "permissions", f"{path} can be read by others; chmod 600")
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        missing = schema.pending(connection)
        yield Finding(
            "ok" if not missing else "warn",
            "schema",
            "up to date" if not missing else f"{len(missing)} migration(s) to be applied",
        )
        if not missing:
            yield _secrets(connection, path, settings)
        check = "integrity_check" if deep else "quick_check(1)"
        if deep or path.stat().st_size < 64 << 20:
            ((verdict,), *_) = list(connection.execute(f"PRAGMA {check}"))
            if verdict == "ok":
                yield Finding("ok", "database", f"{path} is intact")
            else:  # in several lines
                yield Finding("fail", "database", f"{path}: {' '.join(verdict.split())}")
        connection.close()
    except (apsw.Error, StartError) as error:
        yield Finding("fail", "database", f"{path}: {error}")


def _secrets(connection: apsw.Connection, path: Path, settings: Settings) -> Finding:
    beside = secret_path(path)
    # Where there is no key, one that opens nothing.
    kept = found_secret(beside) or token_bytes(32)
    cipher = Cipher.of(store_options(settings).secret_keys, kept)
    tail = next((tail for (tail,) in connection.execute(SQL["identity"])), 0)
    keys = Keys(tail)
    audit = AuditVerbs(keys, wall_clock, tail=tail, after=0)
    return secrets_finding.examine(
        SettingsVerbs(keys, cipher, audit).sealing(connection),
        settings,
        kept=Finding("ok", "", f"the key in {beside.name}: who has both files reads them"),
        remedy="the next start encrypts them",
    )
