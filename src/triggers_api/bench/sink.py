"""A receiver of webhooks in a process of its own, until its standard input ends."""

import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from triggers_api.bench.children import child
from triggers_api.bench.errors import RunFailed
from triggers_api.bench.receiver import Receiver

_LOOK_EVERY_S = 0.005


@contextmanager
def sink(listener: socket.socket) -> Iterator[Callable[[], int]]:
    """Answer what comes in at a listening socket, on the cores that this process may use.

    Yields how many different events have come: to be asked without asking the server anything.
    """
    command = [sys.executable, "-m", "triggers_api.bench.sink", str(listener.fileno())]
    with child(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        descriptors=(listener.fileno(),),
    ) as process:
        asks, tells = process.stdin, process.stdout
        assert asks is not None
        assert tells is not None
        yield lambda: _ask(asks, tells)


def await_received(received: Callable[[], int], count: int, *, within_s: float) -> None:
    """Wait until so many different events have come, or for so long."""
    deadline = time.monotonic() + within_s
    while received() < count and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)


def _ask(asks: IO[bytes], tells: IO[bytes]) -> int:
    try:
        asks.write(b"\n")
        asks.flush()
        told = tells.readline()
    except OSError as error:
        raise RunFailed(f"the receiver is gone: {error}") from None
    if not told:
        raise RunFailed("the receiver is gone")
    return int(told)


def main() -> None:
    """The receiver's process; its argument is the listening socket's file descriptor.

    For each line on its standard input it prints how many different events have come.
    """
    with selectors.DefaultSelector() as selector:
        receiver = Receiver(
            socket.socket(fileno=int(sys.argv[1])), selector, clock=time.monotonic, samples=0
        )
        selector.register(sys.stdin, selectors.EVENT_READ, None)
        while True:
            for key, events in selector.select():
                if key.data is not None:
                    key.data(events)
                elif sys.stdin.readline():
                    sys.stdout.write(f"{len(receiver.arrivals)}\n")
                    sys.stdout.flush()
                else:
                    return


if __name__ == "__main__":
    main()
