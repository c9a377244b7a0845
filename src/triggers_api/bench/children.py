"""Child processes that never outlive what they were started for."""

import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import IO


@contextmanager
def child(
    command: Sequence[str],
    *,
    stdin: int | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | None = None,
    environ: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is killed at the end of the context, if it has not ended by itself.

    Args:
        command: program and arguments.
        stdin: as for :class:`subprocess.Popen`; so are ``stdout`` and ``stderr``.
        stdout: see there.
        stderr: see there.
        environ: its environment; by default this process's.
        descriptors: files that it inherits.
    """
    with ExitStack() as stack:
        with _uninterrupted():
            process = stack.enter_context(
                subprocess.Popen(  # noqa: S603 - our own programs, and what PATH says is wrk
                    command,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    env=environ,
                    pass_fds=descriptors,
                    # Control-C in a terminal goes to every process of its group, and is ours alone
                    # to handle.
                    start_new_session=True,
                )
            )
            stack.callback(process.kill)
        yield process


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Puts off SIGINT and SIGTERM: between fork and exec nobody would know whom to kill."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for missed in came:
        signal.raise_signal(missed)
