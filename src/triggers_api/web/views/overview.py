"""The overview: how the service does, at a glance."""

from typing import Any, Final

import msgspec

from triggers_api.model.rollup import COARSE_S, MINUTE_S
from triggers_api.model.timestamp import Timestamp
from triggers_api.web.answer import Answer
from triggers_api.web.page import Page, View
from triggers_api.web.rendering import counted, seconds
from triggers_api.web.views.events import Rows

_RANGES: Final = {"1h": (3600, MINUTE_S), "24h": (86_400, COARSE_S)}
_LATEST: Final = 8
_SOON_S: Final = 15
"""A point that began so long ago says how things are; until then the one before it does."""


async def index(page: Page) -> Answer:
    """Of one organization, or of all together."""
    context = page.context
    chosen, statistics = await _statistics(page)
    organization = page.organization
    if organization is None and context.directory.organization_count == 1:
        organization = page.site.first_organization()
    events, dead = None, None
    if organization is not None:
        api = page.api_of(organization)
        events = await api.get("/api/events", Rows, limit=_LATEST)
        dead = (await api.get("/api/dead-letters", limit=5))["data"]
    return page.render(
        "views/overview.html",
        chosen=chosen,
        ranges=list(_RANGES),
        total=statistics["total"],
        rates=_rates(page, statistics),
        table=statistics["series"][-12:][::-1],
        queued=_queued(page, statistics["now"]),
        now=statistics["now"],
        workers=await _workers(page),
        events=events,
        dead=dead,
        within=organization,
    )


async def _statistics(page: Page) -> tuple[str, dict[str, Any]]:
    chosen = page.query.get("range", "1h")
    window_s, step_s = _RANGES.get(chosen, _RANGES["1h"])
    since = page.context.store.now().after(seconds=-window_s)
    path = "/api/admin/stats" if page.organization is None else "/api/stats"
    found = await page.api.get(path, since=since, step=step_s)
    return chosen if chosen in _RANGES else "1h", found


def _rates(page: Page, statistics: dict[str, Any]) -> dict[str, float]:
    """What goes in and out a second, lately."""
    points = statistics["series"]
    since_s = (page.context.store.now() - Timestamp.parse(points[-1]["at"])) / 1000
    point, over_s = points[-1], since_s
    if since_s < _SOON_S and len(points) > 1 and points[-2]["accepted"]:
        point, over_s = points[-2], statistics["step_s"]
    over_s = max(over_s, 1.0)
    return {
        "in": point["accepted"] / over_s,
        "out": point["attempts"]["succeeded"] / over_s,
        "failed": point["attempts"]["failed"] / over_s,
    }


def _queued(page: Page, now: dict[str, Any]) -> dict[str, str]:
    """What waits to be routed."""
    queued = now["queued"]
    waits = f"oldest for {seconds(now['oldest_queued_age_s'])}" if queued["count"] else "none waits"
    level = ""
    if queued["count"] >= page.context.settings.queue_warn_depth:
        level = "bad"
    return {"text": counted(queued), "about": waits, "level": level}


async def _workers(page: Page) -> list[dict[str, Any]] | None:
    if not page.is_operator:
        return None
    found: list[dict[str, Any]] = (await page.operator_api.get("/api/health/detailed"))["workers"]
    return found


async def series(page: Page) -> Answer:
    """The charts' numbers, column by column; moments are in seconds."""
    _, statistics = await _statistics(page)
    points = statistics["series"]
    lengths_s = [statistics["step_s"]] * len(points)
    # The last one is not over yet.
    since_s = (page.context.store.now() - Timestamp.parse(points[-1]["at"])) / 1000
    lengths_s[-1] = max(1.0, min(since_s, lengths_s[-1]))

    def per_second(*path: str) -> list[float]:
        return [
            round(_at(each, *path) / length_s, 4)
            for each, length_s in zip(points, lengths_s, strict=True)
        ]

    def as_is(*path: str) -> list[float | None]:
        return [_at(each, *path) for each in points]

    columns = {
        "at": [_seconds(each["at"]) for each in points],
        "flow": [
            per_second("accepted"),
            per_second("attempts", "succeeded"),
            per_second("attempts", "failed"),
        ],
        "ingest": [as_is("ingest_ms", name) for name in ("p50", "p95", "p99")],
        "attempts": [as_is("attempt_ms", name) for name in ("p50", "p95", "p99")],
    }
    return Answer(body=msgspec.json.encode(columns), media_type="application/json")


def _at(point: dict[str, Any], *path: str) -> Any:  # noqa: ANN401 - a number, or none
    found: Any = point
    for name in path:
        found = found[name]
    return found


def _seconds(moment: str) -> int:
    return Timestamp.parse(moment) // 1000


VIEW = View("", "Overview", icon="overview", pages={"": index, "series": series}, of_everyone=True)
