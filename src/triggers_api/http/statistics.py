"""``/api/stats`` and ``/api/admin/stats``: what was counted, minute by minute."""

from typing import Annotated, Final

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from triggers_api.errors import FieldError, NotFound, ValidationFailed
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.parameters import Since, Until
from triggers_api.model.organization import Scope
from triggers_api.model.rollup import (
    COARSE_S,
    EVERYBODY,
    KEPT_S,
    MINUTE_S,
    MOST_POINTS,
    SUBSCRIPTION_S,
    Counted,
    HealthPoint,
    Point,
    counted,
    floor,
    health_lines,
    series,
)
from triggers_api.model.statistics import AttemptCounts
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.workload import MOST, Count, SubscriptionWorkload, Workload
from triggers_api.store.base import Page

WINDOW_S: Final = 3600.0
"""How much is shown where nothing is asked for."""
DAY_S: Final = 86_400.0
MOST_SUBSCRIPTIONS: Final = 100
MOST_OF_ONE: Final = 1000
"""Up to how many of its rows are counted of a subscription in a list."""

Step = Annotated[
    int | None,
    QueryParameter(
        ge=MINUTE_S,
        le=86_400,
        description="Seconds from point to point: a multiple of 60, and of 600 for what is older than "
        "three hours. The finest that there is where it is left out.",
    ),
]
SubscriptionIds = Annotated[
    str | None,
    QueryParameter(
        description=f"Up to {MOST_SUBSCRIPTIONS} of them, with commas between; otherwise the newest."
    ),
]
OfOrganization = Annotated[
    str | None, QueryParameter(description="Of this organization; otherwise of all together.")
]


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted within a window, and point by point.

    Attributes:
        since: the beginning of the first point.
        until: exclusive. The last point may not be over yet.
        step_s: seconds from point to point.
        total: of the whole window.
        now: what waits, is dead and is on file at this moment.
    """

    since: Timestamp
    until: Timestamp
    step_s: int
    total: Counted
    series: list[Point]
    now: Workload


class SubscriptionHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How deliveries to a subscription have fared in the last day, and what it has waiting and dead.

    Attributes:
        attempts: of the last day.
        line: a point for each half hour, the oldest first.
    """

    subscription_id: str
    waiting: Count
    dead: Count
    attempts: AttemptCounts
    success_rate: float | None
    line: list[HealthPoint]


class SubscriptionsHealth(msgspec.Struct, frozen=True):
    """Of the subscriptions that were asked for, in that order."""

    data: list[SubscriptionHealth]


@get("/api/stats", summary="Statistics", opt={ACCESS: (Scope.READ, Scope.MANAGE)})
async def get_statistics(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    since: Since = None,
    until: Until = None,
    step: Step = None,
) -> Statistics:
    """Events, deliveries and latencies of the organization: of the last hour, unless asked for others.

    By the minute for the last three hours, by ten minutes for three days. What a process counts is on
    file some seconds later; it is for people to look at, and no part of the books.
    """
    return await _statistics(context, organization_id, since, until, step)


@get("/api/admin/stats", summary="Statistics of all organizations")
async def get_all_statistics(
    context: NamedDependency[Context],
    organization_id: OfOrganization = None,
    since: Since = None,
    until: Until = None,
    step: Step = None,
) -> Statistics:
    """Of all organizations together, or of one; requests with an unknown key included in the former."""
    if organization_id is None:
        organization_id = EVERYBODY
    elif context.directory.organization(organization_id) is None:
        raise NotFound("there is no such organization")
    return await _statistics(context, organization_id, since, until, step)


async def _statistics(
    context: Context,
    organization_id: str,
    since: Timestamp | None,
    until: Timestamp | None,
    step: int | None,
) -> Statistics:
    now = context.store.now()
    end = now if until is None else until
    begin = end.after(seconds=-WINDOW_S) if since is None else since
    fine = begin >= now.after(seconds=MINUTE_S - KEPT_S[MINUTE_S])
    finest = MINUTE_S if fine else COARSE_S
    step_s = finest if step is None else step
    _check(begin, end, step_s, finest)
    begin = floor(begin, step_s)
    rollups = context.metrics.rollups
    rollups.fold(now)
    stored = await context.store.rollups(organization_id, finest, since=begin, until=end)
    own = [each for each in rollups.of(organization_id, finest) if begin <= each.at < end]
    total, points = series(rollups.with_own(stored, own), since=begin, until=end, step_s=step_s)
    whose = None if organization_id == EVERYBODY else organization_id
    return Statistics(
        since=begin,
        until=end,
        step_s=step_s,
        total=counted(total),
        series=points,
        now=await context.store.workload(whose, MOST),
    )


@get(
    "/api/subscriptions/health",
    summary="HealthPoint of subscriptions",
    opt={ACCESS: (Scope.READ, Scope.MANAGE)},
)
async def subscriptions_health(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    subscription_ids: SubscriptionIds = None,
) -> SubscriptionsHealth:
    """Of the last day by half hours; for lists, where ``/stats`` of each would take long."""
    if subscription_ids is None:
        newest = await context.store.subscriptions(organization_id, Page(limit=50))
        asked = [each.id for each in newest]
    else:
        asked = list(dict.fromkeys(subscription_ids.split(",")))
    if len(asked) > MOST_SUBSCRIPTIONS:
        reason = f"must be at most {MOST_SUBSCRIPTIONS} ids"
        raise ValidationFailed.of("subscription_ids", "invalid-parameter", reason)
    subscription = context.directory.subscription
    if any(subscription(organization_id, each) is None for each in asked):
        # It may have been made by another process a moment ago.
        await context.directory.refresh()
        if any(subscription(organization_id, each) is None for each in asked):
            raise NotFound("there is no such subscription")
    now = context.store.now()
    since = floor(now.after(seconds=SUBSCRIPTION_S - DAY_S), SUBSCRIPTION_S)
    rollups = context.metrics.rollups
    rollups.fold(now)
    stored = await context.store.subscription_rollups(organization_id, asked, since=since)
    own = [
        each
        for each in rollups.of_subscriptions(organization_id)
        if each.subscription_id in asked and each.at >= since
    ]
    counted_ = rollups.with_own(stored, own)
    lines = health_lines(asked, counted_, since=since, until=now.after(seconds=0.001))
    workload = await context.store.subscription_workload(organization_id, asked, MOST_OF_ONE)
    return SubscriptionsHealth([_health(each, workload[each], lines[each]) for each in asked])


def _health(
    subscription_id: str, workload: SubscriptionWorkload, line: list[HealthPoint]
) -> SubscriptionHealth:
    succeeded, failed = sum(each.succeeded for each in line), sum(each.failed for each in line)
    total = succeeded + failed
    return SubscriptionHealth(
        subscription_id=subscription_id,
        waiting=workload.waiting,
        dead=workload.dead,
        attempts=AttemptCounts(total=total, succeeded=succeeded, failed=failed),
        success_rate=round(succeeded / total, 4) if total else None,
        line=line,
    )


def _check(begin: Timestamp, end: Timestamp, step_s: int, finest: int) -> None:
    errors = []
    if begin >= end:
        errors.append(FieldError("since", "out-of-range", "must be before until"))
    if step_s % finest:
        reason = f"must be a multiple of {finest} for what began then"
        errors.append(FieldError("step", "out-of-range", reason))
    elif (end - begin) / 1000 > step_s * (MOST_POINTS - 1):
        reason = f"must give at most {MOST_POINTS} points"
        errors.append(FieldError("step", "out-of-range", reason))
    if errors:
        raise ValidationFailed("a parameter is not acceptable", errors=errors)


def router() -> Router:
    """The routes of organizations."""
    return Router("/", route_handlers=[get_statistics, subscriptions_health], tags=["Statistics"])


def admin_router() -> Router:
    """The routes of operators."""
    return Router(
        "/", route_handlers=[get_all_statistics], opt={ACCESS: (Scope.ADMIN,)}, tags=["Operator"]
    )
