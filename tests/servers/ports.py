"""Ports for servers that begin a while after their port was chosen, or begin again on the same one.

They are below those that systems give to outgoing connections and to whoever asks for any: one of these
could be anybody's before its server has begun. Nor is one given to two processes of tests at a time, of
one run or of several: who is given it keeps a name on this machine that only one can have.
"""

from __future__ import annotations

import random
import socket
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import cycle
from typing import Final

_FIRST: Final = 20_000
_COUNT: Final = 10_000
_KEPT: Final = 100
"""So many are this process's at a time; by then the servers of the ones before have long begun."""

_names: Final[deque[socket.socket]] = deque()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    return [free_port() for _ in range(count)]


def free_port() -> int:
    """One of them."""
    for port in _turns():
        with (
            suppress(OSError),
            socket.socket() as each,
        ):  # taken, one way or the other: the next one
            _claim(port)
            each.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is always another turn")


def _claim(port: int) -> None:
    if sys.platform != "linux":
        return
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0port-of-tests-{port}")
    except OSError:
        name.close()
        raise
    _names.append(name)
    while len(_names) > _KEPT:
        _names.popleft().close()


@cache
def _turns() -> Iterator[int]:
    """Every port, round and round, in an order of this process."""
    return cycle(random.sample(range(_FIRST, _FIRST + _COUNT), _COUNT))
