"""What a supervisor that asks for it is told: ready, alive, ending.

The protocol is that of ``sd_notify(3)``: a datagram to the socket that ``NOTIFY_SOCKET`` names. Without
that variable nobody asks, and nothing is sent.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Final, Self

_ABSTRACT: Final = "@"
_END_S: Final = 15
"""Seconds beyond both graces that the end may take: outcomes are written, files closed."""


class Supervisor:
    """Who started this process, as far as it wants to hear of it."""

    def __init__(self, address: str | None, *, watchdog_s: float | None = None) -> None:
        """Nothing is sent yet.

        Args:
            address: of the socket; ``None`` when nobody listens. An ``@`` begins an abstract one.
            watchdog_s: seconds of silence after which the process is taken for dead.
        """
        self._address = address
        self._watchdog_s = watchdog_s

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ, *, pid: int | None = None) -> Self:
        """The one that the environment names.

        A watchdog that is another process's (``WATCHDOG_PID``) is not for us to feed.
        """
        address = environ.get("NOTIFY_SOCKET") or None
        microseconds = environ.get("WATCHDOG_USEC", "")
        owner = environ.get("WATCHDOG_PID") or str(os.getpid() if pid is None else pid)
        ours = owner == str(os.getpid() if pid is None else pid)
        watched = address is not None and ours and microseconds.isdecimal() and int(microseconds)
        return cls(address, watchdog_s=int(microseconds) / 1e6 if watched else None)

    def say(self, *lines: str) -> None:
        """Send assignments; whether anybody hears them is no reason to fail."""
        if self._address is None:
            return
        address = self._address
        if address.startswith(_ABSTRACT):
            address = "\0" + address.removeprefix(_ABSTRACT)
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notice,
        ):
            notice.setblocking(False)
            notice.sendto("\n".join(lines).encode(), address)

    def ready(self, status: str) -> None:
        """Requests are served from now on."""
        self.say("READY=1", f"STATUS={status}")

    def ending(self, *, grace_s: float) -> None:
        """The end has begun. Requests have their grace, and then deliveries under way have it."""
        patience = int((2 * grace_s + _END_S) * 1e6)
        self.say(
            "STOPPING=1", "STATUS=finishing what is under way", f"EXTEND_TIMEOUT_USEC={patience}"
        )

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Show meanwhile, as often as the watchdog wants, that the event loop turns."""
        if self._watchdog_s is None:
            yield
            return
        beating = asyncio.create_task(self._beat(self._watchdog_s / 3))
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait((beating,))

    async def _beat(self, every_s: float) -> None:
        while True:
            self.say("WATCHDOG=1")
            await asyncio.sleep(every_s)
