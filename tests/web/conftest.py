"""A browser without eyes: it keeps cookies, says where it comes from, and follows nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import pytest
from tests.conftest import Run, new_database, on_every_engine

from triggers_api.testing import ADMIN_KEY, API_KEY, Answer, FrozenClock, Service

ABOUT_WHAT_IS_STORED: Final = {"test_isolation", "test_work_views"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] in ABOUT_WHAT_IS_STORED:
        on_every_engine(metafunc)


class Browser:
    """Somebody at the page."""

    def __init__(self, service: Service, session: aiohttp.ClientSession) -> None:
        self._service = service
        self._session = session
        self.cookies: dict[str, str] = {}
        self.csrf = ""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        form: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request."""
        sent = {"Accept": "text/html", **(headers or {})}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        data = None
        if form is not None:
            data = urlencode(form, doseq=True).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        async with self._session.request(
            method,
            self._service.url + path,
            data=data,
            headers={name: value for name, value in sent.items() if value},
            allow_redirects=False,
        ) as answer:
            for line in answer.headers.getall("set-cookie", []):
                name, _, value = line.partition(";")[0].partition("=")
                self.cookies[name] = value
                if not value:
                    del self.cookies[name]
            body = await answer.read()
            names = {name.lower(): value for name, value in answer.headers.items()}
            if found := re.search(rb'name="csrf" content="(\w+)"', body):
                self.csrf = found[1].decode()
            return Answer(answer.status, names, body)

    async def get(self, path: str, **headers: str) -> Answer:
        """Look at something; underscores in headers' names stand for dashes."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("GET", path, headers=given)

    async def post(self, path: str, **form: object) -> Answer:
        """Send a form of the page's own."""
        return await self.ask(
            "POST", path, form={"csrf": self.csrf, **form}, headers={"Origin": self._service.url}
        )

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """Look at something that goes on."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        async with self._session.get(
            self._service.url + path, headers={"Cookie": cookies}
        ) as answer:
            assert answer.status == 200
            yield answer

    async def read(self, path: str, *, until: bytes) -> str:
        """What comes of something that goes on, up to a word."""
        read = b""
        async with self.stream(path) as answer:
            while until not in read:
                part = await answer.content.readany()
                assert part, "it ended"
                read += part
        return read.decode()

    async def log_in(self, key: str) -> None:
        """Come in with a key, and look at the first page."""
        answer = await self.post("/ui/login", key=key)
        assert answer.status == 303, answer
        answer = await self.get(answer.headers["location"])
        assert answer.status == 200, answer


@asynccontextmanager
async def browsing(service: Service) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(
        trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield Browser(service, session)


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("module")


@pytest.fixture(scope="module")
def module_clock(engine: str) -> FrozenClock:
    assert engine, "each has a clock of its own"
    return FrozenClock()


@pytest.fixture(scope="module")
def service(
    run: Run,
    engine: str,
    module_folder: Path,
    module_clock: FrozenClock,
    request: pytest.FixtureRequest,
) -> Iterator[Service]:
    """One service for a whole file, with time standing still."""
    with new_database(engine, module_folder, request) as url:
        entered = Service(module_folder, database_url=url, clock=module_clock)
        run(entered.__aenter__())
        yield entered
        run(entered.__aexit__(None, None, None))


@pytest.fixture
def clock(module_clock: FrozenClock) -> FrozenClock:
    return module_clock


@pytest.fixture
def browser(run: Run, service: Service) -> Iterator[Browser]:
    """Somebody without a session."""
    yield from _browser(run, service)


@pytest.fixture
def operator(run: Run, service: Service) -> Iterator[Browser]:
    """Somebody with the operator's key."""
    for browser in _browser(run, service):
        run(browser.log_in(ADMIN_KEY))
        yield browser


@pytest.fixture
def member(run: Run, service: Service) -> Iterator[Browser]:
    """Somebody with the first organization's key."""
    for browser in _browser(run, service):
        run(browser.log_in(API_KEY))
        yield browser


@pytest.fixture
def new_browser(run: Run, service: Service) -> Iterator[Callable[[], Browser]]:
    """Makes more of them."""
    made: list[Iterator[Browser]] = []

    def new_browser() -> Browser:
        made.append(_browser(run, service))
        return next(made[-1])

    yield new_browser
    for each in made:
        next(each, None)


def _browser(run: Run, service: Service) -> Iterator[Browser]:
    entered = browsing(service)
    yield run(entered.__aenter__())
    run(entered.__aexit__(None, None, None))
