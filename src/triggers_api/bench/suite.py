"""Runs the profiles that are asked for, one after the other, and reports."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from triggers_api import __version__
from triggers_api.bench.backlog import measure_backlog
from triggers_api.bench.batch import measure_batch
from triggers_api.bench.buffer import measure_buffer
from triggers_api.bench.delivery import measure_delivery
from triggers_api.bench.idle import measure_idle
from triggers_api.bench.inbox import measure_inbox
from triggers_api.bench.ingest import measure_ingest
from triggers_api.bench.machine import (
    Cores,
    choose_cores,
    examine,
    folder_for_databases,
    is_in_memory,
    on_core,
)
from triggers_api.bench.neighbours import measure_neighbours
from triggers_api.bench.order import measure_order
from triggers_api.bench.pipeline import measure_latency, measure_pipeline
from triggers_api.bench.progress import Progress, progress
from triggers_api.bench.report import Report, judged
from triggers_api.bench.run import Options, Run
from triggers_api.bench.search import measure_search
from triggers_api.bench.volume import measure_volume
from triggers_api.bench.wrk import Wrk, find_wrk


class Profile(StrEnum):
    """What can be measured."""

    IDLE = "idle"
    INGEST = "ingest"
    PIPELINE = "pipeline"
    LATENCY = "latency"
    NEIGHBOURS = "neighbours"
    BATCH = "batch"
    DELIVERY = "delivery"
    ORDER = "order"
    SEARCH = "search"
    INBOX = "inbox"
    VOLUME = "volume"
    BACKLOG = "backlog"
    BUFFER = "buffer"


BY_DEFAULT: Final = (Profile.IDLE, Profile.INGEST, Profile.PIPELINE, Profile.LATENCY)
"""What ``all`` stands for: the others take minutes, and ``volume`` PostgreSQL."""


def measure(options: Options, profiles: Sequence[Profile]) -> Report:
    """Run these profiles.

    Raises:
        RunFailed: a server or a loader failed.
    """
    started_at, begun_at = datetime.now(UTC), time.monotonic()
    cores, wrk = choose_cores(), find_wrk()
    folder = Path(tempfile.mkdtemp(prefix="triggers-bench-", dir=folder_for_databases()))
    try:
        with on_core(cores.loader), progress() as shown:
            _warn(shown, folder)
            run = Run(options, cores=cores, folder=folder, wrk=wrk, progress=shown)
            machine = examine(folder.parent)
            report = Report(
                version=__version__,
                started_at=started_at.isoformat(timespec="seconds"),
                seconds=0.0,
                machine=machine,
                method=_method(options, cores, run.wrk),
                options=_shown(options),
                # A fresh machine first: what others leave to be written disturbs a rest the most.
                idle=measure_idle(run) if Profile.IDLE in profiles else None,
                ingest=measure_ingest(run) if Profile.INGEST in profiles else None,
                pipeline=measure_pipeline(run) if Profile.PIPELINE in profiles else None,
                latency=measure_latency(run) if Profile.LATENCY in profiles else None,
                neighbours=measure_neighbours(run) if Profile.NEIGHBOURS in profiles else None,
                batch=measure_batch(run) if Profile.BATCH in profiles else None,
                delivery=measure_delivery(run) if Profile.DELIVERY in profiles else None,
                order=measure_order(run) if Profile.ORDER in profiles else None,
                search=measure_search(run) if Profile.SEARCH in profiles else None,
                inbox=measure_inbox(run) if Profile.INBOX in profiles else None,
                volume=measure_volume(run) if Profile.VOLUME in profiles else None,
                backlog=measure_backlog(run) if Profile.BACKLOG in profiles else None,
                buffer=measure_buffer(run) if Profile.BUFFER in profiles else None,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return judged(msgspec.structs.replace(report, seconds=round(time.monotonic() - begun_at, 1)))


def _warn(shown: Progress, folder: Path) -> None:
    if is_in_memory(folder):
        shown.say(
            f"{folder} is in memory, where a sync costs nothing: durable rates will be too good. "
            "TMPDIR or another working directory chooses a disk."
        )


def _method(options: Options, cores: Cores, wrk: Wrk | None) -> list[str]:
    if options.url is not None:
        server = f"a given server, {options.url}"
    elif cores.server is None:
        server = "a server of its own for each profile, on any core (none could be chosen)"
    else:
        server = f"a server of its own for each profile, on core {cores.server}"
    loader = "any core" if cores.loader is None else f"core {cores.loader}"
    raw = "raw sockets in one thread of Python"
    by = raw if wrk is None else f"echo and ingest by wrk {wrk.version}, all else by {raw}"
    database = [] if options.database_url is None else ["databases on PostgreSQL, on any core"]
    return [
        *database,
        f"{server}; loader and receiver in one other process on {loader}",
        f"loaded by {by}" if wrk is None else by,
        f"{options.payload_bytes}-byte payloads, {options.mode} ingest",
    ]


def _shown(options: Options) -> dict[str, str | int | float | bool | None]:
    secret = {"key", "admin_key", "database_url"}
    return {
        name: value for name, value in msgspec.structs.asdict(options).items() if name not in secret
    }
