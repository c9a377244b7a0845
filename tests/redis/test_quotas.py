"""Rate limits of several processes in Redis: by its clock, each key at once."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tests.conftest import Run
from tests.servers.redis import RedisServer

from triggers_api.errors import StorageFull, Unavailable
from triggers_api.ingest.quota_redis import RedisQuotas
from triggers_api.model import quota
from triggers_api.model.quota import Meter, QuotaAsk, QuotaGrant, Rate
from triggers_api.redis.address import address_of
from triggers_api.redis.client import Call, Redis


@pytest.fixture
def client(run: Run, redis: RedisServer) -> Iterator[Redis]:
    client = Redis(address_of(redis.url()))
    yield client
    run(client.close())


def new_key() -> str:
    return f"org_{secrets.token_hex(16)}"


class Looked(Redis):
    """Looks at meters right before and right after scripts run: between two questions they may go."""

    before: Sequence[bytes | None] = ()
    after: Sequence[bytes] = ()

    async def run_each(self, calls: Sequence[Call]) -> list[Any]:
        looked = [("GET", *keys) for _, keys, _ in calls]
        asked = [("EVAL", of.text, len(keys), *keys, *given) for of, keys, given in calls]
        *_, answers = await self.pipeline([("MULTI",), *looked, *asked, *looked, ("EXEC",)])
        count = len(calls)
        self.before, self.after = answers[:count], answers[2 * count :]
        return list(answers[count : 2 * count])


def test_redis_decides_as_the_model_does(run: Run, redis: RedisServer) -> None:
    async def scenario() -> None:
        client = Looked(address_of(redis.url()))
        ledger, draw = RedisQuotas(client, prefix="test"), random.Random(7)
        keys = [new_key() for _ in range(4)]
        rates = [Rate(1, 1), Rate(60_000, 100), Rate(10**9, 10**8), Rate(6_000_000, 3)]
        meters = dict.fromkeys(keys, Meter())
        last = dict.fromkeys(keys, rates[0])
        for _ in range(300):
            asks = []
            for key in draw.sample(keys, draw.randrange(1, 5)):
                need = draw.choice((0, 1, 1, 5, 10**8))
                want = 0 if not need else max(need, draw.choice((1, 3, 200, 10**8)))
                rate = draw.choice(rates)
                asks.append(QuotaAsk(key, rate, draw.choice((0, 0, 3, -2, 10**6)), need, want))
            grants = await ledger.spend(asks)
            for ask, grant, before, after in zip(
                asks, grants, client.before, client.after, strict=True
            ):
                key, moment = ask.organization_id, int(after.split()[1])
                if before is None:
                    # It was forgotten when it was empty, at the rate that was in force.
                    assert meters[key].level_at(moment, last[key].per_minute) == 0
                    meters[key] = Meter()
                meters[key], expected = quota.spend(meters[key], ask, moment)
                last[key] = ask.rate
                assert grant == expected
        await client.close()

    run(scenario())


def test_many_that_ask_at_once_get_no_more_than_there_is(run: Run, redis: RedisServer) -> None:
    rate, keys = Rate(1, 1000), [new_key() for _ in range(3)]

    async def scenario() -> None:
        clients = [Redis(address_of(redis.url())) for _ in range(3)]
        ledgers = [RedisQuotas(each, prefix="test") for each in clients]

        async def asking(number: int) -> list[QuotaGrant]:
            return await ledgers[number % 3].spend([QuotaAsk(key, rate, 0, 1, 7) for key in keys])

        answers = await asyncio.gather(*(asking(number) for number in range(200)))
        for column in range(3):
            assert sum(grants[column].granted for grants in answers) == 1000
        for each in clients:
            await each.close()

    run(scenario())


def test_a_meter_is_forgotten_when_it_is_empty(run: Run, client: Redis) -> None:
    async def scenario() -> None:
        ledger, key = RedisQuotas(client, prefix="test"), new_key()
        await ledger.spend([QuotaAsk(key, Rate(60, 100), 30)])
        kept, forgotten_at = await client.pipeline(
            [("GET", ledger.key(key)), ("PEXPIRETIME", ledger.key(key))]
        )
        used_at = int(kept.split()[1]) / 1000
        assert 30_000 <= forgotten_at - used_at <= 31_001

    run(scenario())


def test_an_ask_for_nothing_finds_out_whether_it_is_there_and_takes_anything(
    run: Run, own_redis: RedisServer
) -> None:
    async def scenario() -> None:
        client = Redis(address_of(own_redis.url()))
        ledger = RedisQuotas(client, prefix="test")
        assert await ledger.spend(()) == []
        own_redis.call("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StorageFull):
            await ledger.spend(())
        own_redis.kill()
        with pytest.raises(Unavailable):
            await ledger.spend(())
        await client.close()

    run(scenario())
