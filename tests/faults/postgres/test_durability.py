"""What a 202 rests on at the server: raised where a role has less, refused where it is turned off."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.endpoint import healthy
from tests.faults.history import Outcome
from tests.faults.postgres.scenarios import kill_the_database_after_answers, number_workers
from tests.faults.server import NotStarted, until

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet
    from tests.faults.postgres.fleet import Fleet
    from tests.servers.postgres import PostgresServer

NOTICED_WITHIN_S: Final = 5.0
"""The monitor looks twice a second; a busy machine may take longer."""


@pytest.fixture
def lax_role(server: PostgresServer) -> Iterator[str]:
    """A role whose commits wait for no flush, on a server that flushes by itself every ten seconds."""
    role = f"lax_{secrets.token_hex(4)}"
    server.execute(f"CREATE ROLE {role} LOGIN")
    server.execute(f"ALTER ROLE {role} SET synchronous_commit = off")
    server.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    server.execute("SELECT pg_reload_conf()")
    yield role
    if not server.is_running():
        server.start()
    databases = server.execute(
        "SELECT datname FROM pg_database WHERE datdba = $1::text::regrole", role
    )
    for (database,) in databases:
        server.drop_database(database)
    server.execute(f"DROP ROLE {role}")


def lax_fleet(make_fleet: MakeFleet, server: PostgresServer, role: str, **options: object) -> Fleet:
    """Processes whose role has ``synchronous_commit=off``, on a database of their own."""
    database = server.create_database()
    server.execute(f'ALTER DATABASE "{database}" OWNER TO {role}')
    url = server.url(database).replace("postgres@", f"{role}@", 1)
    return make_fleet(database=database, database_url=url, **options)


@pytest.mark.parametrize("rounds", [3, pytest.param(25, marks=pytest.mark.faults)])
@pytest.mark.timeout(180)
def test_an_event_answered_202_outlives_the_server_although_the_role_commits_asynchronously(
    make_fleet: MakeFleet, server: PostgresServer, lax_role: str, rounds: int
) -> None:
    fleet = lax_fleet(make_fleet, server, lax_role, apis=1)
    asyncio.run(kill_the_database_after_answers(fleet, server, rounds=rounds))


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_no_two_processes_have_one_number_although_the_role_commits_asynchronously(
    make_fleet: MakeFleet, server: PostgresServer, lax_role: str
) -> None:
    asyncio.run(number_workers(lax_fleet(make_fleet, server, lax_role, wholes=2), server))


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_without_raising_it_events_are_lost_and_numbers_are_given_out_twice(
    make_fleet: MakeFleet, server: PostgresServer, lax_role: str
) -> None:
    """Which proves the tests above."""
    bug = "never_raises_synchronous_commit"
    fleet = lax_fleet(make_fleet, server, lax_role, apis=1, bug=bug)
    with pytest.raises(AssertionError, match=r"I1 \d+ accepted events are lost"):
        asyncio.run(kill_the_database_after_answers(fleet, server, rounds=3))
    fleet = lax_fleet(make_fleet, server, lax_role, wholes=2, bug=bug)
    with pytest.raises(AssertionError, match="both have a number of their own"):
        asyncio.run(number_workers(fleet, server))


def test_a_subscription_answered_201_outlives_the_server_although_the_role_commits_asynchronously(
    make_fleet: MakeFleet, server: PostgresServer, lax_role: str
) -> None:
    async def run() -> None:
        fleet = lax_fleet(make_fleet, server, lax_role, apis=1)
        async with fleet:
            await fleet.start()
            made = await fleet.server.subscribe("http://127.0.0.1:1/hook", ["*"])
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await fleet.ready()
            found = await fleet.server.call("GET", f"/api/subscriptions/{made['id']}")
            assert found.status == 200

    asyncio.run(run())


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_a_power_cut_can_destroy_is_refused_at_the_start(
    make_fleet: MakeFleet, server: PostgresServer, setting: str
) -> None:
    async def run() -> None:
        fleet = make_fleet(apis=1)
        turn(server, setting, "off")
        async with fleet:
            with pytest.raises(NotStarted) as refused:
                await fleet.start()
        assert refused.value.code == 1
        (line,) = refused.value.said.strip().splitlines()
        assert f"{setting}=off" in line

    asyncio.run(run())


@pytest.mark.parametrize(
    "setting", ["fsync", pytest.param("full_page_writes", marks=pytest.mark.faults)]
)
def test_a_server_that_is_made_destroyable_while_it_is_used_is_used_no_more(
    make_fleet: MakeFleet, server: PostgresServer, setting: str
) -> None:
    async def run() -> None:
        fleet = make_fleet(wholes=1)
        async with fleet:
            await fleet.start()
            await fleet.endpoint("healthy", healthy)
            await fleet.post(10)
            turn(server, setting, "off")

            async def is_red() -> bool:
                return (await fleet.server.ready()).status == 503

            async def is_refused() -> bool:
                """Not only silent for a while: then it is red as well, and takes what it is sent."""
                (request,) = await fleet.post()
                return request.outcome is Outcome.REFUSED and await is_red()

            await until(is_refused, "it is used no more", within_s=NOTICED_WITHIN_S)
            refused = await fleet.post(10)
            assert {told.code for each in refused for told in each.told} == {"store-unavailable"}
            turn(server, setting, "on")
            await fleet.ready()
            assert {each.outcome for each in await fleet.post(10)} == {Outcome.ACCEPTED}
            await fleet.check_after_healing()

    asyncio.run(run())


def turn(server: PostgresServer, setting: str, value: str) -> None:
    """As an operator does it, without a restart."""
    server.execute(f"ALTER SYSTEM SET {setting} = {value}")
    server.execute("SELECT pg_reload_conf()")
