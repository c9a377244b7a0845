"""One connection, over which everybody asks at once: answers come in the order of the questions.

Whoever stops waiting for an answer does not disturb the others. It comes, and is dropped.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from hiredis import HiredisError, Reader, pack_command

from triggers_api.redis.address import RedisAddress

# What it is annotated with is a tuple of one.
_packed: Callable[[tuple[str | bytes | int | float, ...]], bytes] = cast("Any", pack_command)

Value = str | bytes | int | float
Command = Sequence[Value]


class RefusedByRedis(Exception):
    """The server's own words about a command that it did not run."""

    @property
    def code(self) -> str:
        """The first word, such as ``OOM`` or ``NOSCRIPT``."""
        return str(self).partition(" ")[0]


class Lost(Exception):
    """The connection is gone; what had been asked over it may have been done or not."""


class _Question:
    __slots__ = ("answers", "future", "missing")

    def __init__(self, count: int, future: "asyncio.Future[list[Any]]") -> None:
        self.missing = count
        self.answers: list[Any] = []
        self.future = future


class Connection(asyncio.Protocol):
    """See the module."""

    def __init__(self) -> None:
        """Use :func:`connect`."""
        self._reader = Reader(replyError=RefusedByRedis)
        self._questions: deque[_Question] = deque()
        self._transport: asyncio.Transport | None = None
        self._gone: str | None = None
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()

    @property
    def is_open(self) -> bool:
        """Whether something may be asked."""
        return self._gone is None and self._transport is not None

    def ask(self, commands: Sequence[Command]) -> "asyncio.Future[list[Any]]":
        """Send commands, one after the other; the future has an answer for each.

        What the server refuses is answered with a :class:`RefusedByRedis`. The future raises
        :class:`Lost` when the connection breaks.
        """
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self._gone is not None or self._transport is None:
            future.set_exception(Lost(self._gone or "not connected"))
            future.exception()
            return future
        packed = [_packed(tuple(command)) for command in commands]
        self._questions.append(_Question(len(packed), future))
        self._transport.write(packed[0] if len(packed) == 1 else b"".join(packed))
        return future

    def abandon(self, why: str) -> None:
        """End it at once; whoever waits for an answer is told that it is lost."""
        self._end(why)
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """End it, and wait until nothing of it is left."""
        self.abandon("closed")
        if self._transport is not None:
            await asyncio.wait((self._ended,))

    # What the loop calls (asyncio.Protocol).

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while self._questions:
                answer = self._reader.gets()
                if answer is False:
                    break
                question = self._questions[0]
                question.answers.append(answer)
                question.missing -= 1
                if not question.missing:
                    self._questions.popleft()
                    if not question.future.done():  # whoever asked has gone away
                        question.future.set_result(question.answers)
        except HiredisError as error:
            self.abandon(f"not the language of Redis: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("closed by the other side" if exc is None else str(exc) or type(exc).__name__)
        if not self._ended.done():
            self._ended.set_result(None)

    def _end(self, why: str) -> None:
        if self._gone is None:
            self._gone = why
        while self._questions:
            future = self._questions.popleft().future
            if not future.done():
                future.set_exception(Lost(self._gone))
                future.exception()  # nobody may be waiting any more


async def connect(address: RedisAddress) -> Connection:
    """A connection that is ready to be asked.

    Raises:
        OSError: nobody is there.
        Lost: somebody was, and hung up.
        RefusedByRedis: the password is wrong, or the server has no such database.
    """
    loop = asyncio.get_running_loop()
    connection: Connection
    if address.path is not None:
        _, connection = await loop.create_unix_connection(Connection, address.path)
    else:
        assert address.host is not None
        _, connection = await loop.create_connection(
            Connection, address.host, address.port, ssl=address.tls
        )
    try:
        await _greet(connection, address)
    except BaseException:
        connection.abandon("not wanted")
        raise
    return connection


async def _greet(connection: Connection, address: RedisAddress) -> None:
    greeting: list[Command] = []
    if address.password is not None:
        user = () if address.username is None else (address.username,)
        greeting.append(("AUTH", *user, address.password))
    if address.database:
        greeting.append(("SELECT", address.database))
    # Nothing may be asked of a server that still reads its file, and it says so only when asked.
    greeting.append(("EXISTS", "triggers"))
    for command in greeting:
        (answer,) = await connection.ask([command])
        if isinstance(answer, RefusedByRedis):
            raise answer
