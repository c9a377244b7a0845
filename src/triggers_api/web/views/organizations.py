"""The organizations, for the operator to choose one."""

from triggers_api.web.answer import Answer
from triggers_api.web.page import Page, View


async def index(page: Page) -> Answer:
    """Newest first, or those whose names or ids hold what is searched for."""
    wanted = (page.query.filled("q") or "").lower()
    cursor = page.query.get("cursor")
    if wanted:
        found = [
            each
            for each in page.context.directory.organizations()
            if wanted in each.name.lower() or wanted in each.id.lower()
        ][:50]
        return page.render("views/organizations.html", found=found, next_cursor=None, wanted=wanted)
    answer = await page.operator_api.get("/api/admin/organizations", limit=50, cursor=cursor)
    return page.render(
        "views/organizations.html",
        found=answer["data"],
        next_cursor=answer["next_cursor"],
        wanted="",
    )


VIEW = View(
    "organizations",
    "Organizations",
    icon="people",
    pages={"": index},
    of_everyone=True,
    of_organization=False,
    operators_only=True,
)
