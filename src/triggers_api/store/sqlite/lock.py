"""One process owns the file: an advisory lock beside it, held as long as the store is open."""

import contextlib
import errno
import fcntl
import os
import re
from pathlib import Path

from triggers_api.errors import DatabaseInUse, StartError, StoreUnavailable

_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse.", "afs", "ceph", "glusterfs", "lustre")

_NO_WRITES = frozenset({errno.EROFS, errno.EIO})


class OwnerLock:
    """The lock. Its file says who holds it, and whether the last owner closed the database."""

    def __init__(self, database: Path) -> None:
        """Take the lock.

        Raises:
            DatabaseInUse: another process has it.
            StartError: the folder does not exist or cannot be written to.
        """
        self._path = path = database.with_name(f"{database.name}.lock")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(
                f"cannot write beside {database}: {error.strerror} ({path.name})"
            ) from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _first_line(os.read(self._descriptor, 64))
            os.close(self._descriptor)
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise StartError(f"cannot lock {path}: {error.strerror}") from None
            raise DatabaseInUse(
                f"{database} is in use by another server (process {owner or 'unknown'}); "
                "stop that one first, or give this one a file of its own with --database-url"
            ) from None
        self.was_closed = os.read(self._descriptor, 64) in {b"", b"closed\n"}
        """Whether the last owner, if any, closed the database in order."""
        try:
            self._write(f"{os.getpid()}\n")
            # Or after a power cut it may say still that the owner before closed it.
            os.fsync(self._descriptor)
        except OSError as error:
            os.close(self._descriptor)
            raise StartError(f"cannot write {path}: {error.strerror}") from None

    def check_writable(self) -> None:
        """Whether anything could be written beside the database; writes nothing.

        After an error a kernel may take no more writes and not call the file system read-only, as newer
        ones do with ext4: to open a file for writing is refused as well. It must be this file: to close
        one of the database's own would end SQLite's locks on it.

        Raises:
            StoreUnavailable: the file system takes no writes.
        """
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            if error.errno in _NO_WRITES:
                raise StoreUnavailable(
                    f"{self._path} cannot be written to: {error.strerror}"
                ) from None

    def release(self, *, in_order: bool) -> None:
        """Let go; with ``in_order`` the next owner need not look the file over."""
        if in_order:
            # Where it cannot be written, the next owner looks over a file that is in order.
            with contextlib.suppress(OSError):
                self._write("closed\n")
        os.close(self._descriptor)

    def _write(self, text: str) -> None:
        # In place and only then cut: an empty file has no room of its own on a full disk.
        os.pwrite(self._descriptor, text.encode(), 0)
        os.ftruncate(self._descriptor, len(text))


def _first_line(content: bytes) -> str:
    return content.decode(errors="replace").partition("\n")[0].strip()


def file_system_of(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that holds a folder, as Linux names it; empty when unknown."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text()
        except OSError:
            return ""
    best, found = -1, ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        mount_point = _unescape(left.split()[4])
        if path.is_relative_to(mount_point) and len(mount_point) >= best:
            best, found = len(mount_point), right.split()[0]
    return found


def _unescape(field: str) -> str:
    """A path as ``mountinfo`` writes it: some bytes as a backslash and three octal digits."""
    raw = re.sub(rb"\\([0-7]{3})", lambda digits: bytes([int(digits[1], 8)]), os.fsencode(field))
    return os.fsdecode(raw)


def refuse_network_file_system(database: Path) -> None:
    """SQLite's write-ahead log needs memory shared on one machine.

    Raises:
        StartError: the file would lie on a network file system.
    """
    kind = file_system_of(database.parent)
    if kind.startswith(_NETWORK_FILE_SYSTEMS):
        raise StartError(
            f"{database} would lie on a network file system ({kind}), where SQLite loses data; "
            "use a local disk, or PostgreSQL"
        )
