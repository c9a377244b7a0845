"""The database file in wrong hands, gone, damaged, or cut short."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import pytest
from tests.faults.endpoint import healthy
from tests.faults.history import Outcome
from tests.faults.invariants import dump
from tests.faults.server import NotStarted, Server, until
from tests.faults.volume import mounted

if TYPE_CHECKING:
    from tests.faults.rig import Rig


LARGE_LOG = 16 << 20
"""Twice of what the log grows to without somebody who reads."""


async def refused(server: Server, **start: object) -> str:
    """Start a server that must not start; returns what it said."""
    with pytest.raises(NotStarted) as not_started:
        await server.start(**start)  # type: ignore[arg-type]
    assert not_started.value.code == 1
    assert "Traceback" not in not_started.value.said
    return not_started.value.said


# ── in other hands ────────────────────────────────────────────────────────────────────────────


def test_a_second_server_on_the_same_file_is_refused_and_the_first_one_unharmed(rig: Rig) -> None:
    async def run() -> None:
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", healthy)
            await rig.post(20)
            second = rig.folder / "second"
            second.mkdir()
            async with Server(second, database_url=f"sqlite:///{rig.server.database}") as other:
                said = await refused(other)
            assert f"is in use by another server (process {rig.server.process.pid})" in said
            assert "--database-url" in said
            await rig.post(20)
            assert len(rig.history.of(Outcome.ACCEPTED)) == 40
            await rig.check_after_healing()

    asyncio.run(run())


@pytest.mark.faults
def test_a_second_server_through_a_symbolic_link_is_refused(rig: Rig) -> None:
    async def run() -> None:
        async with rig:
            await rig.server.start()
            second = rig.folder / "second"
            second.mkdir()
            link = second / "other.db"
            link.symlink_to(rig.server.database)
            async with Server(second, database_url=f"sqlite:///{link}") as other:
                assert "is in use by another server" in await refused(other)
            await rig.check_after_healing()

    asyncio.run(run())


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_foreign_lock_is_answered_with_503_until_it_is_gone(rig: Rig) -> None:
    """Somebody has opened the file with another program, and writes."""

    async def run() -> None:
        async with rig:
            await rig.begin(20)
            foreign = apsw.Connection(str(rig.server.database))
            foreign.execute("BEGIN IMMEDIATE")
            meanwhile = await rig.post(4)
            assert {request.outcome for request in meanwhile} == {Outcome.REFUSED}
            assert {told.code for r in meanwhile for told in r.told} <= {
                "store-unavailable",
                "overloaded",
            }

            async def red() -> bool:
                return (await rig.server.ready()).status == 503

            await until(red, "readiness is red")
            foreign.execute("ROLLBACK")
            foreign.close()

            async def green() -> bool:
                return (await rig.server.ready()).status == 200

            await until(green, "readiness is green")
            again = await rig.post(20)
            assert {request.outcome for request in again} == {Outcome.ACCEPTED}
            await rig.check_after_healing()

    asyncio.run(run())


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_foreign_reader_that_stays_costs_room_and_nothing_else(rig: Rig) -> None:
    """While it reads, the log cannot begin anew and grows; when it has gone, it does."""

    async def run() -> None:
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", healthy)
            await rig.post(20)
            foreign = apsw.Connection(str(rig.server.database), flags=apsw.SQLITE_OPEN_READONLY)
            foreign.execute("BEGIN")
            foreign.execute("SELECT count(*) FROM events").fetchall()
            while log_size(rig) < LARGE_LOG:
                assert {r.outcome for r in await rig.post(100)} == {Outcome.ACCEPTED}
            assert (await rig.server.ready()).status == 200
            foreign.execute("ROLLBACK")
            foreign.close()
            await rig.post(100)
            grown = log_size(rig)
            for _ in range(10):
                await rig.post(100)
            assert log_size(rig) == grown
            await rig.check_after_healing()

    asyncio.run(run())


# ── gone ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.faults
@pytest.mark.timeout(180)
@pytest.mark.parametrize("happens", ["removed", "replaced"])
def test_a_file_that_is_gone_is_noticed_before_more_is_accepted_into_nothing(
    rig: Rig, happens: str
) -> None:
    async def run() -> None:
        async with rig:
            await rig.server.start()
            await rig.post(20)
            aside = rig.folder / "aside"
            aside.mkdir()
            for suffix in ("", "-wal", "-shm"):
                shutil.move(f"{rig.server.database}{suffix}", aside)
            if happens == "replaced":
                shutil.copyfile(aside / "triggers.db", rig.server.database)

            async def noticed() -> bool:
                return rig.server.poll() is not None or (await rig.server.ready()).status == 503

            await until(noticed, "it is noticed", within_s=5)
            lost = await rig.post(5)
            assert Outcome.ACCEPTED not in {request.outcome for request in lost}
            await rig.server.ended()
            if happens == "removed":
                assert "triggers.db is gone" in await refused(rig.server)
                # As it is told to: with an empty one.
                rig.server.database.with_name("triggers.db.lock").unlink()
                await rig.server.start()
                assert (await rig.server.admin("GET", "/verify"))["ok"]

    asyncio.run(run())


@pytest.mark.faults
def test_a_folder_that_cannot_be_written_to_is_named(rig: Rig, tmp_path: Path) -> None:
    async def run() -> None:
        with mounted("tmpfs", tmp_path, megabytes=8) as volume:
            database = volume.folder / "triggers.db"
            rig.serve(database_url=f"sqlite:///{database}", disk_reserve_mb=0)
            async with rig:
                await rig.server.start()
                rig.server.database = database
                await rig.post(5)
                assert await rig.server.stop() == 0
                volume.make_read_only()
                said = await refused(rig.server)
                assert str(database) in said
                assert "Read-only file system" in said

    asyncio.run(run())


@pytest.mark.parametrize(
    "place", ["missing/triggers.db", pytest.param("a-file/triggers.db", marks=pytest.mark.faults)]
)
def test_a_folder_that_is_not_there_is_named(rig: Rig, place: str) -> None:
    async def run() -> None:
        (rig.folder / "a-file").touch()
        database = rig.folder / place
        rig.serve(database_url=f"sqlite:///{database}")
        async with rig:
            assert str(database) in await refused(rig.server)

    asyncio.run(run())


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000])
def test_a_file_that_is_no_database_is_refused_or_made_one(rig: Rig, content: bytes) -> None:
    async def run() -> None:
        rig.server.database.write_bytes(content)
        async with rig:
            if content:
                said = await refused(rig.server)
                assert str(rig.server.database) in said
                assert "not a database" in said
                assert rig.server.database.read_bytes() == content
            else:
                await rig.server.start()

    asyncio.run(run())


# ── damaged ───────────────────────────────────────────────────────────────────────────────────


async def damage(rig: Rig) -> None:
    """Leave a database, not closed in order, with an inner page that is not what it was."""
    await rig.begin(300)
    rig.server.kill()
    database = rig.server.database
    with_log = apsw.Connection(str(database))
    with_log.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    pages = with_log.pragma("page_count")
    ((root,),) = list(
        with_log.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events_dedup'")
    )
    with_log.close()
    assert pages > root
    with database.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 200)


@pytest.mark.faults
def test_a_damaged_file_is_not_served_after_a_crash(rig: Rig) -> None:
    async def run() -> None:
        async with rig:
            await damage(rig)
            said = await refused(rig.server)
            assert f"{rig.server.database} is damaged" in said
            assert "backup" in said

    asyncio.run(run())


def test_a_damaged_file_is_not_served_at_the_second_try_either(rig: Rig) -> None:
    """Supervisors try again and again; a refusal must not pass for a shutdown in order."""

    async def run() -> None:
        async with rig:
            await damage(rig)
            for _ in range(2):
                assert "is damaged" in await refused(rig.server)

    asyncio.run(run())


def log_size(rig: Rig) -> int:
    return Path(f"{rig.server.database}-wal").stat().st_size


# ── cut short ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_of_a_log_cut_short_only_what_was_not_answered_is_missing(rig: Rig) -> None:
    """Any length between the last answer's end of the log and the end of what came after."""
    acknowledged = 30

    async def run() -> None:
        async with rig:
            await rig.server.start(failpoints=f"append.after_commit=crash@{acknowledged + 1}")
            await rig.server.admin("PATCH", "/controls", {"processing": "paused"})
            await rig.post(acknowledged, clients=1)
            answered = log_size(rig)
            await rig.post(1)
            await rig.server.ended()
            whole = log_size(rig)
            assert answered < whole
            sizes = {answered, whole - 1, *(rig.rng.randrange(answered, whole) for _ in range(20))}
            for number, size in enumerate(sorted(sizes)):
                folder = rig.folder / str(number)
                folder.mkdir()
                database = folder / "triggers.db"
                for suffix in ("", "-wal", ".lock"):
                    shutil.copyfile(f"{rig.server.database}{suffix}", f"{database}{suffix}")
                os.truncate(f"{database}-wal", size)
                rig.invariants.events(dump(database, folder))
                assert len(dump(database, folder).events) == acknowledged
                if number % 5 == 0:
                    async with Server(folder) as server:
                        await server.start()
                        assert await server.stop() == 0
                    rig.invariants.events(dump(database, folder))

    asyncio.run(run())


@pytest.mark.faults
def test_the_file_alone_is_a_whole_copy_after_a_stop_in_order(rig: Rig, tmp_path: Path) -> None:
    """What everybody does who wants a copy: stop it, copy the file."""

    async def run() -> None:
        async with rig:
            await rig.begin(20)
            assert await rig.server.stop() == 0
        copy = tmp_path / "copy"
        copy.mkdir()
        shutil.copyfile(rig.server.database, copy / "triggers.db")
        rig.invariants.check(dump(copy / "triggers.db", copy))

    asyncio.run(run())
