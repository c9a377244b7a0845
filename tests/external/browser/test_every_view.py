"""What holds on every view: anybody can use it, it is text, it fits a phone, and it needs no script."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from playwright.sync_api import Page, expect
from tests.cli.conftest import KEY, Endpoint, Serving
from tests.external.browser.conftest import (
    OPERATOR_KEY,
    Visit,
    arrived,
    first_organization,
    log_in,
)
from tests.external.conftest import Program

SETTINGS = {"TRIGGERS_ALLOW_CIDRS": "127.0.0.0/8"}

AXE: Final = "axe-core@4.14.1"
SERIOUS: Final = {"serious", "critical"}
XSS: Final = (
    "<script>window.broken=1</script>",
    "\"><img src=x onerror='window.broken=1'>",
    "javascript:window.broken=1",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "</textarea></pre></title><svg onload=window.broken=1>",
    "'-window.broken-'",
    "\u202eevil\u2066<b>",
)


class World(NamedTuple):
    """Something in every view, and what each is found under."""

    serving: Serving
    views: tuple[str, ...]


@pytest.fixture(scope="module")
def endpoint_of_all() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def world(serving: Serving, endpoint_of_all: Endpoint) -> World:
    """A service whose every text is an attack."""
    endpoint_of_all.status = 500
    text = " ".join(XSS)
    call = serving.call
    status, made = call("POST", "/api/subscriptions", KEY, {
        "url": endpoint_of_all.url, "event_types": ["*"], "retry_schedule": [],
        "description": text, "metadata": {"note": text[:200]}, "filter": "type != '<script>'",
    })  # fmt: skip
    assert status == 201, made
    status, _ = call("PUT", "/api/event-types/order.created", KEY, {
        "description": text, "example": {text: [text]}, "schema": {"description": text},
    })  # fmt: skip
    assert status in {200, 201}
    status, event = call("POST", "/api/events", KEY, {
        "type": "order.created", "payload": {text: text}, "source": text[:200], "key": text[:200],
        "dedup_id": text[:200], "metadata": {"x": text},
    })  # fmt: skip
    assert status == 202, event
    arrived(endpoint_of_all, 1)
    call("PATCH", "/api/organization", KEY, {"name": text[:200]})
    call("PATCH", "/api/admin/controls", OPERATOR_KEY, {"batch_size": 50, "reason": text[:500]})
    letters: list[dict[str, Any]] = []
    while not letters:
        letters = call("GET", "/api/dead-letters", KEY)[1]["data"]
    of = f"/ui/org/{first_organization(serving)}"
    sub = made["id"]
    return World(
        serving,
        (
            "/ui/", f"{of}/", f"{of}/events", f"{of}/events/{event['id']}", f"{of}/deliveries",
            f"{of}/deliveries/{letters[0]['id']}", f"{of}/subscriptions", f"{of}/subscriptions/{sub}",
            f"{of}/dead-letters", f"{of}/dead-letters/of/{sub}", f"{of}/inboxes",
            f"{of}/inboxes/default", f"{of}/event-types", f"{of}/event-types/type?name=order.created",
            f"{of}/do/create-subscription", f"{of}/do/edit-subscription?subscription_id={sub}",
            f"{of}/do/replay-subscription?subscription_id={sub}", f"{of}/do/seek-inbox?name=default",
            f"{of}/do/send-event?type=order.created", "/ui/operations", "/ui/operations/queues",
            "/ui/operations/quarantine", "/ui/operations/audit", "/ui/operations/settings",
            "/ui/operations/verify?now=yes", "/ui/do/turn-switch?switch=delivery", "/ui/organizations",
            f"/ui/operations/of/{of.removeprefix('/ui/org/')}",
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def axe(program: Program, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The checker's script, from the registry of npm."""
    npm = program("npm")
    folder = tmp_path_factory.mktemp("axe")
    (folder / "package.json").write_text("{}")
    command = (npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", AXE)
    try:
        subprocess.run(command, cwd=folder, capture_output=True, timeout=240, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failed:
        said = (failed.stderr or b"").decode()
        pytest.skip(f"axe-core could not be installed: {failed} {said[-300:]}")
    return (Path(folder) / "node_modules/axe-core/axe.min.js").read_text()


@pytest.mark.timeout(600)  # with what a registry is asked for
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_no_view_keeps_anybody_out(world: World, visit: Visit, axe: str, colours: str) -> None:
    page = log_in(visit(f"{world.serving.url}/ui/login", color_scheme=colours, bypass_csp=True))
    # A refresh would take what is looked at away under the checker.
    page.add_init_script("window.setInterval = () => 0;")
    found: dict[str, list[str]] = {}
    for view in world.views:
        page.goto(world.serving.url + view)
        page.evaluate(axe)
        problems = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        told = [
            f"{each['id']}: {node['html'][:160]} {json.dumps(node['any'][:1])[:200]}"
            for each in problems
            if each["impact"] in SERIOUS
            for node in each["nodes"][:2]
        ]
        if told:
            found[view] = told
    assert found == {}


def test_what_anybody_wrote_is_text_on_every_view(world: World, visit: Visit) -> None:
    page = log_in(visit(f"{world.serving.url}/ui/login"))
    for view in world.views:
        page.goto(world.serving.url + view)
        page.wait_for_selector("main")
        assert page.evaluate("window.broken") is None, view
        assert page.locator("main script, main img, main svg[onload]").count() == 0, view
        assert "49$" not in page.content(), view


def fits(page: Page) -> bool:
    found: bool = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return found


def test_every_view_fits_a_phone(world: World, visit: Visit) -> None:
    page = log_in(
        visit(
            f"{world.serving.url}/ui/login", viewport={"width": 390, "height": 780}, is_mobile=True
        )
    )
    wide = []
    for view in world.views:
        page.goto(world.serving.url + view)
        page.wait_for_selector("main")
        if not fits(page):
            wide.append(view)
    assert wide == []


def test_every_view_can_be_read_without_javascript(world: World, visit: Visit) -> None:
    page = log_in(visit(f"{world.serving.url}/ui/login", java_script_enabled=False))
    for view in world.views:
        page.goto(world.serving.url + view)
        expect(page.locator("main h1, main h2").first).to_be_visible()
