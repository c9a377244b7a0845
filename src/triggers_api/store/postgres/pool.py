"""The connections: so many are kept, some more are opened in need, none is used unseen."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from triggers_api.errors import StoreUnavailable
from triggers_api.store.postgres.connection import FAILED, Connection

_TRUSTED_S: Final = 1.0
_LOOK_S: Final = 2.0


class _Kept(msgspec.Struct):
    connection: Connection
    opened_at: float
    used_at: float
    generation: int


class Pool:
    """Hands out connections. The one used last goes out first, so that a quiet service needs few."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        *,
        size: int,
        overflow: int,
        wait_s: float,
        recycle_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        waited: Callable[[float], None] | None = None,
    ) -> None:
        """An empty one.

        Args:
            connect: makes a connection that may be used, or raises ``Unavailable``.
            size: how many are kept open.
            overflow: how many more there may be at once; they are closed when they come back.
            wait_s: seconds to wait for one when all are out.
            recycle_s: seconds after which one is replaced.
            monotonic: seconds on a clock that never goes back.
            waited: is told the seconds when something had to wait because all were out.
        """
        self._connect = connect
        self._size = size
        self._most = size + overflow
        self._wait_s = wait_s
        self._recycle_s = recycle_s
        self._monotonic = monotonic
        self._waited = waited
        self._free = asyncio.Semaphore(self._most)
        self._idle: list[_Kept] = []
        self._closed = False
        self._generation = 0
        self.in_use = 0
        """Connections that are out."""

    def another(self, *, size: int, overflow: int) -> "Pool":
        """A pool like this one, of other connections."""
        return Pool(
            self._connect,
            size=size,
            overflow=overflow,
            wait_s=self._wait_s,
            recycle_s=self._recycle_s,
            monotonic=self._monotonic,
        )

    @property
    def most(self) -> int:
        """How many there may be at once."""
        return self._most

    @property
    def idle(self) -> int:
        """Connections that wait to be used."""
        return len(self._idle)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection. It comes back even when its user fails; one that is not as it was is closed.

        Raises:
            StoreUnavailable: none became free in time, or none can be opened.
        """
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        try:
            kept = await self._take()
            self.in_use += 1
            try:
                yield kept.connection
            except asyncio.CancelledError:
                # What it was doing may still be under way.
                kept.connection.terminate()
                raise
            finally:
                self.in_use -= 1
                self._put(kept)
        finally:
            self._free.release()

    async def _wait(self) -> None:
        began = self._monotonic()
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise StoreUnavailable(
                f"no connection to the database became free in {self._wait_s:g} s"
            ) from None
        finally:
            if self._waited is not None:
                self._waited(self._monotonic() - began)

    async def _take(self) -> _Kept:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        while self._idle:
            kept = self._idle.pop()
            fit = False
            try:
                fit = await self._is_fit(kept)
            finally:
                if not fit:  # also when whoever wanted it has given up meanwhile
                    self._end(kept)
            if fit:
                return kept
        now, generation = self._monotonic(), self._generation
        return _Kept(await self._connect(), now, now, generation)

    async def _is_fit(self, kept: _Kept) -> bool:
        now = self._monotonic()
        if kept.connection.is_closed() or now - kept.opened_at > self._recycle_s:
            return False
        if now - kept.used_at <= _TRUSTED_S:
            return True
        try:
            async with asyncio.timeout(_LOOK_S):
                await kept.connection.execute("SELECT 1")
        except FAILED:
            # What is behind this one is behind the others; to look at each would take as long again.
            self.forget()
            return False
        return True

    def _put(self, kept: _Kept) -> None:
        unusable = kept.connection.is_closed() or kept.connection.is_in_transaction()
        forgotten = kept.generation != self._generation
        if unusable or forgotten or self._closed or len(self._idle) >= self._size:
            self._end(kept)
            return
        kept.used_at = self._monotonic()
        self._idle.append(kept)

    def forget(self) -> None:
        """Close what is idle now, and what is out when it comes back.

        The server behind it is not the one that is wanted any more.
        """
        self._generation += 1
        for kept in self._idle:
            self._end(kept)
        self._idle.clear()

    @staticmethod
    def _end(kept: _Kept) -> None:
        # At once and without a word to the server: it may not be listening.
        kept.connection.terminate()

    async def close(self) -> None:
        """Close what is idle now, and what is out when it comes back."""
        self._closed = True
        idle, self._idle = self._idle, []
        try:
            for kept in idle:
                async with asyncio.timeout(_LOOK_S):
                    await kept.connection.close()
        except FAILED:
            pass  # as at a look: one that does not answer speaks for all
        finally:
            for kept in idle:
                self._end(kept)
