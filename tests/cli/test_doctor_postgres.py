"""``triggers doctor`` on PostgreSQL: the server, the way to it, and the schema."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.cli.conftest import Ended, triggers, with_password
from tests.cli.test_doctor import findings
from tests.cli.test_migrate_postgres import NEWER
from tests.conftest import Run
from tests.servers.postgres import Postgres, PostgresServer
from tests.servers.proxy import Proxy

from triggers_api.app import wall_clock
from triggers_api.cli import postgres_findings
from triggers_api.cli.finding import Finding
from triggers_api.model.timestamp import Timestamp
from triggers_api.settings import Settings
from triggers_api.store import migrations
from triggers_api.store.postgres import schema
from triggers_api.store.postgres.connection import Standing

SERVER: Final = {
    "server", "fsync", "page writes", "commits", "writing", "connections", "clock", "round trip",
    "schema", "pooler", "notices",
}  # fmt: skip
ALL: Final = len(migrations.load(schema.PACKAGE))
MACHINE: Final = {"python", "port", "egress", "leases", "retention"}
NOWHERE: Final = "postgresql://me:CANARY@127.0.0.1:1/events"

Doctor = Callable[..., Ended]


@pytest.fixture
def database(postgres: Postgres) -> str:
    """The name of a database without a table."""
    return postgres.create_database()


@pytest.fixture
def doctor(postgres: Postgres, database: str, tmp_path: Path) -> Doctor:
    def doctor(url: str = postgres.url(database), **environ: str) -> Ended:
        environ = {"TRIGGERS_DATABASE_URL": url, "TRIGGERS_PORT": "0"} | environ
        ended = triggers("doctor", folder=tmp_path, **environ)
        assert ended.err == ""
        return ended

    return doctor


def levels(ended: Ended) -> dict[str, str]:
    return {about: level for about, (level, _) in findings(ended).items()}


def test_a_healthy_server_is_well_and_its_database_stays_as_it_is(
    postgres: Postgres, database: str, doctor: Doctor
) -> None:
    ended = doctor()
    assert ended.code == 0
    found = findings(ended)
    assert set(found) == SERVER | MACHINE
    assert found.pop("schema") == ("warn", f"{ALL} migration(s) to be applied")
    # What it comes to is the machine's business.
    assert re.fullmatch(r"[\d.]+ ms \(median of 21\)(: .+)?", found.pop("round trip")[1])
    assert {level for level, _ in found.values()} == {"ok"}
    assert found["server"][1].startswith("PostgreSQL ")
    assert found["server"][1].endswith(f", {postgres.url(database)}")
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert postgres.execute(tables, database=database) == [(0,)]


def test_the_schema_is_looked_at(
    postgres: Postgres, database: str, doctor: Doctor, tmp_path: Path
) -> None:
    url = postgres.url(database)
    assert triggers("migrate", folder=tmp_path, TRIGGERS_DATABASE_URL=url).code == 0
    assert findings(doctor())["schema"] == ("ok", "up to date")
    postgres.execute(NEWER, database=database)
    ended = doctor()
    assert ended.code == 1
    level, text = findings(ended)["schema"]
    assert level == "fail"
    assert "9999 (of the future)" in text


@pytest.mark.parametrize(
    ("change", "about", "level", "said", "code"),
    [
        ("SET synchronous_commit = off", "commits", "warn", "synchronous_commit is off", 0),
        ("SET synchronous_commit = local", "commits", "ok", "synchronous_commit is local", 0),
        ("SET default_transaction_read_only = on", "writing", "fail", "read-only", 1),
        ("CONNECTION LIMIT 72", "connections", "warn", "72 in all, a process takes up to 73", 0),
        ("CONNECTION LIMIT 146", "connections", "ok", "so there is room for 2", 0),
    ],
)
def test_what_a_database_or_a_role_was_told_is_looked_at(
    postgres: Postgres,
    database: str,
    doctor: Doctor,
    change: str,
    about: str,
    level: str,
    said: str,
    code: int,
) -> None:
    postgres.execute(f'ALTER DATABASE "{database}" {change}')
    ended = doctor()
    assert ended.code == code
    assert findings(ended)[about][0] == level
    assert said in findings(ended)[about][1]


def test_a_server_that_does_not_keep_what_it_confirms_must_be_mended(
    own_postgres: PostgresServer, doctor: Doctor
) -> None:
    for name in ("fsync", "full_page_writes"):
        own_postgres.execute(f"ALTER SYSTEM SET {name} = off")
    own_postgres.restart()
    ended = doctor(own_postgres.url("postgres"))
    assert ended.code == 1
    assert findings(ended)["fsync"] == ("fail", "off: a power cut can destroy the database")
    assert findings(ended)["page writes"] == ("fail", "off: a power cut can destroy the database")


def test_a_server_that_cannot_be_reached_must_be_mended(doctor: Doctor) -> None:
    ended = doctor(NOWHERE)
    assert ended.code == 1
    assert set(findings(ended)) == MACHINE | {"server"}
    level, text = findings(ended)["server"]
    assert level == "fail"
    assert text.startswith("postgresql://me:***@127.0.0.1:1/events: cannot connect to the database")
    assert "CANARY" not in ended.out


def test_a_direct_way_that_leads_nowhere_must_be_mended(doctor: Doctor) -> None:
    ended = doctor(TRIGGERS_DATABASE_DIRECT_URL=NOWHERE)
    assert ended.code == 1
    assert levels(ended)["direct url"] == "fail"
    assert "CANARY" not in ended.out


def test_a_direct_way_is_used_for_notices(
    postgres: Postgres, database: str, doctor: Doctor
) -> None:
    ended = doctor(TRIGGERS_DATABASE_DIRECT_URL=postgres.url(database))
    assert ended.code == 0
    assert findings(ended)["pooler"][1].startswith("none seen; ")
    assert findings(ended)["notices"] == ("ok", "LISTEN and NOTIFY work")
    assert "for the pooler" in findings(ended)["connections"][1]


def test_a_replica_that_is_none_or_away_is_to_watch(
    postgres: Postgres, database: str, doctor: Doctor
) -> None:
    ended = doctor(TRIGGERS_READ_DATABASE_URL=with_password(postgres.url(database), "CANARY"))
    assert ended.code == 0
    shown = with_password(postgres.url(database), "***")
    assert findings(ended)["replica"] == ("warn", f"{shown} is no replica")
    ended = doctor(TRIGGERS_READ_DATABASE_URL=NOWHERE)
    assert (ended.code, levels(ended)["replica"]) == (0, "warn")
    assert "CANARY" not in ended.out


# ── in this process ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def between(postgres: Postgres, database: str) -> Callable[[], Proxy]:
    parts = urlsplit(postgres.url(database))
    if parts.hostname is None or "sslmode=" in parts.query:
        pytest.skip("the given PostgreSQL is not reached by plain TCP: nothing can stand between")
    host, port = parts.hostname, parts.port or 5432
    return lambda: Proxy(host, port)


@pytest.mark.parametrize(("took_ms", "level"), [(4.9, "ok"), (5.1, "warn")])
def test_the_median_of_all_round_trips_is_what_counts(
    run: Run, monkeypatch: pytest.MonkeyPatch, took_ms: float, level: str
) -> None:
    now = 100.0
    took = [took_ms] * 11 + [500.0] * 10

    class Server:
        async def execute(self, _: str) -> None:
            nonlocal now
            now += took.pop() / 1000

    monkeypatch.setattr("triggers_api.cli.postgres_findings.time.perf_counter", lambda: now)
    server: Any = Server()
    finding = run(postgres_findings._round_trip(server))
    assert (finding.level, finding.text.split(":")[0]) == (
        level,
        f"{took_ms:.2f} ms (median of 21)",
    )


def test_a_long_way_is_to_watch(
    run: Run, postgres: Postgres, database: str, between: Callable[[], Proxy]
) -> None:
    async def main() -> list[Finding]:
        async with between() as proxy:
            proxy.delay(0.02)
            url = proxy.url(postgres.url(database))
            return await postgres_findings._examined(Settings(database_url=url))

    found = {finding.about: finding for finding in run(main())}
    assert found["round trip"].level == "warn"
    assert found["clock"].level == "ok"


def test_what_is_asked_after_the_time_does_not_count_as_a_clock_that_is_off(
    run: Run, postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    later_ms = 0

    async def takes_a_minute(*_: object) -> Finding:
        nonlocal later_ms
        later_ms += 60_000
        return Finding("ok", "connections", "")

    monkeypatch.setattr(postgres_findings, "_connections", takes_a_minute)
    monkeypatch.setattr(postgres_findings, "wall_clock", lambda: Timestamp(wall_clock() + later_ms))
    settings = Settings(database_url=postgres.url(database))
    found = {each.about: each.level for each in run(postgres_findings._examined(settings))}
    assert found["clock"] == "ok"


def test_a_server_that_says_nothing_must_be_mended(
    run: Run,
    postgres: Postgres,
    database: str,
    between: Callable[[], Proxy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("triggers_api.store.postgres.connection.CONNECT_S", 0.1)

    async def main() -> list[Finding]:
        async with between() as proxy:
            proxy.swallow()
            url = proxy.url(postgres.url(database))
            return await postgres_findings._examined(Settings(database_url=url))

    (finding,) = run(main())
    assert (finding.level, finding.about) == ("fail", "server")
    assert finding.text.endswith("cannot connect to the database: no answer in time")


def test_sessions_that_are_handed_around_are_noticed(
    run: Run, postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As through a pooler in transaction mode, which gives one client the other one's session."""
    url = postgres.url(database)

    async def main() -> tuple[bool, bool, str]:
        direct = await postgres_findings._shares_sessions(url)
        connection = await asyncpg.connect(url)
        try:

            @asynccontextmanager
            async def same(*_: object, **__: object) -> AsyncIterator[Any]:
                yield connection

            with monkeypatch.context() as pooled:
                pooled.setattr(postgres_findings, "_connected", same)
                shared = await postgres_findings._shares_sessions(url)
            left = await connection.fetchval("SELECT current_setting('triggers.doctor', true)")
            return direct, shared, left
        finally:
            await connection.close()

    assert run(main()) == (False, True, "")


@pytest.mark.parametrize(
    ("shares", "told", "level"),
    [(True, True, "ok"), (True, False, "fail"), (False, True, "ok"), (False, False, "ok")],
)
def test_a_pooler_in_transaction_mode_must_be_told(shares: bool, told: bool, level: str) -> None:  # noqa: FBT001 - a table
    assert postgres_findings._pooler(shares=shares, told=told).level == level


def test_notices_that_do_not_arrive_are_to_watch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf:
        async def add_listener(self, *_: object) -> None:
            await asyncio.sleep(0)

        async def execute(self, _: str) -> None:
            await asyncio.sleep(0)

    monkeypatch.setattr(postgres_findings, "_NOTICE_S", 0.01)
    deaf: Any = Deaf()
    finding = run(postgres_findings._notices(deaf, 2000))
    assert finding == (
        "warn",
        "notices",
        "do not arrive: what comes in is found up to 2000 ms late",
    )


@pytest.mark.parametrize(
    ("ahead_ms", "level", "said"),
    [(0, "ok", "0 ms behind"), (-999, "ok", "999 ms ahead of"), (1000, "warn", "1000 ms behind")],
)
def test_a_clock_that_is_off_is_to_watch(ahead_ms: int, level: str, said: str) -> None:
    server = Standing(
        version="18", version_number=180000, fsync="on", full_page_writes="on",
        synchronous_commit="on", in_recovery=False, read_only="off", backend=1,
        now=1_000_000 + ahead_ms - 50, asked_in_s=0.1,
    )  # fmt: skip
    finding = postgres_findings._clock(server, Timestamp(1_000_000))
    assert finding.level == level
    assert finding.text.startswith(said)
