"""What organizations have used of their rate limits, for all processes on one database."""

from collections.abc import Sequence

from triggers_api.model import ids
from triggers_api.model.quota import QuotaAsk, QuotaGrant
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.sessions import Sessions
from triggers_api.store.postgres.tables import SQL, number, text


class Quotas:
    """See :class:`triggers_api.store.base.QuotaLedger`."""

    def __init__(self, sessions: Sessions) -> None:
        """With connections to the primary."""
        self._sessions = sessions

    async def spend(self, asks: Sequence[QuotaAsk]) -> list[QuotaGrant]:
        return await self._sessions.write(lambda db: _spend(db, asks))


async def _spend(db: Connection, asks: Sequence[QuotaAsk]) -> list[QuotaGrant]:
    grants: dict[str, QuotaGrant] = {}
    open_asks = asks
    while True:
        rows = await db.fetch(
            SQL["spend_quotas"],
            [number(ask.organization_id) for ask in open_asks],
            [ask.rate.per_minute for ask in open_asks],
            [ask.rate.burst for ask in open_asks],
            [ask.debt for ask in open_asks],
            [ask.need for ask in open_asks],
            [ask.want for ask in open_asks],
        )
        for organization, granted, level in rows:
            grants[text(ids.ORGANIZATION, organization)] = QuotaGrant(granted, level)
        open_asks = [ask for ask in asks if ask.organization_id not in grants]
        if not open_asks:
            return [grants[ask.organization_id] for ask in asks]
        # The first that is heard of them, or the first since a crash of the server.
        await db.execute(SQL["open_quotas"], [number(ask.organization_id) for ask in open_asks])
