"""A small file system of our own that can be filled up. Needs root, and nothing that pip installs."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from triggers_api.operate.disk import free_bytes


class Volume:
    """Where it is mounted, and the ballast that fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, *, spare: int = 0) -> None:
        """Take all room but so many bytes, which are free all the time: nobody else finds it full."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 4096):
                while not spare or free_bytes(self.folder) >= spare + size:
                    try:
                        file.write(b"\0" * size)
                    except OSError as error:
                        if spare or error.errno != errno.ENOSPC:
                            raise
                        break
            os.fsync(file.fileno())

    def give_back(self, size: int) -> None:
        """Make a little room, in bytes."""
        with self._ballast.open("ab") as file:
            file.truncate(max(0, self._ballast.stat().st_size - size))

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink()

    def abort(self) -> None:
        """What a kernel does with ext4 after an error: writes fail, also to files that are open."""
        subprocess.run(["mount", "-o", "remount,abort", self.folder], check=True)

    def mend(self) -> None:
        """Make it writable after :meth:`abort`; nobody may have a file open on it."""
        image = self.folder.with_suffix(".img")
        subprocess.run(["umount", self.folder], check=True)
        subprocess.run(["mount", "-o", "loop", image, self.folder], check=True)

    def make_read_only(self) -> None:
        """Nothing can be written to it from now on."""
        subprocess.run(["mount", "-o", "remount,ro", self.folder], check=True)


@contextmanager
def mounted(kind: str, folder: Path, *, megabytes: int) -> Iterator[Volume]:
    """A fresh file system for the time of a test: ``tmpfs``, or ``ext4`` on a file.

    Skips the test where nothing may be mounted.
    """
    point = folder / "volume"
    point.mkdir()
    if kind == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(point)]
    else:
        image = folder / "volume.img"
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        if subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=False).returncode:
            pytest.skip("mkfs.ext4 is missing: apt install e2fsprogs")
        command = ["mount", "-o", "loop", str(image), str(point)]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a {kind} cannot be mounted here (it needs root): {made.stderr.strip()}")
    try:
        yield Volume(point)
    finally:
        subprocess.run(["umount", point], check=True)
