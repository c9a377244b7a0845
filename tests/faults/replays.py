"""Replays that are killed: dead letters are planted, and what became of them is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import apsw
import asyncpg
from tests.faults.endpoint import Endpoint
from tests.faults.invariants import DEAD, SUCCEEDED
from tests.faults.server import Server, until
from tests.rooms import rooms

from triggers_api.model import ids
from triggers_api.model.delivery import DeliveryStatus, NewDelivery
from triggers_api.model.event import NewEvent
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import Settlement
from triggers_api.testing import API_KEY, Service

_AT_ONCE: Final = 500
_MADE: Final = "SELECT event_id, subscription_id, status FROM deliveries WHERE origin = 1"
_LETTERS: Final = f"SELECT event_id, subscription_id FROM deliveries WHERE status = {DEAD}"


async def plant(folder: Path, database_url: str, endpoint: Endpoint, number: int) -> None:
    """Leave so many dead letters of one subscription in a database, each of an event of its own."""
    kit = Service(folder, database_url=database_url, background=False)
    async with kit:
        made = await kit.subscribe(endpoint.url, ["*"])
        endpoint.secret = made["secret"]
        store = kit.app.store
        principal = kit.app.directory.principal(API_KEY)
        assert principal is not None
        assert principal.organization_id is not None
        for start in range(0, number, _AT_ONCE):
            await store.append(
                [
                    NewEvent(
                        store.ids.new(ids.EVENT),
                        principal.organization_id,
                        "order.created",
                        b'{"n":%d}' % n,
                        deliveries=(NewDelivery(store.ids.new(ids.DELIVERY), made["id"]),),
                        settings_version=kit.app.directory.version,
                    )
                    for n in range(start, min(start + _AT_ONCE, number))
                ]
            )
            claim = await store.claim_deliveries(_AT_ONCE, 60, rooms=rooms(_AT_ONCE))
            await store.settle(
                [
                    Settlement(
                        organization_id=principal.organization_id,
                        delivery_id=each.id,
                        token=each.token,
                        status=DeliveryStatus.DEAD,
                        reason="planted",
                    )
                    for each in claim.deliveries
                ]
            )


async def ask_for_replay(server: Server, **wanted: object) -> str:
    """Begin to replay dead letters; returns the job's id."""
    answer = await server.call("POST", "/api/dead-letters/replay", wanted)
    assert answer.status == 202, answer
    job_id: str = answer.json["id"]
    return job_id


async def job(server: Server, job_id: str) -> dict[str, Any]:
    """How far a job has come."""
    answer = await server.call("GET", f"/api/jobs/{job_id}")
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json
    return found


async def reached(server: Server, job_id: str, done: int) -> None:
    """Wait until so many have been dealt with."""

    async def far_enough() -> bool:
        return int((await job(server, job_id))["done"]) >= done

    await until(far_enough, f"{done} are replayed", within_s=60, look_every_s=0.01)


async def finished(server: Server, job_id: str) -> dict[str, Any]:
    """Wait for a job's end."""

    async def done() -> bool:
        return (await job(server, job_id))["finished_at"] is not None

    await until(done, "the job ends", within_s=120, look_every_s=0.1)
    return await job(server, job_id)


def check(
    ended: dict[str, Any],
    number: int,
    letters: Sequence[Any],
    made: Sequence[Any],
    *,
    rate: float | None = None,
) -> None:
    """Exactly one new delivery for each dead letter, all delivered, and the job says the same."""
    wanted = Counter((event, subscription) for event, subscription in letters)
    found = Counter((event, subscription) for event, subscription, _ in made)
    assert len(wanted) == number
    missing, twice = wanted - found, found - wanted
    assert not missing, f"{missing.total()} dead letters have no new delivery"
    assert not twice, f"{twice.total()} new deliveries are too many"
    assert {status for _, _, status in made} == {SUCCEEDED}
    counts = {name: ended[name] for name in ("status", "total", "done", "failed", "deliveries")}
    assert counts == {
        "status": "done", "total": number, "done": number, "failed": 0, "deliveries": number,
    }  # fmt: skip
    if rate is not None:
        began, end = (Timestamp.parse(ended[name]) for name in ("created_at", "finished_at"))
        # The first second's worth goes out at once.
        assert (end - began) / 1000 >= number / rate - 1.1, "it was faster than it was to be"


def rows_of_file(server: Server) -> tuple[list[Any], list[Any]]:
    """Dead letters and replays, read by SQLite alone."""
    db = apsw.Connection(str(server.database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return list(db.execute(_LETTERS)), list(db.execute(_MADE))
    finally:
        db.close()


async def rows_of_database(url: str) -> tuple[list[Any], list[Any]]:
    """The same, read by PostgreSQL's driver alone."""
    db: Any = await asyncpg.connect(url)
    try:
        return await db.fetch(_LETTERS), await db.fetch(_MADE)
    finally:
        await db.close()


async def idle(*servers: Server) -> None:
    """Wait until nothing waits."""
    await until(servers[0].idle, "everything is delivered", within_s=180, look_every_s=0.2)


async def kill_half_way(
    server: Server, endpoint: Endpoint, number: int, *, rate: float | None, crash: str = ""
) -> None:
    """Replay dead letters in a file's server that dies on the way, at a step or half-way.

    Args:
        server: not started yet.
        endpoint: where deliveries go.
        number: of dead letters.
        rate: of the replay.
        crash: the step at which it dies, a failpoint; empty for SIGKILL when half of it is done.
    """
    await plant(server.folder, f"sqlite:///{server.database}", endpoint, number)
    await server.start(failpoints=crash)
    job_id = await ask_for_replay(server, rate=rate)
    if crash:
        await server.ended()
    else:
        await reached(server, job_id, number // 2)
        server.kill()
    _, made = rows_of_file(server)
    assert len(made) < number
    await server.start()
    ended = await finished(server, job_id)
    await idle(server)
    assert await server.stop() == 0
    check(ended, number, *rows_of_file(server), rate=rate)
