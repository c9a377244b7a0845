"""What was counted, kept for charts: rows that their writer replaces, and that readers add up."""

from collections.abc import Iterable, Sequence

import apsw

from triggers_api.model.ids import ORGANIZATION, SUBSCRIPTION
from triggers_api.model.rollup import EVERYBODY, SUBSCRIPTION_S, Rollup
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies
from triggers_api.store.sqlite.tables import SQL, Tables, numbers, run_many

_ALL = 0
_NOBODY = -1


class RollupVerbs(Tables):
    """The verbs around ``rollups``."""

    def save(self, db: apsw.Connection, rollups: Sequence[Rollup]) -> None:
        """Each in place of what its writer wrote of the same stretch before."""
        run_many(
            db,
            "save_rollups",
            [
                (
                    self._whose(each.organization_id),
                    0 if each.subscription_id is None else self.keys.of(each.subscription_id),
                    each.step_s,
                    each.at,
                    each.writer,
                    bodies.encode_tally(each.tally),
                )
                for each in rollups
            ],
            none=(0, 0, 0, 0, 0, b""),
        )

    def rollups(
        self,
        db: apsw.Connection,
        organization_id: str,
        step_s: int,
        since: Timestamp,
        until: Timestamp,
    ) -> list[Rollup]:
        """Those of an organization."""
        rows = db.execute(SQL["rollups"], (self._whose(organization_id), step_s, since, until))
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

    def of_subscriptions(
        self,
        db: apsw.Connection,
        organization_id: str,
        subscription_ids: Iterable[str],
        since: Timestamp,
    ) -> list[Rollup]:
        """Those of some subscriptions."""
        asked = numbers(self.keys.find(SUBSCRIPTION, each) for each in subscription_ids)
        rows = db.execute(
            SQL["subscription_rollups"],
            (self._whose(organization_id), asked, SUBSCRIPTION_S, since),
        )
        return [
            Rollup(
                organization_id=organization_id,
                subscription_id=self.keys.subscription(subscription),
                step_s=SUBSCRIPTION_S,
                at=Timestamp(at),
                writer=writer,
                tally=bodies.tally(body),
            )
            for subscription, at, writer, body in rows
        ]

    def prune(self, db: apsw.Connection, step_s: int, before: Timestamp, limit: int) -> int:
        """Delete old ones; returns how many."""
        db.execute(SQL["prune_rollups"], (step_s, before, limit))
        return db.changes()

    def _whose(self, organization_id: str) -> int:
        if organization_id == EVERYBODY:
            return _ALL
        return self.keys.find(ORGANIZATION, organization_id) or _NOBODY
