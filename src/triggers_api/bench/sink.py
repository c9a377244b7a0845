"""A receiver of webhooks in a process of its own, until its standard input ends."""

import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from triggers_api.bench.children import child
from triggers_api.bench.receiver import Receiver


@contextmanager
def sink(listener: socket.socket) -> Iterator[None]:
    """Answer what comes in at a listening socket, on the cores that this process may use."""
    command = [sys.executable, "-m", "triggers_api.bench.sink", str(listener.fileno())]
    with child(command, stdin=subprocess.PIPE, descriptors=(listener.fileno(),)):
        yield


def main() -> None:
    """The receiver's process; its argument is the listening socket's file descriptor."""
    with selectors.DefaultSelector() as selector:
        Receiver(socket.socket(fileno=int(sys.argv[1])), selector, clock=time.monotonic, samples=0)
        selector.register(sys.stdin, selectors.EVENT_READ, None)
        while True:
            for key, events in selector.select():
                if key.data is None:
                    return
                key.data(events)


if __name__ == "__main__":
    main()
