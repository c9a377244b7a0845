"""Jobs and replays: new deliveries of old events, dead ones deleted, and how far a job has come."""

import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from triggers_api.errors import InvalidState
from triggers_api.model import ids
from triggers_api.model.audit import SERVICE, Actor, by_hand, job_deed
from triggers_api.model.delivery import DeliveryStatus, NewDelivery, Origin
from triggers_api.model.ids import received_ms
from triggers_api.model.job import (
    EVENT_GONE,
    JOBS_KEPT,
    SUBSCRIPTION_ENDED,
    Job,
    Progress,
    Replay,
    Selection,
    Then,
    advanced,
    cancelled,
    notice,
)
from triggers_api.model.outcome import error_class
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies, codes
from triggers_api.store.base import (
    ClaimedJob,
    EventContent,
    JobBacklog,
    JobStep,
    WalkedDelivery,
    WalkedEvent,
)
from triggers_api.store.postgres.audit_verbs import AuditVerbs
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.notice_verbs import write_notices
from triggers_api.store.postgres.queue_verbs import SLOTS
from triggers_api.store.postgres.tables import FIRST, SQL, find, first_at, number, text

_REPLAY = codes.ORIGIN[Origin.REPLAY]

Key = str | UUID


class JobVerbs:
    """The verbs around ``jobs``. Those that change something run in a transaction."""

    def __init__(self, audit: AuditVerbs) -> None:
        self._audit = audit
        self._turn = FIRST

    async def create(
        self,
        db: Connection,
        organization: Key,
        job: Job,
        *,
        position: str | None,
        most_open: int,
        by: Actor,
        now: int,
    ) -> None:
        """A new job, in its place among the organization's."""
        open_ = await db.fetchval(SQL["count_open_jobs"], organization)
        if open_ >= most_open:
            raise InvalidState(f"{open_} jobs are not finished: wait for one, or cancel one")
        await db.execute(
            SQL["create_job"],
            organization,
            number(job.id),
            codes.JOB_STATUS[job.status],
            bodies.encode(job),
            _position(position),
            now,
        )
        await db.execute(SQL["forget_jobs"], organization, JOBS_KEPT)
        await self._audit.note(db, by, job_deed(_organization(organization), job, "created"))

    async def job(self, db: Connection, organization: Key, job: Key) -> Job | None:
        """One job."""
        body = await db.fetchval(SQL["job"], organization, job)
        return None if body is None else bodies.job(body)

    async def jobs(self, db: Connection, organization: Key, before: Key, limit: int) -> list[Job]:
        """Some jobs, newest first."""
        rows = await db.fetch(SQL["jobs"], organization, before, limit)
        return [bodies.job(body) for (body,) in rows]

    async def cancel(
        self, db: Connection, organization: Key, job: Key, *, by: Actor, now: Timestamp
    ) -> Job | None:
        """Stopped where it is."""
        body = await db.fetchval(SQL["hold_job"], organization, job)
        if body is None:
            return None
        known = bodies.job(body)
        if known.finished:
            raise InvalidState(f"the job is {known.status}")
        known = cancelled(known, now=now)
        await db.execute(SQL["cancel_job"], organization, job, bodies.encode(known), now)
        await self._audit.note(db, by, job_deed(_organization(organization), known, "cancelled"))
        return known

    async def backlog(self, db: Connection) -> JobBacklog:
        """Open jobs."""
        row = await db.fetchrow(SQL["open_jobs"])
        assert row is not None
        count, next_at = row
        return JobBacklog(count, None if next_at is None else Timestamp(next_at))

    async def claim(self, db: Connection, *, now: int, until: int, token: int) -> ClaimedJob | None:
        """Lease the job whose turn it is."""
        row = await db.fetchrow(SQL["claim_job"], now, self._turn, until, token)
        if row is None:
            return None
        organization, body, position, due_at, held = row
        self._turn = organization
        job = bodies.job(body)
        return ClaimedJob(
            organization_id=text(ids.ORGANIZATION, organization),
            job=job,
            position=_shown_position(job, position),
            due_at=Timestamp(due_at),
            token=token,
            recovered=held,
        )

    async def advance(self, db: Connection, step: JobStep, *, now: Timestamp) -> Job | None:
        """What a step did, and how far it came."""
        organization = number(step.claimed.organization_id)
        job_id = number(step.claimed.job.id)
        body = await db.fetchval(SQL["job_held"], organization, job_id, step.claimed.token, now)
        if body is None:
            return None
        job = bodies.job(body)
        progress = Progress(counted=step.counted)
        if step.replays:
            progress = await self._replay_for(db, organization, job, step.replays, now)
        elif step.purges:
            progress = Progress(done=await self._purge(db, organization, step.purges))
        job = advanced(job, progress, step.then, now=now, error=step.error)
        await db.execute(
            SQL["advance_job"],
            organization,
            job_id,
            codes.JOB_STATUS[job.status],
            bodies.encode(job),
            FIRST if step.then is Then.COUNTED else _position(step.position),
            step.due_at,
            now,
        )
        if job.finished:
            deed = job_deed(step.claimed.organization_id, job, "finished")
            await self._audit.note(db, SERVICE, deed)
        if job.finished and step.notify:
            await write_notices(db, [(step.claimed.organization_id, notice(job, at=now))])
        return job

    async def _replay_for(
        self, db: Connection, organization: Key, job: Job, replays: Sequence[Replay], now: int
    ) -> Progress:
        events, receiving = await self._standing(db, organization, replays, now)
        met: set[str] = set()
        if job.selection.missed and job.selection.subscription_id is not None:
            subscription = number(job.selection.subscription_id)
            asked = sorted(events)
            rows = await db.fetch(SQL["delivered_events"], organization, asked, subscription)
            met = {event.hex for (event,) in rows}
        failures: Counter[str] = Counter()
        made = []
        for replay in replays:
            event = number(replay.event_id)
            if event in met:
                continue
            if event not in events:
                failures[EVENT_GONE] += 1
            elif number(replay.subscription_id) not in receiving:
                failures[SUBSCRIPTION_ENDED] += 1
            else:
                made.append((replay, number(job.id)))
        return Progress(
            done=len(made),
            deliveries=await self._insert(db, organization, made, now),
            failures=failures,
        )

    async def _standing(
        self, db: Connection, organization: Key, replays: Sequence[Replay], now: int
    ) -> tuple[set[str], set[str]]:
        """The events that are there, held; and the subscriptions that have not ended."""
        events = sorted({number(replay.event_id) for replay in replays})
        subscriptions = sorted({number(replay.subscription_id) for replay in replays})
        await db.execute(SQL["hold_events"], organization, events)
        there = await db.fetch(SQL["replayable_events"], organization, events)
        receiving = await db.fetch(SQL["receiving_subscriptions"], organization, subscriptions, now)
        return {event.hex for (event,) in there}, {each.hex for (each,) in receiving}

    async def _insert(
        self, db: Connection, organization: Key, made: Sequence[tuple[Replay, str]], now: int
    ) -> int:
        """New deliveries, each with what asked for it; returns how many there were not already."""
        if not made:
            return 0
        return int(
            await db.fetchval(
                SQL["replay_deliveries"],
                organization,
                [number(replay.delivery_id) for replay, _ in made],
                [number(replay.event_id) for replay, _ in made],
                [number(replay.subscription_id) for replay, _ in made],
                [origin for _, origin in made],
                now,
                secrets.randbelow(SLOTS),
            )
        )

    async def _purge(self, db: Connection, organization: Key, deliveries: Sequence[str]) -> int:
        asked = [number(each) for each in deliveries]
        dead = [text(ids.DELIVERY, each)
                for (each,) in await db.fetch(SQL["hold_dead"], organization, asked)]  # fmt: skip
        return int(
            await db.fetchval(
                SQL["purge_deliveries"],
                organization,
                [number(each) for each in dead],
                [received_ms(each) for each in dead],
                secrets.randbelow(SLOTS),
            )
        )

    async def replay_event(
        self,
        db: Connection,
        organization: Key,
        event_id: str,
        deliveries: Sequence[NewDelivery],
        *,
        by: Actor,
        now: int,
    ) -> list[str] | None:
        """Deliveries of one event; returns their numbers."""
        event = find(ids.EVENT, event_id)
        await db.execute(SQL["hold_events"], organization, [event])
        routed = await db.fetchval(SQL["event_routed"], organization, event)
        if routed is None:
            return None
        if not routed:
            raise InvalidState("the event has not been routed")
        replays = [Replay(each.id, event_id, each.subscription_id) for each in deliveries]
        _, receiving = await self._standing(db, organization, replays, now)
        if any(number(each.subscription_id) not in receiving for each in replays):
            raise InvalidState("the subscription has ended: it was deleted, disabled or expired")
        # Each is what asked for itself: it may be asked for again.
        made = [(replay, number(replay.delivery_id)) for replay in replays]
        await self._insert(db, organization, made, now)
        subscriptions = [each.subscription_id for each in replays]
        deed = by_hand(
            "event.replayed", _organization(organization), event_id, subscription_ids=subscriptions
        )
        await self._audit.note(db, by, deed)
        return [origin for _, origin in made]

    async def walk_events(
        self,
        db: Connection,
        organization: Key,
        selection: Selection,
        after: str | None,
        limit: int,
    ) -> list[WalkedEvent]:
        """Events from a position on."""
        asked = None
        if selection.missed and selection.subscription_id is not None:
            asked = find(ids.SUBSCRIPTION, selection.subscription_id)
        rows = await db.fetch(
            SQL["walk_events"], organization, _position(after), *_span(selection), limit, asked
        )
        return [
            WalkedEvent(text(ids.EVENT, event), event_type, *flags)
            for event, event_type, *flags in rows
        ]

    async def event_contents(
        self, db: Connection, organization: Key, events: Sequence[str]
    ) -> dict[str, EventContent]:
        """What filters read."""
        asked = [find(ids.EVENT, event) for event in events]
        rows = await db.fetch(SQL["event_contents"], organization, asked)
        return {text(ids.EVENT, event): EventContent(*content) for event, *content in rows}

    async def walk_deliveries(
        self,
        db: Connection,
        organization: Key,
        selection: Selection,
        after: str | None,
        limit: int,
    ) -> list[WalkedDelivery]:
        """Deliveries from a position on, by the index that has the fewest beside them."""
        parameters: list[Any] = [organization, _position(after), *_span(selection), limit]
        if selection.ids is not None:
            name = "walk_chosen"
            parameters.append([find(ids.DELIVERY, each) for each in selection.ids])
        elif selection.status is DeliveryStatus.DEAD and None not in (
            selection.subscription_id,
            selection.error_class,
        ):
            name = "walk_dead_group"
            parameters.append(find(ids.SUBSCRIPTION, str(selection.subscription_id)))
            parameters.append(selection.error_class)
        elif selection.status is DeliveryStatus.DEAD:
            name = "walk_dead_letters"
        elif selection.subscription_id is not None:
            name = "walk_deliveries_of_subscription"
            parameters.append(find(ids.SUBSCRIPTION, selection.subscription_id))
        else:
            name = "walk_deliveries"
        return [
            WalkedDelivery(
                id=text(ids.DELIVERY, delivery),
                event_id=text(ids.EVENT, event),
                event_type=event_type,
                subscription_id=text(ids.SUBSCRIPTION, subscription),
                status=codes.DELIVERY_STATUS_OF[status],
                origin_id=text(ids.JOB, origin_id) if origin == _REPLAY else None,
                error_class=error_class(reason),
            )
            for delivery, event, event_type, subscription, status, origin, origin_id, reason
            in await db.fetch(SQL[name], *parameters)
        ]  # fmt: skip

    async def free(self, db: Connection, *, now: Timestamp, workers: Sequence[int] = ()) -> None:
        """Free the jobs whose lease ran out, or whose worker is one of these numbers."""
        await db.execute(SQL["free_jobs"], now, workers)


def _position(identifier: str | None) -> Key:
    return FIRST if identifier is None else number(identifier)


def _shown_position(job: Job, position: UUID) -> str | None:
    if position == FIRST:
        return None
    return text(ids.EVENT if job.selection.status is None else ids.DELIVERY, position)


def _span(selection: Selection) -> tuple[Key, Key]:
    since = selection.since
    return FIRST if since is None else first_at(since), first_at(selection.until)


def _organization(value: Key) -> str:
    """The id of an organization whose uuid this is."""
    return text(ids.ORGANIZATION, value if isinstance(value, UUID) else UUID(value))
