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
    Counted,
    Point,
    counted,
    floor,
    series,
)
from triggers_api.model.timestamp import Timestamp

WINDOW_S: Final = 3600.0
"""How much is shown where nothing is asked for."""

Step = Annotated[
    int | None,
    QueryParameter(
        ge=MINUTE_S,
        le=86_400,
        description="Seconds from point to point: a multiple of 60, and of 600 for what is older than "
        "three hours. The finest that there is where it is left out.",
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
    """

    since: Timestamp
    until: Timestamp
    step_s: int
    total: Counted
    series: list[Point]


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
    return Statistics(since=begin, until=end, step_s=step_s, total=counted(total), series=points)


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
    return Router("/", route_handlers=[get_statistics], tags=["Statistics"])


def admin_router() -> Router:
    """The routes of operators."""
    return Router(
        "/", route_handlers=[get_all_statistics], opt={ACCESS: (Scope.ADMIN,)}, tags=["Operator"]
    )
