"""Places where a test can make this process fail, in the manner of FoundationDB's BUGGIFY.

Off unless ``TRIGGERS_TEST_FAILPOINTS`` is set, for example::

    append.after_commit=crash            die by SIGKILL at the first pass
    fan_out.before_commit=crash@3        … at the third
    settle.before_commit=sleep:2.5       wait there, in that thread
    claim_queue.after_commit=error       raise

A crash in a test is then at a known step and not at a lucky moment.
"""

import os
import signal
import time
from collections.abc import Mapping
from typing import Final

VARIABLE: Final = "TRIGGERS_TEST_FAILPOINTS"


class InjectedError(Exception):
    """What the action ``error`` raises."""


class Failpoints:
    """The points that are armed, each with its action and the pass at which it acts."""

    def __init__(self, spec: str) -> None:
        self._armed: dict[str, tuple[str, int]] = {}
        self._passes: dict[str, int] = {}
        for part in filter(None, (piece.strip() for piece in spec.split(","))):
            name, _, action = part.partition("=")
            action, _, at = action.partition("@")
            self._armed[name] = (action, int(at or 1))

    def __bool__(self) -> bool:
        return bool(self._armed)

    def hit(self, name: str) -> None:
        """Pass the point; act if it is armed for this pass."""
        if name not in self._armed:
            return
        action, at = self._armed[name]
        self._passes[name] = self._passes.get(name, 0) + 1
        if self._passes[name] != at:
            return
        if action == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action.startswith("sleep:"):
            time.sleep(float(action.removeprefix("sleep:")))
        elif action == "error":
            raise InjectedError(name)


def armed(environ: Mapping[str, str] = os.environ) -> Failpoints:
    """The points that the environment arms."""
    return Failpoints(environ.get(VARIABLE, ""))
