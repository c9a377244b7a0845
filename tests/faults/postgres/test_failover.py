"""The server turns read-only, or another one takes its place: refused, and gone on without a restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.endpoint import healthy
from tests.faults.history import Outcome, insist
from tests.faults.server import NotStarted, until
from tests.servers.standby import Standby

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet
    from tests.servers.postgres import PostgresServer

NOTICED_WITHIN_S: Final = 5.0
AT_ONCE_S: Final = 20.0


def test_a_server_that_turned_read_only_refuses_events_until_it_is_writable_again(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    async def run() -> None:
        fleet = make_fleet(apis=1, workers=1)
        async with fleet:
            await fleet.start()
            await fleet.endpoint("healthy", healthy)
            await fleet.post(20)
            turn_read_only(server, "on")

            async def is_red() -> bool:
                return all([(await each.ready()).status == 503 for each in fleet.all])

            async def is_refused() -> bool:
                """Not only silent for a while: then it is red as well, and takes what it is sent."""
                (request,) = await fleet.post()
                return request.outcome is Outcome.REFUSED and await is_red()

            await until(is_refused, "events are refused", within_s=NOTICED_WITHIN_S)
            refused = await fleet.post(20)
            assert {told.code for each in refused for told in each.told} == {"store-unavailable"}
            turn_read_only(server, "off")
            await fleet.ready()
            assert {each.outcome for each in await fleet.post(20)} == {Outcome.ACCEPTED}
            # What was in hand at that moment waits for no lease, which is 45 s.
            await fleet.check_after_healing(within_s=AT_ONCE_S)

    asyncio.run(run())


def turn_read_only(server: PostgresServer, value: str) -> None:
    """Every transaction that begins from now on, whoever's session it is."""
    server.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    server.execute("SELECT pg_reload_conf()")


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_when_a_standby_takes_over_everything_goes_on_without_a_restart(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    """The URL names both; the old primary is stopped in order, so that the new one has everything."""

    async def run() -> None:
        database = server.migrated_database()
        with Standby(server) as standby:
            url = (
                f"postgresql://postgres@127.0.0.1:{server.port},127.0.0.1:{standby.port}/{database}"
                "?target_session_attrs=primary"
            )
            fleet = make_fleet(apis=1, workers=2, database=database, database_url=url)
            async with fleet:
                await fleet.start()
                await fleet.endpoint("healthy", healthy)
                requests = fleet.requests(2000)
                posting = asyncio.create_task(insist(fleet.front, fleet.history, requests))
                await fleet.history.wait_for_accepted(500)
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(standby.promote)
                green_in_s = await fleet.ready()
                print(f"green {green_in_s:.1f} s after the promotion")  # noqa: T201
                await posting
                fleet.postgres = standby
                found = await fleet.check_after_healing()
                unknown = len(fleet.history.of(Outcome.UNKNOWN))
                assert 2000 - unknown <= len(found.events) <= 2000

    asyncio.run(run())


@pytest.mark.faults
def test_a_standby_is_refused_at_the_start(make_fleet: MakeFleet, server: PostgresServer) -> None:
    async def run() -> None:
        fleet = make_fleet(apis=1)
        with Standby(server) as standby:
            await until(lambda: is_there(standby, fleet.database), "the standby has followed")
            async with fleet:
                with pytest.raises(NotStarted) as refused:
                    await fleet.server.start(database_url=standby.url(fleet.database))
        assert refused.value.code == 1
        (line,) = refused.value.said.strip().splitlines()
        assert "replica (in recovery)" in line

    asyncio.run(run())


def is_there(server: PostgresServer, database: str) -> bool:
    return bool(server.execute("SELECT FROM pg_database WHERE datname = $1", database))
