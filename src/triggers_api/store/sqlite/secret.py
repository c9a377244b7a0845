"""A secret beside the database, made once.

It is on stable storage before anything is encrypted under a key that comes from it: that outlives a
power cut, and would be worth nothing without it.
"""

import secrets
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from triggers_api.errors import StartError
from triggers_api.store.sqlite.durable import flush_folder, new_file

# Two threads would make two, and one of them go on with what is not kept.
_ONE_AT_A_TIME: Final = threading.Lock()


def secret_path(database: Path) -> Path:
    """Where the secret of a database lies."""
    return Path(f"{database}.secret")


def found_secret(path: Path) -> bytes | None:
    """What the file holds; ``None`` when there is none, or nothing in it."""
    try:
        return path.read_bytes().strip() or None
    except FileNotFoundError:
        return None


def kept_secret(path: Path) -> bytes:
    """What the file holds; a new secret is put there when there is none.

    Raises:
        StartError: the file is empty or cannot be written.
    """
    with _ONE_AT_A_TIME:
        return _kept_or_made(path)


def _kept_or_made(path: Path) -> bytes:
    with suppress(FileNotFoundError):
        kept = path.read_bytes().strip()
        if not kept:
            raise StartError(f"{path} is empty; delete it and start again")
        return kept
    made = secrets.token_hex(32).encode()
    unnamed = path.with_name(f"{path.name}.new")
    try:
        with new_file(unnamed) as file:
            file.write(made)
        unnamed.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            unnamed.unlink(missing_ok=True)
        raise StartError(f"cannot write {path}: {error.strerror}") from None
    return made
