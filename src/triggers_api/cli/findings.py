"""What ``triggers doctor`` looks at."""

import os
import platform
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from triggers_api.bench.machine import SYNCS, sync_ms
from triggers_api.deliver.egress import Egress
from triggers_api.errors import StartError
from triggers_api.settings import Settings
from triggers_api.store.connect import sqlite_path
from triggers_api.store.sqlite import schema
from triggers_api.store.sqlite.connection import version_gate
from triggers_api.store.sqlite.lock import file_system_of, refuse_network_file_system

_SLOW_SYNC_MS: Final = 20.0
_LITTLE_SPACE: Final = 256 << 20


class Finding(NamedTuple):
    """One line of the report: ``ok``, ``warn`` or ``fail``, about what, in words."""

    level: str
    about: str
    text: str


def examine(settings: Settings, *, deep: bool) -> Iterator[Finding]:
    """Look at everything, one finding after the other; nothing is changed."""
    path = sqlite_path(settings.database_url).resolve()
    yield Finding(
        "ok", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    yield _sqlite()
    if path.parent.is_dir():
        yield from _disk(path)
        yield from _database(path, deep=deep)
    else:
        yield Finding("fail", "folder", f"{path.parent} does not exist")
    yield _port(settings)
    yield _egress(settings)
    yield Finding(
        "ok",
        "leases",
        f"{settings.lease_s:g} s, more than a delivery's {settings.delivery_timeout_s:g} s",
    )


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


def _database(path: Path, *, deep: bool) -> Iterator[Finding]:
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
        check = "integrity_check" if deep else "quick_check(1)"
        if deep or path.stat().st_size < 64 << 20:
            ((verdict,), *_) = list(connection.execute(f"PRAGMA {check}"))
            level = "ok" if verdict == "ok" else "fail"
            yield Finding(level, "database", f"{path} is {'intact' if level == 'ok' else verdict}")
        connection.close()
    except (apsw.Error, StartError) as error:
        yield Finding("fail", "database", f"{path}: {error}")


def _port(settings: Settings) -> Finding:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            return Finding("warn", "port", f"{settings.host}:{settings.port}: {error.strerror}")
    return Finding("ok", "port", f"{settings.host}:{settings.port} is free")


def _egress(settings: Settings) -> Finding:
    guard = Egress(settings.allow_cidrs)
    open_ = [
        address
        for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1")
        if guard.permits(address)
    ]
    if not guard.permits("1.1.1.1"):
        return Finding("fail", "egress", "public addresses are refused")
    if open_:
        return Finding(
            "warn", "egress", f"deliveries may go to {', '.join(open_)} (TRIGGERS_ALLOW_CIDRS)"
        )
    return Finding("ok", "egress", "private, loopback and metadata addresses are refused")
