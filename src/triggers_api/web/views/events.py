"""Events: the newest, those that are searched for, each with what became of it, and as they come in."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from triggers_api.errors import ValidationFailed
from triggers_api.model.event import EventStatus
from triggers_api.model.text import glob_matches, is_type_pattern
from triggers_api.web.actions import Action, Question
from triggers_api.web.answer import Answer, see_other
from triggers_api.web.page import Page, View
from triggers_api.web.request import Form
from triggers_api.web.stream import Stream

_ON_A_PAGE: Final = 50
_PREVIEW_BYTES: Final = 160
_DELIVERIES_SHOWN: Final = 100
_AT_ONCE: Final = 40
"""How many rows a live view gets in a second; what is beyond is not shown but counted as skipped."""
_LOOK_EVERY_S: Final = 1.0
_AN_ID: Final = re.compile(r"evt_[0-9a-z]{32}")
_A_CONDITION: Final = re.compile(r"payload\.[^=\s]+=\S*")

_FILTERS: Final = (
    "type", "source", "key", "dedup_id", "status", "since", "until", "order", "operational",
)  # fmt: skip


class Row(msgspec.Struct):
    """An event as a list shows it."""

    id: str
    type: str
    payload: msgspec.Raw
    source: str | None
    key: str | None
    status: str
    received_at: str
    duplicate_of: str | None = None

    @property
    def preview(self) -> str:
        """How its payload begins."""
        shown = bytes(memoryview(self.payload)[:_PREVIEW_BYTES])
        return " ".join(shown.decode(errors="replace").split())


class Rows(msgspec.Struct):
    """A page of them."""

    data: list[Row]
    next_cursor: str | None


class Detail(msgspec.Struct):
    """An event with what became of it; the payload as it was received."""

    id: str
    type: str
    payload: msgspec.Raw
    dedup_id: str | None
    source: str | None
    key: str | None
    metadata: dict[str, str] | None
    status: str
    received_at: str
    occurred_at: str | None
    deliver_at: str | None
    duplicate_of: str | None
    operational: bool
    deliveries: list[dict[str, Any]]
    timeline: list[dict[str, Any]]


async def index(page: Page) -> Answer:
    """A list, newest first."""
    sought = page.query.filled("q")
    if sought is not None and _AN_ID.fullmatch(sought):
        return see_other(page.href(f"events/{sought}"))
    wanted = _wanted(page.query)
    found = await page.api.get(
        "/api/events", Rows, limit=_ON_A_PAGE, cursor=page.query.get("cursor"), **wanted
    )
    is_live = not page.query.get("cursor") and set(wanted) <= {"type"}
    return page.render(
        "views/events.html",
        found=found,
        wanted=wanted,
        fresh=False,
        statuses=list(EventStatus),
        tail=page.href("events/tail", type=wanted.get("type")) if is_live else None,
        more_filters=any(name in wanted for name in _FILTERS if name not in {"type", "status"}),
        refresh_s=None if page.query.get("cursor") else 5,
    )


def _wanted(query: Form) -> dict[str, str]:
    """The parameters of the API's list: words, and ``payload.<path>=value`` from the same field."""
    wanted = {name: value for name in _FILTERS if (value := query.filled(name)) is not None}
    words = []
    for word in (query.filled("q") or "").split():
        if _A_CONDITION.fullmatch(word):
            name, _, value = word.partition("=")
            wanted[name] = value
        else:
            words.append(word)
    if words:
        wanted["q"] = " ".join(words)
    return wanted


async def one(page: Page, event_id: str) -> Answer:
    """An event: its payload, its timeline, and what it is to each subscription."""
    api = page.api
    event, explained = await asyncio.gather(
        api.get(f"/api/events/{event_id}", Detail), api.get(f"/api/events/{event_id}/explain")
    )
    return page.render(
        "views/event.html",
        event=event,
        size=len(memoryview(event.payload)),
        deliveries=event.deliveries[:_DELIVERIES_SHOWN],
        explanations=explained["subscriptions"][:_DELIVERIES_SHOWN],
        refresh_s=5 if _moves(event) else None,
    )


def _moves(event: Detail) -> bool:
    """Whether something will still happen to it by itself."""
    open_ = any(each["finished_at"] is None for each in event.deliveries)
    return open_ or event.status in {EventStatus.QUEUED, EventStatus.SCHEDULED}


async def payload(page: Page, event_id: str) -> Answer:
    """The payload, byte for byte, as a file."""
    event = await page.api.get(f"/api/events/{event_id}", Detail)
    return Answer(
        body=bytes(event.payload),
        media_type="application/octet-stream",
        headers=(("content-disposition", f'attachment; filename="{event.id}.json"'),),
    )


# ── as they come in ───────────────────────────────────────────────────────────────────────────────


async def tail(page: Page) -> Stream:
    """Rows for the top of the list, behind the event that the browser has seen last."""
    pattern = page.query.filled("type")
    if pattern is not None and not is_type_pattern(pattern):
        raise ValidationFailed.of("type", "invalid-parameter", "is not an event type or pattern")
    readers = page.context.readers
    if not page.is_operator:  # whom no organization can keep out
        readers.check(page.organization_id)
    return Stream(
        _messages(page, pattern),
        goes_on=page.goes_on,
        counted=readers.reading(page.organization_id),
    )


async def _messages(page: Page, pattern: str | None) -> AsyncIterator[bytes]:
    store = page.context.store
    organization_id = page.organization_id
    last = page.request.headers.get("last-event-id") or page.query.get("after")
    position = None if last is None else await store.log_position(organization_id, last)
    if position is None:
        position = await store.log_end(organization_id)
    heard = await store.wait_log(-1, 0.0)
    yield b": \n\n"
    while True:
        found = await store.log(organization_id, position, _AT_ONCE)
        position = found.position
        rows = [
            each for each in found.events if pattern is None or glob_matches(pattern, each.type)
        ]
        for each in rows:
            row = Row(
                id=each.id,
                type=each.type,
                payload=each.payload,
                source=each.source,
                key=each.key,
                status=each.status,
                received_at=str(each.received_at),
            )
            yield _message(each.id, page.part("parts/event-row.html", event=row, fresh=True))
        if len(found.events) == _AT_ONCE:
            # More comes in than anybody can read: go on with what is newest.
            position = await store.log_end(organization_id)
            yield b"event: skipped\ndata: \n\n"
        await asyncio.sleep(_LOOK_EVERY_S / 4)
        heard = await store.wait_log(heard, _LOOK_EVERY_S)
        yield b""


def _message(event_id: str, text: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() if line.strip())
    return f"id: {event_id}\n{lines}\n".encode()


# ── what can be done ──────────────────────────────────────────────────────────────────────────────


async def _ask_replay(page: Page, form: Form) -> Question:
    event_id = form.get("event_id", "")
    explained = await page.api.get(f"/api/events/{event_id}/explain")
    matching = sum(each["matched"] for each in explained["subscriptions"])
    text = "Nobody matches the event now: it would be delivered to nobody."
    if matching:
        text = (
            f"The event is delivered once more, to up to {matching} subscription(s) that match it."
        )
    return Question(text=text)


async def _ask_delete(page: Page, form: Form) -> Question:
    event = await page.api.get(f"/api/events/{form.get('event_id', '')}", Detail)
    waiting = sum(each["finished_at"] is None for each in event.deliveries)
    return Question(
        text="The payload of this one event is erased for good, and its dedup_id is free again. "
        f"{waiting} delivery(ies) that are not finished are cancelled."
    )


async def _ask_cancel(page: Page, form: Form) -> Question:
    await page.api.get(f"/api/events/{form.get('event_id', '')}", Detail)
    return Question(text="This one event ends here: nobody gets it. Its dedup_id stays taken.")


VIEW = View(
    "events",
    "Events",
    icon="bolt",
    pages={"": index, "tail": tail, "{event_id}": one, "{event_id}/payload": payload},
    actions=(
        Action(
            "replay-event",
            "Replay",
            "POST",
            "/api/events/{event_id}/replay",
            asks=_ask_replay,
            done="The event is on its way once more.",
        ),
        Action(
            "cancel-event",
            "Cancel",
            "POST",
            "/api/events/{event_id}/cancel",
            asks=_ask_cancel,
            danger=True,
            done="The event is cancelled.",
        ),
        Action(
            "delete-event",
            "Delete",
            "DELETE",
            "/api/events/{event_id}",
            asks=_ask_delete,
            danger=True,
            done="The event is deleted.",
            then=lambda _: "events",
        ),
    ),
)
