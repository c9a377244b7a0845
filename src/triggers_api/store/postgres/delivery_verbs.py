"""Claim and settle: a delivery from falling due to its outcome on file."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

from triggers_api.errors import InvalidState
from triggers_api.model import ids
from triggers_api.model.delivery import (
    OPEN,
    RETRYABLE,
    WAITING,
    DeliveryStatus,
    reopened,
    waits_for,
)
from triggers_api.model.health import Evidence, HealthEvent, evidence
from triggers_api.model.ids import received_ms
from triggers_api.model.notice import Notice, NoticeType
from triggers_api.model.subscription import SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies, codes
from triggers_api.store.base import (
    ClaimedDelivery,
    DeliveryClaim,
    HealthReset,
    Rooms,
    Settled,
    Settlement,
)
from triggers_api.store.choice import CLAIMED_BYTES, choose
from triggers_api.store.endpoint_health import at_another_url
from triggers_api.store.passed import Passed
from triggers_api.store.postgres import lines
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.health_verbs import Endpoint, HealthVerbs
from triggers_api.store.postgres.notice_verbs import write_notices
from triggers_api.store.postgres.quarantine_verbs import reveal
from triggers_api.store.postgres.settings_verbs import SettingsVerbs
from triggers_api.store.postgres.tables import SQL, number, text
from triggers_api.store.questions import (
    LANES_AT_ONCE,
    Ahead,
    Allowed,
    Among,
    Behind,
    Chosen,
    Due,
    Lane,
    Within,
)
from triggers_api.store.turns import Turns

CANCELLED_AT_ONCE: Final = 5000
"""Rows of ended subscriptions that one transaction cancels, so that nobody waits long for it."""

_ENDED: Final = "the subscription has ended"
_TARGETS_KEPT: Final = 10_000
_LINES_AT_ONCE: Final = 1000

_LOWEST: Final = "0" * 32
_MARGIN_MS: Final = 250
_WHOLE_EVERY_MS: Final = 1000
"""Others may have locked what a claim goes past, and may commit later what is due earlier: what became
due just now is read again by every claim, and everything once a second."""

_CODE = codes.DELIVERY_STATUS


class DeliveryVerbs:
    """The verbs around ``deliveries`` and ``delivery_queue``."""

    def __init__(self, settings: SettingsVerbs, health: HealthVerbs) -> None:
        self._settings = settings
        self._health = health
        self._turns = Turns(_LOWEST, "f" * 32)
        self._passed = Passed(_LOWEST, margin_ms=_MARGIN_MS, whole_every_ms=_WHOLE_EVERY_MS)
        self._claiming = False
        self._line = lines.FIRST_LINE
        self._targets: dict[tuple[str, int], SubscriptionRecord] = {}

    async def claim(
        self,
        db: Connection,
        limit: int,
        *,
        rooms: Rooms,
        now: Timestamp,
        until: Timestamp,
        token: int,
    ) -> DeliveryClaim:
        """Lease due deliveries within each subscription's and each organization's room."""
        async with self._memory() as passed:
            chosen, version = await self._choose(db, limit, rooms, now, passed)
            due = chosen.due
            if any(each.probe for each in due):
                due = await self._probing(db, due, now, until)
            claimed = await self._lease(db, due, token, until) if due else []
            if len(claimed) < len(chosen.due):
                passed.forget()  # what was chosen and not leased may lie before the place
        return DeliveryClaim(
            tuple([await self._claimed(db, each, row, token) for each, row in claimed]),
            recovered=sum(each.recovered for each, _ in claimed),
            settings_version=version,
            unfinished=chosen.unfinished,
        )

    @asynccontextmanager
    async def _memory(self) -> AsyncIterator[Passed[str]]:
        """What was gone past; nothing while another claim of this process is under way.

        That one has locked rows which this one does not see, and could not tell whose they are.
        """
        if self._claiming:
            yield Passed(_LOWEST, most=0)
            return
        self._claiming = True
        try:
            yield self._passed
        except BaseException:
            self._passed.forget()
            raise
        finally:
            self._claiming = False

    async def _choose(
        self, db: Connection, limit: int, rooms: Rooms, now: Timestamp, passed: Passed[str]
    ) -> tuple[Chosen[str], int]:
        """What to lease, and the version of the settings that is in force."""
        allowed = Allowed(
            {number(each): free for each, free in rooms.subscriptions.items()},
            rooms.default_subscription,
            {number(each): free for each, free in rooms.organizations.items()},
            rooms.default_organization,
        )
        # A copy: claims that run at once go on from the same place, and the last one's is kept.
        turns = self._turns.copy()
        asking = choose(limit=limit, allowed=allowed, turns=turns, passed=passed, now=now)
        answer: list[Any] | None = None
        versions: dict[str, int] = {}
        version = 0
        while True:
            try:
                asked = asking.send(answer)
            except StopIteration as ended:
                self._turns = turns
                chosen: Chosen[str] = ended.value
                return chosen, version
            match asked:
                case Ahead():
                    first, later = asked.after
                    rows = await db.fetch(SQL["claim_due"], now, *asked.most, *first, *later)
                    version = rows[0]["settings_version"]
                    answer = [_due(row[1:]) for row in rows if row["delivery_id"] is not None]
                case Among():
                    rows = await db.fetch(
                        SQL["claim_lanes_passed"],
                        now,
                        [organization for organization, _ in asked.lanes],
                        [subscription for _, subscription in asked.lanes],
                    )
                    answer = _lanes(rows)
                    versions |= _versions(rows)
                case Behind():
                    rows = await db.fetch(
                        SQL["claim_lanes"],
                        now,
                        asked.organization,
                        asked.subscription,
                        LANES_AT_ONCE,
                        asked.full,
                    )
                    answer = _lanes(rows)
                    versions |= _versions(rows)
                case Within():
                    answer = await self._within(db, asked.lanes, versions, now)

    @staticmethod
    async def _within(
        db: Connection,
        lanes: Sequence[tuple[Lane[str], int]],
        versions: Mapping[str, int],
        now: Timestamp,
    ) -> list[Due[str]]:
        rows = await db.fetch(
            SQL["claim_lane"],
            now,
            [lane.organization for lane, _ in lanes],
            [lane.subscription for lane, _ in lanes],
            [most for _, most in lanes],
        )
        found = []
        for place, delivery, priority, due_at, recovered, place_in_table in rows:
            lane = lanes[place - 1][0]
            found.append(
                Due(
                    delivery.hex,
                    lane.organization,
                    lane.subscription,
                    lane.most,
                    lane.probe,
                    priority,
                    due_at,
                    recovered,
                    (place_in_table, versions[lane.subscription]),
                )
            )
        return found

    @staticmethod
    async def _probing(
        db: Connection, chosen: list[Due[str]], now: Timestamp, until: Timestamp
    ) -> list[Due[str]]:
        """Those of the chosen that nobody else's probe keeps from being sent."""
        lanes = sorted({(each.organization, each.subscription) for each in chosen if each.probe})
        rows = await db.fetch(
            SQL["claim_half_open"],
            [organization for organization, _ in lanes],
            [subscription for _, subscription in lanes],
            now,
            until,
        )
        ours = {row[0].hex for row in rows}
        return [each for each in chosen if not each.probe or each.subscription in ours]

    @staticmethod
    async def _lease(
        db: Connection, due: list[Due[str]], token: int, until: Timestamp
    ) -> list[tuple[Due[str], Any]]:
        rows = await db.fetch(
            SQL["claim_deliveries_lease"],
            [each.place[0] for each in due],
            [each.organization for each in due],
            [each.delivery for each in due],
            token,
            until,
            CLAIMED_BYTES,
        )
        return [(due[row[0] - 1], row[1:]) for row in rows]

    async def _claimed(
        self,
        db: Connection,
        due: Due[str],
        row: Any,  # noqa: ANN401 - a row
        token: int,
    ) -> ClaimedDelivery:
        (
            event,
            attempts,
            base,
            event_type,
            occurred_at,
            payload,
            source,
            key,
            dedup_id,
            metadata,
            operational,
            origin,
            sequence,
        ) = row
        event_id = text(ids.EVENT, event)
        return ClaimedDelivery(
            id=f"{ids.DELIVERY}_{due.delivery}",
            token=token,
            event_id=event_id,
            event_type=event_type,
            sent_at=Timestamp(received_ms(event_id) if occurred_at is None else occurred_at),
            payload=payload,
            attempt_count=attempts,
            failures=attempts - base,
            target=await self._target(db, due.organization, due.subscription, due.place[1]),
            source=source,
            key=key,
            dedup_id=dedup_id,
            metadata=metadata,
            priority=due.priority,
            probe=due.probe,
            operational=bool(operational),
            origin=codes.ORIGIN_OF[origin],
            sequence=sequence,
        )

    async def claim_for_session(
        self,
        db: Connection,
        organization: str | UUID,
        subscription: str | UUID,
        limit: int,
        *,
        now: Timestamp,
        until: Timestamp,
        token: int,
    ) -> DeliveryClaim:
        """Lease due deliveries of one subscription, which nobody else claims."""
        version = await db.fetchval(SQL["session_lane"], organization, subscription, now)
        if version is None:
            return DeliveryClaim(())
        lane = Lane(str(organization), str(subscription), limit, probe=False)
        due = await self._within(db, [(lane, limit)], {lane.subscription: version}, now)
        due = sorted(due, key=_since_when)[:limit]
        claimed = await self._lease(db, due, token, until) if due else []
        return DeliveryClaim(
            tuple([await self._claimed(db, each, row, token) for each, row in claimed]),
            recovered=sum(each.recovered for each, _ in claimed),
        )

    async def _target(
        self, db: Connection, organization: str, subscription: str, version: int
    ) -> SubscriptionRecord:
        known = self._targets.get((subscription, version))
        if known is None:
            known = await self._settings.of_any_state(db, organization, subscription)
            if len(self._targets) >= _TARGETS_KEPT:
                self._targets.clear()
            self._targets[subscription, version] = known
        return known

    async def settle(
        self,
        db: Connection,
        settlements: Sequence[Settlement],
        *,
        now: Timestamp,
        with_health: bool = False,
    ) -> tuple[Settled, bool, bool] | None:
        """Outcomes onto their rows.

        Without ``with_health`` this is one statement. It changes nothing and there is no answer if it
        would have to change what is known of an endpoint, which takes a transaction, as notices and the
        end of a delivery that is in a line do.

        Returns:
            What came of it, whether subscriptions have ended, and whether others' turn has come.
        """
        may_disable = False
        held_lines: list[lines.Line] = []
        if with_health:
            settlements, may_disable = await self._prepared(db, settlements, now=now)
        # The first settlement of a row ends its lease; a second one is stale.
        first = {(each.delivery_id, each.token): each for each in reversed(settlements)}
        once = list(first.values())
        if with_health:
            held_lines = await self._hold_lines(db, once)
        rows = await db.fetch(SQL["settle"], now, *_columns(once, now), with_health)
        if rows and not rows[0]["done"]:
            return None
        self._passed.came(
            [each.next_attempt_at for each in once if each.next_attempt_at is not None]
        )
        held = {(delivery.hex, token): subscription for delivery, token, subscription, _ in rows}
        stale: list[str] = []
        ended: dict[UUID, Settlement] = {}
        seen: dict[Endpoint, list[Evidence]] = {}
        notices: list[tuple[str, Notice]] = []
        to_tell: set[UUID] = set()
        for settlement in settlements:
            subscription = held.pop((number(settlement.delivery_id), settlement.token), None)
            if subscription is None:
                stale.append(settlement.delivery_id)
                continue
            if settlement.disable_subscription is not None:
                ended[subscription] = settlement
            if settlement.notice is not None:
                notices.append((settlement.organization_id, settlement.notice))
            if settlement.notify:
                to_tell.add(subscription)
            said = evidence(settlement.attempt, settlement.status, settlement.sent_to)
            if said is not None:
                endpoint = UUID(number(settlement.organization_id)), subscription
                seen.setdefault(endpoint, []).append(said)
        if not with_health:
            return Settled(tuple(stale)), False, False
        go_on = await lines.go_on(db, held_lines, now=now)
        closed_to, changes = await self._health.settle(
            db,
            {each: said for each, said in seen.items() if each[1] not in ended},
            ending=[
                (UUID(number(settlement.organization_id)), subscription)
                for subscription, settlement in ended.items()
            ],
            may_disable=may_disable,
            to_tell=to_tell,
            now=now,
        )
        for subscription, settlement in ended.items():
            reason = str(settlement.disable_subscription)
            organization = number(settlement.organization_id)
            await self._health.reset(db, organization, subscription, HealthReset.FORGET)
            disabled = await self._settings.disable_subscription(
                db, organization, subscription, reason, now=now
            )
            if disabled and settlement.notify:
                notice = Notice(
                    type=NoticeType.SUBSCRIPTION_DISABLED,
                    at=now,
                    subscription_id=text(ids.SUBSCRIPTION, subscription),
                    reason=reason,
                )
                notices.append((settlement.organization_id, notice))
        await write_notices(db, notices)
        given_up = any(each.event is HealthEvent.DISABLED for each in changes)
        return Settled(tuple(stale), closed_to, tuple(changes)), bool(ended) or given_up, go_on

    async def _hold_lines(
        self, db: Connection, settlements: Sequence[Settlement]
    ) -> list[lines.Line]:
        """Hold the lines of those that end."""
        ends = [each for each in settlements if each.status not in WAITING]
        rows = await db.fetch(
            SQL["hold_lines"],
            [number(each.organization_id) for each in ends],
            [number(each.delivery_id) for each in ends],
        )
        return [tuple(row) for row in rows]

    async def _prepared(
        self, db: Connection, settlements: Sequence[Settlement], *, now: Timestamp
    ) -> tuple[Sequence[Settlement], bool]:
        """Settlements of which none disables a subscription that is elsewhere now.

        Also whether this transaction may disable some: what is read from here on is then what it will be
        when it is written.
        """
        disabling = [each for each in settlements if each.disable_subscription is not None]
        organizations = {number(each.organization_id) for each in settlements}
        if not disabling and not await self._health.may_disable(db, organizations, now=now):
            return settlements, False
        await db.execute(SQL["hold_version"])
        rows = await db.fetch(
            SQL["settled_targets"],
            [number(each.organization_id) for each in disabling],
            [number(each.delivery_id) for each in disabling],
        )
        urls = {delivery.hex: bodies.subscription(body).url for delivery, body in rows}

        def moved(settlement: Settlement) -> bool:
            url = urls.get(number(settlement.delivery_id))
            return settlement in disabling and settlement.sent_to not in (None, url)

        return [at_another_url(each) if moved(each) else each for each in settlements], True

    async def cancel_ended(
        self, db: Connection, *, now: Timestamp, subscription: str | UUID | None = None
    ) -> int:
        """Cancel some of what waits for subscriptions that have ended; returns how many."""
        rows = await db.fetch(SQL["hold_ended_lines"], subscription, CANCELLED_AT_ONCE)
        held: list[lines.Line] = [tuple(row) for row in rows]
        cancelled = changed(
            await db.execute(
                SQL["cancel_ended"],
                now,
                _ENDED,
                subscription,
                CANCELLED_AT_ONCE,
                *lines.as_columns(held),
            )
        )
        await lines.go_on(db, held, now=now)
        return cancelled

    async def mend_order(self, db: Connection, *, now: Timestamp) -> int:
        """Have lines that stand still go on, some lines at a time; returns how many stood still."""
        mended, self._line = await lines.mend(db, self._line, most=_LINES_AT_ONCE, now=now)
        return mended

    async def free(
        self, db: Connection, *, now: Timestamp, workers: Sequence[int] = ()
    ) -> tuple[int, int]:
        """Free events and deliveries whose lease ran out, or whose worker is one of these numbers."""
        events = changed(await db.execute(SQL["free_queue"], now, workers))
        return events, changed(await db.execute(SQL["free_deliveries"], now, workers))

    async def retry(
        self, db: Connection, organization: str | UUID, delivery: str | UUID, *, now: Timestamp
    ) -> bool:
        """Due now, whatever it was waiting for."""
        await db.execute(SQL["hold_event"], organization, delivery)
        await db.execute(SQL["hold_delivery"], organization, delivery)
        row = await db.fetchrow(SQL["delivery_standing"], organization, delivery)
        if row is None:
            return False
        code, attempts, subscription, leased, erased, ended, order_key = row
        standing = DeliveryStatus.DELIVERING if leased else codes.DELIVERY_STATUS_OF[code]
        if erased:
            raise InvalidState("the event was deleted")
        if ended:
            raise InvalidState("the subscription has ended: it was deleted, disabled or expired")
        if standing in WAITING:
            if order_key is not None:
                await self._check_turn(db, organization, delivery, subscription, order_key)
            await db.execute(SQL["bring_delivery_forward"], organization, delivery, now)
        elif standing in RETRYABLE:
            status = _CODE[reopened(attempts)]
            await db.execute(SQL["reopen_delivery"], organization, delivery, status, now)
        else:
            raise InvalidState(f"the delivery is {standing}")
        return True

    async def _check_turn(
        self,
        db: Connection,
        organization: str | UUID,
        delivery: str | UUID,
        subscription: UUID,
        order_key: str,
    ) -> None:
        head = await db.fetchval(SQL["line_head"], organization, subscription, order_key)
        if head is not None and head.hex != UUID(str(delivery)).hex:
            raise InvalidState(waits_for(text(ids.DELIVERY, head)))

    async def cancel(
        self, db: Connection, organization: str | UUID, delivery: str | UUID, *, now: Timestamp
    ) -> bool:
        """Ended, whatever it was waiting for."""
        held = await db.fetch(SQL["hold_lines"], [organization], [delivery])
        await db.execute(SQL["hold_delivery"], organization, delivery)
        row = await db.fetchrow(SQL["delivery_standing"], organization, delivery)
        if row is None:
            return False
        standing = codes.DELIVERY_STATUS_OF[row[0]]
        if standing not in OPEN:
            raise InvalidState(f"the delivery is {standing}")
        await db.execute(
            SQL["cancel_delivery"], organization, delivery, now, "cancelled by request"
        )
        await lines.go_on(db, [tuple(row) for row in held], now=now)
        return True

    async def erase_event(
        self, db: Connection, organization: str | UUID, event: str | UUID, *, now: Timestamp
    ) -> bool:
        """Payload gone, queue row gone, what waits cancelled, dedup_id free."""
        was_aside = await db.fetchrow(SQL["hold_aside"], organization, event) is not None
        # The queue row first, as whoever routes it does.
        await db.execute(SQL["erase_queue_row"], organization, event)
        if await db.fetchval(SQL["erase_event"], organization, event) is None:
            return False
        await db.execute(SQL["mark_erased"], organization, event, now)
        if was_aside:
            await reveal(db, organization, event, now)
        held = await db.fetch(SQL["hold_lines_of_event"], organization, event)
        await db.execute(
            SQL["cancel_event_deliveries"], organization, event, now, "the event was deleted"
        )
        await lines.go_on(db, [tuple(row) for row in held], now=now)
        return True


def _due(row: Any) -> Due[str]:  # noqa: ANN401 - a row
    (
        delivery,
        organization,
        subscription,
        most,
        probe,
        priority,
        due_at,
        recovered,
        place_in_table,
        version,
    ) = row
    return Due(
        delivery.hex,
        organization.hex,
        subscription.hex,
        most,
        probe,
        priority,
        due_at,
        recovered,
        (place_in_table, version),
    )


def _lanes(rows: Sequence[Any]) -> list[Lane[str]]:
    return [
        Lane(organization.hex, subscription.hex, most, probe)
        for organization, subscription, most, probe, _ in rows
    ]


def _versions(rows: Sequence[Any]) -> dict[str, int]:
    return {row[1].hex: row[4] for row in rows}


def _columns(settlements: Sequence[Settlement], now: Timestamp) -> list[list[Any]]:
    attempts = [each.attempt for each in settlements]
    return [
        [number(each.organization_id) for each in settlements],
        [number(each.delivery_id) for each in settlements],
        [each.token for each in settlements],
        [_CODE[each.status] for each in settlements],
        [(each.next_attempt_at or now) if each.status in WAITING else None for each in settlements],
        [each.reason for each in settlements],
        [None if each is None else number(each.id) for each in attempts],
        [None if each is None else each.number for each in attempts],
        [None if each is None else each.started_at for each in attempts],
        [None if each is None else each.duration_ms for each in attempts],
        [None if each is None else each.status_code for each in attempts],
        [None if each is None else each.error for each in attempts],
        [
            None if each is None or each.response_body is None else each.response_body.encode()
            for each in attempts
        ],
        [None if each.details is None else bodies.encode(each.details) for each in settlements],
    ]


def changed(tag: str) -> int:
    """How many rows a statement changed, from its command tag."""
    return int(tag.rpartition(" ")[2])


def _since_when(due: Due[str]) -> tuple[int, str]:
    return due.due_at, due.delivery
