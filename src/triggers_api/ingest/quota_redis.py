"""What organizations have used of their rate limits, in Redis: a key for each, gone when it is empty."""

from collections.abc import Sequence
from typing import Final

from triggers_api.model.quota import QuotaAsk, QuotaGrant, Rate
from triggers_api.redis.client import Call, Redis
from triggers_api.redis.script import Script

_PROBE: Final = QuotaAsk("probe", Rate(1, 1), 0)


class RedisQuotas:
    """See :class:`triggers_api.store.base.QuotaLedger`."""

    def __init__(self, redis: Redis, *, prefix: str) -> None:
        """Set up.

        Args:
            redis: a connection that nobody else is held up by.
            prefix: of all keys of this installation.
        """
        self._redis = redis
        self._prefix = prefix
        self._script = Script.of("triggers_api.ingest", "spend_quota")

    async def spend(self, asks: Sequence[QuotaAsk]) -> list[QuotaGrant]:
        # A server that answers and does not take anything is not there: a question is put to it.
        answers = await self._redis.run_each([self._call(ask) for ask in asks or (_PROBE,)])
        grants = []
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            granted, level = answer
            grants.append(QuotaGrant(int(granted), int(level)))
        return grants if asks else []

    def key(self, organization_id: str) -> str:
        """Where an organization's meter is."""
        return f"{self._prefix}:quota:{organization_id}"

    def _call(self, ask: QuotaAsk) -> Call:
        rate = ask.rate
        return (
            self._script,
            (self.key(ask.organization_id),),
            (rate.per_minute, rate.burst, ask.debt, ask.need, ask.want),
        )
