"""Inboxes: what waits in each, what is in consumers' hands, and where they go on."""

from typing import Any

from triggers_api.web.actions import Action, Question
from triggers_api.web.answer import Answer
from triggers_api.web.page import Page, View
from triggers_api.web.request import Form
from triggers_api.web.views.events import Rows
from triggers_api.web.views.subscriptions import moment


async def index(page: Page) -> Answer:
    """All of them, by name."""
    return page.render("views/inboxes.html", found=await page.api.get("/api/inboxes"))


async def one(page: Page, name: str) -> Answer:
    """An inbox with what is in it, the oldest first."""
    inbox = await page.api.get(f"/api/inboxes/{name}")
    path = "/api/inbox" if name == "default" else f"/api/inboxes/{name}/events"
    events = await page.api.get(path, Rows, limit=20, cursor=page.query.get("cursor"))
    return page.render("views/inbox.html", inbox=inbox, found=events, path=path)


def _saved(form: Form) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if types := form.get("types", "").replace(",", " ").split():
        wanted["types"] = types
    if (begin := form.filled("from")) is not None:
        wanted["from"] = begin
    return wanted


def _where(form: Form) -> dict[str, Any]:
    at = moment(form, "at")
    return {"to": at if form.get("where") == "time" else form.filled("event") or form.get("where")}


async def _ask_seek(page: Page, form: Form) -> Question:
    inbox = await page.api.get(f"/api/inboxes/{form.get('name', '')}")
    more = "" if inbox["complete"] else " or more"
    return Question(
        text=f"{inbox['unacked']:,}{more} events wait there, {inbox['leased']:,} of them in somebody's "
        "hands. Leases end; all from there on is handed out (again), all before it counts as done.",
        title=f"Seek in {inbox['name']}",
        rows=inbox["unacked"],
        context={"inbox": inbox},
    )


async def _ask_delete(page: Page, form: Form) -> Question:
    inbox = await page.api.get(f"/api/inboxes/{form.get('name', '')}")
    more = "" if inbox["complete"] else " or more"
    return Question(
        text=f"The inbox {inbox['name']} is deleted, with its place among the events: "
        f"{inbox['unacked']:,}{more} wait in it. The events stay.",
        title=f"Delete {inbox['name']}",
        rows=inbox["unacked"],
    )


VIEW = View(
    "inboxes",
    "Inboxes",
    icon="inbox",
    pages={"": index, "{name}": one},
    actions=(
        Action(
            "save-inbox",
            "New inbox",
            "PUT",
            "/api/inboxes/{name}",
            body=_saved,
            form="views/inbox-form.html",
            done="The inbox is there.",
        ),
        Action(
            "seek-inbox",
            "Seek",
            "POST",
            "/api/inboxes/{name}/seek",
            body=_where,
            asks=_ask_seek,
            form="views/seek-form.html",
            danger=True,
            done="The inbox goes on from there.",
        ),
        Action(
            "delete-inbox",
            "Delete",
            "DELETE",
            "/api/inboxes/{name}",
            asks=_ask_delete,
            danger=True,
            done="The inbox is gone.",
            then=lambda _: "inboxes",
        ),
    ),
)
