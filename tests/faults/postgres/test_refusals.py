"""What a server may answer to an append: what it means is told, nothing is stored by halves."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.endpoint import healthy
from tests.faults.history import Outcome, post
from tests.faults.server import until

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet
    from tests.servers.postgres import PostgresServer

# What is told a client whose event the server refused with this SQLSTATE again and again.
REFUSALS: Final = {
    "40P01": "store-unavailable",  # deadlock_detected
    "40001": "store-unavailable",  # serialization_failure
    "53100": "storage-full",  # disk_full
    "53200": "store-unavailable",  # out_of_memory
    "53400": "store-unavailable",  # configuration_limit_exceeded
    "55P03": "store-unavailable",  # lock_not_available
    "57014": "store-unavailable",  # query_canceled
    "58030": "store-unavailable",  # io_error
    "25006": "store-unavailable",  # read_only_sql_transaction
    "42501": "store-unavailable",  # insufficient_privilege
    "XX000": "store-unavailable",  # internal_error
    "XX001": "store-unavailable",  # data_corrupted
    "XX002": "store-unavailable",  # index_corrupted
    "57P01": "outcome-unknown",  # admin_shutdown
    "57P02": "outcome-unknown",  # crash_shutdown
}

_TRIGGER: Final = (
    "CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()"
)
_REFUSE: Final = """
CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A sequence is not rolled back: it counts what was.
    IF nextval('refused') <= {times} THEN
        RAISE EXCEPTION 'refused on purpose' USING ERRCODE = '{code}';
    END IF;
    RETURN NEW;
END $$
"""


@contextmanager
def refusing(server: PostgresServer, database: str, code: str, *, times: int) -> Iterator[None]:
    """Have the server refuse the next events, so many times."""
    for statement in (
        "CREATE SEQUENCE IF NOT EXISTS refused",
        "ALTER SEQUENCE refused RESTART",
        _REFUSE.format(times=times, code=code),
        _TRIGGER,
    ):
        server.execute(statement, database=database)
    yield
    server.execute("DROP TRIGGER refuse ON events", database=database)


def test_what_the_server_refuses_is_told_and_not_stored(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    async def run() -> None:
        fleet = make_fleet(wholes=1)
        async with fleet:
            await fleet.start()
            await fleet.endpoint("healthy", healthy)
            for code, expected in REFUSALS.items():
                with refusing(server, fleet.database, code, times=1_000_000):
                    for request in fleet.requests(3):
                        told = await post(fleet.front, fleet.history, request)
                        assert (code, told.code) == (code, expected)
                    # Who waited behind what is refused has not been sent to the server.
                    together = await fleet.post(20, clients=20)
                    codes = {told.code for each in together for told in each.told}
                    assert codes <= {expected, "store-unavailable"}, code
            assert (await fleet.dump()).events == []
            await fleet.ready()
            assert {each.outcome for each in await fleet.post(20)} == {Outcome.ACCEPTED}
            await fleet.check_after_healing()

    asyncio.run(run())


def test_an_event_that_met_another_transaction_is_stored_at_the_next_try(
    make_fleet: MakeFleet, server: PostgresServer
) -> None:
    async def run() -> None:
        fleet = make_fleet(wholes=1)
        async with fleet:
            await fleet.start()
            await fleet.endpoint("healthy", healthy)
            for code in ("40P01", "40001"):
                with refusing(server, fleet.database, code, times=2):
                    (request,) = await fleet.post()
                assert (code, [told.status for told in request.told]) == (code, [202])
                passes = server.execute("SELECT last_value FROM refused", database=fleet.database)
                assert passes == [(3,)]
            await fleet.check_after_healing()

    asyncio.run(run())


@pytest.fixture
def role(server: PostgresServer) -> Iterator[str]:
    """A role that may do everything."""
    role = f"role_{secrets.token_hex(4)}"
    server.execute(f"CREATE ROLE {role} LOGIN")
    yield role
    server.execute(f"DROP ROLE {role}")


@pytest.mark.faults
def test_when_no_connection_is_given_events_are_refused_until_there_is(
    make_fleet: MakeFleet, server: PostgresServer, role: str
) -> None:
    async def run() -> None:
        database = server.create_database()
        server.execute(f'ALTER DATABASE "{database}" OWNER TO {role}')
        url = server.url(database).replace("postgres@", f"{role}@", 1)
        fleet = make_fleet(wholes=1, database=database, database_url=url)
        async with fleet:
            await fleet.start()
            await fleet.endpoint("healthy", healthy)
            await fleet.post(20)
            server.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role
            )
            await until(lambda: server.connections(database) == [], "all of them are gone")
            refused = await fleet.post(20)
            assert {told.code for each in refused for told in each.told} == {"store-unavailable"}
            server.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")
            await fleet.ready()
            assert {each.outcome for each in await fleet.post(20)} == {Outcome.ACCEPTED}
            await fleet.check_after_healing()
        server.drop_database(database)

    asyncio.run(run())
