"""What ``triggers doctor`` looks at where PostgreSQL is used: the server, the way to it, the schema."""

import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import asyncpg

from triggers_api.app import store_options, wall_clock
from triggers_api.cli import secrets_finding
from triggers_api.cli.finding import Finding
from triggers_api.errors import StartError, Unavailable
from triggers_api.model.ids import IdGenerator
from triggers_api.model.timestamp import Timestamp
from triggers_api.settings import Settings
from triggers_api.store.cipher import Cipher
from triggers_api.store.connect import StoreOptions, shown_url
from triggers_api.store.postgres import schema
from triggers_api.store.postgres.audit_verbs import AuditVerbs
from triggers_api.store.postgres.connection import (
    OLDEST_SERVER,
    Connection,
    Standing,
    connect,
    said,
    standing,
)
from triggers_api.store.postgres.settings_verbs import SettingsVerbs
from triggers_api.store.postgres.tables import SQL

_PATIENCE_S: Final = 30.0
_NOTICE_S: Final = 2.0
_ROUND_TRIPS: Final = 21
_SLOW_ROUND_TRIP_MS: Final = 5.0
_CLOCK_OFF_MS: Final = 1000
_LAG_S: Final = 5.0

_FAILURES: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

_LIMITS: Final = """
SELECT current_setting('max_connections')::integer
       - current_setting('superuser_reserved_connections')::integer
       - coalesce(current_setting('reserved_connections', true), '0')::integer AS server,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role,
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database
"""
_LAG: Final = """
SELECT pg_is_in_recovery() AS replica,
       CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE coalesce(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 0)
       END::float8 AS lag_s
"""


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at the database and at the way to it; nothing is changed."""
    yield from asyncio.run(_examined(settings))


async def _examined(settings: Settings) -> list[Finding]:
    found: list[Finding] = []
    try:
        async with asyncio.timeout(_PATIENCE_S):
            async for finding in _look(settings):
                found.append(finding)  # noqa: PERF401 - what was found before a failure is kept
    except _FAILURES as error:
        found.append(Finding("fail", "server", said(error)))
    return found


async def _look(settings: Settings) -> AsyncIterator[Finding]:
    options = store_options(settings)
    pooled = options.direct_url is not None
    async with AsyncExitStack() as stack:
        url = options.database_url
        try:
            main = await stack.enter_async_context(_connected(url, pooled=pooled))
        except Unavailable as problem:
            yield Finding("fail", "server", f"{shown_url(url)}: {problem.detail}")
            return
        session = main
        if options.direct_url is not None:
            try:
                session = await stack.enter_async_context(
                    _connected(options.direct_url, pooled=False)
                )
            except Unavailable as problem:
                yield Finding(
                    "fail", "direct url", f"{shown_url(options.direct_url)}: {problem.detail}"
                )
                return
        async with main.transaction():
            server = await standing(main)
            here = wall_clock()  # what is asked next takes time as well
        for finding in _server(server, url):
            yield finding
        yield await _connections(session, options)
        yield _clock(server, here)
        yield await _round_trip(main)
        migrated = await _schema(options)
        yield migrated
        if migrated.level == "ok":
            yield await _numbers(main)
            yield await _secrets(main, settings)
        shares = await _shares_sessions(url)
        yield _pooler(shares=shares, told=pooled)
        if (pooled or not shares) and not server.in_recovery:  # no LISTEN on a replica
            yield await _notices(session, settings.max_poll_ms)
        if options.read_url is not None:
            yield await _replica(options.read_url)


@asynccontextmanager
async def _connected(url: str, *, pooled: bool) -> AsyncIterator[Connection]:
    """A connection for a while; ``Unavailable`` says in words why there is none."""
    connection = await connect(url, pooled=pooled, name="triggers doctor")
    try:
        yield connection
    finally:
        connection.terminate()


def _server(server: Standing, url: str) -> Iterator[Finding]:
    text = f"PostgreSQL {server.version}, {shown_url(url)}"
    if server.version_number < OLDEST_SERVER * 10_000:
        yield Finding("fail", "server", f"{text}: {OLDEST_SERVER} or newer is needed")
    else:
        yield Finding("ok", "server", text)
    for about, value in (("fsync", server.fsync), ("page writes", server.full_page_writes)):
        if value == "on":
            yield Finding("ok", about, "on")
        else:
            yield Finding("fail", about, f"{value}: a power cut can destroy the database")
    commit = f"synchronous_commit is {server.synchronous_commit}"
    if server.synchronous_commit == "off":
        yield Finding("warn", "commits", f"{commit} for this role; for events it is turned on")
    else:
        yield Finding("ok", "commits", commit)
    if server.in_recovery:
        yield Finding("fail", "writing", "the server is a replica (in recovery)")
    elif server.read_only != "off":
        yield Finding("fail", "writing", "the server, the database or the role is read-only")
    else:
        yield Finding("ok", "writing", "the server is no replica and not read-only")


async def _connections(session: Connection, options: StoreOptions) -> Finding:
    limits: Any = await session.fetchrow(_LIMITS)
    room = min(limit for limit in limits.values() if limit is not None and limit >= 0)
    most = (
        options.pool_size + options.max_overflow + 2
    )  # for signs of life, and for changes of settings
    if options.direct_url is not None:
        return Finding("ok", "connections", f"{room} for the pooler; a process has {most} with it")
    most += 1  # for notices
    text = f"{room} in all, a process takes up to {most} (TRIGGERS_DB_POOL_SIZE and _MAX_OVERFLOW)"
    if most > room:
        return Finding("warn", "connections", text)
    return Finding("ok", "connections", f"{text}, so there is room for {room // most}")


def _clock(server: Standing, here: Timestamp) -> Finding:
    behind_ms = round(server.now + server.asked_in_s * 500 - here)
    text = f"{abs(behind_ms)} ms {'behind' if behind_ms >= 0 else 'ahead of'} the database's"
    if abs(behind_ms) < _CLOCK_OFF_MS:
        return Finding("ok", "clock", text)
    return Finding("warn", "clock", f"{text}: receivers compare the time in signatures with theirs")


async def _round_trip(connection: Connection) -> Finding:
    took = []
    for _ in range(_ROUND_TRIPS):
        began = time.perf_counter()
        await connection.execute("SELECT 1")
        took.append(time.perf_counter() - began)
    milliseconds = statistics.median(took) * 1000
    text = f"{milliseconds:.2f} ms (median of {_ROUND_TRIPS})"
    if milliseconds > _SLOW_ROUND_TRIP_MS:
        return Finding("warn", "round trip", f"{text}: every group of events waits for one")
    return Finding("ok", "round trip", text)


async def _schema(options: StoreOptions) -> Finding:
    try:
        missing = await schema.pending(options.direct_url or options.database_url)
    except StartError as error:
        return Finding("fail", "schema", str(error))
    if missing:
        return Finding("warn", "schema", f"{len(missing)} migration(s) to be applied")
    return Finding("ok", "schema", "up to date")


async def _numbers(main: Connection) -> Finding:
    try:
        await schema.refuse_foreign_numbers(main)
    except StartError as error:
        return Finding("fail", "log order", str(error))
    return Finding("ok", "log order", "numbered by this server's transactions")


async def _secrets(main: Connection, settings: Settings) -> Finding:
    # Where there is no key, one that opens nothing.
    kept = await main.fetchval(SQL["signing_key"]) or secrets.token_bytes(32)
    cipher = Cipher.of(store_options(settings).secret_keys, kept)
    return secrets_finding.examine(
        await SettingsVerbs(cipher, AuditVerbs(IdGenerator(wall_clock))).sealing(main),
        settings,
        kept=Finding("warn", "", "a key in the same database: who has a dump of it reads them"),
        remedy="run triggers encrypt",
    )


async def _shares_sessions(url: str) -> bool:
    """Whether one connection finds what another one left in its session."""
    mark = secrets.token_hex(8)
    look = "SELECT current_setting('triggers.doctor', true)"
    async with _connected(url, pooled=True) as one, _connected(url, pooled=True) as two:
        async with one.transaction():
            await one.execute(f"SELECT set_config('triggers.doctor', '{mark}', false)")
        async with two.transaction():
            if await two.fetchval(look) == mark:
                await two.execute("RESET triggers.doctor")
                return True
            # The other one holds its session meanwhile, so that this may be given another.
            async with one.transaction():
                return bool(await one.fetchval(look) != mark)


def _pooler(*, shares: bool, told: bool) -> Finding:
    match shares, told:
        case True, True:
            return Finding(
                "ok", "pooler", "in transaction mode, as TRIGGERS_DATABASE_DIRECT_URL says"
            )
        case True, False:
            return Finding(
                "fail",
                "pooler",
                "sessions are shared, as by a pooler in transaction mode: set "
                "TRIGGERS_DATABASE_DIRECT_URL to the server itself",
            )
        case False, True:
            return Finding(
                "ok", "pooler", "none seen; TRIGGERS_DATABASE_DIRECT_URL is for those who have one"
            )
    return Finding("ok", "pooler", "none in transaction mode")


async def _notices(session: Connection, max_poll_ms: int) -> Finding:
    channel = f"triggers_doctor_{secrets.token_hex(8)}"
    heard = asyncio.Event()
    await session.add_listener(channel, lambda *_: heard.set())
    await session.execute(f"NOTIFY {channel}")
    try:
        async with asyncio.timeout(_NOTICE_S):
            await heard.wait()
    except TimeoutError:
        return Finding(
            "warn", "notices", f"do not arrive: what comes in is found up to {max_poll_ms} ms late"
        )
    return Finding("ok", "notices", "LISTEN and NOTIFY work")


async def _replica(url: str) -> Finding:
    shown = shown_url(url)
    try:
        async with _connected(url, pooled=True) as replica:
            found: Any = await replica.fetchrow(_LAG)
    except Unavailable as problem:
        return Finding("warn", "replica", f"{shown}: {problem.detail}; lists ask the primary")
    if not found["replica"]:
        return Finding("warn", "replica", f"{shown} is no replica")
    if found["lag_s"] > _LAG_S:
        return Finding("warn", "replica", f"{shown} is {found['lag_s']:.0f} s behind")
    return Finding("ok", "replica", f"{shown} is {found['lag_s']:.1f} s behind")
