"""A notice that there may be work, for whoever waits in this process."""

import asyncio


class Notice:
    """Makes waiting short. It may come for nothing and may be missed; polling makes it right."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._watching: set[asyncio.Event] = set()

    def give(self) -> None:
        """Wake whoever waits, or let the next one who would wait go on."""
        self._event.set()
        for watching in self._watching:
            watching.set()

    async def wait(self, timeout_s: float) -> None:
        """Until a notice is given, at most this long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return
        finally:
            self._event.clear()

    async def watch(self, timeout_s: float) -> None:
        """Until a notice is given from now on, at most this long; who waits gets it all the same."""
        event = asyncio.Event()
        self._watching.add(event)
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return
        finally:
            self._watching.discard(event)
