"""A copy of the embedded file, taken while it is served, and the way back.

The copy is of one moment: everything that was committed before it began is in it, whole. It is made by
SQLite's own backup, page by page, from a connection that only reads and holds one snapshot, so no write
waits for it; meanwhile the write-ahead log cannot start anew, and grows by what is written. What appears
under the final name has been flushed to the disk and looked through; a copy that was cut off has
another name.
"""

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import apsw
import msgspec

from triggers_api.errors import StartError
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import OrganizationAccount, Sealed
from triggers_api.store.cipher import Cipher
from triggers_api.store.sqlite import schema
from triggers_api.store.sqlite.audit_verbs import AuditVerbs
from triggers_api.store.sqlite.connection import open_reader, open_writer, plain
from triggers_api.store.sqlite.durable import flush_folder, new_file
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.lock import OwnerLock, refuse_network_file_system
from triggers_api.store.sqlite.record_reads import RecordReads
from triggers_api.store.sqlite.secret import found_secret, secret_path
from triggers_api.store.sqlite.settings_verbs import SettingsVerbs
from triggers_api.store.sqlite.tables import SQL

SUM_SUFFIX: Final = ".sha256"

_PIECE: Final = 4 << 20
_NO_KEY: Final = b"no key is known"
"""Opens nothing, where there is no key to try."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a look through a file found; it is intact.

    ``accounts`` and ``sealed`` are empty where the file needs migrations first.
    """

    schema: int
    pending: int
    accounts: list[OrganizationAccount]
    sealed: Sealed | None


class BackedUp(msgspec.Struct, frozen=True, kw_only=True):
    """A finished copy. ``key`` is where the key beside the database was copied to, if it was."""

    path: Path
    size: int
    sha256: str
    seconds: float
    content: Content
    key: Path | None


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that was put in place. ``aside`` are the files that were there before."""

    path: Path
    aside: list[Path]
    summed: bool
    content: Content
    key: Path | None


def back_up(
    database: Path,
    copy: Path,
    *,
    now: Timestamp,
    secret_keys: Sequence[str] = (),
    with_key: bool = False,
    bytes_a_second: float | None = None,
    advance: Callable[[float], None] = lambda _: None,
    pause: Callable[[float], None] = time.sleep,
) -> BackedUp:
    """Copy a database that may be in use.

    Args:
        database: the file.
        copy: a file that is not there yet.
        now: the wall clock.
        secret_keys: given by the settings; see :class:`~triggers_api.store.connect.StoreOptions`.
        with_key: put the key that lies beside the database beside the copy as well.
        bytes_a_second: the most that is read, to spare a slow disk.
        advance: is told the fraction that is done.
        pause: waits so many seconds.

    Raises:
        StartError: nothing is there under the final name; the message says why.
    """
    database, copy = database.resolve(), copy.absolute()
    if not database.is_file():
        raise StartError(f"there is no database at {database}")
    began = time.monotonic()
    with _partial(copy) as partial:
        with _plainly(f"cannot copy {database} to {copy}"):
            _copy_pages(
                database, partial, bytes_a_second=bytes_a_second, advance=advance, pause=pause
            )
        kept = found_secret(secret_path(database))
        content = look_through(partial, now=now, secret_keys=secret_keys, kept=kept)
        digest = _flushed_sum(partial)
        _write_new(copy.with_name(copy.name + SUM_SUFFIX), f"{digest}  {copy.name}\n".encode())
        key = None
        if with_key and kept is not None:
            key = secret_path(copy)
            _write_new(key, kept)
        with _plainly(f"cannot copy to {copy}"):
            _named(partial, copy)
    return BackedUp(
        path=copy,
        size=copy.stat().st_size,
        sha256=digest,
        seconds=time.monotonic() - began,
        content=content,
        key=key,
    )


def restore(
    copy: Path,
    database: Path,
    *,
    now: Timestamp,
    secret_keys: Sequence[str] = (),
    replace: bool = False,
    without_key: bool = False,
) -> Restored:
    """Put a copy where a database is served from. Nobody may serve it meanwhile.

    Args:
        copy: as :func:`back_up` made it.
        database: where it is to be; what is there is kept under other names.
        now: the wall clock.
        secret_keys: given by the settings.
        replace: do so although there is a database.
        without_key: do so although nobody can read the secrets of its subscriptions.

    Raises:
        DatabaseInUse: a process serves it.
        StartError: everything is as it was; the message says why.
    """
    copy, database = copy.resolve(), database.resolve()
    if not copy.is_file():
        raise StartError(f"there is no copy at {copy}")
    if copy == database:
        raise StartError(f"{copy} is in place already")
    if (log := copy.with_name(f"{copy.name}-wal")).exists() and log.stat().st_size:
        raise StartError(f"{copy} is not whole without {log.name}: it is in use, or no backup")
    summed = _check_sum(copy)
    refuse_network_file_system(database)
    beside, ours = secret_path(copy), secret_path(database)
    kept = found_secret(beside) or found_secret(ours)
    content = look_through(copy, now=now, secret_keys=secret_keys, kept=kept)
    if content.sealed is not None and content.sealed.lost and not without_key:
        raise StartError(
            f"{copy}: the secrets of {content.sealed.lost} subscription(s) are encrypted under a key "
            f"that is not here: put it beside the copy as {beside.name}, or give TRIGGERS_SECRET_KEY. "
            "If it is lost, restore with --without-key, then run: triggers encrypt --give-up-lost"
        )
    if database.exists() and not replace:
        raise StartError(f"there is a database at {database}; --replace keeps it aside")
    lock = OwnerLock(database)
    try:
        with _plainly(f"cannot put {copy} at {database}"):
            aside, key = _put_in_place(copy, database, now=now)
    except BaseException:
        lock.release(in_order=lock.was_closed)
        raise
    lock.release(in_order=True)  # it was looked through
    return Restored(path=database, aside=aside, summed=summed, content=content, key=key)


def look_through(
    path: Path, *, now: Timestamp, secret_keys: Sequence[str] = (), kept: bytes | None = None
) -> Content:
    """Read a file that nobody writes to from end to end.

    Args:
        path: the file; nothing is written beside it.
        now: the wall clock.
        secret_keys: given by the settings.
        kept: the key beside the database, if there is one.

    Raises:
        StartError: it is damaged, not a database of this product, or a newer version's.
    """
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    try:
        with closing(apsw.Connection(f"file:{quote(str(path))}?immutable=1", flags=flags)) as db:
            if not (applied := schema.applied(db)):
                raise StartError(f"{path} is not a database of Triggers API")
            ((verdict,), *_) = list(db.execute("PRAGMA integrity_check(1)"))
            if verdict != "ok":
                raise StartError(f"{path} is damaged: {' '.join(verdict.split())}")
            pending = len(schema.pending(db))
            tail = next((tail for (tail,) in db.execute(SQL["identity"])), None)
            accounts: list[OrganizationAccount] = []
            sealed = None
            if not pending and tail is not None:
                keys = Keys(tail)
                accounts = RecordReads(keys).accounts(db, now)
                cipher = Cipher.of(secret_keys, kept or _NO_KEY)
                audit = AuditVerbs(keys, lambda: now, tail=tail, after=0)
                sealed = SettingsVerbs(keys, cipher, audit).sealing(db)
            return Content(
                schema=max(step.number for step in applied),
                pending=pending,
                accounts=accounts,
                sealed=sealed,
            )
    except apsw.Error as error:
        raise StartError(f"{path} is damaged, or no database: {plain(error)}") from None


# ── there ─────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _partial(copy: Path) -> Iterator[Path]:
    """The name that a copy has until it is finished; gone after, whatever happens."""
    if copy.exists():
        raise StartError(f"{copy} is there already")
    partial = copy.with_name(f".{copy.name}.partial")
    try:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"cannot write to {copy.parent}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartError(f"another process is making {copy}") from None
        os.ftruncate(descriptor, 0)  # what one left that was cut off
        try:
            yield partial
        finally:
            partial.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _copy_pages(
    database: Path,
    partial: Path,
    *,
    bytes_a_second: float | None,
    advance: Callable[[float], None],
    pause: Callable[[float], None],
) -> None:
    # Without locks: the other end may lie where there are none, and nobody else knows its name.
    with (
        closing(open_reader(database)) as source,
        closing(apsw.Connection(str(partial), vfs="unix-none")) as target,
    ):
        for name, value in {"locking_mode": "exclusive", "synchronous": 0}.items():
            target.pragma(name, value)
        target.pragma("journal_mode", "off")
        # This moment: without the snapshot every commit would have the copy begin anew.
        source.execute("BEGIN")
        source.execute(SQL["has_migrations"]).fetchall()
        page = source.pragma("page_size")
        pages = max(1, _PIECE // page)
        began = time.monotonic()
        with target.backup("main", source, "main") as copying:
            while not copying.done:
                copying.step(pages)
                done = copying.page_count - copying.remaining
                advance(done / max(1, copying.page_count))
                if bytes_a_second is not None:
                    pause(max(0.0, done * page / bytes_a_second - (time.monotonic() - began)))
        source.execute("ROLLBACK")
        # One file, that can be read where nothing can be written.
        target.pragma("journal_mode", "delete")


def _named(partial: Path, copy: Path) -> None:
    try:
        os.link(partial, copy)  # never over what somebody else has put there meanwhile
        partial.unlink()
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}:
            raise
        partial.rename(copy)  # where there are no links
    flush_folder(copy.parent)


def _flushed_sum(path: Path) -> str:
    """Flush a file, and digest what is in it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


# ── back ──────────────────────────────────────────────────────────────────────────────────────────


def _check_sum(copy: Path) -> bool:
    """Compare a copy with the sum beside it; returns whether there is one."""
    beside = copy.with_name(copy.name + SUM_SUFFIX)
    try:
        wanted = beside.read_text().split(maxsplit=1)[0].lower()
    except FileNotFoundError:
        return False
    except (OSError, IndexError, UnicodeDecodeError):
        raise StartError(f"{beside} cannot be read") from None
    with copy.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted:
        raise StartError(f"{copy} is not what {beside.name} says it was: it has changed since")
    return True


def _put_in_place(copy: Path, database: Path, *, now: Timestamp) -> tuple[list[Path], Path | None]:
    partial = database.with_name(f".{database.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        _write_new(partial, copy)
        aside = _set_aside(database, f".before-{now}")
        kept, beside = secret_path(database), secret_path(copy)
        key = None
        given = found_secret(beside)
        if given is not None and given != found_secret(kept):
            if kept.exists():
                aside.append(_renamed(kept, f".before-{now}"))
            _write_new(kept, given)
            key = kept
        partial.replace(database)
        flush_folder(database.parent)
    finally:
        partial.unlink(missing_ok=True)
    return aside, key


def _set_aside(database: Path, suffix: str) -> list[Path]:
    """Keep what is there under other names; the database keeps its own as well, until it is replaced.

    A log of another file must not lie beside the copy: what is in it goes where it belongs, if it can.
    """
    if not database.exists():
        # Logs of a file that is gone: nobody can read them any more, and nobody may.
        return [_renamed(log, suffix) for log in _logs(database)]
    # What is damaged is being replaced for that.
    with suppress(apsw.Error, StartError), closing(open_writer(database)) as db:
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    aside = [_renamed(log, suffix) for log in _logs(database)]
    kept = database.with_name(database.name + suffix)
    os.link(database, kept)
    return [kept, *aside]


def _logs(database: Path) -> list[Path]:
    names = (f"{database.name}{ending}" for ending in ("-wal", "-shm"))
    return [path for path in map(database.with_name, names) if path.exists()]


def _renamed(path: Path, suffix: str) -> Path:
    return path.rename(path.with_name(path.name + suffix))


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


def _write_new(path: Path, content: bytes | Path) -> None:
    """A new file, for its owner only, flushed."""
    with _plainly(f"cannot write {path}"), new_file(path) as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            with content.open("rb") as source:
                while piece := source.read(_PIECE):
                    file.write(piece)


@contextmanager
def _plainly(what: str) -> Iterator[None]:
    """Say what the system's or SQLite's words mean here."""
    try:
        yield
    except apsw.Error as error:
        raise StartError(f"{what}: {plain(error)}") from None
    except OSError as error:
        raise StartError(f"{what}: {error.strerror}") from None
