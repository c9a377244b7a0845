"""Jobs and replays: new deliveries of old events, dead ones deleted, and how far a job has come.

Methods that change something are an operation's body, in the writer's thread, inside a transaction;
the others read a snapshot.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import apsw

from triggers_api.errors import InvalidState
from triggers_api.model import ids
from triggers_api.model.audit import SERVICE, Actor, by_hand, job_deed
from triggers_api.model.delivery import DeliveryStatus, NewDelivery, Origin
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
from triggers_api.store.sqlite.audit_verbs import AuditVerbs
from triggers_api.store.sqlite.keys import Keys
from triggers_api.store.sqlite.notice_verbs import NoticeVerbs
from triggers_api.store.sqlite.tables import SQL, Tables, numbers, run_many
from triggers_api.store.sqlite.tokens import NOBODY

_REPLAY = codes.ORIGIN[Origin.REPLAY]
_PENDING = codes.DELIVERY_STATUS[DeliveryStatus.PENDING]
_BEHIND: Final = 1
"""``priority`` of what is not the first attempt of an event."""


class JobVerbs(Tables):
    """The verbs around ``jobs``."""

    def __init__(self, keys: Keys, audit: AuditVerbs) -> None:
        super().__init__(keys)
        self._audit = audit
        self._turn = 0

    def create(
        self,
        db: apsw.Connection,
        organization: int,
        job: Job,
        *,
        position: str | None,
        most_open: int,
        by: Actor,
        now: int,
    ) -> None:
        """A new job, in its place among the organization's."""
        ((open_,),) = db.execute(SQL["count_open_jobs"], (organization,))
        if open_ >= most_open:
            raise InvalidState(f"{open_} jobs are not finished: wait for one, or cancel one")
        db.execute(
            SQL["create_job"],
            (
                self.keys.of(job.id),
                organization,
                codes.JOB_STATUS[job.status],
                bodies.encode(job),
                self._position(position),
                now,
                NOBODY,
            ),
        )
        db.execute(SQL["forget_jobs"], (organization, JOBS_KEPT))
        self._note(db, by, organization, job, "created")

    def _note(self, db: apsw.Connection, by: Actor, organization: int, job: Job, how: str) -> None:
        self._audit.note(db, by, job_deed(self.keys.organization(organization), job, how))

    def job(self, db: apsw.Connection, organization: int, job: int) -> Job | None:
        """One job."""
        for (body,) in db.execute(SQL["job"], (job, organization)):
            return bodies.job(body)
        return None

    def jobs(self, db: apsw.Connection, organization: int, before: int, limit: int) -> list[Job]:
        """Some jobs, newest first."""
        rows = db.execute(SQL["jobs"], (organization, before, limit))
        return [bodies.job(body) for (body,) in rows]

    def cancel(
        self, db: apsw.Connection, organization: int, job: int, *, by: Actor, now: Timestamp
    ) -> Job | None:
        """Stopped where it is."""
        known = self.job(db, organization, job)
        if known is None:
            return None
        if known.finished:
            raise InvalidState(f"the job is {known.status}")
        known = cancelled(known, now=now)
        db.execute(SQL["cancel_job"], (job, bodies.encode(known), now, NOBODY))
        self._note(db, by, organization, known, "cancelled")
        return known

    def backlog(self, db: apsw.Connection) -> JobBacklog:
        """Open jobs."""
        ((count, next_at),) = db.execute(SQL["open_jobs"])
        return JobBacklog(count, None if next_at is None else Timestamp(next_at))

    def claim(self, db: apsw.Connection, *, now: int, until: int, token: int) -> ClaimedJob | None:
        """Lease the job whose turn it is."""
        for number, organization, body, position, due_at, held in list(
            db.execute(SQL["claim_job"], (now, self._turn))
        ):
            db.execute(SQL["claim_job_lease"], (number, until, token))
            self._turn = organization
            job = bodies.job(body)
            return ClaimedJob(
                organization_id=self.keys.organization(organization),
                job=job,
                position=self._shown_position(job, position),
                due_at=Timestamp(due_at),
                token=token,
                recovered=bool(held),
            )
        return None

    def advance(self, db: apsw.Connection, step: JobStep, *, now: Timestamp) -> Job | None:
        """What a step did, and how far it came."""
        organization = self.keys.of(step.claimed.organization_id)
        number = self.keys.of(step.claimed.job.id)
        held = list(db.execute(SQL["job_held"], (number, organization, step.claimed.token, now)))
        if not held:
            return None
        job = bodies.job(held[0][0])
        progress = Progress(counted=step.counted)
        if step.replays:
            progress = self._replay_for(db, organization, job, step.replays, now)
        elif step.purges:
            progress = Progress(done=self._purge(db, organization, step.purges))
        job = advanced(job, progress, step.then, now=now, error=step.error)
        db.execute(
            SQL["advance_job"],
            (
                number,
                codes.JOB_STATUS[job.status],
                bodies.encode(job),
                0 if step.then is Then.COUNTED else self._position(step.position),
                step.due_at,
                now,
                NOBODY,
            ),
        )
        if job.finished:
            self._note(db, SERVICE, organization, job, "finished")
        if job.finished and step.notify:
            NoticeVerbs(self.keys).write(db, organization, (notice(job, at=now),))
        return job

    def _replay_for(
        self,
        db: apsw.Connection,
        organization: int,
        job: Job,
        replays: Sequence[Replay],
        now: int,
    ) -> Progress:
        events, receiving = self._standing(db, organization, replays, now)
        met: set[int] = set()
        if job.selection.missed and job.selection.subscription_id is not None:
            subscription = self.keys.of(job.selection.subscription_id)
            asked = numbers(events)
            met = {event for (event,) in db.execute(SQL["delivered_events"], (asked, subscription))}
        failures: Counter[str] = Counter()
        made = []
        for replay in replays:
            event = self.keys.of(replay.event_id)
            if event in met:
                continue
            if event not in events:
                failures[EVENT_GONE] += 1
            elif self.keys.of(replay.subscription_id) not in receiving:
                failures[SUBSCRIPTION_ENDED] += 1
            else:
                made.append((replay, self.keys.of(job.id)))
        return Progress(
            done=len(made), deliveries=self._insert(db, organization, made, now), failures=failures
        )

    def _standing(
        self, db: apsw.Connection, organization: int, replays: Sequence[Replay], now: int
    ) -> tuple[set[int], set[int]]:
        """The events that are there, and the subscriptions that have not ended."""
        events = {self.keys.of(replay.event_id) for replay in replays}
        subscriptions = {self.keys.of(replay.subscription_id) for replay in replays}
        there = db.execute(SQL["replayable_events"], (numbers(events), organization))
        events = {event for (event,) in there}
        asked = (numbers(subscriptions), organization, now)
        return events, {
            subscription for (subscription,) in db.execute(SQL["receiving_subscriptions"], asked)
        }

    def _insert(
        self,
        db: apsw.Connection,
        organization: int,
        made: Sequence[tuple[Replay, int]],
        now: int,
    ) -> int:
        """New deliveries, each with what asked for it; returns how many there were not already."""
        before = db.total_changes()
        run_many(
            db,
            "replay_deliveries",
            [
                (
                    self.keys.of(replay.delivery_id),
                    organization,
                    self.keys.of(replay.event_id),
                    self.keys.of(replay.subscription_id),
                    _REPLAY,
                    origin,
                    _PENDING,
                    now,
                    0,
                    0,
                    now,
                    now,
                    NOBODY,
                    _BEHIND,
                )
                for replay, origin in made
            ],
        )
        count = db.total_changes() - before
        if count:
            db.execute(SQL["count_accepted"], (organization, 0, count))
        return count

    def _purge(self, db: apsw.Connection, organization: int, deliveries: Sequence[str]) -> int:
        asked = numbers(map(self.keys.of, deliveries))
        dead = [number for (number,) in db.execute(SQL["dead_among"], (asked, organization))]
        db.execute(SQL["purge_attempts"], (numbers(dead),))
        db.execute(SQL["purge_deliveries"], (numbers(dead),))
        db.execute(SQL["count_accepted"], (organization, 0, -len(dead)))
        return len(dead)

    def replay_event(
        self,
        db: apsw.Connection,
        organization: int,
        event: int,
        deliveries: Sequence[NewDelivery],
        *,
        by: Actor,
        now: int,
    ) -> list[int] | None:
        """Deliveries of one event; returns their numbers."""
        found = list(db.execute(SQL["event_routed"], (event, organization)))
        if not found:
            return None
        if not found[0][0]:
            raise InvalidState("the event has not been routed")
        replays = [
            Replay(each.id, self.keys.event(event), each.subscription_id) for each in deliveries
        ]
        _, receiving = self._standing(db, organization, replays, now)
        if any(self.keys.of(each.subscription_id) not in receiving for each in replays):
            raise InvalidState("the subscription has ended: it was deleted, disabled or expired")
        # Each is what asked for itself: it may be asked for again.
        made = [(replay, self.keys.of(replay.delivery_id)) for replay in replays]
        self._insert(db, organization, made, now)
        subscriptions = [each.subscription_id for each in replays]
        owner, identifier = self.keys.organization(organization), self.keys.event(event)
        deed = by_hand("event.replayed", owner, identifier, subscription_ids=subscriptions)
        self._audit.note(db, by, deed)
        return [origin for _, origin in made]

    def walk_events(
        self,
        db: apsw.Connection,
        organization: int,
        selection: Selection,
        after: str | None,
        limit: int,
    ) -> list[WalkedEvent]:
        """Events from a position on."""
        asked = None
        if selection.missed and selection.subscription_id is not None:
            asked = self.keys.find(ids.SUBSCRIPTION, selection.subscription_id)
        rows = db.execute(
            SQL["walk_events"],
            (organization, self._position(after), *_span(selection), limit, asked),
        )
        return [
            WalkedEvent(self.keys.event(number), event_type, *map(bool, flags))
            for number, event_type, *flags in rows
        ]

    def event_contents(
        self, db: apsw.Connection, organization: int, events: Sequence[str]
    ) -> dict[str, EventContent]:
        """What filters read."""
        asked = numbers(self.keys.find(ids.EVENT, event) for event in events)
        return {
            self.keys.event(number): EventContent(*content)
            for number, *content in db.execute(SQL["event_contents"], (asked, organization))
        }

    def walk_deliveries(
        self,
        db: apsw.Connection,
        organization: int,
        selection: Selection,
        after: str | None,
        limit: int,
    ) -> list[WalkedDelivery]:
        """Deliveries from a position on, by the index that has the fewest beside them."""
        since, until = _span(selection)
        parameters: dict[str, Any] = {
            "organization_id": organization,
            "after": self._position(after),
            "since": since,
            "until": until,
            "limit": limit,
        }
        if selection.ids is not None:
            name = "walk_chosen"
            parameters["chosen"] = numbers(
                self.keys.find(ids.DELIVERY, each) for each in selection.ids
            )
        elif selection.status is DeliveryStatus.DEAD and None not in (
            selection.subscription_id,
            selection.error_class,
        ):
            name = "walk_dead_group"
            parameters["error_class"] = selection.error_class
            parameters["subscription_id"] = self.keys.find(
                ids.SUBSCRIPTION, str(selection.subscription_id)
            )
        elif selection.status is DeliveryStatus.DEAD:
            name = "walk_dead_letters"
        elif selection.subscription_id is not None:
            name = "walk_deliveries_of_subscription"
            parameters["subscription_id"] = self.keys.find(
                ids.SUBSCRIPTION, selection.subscription_id
            )
        else:
            name = "walk_deliveries"
        return [
            WalkedDelivery(
                id=self.keys.delivery(number),
                event_id=self.keys.event(event),
                event_type=event_type,
                subscription_id=self.keys.subscription(subscription),
                status=codes.DELIVERY_STATUS_OF[status],
                origin_id=self.keys.job(origin_id) if origin == _REPLAY else None,
                error_class=error_class,
            )
            for (
                number,
                event,
                event_type,
                subscription,
                status,
                origin,
                origin_id,
                error_class,
            ) in db.execute(SQL[name], parameters)
        ]

    def _position(self, identifier: str | None) -> int:
        return 0 if identifier is None else self.keys.of(identifier)

    def _shown_position(self, job: Job, number: int) -> str | None:
        if not number:
            return None
        if job.selection.status is None:
            return self.keys.event(number)
        return self.keys.delivery(number)

    def free(self, db: apsw.Connection, *, ran_out: int, now: int) -> None:
        """Free the jobs whose lease ran out by a moment."""
        db.execute(SQL["free_jobs"], (ran_out, now))


def _span(selection: Selection) -> tuple[int, int]:
    since = selection.since
    return 0 if since is None else ids.first_sequence(since), ids.first_sequence(selection.until)
