"""A connection to a real Redis: what it says when it is there, away, full, slow, or started anew."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator

import pytest
from tests.conftest import Log, Run
from tests.servers.redis import RedisServer

from triggers_api.errors import (
    OutcomeUnknown,
    SettingsError,
    StorageFull,
    StoreUnavailable,
    Unavailable,
)
from triggers_api.redis.address import address_of
from triggers_api.redis.client import Redis
from triggers_api.redis.connection import RefusedByRedis
from triggers_api.redis.script import Script

Ask = Callable[..., Redis]


def script(text: str) -> Script:
    return Script("test", text.encode(), hashlib.sha1(text.encode()).hexdigest().encode())


@pytest.fixture
def ask(run: Run) -> Iterator[Ask]:
    made: list[Redis] = []

    def ask(url: str, **options: float) -> Redis:
        made.append(Redis(address_of(url), **options))
        return made[-1]

    yield ask
    for each in made:
        run(each.close())


def test_answers_come_to_who_asked(run: Run, ask: Ask, redis: RedisServer) -> None:
    client = ask(redis.url())

    async def echoed(number: int) -> int:
        return int(await client.execute("ECHO", number))

    async def many() -> list[int]:
        return await asyncio.gather(*map(echoed, range(500)))

    assert run(many()) == list(range(500))


def test_an_answer_that_nobody_waits_for_any_more_is_not_the_next_ones(
    run: Run, ask: Ask, redis: RedisServer
) -> None:
    client = ask(redis.url())

    async def main() -> bytes:
        await client.execute("PING")
        impatient = asyncio.create_task(client.execute("ECHO", "mine"))
        await asyncio.sleep(0)
        impatient.cancel()
        found: bytes = await client.execute("ECHO", "yours")
        return found

    assert run(main()) == b"yours"


@pytest.mark.parametrize("way", ["tcp", "socket"])
def test_each_url_leads_there(run: Run, ask: Ask, redis: RedisServer, way: str) -> None:
    url = redis.url(1) if way == "tcp" else f"{redis.socket_url}?db=1"
    run(ask(url).execute("SET", way, "here"))
    assert redis.call("GET", way, database=1) == b"here"


def test_a_password_is_given_and_a_wrong_one_is_not_shown(run: Run, ask: Ask, log: Log) -> None:
    with RedisServer(in_memory=True, config={"requirepass": "open-sesame"}) as server:
        good = server.url().replace("//", "//:open-sesame@")
        bad = server.url().replace("//", "//:very-secret@")
        assert run(ask(good).execute("PING")) == b"PONG"
        with pytest.raises(StoreUnavailable):
            run(ask(bad).execute("PING"))
    assert "secret" not in str(log)
    assert "redis cannot be reached" in [line["event"] for line in log]


def test_what_is_wrong_with_one_command_is_not_said_of_the_others(
    run: Run, ask: Ask, redis: RedisServer
) -> None:
    first, second, third = run(ask(redis.url()).pipeline([("PING",), ("NONSENSE",), ("PING",)]))
    assert (first, third) == (b"PONG", b"PONG")
    assert isinstance(second, RefusedByRedis)


def test_a_script_is_sent_again_to_a_server_that_has_forgotten_it(
    run: Run, ask: Ask, own_redis: RedisServer
) -> None:
    count = script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    client = ask(own_redis.url())
    assert run(client.run_each([(count, ["n"], [1]), (count, ["n"], [2])])) == [1, 3]
    assert run(client.run(count, ["n"], [4])) == 7
    own_redis.call("SCRIPT", "FLUSH")
    assert run(client.run_each([(count, ["n"], [1]), (count, ["n"], [1])])) == [8, 9]


def test_a_server_that_is_away_is_found_again(run: Run, ask: Ask, own_redis: RedisServer) -> None:
    client = ask(own_redis.url())
    run(client.execute("SET", "kept", "yes"))
    own_redis.kill()
    with pytest.raises((StoreUnavailable, OutcomeUnknown)):
        run(client.execute("GET", "kept"))
    with pytest.raises(StoreUnavailable):
        run(client.execute("GET", "kept"))
    own_redis.start()
    assert run(_once_it_is_back(client, "GET", "kept")) == b"yes"


async def _once_it_is_back(client: Redis, *command: str) -> object:
    while True:
        try:
            return await client.execute(*command)
        except Unavailable:
            await asyncio.sleep(0.05)


def test_a_server_that_hangs_leaves_the_outcome_open(
    run: Run, ask: Ask, own_redis: RedisServer
) -> None:
    client = ask(own_redis.url(), answer_within_s=0.2)
    run(client.execute("PING", within_s=30.0))
    own_redis.freeze()
    with pytest.raises(OutcomeUnknown):
        run(client.execute("INCR", "n"))
    own_redis.resume()
    # It was done. That is what cannot be known.
    assert run(_once_it_is_back(client, "GET", "n")) == b"1"


def test_a_server_without_memory_says_so(run: Run, ask: Ask, own_redis: RedisServer) -> None:
    client = ask(own_redis.url())
    own_redis.configure(maxmemory="1")
    with pytest.raises(StorageFull):
        run(client.execute("SET", "n", "1"))


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost", "redis://", "redis://host/name", "redis://host:port", "unix://",
        "redis://host?secret=1", "unix://host/path",
    ],
)  # fmt: skip
def test_what_is_no_url_of_redis_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        address_of(url)
    assert "secret" not in str(refused.value)
    assert str(refused.value).startswith("TRIGGERS_REDIS_URL")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@host:1/2", "redis://host:1/2"),
        ("rediss://:secret@host", "rediss://host:6379/0"),
        ("unix:///a/b?db=3", "unix:///a/b?db=3"),
        ("redis://[::1]:7", "redis://[::1]:7/0"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert address_of(url).shown == shown
