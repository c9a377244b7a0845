"""The proxy does to connections what a test tells it to, shown with a server that echoes."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest
from tests.conftest import Run, loop_of_production
from tests.servers.proxy import Proxy

HANGS_S = 0.05
"""How long nothing must come before it counts as nothing."""

PATIENCE_S = 30.0


class Echo:
    """Sends back what it gets, and remembers it."""

    def __init__(self) -> None:
        self.got = b""
        self.ended = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(1 << 16):
                self.got += piece
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()
        self.ended.set()


@asynccontextmanager
async def echo_behind_proxy() -> AsyncIterator[tuple[Echo, Proxy]]:
    echo = Echo()
    server = await asyncio.start_server(echo.answer, "127.0.0.1", 0)
    async with server, Proxy(*server.sockets[0].getsockname()) as proxy:
        yield echo, proxy


class Client:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def ask(self, data: bytes) -> bytes:
        await self.send(data)
        return await self.read(len(data))

    async def read(self, size: int) -> bytes:
        return await asyncio.wait_for(self._reader.readexactly(size), PATIENCE_S)

    async def end(self) -> None:
        """Say that nothing more comes, and wait for the same."""
        self._writer.write_eof()
        assert await asyncio.wait_for(self._reader.read(), PATIENCE_S) == b""

    async def hears_nothing(self) -> bool:
        try:
            await asyncio.wait_for(self._reader.read(1), HANGS_S)
        except TimeoutError:
            return True
        return False

    async def is_reset(self) -> bool:
        try:
            while await asyncio.wait_for(self._reader.read(1), PATIENCE_S):
                pass
        except ConnectionResetError:
            return True
        return False

    async def has_ended(self) -> bool:
        """Whether the connection ends, in whatever way."""
        return await self.is_reset() or self._reader.at_eof()

    def drop(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def client_of(proxy: Proxy) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    try:
        yield client
    finally:
        client.drop()


Story = Callable[[Echo, Proxy], Coroutine[None, None, None]]


@pytest.fixture
def tell(run: Run) -> Callable[[Story], None]:
    async def told(story: Story) -> None:
        async with echo_behind_proxy() as (echo, proxy):
            await story(echo, proxy)

    return lambda story: run(told(story))


def test_bytes_and_ends_are_passed_on_both_ways(tell: Callable[[Story], None]) -> None:
    async def story(echo: Echo, proxy: Proxy) -> None:
        large = bytes(range(256)) * 10_000
        async with client_of(proxy) as client:
            answer = asyncio.ensure_future(client.read(len(large)))
            await client.send(large)
            assert await answer == large
            await client.end()
        await echo.ended.wait()
        assert echo.got == large
        assert proxy.accepted == 1

    tell(story)


def test_what_is_delayed_comes_late_and_in_order(tell: Callable[[Story], None]) -> None:
    async def story(echo: Echo, proxy: Proxy) -> None:
        async with client_of(proxy) as client:
            time = asyncio.get_running_loop().time
            proxy.delay(2 * HANGS_S)
            began = time()
            await client.send(b"one")
            assert await client.read(3) == b"one"
            assert time() - began > HANGS_S
            assert echo.got == b"one"
            proxy.pass_on()
            assert await client.ask(b"two") == b"two"

    tell(story)


def test_nobody_gets_in_while_it_is_down_and_who_was_in_is_out(
    tell: Callable[[Story], None],
) -> None:
    async def story(echo: Echo, proxy: Proxy) -> None:
        async with client_of(proxy) as client:
            assert await client.ask(b"x") == b"x"
            await proxy.down()
            assert await client.has_ended()
        await echo.ended.wait()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.up()
        async with client_of(proxy) as client:
            assert await client.ask(b"y") == b"y"

    tell(story)


def test_who_has_just_been_let_in_is_out_when_it_goes_down(tell: Callable[[Story], None]) -> None:
    async def story(echo: Echo, proxy: Proxy) -> None:
        with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
            await asyncio.sleep(0)  # it is taken, and nobody has looked at it
            await proxy.down()
            connection.setblocking(False)
            client = Client(*await asyncio.open_connection(sock=connection))
            assert await client.has_ended()
            assert echo.got == b""
            client.drop()

    tell(story)


async def goes_down_while_somebody_comes() -> None:
    """After each number of turns; the server behind it never looks who is there."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = Proxy(*silent.getsockname())
        for turns in range(6):
            await proxy.up()
            with socket.create_connection(("127.0.0.1", proxy.port)):
                for _ in range(turns):
                    await asyncio.sleep(0)
                await asyncio.wait_for(proxy.down(), PATIENCE_S)


def test_nothing_of_who_comes_while_it_goes_down_is_left_to_the_collector() -> None:
    """Also in the usual loop, whose own server leaves the transport of who comes while it closes."""
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        asyncio.run(goes_down_while_somebody_comes())
        gc.collect()
    assert [str(each.message) for each in left] == []


def test_who_is_being_connected_when_it_goes_down_is_out_although_the_server_says_nothing(
    run: Run,
) -> None:
    run(goes_down_while_somebody_comes())


def test_who_comes_in_at_the_very_end_is_not_left_open() -> None:
    async def story(target: tuple[str, int], turns: int) -> socket.socket:
        async with Proxy(*target) as proxy:
            connection = socket.create_connection(("127.0.0.1", proxy.port))
            for _ in range(turns):
                await asyncio.sleep(0)
            return connection

    with socket.create_server(("127.0.0.1", 0)) as silent:
        for turns in range(6):
            with loop_of_production() as runner:
                runner.run(story(silent.getsockname(), turns)).close()


def test_connections_old_and_new_are_reset(tell: Callable[[Story], None]) -> None:
    async def story(_: Echo, proxy: Proxy) -> None:
        async with client_of(proxy) as old:
            assert await old.ask(b"x") == b"x"
            proxy.reset()
            assert await old.is_reset()
        async with client_of(proxy) as new:
            assert await new.is_reset()
        proxy.pass_on()
        async with client_of(proxy) as client:
            assert await client.ask(b"y") == b"y"

    tell(story)


def test_a_black_hole_takes_everything_and_answers_nothing(tell: Callable[[Story], None]) -> None:
    async def story(echo: Echo, proxy: Proxy) -> None:
        async with client_of(proxy) as old:
            assert await old.ask(b"x") == b"x"
            proxy.swallow()
            await old.send(b"lost")
            async with client_of(proxy) as new:
                await new.send(b"lost too")
                await proxy.has_swallowed(2)
                assert await new.hears_nothing()
                assert await old.hears_nothing()
                assert echo.got == b"x"
                assert not echo.ended.is_set()
                proxy.pass_on()
                assert await old.is_reset()
                assert await new.is_reset()
        async with client_of(proxy) as client:
            assert await client.ask(b"y") == b"y"

    tell(story)


def test_the_end_of_a_connection_is_swallowed_too(tell: Callable[[Story], None]) -> None:
    async def story(echo: Echo, proxy: Proxy) -> None:
        async with client_of(proxy) as client:
            assert await client.ask(b"x") == b"x"
            proxy.swallow()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(echo.ended.wait(), HANGS_S)

    tell(story)


def test_a_connection_is_cut_when_the_server_has_the_bytes_and_the_client_no_answer(
    tell: Callable[[Story], None],
) -> None:
    async def story(echo: Echo, proxy: Proxy) -> None:
        async with client_of(proxy) as client, client_of(proxy) as other:
            cut = proxy.cut_after(b"COMMIT")
            assert await client.ask(b"BEGIN;") == b"BEGIN;"
            await client.send(b"COMMIT;")
            assert await client.is_reset()
            await cut.wait()
            assert echo.got == b"BEGIN;COMMIT;"
            assert await other.ask(b"COMMIT;") == b"COMMIT;", "one connection is cut, once"

    tell(story)


def test_a_cut_is_found_where_pieces_meet_and_only_in_its_order(
    tell: Callable[[Story], None],
) -> None:
    async def story(echo: Echo, proxy: Proxy) -> None:
        async with client_of(proxy) as client:
            cut = proxy.cut_after(b"first", b"SYNC")
            for piece in (b"SYNC", b"fir", b"st", b"SY"):
                assert await client.ask(piece) == piece
            assert not cut.made.is_set()
            await client.send(b"NC")
            assert await client.is_reset()
            await cut.wait()
            assert echo.got == b"SYNCfirstSYNC"

    tell(story)


def test_each_connection_is_watched_for_itself(tell: Callable[[Story], None]) -> None:
    async def story(_: Echo, proxy: Proxy) -> None:
        async with client_of(proxy) as one, client_of(proxy) as other:
            cut = proxy.cut_after(b"ab")
            assert await one.ask(b"a") == b"a"
            assert await other.ask(b"b") == b"b"
            assert not cut.made.is_set()

    tell(story)


def test_an_answer_is_withheld_and_the_connection_cut(tell: Callable[[Story], None]) -> None:
    async def story(echo: Echo, proxy: Proxy) -> None:
        async with client_of(proxy) as client:
            cut = proxy.cut_after(b"DONE", side="server")
            await client.send(b"DONE")
            assert await client.is_reset()
            await cut.wait()
            assert echo.got == b"DONE"

    tell(story)


def test_a_connection_is_reset_when_nobody_is_behind_the_proxy(run: Run) -> None:
    async def story() -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))  # and does not listen
            async with Proxy(*silent.getsockname()) as proxy, client_of(proxy) as client:
                assert await client.is_reset()

    run(story())


def test_the_url_of_a_database_leads_through_the_proxy(tell: Callable[[Story], None]) -> None:
    async def story(_: Echo, proxy: Proxy) -> None:
        direct = "postgresql://user:pass@127.0.0.1:5432/name?sslmode=disable"
        through = f"postgresql://user:pass@127.0.0.1:{proxy.port}/name?sslmode=disable"
        assert proxy.url(direct) == through

    tell(story)
