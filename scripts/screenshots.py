"""Pictures of the operator page for the README and the pages: ``docs/images/*.webp``.

Runs the service with made-up customers, events that really flow and a past that is made up, and has the
Chromium of the system look at it. From the root of the project, with chromium and playwright there::

    python scripts/screenshots.py [--only NAME] [--all] [--to FOLDER]
"""

# ruff: noqa: INP001, T201, ASYNC240 - a program of the project, which prints

from __future__ import annotations

import argparse
import asyncio
import base64
import math
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from playwright.async_api import Browser, async_playwright

from triggers_api.model.rollup import (
    COARSE_S,
    EVERYBODY,
    MINUTE_S,
    SUBSCRIPTION_S,
    Rollup,
    Tally,
    bucket,
    floor,
)
from triggers_api.testing import ADMIN_KEY, Received, Receiver, Service

HERE: Final = Path(__file__).resolve().parent.parent / "docs" / "images"
_QUALITY: Final = 84
_LUCK: Final = random.Random(7)  # noqa: S311 - pictures
_STILL_MS: Final = 1200
"""Until charts are drawn and what moves stands still."""
_KEPT: Final = {
    "dead-letters-light", "events-light", "operations-light", "overview-dark", "overview-light",
    "subscriptions-light", "subscriptions-phone",
}  # fmt: skip
"""Those that pages show; the others are for whoever works on the page."""
_WIDE: Final = {"width": 1280, "height": 800}
_PHONE: Final = {"width": 390, "height": 780}

_SUBSCRIPTIONS: Final[tuple[dict[str, Any], ...]] = (
    {"description": "Warehouse", "event_types": ["order.*"]},
    {
        "description": "Bookkeeping",
        "event_types": ["invoice.*", "order.paid"],
        "retry_schedule": [],
    },
    {
        "description": "Customer mails",
        "event_types": ["order.*", "customer.*"],
        "filter": "payload.total > 100 && has(payload.customer)",
    },
    {"description": "Data lake", "event_types": ["*"], "payload_format": "cloudevents"},
    {"description": "CRM of the partner", "event_types": ["customer.*"], "retry_schedule": []},
)
_TYPES: Final = (
    "order.created", "order.paid", "order.shipped", "invoice.paid", "customer.changed",
    "order.created", "order.created", "stock.low",
)  # fmt: skip


async def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="part of the name of the pictures that are wanted")
    parser.add_argument("--all", action="store_true", help="also those that no page shows")
    parser.add_argument("--to", type=Path, default=HERE)
    asked = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not there")
    asked.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Receiver() as receiver,
            Service(Path(folder), background=True) as service,
            async_playwright() as playwright,
        ):
            organization, letters = await _fill(service, receiver)
            browser = await playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
            )
            for name, path, settings, act in _pictures(organization, letters):
                if (asked.all or name in _KEPT) and (asked.only or "") in name:
                    await _take(browser, service, asked.to / f"{name}.webp", path, settings, act)
            await browser.close()


def _pictures(organization: str, letters: str) -> list[tuple[str, str, dict[str, Any], str]]:
    """Name, address, settings of the browser, and what is clicked before."""
    of = f"/ui/org/{organization}"
    dark, phone = {"color_scheme": "dark"}, {"viewport": _PHONE, "device_scale_factor": 2}
    event = "tr[data-row] a"
    return [
        ("overview-light", f"{of}/", {}, ""),
        ("overview-dark", f"{of}/", dark, ""),
        ("overview-phone", f"{of}/", phone, ""),
        ("events-light", f"{of}/events", {}, event),
        ("events-dark", f"{of}/events", dark, event),
        ("subscriptions-light", f"{of}/subscriptions", {}, ""),
        ("subscriptions-dark", f"{of}/subscriptions", dark, ""),
        ("subscriptions-phone", f"{of}/subscriptions", phone, ""),
        ("subscription-light", f"{of}/subscriptions/{letters}", {}, ""),
        ("new-subscription-light", f"{of}/subscriptions", {}, "text=New subscription…"),
        ("dead-letters-light", f"{of}/dead-letters", {}, ""),
        ("dead-letters-dark", f"{of}/dead-letters", dark, ""),
        ("dead-letters-phone", f"{of}/dead-letters", phone, ""),
        ("deliveries-light", f"{of}/deliveries", {}, event),
        ("inboxes-light", f"{of}/inboxes", {}, ""),
        ("event-types-light", f"{of}/event-types", {}, "a[data-drawer]"),
        ("operations-light", "/ui/operations", {}, ""),
        ("operations-dark", "/ui/operations", dark, ""),
        ("operations-phone", "/ui/operations", phone, ""),
        ("settings-light", "/ui/operations/settings", {}, ""),
        ("audit-light", "/ui/operations/audit", {}, ""),
        ("queues-dark", "/ui/operations/queues", dark, ""),
    ]


async def _take(
    browser: Browser, service: Service, to: Path, path: str, settings: dict[str, Any], act: str
) -> None:
    context = await browser.new_context(**{"viewport": _WIDE, "locale": "en-GB"} | settings)
    page = await context.new_page()
    await page.goto(f"{service.url}/ui/login")
    await page.get_by_label("Key").fill(ADMIN_KEY)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_selector("main#main")
    await page.goto(service.url + path)
    if act:
        await page.locator(act).first.click()
    await page.wait_for_timeout(_STILL_MS)
    session = await context.new_cdp_session(page)
    taken = await session.send("Page.captureScreenshot", {"format": "webp", "quality": _QUALITY})
    to.write_bytes(base64.b64decode(taken["data"]))
    wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    print(f"{to.name}: {to.stat().st_size >> 10} KiB{f', {wide} px too wide' if wide > 0 else ''}")
    await context.close()


async def _fill(service: Service, receiver: Receiver) -> tuple[str, str]:
    """An organization with a past and a present; its id, and that of a subscription that fails."""

    async def answer(received: Received) -> web.StreamResponse:
        await asyncio.sleep(_LUCK.uniform(0.01, 0.06))
        if received.path.endswith("Bookkeeping"):
            return web.Response(status=_LUCK.choice((500, 500, 503, 404)), text="ledger is closed")
        return web.Response(status=204)

    receiver.always(answer)
    call = service.call
    organization = (await call("GET", "/api/organization")).json["id"]
    await call("PATCH", "/api/organization", {"name": "Acme Shop"})
    for name in ("Blue Bottle", "Cobalt Cycles"):
        await call("POST", "/api/admin/organizations", {"name": name}, key=ADMIN_KEY)
    made = {}
    for each in _SUBSCRIPTIONS:
        path = each["description"].split()[0]
        made[each["description"]] = await service.subscribe(f"{receiver.url}/{path}", **each)
    await call("POST", f"/api/subscriptions/{made['CRM of the partner']['id']}/pause")
    await call("PUT", "/api/event-types/order.created", {
        "description": "Somebody bought something",
        "schema": {"type": "object", "required": ["id", "total"],
                   "properties": {"id": {"type": "string"}, "total": {"type": "number"}}},
        "mode": "warn", "example": {"id": "A-1042", "total": 119.5, "customer": "c-77"},
    })  # fmt: skip
    await call("PUT", "/api/event-types/invoice.paid", {"description": "Money has come in"})
    await call(
        "PUT", "/api/event-types/customer.changed", {"description": "A customer moved house"}
    )
    await call("PUT", "/api/inboxes/reporting", {"types": ["order.*", "invoice.*"]})
    await call("PATCH", "/api/admin/controls", {
        "batch_size": 200, "reason": "The backlog of this morning", "expires_in_s": 3600,
    }, key=ADMIN_KEY)  # fmt: skip
    await _past(service, organization, {name: each["id"] for name, each in made.items()})
    for number in range(160):
        total = round(20 + 180 * _LUCK.random(), 2)
        await service.send(
            _TYPES[number % len(_TYPES)],
            {"id": f"A-{1000 + number}", "total": total, "customer": f"c-{number % 23}",
             "lines": [{"sku": f"S-{number % 7}", "count": 1 + number % 3}]},
            source="shop", key=f"c-{number % 23}",
        )  # fmt: skip
    await asyncio.sleep(3)
    return organization, made["Bookkeeping"]["id"]


async def _past(service: Service, organization: str, subscriptions: dict[str, str]) -> None:
    """Tallies of the day before: a busy afternoon, and one endpoint that began to fail."""
    store, now = service.app.store, service.app.store.now()
    rollups = []
    for step_s, steps in ((MINUTE_S, 62), (COARSE_S, 146)):
        for step in range(1, steps):
            at = floor(now.after(seconds=-step * step_s), step_s)
            wave = 1 + 0.45 * math.sin(at / 1000 / 5400) + 0.18 * _LUCK.random()
            tally = Tally(accepted=int(9 * step_s * wave), routed=int(9 * step_s * wave))
            tally.attempts_succeeded = tally.succeeded = int(17 * step_s * wave)
            tally.attempts_failed = int(0.3 * step_s * wave * _LUCK.random())
            tally.duplicates, tally.dead = int(step_s * wave / 20), int(step_s / 200)
            for _ in range(60):
                us = int(_LUCK.lognormvariate(7.4, 0.35))
                tally.ingest[bucket(us)] = tally.ingest.get(bucket(us), 0) + 1
                us = int(_LUCK.lognormvariate(10.6, 0.5))
                tally.attempts[bucket(us)] = tally.attempts.get(bucket(us), 0) + 1
            rollups += [
                Rollup(organization_id=whose, step_s=step_s, at=at, writer=7, tally=tally)
                for whose in (organization, EVERYBODY)
            ]
    for name, subscription in subscriptions.items():
        for step in range(48):
            at = floor(now.after(seconds=-step * SUBSCRIPTION_S), SUBSCRIPTION_S)
            count = int(400 * (1.3 + math.sin(step / 5)) * (0.8 + 0.4 * _LUCK.random()))
            failed = (
                int(count * (0.85 if step < 9 else 0.02)) if name == "Bookkeeping" else count // 200
            )
            tally = Tally(attempts_succeeded=count - failed, attempts_failed=failed)
            rollups.append(
                Rollup(
                    organization_id=organization,
                    subscription_id=subscription,
                    step_s=SUBSCRIPTION_S,
                    at=at,
                    writer=7,
                    tally=tally,
                )
            )
    for start in range(0, len(rollups), 500):
        await store.save_rollups(rollups[start : start + 500])


if __name__ == "__main__":
    asyncio.run(main())
