"""Ends of hooks and other subscriptions of which others are to be told.

Every method and function here is an operation's body: it runs in the writer's thread, inside a
transaction.
"""

from collections.abc import Collection

import apsw

from triggers_api.model.audit import SERVICE, subscription_ended
from triggers_api.model.farewell import GRACE_S
from triggers_api.model.notice import expired
from triggers_api.model.subscription import MATCHING
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies
from triggers_api.store.base import Farewell
from triggers_api.store.sqlite.audit_verbs import AuditVerbs
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.notice_verbs import NoticeVerbs
from triggers_api.store.sqlite.settings_verbs import SettingsVerbs, write_farewell
from triggers_api.store.sqlite.tables import SQL, Tables, numbers


class FarewellVerbs(Tables):
    """The verbs around ``farewells``."""

    def __init__(self, keys: Keys, settings: SettingsVerbs, audit: AuditVerbs) -> None:
        super().__init__(keys)
        self._audit = audit
        self._settings = settings
        self._notices = NoticeVerbs(keys)

    def end_expired(
        self, db: apsw.Connection, notify: Collection[str], *, now: Timestamp
    ) -> list[int]:
        """End what is past its time; returns the numbers of these subscriptions."""
        ended = list(db.execute(SQL["end_expired_subscriptions"], (now,)))
        for organization, number, body in ended:
            subscription = bodies.subscription(body)
            if subscription.status not in MATCHING or subscription.by_session:
                continue
            record = self._settings.by_number(db, number)
            self._audit.note(db, SERVICE, subscription_ended(record, "expired"))
            if self.keys.organization(organization) in notify:
                self._notices.write(db, organization, (expired(subscription, now),))
            if subscription.hook:
                write_farewell(db, organization, number, due_at=now.after(seconds=GRACE_S))
        return [number for _, number, _ in ended]

    def claim(
        self,
        db: apsw.Connection,
        limit: int,
        not_of: Collection[str],
        *,
        now: Timestamp,
        until: Timestamp,
    ) -> list[Farewell]:
        """Lease what is due."""
        besides = numbers(map(self.keys.of, not_of))
        rows = list(db.execute(SQL["claim_farewells"], (now, limit, until, besides)))
        return [
            Farewell(self._settings.by_number(db, number), attempts, Timestamp(lease))
            for number, lease, attempts in rows
        ]

    def settle(
        self,
        db: apsw.Connection,
        farewell: Farewell,
        *,
        retry_at: Timestamp | None,
        understood: bool,
        now: Timestamp,
    ) -> bool:
        """Later once more, or never again; returns whether the lease was valid."""
        number = self.keys.of(farewell.target.subscription.id)
        if farewell.lease_until <= now:
            return False
        if retry_at is not None:
            row = (number, farewell.lease_until, retry_at)
            return bool(list(db.execute(SQL["delay_farewell"], row)))
        if not list(db.execute(SQL["forget_farewell"], (number, farewell.lease_until))):
            return False
        if understood and not self._lives(db, number, now):
            db.execute(SQL["forget_health"], (number,))
        return True

    def _lives(self, db: apsw.Connection, number: int, now: Timestamp) -> bool:
        return self._settings.by_number(db, number).subscription.status_at(now) in MATCHING
