"""Runs the commands of a page as a reader would, and compares what they print with what it shows.

- A line of a ``console`` block that begins with ``$`` is a command for the shell; what follows up to
  the next one is what it prints. In it ``…`` stands for anything, and an id for any id of its kind.
- A block without a command shows what a program that still runs prints.
- A block in any language whose first line is a comment with a file's name is that file.
- Every command must end well, and every answer to a ``curl`` be below 400 unless the page shows it.
- The service's port, a second service's and the receiver's are 8000, 8001 and 9000 on the page, and
  free ones here. ``evt_…`` in a command stands for the last such id that was printed, ``trg_…`` and
  ``whsec_…`` for the last key and secret.
- The database of PostgreSQL that a page supposes is :data:`DATABASE`, and a new one here; its Redis is
  :data:`REDIS`, and an empty one here.
- What only looks is repeated for a while until it prints what the page shows: a ``curl``, ``redis-cli``,
  ``triggers doctor`` and the like, and a program that is called ``find.py``.

A command that cannot be run fails, and with it the test: there is no way to leave one out.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from tests.docs.pages import ROOT, CodeBlock, code_blocks, name_of
from tests.servers.ports import free_ports

PATIENCE_S: Final = 60.0
DATABASE: Final = "postgresql://triggers@127.0.0.1:5432/triggers"
REDIS: Final = "redis://127.0.0.1:6379"
LANGUAGES_TO_RUN: Final = frozenset({"python", "javascript", "sh", "bash", "shell"})

_FILE: Final = re.compile(r"(?:#|//) (?P<name>[\w.-]+\.\w+)\n")
_STAYS: Final = re.compile(
    r"(?:^|\s)(?:triggers (?:serve|worker|listen)|python receiver\.py|node receiver\.mjs)\b"
)
_SERVICES: Final = {"serve": ("8000", "Send an event"), "worker": ("8001", "/metrics")}
"""A service's port on the page, and what it has printed when it is ready, by its command."""
_LOOKS: Final = re.compile(
    r"^(?:triggers (?:doctor|explain|queues|search|status)\b"
    r"|redis-cli (?:HGET|X(?:INFO|LEN|PENDING|RANGE))\b|python find\.py$|curl (?!.*\s(?:-d|-X)\s))",
    re.DOTALL,
)
_IDENTIFIER: Final = re.compile(r"\b(?P<kind>evt|job|sub|dlv|att|org|key)_[0-9a-f]{32}\b")
_SECRET: Final = re.compile(r"\b(?P<kind>whsec|trg)_[A-Za-z0-9+/_-]{16,}=*")
_SHOWN_IDENTIFIER: Final = re.compile(r"\b(evt|job|sub|dlv|att|org|key|req)_[0-9a-f]+…?")


class Step(NamedTuple):
    """A command and what the page shows of its output; no command for a program that still runs."""

    command: str
    shown: list[str]
    line: int


def steps(block: CodeBlock) -> Iterator[Step]:
    """The commands of a ``console`` block."""
    step: Step | None = None
    for number, text in enumerate(block.text.splitlines(), block.line + 1):
        if text.startswith("$ "):
            if step is not None:
                yield step
            step = Step(text[2:], [], number)
        elif step is not None and not step.shown and step.command.endswith("\\"):
            step = step._replace(command=f"{step.command}\n{text}")
        else:
            step = step or Step("", [], number)
            step.shown.append(text)
    if step is not None:
        yield step


class Answer(NamedTuple):
    """What a ``curl`` got."""

    status: int
    json: Any


class Failed(AssertionError):
    """A command did not do what its page says."""


class Session:
    """One reader at one machine, in an empty folder."""

    def __init__(
        self, folder: Path, *, database_url: str = DATABASE, redis_port: int | None = None
    ) -> None:
        """Begin in a folder.

        Args:
            folder: an empty one.
            database_url: where the database of PostgreSQL really is.
            redis_port: where Redis really is.
        """
        self.folder = folder
        self._database_url = database_url
        self._redis_url = REDIS if redis_port is None else f"redis://127.0.0.1:{redis_port}"
        self.answers: list[Answer] = []
        """One for each ``curl`` of a page, however often it looked."""
        self._judged = 0
        self.commands = 0
        """How many were run."""
        self.last: dict[str, str] = {}
        """The last id of each kind, by its prefix; the last secret by ``whsec``."""
        self.ports = dict(zip(("8000", "8001", "9000"), map(str, free_ports(3)), strict=True))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._notes = folder / ".curl"
        self._notes.touch()
        tools = folder / ".bin"
        tools.mkdir()
        for name in ("curl", "redis-cli"):
            script = Path(__file__).parent / f"{name.replace('-', '_')}.py"
            tool = tools / name
            tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
            tool.chmod(0o755)
        programs = Path(sys.executable).parent
        self.environment = {
            "CURL_NOTES": str(self._notes),
            "REDIS_CLI_PORT": str(redis_port),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PATH": f"{tools}:{programs}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONUNBUFFERED": "1",
            "TRIGGERS_PORT": self.ports["8000"],
            "TRIGGERS_URL": f"http://127.0.0.1:{self.ports['8000']}",
        }
        if "PYTHONPATH" in os.environ:
            self.environment["PYTHONPATH"] = os.environ["PYTHONPATH"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in list(self._running):
            self._end(name)

    def run_page(self, page: Path) -> None:
        """Every block of a page, from top to bottom."""
        for block in code_blocks(page):
            try:
                self._run_block(block)
            except Failed as failure:
                raise Failed(f"{name_of(page)}:{block.line}: {failure}") from None

    def _run_block(self, block: CodeBlock) -> None:
        if block.language == "console":
            for step in steps(block):
                self.run(step)
        elif match := _FILE.match(block.text):
            (self.folder / match["name"]).write_text(self._here(block.text))
        elif block.language in LANGUAGES_TO_RUN:
            raise Failed("a program needs its file's name in its first line, as a comment")

    def run(self, step: Step) -> str:
        """One command; returns what it printed."""
        if not step.command:
            return self._await(step.shown)
        self.commands += 1
        command = self._filled(self._here(step.command))
        if command.startswith("make "):
            command = self._recipe(command)
        if command.startswith("export "):
            for word in shlex.split(command)[1:]:
                name, _, text = word.partition("=")
                self.environment[name] = text
            return ""
        if _STAYS.search(command):
            self._begin(command)
            return self._await(step.shown)
        return self._command(step, command, time.monotonic() + PATIENCE_S / 2)

    def _command(self, step: Step, command: str, deadline: float) -> str:
        """A command that ends; a look at what becomes of something is repeated until the deadline."""
        before = len(self.answers)
        ended = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        )
        printed = self._on_page(ended.stdout.decode())
        self._remember(printed)
        if ended.returncode:
            raise Failed(f"$ {command}\nexit code {ended.returncode}\n{printed}")
        self._judge(step, printed)
        if missing := missing_line(step.shown, printed):
            if _LOOKS.match(command) and time.monotonic() < deadline:
                del self.answers[before:]
                time.sleep(0.05)
                return self._command(step, command, deadline)
            raise Failed(f"$ {command}\ndid not print {missing!r}, but\n{printed}")
        return printed

    def _judge(self, step: Step, printed: str) -> None:
        for note in self._notes.read_text().splitlines()[self._judged :]:
            self._judged += 1
            status, body = json.loads(note).values()
            with suppress(ValueError):
                body = json.loads(body)
            self.answers.append(Answer(status, body))
            if status >= 400 and not any(str(status) in line for line in step.shown):
                raise Failed(f"$ {step.command}\nwas refused:\n{printed}")

    def _recipe(self, command: str) -> str:
        """What a target of the Makefile would do. Only the service itself is worth doing here."""
        target = shlex.split(command, comments=True)[1:]
        ours = ("MAKE", "ARGS")  # what this run of the tests was asked for
        clean = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
        dry = subprocess.run(
            ["make", "--dry-run", "--no-print-directory", "--directory", str(ROOT), *target],
            env=clean,
            capture_output=True,
            text=True,
            check=False,
        )
        if dry.returncode:
            raise Failed(f"$ {command}\n{dry.stderr}")
        last = dry.stdout.strip().splitlines()[-1]
        served = re.search(r"\.venv/bin/(triggers serve.*)", last)
        return "true" if served is None else served[1]

    # ── programs that stay ────────────────────────────────────────────────────────────────────

    def _begin(self, command: str) -> None:
        words = shlex.split(command)
        if "listen" in words:
            self._begin_session(command)
            return
        service = next((_SERVICES[word] for word in words if word in _SERVICES), None)
        shown, greeting = service or ("9000", "")
        port = self.ports[shown]
        own = {"TRIGGERS_PORT": port} if service else {}
        if "--port" in words:
            port = words[words.index("--port") + 1]
        self._end(port)
        output = self._start(port, command, own)
        self._until(lambda: is_listening(port), f"$ {command}\nnobody listens", port)
        self._until(lambda: greeting in printed_in(output), "no greeting", port)

    def _begin_session(self, command: str) -> None:
        """One that listens to no port: it fetches."""
        output = self._start("session", command, {})
        self._until(lambda: "ready" in printed_in(output), f"$ {command}\nis not ready", "session")

    def _start(self, name: str, command: str, own: dict[str, str]) -> Path:
        output = self.folder / f".output-{name}"
        with output.open("wb") as file:
            self._running[name] = subprocess.Popen(
                ["sh", "-c", command],
                cwd=self.folder,
                env=self.environment | own,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return output

    def _await(self, shown: list[str]) -> str:
        outputs = [self.folder / f".output-{port}" for port in self._running]
        if not outputs:
            raise Failed("shows what a program prints, but none runs")

        def printed() -> str:
            return self._on_page("".join(printed_in(output) for output in outputs))

        self._until(lambda: not missing_line(shown, printed()), f"not printed: {shown}", None)
        self._remember(printed())
        return printed()

    def _until(self, holds: Any, otherwise: str, port: str | None) -> None:  # noqa: ANN401
        deadline = time.monotonic() + PATIENCE_S / 2
        while not holds():
            dead = port is not None and self._running[port].poll() is not None
            if dead or time.monotonic() > deadline:
                printed = "".join(printed_in(file) for file in self.folder.glob(".output-*"))
                raise Failed(f"{otherwise}\n{printed}")
            time.sleep(0.02)

    def _end(self, port: str) -> None:
        process = self._running.pop(port, None)
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(PATIENCE_S / 2)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise Failed("a program did not end when it was asked to") from None
        # The shell may be gone before what it started, which would be taken for its successor.
        if port.isdecimal():
            self._until(lambda: not is_listening(port), "still listened to", None)

    # ── words of the page and words of this machine ───────────────────────────────────────────

    def _here(self, text: str) -> str:
        text = text.replace(DATABASE, self._database_url).replace(REDIS, self._redis_url)
        for shown, port in self.ports.items():
            text = re.sub(rf"\b{shown}\b", port, text)
        return text

    def _on_page(self, text: str) -> str:
        text = text.replace(self._database_url, DATABASE)
        for shown, port in self.ports.items():
            text = re.sub(rf"\b{port}\b", shown, text)
        return text

    def _filled(self, command: str) -> str:
        for kind in re.findall(r"\b([a-z]+)_…", command):
            if kind not in self.last:
                raise Failed(f"$ {command}\nno {kind}_ was printed so far")
            command = command.replace(f"{kind}_…", self.last[kind])
        return command

    def _remember(self, printed: str) -> None:
        for match in _IDENTIFIER.finditer(printed):
            self.last[match["kind"]] = match[0]
        for match in _SECRET.finditer(printed):
            self.last[match["kind"]] = match[0]


def missing_line(shown: list[str], printed: str) -> str | None:
    """The first line that a page shows and that was not printed, in the order of the page."""
    lines = iter(" ".join(line.split()) for line in printed.splitlines())
    for line in shown:
        text = _SHOWN_IDENTIFIER.sub(r"\1_…", " ".join(line.split()))
        pattern = re.compile(".*".join(map(re.escape, text.split("…"))))
        if text and not any(pattern.fullmatch(each) for each in lines):
            return line
    return None


def printed_in(output: Path) -> str:
    """What a program has printed so far; the last character may be there in part only."""
    return output.read_text(errors="replace")


def is_listening(port: str) -> bool:
    """Whether somebody listens on a port of this machine; nobody does on what is no port."""
    with socket.socket() as probe:
        return port.isdecimal() and probe.connect_ex(("127.0.0.1", int(port))) == 0


class Request(NamedTuple):
    """A webhook that came."""

    headers: dict[str, str]
    body: bytes


class Inbox:
    """The endpoint that a page takes for granted: notes what comes, and answers 204."""

    def __init__(self, port: str) -> None:
        requests = self.requests = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                requests.append(Request(dict(self.headers.items()), body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    requests: list[Request]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for(self, count: int) -> list[Request]:
        """The first so many webhooks."""
        deadline = time.monotonic() + PATIENCE_S / 2
        while len(self.requests) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.requests) >= count
        return self.requests[:count]


def has(program: str) -> bool:
    """Whether this machine has a program."""
    return shutil.which(program) is not None
