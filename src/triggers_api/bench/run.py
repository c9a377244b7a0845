"""One run of the benchmark: what is asked for, and what every profile needs."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from triggers_api.bench.errors import RunFailed
from triggers_api.bench.http1 import Parts, event_requests, payloads
from triggers_api.bench.loader import Load, Plan, run_load
from triggers_api.bench.machine import Cores, Watch, on_core, resident_mb
from triggers_api.bench.progress import Progress
from triggers_api.bench.server import Api, Target, echo_server, own_server
from triggers_api.bench.slices import Slice, slice_of_load, slice_of_wrk
from triggers_api.bench.wrk import Wrk, run_wrk

USUAL_CONCURRENCY: Final = 64
USUAL_RATE: Final = 500.0
USUAL_SECONDS: Final = 5.0
USUAL_PAYLOAD_BYTES: Final = 512
USUAL_STORED: Final = 2_000_000

PATH: Final = "/api/events"

_PAYLOADS: Final = 64
_LOOK_EVERY_S: Final = 0.05
_CEILING_S: Final = 120.0


class Mode(StrEnum):
    """When events are routed: after their answer, or before it."""

    ASYNC = "async"
    SYNC = "sync"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for; ``events`` and ``seconds`` are ``None`` where it does not."""

    events: int | None = None
    seconds: float | None = None
    concurrency: int = USUAL_CONCURRENCY
    rate: float = USUAL_RATE
    url: str | None = None
    database_url: str | None = None
    key: str = ""
    admin_key: str | None = None
    duplicates_percent: float = 0.0
    mode: Mode = Mode.ASYNC
    dedup: bool = False
    payload_bytes: int = USUAL_PAYLOAD_BYTES
    stored: int = USUAL_STORED

    @property
    def load_s(self) -> float:
        """Seconds of load."""
        return USUAL_SECONDS if self.seconds is None else self.seconds

    @property
    def unusual(self) -> str:
        """Why the targets of throughput and latency do not apply; empty when they do."""
        if self.mode is Mode.SYNC:
            return "the target is for async ingest"
        if self.duplicates_percent:
            return "the target is for events without duplicates"
        if self.payload_bytes != USUAL_PAYLOAD_BYTES:
            return f"the target is for payloads of {USUAL_PAYLOAD_BYTES} bytes"
        return ""


class Run:
    """What the profiles have in common. Each runs on a server of its own, unless one is given."""

    def __init__(
        self,
        options: Options,
        *,
        cores: Cores,
        folder: Path,
        wrk: Wrk | None,
        progress: Progress,
    ) -> None:
        """Nothing is started yet.

        Args:
            options: what is asked for.
            cores: which core is whose.
            folder: for databases and logs; gets a folder in it for each server.
            wrk: the loader of choice; ``None`` when it is not installed.
            progress: is shown what goes on.
        """
        self.options = options
        self.progress = progress
        self.event_type = f"bench.{secrets.token_hex(6)}"
        """Of every event: nobody else subscribes to it by name."""
        self._cores = cores
        self.folder = folder
        self.database_url: str | None = None
        """That of the server which was started last, where it is on PostgreSQL."""
        # What wrk cannot do: an exact number of events, ids that differ, a count of each status.
        raw = options.events is not None or options.dedup or options.duplicates_percent > 0
        self.wrk = None if raw else wrk

    @contextmanager
    def server(
        self, name: str, *, settings: Mapping[str, str] | None = None
    ) -> Iterator[tuple[Target, Api]]:
        """The server to be measured, in the mode that is asked for, and a way to ask it things.

        Args:
            name: of what is measured.
            settings: environment variables of a server of our own.

        Raises:
            RunFailed: it does not start, or cannot be put into that mode.
        """
        options = self.options
        if options.url is not None:
            target = Target(url=options.url, api_key=options.key, admin_key=options.admin_key)
            with _asking(target) as api, self._in_mode(api):
                yield target, api
            return
        folder = self.folder / name
        folder.mkdir()
        with (
            self._database(folder) as database_url,
            own_server(
                folder,
                self._cores,
                database_url=database_url,
                environ={**os.environ, **(settings or {})},
            ) as target,
            _asking(target) as api,
            self._in_mode(api),
        ):
            yield target, api
        # What the kernel has not written yet need not be written while the next one is measured.
        shutil.rmtree(folder)

    @contextmanager
    def _database(self, folder: Path) -> Iterator[str]:
        """An empty database for a server of our own."""
        if self.options.database_url is None:
            yield f"sqlite:///{folder / 'triggers.db'}"
            return
        # It needs an extra that the embedded engine does without.
        from triggers_api.bench.postgres import scratch_database  # noqa: PLC0415

        with scratch_database(self.options.database_url) as self.database_url:
            yield self.database_url
        self.database_url = None

    def raw_insert_rate(self, *, seconds: float) -> float | None:
        """The ceiling of the database that the server now uses, where it is PostgreSQL: rows a second.

        Raises:
            RunFailed: it cannot be measured.
        """
        if self.database_url is None:
            return None
        from triggers_api.bench.postgres import raw_insert_rate  # noqa: PLC0415

        return raw_insert_rate(
            self.database_url,
            self._cores,
            self.folder / "raw.log",
            seconds=seconds,
            rows=self.options.concurrency,
            payload_bytes=self.options.payload_bytes,
        )

    @contextmanager
    def echo(self) -> Iterator[Target]:
        """The ceiling, on the core of the server.

        Raises:
            RunFailed: it does not start.
        """
        with echo_server(self.folder, self._cores) as target:
            yield target

    def ceiling_s(self, what: str, module: str, *arguments: object) -> float:
        """How long a program of ours takes that does one thing only, on the server's core.

        Args:
            what: it does.
            module: the program; the last line that it prints is the seconds.
            arguments: of the program.

        Raises:
            RunFailed: it failed, or does not end.
        """
        command = [sys.executable, "-m", module, *map(str, arguments)]
        with self.progress.bar(what), on_core(self._cores.server):
            try:
                done = subprocess.run(  # noqa: S603 - our own program
                    command, capture_output=True, text=True, timeout=_CEILING_S, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise RunFailed(f"{what} does not end: {error}") from None
        if done.returncode != 0:
            raise RunFailed(f"{what} failed: {done.stderr.strip()[-500:]}")
        return float(done.stdout.splitlines()[-1])

    @contextmanager
    def _in_mode(self, api: Api) -> Iterator[None]:
        wanted = self.options.mode
        if api.target.admin_key is None:
            if wanted is not Mode.ASYNC:
                raise RunFailed(f"--mode {wanted} of a given server needs its --admin-key")
            yield
            return
        before = api.call("GET", "/api/admin/controls", admin=True)["ingest"]
        if before == wanted:
            yield
            return
        turn(api, ingest=wanted)
        try:
            yield
        finally:
            turn(api, ingest=before)

    def plan(
        self,
        target: Target,
        *,
        events: int | None = None,
        seconds: float | None = None,
        rate: float | None = None,
        webhooks: int | None = None,
        requests: list[Parts] | None = None,
        not_awaited: frozenset[int] = frozenset(),
    ) -> Plan:
        """A plan for the raw loader, with the options that hold for every profile."""
        options = self.options
        # The echo knows no events: what it gives back has no ids, and no duplicates.
        is_service = bool(target.api_key)
        return Plan(
            host=target.host,
            port=target.port,
            requests=self.requests(target) if requests is None else requests,
            not_awaited=not_awaited,
            connections=options.concurrency,
            seed=secrets.randbits(32),
            events=events,
            seconds=seconds,
            rate=rate,
            dedup=options.dedup or options.duplicates_percent > 0,
            duplicates=options.duplicates_percent / 100 if is_service else 0.0,
            events_api=is_service,
            webhooks=webhooks,
        )

    def requests(
        self,
        target: Target,
        *,
        event_type: str | None = None,
        event_key: str | None = None,
        count: int = _PAYLOADS,
    ) -> list[Parts]:
        """Prepared requests for a server, ``count`` different ones, by default of the run's type."""
        options = self.options
        return event_requests(
            host=target.authority,
            path=PATH,
            key=target.api_key or "none",
            event_type=event_type or self.event_type,
            event_key=event_key,
            payloads=payloads(options.payload_bytes, count=count, seed=0),
            dedup=options.dedup or options.duplicates_percent > 0,
        )

    def batches(self, target: Target, *, size: int) -> list[Parts]:
        """Prepared requests of so many events each for a server."""
        options = self.options
        bodies = payloads(options.payload_bytes, count=_PAYLOADS, seed=0)
        events = [
            b'{"type":"%b","payload":%b}' % (self.event_type.encode(), each) for each in bodies
        ]
        body = b"[%b]" % b",".join(events[number % _PAYLOADS] for number in range(size))
        head = (
            f"POST {PATH}/batch HTTP/1.1\r\nHost: {target.authority}\r\n"
            f"Authorization: Bearer {target.api_key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        return [Parts(head + body, b"")]

    def load(
        self, what: str, target: Target, plan: Plan, *, listener: socket.socket | None = None
    ) -> tuple[Load, Slice]:
        """Carry a plan out.

        Raises:
            RunFailed: it could not be.
        """
        with self.progress.bar(what) as advance:
            watch = self._watch(target)
            load = run_load(plan, watch=watch, progress=advance, listener=listener)
            return load, slice_of_load(what, load, watch)

    def load_by_wrk(self, what: str, target: Target, wrk: Wrk, *, seconds: int) -> Slice:
        """A stretch of load by ``wrk``.

        Raises:
            RunFailed: it failed.
        """
        with self.progress.bar(what) as advance:
            watch = self._watch(target)
            result = run_wrk(
                wrk,
                [request.before for request in self.requests(target)],
                url=target.url + PATH,
                connections=self.options.concurrency,
                seconds=seconds,
                folder=self.folder,
                watch=watch,
                progress=advance,
            )
            return slice_of_wrk(what, result, watch)

    def _watch(self, target: Target) -> Watch:
        # A given server may be on the loader's core: what others do there is not known.
        loader_core = self._cores.loader if target.is_own else None
        return Watch(target.pid, core=target.core, loader_core=loader_core)

    def pause(self, what: str, seconds: float) -> None:
        """Let time pass."""
        begun_at = time.monotonic()
        with self.progress.bar(what) as advance:
            while (elapsed := time.monotonic() - begun_at) < seconds:
                advance(elapsed / seconds)
                time.sleep(min(_LOOK_EVERY_S, seconds - elapsed))


def turn(api: Api, **switches: str | None) -> None:
    """Turn the server's switches; ``None`` puts a default back.

    Raises:
        RunFailed: the server does not do it.
    """
    now = api.call("PATCH", "/api/admin/controls", switches, admin=True)
    for name, wanted in switches.items():
        if wanted is not None and now[name] != wanted:
            raise RunFailed(f"the server's {name} stays {now[name]}: its environment forces it")


def memory_mb(target: Target) -> float | None:
    """The memory of a server of ours."""
    return None if target.pid is None else resident_mb(target.pid)


@contextmanager
def _asking(target: Target) -> Iterator[Api]:
    api = Api(target)
    try:
        yield api
    finally:
        api.close()
