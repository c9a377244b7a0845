"""What the tests of the running service share: a loop, the service, a receiver, and its log."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import warnings
from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import pytest
import structlog
import uvloop
from hypothesis import HealthCheck, settings
from tests.buffered import (
    ABOUT_NO_REDIS,
    READ_THEIR_OWN_WRITES,
    READ_WHAT_THEIR_MODULE_WROTE,
    land_at_once,
)
from tests.servers.postgres import GIVEN, Postgres, PostgresServer, given_server
from tests.servers.redis import PROGRAMS, RedisServer, program

from triggers_api.redis.client import Redis
from triggers_api.testing import ADMIN_KEY, FrozenClock, Receiver, Service

# Here, because tests of other folders use them too: once imported they are not rewritten.
pytest.register_assert_rewrite(
    *(f"tests.faults.{name}" for name in ("invariants", "rig", "scenarios", "server", "states"))
)

# Whoever begins the tests in a shell's background has interrupts ignored, by all that they start too:
# what is interrupted in a test would go on.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PATIENCE_S: Final = 60.0
"""Real seconds that anything awaited gets before it counts as hanging."""

ENDS_WHAT_TAKES_LONG: Final = (
    "http.filters._LONGEST_S", "http.inbox._LATE_S", "http.inbox._LOOK_FOR_S",
    "operate.jobs._COUNTING_S", "operate.jobs._JUDGING_S", "operate.monitor._COUNT_AWAITED_S",
    "operate.monitor._COUNT_PATIENCE_S",
)  # fmt: skip
"""Real seconds, fractions of one, after which the product is content with what it has by then."""

REFUSES_WHAT_STALLS: Final = (
    "ingest.buffer_redis.producer._STALLED_AFTER_S", "redis.client._CONNECT_WITHIN_S",
    "store.postgres.writer._STALLED_AFTER_S", "store.sqlite.writer._STALLED_AFTER_S",
)  # fmt: skip
"""Real seconds after which events are refused because nothing gets on."""

STALLS_NEVER: Final = {"client", "deliver", "http", "operate", "process", "scenario", "web"}
"""Folders of tests that ask nothing of a store or a Redis that stalls."""


class Run(Protocol):
    """Runs a coroutine to its end in the loop of the test; what runs beside it stands still after."""

    def __call__(self, main: Coroutine[Any, Any, T], /, *, within_s: float = PATIENCE_S) -> T: ...


class MakeService(Protocol):
    """A service that is not entered yet; each one of a test is on the same database."""

    def __call__(self, **settings: Any) -> Service: ...  # noqa: ANN401 - of Service


class Enter(Protocol):
    """Enters a service or a receiver for the rest of the test."""

    def __call__(self, entered: AbstractAsyncContextManager[T], /) -> T: ...


ENGINES: Final = ("postgres", "sqlite")

BUFFERED: Final = "buffered"
"""PostgreSQL with Redis before it: for tests of what the whole service does."""

Log = list[MutableMapping[str, Any]]


def pytest_xdist_auto_num_workers() -> int:
    """How many processes the tests are divided over: most of them wait more than they compute."""
    return min(8, 2 * (os.cpu_count() or 1))


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """The loop that the service has in production."""
    with loop_of_production() as runner:

        def run(main: Coroutine[Any, Any, T], /, *, within_s: float = PATIENCE_S) -> T:
            return runner.run(asyncio.wait_for(main, within_s))

        yield run


@contextmanager
def loop_of_production() -> Iterator[asyncio.Runner]:
    """At the end nothing may be left open in it.

    uvloop closes what is left, and warns of it. Where a warning is an error it does not get to that
    and waits for ever for what is left to end: so here warnings are errors afterwards.
    """
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        yield runner
    finally:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            runner.close()
        assert not told, [str(each.message) for each in told]


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that services store in: one, unless a folder's conftest asks for each."""
    name: str = getattr(request, "param", "sqlite")
    return name


def on_every_engine(metafunc: pytest.Metafunc, *, buffered: bool | None = False) -> None:
    """For ``pytest_generate_tests``: run a test once with each engine, or those it is marked with.

    Once more with the ingest buffer before PostgreSQL: with the long tests, unless ``buffered``; with
    ``None`` not at all.
    """
    if "engine" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker("engines")
        engines = ENGINES if marked is None else marked.args
        about_no_redis = metafunc.function.__name__ in ABOUT_NO_REDIS
        if "postgres" in engines and buffered is not None and not about_no_redis:
            marks = () if buffered else pytest.mark.faults
            engines = (*engines, pytest.param(BUFFERED, marks=marks))
        metafunc.parametrize("engine", engines, indirect=True, scope="module")


@contextmanager
def new_database(engine: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database that nobody has used yet, until it is dropped."""
    if engine == "sqlite":
        yield f"sqlite:///{folder / 'triggers.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.migrated_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def database_url(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The database of a test."""
    with new_database(engine, tmp_path, request) as url:
        yield url


def buffer_settings(engine: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What puts a buffer of its own before a service's database, where there is to be one."""
    if engine != BUFFERED:
        return {}
    server: RedisServer = request.getfixturevalue("redis")
    return {
        "ingest_buffer": "redis",
        "redis_url": server.url(),
        "redis_prefix": f"test-{secrets.token_hex(8)}",
    }


@pytest.fixture
def make_service(
    tmp_path: Path, engine: str, database_url: str, request: pytest.FixtureRequest
) -> MakeService:
    buffer = buffer_settings(engine, request)
    return lambda **settings: Service(
        tmp_path, **{"database_url": database_url, **buffer, **settings}
    )


@pytest.fixture
def enter(
    run: Run,
    database_url: str,  # noqa: ARG001 - a database is dropped when its services have ended
) -> Iterator[Enter]:
    with ExitStack() as stack:

        def enter(entered: AbstractAsyncContextManager[T], /) -> T:
            inside = run(entered.__aenter__())
            stack.callback(lambda: run(_leave(entered)))
            return inside

        yield enter


async def _leave(entered: AbstractAsyncContextManager[object]) -> None:
    await entered.__aexit__(None, None, None)


@pytest.fixture
def leave(run: Run) -> Callable[[AbstractAsyncContextManager[object]], None]:
    """Ends a service before the test does; leaving it once more is harmless."""
    return lambda entered: run(_leave(entered))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL that the whole run shares, each test with a database of its own."""
    given = os.environ.get(GIVEN)
    with PostgresServer(in_memory=True) if given is None else given_server(given) as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that the test may stop, kill and start."""
    if GIVEN in os.environ:
        pytest.skip(f"{GIVEN} is set: the server that it names is not ours to stop and kill")
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """The Redis that the whole run shares: what a test leaves there, the next one does not look at."""
    with RedisServer(in_memory=True) as server:
        yield server


@pytest.fixture(params=PROGRAMS)
def own_redis(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A Redis that the test may stop, kill and start: Valkey's, and Redis' own where that is there."""
    if program(request.param) is None:
        pytest.skip("redis-server is not on the PATH")
    with RedisServer(request.param) as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def landed_at_once_in_a_module(request: pytest.FixtureRequest) -> Iterator[None]:
    """The same for modules that prepare something for all of their tests."""
    with pytest.MonkeyPatch.context() as patched:
        if request.module.__name__.rpartition(".")[2] in READ_WHAT_THEIR_MODULE_WROTE:
            land_at_once(patched)
        yield


@pytest.fixture(autouse=True)
def landed_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the buffer: events land before they are answered for, for those tests that need it."""
    callspec = getattr(request.node, "callspec", None)
    buffered = callspec is not None and callspec.params.get("engine") == BUFFERED
    if buffered:
        wait_for_redis(monkeypatch)
    if buffered and request.node.originalname in READ_THEIR_OWN_WRITES:
        land_at_once(monkeypatch)


def wait_for_redis(monkeypatch: pytest.MonkeyPatch, *, answer_s: float = 20.0) -> None:
    """Redis is on this machine: that it is slow, or its disk, says that much is going on."""
    monkeypatch.setattr("triggers_api.redis.client._CONNECT_WITHIN_S", 10.0)
    # What an argument is by default was decided when the function was made.
    defaults = Redis.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "answer_within_s", answer_s)


@pytest.fixture(scope="module", autouse=True)
def depths_are_counted() -> Iterator[None]:
    """A turn of the monitor by hand ends with the depths, also where this process is held up."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("triggers_api.operate.monitor._COUNT_AWAITED_S", PATIENCE_S)
        yield


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def service(enter: Enter, make_service: MakeService, clock: FrozenClock) -> Service:
    """The service with time standing still; `drain` does what is due."""
    return enter(make_service(clock=clock))


@pytest.fixture(autouse=True)
def what_is_begun_is_finished(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where time stands still, it does: a machine that has other things to do cuts no answer short."""
    with pytest.MonkeyPatch.context() as patched:
        if {"clock", "module_clock"} & set(request.fixturenames):
            for name in ENDS_WHAT_TAKES_LONG:
                patched.setattr(f"triggers_api.{name}", PATIENCE_S)
        yield


@pytest.fixture(scope="module", autouse=True)
def what_is_sent_is_taken(request: pytest.FixtureRequest) -> Iterator[None]:
    """However slow the disk is: nobody is refused for it who asks about something else."""
    with pytest.MonkeyPatch.context() as patched:
        if request.path.parent.name in STALLS_NEVER:
            for name in REFUSES_WHAT_STALLS:
                patched.setattr(f"triggers_api.{name}", PATIENCE_S)
        yield


@pytest.fixture
def fresh_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are made each time they are asked for."""
    for name in ("sqlite", "postgres"):
        monkeypatch.setattr(f"triggers_api.store.{name}.store._STATS_KEPT_S", -1)


@pytest.fixture
def receiver(enter: Enter) -> Receiver:
    return enter(Receiver())


@pytest.fixture
def log() -> Iterator[Log]:
    """Every line that is logged from here on."""
    with structlog.testing.capture_logs() as lines:
        yield lines


async def new_organization(service: Service, **fields: Any) -> tuple[str, str]:  # noqa: ANN401 - JSON
    """The id and the key of another tenant."""
    answer = await service.call(
        "POST", "/api/admin/organizations", {"name": "another", **fields}, key=ADMIN_KEY
    )
    assert answer.status == 201, answer
    return answer.json["id"], answer.json["api_key"]


async def own_organization(service: Service) -> str:
    """The id of the tenant that the service began with."""
    answer = await service.call("GET", "/api/organization")
    organization_id: str = answer.json["id"]
    return organization_id


async def new_key(
    service: Service,
    organization_id: str,
    **fields: Any,  # noqa: ANN401 - JSON
) -> dict[str, Any]:
    """Another key of a tenant."""
    answer = await service.call(
        "POST",
        f"/api/admin/organizations/{organization_id}/keys",
        {"name": "another", **fields},
        key=ADMIN_KEY,
    )
    assert answer.status == 201, answer
    created: dict[str, Any] = answer.json
    return created


async def turn(service: Service, **switches: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """The switches after turning some."""
    answer = await service.call("PATCH", "/api/admin/controls", switches, key=ADMIN_KEY)
    assert answer.status == 200, answer
    controls: dict[str, Any] = answer.json
    return controls
