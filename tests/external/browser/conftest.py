"""Chromium at the operator page of a service in a process of its own.

The service stores with each engine that a file names in ``ENGINES``; by itself in SQLite.

Playwright drives the Chromium of the system, never one of its own. What a page says in its console, and
what the policy forbids it, is collected: a test that leaves something there fails.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright
from tests.cli.conftest import KEY, Endpoint, Serving
from tests.conftest import new_database
from tests.external.conftest import Program

OPERATOR_KEY: Final = "a-key-of-the-operator"
_FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS: Final = 20_000
expect.set_options(timeout=PATIENCE_MS)

Visit = Callable[..., Page]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "serving" in metafunc.fixturenames:
        engines = getattr(metafunc.module, "ENGINES", ("sqlite",))
        metafunc.parametrize("engine", engines, indirect=True, scope="module")


@pytest.fixture(scope="module")
def serving(
    engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    """A service for the tests of a file, with the file's ``SETTINGS`` if it has any."""
    folder = tmp_path_factory.mktemp("serving")
    with new_database(engine, folder, request) as url:
        serving = Serving(
            folder,
            TRIGGERS_API_KEY=KEY,
            TRIGGERS_ADMIN_KEY=OPERATOR_KEY,
            TRIGGERS_DATABASE_URL=url,
            **getattr(request.module, "SETTINGS", {}),
        )
        yield serving
        serving.close()


@pytest.fixture(scope="module")
def chromium(program: Program) -> Iterator[Browser]:
    """The browser. It ends with the file: its loop and another cannot be in one thread."""
    path = program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        yield browser
        browser.close()


class Trouble:
    """What pages complained of."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        page.on("requestfinished", self._finished)

    def _finished(self, request: Request) -> None:
        answer = request.response()
        if answer is not None and answer.status >= 500:
            self.found.append(f"{answer.status}: {request.url}")

    def _console(self, message: Any) -> None:  # noqa: ANN401 - playwright's
        if message.type in {"error", "warning"}:
            self.found.append(f"{message.type}: {message.text}")

    def expected(self, page: Page, words: str) -> None:
        """Wait for the one complaint that a page is meant to make, and forget it."""
        until = time.monotonic() + PATIENCE_MS / 1000
        while not self.found and time.monotonic() < until:
            page.wait_for_timeout(20)
        (found,) = self.found
        assert words in found
        self.found.clear()


@pytest.fixture
def trouble() -> Iterator[Trouble]:
    """Collects, and fails the test that leaves something; ``found.clear()`` for what is expected."""
    trouble = Trouble()
    yield trouble
    assert trouble.found == []


@pytest.fixture
def visit(chromium: Browser, trouble: Trouble) -> Iterator[Visit]:
    """Opens a page in a browser without a past; settings are those of a context of playwright's."""
    contexts: list[BrowserContext] = []

    def visit(url: str, **settings: Any) -> Page:  # noqa: ANN401 - playwright's
        given = {"viewport": {"width": 1280, "height": 860}, "locale": "en-GB"} | settings
        contexts.append(chromium.new_context(**given))
        contexts[-1].set_default_timeout(PATIENCE_MS)
        page = contexts[-1].new_page()
        trouble.watch(page)
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()


def link_of(serving: Serving) -> str:
    """The link that a service printed."""
    found = re.search(r"^  page +(\S+#\S+)", serving.greeting, re.MULTILINE)
    assert found, serving.greeting
    return found[1]


def log_in(page: Page, key: str = OPERATOR_KEY) -> Page:
    """Type a key into the page that asks for one."""
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_selector("main#main")
    page.wait_for_load_state()  # its program answers clicks and keys only then
    return page


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Where webhooks go; it ends before its service does, so that nothing waits for it."""
    with Endpoint() as endpoint:
        yield endpoint


def arrived(endpoint: Endpoint, count: int) -> None:
    """Wait until so many requests have come."""
    _until(lambda: len(endpoint.ids) >= count, f"{count} requests have come")


def died(serving: Serving, subscription_id: str, count: int) -> None:
    """Wait until so many deliveries to a subscription are dead letters."""
    path = f"/api/dead-letters?subscription_id={subscription_id}"
    _until(
        lambda: len(serving.call("GET", path, KEY)[1]["data"]) >= count,
        f"there are {count} dead letters",
    )


def _until(holds: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + PATIENCE_MS / 1000
    while not holds():
        assert time.monotonic() < give_up, f"not in time: {what}"
        time.sleep(0.02)


def first_organization(serving: Serving) -> str:
    """The id of the organization that the service began with."""
    status, found = serving.call("GET", "/api/admin/organizations", OPERATOR_KEY)
    assert status == 200
    organization: str = found["data"][-1]["id"]
    return organization
