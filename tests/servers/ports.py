"""Ports for servers that begin a while after their port was chosen, or begin again on the same one.

They are below those that systems give to outgoing connections and to whoever asks for any: one of these
could be anybody's before its server has begun. The processes that share the tests of a run each have
their own part, and none is given twice before all of a part were.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import cycle
from typing import Final

_FIRST: Final = 20_000
_PARTS: Final = 16
_PART: Final = 625


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    return [free_port() for _ in range(count)]


def free_port() -> int:
    """One of them."""
    for port in _turns():
        with socket.socket() as each, suppress(OSError):  # in use: the next one
            each.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is always another turn")


@cache
def _turns() -> Iterator[int]:
    """This process's part, round and round; from anywhere, because another run may have the same."""
    # As pytest-xdist names the processes: gw0, gw1 and so on.
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")[2:]
    part = int(worker) % _PARTS if worker.isdecimal() else random.randrange(_PARTS)
    begin = random.randrange(_PART)
    return cycle(_FIRST + part * _PART + (begin + number) % _PART for number in range(_PART))
