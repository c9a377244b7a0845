"""A disk whose power can be cut: what was not synced is lost, kept or torn, as the dice fall.

A layer of SQLite's own kind between SQLite and the operating system (https://sqlite.org/vfs.html). Every
write goes to the real file, where the running process reads it, and into a record of what a disk holds
for certain: for each file the bytes as of its last sync, and the writes since then. A cut copies the
first and, for each 512-byte sector of each of the second, tosses a coin. That is what the manual of
fsync(2) leaves open, and what SQLite's own crash tests assume (src/test6.c).
"""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Final

import apsw

SECTOR: Final = 512


class Unsynced(Enum):
    """What becomes of what was not synced."""

    DROPPED = "dropped"
    KEPT_AT_RANDOM = "kept-at-random"
    TORN = "torn"


class _File:
    """What the disk holds of one file."""

    def __init__(self, durable: bytes) -> None:
        self.durable = bytearray(durable)
        self.pending: list[tuple[int, bytes] | int] = []
        """Writes (where, what) and truncations (to what size) since the last sync."""

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.durable, change)
        self.pending.clear()

    def after_cut(self, fate: Unsynced, rng: random.Random) -> bytes:
        left = bytearray(self.durable)
        if fate is Unsynced.DROPPED:
            return bytes(left)
        for change in self.pending:
            if isinstance(change, int) or fate is Unsynced.KEPT_AT_RANDOM:
                if rng.random() < 0.5:
                    _apply(left, change)
                continue
            where, what = change
            for start in range(0, len(what), SECTOR):
                if rng.random() < 0.5:
                    _apply(left, (where + start, what[start : start + SECTOR]))
        return bytes(left)


def _apply(content: bytearray, change: tuple[int, bytes] | int) -> None:
    if isinstance(change, int):
        del content[change:]
        content.extend(bytes(max(0, change - len(content))))
        return
    where, what = change
    content.extend(bytes(max(0, where - len(content))))
    content[where : where + len(what)] = what


class Disk:
    """The record of all files, and the layer that keeps it. ``with`` it to have the layer registered."""

    def __init__(self, name: str) -> None:
        """``name`` is for ``vfs=``."""
        self.name = name
        self.operations = 0
        """Writes, syncs and truncations so far."""
        self.syncs = 0
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()
        self._cut_at = 0
        self._on_cut: Callable[[], None] | None = None
        self._vfs = _Layer(self)

    def close(self) -> None:
        """Unregister the layer."""
        self._vfs.unregister()

    def cut_at(self, operation: int, on_cut: Callable[[], None]) -> None:
        """Call ``on_cut`` right before an operation, with everything standing still."""
        self._cut_at, self._on_cut = operation, on_cut

    def left(self, database: Path, copy: Path, fate: Unsynced, rng: random.Random) -> None:
        """Write what a cut leaves of a database at this moment; call it from ``on_cut``, or at rest."""
        # The first page of all is written before there is a write-ahead log: a journal covers it.
        for suffix in ("", "-journal", "-wal"):
            file = self._files.get(f"{database}{suffix}")
            if file is not None:
                Path(f"{copy}{suffix}").write_bytes(file.after_cut(fate, rng))
        # Whether its owner had closed the database was written long before.
        shutil.copyfile(f"{database}.lock", f"{copy}.lock")

    def _opened(self, path: str) -> _File:
        with self._lock:
            file = self._files.get(path)
            if file is None:
                content = Path(path).read_bytes() if Path(path).exists() else b""
                file = self._files[path] = _File(content)
            return file

    def _deleted(self, path: str) -> None:
        with self._lock:
            self._files.pop(path, None)

    def _change(
        self, file: _File, change: tuple[int, bytes] | int, act: Callable[[], None]
    ) -> None:
        with self._lock:
            self._count()
            act()
            file.pending.append(change)

    def _sync(self, file: _File) -> None:
        with self._lock:
            self._count()
            self.syncs += 1
            file.sync()

    def _count(self) -> None:
        self.operations += 1
        if self.operations == self._cut_at and self._on_cut is not None:
            self._on_cut()


class _Layer(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(disk.name, "unix")

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        return _LayerFile(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802 - SQLite's
        super().xDelete(filename, syncdir)
        self._disk._deleted(filename)


class _LayerFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self._file = disk._opened(path)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: ANN401, N802 - SQLite's
        written = bytes(data)
        self._disk._change(
            self._file, (offset, written), lambda: super(_LayerFile, self).xWrite(written, offset)
        )

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's
        self._disk._change(self._file, newsize, lambda: super(_LayerFile, self).xTruncate(newsize))

    def xSync(self, flags: int) -> None:  # noqa: ARG002, N802 - SQLite's
        # The real file is never cut, so it needs no real sync.
        self._disk._sync(self._file)
