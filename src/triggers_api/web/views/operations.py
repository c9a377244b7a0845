"""Operations: every switch, what waits, what is kept aside, who changed what, settings, books."""

import asyncio
from typing import Any, Final

from triggers_api.errors import ValidationFailed
from triggers_api.model.controls import DeliveryMode, IngestMode, Running
from triggers_api.web.actions import Action, Question
from triggers_api.web.answer import Answer
from triggers_api.web.page import Page, View
from triggers_api.web.request import Form
from triggers_api.web.views.subscriptions import as_json

TABS: Final = (
    ("", "Switches"),
    ("queues", "Queues"),
    ("quarantine", "Quarantine"),
    ("audit", "Audit"),
    ("settings", "Settings"),
    ("verify", "Verify"),
)
_MODES: Final[dict[str, list[str]]] = {
    "ingest": [*IngestMode],
    "processing": [*Running],
    "delivery": [*DeliveryMode],
}
_SCOPE: Final = ("organization_id", "subscription_id")
_NUMBERS: Final = ("concurrency", "batch_size", "min_poll_ms")
_EXPIRES: Final = (
    ("", "until somebody turns it back"),
    ("300", "for 5 minutes"),
    ("3600", "for an hour"),
    ("28800", "for 8 hours"),
    ("86400", "for a day"),
)


def _render(page: Page, template: str, tab: str, **given: Any) -> Answer:  # noqa: ANN401
    return page.render(template, tabs=TABS, tab=tab, **given)


async def index(page: Page) -> Answer:
    """The switches, the drain, the processes."""
    api = page.operator_api
    controls, turned, drain, health = await asyncio.gather(
        api.get("/api/admin/controls"),
        api.get("/api/admin/switches"),
        api.get("/api/admin/drain"),
        api.get("/api/health/detailed"),
    )
    return _render(
        page,
        "views/operations.html",
        "",
        controls=controls,
        turned=turned["data"],
        drain=drain,
        workers=health["workers"],
        config=health["config"],
        modes=_MODES,
        numbers=_NUMBERS,
        refresh_s=1 if drain["draining"] and not drain["drained"] else 5,
    )


async def of_organization(page: Page, organization_id: str) -> Answer:
    """The switches of one organization."""
    controls, turned = await asyncio.gather(
        page.operator_api.get("/api/admin/controls", organization_id=organization_id),
        page.operator_api.get("/api/admin/switches"),
    )
    own = [
        each
        for each in turned["data"]
        if each["organization_id"] == organization_id and each["subscription_id"] is None
    ]
    return _render(
        page,
        "views/switches-of.html",
        "",
        organization_id=organization_id,
        controls=controls,
        turned={each["switch"]: each for each in own},
        modes=_MODES,
    )


async def queues(page: Page) -> Answer:
    """What waits, and for whom."""
    found = await page.operator_api.get("/api/admin/queues")
    return _render(page, "views/queues.html", "queues", queues=found)


async def quarantine(page: Page) -> Answer:
    """What is kept aside, of all organizations."""
    cursor = page.query.get("cursor")
    found = await page.operator_api.get("/api/admin/quarantine", limit=50, cursor=cursor)
    return _render(page, "views/quarantine.html", "quarantine", found=found)


async def audit(page: Page) -> Answer:
    """Who changed what."""
    wanted = {name: page.query.filled(name) for name in ("action", "actor", "resource")}
    cursor = page.query.get("cursor")
    found = await page.operator_api.get("/api/audit", limit=50, cursor=cursor, **wanted)
    return _render(page, "views/audit.html", "audit", found=found, wanted=wanted)


async def settings(page: Page) -> Answer:
    """The settings in force; secrets are masked by the API."""
    found = await page.operator_api.get("/api/admin/settings")
    return _render(page, "views/settings.html", "settings", found=found["data"], refresh_s=None)


async def verify(page: Page) -> Answer:
    """Whether the books balance; counts everything, so it waits to be asked."""
    asked = "now" in page.query
    found = await page.operator_api.get("/api/admin/verify") if asked else None
    return _render(page, "views/verify.html", "verify", found=found, refresh_s=None)


def _turned(form: Form) -> dict[str, Any]:
    name, value = form.get("switch", ""), form.filled("value")
    if name not in {*_MODES, *_NUMBERS}:
        raise ValidationFailed.of("/switch", "unknown-field", "there is no such switch")
    wanted: dict[str, Any] = {name: value}
    if name in _NUMBERS and value is not None:
        if not value.isdigit():
            raise ValidationFailed.of(f"/{name}", "invalid-type", "is not a whole number")
        wanted[name] = int(value)
    return wanted | _why(form)


def _why(form: Form) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if (reason := form.filled("reason")) is not None:
        wanted["reason"] = reason
    if (seconds := form.filled("expires_in_s")) is not None:
        wanted["expires_in_s"] = int(seconds) if seconds.isdigit() else seconds
    return wanted


async def _ask_turn(page: Page, form: Form) -> Question:
    scope = {each: form.filled(each) for each in _SCOPE}
    controls = await page.operator_api.get("/api/admin/controls", **scope)
    name = form.get("switch", "")
    if name not in {*_MODES, *_NUMBERS}:
        raise ValidationFailed.of("/switch", "unknown-field", "there is no such switch")
    title = f"Turn {name.replace('_', ' ')}"
    values: list[str] | None = _MODES.get(name)
    whose = scope["organization_id"]
    if whose is not None:
        title += f" for {page.organization_name(whose)}"
        values = ["", *(values or ())]
    if whose is not None and scope["subscription_id"] is not None:
        title = f"Turn {name} to {page.subscription_name(scope['subscription_id'], whose)}"
    return Question(
        text=_MEANS[name],
        title=title,
        context={
            "name": name,
            "scope": {each: value for each, value in scope.items() if value is not None},
            "now": controls[name],
            "values": values,
            "expires": _EXPIRES,
        },
    )


_MEANS: Final = {
    "ingest": "async: events are stored, and routed a moment later. sync: routed before the answer. "
    "refuse: every event is answered 503.",
    "processing": "paused: events are stored and wait to be routed.",
    "delivery": "paused: deliveries wait. skip: they are ended as skipped, for good.",
    "concurrency": "Requests to receivers at once, in each process. Empty: as the settings have it.",
    "batch_size": "Events that are routed at a time. Empty: as the settings have it.",
    "min_poll_ms": "Milliseconds between two looks when there is nothing to do. Empty: as the settings "
    "have it.",
}


async def _ask_drain(page: Page, form: Form) -> Question:
    del form
    drain = await page.operator_api.get("/api/admin/drain")
    waits = drain["depth"] + drain["deliveries_waiting"]
    return Question(
        text="Every event is answered 503 from now on, and what was accepted is finished: "
        f"{drain['depth']:,} events to be routed, {drain['deliveries_waiting']:,} deliveries.",
        rows=waits,
        context={"expires": _EXPIRES},
    )


async def _ask_release(page: Page, form: Form) -> Question:
    del page
    return Question(
        text=f"{form.get('event_id', '')} is routed as if it had come in now.",
        context={"event_id": form.get("event_id", "")},
    )


async def _ask_delete(page: Page, form: Form) -> Question:
    del page
    return Question(
        text=f"One event, {form.get('event_id', '')}, is erased. This cannot be undone."
    )


def _released(form: Form) -> dict[str, Any]:
    payload = form.filled("payload")
    return {} if payload is None else {"payload": as_json(payload, "/payload")}


def _operators(name: str, label: str, method: str, path: str, **more: Any) -> Action:  # noqa: ANN401
    return Action(name, label, method, path, as_operator=True, in_portal=False, **more)


VIEW = View(
    "operations",
    "Operations",
    icon="sliders",
    pages={
        "": index,
        "of/{organization_id}": of_organization,
        "queues": queues,
        "quarantine": quarantine,
        "audit": audit,
        "settings": settings,
        "verify": verify,
    },
    of_everyone=True,
    of_organization=False,
    operators_only=True,
    in_portal=False,
    actions=(
        _operators(
            "turn-switch",
            "Turn",
            "PATCH",
            "/api/admin/controls",
            body=_turned,
            query=_SCOPE,
            asks=_ask_turn,
            form="views/switch-form.html",
            done="Turned. It is in force everywhere within a second.",
        ),
        _operators(
            "drain",
            "Drain",
            "POST",
            "/api/admin/drain",
            body=_why,
            asks=_ask_drain,
            form="views/drain-form.html",
            danger=True,
            done="Draining: nothing is taken in.",
        ),
        _operators(
            "undrain",
            "Take events in again",
            "POST",
            "/api/admin/undrain",
            done="Events come in again.",
        ),
        _operators(
            "requeue-stuck",
            "Requeue what is stuck",
            "POST",
            "/api/admin/requeue-stuck",
            done="What dead workers held is free again.",
        ),
        _operators(
            "process-once",
            "Route a batch now",
            "POST",
            "/api/admin/process",
            done="A batch was routed.",
        ),
        _operators(
            "release-event",
            "Release",
            "POST",
            "/api/admin/quarantine/{event_id}/release",
            body=_released,
            asks=_ask_release,
            form="views/release-form.html",
            done="The event is on its way.",
        ),
        _operators(
            "delete-aside",
            "Delete",
            "DELETE",
            "/api/admin/quarantine/{event_id}",
            asks=_ask_delete,
            danger=True,
            done="The event is erased.",
        ),
    ),
)
