"""Asking a Redis: connects when it is asked, again when that was lost, and says what a failure means."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import structlog

from triggers_api.errors import OutcomeUnknown, StorageFull, StoreUnavailable, Unavailable
from triggers_api.redis.address import RedisAddress
from triggers_api.redis.connection import (
    Command,
    Connection,
    Lost,
    RefusedByRedis,
    Value,
    connect,
)
from triggers_api.redis.script import Script

log = structlog.get_logger(__name__)

_CONNECT_WITHIN_S: Final = 1.0
_ANSWER_WITHIN_S: Final = 2.0
_AGAIN_AFTER_S: Final = 0.2
_FULL_RETRY_S: Final = 5.0

_AWAY: Final = frozenset(
    {
        "BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "MOVED", "NOAUTH", "NOPERM",
        "NOREPLICAS", "READONLY", "TRYAGAIN", "UNBLOCKED", "WRONGPASS",
    }
)  # fmt: skip
"""First words of refusals that are about the server, whatever it is asked."""
_DISK_FULL: Final = "No space left"
_IN_A_SCRIPT: Final = "user_script"

Call = tuple[Script, Sequence[Value], Sequence[Value]]
"""A script, the keys that it works on, and what else it is given."""


class Redis:
    """One Redis server.

    Everything is asked over one connection, pipelined. A server that is away is looked for again as
    soon as somebody asks, though not more than five times a second; meanwhile others are told at once.
    """

    def __init__(self, address: RedisAddress, *, answer_within_s: float = _ANSWER_WITHIN_S) -> None:
        """Nothing happens before something is asked.

        Args:
            address: where it is.
            answer_within_s: seconds after which an answer is not waited for any longer: the connection
                is given up, with everything that was asked over it.
        """
        self.address = address
        self._answer_within_s = answer_within_s
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._not_before = 0.0
        self._why = ""
        self._closed = False
        self.generation = 0
        """How often it has connected: the server may be another one each time."""

    def another(self, *, answer_within_s: float | None = None) -> "Redis":
        """The same server over a connection of its own: for what blocks, or waits for less long."""
        if answer_within_s is None:
            answer_within_s = self._answer_within_s
        return Redis(self.address, answer_within_s=answer_within_s)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection. One that was never asked for is not there."""
        return self._connection is not None and self._connection.is_open

    async def execute(self, *command: Value, within_s: float | None = None) -> Any:  # noqa: ANN401 - Redis'
        """The answer to one command.

        Args:
            command: its name and its arguments.
            within_s: seconds to wait for the answer, instead of the usual ones.

        Raises:
            StorageFull: the server's memory is used up, or its disk; nothing was changed.
            StoreUnavailable: it is away, or does not serve at the moment; nothing was changed.
            OutcomeUnknown: the answer was lost.
            RefusedByRedis: there is something wrong with the command.
        """
        (answer,) = await self.pipeline([command], within_s=within_s)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run(
        self, script: Script, keys: Sequence[Value] = (), arguments: Sequence[Value] = ()
    ) -> Any:  # noqa: ANN401 - the script's
        """The answer of a script; raises what :meth:`execute` does."""
        (answer,) = await self.run_each([(script, keys, arguments)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run_each(self, calls: Sequence[Call]) -> list[Any]:
        """The answers of scripts, asked for at once.

        In the place of one that was refused is the error that :meth:`run` would have raised.

        Raises:
            StoreUnavailable: the server is away; nothing was changed.
            OutcomeUnknown: the answers were lost.
        """
        answers = await self.pipeline(
            [
                ("EVALSHA", script.digest, len(keys), *keys, *arguments)
                for script, keys, arguments in calls
            ]
        )
        unknown = [
            place
            for place, answer in enumerate(answers)
            if isinstance(answer, RefusedByRedis) and answer.code == "NOSCRIPT"
        ]
        if unknown:
            # A server that was started anew has forgotten them. Nothing of these was run.
            again = await self.pipeline(
                [
                    ("EVAL", script.text, len(keys), *keys, *arguments)
                    for script, keys, arguments in (calls[place] for place in unknown)
                ]
            )
            for place, answer in zip(unknown, again, strict=True):
                answers[place] = answer
        return answers

    async def pipeline(
        self, commands: Sequence[Command], *, within_s: float | None = None
    ) -> list[Any]:
        """The answers to several commands, as :meth:`run_each`."""
        connection = await self._connected()
        asked = connection.ask(commands)
        patience = self._answer_within_s if within_s is None else within_s
        try:
            async with asyncio.timeout(patience):
                answers = await asyncio.shield(asked)
        except TimeoutError:
            connection.abandon(f"no answer within {patience:g} s")
            raise OutcomeUnknown(f"Redis did not answer within {patience:g} s") from None
        except Lost as error:
            raise OutcomeUnknown(f"the answer of Redis was lost: {error}") from None
        return [_as_told(each) if isinstance(each, RefusedByRedis) else each for each in answers]

    async def close(self) -> None:
        """End the connection."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            await self._connection.close()

    async def _connected(self) -> Connection:
        if self._connection is not None and self._connection.is_open:
            return self._connection
        if self._closed:
            raise StoreUnavailable("Redis is not asked any more")
        now = time.monotonic()
        if self._connecting is None and now < self._not_before:
            raise StoreUnavailable(f"Redis is away: {self._why}")
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(_looked_at)
        # Whoever gives up waiting does not take the connection away from the others.
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                self._connection = await connect(self.address)
        except (OSError, Lost, RefusedByRedis) as error:
            why = str(error) or type(error).__name__
            self._not_before = time.monotonic() + _AGAIN_AFTER_S
            if why != self._why:
                # One line: the fault is not in this code.
                log.error("redis cannot be reached", redis=self.address.shown, error=why)  # noqa: TRY400
            self._why = why
            raise StoreUnavailable(f"Redis is away: {why}") from None
        else:
            if self._why:
                log.info("redis is back", redis=self.address.shown)
            self._why = ""
            self.generation += 1
            return self._connection
        finally:
            self._connecting = None


def _looked_at(task: "asyncio.Task[Connection]") -> None:
    # Nobody may be waiting for it any more.
    if not task.cancelled():
        task.exception()


def _as_told(refused: RefusedByRedis) -> Exception:
    """What a refusal means to callers; itself if it is about what was asked."""
    said = str(refused)
    if refused.code == "OOM":
        return StorageFull("the memory of Redis is used up", retry_after_s=_FULL_RETRY_S)
    if refused.code == "MISCONF" and _DISK_FULL in said:
        return StorageFull("the disk of Redis is full", retry_after_s=_FULL_RETRY_S)
    if refused.code == "WRONGTYPE" or (_IN_A_SCRIPT in said and refused.code != "NOGROUP"):
        # Somebody has put something else there. What a script did before it came to that is done.
        return OutcomeUnknown(f"Redis holds something that is not ours: {said}")
    if refused.code in _AWAY:
        return StoreUnavailable(f"Redis does not serve: {said}")
    return refused


def is_away(error: Exception) -> bool:
    """Whether a failure says that the server cannot be used at the moment."""
    return isinstance(error, Unavailable) and not isinstance(error, StorageFull)
