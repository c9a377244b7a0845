"""One set of questions for both clients: the asynchronous one is driven as if it blocked."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final, NamedTuple, Self, cast

import pytest
from tests.conftest import new_database

from triggers_api.client import AsyncClient, Client
from triggers_api.testing import LocalReceiver, LocalService

PATIENCE_S: Final = 30.0

ABOUT_WHAT_IS_STORED: Final = {"test_everyday", "test_inbox"}
KINDS: Final = (("postgres", "blocking"), ("sqlite", "blocking"), ("sqlite", "async"))
"""Where the one works, and the other on one engine, the other works on both: it asks the same."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    asks_both = {"engine", "connect"} <= {*metafunc.fixturenames}
    if asks_both and metafunc.module.__name__.rpartition(".")[2] in ABOUT_WHAT_IS_STORED:
        metafunc.parametrize(("engine", "connect"), KINDS, indirect=True, scope="module")
    elif "connect" in metafunc.fixturenames:
        metafunc.parametrize("connect", ["blocking", "async"], indirect=True)


class Loop:
    """Where asynchronous things happen, and what is to be closed there with it."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.opened: list[Any] = []

    def run(self, awaited: Any) -> Any:  # noqa: ANN401 - of anything
        async def after_a_look() -> Any:  # noqa: ANN401
            # First what has happened to connections while this loop stood still, as in one that runs.
            await asyncio.sleep(0)
            return await awaited

        return self._runner.run(asyncio.wait_for(after_a_look(), PATIENCE_S))

    def close(self) -> None:
        for each in self.opened:
            self._runner.run(each.aclose())


class Driven:
    """Something asynchronous that is used as if it blocked."""

    def __init__(self, loop: Loop, thing: Any) -> None:  # noqa: ANN401 - anything
        self._loop = loop
        self._thing = thing

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the thing's
        found = getattr(self._thing, name)
        if callable(found):
            return lambda *arguments, **named: self._settled(found(*arguments, **named))
        return self._settled(found)

    def _settled(self, found: Any) -> Any:  # noqa: ANN401
        if inspect.iscoroutine(found):
            return self._settled(self._loop.run(found))
        ours = type(found).__module__.startswith("triggers_api.client.aio")
        if ours or isinstance(found, AsyncIterator):
            return Driven(self._loop, found)
        return found

    def __iter__(self) -> Iterator[Any]:
        each = aiter(self._thing)
        self._loop.opened.append(each)
        while True:
            try:
                yield self._settled(self._loop.run(anext(each)))
            except StopAsyncIteration:
                return

    def __enter__(self) -> Self:
        self._settled(self._thing.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self._settled(self._thing.__aexit__(*error))


Connect = Callable[..., Client]


@pytest.fixture(scope="module")
def service(
    engine: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[LocalService]:
    """The service, with time standing still; each test has an organization of its own in it."""
    folder = tmp_path_factory.mktemp(engine)
    with (
        new_database(engine, folder, request) as url,
        LocalService(folder, database_url=url) as service,
    ):
        yield service


class Tenant(NamedTuple):
    """An organization and its key."""

    id: str
    key: str


@pytest.fixture
def tenant(service: LocalService) -> Tenant:
    """The organization of a test."""
    made = service.call(
        "POST", "/api/admin/organizations", {"name": "ours"}, key=service.admin_key
    ).json
    return Tenant(made["id"], made["api_key"])


@pytest.fixture
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients of one kind; they are closed with the test."""
    with ExitStack() as stack:
        if request.param == "blocking":
            yield lambda url, key, **options: stack.enter_context(Client(url, key, **options))
            return
        loop = Loop(stack.enter_context(asyncio.Runner()))

        def made(url: str, key: str, **options: Any) -> Client:  # noqa: ANN401
            client = Driven(loop, AsyncClient(url, key, **options))
            return cast("Client", stack.enter_context(client))

        stack.callback(loop.close)
        yield made


@pytest.fixture
def client(service: LocalService, tenant: Tenant, connect: Connect) -> Client:
    """A client of the service."""
    return connect(service.url, tenant.key)


@pytest.fixture
def script(service: LocalService) -> LocalReceiver:
    """A server that answers what it is told to, whatever it is asked."""
    return service.receiver()
