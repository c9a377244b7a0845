"""How long the views and lists take with a million events and a million deliveries on file.

Fills a new database past the service, starts the service on it and asks for each page and list again and
again, one after the other, over HTTP on this machine. Some deliveries are in a state that few others are in,
and in one that none is in. Ends with 4 when the p95 of one is above the bound. From the root of the project::

    python scripts/measure_views.py --engine sqlite
    python scripts/measure_views.py --engine postgres [--rows 1000000] [--asks 40] [--folder FOLDER]
"""

# ruff: noqa: E501, INP001, S608, T201 - a program of the project, with statements in it, which prints

from __future__ import annotations

import argparse
import asyncio
import os
import re
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import apsw
import uvloop
from tests.servers.postgres import Postgres, PostgresServer

from triggers_api.testing import ADMIN_KEY, API_KEY, Service

SUBSCRIPTIONS: Final = 20
_AT_ONCE: Final = 1000
"""Events that one transaction brings."""
BOUND_MS: Final = 50.0
_OVER: Final = 4
"""What it ends with when something took longer, as the benchmark does."""
_SHARES: Final = ((5, 0.968), (6, 0.03), (4, 0.002))
"""Of deliveries: succeeded, dead, retrying."""
_FEW: Final = 40
"""The oldest deliveries of all are cancelled. None is skipped."""
_TYPES: Final = ("order.created", "order.paid", "invoice.paid", "customer.changed", "stock.low")
_REASONS: Final = (
    "receiver answered 500; 8 of 8 attempts used",
    "timeout: no complete answer within the deadline; 8 of 8 attempts used",
    "receiver answered 404; 8 of 8 attempts used",
)

# ── a million of each ─────────────────────────────────────────────────────────────────────────────

_OF_SQLITE: Final = (
    "INSERT INTO events (id, organization_id, status, status_at, type, source, key)"
    " SELECT {ms} + i << 20, {organization}, 1, {ms} + i, {type}, 'shop', 'c-' || i % 997 FROM n",
    "INSERT INTO event_payloads (event_id, payload) SELECT {ms} + i << 20, CAST({payload} AS BLOB) FROM n",
    "INSERT INTO deliveries (id, organization_id, event_id, subscription_id, origin, origin_id, status,"
    " status_at, attempt_count, attempt_base, due_at, lease_until, lease_token, reason, priority,"
    " error_class) SELECT ({ms} + i << 20) + 1, {organization}, {ms} + i << 20, {subscription}, 0, 0,"
    " {status}, {ms} + i, 1, 0, iif({status} = 4, {ms} + 864000000, NULL), 0, 4611686018427387904,"
    " {reason}, iif({status} = 4, 1, 0), {error_class} FROM n",
    "INSERT INTO attempts (id, delivery_id, number, started_at, duration_ms, status_code)"
    " SELECT ({ms} + i << 20) + 2, ({ms} + i << 20) + 1, 1, {ms} + i, 10 + i % 90,"
    " iif({status} = 5, 204, 500) FROM n",
    "UPDATE accounts SET events = events + {rows}, deliveries = deliveries + {rows}",
)
_OF_POSTGRES: Final = (
    "INSERT INTO events (organization_id, id, type, source, key, payload)"
    " SELECT '{organization}', {event}, {type}, 'shop', 'c-' || i % 997, convert_to({payload}, 'UTF8')"
    " FROM generate_series(1::bigint, {rows}) AS i",
    "INSERT INTO deliveries (organization_id, id, event_id, subscription_id, origin, origin_id, status,"
    " status_at, attempt_count, attempt_base, reason) SELECT '{organization}', {delivery}, {event},"
    " {subscription}, 0, '00000000-0000-0000-0000-000000000000', {status}, {ms} + i, 1, 0, {reason}"
    " FROM generate_series(1::bigint, {rows}) AS i",
    "INSERT INTO delivery_queue (organization_id, delivery_id, subscription_id, due_at, priority)"
    " SELECT organization_id, id, subscription_id, {ms} + 864000000, 1 FROM deliveries WHERE status = 4",
    "INSERT INTO dead_letters (organization_id, delivery_id, subscription_id, error_class)"
    " SELECT organization_id, id, subscription_id, CASE WHEN reason LIKE 'receiver%'"
    " THEN substr(reason, 19, 3) ELSE 'timeout' END FROM deliveries WHERE status = 6",
    "INSERT INTO attempts (organization_id, delivery_id, number, id, started_at, duration_ms, status_code)"
    " SELECT '{organization}', {delivery}, 1, {attempt}, {ms} + i, 10 + i % 90,"
    " CASE WHEN {status} = 5 THEN 204 ELSE 500 END FROM generate_series(1::bigint, {rows}) AS i",
    "UPDATE accounts SET events = events + {rows}, deliveries = deliveries + {rows}"
    " WHERE slot = (SELECT min(slot) FROM accounts)",
    "VACUUM ANALYZE",
)


def _pick(values: tuple[str, ...]) -> str:
    cases = " ".join(f"WHEN {place} THEN '{value}'" for place, value in enumerate(values))
    return f"CASE i % {len(values)} {cases} END"


def _status() -> str:
    """By a number of three digits that goes all over the rows."""
    cases, least = f" WHEN i <= {_FEW} THEN 8", 0.0
    for code, share in _SHARES:
        least += share
        cases += f" WHEN (i * 7919) % 1000 < {round(least * 1000)} THEN {code}"
    return f"CASE{cases} ELSE 5 END"


def _classes() -> tuple[str, ...]:
    return tuple(re.sub(r"receiver answered (\d+).*|(\w+):.*", r"\1\2", each) for each in _REASONS)


def _common(rows: int) -> dict[str, object]:
    status = _status()
    return {
        "rows": rows,
        "ms": int(time.time() * 1000) - rows - 60_000,
        "type": _pick(_TYPES),
        "status": f"({status})",
        "payload": '\'{"id":\' || i || \',"total":\' || i % 500 || \',"note":"as it came in from the shop"}\'',
        "reason": f"CASE WHEN ({status}) = 6 THEN {_pick(_REASONS)} END",
        "error_class": f"CASE WHEN ({status}) = 6 THEN {_pick(_classes())} END",
    }


def _fill_sqlite(path: Path, organization: str, subscriptions: list[str], rows: int) -> None:
    def number(identifier: str) -> int:
        bits = int(identifier[4:], 16)
        return bits >> 80 << 20 | (bits >> 64 & 0xFFF) << 8 | bits >> 54 & 0xFF

    given = _common(rows) | {
        "organization": number(organization),
        "subscription": _pick(tuple(str(number(each)) for each in subscriptions)).replace("'", ""),
    }
    db = apsw.Connection(str(path))
    counted = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
    for statement in _OF_SQLITE:
        text = statement.format(**given)
        db.execute("BEGIN")
        db.execute(counted + text if text.startswith("INSERT") else text)
        db.execute("COMMIT")
    db.pragma("wal_checkpoint(TRUNCATE)")
    db.close()


def _fill_postgres(
    server: Postgres, database: str, organization: str, subscriptions: list[str], rows: int
) -> None:
    def uuid(kind: int) -> str:
        return (
            f"(lpad(to_hex({{ms}} + i), 12, '0') || '7000a' || lpad(to_hex({kind}), 15, '0'))::uuid"
        )

    given = _common(rows)
    named = {
        name: uuid(kind).format(**given)
        for kind, name in enumerate(("event", "delivery", "attempt"))
    }
    given |= named | {
        "organization": organization[4:],
        "subscription": f"({_pick(tuple(each[4:] for each in subscriptions))})::uuid",
    }
    for statement in _OF_POSTGRES:
        text = statement.format(**given)
        whole = f"generate_series(1::bigint, {rows})"
        if not text.startswith("INSERT INTO events") or whole not in text:
            server.execute(text, database=database)
            continue
        # As they come in: the order of the log is that of transactions.
        for first in range(1, rows + 1, _AT_ONCE):
            some = f"generate_series({first}::bigint, {min(first + _AT_ONCE - 1, rows)})"
            server.execute(text.replace(whole, some), database=database)


# ── asking ────────────────────────────────────────────────────────────────────────────────────────


def _asked(organization: str, found: dict[str, str]) -> list[tuple[str, str, str | None]]:
    """Name, address, and the key that is used (``None``: the operator's session)."""
    of = f"/ui/org/{organization}"
    views = [
        ("Overview", f"{of}/"), ("Overview of all", "/ui/"), ("Overview, charts", f"{of}/series?range=24h"),
        ("Events", f"{of}/events"), ("Events of a type", f"{of}/events?type=stock.*"),
        ("Events of no type there is", f"{of}/events?type=none.*"),
        ("Events of no source there is", f"{of}/events?source=none"),
        ("Events, cancelled", f"{of}/events?status=cancelled"),
        ("Event", f"{of}/events/{found['event']}"), ("Deliveries", f"{of}/deliveries"),
        *((f"Deliveries, {each}", f"{of}/deliveries?status={each}")
          for each in ("pending", "retrying", "succeeded", "dead", "skipped", "cancelled")),
        ("Deliveries of one, skipped",
         f"{of}/deliveries?status=skipped&subscription_id={found['subscription']}"),
        ("Delivery", f"{of}/deliveries/{found['delivery']}"),
        ("Subscriptions", f"{of}/subscriptions"),
        ("Subscription", f"{of}/subscriptions/{found['subscription']}"),
        ("Filter check", f"{of}/subscriptions/check?filter=payload.total>100"),
        ("Dead letters", f"{of}/dead-letters"),
        ("Dead letters of one", f"{of}/dead-letters/of/{found['subscription']}"),
        ("Dead letters of a group", f"{of}/dead-letters/of/{found['subscription']}/500"),
        ("Inboxes", f"{of}/inboxes"), ("Inbox", f"{of}/inboxes/default"),
        ("Event types", f"{of}/event-types"), ("Operations", "/ui/operations"),
        ("Switches of one", f"/ui/operations/of/{organization}"),
        ("Queues", "/ui/operations/queues"), ("Quarantine", "/ui/operations/quarantine"),
        ("Audit", "/ui/operations/audit"), ("Settings", "/ui/operations/settings"),
        ("Organizations", "/ui/organizations"),
    ]  # fmt: skip
    lists = [
        "/api/events", "/api/events?type=order.*", "/api/events?payload.id=77", "/api/deliveries",
        f"/api/deliveries?subscription_id={found['subscription']}", "/api/deliveries?status=retrying",
        "/api/deliveries?status=cancelled", "/api/deliveries?status=skipped", "/api/dead-letters", "/api/dead-letters/groups",
        "/api/dead-letters/groups?limit=100", "/api/subscriptions", "/api/subscriptions/health",
        f"/api/subscriptions/{found['subscription']}/stats", "/api/jobs", "/api/inboxes", "/api/stats",
        "/api/stats?step=600&since=" + found["day"],
    ]  # fmt: skip
    admin = ["/api/admin/stats", "/api/admin/queues", "/api/admin/quarantine", "/api/audit"]
    return [
        *((name, path, None) for name, path in views),
        *((path.partition("sub_")[0], path, API_KEY) for path in lists),
        *((path, path, ADMIN_KEY) for path in admin),
    ]


async def _session(service: Service) -> tuple[aiohttp.ClientSession, dict[str, str]]:
    session = aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
    form = urlencode({"key": ADMIN_KEY}).encode()
    headers = {"Origin": service.url, "Content-Type": "application/x-www-form-urlencoded"}
    answer = await session.post(
        f"{service.url}/ui/login", data=form, headers=headers, allow_redirects=False
    )
    cookies = [each.partition(";")[0] for each in answer.headers.getall("set-cookie", [])]
    if not cookies:
        raise SystemExit(f"no session: {answer.status} {await answer.text()}")
    return session, {"Cookie": "; ".join(cookies), "Accept": "text/html"}


async def _measure(
    service: Service, asks: int, found: dict[str, str], organization: str
) -> list[str]:
    """One table; what took longer than it may."""
    session, visitor = await _session(service)
    print(f"| {'what':44} | p50 ms | p95 ms | most |\n| {'-' * 44} | -----: | -----: | ---: |")
    slow = []
    for name, path, key in _asked(organization, found):
        headers = visitor if key is None else {"Authorization": f"Bearer {key}"}
        taken = []
        for _ in range(asks + 2):
            began = time.perf_counter()
            async with session.get(service.url + path, headers=headers) as answer:
                body = await answer.read()
            taken.append((time.perf_counter() - began) * 1000)
            if answer.status != 200:
                raise SystemExit(f"{answer.status} {path} {body[:300]!r}")
        taken = taken[2:]
        cuts = quantiles(taken, n=20, method="inclusive")
        late = " <- over" if cuts[18] > BOUND_MS else ""
        if late:
            slow.append(name)
        print(
            f"| {name:44} | {cuts[9]:6.1f} | {cuts[18]:6.1f} | {max(taken):4.0f} |{late}",
            flush=True,
        )
    print(f"over {BOUND_MS:.0f} ms at p95: {', '.join(slow) or 'none'}")
    await session.close()
    return slow


async def _run(url: str, folder: Path, fill: Any, rows: int, asks: int) -> list[str]:  # noqa: ANN401
    settings = {"database_url": url, "retention_days": 0, "attempt_retention_days": 0}
    async with Service(folder, background=False, **settings) as service:
        organization = (await service.call("GET", "/api/organization")).json["id"]
        subscriptions = [
            (await service.subscribe(f"http://127.0.0.1:9/{number}", ["none.*"]))["id"]
            for number in range(SUBSCRIPTIONS)
        ]
        await service.send("first", 1)
    began = time.monotonic()
    await asyncio.to_thread(fill, organization, subscriptions, rows)
    print(f"{rows:,} events and {rows:,} deliveries in {time.monotonic() - began:.0f} s")
    async with Service(folder, background=True, **settings) as service:
        await asyncio.sleep(20)  # the indexer has looked by then
        while (waiting := service.app.metrics.unindexed._value.get()) > 5000:  # noqa: SLF001
            print(f"indexing, {waiting:,.0f} left", flush=True)
            await asyncio.sleep(10)
        await asyncio.sleep(3)
        delivery = (await service.call("GET", "/api/dead-letters?limit=1")).json["data"][0]
        day = time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(time.time() - 86_000))
        found = {"event": delivery["event_id"], "delivery": delivery["id"], "day": day,
                 "subscription": delivery["subscription_id"]}  # fmt: skip
        return await _measure(service, asks, found, organization)


def main() -> int:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--asks", type=int, default=40)
    parser.add_argument(
        "--folder", type=Path, help="where the database goes; by default a temporary one"
    )
    asked = parser.parse_args()
    os.environ.setdefault("TRIGGERS_LOG_LEVEL", "error")
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        if asked.engine == "sqlite":
            path = folder / "triggers.db"
            slow = uvloop.run(_run(f"sqlite:///{path}", folder,
                                   lambda *given: _fill_sqlite(path, *given),
                                   asked.rows, asked.asks))  # fmt: skip
            return _OVER if slow else 0
        with PostgresServer() as server:
            database = server.create_database()
            slow = uvloop.run(_run(server.url(database), folder,
                                   lambda *given: _fill_postgres(server, database, *given),
                                   asked.rows, asked.asks))  # fmt: skip
            return _OVER if slow else 0


if __name__ == "__main__":
    raise SystemExit(main())
