"""``wrk``: the cheapest loader there is, where it is installed. Closed loop, for a time.

A generated script hands it prepared requests, so that Lua costs nothing, and prints what it measured
as one line of JSON. Two things to know about its numbers: its percentiles count every request that
took more than twice the mean several times over (``stats_correct`` in its source: a guess at what an
open loop would have seen), and it hangs up on the requests under way when its time is over.
"""

import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from triggers_api.bench.children import child
from triggers_api.bench.errors import RunFailed
from triggers_api.bench.machine import Watch
from triggers_api.bench.statistics import Latency

_MARK: Final = "triggers-bench "
_GRACE_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.01

_SCRIPT: Final = """\
local prepared = {
%s
}
local turn = 0

request = function()
  turn = turn %% #prepared + 1
  return prepared[turn]
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '%s{"requests":%%d,"duration_us":%%d,"connect":%%d,"read":%%d,"write":%%d,"timeout":%%d,' ..
    '"status":%%d,"min_us":%%.1f,"mean_us":%%.1f,"p50_us":%%.1f,"p95_us":%%.1f,"p99_us":%%.1f,' ..
    '"max_us":%%.1f}\\n',
    summary.requests, summary.duration, errors.connect, errors.read, errors.write, errors.timeout,
    errors.status, latency.min, latency.mean, latency:percentile(50), latency:percentile(95),
    latency:percentile(99), latency.max))
end
"""


class Wrk(msgspec.Struct, frozen=True):
    """An installed ``wrk``."""

    path: str
    version: str


class WrkResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one run measured.

    Attributes:
        requests: that were answered.
        refused: answers with a status of 400 or more.
        lost: requests without an answer, for connection trouble or a timeout.
        latency: ``wrk``'s, with its corrections; of refusals, too.
        cpu_s: what it used, of ``seconds``.
    """

    requests: int
    seconds: float
    refused: int
    lost: int
    latency: Latency
    cpu_s: float


class _Line(msgspec.Struct, frozen=True):
    """The line that the script prints; times in microseconds."""

    requests: int
    duration_us: int
    connect: int
    read: int
    write: int
    timeout: int
    status: int
    min_us: float
    mean_us: float
    p50_us: float
    p95_us: float
    p99_us: float
    max_us: float


def find_wrk() -> Wrk | None:
    """``wrk``, if it is installed."""
    path = shutil.which("wrk")
    if path is None:
        return None
    # It prints its version and exits with 1, as it does after every usage error.
    said = subprocess.run([path, "-v"], capture_output=True, text=True, check=False, timeout=10)  # noqa: S603 - what PATH says is wrk
    return Wrk(path, wrk_version(said.stdout + said.stderr))


def wrk_version(text: str) -> str:
    """The version in what ``wrk -v`` prints; empty when there is none."""
    found = re.search(r"wrk (\S+)", text)
    return found[1] if found else ""


def lua_string(content: bytes) -> str:
    """A Lua string literal of these bytes."""
    plain = frozenset(range(32, 127)) - frozenset(b'"\\')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03d}" for byte in content) + '"'


def script_of(requests: Sequence[bytes]) -> str:
    """The Lua script that sends these requests in turn and prints what was measured."""
    return _SCRIPT % (",\n".join(lua_string(request) for request in requests), _MARK)


def parse_output(text: str, *, cpu_s: float) -> WrkResult:
    """What a run measured, out of all that it printed.

    Raises:
        RunFailed: the script's line is not there.
    """
    for line in text.splitlines():
        if line.startswith(_MARK):
            try:
                found = msgspec.json.decode(line[len(_MARK) :], type=_Line)
            except msgspec.DecodeError as error:
                raise RunFailed(f"wrk's numbers cannot be read ({error}): {line}") from None
            return WrkResult(
                requests=found.requests,
                seconds=found.duration_us / 1e6,
                refused=found.status,
                lost=found.connect + found.read + found.write + found.timeout,
                latency=Latency(
                    count=found.requests,
                    min=_ms(found.min_us),
                    avg=_ms(found.mean_us),
                    p50=_ms(found.p50_us),
                    p95=_ms(found.p95_us),
                    p99=_ms(found.p99_us),
                    max=_ms(found.max_us),
                ),
                cpu_s=cpu_s,
            )
    raise RunFailed(f"wrk printed no numbers: {text.strip()[-300:]}")


def run_wrk(
    wrk: Wrk,
    requests: Sequence[bytes],
    *,
    url: str,
    connections: int,
    seconds: int,
    folder: Path,
    watch: Watch,
    progress: Callable[[float], None],
) -> WrkResult:
    """Send these requests in turn for some seconds, over one thread, on the cores of this process.

    Args:
        wrk: the program.
        requests: whole, byte for byte.
        url: scheme, host and port.
        connections: kept alive.
        seconds: whole ones; ``wrk`` knows no others.
        folder: where the script goes.
        watch: while it runs.
        progress: is told the fraction that is done.

    Raises:
        RunFailed: it failed, or hangs.
    """
    script, output = folder / "requests.lua", folder / "wrk.txt"
    script.write_text(script_of(requests))
    used, begun_at = _children_cpu_s(), time.monotonic()
    command = [
        wrk.path, "--threads", "1", "--connections", str(connections),
        "--duration", f"{seconds}s", "--timeout", "30s", "--script", str(script), url,
    ]  # fmt: skip
    with (
        output.open("wb") as file,
        child(command, stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        watch.begin()
        while process.poll() is None:
            elapsed = time.monotonic() - begun_at
            if elapsed > seconds + _GRACE_S:
                raise RunFailed("wrk does not end")
            progress(min(1.0, elapsed / seconds))
            time.sleep(_LOOK_EVERY_S)
        watch.end()
    # Nothing else was waited for meanwhile, so what the children used since then was used by wrk.
    return parse_output(output.read_text(errors="replace"), cpu_s=_children_cpu_s() - used)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ms(microseconds: float) -> float:
    return round(microseconds / 1000, 3)
