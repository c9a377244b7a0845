"""What becomes of accepted events when Redis, a consumer or an operator does what it should not."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner
from tests.conftest import Enter, Log, MakeService, Run, new_organization, wait_for_redis
from tests.faults.server import until
from tests.redis.conftest import Buffered, MakeBuffered
from tests.servers.redis import RedisServer

from triggers_api.cli import poison
from triggers_api.cli.operator import Operator
from triggers_api.errors import OutcomeUnknown, StartError, StoreUnavailable
from triggers_api.failpoints import InjectedError
from triggers_api.testing import ADMIN_KEY, Receiver

POISON = "/api/admin/buffer/poison"


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


def test_what_a_redis_that_hangs_leaves_open_is_stored_once(
    on_own_redis: MakeBuffered, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_redis(monkeypatch, answer_s=2.0)
    buffered = on_own_redis()
    buffered.send()
    on_own_redis.server.freeze()
    monkeypatch.setattr("triggers_api.redis.client._CONNECT_WITHIN_S", 1.0)
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
    path = f"{POISON}/{sent[2]}/release"
    assert [buffered.call("POST", path, key=ADMIN_KEY).status for _ in range(2)] == [202, 404]
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


@pytest.mark.parametrize("more_comes", [False, True])
def test_what_was_handed_out_in_an_answer_that_was_lost_is_landed_before_what_came_later(
    buffered: Buffered, monkeypatch: pytest.MonkeyPatch, *, more_comes: bool
) -> None:
    """Redis dies, or the connection does, between the handing out and the answer; the lead stays."""
    consumer = buffered.buffer.consumer
    buffered.send()
    assert buffered.land() == 1
    sent = [buffered.send()["id"] for _ in range(3)]
    execute = consumer._redis.execute

    async def lost(*command: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever it answers
        answer = await execute(*command, **options)
        if command[0] == "XREADGROUP":
            raise OutcomeUnknown
        return answer

    with monkeypatch.context() as broken:
        broken.setattr(consumer._redis, "execute", lost)
        buffered.run(consumer.run_once())
    if more_comes:
        sent.append(buffered.send()["id"])
    buffered.run(consumer.run_once())
    assert set(buffered.listed()) >= set(sent[:3])
    buffered.land()
    assert set(buffered.listed()) >= set(sent)
    assert buffered.length == 0


def test_what_another_read_after_it_had_lost_the_lead_is_landed_by_who_has_it(
    buffered: Buffered,
) -> None:
    consumer = buffered.buffer.consumer
    buffered.send()
    assert buffered.land() == 1
    sent = buffered.send()
    buffered.server.call(
        "XREADGROUP", "GROUP", "landing", "late", "STREAMS", consumer._names.stream, ">"
    )
    for _ in range(3):
        buffered.run(consumer.run_once())
    assert sent["id"] in buffered.listed()
    assert buffered.length == 0


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


# ── the lead ──────────────────────────────────────────────────────────────────────────────────────


def test_a_slow_database_costs_nobody_the_lead(
    make_buffered: MakeBuffered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.ingest.buffer_redis.consumer._KEEP_EVERY_S", 0.01)
    first = make_buffered()
    second = make_buffered(redis_prefix=first.prefix)
    sent = first.send()["id"]
    land = first.service.app.store.land  # type: ignore[attr-defined]
    kept = 0
    leader = f"{first.prefix}:leader"

    async def slow(events: Any) -> Any:  # noqa: ANN401 - as it is
        nonlocal kept
        for _ in range(3):
            # About to run out, again and again.
            first.server.call("PEXPIRE", leader, 3000)
            await until_kept()
            kept += 1
            await second.buffer.consumer.run_once()
            assert second.buffer.consumer.landed == 0
        return await land(events)

    async def until_kept() -> None:
        async def is_kept() -> bool:
            left: int = first.server.call("PTTL", leader)
            return left > 4000

        await until(is_kept, "the lead is kept")

    monkeypatch.setattr(first.service.app.store, "land", slow)
    assert first.land() == 1
    assert kept == 3
    assert first.listed() == [sent]


def test_a_database_that_hangs_however_long_has_nothing_set_aside(
    make_buffered: MakeBuffered, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each process in turn takes over what the others could not store, more often than a bad one may be.
    first = make_buffered(max_process_attempts=3)
    second = make_buffered(max_process_attempts=3, redis_prefix=first.prefix)
    sent = [first.send(n)["id"] for n in range(3)]

    async def hangs(_: Any) -> Any:  # noqa: ANN401 - as it is
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr("triggers_api.ingest.buffer_redis.consumer._PATIENCE_S", 0.01)
        for each in (first, second):
            patched.setattr(each.service.app.store, "land", hangs)
        for _ in range(6):
            for each in (first, second):
                each.redis("DEL", "leader")
                each.run(each.buffer.consumer.run_once())
    first.redis("DEL", "leader")
    first.drain()
    assert first.listed() == sent
    assert first.look()["poisoned"] == 0


def test_a_process_that_ends_casts_no_suspicion_on_what_it_had_in_hand(
    make_buffered: MakeBuffered,
    leave: Any,  # noqa: ANN401 - a fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = make_buffered(max_process_attempts=2)
    sent = first.send()["id"]

    async def away(_: Any) -> Any:  # noqa: ANN401 - as it is
        raise StoreUnavailable("away")

    for _ in range(4):
        process = make_buffered(max_process_attempts=2, redis_prefix=first.prefix)
        with monkeypatch.context() as patched:
            patched.setattr(process.service.app.store, "land", away)
            # It has it in hand, and ends before it has tried.
            patched.setattr(process.buffer.consumer, "_next", list)
            patched.setattr(process.buffer.consumer, "_land", away)
            process.run(process.buffer.consumer.run_once())
        leave(process.service)
    first.drain()
    assert first.listed() == [sent]
    assert first.event(sent)["status"] == "processed"


def test_a_clock_of_redis_that_goes_back_leaves_nobody_the_lead_for_ever(
    make_buffered: MakeBuffered,
) -> None:
    first = make_buffered()
    first.redis("SET", "leader", "dead", "PX", 3_600_000)
    sent = first.send()["id"]
    assert first.land() == 0
    assert 0 < first.redis("PTTL", "leader") <= 6000
    first.redis("PERSIST", "leader")
    assert first.land() == 0
    assert 0 < first.redis("PTTL", "leader") <= 6000
    first.redis("DEL", "leader")
    first.drain()
    assert first.listed() == [sent]


def test_a_consumer_that_stood_still_and_comes_back_does_nothing_twice(
    make_buffered: MakeBuffered, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_buffered()
    second = make_buffered(redis_prefix=first.prefix)
    sent = [first.send(n, dedup_id=str(n))["id"] for n in range(5)]
    land = first.service.app.store.land  # type: ignore[attr-defined]

    async def stands_still(events: Any) -> Any:  # noqa: ANN401 - as it is
        first.redis("DEL", "leader")
        await second.service.drain()
        assert second.length == 0
        return await land(events)

    monkeypatch.setattr(first.service.app.store, "land", stands_still)
    first.run(first.buffer.consumer.run_once())
    first.drain()
    assert first.listed() == sent
    assert first.redis("HGET", "books", "settled") == b"5"
    assert first.get("/api/admin/verify", key=ADMIN_KEY)["ok"]
    assert first.look()["data_loss"] == 0


def test_an_answer_of_the_database_that_is_lost_is_asked_for_again(
    buffered: Buffered, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [buffered.send(n, dedup_id=str(n % 2))["id"] for n in range(2)]
    store = buffered.service.app.store
    land = store.land  # type: ignore[attr-defined]

    async def lost(events: Any) -> Any:  # noqa: ANN401 - as it is
        await land(events)
        raise OutcomeUnknown("the answer was lost")

    with monkeypatch.context() as patched:
        patched.setattr(store, "land", lost)
        for _ in range(3):
            buffered.run(buffered.buffer.consumer.run_once())
    assert buffered.length == 2
    assert buffered.land() == 2
    assert buffered.metric("triggers_buffer_landed_total", result="was_there") == 2
    assert buffered.listed() == sent
    assert buffered.get("/api/admin/verify", key=ADMIN_KEY)["ok"]


def test_who_lands_by_hand_beside_another_keeps_nobody_waiting(
    make_buffered: MakeBuffered,
) -> None:
    asked = make_buffered()
    working = make_buffered(redis_prefix=asked.prefix)
    asked.send()
    assert asked.call("POST", "/api/admin/process", key=ADMIN_KEY).status == 200
    assert asked.length == 0
    working.send()
    assert working.land() == 1


# ── what Redis forgets, and what somebody puts there ──────────────────────────────────────────────


def test_what_is_in_hand_when_redis_forgets_everything_is_stored(
    on_own_redis: MakeBuffered, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    buffered = on_own_redis()
    sent = [buffered.send(n)["id"] for n in range(3)]

    async def away(_: Any) -> Any:  # noqa: ANN401 - as it is
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(buffered.service.app.store, "land", away)
        buffered.run(buffered.buffer.consumer.run_once())
    on_own_redis.server.call("FLUSHALL")
    later = buffered.send()["id"]
    buffered.drain()
    assert buffered.listed() == [*sent, later]
    assert "events that redis has forgotten were in hand, and are stored" in said(log)


@pytest.mark.parametrize("key", ["events", "waiting", "depths", "books", "poison"])
def test_a_key_that_is_something_else_is_told_and_stops_no_event(
    on_own_redis: MakeBuffered, key: str
) -> None:
    buffered = on_own_redis()
    buffered.send()
    buffered.drain()
    buffered.redis("DEL", key)
    buffered.redis("SET", key, "x")
    sent = [buffered.send()["id"] for _ in range(2)]
    buffered.run(buffered.buffer.watch.run_once())
    buffered.run(buffered.buffer.consumer.run_once())
    health = buffered.look()
    if key != "depths":  # of which only an organization with a limit has something
        assert health["state"] == "unavailable"
        assert "WRONGTYPE" in health["problem"]
    buffered.redis("DEL", key)
    buffered.run(once_open(buffered))
    sent.append(buffered.send()["id"])
    buffered.drain()
    assert {buffered.event(each)["status"] for each in sent} == {"processed"}
    assert buffered.get("/api/admin/verify", key=ADMIN_KEY)["ok"]


def test_a_service_starts_while_somebody_has_put_something_else_there(
    make_buffered: MakeBuffered, redis: RedisServer
) -> None:
    redis.call("SET", "test-other:events", "x")
    buffered = make_buffered(redis_prefix="test-other")
    sent = buffered.send()["id"]
    assert buffered.listed() == [sent]
    assert buffered.look()["state"] == "unavailable"
    redis.call("DEL", "test-other:events")


# ── what was set aside ────────────────────────────────────────────────────────────────────────────


def set_aside(buffered: Buffered, monkeypatch: pytest.MonkeyPatch, *ids: str) -> None:
    """Have events set aside."""
    store = buffered.service.app.store
    land = store.land  # type: ignore[attr-defined]

    async def failing(events: Any) -> Any:  # noqa: ANN401 - as it is
        if any(each.id in ids for each in events):
            raise ValueError("not these")
        return await land(events)

    with monkeypatch.context() as patched:
        patched.setattr(store, "land", failing)
        while buffered.length:
            buffered.run(buffered.buffer.consumer.run_once())


def test_what_was_set_aside_is_listed_tried_again_and_deleted(
    make_buffered: MakeBuffered, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffered = make_buffered(max_process_attempts=1)
    sent = [buffered.send(n, type="a.b")["id"] for n in range(3)]
    buffered.redis("XADD", "events", "*", "what", "is this")
    set_aside(buffered, monkeypatch, *sent)
    answer = buffered.get(f"{POISON}?limit=3", key=ADMIN_KEY)
    foreign, *newest = answer["data"]
    assert (foreign["event_id"], foreign["organization_id"], foreign["type"]) == (None, None, None)
    assert foreign["reason"] == "not an event, or damaged"
    assert [each["event_id"] for each in newest] == [sent[2], sent[1]]
    assert {each["type"] for each in newest} == {"a.b"}
    assert {each["reason"] for each in newest} == {"it cannot be stored: ValueError"}
    cursor = answer["next_cursor"]
    (oldest,) = buffered.get(f"{POISON}?limit=3&cursor={cursor}", key=ADMIN_KEY)["data"]
    assert oldest["event_id"] == sent[0]
    for bad in (f"{cursor}x", "x", buffered.get("/api/events?limit=1")["next_cursor"] or "y"):
        refused = buffered.call("GET", f"{POISON}?cursor={bad}", key=ADMIN_KEY)
        assert (refused.status, refused.json["code"]) == (400, "invalid-cursor")
    assert buffered.call("GET", POISON).status == 403
    assert buffered.get("/api/admin/queues", key=ADMIN_KEY)["events"]["buffer_poisoned"] == 4

    def call(method: str, name: str, action: str = "") -> int:
        return buffered.call(method, f"{POISON}/{name}{action}", key=ADMIN_KEY).status

    # By the entry's name or by its event's, once.
    assert call("POST", sent[0], "/release") == 202
    assert call("POST", newest[1]["id"], "/release") == 202
    for name in (sent[0], newest[1]["id"], "0-0", "99999999999999999999-0", "x", "evt_x"):
        assert call("POST", name, "/release") == 404, name
        assert call("DELETE", name) == 404, name
    assert call("POST", foreign["id"], "/release") == 409
    assert call("DELETE", foreign["id"]) == 204
    assert call("DELETE", sent[2]) == 204
    assert buffered.call("GET", f"/api/events/{sent[2]}").status == 404
    assert buffered.get(POISON, key=ADMIN_KEY) == {"data": [], "next_cursor": None}
    assert buffered.server.call("EXISTS", f"{buffered.prefix}:poisoned") == 0
    buffered.drain()
    assert buffered.listed() == sent[:2]
    assert [buffered.event(each)["status"] for each in sent[:2]] == ["processed"] * 2
    done = [(each["action"], each["resource"]["id"], each["actor"]["type"])
            for each in buffered.get("/api/audit?action=event.*", key=ADMIN_KEY)["data"]]  # fmt: skip
    assert done == [
        ("event.deleted", sent[2], "operator"),
        ("event.deleted", foreign["id"], "operator"),
        ("event.released", sent[1], "operator"),
        ("event.released", sent[0], "operator"),
    ]


def test_whose_event_was_set_aside_may_erase_it_and_nobody_else(
    make_buffered: MakeBuffered, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    buffered = make_buffered(max_process_attempts=1)
    _, other = run(new_organization(buffered.service))
    sent = buffered.send()["id"]
    set_aside(buffered, monkeypatch, sent)
    path = f"/api/events/{sent}"
    assert buffered.call("DELETE", path, key=other).status == 404
    assert buffered.event(sent)["status"] == "failed"
    assert buffered.call("DELETE", path).status == 204
    assert buffered.call("DELETE", path).status == 404
    assert buffered.redis("XLEN", "poison") == 0
    assert buffered.get("/api/audit?action=event.deleted")["data"][0]["resource"]["id"] == sent


def test_with_an_organization_goes_what_was_set_aside_of_it(
    make_buffered: MakeBuffered, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    buffered = make_buffered(max_process_attempts=1)
    organization_id, other = run(new_organization(buffered.service))
    kept = buffered.send()["id"]
    body = {"type": "a", "payload": 1}
    gone = buffered.call("POST", "/api/events", body, key=other).json["id"]
    set_aside(buffered, monkeypatch, kept, gone)
    assert buffered.redis("XLEN", "poison") == 2
    path = f"/api/admin/organizations/{organization_id}"
    assert buffered.call("DELETE", path, key=ADMIN_KEY).status == 204
    buffered.buffer.consumer._swept_at = -1e9
    look_again(buffered)
    (entry,) = buffered.get(POISON, key=ADMIN_KEY)["data"]
    assert entry["event_id"] == kept


def test_the_command_lists_what_was_set_aside_has_it_tried_again_and_deletes_it(
    make_buffered: MakeBuffered, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffered = make_buffered(max_process_attempts=1)
    sent = [buffered.send(n)["id"] for n in range(3)]
    buffered.redis("XADD", "events", "*", "what", "is this")
    set_aside(buffered, monkeypatch, *sent)

    def call(_: object, method: str, path: str, body: Any = None, *, query: Any = None) -> Any:  # noqa: ANN401 - JSON
        given = {name: value for name, value in (query or {}).items() if value is not None}
        answer = buffered.call(method, f"{path}?{urlencode(given)}", body, key=ADMIN_KEY)
        assert answer.status < 300, answer
        return answer.json if answer.body else None

    def command(*arguments: str, code: int = 0) -> str:
        ended = CliRunner().invoke(poison.command, [*arguments, "--admin-key", ADMIN_KEY])
        assert ended.exit_code == code, ended.output
        return ended.output

    monkeypatch.setattr(poison, "_AT_ONCE", 1)
    monkeypatch.setattr(Operator, "call", call)
    foreign, *lines = command().splitlines()
    assert foreign.endswith("-  -  -  not an event, or damaged")
    assert [line.split()[2] for line in lines] == sent[::-1]
    assert "there are more" in command("list", "--limit", "1")
    assert command("delete", sent[0]) == f"{sent[0]}  deleted\n"
    assert command("release", "--all") == f"{sent[1]}  is tried again\n{sent[2]}  is tried again\n"
    assert command("list", "--json").count("\n") == 1
    for misused in (("list", "x"), ("release",), ("release", "x", "--all"), ("delete", "--all")):
        command(*misused, code=2)
    buffered.drain()
    assert buffered.listed() == sent[1:]
