"""The real server in a process of its own: started, asked, killed, paused, traced."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
from tests.servers.ports import free_port

import triggers_api
from triggers_api.failpoints import VARIABLE as FAILPOINTS
from triggers_api.testing import ADMIN_KEY, API_KEY, Answer

BROKEN: Final = Path(__file__).with_name("broken.py")
"""Runs the command line of the product with one guarantee taken out of it (see there)."""

PATIENCE_S: Final = 30.0
"""Real seconds that anything awaited gets before it counts as hanging."""

_URL = re.compile(rb"http://127\.0\.0\.1:(\d+)")
_LOOK_EVERY_S = 0.01


class NotStarted(AssertionError):
    """The server ended instead of starting."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"exit code {code}: {said}")
        self.code = code
        self.said = said


async def until(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]],
    what: str,
    *,
    within_s: float = PATIENCE_S,
    look_every_s: float = 0.02,
) -> float:
    """Wait for a moment that can be observed; returns the seconds it took.

    Whoever waits may stand still, too: only a look that began too late gives up.
    """
    began = time.monotonic()
    while True:
        looked_at = time.monotonic()
        verdict = condition()
        if await verdict if isinstance(verdict, Awaitable) else verdict:
            return time.monotonic() - began
        if looked_at - began > within_s:
            raise AssertionError(f"not within {within_s} s: {what}")
        await asyncio.sleep(look_every_s)


class Server:
    """One database in a folder, and the processes that serve it one after the other.

    ``async with`` it to have what it started ended.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "server",
        command: str = "serve",
        bug: str | None = None,
        **settings: object,
    ) -> None:
        """Nothing is started yet.

        Args:
            folder: for the database and the logs.
            name: of the logs, where a folder has those of several.
            command: of the product, ``serve`` or ``worker``.
            bug: what is broken on purpose, a name in ``broken.py``.
            settings: by field name of the product's settings.
        """
        self.folder = folder
        self.database = folder / "triggers.db"
        """Unless the settings name another."""
        self.log = folder / f"{name}.log"
        """Standard error of every process."""
        self.greeting = folder / f"{name}.out"
        self.bug = bug
        self.source = Path(triggers_api.__file__).parents[1]
        """Where the product is that it runs: the one that these tests import, unless told otherwise."""
        self._command = command
        self._settings: dict[str, object] = {
            "api_key": API_KEY,
            "admin_key": ADMIN_KEY,
            "allow_cidrs": "127.0.0.0/8",
            "database_url": f"sqlite:///{self.database}",
            "rate_limit": 0,
            "delivery_timeout_s": 5,
            "max_poll_ms": 200,
            "log_format": "json",
        } | settings
        self._process: subprocess.Popen[bytes] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._log_from = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()
        if self._process is not None:
            self.kill()

    # ── the process ───────────────────────────────────────────────────────────────────────────

    async def start(self, *, failpoints: str = "", **settings: object) -> None:
        """Start a process and wait until it answers.

        Args:
            failpoints: the steps that are armed in it.
            settings: that it has in addition.

        Raises:
            NotStarted: it ended.
        """
        self.launch(failpoints=failpoints, **settings)
        await self.started()

    def launch(self, *, failpoints: str = "", **settings: object) -> None:
        """Start a process without waiting for it."""
        assert self._process is None or self._process.poll() is not None, "it is running"
        given = {
            f"TRIGGERS_{name.upper()}": str(value)
            for name, value in (self._settings | settings).items()
            if value is not None
        }
        program = ["-m", "triggers_api"] if self.bug is None else [str(BROKEN), self.bug]
        self.greeting.unlink(missing_ok=True)
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        with self.greeting.open("wb") as out, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                # Not one that the system gives to anybody: who still asks there when this one has ended
                # would be answered by the server of another test.
                [sys.executable, *program, self._command, "--port", str(free_port())],
                cwd=self.folder,
                env={
                    "PATH": os.environ.get("PATH", ""),
                    "PYTHONPATH": str(self.source),
                    FAILPOINTS: failpoints,
                    **given,
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )

    async def started(self) -> None:
        """Wait until the process that was launched answers."""

        async def answers() -> bool:
            code = self.poll()
            if code is not None:
                raise NotStarted(code, self.said())
            port = _URL.search(self.greeting.read_bytes())
            if port is None:
                return False
            self.url = f"http://127.0.0.1:{int(port[1])}"
            try:
                return (await self.call("GET", "/livez", key=None)).status == 200
            except aiohttp.ClientError:
                return False

        await until(
            answers, "the server answers", within_s=2 * PATIENCE_S, look_every_s=_LOOK_EVERY_S
        )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """What was started last."""
        assert self._process is not None
        return self._process

    def poll(self) -> int | None:
        """The exit code, once there is one."""
        return self.process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        self.process.kill()
        self.process.wait()

    async def ended(self, *, within_s: float = PATIENCE_S) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        await until(lambda: self.poll() is not None, "the server ends", within_s=within_s)
        return self.process.returncode

    async def stop(self, *, within_s: float = PATIENCE_S) -> int:
        """SIGTERM, and wait for the end; returns the exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended(within_s=within_s)

    # ── its interface ─────────────────────────────────────────────────────────────────────────

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - bytes go as they are, everything else as JSON
        *,
        key: str | None = API_KEY,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one request."""
        assert self._session is not None
        sent = {} if key is None else {"Authorization": f"Bearer {key}"}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        async with self._session.request(
            method, self.url + path, data=data, headers=sent | dict(headers or {})
        ) as answer:
            names = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, names, await answer.read())

    async def admin(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - JSON
        """Make an operator's request that must succeed; returns the decoded answer."""
        answer = await self.call(method, f"/api/admin{path}", body, key=ADMIN_KEY)
        assert 200 <= answer.status < 300, answer
        return answer.json

    async def subscribe(self, url: str, event_types: Sequence[str], **fields: object) -> Any:  # noqa: ANN401
        """Make a subscription; the answer has its ``secret``."""
        answer = await self.call(
            "POST", "/api/subscriptions", {"url": url, "event_types": list(event_types), **fields}
        )
        assert answer.status == 201, answer
        return answer.json

    async def ready(self) -> Answer:
        """``/readyz``."""
        return await self.call("GET", "/readyz", key=None)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; 0 when there is none."""
        answer = await self.call("GET", "/metrics", key=None)
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        total = 0.0
        for line in answer.body.decode().splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(label in sample for label in wanted):
                total += float(value)
        return total

    async def idle(self) -> bool:
        """Whether nothing waits: every event routed, every delivery finished.

        Nobody knows while the database is away.
        """
        answer = await self.call("GET", "/api/admin/verify", key=ADMIN_KEY)
        if answer.status == 503:
            return False
        assert answer.status == 200, answer
        return all(
            account["queued"] == account["scheduled"] == 0
            and all(
                account["deliveries"].get(state, 0) == 0
                for state in ("pending", "delivering", "retrying")
            )
            for account in answer.json["organizations"]
        )

    def said(self) -> str:
        """What the last process wrote to standard error."""
        return self.log.read_bytes()[self._log_from :].decode(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the last process's log that are whole; it may be writing one more."""
        return _whole_lines(self.said())

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log that report this, of whichever process."""
        lines = _whole_lines(self.log.read_text(errors="replace"))
        return [line for line in lines if line.get("event") == event]


def _whole_lines(text: str) -> list[dict[str, Any]]:
    whole, _, _ = text.rpartition("\n")
    return [json.loads(line) for line in whole.split("\n") if line.startswith("{")]
