"""The PostgreSQL that tests run on: keeps what it must keep, ends in every way, leaves nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import asyncpg
import pytest
from tests.servers import postgres as module
from tests.servers.postgres import NoPostgres, Postgres, PostgresServer, StopMode, Way, given_server

ROOT: Final = Path(__file__).parents[2]


def test_a_202_would_rest_on_the_same_settings_as_in_production(postgres: Postgres) -> None:
    for name in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):
        assert postgres.execute(f"SHOW {name}") == [("on",)]


def test_what_was_committed_is_there_after_every_way_to_stop(own_postgres: PostgresServer) -> None:
    modes: tuple[StopMode, ...] = ("smart", "fast", "immediate")
    for mode in modes:
        own_postgres.execute(f"CREATE TABLE {mode} AS SELECT 1 AS n")
        own_postgres.restart(mode)
        assert own_postgres.execute(f"SELECT n FROM {mode}") == [(1,)]


def test_a_killed_server_is_gone_with_its_children_and_starts_again(
    own_postgres: PostgresServer,
) -> None:
    own_postgres.execute("CREATE TABLE kept AS SELECT 1 AS n")

    async def story() -> None:
        busy = await asyncpg.connect(own_postgres.url("postgres"))
        running = asyncio.ensure_future(busy.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0)  # it is sent
        own_postgres.kill()
        with pytest.raises((OSError, asyncpg.PostgresError)):
            await running
        with pytest.raises(ConnectionRefusedError):
            await asyncpg.connect(own_postgres.url("postgres"))

    asyncio.run(story())
    assert not own_postgres.is_running()
    own_postgres.start()
    assert own_postgres.execute("SELECT n FROM kept") == [(1,)]


def test_it_is_reached_by_tcp_and_by_its_socket(own_postgres: PostgresServer) -> None:
    async def is_local(way: Way) -> object:
        connection = await asyncpg.connect(own_postgres.url("postgres", via=way))
        try:
            return await connection.fetchval("SELECT inet_client_addr() IS NULL")
        finally:
            await connection.close()

    assert asyncio.run(is_local("tcp")) is False
    assert asyncio.run(is_local("socket")) is True


def test_each_database_is_a_copy_of_one_that_was_migrated_once(postgres: Postgres) -> None:
    names = [postgres.migrated_database() for _ in range(2)]
    postgres.execute("INSERT INTO meta VALUES ('x', 'y')", database=names[0])
    found = [
        postgres.execute("SELECT 1 FROM meta WHERE name = 'x'", database=name) for name in names
    ]
    assert found == [[(1,)], []]
    for name in names:
        postgres.drop_database(name)


def test_a_connection_that_was_left_behind_is_told_and_the_database_dropped(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAVING_S", 0.1)
    name = postgres.create_database()

    async def forget_one() -> None:
        connection = await asyncpg.connect(postgres.url(name))
        await connection.execute("SELECT 'forgotten'")
        with pytest.raises(AssertionError, match=r"left behind.*'forgotten'"):
            postgres.drop_database(name)
        connection.terminate()

    asyncio.run(forget_one())
    assert postgres.execute("SELECT 1 FROM pg_database WHERE datname = $1", name) == []


def test_who_is_shut_out_is_out_and_gets_in_again_when_let_in(postgres: Postgres) -> None:
    name = postgres.create_database()

    async def story() -> None:
        connection = await asyncpg.connect(postgres.url(name))
        postgres.shut_out(name)
        with pytest.raises(Exception, match=r"terminat|closed|in progress"):
            await connection.execute("SELECT 1")
        connection.terminate()
        with pytest.raises(asyncpg.PostgresError):
            await asyncpg.connect(postgres.url(name))

    asyncio.run(story())
    postgres.let_in(name)
    assert postgres.execute("SELECT 1", database=name) == [(1,)]
    postgres.drop_database(name)


def test_the_server_ends_with_the_process_that_started_it_however_that_ends() -> None:
    program = (
        "import sys, time\n"
        "from tests.servers.postgres import PostgresServer\n"
        "server = PostgresServer()\n"
        "server.start()\n"
        "print(server.folder, server._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        folder, pid = process.stdout.readline().split()
        assert Path(folder).is_dir()
        process.send_signal(signal.SIGKILL)
        process.wait()
    give_up = time.monotonic() + 30
    while Path(folder).exists() or module._is_alive(int(pid)):
        assert time.monotonic() < give_up, "the server is still there"
        time.sleep(0.05)


def test_a_folder_closed_to_others_stays_closed_and_the_programs_run_from_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: others run PostgreSQL as who they are")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    home = Path(module.package_home()).resolve()
    (closed / home.name).symlink_to(home)
    (closed / f"{home.name}.libs").symlink_to(home.with_name(f"{home.name}.libs"))
    monkeypatch.setattr(module, "package_home", lambda: closed / home.name)
    with PostgresServer() as server:
        assert server.folder in server.programs.parents
        assert server.execute("SELECT 1") == [(1,)]
    assert closed.stat().st_mode & 0o077 == 0


def test_a_server_that_is_given_and_not_there_fails_the_run() -> None:
    with pytest.raises(NoPostgres, match="TRIGGERS_TEST_POSTGRES_URL"):
        given_server("postgresql://postgres@127.0.0.1:1/postgres")


def test_a_wheel_that_is_not_there_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(NoPostgres, match="not installed"):
        PostgresServer()


def test_a_given_server_is_used_and_left_as_it_was(own_postgres: PostgresServer) -> None:
    with given_server(own_postgres.url("postgres")) as given:
        name = given.migrated_database()
        assert given.execute("SELECT 1", database=name) == [(1,)]
    assert own_postgres.execute("SELECT datname FROM pg_database WHERE datname ~ 'triggers'") == []
