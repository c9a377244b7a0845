"""Event types: what organizations say of them, and a form that sends one."""

import asyncio
from typing import Any, Final

import msgspec

from triggers_api.errors import NotFound, ValidationFailed
from triggers_api.model.event_type import SchemaMode
from triggers_api.model.organization import Scope
from triggers_api.web.actions import Action, Question
from triggers_api.web.answer import Answer
from triggers_api.web.page import Page, View
from triggers_api.web.request import Form
from triggers_api.web.views.events import Rows
from triggers_api.web.views.subscriptions import as_json

_ON_A_PAGE: Final = 100
_LOOKED_AT: Final = 50


class Type(msgspec.Struct):
    """An event type; schema and example as they were saved."""

    name: str
    description: str | None
    schema: msgspec.Raw
    mode: str
    example: msgspec.Raw
    redact: list[str]
    updated_at: str

    @property
    def has_schema(self) -> bool:
        """Whether there is one."""
        return bytes(self.schema) != b"null"

    @property
    def has_example(self) -> bool:
        """Whether there is one."""
        return bytes(self.example) != b"null"


class Types(msgspec.Struct):
    """A page of them."""

    data: list[Type]
    next_cursor: str | None


async def index(page: Page) -> Answer:
    """The catalogue, and types of late that are not in it."""
    found, events = await asyncio.gather(
        page.api.get("/api/event-types", Types, limit=_ON_A_PAGE, cursor=page.query.get("cursor")),
        page.api.get("/api/events", Rows, limit=_LOOKED_AT),
    )
    known = {each.name for each in found.data}
    seen = dict.fromkeys(each.type for each in events.data if each.type not in known)
    return page.render("views/event-types.html", found=found, seen=list(seen))


async def one(page: Page) -> Answer:
    """A type with its schema and example."""
    name = page.query.get("name")
    if not name:
        raise NotFound("there is no such page")
    found = await page.api.get(f"/api/event-types/{name}", Type)
    return page.render("views/event-type.html", type_=found, refresh_s=None)


def _saved(form: Form) -> dict[str, Any]:
    wanted: dict[str, Any] = {"mode": form.get("mode", SchemaMode.OFF)}
    if (description := form.filled("description")) is not None:
        wanted["description"] = description
    for name in ("schema", "example"):
        if (text := form.filled(name)) is not None:
            wanted[name] = as_json(text, f"/{name}")
    if redact := form.get("redact", "").split():
        wanted["redact"] = redact
    return wanted


def _sent(form: Form) -> dict[str, Any]:
    payload = form.filled("payload")
    if payload is None:
        raise ValidationFailed.of("/payload", "missing-field", "is missing")
    wanted: dict[str, Any] = {"type": form.get("type", ""), "payload": as_json(payload, "/payload")}
    for name in ("dedup_id", "source", "key"):
        if (value := form.filled(name)) is not None:
            wanted[name] = value
    return wanted


async def _ask_save(page: Page, form: Form) -> Question:
    known = await _known(page, form)
    return Question(
        text="",
        title="" if known is None else f"Edit {known.name}",
        button="Save",
        context={"known": known, "modes": list(SchemaMode)},
    )


async def _ask_send(page: Page, form: Form) -> Question:
    return Question(
        text="A real event, which goes to every subscription that matches it.",
        context={"known": await _known(page, form)},
    )


async def _known(page: Page, form: Form) -> Type | None:
    name = form.filled("name") or form.filled("type")
    if name is None:
        return None
    found = await page.api.get("/api/event-types", Types, limit=1000)
    return next((each for each in found.data if each.name == name), None)


async def _ask_delete(page: Page, form: Form) -> Question:
    del page
    return Question(
        text=f"What is said of {form.get('name', '')} is deleted, and its events are not looked at any "
        "more. The events stay.",
        title=f"Delete {form.get('name', '')}",
    )


VIEW = View(
    "event-types",
    "Event types",
    icon="tag",
    pages={"": index, "type": one},
    actions=(
        Action(
            "send-event",
            "Send an event",
            "POST",
            "/api/events",
            body=_sent,
            scope=Scope.INGEST,
            asks=_ask_send,
            form="views/send-form.html",
            done="The event is accepted.",
            then=lambda made: f"events/{made['id']}",
        ),
        Action(
            "save-event-type",
            "Describe a type",
            "PUT",
            "/api/event-types/{name:path}",
            body=_saved,
            asks=_ask_save,
            form="views/event-type-form.html",
            done="Saved.",
        ),
        Action(
            "delete-event-type",
            "Delete",
            "DELETE",
            "/api/event-types/{name:path}",
            asks=_ask_delete,
            danger=True,
            done="The type is no longer described.",
            then=lambda _: "event-types",
        ),
    ),
)
