"""Organizations, keys, subscriptions and switches, each change under the next version number."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from triggers_api.errors import InvalidState
from triggers_api.model import ids
from triggers_api.model.audit import (
    SERVICE,
    Actor,
    event_type_deed,
    key_deed,
    key_rotated,
    organization_deed,
    organization_deleted,
    secrets_sealed,
    subscription_deed,
    subscription_ended,
    switches_deed,
)
from triggers_api.model.controls import Switches, for_older
from triggers_api.model.event_type import EventType, EventTypeRecord
from triggers_api.model.hook import is_living_hook
from triggers_api.model.organization import (
    LAST_OPERATOR,
    ApiKey,
    KeyRecord,
    Organization,
    retired,
)
from triggers_api.model.subscription import Subscription, SubscriptionRecord, SubscriptionStatus
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies, codes
from triggers_api.store.base import Changes, Page, Sealed
from triggers_api.store.cipher import Cipher
from triggers_api.store.postgres.audit_verbs import AuditVerbs
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.tables import LAST, NOBODY, SQL, find, number, text


async def write_farewell(
    db: Connection, organization: str | UUID, subscription: str | UUID, *, due_at: Timestamp
) -> None:
    """Part of the transaction that ends a hook of which the other side is to be told."""
    await db.execute(SQL["write_farewell"], organization, subscription, due_at)


class SettingsVerbs:
    """The settings half. Writes run in a transaction that begins with :meth:`next_version`."""

    def __init__(self, cipher: Cipher, audit: AuditVerbs) -> None:
        self._cipher = cipher
        self._audit = audit

    async def next_version(self, db: Connection) -> int:
        """The number under which the present transaction's changes can be asked for.

        Whoever asks next waits until this transaction has ended.
        """
        version: int = await db.fetchval(SQL["next_version"])
        return version

    async def save_organization(
        self, db: Connection, organization: Organization, *, by: Actor
    ) -> None:
        """New or changed."""
        version = await self.next_version(db)
        owner = number(organization.id)
        body = await db.fetchval(SQL["organization_body"], owner)
        await db.execute(SQL["save_organization"], owner, bodies.encode(organization), version)
        before = None if body is None else bodies.organization(body)
        await self._audit.note(db, by, organization_deed(before, organization))

    async def save_first_organization(
        self, db: Connection, organization: Organization, keys: Sequence[KeyRecord], *, by: Actor
    ) -> bool:
        """The first tenant, unless there is one."""
        # Two that come at once meet at the version's row: the second one sees what the first did.
        await db.execute(SQL["hold_version"])
        if await db.fetchval(SQL["any_organization"]):
            return False
        await self.save_organization(db, organization, by=by)
        for key in keys:
            await self.save_key(db, key, by=by)
        return True

    async def delete_organization(
        self, db: Connection, organization: str | UUID, *, by: Actor, now: Timestamp
    ) -> bool:
        """Hidden, its keys revoked, its subscriptions and inboxes deleted, its jobs cancelled."""
        version = await self.next_version(db)
        if await db.fetchval(SQL["delete_organization"], organization, now, version) is None:
            return False
        await self._audit.note(db, by, organization_deleted(_organization(organization)))
        for key, body, _ in await db.fetch(SQL["keys_of"], organization):
            await self._revoke(db, key, bodies.api_key(body), version, now)
        for identifier, body in await db.fetch(SQL["subscriptions_of"], organization):
            if is_living_hook(bodies.subscription(body), now):
                await write_farewell(db, organization, identifier, due_at=now)
        await db.execute(SQL["delete_subscriptions_of"], organization, now, version)
        await db.execute(SQL["cancel_jobs_of"], organization)
        await db.execute(SQL["delete_event_types_of"], organization, version)
        await db.execute(SQL["delete_inboxes_of"], organization)
        await db.execute(SQL["delete_quota_of"], organization)
        await db.execute(SQL["delete_switches_of"], organization)
        return True

    async def save_key(self, db: Connection, record: KeyRecord, *, by: Actor) -> None:
        """New, or the one with this digest with new fields under the id it has."""
        version = await self.next_version(db)
        key, organization, known = record.key, record.organization_id, None
        body = await db.fetchval(SQL["key_with_digest"], record.digest)
        if body is not None:
            known = bodies.api_key(body)
            key = msgspec.structs.replace(key, id=known.id, created_at=known.created_at)
        await db.execute(
            SQL["save_key"],
            number(key.id),
            None if organization is None else number(organization),
            record.digest,
            bodies.encode(key),
            version,
        )
        await self._audit.note(db, by, key_deed(organization, known, key))

    async def keys_of(self, db: Connection, organization: str | UUID | None) -> list[ApiKey]:
        """Newest first, revoked ones included."""
        return [
            bodies.used_key(body, used_at)
            for _, body, used_at in await db.fetch(SQL["keys_of"], organization)
        ]

    async def rotate_key(
        self,
        db: Connection,
        organization: str | UUID | None,
        key: str | UUID,
        fresh: KeyRecord,
        *,
        until: Timestamp,
        by: Actor,
        now: Timestamp,
    ) -> ApiKey | None:
        """Another one in its place."""
        version = await self.next_version(db)
        body = await db.fetchval(SQL["key_body"], key, organization)
        if body is None:
            return None
        known = bodies.api_key(body)
        if not known.is_valid_at(now):
            raise InvalidState("the key is revoked or has expired")
        ending = retired(known, until=until)
        await db.execute(SQL["set_key_body"], key, bodies.encode(ending), version)
        owner = _owner(organization)
        await self._audit.note(db, by, key_rotated(owner, known, ending, fresh.key))
        await self.save_key(db, fresh, by=by)
        return ending

    async def note_key_uses(self, db: Connection, uses: Mapping[str, Timestamp]) -> None:
        """When keys were last used."""
        await db.execute(SQL["note_key_uses"], [number(each) for each in uses], list(uses.values()))

    async def revoke_key(
        self,
        db: Connection,
        organization: str | UUID | None,
        key: str | UUID,
        *,
        by: Actor,
        now: Timestamp,
    ) -> bool:
        """No longer valid. Revoking twice is fine."""
        version = await self.next_version(db)
        body = await db.fetchval(SQL["key_body"], key, organization)
        if body is None:
            return False
        known = bodies.api_key(body)
        if organization is None and known.is_valid_at(now):
            others = [each for each in await self.keys_of(db, None) if each.id != known.id]
            if not any(each.is_valid_at(now) for each in others):
                raise InvalidState(LAST_OPERATOR)
        revoked = await self._revoke(db, key, known, version, now)
        await self._audit.note(db, by, key_deed(_owner(organization), known, revoked))
        return True

    async def _revoke(
        self, db: Connection, identifier: str | UUID, key: ApiKey, version: int, now: Timestamp
    ) -> ApiKey:
        if key.revoked_at is not None:
            return key
        revoked = msgspec.structs.replace(key, revoked_at=now)
        await db.execute(SQL["set_key_body"], identifier, bodies.encode(revoked), version)
        return revoked

    async def save_subscription(
        self, db: Connection, record: SubscriptionRecord, *, by: Actor
    ) -> None:
        """New or changed."""
        subscription = record.subscription
        version = await self.next_version(db)
        owner, identifier = number(record.organization_id), number(subscription.id)
        before = await self._known(db, owner, identifier)
        await db.execute(
            SQL["save_subscription"],
            owner,
            identifier,
            codes.subscription_state(subscription),
            subscription.expires_at,
            subscription.max_concurrency,
            bodies.encode(subscription),
            bodies.private(record, self._cipher),
            record.from_organization,
            version,
        )
        await self._audit.note(db, by, subscription_deed(before, record))

    async def disable_subscription(
        self,
        db: Connection,
        organization: str | UUID,
        subscription: UUID,
        reason: str,
        *,
        now: Timestamp,
    ) -> bool:
        """The receiver is gone: what waits is to be cancelled. Returns whether it was not so already."""
        record = await self.of_any_state(db, organization, subscription)
        if record.subscription.status is SubscriptionStatus.DISABLED:
            return False
        await self.save_subscription(
            db,
            msgspec.structs.replace(
                record,
                subscription=msgspec.structs.replace(
                    record.subscription,
                    enabled=False,
                    status=SubscriptionStatus.DISABLED,
                    disabled_reason=reason,
                    updated_at=now,
                ),
            ),
            by=SERVICE,
        )
        await db.execute(SQL["end_subscription"], organization, subscription)
        return True

    async def of_any_state(
        self, db: Connection, organization: str | UUID, subscription: str | UUID
    ) -> SubscriptionRecord:
        """One that exists, deleted or not."""
        known = await self._known(db, organization, subscription)
        assert known is not None
        return known

    async def _known(
        self, db: Connection, organization: str | UUID, subscription: str | UUID
    ) -> SubscriptionRecord | None:
        row = await db.fetchrow(SQL["subscription_of_any_state"], organization, subscription)
        return None if row is None else self._record(*row)

    async def subscription(
        self, db: Connection, organization: str | UUID, subscription: str | UUID
    ) -> SubscriptionRecord | None:
        """One that was not deleted."""
        row = await db.fetchrow(SQL["subscription"], organization, subscription)
        return None if row is None else self._record(*row)

    async def is_hook(
        self, db: Connection, organization: str | UUID, subscription: str | UUID
    ) -> bool:
        """Of any state, deleted ones included."""
        row = await db.fetchrow(SQL["subscription_of_any_state"], organization, subscription)
        return row is not None and bodies.subscription(row[1]).hook

    async def subscriptions(
        self, db: Connection, organization: str | UUID, page: Page
    ) -> list[Subscription]:
        """A page, newest first."""
        before = LAST if page.before is None else find(ids.SUBSCRIPTION, page.before)
        rows = await db.fetch(SQL["subscriptions"], organization, before, page.limit)
        return [bodies.subscription(body) for (body,) in rows]

    async def delete_subscription(
        self,
        db: Connection,
        organization: str | UUID,
        subscription: str | UUID,
        *,
        farewell: bool,
        by: Actor,
        now: Timestamp,
    ) -> bool:
        """No longer found, matched or delivered to. A farewell is for a hook that lives."""
        version = await self.next_version(db)
        record = await self.subscription(db, organization, subscription)
        if record is None:
            return False
        if farewell and is_living_hook(record.subscription, now):
            await write_farewell(db, organization, subscription, due_at=now)
        await db.execute(SQL["delete_subscription"], organization, subscription, now, version)
        if not farewell:
            await db.execute(SQL["drop_farewell"], organization, subscription)
        await db.execute(SQL["delete_switches_of_subscription"], organization, subscription)
        await self._audit.note(db, by, subscription_ended(record, "deleted"))
        return True

    async def sealing(self, db: Connection) -> Sealed:
        """How the secrets of all subscriptions are kept."""
        return Sealed.of(
            (self._sealing(organization, subscription, secrets)[0], deleted_at is None)
            for organization, subscription, secrets, deleted_at in await db.fetch(SQL["sealed"])
        )

    async def seal(self, db: Connection, *, by: Actor) -> int:
        """Encrypt under the present key what is not; returns how many.

        Each row by itself, and only as it was read: what others save meanwhile stands.
        """
        asked = []
        for organization, subscription, secrets, _ in await db.fetch(SQL["sealed"]):
            _, fresh = self._sealing(organization, subscription, secrets)
            if fresh != secrets:
                asked.append((organization, subscription, secrets, fresh))
        if asked:
            # Before the first of them: they are no one transaction, and none goes without an entry.
            await self._audit.note(db, by, secrets_sealed(len(asked)))
        done = [await db.fetchval(SQL["seal"], *row) for row in asked]
        return sum(each is not None for each in done)

    def _sealing(
        self, organization: UUID, subscription: UUID, secrets: bytes
    ) -> tuple[bodies.Sealing, bytes]:
        return bodies.sealing(
            text(ids.ORGANIZATION, organization),
            text(ids.SUBSCRIPTION, subscription),
            secrets,
            self._cipher,
        )

    async def save_switches(self, db: Connection, switches: Switches, *, by: Actor) -> None:
        """The turns of a scope as they are to stand."""
        version = await self.next_version(db)
        organization, subscription = switches.organization_id, switches.subscription_id
        whose = (
            NOBODY if organization is None else number(organization),
            NOBODY if subscription is None else number(subscription),
        )
        body = await db.fetchval(SQL["switches_body"], *whose)
        before = None if body is None else bodies.switches(body)
        await self._audit.note(db, by, switches_deed(before, switches))
        await db.execute(SQL["save_switches"], *whose, bodies.encode(switches), version)
        if organization is None:
            await db.execute(SQL["save_controls"], bodies.encode(for_older(switches)), version)

    async def save_event_type(
        self, db: Connection, organization: str | UUID, event_type: EventType, *, by: Actor
    ) -> None:
        """New or changed."""
        version = await self.next_version(db)
        before = await self.event_type(db, organization, event_type.name)
        deed = event_type_deed(_organization(organization), before, event_type)
        await self._audit.note(db, by, deed)
        body = bodies.encode(event_type)
        await db.execute(SQL["save_event_type"], organization, event_type.name, body, version)

    async def event_type(
        self, db: Connection, organization: str | UUID, name: str
    ) -> EventType | None:
        """One that was not deleted."""
        body = await db.fetchval(SQL["event_type"], organization, name)
        return None if body is None else bodies.event_type(body)

    async def event_types(
        self, db: Connection, organization: str | UUID, after: str | None, limit: int
    ) -> list[EventType]:
        """Some by name."""
        rows = await db.fetch(SQL["event_types"], organization, after or "", limit)
        return [bodies.event_type(body) for (body,) in rows]

    async def delete_event_type(
        self, db: Connection, organization: str | UUID, name: str, *, by: Actor
    ) -> bool:
        """No longer found or applied."""
        version = await self.next_version(db)
        known = await self.event_type(db, organization, name)
        if known is None:
            return False
        await self._audit.note(db, by, event_type_deed(_organization(organization), known, None))
        await db.execute(SQL["delete_event_type"], organization, name, version)
        return True

    async def changes(self, db: Connection, since: int) -> Changes:
        """Everything with a later version.

        The version is read first: what is committed between the reads is told now and once more with
        the next call, never missed.
        """
        version: int = await db.fetchval(SQL["settings_version"])
        if version == since:
            return Changes(version)
        gone: list[str] = []
        organizations, subscriptions = [], []
        for organization, body, deleted_at in await db.fetch(SQL["changed_organizations"], since):
            if deleted_at is None:
                organizations.append(bodies.organization(body))
            else:
                gone.append(text(ids.ORGANIZATION, organization))
        for subscription, organization, body, secrets, own, deleted_at in await db.fetch(
            SQL["changed_subscriptions"], since
        ):
            if deleted_at is None:
                subscriptions.append(self._record(organization, body, secrets, own))
            else:
                gone.append(text(ids.SUBSCRIPTION, subscription))
        keys = [
            KeyRecord(
                organization_id=None if owner is None else text(ids.ORGANIZATION, owner),
                digest=digest,
                key=bodies.api_key(body),
            )
            for owner, digest, body in await db.fetch(SQL["changed_keys"], since)
        ]
        event_types = tuple(
            EventTypeRecord(
                text(ids.ORGANIZATION, organization),
                name,
                None if body is None else bodies.event_type(body),
            )
            for organization, name, body in await db.fetch(SQL["changed_event_types"], since)
        )
        controls, switches = bodies.turned(await db.fetch(SQL["changed_switches"], since))
        return Changes(
            version,
            tuple(organizations),
            tuple(keys),
            tuple(subscriptions),
            controls,
            tuple(gone),
            event_types,
            switches,
        )

    def _record(
        self,
        organization: UUID,
        body: bytes,
        secrets: bytes,
        own: bool,  # noqa: FBT001 - a row's columns
    ) -> SubscriptionRecord:
        return bodies.subscription_record(
            text(ids.ORGANIZATION, organization),
            body,
            secrets,
            self._cipher,
            from_organization=own,
        )


def _owner(value: str | UUID | None) -> str | None:
    return None if value is None else _organization(value)


def _organization(value: str | UUID) -> str:
    """The id of an organization whose uuid this is."""
    return text(ids.ORGANIZATION, value if isinstance(value, UUID) else UUID(value))
