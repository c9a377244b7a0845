"""No room left: what cannot be stored is refused, and when there is room again all goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.faults.endpoint import Exchange, healthy
from tests.faults.history import Outcome, load
from tests.faults.server import NotStarted, until
from tests.faults.volume import Volume, mounted

from triggers_api.errors import StorageFull
from triggers_api.model.pace import FIRST_WINDOW

if TYPE_CHECKING:
    from tests.faults.rig import Rig

RED_WITHIN_S = 2.0
NO_ROOM = {StorageFull.title, StorageFull().detail}


@pytest.fixture(
    params=["tmpfs", pytest.param("ext4", marks=pytest.mark.faults)],
)
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Volume]:
    """12 MB (ext4 takes some of its 24 for itself)."""
    megabytes = {"tmpfs": 12, "ext4": 24}[request.param]
    with mounted(request.param, tmp_path, megabytes=megabytes) as volume:
        yield volume


def on(rig: Rig, volume: Volume, **settings: Any) -> None:  # noqa: ANN401 - the settings' own
    """Have the database on the volume, up to its last byte; logs stay where there is room."""
    given: dict[str, Any] = {"disk_reserve_mb": 0} | settings
    server = rig.serve(database_url=f"sqlite:///{volume.folder / 'triggers.db'}", **given)
    server.database = volume.folder / "triggers.db"


async def post_until_refused(rig: Rig) -> None:
    """Post until five answers in a row are refusals."""
    in_a_row = 0
    while in_a_row < 5:
        request = rig.history.new("order.created", size=2000)
        await load(rig.server, rig.history, [request])
        (told,) = request.told
        assert told.status in {202, 503}, told
        assert told.code in {None, "storage-full"}
        in_a_row = in_a_row + 1 if told.status == 503 else 0


@pytest.mark.timeout(180)
def test_a_full_disk_refuses_events_and_goes_on_when_there_is_room(
    rig: Rig, volume: Volume
) -> None:
    async def run() -> None:
        on(rig, volume)
        async with rig:
            await rig.begin(50)
            volume.fill()
            await post_until_refused(rig)
            # Room for one small row, and none for an event: that is full all the same.
            volume.give_back(12 << 10)
            await post_until_refused(rig)

            # Not only that the store has been silent for a while.
            async def red() -> bool:
                answer = await rig.server.ready()
                full = answer.json["checks"]["store"] == "storage-full"
                return full and answer.status == 503

            await until(red, "readiness is red, for want of room", within_s=RED_WITHIN_S)
            assert await rig.server.metric("triggers_ready") == 0
            assert await rig.server.metric("triggers_check", check="store") == 0
            assert await rig.server.metric("triggers_store_errors_total", code="storage-full") > 0
            await post_until_refused(rig)
            assert rig.server.poll() is None
            assert await red()

            volume.free()

            async def green() -> bool:
                return (await rig.server.ready()).status == 200

            await until(green, "readiness is green")
            assert await rig.server.metric("triggers_ready") == 1
            again = await rig.post(50)
            assert {request.outcome for request in again} == {Outcome.ACCEPTED}
            refused = rig.history.of(Outcome.REFUSED)
            assert len(refused) >= 10
            await rig.check_after_healing()

    asyncio.run(run())


@pytest.mark.timeout(180)
def test_events_are_refused_while_there_is_room_for_what_was_accepted(
    rig: Rig, volume: Volume
) -> None:
    """With a reserve: nothing fails for want of room, and all that was accepted is finished."""

    async def red() -> bool:
        answer = await rig.server.ready()
        full = answer.json["checks"].get("disk") == "storage-full"
        return full and answer.status == 503

    async def store_is_well() -> bool:
        return bool((await rig.server.ready()).json["checks"]["store"] == "ok")

    async def run() -> None:
        on(rig, volume, disk_reserve_mb=4)
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", healthy)
            await rig.post(20)
            await rig.server.admin("PATCH", "/controls", {"delivery": "paused"})
            volume.fill(spare=5 << 20)
            await post_until_refused(rig)
            await until(red, "readiness is red", within_s=RED_WITHIN_S)
            await until(store_is_well, "the store is well")
            shown = (await rig.server.ready()).json
            assert (shown["queue"]["refusing"], shown["queue"]["level"]) == ("disk", "critical")
            assert await rig.server.metric("triggers_ingest_refused_total", reason="disk") >= 5
            assert 1 << 20 < await rig.server.metric("triggers_disk_free_bytes") < 4 << 20
            await rig.server.admin("PATCH", "/controls", {"delivery": "running"})
            await rig.healed()
            assert await red()
            assert rig.server.logged("the disk is nearly full, events are refused")
            failed = rig.server.logged("turn failed")
            assert [line for line in failed if line["error"] in NO_ROOM] == []
            await post_until_refused(rig)

            volume.free()

            async def green() -> bool:
                return (await rig.server.ready()).status == 200

            await until(green, "readiness is green")
            again = await rig.post(50)
            assert {request.outcome for request in again} == {Outcome.ACCEPTED}
            assert rig.server.logged("the disk has room again")
            await rig.check_after_healing()

    asyncio.run(run())


@pytest.mark.timeout(180)
def test_outcomes_that_find_the_disk_full_are_kept_until_there_is_room(
    rig: Rig, volume: Volume
) -> None:
    in_flight = FIRST_WINDOW
    gate = asyncio.Event()

    async def holds(_: Exchange) -> int:
        await gate.wait()
        return 204

    async def run() -> None:
        on(rig, volume, delivery_timeout_s=30, lease_s=60)
        async with rig:
            await rig.server.start()
            endpoint = await rig.endpoint("holds", holds)
            await rig.post(in_flight)
            await endpoint.wait_for(in_flight)
            volume.fill()
            await post_until_refused(rig)
            gate.set()
            await until(
                lambda: len(rig.server.logged("turn failed")) > 0, "a settlement is refused"
            )
            await post_until_refused(rig)
            volume.free()
            found = await rig.check_after_healing()
            once = [
                e
                for e in endpoint.exchanges
                if e.event_id in {x.event_id for x in endpoint.exchanges[:in_flight]}
            ]
            assert len(once) == in_flight, "a delivery whose outcome was known was sent again"
            assert {delivery.attempt_count for delivery in found.deliveries} == {1}

    asyncio.run(run())


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_it_ends_in_order_while_the_disk_is_full(rig: Rig, volume: Volume) -> None:
    async def run() -> None:
        on(rig, volume, shutdown_grace_s=3)
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", healthy)
            await rig.post(20)
            volume.fill()
            await post_until_refused(rig)

            async def loops_back_off() -> bool:
                return await rig.server.metric("triggers_loop_crashes_total") > 3

            await until(loops_back_off, "loops back off")
            await rig.server.stop(within_s=10)
            assert "Traceback" not in rig.server.said()
            volume.free()
            await rig.server.start()
            await rig.check_after_healing()

    asyncio.run(run())


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_it_says_so_when_there_is_no_room_to_start(rig: Rig, volume: Volume) -> None:
    async def run() -> None:
        on(rig, volume)
        async with rig:
            await rig.server.start()
            await rig.post(20)
            rig.server.kill()
            volume.fill()
            with pytest.raises(NotStarted) as refused:
                await rig.server.start()
            assert refused.value.code == 1
            assert "Traceback" not in refused.value.said
            assert "full" in refused.value.said or "space" in refused.value.said
            volume.free()
            await rig.server.start()
            await rig.check_after_healing()

    asyncio.run(run())


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_first_start_says_so_wherever_it_runs_out_of_room(rig: Rig, tmp_path: Path) -> None:
    """Lock, database, log, their index, migrations, first rows: for each the room ends once."""

    async def run() -> None:
        with mounted("tmpfs", tmp_path, megabytes=2) as volume:
            on(rig, volume)
            async with rig:
                for spare in (0, 4096, 8192, 20_480, 40_960, 122_880, 204_800):
                    volume.fill(spare=spare)
                    with pytest.raises(NotStarted) as refused:
                        await rig.server.start()
                    assert refused.value.code == 1
                    said = refused.value.said.splitlines()[-1]
                    assert "Traceback" not in refused.value.said
                    assert str(rig.server.database) in said
                    assert "full" in said or "No space" in said, (spare, said)
                    volume.free()
                    for left in volume.folder.iterdir():
                        left.unlink()
                await rig.server.start()
                assert await rig.server.stop() == 0

    asyncio.run(run())
