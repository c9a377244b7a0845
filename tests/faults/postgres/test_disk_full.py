"""No room left at the server: what cannot be stored is refused, and when there is room all goes on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.endpoint import healthy
from tests.faults.history import Outcome, load
from tests.faults.server import until
from tests.faults.volume import Volume, mounted

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet
    from tests.faults.postgres.fleet import Fleet
    from tests.servers.postgres import PostgresServer

RED_WITHIN_S: Final = 3.0
GREEN_WITHIN_S: Final = 15.0
AT_ONCE_S: Final = 15.0


@pytest.fixture
def volume(server: PostgresServer) -> Iterator[Volume]:
    """Room for the tables of one database, and not for much in them; where the server may go."""
    with mounted("tmpfs", server.folder, megabytes=32) as volume:
        yield volume
    volume.folder.rmdir()


@pytest.fixture
def small_database(server: PostgresServer, volume: Volume) -> Iterator[str]:
    """A database whose tables are on the volume; the server's log is where there is room."""
    place = volume.folder / "tables"
    place.mkdir()
    shutil.copystat(server.data, place)
    shutil.chown(place, server.data.owner())
    server.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
    database = server.migrated_database()
    server.execute(f'ALTER DATABASE "{database}" SET TABLESPACE small')
    yield database
    server.drop_database(database)
    server.execute("DROP TABLESPACE small")


async def post_until_refused(fleet: Fleet) -> None:
    """Post until five answers in a row are refusals."""
    in_a_row = 0
    while in_a_row < 5:
        request = fleet.history.new("order.created", size=4000)
        await load(fleet.front, fleet.history, [request])
        (told,) = request.told
        assert told.status in {202, 503}, told
        assert told.code in {None, "storage-full"}, told
        in_a_row = in_a_row + 1 if told.status == 503 else 0


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_a_full_disk_at_the_server_refuses_events_and_all_goes_on_when_there_is_room(
    make_fleet: MakeFleet, volume: Volume, small_database: str
) -> None:
    async def run() -> None:
        fleet = make_fleet(apis=1, workers=1, database=small_database)
        async with fleet:
            await fleet.start()
            await fleet.endpoint("healthy", healthy)
            await fleet.post(50)
            await fleet.healed()
            volume.fill()
            await post_until_refused(fleet)

            # Not only that the store has been silent for a while.
            async def is_red() -> bool:
                answer = await fleet.server.ready()
                full = answer.json["checks"]["store"] == "storage-full"
                return full and answer.status == 503

            await until(is_red, "readiness is red, for want of room", within_s=RED_WITHIN_S)
            assert await fleet.server.metric("triggers_ready") == 0
            assert await fleet.server.metric("triggers_check", check="store") == 0
            await post_until_refused(fleet)
            assert await is_red()
            volume.free()
            await fleet.ready(within_s=GREEN_WITHIN_S)
            again = await fleet.post(50)
            assert {request.outcome for request in again} == {Outcome.ACCEPTED}
            assert len(fleet.history.of(Outcome.REFUSED)) >= 10
            # What was in hand at that moment waits for no lease, which is 45 s.
            await fleet.check_after_healing(within_s=AT_ONCE_S)

    asyncio.run(run())
