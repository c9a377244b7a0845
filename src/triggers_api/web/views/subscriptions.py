"""Subscriptions: how their endpoints fare, and everything that is done with one."""

import asyncio
from typing import Any, Final

import msgspec

from triggers_api.errors import ValidationFailed
from triggers_api.model.subscription import Ordering, PayloadFormat
from triggers_api.web.actions import Action, Question
from triggers_api.web.answer import Answer
from triggers_api.web.calls import Call, Refused
from triggers_api.web.page import Page, View
from triggers_api.web.request import Form

_ON_A_PAGE: Final = 50
_STATUSES: Final = ("", "dead", "missed", "skipped", "cancelled", "succeeded")
"""What a replay may be of; nothing: each event to whom it matches now."""


async def index(page: Page) -> Answer:
    """A list, newest first, each with its last day."""
    cursor = page.query.get("cursor")
    found = await page.api.get("/api/subscriptions", limit=_ON_A_PAGE, cursor=cursor)
    health = await _health(page, [each["id"] for each in found["data"]])
    return page.render("views/subscriptions.html", found=found, health=health)


async def one(page: Page, subscription_id: str) -> Answer:
    """A subscription, and how its deliveries fared in the last day."""
    path = f"/api/subscriptions/{subscription_id}"
    subscription, health = await asyncio.gather(
        page.api.get(path), _health(page, [subscription_id])
    )
    return page.render(
        "views/subscription.html", subscription=subscription, health=health[subscription_id]
    )


async def check(page: Page) -> Answer:
    """What a filter would have said of the last events, while it is being typed."""
    asked = {
        "filter": page.query.filled("filter"),
        "event_types": _lines(page.query, "event_types"),
    }
    body = msgspec.json.encode({name: value for name, value in asked.items() if value})
    try:
        reply = await page.api.call(Call("POST", "/api/filters/check", body=body))
    except Refused as refused:
        return _part(page, errors=refused.problem.get("errors") or [refused.problem], checked=None)
    return _part(page, errors=[], checked=reply.json, filter_=asked["filter"])


def _part(page: Page, **given: Any) -> Answer:  # noqa: ANN401 - what the template shows
    text = page.site.rendering.render("parts/filter-check.html", page=page, **given)
    return Answer(body=text.encode())


async def _health(page: Page, subscription_ids: list[str]) -> dict[str, dict[str, Any]]:
    if not subscription_ids:
        return {}
    asked = ",".join(subscription_ids)
    found = await page.api.get("/api/subscriptions/health", subscription_ids=asked)
    return {each["subscription_id"]: each for each in found["data"]}


def _lines(form: Form, name: str) -> list[str]:
    """What was typed, one on each line or with commas between."""
    return [each for part in form.get(name, "").split(",") for each in part.split()]


def _number(form: Form, name: str, kind: type[float] = float) -> float | None:
    text = form.filled(name)
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        raise ValidationFailed.of(f"/{name}", "invalid-type", "is not a number") from None


def _settings(form: Form) -> dict[str, Any]:
    """What the form says of a subscription; ``None`` where a field is empty."""
    schedule = [
        _number(Form([("delay", each)]), "delay") for each in _lines(form, "retry_schedule")
    ]
    return {
        "url": form.filled("url"),
        "event_types": _lines(form, "event_types"),
        "filter": form.filled("filter"),
        "description": form.filled("description"),
        "payload_format": form.filled("payload_format"),
        "ordering": form.filled("ordering"),
        "timeout_s": _number(form, "timeout_s"),
        "rate_limit": _number(form, "rate_limit"),
        "max_concurrency": _number(form, "max_concurrency", int),
        "retry_schedule": schedule or None,
    }


def _new(form: Form) -> dict[str, Any]:
    return {name: value for name, value in _settings(form).items() if value is not None}


def _changed(form: Form) -> dict[str, Any]:
    """All that the form has: an empty field puts the default back."""
    settings = _settings(form)
    settings["url"] = settings["url"] or ""
    return settings


async def _subscription(page: Page, form: Form) -> dict[str, Any]:
    path = f"/api/subscriptions/{form.get('subscription_id', '')}"
    found: dict[str, Any] = await page.api.get(path)
    return found


def _name(page: Page, subscription: dict[str, Any]) -> str:
    return page.subscription_name(subscription["id"])


def _choices() -> dict[str, Any]:
    return {"formats": list(PayloadFormat), "orderings": list(Ordering)}


async def _ask_new(page: Page, form: Form) -> Question:
    del page, form
    return Question(text="", context={"subscription": None, **_choices()})


async def _ask_edit(page: Page, form: Form) -> Question:
    subscription = await _subscription(page, form)
    return Question(
        text="",
        title=f"Edit {_name(page, subscription)}",
        button="Save",
        context={"subscription": subscription, **_choices()},
    )


async def _ask_test(page: Page, form: Form) -> Question:
    subscription = await _subscription(page, form)
    return Question(
        text="One event is sent, once, to this subscription alone.",
        title=f"Test {_name(page, subscription)}",
        context={"subscription": subscription},
    )


async def _ask_rotate(page: Page, form: Form) -> Question:
    subscription = await _subscription(page, form)
    return Question(
        text="A new secret is made, and shown once. Until the time is up requests carry both.",
        title=f"Rotate the secret of {_name(page, subscription)}",
        context={"subscription": subscription},
    )


async def _ask_replay(page: Page, form: Form) -> Question:
    subscription = await _subscription(page, form)
    return Question(
        text="Each match gets one new delivery, as a job that can be stopped.",
        title=f"Replay to {_name(page, subscription)}",
        context={"subscription": subscription, "statuses": _STATUSES},
    )


async def _ask_delete(page: Page, form: Form) -> Question:
    subscription = await _subscription(page, form)
    waiting = (await _health(page, [subscription["id"]]))[subscription["id"]]["waiting"]
    count = f"{waiting['count']:,}{'' if waiting['complete'] else ' or more'}"
    return Question(
        text=f"The subscription ends, and {count} deliveries that wait for it are cancelled. What was "
        "delivered stays on file.",
        title=f"Delete {_name(page, subscription)}",
        rows=waiting["count"],
    )


def _test(form: Form) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if (event_type := form.filled("type")) is not None:
        asked["type"] = event_type
    if (payload := form.filled("payload")) is not None:
        asked["payload"] = as_json(payload, "/payload")
    return asked


def as_json(text: str, pointer: str) -> msgspec.Raw:
    """What was typed as JSON, byte for byte.

    Raises:
        ValidationFailed: it is none.
    """
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValidationFailed.of(pointer, "invalid-type", f"is not JSON: {error}") from None
    return msgspec.Raw(text.encode())


def _grace(form: Form) -> dict[str, Any]:
    hours = _number(form, "grace_h")
    return {} if hours is None else {"grace_s": hours * 3600}


def moment(form: Form, name: str) -> str | None:
    """A moment from a field for date and time, which has no zone: it is UTC."""
    text = form.filled(name)
    if text is None or text.endswith("Z"):
        return text
    return f"{text}:00Z" if text.count(":") == 1 else f"{text}Z"


def _replay(form: Form) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "subscription_id": form.filled("subscription_id"),
        "status": form.filled("status"),
        "type": form.filled("type"),
        "since": moment(form, "since"),
        "until": moment(form, "until"),
        "rate": _number(form, "rate"),
        "dry_run": "dry_run" in form or None,
    }
    return {name: value for name, value in asked.items() if value is not None}


VIEW = View(
    "subscriptions",
    "Subscriptions",
    icon="link",
    pages={"": index, "check": check, "{subscription_id}": one},
    actions=(
        Action(
            "create-subscription",
            "New subscription",
            "POST",
            "/api/subscriptions",
            body=_new,
            asks=_ask_new,
            form="views/subscription-form.html",
            done="The subscription is there.",
            result="views/secret.html",
        ),
        Action(
            "edit-subscription",
            "Edit",
            "PATCH",
            "/api/subscriptions/{subscription_id}",
            body=_changed,
            asks=_ask_edit,
            form="views/subscription-form.html",
            done="Saved. Attempts from now on use it.",
        ),
        Action(
            "pause-subscription",
            "Pause",
            "POST",
            "/api/subscriptions/{subscription_id}/pause",
            done="Paused: its events wait.",
        ),
        Action(
            "resume-subscription",
            "Resume",
            "POST",
            "/api/subscriptions/{subscription_id}/resume",
            done="Resumed: what waited is sent.",
        ),
        Action(
            "test-subscription",
            "Test",
            "POST",
            "/api/subscriptions/{subscription_id}/test",
            body=_test,
            asks=_ask_test,
            form="views/test-form.html",
            done="The test event is on its way.",
            then=lambda made: f"deliveries/{made['id']}",
        ),
        Action(
            "rotate-secret",
            "Rotate secret",
            "POST",
            "/api/subscriptions/{subscription_id}/rotate-secret",
            body=_grace,
            asks=_ask_rotate,
            form="views/rotate-form.html",
            done="There is a new secret.",
            result="views/secret.html",
        ),
        Action(
            "replay-subscription",
            "Replay",
            "POST",
            "/api/replays",
            body=_replay,
            asks=_ask_replay,
            form="views/replay-form.html",
            done="The replay has begun.",
            then=lambda job: f"dead-letters/jobs/{job['id']}",
        ),
        Action(
            "delete-subscription",
            "Delete",
            "DELETE",
            "/api/subscriptions/{subscription_id}",
            asks=_ask_delete,
            danger=True,
            done="The subscription is gone.",
            then=lambda _: "subscriptions",
        ),
    ),
)
