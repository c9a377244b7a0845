"""Server-sent events out of bytes (WHATWG HTML, 9.2.6). No I/O."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_END_OF_LINE: Final = re.compile(rb"\r\n|\r(?!\Z)|\n")


class Message(NamedTuple):
    """One message: its id, as far as it has one, and its data."""

    id: str
    data: bytes


class Messages:
    """Takes pieces of a stream, wherever they are cut, and gives whole messages."""

    def __init__(self) -> None:
        self._rest = b""
        self._id = ""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[Message]:
        """The messages that end within a piece."""
        *lines, self._rest = _END_OF_LINE.split(self._rest + piece)
        for line in lines:
            message = self._line(line)
            if message is not None:
                yield message

    def _line(self, line: bytes) -> Message | None:
        if not line:
            data, self._data = self._data, []
            return Message(self._id, b"\n".join(data)) if data else None
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode(errors="replace")
        return None
