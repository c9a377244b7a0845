"""``redis-cli`` for the pages, where that program may be missing: one command, printed as to a pipe."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from hiredis import Reader, ReplyError, pack_command


def printed(answer: Any) -> str:  # noqa: ANN401 - Redis'
    """An answer as the program prints it when nobody looks at it."""
    if isinstance(answer, list):
        return "\n".join(map(printed, answer))
    return answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer or 0)


def main() -> int:
    """Run the command of the arguments."""
    reader = Reader()
    with socket.create_connection(("127.0.0.1", int(os.environ["REDIS_CLI_PORT"]))) as connection:
        connection.sendall(pack_command(tuple(sys.argv[1:])))  # type: ignore[arg-type]
        while (answer := reader.gets()) is False:
            reader.feed(connection.recv(1 << 16))
    sys.stdout.write(printed(answer) + "\n")
    return isinstance(answer, ReplyError)


if __name__ == "__main__":
    sys.exit(main())
