"""Organizations, keys, subscriptions and switches, each change under the next version number.

Writes run in the writer's thread; reads on a reader's snapshot.
"""

from collections.abc import Mapping, Sequence

import apsw
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
from triggers_api.store.sqlite.audit_verbs import AuditVerbs
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.tables import SQL, Tables

_END_OF_TIME = (1 << 63) - 1


def write_farewell(
    db: apsw.Connection, organization: int, subscription: int, *, due_at: int
) -> None:
    """Part of the transaction that ends a hook of which the other side is to be told."""
    db.execute(SQL["write_farewell"], (subscription, organization, due_at))


class SettingsVerbs(Tables):
    """The settings half."""

    def __init__(self, keys: Keys, cipher: Cipher, audit: AuditVerbs) -> None:
        super().__init__(keys)
        self._cipher = cipher
        self._audit = audit

    def next_version(self, db: apsw.Connection) -> int:
        """The number under which the present transaction's changes can be asked for."""
        ((version,),) = list(db.execute(SQL["next_version"]))
        return int(version)

    def save_organization(
        self, db: apsw.Connection, organization: Organization, *, by: Actor
    ) -> None:
        """New or changed."""
        number = self.keys.of(organization.id)
        before = None
        for (body,) in list(db.execute(SQL["organization_body"], (number,))):
            before = bodies.organization(body)
        db.execute(
            SQL["save_organization"], (number, bodies.encode(organization), self.next_version(db))
        )
        self._audit.note(db, by, organization_deed(before, organization))

    def save_first_organization(
        self,
        db: apsw.Connection,
        organization: Organization,
        keys: Sequence[KeyRecord],
        *,
        by: Actor,
    ) -> bool:
        """The first tenant, unless there is one."""
        if list(db.execute(SQL["any_organization"])):
            return False
        self.save_organization(db, organization, by=by)
        for key in keys:
            self.save_key(db, key, by=by)
        return True

    def delete_organization(
        self, db: apsw.Connection, organization: int, *, by: Actor, now: int
    ) -> bool:
        """Hidden, its keys revoked, its subscriptions deleted, its jobs cancelled."""
        version = self.next_version(db)
        if not list(db.execute(SQL["delete_organization"], (organization, now, version))):
            return False
        self._audit.note(db, by, organization_deleted(self.keys.organization(organization)))
        for number, body, _ in list(db.execute(SQL["keys_of"], (organization,))):
            self._revoke(db, number, bodies.api_key(body), version, now=now)
        for number, body in list(db.execute(SQL["subscriptions_of"], (organization,))):
            if is_living_hook(bodies.subscription(body), now):
                write_farewell(db, organization, number, due_at=now)
        db.execute(SQL["delete_subscriptions_of"], (organization, now, version))
        db.execute(SQL["cancel_jobs_of"], (organization,))
        db.execute(SQL["delete_event_types_of"], (organization, version))
        db.execute(SQL["delete_switches_of"], (organization,))
        return True

    def save_key(self, db: apsw.Connection, record: KeyRecord, *, by: Actor) -> None:
        """New, or the one with this digest with new fields under the id it has."""
        key, known = record.key, None
        for (body,) in list(db.execute(SQL["key_with_digest"], (record.digest,))):
            known = bodies.api_key(body)
            key = msgspec.structs.replace(key, id=known.id, created_at=known.created_at)
        organization = record.organization_id
        db.execute(
            SQL["save_key"],
            (
                self.keys.of(key.id),
                None if organization is None else self.keys.of(organization),
                record.digest,
                bodies.encode(key),
                self.next_version(db),
            ),
        )
        self._audit.note(db, by, key_deed(organization, known, key))

    def keys_of(self, db: apsw.Connection, organization: int | None) -> list[ApiKey]:
        """Newest first, revoked ones included."""
        return [
            bodies.used_key(body, used_at)
            for _, body, used_at in db.execute(SQL["keys_of"], (organization,))
        ]

    def revoke_key(
        self, db: apsw.Connection, organization: int | None, key: int, *, by: Actor, now: int
    ) -> bool:
        """No longer valid. Revoking twice is fine."""
        for (body,) in list(db.execute(SQL["key_body"], (key, organization))):
            known = bodies.api_key(body)
            if organization is None and known.is_valid_at(now):
                others = [each for each in self.keys_of(db, None) if each.id != known.id]
                if not any(each.is_valid_at(now) for each in others):
                    raise InvalidState(LAST_OPERATOR)
            revoked = self._revoke(db, key, known, self.next_version(db), now=now)
            self._audit.note(db, by, key_deed(self._owner(organization), known, revoked))
            return True
        return False

    def rotate_key(
        self,
        db: apsw.Connection,
        organization: int | None,
        key: int,
        fresh: KeyRecord,
        *,
        until: Timestamp,
        by: Actor,
        now: int,
    ) -> ApiKey | None:
        """Another one in its place."""
        for (body,) in list(db.execute(SQL["key_body"], (key, organization))):
            known = bodies.api_key(body)
            if not known.is_valid_at(now):
                raise InvalidState("the key is revoked or has expired")
            ending = retired(known, until=until)
            db.execute(SQL["set_key_body"], (key, bodies.encode(ending), self.next_version(db)))
            owner = self._owner(organization)
            self._audit.note(db, by, key_rotated(owner, known, ending, fresh.key))
            self.save_key(db, fresh, by=by)
            return ending
        return None

    def _owner(self, organization: int | None) -> str | None:
        return None if organization is None else self.keys.organization(organization)

    def note_key_uses(self, db: apsw.Connection, uses: Mapping[str, Timestamp]) -> None:
        """When keys were last used."""
        for identifier, used_at in uses.items():
            db.execute(SQL["note_key_use"], (self.keys.of(identifier), used_at))

    def _revoke(
        self, db: apsw.Connection, number: int, key: ApiKey, version: int, *, now: int
    ) -> ApiKey:
        if key.revoked_at is not None:
            return key
        revoked = msgspec.structs.replace(key, revoked_at=Timestamp(now))
        db.execute(SQL["set_key_body"], (number, bodies.encode(revoked), version))
        return revoked

    def save_subscription(
        self, db: apsw.Connection, record: SubscriptionRecord, *, by: Actor
    ) -> None:
        """New or changed."""
        subscription = record.subscription
        before = self._known(db, self.keys.of(subscription.id))
        db.execute(
            SQL["save_subscription"],
            (
                self.keys.of(subscription.id),
                self.keys.of(record.organization_id),
                codes.subscription_state(subscription),
                subscription.expires_at,
                subscription.max_concurrency,
                bodies.encode(subscription),
                bodies.private(record, self._cipher),
                int(record.from_organization),
                self.next_version(db),
            ),
        )
        self._audit.note(db, by, subscription_deed(before, record))

    def disable_subscription(
        self, db: apsw.Connection, number: int, reason: str, *, now: int
    ) -> bool:
        """The receiver is gone: what waits is to be cancelled. Returns whether it was not so already."""
        record = self.by_number(db, number)
        if record.subscription.status is SubscriptionStatus.DISABLED:
            return False
        self.save_subscription(
            db,
            msgspec.structs.replace(
                record,
                subscription=msgspec.structs.replace(
                    record.subscription,
                    enabled=False,
                    status=SubscriptionStatus.DISABLED,
                    disabled_reason=reason,
                    updated_at=Timestamp(now),
                ),
            ),
            by=SERVICE,
        )
        db.execute(SQL["end_subscription"], (number,))
        return True

    def by_number(self, db: apsw.Connection, number: int) -> SubscriptionRecord:
        """One that exists, deleted or not."""
        known = self._known(db, number)
        assert known is not None
        return known

    def _known(self, db: apsw.Connection, number: int) -> SubscriptionRecord | None:
        for row in list(db.execute(SQL["subscription_by_number"], (number,))):
            return self._record(*row)
        return None

    def _record(
        self, organization: int, body: bytes, secrets: bytes, own: int
    ) -> SubscriptionRecord:
        return bodies.subscription_record(
            self.keys.organization(organization),
            body,
            secrets,
            self._cipher,
            from_organization=bool(own),
        )

    def subscription(
        self, db: apsw.Connection, organization: int, subscription: int
    ) -> SubscriptionRecord | None:
        """One that was not deleted."""
        for row in db.execute(SQL["subscription"], (subscription, organization)):
            return self._record(*row)
        return None

    def is_hook(self, db: apsw.Connection, organization: int, subscription: int) -> bool:
        """Of any state, deleted ones included."""
        rows = db.execute(SQL["subscription_of_any_state"], (subscription, organization))
        return any(bodies.subscription(body).hook for (body,) in rows)

    def subscriptions(
        self, db: apsw.Connection, organization: int, page: Page
    ) -> list[Subscription]:
        """A page, newest first."""
        before = (
            _END_OF_TIME if page.before is None else self.keys.find(ids.SUBSCRIPTION, page.before)
        )
        rows = db.execute(SQL["subscriptions"], (organization, before, page.limit))
        return [bodies.subscription(body) for (body,) in rows]

    def delete_subscription(
        self,
        db: apsw.Connection,
        organization: int,
        subscription: int,
        *,
        farewell: bool,
        by: Actor,
        now: int,
    ) -> bool:
        """No longer found, matched or delivered to. A farewell is for a hook that lives."""
        record = self.subscription(db, organization, subscription)
        if record is None:
            return False
        if farewell and is_living_hook(record.subscription, now):
            write_farewell(db, organization, subscription, due_at=now)
        parameters = (subscription, organization, now, self.next_version(db))
        list(db.execute(SQL["delete_subscription"], parameters))
        if not farewell:
            db.execute(SQL["drop_farewell"], (subscription,))
        db.execute(SQL["delete_switches_of_subscription"], (organization, subscription))
        self._audit.note(db, by, subscription_ended(record, "deleted"))
        return True

    def sealing(self, db: apsw.Connection) -> Sealed:
        """How the secrets of all subscriptions are kept."""
        return Sealed.of(
            (self._sealing(number, organization, secrets)[0], deleted_at is None)
            for number, organization, secrets, deleted_at in db.execute(SQL["sealed"])
        )

    def seal(self, db: apsw.Connection, *, by: Actor) -> int:
        """Encrypt under the present key what is not; returns how many."""
        changed = []
        for number, organization, secrets, _ in db.execute(SQL["sealed"]):
            _, sealed = self._sealing(number, organization, secrets)
            if sealed != secrets:
                changed.append((number, secrets, sealed))
        # What stood there before is not to be found in free parts of the file either.
        db.pragma("secure_delete", 1)
        try:
            for row in changed:
                db.execute(SQL["seal"], row)
        finally:
            db.pragma("secure_delete", 0)
        if changed:
            self._audit.note(db, by, secrets_sealed(len(changed)))
        return len(changed)

    def _sealing(
        self, number: int, organization: int, secrets: bytes
    ) -> tuple[bodies.Sealing, bytes]:
        return bodies.sealing(
            self.keys.organization(organization),
            self.keys.subscription(number),
            secrets,
            self._cipher,
        )

    def save_switches(self, db: apsw.Connection, switches: Switches, *, by: Actor) -> None:
        """The turns of a scope as they are to stand."""
        version = self.next_version(db)
        organization, subscription = switches.organization_id, switches.subscription_id
        whose = (
            0 if organization is None else self.keys.of(organization),
            0 if subscription is None else self.keys.of(subscription),
        )
        before = None
        for (body,) in list(db.execute(SQL["switches_body"], whose)):
            before = bodies.switches(body)
        self._audit.note(db, by, switches_deed(before, switches))
        db.execute(SQL["save_switches"], (*whose, bodies.encode(switches), version))
        if organization is None:
            db.execute(SQL["save_controls"], (bodies.encode(for_older(switches)), version))

    def save_event_type(
        self, db: apsw.Connection, organization: int, event_type: EventType, *, by: Actor
    ) -> None:
        """New or changed."""
        before = self.event_type(db, organization, event_type.name)
        owner = self.keys.organization(organization)
        self._audit.note(db, by, event_type_deed(owner, before, event_type))
        body = bodies.encode(event_type)
        parameters = (organization, event_type.name, body, self.next_version(db))
        db.execute(SQL["save_event_type"], parameters)

    def event_type(self, db: apsw.Connection, organization: int, name: str) -> EventType | None:
        """One that was not deleted."""
        for (body,) in db.execute(SQL["event_type"], (organization, name)):
            return bodies.event_type(body)
        return None

    def event_types(
        self, db: apsw.Connection, organization: int, after: str | None, limit: int
    ) -> list[EventType]:
        """Some by name."""
        rows = db.execute(SQL["event_types"], (organization, after or "", limit))
        return [bodies.event_type(body) for (body,) in rows]

    def delete_event_type(
        self, db: apsw.Connection, organization: int, name: str, *, by: Actor
    ) -> bool:
        """No longer found or applied."""
        known = self.event_type(db, organization, name)
        if known is None:
            return False
        owner = self.keys.organization(organization)
        self._audit.note(db, by, event_type_deed(owner, known, None))
        parameters = (organization, name, self.next_version(db))
        list(db.execute(SQL["delete_event_type"], parameters))
        return True

    def changes(self, db: apsw.Connection, since: int) -> Changes:
        """Everything with a later version."""
        ((version,),) = db.execute(SQL["settings_version"])
        if version == since:
            return Changes(version)
        gone: list[str] = []
        organizations, subscriptions = [], []
        for number, body, deleted_at in db.execute(SQL["changed_organizations"], (since,)):
            if deleted_at is None:
                organizations.append(bodies.organization(body))
            else:
                gone.append(self.keys.organization(number))
        for number, organization, body, secrets, own, deleted_at in db.execute(
            SQL["changed_subscriptions"], (since,)
        ):
            if deleted_at is None:
                subscriptions.append(self._record(organization, body, secrets, own))
            else:
                gone.append(self.keys.subscription(number))
        keys = [
            KeyRecord(
                organization_id=None
                if organization is None
                else self.keys.organization(organization),
                digest=digest,
                key=bodies.api_key(body),
            )
            for organization, digest, body in db.execute(SQL["changed_keys"], (since,))
        ]
        controls, switches = bodies.turned(db.execute(SQL["changed_switches"], (since,)))
        event_types = tuple(
            EventTypeRecord(
                self.keys.organization(organization),
                name,
                None if body is None else bodies.event_type(body),
            )
            for organization, name, body in db.execute(SQL["changed_event_types"], (since,))
        )
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
