# ruff: noqa: E501, INP001, S608, T201
"""What partitions would cost and bring on PostgreSQL: the figures of docs/decisions/0012.

    python scripts/measure_partitions.py postgresql://user@host/postgres

Makes databases of its own on that server (the role must be able to) and drops them. Each pair of variants is
measured in turn, several rounds in one run; what is printed is medians and their ratio.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from triggers_api.bench.postgres import scratch_database
from triggers_api.model import ids
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.postgres import schema
from triggers_api.store.postgres.connection import Connection, connect
from triggers_api.store.postgres.tables import SQL

ROUNDS = 5
BATCHES = 150
ROWS = 64
ORGANIZATIONS = 64
STORED = 500_000
QUEUED = 100_000

# Events by the day of their id. The dedup_id can then be unique only in a table of its own.
BY_TIME = """
ALTER TABLE events RENAME TO events_plain;
CREATE TABLE events (LIKE events_plain INCLUDING DEFAULTS) PARTITION BY RANGE (id);
CREATE TABLE dedup (
    organization_id uuid NOT NULL, dedup_id text COLLATE "C" NOT NULL, event_id uuid NOT NULL,
    PRIMARY KEY (organization_id, dedup_id)
);
DO $$
DECLARE day bigint := 86400000; first bigint := (extract(epoch FROM now()) * 1000)::bigint / 86400000 - 5;
BEGIN
    FOR n IN 0..9 LOOP
        EXECUTE format(
            'CREATE TABLE events_%s PARTITION OF events FOR VALUES FROM (%L) TO (%L)', n,
            (rpad(lpad(to_hex((first + n) * day), 12, '0'), 32, '0'))::uuid,
            (rpad(lpad(to_hex((first + n + 1) * day), 12, '0'), 32, '0'))::uuid);
    END LOOP;
END $$;
CREATE INDEX ON events (organization_id, xid);
ALTER TABLE events ADD PRIMARY KEY (organization_id, id);
"""

BY_ORGANIZATION = """
DROP TABLE event_queue;
CREATE TABLE event_queue (
    organization_id uuid NOT NULL, event_id uuid NOT NULL, due_at bigint NOT NULL,
    lease_until bigint NOT NULL DEFAULT 0, lease_token bigint NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0
) PARTITION BY HASH (organization_id);
DO $$ BEGIN
    FOR n IN 0..7 LOOP
        EXECUTE format('CREATE TABLE event_queue_%s PARTITION OF event_queue FOR VALUES WITH '
                       '(MODULUS 8, REMAINDER %s) WITH (fillfactor = 50)', n, n);
    END LOOP;
END $$;
CREATE INDEX ON event_queue (due_at, event_id);
ALTER TABLE event_queue ADD PRIMARY KEY (organization_id, event_id);
"""

# As append, with the dedup_id decided by the table of its own.
APPEND_BY_TIME = """
WITH item AS MATERIALIZED (
    SELECT i.* FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::bigint[])
         AS i (id, organization_id, type, payload, dedup_id, due_at)
),
first AS (
    INSERT INTO dedup SELECT organization_id, dedup_id, id FROM item
    ON CONFLICT (organization_id, dedup_id) DO NOTHING RETURNING event_id
),
queued AS (
    INSERT INTO event_queue (organization_id, event_id, due_at)
    SELECT i.organization_id, i.id, i.due_at FROM item AS i JOIN first AS f ON f.event_id = i.id
)
INSERT INTO events (organization_id, id, type, dedup_id, payload)
SELECT i.organization_id, i.id, i.type, i.dedup_id, i.payload FROM item AS i JOIN first AS f ON f.event_id = i.id
"""
APPEND_PLAIN = """
WITH item AS MATERIALIZED (
    SELECT i.* FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::bigint[])
         AS i (id, organization_id, type, payload, dedup_id, due_at)
),
first AS (
    INSERT INTO events (organization_id, id, type, dedup_id, payload)
    SELECT organization_id, id, type, dedup_id, payload FROM item
    ON CONFLICT (organization_id, dedup_id) WHERE dedup_id IS NOT NULL DO NOTHING RETURNING id
)
INSERT INTO event_queue (organization_id, event_id, due_at)
SELECT i.organization_id, i.id, i.due_at FROM item AS i JOIN first AS f ON f.id = i.id
"""

# Claims without ctid, which is not unique over partitions: the row is found again by its key.
CLAIM_BY_KEY = SQL["claim_queue"].replace(
    "WHERE q.ctid = ANY (ARRAY(SELECT place_in_table FROM chosen))",
    "FROM chosen AS c WHERE q.organization_id = c.organization_id AND q.event_id = c.event_id",
)


def now_ms() -> Timestamp:
    return Timestamp(time.time_ns() // 1_000_000)


new = ids.IdGenerator(now_ms)
ORGANIZATION = [new.new(ids.ORGANIZATION)[4:] for _ in range(ORGANIZATIONS)]


async def timed(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def append(db: Connection, statement: str) -> None:
    for _ in range(BATCHES):
        made = [new.new(ids.EVENT) for _ in range(ROWS)]
        await db.execute(
            statement,
            [each[4:] for each in made],
            [ORGANIZATION[n % ORGANIZATIONS] for n in range(ROWS)],
            ["measured"] * ROWS,
            [b'"' + b"x" * 510 + b'"'] * ROWS,
            made,
            [ids.received_ms(each) for each in made],
        )


async def claim(db: Connection, statement: str, count: int = 60) -> None:
    for token in range(1, count + 1):
        now = now_ms()
        rows = await db.fetch(statement, now, 100, token, now + 45_000, 2)
        assert len(rows) == 100
    await db.execute(
        "UPDATE event_queue SET lease_until = 0, lease_token = 0, attempts = 0 WHERE lease_token <> 0"
    )
    await db.execute("VACUUM event_queue")


async def in_turn(
    one: Callable[[], Awaitable[Any]], other: Callable[[], Awaitable[Any]]
) -> tuple[float, float]:
    pairs = [(await timed(one), await timed(other)) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


async def opened(url: str, *changes: str) -> Connection:
    db = await connect(url, pooled=True)
    await schema.bring_up_to_date(db, url=url)
    await db.close()
    db = await connect(url, pooled=False)
    for change in changes:
        await db.execute(change, timeout=600)
    return db


FILL = """
INSERT INTO events (organization_id, id, type, payload)
SELECT $1, (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - $2::bigint * 86400000 + n % 1000), 12, '0')
            || '70008000' || lpad(to_hex(n), 12, '0'))::uuid, 'stored', repeat('x', 512)::bytea
FROM generate_series(1, $3::bigint) AS n
"""
QUEUE = """
WITH made AS (
    INSERT INTO events (organization_id, id, type, payload)
    SELECT ($1::uuid[])[n % 64 + 1], (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - 5000), 12, '0')
           || '70009000' || lpad(to_hex(n), 12, '0'))::uuid, 'queued', '1'::bytea
    FROM generate_series(1, $2::bigint) AS n RETURNING organization_id, id
)
INSERT INTO event_queue (organization_id, event_id, due_at) SELECT organization_id, id, 1 FROM made
"""


async def measure(plain_url: str, parted_url: str) -> None:
    plain, parted = await opened(plain_url), await opened(parted_url, BY_TIME)
    a, b = await in_turn(
        lambda: append(plain, APPEND_PLAIN), lambda: append(parted, APPEND_BY_TIME)
    )
    rows = BATCHES * ROWS
    print(f"ingest, events in one table          {rows / a:10,.0f} rows/s")
    print(f"ingest, events by day, dedup apart   {rows / b:10,.0f} rows/s   ratio {a / b:.2f}")
    for db in (plain, parted):
        await db.execute(FILL, ORGANIZATION[0], 3, STORED, timeout=600)
        await db.execute("VACUUM ANALYZE events", timeout=600)
    old = "id < (rpad(lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - 2 * 86400000), 12, '0'), 32, '0'))::uuid"
    deleted = await timed(lambda: plain.execute(f"DELETE FROM events WHERE {old}", timeout=600))
    vacuumed = await timed(lambda: plain.execute("VACUUM events", timeout=600))
    dropped = await timed(
        lambda: parted.execute("DROP TABLE events_0, events_1, events_2", timeout=600)
    )
    print(f"{STORED:,} old events, DELETE         {deleted:10.2f} s  + VACUUM {vacuumed:.2f} s")
    print(f"{STORED:,} old events, DROP of days   {dropped:10.2f} s")
    await plain.close()
    await parted.close()


async def measure_queue(plain_url: str, parted_url: str) -> None:
    plain, parted = await opened(plain_url), await opened(parted_url, BY_ORGANIZATION)
    for db in (plain, parted):
        await db.execute(QUEUE, ORGANIZATION, QUEUED, timeout=600)
        await db.execute("VACUUM ANALYZE", timeout=600)
    a, b = await in_turn(
        lambda: claim(plain, SQL["claim_queue"]), lambda: claim(parted, CLAIM_BY_KEY)
    )
    print(f"claim of 100 behind {QUEUED:,}, one queue     {a / 60 * 1000:8.2f} ms")
    print(
        f"claim of 100 behind {QUEUED:,}, 8 partitions  {b / 60 * 1000:8.2f} ms   ratio {b / a:.2f}"
    )
    await plain.close()
    await parted.close()


def main() -> None:
    (url,) = sys.argv[1:]
    for work in (measure, measure_queue):
        with scratch_database(url) as one, scratch_database(url) as other:
            asyncio.run(work(one, other))


if __name__ == "__main__":
    main()
