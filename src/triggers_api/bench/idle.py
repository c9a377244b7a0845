"""The ``idle`` profile."""

from typing import Final

import msgspec

from triggers_api.bench.machine import Watch
from triggers_api.bench.run import Run, memory_mb
from triggers_api.bench.targets import IDLE_CPU, IDLE_MEMORY, Verdict, judge

_SETTLE_S: Final = 3.0
"""The processor's looks at an empty queue grow rarer until they are 2 s apart."""


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """A server that nobody asks for anything. ``cpu_percent`` is of one core."""

    seconds: float
    cpu_percent: float | None
    resident_mb: float | None
    verdicts: list[Verdict]


def measure_idle(run: Run) -> Idle:
    """Watch a fresh server do nothing.

    Raises:
        RunFailed: it does not start.
    """
    seconds = run.options.load_s
    if run.options.url is not None:
        run.progress.say("idle: another machine's processor cannot be watched: nothing is judged")
    with run.server("idle") as (target, _):
        run.pause("idle: until the server is at rest", _SETTLE_S)
        watch = Watch(target.pid)
        watch.begin()
        run.pause("idle", seconds)
        watch.end()
        use, memory = watch.server(), memory_mb(target)
    cpu = None if use is None else round(use.own * 100, 2)
    return Idle(
        seconds=seconds,
        cpu_percent=cpu,
        resident_mb=memory,
        verdicts=[judge(IDLE_CPU, cpu), judge(IDLE_MEMORY, memory)],
    )
