"""Deliveries: by state, each with every attempt, its request and its answer."""

import shlex
from typing import Any, Final

from triggers_api.errors import NotFound
from triggers_api.model.delivery import OPEN, RETRYABLE, DeliveryStatus
from triggers_api.web.actions import Action, Question
from triggers_api.web.answer import Answer
from triggers_api.web.page import Page, View
from triggers_api.web.request import Form
from triggers_api.web.views.events import Detail

_ON_A_PAGE: Final = 50
_FILTERS: Final = ("status", "subscription_id", "event_id", "since", "until")
_SHELL_LIMIT: Final = 32 << 10
"""Larger payloads make a command that no shell takes."""


async def index(page: Page) -> Answer:
    """A list, newest first."""
    wanted = {name: value for name in _FILTERS if (value := page.query.filled(name)) is not None}
    cursor = page.query.get("cursor")
    found = await page.api.get("/api/deliveries", limit=_ON_A_PAGE, cursor=cursor, **wanted)
    return page.render(
        "views/deliveries.html",
        found=found,
        wanted=wanted,
        statuses=list(DeliveryStatus),
        refresh_s=None if cursor else 5,
    )


async def one(page: Page, delivery_id: str) -> Answer:
    """A delivery with its attempts."""
    delivery = await page.api.get(f"/api/deliveries/{delivery_id}")
    status = DeliveryStatus(delivery["status"])
    return page.render(
        "views/delivery.html",
        delivery=delivery,
        url=page.subscription_url(delivery["subscription_id"]),
        can_retry=status in RETRYABLE,
        can_cancel=status in OPEN,
        longest_ms=max((each["duration_ms"] for each in delivery["attempts"]), default=0),
        refresh_s=5 if status in OPEN else None,
    )


async def as_curl(page: Page, delivery_id: str, number: str) -> Answer:
    """An attempt's request as it is typed into a shell; what is secret is left as a mask."""
    delivery = await page.api.get(f"/api/deliveries/{delivery_id}")
    attempt = next((each for each in delivery["attempts"] if str(each["number"]) == number), None)
    if attempt is None or attempt["request_headers"] is None:
        raise NotFound("the request is not on file")
    event = await page.api.get(f"/api/events/{delivery['event_id']}", Detail)
    payload = bytes(event.payload)
    text = _request(page.subscription_url(delivery["subscription_id"]), attempt, payload)
    return page.render(
        "views/attempt-curl.html",
        refresh_s=None,
        curl=text,
        whole=len(payload) <= _SHELL_LIMIT,
        exact=attempt["request_headers"].get("content-length") == str(len(payload)),
    )


def _request(url: str | None, attempt: dict[str, Any], payload: bytes) -> str:
    lines = [f"curl -i -X POST {shlex.quote(url or 'https://the-receiver')}"]
    lines += [
        f"-H {shlex.quote(f'{name}: {value}')}"
        for name, value in attempt["request_headers"].items()
        if name not in {"host", "content-length", "accept", "accept-encoding"}
    ]
    if len(payload) <= _SHELL_LIMIT:
        lines.append(f"--data-binary {shlex.quote(payload.decode(errors='replace'))}")
    else:
        lines.append("--data-binary @payload.json")
    return " \\\n  ".join(lines)


async def _ask_cancel(page: Page, form: Form) -> Question:
    delivery = await page.api.get(f"/api/deliveries/{form.get('delivery_id', '')}")
    tried = delivery["attempt_count"]
    return Question(
        text=f"This one delivery of {delivery['event_type']} ends here, after {tried} attempt(s). "
        "An attempt in flight is not recalled, but changes nothing. It can be retried later.",
        title="Cancel the delivery",
    )


VIEW = View(
    "deliveries",
    "Deliveries",
    icon="send",
    pages={"": index, "{delivery_id}": one, "{delivery_id}/curl/{number}": as_curl},
    actions=(
        Action(
            "retry-delivery",
            "Retry now",
            "POST",
            "/api/deliveries/{delivery_id}/retry",
            done="The delivery is on its way again.",
        ),
        Action(
            "cancel-delivery",
            "Cancel",
            "POST",
            "/api/deliveries/{delivery_id}/cancel",
            asks=_ask_cancel,
            danger=True,
            done="The delivery is cancelled.",
        ),
    ),
)
