"""A job: work on many deliveries that goes on in the background, batch by batch. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from triggers_api.model.delivery import DeliveryStatus
from triggers_api.model.notice import Notice, NoticeType
from triggers_api.model.timestamp import Timestamp


class JobKind(StrEnum):
    """What a job does with each match: have it delivered again, or delete it."""

    REPLAY = "replay"
    PURGE = "purge"


class JobStatus(StrEnum):
    """Where a job stands; a single match that cannot be done does not make the job ``failed``."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


JOBS_KEPT: Final = 1000
"""How many of an organization's jobs are remembered once they are finished."""

MOST_OPEN: Final = 100
"""How many jobs of an organization may be unfinished."""

UNFINISHED: Final = frozenset({JobStatus.PENDING, JobStatus.RUNNING})


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is about, fixed when it is made.

    With a ``status`` it selects deliveries, by when they were made; otherwise events, by when they
    were received, for the subscriptions that match them.

    Attributes:
        missed: only events of which the subscription has no delivery.
        type: a pattern.
        error_class: only dead letters of this one, see ``model.outcome.error_class``.
        ids: only these deliveries.
        since: inclusive.
        until: exclusive, and never later than the making of the job, so that what a replay brings
            about is not replayed by it.
    """

    status: DeliveryStatus | None = None
    missed: bool = False
    subscription_id: str | None = None
    event_id: str | None = None
    type: str | None = None
    error_class: str | None = None
    ids: tuple[str, ...] | None = None
    since: Timestamp | None = None
    until: Timestamp


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job and how far it has come.

    Attributes:
        rate: deliveries a second at the most, ``None`` for no limit.
        counted: ``total`` is the whole of it; before, what has been counted so far.
        total: matches. When the job is done, those that were still there when their turn came.
        done: matches that were dealt with.
        failed: matches with which nothing could be done; ``failures`` has how many for which reason.
        deliveries: new delivery records. Fewer than ``done`` where one event had several matches for
            one subscription: it gets the event once.
        eta_s: seconds that the rest takes at ``rate``.
        error: why the job could not go on, where it ``failed``.
    """

    id: str
    kind: JobKind
    status: JobStatus = JobStatus.PENDING
    dry_run: bool = False
    selection: Selection
    rate: float | None = None
    counted: bool = False
    total: int = 0
    done: int = 0
    failed: int = 0
    deliveries: int = 0
    failures: dict[str, int] = {}
    eta_s: float | None = None
    error: str | None = None
    created_at: Timestamp
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing more will be done."""
        return self.status not in UNFINISHED


class Replay(msgspec.Struct, frozen=True, gc=False):
    """A delivery that is to be made of an event that was delivered, or missed, before."""

    delivery_id: str
    event_id: str
    subscription_id: str


class Then(StrEnum):
    """What follows a step: the next one, the work after the counting, or the end."""

    GO_ON = "go-on"
    COUNTED = "counted"
    DONE = "done"
    FAILED = "failed"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What one step came to; fields as in :class:`Job`."""

    counted: int = 0
    done: int = 0
    deliveries: int = 0
    failures: Mapping[str, int] = {}


def advanced(
    job: Job, progress: Progress, then: Then, *, now: Timestamp, error: str | None = None
) -> Job:
    """The job after a step."""
    failures = dict(job.failures)
    for reason, count in progress.failures.items():
        failures[reason] = failures.get(reason, 0) + count
    done, failed = job.done + progress.done, sum(failures.values())
    total = job.total + progress.counted
    counted = job.counted or then is Then.COUNTED
    status = JobStatus.RUNNING
    if then is Then.DONE:
        status, counted = JobStatus.DONE, True
        total = total if job.dry_run else done + failed
    elif then is Then.FAILED:
        status = JobStatus.FAILED
    remaining = total - done - failed
    return msgspec.structs.replace(
        job,
        status=status,
        counted=counted,
        total=total,
        done=done,
        failed=failed,
        deliveries=job.deliveries + progress.deliveries,
        failures=failures,
        eta_s=None if job.rate is None else round(max(remaining, 0) / job.rate, 3),
        error=error,
        started_at=job.started_at or now,
        finished_at=None if status in UNFINISHED else now,
    )


def cancelled(job: Job, *, now: Timestamp) -> Job:
    """The job after it was stopped."""
    return msgspec.structs.replace(job, status=JobStatus.CANCELLED, eta_s=None, finished_at=now)


def next_due(due_at: Timestamp, count: int, rate: float | None, *, now: Timestamp) -> Timestamp:
    """When the step may come that follows one with so many deliveries.

    A job that was late makes up for a second at the most, so that a rate stays one.
    """
    if rate is None:
        return now
    return Timestamp(max(due_at, now - 1000)).after(seconds=count / rate)


EVENT_GONE: Final = "the event was deleted"
SUBSCRIPTION_ENDED: Final = "the subscription has ended"
"""Why a match may fail; kept few, as jobs count them."""


def notice(job: Job, *, at: Timestamp) -> Notice:
    """What an organization that asked is told of a job's end."""
    return Notice(
        type=NoticeType.JOB_FINISHED,
        at=at,
        job_id=job.id,
        kind=job.kind.value,
        status=job.status.value,
        reason=job.error,
        total=job.total,
        done=job.done,
        failed=job.failed,
    )
