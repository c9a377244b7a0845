"""The servers that are measured: started on a core of their own, and always ended."""

import http.client
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from triggers_api.bench.children import child
from triggers_api.bench.errors import RunFailed
from triggers_api.bench.machine import Cores, on_core

_START_S: Final = 30.0
_END_S: Final = 30.0
_CALL_S: Final = 60.0
_URL: Final = re.compile(r"http://127\.0\.0\.1:\d+")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A server to be measured.

    Attributes:
        url: scheme, host and port.
        api_key: with the scopes ingest, read and manage.
        admin_key: an operator's; without it the server's books cannot be read.
        pid: of its process, when we started it.
        core: the one it is pinned to.
    """

    url: str
    api_key: str = ""
    admin_key: str | None = None
    pid: int | None = None
    core: int | None = None

    @property
    def is_own(self) -> bool:
        """Whether we started it, and nobody else uses it."""
        return self.pid is not None

    @property
    def host(self) -> str:
        """The host's name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port."""
        return urlsplit(self.url).port or 80

    @property
    def authority(self) -> str:
        """Host and port, for the ``Host`` header."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Api:
    """The API of a server, for what is asked beside the load. One connection, kept alive."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._connection = http.client.HTTPConnection(target.host, target.port, timeout=_CALL_S)

    def call(self, method: str, path: str, body: object = None, *, admin: bool = False) -> Any:  # noqa: ANN401 - JSON
        """The decoded answer.

        Raises:
            RunFailed: the answer is a refusal, or does not come.
        """
        status, content = self.ask(method, path, body, admin=admin)
        if status >= 300:
            raise RunFailed(f"{method} {path} was answered with {status}: {_detail(content)}")
        return json.loads(content) if content else None

    def ask(
        self, method: str, path: str, body: object = None, *, admin: bool = False
    ) -> tuple[int, bytes]:
        """Status and body of the answer.

        Raises:
            RunFailed: it does not come.
        """
        target, connection = self.target, self._connection
        key = target.admin_key if admin else target.api_key
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body)
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise RunFailed(f"no answer from {target.url}: {error}") from None

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@contextmanager
def own_server(
    folder: Path, cores: Cores, *, database_url: str, environ: Mapping[str, str] = os.environ
) -> Iterator[Target]:
    """The service in a process of its own, on an empty database; its log goes into the folder.

    Settings in the environment hold for it, as far as the measurement does not need others.

    Raises:
        RunFailed: it does not start, or fails while it is used.
    """
    api_key, admin_key = (f"trg_bench_{secrets.token_hex(16)}" for _ in range(2))
    ours = {
        "TRIGGERS_DATABASE_URL": database_url,
        "TRIGGERS_HOST": "127.0.0.1",
        "TRIGGERS_PORT": "0",
        "TRIGGERS_API_KEY": api_key,
        "TRIGGERS_ADMIN_KEY": admin_key,
        "TRIGGERS_ALLOW_CIDRS": "127.0.0.0/8",
        "TRIGGERS_RATE_LIMIT": "0",
        "TRIGGERS_RETENTION_DAYS": "0",
        "TRIGGERS_LOG_LEVEL": "warning",
        "TRIGGERS_LOG_FORMAT": "json",
    }
    command = [sys.executable, "-m", "triggers_api", "serve"]
    with _running(command, folder / "server.log", cores, {**environ, **ours}) as (url, pid):
        target = Target(url=url, api_key=api_key, admin_key=admin_key, pid=pid, core=cores.server)
        _await_life(target)
        yield target


@contextmanager
def echo_server(folder: Path, cores: Cores) -> Iterator[Target]:
    """The ceiling, see ``echo.py``, in a process of its own on the same core as the service.

    Raises:
        RunFailed: it does not start, or fails while it is used.
    """
    command = [sys.executable, "-m", "triggers_api.bench.echo"]
    with _running(command, folder / "echo.log", cores, os.environ) as (url, pid):
        target = Target(url=url, pid=pid, core=cores.server)
        yield target


@contextmanager
def _running(
    command: Sequence[str], log: Path, cores: Cores, environ: Mapping[str, str]
) -> Iterator[tuple[str, int]]:
    """A server that says in its log where it listens: that URL, and its process id."""
    with log.open("wb") as file, ExitStack() as stack:
        with on_core(cores.server):
            process = stack.enter_context(
                child(command, stdout=file, stderr=subprocess.STDOUT, environ=environ)
            )
        try:
            yield _await_url(process, log), process.pid
            _end(process)
        except RunFailed as error:
            if process.poll() is None:
                raise
            raise RunFailed(f"{error}\n{_ending(process, log)}") from None
    if process.returncode != 0:
        raise RunFailed(_ending(process, log))


def _await_url(process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        found = _URL.search(log.read_text(errors="replace"))
        if found:
            return found[0]
        if process.poll() is not None:
            raise RunFailed("the server did not start")
        time.sleep(0.02)
    raise RunFailed(f"the server did not say within {_START_S:g} s where it listens")


def _await_life(target: Target) -> None:
    api = Api(target)
    deadline = time.monotonic() + _START_S
    while True:
        try:
            api.call("GET", "/livez")
        except RunFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            api.close()
            return


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"the server did not end within {_END_S:g} s") from None


def _ending(process: "subprocess.Popen[bytes]", log: Path) -> str:
    last = log.read_text(errors="replace").strip()[-2000:]
    return f"the server ended with exit code {process.returncode}:\n{last}"


def _detail(content: bytes) -> str:
    try:
        return str(json.loads(content)["detail"])
    except (ValueError, KeyError, TypeError):
        return content[:200].decode(errors="replace")
