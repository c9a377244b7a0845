"""Organizations, keys, subscriptions and switches as this process knows them.

Held in memory because every request asks for them. A refresh reads only what changed since the last
one; it runs right after every change made in this process and every half second for those of others.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from triggers_api.model import controls as switching
from triggers_api.model.controls import (
    DRAIN,
    Controls,
    DeliveryMode,
    DeliveryModes,
    IngestMode,
    Running,
    Switches,
    TurnedSwitch,
)
from triggers_api.model.event_type import Catalogue, EventTypeRecord, TypeRules
from triggers_api.model.organization import Organization, Scope, key_digest
from triggers_api.model.routing import RoutingTable
from triggers_api.model.subscription import MATCHING, Subscription, SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import Changes, Store

REFRESH_S: Final = 0.5


class Principal(msgspec.Struct, frozen=True):
    """Who makes a request: what the key says, and nothing else in the request."""

    key_id: str
    organization_id: str | None
    scopes: frozenset[Scope]
    expires_at: Timestamp | None = None
    as_operator: bool = False
    """An operator who speaks for the organization."""


_NOBODY_ROUTES: Final = RoutingTable(())


class Directory:
    """The cached settings half of a store."""

    def __init__(
        self, store: Store, *, forced: Mapping[str, tuple[IngestMode | DeliveryMode, str]]
    ) -> None:
        """An empty one; :meth:`refresh` fills it.

        Args:
            store: where the truth is.
            forced: switches that the environment overrides: name → (value, variable).
        """
        self._store = store
        self._forced = forced
        self.version = 0
        """Rises with every change taken in."""
        self._refreshing = asyncio.Lock()
        self._principals: dict[bytes, Principal] = {}
        self._digests: dict[str, bytes] = {}
        self._organizations: dict[str, Organization] = {}
        self._subscriptions: dict[str, dict[str, SubscriptionRecord]] = {}
        self._routes: dict[str, RoutingTable] = {}
        self._operational: dict[str, tuple[Subscription, ...]] = {}
        self._sessions: dict[str, tuple[Subscription, ...]] = {}
        self.event_types: dict[str, Catalogue] = {}
        """The event types of those organizations that have some."""
        self._expiring: dict[str, tuple[Subscription, ...]] = {}
        self.filtering: frozenset[str] = frozenset()
        """The organizations whose routing reads what is in an event."""
        self.ordered: frozenset[str] = frozenset()
        """The organizations whose events are routed in the order of their acceptance."""
        self._older: Controls | None = None
        self._switches: dict[tuple[str | None, str | None], Switches] = {}
        self._in_force: dict[tuple[str | None, str | None], Switches] = {}
        self._switches_expire_at: Timestamp | None = None
        self._take_switches()

    async def refresh(self) -> None:
        """Take in what changed."""
        async with self._refreshing:
            changes = await self._store.changes(self.version)
            if changes.version < self.version:
                # Another past: the database was restored, or a replica took over that had missed some.
                # What is known goes when all that there is has come: nobody's key is refused meanwhile.
                changes = await self._store.changes(0)
                self._forget()
            if changes.version != self.version:
                self._apply(changes)
                self._wake()
            else:
                self.look_at_clock()

    async def catch_up(self, version: int) -> None:
        """Take in what changed if that is not done up to a version that is known to be in force."""
        if version > self.version:
            await self.refresh()

    def look_at_clock(self) -> None:
        """Have switches go back whose time has come."""
        due = self._switches_expire_at
        if due is not None and due <= self._store.now():
            self._take_switches()
            self._wake()

    def _wake(self) -> None:
        # Whoever waits on a switch or a subscription looks again with the new one.
        self._store.wake_queue()
        self._store.wake_deliveries()

    def _forget(self) -> None:
        self.version = 0
        self._principals.clear()
        self._digests.clear()
        self._organizations.clear()
        self._subscriptions.clear()
        self._routes.clear()
        self._operational.clear()
        self._sessions.clear()
        self.event_types = {}
        self._expiring.clear()
        self.filtering = self.ordered = frozenset()
        self._older = None
        self._switches.clear()
        self._take_switches()

    def principal(self, key: str) -> Principal | None:
        """Whose key this is, or ``None`` when it is not (or no longer) valid."""
        # Found by a digest that a caller cannot steer towards another's, so how long the lookup
        # takes says nothing about the keys that exist.
        return self._valid(key_digest(key))

    def principal_of(self, key_id: str) -> Principal | None:
        """What a key may do, by its id; ``None`` when it is not (or no longer) valid."""
        digest = self._digests.get(key_id)
        return None if digest is None else self._valid(digest)

    def _valid(self, digest: bytes) -> Principal | None:
        principal = self._principals.get(digest)
        if principal is None or (
            principal.expires_at is not None and principal.expires_at <= self._store.now()
        ):
            return None
        return principal

    def now(self) -> Timestamp:
        """The store's clock."""
        return self._store.now()

    def expiring_keys(self, *, within_s: float) -> list[Principal]:
        """The keys that are valid, and end within so many seconds."""
        now = self._store.now()
        until = now.after(seconds=within_s)
        return [
            each
            for each in self._principals.values()
            if each.expires_at is not None and now < each.expires_at <= until
        ]

    def organization(self, organization_id: str) -> Organization | None:
        """One tenant."""
        return self._organizations.get(organization_id)

    @property
    def organization_count(self) -> int:
        """How many tenants there are."""
        return len(self._organizations)

    def organizations(self) -> list[Organization]:
        """All tenants, newest first."""
        return sorted(self._organizations.values(), key=lambda each: each.id, reverse=True)

    def subscription(self, organization_id: str, subscription_id: str) -> SubscriptionRecord | None:
        """One of a tenant's subscriptions."""
        return self._subscriptions.get(organization_id, {}).get(subscription_id)

    def owner_of(self, subscription_id: str) -> str | None:
        """Whose a subscription is."""
        for organization_id, theirs in self._subscriptions.items():
            if subscription_id in theirs:
                return organization_id
        return None

    def subscriptions(self, organization_id: str) -> list[SubscriptionRecord]:
        """A tenant's subscriptions."""
        return list(self._subscriptions.get(organization_id, {}).values())

    def routes(self, organization_id: str) -> RoutingTable:
        """Who gets an organization's events."""
        return self._routes.get(organization_id, _NOBODY_ROUTES)

    def notifies(self, organization_id: str) -> bool:
        """Whether the organization is to be told what the service has to say of itself."""
        operational = self._operational.get(organization_id)
        if not operational:
            return False
        now = self._store.now()
        return any(subscription.status_at(now) in MATCHING for subscription in operational)

    def ended_sessions(self, at: int) -> list[tuple[str, str]]:
        """Organization and subscription of each session that had expired by a moment."""
        return [
            (organization_id, each.id)
            for organization_id, sessions in self._sessions.items()
            for each in sessions
            if each.expires_at is not None and each.expires_at <= at
        ]

    def expiring(self) -> list[tuple[str, Subscription]]:
        """Each subscription that expires or has expired, but for sessions, with its organization."""
        return [
            (organization_id, each)
            for organization_id, theirs in self._expiring.items()
            for each in theirs
        ]

    # ── switches ──────────────────────────────────────────────────────────────────────────────

    def switches(
        self, organization_id: str | None = None, subscription_id: str | None = None
    ) -> Switches:
        """What was turned for the service, an organization or a subscription, as it stands now."""
        found = self._in_force.get((organization_id, subscription_id))
        return found or Switches(organization_id=organization_id, subscription_id=subscription_id)

    def controls_of(
        self, organization_id: str | None = None, subscription_id: str | None = None
    ) -> Controls:
        """The switches in force for a scope."""
        if organization_id is None:
            return self.controls
        subscription = None
        if subscription_id is not None:
            subscription = self.switches(organization_id, subscription_id)
        return switching.in_force(
            self.switches(), self.switches(organization_id), subscription, forced=self._forced
        )

    def turned(self) -> list[TurnedSwitch]:
        """Every switch that is not at its default: the service's, then those of organizations."""
        scopes = sorted(
            self._in_force.items(), key=lambda each: (each[0][0] or "", each[0][1] or "")
        )
        others = [each for whose, each in scopes if whose != (None, None)]
        found = switching.turned(self.switches(), forced=self._forced)
        for each in others:
            found += switching.turned(each)
        return found

    def expired_switches(self) -> list[Switches]:
        """Those kept turned although their time is over, as they are to be kept."""
        now = self._store.now()
        found = []
        for kept in self._kept_switches().values():
            due = switching.expires_at(kept)
            if due is not None and due <= now:
                found.append(switching.settled(kept, now))
        return found

    def ingest_mode(self, organization_id: str) -> IngestMode:
        """How an organization's events are taken in."""
        return self._ingest.get(organization_id, self.controls.ingest)

    def _kept_switches(self) -> dict[tuple[str | None, str | None], Switches]:
        kept = dict(self._switches)
        service = switching.with_older(kept.get((None, None)) or Switches(), self._older)
        if service.turns or service.updated_at is not None:
            kept[None, None] = service
        return kept

    def _take_switches(self) -> None:
        """Work out what is in force now."""
        kept = self._kept_switches()
        # Without a turn that expires nobody asks the clock: there may be none yet.
        expiring = any(switching.expires_at(each) is not None for each in kept.values())
        if expiring:
            now = self._store.now()
            kept = {whose: switching.settled(each, now) for whose, each in kept.items()}
        self._in_force = kept
        self._switches_expire_at = min(
            (at for each in kept.values() if (at := switching.expires_at(each)) is not None),
            default=None,
        )
        self.controls = switching.in_force(self.switches(), forced=self._forced)
        """The switches in force for the service as a whole."""
        self.draining = DRAIN in self.switches().turns
        """Whether nothing is to be taken in, so that the service runs empty."""
        own = {
            organization_id: self.controls_of(organization_id)
            for organization_id, subscription_id in kept
            if organization_id is not None and subscription_id is None
        }
        everywhere = self.controls
        self._ingest = {
            each: theirs.ingest
            for each, theirs in own.items()
            if theirs.ingest != everywhere.ingest
        }
        self.processing_paused = frozenset(
            organization_id
            for (organization_id, _), each in kept.items()
            if organization_id is not None and _is_paused(each)
        )
        """The organizations whose events are not routed, beside the switch for all."""
        self.delivery = self._delivery_modes(everywhere.delivery)
        """Whether deliveries are sent, and to whom they are not."""

    def _delivery_modes(self, everywhere: DeliveryMode) -> DeliveryModes:
        if "delivery" in self._forced:
            limited = everywhere is not DeliveryMode.RUNNING
            return DeliveryModes(everywhere=everywhere, limited=limited)
        organizations: dict[str, DeliveryMode] = {}
        subscriptions: dict[str, DeliveryMode] = {}
        for (organization_id, subscription_id), each in self._in_force.items():
            turn = each.turns.get("delivery")
            if organization_id is None or turn is None or turn.value is None:
                continue
            if subscription_id is None:
                organizations[organization_id] = DeliveryMode(str(turn.value))
            else:
                subscriptions[subscription_id] = DeliveryMode(str(turn.value))
        return DeliveryModes(
            everywhere=everywhere,
            organizations=organizations,
            subscriptions=subscriptions,
            limited=everywhere is not DeliveryMode.RUNNING
            or bool(organizations)
            or bool(subscriptions),
        )

    def _apply(self, changes: Changes) -> None:
        for organization in changes.organizations:
            self._organizations[organization.id] = organization
        for record in changes.keys:
            if record.key.revoked_at is None:
                self._principals[record.digest] = Principal(
                    record.key.id,
                    record.organization_id,
                    frozenset(record.key.scopes),
                    record.key.expires_at,
                )
                self._digests[record.key.id] = record.digest
            else:
                self._principals.pop(record.digest, None)
                self._digests.pop(record.key.id, None)
        touched = set()
        for subscribed in changes.subscriptions:
            theirs = self._subscriptions.setdefault(subscribed.organization_id, {})
            theirs[subscribed.subscription.id] = subscribed
            touched.add(subscribed.organization_id)
        for gone in changes.gone:
            self._organizations.pop(gone, None)
            for organization_id, theirs in self._subscriptions.items():
                if theirs.pop(gone, None) is not None:
                    touched.add(organization_id)
        for organization_id in touched:
            theirs_now = [
                record.subscription for record in self._subscriptions[organization_id].values()
            ]
            self._routes[organization_id] = RoutingTable(theirs_now)
            self._sessions[organization_id] = tuple(each for each in theirs_now if each.by_session)
            self._expiring[organization_id] = tuple(
                each for each in theirs_now if each.expires_at is not None and not each.by_session
            )
            self._operational[organization_id] = tuple(
                each for each in theirs_now if each.operational
            )
        if touched:
            self.filtering = frozenset(
                organization_id
                for organization_id, routes in self._routes.items()
                if routes.has_filters
            )
            self.ordered = frozenset(
                organization_id
                for organization_id, routes in self._routes.items()
                if routes.has_order
            )
        self._apply_event_types(changes.event_types)
        if changes.controls is not None:
            self._older = changes.controls
        for each in changes.switches:
            self._switches[each.organization_id, each.subscription_id] = each
        if changes.controls is not None or changes.switches or changes.gone:
            self._drop_switches(changes.gone)
            self._take_switches()
        else:
            self.look_at_clock()
        self.version = changes.version

    def _drop_switches(self, gone: Iterable[str]) -> None:
        ended = frozenset(gone)
        self._switches = {
            whose: each for whose, each in self._switches.items() if ended.isdisjoint(whose)
        }

    def _apply_event_types(self, records: Iterable[EventTypeRecord]) -> None:
        changed: dict[str, dict[str, TypeRules]] = {}
        for record in records:
            if record.organization_id not in changed:
                changed[record.organization_id] = dict(
                    self.event_types.get(record.organization_id, {})
                )
            theirs = changed[record.organization_id]
            if record.event_type is None:
                theirs.pop(record.name, None)
            else:
                theirs[record.name] = TypeRules(record.event_type)
        for organization_id, theirs in changed.items():
            if theirs:
                self.event_types[organization_id] = theirs
            else:
                # The events of an organization without any cost one look, no more.
                self.event_types.pop(organization_id, None)


def _is_paused(switches: Switches) -> bool:
    turn = switches.turns.get("processing")
    return turn is not None and turn.value == Running.PAUSED
