"""Reads from a replica, as long as it has everything that the primary has confirmed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from triggers_api.errors import Unavailable
from triggers_api.store.postgres.connection import Connection
from triggers_api.store.postgres.sessions import Sessions
from triggers_api.store.postgres.tables import SQL

T = TypeVar("T")

log = structlog.get_logger(__name__)

_LOOKS: Final = 4
_LOOK_AGAIN_S: Final = 0.005
_LOOK_S: Final = 2.0
"""How long it may take to say how far it is."""
_AWAY_S: Final = 5.0
"""How long a replica that could not be used is left alone."""


class Behind(Exception):
    """The replica does not have what was asked for yet."""


class Replica:
    """Answers what the primary would answer, or leaves it to the primary."""

    def __init__(self, primary: Sessions, replica: Sessions) -> None:
        self._primary = primary
        self._replica = replica
        self._not_before = 0.0
        self._said = False
        self.in_use = False
        """Whether the last question was answered by the replica."""

    async def read(self, function: Callable[[Connection], Awaitable[T]]) -> T:
        """Run a read on the replica if it is not behind, else on the primary.

        What was confirmed before the question is in the answer: the primary says how far it has flushed,
        and the replica is asked only when it has replayed that much.

        Raises:
            StoreUnavailable: the primary is away.
        """
        if time.monotonic() >= self._not_before:
            if not self.in_use:
                # One finds out how it is, and nobody else waits for that.
                self._leave_alone()
            flushed: str = await self._primary.read(lambda db: db.fetchval(SQL["flushed_to"]))
            try:
                async with asyncio.timeout(_LOOK_S) as patience:
                    answer = await self._replica.read(
                        lambda db: _once_at(db, flushed, function, patience)
                    )
            except (Behind, Unavailable, TimeoutError) as reason:
                if self.in_use or not self._said:
                    log.warning(
                        "reading from the primary instead of the replica",
                        reason=str(reason) or "no answer in time",
                    )
                self.in_use, self._said = False, True
                self._leave_alone()
            else:
                self.in_use, self._said = True, False
                self._not_before = 0.0
                return answer
        return await self._primary.read(function)

    def _leave_alone(self) -> None:
        self._not_before = time.monotonic() + _AWAY_S

    async def close(self) -> None:
        """Let go of the replica."""
        await self._replica.pool.close()


async def _once_at(
    db: Connection,
    flushed: str,
    function: Callable[[Connection], Awaitable[T]],
    patience: asyncio.Timeout,
) -> T:
    for look in range(_LOOKS):
        if await db.fetchval(SQL["replayed_to"], flushed):
            # It answers, and may take its time.
            patience.reschedule(None)
            return await function(db)
        if look < _LOOKS - 1:
            await asyncio.sleep(_LOOK_AGAIN_S)
    raise Behind("the replica is behind")
