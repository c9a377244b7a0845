"""The only ``while`` of the background parts: run a turn, wait, run a turn."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from triggers_api.errors import Unavailable
from triggers_api.telemetry.logs import kind_of

log = structlog.get_logger(__name__)

_FIRST_BACKOFF_S: Final = 0.1
_LONGEST_BACKOFF_S: Final = 30.0
_AWAY_BACKOFF_S: Final = 1.0
"""The longest while the store is away: work goes on as soon as it is back."""
_DOUBLINGS: Final = 10
_SAY_AGAIN_S: Final = 30.0
_FAILING_AFTER: Final = 3
_COMPANY_S: Final = 0.004
"""A turn that is called for sooner than this after the last one began waits for company, at most for
as long as that one took: a few larger turns cost less than many small ones. A quiet service does not
wait."""


class Part(Protocol):
    """Something that has to be done again and again."""

    @property
    def name(self) -> str:
        """For logs, metrics and health."""

    async def run_once(self) -> float:
        """Do what is to be done now; returns the seconds until the next look is due."""

    async def wait(self, timeout_s: float) -> None:
        """Return when there may be something to do, or after the timeout."""


class Loop:
    """Runs a part until it is stopped. A turn that raises is counted, logged, and tried again."""

    def __init__(self, part: Part, *, crashed: Callable[[str], None]) -> None:
        """``crashed`` is told the part's name each time a turn raises."""
        self._part = part
        self._crashed = crashed
        self._stopping = False
        self._waiting = False
        self._failures = 0
        self._quiet_until = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The part's name."""
        return self._part.name

    @property
    def failing(self) -> bool:
        """Whether the last turns all raised."""
        return self._failures >= _FAILING_AFTER

    def start(self) -> None:
        """Begin; after :meth:`stop` nothing begins any more."""
        self._task = asyncio.create_task(self._run(), name=self._part.name)

    async def stop(self) -> None:
        """Let the turn under way end, and no other begin. Idempotent, also before :meth:`start`."""
        self._stopping = True
        if self._task is None:
            return
        if self._waiting:
            self._task.cancel()
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while not self._stopping:
            began = clock()
            try:
                pause = await self._part.run_once()
                self._failures = 0
                if pause > 0:
                    soonest = began + min(_COMPANY_S, 2 * (clock() - began))
                    await self._rest(self._part.wait, pause)
                    if (early := soonest - clock()) > 0:
                        await self._rest(asyncio.sleep, early)
                else:
                    # A part that always finds work must not keep everybody else from theirs.
                    await asyncio.sleep(0)
            except Exception as error:  # noqa: BLE001 - whatever it was, the loop goes on
                self._note(error)
                await self._rest(asyncio.sleep, self._backoff_s(error))

    def _backoff_s(self, error: Exception) -> float:
        longest = _AWAY_BACKOFF_S if isinstance(error, Unavailable) else _LONGEST_BACKOFF_S
        # A store may be away for so long that two to that power is no float any more.
        return min(_FIRST_BACKOFF_S * 2.0 ** min(self._failures, _DOUBLINGS), longest)

    async def _rest(self, how: Callable[[float], Awaitable[None]], seconds: float) -> None:
        """Wait in a way that :meth:`stop` may cut short."""
        if self._stopping:
            return
        self._waiting = True
        try:
            await how(seconds)
        finally:
            self._waiting = False

    def _note(self, error: Exception) -> None:
        self._failures += 1
        self._crashed(self.name)
        if not isinstance(error, Unavailable):
            log.error("turn failed", part=self.name, error=kind_of(error), exc_info=error)
            return
        # A store that is away is not a fault of the part: now and then a line without a traceback.
        now = asyncio.get_running_loop().time()
        if self._failures == 1 or now >= self._quiet_until:
            self._quiet_until = now + _SAY_AGAIN_S
            log.error("turn failed", part=self.name, error=str(error), exc_info=None)
