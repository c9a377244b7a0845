"""Slow clients: every way of keeping the server waiting has an end, counted from the first byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Final

import pytest
from tests.conftest import Run
from tests.http.conftest import (
    BODY,
    JSON,
    Connect,
    Connection,
    assert_problem,
    chunked_event,
    event,
    impatience,
    once,
    written,
)

from triggers_api.http import body, protocol
from triggers_api.testing import Service

PATIENCE_S: Final = 0.15
SOON_S: Final = 30.0
"""What comes after the server's patience must have come by now."""


@pytest.fixture
def with_heads() -> Iterator[None]:
    """Heads are not waited for: for tests in which none is to arrive in time."""
    with impatience(head_s=PATIENCE_S):
        yield


@pytest.fixture
def with_bodies() -> Iterator[None]:
    """The same of bodies."""
    with impatience(body_s=PATIENCE_S):
        yield


def test_what_is_waited_for_has_an_end() -> None:
    assert protocol.HEAD_TIMEOUT_S <= 10
    assert body.BODY_TIMEOUT_S <= 30


async def trickle(connection: Connection, data: bytes) -> bytes:
    """Send byte by byte, each after a while, until the server hangs up; what it said."""
    ending = asyncio.create_task(connection.rest())

    async def bytes_() -> AsyncIterator[bytes]:
        for number in range(len(data)):
            yield data[number : number + 1]
        while True:
            yield b"x"

    async with asyncio.timeout(SOON_S):
        async for byte in bytes_():
            try:
                await connection.send(byte)
            except ConnectionError:
                break
            if (await asyncio.wait((ending,), timeout=PATIENCE_S / 5))[0]:
                break
        return await ending


def test_a_head_that_trickles_is_given_up(
    service: Service, run: Run, dial: Connect, added: Callable[[], int]
) -> None:
    async def main() -> None:
        with impatience(head_s=PATIENCE_S):
            said = await trickle(await dial(service), event())
        assert said.startswith(b"HTTP/1.1 408 ")
        assert (await once(service, event())).status == 202

    run(main())
    assert added() == 1


@pytest.mark.usefixtures("with_heads")
@pytest.mark.parametrize("first", [b"", b"POST", b"\r\n", b"\r\n\r\n", event()[:40]])
def test_a_connection_on_which_no_request_is_made_ends(
    service: Service, run: Run, dial: Connect, first: bytes
) -> None:
    async def main() -> None:
        connection = await dial(service)
        await connection.send(first)
        async with asyncio.timeout(SOON_S):
            assert (await connection.rest()).startswith(b"HTTP/1.1 408 ")

    run(main())


@pytest.mark.parametrize("first", [b"\r\n", b"G", b"POST /api/events HTTP/1.1\r\nA"])
def test_a_second_request_gets_no_more_time_than_the_first(
    service: Service, run: Run, dial: Connect, first: bytes
) -> None:
    async def main() -> None:
        connection = await dial(service)
        assert (await connection.ask(event())).status == 202
        with impatience(head_s=PATIENCE_S):
            await connection.send(first)
            async with asyncio.timeout(SOON_S):
                assert (await connection.rest()).startswith(b"HTTP/1.1 408 ")

    run(main())


@pytest.mark.usefixtures("with_heads")
def test_line_breaks_do_not_hold_a_connection(service: Service, run: Run, dial: Connect) -> None:
    async def main() -> None:
        said = await trickle(await dial(service), b"\r\n" * 1000)
        assert said.startswith(b"HTTP/1.1 408 ")

    run(main())


BODIES: Final = {
    "lane": event(),
    "asgi": chunked_event(),
    "subscriptions": written("POST", "/api/subscriptions", JSON, body=BODY),
    "controls": written("PATCH", "/api/organization", JSON, body=BODY),
    "an action": written("POST", "/api/deliveries/dlv_1/retry", JSON, body=b"{ }"),
    "more than the lane takes": written("POST", "/api/events", JSON, body=b" " * 100_000),
}


@pytest.mark.usefixtures("with_bodies")
@pytest.mark.parametrize("arrived", [0, 1])
@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_does_not_come_is_a_408(
    service: Service, run: Run, dial: Connect, what: str, arrived: int, added: Callable[[], int]
) -> None:
    head, end, rest = BODIES[what].partition(b"\r\n\r\n")

    async def main() -> None:
        connection = await dial(service)
        await connection.send(head + end + rest[:arrived])
        async with asyncio.timeout(SOON_S):
            answer = await connection.answer()
            assert_problem(answer, 408, "timeout")
            assert answer.headers["connection"] == "close"
            assert await connection.rest() == b""

    run(main())
    assert added() == 0


@pytest.mark.usefixtures("with_bodies")
@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_trickles_is_a_408(
    service: Service, run: Run, dial: Connect, what: str, added: Callable[[], int]
) -> None:
    head, end, rest = BODIES[what].partition(b"\r\n\r\n")

    async def main() -> None:
        connection = await dial(service)
        await connection.send(head + end)
        said = await trickle(connection, rest[:2] + b" " * 100 if what != "asgi" else b"64\r\n")
        if what == "an action":
            assert said[:12] in {b"HTTP/1.1 404", b"HTTP/1.1 400", b"HTTP/1.1 408"}
        else:
            assert said.startswith(b"HTTP/1.1 408 ")

    run(main())
    assert added() == 0


@pytest.mark.usefixtures("with_bodies")
@pytest.mark.parametrize("post", [event, chunked_event], ids=["lane", "asgi"])
def test_who_may_not_send_is_told_that_whatever_becomes_of_the_body(
    service: Service, run: Run, dial: Connect, post: type
) -> None:
    request: bytes = post(key="a-key-that-nobody-has")

    async def main() -> None:
        connection = await dial(service)
        async with asyncio.timeout(SOON_S):
            assert_problem(await connection.ask(request[:-6]), 401, "unauthorized")
            await connection.rest()

    run(main())


@pytest.mark.usefixtures("with_bodies")
@pytest.mark.parametrize(
    "head",
    [
        written("GET", "/health", "Content-Length: 10", key=None),
        written("POST", "/api/events", JSON, "Content-Length: 9999999"),
        written("POST", "/api/subscriptions", JSON, "Transfer-Encoding: chunked", key="nobody"),
    ],
    ids=["not wanted", "too large", "no key"],
)
def test_a_body_that_nobody_reads_must_end_as_well(
    service: Service, run: Run, dial: Connect, head: bytes
) -> None:
    async def main() -> None:
        connection = await dial(service)
        assert (await connection.ask(head)).status in {200, 401, 413}
        assert await trickle(connection, b"1\r\n" * 100) == b""

    run(main())


def test_two_hundred_connections_that_say_nothing_keep_nobody_waiting(
    service: Service, run: Run, dial: Connect
) -> None:
    async def main() -> None:
        with impatience(head_s=10 * PATIENCE_S):
            idle = [await dial(service) for _ in range(200)]
            # Read from now on: who is given up before saying anything is reset when saying it.
            ending = asyncio.gather(*(connection.rest() for connection in idle))
            for connection in idle:
                with suppress(ConnectionError):
                    await connection.send(b"POST /api/events HTTP/1.1\r\n")
        answers = await asyncio.gather(*(once(service, event()) for _ in range(50)))
        assert [answer.status for answer in answers] == [202] * 50
        async with asyncio.timeout(SOON_S):
            ends = await ending
        assert all(end.startswith(b"HTTP/1.1 408 ") for end in ends)

    run(main())
