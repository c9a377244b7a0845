"""strace, attached to a running server: to see its system calls, and to make them fail or wait."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import pytest
from tests.faults.server import Server, until

_CALL: Final = re.compile(r"(\d+) +(\w+)\((\d+)<([^>]*)>(?:, (.*))?", re.DOTALL)
_RESUMED: Final = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)", re.DOTALL)


class Tracer:
    """``async with`` it: attached inside, gone after."""

    def __init__(self, server: Server, output: Path, *options: str) -> None:
        """Nothing happens before it is entered; ``options`` are strace's."""
        if shutil.which("strace") is None:
            pytest.skip("strace is missing: apt install strace")
        self.output = output
        self._server = server
        self._options = options
        self._said = output.with_suffix(".said")

    async def __aenter__(self) -> Self:
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - at once
                [
                    "strace",
                    "-f",
                    "-y",
                    "-o",
                    self.output,
                    *self._options,
                    "-p",
                    str(self._server.process.pid),
                ],
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

        def attached() -> bool:
            if self._process.poll() is not None:
                pytest.skip(f"strace cannot attach here: {self._said.read_text().strip()}")
            # One line for each thread; the last to come are those that the server makes later.
            return "attached" in self._said.read_text()

        await until(attached, "strace is attached", look_every_s=0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.detach()

    async def detach(self) -> None:
        """Let the server go on by itself."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            await until(lambda: self._process.poll() is not None, "strace is detached")


@dataclass
class Call:
    """A system call on a file: when it began and when it ended, by its lines in the trace."""

    name: str
    file: str
    arguments: str
    began: int
    ended: int
    result: str


def calls(output: Path) -> Iterator[Call]:
    """The system calls of a trace, each when it ended."""
    unfinished: dict[str, Call] = {}
    for number, line in enumerate(output.read_text(errors="replace").splitlines()):
        if resumed := _RESUMED.match(line):
            call = unfinished.pop(resumed[1], None)
            if call is not None:
                call.arguments += resumed[3]
                call.ended = number
                call.result = line.rpartition(" = ")[2]
                yield call
        elif begun := _CALL.match(line):
            call = Call(begun[2], begun[4], begun[5] or "", number, number, "")
            if line.endswith("<unfinished ...>"):
                unfinished[begun[1]] = call
            else:
                call.result = line.rpartition(" = ")[2]
                yield call


def faults(names: Sequence[str], fault: str) -> tuple[str, ...]:
    """Options that make these system calls go wrong."""
    joined = ",".join(names)
    return ("-e", f"trace={joined}", "-e", f"inject={joined}:{fault}")
