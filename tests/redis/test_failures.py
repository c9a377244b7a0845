"""What becomes of accepted events when Redis, a consumer or an operator does what it should not."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from tests.conftest import Enter, Log, MakeService, Run
from tests.faults.server import until
from tests.redis.conftest import Buffered, MakeBuffered
from tests.servers.redis import RedisServer

from triggers_api.errors import StartError, StoreUnavailable
from triggers_api.failpoints import InjectedError
from triggers_api.testing import ADMIN_KEY, Receiver


def said(log: Log) -> list[str]:
    return [line["event"] for line in log]


def look_again(buffered: Buffered) -> None:
    """As the running part does every half second, and the consumer with it."""
    buffered.run(buffered.buffer.watch.run_once())
    buffered.buffer.consumer._looked_at = 0.0
    buffered.run(buffered.buffer.consumer.run_once())
    buffered.run(buffered.buffer.watch.run_once())


# ── what it is worth ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("appendonly", "no"),
        ("appendfsync", "everysec"),
        ("maxmemory-policy", "allkeys-lru"),
        ("no-appendfsync-on-rewrite", "yes"),
    ],
)
def test_a_redis_that_may_lose_events_is_refused_at_the_start(
    make_buffered: MakeBuffered, redis: RedisServer, name: str, value: str
) -> None:
    before = redis.call("CONFIG", "GET", name)[1]
    redis.call("CONFIG", "SET", name, value)
    try:
        with pytest.raises(StartError, match=f"{name} is {value}.*TRIGGERS_REDIS_DURABILITY"):
            make_buffered()
    finally:
        redis.call("CONFIG", "SET", name, before)


def test_where_it_is_wanted_all_the_same_each_answer_says_so(on_own_redis: MakeBuffered) -> None:
    on_own_redis.server.configure(appendfsync="everysec")
    buffered = on_own_redis(redis_durability="relaxed")
    for path, body in (
        ("/api/events", {"type": "a", "payload": 1}),
        ("/api/events/batch", [{"type": "a", "payload": 1}]),
    ):
        answer = buffered.call("POST", path, body)
        assert (answer.status, answer.headers["triggers-durability"]) == (202, "everysec")
    health = buffered.look()
    assert health["weaknesses"] == ["appendfsync is everysec and not always"]
    assert health["problem"] is None


def test_a_redis_that_becomes_weaker_is_not_used_any_more(
    on_own_redis: MakeBuffered, log: Log
) -> None:
    buffered = on_own_redis()
    buffered.send()
    assert buffered.length == 1
    on_own_redis.server.configure(appendfsync="everysec")
    buffered.buffer.watch._asked_at = 0.0
    buffered.run(buffered.buffer.watch.run_once())
    sent = buffered.send()
    assert buffered.length == 1
    assert buffered.listed() == [sent["id"]]
    assert "no events go into redis" in said(log)
    # What is in it goes on landing.
    assert buffered.land() == 1
    on_own_redis.server.configure(appendfsync="always")
    buffered.buffer.watch._asked_at = 0.0
    buffered.run(buffered.buffer.watch.run_once())
    buffered.send()
    assert buffered.length == 1


# ── Redis away ────────────────────────────────────────────────────────────────────────────────────


def test_while_redis_is_away_events_go_straight_into_the_database(
    on_own_redis: MakeBuffered,
) -> None:
    buffered = on_own_redis()
    waiting = buffered.send(dedup_id="a")
    on_own_redis.server.kill()
    direct = [buffered.send(dedup_id=each)["id"] for each in ("b", "c")]
    assert buffered.send(1, 200, dedup_id="b")["id"] == direct[0]
    assert set(buffered.listed()) == set(direct)
    # What is not known is not found, and nothing else fails.
    assert buffered.call("GET", f"/api/events/{waiting['id']}").status == 404
    ready = buffered.call("GET", "/readyz", key=None)
    assert (ready.status, ready.json["status"]) == (200, "degraded")
    assert ready.json["checks"]["buffer"] == "unavailable"
    assert buffered.get("/api/health/detailed")["redis"] == "unhealthy"
    on_own_redis.server.start()
    buffered.run(once_open(buffered))
    assert buffered.event(waiting["id"])["status"] == "queued"
    buffered.send(dedup_id="d")
    buffered.drain()
    assert len(buffered.listed()) == 4
    assert buffered.get("/api/admin/verify", key=ADMIN_KEY)["ok"]


async def once_open(buffered: Buffered) -> None:
    while not buffered.buffer.takes:
        await buffered.buffer.watch.run_once()
        await asyncio.sleep(0.05)


def test_or_they_are_refused_where_that_is_wanted(on_own_redis: MakeBuffered) -> None:
    buffered = on_own_redis(redis_fallback="refuse")
    buffered.send()
    on_own_redis.server.kill()
    answers = [buffered.run(buffered.service.send("a", 1)) for _ in range(2)]
    assert [each.status for each in answers] == [503, 503]
    assert {each.json["code"] for each in answers} <= {"store-unavailable", "outcome-unknown"}
    assert all(int(each.headers["retry-after"]) >= 1 for each in answers)
    assert buffered.call("GET", "/readyz", key=None).status == 503
    assert buffered.listed() == []


def test_it_starts_while_redis_is_away(on_own_redis: MakeBuffered) -> None:
    on_own_redis.server.stop()
    buffered = on_own_redis()
    sent = buffered.send()
    assert buffered.listed() == [sent["id"]]
    on_own_redis.server.start()
    buffered.run(once_open(buffered))
    buffered.send()
    assert buffered.length == 1


def test_what_a_redis_that_hangs_leaves_open_is_stored_once(on_own_redis: MakeBuffered) -> None:
    buffered = on_own_redis()
    buffered.send()
    on_own_redis.server.freeze()
    # It is in the socket of Redis, and in the database.
    sent = buffered.send(dedup_id="d")
    assert buffered.listed() == [sent["id"]]
    on_own_redis.server.resume()
    buffered.run(once_open(buffered))
    buffered.drain()
    assert len(buffered.listed()) == 2
    assert buffered.event(sent["id"])["duplicate_of"] is None
    assert buffered.send(1, 200, dedup_id="d")["id"] == sent["id"]
    assert buffered.get("/api/admin/verify", key=ADMIN_KEY)["ok"]


def test_a_redis_without_memory_refuses_and_nothing_is_lost(on_own_redis: MakeBuffered) -> None:
    buffered = on_own_redis()
    sent = buffered.send(dedup_id="a")
    on_own_redis.server.configure(maxmemory="1")
    refused = buffered.run(buffered.service.send("a", 1))
    assert (refused.status, refused.json["code"]) == (503, "storage-full")
    assert int(refused.headers["retry-after"]) >= 1
    # To let go of something needs no memory.
    assert buffered.land() == 1
    assert buffered.listed() == [sent["id"]]
    on_own_redis.server.configure(maxmemory="0")
    buffered.send()


def test_what_redis_kept_is_there_when_it_was_killed(on_own_redis: MakeBuffered) -> None:
    buffered = on_own_redis()
    sent = [buffered.send(n)["id"] for n in range(10)]
    on_own_redis.server.kill()
    on_own_redis.server.start()
    buffered.run(once_open(buffered))
    buffered.drain()
    assert buffered.listed() == sent


# ── consumers ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "step",
    ["landing.read", "land.before_commit", "land.after_commit", "landing.before_settle"],
)
def test_a_consumer_that_fails_anywhere_leaves_it_to_the_next(
    make_buffered: MakeBuffered, redis: RedisServer, step: str
) -> None:
    failing = make_buffered(failpoints=f"{step}=error")
    sent = [failing.send(n, dedup_id=str(n))["id"] for n in range(5)]
    failing.run(failing.buffer.watch.run_once())
    with suppress(InjectedError):  # of the database the consumer takes it as a fault of the events
        failing.run(failing.buffer.consumer.run_once())
    redis.call("DEL", f"{failing.prefix}:leader")  # as when it has run out
    other = make_buffered(redis_prefix=failing.prefix)
    other.drain()
    assert other.listed() == sent
    assert other.length == 0
    assert other.redis("XPENDING", "events", "landing")[0] == 0
    # The first one finds that it does not lead, and that nothing is left.
    redis.call("DEL", f"{failing.prefix}:leader")
    failing.run(failing.buffer.consumer.run_once())
    assert other.get("/api/admin/verify", key=ADMIN_KEY)["ok"]
    assert [other.event(each)["status"] for each in sent] == ["processed"] * 5


def test_one_consumer_lands_at_a_time(make_buffered: MakeBuffered) -> None:
    first = make_buffered()
    second = make_buffered(redis_prefix=first.prefix)
    first.send()
    assert first.land() == 1
    second.send()
    assert second.land() == 0
    assert first.land() == 1


def test_a_consumer_that_ends_gives_the_lead_up(
    make_buffered: MakeBuffered,
    leave: Any,  # noqa: ANN401 - a fixture
) -> None:
    first = make_buffered()
    first.send()
    assert first.land() == 1
    second = make_buffered(redis_prefix=first.prefix)
    leave(first.service)
    second.send()
    assert second.land() == 1
    events = f"{second.prefix}:events"
    assert len(second.server.call("XINFO", "CONSUMERS", events, "landing")) == 1


def test_what_is_no_event_is_set_aside_with_its_reason(buffered: Buffered, log: Log) -> None:
    sent = buffered.send()
    buffered.redis("XADD", "events", "*", "what", "is this")
    good = buffered.redis("XRANGE", "events", "-", "+", "COUNT", 1)[0][1]
    broken = [*good[:-1], b"\xc1"]
    broken[1] = sent["id"][:-1].encode() + b"f"
    buffered.redis("XADD", "events", "*", *broken)
    buffered.drain()
    assert buffered.listed() == [sent["id"]]
    assert buffered.length == 0
    reasons = [dict(zip(fields[::2], fields[1::2], strict=True))[b"reason"]
               for _, fields in buffered.redis("XRANGE", "poison", "-", "+")]  # fmt: skip
    assert reasons == [b"not an event, or damaged"] * 2
    assert said(log).count("an entry is set aside") == 2
    assert buffered.look()["poisoned"] == 2


def test_what_cannot_be_stored_costs_no_other_and_is_tried_again_when_it_is_released(
    make_buffered: MakeBuffered, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffered = make_buffered(max_process_attempts=2)
    sent = [buffered.send(n, dedup_id=str(n))["id"] for n in range(5)]
    store = buffered.service.app.store
    land = store.land  # type: ignore[attr-defined]

    async def failing(events: Any) -> Any:  # noqa: ANN401 - as it is
        if any(each.id == sent[2] for each in events):
            raise ValueError("not this one")
        return await land(events)

    monkeypatch.setattr(store, "land", failing)
    for _ in range(10):
        buffered.run(buffered.buffer.consumer.run_once())
    assert buffered.length == 0
    assert buffered.listed() == [*sent[:2], *sent[3:]]
    aside = buffered.event(sent[2])
    assert aside["status"] == "failed"
    assert aside["timeline"][-1]["detail"] == "it cannot be stored: ValueError"
    monkeypatch.undo()
    # It may be sent again, and is one event with what waits.
    again = buffered.send(2, dedup_id="2")
    assert buffered.run(buffered.buffer.release(sent[2]))
    assert not buffered.run(buffered.buffer.release(sent[2]))
    buffered.drain()
    assert buffered.event(again["id"])["status"] == "processed"
    assert buffered.event(sent[2])["duplicate_of"] == again["id"]


def test_what_took_its_consumers_down_is_landed_alone_and_then_set_aside(
    make_buffered: MakeBuffered, redis: RedisServer
) -> None:
    buffered = make_buffered(max_process_attempts=3)
    sent = buffered.send()["id"]
    buffered.land()
    doomed = buffered.send()["id"]
    events = f"{buffered.prefix}:events"
    redis.call("XREADGROUP", "GROUP", "landing", "dead-0", "STREAMS", events, ">")
    for n in range(1, 3):
        redis.call("XAUTOCLAIM", events, "landing", f"dead-{n}", 0, "0-0")
    redis.call("DEL", f"{buffered.prefix}:leader")
    buffered.drain()
    assert buffered.event(sent)["status"] == "processed"
    assert buffered.event(doomed)["status"] == "failed"
    assert buffered.event(doomed)["timeline"][-1]["detail"] == "landing it was begun 3 times"


def test_that_the_database_is_away_is_no_fault_of_the_events(
    make_buffered: MakeBuffered, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffered = make_buffered()
    sent = buffered.send()["id"]

    async def away(_: Any) -> Any:  # noqa: ANN401 - as it is
        raise StoreUnavailable("away")

    monkeypatch.setattr(buffered.service.app.store, "land", away)
    for _ in range(20):
        buffered.run(buffered.buffer.consumer.run_once())
    assert buffered.length == 1
    (row,) = buffered.redis("XPENDING", "events", "landing", "-", "+", 10)
    assert row[3] == 0
    monkeypatch.undo()
    redis.call("DEL", f"{buffered.prefix}:leader")
    buffered.drain()
    assert buffered.listed() == [sent]


# ── what somebody did by hand ─────────────────────────────────────────────────────────────────────


def test_a_destroyed_group_is_made_again_and_nothing_is_lost(buffered: Buffered, log: Log) -> None:
    first = buffered.send()["id"]
    buffered.land()
    sent = [buffered.send(n)["id"] for n in range(3)]
    buffered.server.call("XGROUP", "DESTROY", f"{buffered.prefix}:events", "landing")
    look_again(buffered)
    buffered.drain()
    assert buffered.listed() == [first, *sent]
    assert "the consumer group was gone; it is made again" in said(log)
    assert buffered.metric("triggers_buffer_groups_made_again_total") == 1
    assert buffered.metric("triggers_buffer_data_loss_total") == 0


@pytest.mark.parametrize("way", ["trimmed", "deleted", "gone"])
def test_what_was_trimmed_is_counted_told_and_may_be_sent_again(
    buffered: Buffered, log: Log, way: str
) -> None:
    sent = [buffered.send(n, dedup_id=str(n))["id"] for n in range(5)]
    if way == "trimmed":
        buffered.redis("XTRIM", "events", "MAXLEN", 3)
    elif way == "deleted":
        for place, _ in buffered.redis("XRANGE", "events", "-", "+", "COUNT", 2):
            buffered.redis("XDEL", "events", place)
    else:
        buffered.server.call("DEL", f"{buffered.prefix}:events")
    lost = 5 if way == "gone" else 2
    buffered.run(buffered.buffer.watch.run_once())
    assert buffered.look()["data_loss"] == lost
    ready = buffered.call("GET", "/readyz", key=None)
    assert (ready.json["status"], ready.json["checks"]["buffer"]) == ("degraded", "data-loss")
    assert buffered.get("/api/health/detailed")["redis"] == "unhealthy"
    for _ in range(3):
        look_again(buffered)
    buffered.drain()
    assert buffered.listed() == sent[lost:]
    assert buffered.metric("triggers_buffer_data_loss_total") == lost
    assert buffered.look()["data_loss"] == lost
    told = [dict(zip(f[::2], f[1::2], strict=True))[b"id"].decode()
            for _, f in buffered.redis("XRANGE", "lost", "-", "+")]  # fmt: skip
    assert sorted(told) == sorted(sent[:lost])
    assert "events have vanished from redis that had been accepted" in said(log)
    # Its sender may send it again, and is not told that it is there.
    again = buffered.send(0, dedup_id="0")
    buffered.drain()
    assert buffered.event(again["id"])["status"] == "processed"
    # Somebody has looked into it.
    buffered.redis("HSET", "books", "forgiven", lost)
    buffered.run(buffered.buffer.watch.run_once())
    assert buffered.call("GET", "/readyz", key=None).json["checks"]["buffer"] == "ok"


def test_what_was_flushed_is_counted(on_own_redis: MakeBuffered, log: Log) -> None:
    buffered = on_own_redis()
    for n in range(5):
        buffered.send(n)
    buffered.land()
    for n in range(3):
        buffered.send(n)
    on_own_redis.server.call("FLUSHALL")
    buffered.send()
    for _ in range(3):
        look_again(buffered)
    assert buffered.look()["data_loss"] == 3
    assert buffered.metric("triggers_buffer_data_loss_total") == 3
    assert "redis has forgotten events that had been accepted" in said(log)
    buffered.drain()
    assert len(buffered.listed()) == 6


def test_a_replica_that_takes_over_and_has_missed_some_is_found_out(
    on_own_redis: MakeBuffered,
) -> None:
    buffered = on_own_redis()
    server = on_own_redis.server
    kept = buffered.send(0)["id"]
    copies = {
        name: server.call("DUMP", f"{buffered.prefix}:{name}")
        for name in ("events", "waiting", "depths", "books")
    }
    for n in range(3):
        buffered.send(n)
    server.call("FLUSHALL")
    for name, copy in copies.items():
        server.call("RESTORE", f"{buffered.prefix}:{name}", 0, copy)
    for _ in range(3):
        look_again(buffered)
    buffered.drain()
    assert buffered.listed() == [kept]
    assert buffered.look()["data_loss"] == 3
    assert buffered.metric("triggers_buffer_data_loss_total") == 3


def test_what_a_deleted_consumer_had_in_hand_is_read_again(buffered: Buffered, log: Log) -> None:
    buffered.land()
    sent = [buffered.send(n)["id"] for n in range(3)]
    events = f"{buffered.prefix}:events"
    buffered.server.call("XREADGROUP", "GROUP", "landing", "dead", "STREAMS", events, ">")
    buffered.server.call("XGROUP", "DELCONSUMER", events, "landing", "dead")
    buffered.buffer.consumer._last = buffered.redis("XRANGE", "events", "-", "+")[-1][0]
    buffered.drain()
    assert buffered.listed() == sent
    assert "entries were in nobody's hands; they are read again" in said(log)


def test_slow_webhooks_never_hold_what_waits(
    make_service: MakeService, enter: Enter, run: Run
) -> None:
    service = enter(make_service(delivery_timeout_s=20.0, shutdown_grace_s=0.0))
    receiver = enter(Receiver())
    held = asyncio.Event()

    async def never(_: object) -> Any:  # noqa: ANN401 - no answer
        await held.wait()

    receiver.always(never)

    async def routed(event_id: str) -> bool:
        found = await service.call("GET", f"/api/events/{event_id}")
        return bool(found.json["status"] == "processed")

    async def main() -> None:
        await service.subscribe(receiver.url)
        await service.send("a", 0)
        await receiver.wait_for(1)
        sent = [(await service.send("a", n)).json["id"] for n in range(20)]
        for each in sent:
            await until(lambda each=each: routed(each), "it is routed")
        held.set()

    run(main())
