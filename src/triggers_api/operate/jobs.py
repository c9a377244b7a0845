"""Jobs: walks over what a selection may hold, and has what it finds replayed or purged.

Everything up to a job's position has been dealt with. A step stores what it did and the new position in
one transaction under the job's lease, so whoever takes a job over from a process that is gone goes on
where that one really was.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from time import perf_counter
from typing import Final

import msgspec
import structlog

from triggers_api.errors import Unavailable
from triggers_api.model import ids
from triggers_api.model.filter import EventView
from triggers_api.model.job import Job, JobKind, Replay, Selection, Then, next_due
from triggers_api.model.retention import RetentionDays, moments
from triggers_api.model.routing import Candidate
from triggers_api.model.subscription import MATCHING
from triggers_api.model.text import glob_matches
from triggers_api.store.base import ClaimedJob, JobStep, Store, WalkedEvent
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_LEASE_S: Final = 60.0
"""Far longer than a step takes. What a process held that died is free sooner (:meth:`Store.beat`)."""
_POLL_S: Final = 2.0
_PAGE: Final = 2000
"""Rows that one look reads; only their ids and types."""
_CONTENTS: Final = 50
"""Events whose payloads are in memory at once."""
_REPLAYS_AT_ONCE: Final = 500
_PURGES_AT_ONCE: Final = 200
"""What one transaction writes, so that no event waits long for its commit."""
_JUDGING_S: Final = 0.25
"""How long a step looks at events before it stores what it has found."""
_COUNTING_S: Final = 1.0
"""How long a dry run may keep its caller waiting."""


class SubscriptionGone(Exception):
    """The subscription that a selection is about is not there any more."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a look from a position on came to.

    Attributes:
        matches: a delivery's id, or ``None`` for what is an event's; the event; the subscription.
        position: everything up to here has been looked at.
        at_end: there is nothing behind it.
    """

    matches: tuple[tuple[str | None, str, str], ...]
    position: str | None
    at_end: bool


class Search:
    """Finds what a job is about, by the subscriptions as they are now."""

    def __init__(self, store: Store, directory: Directory, *, days: RetentionDays) -> None:
        """``days``: for how long it is known who has had an event."""
        self._store = store
        self._directory = directory
        self._days = days

    async def look(
        self, organization_id: str, job: Job, after: str | None, *, most: int, page: int = _PAGE
    ) -> Found:
        """Some matches behind a position: about ``most``, an event's together.

        Raises:
            SubscriptionGone: there can be none.
        """
        if job.selection.status is None:
            return await self._look_at_events(organization_id, job.selection, after, most, page)
        return await self._look_at_deliveries(organization_id, job, after, min(most, page))

    async def _look_at_deliveries(
        self, organization_id: str, job: Job, after: str | None, limit: int
    ) -> Found:
        selection = job.selection
        walked = await self._store.walk_deliveries(organization_id, selection, after, limit)
        return Found(
            matches=tuple(
                (each.id, each.event_id, each.subscription_id)
                for each in walked
                if each.status is selection.status
                and each.origin_id != job.id
                and selection.subscription_id in {None, each.subscription_id}
                and selection.event_id in {None, each.event_id}
                and selection.error_class in {None, each.error_class}
                and (selection.type is None or glob_matches(selection.type, each.event_type))
            ),
            position=walked[-1].id if walked else after,
            at_end=len(walked) < limit,
        )

    async def _look_at_events(
        self, organization_id: str, selection: Selection, after: str | None, most: int, page: int
    ) -> Found:
        candidates = self._candidates(organization_id, selection)
        known_since = self._known_since(organization_id) if selection.missed else 0
        walked = await self._store.walk_events(organization_id, selection, after, page)
        asking = [
            (event, wanting)
            for event in walked
            if event.routed
            and not event.delivered
            and ids.received_ms(event.id) >= known_since
            and (selection.type is None or glob_matches(selection.type, event.type))
            and (wanting := [each for each in candidates if _wants(each, event)])
        ]
        matches: list[tuple[str | None, str, str]] = []
        began = perf_counter()
        for start in range(0, len(asking), _CONTENTS):
            chunk = asking[start : start + _CONTENTS]
            async for event, chosen in self._judged(organization_id, chunk):
                matches += [(None, event.id, subscription) for subscription in chosen]
                if len(matches) >= most or perf_counter() - began > _JUDGING_S:
                    done = event.id == walked[-1].id and len(walked) < page
                    return Found(matches=tuple(matches), position=event.id, at_end=done)
        return Found(
            matches=tuple(matches),
            position=walked[-1].id if walked else after,
            at_end=len(walked) < page,
        )

    def _known_since(self, organization_id: str) -> int:
        """Of events from before it nobody can tell who missed them: deliveries of them may be gone."""
        organization = self._directory.organization(organization_id)
        return moments(self._days.ages(organization), now=self._store.now()).deliveries

    def _candidates(self, organization_id: str, selection: Selection) -> list[Candidate]:
        """Who may want events. One that is asked for by its id is taken as it is."""
        if selection.subscription_id is None:
            now = self._store.now()
            return [
                Candidate.of(record.subscription)
                for record in self._directory.subscriptions(organization_id)
                if record.subscription.status_at(now) in MATCHING
            ]
        record = self._directory.subscription(organization_id, selection.subscription_id)
        if record is None:
            raise SubscriptionGone
        return [Candidate.of(record.subscription)]

    async def _judged(
        self, organization_id: str, asking: Sequence[tuple[WalkedEvent, Sequence[Candidate]]]
    ) -> AsyncIterator[tuple[WalkedEvent, list[str]]]:
        """The subscriptions that get each event."""
        read = [event.id for event, wanting in asking if any(each.filter for each in wanting)]
        contents = await self._store.event_contents(organization_id, read) if read else {}
        for event, wanting in asking:
            view = EventView(event.type, operational=event.operational)
            if event.id in contents:
                content = contents[event.id]
                view = EventView(
                    event.type,
                    source=content.source,
                    key=content.key,
                    metadata=content.metadata,
                    payload=content.payload,
                    operational=event.operational,
                )
                # Filters may take a while; requests go on in between.
                await asyncio.sleep(0)
            elif any(each.filter for each in wanting):
                continue  # deleted since
            chosen = [
                each.subscription.id
                for each in wanting
                if each.filter is None or each.filter.judge(view).matches
            ]
            yield event, chosen


def _wants(candidate: Candidate, event: WalkedEvent) -> bool:
    subscription = candidate.subscription
    return subscription.operational is event.operational and subscription.wants_type(event.type)


async def count_at_once(
    search: Search, organization_id: str, job: Job
) -> tuple[int, str | None, bool]:
    """Count a job's matches for as long as a caller may wait.

    Returns:
        How many there are up to a position, that position, and whether there is nothing behind it.
    """
    began = perf_counter()
    total, position = 0, None
    while True:
        found = await search.look(organization_id, job, position, most=_PAGE)
        total, position = total + len(found.matches), found.position
        if found.at_end or perf_counter() - began >= _COUNTING_S:
            return total, position, found.at_end


class JobRunner:
    """One turn is one step of one job. See ``operate/loop.py`` for how turns follow each other."""

    name = "jobs"

    def __init__(
        self, store: Store, directory: Directory, *, metrics: Metrics, days: RetentionDays
    ) -> None:
        self._store = store
        self._directory = directory
        self._search = Search(store, directory, days=days)
        self._metrics = metrics
        self.worked = False
        """Whether the last turn did something."""

    async def run_once(self) -> float:
        """Do a step of the job whose turn it is; returns the seconds until the next look."""
        self.worked = False
        backlog = await self._store.job_backlog()
        self._metrics.jobs_open.set(backlog.open)
        if backlog.next_at is None:
            return _POLL_S
        due_in_s = (backlog.next_at - self._store.now()) / 1000
        if due_in_s > 0:
            return min(due_in_s, _POLL_S)
        claimed = await self._store.claim_job(_LEASE_S)
        if claimed is None:
            return _POLL_S
        self.worked = True
        if claimed.recovered:
            self._metrics.recovered.labels("job").inc()
            log.warning("job taken over from a lease that ran out", job_id=claimed.job.id)
        await self._advance(claimed)
        return 0.0

    async def wait(self, timeout_s: float) -> None:
        """Until a job is made, or one is due."""
        await self._store.wait_jobs(timeout_s)

    async def _advance(self, claimed: ClaimedJob) -> None:
        try:
            notify = self._directory.notifies(claimed.organization_id)
            step = msgspec.structs.replace(await self._step(claimed), notify=notify)
            job = await self._store.advance_job(step)
        except Unavailable:
            raise
        except SubscriptionGone:
            job = await self._give_up(claimed, "the subscription was deleted")
        except Exception as error:  # noqa: BLE001 - one job's fault is not that of the others
            # The type alone: a message may quote what an event holds.
            log.error("job step failed", job_id=claimed.job.id, error=type(error).__name__)  # noqa: TRY400
            job = await self._give_up(claimed, type(error).__name__)
        if job is None:
            self._metrics.stale_leases.labels("advance_job").inc()
            log.warning("job was taken over or cancelled", job_id=claimed.job.id)
            return
        self._metrics.replayed.inc(job.deliveries - claimed.job.deliveries)
        if job.kind is JobKind.PURGE:
            self._metrics.purged.inc(job.done - claimed.job.done)
        if job.finished:
            told_finished(claimed.organization_id, job, self._metrics)

    async def _step(self, claimed: ClaimedJob) -> JobStep:
        job, now = claimed.job, self._store.now()
        if not job.counted:
            found = await self._look(claimed, most=_PAGE)
            end = Then.DONE if job.dry_run else Then.COUNTED
            return JobStep(
                claimed=claimed,
                then=end if found.at_end else Then.GO_ON,
                position=found.position,
                counted=len(found.matches),
                due_at=now,
            )
        if job.kind is JobKind.PURGE:
            found = await self._look(claimed, most=_PURGES_AT_ONCE)
            return JobStep(
                claimed=claimed,
                then=Then.DONE if found.at_end else Then.GO_ON,
                position=found.position,
                purges=tuple(delivery for delivery, _, _ in found.matches if delivery is not None),
                due_at=now,
            )
        most = _REPLAYS_AT_ONCE if job.rate is None else min(_REPLAYS_AT_ONCE, int(job.rate))
        found = await self._look(claimed, most=max(most, 1))
        new = self._store.ids.new
        return JobStep(
            claimed=claimed,
            then=Then.DONE if found.at_end else Then.GO_ON,
            position=found.position,
            replays=tuple(
                Replay(new(ids.DELIVERY), event, subscription)
                for _, event, subscription in found.matches
            ),
            due_at=next_due(claimed.due_at, len(found.matches), job.rate, now=now),
        )

    async def _look(self, claimed: ClaimedJob, *, most: int) -> Found:
        # Another process may have confirmed a subscription before it took the job in.
        await self._directory.refresh()
        return await self._search.look(
            claimed.organization_id, claimed.job, claimed.position, most=most
        )

    async def _give_up(self, claimed: ClaimedJob, error: str) -> Job | None:
        return await self._store.advance_job(
            JobStep(
                claimed=claimed,
                then=Then.FAILED,
                position=claimed.position,
                due_at=self._store.now(),
                error=error,
                notify=self._directory.notifies(claimed.organization_id),
            )
        )


def told_finished(organization_id: str, job: Job, metrics: Metrics) -> None:
    """Say that a job has come to its end."""
    metrics.jobs.labels(job.kind, job.status).inc()
    log.info(
        "job finished",
        organization_id=organization_id,
        job_id=job.id,
        kind=job.kind.value,
        status=job.status.value,
        dry_run=job.dry_run,
        total=job.total,
        done=job.done,
        failed=job.failed,
        deliveries=job.deliveries,
    )
