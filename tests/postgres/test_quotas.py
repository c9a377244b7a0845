"""Rate limits of several processes in the database: by its clock, each row at once."""

import asyncio
import random

from tests.conftest import Run
from tests.postgres.conftest import Database

from triggers_api.model import ids, quota
from triggers_api.model.quota import Meter, QuotaAsk, QuotaGrant, Rate


def test_the_database_decides_as_the_model_does(run: Run, database: Database) -> None:
    async def scenario() -> None:
        store = await database.store()
        ledger = store.quotas()
        db = await database.connection()
        draw = random.Random(7)
        keys = sorted(store.ids.new(ids.ORGANIZATION) for _ in range(4))
        rates = [
            Rate(1, 1),
            Rate(60_000, 100),
            Rate(10**9, 10**9),
            Rate(6_000_000, 3),
            Rate(1, 10**9),
        ]
        meters = dict.fromkeys(keys, Meter())
        for _ in range(150):
            asks = []
            for key in sorted(draw.sample(keys, draw.randrange(1, 5))):
                need = draw.choice((0, 1, 1, 5, 10**9))
                want = 0 if not need else max(need, draw.choice((1, 3, 200, 10**9)))
                rate = draw.choice(rates)
                asks.append(QuotaAsk(key, rate, draw.choice((0, 0, 3, -2, 10**8)), need, want))
            grants = await ledger.spend(asks)
            for ask, grant in zip(asks, grants, strict=True):
                moment = await db.fetchval(
                    "SELECT at_us FROM quotas WHERE organization_id = $1", ask.organization_id[4:]
                )
                meter, expected = quota.spend(meters[ask.organization_id], ask, moment)
                assert meter.at_us == moment
                assert grant == expected
                meters[ask.organization_id] = meter

    run(scenario())


def test_many_that_ask_at_once_get_no_more_than_there_is(run: Run, database: Database) -> None:
    rate = Rate(1, 1000)

    async def scenario() -> None:
        stores = [await database.store() for _ in range(3)]
        keys = sorted(stores[0].ids.new(ids.ORGANIZATION) for _ in range(3))

        async def asking(number: int) -> list[QuotaGrant]:
            asks = [QuotaAsk(key, rate, 0, 1, 7) for key in keys]
            return await stores[number % 3].quotas().spend(asks)

        answers = await asyncio.gather(*(asking(number) for number in range(200)))
        for column in range(3):
            assert sum(grants[column].granted for grants in answers) == 1000

    run(scenario())


def test_an_ask_for_nothing_finds_out_whether_it_is_there(run: Run, database: Database) -> None:
    async def scenario() -> None:
        store = await database.store()
        assert await store.quotas().spend(()) == []

    run(scenario())


def test_what_was_used_goes_with_the_organization(run: Run, database: Database) -> None:
    async def scenario() -> None:
        store = await database.store()
        organization = await database.organization(store)
        await store.quotas().spend([QuotaAsk(organization, Rate(1, 1), 1)])
        assert await store.delete_organization(organization)
        db = await database.connection()
        assert await db.fetchval("SELECT count(*) FROM quotas") == 0

    run(scenario())
