"""The overview: how the service does, at a glance."""

from typing import Any

from triggers_api.web.answer import Answer
from triggers_api.web.page import Page, View


async def index(page: Page) -> Answer:
    """Of one organization, or of all together."""
    readiness = page.context.readiness()
    health: dict[str, Any] | None = None
    if page.is_operator:
        health = await page.operator_api.get("/api/health/detailed")
    events: list[dict[str, Any]] = []
    if page.organization is not None:
        events = (await page.api.get("/api/events", limit=8))["data"]
    return page.render(
        "views/overview.html", readiness=readiness, health=health, recent_events=events
    )


VIEW = View("", "Overview", icon="overview", pages={"": index}, of_everyone=True)
