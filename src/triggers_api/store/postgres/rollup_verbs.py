"""What was counted, kept for charts: rows that their writer replaces, and that readers add up."""

from collections.abc import Collection, Sequence
from uuid import UUID

from triggers_api.model.ids import ORGANIZATION, SUBSCRIPTION
from triggers_api.model.rollup import EVERYBODY, SUBSCRIPTION_S, Rollup
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.tables import LAST, NOBODY, SQL, find, number, text

_ALL = NOBODY


async def save_rollups(db: Connection, rollups: Sequence[Rollup]) -> None:
    """Each in place of what its writer wrote of the same stretch before."""
    await db.execute(
        SQL["save_rollups"],
        [_whose(each.organization_id) for each in rollups],
        [
            NOBODY if each.subscription_id is None else number(each.subscription_id)
            for each in rollups
        ],
        [each.step_s for each in rollups],
        [each.at for each in rollups],
        [each.writer for each in rollups],
        [bodies.encode_tally(each.tally) for each in rollups],
    )


async def read_rollups(
    db: Connection, organization_id: str, step_s: int, since: Timestamp, until: Timestamp
) -> list[Rollup]:
    """Those of an organization."""
    rows = await db.fetch(SQL["rollups"], _whose(organization_id), step_s, since, until)
    return [
        Rollup(
            organization_id=organization_id,
            step_s=step_s,
            at=Timestamp(at),
            writer=writer,
            tally=bodies.tally(body),
        )
        for at, writer, body in rows
    ]


async def read_subscription_rollups(
    db: Connection, organization_id: str, subscription_ids: Collection[str], since: Timestamp
) -> list[Rollup]:
    """Those of some subscriptions."""
    rows = await db.fetch(
        SQL["subscription_rollups"],
        _whose(organization_id),
        [find(SUBSCRIPTION, each) for each in subscription_ids],
        SUBSCRIPTION_S,
        since,
    )
    return [
        Rollup(
            organization_id=organization_id,
            subscription_id=text(SUBSCRIPTION, subscription),
            step_s=SUBSCRIPTION_S,
            at=Timestamp(at),
            writer=writer,
            tally=bodies.tally(body),
        )
        for subscription, at, writer, body in rows
    ]


def _whose(organization_id: str) -> str | UUID:
    if organization_id == EVERYBODY:
        return _ALL
    found = find(ORGANIZATION, organization_id)
    return LAST if found == NOBODY else found
