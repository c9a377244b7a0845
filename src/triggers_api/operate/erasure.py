"""Erases organizations that are to be erased, in small pieces; what is cut off goes on later."""

import asyncio
from collections.abc import Callable
from typing import Final

from triggers_api.store.base import Store

AT_ONCE: Final = 100
"""Events that one piece erases, or rows of another kind."""
_EVERY_S: Final = 5.0
_SHORTEST_BREATH_S: Final = 0.005
_REST: Final = 3.0
"""How many times as long as a piece took nothing is done after it."""


class Eraser:
    """Looks for something to erase every few seconds, and goes on as long as there is something."""

    name = "eraser"

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        """``clock``: seconds, from any moment on."""
        self._store = store
        self._clock = clock

    async def run_once(self) -> float:
        """One piece."""
        began = self._clock()
        if await self._store.erase_some(AT_ONCE):
            return max(_SHORTEST_BREATH_S, _REST * (self._clock() - began))
        return _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Nobody waits for it."""
        await asyncio.sleep(timeout_s)
