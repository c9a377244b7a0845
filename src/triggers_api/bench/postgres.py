"""PostgreSQL for the benchmark: a database for each measurement, and the ceiling of its inserts."""

import asyncio
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from triggers_api.bench.children import child
from triggers_api.bench.errors import RunFailed
from triggers_api.bench.machine import Cores, on_core
from triggers_api.errors import Unavailable
from triggers_api.model import ids
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.postgres.connection import FAILED, Connection, connect, said
from triggers_api.store.postgres.tables import SQL

_IN_FLIGHT: Final = 3
_PATIENCE_S: Final = 30.0


@contextmanager
def scratch_database(url: str) -> Iterator[str]:
    """The URL of an empty database on that server, dropped in the end.

    Raises:
        RunFailed: it cannot be made.
    """
    name = f"triggers_bench_{secrets.token_hex(6)}"
    asyncio.run(_execute(url, f'CREATE DATABASE "{name}"'))
    parts = urlsplit(url)
    try:
        yield urlunsplit(parts._replace(path=f"/{name}"))
    finally:
        asyncio.run(_execute(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


async def _execute(url: str, statement: str) -> None:
    try:
        db = await connect(url, pooled=True)
        try:
            await db.execute(statement)
        finally:
            await db.close()
    except Unavailable as problem:
        raise RunFailed(problem.detail) from None
    except FAILED as error:
        what = statement.partition('"')[0].strip()
        raise RunFailed(f"{what}: {said(error)}") from None


def raw_insert_rate(
    url: str, cores: Cores, log: Path, *, seconds: float, rows: int, payload_bytes: int
) -> float:
    """The rate of rows of events and their queue, inserted by ``unnest`` and nothing else, a second.

    Args:
        url: a database with the schema.
        cores: which core is whose.
        log: for what goes wrong.
        seconds: how long.
        rows: in each statement.
        payload_bytes: of each event.

    Raises:
        RunFailed: it cannot be done.
    """
    asked = [url, f"{seconds:g}", str(rows), str(payload_bytes)]
    with (
        log.open("wb") as file,
        on_core(cores.server),
        child(
            [sys.executable, "-m", "triggers_api.bench.postgres", *asked],
            stdout=subprocess.PIPE,
            stderr=file.fileno(),
        ) as process,
    ):
        said_, _ = process.communicate(timeout=seconds + _PATIENCE_S)
    if process.returncode != 0:
        raise RunFailed(f"the raw inserts failed: {log.read_text(errors='replace')[-1000:]}")
    return float(said_)


def fill(url: str, *, events: int, progress: Callable[[float], None]) -> None:
    """Store processed events of the one organization in a database, in the past; the books know them.

    Raises:
        RunFailed: it cannot be done.
    """
    asyncio.run(_fill(url, events, progress))


async def _fill(url: str, events: int, progress: Callable[[float], None]) -> None:
    try:
        db = await connect(url, pooled=True)
        try:
            for start in range(0, events, _FILL_ROWS):
                count = min(_FILL_ROWS, events - start)
                await db.execute(_FILL, start, count, timeout=_FILL_S)
                progress((start + count) / events)
            await db.execute("VACUUM ANALYZE", timeout=_FILL_S)
        finally:
            await db.close()
    except Unavailable as problem:
        raise RunFailed(problem.detail) from None
    except FAILED as error:
        raise RunFailed(f"storing events: {said(error)}") from None


_FILL_ROWS: Final = 100_000
_FILL_S: Final = 600.0
_FILL: Final = """
WITH owner AS (SELECT id FROM organizations WHERE deleted_at IS NULL LIMIT 1),
-- A millisecond apart, and all of them long before now.
made AS (
    SELECT (
               lpad(to_hex(1700000000000 + n), 12, '0') || '7000' || '8000'
               || lpad(to_hex(n), 12, '0')
           )::uuid AS id,
           n
    FROM generate_series($1::bigint, $1::bigint + $2::bigint - 1) AS n
),
stored AS (
    INSERT INTO events (organization_id, id, type, dedup_id, payload)
    SELECT owner.id, made.id, 'stored.' || n % 100, 'stored-' || n,
           convert_to('"' || repeat(md5(n::text), 16) || '"', 'UTF8')
    FROM made, owner
    RETURNING organization_id, id
),
processed AS (
    INSERT INTO event_states (organization_id, event_id, status, status_at)
    SELECT organization_id, id, 1, 1700000000000 FROM stored
)
INSERT INTO accounts AS a (organization_id, slot, events, deliveries)
SELECT organization_id, 0, count(*), 0 FROM stored GROUP BY organization_id
ON CONFLICT (organization_id, slot) DO UPDATE SET events = a.events + excluded.events
"""


def plans(url: str) -> dict[str, str]:
    """For claims and lists, which indexes and joins the planner takes, by statement.

    Raises:
        RunFailed: it cannot be asked.
    """
    return asyncio.run(_plans(url))


async def _plans(url: str) -> dict[str, str]:
    try:
        db = await connect(url, pooled=False)
        try:
            await db.execute("SET plan_cache_mode = force_generic_plan")
            return {name: await _plan(db, SQL[name]) for name in _PLANNED}
        finally:
            await db.close()
    except Unavailable as problem:
        raise RunFailed(problem.detail) from None
    except FAILED as error:
        raise RunFailed(f"explaining: {said(error)}") from None


_PLANNED: Final = (
    "append",
    "claim_deliveries_lease",
    "claim_due",
    "claim_lane",
    "claim_lanes",
    "claim_queue",
    "events",
    "events_by_dedup_id",
    "dead_deliveries",
    "deliveries",
    "deliveries_by_subscription",
    "fan_out",
    "settle",
)


async def _plan(db: Connection, statement: str) -> str:
    """How a statement finds its rows: which tables by which indexes under which conditions."""
    prepared = await db.prepare(statement)
    nothing = ", ".join("NULL" for _ in prepared.get_parameters())
    await db.execute(f"PREPARE planned AS {statement}")
    rows = await db.fetch(f"EXPLAIN (COSTS OFF) EXECUTE planned({nothing})")
    await db.execute("DEALLOCATE planned")
    lines = [_ALIAS.sub("", line.strip().removeprefix("->").strip()) for (line,) in rows]
    return "\n".join(line for line in lines if _FINDS.match(line))


_ALIAS: Final = re.compile(r"\b\w+\.(?=\w)")
_FINDS: Final = re.compile(r"(Index|Seq|Bitmap|Tid).* (Scan|Cond)|(Index|TID) Cond")


_INSERT: Final = """
WITH item AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::bigint[])
             AS i (id, organization_id, type, payload, due_at)
),
queued AS (
    INSERT INTO event_queue (organization_id, event_id, due_at)
    SELECT organization_id, id, due_at FROM item
)
INSERT INTO events (organization_id, id, type, payload)
SELECT organization_id, id, type, payload FROM item
"""


async def _insert(url: str, *, seconds: float, rows: int, payload_bytes: int) -> float:
    clock = ids.IdGenerator(lambda: Timestamp(time.time_ns() // 1_000_000))
    organization = clock.new(ids.ORGANIZATION)[4:]
    payload = b'"' + b"x" * (payload_bytes - 2) + b'"'
    connections = [await connect(url, pooled=False) for _ in range(_IN_FLIGHT)]
    began = time.perf_counter()
    end = began + seconds

    async def insert(db: Connection) -> int:
        inserted = 0
        while time.perf_counter() < end:
            made = [clock.new(ids.EVENT) for _ in range(rows)]
            await db.execute(
                _INSERT,
                [each[4:] for each in made],
                [organization] * rows,
                ["bench.raw"] * rows,
                [payload] * rows,
                [ids.received_ms(each) for each in made],
            )
            inserted += rows
        return inserted

    counts = await asyncio.gather(*map(insert, connections))
    took = time.perf_counter() - began
    await connections[0].execute("DELETE FROM event_queue WHERE organization_id = $1", organization)
    for db in connections:
        await db.close()
    return sum(counts) / took


def main() -> None:
    """The ceiling's process: URL, seconds, rows in a statement, bytes of a payload."""
    url, seconds, rows, payload_bytes = sys.argv[1:]
    run = asyncio.run
    if sys.platform != "win32":
        import uvloop  # noqa: PLC0415 - absent on some platforms

        run = uvloop.run
    rate = run(
        _insert(url, seconds=float(seconds), rows=int(rows), payload_bytes=int(payload_bytes))
    )
    sys.stdout.write(f"{rate:.1f}")


if __name__ == "__main__":
    main()
