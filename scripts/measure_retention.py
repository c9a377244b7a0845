# ruff: noqa: INP001, S603, S608, T201
"""What it costs ingest that old events are deleted beside it.

    .venv/bin/python scripts/measure_retention.py [--events 1000000] [--database-url postgresql://…]

Fills a database with old events, each routed and delivered once, and measures ingest with 64 connections
in a closed loop, in slices in turn: without retention, and while the old ones are deleted. The last line
has the medians and the ratio of the two p99; above 1.5 the exit code is 4. With --rate events come in at
a steady rate instead. --what deliveries has the deliveries deleted and the events kept.

A database that is given is one that nobody has used yet. With --folder it is kept, and --filled measures
it. The server has a core of its own where there are two, the loader another one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw
import asyncpg

from triggers_api.bench.http1 import event_requests, payloads
from triggers_api.bench.loader import Plan, doubles, run_load
from triggers_api.bench.machine import Watch, choose_cores, on_core
from triggers_api.bench.statistics import Latency, latency_of, median_latency

KEY: Final = "a-key-for-the-measurement"
ADMIN: Final = "a-key-for-its-operator"
PAYLOAD: Final = b'{"text":"' + b"x" * 480 + b'"}'
DAY_MS: Final = 86_400_000
MOST: Final = 1.5
"""As many times as long as without may the p99 of ingest be."""
MISSED: Final = 4
AGES: Final = {
    "events": {"TRIGGERS_RETENTION_DAYS": "7"},
    "deliveries": {"TRIGGERS_RETENTION_DAYS": "0", "TRIGGERS_DELIVERY_RETENTION_DAYS": "7"},
}
KIND_OF: Final = {"events": "event", "deliveries": "delivery"}
_FOR_EVER: Final = {"TRIGGERS_RETENTION_DAYS": "0"}
_WARM_UP_S: Final = 2.0
_AT_ONCE: Final = 50_000

_COUNTED: Final = (
    "WITH RECURSIVE n (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2 - 1)"
)
_FILL_FILE: Final = (
    "INSERT INTO events (id, organization_id, status, status_at, type, dedup_id)"
    " SELECT (?3 + i) << 20, ?4, 1, ?3 + i, 'order.created', 'old-' || i FROM n",
    "INSERT INTO event_payloads (event_id, payload) SELECT (?3 + i) << 20, ?5 FROM n WHERE ?4 > 0",
    "INSERT INTO deliveries (id, organization_id, event_id, subscription_id, origin, origin_id, status,"
    " status_at, attempt_count, attempt_base, lease_until, lease_token)"
    " SELECT ((?3 + i) << 20) + 1, ?4, (?3 + i) << 20, 1, 0, 0, 5, ?3 + i, 1, 0, 0, 0 FROM n",
    "INSERT INTO attempts (id, delivery_id, number, started_at, duration_ms, status_code)"
    " SELECT ((?3 + i) << 20) + 2, ((?3 + i) << 20) + 1, 1, ?3 + i, 3, 200 FROM n WHERE ?4 > 0",
)
_ID: Final = (
    "(lpad(to_hex($3 + i), 12, '0') || '7000' || '8000' || lpad(to_hex({} + i), 12, '0'))::uuid"
)
_FILL_DATABASE: Final = (
    "INSERT INTO events (organization_id, id, type, dedup_id, payload)"
    f" SELECT o.id, {_ID.format('1::bigint')}, 'order.created', 'old-' || i, $4::bytea"
    " FROM organizations AS o, generate_series($1::bigint, $2::bigint - 1) AS i",
    "INSERT INTO deliveries (organization_id, id, event_id, subscription_id, origin, origin_id, status,"
    " status_at, attempt_count, attempt_base)"
    f" SELECT o.id, {_ID.format('(1::bigint << 40)')}, {_ID.format('1::bigint')},"
    f" '{'0' * 31}1'::uuid, 0, '{'0' * 32}'::uuid, 5, $3 + i, 1, 0"
    " FROM organizations AS o, generate_series($1::bigint, $2::bigint - 1) AS i"
    " WHERE $4::bytea IS NOT NULL",
    "INSERT INTO attempts (organization_id, delivery_id, number, id, started_at, duration_ms,"
    f" status_code) SELECT o.id, {_ID.format('(1::bigint << 40)')}, 1,"
    f" {_ID.format('(1::bigint << 41)')}, $3 + i, 3, 200"
    " FROM organizations AS o, generate_series($1::bigint, $2::bigint - 1) AS i"
    " WHERE $4::bytea IS NOT NULL",
)


def fill_file(path: Path, events: int, first: int) -> None:
    """Old events in the embedded engine's file."""
    db = apsw.Connection(str(path))
    ((owner,),) = db.execute("SELECT id FROM organizations")
    for start in range(0, events, _AT_ONCE):
        end = min(start + _AT_ONCE, events)
        with db:
            for statement in _FILL_FILE:
                given = (start, end, first, owner, PAYLOAD)[: 5 if "?5" in statement else 4]
                db.execute(f"{_COUNTED} {statement}", given)
    db.execute(
        "INSERT INTO accounts (organization_id, events, deliveries) VALUES (?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (owner, events, events),
    )
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


async def fill_database(url: str, events: int, first: int) -> None:
    """Old events in PostgreSQL."""
    db = await asyncpg.connect(url)
    for start in range(0, events, _AT_ONCE):
        end = min(start + _AT_ONCE, events)
        for statement in _FILL_DATABASE:
            await db.execute(statement, start, end, first, PAYLOAD, timeout=600)
    await db.execute(
        "INSERT INTO accounts (organization_id, slot, events, deliveries)"
        " SELECT id, 0, $1, $1 FROM organizations"
        " ON CONFLICT (organization_id, slot) DO UPDATE SET events = accounts.events + $1,"
        " deliveries = accounts.deliveries + $1",
        events,
    )
    await db.execute("VACUUM ANALYZE", timeout=600)
    await db.close()


@contextmanager
def serving(folder: Path, database_url: str, ages: dict[str, str]) -> Iterator[str]:
    """The service, with its retention; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = os.environ | {
        "TRIGGERS_DATABASE_URL": database_url,
        "TRIGGERS_API_KEY": KEY,
        "TRIGGERS_ADMIN_KEY": ADMIN,
        "TRIGGERS_PORT": str(port),
        "TRIGGERS_RATE_LIMIT": "0",
        "TRIGGERS_MAX_QUEUE_DEPTH": "100000000",
        "TRIGGERS_LOG_LEVEL": "error",
        **ages,
    }
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "triggers_api", "serve"]
    with on_core(choose_cores().server):
        process = subprocess.Popen(command, env=environ, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(f"{url}/readyz"):  # noqa: S310 - our own
                break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def ingested(url: str, options: argparse.Namespace, *, seconds: float) -> Latency:
    """Events come in for so long, each of another payload; how long they took."""
    port = int(url.rpartition(":")[2])
    requests = event_requests(
        host=f"127.0.0.1:{port}",
        path="/api/events",
        key=KEY,
        event_type="order.created",
        payloads=payloads(len(PAYLOAD), count=64, seed=0),
        dedup=False,
    )
    plan = Plan(
        host="127.0.0.1",
        port=port,
        requests=requests,
        connections=64,
        seed=0,
        seconds=seconds,
        rate=options.rate,
    )
    load = run_load(plan, watch=Watch(None), progress=lambda _: None)
    found = latency_of(doubles(load.latencies))
    if set(load.statuses) != {202} or load.lost or found is None:
        raise SystemExit(f"refused or lost: {load.statuses}, {load.lost}")
    return found


def metric(url: str, sample: str) -> float:
    """A number that the service tells."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:  # noqa: S310 - our own
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{sample} "):
                return float(line.rpartition(" ")[2])
    return 0.0


def until_routed(url: str) -> None:
    """What the last slice left is not this one's."""
    deadline = time.monotonic() + 120
    time.sleep(1)  # depths are looked at twice a second
    while metric(url, "triggers_queue_depth"):
        if time.monotonic() > deadline:
            raise SystemExit("what came in is not routed")
        time.sleep(0.2)


def fill(folder: Path, database_url: str, events: int) -> None:
    """Old events, once the service has made its tables."""
    path = folder / "triggers.db"
    with serving(folder, database_url, _FOR_EVER):
        pass
    began = time.monotonic()
    first = int(time.time() * 1000) - 30 * DAY_MS
    if database_url.startswith("sqlite"):
        fill_file(path, events, first)
    else:
        asyncio.run(fill_database(database_url, events, first))
    print(f"filled with {events:,} events in {time.monotonic() - began:.0f} s", flush=True)


def measure(folder: Path, database_url: str, options: argparse.Namespace) -> float | None:
    """Slices of both, in turn; the ratio of the medians of their p99."""
    went = f'triggers_pruned_total{{kind="{KIND_OF[options.what]}"}}'
    slices: dict[str, list[Latency]] = {"without": [], "beside": []}
    for what, ages in (("without", _FOR_EVER), ("beside", AGES[options.what])) * options.rounds:
        with serving(folder, database_url, ages) as url:
            ingested(url, options, seconds=_WARM_UP_S)
            until_routed(url)
            before, at = metric(url, went), time.monotonic()
            took = ingested(url, options, seconds=options.seconds)
            per_s = (metric(url, went) - before) / (time.monotonic() - at)
        slices[what].append(took)
        found = {
            "per_s": round(took.count / options.seconds),
            "p50_ms": took.p50,
            "p99_ms": took.p99,
            "max_ms": took.max,
            "pruned_per_s": round(per_s),
        }
        print(what, json.dumps(found), flush=True)
        if what == "beside" and not per_s:
            print("nothing was left to be deleted: fill it with more", flush=True)
            return None
    without, beside = median_latency(slices["without"]), median_latency(slices["beside"])
    if without is None or beside is None:
        return None
    ratio = beside.p99 / without.p99
    medians = {"without_p99_ms": without.p99, "beside_p99_ms": beside.p99, "ratio": round(ratio, 2)}
    print("medians", json.dumps(medians), "target at most", MOST, flush=True)
    return ratio


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--what", choices=sorted(AGES), default="events")
    parser.add_argument(
        "--rate", type=float, help="events a second; without it, as fast as it goes"
    )
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database-url")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--filled", action="store_true", help="measure what is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        url = options.database_url or f"sqlite:///{folder / 'triggers.db'}"
        if not options.filled:
            fill(folder, url, options.events)
        ratio: float | None = 0.0
        if options.rounds:
            with on_core(choose_cores().loader):
                ratio = measure(folder, url, options)
    if ratio is None:
        sys.exit(1)
    sys.exit(MISSED if ratio > MOST else 0)


if __name__ == "__main__":
    main()
