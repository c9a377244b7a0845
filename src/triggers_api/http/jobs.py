"""``/api/replays``, ``/api/jobs``, and what is done with all dead letters at once."""

from enum import StrEnum
from typing import Annotated, Final

import msgspec
import structlog
from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from triggers_api.errors import FieldError, MalformedValue, NotFound, ValidationFailed
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.deliveries import ErrorClass, EventId, SubscriptionId
from triggers_api.http.parameters import Cursor, Limit, Since, Until
from triggers_api.http.request import OPTIONAL_BODY
from triggers_api.http.subscriptions import Moment
from triggers_api.model import ids
from triggers_api.model.delivery import DeliveryStatus
from triggers_api.model.job import (
    MOST_OPEN,
    Job,
    JobKind,
    Progress,
    Selection,
    Then,
    advanced,
)
from triggers_api.model.organization import Scope
from triggers_api.model.text import is_type_pattern
from triggers_api.model.timestamp import Timestamp
from triggers_api.operate.jobs import Search, SubscriptionGone, count_at_once, told_finished
from triggers_api.operate.retention import days_of
from triggers_api.store.directory import Principal

log = structlog.get_logger(__name__)

HIGHEST_RATE: Final = 100_000.0
LOWEST_RATE: Final = 0.001

_NO_SUBSCRIPTION: Final = "there is no such subscription"
_NO_JOB: Final = "there is no such job"


MOST_IDS: Final = 1000

DeliveryIds = Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST_IDS)]


class ReplayOf(StrEnum):
    """Deliveries of which status to replay; ``missed``: events the subscription has no delivery of."""

    SUCCEEDED = "succeeded"
    DEAD = "dead"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    MISSED = "missed"


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be delivered once more. ``null`` is the same as leaving a field out."""

    subscription_id: str | None = None
    type: str | None = None
    status: ReplayOf | None = None
    since: Moment | None = None
    until: Moment | None = None
    rate: float | None = None
    dry_run: bool | None = None


class DeadLetterReplay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters are to be delivered once more; all of them where nothing is said."""

    ids: DeliveryIds | None = None
    subscription_id: str | None = None
    error_class: str | None = None
    event_id: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    rate: float | None = None
    dry_run: bool | None = None


class DeadLetterPurge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters are to be deleted; ``all`` where nothing else is said."""

    ids: DeliveryIds | None = None
    subscription_id: str | None = None
    error_class: str | None = None
    event_id: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    all: bool | None = None
    dry_run: bool | None = None


class JobPage(msgspec.Struct, frozen=True):
    """Jobs, newest first."""

    data: list[Job]
    next_cursor: str | None


@post("/api/replays", summary="Replay", status_code=202, opt={ACCESS: (Scope.MANAGE,)})
async def create_replay(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    organization_id: NamedDependency[str],
    data: JSONBody[ReplayRequest],
) -> Job:
    """Delivers again, as a job, what had come in or come about when it was asked for.

    With a status: the deliveries in it. Otherwise each event, to the subscription or to all that match
    it now. Each match gets one new delivery.
    """
    errors: list[FieldError] = []
    missed = data.status is ReplayOf.MISSED
    if missed and data.subscription_id is None:
        message = "is needed: who missed the events?"
        errors.append(FieldError("/subscription_id", "missing-field", message))
    if data.type is not None and not is_type_pattern(data.type):
        message = "must be an event type, in which * may stand for any run of characters"
        errors.append(FieldError("/type", "invalid-event-type", message))
    selection = Selection(
        status=None if data.status is None or missed else DeliveryStatus(data.status.value),
        missed=missed,
        subscription_id=data.subscription_id,
        type=data.type,
        since=_moment(errors, "/since", data.since),
        until=_until(context, _moment(errors, "/until", data.until)),
    )
    return await _begin_replay(context, principal, organization_id, data, selection, errors)


@post(
    "/api/dead-letters/replay",
    summary="Replay dead letters",
    status_code=202,
    opt={ACCESS: (Scope.MANAGE,), OPTIONAL_BODY: True},
)
async def replay_dead_letters(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    organization_id: NamedDependency[str],
    data: JSONBody[DeadLetterReplay],
) -> Job:
    """Makes one new delivery for each of them, as a job. They stay on file until they are purged."""
    errors: list[FieldError] = []
    selection = _dead_letters(context, data, errors)
    return await _begin_replay(context, principal, organization_id, data, selection, errors)


@post(
    "/api/dead-letters/purge",
    summary="Purge chosen dead letters",
    status_code=202,
    opt={ACCESS: (Scope.MANAGE,)},
)
async def purge_chosen_dead_letters(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    organization_id: NamedDependency[str],
    data: JSONBody[DeadLetterPurge],
) -> Job:
    """Deletes them with their attempts, as a job. The events stay."""
    errors: list[FieldError] = []
    selection = _dead_letters(context, data, errors)
    chosen = (
        data.ids,
        data.subscription_id,
        data.error_class,
        data.event_id,
        data.since,
        data.until,
    )
    if not data.all and all(each is None for each in chosen):
        errors.append(FieldError("/all", "missing-filter", "name a filter, or say all: true"))
    if errors:
        raise ValidationFailed("the purge is not acceptable", errors=errors)
    job = _job(context, JobKind.PURGE, selection, dry_run=bool(data.dry_run))
    return await _begin(context, principal, organization_id, job)


def _dead_letters(
    context: Context, data: DeadLetterReplay | DeadLetterPurge, errors: list[FieldError]
) -> Selection:
    return Selection(
        status=DeliveryStatus.DEAD,
        ids=None if data.ids is None else tuple(dict.fromkeys(data.ids)),
        subscription_id=data.subscription_id,
        error_class=data.error_class,
        event_id=data.event_id,
        since=_moment(errors, "/since", data.since),
        until=_until(context, _moment(errors, "/until", data.until)),
    )


@delete(
    "/api/dead-letters",
    summary="Purge dead letters",
    status_code=202,
    opt={ACCESS: (Scope.MANAGE,)},
)
async def purge_dead_letters(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    organization_id: NamedDependency[str],
    subscription_id: SubscriptionId = None,
    error_class: ErrorClass = None,
    event_id: EventId = None,
    since: Since = None,
    until: Until = None,
    all_: Annotated[
        bool | None, QueryParameter(name="all", description="Every one; needed without a filter.")
    ] = None,
) -> Job:
    """Deletes them with their attempts, as a job. The events stay."""
    filters = (subscription_id, error_class, event_id, since, until)
    if not all_ and all(each is None for each in filters):
        raise ValidationFailed.of("all", "missing-filter", "name a filter, or say all=true")
    job = _job(
        context,
        JobKind.PURGE,
        Selection(
            status=DeliveryStatus.DEAD,
            subscription_id=subscription_id,
            error_class=error_class,
            event_id=event_id,
            since=since,
            until=_until(context, until),
        ),
    )
    return await _begin(context, principal, organization_id, job)


@get("/api/jobs", summary="List jobs", opt={ACCESS: (Scope.READ, Scope.MANAGE)})
async def list_jobs(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> JobPage:
    """Newest first; of finished ones the last 1000."""
    bound_to = ("jobs", organization_id)
    page = context.cursors.page(cursor, limit, *bound_to)
    jobs = await context.store.jobs(organization_id, page)
    return JobPage(*context.cursors.next(jobs, limit, *bound_to))


@get("/api/jobs/{job_id:str}", summary="Get a job", opt={ACCESS: (Scope.READ, Scope.MANAGE)})
async def get_job(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    job_id: FromPath[str],
) -> Job:
    """The job and how far it has come."""
    job = await context.store.job(organization_id, job_id)
    if job is None:
        raise NotFound(_NO_JOB)
    return job


@delete(
    "/api/jobs/{job_id:str}",
    summary="Cancel a job",
    status_code=200,
    opt={ACCESS: (Scope.MANAGE,)},
)
async def cancel_job(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    organization_id: NamedDependency[str],
    job_id: FromPath[str],
) -> Job:
    """Stops it where it is. What it has done stays done."""
    job = await context.store.cancel_job(organization_id, job_id)
    if job is None:
        raise NotFound(_NO_JOB)
    log.info("job cancelled", job_id=job.id, key_id=principal.key_id)
    told_finished(organization_id, job, context.metrics)
    return job


async def _begin_replay(
    context: Context,
    principal: Principal,
    organization_id: str,
    data: ReplayRequest | DeadLetterReplay,
    selection: Selection,
    errors: list[FieldError],
) -> Job:
    """A replay of what was selected, if nothing that was asked for is at fault."""
    rate = _rate(errors, data.rate)
    if errors:
        raise ValidationFailed("the replay is not acceptable", errors=errors)
    job = _job(context, JobKind.REPLAY, selection, rate=rate, dry_run=bool(data.dry_run))
    return await _begin(context, principal, organization_id, job)


def _job(
    context: Context,
    kind: JobKind,
    selection: Selection,
    *,
    rate: float | None = None,
    dry_run: bool = False,
) -> Job:
    return Job(
        id=context.store.ids.new(ids.JOB),
        kind=kind,
        dry_run=dry_run,
        selection=selection,
        rate=rate,
        created_at=context.store.now(),
    )


async def _begin(context: Context, principal: Principal, organization_id: str, job: Job) -> Job:
    subscription_id = job.selection.subscription_id
    if subscription_id is not None:
        if await context.store.subscription(organization_id, subscription_id) is None:
            raise NotFound(_NO_SUBSCRIPTION)
        # It may have been made by another process a moment ago.
        await context.directory.refresh()
    position = None
    if job.dry_run:
        job, position = await _counted(context, organization_id, job)
    await context.store.create_job(organization_id, job, position=position, most_open=MOST_OPEN)
    log.info(
        "job created",
        organization_id=organization_id,
        job_id=job.id,
        kind=job.kind.value,
        dry_run=job.dry_run,
        key_id=principal.key_id,
    )
    if job.finished:
        told_finished(organization_id, job, context.metrics)
    return job


async def _counted(context: Context, organization_id: str, job: Job) -> tuple[Job, str | None]:
    """A dry run as far as it comes at once, which is to its end unless there is very much."""
    days = days_of(context.settings)
    search = Search(context.store, context.directory, days=days)
    try:
        total, position, at_end = await count_at_once(search, organization_id, job)
    except SubscriptionGone:
        raise NotFound(_NO_SUBSCRIPTION) from None
    then = Then.DONE if at_end else Then.GO_ON
    now = context.store.now()
    return advanced(job, Progress(counted=total), then, now=now), position


def _moment(errors: list[FieldError], pointer: str, value: str | None) -> Timestamp | None:
    if value is None:
        return None
    try:
        return Timestamp.parse(value)
    except MalformedValue as error:
        errors.append(FieldError(pointer, "invalid-timestamp", f"is {error}"))
        return None


def _until(context: Context, until: Timestamp | None) -> Timestamp:
    """The end of a selection: what comes in, or comes about, from now on is not part of it."""
    # The present millisecond belongs to it, by whichever process's clock.
    end = Timestamp(context.store.now() + context.store.skew_ms + 1)
    return end if until is None else min(until, end)


def _rate(errors: list[FieldError], rate: float | None) -> float | None:
    if rate is not None and not LOWEST_RATE <= rate <= HIGHEST_RATE:
        message = f"must be from {LOWEST_RATE} to {HIGHEST_RATE:.0f} deliveries a second"
        errors.append(FieldError("/rate", "out-of-range", message))
    return rate


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/",
        route_handlers=[
            create_replay,
            replay_dead_letters,
            purge_dead_letters,
            purge_chosen_dead_letters,
            list_jobs,
            get_job,
            cancel_job,
        ],
        tags=["Jobs"],
    )
