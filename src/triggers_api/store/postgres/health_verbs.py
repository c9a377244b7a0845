"""The health of endpoints, beside the settlements that it follows from.

Whoever holds several things takes them in this order: the settings' version, deliveries, health by the
ids of its rows, subscriptions.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import UUID

from triggers_api.model import health as decisions
from triggers_api.model import ids
from triggers_api.model.audit import SERVICE
from triggers_api.model.health import (
    EndpointHealth,
    Evidence,
    HealthChange,
    HealthEvent,
    HealthPolicy,
)
from triggers_api.model.subscription import MATCHING
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import HealthReset, ProbeClaim
from triggers_api.store.endpoint_health import columns, given_up, of_columns, reactivated
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.notice_verbs import write_notices
from triggers_api.store.postgres.settings_verbs import SettingsVerbs, write_farewell
from triggers_api.store.postgres.tables import SQL, number, text

Endpoint = tuple[UUID, UUID]
"""An organization, and a subscription of it."""


class HealthVerbs:
    """The verbs around ``endpoint_health``. Those that write need a transaction."""

    def __init__(
        self, settings: SettingsVerbs, *, policy: HealthPolicy, draw: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._draw = draw

    async def may_disable(
        self, db: Connection, organizations: Collection[str], *, now: Timestamp
    ) -> bool:
        """Whether failed attempts of these organizations may disable a subscription."""
        after_s = self._policy.disable_after_s
        if not after_s:
            return False
        since = now.after(seconds=-after_s)
        found: bool = await db.fetchval(SQL["failing_long"], list(organizations), since)
        return found

    async def settle(
        self,
        db: Connection,
        seen: Mapping[Endpoint, Sequence[Evidence]],
        *,
        ending: Collection[Endpoint] = (),
        may_disable: bool,
        to_tell: Collection[UUID],
        now: Timestamp,
    ) -> tuple[frozenset[str], list[HealthChange]]:
        """What attempts say of their endpoints; returns which are closed now, and what turned.

        Args:
            db: in the transaction of the settlements.
            seen: by endpoint, in the order of the settlements.
            ending: others that are held with them, because the caller is about to forget them.
            may_disable: the settings' version is held.
            to_tell: subscriptions about which there are to be notices.
            now: when they are settled.
        """
        held = await self._held(db, seen, ending, now=now)
        closed_to: set[str] = set()
        changes: list[HealthChange] = []
        for (organization, subscription), before in held.items():
            record = await self._settings.of_any_state(db, organization, subscription)
            if record.subscription.status not in MATCHING:
                if before is None:
                    await db.execute(SQL["forget_health"], organization, subscription)
                continue
            after, turned = decisions.judge(
                before,
                [
                    each
                    for each in seen[organization, subscription]
                    if each.sent_to in (None, record.subscription.url)
                ],
                policy=self._policy,
                now=now,
                draw=self._draw(),
                may_disable=may_disable,
            )
            await self._save(db, organization, subscription, after)
            name = record.subscription.id
            if after is not None and after.opened and now < after.open_until:
                closed_to.add(name)
            for event, health in turned:
                changes.append(HealthChange(record.organization_id, name, event, health))
                if subscription in to_tell:
                    await self._tell(db, changes[-1], now)
                if event is HealthEvent.DISABLED:
                    if record.subscription.hook:
                        await write_farewell(db, organization, subscription, due_at=now)
                    await self._settings.disable_subscription(
                        db, organization, subscription, health.disabled_reason, now=now
                    )
        return frozenset(closed_to), changes

    async def _tell(self, db: Connection, change: HealthChange, now: Timestamp) -> None:
        notice = decisions.notice(change, at=now, policy=self._policy)
        await write_notices(db, [(change.organization_id, notice)])

    async def _held(
        self,
        db: Connection,
        seen: Mapping[Endpoint, Sequence[Evidence]],
        ending: Collection[Endpoint],
        *,
        now: Timestamp,
    ) -> dict[Endpoint, EndpointHealth | None]:
        """What was known of endpoints that fail or failed, held until the transaction ends."""
        known = {
            row[0]
            for row in await db.fetch(
                SQL["endpoint_health"],
                [organization for organization, _ in seen],
                [subscription for _, subscription in seen],
            )
        }
        wanted = [
            endpoint
            for endpoint, attempts in seen.items()
            if endpoint[1] in known or any(each.error is not None for each in attempts)
        ]
        wanted += ending
        if not wanted:
            return {}
        owners = {subscription: organization for organization, subscription in wanted}
        rows = await db.fetch(SQL["hold_health"], list(owners.values()), list(owners), now)
        found = {subscription: of_columns(rest) for subscription, *rest in rows}
        return {
            (owners[subscription], subscription): health if health.failures else None
            for subscription, health in found.items()
            if (owners[subscription], subscription) in seen
        }

    async def _save(
        self,
        db: Connection,
        organization: str | UUID,
        subscription: str | UUID,
        health: EndpointHealth | None,
    ) -> None:
        if health is None:
            await db.execute(SQL["forget_health"], organization, subscription)
        else:
            await db.execute(SQL["save_health"], organization, subscription, *columns(health))

    async def reset(
        self, db: Connection, organization: str | UUID, subscription: str | UUID, reset: HealthReset
    ) -> None:
        """What a change of the subscription is to its endpoint's health."""
        if reset is HealthReset.FORGET:
            await db.execute(SQL["forget_health"], organization, subscription)
        elif reset is HealthReset.PROBE:
            await db.execute(SQL["bring_probe_forward"], organization, subscription)

    async def of(
        self,
        db: Connection,
        organization: str | UUID,
        subscriptions: Sequence[str | UUID],
    ) -> dict[str, EndpointHealth]:
        """What is known, by subscription."""
        rows = await db.fetch(SQL["endpoint_health_of"], organization, subscriptions)
        return {
            text(ids.SUBSCRIPTION, subscription): of_columns(rest) for subscription, *rest in rows
        }

    async def claim_probes(
        self,
        db: Connection,
        limit: int,
        not_of: Collection[str],
        *,
        now: Timestamp,
        until: Timestamp,
    ) -> list[ProbeClaim]:
        """Lease what is to be probed."""
        besides = [number(each) for each in not_of]
        rows = await db.fetch(SQL["claim_probes"], now, limit, until, besides)
        return [
            ProbeClaim(
                await self._settings.of_any_state(db, organization, subscription), of_columns(rest)
            )
            for organization, subscription, *rest in rows
        ]

    async def settle_probe(
        self,
        db: Connection,
        probe: ProbeClaim,
        error: str | None,
        *,
        ended: str | None,
        notify: bool,
        now: Timestamp,
    ) -> HealthChange | bool:
        """A probe's end; returns what turned, else whether it counted."""
        organization = UUID(number(probe.target.organization_id))
        subscription = UUID(number(probe.target.subscription.id))
        await db.execute(SQL["hold_version"])
        row = await db.fetchrow(SQL["hold_probed"], organization, subscription)
        before = None if row is None else of_columns(row)
        if before is None or before != probe.health or before.open_until <= now:
            return False
        record = await self._settings.of_any_state(db, organization, subscription)
        if ended is not None:
            await self._save(db, organization, subscription, None)
            await self._settings.save_subscription(db, given_up(record, ended, now=now), by=SERVICE)
            return True
        after = decisions.probed(before, error, policy=self._policy, now=now)
        await self._save(db, organization, subscription, after)
        if after is not None:
            return True
        await self._settings.save_subscription(db, reactivated(record, now=now), by=SERVICE)
        change = HealthChange(
            record.organization_id, record.subscription.id, HealthEvent.RECOVERED, before
        )
        if notify:
            await self._tell(db, change, now)
        return change
