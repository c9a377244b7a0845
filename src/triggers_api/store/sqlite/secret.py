"""A secret beside the database, made once."""

import os
import secrets
import threading
from pathlib import Path
from typing import Final

from triggers_api.errors import StartError

# Between the making of the file and the writing of it, another thread would find it empty.
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
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        kept = path.read_bytes().strip()
        if not kept:
            raise StartError(f"{path} is empty; delete it and start again") from None
        return kept
    made = secrets.token_hex(32).encode()
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(made)
    except OSError as error:
        path.unlink()
        raise StartError(f"cannot write {path}: {error.strerror}") from None
    return made
