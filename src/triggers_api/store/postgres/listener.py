"""Wake-ups between processes. They make waiting short; polling makes it right."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from triggers_api.errors import Unavailable
from triggers_api.store.postgres.connection import FAILED, Connection, connect, said
from triggers_api.store.postgres.sessions import Sessions

log = structlog.get_logger(__name__)

QUEUE: Final = "triggers_queue"
DELIVERIES: Final = "triggers_deliveries"
JOBS: Final = "triggers_jobs"

_AGAIN_AFTER_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_LOOK_EVERY_S: Final = 10.0
_APART_S: Final = 0.02
"""At most one notice of a kind in this time: each one has every commit of the server wait in line."""


class Listener:
    """Hears what other processes announce, on a connection of its own."""

    def __init__(self, url: str, hear: Mapping[str, Callable[[], None]]) -> None:
        """Begin to listen; ``hear`` says who is told, by channel."""
        self._url = url
        self._hear = hear
        self._failures = 0
        self.connected = False
        """Whether notices arrive; if not, polling finds the work."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="listener")

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except (Unavailable, *FAILED) as error:
                if self._failures == 0:
                    log.warning("not listening for notices, polling instead", error=said(error))
            self.connected = False
            await asyncio.sleep(_AGAIN_AFTER_S[min(self._failures, len(_AGAIN_AFTER_S) - 1)])
            self._failures += 1

    async def _listen(self) -> None:
        db = await connect(self._url, pooled=False, name="triggers listener")
        ended = asyncio.Event()
        db.add_termination_listener(lambda _: ended.set())
        try:
            for channel in self._hear:
                await db.add_listener(channel, self._heard)
            self.connected, self._failures = True, 0
            # What was announced while nobody listened.
            for told in self._hear.values():
                told()
            await self._until_lost(db, ended)
        finally:
            db.terminate()

    @staticmethod
    async def _until_lost(db: Connection, ended: asyncio.Event) -> None:
        """Wait for the end; a server that is gone without a word is found by asking."""
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await ended.wait()
                    return
            await db.execute("SELECT 1", timeout=_LOOK_EVERY_S)

    def _heard(self, _db: Any, _process: int, channel: str, _payload: object) -> None:  # noqa: ANN401 - asyncpg's
        self._hear[channel]()

    async def close(self) -> None:
        """Stop listening."""
        self._task.cancel()
        await asyncio.wait((self._task,))


class Announcer:
    """Tells other processes that there is work: soon, but not for every commit."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._loop = asyncio.get_running_loop()
        self._pending: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._closed = False

    def announce(self, channel: str) -> None:
        """Say so within the next moments; may be lost."""
        if self._closed:
            return
        self._pending.add(channel)
        if self._timer is None and self._sending is None:
            self._timer = self._loop.call_later(_APART_S, self._send)

    def _send(self) -> None:
        self._timer = None
        channels, self._pending = sorted(self._pending), set()
        self._sending = self._loop.create_task(self._tell(channels))
        self._sending.add_done_callback(self._sent)

    async def _tell(self, channels: list[str]) -> None:
        # A notice that is not sent costs a poll's time.
        with contextlib.suppress(Unavailable):
            await self._sessions.read(
                lambda db: db.execute(
                    "SELECT pg_notify(channel, '') FROM unnest($1::text[]) AS channel", channels
                )
            )

    def _sent(self, _: "asyncio.Task[None]") -> None:
        self._sending = None
        if self._pending and not self._closed:
            self._timer = self._loop.call_later(_APART_S, self._send)

    async def close(self) -> None:
        """Say nothing more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            await asyncio.wait((self._sending,))
