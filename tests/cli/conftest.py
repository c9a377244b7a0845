"""The commands as a user starts them: processes of their own, with an environment of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

import pytest
from tests.servers.postgres import Postgres

LONGEST_S: Final = 60
"""Real seconds that a process gets before it counts as hanging."""

TRIGGERS: Final = (sys.executable, "-m", "triggers_api")


def environment(**given: str) -> dict[str, str]:
    """What a process is started with: nothing of ours but what is given."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "PYTHONPATH")
        if name in os.environ
    }
    return kept | {"COLUMNS": "100"} | given


class Ended(NamedTuple):
    """A process that is over."""

    code: int
    out: str
    err: str


def triggers(*arguments: str | bytes, folder: Path, given: str = "", **environ: str) -> Ended:
    """Run a command to its end."""
    done = subprocess.run(
        (*TRIGGERS, *arguments),
        cwd=folder,
        env=environment(**environ),
        input=given.encode(errors="surrogateescape"),
        capture_output=True,
        timeout=LONGEST_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def needs(host: str) -> None:
    """Skips the test where this machine has no such address, or no IPv6 at all."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))
    except OSError as error:
        pytest.skip(f"{host} is not on this machine: {error}")


class Serving:
    """``triggers serve``, or another command that stays, on a free port."""

    def __init__(
        self, folder: Path, *arguments: str, command: str = "serve", **environ: str
    ) -> None:
        self._err = (folder / "stderr.txt").open("ab+")
        self._process = subprocess.Popen(
            (*TRIGGERS, command, "--port", "0", *arguments),
            cwd=folder,
            env=environment(**environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._err,
            text=True,
        )
        # What nobody reads would hold it up once the pipe is full.
        self._lines: Queue[str] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.greeting = self._greeting()
            found = re.search(r"http://(\[[\da-f:]+\]|[\w.]+):\d+", self.greeting)
            assert found, self.greeting + self.log
        except AssertionError:
            self.close()
            raise
        self.url = found[0]

    def _greeting(self) -> str:
        lines = []
        while line := self.line():
            lines.append(line)
            if line.lstrip().startswith(("-d '", "metrics ")):
                break
        return "".join(lines)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def line(self) -> str:
        """The next line of standard output; empty when it has ended."""
        try:
            line = self._lines.get(timeout=LONGEST_S)
        except Empty:
            raise AssertionError(f"it says nothing more:\n{self.log}") from None
        if not line:
            self._lines.put(line)
        return line

    @property
    def log(self) -> str:
        """All that was written to standard error."""
        self._err.seek(0)
        return self._err.read().decode(errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it and wait; the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        return self._process.wait(LONGEST_S)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self.wait()
        self._reader.join(LONGEST_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._err.close()

    def call(
        self, method: str, path: str, key: str | None = None, body: object = None
    ) -> tuple[int, Any]:
        """One request; status and decoded body."""
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")


Serve = Callable[..., Serving]
Command = Callable[..., Ended]

KEY: Final = "a-key-of-the-organization"


@pytest.fixture(scope="module")
def serving(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    """A service for the tests of a file, with the file's ``SETTINGS`` if it has any."""
    serving = Serving(
        tmp_path_factory.mktemp("serving"),
        TRIGGERS_API_KEY=KEY,
        TRIGGERS_ADMIN_KEY="a-key-of-the-operator",
        **getattr(request.module, "SETTINGS", {}),
    )
    yield serving
    serving.close()


@pytest.fixture
def command(serving: Serving, tmp_path: Path) -> Command:
    """Runs a command that finds the service and the organization's key in its environment."""

    def command(*arguments: str, **environ: str) -> Ended:
        known = {"TRIGGERS_URL": serving.url, "TRIGGERS_API_KEY": KEY} | environ
        return triggers(*arguments, folder=tmp_path, **known)

    return command


@pytest.fixture
def server_url(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database of PostgreSQL. Ask for it before whatever uses it."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)


def with_password(url: str, password: str) -> str:
    """The same database, reached with a password, which a server that trusts us does not look at."""
    parts = urlsplit(url)
    return parts._replace(
        netloc=f"{parts.username}:{password}@{parts.netloc.rpartition('@')[2]}"
    ).geturl()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts services, and ends what is left of them."""
    with ExitStack() as stack:

        def serve(
            *arguments: str, folder: Path = tmp_path, command: str = "serve", **environ: str
        ) -> Serving:
            serving = Serving(folder, *arguments, command=command, **environ)
            stack.callback(serving.close)
            return serving

        yield serve


class Endpoint:
    """Where webhooks go; answers with ``status``."""

    def __init__(self) -> None:
        endpoint = self
        self.status = 204
        self.ids: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                endpoint.ids.append(self.headers["webhook-id"])
                self.send_response(endpoint.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def keys_of(serving: Serving) -> Mapping[str, str]:
    """The keys that a first start prints."""
    return dict(re.findall(r"^  (API key|admin key) +(\S+)$", serving.greeting, re.MULTILINE))


def pasted(greeting: str, **environ: str) -> list[str]:
    """The arguments that curl gets when the greeting's command is pasted into a shell."""
    command = greeting[greeting.index("curl ") :]
    shell = subprocess.run(
        ["sh", "-eu", "-c", f"curl() {{ printf '%s\\0' \"$@\"; }}\n{command}"],
        env=environment(**environ),
        capture_output=True,
        text=True,
        check=True,
    )
    return shell.stdout.split("\0")[:-1]
