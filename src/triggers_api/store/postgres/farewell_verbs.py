"""Ends of hooks and other subscriptions of which others are to be told."""

from collections.abc import Collection

from triggers_api.model import ids
from triggers_api.model.audit import SERVICE, subscription_ended
from triggers_api.model.farewell import GRACE_S
from triggers_api.model.notice import expired
from triggers_api.model.subscription import MATCHING
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies
from triggers_api.store.base import Farewell
from triggers_api.store.postgres.audit_verbs import AuditVerbs
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.notice_verbs import write_notices
from triggers_api.store.postgres.settings_verbs import SettingsVerbs, write_farewell
from triggers_api.store.postgres.tables import SQL, number, text


class FarewellVerbs:
    """The verbs around ``farewells``. Those that write need a transaction."""

    def __init__(self, settings: SettingsVerbs, audit: AuditVerbs) -> None:
        self._settings = settings
        self._audit = audit

    async def end_expired(self, db: Connection, notify: Collection[str], *, now: Timestamp) -> int:
        """End what is past its time; returns how many subscriptions these are."""
        ended = await db.fetch(SQL["end_expired_subscriptions"], now)
        notices = []
        for organization, identifier, body in ended:
            subscription = bodies.subscription(body)
            if subscription.status not in MATCHING or subscription.by_session:
                continue
            record = await self._settings.of_any_state(db, organization, identifier)
            await self._audit.note(db, SERVICE, subscription_ended(record, "expired"))
            name = text(ids.ORGANIZATION, organization)
            if name in notify:
                notices.append((name, expired(subscription, now)))
            if subscription.hook:
                due_at = now.after(seconds=GRACE_S)
                await write_farewell(db, organization, identifier, due_at=due_at)
        await write_notices(db, notices)
        return len(ended)

    async def claim(
        self,
        db: Connection,
        limit: int,
        not_of: Collection[str],
        *,
        now: Timestamp,
        until: Timestamp,
    ) -> list[Farewell]:
        """Lease what is due."""
        besides = [number(each) for each in not_of]
        rows = await db.fetch(SQL["claim_farewells"], now, limit, until, besides)
        return [
            Farewell(
                await self._settings.of_any_state(db, organization, subscription),
                attempts,
                Timestamp(lease),
            )
            for organization, subscription, lease, attempts in rows
        ]

    async def settle(
        self,
        db: Connection,
        farewell: Farewell,
        *,
        retry_at: Timestamp | None,
        understood: bool,
        now: Timestamp,
    ) -> bool:
        """Later once more, or never again; returns whether the lease was valid."""
        lease = farewell.lease_until
        if lease <= now:
            return False
        row = number(farewell.target.organization_id), number(farewell.target.subscription.id)
        if retry_at is not None:
            return await db.fetchval(SQL["delay_farewell"], *row, lease, retry_at) is not None
        if understood:
            # Health before subscriptions, as everybody takes them; nobody brings it back meanwhile.
            await db.execute(SQL["hold_version"])
        if await db.fetchval(SQL["forget_farewell"], *row, lease) is None:
            return False
        if understood:
            record = await self._settings.of_any_state(db, *row)
            if record.subscription.status_at(now) not in MATCHING:
                await db.execute(SQL["forget_health"], *row)
        return True
