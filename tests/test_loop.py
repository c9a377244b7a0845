"""The loop that tests have from ``tests/conftest.py``."""

from __future__ import annotations

import asyncio

import pytest
from tests.conftest import loop_of_production


@pytest.mark.timeout(30)
def test_a_connection_that_is_left_open_fails_the_test_that_left_it_and_hangs_nothing() -> None:
    """A loop closed with warnings as errors would wait for the connection to end."""

    async def connect() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())

    with pytest.raises(AssertionError, match="unclosed resource <TCPTransport"):  # noqa: SIM117
        with loop_of_production() as runner:
            runner.run(connect())
