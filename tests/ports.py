"""Ports for servers that tests start by number, or start again under the number that they had."""

from __future__ import annotations

import os
import random
import re
import socket
from contextlib import ExitStack, suppress
from itertools import count
from typing import Final

_FIRST: Final = 20_000
_EACH: Final = 500
_PROCESSES: Final = 20
"""All of them are below the ports that systems give to outgoing connections: one of these could be
taken by a connection of anybody's before its server is started, or while it is down."""


def _process() -> int:
    """Which one it is of those that run the tests side by side."""
    name = re.search(r"\d+$", os.environ.get("PYTEST_XDIST_WORKER", ""))
    return 0 if name is None else int(name[0]) % _PROCESSES


_numbers: Final = count(random.randrange(_EACH))


def free_ports(amount: int) -> list[int]:
    """Ports that nobody listens on, all different.

    Each process of a run has its own ones, and goes through all of them before it gives one out again.
    """
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < amount:
            port = _FIRST + _process() * _EACH + next(_numbers) % _EACH
            each = held.enter_context(socket.socket())
            with suppress(OSError):  # in use: the next one
                each.bind(("127.0.0.1", port))
                ports.append(port)
        return ports


def free_port() -> int:
    """One of them."""
    (port,) = free_ports(1)
    return port
