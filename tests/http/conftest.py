"""Requests as bytes on a socket, where an HTTP client would tidy them up.

Most files ask what HTTP does, which no engine changes; those that ask what was stored run on each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from tests.conftest import Run, buffer_settings, new_database, on_every_engine

from triggers_api.testing import ADMIN_KEY, API_KEY, Answer, FrozenClock, Service

BODY: Final = b'{"type":"order.created","payload":{"id":42}}'
JSON: Final = "Content-Type: application/json"
ANSWER_WITHIN_S: Final = 30.0


ABOUT_WHAT_IS_STORED: Final = {
    "test_admin", "test_audit", "test_batch", "test_controls", "test_deliveries", "test_events",
    "test_hooks",
    "test_ingest", "test_every_route", "test_inbox", "test_isolation", "test_jobs", "test_keys",
    "test_lists",
    "test_queues", "test_search", "test_statistics", "test_stream",
    "test_subscription_work",
}  # fmt: skip

ABOUT_INGEST: Final = {"test_batch", "test_events", "test_ingest"}
"""With the ingest buffer in every run; the others with the long tests."""

ABOUT_THE_DATABASES_QUEUES: Final = {"test_queues"}
"""Of what waits in a buffer they know nothing."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = metafunc.module.__name__.rpartition(".")[2]
    if name in ABOUT_WHAT_IS_STORED:
        buffered = None if name in ABOUT_THE_DATABASES_QUEUES else name in ABOUT_INGEST
        on_every_engine(metafunc, buffered=buffered)


def written(
    method: str,
    target: str,
    *headers: str,
    body: bytes | None = None,
    key: str | None = API_KEY,
    version: str = "1.1",
) -> bytes:
    """A request as it goes over the wire; a body brings its length with it."""
    lines = [f"{method} {target} HTTP/{version}", "Host: triggers.test"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    lines += headers
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def event(*headers: str, body: bytes = BODY, **request: Any) -> bytes:  # noqa: ANN401 - see written
    """A plain ``POST /api/events``: the server's own lane takes it."""
    return written("POST", "/api/events", JSON, *headers, body=body, **request)


def chunked(*pieces: bytes) -> bytes:
    """A body in chunks, with its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def chunked_event(*headers: str, body: bytes = BODY, **request: Any) -> bytes:  # noqa: ANN401
    """The same through ASGI: a body without a length is not for the lane."""
    head = written("POST", "/api/events", JSON, "Transfer-Encoding: chunked", *headers, **request)
    return head + (chunked(body) if body else chunked())


class Connection:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Write, and see it off."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()

    async def answer(self, *, bodiless: bool = False) -> Answer:
        """The next answer; ``bodiless`` for the one to HEAD."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head.rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
            version, status, _ = status_line.split(" ", 2)
            assert version == "HTTP/1.1", status_line
            if bodiless or status in {"100", "204"}:
                body = b""
            elif headers.get("transfer-encoding") == "chunked":
                body = await self._chunks()
            else:
                body = await self._reader.readexactly(int(headers["content-length"]))
            return Answer(int(status), headers, body)

    async def ask(self, *pieces: bytes) -> Answer:
        """Write, and take the answer."""
        await self.send(*pieces)
        return await self.answer()

    async def rest(self) -> bytes:
        """What comes until the server hangs up."""
        parts = []
        async with asyncio.timeout(ANSWER_WITHIN_S):
            with suppress(ConnectionError):
                while part := await self._reader.read(65536):
                    parts.append(part)
        return b"".join(parts)

    async def hang_up(self) -> None:
        """End the connection, rudely."""
        self._writer.transport.abort()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _chunks(self) -> bytes:
        parts = []
        while size := int(await self._reader.readline(), 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return b"".join(parts)


async def connect(service: Service) -> Connection:
    """A new connection to a service."""
    port = urlsplit(service.url).port
    return Connection(*await asyncio.open_connection("127.0.0.1", port))


@contextmanager
def impatience(*, head_s: float | None = None, body_s: float | None = None) -> Iterator[None]:
    """Meanwhile a head or a body that begins to come is waited for only so long.

    In that time the machine may have other things to do: who is to be served comes in before or after.
    """
    with pytest.MonkeyPatch.context() as patched:
        if head_s is not None:
            patched.setattr("triggers_api.http.protocol.HEAD_TIMEOUT_S", head_s)
        if body_s is not None:
            patched.setattr("triggers_api.http.protocol.BODY_TIMEOUT_S", body_s)
            patched.setattr("triggers_api.http.body.BODY_TIMEOUT_S", body_s)
        yield


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("module")


@pytest.fixture(scope="module")
def module_database(
    engine: str, module_folder: Path, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The database of a whole file."""
    with new_database(engine, module_folder, request) as url:
        yield url


@pytest.fixture(scope="module")
def module_clock(engine: str) -> FrozenClock:
    assert engine, "each has a clock of its own"
    return FrozenClock()


@pytest.fixture(scope="module")
def service(
    run: Run,
    engine: str,
    module_folder: Path,
    module_database: str,
    module_clock: FrozenClock,
    request: pytest.FixtureRequest,
) -> Iterator[Service]:
    """One service for a whole file, with time standing still; tests look at what they add."""
    entered = Service(
        module_folder,
        database_url=module_database,
        clock=module_clock,
        **buffer_settings(engine, request),
    )
    run(entered.__aenter__())
    yield entered
    run(entered.__aexit__(None, None, None))


@pytest.fixture
def added(service: Service, run: Run) -> Callable[[], int]:
    """How many events were accepted since the test began."""
    before = run(stored(service))
    return lambda: run(stored(service)) - before


Connect = Callable[[Service], Coroutine[Any, Any, Connection]]


@pytest.fixture
def dial(run: Run) -> Iterator[Connect]:
    """Makes connections that end with the test."""
    made: list[Connection] = []

    async def dial(service: Service) -> Connection:
        made.append(await connect(service))
        return made[-1]

    yield dial
    for connection in made:
        run(connection.hang_up())


async def once(service: Service, request: bytes) -> Answer:
    """One request on a connection of its own."""
    connection = await connect(service)
    try:
        return await connection.ask(request)
    finally:
        await connection.hang_up()


async def stored(service: Service) -> int:
    """How many events were accepted, by books that balance. What waits in Redis lands first."""
    if service.app.buffer is not None:
        consumer = service.app.buffer.consumer
        await consumer.run_once()
        while consumer.landed:
            await consumer.run_once()
    answer = await service.call("GET", "/api/admin/verify", key=ADMIN_KEY)
    assert answer.status == 200
    assert answer.json["ok"]
    return sum(account["accepted"] for account in answer.json["organizations"])


PROBLEM_MEMBERS: Final = {"type", "title", "status", "detail", "code", "request_id", "retryable"}


def assert_problem(answer: Answer, status: int, code: str) -> None:
    """A refusal in the one shape that the contract knows."""
    assert (answer.status, answer.headers.get("content-type")) == (
        status,
        "application/problem+json",
    ), answer
    problem = answer.json
    assert (problem["code"], problem["status"]) == (code, status), problem
    assert problem["type"] == f"/docs/problems#{code}"
    assert set(problem) in (PROBLEM_MEMBERS, PROBLEM_MEMBERS | {"errors"})
    assert isinstance(problem["title"], str)
    assert isinstance(problem["detail"], str)
    assert problem["detail"]
    assert problem["retryable"] is (status in {408, 429, 503})
    for error in problem.get("errors", ()):
        assert set(error) - {"position"} == {"pointer", "code", "message"}
        assert all(isinstance(error[name], str) for name in ("pointer", "code", "message"))
    assert_stamped(answer)
    assert answer.headers["x-request-id"] == problem["request_id"]
    assert ("retry-after" in answer.headers) is (status in {429, 503})
    if status in {429, 503}:
        assert int(answer.headers["retry-after"]) >= 1
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"


def assert_stamped(answer: Answer) -> None:
    """What every answer carries."""
    assert answer.headers["x-request-id"]
    assert answer.headers["cache-control"] == "no-store"
